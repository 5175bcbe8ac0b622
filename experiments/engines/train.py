"""Many networks at once: every schedule × learning rate × seed of a cell, on the CPU or a GPU.

The models are cut into groups that fit in memory, by a fixed function of shapes; a group runs from start to
end, in spans of updates that end at records, at metrics of closed loops and at epochs. What a span does is an
engine's: compiled kernels on the CPU, where a model stays in the cache for the whole span
(`kernels.dense`, `kernels.lenet`), or torch, all models of the group in each operation, on any device
(`advance_batched`).
Each model's numbers are its own: one that diverges never touches another.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ratelab.experiments.engines.kernels import dense, lenet
from ratelab.experiments.engines.step import Loops, block_weights
from ratelab.experiments.methods import Method
from ratelab.problems import networks
from ratelab.problems.data.minibatches import minibatches
from ratelab.problems.networks import MLP, LeNet, LinearClassifier, Network
from ratelab.theory.arrays import Array, InputError, Integers, once_infinite
from ratelab.theory.cache import atomically

Precision: TypeAlias = Literal["float64", "float32", "tf32", "bfloat16"]
"""Of the products: the last two are a GPU's, on float32 parameters."""

MEMORY = 2**31  # bytes of the parameters, velocities and averages of a group
SPAN = 256  # updates at most: short enough for a float32 sum
SPAN_BYTES = 2**22  # of a run's minibatches of a span, where they are gathered before it
ROWS = 2048  # rows that are evaluated together
EVALUATED = 2**30  # numbers of a layer of the models that a GPU evaluates together
CHECKPOINT = 5.0  # seconds between two checkpoints, at least

Metrics: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Job:
    """What is to be trained: a network, and the batch axes of a cell.

    multipliers (S, T), lrs (n,) absolute, mixings: A arrays (S, T), records (K,) increasing update counts,
    `key` from `philox.stream_key`. A pair p = s·n + l is a schedule and a learning rate.
    """

    network: Network
    method: Method
    multipliers: Array
    lrs: Array
    mixings: Sequence[Array]
    records: Integers
    key: int
    runs: range
    precision: Precision = "float32"
    device: str = "cpu"
    loops: Loops | None = None

    @property
    def horizon(self) -> int:
        return int(self.records[-1])

    @property
    def pairs(self) -> int:
        return len(self.multipliers) * len(self.lrs)

    @property
    def kind(self) -> torch.dtype:
        """Of the parameters."""
        return torch.float64 if self.precision == "float64" else torch.float32


def train(job: Job, checkpoint: Path | None = None, report: Callable[[float], None] | None = None) -> Metrics:
    """What the averagings of all models reach at the records: arrays (R, S, n, A, K) by name.

    "train_loss", "train_error", "test_loss", "test_error", and "validation_…" where rows are kept for it;
    "risk" where f* is known. Losses are means over the rows, without the weight decay, which the risk
    includes; they are infinite from divergence on. Errors are fractions of the rows; what is not a number
    classifies none.

    At the ends of epochs the state is kept in `checkpoint`, at most every few seconds, and a run that finds
    it goes on from there, with the same numbers. `report` is told the fraction that is done.
    """
    groups = split_models(job)
    names = [f"{part}_{what}" for part in job.network.parts() for what in ("loss", "error")]
    names += ["risk"] if job.network.minimum is not None else []
    shape = (len(job.runs), job.pairs, len(job.mixings), len(job.records))
    metrics = {name: np.full(shape, np.nan) for name in names}
    first, resumed = _resume(checkpoint, job, groups, metrics)
    for number, (runs, pairs) in enumerate(groups[first:], first):
        group = _Group(job, runs, pairs) if resumed is None else resumed
        resumed = None
        written = time.monotonic()
        for epoch_ended in group.spans(metrics):
            if report is not None:
                report((number + group.t / job.horizon) / len(groups))
            if checkpoint is not None and epoch_ended and time.monotonic() - written > CHECKPOINT:
                _write(checkpoint, number, group, metrics)
                written = time.monotonic()
    for name, values in metrics.items():
        if not name.endswith("error"):
            once_infinite(values)
    full = (len(job.runs), len(job.multipliers), len(job.lrs), *shape[2:])
    return {name: values.reshape(full) for name, values in metrics.items()}


def split_models(job: Job) -> list[tuple[range, range]]:
    """The groups, (positions of runs, pairs): as many models as MEMORY holds, whole runs where one fits.

    A fixed function of shapes. Groups don't meet, so their number is not seen in the numbers beyond rounding.
    """
    vectors = 1 + (job.method.momentum > 0) + 2 * len(job.mixings)  # of float32; averages are float64
    wide = 2 if job.kind == torch.float64 else 1
    fit = max(1, MEMORY // (4 * wide * vectors * networks.size(job.network)))
    runs, pairs = range(len(job.runs)), range(job.pairs)
    if fit < len(pairs):
        return [(runs[r : r + 1], pairs[p : p + fit]) for r in runs for p in range(0, len(pairs), fit)]
    abreast = fit // len(pairs)
    return [(runs[r : r + abreast], pairs) for r in range(0, len(runs), abreast)]


class _Group:
    """Models that are trained together, and where they are: x, v (R, P, N), averages (A, R, P, N)."""

    def __init__(self, job: Job, runs: range, pairs: range) -> None:
        self.job, self.runs, self.pairs = job, runs, pairs
        network = job.network
        self.t = 0
        self.parts = {
            name: tuple(torch.tensor(values, device=job.device) for values in part)
            for name, part in network.parts().items()
        }
        start = network.start(job.key, job.runs[runs.start : runs.stop])
        spread = np.broadcast_to(start[:, None], (len(runs), len(pairs), start.shape[1]))
        self.x = torch.tensor(spread, dtype=job.kind, device=job.device)
        self.v = torch.zeros_like(self.x) if job.method.momentum else self.x.new_zeros((*self.x.shape[:2], 0))
        self.kept = [a for a, mixing in enumerate(job.mixings) if not (mixing == 1).all()]
        self.averages = self.x.double().expand(len(self.kept), *self.x.shape).clone()
        self.factors = np.ones(self.x.shape[:2])
        rules = [] if job.loops is None else [job.loops.rules[p // len(job.lrs)] for p in pairs]
        self.rules = [(rule, rule.start(len(runs))) for rule in rules]

    # Where it is

    def arrays(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        tensors = {"x": self.x, "v": self.v, "averages": self.averages}
        states = {f"rule {p} {name}": a for p, (_, s) in enumerate(self.rules) for name, a in s.items()}
        found: dict[str, Any] = {name: t.cpu().numpy() for name, t in tensors.items()} | states
        return found | {"t": np.array(self.t), "factors": self.factors}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take over what `arrays` gave. ValueError or KeyError where it is another group's."""
        for name in ("x", "v", "averages"):
            there = getattr(self, name)
            if arrays[name].shape != there.shape:
                raise ValueError(f"{name} has shape {arrays[name].shape}, not {tuple(there.shape)}")
            there.copy_(torch.from_numpy(arrays[name]))
        self.t, self.factors = int(arrays["t"]), arrays["factors"]
        self.rules = [
            (rule, {name: arrays[f"rule {p} {name}"] for name in state})
            for p, (rule, state) in enumerate(self.rules)
        ]

    # Going on

    def spans(self, metrics: Metrics) -> Iterator[bool]:
        """Train to the end, filling in the metrics of these models; yields after every span whether it ended
        an epoch.
        """
        job, per_epoch = self.job, networks.epoch(self.job.network)
        at = {int(record): k for k, record in enumerate(job.records)}
        if self.t == 0 and 0 in at:
            self.record(metrics, at[0])
        while self.t < job.horizon:
            begin = self.t // per_epoch * per_epoch
            rows = minibatches(
                job.key,
                job.runs[self.runs.start : self.runs.stop],
                begin,
                per_epoch,
                rows=len(self.parts["train"][1]),
                batch=job.network.batch,
                replacement=job.network.replacement,
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
        if isinstance(job.network, LeNet):
            longest = max(1, min(SPAN, SPAN_BYTES // (self.x.element_size() * job.network.batch * 28 * 28)))
        final = min(epoch, job.horizon)
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
        job, span = self.job, slice(self.t, last)
        of_pair = [divmod(p, len(job.lrs)) for p in self.pairs]
        steps = np.stack([job.multipliers[s, span] * job.lrs[n] for s, n in of_pair])
        inject, push, direct = job.method.coefficients(self.factors[..., None] * steps)
        if not job.method.momentum:  # what is injected is pushed at once, and no velocity kept
            inject, push, direct = 0 * inject, 0 * push, direct + push * inject
        mixing = np.empty((len(self.kept), *steps.shape))
        for row, a in zip(mixing, self.kept, strict=True):
            row[:] = [job.mixings[a][s, span] for s, _ in of_pair]
        weights, keep = block_weights(mixing)
        advance = advance_compiled if job.device == "cpu" else advance_batched
        advance(
            job.network, job.precision, job.method.momentum, self.parts["train"], rows,
            inject, push, direct, weights, keep, self.x, self.v, self.averages,
        )  # fmt: skip
        self.t = last

    def listen(self) -> None:
        """Show every rule its models' loss on the validation rows, or else on the training rows."""
        seen = "validation" if "validation" in self.parts else "train"
        loss = self.evaluate(self.x, [seen])[f"{seen}_loss"]
        for p, (rule, state) in enumerate(self.rules):
            self.factors[:, p], after = rule.update(state, loss[:, p])
            self.rules[p] = rule, after

    def record(self, metrics: Metrics, k: int) -> None:
        there = np.ix_(list(self.runs), list(self.pairs))
        last = self.evaluate(self.x, list(self.parts))
        for a in range(len(self.job.mixings)):
            found = last
            if a in self.kept:
                found = self.evaluate(self.averages[self.kept.index(a)], list(self.parts))
            for name, values in found.items():
                metrics[name][..., a, k][there] = values

    def evaluate(self, x: Tensor, names: Sequence[str]) -> Metrics:
        """Losses and errors (R, P) on these parts; with "train" the risk, where f* is known."""
        network, minimum = self.job.network, self.job.network.minimum
        models = x.flatten(0, 1).to(torch.float64 if minimum is not None else self.job.kind)
        found: Metrics = {}
        for name in names:
            loss, error = evaluate(network, models, *self.parts[name])
            found |= {f"{name}_loss": loss, f"{name}_error": error}
        if minimum is not None and "train" in names:
            penalty = 0.5 * network.weight_decay * (models**2).sum(-1).cpu().numpy()
            found["risk"] = found["train_loss"] + penalty - minimum.value
        return {name: values.reshape(x.shape[:2]) for name, values in found.items()}


# What a span of updates does


def advance_compiled(
    network: Network, precision: Precision, momentum: float, train: tuple[Tensor, ...], rows: Integers,
    inject: Array, push: Array, direct: Array, weights: Array, keep: Array,
    x: Tensor, v: Tensor, averages: Tensor,
) -> Array:  # fmt: skip
    """`advance_batched` by compiled kernels, on the CPU; a model stays in the cache for the whole span."""
    if precision not in ("float64", "float32"):
        raise InputError(f'dtype = "{precision}" needs a GPU; give --device cuda, or "float32"')
    features, labels = (part.numpy() for part in train)
    factors = network.weight_decay, momentum
    state = (inject, push, direct, weights, keep, x.numpy(), v.numpy(), averages.numpy())
    if isinstance(network, LinearClassifier | MLP):
        return dense.advance_rows(network.sizes, network.loss, *factors, features, labels, rows, *state)
    assert isinstance(network, LeNet)
    features, labels = dense.gather(features, labels, rows)
    return lenet.advance(*factors, features.astype(x.numpy().dtype), labels, (rows[0] >= 0).sum(-1), *state)


def advance_batched(
    network: Network, precision: Precision, momentum: float, train: tuple[Tensor, ...], rows: Integers,
    inject: Array, push: Array, direct: Array, weights: Array, keep: Array,
    x: Tensor, v: Tensor, averages: Tensor,
) -> Array:  # fmt: skip
    """K updates of R·P models, in place: v ← β v + a g, x ← x − p v − q g, x̄ ← keep x̄ + Σ_k w_k x_{k+1}.

    g is the gradient of the minibatch's mean loss plus weight decay times x. train: features (n, D), labels
    (n,); rows (R, K, B), −1 where a last minibatch is short; a, p, q (R, P, K); w (A, P, K), keep (A, P); x
    (R, P, N), v the same or (R, P, 0), averages (A, R, P, N) float64. Returns the losses before each update,
    (R, P, K), without the weight decay. Any torch device; on the CPU the kernels are compared with it.
    """
    features, labels = train
    seen = torch.as_tensor(rows, device=x.device)
    counts = (rows[0] >= 0).sum(-1)
    a, p, q = (torch.as_tensor(c, dtype=x.dtype, device=x.device)[..., None] for c in (inject, push, direct))
    w = torch.as_tensor(weights, device=x.device)[:, None, ..., None]
    averages.mul_(torch.as_tensor(keep, device=x.device)[:, None, :, None])
    losses = torch.empty(inject.shape, dtype=x.dtype, device=x.device)
    with _products(precision, x.device.type):
        for k in range(rows.shape[1]):
            here = seen[:, k, : counts[k]]
            leaf = x.detach().requires_grad_()
            with _autocast(precision, x.device.type):
                outputs = network.outputs(leaf, features[here].to(x.dtype))
            loss = networks.losses(network.loss, outputs.to(x.dtype), labels[here][:, None]).mean(-1)
            (g,) = torch.autograd.grad(loss.sum(), leaf)
            losses[..., k] = loss.detach()
            g.add_(x, alpha=network.weight_decay)
            if v.shape[-1]:
                v.mul_(momentum).addcmul_(a[:, :, k], g)
                x.addcmul_(p[:, :, k], v, value=-1)
            x.addcmul_(q[:, :, k], g, value=-1)
            for average, weight in zip(averages, w[..., k, :], strict=True):
                average.addcmul_(weight, x.double())
    return losses.double().cpu().numpy()


def _autocast(precision: Precision, device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def _products(precision: Precision, device: str) -> Iterator[None]:
    """float32 products as they are, or in TF32: a switch of torch's that is put back."""
    if device != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


# What the models are worth


def evaluate(network: Network, x: Tensor, features: Tensor, labels: Tensor) -> tuple[Array, Array]:
    """Mean loss and error (M,) of the models x (M, N) on these rows; losses are summed in float64."""
    loss, error = torch.zeros(2, len(x), dtype=torch.float64, device=x.device)
    with torch.inference_mode():
        for low in range(0, len(labels), ROWS):
            rows = slice(low, low + ROWS)
            outputs = _outputs(network, x, features[rows])
            loss += networks.losses(network.loss, outputs, labels[rows]).sum(-1, dtype=torch.float64)
            error += networks.wrong(network.loss, outputs, labels[rows]).sum(-1)
    return loss.cpu().numpy() / len(labels), error.cpu().numpy() / len(labels)


def _outputs(network: Network, x: Tensor, features: Tensor) -> Tensor:
    """The outputs (M, B, C) of models x (M, N) for features (B, D)."""
    if x.device.type != "cpu":
        widest = max(len(features), 1) * max(28 * 28 * 6, *(shape[0] for shape in network.shapes))
        models = x.split(max(1, EVALUATED // widest))
        return torch.cat([network.outputs(m[None], features[None].to(x.dtype))[0] for m in models])
    if isinstance(network, LinearClassifier | MLP):
        return torch.from_numpy(dense.outputs(network.sizes, x.numpy(), features.numpy()))
    assert isinstance(network, LeNet)
    return torch.from_numpy(lenet.outputs(x.numpy(), features.numpy()))


# Checkpoints


def _write(path: Path, number: int, group: _Group, metrics: Metrics) -> None:
    arrays: dict[str, Any] = {f"metric {name}": values for name, values in metrics.items()}
    with atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, group=np.array(number), device=np.array(group.job.device), **arrays, **group.arrays())


def _resume(
    path: Path | None, job: Job, groups: Sequence[tuple[range, range]], metrics: Metrics
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
