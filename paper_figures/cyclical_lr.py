r"""With noise a range test reads its own length; cycles end below constant steps, linear decay below cycles.

Least squares with fresh features instead of Smith's networks: dimension 20, log-uniform eigenvalues from 10⁻³
to 1, label noise N(0, 0.1²), batch 1. Exact expected risk; every lr as a multiple of the largest stable
constant step.

Top left: Smith's policies, base_lr a sixth of max_lr and stepsize 2000 as in his section 3.1, gamma 0.99994
as in his figure 4; not the stages of his table 2. In exp_range both bounds decline like gamma^t, as he
writes; CyclicLR scales their difference alone (thin). Top right: the range test, a linearly growing lr, in
1000, 4000 and 16,000 updates; markers: where the risk turns, at 0.42, 0.29 and 0.20 times the limit (vertical
line), because the noise grows with the lr. In 16,000 updates it is back at its start near 0.96 times the
limit, where a constant step ends there. Without noise (grey, 500 updates) it shrinks so far before the limit
that it comes back at 2.30 times it, where z (log z − 1) = 1, z = ηL − 1.

Bottom left: the policies with max_lr where the test of 4000 updates turns. The first end of a triangular
cycle lies below a constant base_lr, that after 68,000 updates above. Bottom right: risk after 24,000 updates
against max_lr (vertical line: the one on the left). Each with its best max_lr, triangular ends below constant
steps; a linear decay to 0 from the max_lr on the left ends six times below triangular2. The best constant
step is 36 times smaller than the largest that converges.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.exact import last_risk
from ratelab.paper_figures.house.style import looks_of, new_figure, ordered
from ratelab.paper_figures.house.table import Lines, Table, lines_of, table_of
from ratelab.problems.noise import NoNoise
from ratelab.problems.problem import Problem, critical_lr
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.combine import Product, Scaled, Then
from ratelab.theory.cycles import Triangular
from ratelab.theory.schedules import Constant, Exponential, Linear, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Cyclical learning rates and the range test",
    group="Papers",
    source="Smith 2017, figures 1 to 4",
    link="https://arxiv.org/abs/1506.01186",
    topics=("cycles", "noise", "shapes"),
    seconds=(1, 1),
)

SPECTRUM = LogUniform(dim=20, condition_number=1000.0)
PROBLEM = StreamingLeastSquares(SPECTRUM, label_sd=0.1)
LIMIT = critical_lr(PROBLEM)
CYCLE, BASE, GAMMA = 4000, 1 / 6, 0.99994
UPDATES, LONG = 24_000, 70_000

POLICIES: dict[str, Schedule] = {
    "fixed at base lr": Scaled(Constant(), BASE),
    "triangular": Triangular(CYCLE, low=BASE),
    "triangular2": Triangular(CYCLE, low=BASE, decay=0.5),
    "exp range": Product(Triangular(CYCLE, low=BASE), Exponential(GAMMA)),
    "decay in a cycle, then base lr": Then(Linear(final=BASE), Scaled(Constant(), BASE), at=CYCLE),
    "linear decay to 0": Linear(),
}
FIXED, TRIANGULAR, HALVED, RANGE, DECAY, LINEAR = POLICIES
FRAMEWORK = Triangular(CYCLE, low=BASE, gamma=GAMMA)

TESTS = (1000, 4000, 16_000)
NOISELESS, POINTS = 500, 500
TIMES = np.arange(200, LONG + 1, 200)
SHOWN = np.arange(0, UPDATES, 100)
MAXIMA = np.geomspace(0.005, 1.0, 60)
SEEN = 1e3
"""Risks beyond are not drawn."""


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per point of a range test, and per policy and time or max_lr; lrs in units of the largest stable
    one, 2/L where there is no noise. The full form is the quick one."""
    found: list[dict[str, object]] = []
    for updates in TESTS:
        labels = {"panel": "range test", "name": f"range test of {updates}", "updates": updates}
        found += range_test(labels, PROBLEM, LIMIT, updates, 2.0)
    max_lr = turn(table_of(found), 4000)
    for k, name in enumerate(POLICIES):
        found += policy(name, max_lr)
        report(k + 1, len(POLICIES))
    labels = {"panel": "framework", "name": RANGE, "schedule": repr(FRAMEWORK)}
    found += lines_of(labels, {"updates": SHOWN, "rate": multipliers(FRAMEWORK, UPDATES)[SHOWN]})
    quadratic, lrs = Quadratic(SPECTRUM, noise=NoNoise()), np.linspace(0.01, 1, 100)
    labels = {"panel": "noiseless test", "name": "range test without noise", "updates": NOISELESS}
    found += range_test(labels, quadratic, 2.0, NOISELESS, 2.4)
    risk = last_risk(quadratic, np.ones(NOISELESS), 2 * lrs, np.array([NOISELESS]))[:, 0]
    labels = {"panel": "noiseless constant", "schedule": repr(Constant()), "updates": NOISELESS}
    return table_of([*found, *lines_of(labels, {"lr": lrs, "risk": risk})])


def range_test(
    labels: Mapping[str, object], problem: Problem, limit: float, updates: int, top: float
) -> Lines:
    """The risk at POINTS of an lr that grows linearly up to `top` times the limit, as far as it is seen."""
    points = np.arange(1, POINTS + 1)
    rise = np.arange(1, updates + 1) / updates
    risk = last_risk(problem, rise, np.array([top * limit]), points * updates // POINTS)[0]
    return lines_of(labels, {"lr": (points / POINTS * top)[risk < SEEN], "risk": risk[risk < SEEN]})


def policy(name: str, max_lr: float) -> Iterator[dict[str, object]]:
    """The rates of a policy, the risk along it with `max_lr` and after 24,000 updates with all others, and
    when it is least around the third end of a cycle."""
    steps = multipliers(POLICIES[name], UPDATES if name == LINEAR else LONG)
    label, lr = {"name": name, "schedule": repr(POLICIES[name])}, np.array([max_lr * LIMIT])
    yield from lines_of({"panel": "policy", **label}, {"updates": SHOWN, "rate": steps[SHOWN]})
    records = TIMES[len(steps) >= TIMES]
    risk = last_risk(PROBLEM, steps, lr, records)[0]
    yield from lines_of({"panel": "along", **label, "lr": max_lr}, {"updates": records, "risk": risk})
    risk = last_risk(PROBLEM, steps[:UPDATES], MAXIMA * LIMIT, np.array([UPDATES]))[:, 0]
    seen = {"lr": MAXIMA[risk < SEEN], "risk": risk[risk < SEEN]}
    yield from lines_of({"panel": "sweep", **label, "updates": UPDATES}, seen)
    if name in (TRIANGULAR, HALVED):
        around = 3 * CYCLE + np.arange(-CYCLE // 2, CYCLE // 2)
        risk = last_risk(PROBLEM, steps, lr, around)[0]
        least = {"updates": around[risk.argmin()], "risk": risk.min()}
        yield {"panel": "least", **label, "lr": max_lr, **least}


def rows(table: Table, panel: str, name: str) -> Table:
    """Those of one curve."""
    return table.where("panel", panel).where("name", name)


def draw(table: Table) -> Figure:
    """Policies, range tests, risk along the run, risk against max_lr."""
    figure = new_figure(4.4)
    (rates, tests), (runs, sweeps) = figure.subplots(2, 2)
    faces = looks_of(table.where("panel", "policy"))
    for name, face in faces.items():
        rate, risk, sweep = (rows(table, panel, name) for panel in ("policy", "along", "sweep"))
        rates.plot(rate["updates"], rate["rate"], label=name, **face.line())
        runs.plot(risk["updates"], risk["risk"], **face.line())
        sweeps.plot(sweep["lr"], sweep["risk"], **face.line())
    framework, thin = table.where("panel", "framework"), faces["exp range"].line() | {"lw": 0.5}
    rates.plot(framework["updates"], framework["rate"], label="exp range in CyclicLR", **thin)
    draw_tests(tests, table)
    sweeps.axvline(table.where("panel", "along").first("lr"), color="0.6", lw=0.8)
    rates.set(xlabel="updates", ylabel="rate over max lr", xticks=(0, 8000, 16000, 24000))
    runs.set(xlabel="updates", ylabel="risk", yscale="log", ylim=(1e-5, 5e-3), xlim=(0, 72000))
    sweeps.set(xlabel="max lr over the limit", ylabel="risk after 24,000", xscale="log", yscale="log")
    sweeps.set(ylim=(1e-5, 1e-2))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_tests(panel: "Axes", table: Table) -> None:
    """Range tests, the limit, and where each turns."""
    tests = list(table.where("panel", "range test").groups("name"))
    for (name, curve), face in zip(tests, ordered(len(tests)), strict=True):
        lowest = int(curve["risk"].argmin())
        panel.plot(curve["lr"], curve["risk"], label=name, **face.line())
        panel.plot(curve["lr"][lowest], curve["risk"][lowest], face.marker, color=face.colour)
    curve = table.where("panel", "noiseless test")
    panel.plot(curve["lr"], curve["risk"], "-.", color="0.6", label=curve.first("name"))
    panel.axvline(1.0, color="0.6", lw=0.8)
    panel.set(xlabel="lr over the limit", ylabel="risk", yscale="log", xlim=(0, 2.4), ylim=(1e-6, 1e2))


def least(curve: Table) -> float:
    """The lr of the least risk."""
    return float(curve["lr"][curve["risk"].argmin()])


def lowest(table: Table, name: str) -> float:
    """The least risk of a policy after 24,000 updates, over all max_lr."""
    return float(rows(table, "sweep", name)["risk"].min())


def turn(table: Table, updates: int) -> float:
    """Where the risk of a range test turns."""
    return least(table.where("panel", "range test").where("updates", updates))


def back(curve: Table) -> float:
    """The lr at which a range test is back at its start."""
    late = curve["lr"][(curve["risk"] > PROBLEM.constants.start_risk) & (curve["lr"] > least(curve))]
    return float(min(late, default=math.inf))


def at(table: Table, panel: str, name: str, updates: int) -> float:
    """The rate of a policy, or the risk along it, after so many updates."""
    found = rows(table, panel, name).where("updates", updates)
    return float(found.first("risk" if panel == "along" else "rate"))


def ratio(name: str, updates: int, other: str, others: int) -> Measure:
    """Of the risks along two policies."""
    return lambda table: at(table, "along", name, updates) / at(table, "along", other, others)


def level_reached() -> float:
    """The lr whose constant steps end with the risk of the start: σ² k/(1 − k) = 2 f(x_0)."""
    lam = SPECTRUM.eigenvalues()

    def excess(lr: float) -> float:
        k = float(np.sum(lr * LIMIT * lam / (2 - 2 * lr * LIMIT * lam)))
        return PROBLEM.label_sd**2 * k / (1 - k) - 2 * PROBLEM.constants.start_risk

    return float(brentq(excess, 0.1, 0.9999))


def overshoot() -> float:
    """z (log z − 1) = 1, z = ηL − 1."""
    return (1 + float(brentq(lambda z: z * (math.log(z) - 1) - 1, 3, 4))) / 2


def as_good(table: Table) -> float:
    """After how many updates the fixed base_lr has what triangular2 has after 24,000, over 24,000."""
    fixed = rows(table, "along", FIXED)
    met = fixed["updates"][fixed["risk"] <= at(table, "along", HALVED, UPDATES)]
    return float(min(met, default=math.inf)) / UPDATES


SMITH = Source("Smith 2017", "section 3.3", "another setting", "full text")
BENGIO = SMITH.at("section 3.3, after Bengio 2012", "a rule of thumb, usually")
HERE = ours()
FACTOR = "the best lr is within a factor of two of the largest that converges: their ratio, {}"

CLAIMS = (
    claim(
        "CyclicLR's exp_range read as the paper's, where each boundary declines: base_lr after 20,000",
        ours("asked here: Smith 2017, section 3.1; torch's docstring says that it scales the amplitude"),
        lambda d: at(d, "framework", RANGE, 20_000) / at(d, "framework", RANGE, 0),
        f"{GAMMA**20_000} ± 0.01",
        refuted="only the difference of the bounds declines, base_lr stays",
    ),
    claim(
        "a range test tells max_lr whatever its length: where one of 16,000 updates turns over one of 1000",
        ours("asked here of the test of Smith 2017, section 3.3"),
        lambda d: turn(d, 16_000) / turn(d, 1000),
        "1 ± 0.1",
        refuted="with noise the reading is halved in a test of 16 times the length",
    ),
    claim(
        "it turns below half the limit: the largest lr over the limit at which one of the three does",
        HERE,
        lambda d: max(turn(d, updates) for updates in TESTS),
        "at most 0.5",
    ),
    claim(
        "a test of 16,000 updates is back at its start where constant steps end there: lr over the limit",
        ours("derived here: σ² k/(1 - k) = 2 f(x_0)"),
        lambda d: back(d.where("panel", "range test").where("updates", 16_000)),
        f"{level_reached()} ± 0.02",
    ),
    claim(
        "without noise the range test overshoots: lr over 2/L at which it is back at its start",
        ours("derived here: z (log z - 1) = 1, z = ηL - 1"),
        lambda d: back(d.where("panel", "noiseless test")),
        f"{overshoot()} ± 0.02",
    ),
    claim(
        FACTOR.format("without noise"),
        BENGIO,
        lambda d: least(d.where("panel", "noiseless constant")),
        "at least 0.5",
    ),
    claim(
        FACTOR.format("with noise"),
        BENGIO,
        lambda d: BASE * least(rows(d, "sweep", FIXED)),
        "at least 0.5",
        refuted="for 24,000 updates the best constant step is 36 times smaller than the largest",
    ),
    claim(
        "max_lr where the test turns is a good choice, to a factor of two: best max_lr of triangular over it",
        SMITH,
        lambda d: least(rows(d, "sweep", TRIANGULAR)) / turn(d, 4000),
        "at least 0.5",
        refuted="the best max_lr for six cycles is 0.28 of it",
    ),
    claim(
        "it is best to stop at the end of a cycle: how much later the risk is least, in cycles, at most",
        SMITH.at("section 3.2"),
        lambda d: float(d.where("panel", "least")["updates"].max()) / CYCLE - 3,
        "0 ± 0.02",
    ),
    claim(
        "cyclical instead of fixed rates improve: least risk of triangular over that of fixed, after 24,000",
        SMITH.at("abstract", "in accuracy"),
        lambda d: lowest(d, TRIANGULAR) / lowest(d, FIXED),
        "at most 1",
    ),
    claim(
        "in fewer iterations: those that fixed needs for what triangular2 has after 24,000, over these",
        SMITH.at("abstract", "often"),
        as_good,
        "at least 1",
    ),
    claim(
        "a decay within one cycle, base_lr from then on, ends above triangular2: ratio of the risks",
        SMITH.at("section 4.1.1 and table 1", "evidence, in accuracy"),
        ratio(DECAY, UPDATES, HALVED, UPDATES),
        "at least 1",
    ),
    claim(
        "no schedule that never rises ends below triangular2: ratio of the risks, linear decay to 0",
        ours("asked here: the paper has the rises essential, and tries another decay"),
        ratio(LINEAR, UPDATES, HALVED, UPDATES),
        "at least 1",
        refuted="a linear decay from the same max_lr ends six times lower",
    ),
    claim(
        "the first end of a triangular cycle lies below the fixed base_lr: ratio after 4000 updates",
        HERE,
        ratio(TRIANGULAR, CYCLE, FIXED, CYCLE),
        "at most 1",
    ),
    claim(
        "in the long run its ends lie above, with the noise of larger steps: ratio after 68,000 updates",
        HERE,
        ratio(TRIANGULAR, 68_000, FIXED, 68_000),
        "at least 1",
    ),
)
