"""Every figure of the gallery, found as the command finds it: made in full, written, read, its claims judged.

A new module in the folder is tested without being named here. A figure's data is computed once.
"""

import csv
import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from paper_figures import __main__ as gallery, _style
from paper_figures._claims import Claim, judge
from theory.arrays import InputError
from theory.combine import Scaled
from theory.schedules import Constant, Cosine, Exponential, InversePower, Linear, Step

FIGURES = gallery.find()
each_figure = pytest.mark.parametrize("name", FIGURES)


@cache
def _data(name: str) -> Any:
    return gallery.picture(name).data()


def test_the_gallery_holds_the_four() -> None:
    assert {"d2l_sgd_paths", "bach_moulines", "exponent_vs_alpha", "condition_number"} <= set(FIGURES)


@pytest.mark.slow
@each_figure
def test_files_repeat_byte_by_byte(name: str, tmp_path: Path) -> None:
    module = gallery.picture(name)
    first = gallery.save(name, module, _data(name), tmp_path / "1")
    again = gallery.save(name, module, _data(name), tmp_path / "2")
    assert {path.suffix for path in first} == {".pdf", ".png", ".csv"}
    for a, b in zip(first, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
        assert a.stat().st_size > 500
    pdf = (tmp_path / "1" / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType: fonttype 42
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf


@each_figure
def test_csv_reads_back_to_the_last_digit(name: str, tmp_path: Path) -> None:
    module = gallery.picture(name)
    path = _style.save_table(module.COLUMNS, module.rows(_data(name)), tmp_path / f"{name}.csv")
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == tuple(module.COLUMNS)
    rows = list(module.rows(_data(name)))
    assert len(rows) == len(lines) > 0
    for row, line in zip(rows, lines, strict=True):
        assert all(isinstance(value, str | int | float) for value in row)
        for value, text in zip(row, line, strict=True):
            assert text == value if isinstance(value, str) else float(text) == value


@each_figure
def test_claims_hold_as_recorded(name: str) -> None:
    claims = gallery.picture(name).CLAIMS
    assert claims
    outcomes = [judge(claim, _data(name)) for claim in claims]
    assert not [str(outcome) for outcome in outcomes if not outcome.as_expected]
    assert all(claim.sentence and claim.source for claim in claims)


def _changed(data: Any, change: Callable[[Any], Any]) -> Any:
    """The data of a figure with every number and array of floats in it changed; times, masks, names kept."""
    if isinstance(data, dict):
        return {key: _changed(value, change) for key, value in data.items()}
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        values = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
        return dataclasses.replace(data, **_changed(values, change))
    is_array = isinstance(data, np.ndarray) and data.dtype.kind == "f"
    return change(data) if is_array or isinstance(data, float) else data


def _wrong(data: Any) -> Iterator[Any]:
    """The same data shrunk, moved, tilted along the last axis, and with noise of its own on every number."""
    rng = np.random.default_rng(0)
    yield _changed(data, lambda x: 1e-3 * x)
    yield _changed(data, lambda x: x + 1.0)
    yield _changed(data, lambda x: x * np.exp(np.linspace(0, 3, x.shape[-1])) if np.ndim(x) else x)
    yield _changed(data, lambda x: x * rng.lognormal(sigma=0.5, size=np.shape(x)))


@each_figure
def test_every_claim_would_fail_on_wrong_data(name: str) -> None:
    """Each measures the data: some wrong data moves it beyond its tolerance and turns a supported claim."""
    data = _data(name)
    wrong = list(_wrong(data))
    for claim in gallery.picture(name).CLAIMS:
        before, moved = judge(claim, data), []
        for other in wrong:
            try:
                outcome = judge(claim, other)
            except InputError:  # no exponent can be fitted to it
                continue
            if abs(outcome.measured - before.measured) > claim.tolerance:
                moved.append(outcome.status)
        assert moved, f"nothing moves: {claim.sentence}"
        assert claim.expect == "refuted" or "refuted" in moved, f"cannot fail: {claim.sentence}"


@each_figure
def test_caption_says_what_is_seen(name: str) -> None:
    caption = gallery.picture(name).__doc__ or ""
    first, *_ = caption.splitlines()
    assert len(caption) > 200
    assert first.endswith(".")


@each_figure
def test_layout(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels hold data, texts stay inside and apart, legends stand beside the panels."""
    figure = gallery.picture(name).draw(_data(name))
    assert figure.get_size_inches()[0] == _style.FULL
    figure.draw_without_rendering()
    drawn: list[Text] = []
    original = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        drawn.append(text)
        original(text, renderer)

    monkeypatch.setattr(Text, "draw", record)
    figure.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for t in drawn if t.get_visible() and t.get_text().strip()]
    assert len(boxes) > 10
    for words, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{words!r} is cut off"
    for (words, box), (others, other) in combinations(boxes, 2):
        assert not box.shrunk(0.9, 0.8).overlaps(other.shrunk(0.9, 0.8)), f"{words!r} lies on {others!r}"
    for axes in figure.axes:
        assert axes.lines, "a panel is empty"
        for legend in figure.legends:
            assert not legend.get_window_extent().overlaps(axes.get_window_extent()), "legend over data"


def test_drawing_leaves_no_trace_in_the_settings() -> None:
    before = dict(mpl.rcParams)
    gallery.picture("d2l_sgd_paths").draw(_data("d2l_sgd_paths"))
    assert dict(mpl.rcParams) == before


def test_a_schedule_has_one_look_and_every_list_distinct_ones() -> None:
    own = [Constant(), InversePower(0.5), InversePower(1.0), Linear(), Cosine(), Exponential(0.9)]
    assert _style.looks(own) == [_style.look(schedule) for schedule in own]
    many = [*own, *(Step(0.5, every=n) for n in range(1, 8)), InversePower(0.25)]
    found = _style.looks(many)
    assert len({(look.colour, str(look.dash)) for look in found}) == len(many)
    assert found[: len(own)] == _style.looks(own)
    assert _style.look(Scaled(Cosine(), 0.5)) == _style.look(Cosine())


def test_the_triangle_has_the_slope_it_says() -> None:
    axes = Figure().subplots()
    for slope in (-1.0, -0.4, 0.5):
        for below in (True, False):
            _style.slope_triangle(axes, 10.0, 2.0, slope, "", below=below)
            x, y = (np.log10(values) for values in axes.lines[-1].get_data())
            assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(slope)
            middle = (y[0] + y[1]) / 2
            assert (y[2] < middle) == below


@pytest.mark.slow
def test_command_prints_files_and_claims_and_signals_a_failing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "d2l_sgd_paths"
    assert gallery.main([name, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(str(tmp_path / f"{name}{ending}") in printed for ending in (".pdf", ".png", ".csv"))
    assert "measured 0.694665, predicted 0.69467" in printed
    assert "0 not as recorded" in printed
    wrong: Claim[Any] = Claim("the sd of x₁ is a half", "nobody", lambda d: d["constant"].sd[0], 0.5)
    monkeypatch.setattr(gallery.picture(name), "CLAIMS", (wrong,))
    assert gallery.main([name, "--out", str(tmp_path)]) == 1
    assert "NOT AS RECORDED: the sd of x₁ is a half" in capsys.readouterr().out


def test_unknown_figures_and_unwritable_folders_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery.main(["bach_moulin"]) == 2
    assert "did you mean bach_moulines?" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        gallery.save(
            "x", gallery.picture("d2l_sgd_paths"), _data("d2l_sgd_paths"), tmp_path / "file" / "folder"
        )
