"""Figures of one's own results: what `ratelab plot` and `ratelab figure RUN` write, and what they refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from outsider import Outsider
from shelling import Shell

import ratelab
from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.store import Curve, Results, Store
from ratelab.paper_figures.house import curves, results as plots, venues
from ratelab.paper_figures.house.make import Style
from ratelab.paper_figures.house.results import Plot
from ratelab.paper_figures.house.table import Table, read_table
from ratelab.theory.arrays import InputError

FILE = """
title = "plots"
problems = ["Quadratic(UniformSpectrum(dim=2, condition_number=1.25))"]
schedules = ["InversePower(0.5)", {label = "flat", value = "Constant()"}]
averagings = ["Last()", "Uniform()"]
lr = [0.25, 0.5]
lr_unit = "1/L"
horizons = [1000, 10_000]
runs = 8
records = 40

[[claims]]
sentence = "c/sqrt(t) gives t^-1/2"
schedule = "InversePower(0.5)"
averaging = "Last()"
lr = 0.5
rate = "t^-1/2"
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("plots")
    file = folder / "plots.toml"
    file.write_text(FILE, encoding="utf-8")
    spec, store = load(file), Store(folder / "results" / "plots")
    assert not execute.run(spec, FILE, store).failed
    return Results(spec, store)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, results: Results) -> Shell:
    monkeypatch.chdir(results.store.folder.parent.parent)
    return Shell(capsys)


STYLE = Style(venues.venue("icml").settings(), ("png",))


def test_a_compensated_plot_is_the_risk_times_a_power(results: Results, tmp_path: Path) -> None:
    chosen = plots.chosen(results.spec, "step", None, "schedule", 0.5, ["averaging=Last()", "lr=0.5"])
    written = plots.plot(results, chosen, tmp_path / "p", STYLE)
    assert [path.name for path in written] == ["p.png", "p.csv", "p.py"]
    table = read_table(tmp_path / "p.csv")
    figure = curves.draw(table, **plots.arguments(results, chosen, ""))
    (panel,) = figure.axes
    schedule = results.spec.schedules[0]
    curve = Curve(
        results.spec.problems[0], results.spec.methods[0], schedule, results.spec.averagings[0], 0.5, 10_000
    )
    exact = results.exact(curve)
    assert exact is not None
    t, drawn = panel.lines[0].get_data()
    np.testing.assert_array_equal(np.asarray(t), exact["t"].values[1:])
    np.testing.assert_allclose(np.asarray(drawn), (exact.values * exact["t"].values ** 0.5)[1:], rtol=1e-12)
    assert panel.get_ylabel() == r"risk $\times\ t^{0.5}$"


@pytest.mark.parametrize(
    ("x", "by", "panels", "points"),
    [("step", "schedule", (2, 2), None), ("lr", "averaging", (1, 2), 2), ("horizon", "lr", (2, 2), 2),
     ("step", "lr", (2, 2), None), ("horizon", "schedule", (2, 2), 2), ("step", "horizon", None, None)],
)  # fmt: skip
def test_what_is_left_of_the_axes_becomes_panels(
    results: Results, x: str, by: str, panels: tuple[int, int] | None, points: int | None
) -> None:
    chosen = plots.chosen(results.spec, x, "risk", by, 0.0, [])
    if panels is None:  # schedule, averaging and lr are three
        with pytest.raises(InputError, match=r"schedule, averaging, lr, and a page has two .*--where"):
            plots.panels(results.spec, chosen)
        return
    table = plots.table(results, chosen)
    figure = curves.draw(table, **plots.arguments(results, chosen, ""))
    grid = figure.axes[0].get_gridspec()
    assert grid is not None
    assert (grid.nrows, grid.ncols) == panels
    for panel in figure.axes:
        solid = [line for line in panel.lines if not str(line.get_label()).startswith("_")]
        assert len(solid) == 2
        assert points is None or {len(np.asarray(line.get_xdata())) for line in solid} == {points}
        assert panel.get_title()


def test_what_lies_on_its_way_out_hides_nobody(results: Results) -> None:
    """A risk of 1e-28 beside one of 0.1, and one that diverges: all starts are in the picture."""
    table = plots.table(results, Plot())
    changed = dict(table.columns)
    first = changed["schedule"] == changed["schedule"][0]
    changed["exact"] = np.where(first, changed["exact"] * 1e-28, changed["exact"])
    last = changed["t"] == changed["t"].max()
    changed["mean"] = np.where(~first & last, 1e300, changed["mean"])
    figure = curves.draw(Table(changed), **plots.arguments(results, Plot(), ""))
    low, high = figure.axes[0].get_ylim()
    assert low < 1e-28
    assert 0.2 < high < 1e8


@pytest.mark.slow
def test_its_script_draws_the_same_bytes(results: Results, outsider: Outsider, tmp_path: Path) -> None:
    odd = replace(results.spec, title=r"a \nu, $x, a \"quoted\" title" + '"""', labels={})
    picture, _, script = plots.plot(Results(odd, results.store), Plot(), tmp_path / "p", STYLE, titled=True)
    again = tmp_path / "again.png"
    outsider(script, again)
    assert picture.read_bytes() == again.read_bytes()


def test_a_triangle_stands_where_a_rate_is_claimed(results: Results) -> None:
    told = plots.arguments(results, Plot(), "")
    assert told["slopes"] == [(repr(results.spec.averagings[0]), 0.5, 0.5)]
    table = plots.table(results, Plot())
    with_triangle = [bool(panel.texts) for panel in curves.draw(table, **told).axes]
    assert with_triangle == [False, True, False, False]
    flat = curves.draw(table, **told | {"compensate": 0.5})
    assert not any(panel.texts for panel in flat.axes)


def test_a_label_of_the_file_is_in_the_legend(results: Results) -> None:
    table = plots.table(results, Plot())
    figure = curves.draw(table, **plots.arguments(results, Plot(), ""))
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[:3] == ["InversePower(0.5)", "flat", "line: exact"]
    assert "band: 95 % interval of the mean of the runs" in said


@pytest.mark.slow
def test_a_notebook_shows_them(results: Results) -> None:
    for shown in (ratelab.show_results(results, by="lr"), ratelab.show_figure("d2l_gradient_descent")):
        assert shown._repr_png_().startswith(b"\x89PNG")


@pytest.mark.slow
def test_plot_from_the_command_line(shell: Shell) -> None:
    where = ("--where", "averaging=Uniform()", "--where", "lr=0.5")
    said = shell("plot", "results/plots", "--compensate", "1", *where, "--venue", "icml", "--column")
    assert said.code == 0
    stem = "results/plots/figures/risk-by-schedule-over-step"
    assert [f"wrote {stem}.{ending}" for ending in ("pdf", "png", "csv", "py")] == said.out.splitlines()[:-1]
    assert said.out.splitlines()[-1].endswith("SGD(), Uniform(), lr = 0.5 × 1/L")
    assert shell("plot", "results/plots", "--x", "lr", "--out", "mine/x", "--format", "svg").code == 0
    assert {path.name for path in Path("mine").iterdir()} == {"x.svg", "x.csv", "x.py"}
    for out in ("mine", "mine/"):
        assert (
            "mine/risk-by-schedule-over-lr.csv"
            in shell("plot", "results/plots", "--x", "lr", "--out", out).out
        )
    assert "wrote mine/y.pdf" in shell("plot", "results/plots", "--x", "lr", "--out", "mine/y.pdf").out


def test_numbers_are_chosen_however_they_are_written(results: Results) -> None:
    for text, value in (
        ("lr=5e-1", 0.5),
        ("lr=0.50", 0.5),
        ("horizon=10_000", 10_000),
        ("horizon=1e4", 10_000),
    ):
        (chosen,) = plots.chosen(results.spec, "step", None, "schedule", 0.0, [text]).where.values()
        assert chosen == value


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--x", "time"), "allowed: step, horizon, lr"),
        (("--by", "colour"), "allowed: problem, method, schedule"),
        (("--y", "train_loss"), "it has risk"),
        (("--x", "lr", "--by", "lr"), "both lr"),
        (("--where", "averaging=Tail(0.5)"), "it has Last(); Uniform()"),
        (("--where", "lr=7"), "it has 0.25; 0.5"),
        (("--where", "lr=0.5", "--where", "lr=0.25"), "lr twice"),
        (("--where", "size=3"), "no axis"),
        (("--compensate", "nan"), "finite power"),
        (("--venue", "nature"), "neurips"),
        (("--format", "eps"), "pdf, pgf, svg, png"),
    ],
)
def test_what_cannot_be_plotted_is_refused_with_what_can(
    shell: Shell, arguments: tuple[str, ...], said: str
) -> None:
    refused = shell("plot", "results/plots", *arguments)
    assert refused.code == 2
    assert said in refused.err
