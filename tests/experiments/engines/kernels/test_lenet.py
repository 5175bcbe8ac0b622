"""Many LeNets at once: every update is the one torch's network and autograd make, whatever else is trained
with it, on however many threads.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ratelab.experiments.engines.kernels import lenet
from ratelab.problems.networks import LeNet
from ratelab.theory.arrays import Array

BETA = 0.8
METHODS = ["sgd", "heavy ball", "torch", "nesterov"]


class Work(NamedTuple):
    """What `advance` takes, in its order."""

    weight_decay: float
    momentum: float
    features: NDArray[Any]
    labels: NDArray[Any]
    counts: NDArray[Any]
    inject: Array
    push: Array
    direct: Array
    weights: Array
    keep: Array
    x: NDArray[Any]
    v: NDArray[Any]
    averages: Array

    def part(self, runs: slice, pairs: slice) -> "Work":
        """Some of the models, as they are now."""
        of_both = {
            name: getattr(self, name)[runs, pairs].copy() for name in ("inject", "push", "direct", "x", "v")
        }
        return self._replace(
            **of_both,
            features=self.features[runs],
            labels=self.labels[runs],
            weights=self.weights[:, pairs],
            keep=self.keep[:, pairs],
            averages=self.averages[:, runs, pairs].copy(),
        )


def network(x: NDArray[Any] | None = None) -> nn.Module:
    """torch's LeNet in float64, at x or at torch's own start."""
    torch.manual_seed(0)
    module = LeNet().module().double()
    if x is not None:
        vector_to_parameters(torch.tensor(x, dtype=torch.float64), module.parameters())
    return module


def flat(module: nn.Module) -> Array:
    return np.asarray(parameters_to_vector(module.parameters()).detach().numpy())


def work(
    method: str = "sgd",
    counts: tuple[int, ...] = (20, 20, 7),
    dtype: Any = np.float64,
    runs: int = 2,
    decay: float = 0.01,
) -> Work:
    """Two pairs and two averages of `runs` runs; images half black, as ties are in real ones."""
    rng = np.random.default_rng(1)
    shape = (runs, 2, len(counts))
    start = flat(network())
    features = rng.random((runs, len(counts), max(counts), 784))
    features[features < 0.5] = 0
    steps = np.broadcast_to(rng.uniform(0.02, 0.3, shape[1:]), shape).copy()
    ones, zeros = np.ones(shape), np.zeros(shape)
    a, p, q = {
        "sgd": (zeros, zeros, steps),
        "heavy ball": (steps, ones, zeros),
        "torch": (ones, steps, zeros),
        "nesterov": (ones, BETA * steps, steps),
    }[method]
    weights = rng.uniform(0, 0.3, (2, *shape[1:]))
    weights[0, 1, -1] = 0
    size = (runs, 2, len(start))
    return Work(
        decay,
        0.0 if method == "sgd" else BETA,
        features.astype(dtype),
        rng.integers(0, 10, features.shape[:3]),
        np.array(counts),
        a,
        p,
        q,
        weights,
        rng.random((2, 2)),
        (start + 0.01 * rng.standard_normal((runs, 1, len(start))) + np.zeros(size)).astype(dtype),
        np.zeros(size if method != "sgd" else (*size[:2], 0), dtype),
        rng.standard_normal((2, *size)),
    )


def plainly(w: Work) -> Array:
    """`advance`, as its definition reads."""
    losses = np.empty(w.inject.shape)
    for r, p in np.ndindex(*w.x.shape[:2]):
        x, v = w.x[r, p].copy(), np.zeros(w.x.shape[2])
        w.averages[:, r, p] *= w.keep[:, p, None]
        for k, count in enumerate(w.counts):
            module = network(x)
            outputs = module(torch.tensor(w.features[r, k, :count], dtype=torch.float64))
            loss = functional.cross_entropy(outputs, torch.tensor(w.labels[r, k, :count]))
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
            g = gradient.numpy() + w.weight_decay * x
            v = w.momentum * v + w.inject[r, p, k] * g
            x = x - w.push[r, p, k] * v - w.direct[r, p, k] * g
            w.averages[:, r, p] += w.weights[:, p, k, None] * x
            losses[r, p, k] = loss.item()
        w.x[r, p] = x
        if w.v.size:
            w.v[r, p] = v
    return losses


def assert_same(found: Work, expected: Work) -> None:
    for name in ("x", "v", "averages"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, before))
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize(
    ("method", "counts"), [*((m, (20, 20, 7)) for m in METHODS), ("torch", (1, 1)), ("sgd", (65,))]
)
def test_updates_are_those_of_the_definition(method: str, counts: tuple[int, ...]) -> None:
    ours, plain = work(method, counts), work(method, counts)
    start = ours.x.copy()
    losses = lenet.advance(*ours)
    np.testing.assert_allclose(losses, plainly(plain), rtol=1e-10)
    moved = np.abs(plain.x - start).max()
    assert moved > 1e-3
    np.testing.assert_allclose(ours.x, plain.x, rtol=0, atol=1e-10 * moved)
    np.testing.assert_allclose(ours.v, plain.v, rtol=0, atol=1e-10 * np.abs(plain.v).max(initial=1e-3))
    np.testing.assert_allclose(ours.averages, plain.averages, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["heavy ball", "nesterov"])
def test_a_method_without_momentum_needs_no_velocity(method: str) -> None:
    """v = a g: what goes through it is a step by a p."""
    kept = work(method, (20,), runs=1)._replace(momentum=0.0)
    ours = kept.part(slice(None), slice(None))._replace(v=kept.v[..., :0].copy())
    np.testing.assert_array_equal(lenet.advance(*ours), lenet.advance(*kept))
    np.testing.assert_allclose(ours.x, kept.x, rtol=0, atol=1e-15)
    np.testing.assert_allclose(ours.averages, kept.averages, rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", ["sgd", "torch", "nesterov"])
def test_updates_are_those_of_torch_optim(method: str) -> None:
    ours = work(method, (30, 30, 11), runs=1)
    module = network(ours.x[0, 1])
    steps = (ours.push if method == "torch" else ours.direct)[0, 1]
    momentum = 0.0 if method == "sgd" else BETA
    optimiser = torch.optim.SGD(
        module.parameters(), 1.0, momentum, weight_decay=ours.weight_decay, nesterov=method == "nesterov"
    )
    for k, count in enumerate(ours.counts):
        optimiser.param_groups[0]["lr"] = steps[k]
        optimiser.zero_grad()
        outputs = module(torch.tensor(ours.features[0, k, :count]))
        functional.cross_entropy(outputs, torch.tensor(ours.labels[0, k, :count])).backward()
        optimiser.step()
    lenet.advance(*ours)
    np.testing.assert_allclose(ours.x[0, 1], flat(module), rtol=1e-10, atol=1e-12)


def test_of_equal_maxima_the_first_gets_the_gradient() -> None:
    """On a grid of 1/8 and 1/64 sums are exact, so that equal numbers are equal in both programs."""
    ours = work(counts=(12,), runs=1, decay=0.0)._replace(momentum=0.0)
    ours.x[:] = np.round(ours.x * 8) / 8
    ours.x[..., 150:156] = 0.125
    ours.features[:] = np.round(ours.features)
    module = network(ours.x[0, 0])
    layers = list(module.children())
    h = torch.tensor(ours.features[0, 0])
    for layer in layers[:7]:
        if isinstance(layer, nn.MaxPool2d):
            quads = h.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
            top = quads.max(-1, keepdim=True).values
            assert ((quads == top).sum(-1) > 1)[top[..., 0] > 0].double().mean() > 0.05
        h = layer(h)
    plain = ours.part(slice(None), slice(None))
    lenet.advance(*ours)
    plainly(plain)
    np.testing.assert_allclose(ours.x, plain.x, rtol=1e-12, atol=1e-14)


def test_gradient_is_the_slope_of_the_loss() -> None:
    """Central differences along one direction in each array of parameters."""
    base = work(counts=(9,), runs=1, decay=0.0)
    still = base._replace(direct=np.zeros_like(base.direct))
    moved = base._replace(direct=np.ones_like(base.direct), x=base.x.copy())
    lenet.advance(*moved)
    gradient = (base.x - moved.x)[0, 0]
    rng = np.random.default_rng(2)
    first = 0
    for shape in LeNet().shapes:
        last = first + int(np.prod(shape))
        direction = np.zeros(base.x.shape[2])
        direction[first:last] = rng.standard_normal(last - first) / np.sqrt(last - first)
        h = 1e-6
        there = [lenet.advance(*still._replace(x=base.x + side * h * direction))[0, 0, 0] for side in (1, -1)]
        # an error of 1e-15 in a loss near 2.3 is 1e-9 in the slope
        np.testing.assert_allclose(
            (there[0] - there[1]) / (2 * h), gradient @ direction, rtol=1e-5, atol=1e-8
        )
        first = last
    assert first == base.x.shape[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("threads")
def test_results_do_not_depend_on_threads_or_company(dtype: Any) -> None:
    together = work("heavy ball", dtype=dtype, runs=3)
    parts = {(r, p): together.part(slice(r, r + 1), slice(p, p + 1)) for r in range(3) for p in range(2)}
    losses = lenet.advance(*together)
    for (r, p), part in parts.items():
        np.testing.assert_array_equal(lenet.advance(*part)[0, 0], losses[r, p])
        assert_same(part, together.part(slice(r, r + 1), slice(p, p + 1)))


def test_a_diverging_model_touches_no_other() -> None:
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # so that the next model gets its buffers
    wild = work("torch", counts=(20, 20, 20, 7), dtype=np.float32, runs=3)
    tame = wild.part(slice(None), slice(None))
    wild.push[1, 0] = 1e30
    losses, expected = lenet.advance(*wild), lenet.advance(*tame)
    numba.set_num_threads(threads)
    assert np.isfinite(expected).all()
    assert not np.isfinite(losses[1, 0, 2:]).any()
    assert not np.isfinite(wild.x[1, 0]).any()
    others = np.ones((3, 2), dtype=bool)
    others[1, 0] = False
    np.testing.assert_array_equal(losses[others], expected[others])
    np.testing.assert_array_equal(wild.x[others], tame.x[others])
    np.testing.assert_array_equal(wild.averages[:, others], tame.averages[:, others])


def test_rows_that_do_not_count_are_not_seen() -> None:
    ours = work(counts=(20, 3))
    other = ours.part(slice(None), slice(None))
    other.features[:, 1, 3:] = np.nan
    other.labels[:, 1, 3:] = -1
    np.testing.assert_array_equal(lenet.advance(*ours), lenet.advance(*other))
    assert_same(ours, other)


def test_float32_is_float64_rounded() -> None:
    """Errors of a few units in the last place, 6e-8, of sums over 20 rows and up to 784 pixels."""
    single, double = (work("nesterov", dtype=dtype) for dtype in (np.float32, np.float64))
    losses = lenet.advance(*single)
    np.testing.assert_allclose(losses, lenet.advance(*double), rtol=1e-5)
    assert single.x.dtype == np.float32
    np.testing.assert_allclose(single.x, double.x, rtol=0, atol=2e-6)
    np.testing.assert_allclose(single.averages, double.averages, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 64, 150])
@pytest.mark.usefixtures("threads")
def test_outputs_are_those_of_torch(rows: int) -> None:
    w = work(runs=3)
    x = w.x[:, 0]
    features = np.random.default_rng(3).random((rows, 784), dtype=np.float32)
    expected = [network(own)(torch.tensor(features).double()).detach().numpy() for own in x]
    np.testing.assert_allclose(lenet.outputs(x, features), expected, rtol=1e-10, atol=1e-12)
    single = lenet.outputs(x.astype(np.float32), features)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5)
