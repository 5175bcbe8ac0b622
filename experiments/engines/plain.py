"""One network trained as a tutorial does: an nn.Module, a DataLoader, torch.optim.SGD and a torch scheduler.

What `engines.train` does to many models at once is compared with this, and timed against it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from ratelab.experiments.methods import HeavyBall, Method, TorchMomentum
from ratelab.problems import networks
from ratelab.problems.data.minibatches import minibatches
from ratelab.problems.networks import Network
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.averaging import Averaging
from ratelab.theory.schedules import Schedule, multipliers


def train_plainly(
    network: Network,
    method: Method,
    schedule: Schedule,
    lr: float,
    averaging: Averaging,
    records: Integers,
    key: int,
    run: int,
) -> dict[str, Array]:
    """Losses and errors, by name, of one model of `engines.train.train` at the records (K,); float64.

    The averaging is torch.optim.swa_utils.AveragedModel. InputError for HeavyBall, which torch does not have.
    """
    if isinstance(method, HeavyBall):
        raise InputError(f"torch.optim.SGD does not know {method!r}; give TorchMomentum")
    horizon = int(records[-1])
    module = network.module().double()
    start = torch.from_numpy(network.start(key, range(run, run + 1))[0])
    vector_to_parameters(start, module.parameters())
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=lr,
        momentum=method.momentum,
        nesterov=isinstance(method, TorchMomentum) and method.nesterov,
        weight_decay=network.weight_decay,
    )
    steps = multipliers(schedule, horizon)
    scheduler = LambdaLR(optimizer, lambda t: float(steps[min(t, horizon - 1)]))  # asks after the last, too
    mixing = averaging(steps)
    average = AveragedModel(module, avg_fn=lambda old, new, count: old + mixing[int(count) - 1] * (new - old))
    average.update_parameters(module)  # the first is a copy
    found: dict[str, list[float]] = {}
    for t, (features, labels) in enumerate(_batches(network, key, run, horizon)):
        if t in records:
            _record(network, average, found)
        optimizer.zero_grad()
        networks.losses(network.loss, module(features), labels).mean().backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(module)
    _record(network, average, found)
    return {name: np.array(values) for name, values in found.items()}


def _batches(
    network: Network, key: int, run: int, horizon: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The minibatches of so many updates, in our order, epoch by epoch as a DataLoader gives them."""
    train = network.parts()["train"]
    table = TensorDataset(torch.tensor(train.features).double(), torch.tensor(train.labels))
    per_epoch = networks.epoch(network)
    for first in range(0, horizon, per_epoch):
        rows = minibatches(
            key,
            range(run, run + 1),
            first,
            min(per_epoch, horizon - first),
            rows=len(train.labels),
            batch=network.batch,
            replacement=network.replacement,
        )[0]
        yield from DataLoader(table, batch_sampler=[row[row >= 0].tolist() for row in rows])


def _record(network: Network, module: torch.nn.Module, found: dict[str, list[float]]) -> None:
    with torch.no_grad():
        for name, part in network.parts().items():
            outputs, labels = module(torch.tensor(part.features).double()), torch.tensor(part.labels)
            loss = networks.losses(network.loss, outputs, labels).mean()
            error = networks.wrong(network.loss, outputs, labels).double().mean()
            found.setdefault(f"{name}_loss", []).append(float(loss))
            found.setdefault(f"{name}_error", []).append(float(error))
        squares = float(parameters_to_vector(module.parameters()).square().sum())
    if network.minimum is not None:
        penalty = 0.5 * network.weight_decay * squares
        found.setdefault("risk", []).append(found["train_loss"][-1] + penalty - network.minimum.value)
