"""Exact risk and runs are compared where runs can speak: correct engines raise no alarm, whatever is asked.

Each case once raised one: rare risks that carry the mean, too few runs, cancellation, overflow, heavy tails.
"""

from pathlib import Path

import numpy as np
import pytest

from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.judging import agreement, claims, crosscheck
from ratelab.experiments.judging.outcome import Outcome
from ratelab.experiments.store import Results, Store
from ratelab.theory.arrays import Array

QUADRATIC = "Quadratic(LogUniform(dim=3, condition_number=10.0))"
STIFF = "Quadratic(Given((1.0, 1e-4)), noise=NoNoise())"
LEAST_SQUARES = "StreamingLeastSquares(LogUniform(dim=5, condition_number=3.0))"
HEAVY = "Quadratic(LogUniform(dim=3, condition_number=10.0), noise=StudentT(2.5))"
CASES = {
    "beyond the critical lr": (LEAST_SQUARES, "SGD()", 1.1, 64),
    "a table beyond it": ("TableLeastSquares('diabetes')", "SGD()", 1.05, 64),
    "three runs": (QUADRATIC, "SGD()", 0.2, 3),
    "one run": (QUADRATIC, "SGD()", 0.2, 1),
    "much momentum, no noise": (STIFF, "HeavyBall(0.99)", 0.003, 2),
    "diverging": (QUADRATIC, "SGD()", 1.2, 64),
    "heavy tails": (HEAVY, "SGD()", 0.2, 64),
    "momentum on a table": ("TableLeastSquares('diabetes')", "HeavyBall(0.5)", 0.01, 64),
}


def _judged(folder: Path, case: str, dtype: str = "float64") -> list[Outcome]:
    problem, method, lr, runs = CASES[case]
    unit = "absolute" if case == "momentum on a table" else "critical"
    path = folder / "case.toml"
    path.write_text(
        f'problems = ["{problem}"]\nmethods = ["{method}"]\nschedules = ["Constant()"]\n'
        f'lr = [{lr}]\nlr_unit = "{unit}"\nhorizons = [2000]\nruns = {runs}\n'
        f'records = 40\ndtype = "{dtype}"\n'
        '[[claims]]\nsentence = "it decays"\nrate = "1/t"\nrelation = "at_most"\n'
        '[[claims]]\nsentence = "against itself"\nagainst = {schedule = "Constant()"}\nvalue = 1.0\n',
        encoding="utf-8",
    )
    spec, store = load(path), Store(folder / "results")
    assert not execute.run(spec, path.read_text(encoding="utf-8"), store).failed
    return claims.judge(Results(spec, store))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_no_alarm_without_an_error(case: str, tmp_path: Path) -> None:
    assert len(_judged(tmp_path, case)) == 2


def test_a_float32_run_may_overflow_before_the_exact_risk_does(tmp_path: Path) -> None:
    decays, _ = _judged(tmp_path, "diverging", "float32")
    assert decays.status == "refuted"


def test_a_run_that_diverged_against_itself_is_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """∞/∞ is no ratio, and no reason to lose the other verdicts."""
    monkeypatch.setitem(CASES, "diverging", (QUADRATIC, "SGD()", 3.0, 64))
    decays, ratio = _judged(tmp_path, "diverging")
    assert decays.status == "refuted"
    assert ratio.status == "undecided"


def test_an_error_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comparison with an exact risk that is a third too high."""
    right = crosscheck.cross_check

    def wrong(times: Array, exact: Array, risks: Array, *, comparisons: int, tolerance: float) -> str | None:
        scaled = np.where(times > 0, exact * 4 / 3, exact)
        return right(times, scaled, risks, comparisons=comparisons, tolerance=tolerance)

    monkeypatch.setattr(agreement, "cross_check", wrong)
    monkeypatch.setitem(CASES, "right", (QUADRATIC, "SGD()", 0.2, 128))
    with pytest.raises(agreement.EngineError):
        _judged(tmp_path, "right")
