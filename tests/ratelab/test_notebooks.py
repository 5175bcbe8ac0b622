"""Every notebook in examples/ is valid, runs from top to bottom, and its Colab form offers what there is."""

import ast
import json
import re
import typing
from pathlib import Path
from typing import Any

import nbformat
import pytest
from cases import ROOT
from nbclient import NotebookClient

from ratelab.experiments.dialects.kohya import Choice, rates, toml

EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
LESSON = EXAMPLES / "learning_rate_schedulers.ipynb"
LORA = EXAMPLES / "lora_schedule.ipynb"
FORM = re.compile(r"^(\w+) = (.+?) #@param (.+)$", re.MULTILINE)


def opened(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(path: Path) -> str:
    return "\n".join(cell.source for cell in opened(path).cells if cell.cell_type == "code")


def executed(path: Path, folder: Path) -> Any:
    """The notebook after a run in `folder`; an error in a cell is an error here."""
    notebook = opened(path)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_names_no_place_of_this_machine(path: Path) -> None:
    notebook = opened(path)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    assert not re.search(r"/(home|root|work|tmp|Users)/", nbformat.writes(notebook))
    assert path.stat().st_size < 200_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "empty"
    folder.mkdir()
    notebook = executed(path, folder)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    if path == LESSON:
        assert not _numbers_not_printed(notebook)
    if path == LORA:
        written = (folder / "training_config.toml").read_text(encoding="utf-8")
        choice = Choice(
            "cosine_with_restarts",
            number=3,
            unet_lr=3e-4,
            text_encoder_lr=6e-5,
            images=93,
            repeats=2,
            batch_size=4,
            epochs=10,
        )
        assert written == toml(choice)
        assert {part: rate.shape for part, rate in rates(written).items()} == {
            "unet": (470,),
            "text_encoder": (470,),
        }
        assert any("image/png" in output.get("data", {}) for output in outputs)
        assert "the notebook reckons with 465 steps" in json.dumps(outputs)


def _numbers_not_printed(notebook: Any) -> list[str]:
    """Measured numbers of the prose that stand in no output nor code above it."""
    seen, missing = "", []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            seen += cell.source + "".join(output.get("text", "") for output in cell.outputs)
        else:
            told = re.findall(r"\d+\.\d{2,}(?:e[+-]\d+)?|\d\.\de[+-]\d+", cell.source)
            missing += [number for number in told if number not in seen]
    return missing


def test_the_form_offers_what_a_choice_allows() -> None:
    fields = {name: (ast.literal_eval(value), param) for name, value, param in FORM.findall(code(LORA))}
    hints = typing.get_type_hints(Choice)
    for field, name in (("lr_scheduler", "scheduler"), ("notebook", "notebook")):
        default, param = fields[field]
        assert sorted(json.loads(param)) == sorted(typing.get_args(hints[name]))
        assert default in json.loads(param)
    assert len(fields) == code(LORA).count("#@param")
