"""docs/schedules.md: every schedule with its fields, its text and a picture, out of the docstrings.

`make docs` writes it; a test keeps it current. A docstring names the member to
draw in a line of its own, "Pictured: Triangular(25)"; it is drawn over 100 updates. The pictures are plain
SVG lines, so that the same schedules give the same bytes under any plotting library.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ratelab.theory.arrays import InputError
from ratelab.theory.notation import catalogue, parse, signature
from ratelab.theory.schedules import Facts, Schedule, facts, multipliers

UPDATES = 100
DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_WIDTH, _HEIGHT, _EDGE = 240, 90, 6
_PICTURED = re.compile(r"^\s*Pictured: (.+)$", re.MULTILINE)
_TITLES = {
    "ratelab.theory.schedules": "Decays",
    "ratelab.theory.cycles": "Cycles",
    "ratelab.theory.combine": "Combinators",
    "ratelab.theory.stepsizes": "Step sizes from theory",
    "ratelab.theory.sampled": "Given by numbers",
}
_INTRODUCTION = """\
# Schedules

<!-- written by `make docs`, out of the docstrings; edit those -->

A schedule maps a horizon of T updates to multipliers s_0 … s_{T−1} ≥ 0; the step of update t is lr · s_t.
Durations are an integer (updates) or a fraction of the horizon: 1 and 1.0 differ. `ratelab preview "NAME(…)"`
draws any of them, `ratelab convert` says it in another framework's words. Pictures: 100 updates, from 0 to
the largest multiplier.
"""


def pictured(cls: type) -> Schedule | None:
    """The member of a class that stands for it in lists and pictures; None where its text names none."""
    found = _PICTURED.search(cls.__doc__ or "")
    if found is None:
        return None
    made = parse(found[1].strip().rstrip("."), "schedule")
    if type(made) is not cls or not isinstance(made, Schedule):
        raise InputError(f"{cls.__name__} is pictured by {made!r}; name one of its own members")
    return made


def text_of(cls: type) -> str:
    """The docstring of a class without the line that names its picture."""
    return _PICTURED.sub("", inspect.cleandoc(cls.__doc__ or "")).strip()


def svg(schedule: Schedule) -> str:
    """The multipliers over 100 updates as an SVG line above a zero line, readable on light and dark."""
    s = multipliers(schedule, UPDATES)
    x = np.linspace(_EDGE, _WIDTH - _EDGE, UPDATES)
    y = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * s / (s.max() or 1.0)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    base = _HEIGHT - _EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" fill="none" stroke-linejoin="round">\n'
        f'<path d="M{_EDGE} {base}H{_WIDTH - _EDGE}" stroke="#8a8a8a"/>\n'
        f'<polyline points="{points}" stroke="#3b82c4" stroke-width="2"/>\n</svg>\n'
    )


def _declared(known: Facts) -> str:
    span = f"{known.low:.4g} ≤ s ≤ {known.high:.4g}" if known.high < float("inf") else f"s ≥ {known.low:.4g}"
    parts = [
        "" if known.monotone == "constant" else span,
        known.monotone or "",
        "anytime" if known.anytime else "needs the horizon",
    ]
    return ", ".join(part for part in parts if part)


def _markdown(text: str) -> str:
    """A docstring's paragraphs; examples become code."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.lstrip().startswith(">>>"):
            parts.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
        else:
            escaped = re.sub(r"([*_<])", r"\\\1", " ".join(paragraph.split()))
            parts.append(re.sub(r"`[^`]+`", lambda code: code[0].replace("\\", ""), escaped))
    return "\n\n".join(parts)


def _ours() -> list[type]:
    """The schedules that come with ratelab."""
    return [cls for cls in catalogue("schedule").values() if cls.__module__.startswith("ratelab.")]


def _sections() -> Iterator[str]:
    for module in dict.fromkeys([*_TITLES, *(cls.__module__ for cls in _ours())]):
        yield f"## {_TITLES.get(module, module.rpartition('.')[2].capitalize())}"
        for cls in [cls for cls in _ours() if cls.__module__ == module]:
            drawn = pictured(cls)
            yield f"### {cls.__name__}\n\n`{signature(cls)}`"
            if drawn is not None:
                yield (
                    f"![{drawn!r} over {UPDATES} updates](schedules/{cls.__name__}.svg)\n\n"
                    f"Drawn: `{drawn!r}`; {_declared(facts(drawn))}."
                )
            yield _markdown(text_of(cls))


def page() -> dict[str, str]:
    """The files of the page by their paths under docs/."""
    files = {"schedules.md": "\n\n".join([_INTRODUCTION.strip(), *_sections()]) + "\n"}
    for cls in _ours():
        drawn = pictured(cls)
        if drawn is not None:
            files[f"schedules/{cls.__name__}.svg"] = svg(drawn)
    return files


def main() -> None:
    """Write the page, and remove pictures of schedules that are gone."""
    files = page()
    for stale in (DOCS / "schedules").glob("*.svg"):
        if f"schedules/{stale.name}" not in files:
            stale.unlink()
    for name, content in files.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    print(f"wrote {DOCS / 'schedules.md'} and {len(files) - 1} pictures")


if __name__ == "__main__":
    main()
