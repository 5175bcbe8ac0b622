"""The obvious versions, which read like the definitions; the engines are compared with them.

Stepping in torch, for any problem, closed loops included. One network trained as a tutorial does: an
nn.Module, a DataLoader, torch.optim.SGD and a torch scheduler; training many at once is timed against it too.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from ratelab.experiments.engines.job import Curves, Job, blocks
from ratelab.experiments.methods import HeavyBall, TorchMomentum
from ratelab.problems import networks
from ratelab.problems.data.minibatches import minibatches
from ratelab.problems.networks import Network
from ratelab.problems.problem import Problem
from ratelab.theory.arrays import InputError, once_infinite
from ratelab.theory.feedback import Feedback, State

# Stepping


def step(job: Job[Problem]) -> Curves:
    """v ← β v − η_t g_t, x ← x + v, x̄ ← (1 − c_t) x̄ + c_t x, on any torch device: "risk" (R, S, n, A, K).

    Arrays are (schedules, lrs, runs, coordinates), averages have their own axis before; η is lr · multiplier,
    times the factor that a closed loop's rule has set for the run.
    """
    problem, beta = job.problem, job.method.momentum
    kind = torch.float32 if job.precision == "float32" else torch.float64
    steps = torch.as_tensor(job.multipliers[:, None] * job.lrs[:, None], dtype=kind, device=job.device)
    mixings = np.array(job.mixings).reshape(len(job.averagings), *job.multipliers.shape)  # of none, too
    c = torch.as_tensor(mixings, device=job.device)
    x = torch.as_tensor(problem.start, dtype=kind, device=job.device)
    x = x.expand(*job.shape, len(job.runs), problem.dim)
    v = torch.zeros_like(x)
    averages = x.double().expand(len(c), *x.shape)
    factors = torch.ones_like(x[..., :1])
    rules = [] if job.loops is None else job.loops.rules
    states = [rule.start(len(job.lrs) * len(job.runs)) for rule in rules]
    risk = []
    if 0 in job.records:
        risk.append(problem.risk(averages))
    for t, sample in enumerate(_samples(job)):
        if job.loops is not None and t and t % job.loops.every == 0:
            factors, states = _listen(rules, states, problem.risk(x.double()), factors)
        v = beta * v - steps[:, :, t, None, None] * factors * problem.gradient(x, *sample)
        x = x + v
        weight = c[:, :, t, None, None, None]
        averages = (1 - weight) * averages + weight * x.double()
        if t + 1 in job.records:
            risk.append(problem.risk(averages))
    return {"risk": once_infinite(torch.stack(risk, -1).permute(3, 1, 2, 0, 4).cpu().numpy().copy())}


def _samples(job: Job[Problem]) -> Iterator[list[Tensor]]:
    """What each update sees, arrays (runs, …): drawn for many updates at once."""
    for first, last in blocks(job.problem, job.records):
        drawn = job.problem.sample(job.key, job.runs, first, last - first)
        parts = [torch.as_tensor(part, device=job.device) for part in drawn]
        yield from ([part[:, k] for part in parts] for k in range(last - first))


def _listen(
    rules: Sequence[Feedback], states: Sequence[State], risk: Tensor, factors: Tensor
) -> tuple[Tensor, list[State]]:
    """What the rules make of the risk (S, n, R): factors of the steps (S, n, R, 1), and the rules' states."""
    seen = risk.flatten(1).cpu().numpy()
    told = [rule.update(*shown) for rule, *shown in zip(rules, states, seen, strict=True)]
    shown = np.array([factor for factor, _ in told])
    return torch.as_tensor(shown).to(factors).reshape(factors.shape), [state for _, state in told]


# Training


def train(job: Job[Network], schedule: int, lr: int, averaging: int, run: int) -> Curves:
    """Losses and errors (K,), by name, of one model of `engines.train`: of these numbers, in float64.

    The averaging is torch.optim.swa_utils.AveragedModel. InputError for HeavyBall, which torch does not have.
    """
    network, method = job.problem, job.method
    if isinstance(method, HeavyBall):
        raise InputError(f"torch.optim.SGD does not know {method!r}; give TorchMomentum")
    module = network.module().double()
    runs = job.runs[run : run + 1]
    start = torch.from_numpy(network.start(job.key, runs)[0])
    vector_to_parameters(start, module.parameters())
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=float(job.lrs[lr]),
        momentum=method.momentum,
        nesterov=isinstance(method, TorchMomentum) and method.nesterov,
        weight_decay=network.weight_decay,
    )
    steps = job.multipliers[schedule]
    scheduler = LambdaLR(
        optimizer, lambda t: float(steps[min(t, job.horizon - 1)])
    )  # asked after the last, too
    mixing = job.averagings[averaging](steps)
    average = AveragedModel(module, avg_fn=lambda old, new, count: old + mixing[int(count) - 1] * (new - old))
    average.update_parameters(module)  # the first is a copy
    found: dict[str, list[float]] = {}
    for t, (features, labels) in enumerate(_batches(network, job.key, runs, job.updates)):
        if t in job.records:
            _record(network, average, found)
        optimizer.zero_grad()
        networks.losses(network.loss, module(features), labels).mean().backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(module)
    _record(network, average, found)
    return {name: np.array(values) for name, values in found.items()}


def _batches(network: Network, key: int, run: range, updates: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The minibatches of so many updates, in our order, epoch by epoch as a DataLoader gives them."""
    train = network.parts()["train"]
    table = TensorDataset(torch.tensor(train.features).double(), torch.tensor(train.labels))
    per_epoch = networks.epoch(network)
    for first in range(0, updates, per_epoch):
        rows = minibatches(
            key,
            run,
            first,
            min(per_epoch, updates - first),
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
