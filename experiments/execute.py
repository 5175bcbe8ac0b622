"""From cells to files: which engine, how many workers, what is left to do, and what went wrong where.

Work goes through a `concurrent.futures.Executor`, whichever it is. A cell is computed from its own content
alone and on one thread, or on several whose sums don't meet (training), so the numbers don't depend on the
worker count, the order or an interruption; what is on disk and whole is not computed again.
"""

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
from typing import Any

from ratelab.experiments.cells import Cell, cells
from ratelab.experiments.compute import compute
from ratelab.experiments.imports import import_file
from ratelab.experiments.spec import Spec, resolved
from ratelab.experiments.store import Store
from ratelab.theory.arrays import InputError

__all__ = ["run"]

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
