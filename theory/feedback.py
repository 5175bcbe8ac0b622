"""Closed loops: rules that set the learning rate from a metric seen while training, for many runs at once.

A rule is a pure function (state, metric) -> (factor, state). The step at update t is

    lr * schedule(T)[t] * factor,

`schedule` being the rule's open-loop part, such as a warmup, and `factor` the one in force: 1 until the first
metric, then what `update` returned last. Each entry of `metric` belongs to one run, and runs do not know of
each other.

A rule has no clock. It sees what it is shown, at the times of whoever trains: during a warmup too, as torch's
rules do when both act on one optimizer. (timm hides the metrics of its warmup: show the rule the later ones
only.) The factor never enters the schedule, nor the schedule the factor: bounds and `eps`, absolute rates in
the frameworks, are ratios of the lr here, and bound the factor.

A state is a plain mapping of names to float64 arrays, the run being their first axis: `np.savez(file,
**state)` keeps it, and so does JSON, `{name: array.tolist() ...}`. A run resumed from it gets the same
numbers. No rule changes a state it is given.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import ArrayLike, NDArray

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import value
from ratelab.theory.schedules import Constant, Factor, Schedule

__all__ = ["Feedback", "GreedyLR", "ReduceLROnPlateau", "SklearnAdaptive", "replay"]

State: TypeAlias = Mapping[str, Array]
Count: TypeAlias = Annotated[int, Interval(ge=0, le=2**53)]
Amount: TypeAlias = Annotated[float, Ge(0)]
Mode: TypeAlias = Literal["min", "max"]
ThresholdMode: TypeAlias = Literal["rel", "abs"]
_WORST = {"min": np.inf, "max": -np.inf}


@runtime_checkable
class Feedback(Protocol):
    """A closed-loop rule: lr * schedule(T)[t] * factor, the factor a pure function of the metrics so far."""

    @property
    def schedule(self) -> Schedule:
        """The open-loop part, which the factor multiplies."""

    def start(self, runs: int, /) -> State:
        """The state before the first metric, for `runs` runs; the factor in force is 1."""

    def update(self, state: State, metric: Array, /) -> tuple[Array, State]:
        """Show one metric per run, shape (runs,): the factors now in force, shape (runs,), and the state."""


def replay(rule: Feedback, metrics: ArrayLike) -> Array:
    """The factors in force after each of K metrics, for `metrics` of shape (runs, K); the same shape.

    >>> replay(ReduceLROnPlateau(0.5, patience=1), [[3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]])
    array([[1.  , 1.  , 1.  , 0.5 , 0.5 , 0.5 , 0.25]])
    """
    seen = np.asarray(metrics, dtype=np.float64)
    if seen.ndim != 2:
        raise InputError(f"metrics have shape {seen.shape}; give (runs, K), a row for each run")
    factors, state = np.empty_like(seen), rule.start(len(seen))
    for k in range(seen.shape[1]):
        factors[:, k], state = rule.update(state, seen[:, k])
    return factors


@value("feedback")
class ReduceLROnPlateau:
    """torch's rule: after more than `patience` metrics in a row without a new best, the factor shrinks.

    A metric m is a new best when m < best (1 - threshold) ("rel") or m < best - threshold ("abs"); for mode
    "max" m > best (1 + threshold) or m > best + threshold. Otherwise it is counted; a new best and a
    reduction set the count to 0. A reduction makes the factor max(factor * `factor`, low), unless that
    changes it by `eps` or less. The `cooldown` metrics after a reduction, an ignored one too, are not
    counted, but may be a new best.

    low and eps are torch's min_lr and eps over the lr; the defaults are torch's at lr = 1. NaN is never a new
    best, and is counted. "rel" supposes metrics >= 0: of a negative best, it takes a slightly worse metric
    for a better one, in torch as here.

    Other frameworks (checked numerically): optax's patience p is p - 1 here, its min_scale is low, and eps is
    0; keras' patience p is max(p, 1) - 1, its cooldown c is max(c - 1, 0), and its min_delta is an "abs"
    threshold.
    """

    factor: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    patience: Count = 10
    mode: Mode = "min"
    threshold: Amount = 1e-4
    threshold_mode: ThresholdMode = "rel"
    cooldown: Count = 0
    low: Factor = 0.0
    eps: Amount = 1e-8
    schedule: Schedule = Constant()

    def start(self, runs: int, /) -> State:
        return _start(runs, factor=1.0, best=_WORST[self.mode], failures=0.0, wait=0.0)

    def update(self, state: State, metric: Array, /) -> tuple[Array, State]:
        m, factor, best, failures, wait = _read(state, metric, "factor", "best", "failures", "wait")
        better = _better(m, best, self.mode, self.threshold, self.threshold_mode)
        failures = np.where(better | (wait > 0), 0.0, failures + 1)
        due = failures > self.patience
        lower = np.maximum(factor * self.factor, self.low)
        factor = np.where(due & (factor - lower > self.eps), lower, factor)
        return factor, {
            "factor": factor,
            "best": np.where(better, m, best),
            "failures": np.where(due, 0.0, failures),
            "wait": np.where(due, float(self.cooldown), np.maximum(wait - 1, 0.0)),
        }


@value("feedback")
class GreedyLR:
    """The rate rises while the metric improves and falls when it does not (Subramanian et al. 2025).

    A new best is defined as in `ReduceLROnPlateau`. After more than `patience` of them in a row the factor
    rises to min(factor / `factor`, high), and the next `warmup` metrics are ignored; after more than
    `patience` others in a row it falls to max(factor * `factor`, low), and the next `cooldown` metrics are
    ignored. Changes by `eps` or less do not happen. An ignored metric is not compared: it cannot be a best.
    When the factor is at most `low` after a fall was due, `reset_start` times since the last rise was due,
    everything starts afresh: factor 1, no best.

    Compared is the mean of the last `window` metrics since the start or the last reset (ignored ones too);
    window 1 is no smoothing. NaN is never a best.

    These are the rules of transformers' GreedyLR. Its min_lr, max_lr and eps are absolute rates: low, high
    and eps are those over the lr, the defaults at lr = 0.1. (At an lr below its default min_lr, 1e-3, its
    rate can rise but never fall.) It keeps a running sum of the window, in which a NaN or an infinity stays
    until a reset; here they leave with the window.
    """

    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.95
    patience: Count = 10
    mode: Mode = "min"
    threshold: Amount = 1e-6
    threshold_mode: ThresholdMode = "abs"
    cooldown: Count = 0
    warmup: Count = 0
    low: Factor = 0.01
    high: Factor = 10.0
    eps: Amount = 1e-7
    window: Annotated[int, Interval(ge=1, le=10_000)] = 1
    reset_start: Annotated[int, Interval(ge=1, le=2**53)] = 500
    schedule: Schedule = Constant()

    def start(self, runs: int, /) -> State:
        state = _start(
            runs, factor=1.0, best=_WORST[self.mode], streak=0.0, wait=0.0, left=self.reset_start, seen=0.0
        )
        return {**state, "recent": np.zeros((runs, self.window))}

    def update(self, state: State, metric: Array, /) -> tuple[Array, State]:
        """As the protocol says. `streak` counts new bests in a row, or with a minus sign, others in a row."""
        names = ("factor", "best", "streak", "wait", "left", "seen", "recent")
        m, factor, best, streak, wait, left, seen, recent = _read(state, metric, *names)
        seen = np.minimum(seen + 1, self.window)
        recent = np.concatenate([recent[:, 1:], m[:, None]], axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = recent.sum(axis=1) / seen
            higher = np.minimum(factor / self.factor, self.high)
        lower = np.maximum(factor * self.factor, self.low)

        ignored = wait > 0
        better = _better(mean, best, self.mode, self.threshold, self.threshold_mode)
        streak = np.where(better, np.maximum(streak, 0) + 1, np.minimum(streak, 0) - 1)
        streak = np.where(ignored, 0.0, streak)
        rise, fall = streak > self.patience, streak < -self.patience
        factor = np.where(rise & (higher - factor > self.eps), higher, factor)
        factor = np.where(fall & (factor - lower > self.eps), lower, factor)
        left = np.where(rise, float(self.reset_start), left - (fall & (factor <= self.low)))
        reset = left <= 0
        factor = np.where(reset, 1.0, factor)
        return factor, {
            "factor": factor,
            "best": np.where(reset, _WORST[self.mode], np.where(better & ~ignored, mean, best)),
            "streak": np.where(rise | fall, 0.0, streak),
            "wait": np.select(
                [rise, fall], [float(self.warmup), float(self.cooldown)], np.maximum(wait - 1, 0.0)
            ),
            "left": np.where(reset, float(self.reset_start), left),
            "seen": np.where(reset, 0.0, seen),
            "recent": np.where(reset[:, None], 0.0, recent),
        }


@value("feedback")
class SklearnAdaptive:
    """scikit-learn's learning_rate="adaptive": a fifth after more than `patience` epochs without progress.

    A metric m fails when m > best - tol (mode "min", a training loss) or m < best + tol ("max", the score of
    early_stopping), best being the smallest or largest so far, by however little. After more than `patience`
    failures in a row the factor is divided by 5 if it is above `low`; otherwise training stops there, which
    is written as a factor of 0 for ever. (Under momentum the iterate still coasts; scikit-learn's does not.)

    patience is n_iter_no_change - 1 for SGDClassifier and SGDRegressor, n_iter_no_change for MLPs, which wait
    for one more. low is 1e-6 over the initial rate, in the default over 0.01. By the comparisons above NaN
    does not fail, so that it ends a row of failures; it is never a best.
    """

    tol: Amount = 1e-3
    patience: Count = 4
    mode: Mode = "min"
    low: Factor = 1e-4
    schedule: Schedule = Constant()

    def start(self, runs: int, /) -> State:
        return _start(runs, factor=1.0, best=_WORST[self.mode], failures=0.0)

    def update(self, state: State, metric: Array, /) -> tuple[Array, State]:
        m, factor, best, failures = _read(state, metric, "factor", "best", "failures")
        with np.errstate(over="ignore"):
            failed = m > best - self.tol if self.mode == "min" else m < best + self.tol
        failures = np.where(failed, failures + 1, 0.0)
        due = failures > self.patience
        factor = np.where(due, np.where(factor > self.low, factor / 5, 0.0), factor)
        return factor, {
            "factor": factor,
            "best": np.where(m < best if self.mode == "min" else m > best, m, best),
            "failures": np.where(due, 0.0, failures),
        }


def _start(runs: int, **entries: float) -> dict[str, Array]:
    if runs < 1:
        raise InputError(f"runs is {runs}; a rule follows at least 1 run")
    return {name: np.full(runs, entry, dtype=np.float64) for name, entry in entries.items()}


def _read(state: State, metric: ArrayLike, *names: str) -> list[Array]:
    """The metric and the named entries of a state, as float64 arrays."""
    if set(state) != set(names):
        raise InputError(
            f"the state has {', '.join(state)}; this rule's has {', '.join(names)}: give the rule's own state"
        )
    m, *entries = (np.asarray(part, dtype=np.float64) for part in (metric, *(state[n] for n in names)))
    if m.shape != entries[0].shape:
        raise InputError(f"metric has shape {m.shape}, the state {entries[0].shape}; give one number per run")
    return [m, *entries]


def _better(m: Array, best: Array, mode: Mode, threshold: float, kind: ThresholdMode) -> NDArray[np.bool_]:
    """Whether `m` is a new best, significantly; never for NaN."""
    sign = -1.0 if mode == "min" else 1.0
    with np.errstate(invalid="ignore", over="ignore"):  # a threshold of 1 or more makes 0 * inf: no new best
        bar = best * (1 + sign * threshold) if kind == "rel" else best + sign * threshold
    return np.asarray(m < bar if mode == "min" else m > bar)
