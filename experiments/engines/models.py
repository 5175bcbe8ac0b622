"""What a span of updates does to many networks, and what they are worth: by compiled kernels on the CPU,
where a model stays in the cache for the whole span (`kernels.dense`, `kernels.lenet`), or by torch, all
models in each operation, on any device.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from ratelab.experiments.engines.job import Precision
from ratelab.experiments.engines.kernels import dense, lenet
from ratelab.experiments.engines.kernels.span import Models, Span
from ratelab.problems import networks
from ratelab.problems.networks import MLP, LeNet, LinearClassifier, Network
from ratelab.theory.arrays import Array, InputError, Integers

ROWS = 2048  # rows that are evaluated together
EVALUATED = 2**30  # numbers of a layer of the models that a GPU evaluates together

Part = tuple[Tensor, Tensor]
"""Features (n, D) and labels (n,)."""


def advance_compiled(
    network: Network, precision: Precision, train: Part, rows: Integers, span: Span, models: Models
) -> Array:
    """`advance_batched` by compiled kernels, on the CPU."""
    if precision not in ("float64", "float32"):
        raise InputError(f'dtype = "{precision}" needs a GPU; give --device cuda, or "float32"')
    there = Models(*(part.numpy() for part in models))
    table = dense.Table(train[0].numpy(), train[1].numpy(), rows)
    if isinstance(network, LinearClassifier | MLP):
        return dense.advance(network.sizes, network.loss, table, span, there)
    assert isinstance(network, LeNet)
    features, labels = dense.gather(table)
    counts = (rows[0] >= 0).sum(-1)
    return lenet.advance(lenet.Minibatches(features.astype(there.x.dtype), labels, counts), span, there)


def advance_batched(
    network: Network, precision: Precision, train: Part, rows: Integers, span: Span, models: Models
) -> Array:
    """The updates of a span, in place, of minibatches `rows` (R, K, B), −1 where a last one is short.

    Returns the losses before each update, (R, P, K), without the weight decay. Any torch device; on the CPU
    the kernels are compared with it.
    """
    features, labels = train
    x, v, averages = models
    if not v.shape[-1]:
        span = span.without_velocity()
    seen, counts = torch.as_tensor(rows, device=x.device), (rows[0] >= 0).sum(-1)
    of_updates = (span.inject, span.push, span.direct)
    a, p, q = (torch.as_tensor(c, dtype=x.dtype, device=x.device)[..., None] for c in of_updates)
    w = torch.as_tensor(span.weights, device=x.device)[:, None, ..., None]
    averages.mul_(torch.as_tensor(span.keep, device=x.device)[:, None, :, None])
    losses = torch.empty(span.inject.shape, dtype=x.dtype, device=x.device)
    with _products(precision, x.device.type):
        for k in range(rows.shape[1]):
            here = seen[:, k, : counts[k]]
            leaf = x.detach().requires_grad_()
            with _autocast(precision, x.device.type):
                outputs = network.outputs(leaf, features[here].to(x.dtype))
            loss = networks.losses(network.loss, outputs.to(x.dtype), labels[here][:, None]).mean(-1)
            (g,) = torch.autograd.grad(loss.sum(), leaf)
            losses[..., k] = loss.detach()
            g.add_(x, alpha=span.weight_decay)
            if v.shape[-1]:
                v.mul_(span.momentum).addcmul_(a[:, :, k], g)
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
