"""Many networks at once are each the one that a tutorial trains: torch's module, DataLoader, SGD, scheduler
and AveragedModel. What they are trained beside, the engine, the groups, the threads and an interruption don't
show.

All keys are fixed. Every product is deterministic, so nothing here can fail by chance.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from cases import CLASSIFIERS, CONVEX, NETWORKS, with_data

from ratelab.experiments.engines import models as moves, plain, train as engine
from ratelab.experiments.engines.job import Curves, Job, Loops
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.experiments.engines.train import compute
from ratelab.experiments.methods import SGD, HeavyBall, Method, TorchMomentum
from ratelab.paper_figures.house.schedules_page import pictured
from ratelab.problems import networks
from ratelab.problems.data.minibatches import minibatches
from ratelab.problems.networks import LeNet, LinearClassifier, Network
from ratelab.problems.philox import stream_key
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.averaging import (
    Averaging,
    ExponentialMovingAverage,
    Last,
    StochasticWeightAveraging,
    Tail,
    Uniform,
)
from ratelab.theory.combine import Scaled, Warmup
from ratelab.theory.feedback import Feedback, GreedyLR, ReduceLROnPlateau, SklearnAdaptive
from ratelab.theory.notation import catalogue
from ratelab.theory.schedules import Constant, Cosine, InversePower, Linear, Schedule

KEY = stream_key(0, "training")
METHODS: list[Method] = [SGD(), TorchMomentum(0.8), TorchMomentum(0.6, nesterov=True)]
AVERAGINGS: list[Averaging] = [
    Last(),
    Uniform(),
    Tail(0.5),
    ExponentialMovingAverage(0.9, start=3),
    StochasticWeightAveraging(start=0.25, cycle=4),
]
SCHEDULES: list[Schedule] = [Warmup(Cosine(), length=0.1), InversePower(0.5), Linear()]
SOFTMAX, FEATURES, LOGISTIC, HINGE, PERCEPTRON, DEEP, LENET = CLASSIFIERS
SMALL = [SOFTMAX, PERCEPTRON, with_data(LENET)]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def job(
    network: Network,
    method: Method = SGD(),  # noqa: B008 - a frozen value
    schedules: Sequence[Schedule] = SCHEDULES,
    lrs: Sequence[float] = (0.3, 0.05),
    averagings: Sequence[Averaging] = AVERAGINGS,
    epochs: int = 1,
    runs: range = range(3, 6),
    **others: Any,
) -> Job[Network]:
    """Records at and inside epochs; float64 if nothing else is said."""
    T = epochs * networks.epoch(network)
    records = np.unique([0, 1, T // 3, T // 2 + 1, T])
    return Job(network, method, schedules, np.array(lrs), averagings, T, records, KEY, runs, **others)


def assert_same(found: Curves, expected: Curves, tolerance: float = 0.0) -> None:
    """Equal infinities; bit for bit if no tolerance is given."""
    assert list(found) == list(expected)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(autouse=True, scope="module")
def cores() -> Iterator[int]:
    """How many threads there may be. One is taken where nothing else is said: with arrays this small, several
    wait for each other longer than they work.
    """
    most, torchs = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    yield most
    numba.set_num_threads(most)
    torch.set_num_threads(torchs)


# beside the obvious version


def tamed(schedule: Schedule) -> Schedule:
    """Not above 1, so that one lr suits all schedules."""
    top = schedule(HORIZON).max()
    return schedule if top <= 1 else Scaled(schedule, 1 / top)


HORIZON = 24  # two epochs
CATALOGUE = [tamed(made) for cls in catalogue("schedule").values() if (made := pictured(cls)) is not None]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_every_model_is_the_one_that_torch_trains(network: Network, method: Method) -> None:
    """Every network with every method and averaging; of the schedules a part, such that each of them meets
    each method and several networks.
    """
    apart, epochs = (12, 1) if isinstance(network, LeNet) else (4, HORIZON // networks.epoch(network))
    schedules = CATALOGUE[(METHODS.index(method) + CLASSIFIERS.index(network)) % 4 :: apart]
    whole = job(network, method, schedules, epochs=epochs, runs=range(3, 5))
    found = compute(whole)
    turn = itertools.cycle(range(len(AVERAGINGS)))
    for s, schedule in enumerate(schedules):
        a, lr = next(turn), s % 2
        alone = plain.train(whole, s, lr, a, run=1)
        assert set(alone) == set(found)
        for name, expected in alone.items():
            np.testing.assert_allclose(
                found[name][1, s, lr, a], expected, rtol=0, atol=1e-9, err_msg=f"{schedule!r} {name}"
            )


def test_heavy_ball_is_refused_by_torch() -> None:
    with pytest.raises(InputError, match=r"does not know HeavyBall\(momentum=0.9\); give TorchMomentum"):
        plain.train(job(SOFTMAX, HeavyBall()), 0, 0, 0, 0)


# methods


def moved(method: Method, steps: Array, gradients: Array) -> Array:
    """x_0 = 0, x_1, … of v ← β v + a g, x ← x − p v − q g."""
    x, v, path = 0.0, 0.0, [0.0]
    for a, p, q, g in zip(*method.coefficients(steps), gradients, strict=True):
        v = method.momentum * v + a * g
        x = x - p * v - q * g
        path.append(x)
    return np.array(path)


def test_coefficients_are_those_of_the_definitions() -> None:
    rng = np.random.default_rng(0)
    steps, g = rng.uniform(0, 1, 30), rng.standard_normal(30)
    sgd, ball = moved(SGD(), steps, g), moved(HeavyBall(0.7), steps, g)
    np.testing.assert_allclose(sgd[1:], sgd[:-1] - steps * g, rtol=1e-12, atol=1e-13)
    before = np.concatenate([[0.0], ball[:-2]])
    np.testing.assert_allclose(
        ball[1:], ball[:-1] - steps * g + 0.7 * (ball[:-1] - before), rtol=1e-12, atol=1e-13
    )
    for method in METHODS:
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        nesterov = isinstance(method, TorchMomentum) and method.nesterov
        optimizer = torch.optim.SGD([x], lr=1.0, momentum=method.momentum, nesterov=nesterov)
        path = [0.0]
        for step, slope in zip(steps, g, strict=True):
            optimizer.param_groups[0]["lr"] = step
            x.grad = torch.full_like(x, slope)
            optimizer.step()
            path.append(x.item())
        np.testing.assert_allclose(moved(method, steps, g), path, rtol=1e-12, atol=1e-13)
    batch = np.stack([steps, 2 * steps])
    for method in [*METHODS, HeavyBall(0.5)]:
        assert all(part.shape == batch.shape for part in method.coefficients(batch))


@pytest.mark.slow
@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_the_two_momenta_are_one_at_a_constant_rate(network: Network) -> None:
    torchs, polyaks = (
        compute(job(network, method, [Constant()], averagings=[Last(), Uniform()], epochs=2))
        for method in (TorchMomentum(0.8), HeavyBall(0.8))
    )
    assert_same(torchs, polyaks, 1e-10)
    falling = [
        compute(job(network, method, [Linear()], averagings=[Last()], epochs=2))["train_loss"]
        for method in (TorchMomentum(0.8), HeavyBall(0.8))
    ]
    assert np.abs(falling[0] - falling[1]).max() > 1e-4


# the engines


def span(
    network: Network, method: Method, precision: str, runs: int = 2, pairs: int = 3, updates: int = 0
) -> dict[str, Any]:
    """What `advance_batched` takes by name: an epoch, or its first updates, in the middle of a training."""
    rng = np.random.default_rng(0)
    kind = torch.float64 if precision == "float64" else torch.float32
    train_part = network.parts()["train"]
    rows = minibatches(
        KEY, range(runs), 0, networks.epoch(network),
        rows=len(train_part.labels), batch=network.batch, replacement=network.replacement,
    )[:, -updates:]  # fmt: skip
    shape = (runs, pairs, rows.shape[1])
    size = (runs, pairs, networks.size(network))
    start = network.start(KEY, range(runs))[:, None] + 0.02 * rng.standard_normal(size)
    speed = 0.02 * rng.standard_normal(size) if method.momentum else np.zeros((*size[:2], 0))
    inject, push, direct = method.coefficients(rng.uniform(0.02, 0.2, shape))
    weights = rng.uniform(0, 0.1, (2, *shape[1:]))
    weights[0, 1] = 0
    keep, averages = rng.uniform(0, 1, (2, pairs)), torch.tensor(rng.standard_normal((2, *size)))
    return {
        "network": network,
        "precision": precision,
        "train": tuple(torch.tensor(part) for part in train_part),
        "rows": rows,
        "span": Span(network.weight_decay, method.momentum, inject, push, direct, weights, keep),
        "models": Models(torch.tensor(start, dtype=kind), torch.tensor(speed, dtype=kind), averages),
    }


def assert_models(found: Models, expected: Models, tolerance: float) -> None:
    for name, values in found._asdict().items():
        np.testing.assert_allclose(values, getattr(expected, name), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*METHODS, HeavyBall(0.7)], ids=repr)
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_the_compiled_engine_is_the_batched_one(network: Network, method: Method) -> None:
    compiled, batched = (span(network, method, "float64") for _ in range(2))
    before = compiled["models"].x.clone()
    losses = moves.advance_compiled(**compiled), moves.advance_batched(**batched)
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-10)
    assert_models(compiled["models"], batched["models"], 1e-10)
    assert (compiled["models"].x != before).any(-1).all()


@pytest.mark.slow
@pytest.mark.parametrize("advance", [moves.advance_compiled, moves.advance_batched])
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_float32_is_float64_rounded(network: Network, advance: Callable[..., Array]) -> None:
    """A dozen updates of order 0.1 and rounding of 6e-8 in sums of up to 784 terms: a few 1e-6."""
    single, double = (span(network, METHODS[1], precision) for precision in ("float32", "float64"))
    np.testing.assert_allclose(advance(**single), advance(**double), rtol=0, atol=2e-5)
    assert single["models"].x.dtype == torch.float32
    assert_models(single["models"], double["models"], 2e-5)


@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_half_precision_is_of_the_products_only(network: Network) -> None:
    """bfloat16 keeps 8 bits: a relative error of 2^-8 in each product, of 1e-2 in the losses and moves."""
    half, single = (span(network, METHODS[1], precision, updates=3) for precision in ("bfloat16", "float32"))
    before = half["models"].x.clone()
    found, expected = moves.advance_batched(**half), moves.advance_batched(**single)
    np.testing.assert_allclose(found, expected, rtol=0.02)
    assert np.abs(found - expected).max() > 1e-6
    assert half["models"].x.dtype == torch.float32
    change, known = (there["models"].x - before for there in (half, single))
    assert float((change - known).norm() / known.norm()) < 0.05


def test_products_of_a_gpu_are_refused_without_one() -> None:
    for precision in ("tf32", "bfloat16"):
        with pytest.raises(InputError, match=f'dtype = "{precision}" needs a GPU'):
            compute(job(SOFTMAX, precision=precision))


# groups, spans, threads


def some(network: Network, method: Method = METHODS[1], **others: Any) -> Job[Network]:
    kept: list[Averaging] = [Last(), Uniform(), Tail(0.5)]
    return job(network, method, SCHEDULES[:2], averagings=kept, epochs=2, **others)


@cache
def trained(network: Network) -> Curves:
    """What `some` gives, computed once, before anything is set to another value."""
    return compute(some(network))


def room_for(whole: Job[Network], models: int) -> int:
    """MEMORY that holds so many models: x, v, and averages in float64 twice as large where x is float32."""
    copies = 8 if whole.precision == "float64" else 4
    vectors = 2 + 2 * len(whole.averagings)
    return models * vectors * copies * networks.size(whole.problem)


@pytest.mark.slow
@pytest.mark.parametrize("models", [8, 6, 4, 3, 1])
@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_groups_do_not_meet(network: Network, models: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs of four pairs; evaluated in products of other shapes, which may round otherwise."""
    whole, expected = some(network), trained(network)  # type: ignore[arg-type] # a dataclass
    monkeypatch.setattr(engine, "MEMORY", room_for(whole, models))
    groups = engine.split_models(whole)
    sizes = [(len(runs), len(pairs)) for runs, pairs in groups]
    assert (
        sizes
        == {
            8: [(2, 4), (1, 4)],
            6: [(1, 4)] * 3,
            4: [(1, 4)] * 3,
            3: [(1, 3), (1, 1)] * 3,
            1: [(1, 1)] * 12,
        }[models]
    )
    places = [model for runs, pairs in groups for model in itertools.product(runs, pairs)]
    assert places == list(itertools.product(range(3), range(4)))
    assert_same(compute(whole), expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("updates", "budget"), [(1, 2**25), (5, 2**25), (256, 1), (256, 200_000)])
@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_spans_are_not_seen(
    network: Network, updates: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the rounding of the averages' sums, in float64 here."""
    expected = trained(network)  # type: ignore[arg-type] # a dataclass
    monkeypatch.setattr(engine, "SPAN", updates)
    monkeypatch.setattr(engine, "SPAN_BYTES", budget)
    assert_same(compute(some(network)), expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_threads_are_not_seen(network: Network, precision: str, cores: int) -> None:
    if cores < 2:
        pytest.skip("one core is there, so one thread")
    whole = some(network, precision=precision)
    expected = compute(whole)
    numba.set_num_threads(2)
    found = compute(whole)
    numba.set_num_threads(1)
    assert_same(found, expected)


def test_threads_of_torch_stay_as_they_are() -> None:
    torch.set_num_threads(2)
    compute(some(SOFTMAX))
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    assert found == 2


# interruptions


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every epoch, which need not reach the disk."""
    monkeypatch.setattr(engine, "CHECKPOINT", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Raised in place of the end of a process."""


LOOPS: list[Feedback] = [
    ReduceLROnPlateau(factor=0.5, patience=0, threshold=0.3),
    GreedyLR(factor=0.7, patience=0, low=0.1, high=1.5, schedule=InversePower(0.25)),
]


def closed(
    network: Network, rules: Sequence[Feedback] = LOOPS, every: int = 5, **others: Any
) -> Job[Network]:
    """One rule per row, shown a loss every so many updates."""
    opened = job(network, METHODS[1], [rule.schedule for rule in rules], epochs=3, **others)
    return replace(opened, loops=Loops(list(rules), every))


@pytest.mark.slow
@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("models", [12, 4, 3])
@pytest.mark.parametrize("make", [some, closed])
def test_an_interrupted_training_ends_with_the_same_numbers(
    make: Callable[[Network], Job[Network]], models: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at some of the reports, of which the later ones are of later groups."""
    network = replace(PERCEPTRON, widths=(5,))  # type: ignore[type-var] # a dataclass
    whole = make(network)
    monkeypatch.setattr(engine, "MEMORY", room_for(whole, models))
    monkeypatch.setattr(engine, "SPAN", 7)
    said: list[float] = []
    expected = compute(whole, report=said.append)
    assert said == sorted(said)
    assert said[-1] == 1
    gone_on = 0
    for stop in range(0, len(said), len(said) // 5):
        path, told = tmp_path / f"{stop}.npz", itertools.count()

        def interrupt(_: float) -> None:
            if next(told) == stop:  # noqa: B023 - called in this round only
                raise Interrupted

        with pytest.raises(Interrupted):
            compute(whole, path, interrupt)
        resumed = path.exists()
        again: list[float] = []
        assert_same(compute(whole, path, again.append), expected)
        assert again == said[len(said) - len(again) :]
        assert len(said) - stop <= len(again) < len(said) + (not resumed)
        gone_on += resumed
    assert gone_on > 0


@pytest.mark.usefixtures("often")
def test_a_training_interrupted_twice_ends_with_the_same_numbers(tmp_path: Path) -> None:
    whole, path = closed(SOFTMAX), tmp_path / "state.npz"
    expected = compute(whole)
    for after in (0.5, 0.8):

        def interrupt(done: float) -> None:
            if done > after:  # noqa: B023 - called in this round only
                raise Interrupted

        with pytest.raises(Interrupted):
            compute(whole, path, interrupt)
    assert_same(compute(whole, path), expected)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"no archive",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:4000] + bytes(64) + content[4064:],
    ],
    ids=["empty", "other", "half", "nearly", "hole"],
)
def test_a_damaged_checkpoint_counts_as_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole, path = some(SOFTMAX), tmp_path / "state.npz"
    expected = compute(whole, path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    told: list[float] = []
    assert_same(compute(whole, path, told.append), expected)
    assert told[0] < 0.1
    assert path.read_bytes() == content


@pytest.mark.usefixtures("often")
def test_a_whole_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    whole, path = some(SOFTMAX), tmp_path / "state.npz"
    expected = compute(whole, path)
    told: list[float] = []
    assert_same(compute(whole, path, told.append), expected)
    assert told == []


def test_checkpoints_are_some_seconds_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT", 1e6)
    compute(some(SOFTMAX), tmp_path / "state.npz")
    assert list(tmp_path.iterdir()) == []


# closed loops


RULES: list[Feedback] = [
    *LOOPS,
    SklearnAdaptive(tol=0.5, patience=0, schedule=Linear(final=0.2)),
    ReduceLROnPlateau(factor=0.3, patience=1, threshold=0.1, cooldown=1, schedule=Cosine(final=0.1)),
]


def by_hand(
    network: Network, method: Method, rule: Feedback, lr: float, records: Integers, run: int, every: int
) -> tuple[Array, Array]:
    """One model and one rule, update by update: training losses of the last iterate, and factors shown."""
    T, parts = int(records[-1]), network.parts()
    of_rule = parts["validation" if "validation" in parts else "train"]
    multipliers, state, factor, factors = rule.schedule(T), rule.start(1), 1.0, []
    rows = minibatches(
        KEY, range(run, run + 1), 0, T,
        rows=len(parts["train"].labels), batch=network.batch, replacement=network.replacement,
    )[0]  # fmt: skip
    x = torch.from_numpy(network.start(KEY, range(run, run + 1))).requires_grad_()
    v = torch.zeros_like(x)

    def loss(part: networks.Part, chosen: Any) -> torch.Tensor:
        features, labels = torch.tensor(part.features[chosen]).double(), torch.tensor(part.labels[chosen])
        return networks.losses(network.loss, network.outputs(x[None], features[None])[0], labels).mean()

    seen = []
    for t in range(T + 1):
        if t in records:
            seen.append(loss(parts["train"], slice(None)).item())
        if t == T:
            break
        if t and t % every == 0:
            shown, state = rule.update(state, np.array([loss(of_rule, slice(None)).item()]))
            factor = float(shown[0])
            factors.append(factor)
        (g,) = torch.autograd.grad(loss(parts["train"], rows[t][rows[t] >= 0]), x)
        step = lr * multipliers[t] * factor
        with torch.no_grad():
            v = method.momentum * v + g + network.weight_decay * x
            x -= step * v
    return np.array(seen), np.array(factors)


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, 8, 12])
@pytest.mark.parametrize("network", [SOFTMAX, PERCEPTRON, with_data(HINGE)], ids=repr)
def test_every_model_follows_its_own_rule(network: Network, every: int) -> None:
    """Where rows are kept for validation, the rule sees these. The updates are those by hand, so is what is
    evaluated, but for rounding; no decision hangs on that.
    """
    whole = closed(network, RULES, every, averagings=[Last(), Uniform()])
    found, own = compute(whole)["train_loss"], set()
    for r, s, n in [(0, 0, 0), (2, 0, 1), (1, 1, 0), (1, 1, 1), (2, 2, 0), (0, 2, 1), (0, 3, 0), (2, 3, 1)]:
        run, lr = whole.runs[r], whole.lrs[n]
        expected, factors = by_hand(network, METHODS[1], RULES[s], lr, whole.records, run, every)
        np.testing.assert_allclose(found[r, s, n, 0], expected, rtol=0, atol=1e-9)
        own.add(tuple(factors))
    assert len(own) > 2


# divergence


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    ("network", "method"),
    [
        *((network, method) for network in (SOFTMAX, PERCEPTRON) for method in METHODS),
        pytest.param(LENET, METHODS[1], marks=with_data(LENET).marks),
    ],
    ids=repr,
)
def test_a_diverging_model_touches_no_other(network: Network, method: Method, precision: str) -> None:
    kept: list[Averaging] = [Last(), Tail(0.5), ExponentialMovingAverage(0.9)]
    made = {
        lr: compute(job(network, method, lrs=(0.1, lr, 0.2), averagings=kept, epochs=2, precision=precision))
        for lr in (0.05, 1e37)
    }
    for name, values in made[1e37].items():
        tame = made[0.05][name]
        np.testing.assert_array_equal(values[:, :, [0, 2]], tame[:, :, [0, 2]], err_msg=name)
        assert np.isfinite(tame).all()
        wild = values[:, :, 1]
        assert (wild[..., -1] == (1 if name.endswith("error") else np.inf)).all(), name
        if not name.endswith("error"):
            assert not np.isnan(wild).any()
            left = np.isinf(wild)
            assert (left[..., 1:] >= left[..., :-1]).all()
        np.testing.assert_array_equal(wild[..., 0], tame[:, :, 1, ..., 0])


# shared randomness


@pytest.mark.slow
@pytest.mark.parametrize("network", [*SMALL, FEATURES], ids=repr)
def test_a_run_is_the_same_in_any_company(network: Network) -> None:
    """Other runs, schedules and rates beside it change the shape of what is evaluated, so its rounding."""
    whole = compute(some(network, runs=range(6)))
    for runs in (range(2, 3), range(2, 6)):
        part = compute(some(network, runs=runs))
        assert_same(part, {name: values[runs.start : runs.stop] for name, values in whole.items()}, 1e-12)
    alone = compute(replace(some(network, runs=range(1, 2)), lrs=np.array([0.05])))
    assert_same(alone, {name: values[1:2, :, 1:] for name, values in whole.items()}, 1e-12)
    ends = whole["train_loss"][:, 0, 0, 0, -1]
    assert len(set(ends)) == 6


def test_schedules_and_rates_share_start_and_order() -> None:
    """Equal rows and equal rates give equal models, which one product may round differently."""
    whole = job(DEEP, schedules=[Linear()] * 2, lrs=(0.1, 0.2, 0.1), averagings=[Last()])
    for values in compute(whole).values():
        np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(values[:, :, 0], values[:, :, 2], rtol=0, atol=1e-14)
    start = compute(job(DEEP, lrs=(0.1, 0.7)))["train_loss"][..., 0]
    np.testing.assert_allclose(start, np.broadcast_to(start[:, :1, :1, :1], start.shape), rtol=1e-14)


# metrics


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_losses_and_errors_of_the_start(network: Network) -> None:
    found, parts = compute(job(network)), network.parts()
    assert set(found) - {"risk"} == {f"{part}_{what}" for part in parts for what in ("loss", "error")}
    for r in range(3):
        x = torch.from_numpy(network.start(KEY, range(3 + r, 4 + r)))
        for name, part in parts.items():
            outputs = network.outputs(x[None], torch.tensor(part.features[None]).double())[0, 0]
            labels = torch.tensor(part.labels)
            loss = networks.losses(network.loss, outputs, labels).mean().item()
            if network.loss == "cross_entropy":
                error = np.mean(outputs.numpy().argmax(1) != part.labels)
            else:
                error = np.mean((outputs[:, 0].numpy() > 0) != (part.labels == 1))
            np.testing.assert_allclose(found[f"{name}_loss"][r, ..., 0], loss, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(found[f"{name}_error"][r, ..., 0], error)


@pytest.mark.parametrize("network", CONVEX, ids=repr)
def test_the_risk_is_the_objective_less_its_minimum(network: LinearClassifier) -> None:
    """Of full batches it falls from f(0) − f* all the way; at the minimiser none is left."""
    assert network.minimum is not None
    rows = len(network.parts()["train"].labels)
    whole = replace(network, batch=rows, initial_scale=0.0)
    found = compute(job(whole, SGD(), [Constant()], [0.05], [Last()], epochs=30, runs=range(1)))
    risk = found["risk"].ravel()
    assert risk[0] == pytest.approx(whole.constants.start_risk, rel=1e-12)
    assert (np.diff(risk) < 0).all()
    assert risk[-1] > 0
    group = engine._Group(job(whole), range(1), range(1))
    weights = np.atleast_2d(network.minimum.minimiser)
    best = torch.from_numpy(np.concatenate([weights[:, :-1].ravel(), weights[:, -1]]))
    at_best = group.evaluate(best[None, None], ["train"])
    # f(minimiser) is `value`, of which f* may fall short by the accuracy: the difference is rounding
    assert abs(float(at_best["risk"][0, 0])) < 1e-13 * max(1.0, network.minimum.value)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 2.0):
        x = best + size * torch.from_numpy(rng.standard_normal(len(best)))
        there = group.evaluate(x[None, None], ["train"])
        penalty = network.weight_decay / 2 * float(x @ x)
        expected = float(there["train_loss"][0, 0]) + penalty - network.minimum.value
        assert float(there["risk"][0, 0]) == pytest.approx(expected, rel=1e-12, abs=1e-14)
        assert expected > 0


@pytest.mark.parametrize("rows", [1, 37, 200])
@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_how_rows_are_evaluated_is_not_seen(
    network: Network, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_part = [torch.tensor(part) for part in network.parts()["train"]]
    x = torch.from_numpy(network.start(KEY, range(5)))
    expected = moves.evaluate(network, x, *train_part)
    monkeypatch.setattr(moves, "ROWS", rows)
    for found, known in zip(moves.evaluate(network, x, *train_part), expected, strict=True):
        np.testing.assert_allclose(found, known, rtol=0, atol=1e-12)


# on a GPU


@needs_gpu
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_a_gpu_agrees_with_the_processor(network: Network) -> None:
    for method in METHODS:
        whole = some(network, method)
        assert_same(compute(replace(whole, device="cuda")), compute(whole), 1e-9)


@needs_gpu
@pytest.mark.parametrize("network", SMALL, ids=repr)
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_coarser_products_of_a_gpu_end_nearby(network: Network, precision: str) -> None:
    """Mantissas of 24, 11 and 8 bits; the losses fall by some tenths, and errors of products average out."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    found = compute(some(network, precision=precision, device="cuda"))["train_loss"]
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    expected = compute(some(network, precision="float32"))["train_loss"]
    error = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 3e-2}[precision]
    np.testing.assert_allclose(found, expected, rtol=error)


# no momentum


@cache
def descended(network: Network) -> Curves:
    return compute(job(network, SGD()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [HeavyBall(0.0), TorchMomentum(0.0), TorchMomentum(0.0, nesterov=True)], ids=repr
)
@pytest.mark.parametrize("network", SMALL, ids=repr)
def test_momentum_zero_is_plain_descent(network: Network, method: Method) -> None:
    expected = descended(network)  # type: ignore[arg-type] # a dataclass
    assert_same(compute(job(network, method)), expected, 0)
