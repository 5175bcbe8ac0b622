"""Least squares: with fresh Gaussian features at every update, and on the rows of a table.

Both have gradients z (zᵀδ − ε), averaged over a batch, so their noise is multiplicative: it grows with the
distance from the minimiser, and the largest stable step lies far below 2/L (`critical_lr`).
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from annotated_types import Ge

from ratelab.problems import philox
from ratelab.problems.data.datasets import load
from ratelab.problems.data.minibatches import minibatches
from ratelab.problems.problem import RISK_ALONE, Constants, Sample, of_quadratic
from ratelab.problems.spectra import Spectrum
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.moments import MINIBATCH_DIM, Additive, LeastSquares, Minibatches
from ratelab.theory.notation import value

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Rows", "StreamingLeastSquares", "TableLeastSquares"]

Batch = Annotated[int, Ge(1)]


@value("problem")
class StreamingLeastSquares:
    """f(x) = ½ E (zᵀx − y)² − ½σ², z ~ N(0, H), y = zᵀx* + N(0, σ²), every update with `batch` fresh samples.

    `spectrum` gives the eigenvalues of H, `label_sd` is σ; start δ_i = 1/√d in the eigenbasis, so D = 1.
    """

    spectrum: Spectrum
    label_sd: Annotated[float, Ge(0.0)] = 1.0
    batch: Batch = 1

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
        return np.full(self.dim, self.dim**-0.5)

    @property
    def constants(self) -> Constants:
        return of_quadratic(self.eigenvalues, self.start)

    @property
    def law(self) -> LeastSquares:
        return LeastSquares(self.spectrum.eigenvalues(), self.start, self.label_sd**2, self.batch)

    def sample(self, key: int, runs: range, first: int, updates: int) -> Sample:
        """z, shape (runs, updates, batch, d), and ε, shape (runs, updates, batch)."""
        shape = (len(runs), updates, self.batch, self.dim)
        z = philox.normals(key, runs, first, updates, self.batch * self.dim).reshape(shape)
        z *= np.sqrt(self.spectrum.eigenvalues()).astype(np.float32)
        labels = philox.normals(key, runs, first, updates, self.batch, philox.LABELS)
        return z, labels * np.float32(self.label_sd)

    def sample_bytes(self) -> int:
        return 4 * self.batch * (self.dim + 1)

    def gradient(self, delta: "Tensor", *sample: "Tensor") -> "Tensor":
        return _gradient(delta, *sample)

    def risk(self, delta: "Tensor") -> "Tensor":
        return 0.5 * (delta.new_tensor(self.spectrum.eigenvalues()) * delta**2).sum(-1)


Name: TypeAlias = Literal["diabetes", "airfoil", "line", "line_population"]


@value("data")
class Rows:
    """The `first` rows of a table (None: all of them), standardised or as they are.

    `standardised`: columns and targets have mean 0 and variance 1 over all rows of the table, those that are
    left out too.
    """

    name: Name
    first: Annotated[int, Ge(1)] | None = None
    standardised: bool = True


PLAIN: Final[dict[Name, Rows]] = {
    "diabetes": Rows("diabetes"),
    "airfoil": Rows("airfoil"),
    "line": Rows("line", standardised=False),
    "line_population": Rows("line_population", standardised=False),
}
"""What a name alone stands for: real tables are standardised, a line's points are as they are."""


@value("problem")
class TableLeastSquares:
    """f(x) = (1/2n) Σ (z_jᵀx − y_j)² over the n rows of a table, with minibatches of its rows.

    `table` is a name, which stands for all rows, those of "diabetes" and "airfoil" standardised; or `Rows`,
    which says which rows and whether they are: `TableLeastSquares(Rows("airfoil", first=1500))`. Every row
    ends with a 1, the intercept. `batch` rows are drawn per update: with `replacement`
    independently (exact law up to 32 columns), without it epoch by epoch from a fresh permutation, the last
    batch of an epoch taking what is left (exact only when the batch is the whole table: gradient descent).
    `initial` is x_0, zero by default.
    """

    table: Name | Rows = "diabetes"
    batch: Batch = 1
    replacement: bool = True
    initial: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        n, d = self._rows.features.shape
        if self.batch > n:
            raise InputError(
                f"TableLeastSquares: batch is {self.batch} and {self.table!r} has {n} rows; give at most {n}"
            )
        if self.initial is not None and len(self.initial) != d:
            raise InputError(
                f"TableLeastSquares: initial has {len(self.initial)} numbers; {self.table!r} needs {d}, "
                "the intercept last"
            )

    @property
    def _rows(self) -> "_Seen":
        return _seen(PLAIN[self.table] if isinstance(self.table, str) else self.table)

    @property
    def full(self) -> bool:
        """Whether every update sees every row once: gradient descent."""
        return not self.replacement and self.batch == len(self._rows.residuals)

    quantities = RISK_ALONE
    trained = False

    @property
    def dim(self) -> int:
        return len(self._rows.eigenvalues)

    @property
    def eigenvalues(self) -> Array:
        return self._rows.eigenvalues

    @property
    def start(self) -> Array:
        """δ_0 = x_0 − x* in the eigenbasis of the Hessian."""
        initial = np.zeros(self.dim) if self.initial is None else np.array(self.initial)
        return np.asarray((initial - self._rows.minimiser) @ self._rows.basis)

    @property
    def constants(self) -> Constants:
        return of_quadratic(self.eigenvalues, self.start)

    @property
    def minimum(self) -> float:
        """f* = ½ of the mean squared residual at the minimiser."""
        return float(0.5 * np.mean(self._rows.residuals**2))

    @property
    def law(self) -> Minibatches | Additive | None:
        rows = self._rows
        if self.full:
            return Additive(rows.eigenvalues, self.start, np.zeros(self.dim))
        if not self.replacement or self.dim > MINIBATCH_DIM:
            return None
        return Minibatches(rows.eigenvalues, self.start, rows.features, rows.residuals, self.batch)

    def sample(self, key: int, runs: range, first: int, updates: int) -> Sample:
        """z (runs, updates, batch, d), in the eigenbasis, and ε = y − zᵀx* (runs, updates, batch)."""
        rows, n = self._rows, len(self._rows.residuals)
        drawn = minibatches(key, runs, first, updates, rows=n, batch=self.batch, replacement=self.replacement)
        if self.replacement:
            return rows.features[drawn], rows.residuals[drawn]
        # gradients divide by `batch`: a short batch is padded by zero rows and scaled to divide by its size
        scale = np.sqrt(self.batch / np.count_nonzero(drawn >= 0, axis=-1, keepdims=True)) * (drawn >= 0)
        return rows.features[drawn] * scale[..., None], rows.residuals[drawn] * scale

    def sample_bytes(self) -> int:
        return 8 * self.batch * (self.dim + 1)

    def gradient(self, delta: "Tensor", *sample: "Tensor") -> "Tensor":
        return _gradient(delta, *sample)

    def risk(self, delta: "Tensor") -> "Tensor":
        return 0.5 * (delta.new_tensor(self._rows.eigenvalues) * delta**2).sum(-1)


class _Seen(NamedTuple):
    """Rows seen from its minimiser: Hessian = basis · diag(eigenvalues) · basisᵀ, features in that one."""

    eigenvalues: Array
    basis: Array
    minimiser: Array
    features: Array
    residuals: Array


@lru_cache(maxsize=8)
def _seen(rows: Rows) -> _Seen:
    table = load(rows.name)
    columns, targets = table.features, table.targets
    there = len(targets)
    if rows.first is not None and rows.first > there:
        raise InputError(f"{rows!r}: first is {rows.first}, and there are {there} rows; give at most {there}")
    if rows.standardised:
        columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
        targets = (targets - targets.mean()) / targets.std()
    columns, targets = columns[: rows.first], targets[: rows.first]
    design = np.column_stack([columns, np.ones(len(targets))])
    minimiser = np.asarray(np.linalg.lstsq(design, targets)[0], dtype=np.float64)
    eigenvalues, basis = np.linalg.eigh(design.T @ design / len(targets))
    eigenvalues = np.maximum(eigenvalues, 0.0)  # rounding, where there are fewer rows than columns
    return _Seen(eigenvalues, basis, minimiser, design @ basis, targets - design @ minimiser)


def _gradient(delta: "Tensor", z: "Tensor", labels: "Tensor") -> "Tensor":
    """Mean over the batch of z (zᵀδ − ε): δ (…, runs, d), z (runs, batch, d), ε (runs, batch)."""
    import torch

    z, labels = z.to(delta), labels.to(delta)
    residual = torch.einsum("...rd,rbd->...rb", delta, z) - labels
    return torch.einsum("...rb,rbd->...rd", residual, z) / z.shape[-2]
