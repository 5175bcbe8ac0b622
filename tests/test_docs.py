"""What is shown is what happens: the README's Python, its experiment file, its table of the demo, the
examples in docstrings, the page of schedules."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

from ratelab.commands.report import report
from ratelab.experiments import claims, execute
from ratelab.experiments.file import load
from ratelab.experiments.store import Results, Store
from ratelab.paper_figures.house import schedules_page
from ratelab.theory.notation import catalogue
from ratelab.theory.sampled import Values

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = ROOT / "examples" / "decay_rates.toml"


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_five_lines_give_the_number_that_is_printed() -> None:
    lines = [line for line in _block("python").splitlines() if line]
    assert len(lines) <= 5
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    risk = names["risk"]
    assert f"{risk[-1]:.6g} at the end" in README  # type: ignore[index]  # exec's names have no types


def test_the_experiment_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "readme.toml"
    path.write_text(_block("toml"), encoding="utf-8")
    loaded = load(path)
    assert len(loaded.claims) == 1
    assert len(loaded.schedules) == 4


def test_the_demo_has_its_claims() -> None:
    loaded = load(DEMO)
    assert len(loaded.claims) >= 10
    assert {claim.expect for claim in loaded.claims} == {"supported", "refuted", "undecided"}
    assert f"judges {len(loaded.claims)} sentences" in README


MODULES = [
    f"ratelab.{path.parent.name}.{path.stem}"
    for room in ("theory", "problems", "experiments")
    for path in sorted((ROOT / room).glob("[!_]*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(module), verbose=False)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_page_of_schedules_is_current() -> None:
    written = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in schedules_page.page()}
    for name, content in schedules_page.page().items():
        assert content == written[name], f"docs/{name} is out of date: make docs"
    kept = {f"schedules/{path.name}" for path in (ROOT / "docs" / "schedules").iterdir()}
    assert kept == set(written) - {"schedules.md"}


def test_every_schedule_has_its_picture() -> None:
    ours = [cls for cls in catalogue("schedule").values() if cls.__module__.startswith("ratelab.theory.")]
    unpictured = [cls for cls in ours if schedules_page.pictured(cls) is None]
    assert unpictured == [Values]  # its numbers are somebody else's


@pytest.mark.slow
def test_the_table_is_the_one_that_the_demo_prints(tmp_path: Path) -> None:
    """The whole of `make demo` but its figures, about half a minute."""
    loaded, store = load(DEMO), Store(tmp_path / "demo")
    outcome = execute.run(loaded, DEMO.read_text(encoding="utf-8"), store, workers=2)
    assert not outcome.failed
    judged = claims.judge(Results(loaded, store))
    assert claims.exit_code(judged) == 0
    report(loaded, store, judged)
    printed = store.report_file.read_text(encoding="utf-8").splitlines()
    shown = re.search(r"<!-- demo.*?-->\n(.*?)<!-- end of demo -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1].strip().splitlines() == [line for line in printed if line.startswith("|")]
