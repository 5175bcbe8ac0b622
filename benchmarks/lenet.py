"""LeNet on images of 28 × 28, batch 64: eight models at once, against training one after the other as torch's
tutorials do, and against torch on a thread for each model.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.ways import Way, report
from ratelab.experiments.engines.kernels import lenet
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.problems.networks import LeNet
from ratelab.theory.arrays import Array

BATCH, UPDATES, MODELS, LR, MOMENTUM = 64, 100, 8, 0.05, 0.9
THREADS = torch.get_num_threads()


@cache
def images() -> tuple[Tensor, Tensor]:
    """Images, half of them black, and labels, for UPDATES minibatches."""
    rng = np.random.default_rng(0)
    features = rng.random((UPDATES * BATCH, 784), dtype=np.float32)
    features[features < 0.5] = 0
    return torch.tensor(features), torch.tensor(rng.integers(0, 10, len(features)))


def network() -> nn.Module:
    torch.manual_seed(0)
    return LeNet().module()


def train(module: nn.Module, minibatches: Iterable[Any]) -> list[Tensor]:
    """The losses of one model, trained as everyone does."""
    optimiser = torch.optim.SGD(module.parameters(), LR, MOMENTUM)
    losses = []
    for features, labels in minibatches:
        optimiser.zero_grad()
        loss = functional.cross_entropy(module(features), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return losses


def one_after_the_other() -> object:
    return train(network(), DataLoader(TensorDataset(*images()), BATCH, shuffle=True))


def on_threads() -> object:
    """Two models on a thread each, without a DataLoader."""
    features, labels = images()
    minibatches = list(zip(features.split(BATCH), labels.split(BATCH), strict=True))
    torch.set_num_threads(1)
    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(train, [network() for _ in range(THREADS)], [minibatches] * THREADS))
    torch.set_num_threads(THREADS)
    return done


def together(dtype: Any, models: int = MODELS) -> tuple[Array, NDArray[Any]]:
    """Losses (1, models, UPDATES) of models that differ in nothing, and where they end."""
    features, labels = (part.numpy().reshape(1, UPDATES, BATCH, -1) for part in images())
    start = parameters_to_vector(network().parameters()).detach().numpy()
    x = np.tile(start, (1, models, 1)).astype(dtype)
    each = (1, models, UPDATES)
    seen = lenet.Minibatches(features.astype(dtype), labels[..., 0], np.full(UPDATES, BATCH))
    averages = np.zeros((0, models, UPDATES)), np.zeros((0, models))
    span = Span(0.0, MOMENTUM, np.ones(each), np.full(each, LR), np.zeros(each), *averages)
    return lenet.advance(seen, span, Models(x, np.zeros_like(x), np.zeros((0, *x.shape)))), x


def check(console: Console) -> None:
    """Equal losses on equal minibatches; a hundred updates let rounding grow."""
    features, labels = images()
    plain = train(network(), zip(features.split(BATCH), labels.split(BATCH), strict=True))
    for dtype in (np.float32, np.float64):
        np.testing.assert_allclose(together(dtype, 1)[0][0, 0], plain, rtol=1e-3)
    console.print("torch: same losses as ours on the same minibatches", style="dim")


def ways() -> Iterator[Way]:
    size, cells = f"{MODELS} models, {UPDATES} updates", MODELS * UPDATES
    yield Way("lenet, float32", "ours", size, cells, lambda: together(np.float32), reach=2)
    yield Way("lenet, float64", "ours", size, cells, lambda: together(np.float64))
    yield Way("torch, DataLoader", "yardstick", "1 model, scaled", UPDATES, one_after_the_other)
    yield Way(
        "torch, a thread for each model",
        "peer",
        f"{THREADS} models, scaled",
        THREADS * UPDATES,
        on_threads,
    )


def main(console: Console) -> None:
    check(console)
    report(f"LeNet, batch {BATCH}: µs per model and update", list(ways()), console, unit=("µs", 1e3))
