"""Additive noise: SGD on a diagonal quadratic, d = 100, by steps and by jumps, against torch, NumPy, JAX."""

from collections.abc import Iterator

import numpy as np
from rich.console import Console

from benchmarks import peers
from benchmarks.engines import additive, by_jumps, by_steps
from benchmarks.memory import peak
from benchmarks.ways import Way, report
from benchmarks.workload import agree


def check(console: Console) -> None:
    """Before anything is timed: equal on equal noise, and right against the exact risk on its own."""
    small = additive(horizon=50, runs=8)
    ours = by_steps(small, "float64")
    for name, risk in peers.all_peers(small, peers.our_draw(small)):
        np.testing.assert_allclose(risk, ours, rtol=2e-4, err_msg=name)
    one = additive(horizon=50, runs=1, schedules=1, rates=1)
    np.testing.assert_allclose(
        peers.torch_loop(one, peers.our_draw(one)), by_steps(one, "float64"), rtol=2e-4
    )
    work = additive(horizon=1000, runs=64)
    exact = work.exact()
    for name, risk in (
        ("stepping", by_steps(work, "float64")),
        ("stepping, float32", by_steps(work, "float32")),
        ("jumping", by_jumps(work)),
        ("JAX, shared noise", peers.jax_scan(work, "shared", "threefry2x32")()),
        ("JAX, shared noise, rbg", peers.jax_scan(work, "shared", "rbg")()),
        ("JAX, independent noise", peers.jax_scan(work, "independent", "threefry2x32")()),
    ):
        console.print(agree(name, risk, exact), style="dim")
    console.print("torch.optim, NumPy, JAX: same risks as ours on the same noise", style="dim")


def ways() -> Iterator[Way]:
    full, fifth, short = (
        additive(horizon=10_000, runs=64),
        additive(horizon=2000, runs=64),
        additive(horizon=500, runs=64),
    )
    one = additive(horizon=2000, runs=1, schedules=1, rates=1)
    size = "64 × 64, T = 10⁴"
    yield Way("stepping", "ours", size, full.cells, lambda: by_steps(full, "float64"), reach=2.5)
    yield Way("stepping, float32", "ours", size, full.cells, lambda: by_steps(full, "float32"), reach=2.5)
    yield Way("jumping", "ours", size, full.cells, lambda: by_jumps(full), reach=30)
    for generator, name in (("threefry2x32", "JAX, shared noise"), ("rbg", "JAX, shared noise, rbg")):
        yield Way(
            name, "yardstick", "T = 2000, scaled", fifth.cells, peers.jax_scan(fifth, "shared", generator)
        )
    for generator, name in (
        ("threefry2x32", "JAX, independent noise"),
        ("rbg", "JAX, independent noise, rbg"),
    ):
        yield Way(
            name, "peer", "T = 500, scaled", short.cells, peers.jax_scan(short, "independent", generator)
        )
    numpy_way, loop = peers.numpy_draw(short), peers.torch_draw(one)
    yield Way(
        "NumPy", "peer", "T = 500, scaled", short.cells, lambda: peers.numpy_all_at_once(short, numpy_way)
    )
    yield Way(
        "torch.optim.SGD", "peer", "1 run, T = 2000, scaled", one.cells, lambda: peers.torch_loop(one, loop)
    )


def long_ways() -> Iterator[Way]:
    few, many = additive(horizon=10**6, runs=64), additive(horizon=10**6, runs=1024)
    fifth = additive(horizon=2000, runs=64)
    yield Way("jumping, 64 runs", "ours", "64 × 64, T = 10⁶", few.cells, lambda: by_jumps(few), reach=100)
    yield Way(
        "jumping, 1024 runs", "ours", "1024 × 64, T = 10⁶", many.cells, lambda: by_jumps(many), reach=1000
    )
    for generator, name in (("threefry2x32", "JAX, shared noise"), ("rbg", "JAX, shared noise, rbg")):
        yield Way(
            name, "yardstick", "T = 2000, scaled", fifth.cells, peers.jax_scan(fifth, "shared", generator)
        )


def main(console: Console) -> None:
    check(console)
    report(
        "Additive noise: quadratic, d = 100, 64 pairs, 100 records, last iterate and average",
        list(ways()),
        console,
    )
    report("The same at T = 10⁶", list(long_ways()), console, repetitions=3)
    for engine, runs in (("jumping", 64), ("jumping", 1024), ("stepping", 2)):
        mebibytes = peak(engine, runs)
        verdict = f"{mebibytes:.0f} MiB (< 1 GiB: {'met' if mebibytes < 1024 else 'MISSED'})"
        console.print(f"peak memory of {engine}, T = 10⁶, 64 pairs, {runs} runs: {verdict}")
