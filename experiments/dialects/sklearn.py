"""scikit-learn's SGD and MLP estimators as a dialect: text or live estimators to our schedules, and back.

SGDClassifier and SGDRegressor update once per sample, and their counter is 1 at the first. MLPs update once
per batch and know of time only at the end of an epoch, when the samples seen so far are counted: their
invscaling depends on the number of samples, and falls by a factor (n + 1)^-power_t after the first epoch.
"""

import math
from typing import Any, Final

import numpy as np

from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects._words import bound, call, refuse_name, rounded
from ratelab.theory.combine import Held, Scaled
from ratelab.theory.feedback import Feedback, SklearnAdaptive
from ratelab.theory.schedules import Constant, InversePower, Schedule
from ratelab.theory.stepsizes import Bottou, bottou_start

_HOMES: Final = {
    "SGDClassifier": "sklearn.linear_model",
    "SGDRegressor": "sklearn.linear_model",
    "MLPClassifier": "sklearn.neural_network",
    "MLPRegressor": "sklearn.neural_network",
}
_SMALLEST: Final = 1e-6  # scikit-learn's adaptive divides no rate at or below it


def read(
    source: object, *, lr: float | None = None, horizon: int | None = None, samples: int | None = None
) -> Training:
    """What an estimator, or text such as `SGDClassifier(learning_rate="invscaling", eta0=0.1)`, says.

    lr stands in for an eta0 or learning_rate_init that the text leaves out; without it scikit-learn's default
    is read. A live estimator holds its rate. It is read from its beginning, fitted or not.

    samples is the number of training samples n (less those that early_stopping sets aside). An MLP needs it
    for invscaling, unless it is fitted and so knows; with it, the horizon unless given is max_iter epochs,
    which `tol` may cut short.

    DialectError for the passive-aggressive rates, which depend on each sample, for lbfgs, which searches
    along lines, and for settings that scikit-learn itself refuses.
    """
    if samples is not None and samples < 1:
        raise DialectError(f"samples is {samples}; give at least 1")
    name, settings = _from_text(source, lr) if isinstance(source, str) else _from_object(source, lr)
    if name.startswith("SGD"):
        return _sgd(settings, horizon, samples)
    if samples is None and not isinstance(source, str) and getattr(source, "loss_curve_", None):
        samples = int(source.t_) // len(source.loss_curve_)  # type: ignore[attr-defined]  # an MLP has both
    return _mlp(settings, horizon, samples)


def write(training: Training) -> str:
    """The estimator as code; SGDClassifier where several can say it, for SGDRegressor writes the same.

    scikit-learn has four words: constant, invscaling, optimal, adaptive. DialectError for everything else:
    no estimator decays to a floor, to the end of a horizon, in cycles, or warms up.
    """
    lr, schedule = training.lr, training.schedule
    while isinstance(schedule, Scaled):
        lr, schedule = lr * schedule.factor, schedule.schedule
    if not 0 < lr < math.inf:
        raise _unsayable(schedule, f"its lr is {lr}, and scikit-learn wants one above 0")
    match schedule:
        case Constant() | Held(schedule=Constant()):
            return f"SGDClassifier(learning_rate='constant', eta0={lr!r})"
        case InversePower(power=power, timescale=1.0):
            return f"SGDClassifier(learning_rate='invscaling', eta0={lr!r}, power_t={power!r})"
        case Bottou(t0=t0) | InversePower(power=1.0, timescale=t0):
            alpha = lr**-4
            if math.isclose(bottou_start(alpha), t0, rel_tol=1e-12):
                return f"SGDClassifier(learning_rate='optimal', alpha={alpha!r})"
            raise _unsayable(schedule, f"its 'optimal' ties t0 to lr: t0 = lr^3 = {lr**3!r}")
        case Held(schedule=InversePower(power=power, timescale=timescale), every=every):
            return _mlp_text(schedule, lr, power, 1 / timescale, every)
        case SklearnAdaptive(schedule=Constant()):
            return _adaptive_text(schedule, lr)
    raise _unsayable(schedule, "its estimators know constant, invscaling, optimal and adaptive rates only")


# -- reading ---------------------------------------------------------------------------------------


def _from_text(text: str, lr: float | None) -> tuple[str, dict[str, Any]]:
    from importlib import import_module
    from inspect import signature

    name, given = call(text)
    if name not in _HOMES:
        raise DialectError(f"{name} is not read from scikit-learn; known: {', '.join(_HOMES)}")
    parameters = signature(getattr(import_module(_HOMES[name]), name)).parameters
    settings = bound(name, given, {key: parameter.default for key, parameter in parameters.items()})
    for key, member in settings.items():
        refuse_name(name, key, member)
    key = _rate_key(name)
    if lr is None:
        return name, settings
    if key in given and given[key] != lr:
        raise DialectError(f"lr is {lr}, but {name} is written with {key}={given[key]}; leave lr out")
    if settings["learning_rate"] == "optimal" and name.startswith("SGD"):
        raise DialectError(f"lr is {lr}, but 'optimal' takes its rate from alpha alone; leave lr out")
    return name, settings | {key: lr}


def _from_object(source: Any, lr: float | None) -> tuple[str, dict[str, Any]]:
    names = [cls.__name__ for cls in type(source).__mro__ if cls.__module__.startswith("sklearn.")]
    name = next((name for name in names if name in _HOMES), None)
    if name is None:
        known = ", ".join(_HOMES)
        raise DialectError(
            f"{type(source).__name__} is not read; give {known} (of a pipeline, the step itself)"
        )
    if lr is not None:
        raise DialectError(f"lr is {lr}, but a live estimator holds its own; leave lr out")
    return name, source.get_params(deep=False)


def _rate_key(name: str) -> str:
    return "eta0" if name.startswith("SGD") else "learning_rate_init"


def _positive(settings: dict[str, Any], key: str) -> float:
    number = settings[key]
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise DialectError(f"{key} is {number!r}; scikit-learn wants a number above 0")
    return float(number)


def _power(settings: dict[str, Any]) -> float:
    power = float(settings["power_t"])
    if power < 0:
        raise DialectError(
            f"power_t is {power}: a rate that grows, which scikit-learn gives up; make it >= 0"
        )
    return power


def _sgd(settings: dict[str, Any], horizon: int | None, samples: int | None) -> Training:
    rule: Schedule | Feedback
    word = settings["learning_rate"]
    if word in ("pa1", "pa2"):
        raise DialectError(f"{word} makes a step that depends on each sample's loss and norm: not a schedule")
    lr, notes = 0.0 if word == "optimal" else _positive(settings, "eta0"), []
    match word:
        case "constant":
            rule = Constant()
        case "invscaling":
            rule = InversePower(_power(settings))
            notes = ["scikit-learn's counter is 1 at the first sample: eta0/1, eta0/2^power_t, ..."]
        case "optimal":
            alpha = _positive(settings, "alpha")
            lr, rule = alpha**-0.25, Bottou(bottou_start(alpha))
            notes = [
                "the rate follows from alpha, the strength of the penalty, alone: eta0 and loss don't matter"
            ]
        case "adaptive":
            rule = _adaptive(settings, lr, int(settings["n_iter_no_change"]) - 1)
        case _:
            raise DialectError(f"learning_rate is {word!r}; known: constant, optimal, invscaling, adaptive")
    if horizon is None and samples is not None:
        horizon = int(settings["max_iter"]) * samples
    return Training(lr, rule, horizon, (*notes, "an update is one sample; tol may end the run early"))


def _mlp(settings: dict[str, Any], horizon: int | None, samples: int | None) -> Training:
    rule: Schedule | Feedback
    word, solver = settings["learning_rate"], settings["solver"]
    lr, notes = _positive(settings, "learning_rate_init"), []
    if solver not in ("sgd", "adam"):
        raise DialectError(f"solver={solver!r} has no learning rate: lbfgs searches along lines; take 'sgd'")
    if solver == "adam" and word != "constant":
        notes = [f"lost: learning_rate={word!r} acts with solver='sgd' only; adam's rate stays constant"]
    every = None if samples is None else _batches(settings["batch_size"], samples)
    match "constant" if solver == "adam" else word:
        case "constant":
            rule = Constant()
        case "invscaling":
            power = _power(settings)
            if samples is None or every is None:
                raise DialectError(
                    "an MLP's invscaling counts samples, at the end of each epoch: give their number, "
                    "ratelab.experiments.dialects.sklearn.read(..., samples=n), or a fitted estimator"
                )
            held = InversePower(power, timescale=1 / samples)
            rule = Held(held, every) if every > 1 else held
            notes = [f"the rate changes after epochs only, by {(samples + 1) ** -power:.3g} after the first"]
        case "adaptive":
            rule = _adaptive(settings, lr, settings["n_iter_no_change"])
        case _:
            raise DialectError(f"learning_rate is {word!r}; known: constant, invscaling, adaptive")
    if horizon is None and every is not None:
        horizon = int(settings["max_iter"]) * every
    return Training(lr, rule, horizon, (*notes, "an update is one batch; tol may end the run early"))


def _batches(size: Any, samples: int) -> int:
    """Updates per epoch: as in scikit-learn the last batch may be smaller, "auto" is at most 200 samples."""
    wanted = 200 if size == "auto" else size
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise DialectError(f"batch_size is {size!r}; give a number of samples, at least 1, or 'auto'")
    return -(-samples // min(wanted, samples))


def _adaptive(settings: dict[str, Any], lr: float, patience: float) -> Schedule | Feedback:
    if settings["tol"] is None or patience == np.inf:
        return Constant()  # nothing ever counts as a failure
    return SklearnAdaptive(
        tol=float(settings["tol"]),
        patience=int(patience),
        mode="max" if settings["early_stopping"] else "min",
        low=rounded(_SMALLEST / lr),
    )


# -- writing ---------------------------------------------------------------------------------------


def _unsayable(schedule: Schedule | Feedback, reason: str) -> DialectError:
    return DialectError(
        f"scikit-learn cannot say {schedule!r}: {reason}. By hand: est.set_params(eta0=rate) with "
        "learning_rate='constant' before each est.partial_fit"
    )


def _mlp_text(schedule: Schedule, lr: float, power: float, samples: float, every: int) -> str:
    n = round(samples)
    if not math.isclose(n, samples, rel_tol=1e-12):
        raise _unsayable(schedule, f"an MLP's timescale is 1 over its number of samples, not 1/{samples!r}")
    size = -(-n // every)
    if every > n or _batches(size, n) != every:
        raise _unsayable(schedule, f"no batch size cuts {n} samples into {every} batches")
    return (
        f"MLPClassifier(solver='sgd', learning_rate='invscaling', learning_rate_init={lr!r}, "
        f"power_t={power!r}, batch_size={size})  # to be fitted on {n} samples, {every} batches an epoch"
    )


def _adaptive_text(rule: SklearnAdaptive, lr: float) -> str:
    low = rule.low * lr
    if not math.isclose(low, _SMALLEST, rel_tol=1e-12):
        raise _unsayable(
            rule, f"its smallest rate is {_SMALLEST}, not {low!r}: low must be {_SMALLEST / lr!r}"
        )
    early = ", early_stopping=True" if rule.mode == "max" else ""
    return (
        f"SGDClassifier(learning_rate='adaptive', eta0={lr!r}, tol={rule.tol!r}, "
        f"n_iter_no_change={rule.patience + 1}{early})"
    )
