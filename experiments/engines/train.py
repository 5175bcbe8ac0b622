"""Many networks at once: every schedule × learning rate × seed of a cell, on the CPU or a GPU.

The models are cut into groups that fit in memory, by a fixed function of shapes; a group runs from start to
end, in spans of updates that end at records, at metrics of closed loops and at epochs. What a span does
stands in `engines.models`. Each model's numbers are its own: one that diverges never touches another.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ratelab.experiments.engines.job import Curves, Job
from ratelab.experiments.engines.kernels.averages import block_weights
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.experiments.engines.models import advance_batched, advance_compiled, evaluate
from ratelab.problems import networks
from ratelab.problems.data.minibatches import minibatches
from ratelab.problems.networks import LeNet, Network
from ratelab.theory.arrays import Array, Integers, once_infinite
from ratelab.theory.cache import atomically

MEMORY = 2**31  # bytes of the parameters, velocities and averages of a group
SPAN = 256  # updates at most: short enough for a float32 sum
SPAN_BYTES = 2**22  # of a run's minibatches of a span, where they are gathered before it
CHECKPOINT = 5.0  # seconds between two checkpoints, at least


def compute(
    job: Job[Network], checkpoint: Path | None = None, report: Callable[[float], None] | None = None
) -> Curves:
    """What the averagings of all models reach at the records: arrays (R, S, n, A, K) by name.

    "train_loss", "train_error", "test_loss", "test_error", and "validation_…" where rows are kept for it;
    "risk" where f* is known. Losses are means over the rows, without the weight decay, which the risk
    includes; they are infinite from divergence on. Errors are fractions of the rows; what is not a number
    classifies none.

    At the ends of epochs the state is kept in `checkpoint`, at most every few seconds, and a run that finds
    it goes on from there, with the same numbers. `report` is told the fraction that is done.
    """
    groups = split_models(job)
    names = [f"{part}_{what}" for part in job.problem.parts() for what in ("loss", "error")]
    names += ["risk"] if job.problem.minimum is not None else []
    shape = (len(job.runs), job.pairs, len(job.averagings), len(job.records))
    metrics = {name: np.full(shape, np.nan) for name in names}
    first, resumed = _resume(checkpoint, job, groups, metrics)
    for number, (runs, pairs) in enumerate(groups[first:], first):
        group = _Group(job, runs, pairs) if resumed is None else resumed
        resumed = None
        written = time.monotonic()
        for epoch_ended in group.spans(metrics):
            if report is not None:
                report((number + group.t / job.updates) / len(groups))
            if checkpoint is not None and epoch_ended and time.monotonic() - written > CHECKPOINT:
                _write(checkpoint, number, group, metrics)
                written = time.monotonic()
    for name, values in metrics.items():
        if not name.endswith("error"):
            once_infinite(values)
    full = (len(job.runs), *job.shape, *shape[2:])
    return {name: values.reshape(full) for name, values in metrics.items()}


def parameters(job: Job[Network]) -> torch.dtype:
    """Their dtype: products alone are coarser than float32."""
    return torch.float64 if job.precision == "float64" else torch.float32


def split_models(job: Job[Network]) -> list[tuple[range, range]]:
    """The groups, (positions of runs, pairs): as many models as MEMORY holds, whole runs where one fits.

    A fixed function of shapes. Groups don't meet, so their number is not seen in the numbers beyond rounding.
    """
    vectors = 1 + (job.method.momentum > 0) + 2 * len(job.averagings)  # of float32; averages are float64
    wide = 2 if parameters(job) == torch.float64 else 1
    fit = max(1, MEMORY // (4 * wide * vectors * networks.size(job.problem)))
    runs, pairs = range(len(job.runs)), range(job.pairs)
    if fit < len(pairs):
        return [(runs[r : r + 1], pairs[p : p + fit]) for r in runs for p in range(0, len(pairs), fit)]
    abreast = fit // len(pairs)
    return [(runs[r : r + abreast], pairs) for r in range(0, len(runs), abreast)]


class _Group:
    """Models that are trained together, and where they are: x, v (R, P, N), averages (A, R, P, N)."""

    def __init__(self, job: Job[Network], runs: range, pairs: range) -> None:
        self.job, self.runs, self.pairs = job, runs, pairs
        network = job.problem
        self.t = 0
        self.parts = {
            name: (
                torch.tensor(part.features, device=job.device),
                torch.tensor(part.labels, device=job.device),
            )
            for name, part in network.parts().items()
        }
        start = network.start(job.key, job.runs[runs.start : runs.stop])
        spread = np.broadcast_to(start[:, None], (len(runs), len(pairs), start.shape[1]))
        x = torch.tensor(spread, dtype=parameters(job), device=job.device)
        v = torch.zeros_like(x) if job.method.momentum else x.new_zeros((*x.shape[:2], 0))
        kept = job.averages[0].shape[1]
        self.models = Models(x, v, x.double().expand(kept, *x.shape).clone())
        self.factors = np.ones(x.shape[:2])
        rules = [] if job.loops is None else [job.loops.rules[p // len(job.lrs)] for p in pairs]
        self.rules = [(rule, rule.start(len(runs))) for rule in rules]

    # Where it is

    def arrays(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        states = {f"rule {p} {name}": a for p, (_, s) in enumerate(self.rules) for name, a in s.items()}
        found: dict[str, Any] = {name: t.cpu().numpy() for name, t in self.models._asdict().items()}
        return found | states | {"t": np.array(self.t), "factors": self.factors}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take over what `arrays` gave. ValueError or KeyError where it is another group's."""
        for name, there in self.models._asdict().items():
            if arrays[name].shape != there.shape:
                raise ValueError(f"{name} has shape {arrays[name].shape}, not {tuple(there.shape)}")
            there.copy_(torch.from_numpy(arrays[name]))
        self.t, self.factors = int(arrays["t"]), arrays["factors"]
        self.rules = [
            (rule, {name: arrays[f"rule {p} {name}"] for name in state})
            for p, (rule, state) in enumerate(self.rules)
        ]

    # Going on

    def spans(self, metrics: Curves) -> Iterator[bool]:
        """Train to the end, filling in the metrics of these models; yields after every span whether it ended
        an epoch.
        """
        job, per_epoch = self.job, networks.epoch(self.job.problem)
        at = {int(record): k for k, record in enumerate(job.records)}
        if self.t == 0 and 0 in at:
            self.record(metrics, at[0])
        while self.t < job.updates:
            begin = self.t // per_epoch * per_epoch
            rows = minibatches(
                job.key,
                job.runs[self.runs.start : self.runs.stop],
                begin,
                per_epoch,
                rows=len(self.parts["train"][1]),
                batch=job.problem.batch,
                replacement=job.problem.replacement,
            )
            for last in self.ends(begin + per_epoch):
                if job.loops is not None and self.t and self.t % job.loops.every == 0:
                    self.listen()
                self.advance(rows[:, self.t - begin : last - begin], last)
                if last in at:
                    self.record(metrics, at[last])
                yield last == begin + per_epoch

    def ends(self, epoch: int) -> list[int]:
        """Where the spans up to the end of this epoch end: a function of shapes, records and metrics only."""
        job = self.job
        longest = SPAN
        if isinstance(job.problem, LeNet):
            longest = max(
                1, min(SPAN, SPAN_BYTES // (self.models.x.element_size() * job.problem.batch * 28 * 28))
            )
        final = min(epoch, job.updates)
        stops = {int(r) for r in job.records if self.t < r < final} | {final}
        if job.loops is not None:
            first = self.t // job.loops.every + 1
            stops |= set(range(first * job.loops.every, final, job.loops.every))
        edges = [self.t, *sorted(stops)]
        return [
            min(low + longest, high)
            for start, high in itertools.pairwise(edges)
            for low in range(start, high, longest)
        ]

    def advance(self, rows: Integers, last: int) -> None:
        """The updates self.t … last − 1, which see these rows (R, K, B)."""
        job, here = self.job, slice(self.t, last)
        of_pair = [divmod(p, len(job.lrs)) for p in self.pairs]
        steps = np.stack([job.multipliers[s, here] * job.lrs[n] for s, n in of_pair])
        mixing = np.stack([job.averages[0][s, :, here] for s, _ in of_pair], axis=1)
        coefficients = job.method.coefficients(self.factors[..., None] * steps)
        span = Span(job.problem.weight_decay, job.method.momentum, *coefficients, *block_weights(mixing))
        advance = advance_compiled if job.device == "cpu" else advance_batched
        advance(job.problem, job.precision, self.parts["train"], rows, span, self.models)
        self.t = last

    def listen(self) -> None:
        """Show every rule its models' loss on the validation rows, or else on the training rows."""
        seen = "validation" if "validation" in self.parts else "train"
        loss = self.evaluate(self.models.x, [seen])[f"{seen}_loss"]
        for p, (rule, state) in enumerate(self.rules):
            self.factors[:, p], after = rule.update(state, loss[:, p])
            self.rules[p] = rule, after

    def record(self, metrics: Curves, k: int) -> None:
        there = np.ix_(list(self.runs), list(self.pairs))
        found = [self.evaluate(x, list(self.parts)) for x in (*self.models.averages, self.models.x)]
        for a, place in enumerate(self.job.averages[1]):
            for name, values in found[place].items():
                metrics[name][..., a, k][there] = values

    def evaluate(self, x: Tensor, names: Sequence[str]) -> Curves:
        """Losses and errors (R, P) on these parts; with "train" the risk, where f* is known."""
        network, minimum = self.job.problem, self.job.problem.minimum
        models = x.flatten(0, 1).to(torch.float64 if minimum is not None else parameters(self.job))
        found: Curves = {}
        for name in names:
            loss, error = evaluate(network, models, *self.parts[name])
            found |= {f"{name}_loss": loss, f"{name}_error": error}
        if minimum is not None and "train" in names:
            penalty = 0.5 * network.weight_decay * (models**2).sum(-1).cpu().numpy()
            found["risk"] = found["train_loss"] + penalty - minimum.value
        return {name: values.reshape(x.shape[:2]) for name, values in found.items()}


# Checkpoints


def _write(path: Path, number: int, group: _Group, metrics: Curves) -> None:
    arrays: dict[str, Any] = {f"metric {name}": values for name, values in metrics.items()}
    with atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, group=np.array(number), device=np.array(group.job.device), **arrays, **group.arrays())


def _resume(
    path: Path | None, job: Job[Network], groups: Sequence[tuple[range, range]], metrics: Curves
) -> tuple[int, _Group | None]:
    """Which group was being trained, and that group; the metrics so far are filled in. A checkpoint that
    cannot be read, or was written on another device, counts as none.
    """
    if path is None or not path.exists():
        return 0, None
    try:
        with path.open("rb") as file, np.load(file) as kept:
            arrays = dict(kept)
        number = int(arrays["group"])
        group = _Group(job, *groups[number])
        group.restore(arrays)
        before = {name: arrays[f"metric {name}"] for name in metrics}
        usable = str(arrays["device"]) == job.device and all(
            before[name].shape == values.shape for name, values in metrics.items()
        )
    except Exception:  # a damaged archive can trip its reader in any way
        return 0, None
    if not usable:
        return 0, None
    for name, values in metrics.items():
        values[:] = before[name]
    return number, group
