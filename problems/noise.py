"""Additive gradient noise of a quadratic: its law, its covariance in the eigenbasis, its variates.

Every noise is centred, has independent coordinates in the eigenbasis and variance C_ii = sd² (covariance
"identity") or sd² λ_i ("hessian", what label noise does to least squares). Only C enters the expected risk,
so all of them share one exact law; the runs differ.
"""

from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Ge, Le

from ratelab.problems import philox
from ratelab.theory.arrays import Array
from ratelab.theory.notation import value

__all__ = ["Gaussian", "NoNoise", "Rademacher", "StudentT"]

Covariance: TypeAlias = Literal["identity", "hessian"]
Sd = Annotated[float, Ge(0.0), Le(1e100)]


@runtime_checkable
class Noise(Protocol):
    """Independent, centred noise on every coordinate of the gradient."""

    def variance(self, eigenvalues: Array) -> Array:
        """C_ii, shape (d,)."""

    def draw(self, key: int, runs: range, first: int, updates: int, dim: int) -> philox.Floats:
        """Variates of mean 0 and variance 1, shape (runs, updates, dim)."""


def _variance(sd: float, covariance: Covariance, eigenvalues: Array) -> Array:
    return sd**2 * (eigenvalues if covariance == "hessian" else np.ones_like(eigenvalues))


@value("noise")
class Gaussian:
    """N(0, sd²) on each coordinate, or N(0, sd² λ_i) with covariance="hessian"."""

    sd: Sd = 1.0
    covariance: Covariance = "identity"

    def variance(self, eigenvalues: Array) -> Array:
        return _variance(self.sd, self.covariance, eigenvalues)

    def draw(self, key: int, runs: range, first: int, updates: int, dim: int) -> philox.Floats:
        return philox.normals(key, runs, first, updates, dim)


@value("noise")
class StudentT:
    """Student's t with df >= 2.5 degrees of freedom, scaled to sd: heavy tails, fourth moment for df > 4."""

    df: Annotated[float, Ge(2.5)] = 5.0
    sd: Sd = 1.0
    covariance: Covariance = "identity"

    def variance(self, eigenvalues: Array) -> Array:
        return _variance(self.sd, self.covariance, eigenvalues)

    def draw(self, key: int, runs: range, first: int, updates: int, dim: int) -> philox.Floats:
        unit = np.float32(np.sqrt((self.df - 2) / self.df))
        return philox.student_t(key, runs, first, updates, dim, self.df) * unit


@value("noise")
class Rademacher:
    """±sd with probability ½ each: the lightest tails of all."""

    sd: Sd = 1.0
    covariance: Covariance = "identity"

    def variance(self, eigenvalues: Array) -> Array:
        return _variance(self.sd, self.covariance, eigenvalues)

    def draw(self, key: int, runs: range, first: int, updates: int, dim: int) -> philox.Floats:
        return philox.signs(key, runs, first, updates, dim)


@value("noise")
class NoNoise:
    """None: deterministic gradient descent."""

    def variance(self, eigenvalues: Array) -> Array:
        return np.zeros_like(eigenvalues)

    def draw(self, key: int, runs: range, first: int, updates: int, dim: int) -> philox.Floats:  # noqa: ARG002 - nothing is drawn
        return np.zeros((len(runs), updates, dim), dtype=np.float32)
