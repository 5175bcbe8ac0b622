"""Multiplicative noise: SGD on least squares with fresh Gaussian features, batch 1, d = 100, step by step."""

from collections.abc import Iterator

import numpy as np
from rich.console import Console

from benchmarks import peers
from benchmarks.engines import by_steps, multiplicative
from benchmarks.ways import Way, report
from benchmarks.workload import agree


def check(console: Console) -> None:
    """As for additive noise: equal on equal samples, right against the exact risk."""
    small = multiplicative(horizon=50, runs=8)
    ours = by_steps(small)
    for name, risk in peers.all_peers(small, peers.our_draw(small)):
        np.testing.assert_allclose(risk, ours, rtol=1e-3, err_msg=name)
    one = multiplicative(horizon=50, runs=1, schedules=1, rates=1)
    np.testing.assert_allclose(peers.torch_loop(one, peers.our_draw(one)), by_steps(one), rtol=1e-3)
    work = multiplicative(horizon=1000, runs=64)
    exact = work.exact()
    for name, risk in (
        ("stepping", by_steps(work)),
        ("stepping, float32", by_steps(work, "float32")),
        ("JAX, shared features", peers.jax_scan(work, "shared", "threefry2x32")()),
        ("JAX, shared features, rbg", peers.jax_scan(work, "shared", "rbg")()),
        ("torch, shared features", peers.torch_regression(work, peers.torch_draw(work))),
    ):
        console.print(agree(name, risk, exact), style="dim")
    console.print("torch.optim, torch, NumPy, JAX: same risks as ours on the same samples", style="dim")


def ways() -> Iterator[Way]:
    full, fifth, short = (multiplicative(horizon=horizon, runs=64) for horizon in (10_000, 1000, 300))
    one = multiplicative(horizon=2000, runs=1, schedules=1, rates=1)
    size = "64 × 64, T = 10⁴"
    yield Way("stepping", "ours", size, full.cells, lambda: by_steps(full), reach=6)
    yield Way("stepping, float32", "ours", size, full.cells, lambda: by_steps(full, "float32"), reach=6)
    for generator, name in (("threefry2x32", "JAX, shared features"), ("rbg", "JAX, shared features, rbg")):
        yield Way(
            name, "yardstick", "T = 1000, scaled", fifth.cells, peers.jax_scan(fifth, "shared", generator)
        )
    independent = peers.jax_scan(short, "independent", "threefry2x32")
    batched, arrays, loop = peers.torch_draw(fifth), peers.numpy_draw(short), peers.torch_draw(one)
    yield Way("JAX, independent features", "peer", "T = 300, scaled", short.cells, independent)
    yield Way(
        "torch, shared features",
        "peer",
        "T = 1000, scaled",
        fifth.cells,
        lambda: peers.torch_regression(fifth, batched),
    )
    yield Way(
        "NumPy, shared features",
        "peer",
        "T = 300, scaled",
        short.cells,
        lambda: peers.numpy_all_at_once(short, arrays),
    )
    yield Way(
        "torch.optim.SGD", "peer", "1 run, T = 2000, scaled", one.cells, lambda: peers.torch_loop(one, loop)
    )


def main(console: Console) -> None:
    check(console)
    report("Multiplicative noise: least squares, d = 100, batch 1, 64 runs × 64 pairs", list(ways()), console)
