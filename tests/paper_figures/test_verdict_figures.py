"""Figures of the verdicts on rates: drawn from their CSV alone, and what they show is the fit's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from outsider import Outsider

from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.judging import claims
from ratelab.experiments.judging.evidence import Fit
from ratelab.experiments.judging.outcome import Outcome, Row
from ratelab.experiments.spec import Claim, Decay, Spec
from ratelab.experiments.store import Results, Store
from ratelab.paper_figures.house import venues, verdicts
from ratelab.paper_figures.house.make import Style

pytestmark = pytest.mark.slow  # they share runs that take a while

NOISY = "Quadratic(UniformSpectrum(dim=2, condition_number=1.25))"
NOISELESS = "Quadratic(UniformSpectrum(dim=2, condition_number=1.25), noise=NoNoise())"
FEEDBACK = "ReduceLROnPlateau(patience=50)"
SPEC = f"""
title = "verdicts"
problems = ["{NOISY}", "{NOISELESS}"]
schedules = ["InversePower(0.5)", "Constant()", "Linear()", "{FEEDBACK}"]
lr = [0.25, 0.5, 2.6]
lr_unit = "1/L"
horizons = [100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10_000]
runs = 64
records = 50
"""
CLAIMS = {  # what it shows, and the rest of the claim
    "supported": (NOISY, "InversePower(0.5)", 0.5, "rate = 't^-1/2'"),
    "value": (NOISY, "InversePower(0.5)", 0.5, "value = 1.0\nrelation = 'at_most'"),
    "refuted": (NOISY, "InversePower(0.5)", 0.5, "rate = 't^-1'\nrelation = 'at_most'\nregime = 'window'"),
    "undecided": (NOISY, "InversePower(0.5)", "tuned", "rate = 't^-1'\nrelation = 'at_least'"),
    "rows": ("*", "InversePower(0.5)", 0.5, "rate = 't^-1/2'"),
    "runs": (NOISY, FEEDBACK, 0.5, "rate = 't^-1/2'\nregime = 'window'"),
    "log": (NOISY, "Linear()", 0.5, "rate = 't^-1 log t'"),
    "best": (NOISY, "InversePower(0.5)", "best", "rate = 't^-1/2'"),
    "diverged": (NOISY, "Constant()", 2.6, "rate = 't^-1/2'"),
    "floor": (NOISELESS, "Constant()", 0.5, "rate = '1/t'\nregime = 'window'"),
}
WITHOUT = ("diverged", "floor")
STYLE = Style(venues.venue("icml").settings() | {"savefig.dpi": 50}, ("png",))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, dict[str, Outcome]]:
    folder = tmp_path_factory.mktemp("verdicts")
    text = SPEC + "".join(
        f"[[claims]]\nsentence = '{name} costs $5 and 5_000 β'\nproblem = '{problem}'\n"
        f"schedule = '{schedule}'\nlr = {lr!r}\n{rest}\n"
        for name, (problem, schedule, lr, rest) in CLAIMS.items()
    )
    file = folder / "verdicts.toml"
    file.write_text(text, encoding="utf-8")
    spec, store = load(file), Store(folder / "results")
    assert not execute.run(spec, text, store).failed
    results = Results(spec, store)
    return results, dict(zip(CLAIMS, claims.judge(results), strict=True))


def drawn(spec: Spec, claim: Claim, row: Row) -> Figure:
    table = verdicts.as_table(claim.target, row)
    with venues.printed(STYLE.settings):
        return verdicts.draw(table, **verdicts.arguments(spec, claim, row))


def test_a_figure_for_each_row_of_each_rate(
    judged: tuple[Results, dict[str, Outcome]], tmp_path: Path
) -> None:
    results, outcomes = judged
    written = verdicts.save(results.spec, list(outcomes.values()), tmp_path, STYLE)
    numbers = ["1", "3", "4", "5-1", "5-2", *map(str, range(6, 11))]
    assert [path.name for path in written] == [
        f"claim-{number}.{ending}" for number in numbers for ending in ("png", "csv", "py")
    ]


@pytest.mark.parametrize(("venue", "column"), [("icml", True), ("slides", False)])
def test_they_fit_a_column_and_a_slide(
    judged: tuple[Results, dict[str, Outcome]], tmp_path: Path, venue: str, column: bool
) -> None:
    results, outcomes = judged
    claim, (row,) = outcomes["undecided"].claim, outcomes["undecided"].rows
    style = Style(venues.venue(venue).settings(column) | {"savefig.dpi": 50}, ("png",))
    assert len(verdicts.plot(results.spec, claim, row, tmp_path / "claim-1", style)) == 3


def test_the_statuses_and_what_has_no_exponents(judged: tuple[Results, dict[str, Outcome]]) -> None:
    results, outcomes = judged
    for name in ("supported", "refuted", "undecided"):
        assert outcomes[name].status == name
    for name, outcome in outcomes.items():
        if isinstance(outcome.claim.measured, Decay):
            row = outcome.rows[0]
            figure = drawn(results.spec, outcome.claim, row)
            assert len(figure.axes) == (1 if name in WITHOUT else 2)
            title = figure.get_suptitle()
            assert title.startswith(f"{name} costs ")
            assert f"\n{row.verdict.status}: " in title


@pytest.mark.parametrize("name", ["refuted", "undecided", "runs", "log", "diverged"])
def test_its_script_draws_the_same_bytes(
    judged: tuple[Results, dict[str, Outcome]], outsider: Outsider, tmp_path: Path, name: str
) -> None:
    results, outcomes = judged
    claim, (row,) = outcomes[name].claim, outcomes[name].rows
    style = Style(STYLE.settings, ("png", "pdf"))
    *pictures, _, script = verdicts.plot(results.spec, claim, row, tmp_path / "claim-1", style)
    again = [tmp_path / f"again.{ending}" for ending in style.formats]
    outsider(script, *again)
    for first, second in zip(pictures, again, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in (*WITHOUT, "value", "rows")])
def test_what_is_drawn_is_the_fit(judged: tuple[Results, dict[str, Outcome]], name: str) -> None:
    results, outcomes = judged
    claim, (row,) = outcomes[name].claim, outcomes[name].rows
    fit, margin = row.verdict.evidence, row.verdict.margin
    assert isinstance(fit, Fit)
    assert margin is not None
    above, below = drawn(results.spec, claim, row).axes
    lines = {str(line.get_label()): np.array(line.get_data()) for line in above.lines}
    assert len(lines) == 2
    risk, line = lines.values()
    np.testing.assert_array_equal(risk[1], np.array(row.risk)[np.array(row.times) > 0])
    slope = np.polyfit(np.log(line[0]), np.log(line[1]) - fit.log_power * np.log(np.log(line[0])), 1)[0]
    assert slope == pytest.approx(-fit.exponent, abs=1e-9)
    assert len(line[0]) == fit.points

    segments = [np.array(bar.get_data()) for bar in below.lines if bar.get_linestyle() == "-"]
    expected = [(part.start, part.end, part.exponent) for parts in fit.parts for part in parts]
    assert [(x[0], x[1], y[0]) for x, y in segments] == expected
    marks = {str(mark.get_label()): np.array(mark.get_data()) for mark in below.lines}
    assert marks["where they head"][1] == fit.heading
    (claimed,) = (values for label, values in marks.items() if label.startswith("claimed: "))
    assert claimed[1].tolist() == [claim.target.rate.power] * 2
    interval, allowed = (band.get_paths()[0].get_extents() for band in below.collections)
    assert (interval.y0, interval.y1) == pytest.approx(fit.interval)
    bottom, top = below.get_ylim()
    p, relation = claim.target.rate.power, claim.target.relation
    assert allowed.y0 == pytest.approx(bottom if relation == "at_least" else p - margin)
    assert allowed.y1 == pytest.approx(top if relation == "at_most" else p + margin)
    shown = [*fit.interval, fit.heading, p, *(exponent for _, _, exponent in expected)]
    assert bottom < min(shown) < max(shown) < top


def test_a_wild_local_exponent_leaves_the_scale_alone(judged: tuple[Results, dict[str, Outcome]]) -> None:
    results, outcomes = judged
    claim, (row,) = outcomes["supported"].claim, outcomes["supported"].rows
    table = verdicts.as_table(claim.target, row)
    local = int(np.flatnonzero(table["what"] == "local")[0])
    table["value"][local] = 1e6
    figure = verdicts.draw(table, **verdicts.arguments(results.spec, claim, row))
    assert figure.axes[1].get_ylim()[1] < 1


def test_of_the_points_a_floor_cuts_those_below(judged: tuple[Results, dict[str, Outcome]]) -> None:
    _, outcomes = judged
    (row,) = outcomes["supported"].rows
    fit = row.verdict.evidence
    assert isinstance(fit, Fit)
    times, risk = np.array(row.times), np.array(row.risk)
    kept, _ = verdicts._fitted(replace(fit, points=fit.points - 3), times, risk)
    np.testing.assert_array_equal(kept, times[times >= times.max() / 100][:-3])
