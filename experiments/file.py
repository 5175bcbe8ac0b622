"""The experiment file: TOML in, one frozen `Spec` out.

Everything that can be known to be wrong is refused here, all in one message, before anything runs. The shape
is checked key by key first; then texts become values; then these are held against one another (`faults`).
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ratelab.experiments.faults import claim_faults, faults_of_values
from ratelab.experiments.imports import fill_catalogue, import_file
from ratelab.experiments.judging.verdict import Relation, Status
from ratelab.experiments.sources import UNSAID, SaidOf, Seen, Source
from ratelab.experiments.spec import (
    AXES,
    MAX_HORIZON,
    Claim,
    Clock,
    Decay,
    Dtype,
    FractionWorse,
    Level,
    Number,
    Quantity,
    Ratio,
    Selector,
    Spec,
    Target,
    brief,
)
from ratelab.experiments.units import LrUnit
from ratelab.theory.arrays import InputError
from ratelab.theory.feedback import Feedback
from ratelab.theory.notation import expand, parse, schedule_kind
from ratelab.theory.rates import Rate
from ratelab.theory.reading import closest
from ratelab.theory.schedules import Schedule

__all__ = ["load"]

ClaimKind: TypeAlias = Literal["rate", "value", "ratio", "fraction"]
KINDS = {f"{axis}s": axis for axis in AXES}
"""Of the values of each axis, by its key."""


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


class _SourceTable(_Table):
    work: str = ""
    place: str = ""
    said_of: SaidOf | None = None
    seen: Seen | None = None
    words: str = ""
    setting: str = ""


def _work(source: object) -> object:
    """A text is the work alone."""
    if isinstance(source, str):
        return {"work": source}
    if source is not None and not isinstance(source, dict):
        raise ValueError(f"must be a text, or a table of {', '.join(_SourceTable.model_fields)}")
    return source


class _ClaimTable(_Curves):
    sentence: Annotated[str, Field(min_length=1)]
    source: Annotated[_SourceTable | None, BeforeValidator(_work)] = None
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
    expect: Status = "supported"
    finding: str = ""
    size: str = ""
    full: dict[str, Any] | None = None


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
    "source": _SourceTable,
    "full": _Form,
    **dict.fromkeys(KINDS, _Labelled),
}


def _sentence(error: Any, table: Sequence[str] = (), within: str = "") -> str:
    """One plain sentence for one error of the raw shape: key, value, what is allowed, nearest match.

    `table`: that the place is in; `within`: that of a claim.
    """
    place = [*table, *(p for p in error["loc"] if isinstance(p, int) or p.isidentifier())]
    written = [*place[:2], within, *place[2:]] if within else place
    key = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in written).lstrip(".")
    if error["type"] == "missing":
        units = ", ".join(map(repr, get_args(LrUnit)))
        return f"{key} is missing" + (
            f"; an lr means nothing without one of {units}" if key == "lr_unit" else ""
        )
    if error["type"] == "extra_forbidden":
        known = next((_TABLES[p] for p in reversed(place[:-1]) if p in _TABLES), _File)
        return f"unknown key {key}; {_nearest(str(place[-1]), known.model_fields)}"
    said = error["msg"].replace("Input should", "must").removeprefix("Value error, ")
    return f"{key} = {error['input']!r} {said}"


def _nearest(word: str, allowed: Sequence[str] | Mapping[str, Any]) -> str:
    near = closest(word, allowed)
    return (f"did you mean {near}? " if near else "") + f"allowed: {', '.join(allowed)}"


def read_shape(path: Path) -> _Form:
    """The file's raw shape, without [full]."""
    return _shapes(path)[0]


def _shapes(path: Path) -> tuple[_Form, _Form | None]:
    """The raw shape of a file and that with [full], checked key by key; where one has faults, those of the
    notation are told too."""
    raw = _toml(path)
    faults: list[str] = []
    try:
        quick = _File.model_validate(raw)
    except ValidationError as error:
        faults += [_sentence(e) for e in error.errors(include_url=False)]
    replaced = raw.pop("full", None)
    faults += _faults_of_overrides(raw, replaced)
    full = None
    if isinstance(replaced, dict):
        try:
            full = _Form.model_validate(_at_full_size(raw, replaced))
        except ValidationError as error:
            errors = error.errors(include_url=False)
            faults += [_sentence(e, ["full"]) for e in errors if e["loc"][0] in replaced]
            faults += [_sentence(e, within="full") for e in errors if _is_overridden(e["loc"], raw, replaced)]
    if not faults:
        return quick, full
    fill_catalogue()
    faults += _notation_faults(raw)
    faults += map(_of_full, _notation_faults(replaced) if isinstance(replaced, dict) else ())
    raise _refusal(path, faults)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: {reason}; give an experiment file (`ratelab init` writes one)") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error


def _at_full_size(raw: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, Any]:
    """The file with the keys of [full], and each claim with those of its own `full`, at its source's size."""
    claims = [claim | {"size": ""} | _override(claim) for claim in _claims(raw)]
    return {**raw, **({"claims": claims} if claims else {}), **replaced}


def _claims(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The claims, where they are tables."""
    found = raw.get("claims")
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []


def _override(claim: Mapping[str, Any]) -> dict[str, Any]:
    return claim["full"] if isinstance(claim.get("full"), dict) else {}


def _is_overridden(loc: Sequence[Any], raw: Mapping[str, Any], replaced: Mapping[str, Any]) -> bool:
    """Whether a place of the full form is one that a claim's own `full` has changed."""
    if "claims" in replaced or loc[0] != "claims" or len(loc) < 3:
        return False
    return loc[2] in _override(_claims(raw)[loc[1]])


def _faults_of_overrides(raw: Mapping[str, Any], replaced: object) -> Iterator[str]:
    """A claim's own `full` where there is no other size, or where [full] has claims of its own."""
    for number, claim in enumerate(_claims(raw), 1):
        if "full" not in claim:
            continue
        if "full" in _override(claim):
            yield f"claims[{number}].full.full means nothing; remove it"
        if not isinstance(replaced, dict):
            yield f"claims[{number}].full is for --full; add a table [full], or remove it"
        elif "claims" in replaced:
            yield f"claims[{number}].full changes nothing: full.claims replaces all claims; keep one of them"


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
    faults += faults_of_values(spec, data)
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


def _claim(table: _ClaimTable, place: str, faults: list[str]) -> Claim:
    """A claim of the file, its texts parsed."""
    before, kind = len(faults), _kind(table)
    rate = None
    if table.rate is not None:
        try:
            rate = Rate.parse(table.rate)
        except InputError as error:
            faults.append(f"{place}.rate = {table.rate!r}: {error}")
    faults += _kind_faults(table, kind, place)
    select = _selector(table, place, faults)
    against = None if table.against is None else _selector(table.against, f"{place}.against", faults)
    sound = len(faults) == before
    return Claim(
        table.sentence,
        _measured(table, kind, select, against) if sound else Level(),
        Target(rate or table.value or 0.0, table.relation, table.tolerance),
        _source(table.source, place, faults),
        table.expect,
        table.finding,
        table.size,
    )


def _source(table: _SourceTable | None, place: str, faults: list[str]) -> Source:
    if table is not None:
        try:
            return Source(**table.model_dump())
        except InputError as error:
            faults.append(f"{place}.source: {error}")
    return UNSAID


def _kind(table: _ClaimTable) -> ClaimKind:
    """What is claimed: what the file says, or what its keys speak of."""
    if table.kind is not None:
        return table.kind
    if table.worse_than is not None or table.quantity == "diverged":
        return "fraction"
    if table.against:
        return "ratio"
    return "rate" if table.rate or table.value is None else "value"


def _kind_faults(table: _ClaimTable, kind: ClaimKind, place: str) -> Iterator[str]:
    """Keys that a claim of this kind needs and lacks, or has and means nothing by."""
    diverged = table.quantity == "diverged"
    bar = ("against",) if table.against else () if diverged else ("worse_than",)
    wants = {
        "rate": ("rate",),
        "value": ("value",),
        "ratio": ("value", "against"),
        "fraction": ("value", *bar),
    }
    for key in ("rate", "value", "against", "worse_than", "horizon", "margin"):
        given, wanted = getattr(table, key) is not None, key in wants[kind]
        optional = key == ("margin" if kind == "rate" else "horizon")
        if given and not wanted and not optional:
            yield f"{place}.{key}: a claim of kind {kind} has no {key}; remove it, or set kind"
        if not given and wanted:
            other = " (or against)" if key == "worse_than" else ""
            yield f"{place}.{key}{other} is missing; a claim of kind {kind} needs it"
    for key in ("tolerance", "quantity", "at", "regime"):
        if key in table.model_fields_set and (key == "regime") != (kind == "rate"):
            yield f"{place}.{key} means nothing to a claim of kind {kind}; remove it"
    if diverged and kind in ("value", "ratio"):
        yield f'{place}.quantity = "diverged" is for kind fraction: the fraction of runs that diverged'
    if kind == "fraction" and table.value is not None and not 0 <= table.value <= 1:
        yield f"{place}.value = {table.value}: a fraction of the runs lies in [0, 1]"


def _measured(
    table: _ClaimTable, kind: ClaimKind, select: Selector, against: Selector | None
) -> Decay | Number:
    """What the claim speaks of."""
    where = table.quantity, table.horizon, table.at
    match kind:
        case "rate":
            return Decay(select, table.regime, table.margin)
        case "value":
            return Level(select, *where)
        case "ratio":
            return Ratio(select, against or Selector(), *where)
        case "fraction":
            return FractionWorse(select, against or table.worse_than or 0.0, *where)


def _selector(table: _Curves, place: str, faults: list[str]) -> Selector:
    values: dict[str, Any] = {"lr": table.lr}
    for name in AXES:
        text = getattr(table, name)
        values[name] = text
        if text not in (None, "*"):
            try:
                values[name] = parse(text, schedule_kind(text) if name == "schedule" else name)
            except InputError as error:
                faults.append(f"{place}.{name} = {text!r}: {error}")
    return Selector(**values)
