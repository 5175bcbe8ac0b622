"""Dense networks trained at once: the kernels do what autograd and the definition do, model by model, and a
model's numbers depend on nothing but its own data.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy import special
from torch.nn import functional

from ratelab.experiments.engines.kernels.dense import advance_rows, gather, outputs
from ratelab.experiments.methods import SGD, HeavyBall, Method, TorchMomentum
from ratelab.problems.networks import Loss
from ratelab.theory.arrays import Array, InputError, Integers

NETWORKS: list[tuple[tuple[int, ...], Loss]] = [
    ((37, 10), "cross_entropy"),
    ((15, 2), "cross_entropy"),
    ((64, 33, 10), "cross_entropy"),
    ((13, 7, 5, 3), "cross_entropy"),
    ((31, 1), "logistic"),
    ((16, 9, 1), "logistic"),
    ((130, 1), "hinge"),
    ((6, 16, 15, 1), "hinge"),
]
METHODS: list[Method] = [
    SGD(),
    HeavyBall(0.0),
    HeavyBall(0.8),
    TorchMomentum(0.9),
    TorchMomentum(0.9, nesterov=True),
]
DECAY = 0.02
RUNS, PAIRS, UPDATES, BATCH, TABLE, AVERAGES = 2, 3, 6, 11, 40, 2
COUNTS = [11, 11, 3, 11, 1, 8]


@dataclass(frozen=True)
class Job:
    """Arguments of `advance_rows` by name: arrays over the runs or the pairs, of which some can be chosen."""

    sizes: tuple[int, ...]
    loss: Loss
    momentum: float
    features: NDArray[Any]
    labels: Integers
    rows: Integers
    coefficients: Array
    weights: Array
    keep: Array
    x: NDArray[Any]
    v: NDArray[Any]
    averages: Array

    def done(self) -> tuple[Array, NDArray[Any], NDArray[Any], Array]:
        """(losses, x, v, averages) after the span."""
        x, v, averages = self.x.copy(), self.v.copy(), self.averages.copy()
        inject, push, direct = self.coefficients
        losses = advance_rows(
            self.sizes, self.loss, DECAY, self.momentum, self.features, self.labels, self.rows,
            inject, push, direct, self.weights, self.keep, x, v, averages,
        )  # fmt: skip
        return losses, x, v, averages

    def part(self, runs: slice, pairs: slice) -> "Job":
        return replace(
            self,
            rows=self.rows[runs],
            coefficients=self.coefficients[:, runs, pairs],
            weights=self.weights[:, pairs],
            keep=self.keep[:, pairs],
            x=self.x[runs, pairs],
            v=self.v[runs, pairs],
            averages=self.averages[:, runs, pairs],
        )


def job(sizes: tuple[int, ...], loss: Loss, method: Method, kind: type = np.float64) -> Job:
    generator = np.random.default_rng(3)
    size = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    rows = generator.integers(0, TABLE, (RUNS, UPDATES, BATCH))
    for k, count in enumerate(COUNTS):
        rows[:, k, count:] = -1
    steps = generator.uniform(0.02, 0.3, (RUNS, PAIRS, UPDATES))
    mixing = generator.uniform(0, 0.3, (AVERAGES, PAIRS, UPDATES))
    mixing[0, 1] = 0
    shape = RUNS, PAIRS, size
    v = generator.normal(size=shape if method.momentum else (RUNS, PAIRS, 0))
    return Job(
        sizes,
        loss,
        method.momentum,
        generator.normal(size=(TABLE, sizes[0])).astype(np.float32),
        generator.integers(0, max(2, sizes[-1]), TABLE),
        rows,
        np.stack(method.coefficients(steps)),
        mixing,
        generator.uniform(size=(AVERAGES, PAIRS)),
        (0.4 * generator.normal(size=shape)).astype(kind),
        (0.1 * v).astype(kind),
        generator.normal(size=(AVERAGES, *shape)),
    )


def logits(sizes: tuple[int, ...], x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """As a textbook of torch has them; parameters in the order of torch.nn.Linear."""
    begin = 0
    for layer, (i, o) in enumerate(itertools.pairwise(sizes)):
        end = begin + i * o
        h = functional.linear(functional.relu(h) if layer else h, x[begin:end].view(o, i), x[end : end + o])
        begin = end + o
    return h


def mean_loss(sizes: tuple[int, ...], loss: Loss, x: torch.Tensor, h: torch.Tensor, y: torch.Tensor) -> Any:
    h = logits(sizes, x, h)
    if loss == "cross_entropy":
        return functional.cross_entropy(h, y)
    if loss == "logistic":
        return functional.binary_cross_entropy_with_logits(h[:, 0], y.double())
    return functional.relu(1 - (2 * y - 1) * h[:, 0]).mean()


def by_autograd(task: Job) -> tuple[Array, Array, Array, Array]:
    """What `Job.done` does, model by model and update by update, as the definition reads; float64."""
    losses = np.empty(task.coefficients.shape[1:])
    x, averages = task.x.astype(np.float64), task.averages.copy()
    v = task.v.astype(np.float64) if task.v.size else np.zeros_like(x)
    for r, p in itertools.product(range(RUNS), range(PAIRS)):
        averages[:, r, p] *= task.keep[:, p, None]
        for k in range(UPDATES):
            rows = task.rows[r, k][task.rows[r, k] >= 0]
            leaf = torch.tensor(x[r, p], requires_grad=True)
            features, labels = torch.tensor(task.features[rows]).double(), torch.tensor(task.labels[rows])
            loss = mean_loss(task.sizes, task.loss, leaf, features, labels)
            (slope,) = torch.autograd.grad(loss, leaf)
            g = slope.numpy() + DECAY * x[r, p]
            inject, push, direct = task.coefficients[:, r, p, k]
            v[r, p] = task.momentum * v[r, p] + inject * g
            x[r, p] -= push * v[r, p] + direct * g
            losses[r, p, k] = loss.item()
            averages[:, r, p] += task.weights[:, p, k, None] * x[r, p]
    return losses, x, v, averages


@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_kernels_do_what_autograd_does(sizes: tuple[int, ...], loss: Loss, method: Method) -> None:
    task = job(sizes, loss, method)
    for ours, theirs in zip(task.done(), by_autograd(task), strict=True):
        if ours.size:  # there is no velocity without momentum
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_float32_is_float64_rounded(sizes: tuple[int, ...], loss: Loss) -> None:
    """Sums of some hundred terms of size one, six updates in a row: a few dozen roundings of 2⁻²⁴."""
    method = TorchMomentum(0.9)
    for single, double in zip(
        job(sizes, loss, method, np.float32).done(), job(sizes, loss, method).done(), strict=True
    ):
        np.testing.assert_allclose(single, double, rtol=0, atol=64 * 2.0**-24 * np.abs(double).max())


@given(
    logits=st.lists(st.lists(st.floats(-200, 200, width=32), min_size=5, max_size=5), min_size=1, max_size=9),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_cross_entropy_of_any_logits(logits: list[list[float]], kind: type) -> None:
    """With W = 1 the features are the logits, and the gradient of b is mean softmax minus labels."""
    features = np.array(logits, np.float32)
    labels = np.arange(len(logits)) % 5
    x: NDArray[Any] = np.concatenate([np.eye(5).ravel(), np.zeros(5)]).astype(kind)[None, None]
    one, none = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    losses = advance_rows(
        (5, 5), "cross_entropy", 0.0, 0.0, features, labels, np.arange(len(logits))[None, None],
        none, none, one, np.zeros((0, 1, 1)), np.zeros((0, 1)), x, x[..., :0].copy(), np.zeros((0, *x.shape)),
    )  # fmt: skip
    z = features.astype(np.float64)
    wanted = special.logsumexp(z, axis=1) - z[np.arange(len(z)), labels]
    rounding = 8 * float(np.finfo(kind).eps)
    np.testing.assert_allclose(losses[0, 0, 0], wanted.mean(), rtol=rounding, atol=rounding)
    slope = (special.softmax(z, axis=1) - np.eye(5)[labels]).mean(axis=0)
    np.testing.assert_allclose(-x[0, 0, 25:], slope, rtol=0, atol=rounding)


@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_the_step_is_the_slope_of_the_loss(sizes: tuple[int, ...], loss: Loss) -> None:
    """Central differences along a random direction, error O(h²); no row is within h of a kink here."""
    task = job(sizes, loss, SGD()).part(slice(1), slice(1))
    task = replace(
        task, rows=task.rows[:, :1], coefficients=task.coefficients[..., :1], weights=task.weights[..., :1]
    )
    direction, h = np.random.default_rng(5).normal(size=task.x.shape), 1e-6
    high, low = (replace(task, x=task.x + s * h * direction).done()[0].item() for s in (1, -1))
    step = (task.x - task.done()[1]) / task.coefficients[2] - DECAY * task.x
    assert (high - low) / (2 * h) == pytest.approx((step * direction).sum(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_neither_threads_nor_companions_matter(sizes: tuple[int, ...], loss: Loss, kind: type) -> None:
    task = job(sizes, loss, HeavyBall(0.8), kind)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        whole = task.done()
        numba.set_num_threads(min(2, before))
        again = task.done()
    finally:
        numba.set_num_threads(before)
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one, other)
    for runs, pairs in ((slice(1, 2), slice(None)), (slice(None), slice(1, 3)), (slice(1), slice(2, 3))):
        *state, averages = task.part(runs, pairs).done()
        for one, other in zip(state, whole[:3], strict=True):
            np.testing.assert_array_equal(one, other[runs, pairs])
        np.testing.assert_array_equal(averages, whole[3][:, runs, pairs])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_a_diverging_model_is_alone_with_it(sizes: tuple[int, ...], loss: Loss, kind: type) -> None:
    sound = job(sizes, loss, SGD(), kind)
    coefficients, x = sound.coefficients.copy(), sound.x.copy()
    coefficients[2, 0, 1] = 0.3 * np.finfo(kind).max
    x[1, 0] = np.nan
    ill = replace(sound, coefficients=coefficients, x=x).done()
    for r, p in ((0, 1), (1, 0)):
        assert not np.isfinite(ill[1][r, p]).all()
    assert np.isnan(ill[0][1, 0]).all()
    spared = np.array([[True, False, True], [False, True, True]])
    losses, state, _, averages = sound.done()
    np.testing.assert_array_equal(ill[0][spared], losses[spared])
    np.testing.assert_array_equal(ill[1][spared], state[spared])
    np.testing.assert_array_equal(ill[3][:, spared], averages[:, spared])


def test_two_spans_are_one() -> None:
    task = job((64, 33, 10), "cross_entropy", TorchMomentum(0.9, nesterov=True))
    cut = slice(0, 2), slice(2, None)
    losses, state, speed, averages = [], task.x, task.v, task.averages
    keep = task.keep
    for span in cut:
        part = replace(
            task, rows=task.rows[:, span], coefficients=task.coefficients[..., span],
            weights=task.weights[..., span], keep=keep, x=state, v=speed, averages=averages,
        )  # fmt: skip
        found, state, speed, averages = part.done()
        losses.append(found)
        keep = np.ones_like(keep)
    whole = task.done()
    np.testing.assert_array_equal(np.concatenate(losses, axis=-1), whole[0])
    np.testing.assert_array_equal(state, whole[1])
    np.testing.assert_array_equal(speed, whole[2])
    np.testing.assert_allclose(averages, whole[3], rtol=1e-14, atol=1e-14)


def rounding(sizes: tuple[int, ...], x: torch.Tensor, h: torch.Tensor, unit: float) -> torch.Tensor:
    """How far `logits` may be off if every operation rounds by `unit`: as many units as terms are added, of
    what the layers make of |x| and |h| (Higham 2002, 3.1).
    """
    return sum(sizes) * unit * logits(sizes, x.abs(), h.abs())


@pytest.mark.parametrize("sizes", [sizes for sizes, _ in NETWORKS])
@pytest.mark.parametrize("rows", [1, 64, 150])
def test_outputs_are_those_of_torch(sizes: tuple[int, ...], rows: int) -> None:
    x = job(sizes, "cross_entropy", SGD()).x.reshape(RUNS * PAIRS, -1)
    features = np.random.default_rng(7).normal(size=(rows, sizes[0])).astype(np.float32)
    h = torch.tensor(features).double()
    wanted = np.stack([logits(sizes, torch.tensor(own), h).numpy() for own in x])
    found = outputs(sizes, x, features)
    assert found.shape == (RUNS * PAIRS, rows, sizes[-1])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    single = outputs(sizes, x.astype(np.float32), features)
    assert single.dtype == np.float32
    bound = np.stack([rounding(sizes, torch.tensor(own), h, 2.0**-24).numpy() for own in x])
    assert (np.abs(single - wanted) <= bound).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_outputs_depend_on_nothing_but_their_model_and_row(kind: type) -> None:
    """Rows by more than one thread, models in groups and alone, rows in parts that end anywhere."""
    sizes, before = (785, 129, 10), numba.get_num_threads()
    size = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    generator = np.random.default_rng(8)
    x: NDArray[Any] = (0.1 * generator.normal(size=(7, size))).astype(kind)
    features = generator.random((4200, 785), np.float32)
    whole = outputs(sizes, x, features)
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(outputs(sizes, x, features), whole)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(outputs(sizes, x[2:5], features), whole[2:5])
    np.testing.assert_array_equal(outputs(sizes, x[6:], features[4091:4111]), whole[6:, 4091:4111])


def test_gathered_are_the_rows_asked_for() -> None:
    task = job((13, 7, 5, 3), "cross_entropy", SGD())
    features, labels = gather(task.features, task.labels, task.rows)
    there = task.rows >= 0
    assert (features.shape, labels.shape) == ((*task.rows.shape, 13), task.rows.shape)
    np.testing.assert_array_equal(features[there], task.features[task.rows[there]])
    np.testing.assert_array_equal(labels[there], task.labels[task.rows[there]])


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="sizes begin with 14, and rows have 13 features"):
        replace(job((13, 7, 5, 3), "cross_entropy", SGD()), sizes=(14, 7, 5, 3)).done()
    with pytest.raises(InputError, match="sizes begin with 14, and rows have 13 features"):
        outputs((14, 1), np.zeros((1, 15)), np.zeros((2, 13)))
