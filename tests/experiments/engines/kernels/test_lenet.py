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
from ratelab.experiments.engines.kernels.lenet import Minibatches
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.problems.networks import LeNet
from ratelab.theory.arrays import Array

BETA = 0.8
METHODS = ["sgd", "heavy ball", "torch", "nesterov"]


class Work(NamedTuple):
    """What `advance` takes."""

    seen: Minibatches
    span: Span
    models: Models

    def part(self, runs: slice, pairs: slice) -> "Work":
        """Some of the models, as they are now."""
        seen, span, (x, v, averages) = self
        return Work(
            seen._replace(features=seen.features[runs], labels=seen.labels[runs]),
            span._replace(
                inject=span.inject[runs, pairs].copy(),
                push=span.push[runs, pairs].copy(),
                direct=span.direct[runs, pairs].copy(),
                weights=span.weights[:, pairs],
                keep=span.keep[:, pairs],
            ),
            Models(x[runs, pairs].copy(), v[runs, pairs].copy(), averages[:, runs, pairs].copy()),
        )

    def without_momentum(self) -> "Work":
        return self._replace(span=self.span._replace(momentum=0.0))


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
    labels, keep = rng.integers(0, 10, features.shape[:3]), rng.random((2, 2))
    x = start + 0.01 * rng.standard_normal((runs, 1, len(start))) + np.zeros(size)
    v = np.zeros(size if method != "sgd" else (*size[:2], 0), dtype)
    return Work(
        Minibatches(features.astype(dtype), labels, np.array(counts)),
        Span(decay, 0.0 if method == "sgd" else BETA, a, p, q, weights, keep),
        Models(x.astype(dtype), v, rng.standard_normal((2, *size))),
    )


def plainly(w: Work) -> Array:
    """`advance`, as its definition reads."""
    seen, span, models = w
    losses = np.empty(span.inject.shape)
    for r, p in np.ndindex(*models.x.shape[:2]):
        x, v = models.x[r, p].copy(), np.zeros(models.x.shape[2])
        models.averages[:, r, p] *= span.keep[:, p, None]
        for k, count in enumerate(seen.counts):
            module = network(x)
            outputs = module(torch.tensor(seen.features[r, k, :count], dtype=torch.float64))
            loss = functional.cross_entropy(outputs, torch.tensor(seen.labels[r, k, :count]))
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
            g = gradient.numpy() + span.weight_decay * x
            v = span.momentum * v + span.inject[r, p, k] * g
            x = x - span.push[r, p, k] * v - span.direct[r, p, k] * g
            models.averages[:, r, p] += span.weights[:, p, k, None] * x
            losses[r, p, k] = loss.item()
        models.x[r, p] = x
        if models.v.size:
            models.v[r, p] = v
    return losses


def assert_same(found: Work, expected: Work) -> None:
    for name, values in found.models._asdict().items():
        np.testing.assert_array_equal(values, getattr(expected.models, name), err_msg=name)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, before))
    yield
    numba.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "counts"), [*((m, (20, 20, 7)) for m in METHODS), ("torch", (1, 1)), ("sgd", (65,))]
)
def test_updates_are_those_of_the_definition(method: str, counts: tuple[int, ...]) -> None:
    ours, plain = work(method, counts), work(method, counts)
    start = ours.models.x.copy()
    losses = lenet.advance(*ours)
    np.testing.assert_allclose(losses, plainly(plain), rtol=1e-10)
    (x, v, averages), expected = ours.models, plain.models
    moved = np.abs(expected.x - start).max()
    assert moved > 1e-3
    np.testing.assert_allclose(x, expected.x, rtol=0, atol=1e-10 * moved)
    np.testing.assert_allclose(v, expected.v, rtol=0, atol=1e-10 * np.abs(expected.v).max(initial=1e-3))
    np.testing.assert_allclose(averages, expected.averages, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["heavy ball", "nesterov"])
def test_a_method_without_momentum_needs_no_velocity(method: str) -> None:
    """v = a g: what goes through it is a step by a p."""
    kept = work(method, (20,), runs=1).without_momentum()
    copy = kept.part(slice(None), slice(None))
    ours = copy._replace(models=copy.models._replace(v=kept.models.v[..., :0].copy()))
    np.testing.assert_array_equal(lenet.advance(*ours), lenet.advance(*kept))
    np.testing.assert_allclose(ours.models.x, kept.models.x, rtol=0, atol=1e-15)
    np.testing.assert_allclose(ours.models.averages, kept.models.averages, rtol=0, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgd", "torch", "nesterov"])
def test_updates_are_those_of_torch_optim(method: str) -> None:
    ours = work(method, (30, 30, 11), runs=1)
    module = network(ours.models.x[0, 1])
    steps = (ours.span.push if method == "torch" else ours.span.direct)[0, 1]
    momentum = 0.0 if method == "sgd" else BETA
    optimiser = torch.optim.SGD(
        module.parameters(), 1.0, momentum, weight_decay=ours.span.weight_decay, nesterov=method == "nesterov"
    )
    for k, count in enumerate(ours.seen.counts):
        optimiser.param_groups[0]["lr"] = steps[k]
        optimiser.zero_grad()
        outputs = module(torch.tensor(ours.seen.features[0, k, :count]))
        functional.cross_entropy(outputs, torch.tensor(ours.seen.labels[0, k, :count])).backward()
        optimiser.step()
    lenet.advance(*ours)
    np.testing.assert_allclose(ours.models.x[0, 1], flat(module), rtol=1e-10, atol=1e-12)


def test_of_equal_maxima_the_first_gets_the_gradient() -> None:
    """On a grid of 1/8 and 1/64 sums are exact, so that equal numbers are equal in both programs."""
    ours = work(counts=(12,), runs=1, decay=0.0).without_momentum()
    x, features = ours.models.x, ours.seen.features
    x[:] = np.round(x * 8) / 8
    x[..., 150:156] = 0.125
    features[:] = np.round(features)
    module = network(x[0, 0])
    layers = list(module.children())
    h = torch.tensor(features[0, 0])
    for layer in layers[:7]:
        if isinstance(layer, nn.MaxPool2d):
            quads = h.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
            top = quads.max(-1, keepdim=True).values
            assert ((quads == top).sum(-1) > 1)[top[..., 0] > 0].double().mean() > 0.05
        h = layer(h)
    plain = ours.part(slice(None), slice(None))
    lenet.advance(*ours)
    plainly(plain)
    np.testing.assert_allclose(x, plain.models.x, rtol=1e-12, atol=1e-14)


def test_gradient_is_the_slope_of_the_loss() -> None:
    """Central differences along one direction in each array of parameters."""
    base = work(counts=(9,), runs=1, decay=0.0)
    x, direct = base.models.x, base.span.direct
    still = base.span._replace(direct=np.zeros_like(direct))
    moved = base.models._replace(x=x.copy())
    lenet.advance(base.seen, base.span._replace(direct=np.ones_like(direct)), moved)
    gradient = (x - moved.x)[0, 0]
    rng = np.random.default_rng(2)
    first = 0
    for shape in LeNet().shapes:
        last = first + int(np.prod(shape))
        direction = np.zeros(x.shape[2])
        direction[first:last] = rng.standard_normal(last - first) / np.sqrt(last - first)
        h = 1e-6
        sides = (base.models._replace(x=x + side * h * direction) for side in (1, -1))
        there = [lenet.advance(base.seen, still, models)[0, 0, 0] for models in sides]
        # an error of 1e-15 in a loss near 2.3 is 1e-9 in the slope
        np.testing.assert_allclose(
            (there[0] - there[1]) / (2 * h), gradient @ direction, rtol=1e-5, atol=1e-8
        )
        first = last
    assert first == x.shape[2]


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
    wild.span.push[1, 0] = 1e30
    losses, expected = lenet.advance(*wild), lenet.advance(*tame)
    numba.set_num_threads(threads)
    assert np.isfinite(expected).all()
    assert not np.isfinite(losses[1, 0, 2:]).any()
    assert not np.isfinite(wild.models.x[1, 0]).any()
    others = np.ones((3, 2), dtype=bool)
    others[1, 0] = False
    np.testing.assert_array_equal(losses[others], expected[others])
    np.testing.assert_array_equal(wild.models.x[others], tame.models.x[others])
    np.testing.assert_array_equal(wild.models.averages[:, others], tame.models.averages[:, others])


def test_rows_that_do_not_count_are_not_seen() -> None:
    ours = work(counts=(20, 3))
    other = ours.part(slice(None), slice(None))
    other.seen.features[:, 1, 3:] = np.nan
    other.seen.labels[:, 1, 3:] = -1
    np.testing.assert_array_equal(lenet.advance(*ours), lenet.advance(*other))
    assert_same(ours, other)


def test_float32_is_float64_rounded() -> None:
    """Errors of a few units in the last place, 6e-8, of sums over 20 rows and up to 784 pixels."""
    single, double = (work("nesterov", dtype=dtype) for dtype in (np.float32, np.float64))
    losses = lenet.advance(*single)
    np.testing.assert_allclose(losses, lenet.advance(*double), rtol=1e-5)
    assert single.models.x.dtype == np.float32
    np.testing.assert_allclose(single.models.x, double.models.x, rtol=0, atol=2e-6)
    np.testing.assert_allclose(single.models.averages, double.models.averages, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 64, 150])
@pytest.mark.usefixtures("threads")
def test_outputs_are_those_of_torch(rows: int) -> None:
    x = work(runs=3).models.x[:, 0]
    features = np.random.default_rng(3).random((rows, 784), dtype=np.float32)
    expected = [network(own)(torch.tensor(features).double()).detach().numpy() for own in x]
    np.testing.assert_allclose(lenet.outputs(x, features), expected, rtol=1e-10, atol=1e-12)
    single = lenet.outputs(x.astype(np.float32), features)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5)
