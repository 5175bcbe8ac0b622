"""From cells to files: which engine, how many workers, what is left to do, and what went wrong where.

Work goes through a `concurrent.futures.Executor`, whichever it is. A cell is computed from its own content
alone and on one thread, or on several whose sums don't meet (training), so the numbers don't depend on the
worker count, the order or an interruption; what is on disk and whole is not computed again.
"""

import contextlib
import datetime as dt
import importlib.metadata
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from ratelab.experiments.cells import Cell, cells
from ratelab.experiments.imports import import_file
from ratelab.experiments.spec import Spec, open_part, resolved
from ratelab.experiments.store import Store
from ratelab.experiments.units import unit_of_lr
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.averaging import Averaging, Last, StepWeighted, Uniform
from ratelab.theory.bounds import average_curve, omega_curve
from ratelab.theory.schedules import multipliers

if TYPE_CHECKING:
    from ratelab.experiments.methods import Method

__all__ = ["run"]

Engine = Literal["exact", "jump", "step", "train"]
Report = Callable[[float, int], None]
"""Told (cells done, cells to do) now and then; of a cell that trains, the fraction done counts."""


class Serial(Executor):
    """An Executor without workers: `submit` computes before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def processes(workers: int, imports: Sequence[str]) -> Executor:
    """`workers` fresh processes: spawned, so that no lock is inherited; Ctrl-C ends them without a word."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(tuple(imports),)
    )


def _start_worker(imports: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    for path in imports:
        import_file(Path(path))


def _leave_with_parent() -> None:
    """End this worker when the process that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def one_thread(kernels: int = 1) -> Iterator[None]:
    """Torch and BLAS on a single thread: sums taken by several come out in an order of their own.

    Kernels whose tasks share no sum may be spread over several.
    """
    import numba
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = numba.get_num_threads(), torch.get_num_threads()
    with threadpool_limits(1):
        numba.set_num_threads(kernels)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before[0])
            torch.set_num_threads(before[1])


@dataclass(frozen=True)
class _Batch:
    """A cell's values; `steps` are its lrs in absolute terms."""

    problem: Any
    method: "Method"
    schedules: tuple[Any, ...]
    averagings: tuple[Averaging, ...]
    steps: Array
    times: Integers


def _batch(cell: Cell) -> _Batch:
    steps = np.array(cell.lr) * unit_of_lr(cell.problem, cell.method, cell.lr_unit, cell.horizon)
    return _Batch(cell.problem, cell.method, cell.schedules, cell.averagings, steps, np.array(cell.times))


def compute(
    cell: Cell,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """The numbers of one cell; nothing but its content enters. What trains may use a GPU and more threads."""
    batch, made = _batch(cell), cell.engine
    coordinates = {
        "schedule": list(map(repr, cell.schedules)),
        "lr": list(cell.lr),
        "averaging": list(map(repr, cell.averagings)),
        "t": batch.times,
        "step": ("lr", batch.steps),
    }
    with one_thread(threads if made == "train" else 1):
        if cell.runs is None:
            variables = _theory(cell.horizon, batch)
        elif made == "train":
            variables = _train(cell, batch, device, checkpoint, report)
        else:
            variables = _monte_carlo(cell, batch)
    if cell.runs is not None:
        coordinates["run"] = list(range(*cell.runs))
    about = {
        "problem": repr(cell.problem),
        "method": repr(cell.method),
        "horizon": cell.horizon,
        "lr_unit": cell.lr_unit,
    }
    return xr.Dataset(variables, coordinates, attrs=about | {"engine": made})


def _theory(horizon: int, batch: _Batch) -> dict[str, Any]:
    """Exact risk and bounds, what is not known left out. One schedule at a time, to keep memory small."""
    from ratelab.problems.problem import exact_risk, gradient_norms

    problem, momentum, steps = batch.problem, batch.method.momentum, batch.steps
    known, constants = problem.law is not None, problem.constants
    shape = (len(batch.schedules), len(steps), len(batch.averagings), len(batch.times))
    exact, bound = np.full(shape, np.nan), np.full(shape, np.nan)
    for s, schedule in enumerate(batch.schedules):
        shapes = multipliers(schedule, horizon)
        mixings = [averaging(shapes)[None] for averaging in batch.averagings]
        if known:
            exact[s] = exact_risk(problem, shapes[None], steps, mixings, batch.times, momentum)[0]
        if momentum != 0:
            continue  # the bounds are those of the plain subgradient method
        if known:
            squared = gradient_norms(problem, shapes[None], steps)[0]
        elif constants.G is not None:
            squared = np.full((len(steps), horizon), constants.G**2)
        else:
            continue
        for n, lr in enumerate(steps):
            for a, averaging in enumerate(batch.averagings):
                bound[s, n, a] = bound_curve(averaging, lr * shapes, batch.times, constants.D, squared[n])
    dims = ("schedule", "lr", "averaging", "t")
    named = {"exact": (dims, exact), "bound": (dims, bound)}
    return {name: value for name, value in named.items() if not np.isnan(value[1]).all()}


def bound_curve(
    averaging: Any, steps: Array, times: Integers, distance: float, squared_norms: Array
) -> Array:
    """The worst-case bound for this averaging at the records, (K,): NaN where none is known.

    Ω for the last iterate; the classical bound for the step-weighted average (at t = T still that of
    x_0..x_{T−1}), and for the uniform one where all steps are equal. Infinite after a divergence.
    """
    finite = int(np.argmin(np.append(np.isfinite(squared_norms), False)))
    asked = np.minimum(times, len(steps) - 1) if isinstance(averaging, StepWeighted) else times
    known = (asked < finite) | (finite == len(steps))
    bound = np.full(len(times), np.inf)
    if isinstance(averaging, Last):
        curve = omega_curve
    elif isinstance(averaging, StepWeighted) or (
        isinstance(averaging, Uniform) and np.all(steps == steps[0])
    ):
        curve = average_curve
    else:
        return np.full(len(times), np.nan)
    if finite and known.any():
        with np.errstate(over="ignore"):  # infinite is the truth
            bound[known] = curve(steps[:finite], asked[known], distance, squared_norms[:finite])
    return bound


def _monte_carlo(cell: Cell, batch: _Batch) -> dict[str, Any]:
    from ratelab.experiments.engines import jump, step
    from ratelab.problems.philox import stream_key

    assert cell.runs is not None
    assert cell.seed is not None
    shapes = np.stack([multipliers(open_part(schedule), cell.horizon) for schedule in batch.schedules])
    mixings = [np.stack([averaging(row) for row in shapes]) for averaging in batch.averagings]
    key, runs = (
        stream_key(cell.seed, repr(cell.problem), repr(cell.method), str(cell.horizon)),
        range(*cell.runs),
    )
    common = (batch.problem, batch.method, shapes, batch.steps, mixings, batch.times, key, runs)
    dtype: step.Dtype = "float32" if cell.dtype == "float32" else "float64"
    if cell.feedback_every is not None:
        loops = step.Loops(batch.schedules, cell.feedback_every)
        risk = step.step_plainly(*common, dtype=dtype, loops=loops)
    elif cell.engine == "jump":
        risk = jump.simulate(*common)
    else:
        risk = step.simulate(*common, dtype=dtype)
    return {"risk": (("run", "schedule", "lr", "averaging", "t"), risk)}


def _train(
    cell: Cell,
    batch: _Batch,
    device: str,
    checkpoint: Path | None,
    report: Callable[[float], None] | None,
) -> dict[str, Any]:
    """With the clock in epochs, a schedule's value is held during one and averagings collect at its end."""
    from ratelab.experiments.engines import step, train
    from ratelab.problems.networks import epoch
    from ratelab.problems.philox import stream_key

    assert cell.runs is not None
    assert cell.seed is not None
    ticks = epoch(batch.problem) if cell.clock == "epoch" else 1
    shapes = np.stack([multipliers(open_part(schedule), cell.horizon) for schedule in batch.schedules])
    mixings = []
    for averaging in batch.averagings:
        mixing = np.stack([averaging(row) for row in shapes])
        between = np.zeros((*mixing.shape, ticks))
        between[..., -1] = mixing
        mixings.append(np.ones(1) if (mixing == 1).all() else between.reshape(len(shapes), -1))
    loops = None
    if cell.feedback_every is not None:
        loops = step.Loops(batch.schedules, cell.feedback_every * ticks)
    job = train.Job(
        batch.problem,
        batch.method,
        np.repeat(shapes, ticks, axis=1),
        batch.steps,
        mixings,
        batch.times * ticks,
        stream_key(cell.seed, repr(cell.problem), repr(cell.method), str(cell.horizon)),
        range(*cell.runs),
        cell.dtype,
        device,
        loops,
    )
    found = train.train(job, checkpoint, report)
    return {name: (("run", "schedule", "lr", "averaging", "t"), values) for name, values in found.items()}


# Running


@dataclass(frozen=True)
class Outcome:
    """What `run` did: cells computed now, cells found whole, and name -> error of those that failed."""

    computed: int
    kept: int
    failed: Mapping[str, str]


def _work(
    cell: Cell, store: Store, device: str, threads: int, report: Callable[[float], None] | None = None
) -> float:
    """Compute a cell and write it; returns the seconds it took."""
    start = time.perf_counter()
    checkpoint = store.cell_file(cell).with_suffix(".checkpoint.npz")
    store.write_cell(cell, compute(cell, device, threads, checkpoint, report))
    checkpoint.unlink(missing_ok=True)
    return time.perf_counter() - start


@dataclass(frozen=True)
class Plan:
    """The cells of an experiment, and those that its folder lacks or holds damaged."""

    spec: Spec
    store: Store
    cells: tuple[Cell, ...]
    todo: tuple[Cell, ...]


def plan(spec: Spec, store: Store, update: bool = False) -> Plan:
    """What is to be computed; each cell that is there is read to its end.

    InputError where the folder holds another experiment's results, unless `update`: then what matches is kept
    and what is missing is computed.
    """
    if not update:
        store.refuse_changes(spec)
    every = cells(spec)
    return Plan(spec, store, tuple(every), tuple(cell for cell in every if not store.readable(cell)))


def run(
    spec: Spec,
    text: str,
    store: Store,
    workers: int = 1,
    update: bool = False,
    report: Report | None = None,
    device: str = "cpu",
) -> Outcome:
    """Compute what is missing of an experiment: `plan`, carried out."""
    return carry_out(plan(spec, store, update), text, workers, report, device)


def carry_out(
    planned: Plan, text: str, workers: int = 1, report: Report | None = None, device: str = "cpu"
) -> Outcome:
    """Compute what is to do. `text` is the file's own, kept beside the results.

    Networks are trained on `device`. Nothing is deleted, and what is damaged is set aside. A cell that fails
    is noted and stops no other.
    """
    spec, store, every, todo = planned.spec, planned.store, planned.cells, planned.todo
    before = store.manifest()
    if todo:
        check_device(device, spec.dtype)
    store.prepare()
    for cell in todo:
        store.set_aside(cell)
    notes: dict[str, Any] = {c.key: before.get("cells", {}).get(c.key, {"cell": c.name}) for c in every}
    manifest = _manifest(spec, device) | {
        "workers": workers,
        "started": _now(),
        "finished": None,
        "cells": notes,
    }
    store.write_text(store.spec_file, text)
    if not todo and before:  # what made the cells stays on record
        store.write_manifest(before | {"spec": manifest["spec"], "cells": notes})
        return Outcome(0, len(every), {})
    store.write_manifest(manifest)
    failed: dict[str, str] = {}
    done = 0
    try:
        for cell, result in _results(todo, store, workers, list(spec.imports), device, report):
            notes[cell.key] = {"cell": cell.name, "engine": cell.engine, "device": device}
            if isinstance(result, BaseException):
                failed[cell.name] = f"{type(result).__name__}: {result}"
                notes[cell.key] |= {"error": "".join(traceback.format_exception(result))}
            else:
                notes[cell.key] |= {"seconds": round(result, 3), "finished": _now()}
            done += 1
            if report is not None:
                report(done, len(todo))
    finally:
        store.write_manifest(manifest | {"finished": _now()})
    return Outcome(len(todo) - len(failed), len(every) - len(todo), failed)


def _results(
    todo: Sequence[Cell],
    store: Store,
    workers: int,
    imports: Sequence[str],
    device: str,
    report: Report | None,
) -> Iterator[tuple[Cell, float | BaseException]]:
    """(cell, seconds or error) as they come in; few wait in the executor, so an interruption is short."""
    executor = Serial() if workers == 1 else processes(workers, imports)
    threads = max(1, _cores() // workers)
    ahead = 1 if workers == 1 else 2 * workers
    pending: dict[Future[float], Cell] = {}
    queue = list(todo)
    try:
        while queue or pending:
            while queue and len(pending) < ahead:
                cell = queue.pop(0)
                within = None
                if report is not None and workers == 1:
                    within = partial(_report_within, report, len(todo) - len(queue) - 1, len(todo))
                try:
                    pending[executor.submit(_work, cell, store, device, threads, within)] = cell
                except BrokenProcessPool:
                    yield (
                        cell,
                        RuntimeError(
                            "a worker process died (out of memory?); run again with fewer --workers"
                        ),
                    )
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                error = future.exception()
                yield pending.pop(future), future.result() if error is None else error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _report_within(report: Report, done: int, total: int, fraction: float) -> None:
    report(done + fraction, total)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _manifest(spec: Spec, device: str) -> dict[str, Any]:
    """What a reader needs to run it again."""
    packages = ("ratelab", "numpy", "scipy", "numba", "torch", "xarray", "h5netcdf")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "spec": resolved(spec),
        "seed": spec.seed,
        "dtype": spec.dtype,
        "device": device_name(device),
        "versions": {"python": platform.python_version()} | versions,
        "platform": platform.platform(),
        "git": _git_commit(),
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    """The commit of the code that ran, with "-dirty" when it was edited since; None outside a repository."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None


def default_workers(todo: Sequence[Cell]) -> int:
    """As many as there are cores for us, and no more than cells; one where every cell is trained, which takes
    all cores by itself.
    """
    if all(cell.engine == "train" for cell in todo):
        return 1
    return max(1, min(_cores(), len(todo)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str, dtype: str) -> None:
    """InputError for a device that torch does not have here, or a precision that only a GPU has."""
    if device == "cpu":
        if dtype in ("tf32", "bfloat16"):
            raise InputError(f'dtype = "{dtype}" needs a GPU; give --device cuda, or dtype = "float32"')
        return
    if device != "cuda":
        raise InputError(f"--device {device}: networks are trained on cpu or cuda")
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            f"--device {device}: torch {torch.__version__} sees no GPU here; use --device cpu, or install a "
            "torch with CUDA on a machine that has one"
        )


def device_name(device: str) -> str:
    """What the manifest says of the device."""
    if device == "cpu":
        return device
    import torch

    return f"{device}: {torch.cuda.get_device_name(device)}"
