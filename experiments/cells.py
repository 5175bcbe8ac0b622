"""The cells of an experiment: units of work that are computed, kept and read one by one.

A cell holds values; its key is the hash of what they are written as, so that the same content is the same
cell, in whatever file, process or order it comes.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ratelab.experiments.spec import Clock, Dtype, Spec
from ratelab.experiments.units import LrUnit
from ratelab.problems.quadratic import Quadratic
from ratelab.theory.averaging import Averaging
from ratelab.theory.feedback import Feedback
from ratelab.theory.schedules import Schedule

if TYPE_CHECKING:
    from ratelab.experiments.methods import Method
    from ratelab.problems.problem import Objective

ENGINE_VERSION = 1
"""Part of every cell's key. Raise it when a change of the code changes the numbers."""

BLOCK = 64
"""Runs per cell."""

DIMS = ("run", "schedule", "lr", "averaging", "t")
"""Of what is computed; an array without runs has the last four."""

Engine: TypeAlias = Literal["exact", "jump", "step", "train"]
"""How a cell is computed: jump (in float64) where open loops keep the state Gaussian, otherwise step."""


@dataclass(frozen=True)
class Cell:
    """One unit of work: a block of runs, or (`runs` None) the exact risk and the bounds.

    Schedules × lrs × averagings are batch axes. The schedules are open loops, or all of them closed ones,
    which see the risk (of networks the validation or training loss) every `feedback_every` updates. `clock`
    is what `horizon`, `times` and that count. `imports`: hashes of the files whose names the values use.
    """

    problem: Any
    method: "Method"
    horizon: int
    schedules: tuple[Schedule | Feedback, ...]
    averagings: tuple[Averaging, ...]
    lr: tuple[float, ...]
    lr_unit: LrUnit
    times: tuple[int, ...]
    dtype: Dtype
    runs: tuple[int, int] | None
    seed: int | None
    imports: tuple[str, ...]
    engine: Engine
    feedback_every: int | None = None
    clock: Clock = "update"

    @property
    def key(self) -> str:
        """The hash of the content, values as their text; what has its default value is left out."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        del plain["engine"]  # it follows from the others
        plain |= {"problem": repr(self.problem), "method": repr(self.method)}
        plain |= {axis: tuple(map(repr, plain[axis])) for axis in ("schedules", "averagings")}
        content = json.dumps([ENGINE_VERSION, plain], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    @property
    def name(self) -> str:
        part = "exact" if self.runs is None else f"runs {self.runs[0]}-{self.runs[1] - 1}"
        horizon = f"horizon {self.horizon}" + (" epochs" if self.clock == "epoch" else "")
        return f"{self.problem!r}, {self.method!r}, {horizon}, {part}"


def cells(spec: Spec) -> list[Cell]:
    """The cells of an experiment: all curves at the longest horizon, at others what must be run anew."""
    found: list[Cell] = []
    for problem, method in itertools.product(spec.problems, spec.methods):
        for horizon in sorted(spec.horizons, reverse=True):
            curves = [
                (s, a)
                for s, a in itertools.product(spec.schedules, spec.averagings)
                if spec.home(s, a, horizon) == horizon
            ]
            opened = [(s, a) for s, a in curves if isinstance(s, Schedule)]
            closed = [(s, a) for s, a in curves if not isinstance(s, Schedule)]
            exact = Cell(
                problem=problem,
                method=method,
                horizon=horizon,
                schedules=tuple(dict.fromkeys(s for s, _ in opened)),
                averagings=tuple(dict.fromkeys(a for _, a in opened)),
                lr=spec.lr,
                lr_unit=spec.lr_unit,
                times=spec.times(horizon),
                dtype="float64",
                runs=None,
                seed=None,
                imports=tuple(sorted(spec.imports.values())),
                engine="exact",
                clock=spec.clock,
            )
            if opened and not problem.trained:  # of those, nothing exact is known
                found.append(exact)
            if opened:
                found += _runs(spec, replace(exact, engine=_engine(problem, spec.dtype)))
            if closed:
                found += _runs(
                    spec,
                    replace(
                        exact,
                        schedules=tuple(dict.fromkeys(s for s, _ in closed)),
                        averagings=tuple(dict.fromkeys(a for _, a in closed)),
                        engine="train" if problem.trained else "step",
                        feedback_every=spec.feedback_every,
                    ),
                )
    return found


def _engine(problem: "Objective", dtype: Dtype) -> Engine:
    """That of open loops."""
    if problem.trained:
        return "train"
    return "jump" if isinstance(problem, Quadratic) and problem.gaussian and dtype == "float64" else "step"


def _runs(spec: Spec, cell: Cell) -> list[Cell]:
    """The cell once for every block of runs."""
    return [
        replace(cell, runs=(first, min(first + BLOCK, spec.runs)), seed=spec.seed, dtype=spec.dtype)
        for first in range(0, spec.runs, BLOCK)
    ]
