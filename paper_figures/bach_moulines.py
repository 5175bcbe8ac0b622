r"""Averaging makes the constant of the step not matter, unless the step falls like 1/t: risk of SGD on x²/2.

Steps C t^−½ (left) and C/t (right), C = 1/5, 1 and 5, for the last iterate (top) and the average of all
iterates (bottom), after the picture of Bach and Moulines (2011). Noise N(0, 1), start at distance 1. Lines:
the exact expected risk. Markers: the mean of 64 runs; bands: its 95 % pointwise interval. Triangles: the
predicted slopes. With t^−½ the last iterate decays like t^−½ in proportion to C, and every average like
1/(2t). With C/t the exponent is min(1, 2C), averaged or not: C = 1/5 is too small, and averaging doesn't
rescue it. C = 5 first grows, by orders of magnitude.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments import jumping
from experiments.evidence import cross_check
from experiments.methods import SGD
from paper_figures import _style
from paper_figures._claims import Claim, exponent
from problems import philox
from problems.noise import Gaussian
from problems.problem import exact_risk
from problems.quadratic import Quadratic
from problems.spectra import Given
from theory import rates
from theory.arrays import Array, Integers, record_times
from theory.averaging import Last, Uniform
from theory.schedules import InversePower, multipliers

PROBLEM = Quadratic(Given((1.0,)), noise=Gaussian(1.0), initial=(1.0,))
POWERS = (0.5, 1.0)
CONSTANTS = (0.2, 1.0, 5.0)
AVERAGINGS = (Last(), Uniform())

_POWER_TEXT = {0.5: "t^{-1/2}", 1.0: "t^{-1}"}
_CONSTANT_TEXT = {0.2: "1/5", 1.0: "1", 5.0: "5"}
_AVERAGING_TEXT = ("last iterate", "average")


@dataclass(frozen=True)
class Curves:
    """Records (K,) with t ≥ 1, exact risk (powers, constants, averagings, K), and that of R runs, (R, …)."""

    times: Integers
    exact: Array
    runs: Array


def data(horizon: int = 10**6, runs: int = 64, seed: int = 0) -> Curves:
    """Exact risk by the moments' recursion, runs by jumping from record to record."""
    times = record_times(horizon, 121)[1:]
    steps = np.stack([multipliers(InversePower(power), horizon) for power in POWERS])
    mixings = [np.stack([averaging(row) for row in steps]) for averaging in AVERAGINGS]
    lrs = np.array(CONSTANTS)
    exact = exact_risk(PROBLEM, steps, lrs, mixings, times)
    assert exact is not None
    key = philox.stream_key(seed, repr(PROBLEM))
    return Curves(
        times, exact, jumping.simulate(PROBLEM, SGD(), steps, lrs, mixings, times, key, range(runs))
    )


def draw(curves: Curves) -> Figure:
    """Step exponents side by side, the last iterate above the average."""
    low, high = _style.mean_interval(curves.runs)
    mean = curves.runs.mean(axis=0)
    with _style.paper():
        figure = _style.figure(_style.FULL, 4.4)
        axes = figure.subplots(2, 2, sharex=True, sharey=True)
        for (a, s), panel in np.ndenumerate(axes):
            for c in range(len(CONSTANTS)):
                colour, marker = _colour(POWERS[s], c), _MARKERS[c]
                shown = slice(4 + 4 * c, None, 16)
                panel.fill_between(curves.times, low[s, c, a], high[s, c, a], color=colour, alpha=0.3, lw=0)
                panel.plot(curves.times, curves.exact[s, c, a], color=colour, ls=_DASHES[c])
                points = curves.times[shown], mean[s, c, a, shown]
                panel.plot(*points, marker, color=colour, mec="white", mew=0.4)
            panel.set(xscale="log", yscale="log", xlim=(1, curves.times[-1]), ylim=(1e-7, 1e4))
            panel.set_title(f"{_AVERAGING_TEXT[a]}, $\\eta_t = C\\,{_POWER_TEXT[POWERS[s]]}$")
        _style.slope_triangle(axes[0, 0], 2e4, 1.5e-5, -0.5, "$-1/2$")
        _style.slope_triangle(axes[0, 1], 2e3, 2e-5, -1, "$-1$")
        _style.slope_triangle(axes[0, 1], 3e4, 2.5e-2, -0.4, "$-2/5$", below=False)
        _style.slope_triangle(axes[1, 0], 2e3, 2e-5, -1, "$-1$")
        _style.slope_triangle(axes[1, 1], 2e3, 2e-5, -1, "$-1$")
        _style.slope_triangle(axes[1, 1], 3e4, 4e-2, -0.4, "$-2/5$", below=False)
        for panel in axes[1]:
            panel.set_xlabel("updates $t$")
        for panel in axes[:, 0]:
            panel.set_ylabel("expected risk")
        figure.legend(handles=_legend(len(curves.runs)), loc="outside lower center", ncols=3)
    return figure


_DASHES: tuple[Any, ...] = ((0, (1, 1)), "-", (0, (5, 1.5)))
_MARKERS = "v^o"
_SHADES = (0.3, 0.0, -0.5)


def _colour(power: float, c: int) -> tuple[float, float, float]:
    return _style.shade(_style.look(InversePower(power)).colour, _SHADES[c])


def _legend(runs: int) -> list[Artist]:
    entries: list[Artist] = []
    for c, constant in enumerate(CONSTANTS):
        line = Line2D(
            [], [], marker=_MARKERS[c], mec="white", mew=0.4, label=f"$C = {_CONSTANT_TEXT[constant]}$"
        )
        line.set(color=_style.shade("#777777", _SHADES[c]), linestyle=_DASHES[c])
        entries.append(line)
    entries.append(Line2D([], [], color="0.4", label="line: exact expectation"))
    entries.append(Line2D([], [], color="0.4", ls="", marker="o", label=f"marker: mean of {runs} runs"))
    entries.append(Patch(color="0.4", alpha=0.3, lw=0, label="band: its 95 % pointwise interval"))
    return [entries[i] for i in (0, 3, 1, 4, 2, 5)]


COLUMNS = ("power", "constant", "averaging", "t", "exact", "mean", "low", "high")


def rows(curves: Curves) -> Iterator[tuple[object, ...]]:
    """One row per curve and record."""
    low, high = _style.mean_interval(curves.runs)
    values = np.stack([curves.exact, curves.runs.mean(axis=0), low, high], axis=-1)
    for s, c, a in np.ndindex(values.shape[:3]):
        for t, line in zip(curves.times.tolist(), values[s, c, a].tolist(), strict=True):
            yield POWERS[s], CONSTANTS[c], repr(AVERAGINGS[a]), t, *line


_SOURCE = "Bach and Moulines 2011"


def _exponent(s: int, c: int, a: int) -> Claim[Curves]:
    predict = (rates.quadratic_last, rates.quadratic_averaged)[a]
    name = f"{_AVERAGING_TEXT[a]}, steps {CONSTANTS[c]:g} t^-{POWERS[s]:g}: the exponent"
    predicted = predict(POWERS[s], 2 * CONSTANTS[c]).power
    return Claim(
        name, _SOURCE, lambda d: exponent(d.times, d.exact[s, c, a]).exponent, predicted, tolerance=0.02
    )


def _constant(c: int, a: int) -> Claim[Curves]:
    """t^p · E x² at the end, for steps C t^-1/2."""
    name = f"{_AVERAGING_TEXT[a]}, steps {CONSTANTS[c]:g} t^-0.5: t^{(0.5, 1)[a]:g} E x² at the end"
    predicted = (CONSTANTS[c] / 2, 1.0)[a]

    def measure(d: Curves) -> float:
        return float(d.times[-1] ** (0.5, 1.0)[a] * 2 * d.exact[0, c, a, -1])

    return Claim(name, _SOURCE, measure, predicted, tolerance=0.01 * predicted)


def _disagreements(d: Curves) -> float:
    """How many curves' runs are at odds with the exact risk, at a simultaneous level of 10⁻³."""
    curves = list(np.ndindex(d.exact.shape[:3]))
    found = (cross_check(d.times, d.exact[at], d.runs[:, *at], comparisons=len(curves)) for at in curves)
    return sum(fault is not None for fault in found)


CLAIMS: tuple[Claim[Curves], ...] = (
    *(_exponent(s, c, a) for s in range(2) for c in range(3) for a in range(2)),
    *(_constant(c, a) for a in range(2) for c in range(3)),
    Claim(
        "averaging rescues a small constant: the average of 0.2/t steps decays like 1/t",
        "a hope; Bach and Moulines 2011 say otherwise",
        lambda d: exponent(d.times, d.exact[1, 0, 1]).exponent,
        1.0,
        tolerance=0.02,
        expect="refuted",
    ),
    Claim("runs at odds with the exact risk", "two engines, one law", _disagreements, 0.0),
)
