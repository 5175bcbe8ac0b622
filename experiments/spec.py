"""An experiment as values: its axes, the curves that a claim selects of them, and what it says of these.

A file is read into a `Spec` (`file`), which is cut into cells (`cells`) and judged (`claims`).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ratelab.experiments.judging.verdict import Relation, Status
from ratelab.experiments.methods import SGD, Method
from ratelab.experiments.sources import UNSAID, Source
from ratelab.experiments.units import LrUnit
from ratelab.problems.problem import Losses, Objective
from ratelab.theory import averaging as _averaging
from ratelab.theory.arrays import record_times
from ratelab.theory.averaging import Averaging, Last
from ratelab.theory.feedback import Feedback
from ratelab.theory.rates import Rate
from ratelab.theory.schedules import Schedule, facts

if TYPE_CHECKING:
    from ratelab.experiments.judging.estimates import Estimate
    from ratelab.experiments.judging.outcome import Row

__all__ = ["Claim", "Decay", "FractionWorse", "Level", "Ratio", "Selector", "Spec", "Target"]

Clock: TypeAlias = Literal["update", "epoch"]
Dtype: TypeAlias = Literal["float64", "float32", "tf32", "bfloat16"]
Quantity: TypeAlias = Literal["risk", "risk/start", Losses, "diverged"]
AXES = ("problem", "method", "schedule", "averaging")
"""Of values; lr and horizon are axes of numbers."""
MAX_HORIZON = 10**9
"""Updates that a file may ask for."""
NOT_IN_KEYS = frozenset({"title", "claims", "labels", "bonferroni", "full"})
"""What may change under an existing run: nothing that is computed depends on it."""


@dataclass(frozen=True)
class Selector:
    """Which curves a claim speaks of. None is the file's only one, "*" each of them.

    lr may be "best", the grid's, or "tuned", which minimises the exact risk over all stable rates.
    """

    problem: Any = None
    method: Any = None
    schedule: Any = None
    averaging: Any = None
    lr: float | Literal["best", "tuned", "*"] | None = None


@dataclass(frozen=True)
class Decay:
    """The rate at which the risk of the selected curves decays: of its last two decades (regime "window"), or
    for ever ("asymptotic"). `margin`: what the exponent may be off by, where the source says so."""

    select: Selector = Selector()
    regime: Literal["asymptotic", "window"] = "asymptotic"
    margin: float | None = None


@dataclass(frozen=True)
class Level:
    """`quantity` of the selected curves at `horizon` (None: the longest), or before it at record `at`."""

    select: Selector = Selector()
    quantity: Quantity = "risk"
    horizon: int | None = None
    at: int | None = None


@dataclass(frozen=True)
class Ratio:
    """A `Level` over that of the curve that `against` selects; what it leaves out is the curve's own."""

    select: Selector
    against: Selector
    quantity: Quantity = "risk"
    horizon: int | None = None
    at: int | None = None


@dataclass(frozen=True)
class FractionWorse:
    """The fraction of the runs that end worse (larger) than the same run of the curve that `than` selects, or
    than the number that it is.

    A diverged run is worse than any that is not. Quantity "diverged" is 1 for it and 0 for the others, and
    worse than 0.
    """

    select: Selector
    than: Selector | float
    quantity: Quantity = "risk"
    horizon: int | None = None
    at: int | None = None


Number: TypeAlias = Level | Ratio | FractionWorse
Measure: TypeAlias = "Callable[[Any], float | Estimate | tuple[Row, ...]]"
"""Of a figure's table: a number, known exactly or with its interval; or what became of a file's claim on it.
"""


@dataclass(frozen=True)
class Target:
    """What a number has to be: up to `tolerance` equal to (at most, at least) `value`.

    A rate t^-p (log t)^q equals another of the same exponents; "at_most" is O, "at_least" Ω: they speak of
    the risk.
    """

    value: float | Rate
    relation: Relation = "equals"
    tolerance: float = 0.0

    @property
    def number(self) -> float:
        assert not isinstance(self.value, Rate)
        return self.value

    @property
    def rate(self) -> Rate:
        assert isinstance(self.value, Rate)
        return self.value

    def __str__(self) -> str:
        """As it is printed: "0.5 ± 0.02", "at most 1", "equals t^-1/2"."""
        words = self.relation.replace("_", " ")
        if isinstance(self.value, Rate):
            return f"{words} {self.value}"
        within = f" ± {self.tolerance:.3g}" if self.tolerance else ""
        return f"{'' if self.relation == 'equals' else words + ' '}{self.written(self.value)}{within}"

    def written(self, number: float) -> str:
        """A number with the digits that the tolerance speaks of, six at least."""
        digits = 6
        if self.tolerance and number and math.isfinite(number):
            digits += max(0, math.ceil(math.log10(abs(number) / self.tolerance)) - 5)
        return f"{number:.{min(digits, 15)}g}"


@dataclass(frozen=True)
class Claim:
    """A sentence that a run, or a figure's table, can support or refute: `measured` is as `target` has it.

    source: who says so, where, and of what. expect: "refuted" where the sentence is wrong, "undecided" where
    it can't be told; finding: what is true instead, or why. size: what the source's size is here, where that
    is smaller ("2,500 of 60,000 images"). full: of a figure's claim, the one at full size, where that is
    another (a file's full form is a `Spec` of its own).
    """

    sentence: str
    measured: "Decay | Number | Measure"
    target: Target
    source: Source = UNSAID
    expect: Status = "supported"
    finding: str = ""
    size: str = ""
    full: "Claim | None" = None

    @property
    def in_full(self) -> "Claim":
        """The claim at full size."""
        return self.full or replace(self, size="")


@dataclass(frozen=True)
class Spec:
    """An experiment: every combination of its axes is computed. `load` reads and checks a file.

    `clock` "epoch": horizons, durations, records, `feedback_every` and t count epochs. A step is then held
    during an epoch, and averagings collect at the ends of epochs. Records are `record_every` apart, otherwise
    log-spaced, `records` at most. `full`: the file's [full] form.
    """

    problems: "tuple[Objective, ...]"
    schedules: tuple[Schedule | Feedback, ...]
    lr: tuple[float, ...]
    lr_unit: LrUnit
    horizons: tuple[int, ...]
    runs: int
    title: str = ""
    methods: tuple[Method, ...] = (SGD(),)
    averagings: tuple[Averaging, ...] = (Last(),)
    seed: int = 0
    records: int = 100
    record_every: int | None = None
    feedback_every: int = 100
    dtype: Dtype = "float64"
    clock: Clock = "update"
    claims: tuple[Claim, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    bonferroni: bool = False
    imports: Mapping[str, str] = field(default_factory=dict)
    full: bool = False

    @property
    def longest(self) -> int:
        return max(self.horizons)

    def label(self, value: object) -> str:
        """The legend of a value: its label in the file, otherwise the notation in brief."""
        return self.labels.get(repr(value), brief(value))

    def anytime(self, schedule: Schedule | Feedback, averaging: Averaging) -> bool:
        """Whether one trajectory serves all horizons: schedule, averaging and lr unit ignore it."""
        along = facts(open_part(schedule)).anytime and _averaging.anytime(averaging)
        return along and self.lr_unit != "D/(G sqrt T)"

    def times(self, horizon: int) -> tuple[int, ...]:
        """The records of the cells of a horizon: log-spaced, or `record_every` apart."""
        shorter = [h for h in self.horizons if h < horizon] if horizon == self.longest else []
        if self.record_every is not None:
            return tuple(sorted({*range(0, horizon, self.record_every), *shorter, horizon}))
        return tuple(int(t) for t in record_times(horizon, self.records, shorter))

    def home(self, schedule: Schedule | Feedback, averaging: Averaging, horizon: int) -> int:
        """The horizon of the cell in which a curve up to `horizon` is found."""
        return self.longest if self.anytime(schedule, averaging) else horizon


def open_part(schedule: Schedule | Feedback) -> Schedule:
    """What is known of the steps beforehand: all of an open loop, the rule's schedule of a closed one."""
    return schedule if isinstance(schedule, Schedule) else schedule.schedule


def brief(value: object) -> str:
    """The notation without the fields that have their default values; it parses to the same value."""
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    parts = []
    for number, entry in enumerate(fields(value)):
        content = getattr(value, entry.name)
        if (type(content), content) != (type(entry.default), entry.default):
            parts.append(("" if number == 0 else f"{entry.name}=") + brief(content))
    return f"{type(value).__name__}({', '.join(parts)})"


def select(spec: Spec, selector: Selector) -> Iterator[Selector]:
    """The selectors of single curves that a claim's selector stands for; none where the file lacks them."""
    axes: list[Sequence[Any]] = []
    for name in AXES:
        values: Sequence[object] = getattr(spec, name + "s")
        wanted = getattr(selector, name)
        axes.append(values if wanted in ("*", None) else [v for v in values if v == wanted])
    lrs: Sequence[Any] = (
        spec.lr
        if selector.lr in ("*", None)
        else [x for x in (*spec.lr, "best", "tuned") if x == selector.lr]
    )
    for combination in itertools.product(*axes, lrs):
        yield Selector(*combination)


def counterpart(against: Selector, row: Selector) -> Selector:
    """The curve that a row of a claim is compared with: `against`, completed by the row itself."""
    chosen = {f.name: getattr(against, f.name) for f in fields(Selector)}
    return replace(row, **{name: value for name, value in chosen.items() if value is not None})


def resolved(spec: Spec) -> dict[str, Any]:
    """The spec as plain data, every default spelt out: what the manifest keeps and what `run` compares."""
    plain = asdict(replace(spec, problems=(), methods=(), schedules=(), averagings=(), claims=()))
    for axis in AXES:
        plain[f"{axis}s"] = [repr(v) for v in getattr(spec, f"{axis}s")]
    plain["claims"] = [repr(c) for c in spec.claims]
    plain["imports"] = sorted(spec.imports.values())
    if all(isinstance(s, Schedule) for s in spec.schedules):
        del plain["feedback_every"]  # nothing depends on it
    for key, default in (("clock", "update"), ("full", False), ("record_every", None)):
        if plain[key] == default:  # as in the results of before there was another
            del plain[key]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which two resolved specs differ, of those that any number depends on."""
    keys = [k for k in {**new, **old} if k not in NOT_IN_KEYS]
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}
