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

from ratelab.experiments.engines.kernels.dense import Table, advance, gather, outputs
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.experiments.methods import SGD, HeavyBall, Method, TorchMomentum
from ratelab.problems.networks import Loss
from ratelab.theory.arrays import Array, InputError

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
class Task:
    """What `advance` takes: arrays over the runs or the pairs, of which some can be chosen."""

    sizes: tuple[int, ...]
    loss: Loss
    table: Table
    span: Span
    models: Models

    def done(self) -> tuple[Array, NDArray[Any], NDArray[Any], Array]:
        """(losses, x, v, averages) after the span."""
        models = Models(*(part.copy() for part in self.models))
        return advance(self.sizes, self.loss, self.table, self.span, models), *models

    def part(self, runs: slice, pairs: slice) -> "Task":
        table, span, (x, v, averages) = self.table, self.span, self.models
        return replace(
            self,
            table=table._replace(rows=table.rows[runs]),
            span=span._replace(
                inject=span.inject[runs, pairs],
                push=span.push[runs, pairs],
                direct=span.direct[runs, pairs],
                weights=span.weights[:, pairs],
                keep=span.keep[:, pairs],
            ),
            models=Models(x[runs, pairs], v[runs, pairs], averages[:, runs, pairs]),
        )

    def updates(self, chosen: slice) -> "Task":
        span = self.span
        return replace(
            self,
            table=self.table._replace(rows=self.table.rows[:, chosen]),
            span=span._replace(
                inject=span.inject[..., chosen],
                push=span.push[..., chosen],
                direct=span.direct[..., chosen],
                weights=span.weights[..., chosen],
            ),
        )


def make(sizes: tuple[int, ...], loss: Loss, method: Method, kind: type = np.float64) -> Task:
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
    features = generator.normal(size=(TABLE, sizes[0])).astype(np.float32)
    labels = generator.integers(0, max(2, sizes[-1]), TABLE)
    keep = generator.uniform(size=(AVERAGES, PAIRS))
    x: NDArray[Any] = (0.4 * generator.normal(size=shape)).astype(kind)
    return Task(
        sizes,
        loss,
        Table(features, labels, rows),
        Span(DECAY, method.momentum, *method.coefficients(steps), mixing, keep),
        Models(x, (0.1 * v).astype(kind), generator.normal(size=(AVERAGES, *shape))),
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


def by_autograd(task: Task) -> tuple[Array, Array, Array, Array]:
    """What `Task.done` does, model by model and update by update, as the definition reads; float64."""
    table, span, models = task.table, task.span, task.models
    losses = np.empty(span.inject.shape)
    x, averages = models.x.astype(np.float64), models.averages.copy()
    v = models.v.astype(np.float64) if models.v.size else np.zeros_like(x)
    for r, p in itertools.product(range(RUNS), range(PAIRS)):
        averages[:, r, p] *= span.keep[:, p, None]
        for k in range(UPDATES):
            rows = table.rows[r, k][table.rows[r, k] >= 0]
            leaf = torch.tensor(x[r, p], requires_grad=True)
            features, labels = torch.tensor(table.features[rows]).double(), torch.tensor(table.labels[rows])
            loss = mean_loss(task.sizes, task.loss, leaf, features, labels)
            (slope,) = torch.autograd.grad(loss, leaf)
            g = slope.numpy() + DECAY * x[r, p]
            v[r, p] = span.momentum * v[r, p] + span.inject[r, p, k] * g
            x[r, p] -= span.push[r, p, k] * v[r, p] + span.direct[r, p, k] * g
            losses[r, p, k] = loss.item()
            averages[:, r, p] += span.weights[:, p, k, None] * x[r, p]
    return losses, x, v, averages


@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_kernels_do_what_autograd_does(sizes: tuple[int, ...], loss: Loss, method: Method) -> None:
    task = make(sizes, loss, method)
    for ours, theirs in zip(task.done(), by_autograd(task), strict=True):
        if ours.size:  # there is no velocity without momentum
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_float32_is_float64_rounded(sizes: tuple[int, ...], loss: Loss) -> None:
    """Sums of some hundred terms of size one, six updates in a row: a few dozen roundings of 2⁻²⁴."""
    method = TorchMomentum(0.9)
    for single, double in zip(
        make(sizes, loss, method, np.float32).done(), make(sizes, loss, method).done(), strict=True
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
    table = Table(features, labels, np.arange(len(logits))[None, None])
    span = Span(0.0, 0.0, none, none, one, np.zeros((0, 1, 1)), np.zeros((0, 1)))
    models = Models(x, x[..., :0].copy(), np.zeros((0, *x.shape)))
    losses = advance((5, 5), "cross_entropy", table, span, models)
    z = features.astype(np.float64)
    wanted = special.logsumexp(z, axis=1) - z[np.arange(len(z)), labels]
    rounding = 8 * float(np.finfo(kind).eps)
    np.testing.assert_allclose(losses[0, 0, 0], wanted.mean(), rtol=rounding, atol=rounding)
    slope = (special.softmax(z, axis=1) - np.eye(5)[labels]).mean(axis=0)
    np.testing.assert_allclose(-x[0, 0, 25:], slope, rtol=0, atol=rounding)


@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_the_step_is_the_slope_of_the_loss(sizes: tuple[int, ...], loss: Loss) -> None:
    """Central differences along a random direction, error O(h²); no row is within h of a kink here."""
    task = make(sizes, loss, SGD()).part(slice(1), slice(1)).updates(slice(1))
    models, x = task.models, task.models.x
    direction, h = np.random.default_rng(5).normal(size=x.shape), 1e-6
    high, low = (
        replace(task, models=models._replace(x=x + s * h * direction)).done()[0].item() for s in (1, -1)
    )
    step = (x - task.done()[1]) / task.span.direct - DECAY * x
    assert (high - low) / (2 * h) == pytest.approx((step * direction).sum(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("sizes", "loss"), NETWORKS)
def test_neither_threads_nor_companions_matter(sizes: tuple[int, ...], loss: Loss, kind: type) -> None:
    task = make(sizes, loss, HeavyBall(0.8), kind)
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
    sound = make(sizes, loss, SGD(), kind)
    direct, x = sound.span.direct.copy(), sound.models.x.copy()
    direct[0, 1] = 0.3 * np.finfo(kind).max
    x[1, 0] = np.nan
    ill = replace(sound, span=sound.span._replace(direct=direct), models=sound.models._replace(x=x)).done()
    for r, p in ((0, 1), (1, 0)):
        assert not np.isfinite(ill[1][r, p]).all()
    assert np.isnan(ill[0][1, 0]).all()
    spared = np.array([[True, False, True], [False, True, True]])
    losses, state, _, averages = sound.done()
    np.testing.assert_array_equal(ill[0][spared], losses[spared])
    np.testing.assert_array_equal(ill[1][spared], state[spared])
    np.testing.assert_array_equal(ill[3][:, spared], averages[:, spared])


def test_two_spans_are_one() -> None:
    task = make((64, 33, 10), "cross_entropy", TorchMomentum(0.9, nesterov=True))
    losses, models, keep = [], task.models, task.span.keep
    for cut in (slice(0, 2), slice(2, None)):
        part = replace(task, models=models).updates(cut)
        found, *state = replace(part, span=part.span._replace(keep=keep)).done()
        losses.append(found)
        models, keep = Models(*state), np.ones_like(keep)
    whole = task.done()
    np.testing.assert_array_equal(np.concatenate(losses, axis=-1), whole[0])
    np.testing.assert_array_equal(models.x, whole[1])
    np.testing.assert_array_equal(models.v, whole[2])
    np.testing.assert_allclose(models.averages, whole[3], rtol=1e-14, atol=1e-14)


def rounding(sizes: tuple[int, ...], x: torch.Tensor, h: torch.Tensor, unit: float) -> torch.Tensor:
    """How far `logits` may be off if every operation rounds by `unit`: as many units as terms are added, of
    what the layers make of |x| and |h| (Higham 2002, 3.1).
    """
    return sum(sizes) * unit * logits(sizes, x.abs(), h.abs())


@pytest.mark.parametrize("sizes", [sizes for sizes, _ in NETWORKS])
@pytest.mark.parametrize("rows", [1, 64, 150])
def test_outputs_are_those_of_torch(sizes: tuple[int, ...], rows: int) -> None:
    x = make(sizes, "cross_entropy", SGD()).models.x.reshape(RUNS * PAIRS, -1)
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
    table = make((13, 7, 5, 3), "cross_entropy", SGD()).table
    features, labels = gather(table)
    there = table.rows >= 0
    assert (features.shape, labels.shape) == ((*table.rows.shape, 13), table.rows.shape)
    np.testing.assert_array_equal(features[there], table.features[table.rows[there]])
    np.testing.assert_array_equal(labels[there], table.labels[table.rows[there]])


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="sizes begin with 14, and rows have 13 features"):
        replace(make((13, 7, 5, 3), "cross_entropy", SGD()), sizes=(14, 7, 5, 3)).done()
    with pytest.raises(InputError, match="sizes begin with 14, and rows have 13 features"):
        outputs((14, 1), np.zeros((1, 15)), np.zeros((2, 13)))
