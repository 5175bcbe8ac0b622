"""The script beside a figure's CSV: it draws the figure again with matplotlib alone.

It is the drawing code itself, to be edited. Starting from a module's `draw`, every name that it needs is
copied, with what that needs in turn, out of the module, `house.style` and `house.table`; of other modules
only matplotlib, NumPy and the standard library may be named. So a picture and its script can't differ, and a
figure needs no second drawing.
"""

import ast
import pprint
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratelab.theory.arrays import InputError

HERE = Path(__file__).parent
COPIED = {"ratelab.paper_figures.house.style": "style.py", "ratelab.paper_figures.house.table": "table.py"}
ALLOWED = {"matplotlib", "numpy", "mpl_toolkits", *sys.stdlib_module_names}

_HEAD = '''\
"""{title}

{caption}

Draws {csv} again with matplotlib alone; edit what you like:
    python {name}.py [FILE.pdf | FILE.png | FILE.svg ...]        (otherwise {name}.pdf)
"""

from __future__ import annotations

'''

_FOOT = """
SETTINGS = {settings}

if __name__ == "__main__":
    mpl.rcdefaults()
    mpl.rcParams.update(SETTINGS)
    here = Path(__file__).resolve().parent
    table = read_table(here / {csv!r})
    drawn = settled(draw(table{arguments}))
    for path in map(Path, sys.argv[1:] or [here / {pdf!r}]):
        dates = {{".pdf": {{"CreationDate": None}}, ".svg": {{"Date": None}}}}.get(path.suffix, {{}})
        drawn.savefig(path, metadata=dates)
        print(f"wrote {{path}}")
"""


@dataclass(frozen=True)
class _File:
    """The top level of a file: source segments by the name that each defines, and names of imports."""

    path: Path
    definitions: dict[str, tuple[int, str, ast.stmt]]
    imported: dict[str, tuple[str, str | None]]


def standalone(
    module: Path,
    name: str,
    title: str,
    caption: str,
    settings: Mapping[str, Any],
    arguments: Mapping[str, object] | None = None,
) -> str:
    """The script for NAME.csv: `draw` of `module`, called with the table and these keyword arguments.

    InputError where the drawing needs a package that it may not.
    """
    imports = {"sys": "import sys", "Path": "from pathlib import Path", "mpl": "import matplotlib as mpl"}
    parts: dict[Path, dict[int, str]] = {}
    _collect(_read(HERE / "table.py"), "read_table", parts, imports)
    _collect(_read(HERE / "style.py"), "settled", parts, imports)
    _collect(_read(module), "draw", parts, imports)
    order = [HERE / "table.py", HERE / "style.py", module]
    body = "\n\n\n".join(
        segment for path in order if path in parts for _, segment in sorted(parts[path].items())
    )
    head = _HEAD.format(
        title=_quoted(title), caption=_quoted(caption), csv=_quoted(f"{name}.csv"), name=_quoted(name)
    )
    foot = _FOOT.format(
        settings=pprint.pformat(dict(settings), sort_dicts=False),
        csv=f"{name}.csv",
        pdf=f"{name}.pdf",
        arguments="".join(f", {key}={value!r}" for key, value in (arguments or {}).items()),
    )
    return f"{head}{_sorted(imports.values())}\n\n\n{body}\n\n{foot}"


def _quoted(text: str) -> str:
    """As it can stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _sorted(statements: Iterable[str]) -> str:
    """Import statements, the standard library's first, those of one module joined."""
    found: dict[str, set[str]] = {}
    for statement in statements:
        head, _, name = statement.partition(" import ")
        found.setdefault(head, set()).update([name] if name else [])
    lines = [f"{head} import {', '.join(sorted(names))}" if names else head for head, names in found.items()]
    ours = sorted(lines, key=lambda line: (line.startswith("from"), line.lower()))
    standard = [line for line in ours if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    return "\n".join([*standard, "", *(line for line in ours if line not in standard)])


def _read(path: Path) -> _File:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    definitions: dict[str, tuple[int, str, ast.stmt]] = {}
    imported: dict[str, tuple[str, str | None]] = {}
    body = ast.parse(text).body
    for checking in [node for node in body if isinstance(node, ast.If)]:  # if TYPE_CHECKING
        for inner in checking.body:
            if isinstance(inner, ast.ImportFrom):
                imported |= {a.asname or a.name: (str(inner.module), a.name) for a in inner.names}
    for place, node in enumerate(body):
        if isinstance(node, ast.Import):
            imported |= {a.asname or a.name.split(".")[0]: (a.name, None) for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {a.asname or a.name: (str(node.module), a.name) for a in node.names}
        else:
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(d.lineno for d in decorators)])
            last = node.end_lineno or node.lineno
            following = body[place + 1] if place + 1 < len(body) else None
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                last = following.end_lineno or last  # the text below a constant that says what it is
            segment = "".join(lines[first - 1 : last]).rstrip()
            definitions |= dict.fromkeys(_defined(node), (node.lineno, segment, node))
    return _File(path, definitions, imported)


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.AnnAssign | ast.Assign):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _needed(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """The names that a statement reads, and whether for an annotation only, which is never evaluated."""
    for field, value in ast.iter_fields(node):
        annotation = field in ("annotation", "returns")
        for child in value if isinstance(value, list) else [value]:
            if annotation and isinstance(child, ast.Constant) and isinstance(child.value, str):
                child = ast.parse(child.value, mode="eval").body
            if isinstance(child, ast.Name):
                yield child.id, annotation
            elif isinstance(child, ast.AST):
                yield from ((name, annotation or inner) for name, inner in _needed(child))


def _collect(
    file: _File, name: str, parts: dict[Path, dict[int, str]], imports: dict[str, str], spoken: bool = False
) -> None:
    """Add the definition or the import of `name`, and what it needs. `spoken`: in an annotation only."""
    if name in file.definitions:
        line, segment, node = file.definitions[name]
        own = parts.setdefault(file.path, {})
        if line not in own:
            own[line] = segment
            for needed, annotation in _needed(node):
                _collect(file, needed, parts, imports, annotation)
    elif name in file.imported:
        source, attribute = file.imported[name]
        if source in COPIED and attribute == name:
            _collect(_read(HERE / COPIED[source]), name, parts, imports)
        elif source.split(".")[0] in ALLOWED:
            alias = f" as {name}" if name not in (attribute, source) else ""
            imports[name] = (
                f"from {source} import {attribute}{alias}" if attribute else f"import {source}{alias}"
            )
        elif not spoken:
            raise InputError(
                f"{file.path.name}: draw needs {name} of {source}; a figure is drawn from its table with "
                "matplotlib, NumPy and names of house.style and house.table: put the value into the table"
            )
