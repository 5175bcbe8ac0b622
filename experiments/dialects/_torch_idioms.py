"""Our schedules in torch's own words: the class of torch.optim.lr_scheduler that looks like a schedule.

It only looks like it: whether the rates agree, `torch.write` finds out before it believes the line.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from ratelab.theory.combine import Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineWave, OneCycle, Triangular
from ratelab.theory.feedback import Feedback, ReduceLROnPlateau
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    cycle_length,
    uncut,
    updates,
)

Call: TypeAlias = tuple[str, Mapping[str, Any]]  # a class of torch and its arguments; schedulers nest


def line(schedule: Schedule, horizon: int | None, lr: float) -> str | None:
    """The call of the torch scheduler that looks like `schedule`, whose optimizer has lr, or None."""
    found = _call_of(schedule, horizon, lr)
    return None if found is None else _text(found)


def plateau(rule: Feedback, lr: float) -> str | None:
    """The call of torch's ReduceLROnPlateau that says exactly `rule`; None for other rules, or with a
    schedule.
    """
    if not isinstance(rule, ReduceLROnPlateau) or rule.schedule != Constant():
        return None
    kept = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown")
    rates = {"min_lr": rule.low * lr, "eps": rule.eps * lr}
    return _text(("ReduceLROnPlateau", {**{key: getattr(rule, key) for key in kept}, **rates}))


def neat(number: float) -> float:
    """A quotient that rounding moved off a short decimal, moved back."""
    short = float(f"{number:.12g}")
    return short if math.isclose(short, number, rel_tol=1e-15) else number


def _text(named: Call) -> str:
    name, arguments = named
    parts = [] if name == "ChainedScheduler" else ["optimizer"]
    for key, member in arguments.items():
        if key == "schedulers":
            parts.append(f"{key}=[{', '.join(map(_text, member))}]")
        else:
            parts.append(f"{key}={list(member) if isinstance(member, tuple) else member!r}")
    return f"{name}({', '.join(parts)})"


def _call_of(schedule: Schedule, T: int | None, lr: float) -> Call | None:
    """The class of torch that looks like `schedule` over T updates; whether it is, the caller finds out."""
    match schedule:
        case Product(first=first, second=second):
            return _joined("ChainedScheduler", [_call_of(part, T, lr) for part in (first, second)])
        case Within(schedule=inner, length=length, end=word) if T or isinstance(length, int):
            return _call_of(inner, uncut(length, T or 0) - (word == "T-1"), lr)
        case Warmup() | Then():
            return _sequence(schedule, T, lr)
        case Triangular():
            return _cyclic_call(schedule, T, lr)
        case OneCycle() if T:
            return _one_cycle_call(schedule, T, lr)
    return _steps_call(schedule, T) or _cosine_call(schedule, T, lr) or _decay_call(schedule, T)


def _steps_call(schedule: Schedule, T: int | None) -> Call | None:
    """A rate that is held, and changes in steps at counts that are known."""
    match schedule:
        case Constant():
            return "ConstantLR", {"factor": 1.0, "total_iters": 1}
        case Scaled(schedule=Constant(), factor=factor) if T:
            return "ConstantLR", {"factor": factor, "total_iters": T}
        case Piecewise(boundaries=(n,), values=(factor, 1.0)) if T or isinstance(n, int):
            return "ConstantLR", {"factor": factor, "total_iters": uncut(n, T or 0)}
        case Step(gamma=gamma, every=every) if T or isinstance(every, int):
            return "StepLR", {"step_size": cycle_length(every, T or 1), "gamma": gamma}
        case MultiStep(milestones=marks, gamma=gamma) if T or all(isinstance(mark, int) for mark in marks):
            acting = sorted(uncut(mark, T or 0) for mark in marks)
            return "MultiStepLR", {"milestones": acting, "gamma": gamma}
    return None


def _cosine_call(schedule: Schedule, T: int | None, lr: float) -> Call | None:
    """Cosines with floors of at most 1: torch's formulas cancel where they are far above the peak."""
    match schedule:
        case Cosine(final=final) if T and final <= 1:
            return "CosineAnnealingLR", {"T_max": T, "eta_min": final * lr}
        case CosineWave(half_period=half, final=final) if final <= 1:
            return "CosineAnnealingLR", {"T_max": half, "eta_min": final * lr}
        case Repeat(schedule=Cosine(final=final), period=int(n), growth=growth) if final <= 1:
            return "CosineAnnealingWarmRestarts", {"T_0": n, "T_mult": int(growth), "eta_min": final * lr}
    return None


def _decay_call(schedule: Schedule, T: int | None) -> Call | None:
    """A power of what is left, or one factor for every update."""
    match schedule:
        case Exponential(gamma=gamma):
            return "ExponentialLR", {"gamma": gamma}
        case Scaled(schedule=Within(schedule=Linear(final=final), length=int(n)), factor=start):
            return "LinearLR", {"start_factor": start, "end_factor": final * start, "total_iters": n}
        case Linear(final=final) if T:
            return "LinearLR", {"start_factor": 1.0, "end_factor": final, "total_iters": T}
        case Polynomial(power=power) if T:
            return "PolynomialLR", {"total_iters": T, "power": power}
    return None


def _joined(name: str, parts: list[Call | None], **more: Any) -> Call | None:
    """Parts under one roof; those of the same kind are not nested, which torch does not do well."""
    flat: list[Call] = []
    for part in parts:
        if part is None or part[0] in ("SequentialLR", "CyclicLR", "OneCycleLR"):
            return None
        flat += part[1]["schedulers"] if part[0] == name else [part]
    return name, {"schedulers": flat, **more}


def _sequence(schedule: Schedule, T: int | None, lr: float) -> Call | None:
    """Warmups and successions as SequentialLR, flat: a warmup alone is a LinearLR."""
    parts: list[Call | None] = []
    milestones: list[int] = []
    rest, left, now = schedule, T, 0
    while True:
        match rest:
            case Then(first=first, second=after, at=length) if left or isinstance(length, int):
                n = uncut(length, 0) if left is None else updates(length, left)
                part = _call_of(first, n, lr)
            case Warmup(schedule=after, length=length, start=start, shape="linear") if left or isinstance(
                length, int
            ):
                n = uncut(length, left or 0)
                part = _ramp_call(start, n)
                if after == Constant() or (left is not None and n >= left):
                    parts.append(part)
                    break
            case Then() | Warmup():
                return None
            case _:
                parts.append(_call_of(rest, left, lr))
                break
        if n:
            parts.append(part)
            now += n
            milestones.append(now)
        rest, left = after, None if left is None else left - n
        if left == 0:
            milestones = milestones[:-1]
            break
    if len(parts) == 1:
        return parts[0]
    return _joined("SequentialLR", parts, milestones=milestones)


def _ramp_call(start: str | float, W: int) -> Call:
    match start:
        case "1/(W+1)":
            first, n = 1 / (W + 1), W
        case "1/W":
            first, n = 1 / max(W, 1), W - 1
        case _:
            first, n = float(start), W
    return "LinearLR", {"start_factor": first, "end_factor": 1.0, "total_iters": max(n, 1)}


def _cyclic_call(schedule: Triangular, T: int | None, lr: float) -> Call | None:
    if T is None and not isinstance(schedule.period, int):
        return None
    period = cycle_length(schedule.period, T or 1)
    mode = {(1.0, 1.0): "triangular", (0.5, 1.0): "triangular2"}.get(
        (schedule.decay, schedule.gamma), "exp_range"
    )
    up = neat(schedule.up * period)
    ints = float(up).is_integer()
    return "CyclicLR", {
        "base_lr": schedule.low * lr,
        "max_lr": lr,
        "step_size_up": int(up) if ints else up,
        "step_size_down": period - int(up) if ints else period - up,
        "mode": mode,
        "gamma": schedule.gamma,
        "cycle_momentum": False,
    }


def _one_cycle_call(schedule: OneCycle, T: int, lr: float) -> Call | None:
    if not (0 < schedule.start <= 1 and 0 < schedule.final <= 1):
        return None
    return "OneCycleLR", {
        "max_lr": lr,
        "total_steps": T,
        "pct_start": schedule.peak,
        "anneal_strategy": "cos" if schedule.shape == "cosine" else "linear",
        "cycle_momentum": False,
        "div_factor": neat(1 / schedule.start),
        "final_div_factor": neat(schedule.start / schedule.final),
        "three_phase": schedule.three_phase,
    }
