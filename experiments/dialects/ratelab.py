"""Our own notation as a dialect: the `repr` of a schedule or a closed-loop rule. The lr stands beside it."""

from ratelab.experiments.dialects import DialectError, Training
from ratelab.theory.arrays import InputError
from ratelab.theory.notation import catalogue, parse, schedule_kind


def read(source: object, *, lr: float | None = None, horizon: int | None = None) -> Training:
    """`Warmup(Cosine(), length=0.05)`, or the value itself; lr is 1 where none is given."""
    value: object = source
    if isinstance(source, str):
        value = parse(source, schedule_kind(source))
    elif not callable(source) and type(source) not in catalogue("feedback").values():
        raise DialectError(f"{source!r} is neither a schedule nor its notation")
    return Training(1.0 if lr is None else lr, value, horizon)  # type: ignore[arg-type]  # parse gives `object`


def write(training: Training) -> str:
    """The notation; DialectError for a plain function, which has none."""
    text = repr(training.schedule)
    try:
        read(text)
    except InputError:
        raise DialectError(
            f"{text} has no notation; sample it: theory.sampled.Values.of(multipliers)"
        ) from None
    return text
