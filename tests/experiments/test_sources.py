"""A source is called wrong only of its own setting, at its own size, with its full text read."""

from dataclasses import replace
from pathlib import Path

import pytest

from ratelab.experiments.file import load
from ratelab.experiments.judging.claims import outcome
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim, Target
from ratelab.theory.arrays import InputError

BOOK = Source("A book", "section 3", "this setting", "full text", setting="its own code")
FALSE = Claim("one is two", lambda _: 1.0, Target(2.0), BOOK, expect="refuted")


def test_only_its_own_setting_makes_a_source_wrong() -> None:
    sources = {
        "source wrong": BOOK,
        "not in this model": Source("A paper", "figure 2", "another setting", "abstract"),
        "conjecture fails": Source("derived here", said_of="ours"),
        "fails": replace(BOOK, seen="second hand"),
    }
    for word, source in sources.items():
        assert outcome(replace(FALSE, source=source), None).word == word
        assert outcome(replace(FALSE, source=source, target=Target(1.0)), None).word == "holds"


def test_a_surprise_accuses_nobody() -> None:
    assert outcome(replace(FALSE, expect="supported"), None).holds == "fails, NOT AS RECORDED"


def test_a_smaller_size_is_named_and_accuses_nobody() -> None:
    small = replace(FALSE, size="2,500 of 60,000 images")
    assert outcome(small, None).holds == "not at this size, 2,500 of 60,000 images"
    assert outcome(small.in_full, None).holds == "source wrong"


def test_it_is_written_with_its_place_its_words_and_what_was_read() -> None:
    assert str(BOOK) == "A book, section 3"
    assert str(BOOK.at("section 4", words="often")) == "A book, section 4 (often)"
    assert (
        str(Source("A paper", "figure 2", "another setting", "second hand"))
        == "A paper, figure 2; second hand"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"said_of": "another setting", "place": "1", "seen": "abstract"}, "missing: work$"),
        ({"work": "X", "said_of": "another setting"}, "missing: place, seen$"),
        ({"work": "X", "place": "1", "said_of": "this setting", "seen": "full text"}, "say why the setting"),
        ({"work": "X", "said_of": "ours", "setting": "ours"}, 'setting = "ours" with said_of = "ours"'),
    ],
)
def test_what_is_not_said_of_a_source_is_asked_for(fields: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Source(**fields)  # type: ignore[arg-type] # literals, as a file gives them


FILE = """
problems = ["Quadratic(LogUniform(dim=3, condition_number=4.0))"]
schedules = ["Constant()"]
lr = [0.5]
lr_unit = "1/L"
horizons = [100]
runs = 4
[[claims]]
sentence = "it stays above one"
value = 1.0
relation = "at_least"
source = {source}
"""


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"A book"', Source("A book")),
        ('""', Source()),
        (
            '{work = "A paper", place = "1", said_of = "another setting", seen = "abstract", words = "some"}',
            Source("A paper", "1", "another setting", "abstract", "some"),
        ),
        ('{said_of = "ours"}', Source(said_of="ours")),
    ],
)
def test_a_file_says_it_in_a_text_or_a_table(written: str, read: Source, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FILE.replace("{source}", written), encoding="utf-8")
    assert load(path).claims[0].source == read


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("3", r"claims\[1\]\.source = 3 must be a text, or a table of work, place, said_of, seen"),
        (
            '{said_of = "this"}',
            r"source\.said_of = 'this' must be 'this setting', 'another setting' or 'ours'",
        ),
        ('{wrok = "X"}', r"unknown key claims\[1\]\.source\.wrok; did you mean work\?"),
        ('{work = "X", said_of = "another setting"}', r"claims\[1\]\.source: .* missing: place, seen"),
    ],
)
def test_what_is_wrong_with_it_is_told(written: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FILE.replace("{source}", written), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load(path)
