"""Quadratics ½ Σ λ_i δ_i² with additive gradient noise, in their eigenbasis or rotated out of it.

Everything about SGD on them is known exactly, so they are the instrument by which schedules are measured.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ratelab.problems import philox
from ratelab.problems.noise import Gaussian, Noise, NoNoise
from ratelab.problems.problem import RISK_ALONE, Constants, Sample, of_quadratic
from ratelab.problems.spectra import Spectrum
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.moments import Additive
from ratelab.theory.notation import value

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Quadratic", "Rotated"]


@value("problem")
class Quadratic:
    """f(x) = ½ Σ λ_i (x_i − x*_i)² with noisy gradients λ_i δ_i + ξ_i.

    `spectrum` gives λ (so the dimension and the condition number), `noise` the law of ξ, `initial` δ_0 in the
    eigenbasis; without it δ_i = 1/√d, so D = 1. On a quadratic no G bounds the gradients everywhere: bounds
    use E‖g_t‖².
    """

    spectrum: Spectrum
    noise: Noise = Gaussian()
    initial: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.initial is not None and len(self.initial) != self.dim:
            raise InputError(
                f"Quadratic: initial has {len(self.initial)} numbers and the spectrum dimension {self.dim}; "
                "give one per coordinate"
            )

    quantities = RISK_ALONE
    trained = False

    @property
    def dim(self) -> int:
        return self.spectrum.dim

    @property
    def eigenvalues(self) -> Array:
        return self.spectrum.eigenvalues()

    @property
    def start(self) -> Array:
        return (
            np.full(self.dim, self.dim**-0.5)
            if self.initial is None
            else np.array(self.initial, dtype=np.float64)
        )

    @property
    def constants(self) -> Constants:
        return of_quadratic(self.eigenvalues, self.start)

    @property
    def law(self) -> Additive:
        return Additive(self.eigenvalues, self.start, self.noise.variance(self.eigenvalues))

    @property
    def gaussian(self) -> bool:
        """Whether the state is Gaussian at all times, so that it can jump from record to record."""
        return isinstance(self.noise, Gaussian | NoNoise)

    def sample(self, key: int, runs: range, first: int, updates: int) -> Sample:
        """ξ, shape (runs, updates, d)."""
        scale = np.sqrt(self.law.noise).astype(np.float32)
        return (self.noise.draw(key, runs, first, updates, self.dim) * scale,)

    def sample_bytes(self) -> int:
        return 4 * self.dim

    def gradient(self, delta: "Tensor", *sample: "Tensor") -> "Tensor":
        return delta.new_tensor(self.eigenvalues) * delta + sample[0].to(delta)

    def risk(self, delta: "Tensor") -> "Tensor":
        return 0.5 * (delta.new_tensor(self.eigenvalues) * delta**2).sum(-1)


@value("problem")
class Rotated:
    """`quadratic` in other coordinates: δ → Uδ, U a random rotation made from `seed`; Hessian U diag(λ) Uᵀ.

    Expected risk, bounds and constants are those of `quadratic`; the picture changes, and a gradient's cost.
    Its runs are stepped by matrix products, whose last bits depend on how many runs are asked for together.
    """

    quadratic: Quadratic
    seed: int = 0

    @property
    def spectrum(self) -> Spectrum:
        return self.quadratic.spectrum

    @property
    def noise(self) -> Noise:
        """In the coordinates of `quadratic`."""
        return self.quadratic.noise

    @property
    def rotation(self) -> Array:
        """U (d, d), det U = 1: the orthogonal factor of a Gaussian matrix, Haar-distributed by its signs."""
        return _rotation(self.quadratic.dim, self.seed)

    @property
    def hessian(self) -> Array:
        u = self.rotation
        return np.asarray((u * self.quadratic.eigenvalues) @ u.T)

    quantities = RISK_ALONE
    trained = False

    @property
    def dim(self) -> int:
        return self.quadratic.dim

    @property
    def start(self) -> Array:
        return np.asarray(self.rotation @ self.quadratic.start)

    @property
    def constants(self) -> Constants:
        return self.quadratic.constants

    @property
    def law(self) -> Additive:
        return self.quadratic.law

    def sample(self, key: int, runs: range, first: int, updates: int) -> Sample:
        """Uξ, shape (runs, updates, d): the quadratic's own noise, rotated."""
        return (self.quadratic.sample(key, runs, first, updates)[0] @ self.rotation.T,)

    def sample_bytes(self) -> int:
        return 8 * self.dim

    def gradient(self, delta: "Tensor", *sample: "Tensor") -> "Tensor":
        return delta @ delta.new_tensor(self.hessian) + sample[0].to(delta)

    def risk(self, delta: "Tensor") -> "Tensor":
        return 0.5 * ((delta @ delta.new_tensor(self.hessian)) * delta).sum(-1)


@lru_cache(maxsize=16)
def _rotation(dim: int, seed: int) -> Array:
    key = philox.stream_key(seed, "rotation", str(dim))
    gaussian = philox.normals(key, range(dim), 0, 1, dim)[:, 0].astype(np.float64)
    q, r = np.linalg.qr(gaussian)
    u = np.asarray(q * np.sign(np.diag(r)))
    u[:, 0] *= np.sign(np.linalg.det(u))
    return u
