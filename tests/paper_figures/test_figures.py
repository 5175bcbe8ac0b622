"""Every figure of the gallery, found as the command finds it: made, written, drawn again by its script, its
claims judged.

A new module in the folder is tested without being named here. A figure's data is computed once for all tests
and workers, and kept in a folder of this run.
"""

import os
import pickle
import re
from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, TypeAlias, get_args

import matplotlib as mpl
import numpy as np
import pytest
from claiming import faults_of_source
from filelock import FileLock
from hypothesis import given, strategies as st
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from outsider import Outsider
from scipy import stats
from strategies import values

from ratelab.experiments.judging.claims import outcome
from ratelab.experiments.judging.estimates import Estimate
from ratelab.experiments.judging.outcome import Outcome
from ratelab.paper_figures.house import make, script, style, venues
from ratelab.paper_figures.house.about import Group, Topic
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.table import Table, read_table, table_of
from ratelab.problems.data.datasets import FILES
from ratelab.theory.arrays import InputError
from ratelab.theory.combine import Scaled, Then, Warmup
from ratelab.theory.schedules import Constant, Cosine, InversePower

QUICK = 0.6
"""Seconds up to which a figure is among the quick tests."""
LONG = 30.0
"""Seconds above which a figure, one that trains networks, is left to `make test-studies`."""

Computed: TypeAlias = Callable[[str], Any]


def _parameter(name: str) -> Any:
    """A figure by name, skipped where its data sets are not at hand, marked where it takes a while."""
    about = make.picture(name).ABOUT
    folder, files = os.environ.get("RATELAB_DATA"), [f.label for data in about.data for f in FILES[data]]
    lacks = [label for label in files if not folder or not (Path(folder) / label).is_file()]
    marks = [pytest.mark.skipif(bool(lacks), reason=f"RATELAB_DATA names no folder with {', '.join(lacks)}")]
    if about.seconds[0] > LONG:
        marks.append(pytest.mark.study)
    elif about.seconds[0] > QUICK:
        marks.append(pytest.mark.slow)
    return pytest.param(name, marks=marks)


each_figure = pytest.mark.parametrize("name", [_parameter(name) for name in make.find()])
ICML = venues.venue("icml").settings()


@pytest.fixture(scope="session")
def computed(commons: Path) -> Computed:
    """The data of a figure by its name."""
    kept: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in kept:
            file = commons / f"{name}.pickle"
            with FileLock(f"{file}.lock"):
                if not file.exists():
                    file.write_bytes(pickle.dumps(make.picture(name).data()))
                kept[name] = pickle.loads(file.read_bytes())
        return kept[name]

    return find


def test_the_gallery_holds_the_fields_figures() -> None:
    books = "d2l_gradient_descent d2l_sgd_paths d2l_minibatch d2l_momentum d2l_schedules d2l_lenet"
    tutorials = "pytorch_schedulers kohya_schedulers line_notebook keras_study five_schedulers mnist_mark"
    papers = (
        "bach_moulines exponent_vs_alpha condition_number shamir_zhang cooldown_bounds sgdr cyclical_lr swa "
        "warmup_stability batch_growth noisy_quadratic_model power_law"
    )
    assert {*books.split(), *tutorials.split(), *papers.split()} <= {*make.find()}


@each_figure
def test_a_figure_says_where_it_comes_from(name: str) -> None:
    module = make.picture(name)
    about, (first, *_) = module.ABOUT, make.caption(module).splitlines()
    assert about.title
    assert about.source
    assert about.link.startswith("https://")
    assert about.group in get_args(Group)
    assert about.topics
    assert {*about.topics} <= {*get_args(Topic)}
    assert all(seconds > 0 for seconds in about.seconds)
    assert len(make.caption(module)) > 200
    assert first.endswith(".")


@each_figure
def test_csv_reads_back_to_the_last_digit(name: str, computed: Computed, tmp_path: Path) -> None:
    data = computed(name)
    path = venues.save_table(data, tmp_path / f"{name}.csv")
    assert len(data) > 0
    _assert_same(read_table(path), data)
    assert path.stat().st_size < 2_000_000


def _assert_same(one: Table, other: Table) -> None:
    assert list(one.columns) == list(other.columns)
    for name, column in other.columns.items():
        np.testing.assert_array_equal(one[name], column)


@each_figure
def test_claims_hold_as_recorded(name: str, computed: Computed) -> None:
    claims = make.picture(name).CLAIMS
    assert claims
    outcomes = [outcome(claim, computed(name)) for claim in claims]
    assert not [str(found) for found in outcomes if not found.as_expected]
    assert all(claim.finding for claim in claims if claim.expect != "supported")
    assert len({claim.sentence for claim in claims}) == len(claims)


@each_figure
def test_every_claim_says_who_says_it_where_and_of_what(name: str) -> None:
    claims = make.picture(name).CLAIMS
    forms = [form for claim in claims for form in (claim, claim.in_full)]
    assert not [fault for form in forms for fault in faults_of_source(form)]


def _wrong(table: Table) -> Iterator[Table]:
    """The same table with the numbers of one column shrunk, moved, tilted along each curve, with noise of
    their own, or of another column; or with two names of a column exchanged."""
    rng, tilt = np.random.default_rng(0), np.ones(len(table))
    texts = [name for name, column in table.columns.items() if column.dtype.kind == "O"]
    numbers = [name for name, column in table.columns.items() if column.dtype.kind == "f"]
    kinds = [name for name in table.columns if name in texts or name == "seed"]
    numbered = Table(table.columns | {"row": np.arange(len(table))})
    for _, curve in numbered.groups(*kinds, *kinds[:1]) if kinds else [((), numbered)]:
        tilt[curve["row"]] = np.exp(np.linspace(0, 3, len(curve)))
    for name in numbers:
        column, noise = table[name], rng.lognormal(sigma=0.5, size=len(table))
        for changed in (1e-3 * column, column + 1.0, column * tilt, column * noise):
            yield Table({**table.columns, name: changed})
    for name in texts:
        for one, other in combinations(table.values(name), 2):
            exchanged = {one: other, other: one}
            entries = [exchanged.get(entry, entry) for entry in table[name].tolist()]
            yield Table({**table.columns, name: np.array(entries, dtype=object)})
    for name, other in permutations(numbers, 2):
        yield Table({**table.columns, name: table[other]})


def measured(found: Outcome) -> float:
    assert isinstance(found.evidence, Estimate)
    return found.evidence.value


UNREADABLE = (InputError, ArithmeticError, LookupError, ValueError, AssertionError, Warning)
"""What a claim may say to a wrong table."""


@each_figure
def test_every_claim_would_fail_on_wrong_data(name: str, computed: Computed) -> None:
    """Each measures the data: some wrong data moves it beyond its tolerance and turns a supported claim."""
    data = computed(name)
    claims = {said.sentence: said for said in make.picture(name).CLAIMS}
    before = {sentence: measured(outcome(said, data)) for sentence, said in claims.items()}
    unmoved = {*claims}
    unturned = {sentence for sentence, said in claims.items() if said.expect == "supported"}
    for wrong in _wrong(data):
        for sentence in unmoved | unturned:
            try:
                found = outcome(claims[sentence], wrong)
                value = measured(found)
            except UNREADABLE:
                continue
            tolerance = claims[sentence].target.tolerance
            if (
                value != before[sentence] and not abs(value - before[sentence]) <= tolerance
            ):  # inf − inf is NaN
                unmoved.discard(sentence)
                if found.status == "refuted":
                    unturned.discard(sentence)
        if not unmoved | unturned:
            break
    assert not unmoved, f"nothing moves: {unmoved}"
    assert not unturned, f"cannot fail: {unturned}"


@pytest.mark.slow
@each_figure
def test_its_script_draws_the_same_bytes_with_matplotlib_alone(
    name: str, computed: Computed, outsider: Outsider, tmp_path: Path
) -> None:
    style = make.Style(ICML, ("pdf", "svg", "png"))
    written = make.save(name, computed(name), tmp_path, style)
    assert [path.name for path in written] == [
        f"{name}.{ending}" for ending in ("pdf", "svg", "png", "csv", "py")
    ]
    again = [tmp_path / f"again.{ending}" for ending in style.formats]
    outsider(written[-1], *again)
    for first, second in zip(written, again, strict=False):
        assert first.read_bytes() == second.read_bytes(), first.name
        assert first.stat().st_size > 500
    pdf = written[0].read_bytes()
    assert b"/FontFile2" in pdf  # TrueType: fonttype 42
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf


@pytest.mark.parametrize(
    "venue", ["icml", *(pytest.param(name, marks=pytest.mark.slow) for name in ("siam", "jmlr", "slides"))]
)
@each_figure
def test_layout(name: str, venue: str, computed: Computed, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the widest and the narrowest page, the largest and the smallest font: panels hold data, texts stay
    inside and apart, legends stand beside the panels and say what a band is; LaTeX could set every text."""
    settings = venues.venue(venue).settings()
    drawn: list[Text] = []
    original = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        drawn.append(text)
        original(text, renderer)

    with venues.printed(settings):
        figure = make.picture(name).draw(computed(name))
        assert figure.get_size_inches()[0] == settings["figure.figsize"][0]
        assert figure.get_size_inches()[1] <= settings["figure.figsize"][1]
        monkeypatch.setattr(Text, "draw", record)
        figure.draw_without_rendering()
    shown = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    assert len(boxes) > 10
    for words, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{words!r} is cut off"
        plain = re.sub(r"\$[^$]*\$", "", words)
        assert plain.isascii() or set(plain) - {"−"} <= set(map(chr, range(128))), f"{words!r}: not LaTeX's"
    inner = [(words, box.shrunk(0.9, 0.8)) for words, box in boxes]
    for (words, box), (others, other) in combinations(inner, 2):
        assert not box.overlaps(other), f"{words!r} lies on {others!r}"
    _check_panels(figure)


def _check_panels(figure: Figure) -> None:
    said = " ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())
    legends = [legend.get_window_extent() for legend in figure.legends]
    for axes in figure.axes:
        assert any(np.size(line.get_xdata()) for line in axes.lines), "a panel is empty"
        assert axes.get_legend() is None, "legends stand beside the panels: figure.legend(loc='outside ...')"
        assert not any(legend.overlaps(axes.get_window_extent()) for legend in legends), "legend over data"
        if any(isinstance(part, PolyCollection) for part in axes.collections):
            assert "band" in said.lower(), "the legend does not say what the band is"


# What all figures share


def test_drawing_leaves_no_trace_in_the_settings(computed: Computed) -> None:
    before = dict(mpl.rcParams)
    with venues.printed(ICML):
        make.picture("d2l_sgd_paths").draw(computed("d2l_sgd_paths"))
    assert dict(mpl.rcParams) == before


@given(st.lists(values("schedule"), min_size=1, max_size=8, unique_by=repr))
def test_a_schedule_has_one_colour_and_every_list_distinct_looks(drawn: list[Any]) -> None:
    texts = [repr(schedule) for schedule in drawn]
    found = style.looks(texts)
    assert [look.colour for look in found] == [style.look(text).colour for text in texts]
    assert len({(look.colour, str(look.dash)) for look in found}) == len(texts)
    assert len({(look.colour, look.marker) for look in found}) == len(texts)


def test_two_dozen_of_a_family_are_told_apart() -> None:
    found = style.looks([f"Cosine(floor={k / 100})" for k in range(24)])
    assert len({look.colour for look in found}) == 1
    assert len({(str(look.dash), look.marker) for look in found}) == 24


def test_a_modified_schedule_wears_the_colour_of_what_it_modifies() -> None:
    cosine = style.look(repr(Cosine()))
    assert style.look(repr(Scaled(Cosine(), 0.5))) == cosine
    assert style.look(repr(Warmup(Cosine(), 5))) == cosine
    assert style.look("Cosine()") == cosine
    assert style.look(repr(Then(Constant(), second=Cosine(), at=3))) == cosine
    half, one = (style.look(repr(InversePower(power))) for power in (0.5, 1.0))
    assert half.colour != one.colour


def test_ordered_and_distinct_looks_differ() -> None:
    for many in (style.ordered(7), style.distinct(7)):
        assert len({look.colour for look in many}) == len({str(look.dash) for look in many}) == 7


def test_the_triangle_has_the_slope_it_says() -> None:
    axes = Figure().subplots()
    for slope in (-1.0, -0.4, 0.5):
        for below in (True, False):
            style.slope_triangle(axes, 10.0, 2.0, slope, "", below=below)
            x, y = (np.log10(values) for values in axes.lines[-1].get_data())
            assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(slope)
            middle = (y[0] + y[1]) / 2
            assert (y[2] < middle) == below


def test_a_claim_carries_its_interval_and_what_is_true_instead() -> None:
    said = claim("x is one", ours(), lambda x: x, "1 ± 0.1", refuted="it is two")
    found = outcome(said, 2.0)
    assert (found.status, found.as_expected, found.measured) == ("refuted", True, "2")
    assert str(found) == (
        "conjecture fails, as recorded: x is one (derived here): measured 2, predicted 1 ± 0.1; it is two"
    )
    assert "holds, NOT AS RECORDED" in str(outcome(said, 1.05))


@pytest.mark.parametrize("printed", ["at most 0.95", "at least 0.02", "0.5 ± 0.05", "1", "at most -3 ± 0.1"])
def test_a_bound_is_what_is_printed(printed: str) -> None:
    assert str(claim("", ours(), lambda x: x, printed).target) == printed


def test_what_is_no_bound_is_refused() -> None:
    with pytest.raises(InputError, match="'about 1' is no bound"):
        claim("", ours(), lambda x: x, "about 1")


@pytest.mark.parametrize("freedom", [1, 2, 4, 7, 63, 1000])
def test_the_interval_is_that_of_student(freedom: int) -> None:
    assert style.t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-7)


def test_a_script_refuses_what_matplotlib_alone_does_not_have(tmp_path: Path) -> None:
    module = tmp_path / "broken.py"
    module.write_text(
        '"""A figure."""\nfrom theory.schedules import Constant\ndef draw(table):\n    return Constant()\n'
    )
    with pytest.raises(InputError, match=r"broken\.py: draw needs Constant of theory\.schedules"):
        script.standalone(module, "x", "X", "", ICML)


def test_tables_are_what_was_written(tmp_path: Path) -> None:
    lines = [{"name": "a", "n": 1, "x": 0.1}, {"name": "b", "n": 2}, {"name": "a", "n": 3, "x": np.inf}]
    table = table_of(lines)
    path = venues.save_table(table, tmp_path / "t.csv")
    assert path.read_text() == "name,n,x\na,1,0.1\nb,2,\na,3,inf\n"
    _assert_same(read_table(path), table)
    assert [(name, list(part["n"])) for name, part in table.groups("name")] == [("a", [1, 3]), ("b", [2])]
    assert [key for key, _ in table.groups("name", "n")] == [("a", 1), ("b", 2), ("a", 3)]
    np.testing.assert_array_equal(table["x"], [0.1, np.nan, np.inf])
    assert len(table.where("name", "a").above("n", 1)) == 1
    assert (table.values("name"), table.first("n")) == (["a", "b"], 1.0)


def test_runs_of_a_table_are_rows_over_one_axis() -> None:
    lines = [{"seed": seed, "t": t, "y": 10 * seed + t} for seed in (0, 1) for t in (0, 5, 9)]
    t, y = table_of(lines).runs("y")
    assert (t.tolist(), y.tolist()) == ([0, 5, 9], [[0, 5, 9], [10, 15, 19]])


def test_unknown_figures_and_unwritable_folders_are_refused(computed: Computed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean bach_moulines\?"):
        make.picture("bach_moulin")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        make.save("d2l_sgd_paths", computed("d2l_sgd_paths"), tmp_path / "file" / "x", make.Style(ICML))
