r"""Momentum on 0.1x₁² + 2x₂²: the book's four runs, how fast each step converges, and what noise remains.

Dive into Deep Learning, section 12.6: v ← βv + ∇f(x), x ← x − ηv from (−5, −2), κ = 20. Top: twenty updates.
Gradient descent is slow with η = 0.4 and diverges with 0.6; momentum converges with 0.6. β = 0.25 does not
"barely converge": it ends four times nearer than gradient descent with 0.4. Bottom left: the distance to the
minimiser, also of β = 0.9, which is slower still, and of the best pair of η and β.

Bottom middle: the spectral radius of one update, over ηλ. Momentum converges up to ηλ = 2(1 + β). The
sentence that its step is η/(1 − β) gives the thin lines: they touch where ηλ is small and nowhere else, and
steep directions bear larger steps with momentum, not smaller ones. Where the roots are complex the radius is
√β, so a large β is slow. Ticks below: the two directions at η = 0.6; there the best β is (1 − √(ηλ))² = 0.43
of the flat one, and over both η and β the best radius is (√κ − 1)/(√κ + 1).

Bottom right: N(0, 1) noise on the gradient. The leaky average is indeed less noisy, (1 − β)/(1 + β) of one
gradient's variance, less than of the 1/(1 − β) gradients that the book counts. But a gradient's noise comes
back in later steps: the stationary f is that of plain SGD with the step η/(1 − β), 0.05 here (dots: the
recursion of second moments; line: its steady state), so the average replaces no batch.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq, minimize_scalar

from ratelab.experiments.verdict import Relation
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import VERMILION, Look, new_figure, ordered
from ratelab.paper_figures.house.table import Table
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
    (0.4, 0.0, (-0.943467, -0.000073)),
    (0.6, 0.0, (-0.387814, -1673.365109)),
    (0.6, 0.25, (-0.126340, -0.186632)),
    (0.6, 0.5, (0.007188, 0.002553)),
)
"""η, β, and x after 20 updates as the book prints it."""

BETAS = np.array([0.0, 0.25, 0.5, 0.9])
PRODUCTS = np.concatenate([np.geomspace(1e-4, 0.01, 3), np.arange(0.02, 4.001, 0.02)])
"""ηλ."""

NOISY_BETAS = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.95])
STEP, SETTLED = 0.05, 3000
"""η/(1 − β) of the noisy runs, and after how many updates they are looked at."""


@dataclass(frozen=True)
class Momentum:
    """Paths, spectral radii and noise.

    paths (4, 21, 2): of `RUNS`;  large, best (21, 2): with β = 0.9 and η = 0.6, with the best pair
    radii (4, n): of one update for every β of `BETAS` and ηλ of `PRODUCTS`;  limits (4,): where they pass 1
    best_beta: at η = 0.6;  best_pair (2,): η and β of the least radius;  best_radius: that radius
    stationary (m,): E f for every β of `NOISY_BETAS`, over plain SGD's, at one η/(1 − β)
    independent (m,): how many independent gradients have a mean as exact as the leaky average
    """

    paths: Array
    large: Array
    best: Array
    radii: Array
    limits: Array
    best_beta: float
    best_pair: Array
    best_radius: float
    stationary: Array
    independent: Array


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


def least_eta(beta: float) -> float:
    """The η of the least radius."""
    found = minimize_scalar(lambda eta: slowest(eta, beta), bounds=(0.1, 1.0), method="bounded")
    return float(found.x)


def noise_left(beta: float) -> float:
    """E f under N(0, 1) gradient noise, long after the start, at the step η = `STEP` (1 − β)."""
    law = Additive(HESSIAN, np.zeros(2), np.ones(2))
    s = np.ones((1, SETTLED))
    risk = exact_risk(law, s, np.array([STEP * (1 - beta)]), [s], np.array([SETTLED]), beta)
    return float(risk[0, 0, 0, 0])


def data(full: bool = False, report: Report = quiet) -> Momentum:
    """Everything; the full form is the quick one."""
    beta = float(minimize_scalar(lambda b: slowest(0.6, b), bounds=(0, 0.99), method="bounded").x)
    pair = minimize_scalar(lambda b: slowest(least_eta(b), b), bounds=(0, 0.99), method="bounded")
    best = np.array([least_eta(pair.x), pair.x])
    weights = NOISY_BETAS[:, None] ** np.arange(2000)
    return Momentum(
        paths=np.stack([run(eta, beta) for eta, beta, _ in RUNS]),
        large=run(0.6, 0.9),
        best=run(*best),
        radii=np.array([[radius(z, b) for z in PRODUCTS] for b in BETAS]),
        limits=np.array([brentq(lambda z, b=b: radius(z, b) - 1, 1.0, 5.0, xtol=1e-12) for b in BETAS]),
        best_beta=beta,
        best_pair=best,
        best_radius=float(pair.fun),
        stationary=np.array([noise_left(b) / noise_left(0.0) for b in NOISY_BETAS.tolist()]),
        independent=weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1),
    )


COLUMNS = ("what", "run", "eta", "beta", "update", "x1", "x2", "eta_lambda", "value", "predicted")


def rows(d: Momentum) -> Iterator[tuple[object, ...]]:
    """`value` is a distance, a spectral radius, or a share of plain SGD's noise."""
    none = float("nan")
    runs = [(f"eta {eta:g}, beta {beta:g}", eta, beta) for eta, beta, _ in RUNS]
    runs += [("eta 0.6, beta 0.9", 0.6, 0.9), ("best", float(d.best_pair[0]), float(d.best_pair[1]))]
    for (name, eta, beta), path in zip(runs, [*d.paths, d.large, d.best], strict=True):
        for k, (x1, x2) in enumerate(path.tolist()):
            yield "path", name, eta, beta, k, x1, x2, none, math.hypot(x1, x2), none
    for beta, radii in zip(BETAS.tolist(), d.radii, strict=True):
        for z, found in zip(PRODUCTS.tolist(), radii.tolist(), strict=True):
            yield "radius", "", none, beta, none, none, none, z, found, abs(1 - z / (1 - beta))
    law = Additive(HESSIAN, np.zeros(2), np.ones(2))
    for i, beta in enumerate(NOISY_BETAS.tolist()):
        predicted = steady_risk(law, STEP * (1 - beta), beta) / steady_risk(law, STEP)
        yield "noise", "stationary f", STEP * (1 - beta), beta, *[none] * 4, float(d.stationary[i]), predicted
        yield (
            "noise",
            "average",
            none,
            beta,
            *[none] * 4,
            float(1 / d.independent[i]),
            (1 - beta) / (1 + beta),
        )
        yield "noise", "batch", none, beta, *[none] * 4, none, 1 - beta


def draw(table: Table) -> Figure:
    """Paths above; distance, spectral radius and noise below."""
    figure = new_figure(4.4)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.8, 1.0))[:, 0]
    styles = dict(zip((0.0, 0.25, 0.5, 0.9), ordered(4), strict=True))
    paths = list(table.where("what", "path").groups("run", "eta", "beta"))
    tops = above.subplots(1, 4, sharey=True)
    for axes, ((_, eta, beta), path) in zip(tops, paths[:4], strict=True):
        _path(axes, path, styles[beta].colour)
        axes.set_title(rf"$\eta = {eta:g}$, $\beta = {beta:g}$", fontsize="medium")
    tops[0].set_ylabel("$x_2$")
    left, middle, right = below.subplots(1, 3)
    for (name, eta, beta), path in paths:
        label = rf"$\eta = {eta:.2g}$, $\beta = {beta:.2g}$"
        if name == "best":
            style, label = {"color": VERMILION, "linestyle": "-"}, label + ", the best"
        else:
            style = styles[beta].line() | ({"linestyle": ":"} if eta == 0.4 else {})
        left.plot(path["update"], path["value"], label=label, **style)
    left.set(xlabel="updates", ylabel="distance", yscale="log", ylim=(3e-3, 300), xticks=[0, 5, 10, 15, 20])
    _radii(middle, table.where("what", "radius"), styles)
    _noise(right, table.where("what", "noise"))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _path(axes: "Axes", path: Table, colour: str) -> None:
    x, y = np.meshgrid(np.linspace(-5.7, 2.3, 120), np.linspace(-4.2, 4.2, 120))
    axes.contour(
        x, y, 0.1 * x**2 + 2 * y**2, levels=0.02 * 4.0 ** np.arange(7), colors="0.78", linewidths=0.5
    )
    axes.plot(path["x1"], path["x2"], "-o", color=colour, lw=0.9, ms=2.2, mew=0)
    axes.plot(0, 0, "*", color="black", ms=7, mec="white", mew=0.4)
    axes.set(xlim=(-5.6, 2.2), ylim=(-4, 4), xlabel="$x_1$", xticks=[-4, -2, 0, 2], yticks=[-4, -2, 0, 2, 4])


def _radii(axes: "Axes", curves: Table, styles: dict[float, Look]) -> None:
    axes.axhline(1.0, color="0.6", lw=0.7)
    for beta, curve in curves.groups("beta"):
        axes.plot(curve["eta_lambda"], curve["value"], **styles[beta].line())
        axes.plot(curve["eta_lambda"], curve["predicted"], "-", color=styles[beta].colour, lw=0.5)
    axes.plot([], [], "-", color="0.35", lw=0.5, label=r"by the step $\eta/(1 - \beta)$")
    axes.plot([0.12, 2.4], [0, 0], "|", color="black", ms=9, clip_on=False)
    axes.set(xlabel=r"$\eta\lambda$", ylabel="spectral radius", xlim=(0, 4), ylim=(0, 1.3))
    axes.set(xticks=range(5), yticks=[0, 0.5, 1])


def _noise(axes: "Axes", table: Table) -> None:
    labels = {
        "stationary f": ("-", "o", "0.0", r"$f$, at one $\eta/(1-\beta)$"),
        "average": ("-.", "s", "0.45", "variance of the average"),
        "batch": ("--", "", "0.6", r"with a batch of $1/(1-\beta)$"),
    }
    for what, curve in table.groups("run"):
        dash, marker, colour, label = labels[what]
        axes.plot(curve["beta"], curve["predicted"], dash, color=colour, label=label)
        axes.plot(curve["beta"], curve["value"], marker or "None", color=colour, mew=0)
    axes.set(xlabel=r"$\beta$", ylabel=r"share of $\beta = 0$", xlim=(0, 1), ylim=(0, 1.1))
    axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _end(i: int, k: int) -> Claim[Momentum]:
    eta, beta, printed = RUNS[i]
    sentence = f"η = {eta:g}, β = {beta:g}: x{k + 1} after 20 updates"
    return Claim(sentence, _BOOK, lambda d: float(d.paths[i, -1, k]), printed[k], 0.51e-6)


def _left_over(d: Momentum, i: int) -> float:
    """The distance of run i after 20 updates over that of gradient descent with η = 0.4."""
    distance = np.linalg.norm(d.paths[:, -1], axis=-1)
    return float(distance[i] / distance[0])


_BOOK, _HERE = "Dive into Deep Learning 12.6", "derived here"


def _wrong(
    sentence: str, measure: Callable[[Momentum], float], predicted: float, relation: Relation, finding: str
) -> Claim[Momentum]:
    """A sentence of the book that does not hold."""
    tolerance = 0.1 if relation == "equals" else 0.0
    return Claim(sentence, _BOOK, measure, predicted, tolerance, relation, "refuted", finding)


CLAIMS: tuple[Claim[Momentum], ...] = (
    *(_end(i, k) for i in range(len(RUNS)) for k in range(2)),
    Claim(
        "β = 0.5 still converges well: distance left over that of gradient descent with η = 0.4",
        _BOOK,
        lambda d: _left_over(d, 3),
        0.1,
        relation="at_most",
    ),
    _wrong(
        "β = 0.25 barely converges at all: distance left over that of gradient descent with η = 0.4",
        lambda d: _left_over(d, 2),
        1.0,
        "at_least",
        "its radius is 0.859 and gradient descent's is 0.92, so it ends four times nearer",
    ),
    Claim(
        "momentum converges for 0 < ηλ < 2 + 2β: largest difference over β",
        _BOOK,
        lambda d: float(np.abs(d.limits - 2 - 2 * BETAS).max()),
        0.0,
        tolerance=1e-6,
    ),
    _wrong(
        "gradient descent: the rate improves until ηλ = 1, beyond that things diverge: the largest stable ηλ",
        lambda d: float(d.limits[0]),
        1.0,
        "equals",
        "between 1 and 2 it converges in zigzag; the book's own ηλ = 1.9 shrinks by 0.9 per update",
    ),
    _wrong(
        "momentum takes a step of size η/(1 − β): so with β = 0.5 it is stable up to ηλ = 2(1 − β)",
        lambda d: float(d.limits[2]),
        1.0,
        "equals",
        "that is its step only where ηλ is small; it is stable up to 2(1 + β) = 3",
    ),
    Claim(
        "it does where ηλ is small: 1 − radius over ηλ/(1 − β), at ηλ = 1e-4 and β = 0.9",
        _HERE,
        lambda d: float((1 - d.radii[3, 0]) * (1 - BETAS[3]) / PRODUCTS[0]),
        1.0,
        tolerance=0.01,
    ),
    _wrong(
        "in general large values of β are desirable: the best β at η = 0.6",
        lambda d: d.best_beta,
        0.5,
        "at_least",
        "complex roots shrink by √β, so β = 0.9 is slower here than gradient descent with η = 0.4; "
        "the best pair has β = ((√κ − 1)/(√κ + 1))², which is 0.40 for κ = 20 and 0.9 for κ near 1400",
    ),
    Claim(
        "the best β at η = 0.6 is (1 − √(ηλ))² of the flat direction",
        _HERE,
        lambda d: d.best_beta,
        (1 - math.sqrt(0.12)) ** 2,
        tolerance=1e-4,
    ),
    Claim(
        "the best radius over η and β is (√κ − 1)/(√κ + 1)",
        "Polyak 1964",
        lambda d: d.best_radius,
        (math.sqrt(KAPPA) - 1) / (math.sqrt(KAPPA) + 1),
        tolerance=1e-4,
    ),
    _wrong(
        "β = 0.9 amounts to an effective sample size of 1/(1 − β) = 10: the leaky average is as exact as the "
        "mean of so many independent gradients",
        lambda d: float(d.independent[4]),
        10.0,
        "equals",
        "10 is the sum of the weights; the average is as exact as that of (1 + β)/(1 − β) = 19",
    ),
    _wrong(
        "it realises most of the benefits of averaging over a batch: β = 0.9, stationary f over plain SGD's",
        lambda d: float(d.stationary[4]),
        0.5,
        "at_most",
        "at the same η/(1 − β) it is nearly plain SGD's, where a batch of 10 would leave a tenth",
    ),
)
