"""What every problem knows and can do: its constants, its exact law where there is one, its samples and its
gradient.

The state is δ = x − x*, so risk is computed from δ and never as a difference f − f*. Samples are drawn by
counter (`problems.philox`), then handed to `gradient`: the same sample serves every schedule and learning
rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ratelab.theory import moments
from ratelab.theory.arrays import Array, InputError, Integers, record_times
from ratelab.theory.averaging import Averaging
from ratelab.theory.moments import Law
from ratelab.theory.schedules import Schedule, multipliers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Constants", "Objective", "Problem", "critical_lr", "exact_risk", "gradient_norms", "risk_curve"]

Sample: TypeAlias = tuple[NDArray[np.floating[Any]], ...]
"""What the gradients of a batch of runs at consecutive updates need; arrays have shape (runs, updates, …)."""

Losses: TypeAlias = Literal[
    "train_loss", "train_error", "validation_loss", "validation_error", "test_loss", "test_error"
]
Measure: TypeAlias = Literal["risk", Losses]
"""What may be kept of a run: its risk; losses and errors on the rows for training, validation and test."""
RISK_ALONE: Final[tuple[Measure, ...]] = ("risk",)


class PartialConstants(Protocol):
    """The numbers of `Constants`, each None where it is not known or there is none.

    A protocol, not that dataclass: a `Problem` knows all but G, so that who steps it asks for no None; of a
    classifier some are missing, and others take a solver, so that each is found when it is asked for.
    """

    @property
    def L(self) -> float | None: ...

    @property
    def mu(self) -> float | None: ...

    @property
    def G(self) -> float | None: ...

    @property
    def D(self) -> float | None: ...

    @property
    def start_risk(self) -> float | None: ...


@dataclass(frozen=True)
class Constants:
    """What worst-case bounds and learning rates are made of.

    L: the largest eigenvalue of the Hessian anywhere (smoothness).
    mu: the smallest one (strong convexity, μ).
    G: with E‖g‖² ≤ G² everywhere; None where there is none (a quadratic's gradient grows with ‖δ‖).
    D: ‖x_0 − x*‖.
    start_risk: f(x_0) − f*.
    """

    L: float
    mu: float
    G: float | None
    D: float
    start_risk: float


def of_quadratic(eigenvalues: Array, start: Array) -> Constants:
    """The constants of ½ Σ λ_i δ_i² from δ_0 = `start`, both of shape (d,)."""
    return Constants(
        L=float(eigenvalues.max()),
        mu=float(eigenvalues.min()),
        G=None,
        D=float(np.linalg.norm(start)),
        start_risk=float(0.5 * eigenvalues @ start**2),
    )


@runtime_checkable
class Objective(Protocol):
    """What a claim needs to know of a function f."""

    @property
    def constants(self) -> PartialConstants:
        """L, μ, G, D and f(x_0) − f*."""

    @property
    def law(self) -> Law | None:
        """The exact law of the second moments under SGD and heavy ball; None where none is known."""

    @property
    def quantities(self) -> tuple[Measure, ...]:
        """What is kept of every run at the records: the risk where f* is known, losses and errors of what is
        trained."""

    @property
    def trained(self) -> bool:
        """Whether it is a classifier trained on rows of data (a `Network`), with epochs and no exact law; or
        else a `Problem`, stepped in δ."""


@runtime_checkable
class Problem(Objective, Protocol):
    """A convex f on R^d with minimiser x*, stepped one update at a time and seen from δ = x − x*."""

    @property
    def constants(self) -> Constants: ...

    @property
    def dim(self) -> int:
        """d."""

    @property
    def start(self) -> Array:
        """δ_0, shape (d,), in the coordinates of `gradient`."""

    def sample(self, key: int, runs: range, first: int, updates: int) -> Sample:
        """What the updates first … first + updates − 1 of these runs see."""

    def sample_bytes(self) -> int:
        """Bytes of one run's sample at one update: engines cut time into blocks by it."""

    def gradient(self, delta: "Tensor", *sample: "Tensor") -> "Tensor":
        """Stochastic gradients at `delta` (…, runs, d), each run with its own sample (runs, …)."""

    def risk(self, delta: "Tensor") -> "Tensor":
        """f(x* + δ) − f*, shape (…) for `delta` (…, d)."""


def exact_risk(
    problem: Problem,
    multipliers: Array,
    lrs: Array,
    mixings: Sequence[Array],
    records: Integers,
    momentum: float = 0.0,
) -> Array:
    """E f(x̄_t) − f*, shape (S, n, A, K), as in `theory.moments.exact_risk`.

    InputError where the problem has no exact law; whoever may meet such a problem asks for `problem.law`.
    """
    return moments.exact_risk(_law(problem), multipliers, lrs, mixings, records, momentum)


def gradient_norms(problem: Problem, multipliers: Array, lrs: Array, momentum: float = 0.0) -> Array:
    """E‖g_t‖², shape (S, n, T), as in `theory.moments.gradient_norms`; InputError as in `exact_risk`."""
    return moments.gradient_norms(_law(problem), multipliers, lrs, momentum)


def _law(problem: Problem) -> Law:
    if problem.law is None:
        raise InputError(f"{problem!r} has no exact law of the risk; run it by Monte Carlo instead")
    return problem.law


def critical_lr(problem: Problem, momentum: float = 0.0) -> float:
    """The stability limit of a constant step under the problem's own noise (`theory.moments.critical_lr`)."""
    if problem.law is None:
        raise InputError(f'the critical step of {problem!r} is not known; give lr_unit = "1/L" or "absolute"')
    return moments.critical_lr(problem.law, momentum)


def risk_curve(
    problem: Problem,
    schedule: Schedule,
    lr: float,
    horizon: int,
    averaging: Averaging | None = None,
    momentum: float = 0.0,
    records: int = 200,
) -> tuple[Integers, Array]:
    """Update counts t and the exact expected risk there, for one schedule at the absolute step `lr`.

    `averaging` is the last iterate by default. InputError where the problem has no exact law.

    >>> from ratelab.problems.quadratic import Quadratic
    >>> from ratelab.problems.spectra import LogUniform
    >>> from ratelab.theory.schedules import InversePower
    >>> quadratic = Quadratic(LogUniform(dim=10, condition_number=10.0))
    >>> t, risk = risk_curve(quadratic, InversePower(0.5), lr=0.3, horizon=1000)
    >>> bool(risk[-1] < risk[0])
    True
    """
    if not 0 < lr < np.inf:
        raise InputError(f"lr is {lr}; give a finite number > 0, the absolute step")
    times = record_times(horizon, records)
    shape = multipliers(schedule, horizon)[None]
    mixing = np.ones_like(shape) if averaging is None else averaging(shape[0])[None]
    return times, exact_risk(problem, shape, np.array([lr]), [mixing], times, momentum)[0, 0, 0]
