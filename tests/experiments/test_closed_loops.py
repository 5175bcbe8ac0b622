"""Closed loops in an experiment: the engine does what the rule says, run by run, and a file may hold them
beside open ones. What is exact of an open loop is not claimed of a closed one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ratelab.experiments import execute
from ratelab.experiments.cells import cells
from ratelab.experiments.engines import plain, step
from ratelab.experiments.engines.job import Job, Loops
from ratelab.experiments.file import load
from ratelab.experiments.judging.claims import judge
from ratelab.experiments.methods import SGD, HeavyBall, Method
from ratelab.experiments.store import Curve, Results, Store
from ratelab.problems.philox import stream_key
from ratelab.problems.problem import Problem
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import TableLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Averaging, Last, Uniform
from ratelab.theory.feedback import Feedback, GreedyLR, ReduceLROnPlateau, SklearnAdaptive
from ratelab.theory.schedules import Constant, InversePower, Linear, Schedule

KEY = stream_key(0, "closed loops")
QUADRATIC = Quadratic(LogUniform(dim=4, condition_number=10.0))
RULES: list[Feedback] = [
    ReduceLROnPlateau(factor=0.5, patience=1),
    GreedyLR(factor=0.7, patience=1, low=0.1, high=1.5, schedule=InversePower(0.25)),
    SklearnAdaptive(patience=1, schedule=Linear()),
]
FILE = """
problems = ["Quadratic(LogUniform(dim=4, condition_number=10.0))"]
schedules = ["Constant()", {label = "plateau", value = "ReduceLROnPlateau(factor=0.5, patience=2)"}]
averagings = ["Last()", "Uniform()"]
lr = [0.3]
lr_unit = "1/L"
horizons = [300]
feedback_every = 10
runs = 96
records = 40

[[claims]]
sentence = "the plateau rule ends below the constant step"
schedule = "ReduceLROnPlateau(factor=0.5, patience=2)"
averaging = "Last()"
against = {schedule = "Constant()"}
value = 1.0
relation = "at_most"
"""


def by_hand(
    problem: Problem, method: Method, rule: Feedback, lr: float, times: Array, run: int, every: int
) -> Array:
    """One run, one rule, one number at a time: risks of the last iterate and the average, (2, K)."""
    T = int(times[-1])
    multipliers, (*sample,) = rule.schedule(T), problem.sample(KEY, range(run, run + 1), 0, T)
    x = average = torch.from_numpy(problem.start.copy())
    velocity, factor, state = torch.zeros_like(x), 1.0, rule.start(1)
    risks = {0: (float(problem.risk(x)), float(problem.risk(x)))}
    for t in range(T):
        if t and t % every == 0:
            factors, state = rule.update(state, np.array([float(problem.risk(x))]))
            factor = float(factors[0])
        gradient = problem.gradient(x[None], *(torch.from_numpy(part[:, t]) for part in sample))[0]
        velocity = method.momentum * velocity - lr * multipliers[t] * factor * gradient
        x = x + velocity
        average = average + (x - average) / (t + 2)
        risks[t + 1] = float(problem.risk(x)), float(problem.risk(average))
    return np.array([risks[int(t)] for t in times]).T


@pytest.mark.slow
@pytest.mark.parametrize("method", [SGD(), HeavyBall(0.5)], ids=repr)
@pytest.mark.parametrize("problem", [QUADRATIC, TableLeastSquares("diabetes", batch=8)], ids=repr)
def test_every_run_follows_its_own_rule(problem: Problem, method: Method) -> None:
    times, lrs, runs = np.array([0, 1, 60, 150]), np.array([0.1, 0.3]) / problem.constants.L, range(3, 6)
    opened: list[Schedule] = [rule.schedule for rule in RULES]
    averagings: list[Averaging] = [Last(), Uniform()]
    job = Job(problem, method, opened, lrs, averagings, 150, times, KEY, runs)
    risk = step.compute(replace(job, loops=Loops(RULES, every=7)))["risk"]
    open_loop = plain.step(job)["risk"]
    assert (risk[..., -1] != open_loop[..., -1]).any(axis=(0, 2, 3)).all()  # each rule has acted
    for s, rule in enumerate(RULES):
        for n, lr in enumerate(lrs):
            for r, run in enumerate(runs):
                expected = by_hand(problem, method, rule, lr, times, run, 7)
                np.testing.assert_allclose(risk[r, s, n], expected, rtol=1e-10)


def test_a_rule_that_never_acts_is_its_schedule() -> None:
    rules = [ReduceLROnPlateau(patience=10**6, schedule=InversePower(0.5))]
    opened, times = [rules[0].schedule], np.array([80])
    job = Job(QUADRATIC, SGD(), opened, np.array([0.2]), [Last()], 80, times, KEY, range(4))
    closed = step.compute(replace(job, loops=Loops(rules, every=3)))["risk"]
    np.testing.assert_array_equal(closed, plain.step(job)["risk"])


def written(folder: Path, text: str = FILE) -> Path:
    path = folder / "loops.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_open_and_closed_loops_share_a_file(tmp_path: Path) -> None:
    path, store = written(tmp_path), Store(tmp_path / "results")
    spec = load(path)
    engines = [cell.engine for cell in cells(spec)]
    assert engines == ["exact", "jump", "jump", "step", "step"]
    assert not execute.run(spec, path.read_text(encoding="utf-8"), store).failed
    results = Results(spec, store)
    plateau = Curve(QUADRATIC, SGD(), spec.schedules[1], Last(), 0.3, 300)
    constant = plateau._replace(schedule=Constant())
    assert results.exact(plateau) is None
    assert results.bound(plateau) is None
    assert results.exact(constant) is not None
    assert results.runs(plateau).sizes["run"] == results.runs(constant).sizes["run"] == 96
    (judgement,) = judge(results)
    assert judgement.status == "supported"
    assert execute.run(spec, path.read_text(encoding="utf-8"), store).computed == 0
    again = load(written(tmp_path, FILE.replace("feedback_every = 10", "feedback_every = 20")))
    with pytest.raises(InputError, match="feedback_every: was 10, now 20"):
        store.refuse_changes(again)


def test_the_interval_means_nothing_to_open_loops(tmp_path: Path) -> None:
    only_open = FILE[: FILE.index("[[claims]]")].replace(', {label = "plateau", value = ', " # ")
    one = load(written(tmp_path, only_open.replace(" # ", "] # ")))
    other = load(written(tmp_path, only_open.replace(" # ", "] # ").replace("every = 10", "every = 20")))
    assert [cell.key for cell in cells(one)] == [cell.key for cell in cells(other)]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"Uniform()"]', '"StepWeighted()"]', "needs the steps beforehand"),
        ("runs = 96", "runs = 32", "has no exact risk"),
        ("patience=2)", "patiense=2)", "did you mean patience"),
        ("ReduceLROnPlateau(factor=0.5", "ReduceLROnPlatoo(factor=0.5", "ReduceLROnPlatoo"),
        ("feedback_every = 10", "feedback_every = 0", "feedback_every"),
        (
            'against = {schedule = "Constant()"}\nvalue = 1.0\nrelation = "at_most"',
            'rate = "t^-1/2"',
            'say regime = "window"',
        ),
    ],
    ids=["step-weighted", "runs", "misspelt field", "misspelt rule", "interval", "asymptotic"],
)
def test_what_a_closed_loop_cannot_have_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in FILE
    with pytest.raises(InputError, match=reason):
        load(written(tmp_path, FILE.replace(old, new)))
