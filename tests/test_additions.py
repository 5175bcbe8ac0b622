"""One file or class adds a schedule, an averaging, a noise, a problem, a figure or a dialect: in a copy of
the house each is found without another line by the commands, the notation, `import ratelab`, the page of
schedules and the tests. The schedule is that of CONTRIBUTING.md."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cases import ROOT
from filelock import FileLock

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOMS = ("theory", "problems", "experiments", "paper_figures")
CLASSES = {
    "theory/averaging.py": '''
@value("averaging")
class Lagging:
    """Half of each iterate is mixed in: c_t = 1/2."""

    def __call__(self, steps: Array, /) -> Array:
        return np.full(len(steps), 0.5)

    @property
    def anytime(self) -> bool:
        return True
''',
    "problems/noise.py": '''
@value("noise")
class Flat:
    """Uniform on an interval around 0, of standard deviation sd."""

    sd: Sd = 1.0

    def variance(self, eigenvalues: Array) -> Array:
        return _variance(self.sd, "identity", eigenvalues)

    def draw(self, key: int, runs: range, first: int, updates: int, dim: int) -> philox.Floats:
        drawn = philox.uniforms(key, runs, first, updates, dim)
        return ((drawn - np.float32(0.5)) * np.float32(np.sqrt(12))).astype(np.float32)
''',
}
BATTERIES = {
    "theory/test_schedules.py": "[Half]",
    "theory/test_averaging.py": "[Lagging]",
    "problems/test_noise.py": "[Flat(",
    "problems/test_problem.py": "[Bowl(",
    "paper_figures/test_figures.py": "[steepest_descent]",
    "experiments/dialects/test_dialects.py": "[steady]",
}
DIALECT = '''"""A framework that knows one word: "steady"."""

from ratelab.experiments.dialects import DialectError, Training
from ratelab.theory.schedules import Constant


def read(source: object, *, lr: float | None, horizon: int | None) -> Training:
    if source != "steady":
        raise DialectError(f"{source} is not steady")
    return Training(1.0 if lr is None else lr, Constant(), horizon)


def write(training: Training) -> str:
    if training.schedule != Constant():
        raise DialectError(f"{training.schedule!r} is not steady")
    return "steady"
'''
ASKED = """
import contextlib, io, json, sys
from pathlib import Path

import pytest
from ratelab.main import main

def said(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(arguments)
    return out.getvalue()

space = {}
exec("from ratelab import *", space)
from ratelab.paper_figures.house import schedules_page
from ratelab.theory.notation import parse
Path("results").mkdir()
print(json.dumps({
    "list": said("list"),
    "convert": said("convert", "Constant()", "--lr", "1") + said("convert", "--help"),
    "steady": said("convert", "steady", "--from", "steady", "--to", "torch"),
    "audit": said("audit", "steepest_descent"),
    "gallery": said("gallery", "steepest_descent") + Path("gallery/index.html").read_text("utf-8"),
    "names": sorted(space),
    "page": schedules_page.page(),
    "parsed": [repr(parse(text, kind)) for text, kind in (
        ("Half()", "schedule"), ("Lagging()", "averaging"),
        ("Bowl(UniformSpectrum(2, condition_number=2.0), noise=Flat(0.5))", "problem"),
    )],
    "tests": pytest.main(sys.argv[1:]),
}))
"""


def add(path: Path, text: str) -> None:
    """A class at the end of a module, and its name in the list of the public ones."""
    found = re.search(r"class (\w+)", text)
    assert found is not None
    before = path.read_text(encoding="utf-8")
    after = before.replace("__all__ = [", f'__all__ = ["{found[1]}", ', 1)
    assert before != after
    path.write_text(f"{after}\n{text}", encoding="utf-8")


def named_anew(path: Path, old: str, new: str) -> str:
    """The source of a class, under another name."""
    text = path.read_text(encoding="utf-8")
    (node,) = (n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == old)
    first = min(decorator.lineno for decorator in node.decorator_list)
    source = "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])
    return "\n" + re.sub(rf"\b{old}\b", new, source)


def house(copy: Path) -> None:
    """The house with one addition of each kind."""
    unfinished = ("*.pyc.*", "*.tmp.*")  # what another process is compiling
    skipped = shutil.ignore_patterns(*ROOMS, *unfinished)
    shutil.copytree(ROOT / "ratelab", copy / "ratelab", ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for folder in (*ROOMS, "examples", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*unfinished))
    for room in ROOMS:
        (copy / "ratelab" / room).symlink_to(Path("..") / room)
    (half,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    for path, text in [("theory/schedules.py", f"\n{half}"), *CLASSES.items()]:
        add(copy / path, text)
    quadratic = copy / "problems" / "quadratic.py"
    add(quadratic, named_anew(quadratic, "Quadratic", "Bowl"))
    figures = copy / "paper_figures"
    shutil.copy(figures / "d2l_gradient_descent.py", figures / "steepest_descent.py")
    (copy / "experiments" / "dialects" / "steady.py").write_text(DIALECT, encoding="utf-8")


def answers(copy: Path) -> str:
    """What a Python says that imports the copy, in a folder beside it: the tests, and last the answers."""
    environment = os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "200", "HYPOTHESIS_PROFILE": "quick"}
    files = [str(copy / "tests" / file) for file in (*BATTERIES, "theory/test_moments.py")]
    few = "Half or Lagging or Flat or Bowl or steepest_descent or steady or covered"
    command = [sys.executable, "-c", ASKED, "-v", "-n", "0", *files, "-k", few, "-m", "not slow"]
    done = subprocess.run(command, cwd=copy.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def said(commons: Path) -> str:
    """The same, asked once for all workers."""
    file = commons / "addition" / "answers.txt"
    file.parent.mkdir(exist_ok=True)
    with FileLock(f"{file}.lock"):
        if not file.exists():
            house(file.parent / "house")
            file.write_text(answers(file.parent / "house"), encoding="utf-8")
    return file.read_text(encoding="utf-8")


@pytest.mark.slow
def test_they_are_listed_read_named_and_shown(said: str) -> None:
    found = json.loads(said.splitlines()[-1])
    for listed in ("Half()", "Lagging()", "Flat(sd=1.0)", "Bowl(spectrum", "steepest_descent"):
        assert listed in found["list"]
    assert {"Half", "Lagging", "Flat", "Bowl"} <= set(found["names"])
    spectrum = "UniformSpectrum(dim=2, condition_number=2.0, largest=1.0)"
    bowl = f"Bowl(spectrum={spectrum}, noise=Flat(sd=0.5), initial=None)"
    assert found["parsed"] == ["Half()", "Lagging()", bowl]
    assert found["convert"].count("steady") >= 2
    assert "steady says: Constant()" in found["steady"]
    assert "### Half\n" in found["page"]["schedules.md"]
    assert "schedules/Half.svg" in found["page"]
    for shown in ("audit", "gallery"):
        assert "steepest_descent" in found[shown]


@pytest.mark.slow
def test_the_batteries_try_them(said: str) -> None:
    *passed, answers = said.splitlines()
    assert json.loads(answers)["tests"] == 0, said
    for file, added in BATTERIES.items():
        assert any(file in line and added in line for line in passed), (file, added)
