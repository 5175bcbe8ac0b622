r"""Gradient descent on two quadratics: three learning rates, and what the condition number costs.

Dive into Deep Learning, section 12.3. Top: ten updates from x = 10 on f = x², whose Hessian is L = 2. Every
update multiplies x by 1 − 2η: η = 0.05 shrinks it by a tenth, η = 0.2 by two fifths, η = 1.1 turns it round
and lets it grow by a fifth (that panel is six times as wide).

Bottom left: twenty updates from (−5, −2) on f = x₁² + 2x₂², L = 4, μ = 2, with the book's η = 0.1, and with
the best constant step 2/(L + μ) = 1/3, which is as near after five. Bottom middle: by what factor one update
shrinks the distance, from the worst start, run (dots) and predicted (line), max |1 − ηλ| over λ = μ, L: its
minimum is (κ − 1)/(κ + 1), and it passes 1 at 2/L. Bottom right: updates until the distance is a millionth,
on quadratics with condition number κ = L/μ; dots are runs, lines are log 10⁶ / log(1/factor). For κ from 100
on both steps need T ∝ κ, and at κ = 1000 the step 1/L twice as many as the best one.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from ratelab.experiments.judging.evidence import slope_weights
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim, Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import Look, new_figure, ordered, slope_triangle
from ratelab.paper_figures.house.table import Table, lines_of, table_of
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

PLANE = np.array([2.0, 4.0])
"""Hessian of f = x₁² + 2x₂²."""

GRID = np.arange(0.02, 0.605, 0.02)
KAPPAS = np.geomspace(2.0, 1000.0, 10)
NEAR = 1e-6

Lines = Iterator[dict[str, object]]


def descend(hessian: Array, eta: float, start: Array, updates: int) -> Array:
    """x_0 … x_T along the first axis, for diagonal Hessians: x ← x − η λ x."""
    path = [start]
    for _ in range(updates):
        path.append(path[-1] - eta * (hessian * path[-1]))
    return np.array(path)


def contraction(hessian: Array, eta: float, updates: int = 20) -> float:
    """Per update, in the largest component, from a start with equal ones."""
    end = descend(hessian, eta, np.ones_like(hessian), updates)[-1]
    return float(np.abs(end).max() ** (1 / updates))


def data(full: bool = False, report: Report = quiet) -> Table:
    """`value` is f on a path, a step, a factor, or a number of updates; the full form is the quick one."""
    return table_of([*paths(), *factors(), *least_factors(), *updates()])


def paths() -> Lines:
    """On f = x², and on f = x₁² + 2x₂² with the book's η and the best one; f as run, and by (1 − ηλ)^k."""
    line = [("line", f"{eta:g}", eta, np.array([2.0]), np.array([10.0]), 10) for eta in (0.05, 0.2, 1.1)]
    steps = (("0.1", 0.1), ("2/(L + mu)", 1 / 3))
    plane = [("plane", step, eta, PLANE, np.array([-5.0, -2.0]), 20) for step, eta in steps]
    for what, step, eta, hessian, start, updates in line + plane:
        path, k = descend(hessian, eta, start, updates), np.arange(updates + 1)
        powers = (1 - eta * hessian) ** k[:, None] * start
        f = {"value": 0.5 * path**2 @ hessian, "predicted": 0.5 * powers**2 @ hessian}
        place = dict(zip(("x1", "x2"), path.T, strict=False))
        yield from lines_of({"what": what, "step": step, "eta": eta}, {"update": k} | place | f)


def factors() -> Lines:
    """The contraction of one update on the plane for every η of `GRID`."""
    etas = np.sort(np.append(GRID, 1 / 3))  # the line has its corner at 1/3
    measured = [contraction(PLANE, eta) if eta in GRID else np.nan for eta in etas]
    predicted = np.abs(1 - etas[:, None] * PLANE).max(axis=1)
    head = {"what": "factor", "condition_number": 2.0}
    yield from lines_of(head, {"eta": etas, "value": measured, "predicted": predicted})


def least_factors() -> Lines:
    """The least contraction over η for every κ, and its η, where L = 1."""
    for kappa in KAPPAS:
        found = minimize_scalar(
            lambda eta, kappa=kappa: contraction(np.array([1.0, 1 / kappa]), eta),
            bounds=(0.5, 2.5),
            method="bounded",
            options={"xatol": 1e-10},
        )
        head = {"condition_number": kappa}
        yield {"what": "best step", "value": found.x, "predicted": 2 / (1 + 1 / kappa)} | head
        yield {"what": "best factor", "value": found.fun, "predicted": (kappa - 1) / (kappa + 1)} | head


def updates() -> Lines:
    """Until the distance is `NEAR` of what it was, where L = 1."""
    for name, steps in (("2/(L + mu)", 2 / (1 + 1 / KAPPAS)), ("1/L", np.ones_like(KAPPAS))):
        found = {"value": waits(steps), "predicted": np.log(NEAR) / np.log(1 - steps / KAPPAS)}
        yield from lines_of({"what": "updates", "step": name}, {"condition_number": KAPPAS} | found)


def waits(steps: Array) -> Array:
    """Updates until both components are below `NEAR`, for one step per condition number, (10,)."""
    hessian = np.stack([np.ones_like(KAPPAS), 1 / KAPPAS], axis=-1)
    x, count = np.ones_like(hessian), np.zeros_like(steps)
    while np.any(far := np.abs(x).max(axis=-1) > NEAR):
        x -= steps[:, None] * (hessian * x)
        count += far
    return count


def draw(table: Table) -> Figure:
    """The line above; the plane, the factor and the cost of κ below."""
    figure = new_figure(4.4)
    top, bottom = figure.subplots(2, 3)
    for axes, (eta, path) in zip(top, table.where("what", "line").groups("eta"), strict=True):
        draw_line(axes, path)
        axes.set_title(rf"$\eta = {eta:g}$: $x$ ends at {path['x1'][-1]:.3f}")
    top[2].set_xticks([-50, 0, 50])
    book, best, inverse = ordered(3)
    draw_plane(bottom[0], table.where("what", "plane"), [book, best])
    draw_factor(bottom[1], table.where("what", "factor"))
    draw_cost(bottom[2], table.where("what", "updates"), [best, inverse])
    for label, style in ((r"0.1", book), (r"2/(L + \mu)", best), ("1/L", inverse)):
        bottom[2].plot([], [], marker=style.marker, label=rf"$\eta = {label}$", **style.line())
    bottom[2].plot([], [], "o", color="0.35", mew=0, label="runs")
    bottom[2].plot([], [], "-", color="0.35", label="predicted")
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def draw_line(axes: "Axes", path: Table) -> None:
    reach = 1.06 * np.abs(path["x1"]).max()
    x = np.linspace(-reach, reach, 200)
    axes.plot(x, x**2, color="0.7", lw=0.9)
    axes.plot(path["x1"], path["value"], "-o", color="black", mew=0)
    axes.set(xlabel="$x$", ylabel="$f(x) = x^2$")


def draw_plane(axes: "Axes", paths: Table, styles: list[Look]) -> None:
    x, y = np.meshgrid(np.linspace(-5.7, 1.3, 150), np.linspace(-3.1, 1.4, 100))
    axes.contour(x, y, x**2 + 2 * y**2, levels=0.05 * 3.0 ** np.arange(7), colors="0.78", linewidths=0.5)
    for (_, path), style in zip(paths.groups("step"), styles, strict=True):
        axes.plot(path["x1"], path["x2"], marker=style.marker, mew=0, **style.line())
    axes.plot(0, 0, "*", color="black", ms=8, mec="white", mew=0.4)
    axes.set(
        xlabel="$x_1$", ylabel="$x_2$", yticks=[-3, -2, -1, 0, 1], title="$f = x_1^2 + 2x_2^2$, 20 updates"
    )


def draw_factor(axes: "Axes", curve: Table) -> None:
    axes.axhline(1.0, color="0.6", lw=0.7)
    axes.plot(curve["eta"], curve["predicted"], "-", color="0.35")
    axes.plot(curve["eta"], curve["value"], "o", color="0.35", mew=0)
    beside: dict[str, Any] = {"textcoords": "offset points", "ha": "right"}
    axes.annotate("$2/L$", (0.5, 1.0), (-3, 4), va="bottom", **beside)
    axes.annotate(r"$\frac{\kappa - 1}{\kappa + 1}$", (0.35, 1 / 3), (0, -6), va="top", **beside)
    axes.set(xlabel=r"$\eta$", ylabel="factor of one update", xlim=(0, 0.62), ylim=(0, 1.5))
    axes.set_title(r"the same $f$, $\kappa = 2$")


def draw_cost(axes: "Axes", costs: Table, styles: list[Look]) -> None:
    for (_, curve), style in zip(costs.groups("step"), styles, strict=True):
        axes.plot(curve["condition_number"], curve["predicted"], **style.line())
        axes.plot(curve["condition_number"], curve["value"], style.marker, color=style.colour, mew=0)
    slope_triangle(axes, 60, 60, 1.0, "$1$", decades=0.6)
    axes.set(xlabel=r"condition number $\kappa$", ylabel="updates to $10^{-6}$", xscale="log", yscale="log")
    axes.set_title("$f$ with $L = 1$")


def end(what: str, eta: float, x: str) -> Measure:
    """A coordinate after the last update."""
    return lambda table: float(table.where("what", what).where("eta", eta)[x][-1])


def growth(table: Table) -> float:
    """The least factor −x_{k+1}/x_k at η = 1.1."""
    x = table.where("what", "line").where("eta", 1.1)["x1"]
    return float((-x[1:] / x[:-1]).min())


def decline(table: Table) -> float:
    """The largest ratio of f after an update to f before it, on the book's path in the plane."""
    f = table.where("what", "plane").where("step", "0.1")["value"]
    return float((f[1:] / f[:-1]).max())


def as_near(table: Table) -> float:
    """Updates after which the best step is as near as the book's is after 20."""
    plane = table.where("what", "plane")
    book, best = (np.hypot(path["x1"], path["x2"]) for _, path in plane.groups("step"))
    return float(np.sum(best > book[-1]))


def edge(table: Table) -> float:
    """The η at which the factor passes 1, which is linear in η above the best one."""
    curve = table.where("what", "factor").above("value", 0)
    k = int(curve["value"].argmin())
    return float(np.interp(1.0, curve["value"][k:], curve["eta"][k:]))


def slope(table: Table) -> float:
    """Of log updates on log κ, κ from 100: that of the step where it is farther from 1."""
    costs = table.where("what", "updates").above("condition_number", 100)
    slopes = [
        float(slope_weights(curve["condition_number"]) @ np.log(curve["value"]))
        for _, curve in costs.groups("step")
    ]
    return max(slopes, key=lambda found: abs(found - 1))


def twice(table: Table) -> float:
    """Updates with the step 1/L over those with the best one, at the largest κ."""
    best, inverse = (curve["value"][-1] for _, curve in table.where("what", "updates").groups("step"))
    return float(inverse / best)


_BOOK = Source(
    "Dive into Deep Learning",
    "section 12.3.2 (chapter_optimization/gd.md)",
    "this setting",
    "full text",
    setting="its own function, start and learning rate",
)
_BUILD = replace(_BOOK, place="section 12.3, outputs as notes quote a build", seen="second hand")
_GOH = Source(
    "Goh 2017, Why Momentum Really Works",
    "Optimal step-size (distillpub/post--momentum, public/index.html:494)",
    "this setting",
    "full text",
    setting="gradient descent on a convex quadratic",
)


def printed(sentence: str, measure: Measure, number: str) -> Claim:
    """Up to its last digit."""
    return claim(f"{sentence} updates, printed", _BUILD, measure, f"{number} ± 0.51e-6")


def derived(sentence: str, what: str) -> Claim:
    """Of every κ."""

    def error(table: Table) -> float:
        found = table.where("what", what)
        return float(np.abs(found["value"] / found["predicted"] - 1).max())

    return claim(f"{sentence}: largest relative error over κ", _GOH, error, "0 ± 1e-6")


CLAIMS = (
    printed("f = x², learning rate 0.2: x after 10", end("line", 0.2, "x1"), "0.060466"),
    printed("f = x², learning rate 0.05: x after 10", end("line", 0.05, "x1"), "3.486784"),
    printed("f = x², learning rate 1.1: x after 10", end("line", 1.1, "x1"), "61.917364"),
    claim(
        "learning rate 1.1: x overshoots and gradually diverges: the least −x'/x",
        _BOOK.at("section 12.3.1.1 (chapter_optimization/gd.md)"),
        growth,
        "at least 1",
    ),
    printed("f = x₁² + 2x₂², learning rate 0.1: x₁ after 20", end("plane", 0.1, "x1"), "-0.057646"),
    printed("f = x₁² + 2x₂², learning rate 0.1: x₂ after 20", end("plane", 0.1, "x2"), "-0.000073"),
    claim(
        "progress is fairly well-behaved: the largest ratio of f after an update to f before",
        replace(_BOOK, words="fairly"),
        decline,
        "at most 1",
    ),
    claim(
        "albeit rather slow: updates after which the best step is as near as the book's after 20",
        replace(_BOOK, words="rather"),
        as_near,
        "at most 5",
    ),
    claim("an update stops shrinking the distance at the learning rate 2/L", ours(), edge, "0.5 ± 1e-6"),
    derived("the best constant step is 2/(L + μ)", "best step"),
    derived("its factor is (κ − 1)/(κ + 1)", "best factor"),
    claim(
        "updates to a millionth grow like κ: slope of the logs, κ from 100, of either step",
        ours(),
        slope,
        "1 ± 0.01",
    ),
    claim("the step 1/L needs twice as many at κ = 1000", ours(), twice, "2 ± 0.01"),
)
