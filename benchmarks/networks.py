"""Networks: 64 models at once on rows shaped like MNIST, against the loop of the tutorials and against JAX.

Softmax regression and a multilayer perceptron, float32, minibatches of 64 rows: one minibatch for all models,
as schedules × learning rates of a run share them, or one for each. Pixels and labels are random, which takes
the same time as real ones. Gathering the minibatches counts in.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from numpy.typing import NDArray
from rich.console import Console
from torch import nn
from torch.nn.utils import vector_to_parameters
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.ways import Way, report
from ratelab.experiments.engines.kernels import dense
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.theory.arrays import Array, Integers

ROWS, MODELS, BATCH = 60_000, 64, 64
MICROSECONDS = ("µs", 1e3)
RATES = np.geomspace(1e-3, 0.1, MODELS)


@dataclass(frozen=True)
class Case:
    """`reach` is the factor by which ours should be faster than the loop, per model and update."""

    name: str
    sizes: tuple[int, ...]
    shared: bool
    updates: int
    reach: float

    @property
    def stacked(self) -> tuple[int, int]:
        """Runs, which have minibatches of their own, and models of each."""
        return (1, MODELS) if self.shared else (MODELS, 1)

    def rows(self, updates: int) -> Integers:
        """Of the minibatches, (runs, updates, BATCH)."""
        return np.random.default_rng(1).integers(0, ROWS, (self.stacked[0], updates, BATCH))

    def start(self) -> NDArray[np.float32]:
        """(MODELS, N)"""
        size = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(self.sizes))
        return np.random.default_rng(2).uniform(-0.05, 0.05, (MODELS, size)).astype(np.float32)


CASES = [
    Case(f"{name}, {'shared minibatches' if shared else 'a minibatch each'}", sizes, shared, updates, reach)
    for name, sizes, updates, reach in (
        ("softmax 784-10", (784, 10), 256, 25.0),
        ("MLP 784-128-10", (784, 128, 10), 64, 4.0),
    )
    for shared in (True, False)
]


@cache
def table() -> tuple[NDArray[np.float32], Integers]:
    generator = np.random.default_rng(0)
    return generator.random((ROWS, 784), np.float32), generator.integers(0, 10, ROWS)


def by_kernels(case: Case, updates: int, kind: type = np.float32) -> Callable[[], Array]:
    """Losses of all models before each update, (MODELS, updates)."""
    runs, pairs = case.stacked
    start, rows = case.start().reshape(runs, pairs, -1), case.rows(updates)
    steps = np.broadcast_to(RATES.reshape(runs, pairs, 1), (runs, pairs, updates))
    none = np.zeros_like(steps)
    span = Span(0.0, 0.0, none, none, steps, np.zeros((0, pairs, updates)), np.zeros((0, pairs)))

    def train() -> Array:
        x: NDArray[Any] = start.astype(kind)
        models = Models(x, np.zeros((runs, pairs, 0), kind), np.zeros((0, *x.shape)))
        losses = dense.advance(case.sizes, "cross_entropy", dense.Table(*table(), rows), span, models)
        return losses.reshape(MODELS, updates)

    return train


def in_a_loop(case: Case, model: int, loader: Iterable[Any]) -> Array:
    """Losses of one model: nn.Module, DataLoader, torch.optim.SGD, as the documentation teaches."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(case.sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    module = nn.Sequential(*layers[:-1])
    vector_to_parameters(torch.from_numpy(case.start()[model]), module.parameters())
    optimiser = torch.optim.SGD(module.parameters(), lr=float(RATES[model]))
    losses = []
    for features, labels in loader:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(module(features), labels)
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    return np.array(losses)


def tensors() -> TensorDataset:
    return TensorDataset(*map(torch.from_numpy, table()))


def jax_scan(case: Case, updates: int) -> Callable[[], NDArray[np.float32]]:
    """Losses (MODELS, updates): vmap over the models, lax.scan over the updates, everything in one jit."""
    features, labels = map(jnp.asarray, table())
    rows = jnp.asarray(case.rows(updates).swapaxes(0, 1), jnp.int32)  # (updates, runs, BATCH)
    rates, flat, begin = jnp.asarray(RATES, jnp.float32), jnp.asarray(case.start()), 0
    start = []
    for inputs, outputs in itertools.pairwise(case.sizes):
        end = begin + inputs * outputs
        start.append((flat[:, begin:end].reshape(-1, outputs, inputs), flat[:, end : end + outputs]))
        begin = end + outputs

    def loss(layers: Any, x: Any, y: Any) -> Any:
        *hidden, (w, b) = layers
        for v, c in hidden:
            x = jax.nn.relu(x @ v.T + c)
        logits = x @ w.T + b
        return (jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(BATCH), y]).mean()

    def update(layers: Any, rate: Any, x: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(layers, x, y)
        return jax.tree.map(lambda w, g: w - rate * g, layers, gradient), value

    seen = None if case.shared else 0
    batched = jax.vmap(update, (0, 0, seen, seen))

    @jax.jit
    def train(layers: Any, features: Any, labels: Any, rows: Any) -> Any:
        def body(layers: Any, chosen: Any) -> Any:
            chosen = chosen[0] if case.shared else chosen
            return batched(layers, rates, features[chosen], labels[chosen])

        return lax.scan(body, layers, rows)[1]

    return lambda: np.asarray(train(start, features, labels, rows)).T


def check(case: Case, console: Console, updates: int = 20) -> None:
    """Equal losses on equal minibatches."""
    ours = by_kernels(case, updates)()
    np.testing.assert_allclose(by_kernels(case, updates, np.float64)(), ours, rtol=1e-3, err_msg="float64")
    np.testing.assert_allclose(jax_scan(case, updates)(), ours, rtol=1e-3, err_msg="JAX")
    for model in (0, MODELS - 1):
        chosen = case.rows(updates)[0 if case.shared else model].tolist()
        losses = in_a_loop(case, model, DataLoader(tensors(), batch_sampler=chosen))
        np.testing.assert_allclose(losses, ours[model], rtol=1e-3, err_msg="loop")
    console.print(
        f"{case.name}: JAX, the loop and float64 have our losses on the same minibatches", style="dim"
    )


def ways(case: Case) -> Iterator[Way]:
    updates = case.updates
    size, cells = f"{MODELS} models × {updates}", MODELS * updates
    yield Way("kernels", "ours", size, cells, by_kernels(case, updates), reach=case.reach)
    yield Way("kernels, float64", "peer", size, cells, by_kernels(case, updates, np.float64))
    loader = DataLoader(tensors(), batch_size=BATCH, shuffle=True)
    yield Way(
        "nn.Module, DataLoader, SGD",
        "yardstick",
        "1 model, an epoch",
        len(loader),
        lambda: in_a_loop(case, MODELS // 2, loader),
    )
    yield Way("JAX, vmap and scan", "peer", size, cells, jax_scan(case, updates), reach=1)


def main(console: Console) -> None:
    for case in CASES:
        check(case, console)
        title = f"{case.name}, batch {BATCH}: µs per model and update"
        report(title, list(ways(case)), console, unit=MICROSECONDS)
