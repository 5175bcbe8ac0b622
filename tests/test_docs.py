"""What is shown is what happens: the README's Python, its experiment file, its table of the demo, the
examples in docstrings, the page of schedules, the picture of the house, and what newcomers are told to
type."""

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from ratelab.commands.report import report
from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.judging import claims
from ratelab.experiments.judging.outcome import Outcome, Row
from ratelab.experiments.judging.verdict import Verdict
from ratelab.experiments.store import Results, Store
from ratelab.paper_figures.house import architecture_page, make, schedules_page
from ratelab.theory.notation import catalogue
from ratelab.theory.sampled import Values

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
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
    f"ratelab.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}"
    for room in ("theory", "problems", "experiments")
    for path in sorted((ROOT / room).rglob("*.py"))
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


def test_the_picture_of_the_house_is_current() -> None:
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == architecture_page.svg(ROOT), "docs/architecture.svg is out of date: make docs"


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = [n for n in re.findall(r"`([\w.]+/[\w/.]*)`", text) if (ROOT / n.split("/")[0]).exists()]
    linked = [str(Path(page).parent / name) for name in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
    made = ("figures/", "gallery/", "results/", ".venv/", "DIR/")
    there = [name for name in (*named, *linked) if not name.startswith(made)]
    lost = [name for name in there if not list(ROOT.glob(name.replace("NAME", "*")))]
    assert not lost


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", ".pre-commit-config.yaml"])
def test_automatic_checks_run_what_there_is(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "\t" not in text
    for content in re.findall(r"^ *(?:- )?(?:run|entry): (.+)$", text, re.MULTILINE):
        program, *arguments = content.split()
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", MAKEFILE, re.MULTILINE), content
        elif program.startswith(".venv/bin/"):
            assert f"$(BIN)/{program.removeprefix('.venv/bin/')}" in MAKEFILE, content
        else:
            assert (ROOT / program).is_file(), content


def test_the_supported_pythons_are_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: Python :: 3." in line]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert re.findall(r'"(3\.\d+)"', workflow) == said
    assert project["requires-python"] == f">={said[0]}"


@pytest.mark.slow
def test_the_table_is_the_one_that_the_demo_prints(tmp_path: Path) -> None:
    """The whole of `make demo` but its figures, about half a minute."""
    loaded, store = load(DEMO), Store(tmp_path / "demo")
    outcome = execute.run(loaded, DEMO.read_text(encoding="utf-8"), store)
    assert not outcome.failed
    judged = claims.judge(Results(loaded, store))
    assert claims.exit_code(judged) == 0
    report(loaded, store, judged)
    printed = store.report_file.read_text(encoding="utf-8").splitlines()
    shown = re.search(r"<!-- demo.*?-->\n(.*?)<!-- end of demo -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1].strip().splitlines() == [line for line in printed if line.startswith("|")]


def test_the_audits_page_is_what_is_claimed_and_counted_once() -> None:
    """Every claim as it stands in its figure, with what is recorded of it; others have the page's count."""
    page = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    expected = []
    for name in make.find():
        for claim in make.picture(name).CLAIMS:
            found = Outcome(claim, (Row(Verdict(claim.expect, "")),))
            cells = name, str(claim.source), make.said(found), str(claim.target)
            expected.append(([cell.replace("|", r"\|") for cell in cells], found))
    rows = [re.split(r"(?<!\\) \| ", row[2:-2]) for row in page.splitlines() if row.startswith("| ")][2:]
    assert [row[:4] for row in rows] == [cells for cells, _ in expected]
    assert [row[5] for row in rows] == [found.holds for _, found in expected]
    count = make.count([found for _, found in expected])
    for text in (page, README, (ROOT / "docs/gallery.md").read_text(encoding="utf-8")):
        assert count in " ".join(text.split())
