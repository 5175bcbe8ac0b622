"""A GPU: 256 multilayer perceptrons at once, against the loop of the tutorials on it, one at a time.

Nothing is measured, and it says so, where torch sees no GPU. Pixels and labels are random, and lie on the GPU
for both ways; the losses are those of the kernels of the CPU before anything is timed.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from benchmarks.networks import BATCH, MICROSECONDS, ROWS, table
from benchmarks.ways import Way, report
from ratelab.experiments.engines.job import Precision
from ratelab.experiments.engines.kernels import dense
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.experiments.engines.models import advance_batched
from ratelab.problems.networks import MLP, Network
from ratelab.theory.arrays import Array, Integers

SIZES, MODELS, UPDATES, REACH = (784, 128, 10), 256, 64, 100.0
RATES = np.geomspace(1e-3, 0.1, MODELS)


@dataclass(frozen=True)
class Perceptron:
    """What of `problems.networks.MLP` takes part in an update, without a data set."""

    loss = "cross_entropy"

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        pairs = itertools.pairwise(SIZES)
        return tuple(shape for inputs, outputs in pairs for shape in ((outputs, inputs), (outputs,)))

    outputs = MLP.outputs


def stacked(shared: bool) -> tuple[int, int]:
    """Runs, and models of each, which share its minibatches."""
    return (1, MODELS) if shared else (MODELS, 1)


def problem(shared: bool) -> tuple[Integers, Span, NDArray[np.float32]]:
    """rows, updates and start of 256 models."""
    runs, pairs = stacked(shared)
    rows = np.random.default_rng(1).integers(0, ROWS, (runs, UPDATES, BATCH))
    steps = np.broadcast_to(RATES.reshape(runs, pairs, 1), (runs, pairs, UPDATES)).copy()
    none = np.zeros_like(steps)
    size = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(SIZES))
    start = np.random.default_rng(2).uniform(-0.05, 0.05, (runs, pairs, size)).astype(np.float32)
    averages = np.zeros((0, pairs, UPDATES)), np.zeros((0, pairs))
    return rows, Span(0.0, 0.0, none, none, steps, *averages), start


def at_once(shared: bool, precision: Precision, device: str) -> Callable[[], Array]:
    """Losses (runs, pairs, updates); they come back from the GPU, so the clock sees all of its work."""
    rows, span, start = problem(shared)
    features, labels = (torch.from_numpy(part).to(device) for part in table())
    network = cast(Network, Perceptron())

    def run() -> Array:
        x = torch.from_numpy(start).to(device)
        v, averages = x.new_zeros((*x.shape[:2], 0)), x.new_zeros((0, *x.shape), dtype=torch.float64)
        return advance_batched(network, precision, (features, labels), rows, span, Models(x, v, averages))

    return run


def one_by_one(device: str, updates: int = 300) -> Callable[[], Tensor]:
    """nn.Module and torch.optim.SGD on rows that lie on the GPU already: no DataLoader to wait for."""
    features, labels = (torch.from_numpy(part).to(device) for part in table())
    module = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)

    def run() -> Tensor:
        generator = torch.Generator(device).manual_seed(0)
        loss = torch.zeros((), device=device)
        for _ in range(updates):
            rows = torch.randint(ROWS, (BATCH,), device=device, generator=generator)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(module(features[rows]), labels[rows])
            torch.autograd.backward(loss)
            optimiser.step()
        return loss.cpu()

    return run


def check(device: str, console: Console) -> None:
    """The same losses as the kernels of the CPU."""
    for shared in (True, False):
        rows, span, start = problem(shared)
        x = start.copy()
        v, averages = np.zeros((*x.shape[:2], 0), np.float32), np.zeros((0, *x.shape))
        seen = dense.Table(*table(), rows)
        losses = dense.advance(SIZES, "cross_entropy", seen, span, Models(x, v, averages))
        np.testing.assert_allclose(at_once(shared, "float32", device)(), losses, rtol=1e-3)
    console.print("256 models at once have the losses of the kernels of the CPU", style="dim")


def ways(device: str) -> Iterator[Way]:
    size, cells = f"{MODELS} models × {UPDATES}", MODELS * UPDATES
    precisions: list[Precision] = ["float32", "tf32", "bfloat16"]
    for shared, precision in itertools.product((True, False), precisions):
        name = f"{precision}, {'shared minibatches' if shared else 'a minibatch each'}"
        yield Way(name, "ours", size, cells, at_once(shared, precision, device), reach=REACH)
    yield Way("nn.Module, SGD, one model", "yardstick", "300 updates", 300, one_by_one(device))


def main(console: Console) -> None:
    if not torch.cuda.is_available():
        console.print(f"gpu: torch {torch.__version__} sees no GPU here; nothing was measured")
        return
    console.print(torch.cuda.get_device_name())
    check("cuda", console)
    report(
        f"MLP {'-'.join(map(str, SIZES))}, batch {BATCH}: µs per model and update",
        list(ways("cuda")),
        console,
        unit=MICROSECONDS,
    )
