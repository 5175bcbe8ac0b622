"""The verdict on a rate: the risk with the line fitted to it, and below it the exponents that decide.

Above: the risk that was judged; grey, the window W; dashed, the line that fits best there. Below: dots, the
local exponent, minus the slope through three neighbouring records (beside the power of log t that is claimed,
where one is); bars, the exponents of the window's halves, thirds and quarters, each over the time it speaks
of; the arrow, where the quarters head. Band of the colour of the bars: the interval I, which decides. Green:
the exponent claimed, dashed, and what the claim with its margin δ allows. It is supported where I lies in the
green, refuted where I lies outside, and undecided otherwise, or for the reason given. Dots beyond the panel
are left out.
"""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ratelab.experiments.judging.evidence import WINDOW, Fit, slope_weights, window
from ratelab.experiments.judging.outcome import Outcome, Row
from ratelab.experiments.spec import Claim, Decay, Spec, Target
from ratelab.paper_figures.house.make import Drawing, Style, write
from ratelab.paper_figures.house.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    few_powers,
    letters,
    new_figure,
    shade,
)
from ratelab.paper_figures.house.table import Table, table_of
from ratelab.theory.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("halves", "thirds", "quarters")
"""Drawn one over the other, from wide and light to narrow and dark: alike exponents stay apart."""
NARROW = 1.3
"""How many letters with serifs take the place of one without."""
SYMBOLS = {
    "Σ": r"$\Sigma$",
    "λ": r"$\lambda$",
    "η": r"$\eta$",
    "β": r"$\beta$",
    "±": r"$\pm$",
    "−": "$-$",
    "√": r"$\surd$",
    "≤": r"$\leq$",
    "×": r"$\times$",
}
"""Of reasons, as every font and every LaTeX has them."""


def save(spec: Spec, outcomes: Sequence[Outcome], folder: Path, style: Style) -> list[Path]:
    """Write claim-N, or claim-N-K of several rows, for each row of a rate claim. Returns the paths."""
    written = []
    for number, outcome in enumerate(outcomes, 1):
        if not isinstance(outcome.claim.measured, Decay):
            continue
        for place, row in enumerate(outcome.rows, 1):
            stem = f"claim-{number}-{place}" if len(outcome.rows) > 1 else f"claim-{number}"
            written += plot(spec, outcome.claim, row, folder / stem, style)
    return written


def plot(spec: Spec, claim: Claim, row: Row, stem: Path, style: Style) -> list[Path]:
    """Write the figure of one row: STEM.pdf and so on, STEM.csv and STEM.py. Returns the paths."""
    told = arguments(spec, claim, row)
    caption = "\n".join([*told["title"].splitlines()[1:], "", (__doc__ or "").strip()])
    drawing = Drawing(Path(__file__), draw, claim.sentence, caption, told)
    return write(drawing, as_table(claim.target, row), stem, style)


def as_table(target: Target, row: Row) -> Table:
    """A value at a time, or over one; low and high of an interval."""
    columns = ("what", "start", "end", "value", "low", "high")
    return table_of(dict(zip(columns, line, strict=True)) for line in _points(target, row))


def _points(target: Target, row: Row) -> Iterator[tuple[object, ...]]:
    times, risk = np.array(row.times), np.array(row.risk)
    last = float(times.max())
    yield "window", last / WINDOW, last, np.nan, np.nan, np.nan
    for t, r in zip(times[times > 0].tolist(), risk[times > 0].tolist(), strict=True):
        yield "risk", t, t, r, np.nan, np.nan
    fit, delta = row.verdict.evidence, row.verdict.margin
    if isinstance(fit, Fit):
        assert delta is not None
        yield from _exponents(fit, *_fitted(fit, times, risk))
        p, relation = target.rate.power, target.relation
        least = -np.inf if relation == "at_least" else p - delta
        most = np.inf if relation == "at_most" else p + delta
        yield "claimed", *fit.window, p, least, most


def _fitted(fit: Fit, times: Array, risk: Array) -> tuple[Array, Array]:
    """The points that were fitted: in the window the largest, for a floor cuts off what lies below."""
    inside = window(times)
    t, r = times[inside], risk[inside]
    used = np.sort(np.argsort(-r, kind="stable")[: fit.points])
    return t[used], r[used]


def _exponents(fit: Fit, t: Array, risk: Array) -> Iterator[tuple[object, ...]]:
    x = np.log(t)
    y = np.log(risk) - fit.log_power * np.log(x)
    line = np.exp((y + fit.exponent * x).mean() - fit.exponent * x + fit.log_power * np.log(x))
    for at, value in zip(t.tolist(), line.tolist(), strict=True):
        yield "line", at, at, value, np.nan, np.nan
    for k in range(len(t) - 2):
        three = slice(k, k + 3)
        yield "local", *t[three][[0, 2]].tolist(), -float(slope_weights(t[three]) @ y[three]), np.nan, np.nan
    for partition in fit.parts:
        for part in partition:
            yield PARTS[len(partition) - 2], part.start, part.end, part.exponent, np.nan, np.nan
    end = fit.window[1]
    yield "heading", end, end, fit.heading, np.nan, np.nan
    yield "exponent", *fit.window, fit.exponent, *fit.interval


def arguments(spec: Spec, claim: Claim, row: Row) -> dict[str, str]:
    """What `draw` is told in words."""
    side, found, fit = row.select, row.verdict, row.verdict.evidence
    unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
    setting = ", ".join(spec.label(v) for v in (side.problem, side.method, side.schedule, side.averaging))
    reason = "; ".join([found.reason, *found.notes])
    words = {}
    if isinstance(fit, Fit):
        reason = reason if str(fit) in reason else f"exponent {fit}; {reason}"
        slope = f"{round(-fit.exponent, 3) + 0.0:.3f}".replace("-", "−")
        logs = "log t" if fit.log_power == 1 else f"(log t)^{fit.log_power:g}"
        words = {
            "risk": "exact risk" if fit.exact else f"mean of {fit.runs} runs",
            "line": f"slope {slope}, times {logs}" if fit.log_power else f"slope {slope}",
            "interval": f"interval I, {fit.label}",
            "claimed": f"{claim.target}, δ = {found.margin:.3g}",
        }
    return {
        "title": f"{claim.sentence}\n{setting}, lr = {row.lrs[0]}{unit}\n{found.status}: {reason}",
        **words,
    }


def draw(
    table: Table,
    *,
    title: str = "",
    risk: str = "risk",
    line: str = "",
    interval: str = "",
    claimed: str = "",
) -> Figure:
    """The risk above, the exponents below where there are any; `title` has a line each for claim, setting and
    verdict, and the others are what the legend calls the parts of the picture."""
    judged = "exponent" in table.values("what")
    height, entries = (3.9, 10) if judged else (2.6, 2)
    across = letters(new_figure(height))
    abreast = max(2, across // 28)
    words = _lines(title, across)
    figure = new_figure(height + 0.12 * (len(words) + -(-entries // abreast) - 6))
    axes = figure.subplots(2 if judged else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_risk(axes[0], table, risk, line)
    if judged:
        _draw_exponents(axes[1], table, interval, claimed)
    axes[-1].set_xlabel("updates $t$")
    figure.align_ylabels()
    figure.suptitle("\n".join(words), x=0.01, ha="left", fontsize="small")
    handles, named = [], []
    for panel in axes:
        found = panel.get_legend_handles_labels()
        handles += found[0]
        named += found[1]
    figure.legend(handles, named, loc="outside lower center", ncols=min(abreast, len(named)))
    return figure


def _lines(title: str, across: int) -> list[str]:
    """As they fit the page, which holds more letters with serifs; a number stays with what it is."""
    fitting = across if "Sans" in mpl.rcParams["font.family"][0] else int(NARROW * across)
    kept = title.replace(" = ", "\u00a0=\u00a0").splitlines()
    wrapped = [part for line in kept for part in textwrap.wrap(line, fitting, break_on_hyphens=False)]
    return [_written(part.replace("\u00a0", " ")) for part in wrapped]


def _written(text: str) -> str:
    """A text in which no dollar means anything, and symbols are found in every font and every LaTeX."""
    return "".join(SYMBOLS.get(letter, letter) for letter in text.replace("$", r"\$"))


def _draw_risk(panel: "Axes", table: Table, risk: str, line: str) -> None:
    record, inside, fitted = (table.where("what", name) for name in ("risk", "window", "line"))
    at, value = record["start"], record["value"]
    value = np.where(np.isfinite(value) & (value > 0), value, np.nan)
    panel.set(xscale="log", yscale="log", ylabel="risk")
    room = (at.max() / at.min()) ** 0.03
    panel.set_xlim(at.min() / room, at.max() * room)
    known = value[np.isfinite(value)]
    if len(known):  # before anything is drawn: a risk on its way out has no scale
        low = max(float(known.min()) / 2, float(np.finfo(float).tiny))
        high = 2 * min(float(known.max()), 1e6 * float(known[0]))
        panel.set_ylim(low, high)
        few_powers(panel, low, high)
    panel.axvspan(inside.first("start"), inside.first("end"), color=GREY, alpha=0.15, lw=0, label="window W")
    marker: dict[str, Any] = {"marker": "o"} if len(record) < 25 else {}
    panel.plot(at, value, color=BLACK, label=_written(risk), **marker)
    if len(fitted):
        panel.plot(fitted["start"], fitted["value"], color=VERMILION, ls=(0, (4, 2)), label=_written(line))


def _draw_exponents(panel: "Axes", table: Table, interval: str, claimed: str) -> None:
    claim, found, local = (table.where("what", name) for name in ("claimed", "exponent", "local"))
    span, p = [claim.first("start"), claim.first("end")], claim.first("value")
    bottom, top = _room(table)
    panel.fill_between(
        span, found.first("low"), found.first("high"), color=SKY, alpha=0.3, label=_written(interval)
    )
    allowed = np.clip([claim.first("low"), claim.first("high")], bottom, top)
    panel.fill_between(span, *allowed, color=GREEN, alpha=0.2, lw=0)
    panel.plot(span, [p, p], color=GREEN, ls=(0, (4, 2)), label=f"claimed: {_written(claimed)}")
    middle = np.sqrt(local["start"] * local["end"])
    width, size = float(mpl.rcParams["lines.linewidth"]), float(mpl.rcParams["lines.markersize"])
    panel.plot(
        middle,
        local["value"],
        ls="",
        marker=".",
        ms=0.6 * size,
        color="0.3",
        zorder=4,
        label="local exponent",
    )
    for name, wide, light in zip(PARTS, (2.8, 1.7, 0.8), (0.4, 0.1, -0.5), strict=True):
        face: dict[str, Any] = {"color": shade(BLUE, light), "lw": wide * width, "solid_capstyle": "butt"}
        for k, (_, part) in enumerate(table.where("what", name).groups("start")):
            ends, value = [part.first("start"), part.first("end")], part.first("value")
            panel.plot(ends, [value, value], label=None if k else name, **face)
    heading: dict[str, Any] = {"ls": "", "marker": ">", "color": shade(BLUE, -0.5), "clip_on": False}
    at = table.where("what", "heading").first("value")
    panel.plot([1], [at], transform=panel.get_yaxis_transform(), label="where they head", **heading)
    panel.set(ylim=(bottom, top), ylabel="exponent")
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _room(table: Table) -> tuple[float, float]:
    """Limits that hold what decides, and of the local exponents as many as leave that readable."""
    decide = [table.where("what", name) for name in (*PARTS, "heading", "exponent", "claimed")]
    values = np.concatenate([part[name] for part in decide for name in ("value", "low", "high")])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    local = table.where("what", "local")["value"]
    span = high - low
    lower, upper = np.quantile(local, [0.05, 0.95])
    low, high = min(low, max(lower, low - span)), max(high, min(upper, high + span))
    return low - 0.1 * (high - low), high + 0.1 * (high - low)
