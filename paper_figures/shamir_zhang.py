r"""Four averagings of one run: what the last iterate loses on a support vector machine and in the worst case.

In the spirit of the experiments of Shamir and Zhang (2013), who train support vector machines on other data:
here the hinge loss on 1,000 rows of a9a with weight decay μ = 10⁻³, one row per update, risk against a
certified minimum; mean of 64 runs and its 95 % pointwise interval. Left: steps 1/(μt). Middle: steps 1/√t,
which suit the last half better than 0.3/√t and 3/√t. Lines: the last iterate, the average of all iterates, of
the last half (where t is a power of 2), and polynomial decay averaging of order 3.

The last half and the polynomial decay end less than a tenth apart and win. With 1/(μt) the first step is 1000
long, and the average of all iterates, which remembers it, is the worst; with 1/√t the last iterate ends as
the worst, and at the best of the three constants it is still 1.6 times above the last half. The log T of the
bounds doesn't show here: on the left the last iterate falls at least like 1/T. Nor has it to: a bound may be
far above, and these, with the G that the largest row gives, are a hundred and a thousand times larger.

Right: where it does show, the strongly convex function on which Harvey et al. (2019) proved that the log is
real, f(x) = max_i h_iᵀx + ½‖x‖² with exact steps 1/t: T times the risk of the last iterate grows by 1/4 with
every unit of log T (dotted: their lower bound), that of every average levels off.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ratelab.experiments.engines import train
from ratelab.experiments.engines.job import Job
from ratelab.experiments.judging.estimates import Estimate, mean_estimate
from ratelab.experiments.judging.evidence import NoFit, fit_trajectories
from ratelab.experiments.methods import SGD
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours, paired
from ratelab.paper_figures.house.style import AVERAGE, LAST, Look, band, new_figure, shade, slope_triangle
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.problems import philox
from ratelab.problems.networks import LinearClassifier, Split
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.averaging import Last, PolynomialDecay, Tail, Uniform
from ratelab.theory.bounds import omega_curve
from ratelab.theory.schedules import InversePower, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Last iterate, suffix and polynomial decay averaging",
    group="Papers",
    source="Shamir and Zhang 2013, averaging schemes; Harvey et al. 2019, lower bound",
    link="https://proceedings.mlr.press/v28/shamir13.html",
    topics=("averaging", "rates", "bounds", "decay"),
    seconds=(10, 105),
    data=("a9a",),
)

MU, RUNS = 1e-3, 64
STRONG, ROOT, WORST = "1/(μt)", "1/√t", "1/t, worst case"
ROOTS = {ROOT: 1.0, "0.3/√t": 0.3, "3/√t": 3.0}
"""The steps c/√t, and c; the first are drawn."""
OTHERS = tuple(ROOTS)[1:]


def half_tail(steps: Array) -> Array:
    """Averages x over (t/2, t] wherever t is a power of 2: starts anew after each of these times."""
    t = np.arange(1, len(steps) + 1)
    start = np.where(t > 1, 2 ** np.ceil(np.log2(np.maximum(t, 2)) - 1), 0)
    return np.asarray(1 / (t - start))


AVERAGINGS: dict[str, Callable[[Array], Array]] = {
    "last iterate": Last(),
    "all iterates": Uniform(),
    "last half": half_tail,
    "polynomial decay": PolynomialDecay(3.0),
}
LASTS, ALL, HALF, DECAY = AVERAGINGS


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per steps, averaging, seed and time, its risk and what bounds it. 1,000 rows and 2¹³ updates; in
    the full form 10,000 and 2¹⁶."""
    rows = Split("a9a", rows=10_000 if full else 1000, test=1)
    network = LinearClassifier(rows, loss="hinge", batch=1, weight_decay=MU, replacement=True)
    # steps up to 1/μ keep μ‖x‖ below the largest row's norm, and gradients are at most twice that
    squared = 4 * (float((network.parts()["train"].features ** 2).sum(axis=1).max()) + 1)
    distance = network.constants.D
    assert distance is not None
    top = 16 if full else 13
    times = np.unique(np.rint(2 ** (np.arange(15, 3 * top + 1) / 3)).astype(np.int64))
    rate = squared / (MU * times)
    bounds = {LASTS: 17 * (1 + np.log(times)) * rate, HALF: (2 + 2.5 * math.log(2)) / 0.5 * rate}
    found = list(curves(STRONG, times, run(network, 1.0, (1 / MU,), times)[:, 0], bounds))
    report(1, 3)
    doublings = 2 ** np.arange(5, top + 1)
    root = run(network, 0.5, tuple(ROOTS.values()), doublings)
    for k, (name, c) in enumerate(ROOTS.items()):
        steps = c * multipliers(InversePower(0.5), int(times[-1]) + 1)
        omega = omega_curve(steps, doublings, distance, squared)
        found += curves(name, doublings, root[:, k], {LASTS: omega})
    report(2, 3)
    horizons = 2 ** np.arange(3, 14 if full else 12)
    instance = np.stack([harvey(int(T)) for T in horizons], axis=1)
    found += curves(WORST, horizons, instance[None], {LASTS: np.log(horizons) / (4 * horizons)})
    report(3, 3)
    return table_of(found)


def curves(
    steps: str, times: Integers, risk: Array, bounds: Mapping[str, Array]
) -> Iterator[dict[str, object]]:
    """The lines of `risk` (runs, averagings, K); the last half is one where t is a power of 2."""
    for (k, averaging), seed in itertools.product(enumerate(AVERAGINGS), range(len(risk))):
        kept = times & (times - 1) == 0 if averaging == HALF else times > 0
        columns = {"t": times, "risk": risk[seed, k]}
        columns |= {"bound": bounds[averaging]} if averaging in bounds else {}
        labels = {"steps": steps, "averaging": averaging, "seed": seed}
        yield from lines_of(labels, {name: column[kept] for name, column in columns.items()})


def run(network: LinearClassifier, power: float, lrs: tuple[float, ...], times: Integers) -> Array:
    """Risk of 64 runs, shape (runs, lrs, averagings, K); all steps see the same rows."""
    asked = [InversePower(power)], np.array(lrs), list(AVERAGINGS.values()), int(times[-1]), times
    job = Job(network, SGD(), *asked, philox.stream_key(0, repr(network)), range(RUNS), "float32")
    return train.compute(job)["risk"][:, 0]


def harvey(horizon: int) -> Array:
    """Risk of the averagings after T steps 1/t, from 0, the minimiser, where f = 0.

    h_i = (a_1 ... a_{i−1}, −1, 0 ...), i ≤ T + 1, a_j = 1/(2(T + 1 − j)); the subgradient is that of the
    first active h_i.
    """
    a = 1 / (2 * np.arange(horizon, 0, -1.0))
    steps = np.ones(horizon)
    weights = [averaging(steps) for averaging in (AVERAGINGS | {HALF: Tail(0.5)}).values()]
    mixing = np.stack(weights, axis=1)[..., None]
    x, average = np.zeros(horizon), np.zeros((4, horizon))
    for t in range(horizon):
        values = products(a, x)
        first = int(np.argmax(values >= values.max() - 1e-12))
        h = np.where(np.arange(horizon) < first, a, 0.0)
        h[first : first + 1] = -1.0
        x = x - (h + x) / (t + 1)
        average = (1 - mixing[t]) * average + mixing[t] * x
    return np.asarray(products(a, average).max(axis=1) + 0.5 * (average**2).sum(axis=1))


def products(a: Array, x: Array) -> Array:
    """h_iᵀx for all i, along the last axis."""
    nothing = np.zeros((*x.shape[:-1], 1))
    before = np.concatenate([nothing, np.cumsum(a * x, axis=-1)], axis=-1)
    return np.asarray(before - np.concatenate([x, nothing], axis=-1))


LOOKS = {
    "last iterate": Look(LAST, "-", "o"),
    "all iterates": Look(shade(AVERAGE, 0.3), (0, (5, 1.5)), "s"),
    "last half": Look(AVERAGE, (0, (1, 1)), "^"),
    "polynomial decay": Look(shade(AVERAGE, -0.5), (0, (3, 1, 1, 1)), "D"),
}


def draw(table: Table) -> Figure:
    """1/(μt), 1/√t, and the instance of the lower bound."""
    figure = new_figure(2.9)
    strong, root, worst = figure.subplots(1, 3)
    draw_risk(strong, table.where("steps", STRONG))
    draw_risk(root, table.where("steps", ROOT))
    draw_risk(worst, table.where("steps", WORST), power=1)
    slope_triangle(strong, 100, 0.4, -1, "$-1$")
    slope_triangle(root, 100, 0.03, -0.5, "$-1/2$")
    strong.set(title=r"a9a, steps $1/(\mu t)$", ylabel="risk", yscale="log")
    root.set(title=r"a9a, steps $1/\sqrt{t}$", ylabel="risk", yscale="log")
    worst.set(title="a worst case", ylabel=r"$T \times$ risk")
    bound = table.where("steps", WORST).above("bound", 0)
    worst.plot(bound["t"], bound["t"] * bound["bound"], ":", color="0.4", label=r"bound $\frac{1}{4}\log T$")
    handles, _ = worst.get_legend_handles_labels()
    patch = Patch(color="0.6", alpha=0.5, lw=0, label="band: 95 % interval of the mean")
    figure.legend(handles=[*handles, patch], loc="outside lower center", ncols=3)
    return figure


def draw_risk(panel: "Axes", table: Table, power: int = 0) -> None:
    """T to this power times the risk, markers where T is a power of 2."""
    for averaging, curve in table.groups("averaging"):
        face = LOOKS[averaging]
        t, risk = curve.runs("risk")
        values, marked = t**power * risk, np.log2(t) % 1 == 0
        band(panel, t, values, face, alpha=0.3)
        panel.plot(t[marked], values.mean(axis=0)[marked], face.marker, color=face.colour)
        panel.plot([], [], marker=face.marker, label=averaging, **face.line())
    panel.set(xscale="log", xlabel="updates $T$")


def rows(table: Table, averaging: str, steps: str = STRONG) -> Table:
    """The rows of one averaging."""
    return table.where("steps", steps).where("averaging", averaging)


def last(averaging: str, steps: str = STRONG) -> Callable[[Table], Array]:
    """The risk of every run at the end, (R,)."""
    return lambda table: rows(table, averaging, steps).runs("risk")[1][:, -1]


def best(averaging: str, among: Sequence[str]) -> Callable[[Table], Array]:
    """As `last` with the best of these steps."""
    return lambda table: min((last(averaging, steps)(table) for steps in among), key=np.mean)


def room(curve: Table) -> Estimate:
    """The bound over the mean risk, where that is least."""
    bounded = curve.above("bound", 0)
    ratios = bounded.runs("risk")[1] / bounded.runs("bound")[1]
    found = mean_estimate(ratios[:, int(np.argmax(ratios.mean(axis=0)))])
    return Estimate(1 / found.value, 1 / found.high, 1 / found.low, exact=False)


def exponent(curve: Table) -> Estimate:
    """Over the last two decades."""
    fit = fit_trajectories(*curve.runs("risk"))
    if isinstance(fit, NoFit):
        raise InputError(f"no exponent: {fit.reason}")
    return Estimate(fit.exponent, *fit.interval, exact=False)


def scaled(table: Table, averaging: str) -> Array:
    """T times the risk in the worst case."""
    found = rows(table, averaging, WORST)
    return np.asarray(found["t"] * found["risk"])


def above_bound(table: Table) -> float:
    """The least risk in the worst case over its bound."""
    found = rows(table, LASTS, WORST)
    return float((found["risk"] / found["bound"]).min())


def growth(averaging: str, printed: str, source: Source) -> Claim:
    """Of T times the risk, over the last doubling of Harvey's instance."""
    return claim(
        f"T times the risk, {averaging}: growth per unit of log T, last doubling",
        source,
        lambda table: float(np.diff(scaled(table, averaging))[-1] / math.log(2)),
        printed,
    )


SHAMIR = Source(
    "Shamir and Zhang 2013", "their experiments", "another setting", "second hand", "on other data"
)
HARVEY = Source(
    "Harvey et al. 2019",
    "their lower bound; its order is in the abstract",
    "this setting",
    "second hand",
    setting="their instance, after exact steps 1/t",
)
RAKHLIN = Source(
    "Rakhlin et al. 2012",
    "section 5, theorem 5",
    "this setting",
    "second hand",
    words="at most O(1/T), exact or noisy subgradients",
    setting="steps 1/(μt) on a strongly convex function",
)
DECAYED = Source(
    "Shamir and Zhang 2013",
    "abstract",
    "this setting",
    "abstract",
    words="an optimal rate",
    setting="the instance is a strongly convex function",
)
CHOSEN = ours("number chosen here")


def room_of(steps: str, averaging: str, bound: str, whose: str, printed: str) -> Claim:
    sentence = f"{steps}, {averaging}: the bound {bound} over the risk, the least"
    source = ours(f"number chosen here; the bound is that of {whose}")
    return claim(sentence, source, lambda d: room(rows(d, averaging, steps)), printed)


best_over_half = partial(
    claim,
    "c/√t, best c: the last iterate's over the last half's",
    ours("number seen here"),
    paired(best(LASTS, tuple(ROOTS)), last(HALF, ROOT)),
)

CLAIMS = (
    room_of(STRONG, LASTS, "17 G²(1 + log T)/(μT)", "Shamir and Zhang 2013, theorem 1", "at least 1000"),
    room_of(STRONG, HALF, "(4 + 5 log 2) G²/(μT)", "Rakhlin et al. 2012, theorem 5", "at least 100"),
    room_of(ROOT, LASTS, "Ω", "Defazio et al. 2023", "at least 50"),
    claim(
        "1/(μt): the last iterate's risk over the last half's",
        CHOSEN,
        paired(last(LASTS), last(HALF)),
        "at least 1.5",
    ),
    claim(
        "1/(μt): the average's risk over the last half's",
        CHOSEN,
        paired(last(ALL), last(HALF)),
        "at least 1.5",
    ),
    claim(
        "1/(μt): the average's risk over the last iterate's",
        CHOSEN,
        paired(last(ALL), last(LASTS)),
        "at least 1",
    ),
    claim(
        "1/√t: the last iterate's risk over that of the average of all",
        CHOSEN,
        paired(last(LASTS, ROOT), last(ALL, ROOT)),
        "at least 1",
    ),
    claim(
        "1/√t suits the last half: its risk over that at the better of 0.3/√t and 3/√t",
        CHOSEN,
        paired(last(HALF, ROOT), best(HALF, OTHERS)),
        "at most 0.8",
    ),
    replace(best_over_half("1.6 ± 0.2"), full=best_over_half("at least 1.6")),
    claim("1/(μt): polynomial decay over the last half", SHAMIR, paired(last(DECAY), last(HALF)), "1 ± 0.1"),
    claim(
        "1/√t: polynomial decay over the last half",
        ours("asked here, too"),
        paired(last(DECAY, ROOT), last(HALF, ROOT)),
        "1 ± 0.1",
    ),
    claim(
        "1/√t: the average's risk over the last half's",
        CHOSEN,
        paired(last(ALL, ROOT), last(HALF, ROOT)),
        "at least 1.1",
    ),
    claim(
        "1/(μt): exponent of the polynomial decay average",
        CHOSEN,
        lambda d: exponent(rows(d, DECAY)),
        "at least 0.95",
    ),
    claim(
        "the log T of the bounds shows here: 1/(μt), exponent of the last iterate",
        ours("a hope; an upper bound promises no such thing"),
        lambda d: exponent(rows(d, LASTS)),
        "at most 0.95",
        refuted="in this window it falls at least like 1/T: what the long first steps left still fades",
    ),
    claim("T times the last iterate's risk over log T/4, the smallest", HARVEY, above_bound, "at least 1"),
    growth(LASTS, "0.25 ± 0.005", ours("seen here; that of their bound")),
    growth(HALF, "0 ± 0.005", RAKHLIN),
    growth(DECAY, "0 ± 0.005", DECAYED),
    growth(ALL, "0 ± 0.005", ours("seen here; in the worst case it has a log")),
)
