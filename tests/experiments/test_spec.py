"""The experiment file: what it means, what is refused and how, and which cells it makes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ratelab.experiments import cells as cells_module
from ratelab.experiments.cells import Cell, cells
from ratelab.experiments.file import load, schedules_of
from ratelab.experiments.methods import SGD
from ratelab.experiments.spec import Decay, Selector, Spec, Target, brief, changes, resolved, select
from ratelab.experiments.units import unit_of_lr
from ratelab.problems.problem import Constants
from ratelab.theory import Constant, InputError, InversePower, Last, Linear, Tail, Uniform, parse
from ratelab.theory.rates import Rate

FILE = """
problems = ["Quadratic(LogUniform(dim=3, condition_number=10.0))"]
schedules = ["InversePower({0, 0.5})", {label = "ours", value = "Linear()"}]
averagings = ["Last()", "Uniform()"]
lr = [0.1, 0.3]
lr_unit = "1/L"
horizons = [1_000]
runs = 100
records = 60

[[claims]]
sentence = "c/sqrt(t) gives t^-1/2"
schedule = "InversePower(0.5)"
averaging = "Last()"
lr = 0.3
rate = "t^-1/2"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str = FILE) -> Spec:
    return load(write(folder, text))


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder, text)
    return str(caught.value)


def test_a_file_means_what_it_says(tmp_path: Path) -> None:
    spec = loaded(tmp_path)
    assert spec.schedules == (InversePower(0.0), InversePower(0.5), Linear())
    assert spec.averagings == (Last(), Uniform())
    assert (spec.horizons, spec.lr, spec.seed, spec.dtype) == ((1000,), (0.1, 0.3), 0, "float64")
    assert [repr(m) for m in spec.methods] == ["SGD()"]
    assert spec.label(Linear()) == "ours"
    assert spec.label(InversePower(0.5)) == "InversePower(0.5)"
    (claim,) = spec.claims
    assert claim.measured == Decay(Selector(schedule=InversePower(0.5), averaging=Last(), lr=0.3))
    assert (claim.target, claim.expect) == (Target(Rate(0.5), "equals"), "supported")


def test_everything_wrong_is_told_in_one_message(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        """
        problems = ["Quadratic(LogUniform(dim=3, condition_number=0.5))"]
        schedules = ["Constnat()"]
        lr = [-1.0]
        horizons = [0]
        runs = 0
        recods = 5
        dtype = "float16"
        """,
    )
    for part in (
        "condition_number",
        "Constant",
        "lr[1] = -1.0",
        "horizons[1] = 0",
        "runs = 0",
        "records",
        "float16",
    ):
        assert part in message
    assert "lr_unit is missing" in message
    assert "'critical'" in message
    assert "pydantic" not in message


REFUSALS = {
    "a schedule twice": ("{0, 0.5}", "{0.5, 0.5}", "in the list already"),
    "a horizon twice": ("[1_000]", "[1_000, 1000]", "twice"),
    "an unknown claim key": ("rate = ", "rat = ", "did you mean rate?"),
    "an unknown top key": ("records", "recordings", "unknown key recordings"),
    "a rate that is none": ("t^-1/2", "t^^2", "claims[1].rate"),
    "an lr not in the file": ("lr = 0.3\n", "lr = 0.4\n", "lr = 0.4 selects nothing; the file has 0.1, 0.3"),
    "a schedule not in the file": ("(0.5)", "(0.7)", "selects nothing"),
    "an averaging in a schedule's place": ('value = "Linear()"', 'value = "Last()"', "averaging"),
    "an ambiguous claim": ('averaging = "Last()"\n', "", "averaging is missing, and the file has several"),
    "too few records": ("records = 60", "records = 12", "records"),
    "too short a horizon": ("[1_000]", "[100]", "300"),
    "no gradient bound": ('"1/L"', '"D/(G sqrt T)"', "the gradient of a quadratic grows with the distance"),
    "not a unit": ('"1/L"', '"1/l"', "lr_unit = '1/l' must be"),
    "a value claim without value": ('rate = "t^-1/2"', 'kind = "value"', "value is missing"),
    "a rate claim with value": ("lr = 0.3\n", "lr = 0.3\nvalue = 1\n", "has no value"),
    "a non-anytime pair on one horizon": ("InversePower(0.5)", "Linear()", "not anytime"),
    "not TOML": ("[[claims]]", "[[claims", "is not TOML"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(tmp_path: Path, case: str) -> None:
    old, new, part = REFUSALS[case]
    assert old in FILE
    assert part in refusal(tmp_path, FILE.replace(old, new))


def test_a_monte_carlo_claim_needs_64_runs_and_twice_that_to_choose_an_lr(tmp_path: Path) -> None:
    text = FILE.replace(
        "Quadratic(LogUniform(dim=3, condition_number=10.0))", "TableLeastSquares('line', replacement=False)"
    )
    assert "runs >= 64" in refusal(tmp_path, text.replace("runs = 100", "runs = 63"))
    assert loaded(tmp_path, text).runs == 100
    assert "runs >= 128" in refusal(tmp_path, text.replace("lr = 0.3", 'lr = "best"'))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ratelab init"):
        load(tmp_path / "absent.toml")


def test_selectors_select(tmp_path: Path) -> None:
    spec = loaded(tmp_path)
    everything = list(select(spec, Selector(schedule="*", averaging="*", lr="*")))
    assert len(everything) == 3 * 2 * 2
    assert [row.lr for row in select(spec, Selector(schedule=Linear(), averaging=Last(), lr="best"))] == [
        "best"
    ]
    assert list(select(spec, Selector(schedule=Constant()))) == []


def test_cells_cover_runs_in_blocks_and_shorter_horizons_only_where_needed(tmp_path: Path) -> None:
    spec = loaded(tmp_path, FILE.replace("[1_000]", "[1_000, 500]"))
    long = [cell for cell in cells(spec) if cell.horizon == 1000]
    short = [cell for cell in cells(spec) if cell.horizon == 500]
    assert [cell.runs for cell in long] == [None, (0, 64), (64, 100)]
    assert [cell.runs for cell in short] == [None, (0, 64), (64, 100)]
    assert long[0].schedules == spec.schedules
    assert short[0].schedules == (Linear(),)
    assert 500 in long[0].times
    anytime = loaded(
        tmp_path,
        FILE.replace("[1_000]", "[1_000, 500]").replace(', {label = "ours", value = "Linear()"}', ""),
    )
    assert {cell.horizon for cell in cells(anytime)} == {1000}


def test_an_averaging_can_make_a_pair_horizon_bound(tmp_path: Path) -> None:
    spec = loaded(tmp_path, FILE.replace('"Uniform()"', '"Tail(0.5)"'))
    assert spec.anytime(InversePower(0.5), Last())
    assert not spec.anytime(InversePower(0.5), Tail(0.5))
    assert spec.home(InversePower(0.5), Last(), 10) == 1000
    assert spec.home(InversePower(0.5), Tail(0.5), 10) == 10


def test_words_are_not_in_the_keys_and_numbers_are(tmp_path: Path) -> None:
    def keys(text: str) -> list[str]:
        return [cell.key for cell in cells(loaded(tmp_path, text))]

    plain = keys(FILE)
    assert (
        keys('title = "new"\n' + FILE.replace("c/sqrt(t)", "another sentence").replace('"ours"', '"theirs"'))
        == plain
    )
    more = keys(FILE.replace("runs = 100", "runs = 192"))
    assert more[:2] == plain[:2]
    reseeded = keys("seed = 1\n" + FILE)
    assert reseeded[0] == plain[0]  # the exact risk has no seed
    assert set(reseeded[1:]).isdisjoint(plain)
    assert set(keys(FILE.replace('"1/L"', '"absolute"'))).isdisjoint(plain)


def test_a_new_engine_version_makes_new_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell: Cell = cells(loaded(tmp_path))[0]
    before = cell.key
    monkeypatch.setattr(cells_module, "ENGINE_VERSION", -1)
    assert cell.key != before


def test_what_python_leaves_out_is_what_a_file_leaves_out(tmp_path: Path) -> None:
    in_brief = FILE.partition("[[claims]]")[0]
    in_brief = in_brief.replace('averagings = ["Last()", "Uniform()"]', "").replace("records = 60", "")
    spec = loaded(tmp_path, in_brief)
    assert (spec.averagings, spec.records) == ((Last(),), 100)
    made = Spec(spec.problems, spec.schedules, spec.lr, spec.lr_unit, spec.horizons, spec.runs)
    assert replace(made, labels=spec.labels) == spec


def test_changes_are_named_with_old_and_new(tmp_path: Path) -> None:
    old = resolved(loaded(tmp_path))
    new = resolved(loaded(tmp_path, 'title = "x"\n' + FILE.replace("runs = 100", "runs = 128")))
    assert changes(old, new) == {"runs": (100, 128)}


def test_schedules_of_a_file_with_their_legends(tmp_path: Path) -> None:
    found = schedules_of(write(tmp_path, FILE))
    assert [label for label, _ in found] == ["InversePower(0.0)", "InversePower(0.5)", "ours"]


@pytest.mark.parametrize(
    "text",
    [
        "Constant()",
        "InversePower(0.5, timescale=2.0)",
        "Warmup(Cosine(final=0.1), length=5)",
        "InversePower(1)",
    ],
)
def test_brief_notation_is_notation(text: str) -> None:
    value = parse(text, "schedule")
    assert parse(brief(value), "schedule") == value
    assert len(brief(value)) <= len(repr(value))


def test_an_imported_file_joins_the_notation_and_the_keys(tmp_path: Path) -> None:
    shapes = tmp_path / "my_shapes_for_spec.py"
    shapes.write_text(
        "import numpy as np\nfrom ratelab.theory.notation import value\n\n"
        "@value('schedule')\nclass MyShapeForSpec:\n"
        "    def __call__(self, horizon, /):\n        return np.ones(horizon)\n"
    )
    path = write(tmp_path, FILE.replace("Linear()", "MyShapeForSpec()"))
    first = load(path, [shapes])
    assert "MyShapeForSpec()" in map(repr, first.schedules)
    shapes.write_text(shapes.read_text() + "# edited\n")
    second = load(path, [shapes])
    assert {cell.key for cell in cells(first)}.isdisjoint(cell.key for cell in cells(second))


def test_units_of_lr() -> None:
    problem: Any = SimpleNamespace(
        constants=Constants(L=4.0, mu=0.5, G=3.0, D=6.0, start_risk=9.0)
    )  # no problem in the catalogue has a bounded gradient: quadratics have none
    units = {unit: unit_of_lr(problem, SGD(), unit, 100) for unit in ("absolute", "1/L", "1/mu")}
    assert units == {"absolute": 1.0, "1/L": 0.25, "1/mu": 2.0}
    assert unit_of_lr(problem, SGD(), "D/G", 100) == 2.0
    assert unit_of_lr(problem, SGD(), "D/(G sqrt T)", 100) == pytest.approx(0.2)


def test_a_change_of_what_only_one_file_says_is_named(tmp_path: Path) -> None:
    """A closed loop's interval is in no file of open loops; the clock only where it counts epochs."""
    plain = resolved(loaded(tmp_path))
    assert "clock" not in plain
    epochs = plain | {"clock": "epoch"}
    assert changes(epochs, plain) == {"clock": ("epoch", None)}
    assert changes(plain, epochs) == {"clock": (None, "epoch")}
