"""Public names: each said once, found from the front door without importing more than is asked for, and seen
alike by a program and by a type checker."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from cases import ROOT

import ratelab
from ratelab.theory import names

INSIDE = ("dialects", "judging")
PACKAGES = (
    "theory",
    "problems",
    "experiments",
    *(f"experiments.{part}" for part in INSIDE),
    "paper_figures.house",
)


def starred(package: str) -> set[str]:
    """The modules whose names a type checker is told to take, in the package's `if TYPE_CHECKING`."""
    path = ROOT / package.removeprefix("ratelab.").replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    found = [node for block in checked for node in block.body if isinstance(node, ast.ImportFrom)]
    return {str(node.module) for node in found if [alias.name for alias in node.names] == ["*"]}


def test_each_public_name_is_there_and_in_one_module() -> None:
    everything = importlib.import_module("ratelab").__dir__()
    said = [name for package in PACKAGES for name in names.public(f"ratelab.{package}")]
    assert sorted(said) == sorted(set(said)) == everything
    for name in everything:
        assert getattr(ratelab, name) is not None
    assert "main" not in everything
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(ratelab, "no_such_name")  # noqa: B009  (a type checker refuses it as an attribute)


def test_star_imports_all_of_them() -> None:
    space: dict[str, object] = {}
    exec("from ratelab import *", space)
    assert set(ratelab.__dir__()) <= set(space)
    for together in ("Bound omega average", "Training read write", "load run Store Results judge"):
        assert set(together.split()) <= set(space)


@pytest.mark.parametrize(
    "package", ["ratelab.theory", "ratelab.problems", "ratelab.experiments", "ratelab.paper_figures.house"]
)
def test_type_checkers_see_the_same_names(package: str) -> None:
    parts = INSIDE if package == "ratelab.experiments" else ()
    inside = [package, *(f"{package}.{part}" for part in parts)]
    assert starred(package) == {module for each in inside for module in names.public(each).values()}


def test_names_come_late(tmp_path: Path) -> None:
    code = (
        "import sys, ratelab\n"
        "heavy = {'torch', 'numba', 'xarray', 'matplotlib', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "ratelab.Cosine\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_name_said_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "twofold"
    package.mkdir()
    for module in ("__init__", "one", "other"):
        (package / f"{module}.py").write_text(
            "" if module == "__init__" else '__all__ = ["thing"]\nthing = 1\n'
        )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"thing is in the __all__ of twofold\.one and of twofold\.other"):
        names.public("twofold")
