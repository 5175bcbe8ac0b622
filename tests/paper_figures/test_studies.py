"""Figures that show an experiment file quote its claims: what is judged on the figure's table is what is
judged on the results, in words, bound, numbers and verdict."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.judging.claims import judge, outcome
from ratelab.experiments.store import Results
from ratelab.paper_figures.house import studies, venues
from ratelab.paper_figures.house.table import read_table, table_of

FILE = """
problems = ["StreamingLeastSquares(LogUniform(dim=3, condition_number=4.0), label_sd=0.5)"]
schedules = [{label = "constant", value = "Constant()"}, {label = "linear", value = "Linear()"}]
averagings = ["Last()", {label = "average", value = "Uniform()"}]
lr = [0.1, 0.2]
lr_unit = "absolute"
horizons = [200]
runs = 70
records = 10

[[claims]]
sentence = "the linear decay ends lower"
source = "nobody"
schedule = "Linear()"
averaging = "Last()"
lr = 0.2
kind = "fraction"
against = {schedule = "Constant()"}
value = 0.3
relation = "at_most"
full = {value = 0.5}

[[claims]]
sentence = "each curve ends below 0.2 in most runs"
schedule = "*"
averaging = "*"
lr = "*"
worse_than = 0.2
value = 0.5
relation = "at_most"
expect = "refuted"
finding = "not all do"

[full]
runs = 80
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    folder = tmp_path_factory.mktemp("studies")
    (folder / "steps.toml").write_text(FILE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "EXAMPLES", folder)
        patch.setattr(execute, "default_workers", lambda _: 1)  # in this process
        patch.setenv("RATELAB_CACHE", str(folder / "cache"))
        studies._forms.cache_clear()
        yield studies.study("steps")


def test_a_quoted_claim_is_the_files_and_so_is_its_verdict(results: Results, tmp_path: Path) -> None:
    lines = [*studies.tidy(results, ("risk",), what="runs"), {"what": "other", "t": 3}]
    path = venues.save_table(table_of(lines), tmp_path / "steps.csv")
    for found in judge(results):
        quoted = studies.quoted("steps", found.claim.sentence, what="runs")
        assert replace(quoted, measured=found.claim.measured, full=None) == found.claim
        shown = outcome(quoted, read_table(path))
        assert [row.verdict for row in shown.rows] == [row.verdict for row in found.rows]
        assert (shown.status, shown.as_expected) == (found.status, found.as_expected)
    assert len(shown.rows) == 8


def test_at_full_size_it_is_that_of_the_full_form(results: Results) -> None:
    assert results.spec.runs == 70
    quoted = studies.quoted("steps", "the linear decay ends lower")
    (full, *_) = load(studies.EXAMPLES / "steps.toml", full=True).claims
    assert quoted.full is not None
    assert (quoted.target.number, quoted.full.target) == (0.3, full.target)


def test_a_study_that_is_not_there_is_refused(results: Results) -> None:
    assert results.spec.claims
    with pytest.raises(ValueError, match="is missing; work in a clone"):
        studies.study("strides")
