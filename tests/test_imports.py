"""The house rules that a reader relies on: imports point one way, theory is free of torch and of chance, no
module touches pyplot, every file says what it is for, and no file holds a path of somebody's machine."""

import ast
import functools
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "ratelab.theory": (),
    "ratelab.problems": ("ratelab.theory",),
    "ratelab.experiments": ("ratelab.theory", "ratelab.problems"),
    "ratelab.experiments.dialects": ("ratelab.theory",),
    "ratelab.experiments.engines": (
        "ratelab.theory",
        "ratelab.problems",
        "ratelab.experiments.spec",
        "ratelab.experiments.cells",
        "ratelab.experiments.methods",
    ),
    "ratelab.paper_figures": ("ratelab.theory", "ratelab.problems", "ratelab.experiments"),
    "ratelab": ("ratelab",),
}
"""Of the house, besides itself; a file is under the rule of the innermost part that it lies in."""
ROOMS = ("theory", "problems", "experiments", "paper_figures")
OUTSIDE = ("tests", "benchmarks", "examples")
BARE = (*ROOMS, "tests", "benchmarks")
"""Folders, not packages: in a researcher's repository these names are others'."""
RANDOMNESS = ("random", "secrets", "uuid", "numpy.random", "scipy.stats", "torch.random")
PYPLOT = ("matplotlib.pyplot", "pylab", "matplotlib.pylab")
LEGACY = r"numpy\.random\.(?!default_rng|Generator|Philox|SeedSequence|BitGenerator|PCG64)\w+"


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@dataclass(frozen=True)
class Source:
    """What stands in a file: its docstring, what it imports, the dotted names."""

    docstring: str | None
    imports: frozenset[str]
    attributes: frozenset[str]


@functools.cache
def source(path: Path) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    nodes = [*ast.walk(tree)]
    found = frozenset(imports(nodes, package_of(path))), frozenset(attributes(nodes))
    return Source(ast.get_docstring(tree), *found)


def package_of(path: Path) -> str:
    """The package that a file of ours lies in, as it is imported."""
    folders = path.relative_to(ROOT).parts[:-1]
    return ".".join(folders if folders[0] == "ratelab" else ("ratelab", *folders))


def imports(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Everything that a file of `package` imports, wherever in it, `a.b` for `from a import b`; and the
    modules that it names in a call of import_module or __import__."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            by_name = dotted(node.func).rpartition(".")[2] in ("import_module", "__import__")
            yield from [str(node.args[0].value)] if by_name else []


def attributes(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Every dotted name in a file, with np written out."""
    for node in nodes:
        if isinstance(node, ast.Attribute):
            yield re.sub(r"^np\.", "numpy.", dotted(node))


def dotted(node: ast.expr) -> str:
    """a.b.c, as far as it is a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether `name` is one of `modules` or lies inside one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def forbidden(package: str, name: str) -> bool:
    """Whether a file of `package` must not import `name`."""
    if not within(name, ("ratelab",)):
        return within(name, BARE)
    part = max((part for part in MAY_IMPORT if within(package, (part,))), key=len)
    return not within(name, (part, *MAY_IMPORT[part]))


def offenders(files: list[Path], wrong: Callable[[Path], set[str]]) -> str:
    """A line for each file in which something is wrong."""
    found = {path: wrong(path) for path in files}
    return "\n".join(f"  {path.relative_to(ROOT)}: {', '.join(sorted(w))}" for path, w in found.items() if w)


def test_imports_point_one_way() -> None:
    def wrong(path: Path) -> set[str]:
        return {name for name in source(path).imports if forbidden(package_of(path), name)}

    found = offenders(python_files(*ROOMS, "ratelab"), wrong)
    assert not found, f"move the code that needs these up, or what it needs down:\n{found}"


def test_the_rooms_are_named_as_parts_of_the_package() -> None:
    def wrong(path: Path) -> set[str]:
        return {name for name in source(path).imports if within(name, ROOMS)}

    found = offenders(python_files(*OUTSIDE), wrong)
    assert not found, f"these names are a researcher's own folders; import ratelab.theory, ...:\n{found}"


def test_theory_has_no_torch_and_no_randomness() -> None:
    def wrong(path: Path) -> set[str]:
        named = source(path).imports | source(path).attributes
        return {name for name in named if within(name, ("torch", *RANDOMNESS))}

    found = offenders(python_files("theory"), wrong)
    assert not found, f"theory is NumPy without chance:\n{found}"


def test_no_pyplot_and_no_global_random_state() -> None:
    def wrong(path: Path) -> set[str]:
        named = {name for name in source(path).imports if within(name, PYPLOT)}
        return named | {name for name in source(path).attributes if re.fullmatch(LEGACY, name)}

    found = offenders(python_files(*ROOMS, "ratelab", *OUTSIDE), wrong)
    assert not found, f"take matplotlib.figure.Figure, and a generator with a key:\n{found}"


def test_every_file_opens_with_its_purpose() -> None:
    def wrong(path: Path) -> set[str]:
        return set() if source(path).docstring else {"no docstring"}

    found = offenders(python_files(*ROOMS, "ratelab", *OUTSIDE), wrong)
    assert not found, f"say what lives in each of these and why:\n{found}"


def test_the_rules_catch_what_they_are_for() -> None:
    lazy = ast.parse(
        "def f():\n    from ratelab.experiments import spec\n    import_module('ratelab.paper_figures.x')\n"
        "from . import a\nfrom .. import b"
    )
    found = set(imports(ast.walk(lazy), "ratelab.theory"))
    assert found == {"ratelab.experiments.spec", "ratelab.paper_figures.x", "ratelab.theory.a", "ratelab.b"}
    assert "numpy.random.rand" in set(attributes(ast.walk(ast.parse("np.random.rand(3)"))))
    assert within("torch.nn", ("torch",))
    assert not within("torchlike", ("torch",))
    for package, refused in (
        ("theory", ("problems.noise", "main", "Cosine")),
        ("problems", ("experiments.spec", "paper_figures")),
        ("problems.data", ("experiments.spec", "main")),
        ("experiments", ("paper_figures.house.make", "commands.report")),
        ("experiments.engines.kernels", ("experiments.dialects.torch", "experiments.store")),
        ("experiments.dialects", ("problems.noise", "experiments.spec", "experiments.engines.step")),
        ("paper_figures.house", ("terminal", "main")),
    ):
        assert all(forbidden(f"ratelab.{package}", f"ratelab.{name}") for name in refused)
    for package, allowed in (
        ("problems.data", ("theory.arrays", "problems.problem")),
        ("experiments", ("experiments.dialects", "experiments.engines.jump", "problems.data.files")),
        ("experiments.engines", ("experiments.methods", "experiments.engines.kernels.tiles")),
        ("paper_figures", ("paper_figures.house.table", "experiments.claims")),
        ("commands", ("terminal", "paper_figures.house.make", "theory")),
    ):
        assert not any(forbidden(f"ratelab.{package}", f"ratelab.{name}") for name in allowed)
    assert forbidden("ratelab.experiments", "theory.arrays")
    assert not forbidden("ratelab.theory", "numpy")


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="git says which files are ours, and this is no clone"
)
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
