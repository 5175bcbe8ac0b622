"""Rates that come back, by their formulas one update at a time and by torch's own schedulers. Their declared
facts are measured with everyone else's in test_schedules."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, strategies as st
from torch.optim import lr_scheduler

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.cycles import CosineRestarts, CosineWave, OneCycle, Sawtooth, Triangular
from ratelab.theory.schedules import HorizonError, Schedule, closing

FORMULAS: list[tuple[Schedule, Callable[[int, int], float]]] = [
    (CosineWave(3, final=0.2), lambda t, _: 0.2 + 0.8 * (1 + math.cos(math.pi * t / 3)) / 2),
    (CosineRestarts(2.0, final=0.1), lambda t, T: 0.1 + 0.9 * (1 + math.cos(math.pi * (2 * t / T % 1))) / 2),
    (Sawtooth(4, final=0.2), lambda t, _: 1 - 0.8 * (t % 4 + 1) / 4),
    (
        Triangular(5, low=0.1, up=0.4, decay=0.5, gamma=0.9),
        lambda t, _: 0.1 + 0.9 * min(t % 5 / 2, (5 - t % 5) / 3) * 0.5 ** (t // 5) * 0.9**t,
    ),
    (Triangular(0.5, up=1.0), lambda t, T: t % max(T // 2, 1) / max(T // 2, 1)),
]


@pytest.mark.parametrize("T", [0, 1, 2, 7, 12, 1000])
@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=[repr(s) for s, _ in FORMULAS])
def test_formulas(schedule: Schedule, formula: Callable[[int, int], float], T: int) -> None:
    np.testing.assert_allclose(schedule(T), [formula(t, T) for t in range(T)], rtol=1e-11, atol=1e-14)


def torch_rates(build: Callable[[torch.optim.Optimizer], Any], lr: float, steps: int) -> Array:
    """What a torch scheduler sets, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = build(optimizer), []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        if step < steps - 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "optimizer.step() first": only the rates are wanted
                scheduler.step()
    return np.array(rates)


@given(
    up=st.integers(1, 9),
    down=st.integers(1, 9),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    gamma=st.floats(0.5, 1.0),
    low=st.floats(0.0, 0.9),
)
def test_triangular_is_torch_s_cyclic(up: int, down: int, mode: Any, gamma: float, low: float) -> None:
    ours = Triangular(
        up + down,
        low=low,
        up=up / (up + down),
        decay=0.5 if mode == "triangular2" else 1.0,
        gamma=gamma if mode == "exp_range" else 1.0,
    )
    theirs = torch_rates(
        lambda o: lr_scheduler.CyclicLR(o, low, 1.0, up, down, mode, gamma, cycle_momentum=False), 1.0, 50
    )
    np.testing.assert_allclose(ours(50), theirs, rtol=1e-9, atol=1e-12)


@given(
    T=st.integers(2, 60),
    peak=st.floats(0.05, 0.5),
    shape=st.sampled_from(["cosine", "linear"]),
    three_phase=st.booleans(),
)
def test_one_cycle_is_torch_s(T: int, peak: float, shape: Any, three_phase: bool) -> None:
    assume(peak * T > 1.5)  # else torch divides by a phase of no length, or starts past its end
    ours = OneCycle(peak=peak, start=1 / 20, final=1 / 20 / 100, shape=shape, three_phase=three_phase)
    theirs = torch_rates(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            1.0,
            T,
            pct_start=peak,
            anneal_strategy="cos" if shape == "cosine" else "linear",
            cycle_momentum=False,
            div_factor=20,
            final_div_factor=100,
            three_phase=three_phase,
        ),
        1.0,
        T,
    )
    np.testing.assert_allclose(ours(T), theirs, rtol=1e-9, atol=1e-12)


def test_cosine_wave_is_torch_s_cosine_past_its_end() -> None:
    theirs = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 7, eta_min=0.1), 1.0, 40)
    np.testing.assert_allclose(CosineWave(7, final=0.1)(40), theirs, rtol=1e-9)


def test_where_they_arrive() -> None:
    assert closing(CosineRestarts(3.0, final=0.1), 9) == 0.1  # not where the next restart would be
    assert closing(OneCycle(final=0.01), 50) == 0.01
    assert closing(CosineWave(4), 8) == 1.0
    assert closing(Triangular(0.5), 8) == 0.0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="overrun"):
        OneCycle(peak=0.6, three_phase=True)
    with pytest.raises(HorizonError, match="overflows"):
        Triangular(4, gamma=1e10)(1000)
