"""A schedule of 10⁶ updates, every family, and a torch scheduler of as many converted instead of stepped."""

import time
import warnings
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from ratelab.experiments import dialects
from ratelab.paper_figures.house.schedules_page import pictured
from ratelab.theory.notation import catalogue
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import multipliers

UPDATES = 10**6
REACH_MS = 50.0


def _milliseconds(run: Callable[[], object], repetitions: int = 5) -> float:
    """The median, after a run that is not timed."""
    run()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def _torch_schedulers() -> dict[str, Callable[[], object]]:
    import torch
    from torch.optim import lr_scheduler

    def made(build: Callable[[torch.optim.Optimizer], object]) -> Callable[[], object]:
        return lambda: build(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))

    return {
        "CosineAnnealingLR": made(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=UPDATES, eta_min=1e-4)),
        "StepLR": made(lambda o: lr_scheduler.StepLR(o, step_size=1000, gamma=0.99)),
        "OneCycleLR": made(lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=UPDATES)),
        "CosineAnnealingWarmRestarts": made(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1000)),
    }


def _steps(scheduler: object, updates: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants optimizer.step() first; only the rates are wanted here
        for _ in range(updates):
            scheduler.step()  # type: ignore[attr-defined]  # any of torch's schedulers


def main(console: Console) -> None:
    stored = Values.of(np.linspace(1.0, 0.0, UPDATES))
    members = {name: pictured(cls) for name, cls in catalogue("schedule").items()} | {"Values": stored}
    table = Table(title=f"Schedules of 10⁶ updates, each under {REACH_MS:g} ms?")
    for heading in ("schedule", "ms, median of 5", "reach"):
        table.add_column(heading, justify="left" if heading == "schedule" else "right")
    for name, member in members.items():
        if member is None:
            continue
        ms = _milliseconds(lambda member=member: multipliers(member, UPDATES))  # type: ignore[misc]
        table.add_row(f"{name}: {member!r}", f"{ms:.1f}", "met" if ms < REACH_MS else "MISSED")
    console.print(table)
    table = Table(title="Torch's rates of 10⁶ updates")
    for heading in ("scheduler", "converted, ms", "stepped, ms (10⁴ steps, scaled)", "ratio"):
        table.add_column(heading, justify="left" if heading == "scheduler" else "right")
    for name, build in _torch_schedulers().items():
        ours = _milliseconds(
            lambda build=build: dialects.read("torch", build(), horizon=UPDATES).rates()  # type: ignore[misc]
        )
        theirs = 100 * _milliseconds(lambda build=build: _steps(build(), 10_000), 1)  # type: ignore[misc]
        table.add_row(name, f"{ours:.1f}", f"{theirs:.0f}", f"{theirs / ours:.0f}")
    console.print(table)
