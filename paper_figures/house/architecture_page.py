"""docs/architecture.svg: the rooms with their files, and the imports between rooms, out of the sources.

`make docs` writes it; a test keeps it current. Plain SVG lines, so that the same sources give the same bytes.
"""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("ratelab", "paper_figures", "experiments", "problems", "theory")
"""From the top: each imports only what stands below it."""
Pair: TypeAlias = tuple[str, str]
"""A room, and one that it imports."""
_WIDTH, _EDGE, _GAP, _LINE, _CHARACTER = 640, 10, 12, 15, 7
_LANE = 11
"""Between the lines on which imports go down, at the right of the rooms."""
_IMPORT = re.compile(r"^ *(?:from|import) ratelab\.(\w+)", re.MULTILINE)
_INK, _GREY = "#3b82c4", "#7a7a7a"


def inside(folder: Path) -> list[Path]:
    """The packages in a package; a link to another room is none."""
    return [path.parent for path in sorted(folder.glob("*/__init__.py")) if not path.parent.is_symlink()]


def purpose(folder: Path) -> str:
    """What a package is for: the beginning of its first sentence."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return re.split(r"[.:;]\s", " ".join(text.split()) + " ")[0]


def imported(root: Path, room: str) -> set[str]:
    """The other rooms that a room imports from."""
    texts = (path.read_text(encoding="utf-8") for path in (root / room).rglob("*.py"))
    named = {found[1] for text in texts for found in _IMPORT.finditer(text)}
    return named & {*ROOMS} - {room}


def box(folder: Path, x: int, y: int) -> tuple[list[str], int]:
    """The lines of a package with what is inside it, and how high they are."""
    width = _WIDTH - 2 * (x - _EDGE)
    modules = " ".join(path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__")
    drawn, below = [], y + _GAP
    for text, style in (
        (folder.name, f'fill="{_INK}" font-weight="bold"'),
        (purpose(folder), f'fill="{_GREY}" font-style="italic"'),
        (modules, f'fill="{_GREY}"'),
    ):
        for line in textwrap.wrap(text, (width - 2 * _GAP) // _CHARACTER, break_on_hyphens=False):
            below += _LINE
            drawn.append(f'<text x="{x + _GAP}" y="{below}" {style}>{line}</text>')
    for part in inside(folder):
        lines, height = box(part, x + _GAP, below + _GAP)
        drawn, below = [*drawn, *lines], below + _GAP + height
    height = below + _GAP - y
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="none" stroke="{_GREY}"/>'
    return [frame, *drawn], height


def arrows(root: Path, spans: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """From each room to those that it imports; spans: y and height of each."""
    shortest = sorted(((room, other) for room in ROOMS for other in imported(root, room)), key=_length)
    right = _EDGE + _WIDTH
    for lane, pair in enumerate(shortest, 3):
        x = right + _LANE * lane
        start, end = (_slot(spans[room], room, pair, shortest) for room in pair)
        yield f'<path d="M{right} {start}H{x}V{end}H{right + 6}" fill="none" stroke="{_INK}"/>'
        yield f'<path d="M{right} {end}l7 -4v8z" fill="{_INK}"/>'


def _length(pair: Pair) -> tuple[int, int]:
    upper, lower = map(ROOMS.index, pair)
    return lower - upper, upper


def _slot(span: tuple[int, int], room: str, pair: Pair, shortest: Sequence[Pair]) -> int:
    """Where a line begins or ends beside a room: those that come from above over those that go down, the
    short ones between the long ones."""
    ends, starts = ([p for p in shortest if p[side] == room] for side in (1, 0))
    mine = [*ends, *reversed(starts)]
    return span[0] + span[1] * (mine.index(pair) + 1) // (len(mine) + 1)


def svg(root: Path) -> str:
    """The picture of the house that stands in a folder."""
    drawn, spans, y = [], {}, _EDGE
    for room in ROOMS:
        lines, height = box(root / room, _EDGE, y)
        drawn += lines
        spans[room] = (y, height)
        y += height + 2 * _GAP
    lines = [*drawn, *arrows(root, spans)]
    width, height = _WIDTH + 2 * _EDGE + 13 * _LANE, y - 2 * _GAP + _EDGE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="ui-monospace, monospace" font-size="11">'
    )
    return "\n".join([head, *lines, "</svg>"]) + "\n"


def main() -> None:
    """Write the picture."""
    picture = ROOT / "docs" / "architecture.svg"
    picture.write_text(svg(ROOT), encoding="utf-8")
    print(f"wrote {picture}")


if __name__ == "__main__":
    main()
