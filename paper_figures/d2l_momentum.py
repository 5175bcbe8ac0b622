r"""Momentum on 0.1x₁² + 2x₂²: the book's four runs, how fast each step converges, and what noise remains.

Dive into Deep Learning, section 12.6: v ← βv + ∇f(x), x ← x − ηv from (−5, −2), κ = 20. Top: twenty updates.
Gradient descent is slow with η = 0.4 and diverges with 0.6; momentum converges with 0.6, with β = 0.25 only
just: ηλ = 2.4 of the steep direction lies 4 % below the limit. It still ends four times nearer than gradient
descent with 0.4. Bottom left: the distance to the minimiser, also of β = 0.9, which here is slower than that
gradient descent, and of the best pair of η and β.

Bottom middle: the spectral radius of one update, over ηλ. It passes 1 at ηλ = 2(1 + β). Thin: the factor of a
plain step η/(1 − β), which is momentum's where ηλ is small; steep directions bear larger steps with momentum.
Where the roots are complex the radius is √β. Ticks below: the two directions at η = 0.6; there the best β is
(1 − √(ηλ))² = 0.43 of the flat one, and over both η and β the best radius is (√κ − 1)/(√κ + 1).

Bottom right: N(0, 1) noise on the gradient. The weights of the leaky average add up to 1/(1 − β), which the
book calls the effective number of gradients; its variance is (1 − β)/(1 + β) of one gradient's, that of the
mean of 19 where β = 0.9. But a gradient's noise comes back in later steps: there the stationary f is 0.95 of
that of plain SGD with the step η/(1 − β), 0.05 here (dots: the recursion of second moments; line: its steady
state).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq, minimize_scalar

from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import VERMILION, Look, new_figure, ordered
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.theory.arrays import Array
from ratelab.theory.moments import Additive, exact_risk, steady_risk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Momentum on an ill-conditioned quadratic",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola 2023, section 12.6",
    link="https://d2l.ai/chapter_optimization/momentum.html",
    topics=("condition number", "momentum", "noise"),
    seconds=(0.5, 0.5),
)

HESSIAN = np.array([0.2, 4.0])
KAPPA = 20.0
RUNS = (
    (0.4, 0.0, ("-0.943467", "-0.000073")),
    (0.6, 0.0, ("-0.387814", "-1673.365109")),
    (0.6, 0.25, ("-0.126340", "-0.186632")),
    (0.6, 0.5, ("0.007188", "0.002553")),
)
"""η, β, and x after 20 updates as the book prints it."""

BEST_BETA = (1 - math.sqrt(0.12)) ** 2
"""(1 − √(ηλ))² of the flat direction, at η = 0.6."""

BEST_RADIUS = (math.sqrt(KAPPA) - 1) / (math.sqrt(KAPPA) + 1)
BETAS = (0.0, 0.25, 0.5, 0.9)
PRODUCTS = np.concatenate([np.geomspace(1e-4, 0.01, 3), np.arange(0.02, 4.001, 0.02)])
"""ηλ."""

NOISY_BETAS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95)
STEP, SETTLED = 0.05, 3000
"""η/(1 − β) of the noisy runs, and after how many updates they are looked at."""

LAW = Additive(HESSIAN, np.zeros(2), np.ones(2))
"""N(0, 1) noise on the gradient, from the minimiser."""

Lines = Iterator[dict[str, object]]


def run(eta: float, beta: float, updates: int = 20) -> Array:
    """x_0 … x_T (T + 1, 2), as the book's code has it."""
    x, v = np.array([-5.0, -2.0]), np.zeros(2)
    path = [x]
    for _ in range(updates):
        v = beta * v + HESSIAN * x
        x = x - eta * v
        path.append(x)
    return np.array(path)


def radius(product: float, beta: float) -> float:
    """Spectral radius of the update of (ηv, x) in a direction with ηλ = `product`."""
    update = np.array([[beta, product], [-beta, 1 - product]])
    return float(np.abs(np.linalg.eigvals(update)).max())


def slowest(eta: float, beta: float) -> float:
    """The radius of the slower of the two directions."""
    return max(radius(eta * eigenvalue, beta) for eigenvalue in HESSIAN.tolist())


def least(of: Callable[[float], float], low: float, high: float) -> float:
    """Where it is."""
    return float(minimize_scalar(of, bounds=(low, high), method="bounded").x)


def best_eta(beta: float) -> float:
    return least(lambda eta: slowest(eta, beta), 0.1, 1.0)


def noise_left(beta: float) -> float:
    """E f long after the start, at the step η = `STEP` (1 − β)."""
    s = np.ones((1, SETTLED))
    risk = exact_risk(LAW, s, np.array([STEP * (1 - beta)]), [s], np.array([SETTLED]), beta)
    return float(risk[0, 0, 0, 0])


def data(full: bool = False, report: Report = quiet) -> Table:
    """`value` is a distance, a radius, what was found, or a share; the full form is the quick one."""
    beta = least(lambda b: slowest(best_eta(b), b), 0, 0.99)
    best = best_eta(beta), beta
    return table_of([*paths(*best), *radii(), *optima(*best), *noise()])


def paths(best_eta: float, best_beta: float) -> Lines:
    """The book's runs, one with β = 0.9, and one with the best pair."""
    runs = [(f"eta {eta:g}, beta {beta:g}", eta, beta) for eta, beta, _ in RUNS]
    for name, eta, beta in [*runs, ("eta 0.6, beta 0.9", 0.6, 0.9), ("best", best_eta, best_beta)]:
        x1, x2 = run(eta, beta).T
        head = {"what": "path", "run": name, "eta": eta, "beta": beta}
        yield from lines_of(
            head, {"update": np.arange(len(x1)), "x1": x1, "x2": x2, "value": np.hypot(x1, x2)}
        )


def radii() -> Lines:
    """Of one update, what the step η/(1 − β) would give, and the ηλ at which the radius passes 1."""
    for beta in BETAS:
        measured = np.array([radius(z, beta) for z in PRODUCTS])
        columns = {"eta_lambda": PRODUCTS, "value": measured, "predicted": np.abs(1 - PRODUCTS / (1 - beta))}
        yield from lines_of({"what": "radius", "beta": beta}, columns)
        limit = brentq(lambda z, b=beta: radius(z, b) - 1, 1.0, 5.0, xtol=1e-12)
        yield {"what": "limit", "beta": beta, "value": limit}


def optima(eta: float, beta: float) -> Lines:
    """The best β at η = 0.6, and the least radius, which is that of the best pair."""
    best = least(lambda b: slowest(0.6, b), 0, 0.99)
    yield {"what": "best beta", "eta": 0.6, "value": best, "predicted": BEST_BETA}
    head = {"what": "best radius", "run": "best", "eta": eta, "beta": beta}
    yield head | {"value": slowest(eta, beta), "predicted": BEST_RADIUS}


def noise() -> Lines:
    """Shares of plain SGD's f, of one gradient's variance, and what a batch would leave of either."""
    for beta in NOISY_BETAS:
        eta, weights = STEP * (1 - beta), beta ** np.arange(2000)
        average, left = (weights**2).sum() / weights.sum() ** 2, noise_left(beta) / noise_left(0.0)
        steady = steady_risk(LAW, eta, beta) / steady_risk(LAW, STEP)
        yield {"what": "stationary f", "eta": eta, "beta": beta, "value": left, "predicted": steady}
        yield {"what": "average", "beta": beta, "value": average, "predicted": (1 - beta) / (1 + beta)}
        yield {"what": "batch", "beta": beta, "predicted": 1 - beta}


def draw(table: Table) -> Figure:
    """Paths above; distance, spectral radius and noise below."""
    figure = new_figure(4.4)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.8, 1.0))[:, 0]
    styles = dict(zip((0.0, 0.25, 0.5, 0.9), ordered(4), strict=True))
    curves = list(table.where("what", "path").groups("run", "eta", "beta"))
    tops = above.subplots(1, 4, sharey=True)
    for axes, ((_, eta, beta), path) in zip(tops, curves[:4], strict=True):
        draw_path(axes, path, styles[beta].colour)
        axes.set_title(rf"$\eta = {eta:g}$, $\beta = {beta:g}$")
    tops[0].set_ylabel("$x_2$")
    left, middle, right = below.subplots(1, 3)
    for (name, eta, beta), path in curves:
        label = rf"$\eta = {eta:.2g}$, $\beta = {beta:.2g}$"
        if name == "best":
            left.plot(path["update"], path["value"], color=VERMILION, label=f"{label}, the best")
        else:
            dash = ":" if eta == 0.4 else styles[beta].dash
            left.plot(path["update"], path["value"], color=styles[beta].colour, linestyle=dash, label=label)
    left.set(xlabel="updates", ylabel="distance", yscale="log", ylim=(3e-3, 300), xticks=[0, 5, 10, 15, 20])
    draw_radii(middle, table.where("what", "radius"), styles)
    draw_noise(right, table)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_path(axes: "Axes", path: Table, colour: str) -> None:
    x, y = np.meshgrid(np.linspace(-5.7, 2.3, 120), np.linspace(-4.2, 4.2, 120))
    axes.contour(
        x, y, 0.1 * x**2 + 2 * y**2, levels=0.02 * 4.0 ** np.arange(7), colors="0.78", linewidths=0.5
    )
    axes.plot(path["x1"], path["x2"], "-o", color=colour, lw=0.9, ms=2.2, mew=0)
    axes.plot(0, 0, "*", color="black", ms=7, mec="white", mew=0.4)
    axes.set(xlim=(-5.6, 2.2), ylim=(-4, 4), xlabel="$x_1$", xticks=[-4, -2, 0, 2], yticks=[-4, -2, 0, 2, 4])


def draw_radii(axes: "Axes", curves: Table, styles: dict[float, Look]) -> None:
    axes.axhline(1.0, color="0.6", lw=0.7)
    for beta, curve in curves.groups("beta"):
        axes.plot(curve["eta_lambda"], curve["value"], **styles[beta].line())
        axes.plot(curve["eta_lambda"], curve["predicted"], "-", color=styles[beta].colour, lw=0.5)
    axes.plot([], [], "-", color="0.35", lw=0.5, label=r"by the step $\eta/(1 - \beta)$")
    axes.plot([0.12, 2.4], [0, 0], "|", color="black", ms=9, clip_on=False)
    axes.set(xlabel=r"$\eta\lambda$", ylabel="spectral radius", xlim=(0, 4), ylim=(0, 1.3))
    axes.set(xticks=range(5), yticks=[0, 0.5, 1])


def draw_noise(axes: "Axes", table: Table) -> None:
    for what, dash, marker, colour, label in (
        ("stationary f", "-", "o", "0.0", r"$f$, at one $\eta/(1-\beta)$"),
        ("average", "-.", "s", "0.45", "variance of the average"),
        ("batch", "--", "None", "0.6", r"with a batch of $1/(1-\beta)$"),
    ):
        curve = table.where("what", what)
        axes.plot(curve["beta"], curve["predicted"], dash, color=colour, label=label)
        axes.plot(curve["beta"], curve["value"], marker, color=colour, mew=0)
    axes.set(xlabel=r"$\beta$", ylabel=r"share of $\beta = 0$", xlim=(0, 1), ylim=(0, 1.1))
    axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


_BOOK = Source(
    "Dive into Deep Learning",
    "section 12.6.1.3 (chapter_optimization/momentum.md)",
    "this setting",
    "full text",
    setting="its own function, start, rates and momentum",
)
_BUILD = replace(_BOOK, place="section 12.6.1, outputs as notes quote a build", seen="second hand")
_THEORY = replace(
    _BOOK,
    place="section 12.6.3.2 (chapter_optimization/momentum.md)",
    setting="its own matrix of an update of a quadratic",
)
_GENERAL = Source(
    "Dive into Deep Learning",
    "section 12.6.3.2 (chapter_optimization/momentum.md)",
    "another setting",
    "full text",
    words="suggests; in general",
)
_GOH = Source(
    "Goh 2017, Why Momentum Really Works",
    "Optimal parameters (distillpub/post--momentum, public/index.html:1150)",
    "this setting",
    "full text",
    setting="momentum on a convex quadratic",
)


def at(what: str, column: str, entry: float | str, y: str = "value") -> Callable[[Table], float]:
    """The last, among rows of a kind with this entry in a column."""
    return lambda table: float(table.where("what", what).where(column, entry)[y][-1])


def printed(eta: float, beta: float, k: int, number: str) -> Claim:
    """A coordinate, up to the last digit."""
    end = at("path", "run", f"eta {eta:g}, beta {beta:g}", f"x{k}")
    return claim(f"η = {eta:g}, β = {beta:g}: x{k} after 20 updates", _BUILD, end, f"{number} ± 0.51e-6")


def left_over(run: str, other: str = "eta 0.4, beta 0") -> Callable[[Table], float]:
    """The distance of a run after 20 updates over that of another, gradient descent with η = 0.4."""
    return lambda table: at("path", "run", run)(table) / at("path", "run", other)(table)


def edge(table: Table) -> float:
    """ηλ of the steep direction at η = 0.6, over the largest stable one of β = 0.25."""
    return float(0.6 * HESSIAN.max() / at("limit", "beta", 0.25)(table))


def fastest(table: Table) -> float:
    """The ηλ at which gradient descent's radius is least."""
    curve = table.where("what", "radius").where("beta", 0.0)
    return float(curve["eta_lambda"][curve["value"].argmin()])


def beyond(table: Table) -> float:
    """How far the limits are from 2 + 2β, at most."""
    limits = table.where("what", "limit")
    return float(np.abs(limits["value"] - 2 - 2 * limits["beta"]).max())


def small(table: Table) -> float:
    """What an update shrinks by, over what its step would, where ηλ is least and β largest."""
    least = table.where("what", "radius").where("eta_lambda", 1e-4).where("beta", 0.9)
    return float((1 - least.first("value")) / (1 - least.first("predicted")))


CLAIMS = (
    *(printed(eta, beta, k, number) for eta, beta, x in RUNS for k, number in enumerate(x, 1)),
    claim(
        "β = 0.5 still converges well: distance left over that of gradient descent with η = 0.4",
        _BOOK,
        left_over("eta 0.6, beta 0.5"),
        "at most 0.1",
    ),
    claim(
        "β = 0.25 barely converges at all: the steep direction's ηλ over the largest stable one",
        _BOOK,
        edge,
        "1 ± 0.05",
    ),
    claim(
        "β = 0.25 ends four times nearer than gradient descent with η = 0.4: distance over its",
        ours(),
        left_over("eta 0.6, beta 0.25"),
        "0.24 ± 0.005",
    ),
    claim(
        "β = 0.9 is slower here than gradient descent with η = 0.4: distance left over its",
        ours(),
        left_over("eta 0.6, beta 0.9"),
        "at least 1",
    ),
    claim(
        "gradient descent: the rate of convergence improves until ηλ = 1: where the radius is least",
        _THEORY,
        fastest,
        "1 ± 0.01",
    ),
    claim(
        "momentum converges for 0 < ηλ < 2 + 2β, gradient descent for ηλ < 2: largest difference over β",
        _THEORY,
        beyond,
        "0 ± 1e-6",
    ),
    claim(
        "momentum takes a step of η/(1 − β), where ηλ is small: 1 − radius over ηλ/(1 − β), at 1e-4, β = 0.9",
        _THEORY.at("section 12.6.1.4 (chapter_optimization/momentum.md)", words="in the limit"),
        small,
        "1 ± 0.01",
    ),
    claim(
        "large values of β are desirable: distance that β = 0.9 leaves here, over β = 0.5's",
        _GENERAL,
        left_over("eta 0.6, beta 0.9", "eta 0.6, beta 0.5"),
        "at most 1",
        refuted="complex roots shrink by √β, so that here β = 0.43 is best at η = 0.6; the best pair has "
        "β = ((√κ − 1)/(√κ + 1))², which is 0.40 for κ = 20 and 0.9 for κ near 1400",
    ),
    claim(
        "the best β at η = 0.6 is (1 − √(ηλ))² of the flat direction",
        ours(),
        at("best beta", "eta", 0.6),
        f"{BEST_BETA} ± 1e-4",
    ),
    claim(
        "the best radius over η and β is (√κ − 1)/(√κ + 1)",
        _GOH,
        at("best radius", "run", "best"),
        f"{BEST_RADIUS} ± 1e-4",
    ),
    claim(
        "β = 0.9: the leaky average is as exact as the mean of (1 + β)/(1 − β) = 19 independent gradients",
        ours(),
        lambda table: 1 / at("average", "beta", 0.9)(table),
        "19 ± 0.01",
    ),
    claim(
        "most of the benefits of averaging over a batch: stationary f, β = 0.9 over plain SGD, one η/(1 − β)",
        replace(
            _GENERAL,
            place="section 12.6.1.1 (chapter_optimization/momentum.md)",
            words="most of the benefits",
        ),
        at("stationary f", "beta", 0.9),
        "at most 0.5",
        refuted="at the same η/(1 − β) it is nearly plain SGD's, where a batch of 10 would leave a tenth",
    ),
)
