"""One cell computed: what it asks of its engine, and the numbers that come of it, with their coordinates."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ratelab.experiments.cells import DIMS, Cell
from ratelab.experiments.spec import open_part
from ratelab.experiments.units import unit_of_lr
from ratelab.theory.arrays import Array
from ratelab.theory.averaging import Averaging
from ratelab.theory.feedback import Feedback
from ratelab.theory.schedules import Schedule, multipliers

if TYPE_CHECKING:
    from ratelab.experiments.engines.job import Curves, Job


@contextlib.contextmanager
def one_thread(kernels: int = 1) -> Iterator[None]:
    """Torch and BLAS on a single thread: sums taken by several come out in an order of their own.

    Kernels whose tasks share no sum may be spread over several.
    """
    import numba
    import scipy.linalg.cython_blas  # noqa: F401 - compiled code calls its products; limited only once loaded
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    torch = sys.modules.get("torch")  # what was not imported has no threads
    before = numba.get_num_threads(), torch and torch.get_num_threads()
    with threadpool_limits(1):
        numba.set_num_threads(kernels)
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before[0])
            if torch:
                torch.set_num_threads(before[1])


def job(cell: Cell, device: str = "cpu") -> "Job[Any]":
    """What the cell asks of its engine; its lrs in absolute terms.

    With the clock in epochs a schedule's value is held during one and averagings collect at its end.
    """
    from ratelab.experiments.engines.job import Job, Loops
    from ratelab.problems.networks import epoch
    from ratelab.problems.philox import stream_key

    problem, method = cell.problem, cell.method
    schedules: list[Schedule] = [open_part(schedule) for schedule in cell.schedules]
    averagings: list[Averaging] = list(cell.averagings)
    rules = [schedule for schedule in cell.schedules if isinstance(schedule, Feedback)]
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
        0 if cell.seed is None else stream_key(cell.seed, repr(problem), repr(method), str(cell.horizon)),
        range(0) if cell.runs is None else range(*cell.runs),
        cell.dtype,
        device,
        None if cell.feedback_every is None else Loops(rules, cell.feedback_every * ticks),
    )


def _held(schedule: Schedule, ticks: int, horizon: int) -> Array:
    return np.repeat(multipliers(schedule, horizon // ticks), ticks)


def _at_ends(averaging: Averaging, ticks: int, steps: Array) -> Array:
    """What follows the iterate all the way follows it in between, too."""
    own = averaging(steps[::ticks])
    mixing = np.ones(len(steps)) if (own == 1).all() else np.zeros(len(steps))
    mixing[ticks - 1 :: ticks] = own
    return mixing


def _engine(asked: "Job[Any]", made: str) -> Callable[..., "Curves"]:
    """What computes it. Torch, which takes seconds, is imported where it is needed, before one_thread."""
    from ratelab.experiments.engines import exact, jump, step

    if made == "train":
        from ratelab.experiments.engines import train

        return train.compute
    if made == "step" and not step.compiled(asked):
        from ratelab.experiments.engines import plain

        return plain.step
    engines = {"exact": exact.compute, "jump": jump.compute, "step": step.compute}
    return engines[made]


def compute(
    cell: Cell,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """The numbers of one cell; nothing but its content enters. What trains may use a GPU and more threads."""
    asked, made = job(cell, device), cell.engine
    engine = _engine(asked, made)
    with one_thread(threads if made == "train" else 1):
        found = engine(asked, checkpoint, report) if made == "train" else engine(asked)
    coordinates = {
        "schedule": list(map(repr, cell.schedules)),
        "lr": list(cell.lr),
        "averaging": list(map(repr, cell.averagings)),
        "t": np.array(cell.times),
        "step": ("lr", asked.lrs),
    }
    if cell.runs is not None:
        coordinates["run"] = list(asked.runs)
    variables = {name: (DIMS[-values.ndim :], values) for name, values in found.items()}
    about = {"problem": repr(cell.problem), "method": repr(cell.method), "horizon": cell.horizon}
    about["lr_unit"] = cell.lr_unit
    return xr.Dataset(variables, coordinates, attrs=about | {"engine": made})
