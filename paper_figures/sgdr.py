r"""A warm restart gives up what its cycle had annealed; the risk at the next end depends on that cycle alone.

The schedules of Loshchilov and Hutter's figure 1 over 200 epochs of 391 updates (CIFAR-10 in batches of 128):
cosine annealing from 0.05 to 0 with restarts after T_0, T_0 T_mult, T_0 T_mult², ... epochs, and the default
that divides its rate by 5 at epochs 60, 120 and 160. They run on a quadratic instead of a network: dimension
20, log-uniform eigenvalues from 10⁻³ to 1, gradient noise N(0, 0.1²), heavy ball with momentum 0.9 as in
their equations (3) and (4), every direction starting with the same share of the risk 1/2. The risk is exact.

Top left: the rates. Top right: T_0 = 10, T_mult = 2, beside cosine that ends after 30, 70 or 150 epochs. A
restart takes the risk back to the level of constant steps of 0.05 (grey). Bottom left: the recommended
solution, the last end of a cycle. Bottom right: risk at the end of a cycle against the cycle's length, all
settings together. Once the start is forgotten, an end that comes down like η_0 (π²/4)(1 − t/T)² leaves, to
leading order (Laplace's method),

    (1/6) Γ(5/3) (3/2)^(5/3) (π²/4)^(1/3) (η_0/(1 − β))^(1/3) σ² Σ λ_i^(−2/3) T^(−2/3),

the grey line of slope −2/3: what went before the cycle doesn't count. So at epoch 150 doubled periods cost
(150/80)^(2/3) = 1.52 against cosine over 150 epochs (found: 1.50), and until epoch 125 T_0 = 10, doubled, is
below the default from 0.05. Cosine over all 200 epochs is the worst of all seven by the mean log risk, and
ends lowest of the five, below the default from 0.1 and above that from 0.05.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ratelab.experiments.judging.evidence import slope_weights
from ratelab.experiments.sources import Source
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.exact import last_risk
from ratelab.paper_figures.house.style import Look, looks_of, new_figure, shade, slope_triangle
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.combine import Repeat
from ratelab.theory.schedules import Constant, Cosine, MultiStep, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Warm restarts",
    group="Papers",
    source="Loshchilov and Hutter 2017, figures 1 and 2",
    link="https://arxiv.org/abs/1608.03983",
    topics=("cycles", "decay", "shapes"),
    seconds=(1, 1),
)

EPOCH, EPOCHS, PER_EPOCH = 391, 200, 2
BETA, SD, PEAK = 0.9, 0.1, 0.05
DROPS = MultiStep((60 * EPOCH, 120 * EPOCH, 160 * EPOCH), gamma=0.2)
SETTINGS: dict[str, tuple[Schedule, float, int, int]] = {
    "default, 0.1": (DROPS, 0.1, 0, 1),
    "default, 0.05": (DROPS, PEAK, 0, 1),
    "$T_0 = 50$": (Repeat(Cosine(), 50 * EPOCH), PEAK, 50, 1),
    "$T_0 = 100$": (Repeat(Cosine(), 100 * EPOCH), PEAK, 100, 1),
    "$T_0 = 200$": (Repeat(Cosine(), 200 * EPOCH), PEAK, 200, 1),
    "$T_0 = 1$, doubled": (Repeat(Cosine(), EPOCH, growth=2.0), PEAK, 1, 2),
    "$T_0 = 10$, doubled": (Repeat(Cosine(), 10 * EPOCH, growth=2.0), PEAK, 10, 2),
}
"""Name: shape, lr, T_0 (0 where there are no cycles), T_mult."""

FIRST, DEFAULT, FIFTY, HUNDRED, WHOLE, ONE, TEN = SETTINGS
FOUR = (FIFTY, HUNDRED, ONE, TEN)
"""Those that restart within the 200 epochs."""
TIMES = np.arange(EPOCHS * PER_EPOCH + 1) / PER_EPOCH
LAMBDAS = LogUniform(dim=20, condition_number=1000.0)
PROBLEM = Quadratic(LAMBDAS, Gaussian(SD), tuple(((20 * LAMBDAS.eigenvalues()) ** -0.5).tolist()))


def cycles(first: int, growth: int) -> tuple[Integers, Integers]:
    """End and length of every whole cycle, in epochs; there are seven at most."""
    lengths = first * growth ** np.arange(7)
    ends = np.cumsum(lengths)
    whole = (ends > 0) & (ends <= EPOCHS)
    return ends[whole], lengths[whole]


def descend(schedule: Schedule, lr: float, epochs: int = EPOCHS) -> tuple[Array, Array]:
    """The rates of all updates, and the risk at TIMES up to `epochs`."""
    s = multipliers(schedule, epochs * EPOCH)
    records = np.rint(TIMES[: epochs * PER_EPOCH + 1] * EPOCH).astype(np.int64)
    return lr * s, last_risk(PROBLEM, s, np.array([lr]), records, BETA)[0]


def recommended(risk: Array, ends: Integers) -> Array:
    """The last iterate until the first cycle ends, from then on that of the last end."""
    result = risk.copy()
    for end in ends:
        result[end * PER_EPOCH :] = risk[end * PER_EPOCH]
    return result


def annealed(length: float) -> float:
    """The risk at the end of a cosine over `length` epochs by the caption's formula."""
    lam = PROBLEM.eigenvalues
    curve = PEAK / (1 - BETA) * math.pi**2 / (4 * (length * EPOCH) ** 2)
    moments = SD**2 / 3 * math.gamma(5 / 3) * (3 / (2 * lam)) ** (5 / 3) * curve ** (1 / 3)
    return float(0.5 * lam @ moments)


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per setting and half epoch and per end of a cycle; cosine without restarts, and the level of
    constant steps. The full form is the quick one."""
    found: list[dict[str, object]] = []
    for k, (name, (schedule, lr, first, growth)) in enumerate(SETTINGS.items()):
        label = {"name": name, "schedule": repr(schedule)}
        rates, risk = descend(schedule, lr)
        ends, lengths = cycles(first, growth)
        along = {
            "epoch": TIMES,
            "rate": np.append(rates, np.nan)[np.rint(TIMES * EPOCH).astype(int)],
            "risk": risk,
            "recommended": recommended(risk, ends),
        }
        found += lines_of({"panel": "run", **label}, along)
        formula = np.array([annealed(length) for length in lengths])
        reached = {"epoch": ends, "length": lengths, "risk": risk[ends * PER_EPOCH], "predicted": formula}
        found += lines_of({"panel": "end", **label}, reached)
        report(k + 1, len(SETTINGS))
    for epochs in (30, 70, 150):
        risk = descend(Cosine(), PEAK, epochs)[1]
        label = {"name": f"cosine over {epochs}", "schedule": repr(Cosine())}
        found += lines_of({"panel": "single", **label}, {"epoch": TIMES[: len(risk)], "risk": risk})
    level = descend(Constant(), PEAK)[1][-1]
    label = {"name": "constant, 0.05", "schedule": repr(Constant())}
    return table_of([*found, {"panel": "constant", **label, "epoch": EPOCHS, "rate": PEAK, "risk": level}])


AMOUNTS = (0.55, 0.0, 0.45, 0.2, -0.6, 0.0, -0.35)
"""How much lighter or darker a setting is than its schedule's colour."""


def draw(table: Table) -> Figure:
    """Rates, one setting with its restarts, recommended solutions, and the ends of cycles."""
    figure = new_figure(4.4)
    (rates, restarts), (risks, lengths) = figure.subplots(2, 2)
    runs, ends = table.where("panel", "run"), table.where("panel", "end")
    faces = {
        name: replace(face, colour=shade(face.colour, amount))
        for (name, face), amount in zip(looks_of(runs).items(), AMOUNTS, strict=True)
    }
    for name, curve in runs.groups("name"):
        rates.plot(curve["epoch"], curve["rate"], label=name, **faces[name].line())
        risks.plot(curve["epoch"], curve["recommended"], **faces[name].line())
    draw_restarts(restarts, table, faces["$T_0 = 10$, doubled"])
    for name, reached in ends.groups("name"):
        lengths.plot(reached["length"], reached["risk"], faces[name].marker, color=faces[name].colour)
    order = np.argsort(ends["length"])
    lengths.plot(ends["length"][order], ends["predicted"][order], color="0.6", lw=0.8, zorder=1)
    slope_triangle(lengths, 20, 8e-3, -2 / 3, "$-2/3$", decades=0.6, below=False)
    for panel in (rates, restarts, risks):
        panel.set(xlabel="epoch", xlim=(0, 200), yscale="log")
    rates.set(ylabel="learning rate", ylim=(1e-4, 0.2))
    restarts.set(ylabel="risk", ylim=(4e-4, 0.5))
    risks.set(ylabel="risk, recommended", ylim=(4e-4, 0.5))
    lengths.set(xlabel="length of the cycle [epochs]", ylabel="risk at its end", xscale="log", yscale="log")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def draw_restarts(panel: "Axes", table: Table, face: Look) -> None:
    """Against single cosines, which end at the crosses, and the level of constant steps."""
    panel.axhline(table.where("panel", "constant").first("risk"), color="0.6", lw=0.8)
    for _, curve in table.where("panel", "single").groups("name"):
        panel.plot(curve["epoch"], curve["risk"], color="0.3", lw=0.6)
        panel.plot(curve["epoch"][-1], curve["risk"][-1], "x", color="0.3")
    panel.plot([], [], color="0.3", lw=0.6, marker="x", label="cosine, once")
    curve = table.where("panel", "run").where("name", "$T_0 = 10$, doubled")
    panel.plot(curve["epoch"], curve["risk"], **face.line())


def rows(table: Table, name: str, panel: str = "run") -> Table:
    """Those of one setting."""
    return table.where("panel", panel).where("name", name)


def end(table: Table, name: str, epoch: int) -> float:
    """The risk at the end of a cycle."""
    return float(rows(table, name, "end").where("epoch", epoch).first("risk"))


def last(table: Table, name: str) -> float:
    """The risk of the last recommended solution."""
    return float(rows(table, name)["recommended"][-1])


def since(table: Table, name: str, epoch: int) -> float:
    """The largest risk from an epoch on."""
    return float(rows(table, name)["risk"][epoch * PER_EPOCH :].max())


def rise(table: Table, name: str, epoch: int) -> float:
    """By which factor, in an epoch."""
    risk = rows(table, name)["risk"]
    return float(risk[(epoch + 1) * PER_EPOCH] / risk[epoch * PER_EPOCH])


def slope(table: Table) -> float:
    """Of the log of the risk at the ends of cycles of 20 epochs and more."""
    long = table.where("panel", "end").above("length", 19)
    return float(slope_weights(long["length"]) @ np.log(long["risk"]))


def anytime(table: Table, name: str) -> float:
    """The geometric mean over all epochs of the recommended solution's risk."""
    return float(np.exp(np.log(rows(table, name)["recommended"][PER_EPOCH:]).mean()))


def ahead(table: Table) -> float:
    """The epoch before which T_0 = 10, doubled, is below the default from 0.05, from epoch 1 on."""
    one, other = rows(table, TEN), rows(table, DEFAULT)
    behind = one["epoch"][PER_EPOCH:][(one["recommended"] >= other["risk"])[PER_EPOCH:]]
    return float(min(behind, default=math.inf))


def recommended_at(table: Table, name: str, epoch: int) -> float:
    """The risk of the recommended solution."""
    return float(rows(table, name)["recommended"][epoch * PER_EPOCH])


PAPER = Source("Loshchilov and Hutter 2017", "section 4.2", "another setting", "full text", "in test error")
HERE = ours("derived in the caption")

CLAIMS = (
    claim(
        "a restart worsens performance: the least factor by which risk rises in an epoch, T_0 = 10, doubled",
        PAPER.at("section 3", "often, temporarily"),
        lambda d: min(rise(d, TEN, epoch) for epoch in (10, 30, 70, 150)),
        "at least 1",
    ),
    claim(
        "... at epoch 150 it rises by the level of constant steps over the formula",
        HERE,
        lambda d: since(d, TEN, 150) / end(d, TEN, 150),
        f"{PEAK / (1 - BETA) * SD**2 * 20 / 4 / annealed(80)} ± 1",
    ),
    claim(
        "no restart takes the risk above the level of constant steps of 0.05: largest ratio after epoch 30",
        ours("derived here: a smaller step contracts towards a lower level (exactly so without momentum)"),
        lambda d: (
            max(since(d, name, 30) for name in (*FOUR, WHOLE)) / d.where("panel", "constant").first("risk")
        ),
        "at most 1",
    ),
    claim(
        "an end depends on its own cycle alone: T_0 = 50, risk at epoch 200 over that at epoch 50",
        HERE,
        lambda d: end(d, FIFTY, 200) / end(d, FIFTY, 50),
        "1 ± 0.001",
    ),
    claim(
        "risk at the ends of cycles of 20 epochs and more: slope of its log on the log of the length",
        HERE,
        slope,
        f"{-2 / 3} ± 0.04",
    ),
    claim(
        "risk at the end of cosine over 200 epochs, relative to the formula",
        HERE,
        lambda d: end(d, WHOLE, 200) / rows(d, WHOLE, "end").first("predicted"),
        "1 ± 0.03",
    ),
    claim(
        "at epoch 150 restarts cost a factor (150/80)^(2/3) against cosine over 150 epochs",
        HERE,
        lambda d: end(d, TEN, 150) / float(rows(d, "cosine over 150", "single")["risk"][-1]),
        f"{(150 / 80) ** (2 / 3)} ± 0.03",
    ),
    claim(
        "T_0 = 200 has the worst anytime performance: mean log risk, ratio to the worst of the other six",
        PAPER.at("section 4.2", "except for the very last epochs"),
        lambda d: anytime(d, WHOLE) / max(anytime(d, name) for name in SETTINGS if name != WHOLE),
        "at least 1",
    ),
    claim(
        "doubling gives good anytime performance: mean log risk, ratio of T_0 = 10 to the default from 0.05",
        PAPER,
        lambda d: anytime(d, TEN) / anytime(d, DEFAULT),
        "at most 1",
    ),
    claim(
        "SGDR optimizes training loss faster than the default until about epoch 120: when the default from "
        "0.05 first meets T_0 = 10, doubled",
        PAPER.at("section 4.2 and figure 7", "about"),
        ahead,
        "120 ± 10",
    ),
    claim(
        "T_0 = 200 ends best of the five: ratio to the best of the other four, T_0 = 100, by the formula",
        HERE,
        lambda d: last(d, WHOLE) / min(last(d, name) for name in FOUR),
        f"{2 ** (-2 / 3)} ± 0.02",
    ),
    claim(
        "T_0 = 200 ends better than the default from 0.1: ratio of the risks after 200 epochs",
        PAPER.at("table 1: 3.86 against 4.24 %", "on CIFAR-10, in test error"),
        lambda d: last(d, WHOLE) / last(d, FIRST),
        "at most 1",
    ),
    claim(
        "... than the default from 0.05",
        PAPER.at("table 1: 3.86 against 4.13 %", "on CIFAR-10, in test error"),
        lambda d: last(d, WHOLE) / last(d, DEFAULT),
        "at most 1",
        refuted="on this quadratic three divisions by 5 from 0.05 end 18 % below cosine",
    ),
    claim(
        "SGDR needs 2 to 4 times fewer epochs for comparable results, to 10 %: risk of T_0 = 10, doubled, at "
        "epoch 100 over that of the default from 0.05 after 200",
        PAPER.at("sections 1 and 4.2", "about, in test error"),
        lambda d: recommended_at(d, TEN, 100) / last(d, DEFAULT),
        "at most 1.1",
        refuted="at epoch 100 it is 3.4 times as high, and after 200 still 2.2 times",
    ),
)
