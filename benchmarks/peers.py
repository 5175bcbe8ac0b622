"""The peers, written as a good user of each library would, and the noise they take.

`Draw` gives the normals of update t: from the library's own generator when timed, from ours when a peer is
checked for equality. All peers but the torch loop hold all runs and pairs at once, float32. On a quadratic
the update is x ← x − η(λx + ξ), on least squares x ← x − η z(zᵀx − ε).
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from numpy.typing import NDArray

from benchmarks.workload import KEY, Workload
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.theory.arrays import Array

Draw: TypeAlias = Callable[[int], tuple[Any, ...]]
"""Update index → (ξ,) or (z, ε): ξ and z (…, d), ε (…), of variance 1."""
Shared = Literal["shared", "independent"]


def _scales(work: Workload) -> tuple[Array, float]:
    """Standard deviations of ξ (d,), or of z (d,) and ε."""
    problem = work.problem
    if isinstance(problem, StreamingLeastSquares):
        return np.sqrt(problem.law.eigenvalues), problem.label_sd
    return np.sqrt(problem.law.noise), 0.0


def _shapes(work: Workload, shared: Shared) -> list[tuple[int, ...]]:
    runs = (len(work.runs),) if shared == "shared" else (work.pairs, len(work.runs))
    return (
        [(*runs, work.problem.dim), runs]
        if isinstance(work.problem, StreamingLeastSquares)
        else [(*runs, work.problem.dim)]
    )


def numpy_draw(work: Workload) -> Draw:
    generator, shapes = np.random.default_rng(1), _shapes(work, "shared")
    return lambda t: tuple(generator.standard_normal(shape, dtype=np.float32) for shape in shapes)  # noqa: ARG005


def torch_draw(work: Workload) -> Draw:
    generator, shapes = torch.Generator().manual_seed(1), _shapes(work, "shared")
    return lambda t: tuple(torch.randn(shape, generator=generator) for shape in shapes)  # noqa: ARG005


def our_draw(work: Workload) -> Draw:
    """The samples that `engines.step` sees, in units of their standard deviation."""
    scale, label = _scales(work)
    sample = work.problem.sample(KEY, work.runs, 0, work.horizon)
    if isinstance(work.problem, StreamingLeastSquares):
        z, labels = (
            (sample[0][:, :, 0] / scale).astype(np.float32),
            (sample[1][:, :, 0] / label).astype(np.float32),
        )
        return lambda t: (z[:, t], labels[:, t])
    noise = (sample[0] / scale).astype(np.float32)
    return lambda t: (noise[:, t],)


def numpy_all_at_once(work: Workload, draw: Draw) -> Array:
    """A loop over the updates, all else in arrays (runs, pairs, d), in place; samples shared by the pairs."""
    lam = work.problem.law.eigenvalues.astype(np.float32)
    scale, label = _scales(work)
    factor, weights = scale.astype(np.float32), work.average_weights.astype(np.float32)
    steps = work.steps.astype(np.float32)[..., None]
    x = np.tile(work.problem.start.astype(np.float32), (len(work.runs), work.pairs, 1))
    mean, change = x.copy(), np.empty_like(x)
    out = np.empty((len(work.runs), work.pairs, 2, len(work.records)))
    at = {int(t): k for k, t in enumerate(work.records)}
    for t in range(work.horizon + 1):
        if t in at:
            out[:, :, 0, at[t]], out[:, :, 1, at[t]] = 0.5 * (x * x) @ lam, 0.5 * (mean * mean) @ lam
        if t == work.horizon:
            break
        if isinstance(work.problem, StreamingLeastSquares):
            z, labels = draw(t)
            z = z * factor
            residual = x @ z[:, :, None] - np.float32(label) * labels[:, None, None]
            np.multiply(steps[t] * residual, z[:, None, :], out=change)
        else:
            np.multiply(x, lam, out=change)
            change += (factor * draw(t)[0])[:, None, :]
            change *= steps[t]
        x -= change
        np.subtract(x, mean, out=change)
        change *= weights[t]
        mean += change
    return out


def torch_regression(work: Workload, draw: Draw) -> Array:
    """Least squares in torch, in place, samples shared by the pairs: batched products, (runs, pairs, d)."""
    scale, label = _scales(work)
    factor, lam = torch.from_numpy(scale).float(), torch.from_numpy(work.problem.law.eigenvalues).float()
    steps, weights = torch.from_numpy(work.steps).float(), work.average_weights.tolist()
    x = torch.from_numpy(work.problem.start).float().repeat(len(work.runs), work.pairs, 1)
    mean = x.clone()
    out = torch.empty((len(work.runs), work.pairs, 2, len(work.records)))
    at = {int(t): k for k, t in enumerate(work.records)}
    for t in range(work.horizon + 1):
        if t in at:
            out[:, :, 0, at[t]], out[:, :, 1, at[t]] = 0.5 * (x * x) @ lam, 0.5 * (mean * mean) @ lam
        if t == work.horizon:
            break
        z, labels = draw(t)
        z = torch.as_tensor(z) * factor
        residual = torch.bmm(x, z[:, :, None]) - label * torch.as_tensor(labels)[:, None, None]
        x.baddbmm_(residual.mul_(-steps[t][:, None]), z[:, None, :])
        mean.lerp_(x, weights[t])
    return out.double().numpy()


def torch_loop(work: Workload, draw: Draw) -> Array:
    """torch.optim.SGD with LambdaLR, one run and one pair: what the documentation teaches."""
    scale, label = _scales(work)
    factor, lam = torch.from_numpy(scale).float(), torch.from_numpy(work.problem.law.eigenvalues).float()
    x = torch.nn.Parameter(torch.from_numpy(work.problem.start).float())
    average = x.detach().clone()
    optimiser = torch.optim.SGD([x], lr=float(work.lrs[0]))
    row = work.multipliers[0]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: float(row[min(t, len(row) - 1)]))
    out = np.empty((1, 1, 2, len(work.records)))
    at = {int(t): k for k, t in enumerate(work.records)}
    for t in range(work.horizon + 1):
        if t in at:
            with torch.no_grad():
                out[0, 0, :, at[t]] = [float(0.5 * (lam * y * y).sum()) for y in (x, average)]
        if t == work.horizon:
            break
        optimiser.zero_grad()
        drawn = [torch.as_tensor(part) for part in draw(t)]
        if isinstance(work.problem, StreamingLeastSquares):
            loss = 0.5 * ((x * (drawn[0][0] * factor)).sum() - label * drawn[1][0]) ** 2
        else:
            loss = (0.5 * lam * x * x + drawn[0][0] * factor * x).sum()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            average.lerp_(x, float(work.average_weights[t]))
    return out


def jax_scan(
    work: Workload, shared: Shared, generator: str, given: Draw | None = None
) -> Callable[[], NDArray[Any]]:
    """vmap over pairs and runs, lax.scan over the record intervals, the updates in a loop inside, one jit.

    "shared" draws one sample per run for all pairs, "independent" one per run and pair. `generator`: jax's
    "threefry2x32", its default, or "rbg".
    """
    regression = isinstance(work.problem, StreamingLeastSquares)
    scale, label = _scales(work)
    factor, lam = jnp.asarray(scale, jnp.float32), jnp.asarray(work.problem.law.eigenvalues, jnp.float32)
    steps, weights = jnp.asarray(work.steps, jnp.float32), jnp.asarray(work.average_weights, jnp.float32)
    bounds = np.concatenate([[0], work.records])
    spans = jnp.asarray(bounds[:-1]), jnp.asarray(bounds[1:])
    shapes = _shapes(work, shared)
    samples = (
        None
        if given is None
        else [jnp.asarray(np.stack(part)) for part in zip(*map(given, range(work.horizon)), strict=True)]
    )

    def draw(key: Any, t: Any) -> Any:
        if samples is not None:
            return tuple(part[t] for part in samples)
        keys = jax.random.split(jax.random.fold_in(key, t), len(shapes))
        return tuple(jax.random.normal(one, shape) for one, shape in zip(keys, shapes, strict=True))

    def update(x: Any, eta: Any, *sample: Any) -> Any:
        if regression:
            z = sample[0] * factor
            return x - eta * (z @ x - label * sample[1]) * z
        return x - eta * (lam * x + factor * sample[0])

    inner: tuple[int | None, ...] = (0, None, *(0 for _ in shapes))
    outer: tuple[int | None, ...] = (0, 0, *(None if shared == "shared" else 0 for _ in shapes))
    batched = jax.vmap(jax.vmap(update, inner), outer)

    def risk(x: Any) -> Any:
        return 0.5 * (lam * x * x).sum(-1)

    @jax.jit
    def simulate(key: Any, x: Any) -> Any:
        def body(t: Any, state: Any) -> Any:
            x, mean = state
            x = batched(x, steps[t], *draw(key, t))
            return x, mean + weights[t] * (x - mean)

        def interval(state: Any, span: Any) -> Any:
            state = lax.fori_loop(span[0], span[1], body, state)
            return state, jnp.stack([risk(state[0]), risk(state[1])])

        return lax.scan(interval, (x, x), spans)[1]

    start = jnp.broadcast_to(
        jnp.asarray(work.problem.start, jnp.float32), (work.pairs, len(work.runs), work.problem.dim)
    )
    key = jax.random.key(1, impl=generator)
    return lambda: np.asarray(simulate(key, start)).transpose(3, 2, 1, 0)


def all_peers(work: Workload, draw: Draw) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, risks) of the peers on the same samples, shared by the pairs: do they compute the same thing?"""
    yield "NumPy", numpy_all_at_once(work, draw)
    yield "JAX", jax_scan(work, "shared", "threefry2x32", draw)()
    if isinstance(work.problem, StreamingLeastSquares):
        yield "torch", torch_regression(work, draw)
