"""The house rules that a reader relies on: imports point one way, theory is free of torch and of chance, no
module touches pyplot, every file says what it is for, and no file holds a path of somebody's machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = [
    "theory",
    "problems",
    "experiments",
    "paper_figures",
    "ratelab",
]  # each imports only what stands before it
RANDOMNESS = ("random", "secrets", "uuid", "numpy.random", "scipy.stats", "torch.random")


def _python_files(*rooms: str) -> list[Path]:
    folders = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    return folders + [ROOT / f"{room}.py" for room in rooms if (ROOT / f"{room}.py").is_file()]


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that a file of `package` imports, wherever in it, with `a.b` for `from a import b`, and
    those it names in a call of import_module or __import__."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(part for part in (package if node.level else "", node.module) if part)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def attributes(tree: ast.AST) -> Iterator[str]:
    """Every dotted name in a file, with np written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield re.sub(r"^np\.", "numpy.", ast.unparse(node))


def within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether `name` is one of `modules` or lies inside one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def _ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", _python_files(*HOUSE), ids=_ids)
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    above = (*HOUSE[HOUSE.index(room) + 1 :], "tests", "benchmarks")
    wrong = sorted({name for name in imports(_tree(path), room) if within(name, above)})
    assert not wrong, f"{room} stands below {wrong}: move the code that needs it up, or what it needs down"


@pytest.mark.parametrize("path", _python_files("theory"), ids=_ids)
def test_theory_has_no_torch_and_no_randomness(path: Path) -> None:
    named = {*imports(_tree(path), "theory"), *attributes(_tree(path))}
    wrong = sorted(name for name in named if within(name, ("torch", *RANDOMNESS)))
    assert not wrong, f"theory is NumPy without chance, but {path.name} names {wrong}"


@pytest.mark.parametrize("path", _python_files(*HOUSE, "tests", "benchmarks", "examples"), ids=_ids)
def test_no_pyplot_and_no_global_random_state(path: Path) -> None:
    tree = _tree(path)
    wrong = {
        name for name in imports(tree, "") if within(name, ("matplotlib.pyplot", "pylab", "matplotlib.pylab"))
    }
    legacy = r"numpy\.random\.(?!default_rng|Generator|Philox|SeedSequence|BitGenerator|PCG64)\w+"
    wrong |= {name for name in attributes(tree) if re.fullmatch(legacy, name)}
    assert not wrong, f"{sorted(wrong)}: take matplotlib.figure.Figure, and a generator with a key"


@pytest.mark.parametrize("path", _python_files(*HOUSE, "tests", "benchmarks", "examples"), ids=_ids)
def test_every_file_opens_with_its_purpose(path: Path) -> None:
    assert ast.get_docstring(_tree(path)), (
        f"{path.name} opens without a docstring: say what lives in it and why"
    )


def test_the_rules_catch_what_they_are_for() -> None:
    lazy = ast.parse(
        "def f():\n    from ratelab.experiments import spec\n    import_module('ratelab.paper_figures.x')\n"
        "from . import a"
    )
    found = set(imports(lazy, "theory"))
    assert {"ratelab.experiments.spec", "ratelab.paper_figures.x", "ratelab.theory.a"} <= found
    assert "numpy.random.rand" in set(attributes(ast.parse("np.random.rand(3)")))
    assert within("torch.nn", ("torch",))
    assert not within("torchlike", ("torch",))


def test_no_file_holds_a_path_of_a_machine() -> None:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    private = re.compile(rb"(?<![\w.])/(?:" + b"|".join([b"work", b"root", b"home", b"Users"]) + rb")/")
    wrong = []
    for name in filter(None, names):
        path = ROOT / name
        if path.is_file() and (found := private.search(path.read_bytes())):
            wrong.append(f"{name} at byte {found.start()}")
    assert not wrong, f"paths of a machine: {wrong}; write them relative to the repository"
