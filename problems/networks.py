"""Classifiers trained by minibatches: linear ones, multilayer perceptrons, LeNet; many at once.

The state of a model is one flat vector x of all its parameters, in the order and the shapes of `module()`,
the same network as torch writes it. Models are stacked as (runs, pairs, N): the runs have their own starts
and minibatches, the pairs of a run (schedules × learning rates) share them.

The objective is f(x) = (1/n) Σ loss_i(x) + (weight_decay/2) ‖x‖², over the n training rows and over all
parameters, biases too: its gradient is what torch.optim.SGD with that weight decay steps along. Linear
classifiers with weight decay are strongly convex and know f*, so their risk f − f* is judged like a
quadratic's; networks, and linear classifiers without it, know none and have losses and errors only.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from ratelab.problems import minima, philox
from ratelab.problems.data.datasets import SIZES, load_labelled, validation_split
from ratelab.problems.data.minibatches import updates_per_epoch
from ratelab.problems.problem import RISK_ALONE, Measure, Objective
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.notation import value

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MLP", "LeNet", "LinearClassifier", "Split"]

Loss: TypeAlias = Literal["cross_entropy", "logistic", "hinge"]
Count = Annotated[int, Ge(1)]
Amount = Annotated[float, Ge(0.0)]
Shape: TypeAlias = tuple[int, ...]


# Rows


@value("data")
class Split:
    """The rows that are trained on, kept for validation, and tested on.

    `name` is a data set of `data.datasets`. Of its training rows the first `rows` are taken (None: all),
    of these `validation` are drawn by `seed` and kept; the first `test` of its test rows are tested on.
    """

    name: Literal["mnist", "fashion_mnist", "digits", "a9a"] = "mnist"
    rows: Count | None = None
    validation: Annotated[int, Ge(0)] = 0
    seed: Annotated[int, Ge(0)] = 0
    test: Count | None = None


class Part(NamedTuple):
    """Rows of a data set: features (n, D), labels (n,)."""

    features: NDArray[np.float32]
    labels: Integers


def rows_of(split: Split, part: str) -> int:
    """How many rows "train", "validation" or "test" has, without the data."""
    train, test = SIZES[split.name]
    if part == "test":
        return split.test or test
    return split.validation if part == "validation" else (split.rows or train) - split.validation


@lru_cache(maxsize=4)
def parts(split: Split) -> dict[str, Part]:
    """The parts "train", "test" and, where rows are kept for it, "validation". InputError where rows lack."""
    data = load_labelled(split.name)
    for field, wanted, there in (
        ("rows", split.rows, len(data.labels)),
        ("test", split.test, len(data.test_labels)),
    ):
        if wanted is not None and wanted > there:
            raise InputError(f"{split!r}: {field} is {wanted}, and there are {there}; give at most {there}")
    rows = slice(split.rows)
    features, labels = data.features[rows], data.labels[rows]
    test = Part(data.test_features[: split.test], data.test_labels[: split.test])
    if split.validation == 0:
        return {"train": Part(features, labels), "test": test}
    train, kept = validation_split(len(labels), split.validation, split.seed)
    return {
        "train": Part(features[train], labels[train]),
        "validation": Part(features[kept], labels[kept]),
        "test": test,
    }


# What every network is and can do


@runtime_checkable
class Network(Objective, Protocol):
    """A classifier and the rows it is trained on."""

    @property
    def data(self) -> Split: ...

    @property
    def batch(self) -> int: ...

    @property
    def weight_decay(self) -> float: ...

    @property
    def replacement(self) -> bool:
        """Whether rows are drawn independently, not epoch by epoch."""

    @property
    def loss(self) -> Loss:
        """Of one row; "logistic" and "hinge" have one output, and labels 0 and 1."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the parameters, in their order."""

    @property
    def minimum(self) -> "minima.Minimum | None":
        """f* and how well it is known; None where the objective is not strongly convex."""

    def parts(self) -> dict[str, Part]:
        """The rows, their features as the first layer sees them."""

    def start(self, key: int, runs: range) -> Array:
        """x_0 of each run, (runs, N)."""

    def outputs(self, x: "Tensor", features: "Tensor") -> "Tensor":
        """The last layer's outputs (R, P, B, C) for models x (R, P, N) and features (R, B, D)."""

    def module(self) -> "nn.Module":
        """The network as torch writes it, features (B, D) in, outputs (B, C) out."""


def size(network: Network) -> int:
    """N, the number of parameters."""
    return sum(math.prod(shape) for shape in network.shapes)


def epoch(network: Network) -> int:
    """Updates per epoch. InputError where the batch is larger than the table."""
    rows = len(parts(network.data)["train"].labels)
    if network.batch > rows:
        raise InputError(
            f"{network!r}: batch is {network.batch}, and {rows} rows are trained on; give at most {rows}"
        )
    return updates_per_epoch(rows, network.batch)


def losses(loss: Loss, outputs: "Tensor", labels: "Tensor") -> "Tensor":
    """Of every row, for outputs (…, B, C) and labels (…, B) that broadcast; (…, B)."""
    import torch
    from torch.nn import functional

    if loss == "cross_entropy":
        chosen = outputs.gather(-1, labels.expand(outputs.shape[:-1])[..., None])[..., 0]
        return torch.logsumexp(outputs, dim=-1) - chosen
    margins = (2 * labels - 1) * outputs[..., 0]
    return functional.softplus(-margins) if loss == "logistic" else torch.relu(1 - margins)


def wrong(loss: Loss, outputs: "Tensor", labels: "Tensor") -> "Tensor":
    """Whether each row is misclassified, as in `losses`; outputs that are not numbers classify nothing."""
    if loss == "cross_entropy":
        found = outputs.argmax(dim=-1) == labels
    else:
        found = (outputs[..., 0] > 0) == (labels > 0)
    if outputs.sum().isfinite():  # then all are, told in one pass
        return ~found
    return ~(found & outputs.isfinite().all(dim=-1))


def split(network: Network, x: "Tensor") -> "list[Tensor]":
    """The parameters (…, *shape), views of x (…, N)."""
    sizes = [math.prod(shape) for shape in network.shapes]
    pieces = x.split(sizes, dim=-1)
    return [p.unflatten(-1, shape) for p, shape in zip(pieces, network.shapes, strict=True)]


def losses_kept(data: Split) -> tuple[Measure, ...]:
    """Losses and errors of the parts there are."""
    validation: tuple[Measure, ...] = ("validation_loss", "validation_error") if data.validation else ()
    return (*validation, "train_loss", "train_error", "test_loss", "test_error")


# Linear classifiers


@value("problem")
class LinearClassifier:
    """Outputs W x + b: softmax regression ("cross_entropy"), logistic regression, or the hinge loss (a linear
    support vector machine); the last two on the two classes of a9a.

    Starts at zero; or, with `initial_scale`, uniform in ± `initial_scale`/√D, torch's default times a factor.
    With `random_features` m > 0, x is replaced by √(2/m) cos(V x/`bandwidth` + u), V normal and u uniform in
    [0, 2π], drawn once from `seed`: random Fourier features of the Gaussian kernel (Rahimi and Recht 2007).

    With weight decay, f* is known to ‖∇f‖²/2μ <= 1e-10, for the hinge loss to a duality gap of 1e-8 f*. μ is
    the weight decay; L is that plus λ_max((1/n) Σ zzᵀ), z = (x, 1), times ½ ("cross_entropy", Böhning 1992)
    or ¼ ("logistic"). D and f(x_0) − f* are those of x_0 = 0.
    """

    data: Split = Split()
    loss: Loss = "cross_entropy"
    batch: Count = 64
    weight_decay: Amount = 0.0
    replacement: bool = False
    random_features: Annotated[int, Ge(0)] = 0
    bandwidth: Annotated[float, Gt(0.0)] = 5.0
    seed: Annotated[int, Ge(0)] = 0
    initial_scale: Amount = 0.0

    trained = True

    def parts(self) -> dict[str, Part]:
        return _fourier_parts(self.data, self.random_features, self.bandwidth, self.seed)

    @property
    def sizes(self) -> Shape:
        """(D, C), D features and C outputs."""
        data = load_labelled(self.data.name)
        columns = self.random_features or data.features.shape[1]
        if self.loss == "cross_entropy":
            return columns, data.classes
        if data.classes != 2:
            raise InputError(
                f'{self!r}: {self.data.name} has {data.classes} classes; give loss = "cross_entropy"'
            )
        return columns, 1

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return _dense_shapes(self.sizes)

    @property
    def minimum(self) -> "minima.Minimum | None":
        if self.weight_decay == 0:
            return None
        return _linear_minimum(
            self.data, self.loss, self.weight_decay, self.random_features, self.bandwidth, self.seed
        )

    @property
    def constants(self) -> "LinearConstants":
        return LinearConstants(self)

    @property
    def law(self) -> None:
        return None

    @property
    def quantities(self) -> tuple[Measure, ...]:
        return (*(RISK_ALONE if self.weight_decay else ()), *losses_kept(self.data))

    def start(self, key: int, runs: range) -> Array:
        return _dense_start(key, runs, self.sizes, self.initial_scale, "torch")

    def outputs(self, x: "Tensor", features: "Tensor") -> "Tensor":
        return _dense_outputs(split(self, x), features)

    def module(self) -> "nn.Module":
        return _dense_module(self.sizes)


@dataclass(frozen=True)
class LinearConstants:
    """Each is found when it is asked for: L takes the curvature of all rows, D and f(0) − f* a solver."""

    of: LinearClassifier
    G: None = None

    @property
    def L(self) -> float | None:
        one = self.of
        if one.loss == "hinge":
            return None
        kind = one.data, one.loss, one.random_features, one.bandwidth, one.seed
        return _linear_smoothness(*kind) + one.weight_decay

    @property
    def mu(self) -> float:
        return self.of.weight_decay

    @property
    def D(self) -> float | None:
        found = self.of.minimum
        return None if found is None else float(np.linalg.norm(found.minimiser))

    @property
    def start_risk(self) -> float | None:
        found = self.of.minimum
        if found is None:
            return None
        at_zero = {"cross_entropy": math.log(self.of.sizes[-1]), "logistic": math.log(2), "hinge": 1.0}
        return at_zero[self.of.loss] - found.value


@lru_cache(maxsize=2)
def _fourier_parts(data: Split, count: int, bandwidth: float, seed: int) -> dict[str, Part]:
    plain = parts(data)
    if count == 0:
        return plain
    columns = plain["train"].features.shape[1]
    key = philox.stream_key(seed, "random Fourier features")
    directions = philox.normals(key, range(1), 0, count, columns)[0].T / np.float32(bandwidth)
    phases = (2 * np.pi * philox.uniforms(key, range(1), 0, 1, count, philox.START)[0, 0]).astype(np.float32)
    scale = np.float32(math.sqrt(2 / count))
    return {
        name: Part(scale * np.cos(part.features @ directions + phases), part.labels)
        for name, part in plain.items()
    }


@lru_cache(maxsize=16)
def _linear_smoothness(data: Split, loss: Loss, count: int, bandwidth: float, seed: int) -> float:
    curvature = minima.softmax_smoothness if loss == "cross_entropy" else minima.logistic_smoothness
    return curvature(_with_ones(_fourier_parts(data, count, bandwidth, seed)["train"]))


@lru_cache(maxsize=16)
def _linear_minimum(
    data: Split, loss: Loss, weight_decay: float, count: int, bandwidth: float, seed: int
) -> "minima.Minimum":
    train = _fourier_parts(data, count, bandwidth, seed)["train"]
    features = _with_ones(train)
    if loss == "cross_entropy":
        return minima.softmax_minimum(features, train.labels, load_labelled(data.name).classes, weight_decay)
    find = minima.logistic_minimum if loss == "logistic" else minima.hinge_minimum
    return find(features, train.labels, weight_decay)


def _with_ones(part: Part) -> Array:
    return np.column_stack([part.features.astype(np.float64), np.ones(len(part.labels))])


# Networks


@dataclass(frozen=True)
class Unknown:
    """The constants of a network: it is not convex, and none is known."""

    L: None = None
    mu: None = None
    G: None = None
    D: None = None
    start_risk: None = None


@value("problem")
class MLP:
    """A multilayer perceptron: linear layers of `widths` with ReLU, then a linear one; cross entropy.

    Starts: "torch" draws weights and biases of a layer of fan-in D uniform in ± 1/√D (torch.nn.Linear's
    default), "glorot" weights uniform in ± √(6/(fan-in + fan-out)) with zero biases (Keras' default; Glorot
    and Bengio 2010); both times `initial_scale`.
    """

    data: Split = Split()
    widths: tuple[Count, ...] = (128,)
    batch: Count = 64
    weight_decay: Amount = 0.0
    replacement: bool = False
    initial: Literal["torch", "glorot"] = "torch"
    initial_scale: Amount = 1.0

    def parts(self) -> dict[str, Part]:
        return parts(self.data)

    @property
    def sizes(self) -> Shape:
        """(D, widths…, C)."""
        data = load_labelled(self.data.name)
        return data.features.shape[1], *self.widths, data.classes

    @property
    def loss(self) -> Loss:
        return "cross_entropy"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return _dense_shapes(self.sizes)

    @property
    def minimum(self) -> None:
        return None

    law = minimum
    constants = Unknown()
    trained = True

    @property
    def quantities(self) -> tuple[Measure, ...]:
        return losses_kept(self.data)

    def start(self, key: int, runs: range) -> Array:
        return _dense_start(key, runs, self.sizes, self.initial_scale, self.initial)

    def outputs(self, x: "Tensor", features: "Tensor") -> "Tensor":
        return _dense_outputs(split(self, x), features)

    def module(self) -> "nn.Module":
        return _dense_module(self.sizes)


@value("problem")
class LeNet:
    """The modernised LeNet of Dive into Deep Learning 12.11 for 28 × 28 pixels: two convolutions of 5 × 5
    with ReLU and 2 × 2 maximum pooling, then linear layers 400-120-84-10 with ReLU; cross entropy.

    Starts as torch does: weights and biases uniform in ± 1/√(fan-in), times `initial_scale`.
    """

    data: Split = Split("fashion_mnist")
    batch: Count = 256
    weight_decay: Amount = 0.0
    replacement: bool = False
    initial_scale: Amount = 1.0

    def __post_init__(self) -> None:
        if self.data.name not in ("mnist", "fashion_mnist"):
            raise InputError(f"LeNet: {self.data.name} has no 28 × 28 pixels; give mnist or fashion_mnist")

    def parts(self) -> dict[str, Part]:
        return parts(self.data)

    @property
    def loss(self) -> Loss:
        return "cross_entropy"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), *_dense_shapes((400, 120, 84, 10))

    @property
    def minimum(self) -> None:
        return None

    law = minimum
    constants = Unknown()
    trained = True

    @property
    def quantities(self) -> tuple[Measure, ...]:
        return losses_kept(self.data)

    def start(self, key: int, runs: range) -> Array:
        fans = [25, 25, 150, 150, 400, 400, 120, 120, 84, 84]
        bounds = [self.initial_scale / math.sqrt(fan) for fan in fans]
        return _uniform_start(key, runs, self.shapes, bounds)

    def outputs(self, x: "Tensor", features: "Tensor") -> "Tensor":
        """Convolutions of all models at once, in groups: one input channel per run, then six per model."""
        import torch
        from torch.nn import functional

        (R, P, _), B = x.shape, features.shape[1]
        w1, b1, w2, b2, *dense = split(self, x)
        h = features.reshape(R, B, 28, 28).transpose(0, 1)
        for w, b, groups, padding in ((w1, b1, R, 2), (w2, b2, R * P, 0)):
            h = functional.conv2d(h, w.flatten(0, 2), b.flatten(), padding=padding, groups=groups)
            h = functional.max_pool2d(torch.relu(h), 2)
        h = h.reshape(B, R, P, 400).permute(1, 2, 0, 3)
        return _layers(dense, h)

    def module(self) -> "nn.Module":
        from torch import nn

        return nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 6, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            *_dense_module((400, 120, 84, 10)),
        )


# Dense layers


def _dense_shapes(sizes: Shape) -> tuple[Shape, ...]:
    shapes: list[Shape] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        shapes += [(fan_out, fan_in), (fan_out,)]
    return tuple(shapes)


def _dense_start(
    key: int, runs: range, sizes: Shape, scale: float, initial: Literal["torch", "glorot"]
) -> Array:
    bounds: list[float] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        if initial == "torch":
            bounds += [scale / math.sqrt(fan_in)] * 2
        else:
            bounds += [scale * math.sqrt(6 / (fan_in + fan_out)), 0.0]
    return _uniform_start(key, runs, _dense_shapes(sizes), bounds)


def _uniform_start(key: int, runs: range, shapes: Sequence[Shape], bounds: Sequence[float]) -> Array:
    """Each parameter uniform in ± its bound: (runs, N)."""
    reach = np.concatenate([np.full(math.prod(s), b) for s, b in zip(shapes, bounds, strict=True)])
    return reach * (2 * philox.uniforms(key, runs, 0, 1, len(reach), philox.START)[:, 0] - 1)


def _dense_outputs(parameters: "Sequence[Tensor]", features: "Tensor") -> "Tensor":
    """The first layer is one wide product of a run's features with the weights of all its pairs."""
    import torch

    w, b, *others = parameters
    pairs, width = w.shape[1:3]
    wide = torch.bmm(features, w.flatten(1, 2).transpose(1, 2)).unflatten(2, (pairs, width))
    h = wide.transpose(1, 2) + b[..., None, :]
    return _layers(others, torch.relu(h)) if others else h


def _layers(parameters: "Sequence[Tensor]", h: "Tensor") -> "Tensor":
    """Linear layers with ReLU between them, on h (R, P, B, D)."""
    import torch

    for k in range(0, len(parameters), 2):
        w, b = parameters[k : k + 2]
        h = torch.matmul(torch.relu(h) if k else h, w.transpose(-1, -2)) + b[..., None, :]
    return h


def _dense_module(sizes: Shape) -> "nn.Sequential":
    from torch import nn

    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
