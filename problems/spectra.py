"""Spectra of Hessians: how the eigenvalues of a quadratic are spread between μ and L, as named values.

The condition number κ = L/μ is a spectrum's main parameter, so the two ends of every spectrum are set, not
computed by the formula that spreads the rest: they are L = `largest` and the float64 number nearest to L/κ.
Their quotient is κ to the last bit wherever float64 has such a μ for this L, and the number next to κ where
it has none (L = 1 and κ = 10⁵ is a case). The laws (uniform, log-uniform, Marchenko–Pastur) enter by their
quantiles at the levels (i − 1)/(d − 1), which takes both ends of the support in; nothing here is drawn at
random.
"""

import math
import sys
from collections.abc import Callable
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge, Gt, Lt, MinLen

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import value

__all__ = ["Given", "LogUniform", "MarchenkoPastur", "PowerLaw", "TwoCluster", "UniformSpectrum"]

Dim = Annotated[int, Ge(1)]
ConditionNumber = Annotated[float, Ge(1.0)]
Positive = Annotated[float, Gt(0.0)]


@runtime_checkable
class Spectrum(Protocol):
    """The eigenvalues λ_1, …, λ_d of a Hessian.

    `largest` is L = max λ, `condition_number` is κ = L/μ, and `eigenvalues()` has shape (d,), in decreasing
    order (`Given`: in the order written).
    """

    @property
    def dim(self) -> int: ...
    @property
    def condition_number(self) -> float: ...
    @property
    def largest(self) -> float: ...
    def eigenvalues(self) -> Array: ...


@value("spectrum")
class UniformSpectrum:
    """Equally spaced: λ_i = L − (L − μ)(i − 1)/(d − 1), i = 1..d, with μ = L/κ.

    d = `dim`, κ = `condition_number` ≥ 1, L = `largest` > 0. InputError where a value is out of its range,
    and for dim=1 with another condition number than 1.
    """

    dim: Dim
    condition_number: ConditionNumber
    largest: Positive = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def eigenvalues(self) -> Array:
        """λ in decreasing order, shape (d,)."""
        return _with_ends(self, lambda level, low, high: high - (high - low) * level)


@value("spectrum")
class LogUniform:
    """Equally spaced logarithms: λ_i = L κ^(−(i − 1)/(d − 1)), i = 1..d.

    d = `dim`, κ = `condition_number` ≥ 1, L = `largest` > 0. Every decade of curvature holds as many
    directions as any other. InputError where a value is out of its range, and for dim=1 with another
    condition number than 1.
    """

    dim: Dim
    condition_number: ConditionNumber
    largest: Positive = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def eigenvalues(self) -> Array:
        """λ in decreasing order, shape (d,)."""
        return _with_ends(self, lambda level, low, high: high * (low / high) ** level)


@value("spectrum")
class TwoCluster:
    """k eigenvalues at L and d − k at μ = L/κ, with k = ⌊fraction·d + ½⌋, but at least one of each.

    d = `dim`, κ = `condition_number` ≥ 1, 0 < `fraction` < 1, L = `largest` > 0. The two-level spectra
    on which Ge et al. (2019, arXiv 1904.12838) tell step decay from polynomial decay.
    InputError as for `LogUniform`.
    """

    dim: Dim
    condition_number: ConditionNumber
    fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.5
    largest: Positive = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def eigenvalues(self) -> Array:
        """λ in decreasing order, shape (d,)."""
        k = max(1, min(self.dim - 1, math.floor(self.fraction * self.dim + 0.5)))
        return np.repeat([self.largest, self.largest / self.condition_number], [k, self.dim - k])


@value("spectrum")
class PowerLaw:
    """λ_i = L i^(−a), i = 1..d; its condition number is d^a.

    d = `dim`, a = `exponent` ≥ 0, L = `largest` > 0. For a condition number κ take a = log κ / log d. The
    capacity condition of kernel regression (Caponnetto and De Vito 2007); with L = 1 and a = 1 the Hessian of
    the noisy quadratic model (Zhang et al. 2019, arXiv 1907.04164). InputError where a value is out of its
    range or d^a is past float64.
    """

    dim: Dim
    exponent: Annotated[float, Ge(0.0)]
    largest: Positive = 1.0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def condition_number(self) -> float:
        """κ = d^a."""
        try:
            return math.pow(self.dim, self.exponent)
        except OverflowError:
            return math.inf

    def eigenvalues(self) -> Array:
        """λ in decreasing order, shape (d,)."""
        index = np.arange(1.0, self.dim + 1)
        return _with_ends(self, lambda _level, _low, high: high * index**-self.exponent)


@value("spectrum")
class MarchenkoPastur:
    """Quantiles of the Marchenko–Pastur law, the spectrum of ZᵀZ/n, Z an n × p matrix of independent entries.

    With r² = p/n < 1 the law lives on [(1 − r)², (1 + r)²], so r = (√κ − 1)/(√κ + 1) gives it the condition
    number κ; it is scaled to end at L. By x = 1 + r² + 2r cos θ its density √((b − x)(x − a))/(2π r² x)
    becomes (2/π) sin²θ/(1 + r² + 2r cos θ), the mass above x is

        P(θ) = (1/π) [θ − φ + (φ − r sin θ)/r²],   φ = arg(1 + r e^{iθ}),

    and λ_i = μ + (L − μ) cos²(θ_i/2) where P(θ_i) = (i − 1)/(d − 1), i = 1..d, μ = L/κ.

    d = `dim`, κ = `condition_number` ≥ 1, L = `largest` > 0. InputError as for `LogUniform`. Density:
    Marchenko and Pastur (1967); P by integrating it, compared with quadrature and with a sampled Wishart
    matrix in the tests.
    """

    dim: Dim
    condition_number: ConditionNumber
    largest: Positive = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def eigenvalues(self) -> Array:
        """λ in decreasing order, shape (d,)."""

        def quantile(level: Array, low: float, high: float) -> Array:
            return low + (high - low) * np.cos(_marchenko_pastur_angle(level, self.condition_number) / 2) ** 2

        return _with_ends(self, quantile)


@value("spectrum")
class Given:
    """The eigenvalues as written, each > 0, in the order written: they pair with a start's coordinates.

    InputError when there is none, and where one is not positive or their quotient is past float64.
    """

    values: Annotated[tuple[Positive, ...], MinLen(1)]

    def __post_init__(self) -> None:
        _check(self)

    @property
    def dim(self) -> int:
        """d, how many there are."""
        return len(self.values)

    @property
    def largest(self) -> float:
        """L = max λ."""
        return max(self.values)

    @property
    def condition_number(self) -> float:
        """κ = max λ / min λ."""
        return max(self.values) / min(self.values)

    def eigenvalues(self) -> Array:
        """λ in the order written, shape (d,)."""
        return np.asarray(self.values, dtype=np.float64)


def _check(spectrum: Spectrum) -> None:
    """What ties the fields together: dim 1 has condition number 1, and L/κ is a float64 number."""
    kappa = spectrum.condition_number
    if spectrum.dim == 1 and kappa != 1.0:
        raise InputError(
            f"dim=1 with condition_number={kappa!r}, but one eigenvalue has condition number 1; "
            "give condition_number=1.0, or dim >= 2"
        )
    if not spectrum.largest / kappa >= sys.float_info.min:
        raise InputError(
            f"condition number {kappa!r} and largest eigenvalue {spectrum.largest!r} put the smallest "
            "below the range of float64; give a smaller condition number"
        )


def _with_ends(spectrum: Spectrum, quantile: Callable[[Array, float, float], Array]) -> Array:
    """`quantile` of the levels (i − 1)/(d − 1) from the top, given μ and L, with the two ends and the order
    made exact."""
    high, low = spectrum.largest, spectrum.largest / spectrum.condition_number
    levels = np.linspace(0.0, 1.0, spectrum.dim)
    values = np.sort(np.clip(quantile(levels, low, high), low, high))[::-1].copy()
    values[0], values[-1] = high, low
    return values


def _marchenko_pastur_angle(mass: Array, kappa: float) -> Array:
    """θ with P(θ) = mass (see `MarchenkoPastur`), by bisection: P increases from 0 at θ = 0 to 1 at θ = π.

    P loses digits like 1/r as r → 0, and λ depends on θ like r: the eigenvalues keep theirs.
    """
    if kappa == 1.0:
        return np.zeros_like(mass)
    r = (kappa - 1) / (math.sqrt(kappa) + 1) ** 2  # as (√κ − 1)/(√κ + 1), without its cancellation near κ = 1
    one_minus_r = 2 / (math.sqrt(kappa) + 1)
    low, high = np.zeros_like(mass), np.full_like(mass, math.pi)
    for _ in range(60):  # 2^-60 π is below the spacing of float64 near π
        theta = (low + high) / 2
        sine = r * np.sin(theta)
        phi = np.arctan2(sine, one_minus_r + 2 * r * np.cos(theta / 2) ** 2)
        below = theta - phi + (phi - sine) / r**2 < math.pi * mass
        low, high = np.where(below, theta, low), np.where(below, high, theta)
    return (low + high) / 2
