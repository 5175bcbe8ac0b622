r"""Gradient descent on two quadratics: three learning rates, and what the condition number costs.

Dive into Deep Learning, section 12.3. Top: ten updates from x = 10 on f = x², whose Hessian is L = 2. Every
update multiplies x by 1 − 2η: η = 0.05 shrinks it by a tenth, η = 0.2 by two fifths, η = 1.1 turns it round
and lets it grow by a fifth (that panel is six times as wide).

Bottom left: twenty updates from (−5, −2) on f = x₁² + 2x₂², L = 4, μ = 2, with the book's η = 0.1, and with
the best constant step 2/(L + μ) = 1/3, which is as near after five. Bottom middle: by what factor one update
shrinks the distance, from the worst start, run (dots) and predicted (line), max |1 − ηλ| over λ = μ, L: its
minimum is (κ − 1)/(κ + 1), and it passes 1 at 2/L. Bottom right: updates until the distance is a millionth,
on quadratics with condition number κ = L/μ; dots are runs, lines are log 10⁶ / log(1/factor). Both steps need
T ∝ κ, and the step 1/L, whose factor is 1 − 1/κ, twice as many as the best one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from ratelab.experiments.evidence import slope_weights
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import Look, new_figure, ordered, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Gradient descent and its learning rate",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola 2023, section 12.3",
    link="https://d2l.ai/chapter_optimization/gd.html",
    topics=("condition number", "rates"),
    seconds=(0.2, 0.2),
)

LINE = np.array([0.05, 0.2, 1.1])
"""Learning rates on f = x²."""

PLANE = np.array([2.0, 4.0])
"""Hessian of f = x₁² + 2x₂²."""

GRID = np.arange(0.02, 0.605, 0.02)
KAPPAS = np.geomspace(2.0, 1000.0, 10)
NEAR = 1e-6


@dataclass(frozen=True)
class Descents:
    """What was run: paths, contraction factors, and how long it takes.

    line (3, 11): x for every η of `LINE`;  plane (2, 21, 2): the book's path, and that of the best step
    factors (n,): the contraction of one update on the plane for every η of `GRID`
    best_steps, best_factors (m,): the least contraction over η for every κ of `KAPPAS`, where L = 1
    updates (2, m): until the distance is `NEAR` of what it was, with the step 2/(L + μ) and with 1/L
    """

    line: Array
    plane: Array
    factors: Array
    best_steps: Array
    best_factors: Array
    updates: Array


def descend(hessian: Array, eta: Array | float, start: Array, updates: int) -> Array:
    """x_0 … x_T along the first axis, for diagonal Hessians: x ← x − η λ x."""
    path = [start]
    for _ in range(updates):
        path.append(path[-1] - eta * (hessian * path[-1]))
    return np.array(path)


def contraction(hessian: Array, eta: float, updates: int = 20) -> float:
    """Per update, in the largest component, from a start with equal ones."""
    end = descend(hessian, eta, np.ones_like(hessian), updates)[-1]
    return float(np.abs(end).max() ** (1 / updates))


def waits(steps: Array) -> Array:
    """Updates until both components are below `NEAR`, for every step (2, m) at the condition numbers."""
    hessian = np.stack([np.ones_like(KAPPAS), 1 / KAPPAS], axis=-1)
    x = np.ones((*steps.shape, 2))
    count = np.zeros(steps.shape)
    while np.any(far := np.abs(x).max(axis=-1) > NEAR):
        x -= steps[..., None] * (hessian * x)
        count += far
    return count


def data(full: bool = False, report: Report = quiet) -> Descents:
    """Everything; the full form is the quick one."""
    line = descend(np.full(3, 2.0), LINE, np.full(3, 10.0), 10).T
    start = np.array([-5.0, -2.0])
    plane = np.stack([descend(PLANE, eta, start, 20) for eta in (0.1, 2 / PLANE.sum())])
    factors = np.array([contraction(PLANE, eta) for eta in GRID])
    least = [
        minimize_scalar(
            lambda eta, kappa=kappa: contraction(np.array([1.0, 1 / kappa]), eta),
            bounds=(0.5, 2.5),
            method="bounded",
            options={"xatol": 1e-10},
        )
        for kappa in KAPPAS
    ]
    best = np.array([found.x for found in least])
    updates = waits(np.stack([2 / (1 + 1 / KAPPAS), np.ones_like(KAPPAS)]))
    return Descents(line, plane, factors, best, np.array([found.fun for found in least]), updates)


def best_factor(kappa: Array) -> Array:
    """(κ − 1)/(κ + 1), of the step 2/(L + μ)."""
    return (kappa - 1) / (kappa + 1)


COLUMNS = ("what", "step", "eta", "update", "x1", "x2", "condition_number", "value", "predicted")


def rows(d: Descents) -> Iterator[tuple[object, ...]]:
    """`value` is f on a path, a factor, or a number of updates."""
    none = float("nan")
    for eta, path in zip(LINE.tolist(), d.line, strict=True):
        for k, x in enumerate(path.tolist()):
            yield "line", f"{eta:g}", eta, k, x, none, none, x**2, (1 - 2 * eta) ** (2 * k) * 100
    for name, eta, path in zip(("0.1", "2/(L + mu)"), (0.1, 1 / 3), d.plane, strict=True):
        for k, (x1, x2) in enumerate(path.tolist()):
            yield "plane", name, eta, k, x1, x2, 2.0, x1**2 + 2 * x2**2, none
    measured = dict(zip(GRID.tolist(), d.factors.tolist(), strict=True))
    for eta in sorted([*measured, 1 / 3]):  # the line has its corner at 1/3
        predicted = float(np.abs(1 - eta * PLANE).max())
        yield "factor", "", eta, none, none, none, 2.0, measured.get(eta, none), predicted
    factors = best_factor(KAPPAS), 1 - 1 / KAPPAS
    for name, factor, updates in zip(("2/(L + mu)", "1/L"), factors, d.updates, strict=True):
        predicted_updates = np.log(NEAR) / np.log(factor)
        for kappa, count, wait in zip(KAPPAS, updates, predicted_updates, strict=True):
            yield "updates", name, none, none, none, none, float(kappa), float(count), float(wait)


def draw(table: Table) -> Figure:
    """The line above; the plane, the factor and the cost of κ below."""
    figure = new_figure(4.4)
    top, bottom = figure.subplots(2, 3)
    for axes, (eta, path) in zip(top, table.where("what", "line").groups("eta"), strict=True):
        reach = 1.06 * np.abs(path["x1"]).max()
        x = np.linspace(-reach, reach, 200)
        axes.plot(x, x**2, color="0.7", lw=0.9)
        axes.plot(path["x1"], path["value"], "-o", color="black", mew=0)
        axes.set_title(rf"$\eta = {eta:g}$: $x$ ends at {path['x1'][-1]:.3f}", fontsize="medium")
        axes.set(xlabel="$x$", ylabel="$f(x) = x^2$")
    top[2].set_xticks([-50, 0, 50])
    book, best, inverse = ordered(3)
    _paths(bottom[0], table.where("what", "plane"), [book, best])
    _factor(bottom[1], table.where("what", "factor"))
    _cost(bottom[2], table.where("what", "updates"), [best, inverse])
    for label, style in zip(
        (r"$\eta = 0.1$", r"$\eta = 2/(L + \mu)$", r"$\eta = 1/L$"), (book, best, inverse), strict=True
    ):
        bottom[2].plot([], [], marker=style.marker, label=label, **style.line())
    bottom[2].plot([], [], "o", color="0.35", mew=0, label="runs")
    bottom[2].plot([], [], "-", color="0.35", label="predicted")
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def _paths(axes: "Axes", plane: Table, styles: list[Look]) -> None:
    x, y = np.meshgrid(np.linspace(-5.7, 1.3, 150), np.linspace(-3.1, 1.4, 100))
    axes.contour(x, y, x**2 + 2 * y**2, levels=0.05 * 3.0 ** np.arange(7), colors="0.78", linewidths=0.5)
    for (_, path), style in zip(plane.groups("step"), styles, strict=True):
        axes.plot(path["x1"], path["x2"], marker=style.marker, mew=0, **style.line())
    axes.plot(0, 0, "*", color="black", ms=8, mec="white", mew=0.4)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", yticks=[-3, -2, -1, 0, 1])
    axes.set_title("$f = x_1^2 + 2x_2^2$, 20 updates", fontsize="medium")


def _factor(axes: "Axes", curve: Table) -> None:
    axes.axhline(1.0, color="0.6", lw=0.7)
    axes.plot(curve["eta"], curve["predicted"], "-", color="0.35")
    axes.plot(curve["eta"], curve["value"], "o", color="0.35", mew=0)
    for text, at, shift in (
        ("$2/L$", (0.5, 1.0), (-3, 4)),
        (r"$\frac{\kappa - 1}{\kappa + 1}$", (0.35, 1 / 3), (0, -6)),
    ):
        axes.annotate(
            text, at, shift, textcoords="offset points", ha="right", va="bottom" if shift[1] > 0 else "top"
        )
    axes.set(xlabel=r"$\eta$", ylabel="factor of one update", xlim=(0, 0.62), ylim=(0, 1.5))
    axes.set_title(r"the same $f$, $\kappa = 2$", fontsize="medium")


def _cost(axes: "Axes", costs: Table, styles: list[Look]) -> None:
    for (_, curve), style in zip(costs.groups("step"), styles, strict=True):
        axes.plot(curve["condition_number"], curve["predicted"], **style.line())
        axes.plot(curve["condition_number"], curve["value"], style.marker, color=style.colour, mew=0)
    slope_triangle(axes, 60, 60, 1.0, "$1$", decades=0.6)
    axes.set(xlabel=r"condition number $\kappa$", ylabel="updates to $10^{-6}$", xscale="log", yscale="log")
    axes.set_title("$f$ with $L = 1$", fontsize="medium")


def _growth(d: Descents) -> float:
    """The least factor −x_{k+1}/x_k at η = 1.1."""
    return float((-d.line[2, 1:] / d.line[2, :-1]).min())


def _decline(d: Descents) -> float:
    """The largest ratio of f after an update to f before it, on the book's path in the plane."""
    f = 0.5 * d.plane[0] ** 2 @ PLANE
    return float((f[1:] / f[:-1]).max())


def _left(d: Descents) -> float:
    """The best step's distance after 20 updates, over the book's."""
    book, best = np.linalg.norm(d.plane[:, -1], axis=-1)
    return float(best / book)


def _edge(d: Descents) -> float:
    """The η at which the factor passes 1, which is linear in η above the best one."""
    k = int(d.factors.argmin())
    return float(np.interp(1.0, d.factors[k:], GRID[k:]))


def _off(found: Array, predicted: Array) -> float:
    """The largest relative error."""
    return float(np.abs(found / predicted - 1).max())


def _slope(d: Descents) -> float:
    """Of log updates on log κ, κ from 100."""
    large = KAPPAS > 100
    return float(slope_weights(KAPPAS[large]) @ np.log(d.updates[0, large]))


_BOOK, _HERE = "Dive into Deep Learning 12.3", "derived here"


def _line(i: int, printed: float) -> Claim[Descents]:
    sentence = f"f = x², learning rate {LINE[i]:g}: x after 10 updates, printed"
    return Claim(sentence, _BOOK, lambda d: float(d.line[i, -1]), printed, 0.51e-6)


def _plane(i: int, printed: float) -> Claim[Descents]:
    sentence = f"f = x₁² + 2x₂², learning rate 0.1: {'x₁' if i == 0 else 'x₂'} after 20 updates, printed"
    return Claim(sentence, _BOOK, lambda d: float(d.plane[0, -1, i]), printed, 0.51e-6)


def _most(sentence: str, measure: Callable[[Descents], float]) -> Claim[Descents]:
    return Claim(sentence, _BOOK, measure, 1.0, relation="at_most")


CLAIMS: tuple[Claim[Descents], ...] = (
    _line(1, 0.060466),
    _line(0, 3.486784),
    _line(2, 61.917364),
    Claim("x overshoots and gradually diverges: the least −x'/x", _BOOK, _growth, 1.0, 0.0, "at_least"),
    _plane(0, -0.057646),
    _plane(1, -0.000073),
    _most("progress is well-behaved: the largest ratio of f after an update to f before", _decline),
    _most("albeit rather slow: the distance that the best step leaves, over that of the book's", _left),
    Claim("an update stops shrinking the distance at the learning rate 2/L", _HERE, _edge, 0.5, 1e-6),
    Claim(
        "the best constant step is 2/(L + μ): largest relative error over κ",
        _HERE,
        lambda d: _off(d.best_steps, 2 / (1 + 1 / KAPPAS)),
        0.0,
        tolerance=1e-6,
    ),
    Claim(
        "its factor is (κ − 1)/(κ + 1): largest relative error over κ",
        _HERE,
        lambda d: _off(d.best_factors, best_factor(KAPPAS)),
        0.0,
        tolerance=1e-6,
    ),
    Claim("updates to a millionth grow like κ: slope of the logs, κ from 100", _HERE, _slope, 1.0, 0.01),
    Claim(
        "the step 1/L needs twice as many at κ = 1000",
        _HERE,
        lambda d: float(d.updates[1, -1] / d.updates[0, -1]),
        2.0,
        tolerance=0.01,
    ),
)
