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

from ratelab.experiments.spec import (
    Cell,
    Spec,
    cells,
    fill_catalogue,
    import_file,
    is_network,
    open_part,
    resolved,
    schedule_kind,
    unit_of_lr,
)
from ratelab.experiments.store import Store
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Averaging
from ratelab.theory.notation import parse
from ratelab.theory.schedules import Schedule, multipliers

if TYPE_CHECKING:
    from ratelab.experiments.engines.job import Job

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


def engine(cell: Cell) -> Engine:
    """How a cell is computed: jump (in float64) where open loops keep the state Gaussian, otherwise step."""
    from ratelab.experiments.engines import jump

    if cell.runs is None:
        return "exact"
    problem: Any = parse(cell.problem, "problem")
    if is_network(problem):
        return "train"
    jumps = jump.can_jump(problem) and cell.dtype == "float64" and cell.feedback_every is None
    return "jump" if jumps else "step"


def job(cell: Cell, device: str = "cpu") -> "Job[Any]":
    """What the cell asks of its engine: its texts as values, its lrs in absolute terms.

    With the clock in epochs a schedule's value is held during one and averagings collect at its end.
    """
    from ratelab.experiments.engines.job import Job, Loops
    from ratelab.problems.networks import epoch
    from ratelab.problems.philox import stream_key

    fill_catalogue()
    problem: Any = parse(cell.problem, "problem")
    method: Any = parse(cell.method, "method")
    written: list[Any] = [parse(text, schedule_kind(text)) for text in cell.schedules]
    schedules: list[Schedule] = [open_part(schedule) for schedule in written]
    averagings: list[Any] = [parse(text, "averaging") for text in cell.averagings]
    ticks = 1
    if cell.clock == "epoch":
        ticks = epoch(problem)
        schedules = [partial(_held, schedule, ticks) for schedule in schedules]
        averagings = [partial(_at_ends, averaging, ticks) for averaging in averagings]
    return Job(
        problem,
        method,
        schedules,
        np.array(cell.lr) * unit_of_lr(problem, method, cell.lr_unit, cell.horizon),
        averagings,
        cell.horizon * ticks,
        np.array(cell.times) * ticks,
        0 if cell.seed is None else stream_key(cell.seed, cell.problem, cell.method, str(cell.horizon)),
        range(0) if cell.runs is None else range(*cell.runs),
        cell.dtype,
        device,
        None if cell.feedback_every is None else Loops(written, cell.feedback_every * ticks),
    )


def _held(schedule: Schedule, ticks: int, horizon: int) -> Array:
    return np.repeat(multipliers(schedule, horizon // ticks), ticks)


def _at_ends(averaging: Averaging, ticks: int, steps: Array) -> Array:
    """What follows the iterate all the way follows it in between, too."""
    own = averaging(steps[::ticks])
    mixing = np.ones(len(steps)) if (own == 1).all() else np.zeros(len(steps))
    mixing[ticks - 1 :: ticks] = own
    return mixing


def compute(
    cell: Cell,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """The numbers of one cell; nothing but its content enters. What trains may use a GPU and more threads."""
    from ratelab.experiments.engines import exact, jump, step, train

    asked, made = job(cell, device), engine(cell)
    with one_thread(threads if made == "train" else 1):
        if made == "train":
            found = train.compute(asked, checkpoint, report)
        else:
            found = {"exact": exact, "jump": jump, "step": step}[made].compute(asked)
    axes = ("run", "schedule", "lr", "averaging", "t")
    coordinates = {
        "schedule": list(cell.schedules),
        "lr": list(cell.lr),
        "averaging": list(cell.averagings),
        "t": np.array(cell.times),
        "step": ("lr", asked.lrs),
    }
    if cell.runs is not None:
        coordinates["run"] = list(asked.runs)
    variables = {name: (axes[-values.ndim :], values) for name, values in found.items()}
    about = {"problem": cell.problem, "method": cell.method, "horizon": cell.horizon, "lr_unit": cell.lr_unit}
    return xr.Dataset(variables, coordinates, attrs=about | {"engine": made})


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


def run(
    spec: Spec,
    text: str,
    store: Store,
    workers: int = 1,
    update: bool = False,
    report: Report | None = None,
    device: str = "cpu",
) -> Outcome:
    """Compute what is missing of an experiment. `text` is the file's own, kept beside the results.

    Networks are trained on `device`. InputError where the folder holds another experiment's results, unless
    `update`: then what matches is kept, what is missing is computed, and nothing is deleted. A cell that
    fails is noted and stops no other.
    """
    if not update:
        store.refuse_changes(spec)
    before = store.manifest()
    every = cells(spec)
    todo = [cell for cell in every if not store.whole(cell)]
    if todo:
        check_device(device, spec.dtype)
    store.prepare()
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
            notes[cell.key] = {"cell": cell.name, "engine": engine(cell), "device": device}
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
    if all(engine(cell) == "train" for cell in todo):
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
