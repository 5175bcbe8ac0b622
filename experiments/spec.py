"""The experiment file: TOML in, one frozen `Spec` out, expanded into cells.

Everything that can be known to be wrong is refused here, all in one message, before anything runs: a run that
ends in a claim that cannot be judged is worth nothing. A cell is plain data (text and numbers), so that it
can be hashed, sent to another process and written down.
"""

import difflib
import hashlib
import importlib.util
import itertools
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeGuard, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ratelab.experiments import estimates, evidence
from ratelab.theory import averaging as _averaging, moments
from ratelab.theory.arrays import InputError, record_times
from ratelab.theory.averaging import Averaging, StepWeighted
from ratelab.theory.feedback import Feedback
from ratelab.theory.notation import expand, parse, schedule_kind
from ratelab.theory.rates import Rate
from ratelab.theory.schedules import Schedule, facts, multipliers

if TYPE_CHECKING:
    from ratelab.experiments.methods import Method
    from ratelab.problems.networks import Network
    from ratelab.problems.problem import Objective

__all__ = ["Claim", "Selector", "Spec", "load"]

ENGINE_VERSION = 1
"""Part of every cell's key. Raise it when a change of the code changes the numbers."""

BLOCK = 64
"""Runs per cell."""

MAX_HORIZON = 10**9
"""Updates that a file may ask for."""

LrUnit = Literal["absolute", "1/L", "1/mu", "critical", "D/G", "D/(G sqrt T)"]
Clock: TypeAlias = Literal["update", "epoch"]
Dtype: TypeAlias = Literal["float64", "float32", "tf32", "bfloat16"]
Relation = Literal["at_most", "at_least", "equals"]
Expectation = Literal["supported", "refuted", "undecided"]
ClaimKind: TypeAlias = Literal["rate", "value", "ratio", "fraction"]
Quantity: TypeAlias = Literal[
    "risk",
    "risk/start",
    "train_loss",
    "train_error",
    "validation_loss",
    "validation_error",
    "test_loss",
    "test_error",
    "diverged",
]
KINDS = {
    "problems": "problem",
    "methods": "method",
    "schedules": "schedule",
    "averagings": "averaging",
}
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
class Claim:
    """A sentence that a run can support or refute.

    kind "rate": the risk decays like `rate`. "value": `quantity` at `horizon` is held against `value`.
    "ratio": so is it over that of the curve that `against` selects (what it leaves out is the claim's own).
    "fraction": so is the fraction of the runs that end worse (larger) than the same run of that curve, or
    than the number `worse_than`. A diverged run is worse than any that is not, and quantity "diverged" is 1
    for it and 0 for the others. `relation` speaks of the risk; values may be off by `tolerance`. `horizon`
    None is the longest one; `at` is the record on the way there that is read, by default its end.
    """

    sentence: str
    select: Selector = Selector()
    kind: ClaimKind = "rate"
    source: str = ""
    rate: Rate | None = None
    relation: Relation = "equals"
    regime: Literal["asymptotic", "window"] = "asymptotic"
    margin: float | None = None
    quantity: Quantity = "risk"
    value: float | None = None
    tolerance: float = 0.0
    against: Selector | None = None
    worse_than: float | None = None
    horizon: int | None = None
    at: int | None = None
    expect: Expectation = "supported"


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
    methods: "tuple[Method, ...]" = ()
    averagings: tuple[Averaging, ...] = ()
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


@dataclass(frozen=True)
class Cell:
    """One unit of work: a block of runs, or (`runs` None) the exact risk and the bounds.

    Schedules × lrs × averagings are batch axes; all entries are text in the notation or plain numbers. The
    schedules are open loops, or all of them closed ones, which see the risk (of networks the validation or
    training loss) every `feedback_every` updates. `clock` is what `horizon`, `times` and that count.
    """

    problem: str
    method: str
    horizon: int
    schedules: tuple[str, ...]
    averagings: tuple[str, ...]
    lr: tuple[float, ...]
    lr_unit: LrUnit
    times: tuple[int, ...]
    dtype: Dtype
    runs: tuple[int, int] | None
    seed: int | None
    imports: tuple[str, ...]
    feedback_every: int | None = None
    clock: Clock = "update"

    @property
    def key(self) -> str:
        """The hash of the content; fields that have their default value are left out."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        content = json.dumps([ENGINE_VERSION, plain], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    @property
    def name(self) -> str:
        part = "exact" if self.runs is None else f"runs {self.runs[0]}-{self.runs[1] - 1}"
        horizon = f"horizon {self.horizon}" + (" epochs" if self.clock == "epoch" else "")
        return f"{self.problem}, {self.method}, {horizon}, {part}"


def is_network(problem: "Objective") -> "TypeGuard[Network]":
    """Whether a problem is trained. Its class is asked: isinstance would compute its properties, f* too."""
    return hasattr(type(problem), "outputs")


def has_risk(problem: "Objective") -> bool:
    """Whether f − f* is computed: of every problem but the networks that are not strongly convex."""
    return not is_network(problem) or bool(problem.strong_convexity)


def quantities(problem: "Objective") -> tuple[Quantity, ...]:
    """What is kept of every run of a problem at the records."""
    kept: tuple[Quantity, ...] = ("risk",) if has_risk(problem) else ()
    if not is_network(problem):
        return kept
    if problem.data.validation:
        kept += ("validation_loss", "validation_error")
    return (*kept, "train_loss", "train_error", "test_loss", "test_error")


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


def cells(spec: Spec) -> list[Cell]:
    """The cells of an experiment: all curves at the longest horizon, at others what must be run anew."""
    found = []
    for problem, method in itertools.product(spec.problems, spec.methods):
        for horizon in sorted(spec.horizons, reverse=True):
            pairs = [
                (s, a)
                for s, a in itertools.product(spec.schedules, spec.averagings)
                if spec.home(s, a, horizon) == horizon
            ]
            for closed in (False, True):
                here = [(repr(s), repr(a)) for s, a in pairs if isinstance(s, Schedule) != closed]
                if not here:
                    continue
                exact = Cell(
                    problem=repr(problem),
                    method=repr(method),
                    horizon=horizon,
                    schedules=tuple(dict.fromkeys(s for s, _ in here)),
                    averagings=tuple(dict.fromkeys(a for _, a in here)),
                    lr=spec.lr,
                    lr_unit=spec.lr_unit,
                    times=spec.times(horizon),
                    dtype="float64",
                    runs=None,
                    seed=None,
                    imports=tuple(sorted(spec.imports.values())),
                    clock=spec.clock,
                )
                every = spec.feedback_every if closed else None
                blocks = [(first, min(first + BLOCK, spec.runs)) for first in range(0, spec.runs, BLOCK)]
                if not closed and not is_network(problem):  # of those, nothing exact is known
                    found.append(exact)
                found += [
                    replace(exact, runs=block, seed=spec.seed, dtype=spec.dtype, feedback_every=every)
                    for block in blocks
                ]
    return found


def unit_of_lr(problem: "Objective", method: "Method", unit: LrUnit, horizon: int) -> float:
    """What lr = 1 means in absolute terms; InputError where the problem has no such unit."""
    if unit == "absolute":
        return 1.0
    if unit == "critical":
        if problem.law is None:
            smooth = problem.smoothness is not None
            raise InputError(
                f"the critical step of {problem!r} is not known; use "
                + ('"1/L" or ' if smooth else "")
                + '"absolute"'
            )
        return moments.critical_lr(problem.law, method.momentum)
    constant = {"1/L": "smoothness", "1/mu": "strong_convexity"}.get(unit, "gradient_bound")
    number = getattr(problem, constant)
    if number is None and constant == "gradient_bound":
        why, use = ": the gradient of a quadratic grows with the distance", '"1/L", "critical" or "absolute"'
        if is_network(problem):
            why, use = "", '"absolute"'
        raise InputError(
            f'lr_unit = "{unit}" needs a bound G on the gradient, and {problem!r} has none{why}; use {use}'
        )
    if number is None or not 0 < number < np.inf:
        raise InputError(
            f'lr_unit = "{unit}" needs {constant.replace("_", " ")} > 0, and {problem!r} has '
            f'{"none" if number is None else number}; use "absolute"'
        )
    if constant == "gradient_bound":
        assert problem.distance is not None  # what knows G knows D
        return problem.distance / float(number) / (1.0 if unit == "D/G" else horizon**0.5)
    return 1 / float(number)


def select(spec: Spec, selector: Selector) -> Iterator[Selector]:
    """The selectors of single curves that a claim's selector stands for; none where the file lacks them."""
    axes: list[Sequence[Any]] = []
    for name in ("problem", "method", "schedule", "averaging"):
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


def counterpart(claim: Claim, row: Selector) -> Selector:
    """The curve that a row of a claim is compared with: `against`, completed by the row itself."""
    assert claim.against is not None
    chosen = {f.name: getattr(claim.against, f.name) for f in fields(Selector)}
    return replace(row, **{name: value for name, value in chosen.items() if value is not None})


def resolved(spec: Spec) -> dict[str, Any]:
    """The spec as plain data, every default spelt out: what the manifest keeps and what `run` compares."""
    plain = asdict(replace(spec, problems=(), methods=(), schedules=(), averagings=(), claims=()))
    for key in KINDS:
        plain[key] = [repr(v) for v in getattr(spec, key)]
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


# Reading the file


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Labelled(_Table):
    value: str
    label: str | None = None


_Entry = Annotated[_Labelled, BeforeValidator(lambda v: {"value": v} if isinstance(v, str) else v)]
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]
_Horizon = Annotated[int, Field(ge=1, le=MAX_HORIZON)]
_Runs = Annotated[int, Field(ge=1, le=10**7)]
T = TypeVar("T")
_Some = Annotated[list[T], Field(min_length=1)]


class _Curves(_Table):
    problem: str | None = None
    method: str | None = None
    schedule: str | None = None
    averaging: str | None = None
    lr: float | str | None = None


class _ClaimTable(_Curves):
    sentence: Annotated[str, Field(min_length=1)]
    source: str = ""
    kind: ClaimKind | None = None
    rate: str | None = None
    relation: Relation = "equals"
    regime: Literal["asymptotic", "window"] = "asymptotic"
    margin: _Positive | None = None
    quantity: Quantity = "risk"
    value: float | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    against: _Curves | None = None
    worse_than: float | None = None
    horizon: _Count | None = None
    at: Annotated[int, Field(ge=0)] | None = None
    expect: Expectation = "supported"


class _Form(_Table):
    problems: _Some[_Entry]
    schedules: _Some[_Entry]
    lr: _Some[_Positive]
    lr_unit: LrUnit
    horizons: _Some[_Horizon]
    runs: _Runs
    title: str = ""
    methods: _Some[_Entry] = [_Labelled(value="SGD()")]
    averagings: _Some[_Entry] = [_Labelled(value="Last()")]
    seed: Annotated[int, Field(ge=0)] = 0
    records: _Count = 100
    record_every: _Count | None = None
    feedback_every: _Count | None = None
    dtype: Dtype = "float64"
    clock: Clock = "update"
    claims: list[_ClaimTable] = []
    bonferroni: bool = False


class _File(_Form):
    full: dict[str, Any] | None = None


_TABLES: dict[str, type[_Table]] = {
    "claims": _ClaimTable,
    "against": _Curves,
    "full": _Form,
    **dict.fromkeys(KINDS, _Labelled),
}


def _sentence(error: Any, table: Sequence[str] = ()) -> str:
    """One plain sentence for one error of the raw shape: key, value, what is allowed, nearest match."""
    place = [*table, *(p for p in error["loc"] if isinstance(p, int) or p.isidentifier())]
    key = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    if error["type"] == "missing":
        units = ", ".join(map(repr, get_args(LrUnit)))
        return f"{key} is missing" + (
            f"; an lr means nothing without one of {units}" if key == "lr_unit" else ""
        )
    if error["type"] == "extra_forbidden":
        known = next((_TABLES[p] for p in reversed(place[:-1]) if p in _TABLES), _File)
        return f"unknown key {key}; {_nearest(str(place[-1]), known.model_fields)}"
    return f"{key} = {error['input']!r} {error['msg'].replace('Input should', 'must')}"


def _nearest(word: str, allowed: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"allowed: {', '.join(allowed)}"


def import_file(path: Path) -> str:
    """Run a user's own file, so that the names it defines join the notation; returns its SHA-256."""
    if not path.is_file():
        raise InputError(f"--import {path}: no such file")
    module = importlib.util.spec_from_file_location(f"imported_{path.stem}", path)
    if module is None or module.loader is None:
        raise InputError(f"--import {path}: not a Python file")
    loaded = importlib.util.module_from_spec(module)
    sys.modules[module.name] = loaded
    try:
        module.loader.exec_module(loaded)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--import {path}: {type(error).__name__}: {error}; mend the file") from error
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fill_catalogue() -> None:
    """Import the modules that define problems, spectra, noises, data and methods."""
    for module in (
        "ratelab.problems.quadratic",
        "ratelab.problems.regression",
        "ratelab.problems.networks",
        "ratelab.experiments.methods",
    ):
        importlib.import_module(module)


def read_shape(path: Path) -> _Form:
    """The file's raw shape, without [full]."""
    return _shapes(path)[0]


def _shapes(path: Path) -> tuple[_Form, _Form | None]:
    """The raw shape of a file and that with [full], checked key by key; where one has faults, those of the
    notation are told too."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: {reason}; give an experiment file (`ratelab init` writes one)") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    faults: list[str] = []
    try:
        quick = _File.model_validate(raw)
    except ValidationError as error:
        faults += [_sentence(e) for e in error.errors(include_url=False)]
    replaced = raw.pop("full", None)
    full = None
    if isinstance(replaced, dict):
        try:
            full = _Form.model_validate(raw | replaced)
        except ValidationError as error:
            errors = [e for e in error.errors(include_url=False) if e["loc"][0] in replaced]
            faults += [_sentence(e, ["full"]) for e in errors]
    if not faults:
        return quick, full
    fill_catalogue()
    faults += _notation_faults(raw)
    faults += map(_of_full, _notation_faults(replaced) if isinstance(replaced, dict) else ())
    raise _refusal(path, faults)


def _notation_faults(raw: Mapping[str, Any]) -> list[str]:
    """Of what can be read of a file that cannot be read as a whole."""
    faults: list[str] = []
    for key in KINDS:
        entries = raw[key] if isinstance(raw.get(key), list) else []
        texts = [entry.get("value") if isinstance(entry, dict) else entry for entry in entries]
        _axis(key, [_Labelled(value=text) for text in texts if isinstance(text, str)], {}, faults)
    return faults


def _of_full(fault: str) -> str:
    """A fault that only the form with [full] has."""
    names_a_key = re.split(r"\W", fault, maxsplit=1)[0] in _Form.model_fields
    return f"full.{fault}" if names_a_key else f"full: {fault}"


def _refusal(path: Path, faults: Sequence[str]) -> InputError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return InputError("\n".join([f"{path}: {count}; nothing was run", *(f"  - {fault}" for fault in faults)]))


def schedules_of(path: Path) -> list[tuple[str, Schedule | Feedback]]:
    """(legend, schedule) of a file, and nothing else of it: what `preview` needs, without torch."""
    faults: list[str] = []
    labels: dict[str, str] = {}
    values = _axis("schedules", read_shape(path).schedules, labels, faults)
    if faults:
        raise _refusal(path, faults)
    return [(labels.get(repr(v), brief(v)), v) for v in values]


def load(path: Path, imports: Sequence[Path] = (), full: bool = False, data: bool = True) -> Spec:
    """Read, check and resolve an experiment file; one InputError names everything that is wrong with it.

    With `full` the keys of its table [full] take the place of its own. Both forms are checked either way.
    Data are asked for by the form that is meant only, and not at all without `data`: what is finished may be
    read where they are not.
    """
    fill_catalogue()
    hashes = {str(p): import_file(p) for p in imports}
    shape, full_shape = _shapes(path)
    faults: list[str] = []
    spec = _resolve(shape, hashes, faults, data and not full)
    if full_shape is not None:
        found: list[str] = []
        full_spec = replace(_resolve(full_shape, hashes, found, data and full), full=True)
        faults += [_of_full(fault) for fault in found if fault not in faults]
    if faults:
        raise _refusal(path, faults)
    if not full:
        return spec
    if full_shape is None:
        raise InputError(
            f"{path} has no table [full], which --full would run; add one with the keys that it replaces, or "
            "leave --full out"
        )
    return full_spec


def _resolve(shape: _Form, imports: Mapping[str, str], faults: list[str], data: bool) -> Spec:
    """One form of a file, its texts parsed; what is wrong with it is added to `faults`."""
    before = len(faults)
    labels: dict[str, str] = {}
    axes: dict[str, Any] = {key: tuple(_axis(key, getattr(shape, key), labels, faults)) for key in KINDS}
    for key in ("lr", "horizons"):
        numbers = getattr(shape, key)
        faults += [
            f"{key} holds {x} twice; remove one" for x in sorted({x for x in numbers if numbers.count(x) > 1})
        ]
    if len(set(labels.values())) < len(labels):
        faults.append(
            f"labels are used twice: {', '.join(sorted(labels.values()))}; every legend needs its own"
        )
    spec = Spec(
        title=shape.title,
        **axes,
        lr=tuple(shape.lr),
        lr_unit=shape.lr_unit,
        horizons=tuple(shape.horizons),
        runs=shape.runs,
        seed=shape.seed,
        records=shape.records,
        record_every=shape.record_every,
        feedback_every=shape.feedback_every or (1 if shape.clock == "epoch" else 100),
        dtype=shape.dtype,
        clock=shape.clock,
        bonferroni=shape.bonferroni,
        labels=labels,
        imports=imports,
    )
    faults += _faults_of_values(spec, data)
    claims = tuple(_claim(table, f"claims[{n}]", faults) for n, table in enumerate(shape.claims, 1))
    if len(faults) == before:
        for number, claim in enumerate(claims, 1):
            faults += [f"claims[{number}] ({claim.sentence}): {fault}" for fault in claim_faults(spec, claim)]
    return replace(spec, claims=claims)


def _axis(key: str, entries: Sequence[_Labelled], labels: dict[str, str], faults: list[str]) -> list[Any]:
    """The values of one axis in written order; labels and faults are added to what is given."""
    values: list[Any] = []
    for number, entry in enumerate(entries, 1):
        try:
            found = expand(entry.value, schedule_kind(entry.value) if key == "schedules" else KINDS[key])
        except InputError as error:
            faults.append(f"{key}[{number}] = {entry.value!r}: {error}")
            continue
        if entry.label is not None and len(found) > 1:
            fault = f"the label {entry.label!r} stands for {len(found)} values; label them one by one"
            faults.append(f"{key}[{number}]: {fault}")
        for value in found:
            if value in values:
                faults.append(
                    f"{key}[{number}] = {entry.value!r}: {value!r} is in the list already; remove one"
                )
            if entry.label is not None:
                labels[repr(value)] = entry.label
            values.append(value)
    return values


def _attempt(faults: list[str], what: str, check: Callable[..., object], *arguments: object) -> None:
    try:
        check(*arguments)
    except InputError as error:
        faults.append(f"{what}: {error}")


def _faults_of_values(spec: Spec, data: bool) -> list[str]:
    """What only shows when values meet: problems and data, methods, lr units; schedules and horizons."""
    faults: list[str] = []
    for problem in spec.problems:
        before = len(faults)
        faults += _faults_of_problem(spec, problem, data)
        if len(faults) == before and (data or not is_network(problem)):
            for method in spec.methods:
                _attempt(faults, f"{problem!r}, {method!r}", unit_of_lr, problem, method, spec.lr_unit, 1)
    for schedule, horizon in itertools.product(spec.schedules, spec.horizons):
        _attempt(faults, f"{schedule!r} at horizon {horizon}", multipliers, open_part(schedule), horizon)
    if StepWeighted() in spec.averagings:
        faults += [
            f"StepWeighted() needs the steps beforehand, which {s!r}, a closed loop, sets as it goes; give "
            "it a file of its own"
            for s in spec.schedules
            if not isinstance(s, Schedule)
        ]
    return faults


def _faults_of_problem(spec: Spec, problem: "Objective", data: bool) -> list[str]:
    """What networks alone can, asked of another problem; of a network, whether there are data for it."""
    from ratelab.experiments.methods import TorchMomentum
    from ratelab.problems import networks

    faults: list[str] = []
    if is_network(problem):
        for check in (networks.epoch, networks.size) if data else ():
            _attempt(faults, "problems", check, problem)
        return list(dict.fromkeys(faults))
    if spec.clock == "epoch":
        faults.append(f'clock = "epoch" is for networks; {problem!r} is none: say clock = "update"')
    if spec.dtype in ("tf32", "bfloat16"):
        faults.append(
            f'dtype = "{spec.dtype}" is for networks; {problem!r} is none: say "float64" or "float32"'
        )
    return faults + [
        f"{method!r} is for networks; {problem!r} is none: HeavyBall(momentum={method.momentum!r}) is what "
        "its engines know"
        for method in spec.methods
        if isinstance(method, TorchMomentum)
    ]


def _claim(table: _ClaimTable, place: str, faults: list[str]) -> Claim:
    """A claim of the file, its texts parsed."""
    rate = None
    if table.rate is not None:
        try:
            rate = Rate.parse(table.rate)
        except InputError as error:
            faults.append(f"{place}.rate = {table.rate!r}: {error}")
    diverged = table.quantity == "diverged"
    kind: ClaimKind
    if table.kind is not None:
        kind = table.kind
    elif table.worse_than is not None or diverged:
        kind = "fraction"
    elif table.against:
        kind = "ratio"
    else:
        kind = "rate" if table.rate or table.value is None else "value"
    bar = ("against",) if table.against else () if diverged else ("worse_than",)
    wants: tuple[str, ...] = {
        "rate": ("rate",),
        "value": ("value",),
        "ratio": ("value", "against"),
        "fraction": ("value", *bar),
    }[kind]
    for key in ("rate", "value", "against", "worse_than", "horizon", "margin"):
        given = getattr(table, key) is not None
        optional = key == ("margin" if kind == "rate" else "horizon")
        if given and key not in wants and not optional:
            faults.append(f"{place}.{key}: a claim of kind {kind} has no {key}; remove it, or set kind")
        if not given and key in wants:
            other = " (or against)" if key == "worse_than" else ""
            faults.append(f"{place}.{key}{other} is missing; a claim of kind {kind} needs it")
    number = ("value", "ratio", "fraction")
    speaks = {"tolerance": number, "quantity": number, "at": number, "regime": ("rate",)}
    faults += [
        f"{place}.{key} means nothing to a claim of kind {kind}; remove it"
        for key, kinds in speaks.items()
        if key in table.model_fields_set and kind not in kinds
    ]
    if diverged and kind in ("value", "ratio"):
        faults.append(
            f'{place}.quantity = "diverged" is for kind fraction: the fraction of runs that diverged'
        )
    if kind == "fraction" and table.value is not None and not 0 <= table.value <= 1:
        faults.append(f"{place}.value = {table.value}: a fraction of the runs lies in [0, 1]")
    return Claim(
        sentence=table.sentence,
        select=_selector(table, place, faults),
        kind=kind,
        rate=rate,
        against=None if table.against is None else _selector(table.against, f"{place}.against", faults),
        **{
            k: getattr(table, k)
            for k in (
                "source",
                "relation",
                "regime",
                "margin",
                "quantity",
                "value",
                "tolerance",
                "worse_than",
                "horizon",
                "at",
                "expect",
            )
        },
    )


def _selector(table: _Curves, place: str, faults: list[str]) -> Selector:
    values: dict[str, Any] = {"lr": table.lr}
    for name in KINDS.values():
        text = getattr(table, name)
        values[name] = text
        if text not in (None, "*"):
            try:
                values[name] = parse(text, schedule_kind(text) if name == "schedule" else name)
            except InputError as error:
                faults.append(f"{place}.{name} = {text!r}: {error}")
    return Selector(**values)


def claim_faults(spec: Spec, claim: Claim) -> list[str]:
    """Why a claim could not be judged on this experiment, as sentences; empty when it could."""
    faults = []
    for place, selector in (("", claim.select), ("against.", claim.against)):
        if selector is None:
            continue
        for name in (*KINDS.values(), "lr"):
            axis: Sequence[object] = spec.lr if name == "lr" else getattr(spec, name + "s")
            wanted = getattr(selector, name)
            allowed = [*axis, "best", "tuned", "*"] if name == "lr" else [*axis, "*"]
            listed = ", ".join(map(str, axis))
            if wanted is None and len(axis) > 1 and not place:
                faults.append(
                    f'{name} is missing, and the file has several: {listed}; name one, or "*" for each'
                )
            elif wanted is not None and (wanted not in allowed or (place and wanted == "*")):
                also = ', "best", "tuned"' + ("" if place else ', "*"') if name == "lr" else ""
                near = difflib.get_close_matches(str(wanted), ("best", "tuned"), n=1) if also else []
                hint = f'; did you mean "{near[0]}"?' if near else ""
                faults.append(f"{place}{name} = {wanted} selects nothing; the file has {listed}{also}{hint}")
    if claim.horizon is not None and claim.horizon not in spec.horizons:
        faults.append(f"horizon = {claim.horizon} is not in horizons = {list(spec.horizons)}")
    if faults:
        return faults
    rows = list(select(spec, claim.select))
    if claim.against is not None:
        others = [counterpart(claim, row) for row in rows]
        if any("tuned" in (row.lr, other.lr) for row, other in zip(rows, others, strict=True)):
            rows = [replace(row, lr="tuned") for row in (*rows, *others)]  # a comparison is exact or by runs
        else:
            rows += others
    for row in rows:
        faults += _row_faults(spec, claim, row)
    return list(dict.fromkeys(faults))


def _row_faults(spec: Spec, claim: Claim, row: Selector) -> list[str]:
    """Whether this curve has what is claimed of it, records and runs enough to judge it by."""
    faults: list[str] = []
    if claim.quantity not in (*_readable(row.problem), "diverged"):
        return [_no_quantity(claim, row.problem)]
    closed = not isinstance(row.schedule, Schedule)
    at, end = claim.at, claim.horizon or spec.longest
    if at is not None:
        there = [t for t in spec.times(spec.home(row.schedule, row.averaging, end)) if t <= end]
        if at not in there:
            near = ", ".join(str(t) for t in sorted(there, key=lambda t: abs(t - at))[:3])
            faults.append(f"at = {at} is no record; the nearest are {near}; or ask for more records")
    if claim.kind == "rate":
        if spec.clock == "epoch":
            return ['a rate is fitted to records at updates; say clock = "update", or claim a value']
        along = spec.anytime(row.schedule, row.averaging)
        times = spec.times(spec.longest) if along else tuple(sorted(spec.horizons))
        minimum = evidence.MIN_RECORDS if along else evidence.MIN_HORIZONS
        why = "" if along else ", which is not anytime, so that every point is a horizon of its own"
        what = f"{row.schedule!r}, {row.averaging!r}, lr {row.lr}{why}"
        _attempt(faults, what, evidence.check_records, times, minimum)
        if closed and claim.regime == "asymptotic":
            faults.append(
                f"whether {row.schedule!r} has reached its asymptotic rate cannot be told from steps that "
                'depend on the run; say regime = "window"'
            )
    if row.lr == "tuned":
        faults += tuned_faults(spec, row, claim)
    if claim.kind == "fraction" or row.problem.law is None or closed:
        needed = minimum_runs(claim) * (2 if row.lr == "best" else 1)
        if spec.runs < needed:
            half = ' (lr = "best" is chosen on half of them)' if row.lr == "best" else ""
            why = f"{row.schedule if closed else row.problem!r} has no exact risk"
            if claim.kind == "fraction":
                why = "a fraction is one of the runs"
            faults.append(
                f"{why}, so the verdict is Monte Carlo and needs runs >= {needed}{half}; runs = {spec.runs}"
            )
    return faults


def tuned_faults(spec: Spec, row: Selector, claim: Claim | None = None) -> Iterator[str]:
    """Why lr = "tuned" cannot be had of a curve: only an exact risk can be minimised over lr itself."""
    if claim is not None and claim.kind == "fraction":
        yield 'lr = "tuned" minimises the exact risk, and a fraction is one of runs; say lr = "best"'
    elif claim is not None and not claim.quantity.startswith("risk"):
        yield f'lr = "tuned" minimises the exact risk, and the claim is of {claim.quantity}; say lr = "best"'
    elif row.problem.law is None or not isinstance(row.schedule, Schedule):
        what = repr(row.problem) if row.problem.law is None else repr(row.schedule)
        yield f'lr = "tuned" minimises the exact risk, and {what} has none; say lr = "best"'
    elif claim is not None and claim.at is not None and not spec.anytime(row.schedule, row.averaging):
        yield (
            f'lr = "tuned" with at = {claim.at}: {row.schedule!r}, {row.averaging!r} is not anytime, so its '
            "best lr is that of a whole horizon; claim horizon instead"
        )


def _readable(problem: "Objective") -> tuple[Quantity, ...]:
    return (*quantities(problem), *(("risk/start",) if has_risk(problem) else ()))


def _no_quantity(claim: Claim, problem: "Objective") -> str:
    """Why this cannot be claimed of this problem, and what can."""
    there = ", ".join(f'"{name}"' for name in _readable(problem))
    if claim.kind == "rate":
        return (
            f"{problem!r} has no f*, so no risk to fit a rate to; claim a value, ratio or fraction of {there}"
        )
    lacks = "f*, so no risk" if claim.quantity.startswith("risk") else claim.quantity
    return f'quantity = "{claim.quantity}": {problem!r} has no {lacks}; claim one of {there}'


def minimum_runs(claim: Claim) -> int:
    """Below, an interval of Monte Carlo would cover less than it says."""
    few = claim.kind == "fraction" or claim.quantity.endswith(("_loss", "_error"))
    return estimates.MIN_SEEDS if few else estimates.MIN_RUNS
