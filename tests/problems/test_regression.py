"""Least squares: streaming samples, the minimiser and the minibatches of the tables, and gradient descent on
the line notebook's 32 points, number by number. Statistical assertions: fixed keys, |z| < 5.5, p > 1e-6."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from ratelab.experiments.engines import step
from ratelab.experiments.engines.job import Job
from ratelab.experiments.file import load as load_spec
from ratelab.experiments.methods import SGD
from ratelab.problems.data.datasets import FILES, load
from ratelab.problems.philox import stream_key
from ratelab.problems.problem import exact_risk
from ratelab.problems.regression import Rows, StreamingLeastSquares, TableLeastSquares
from ratelab.problems.spectra import Given
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Last
from ratelab.theory.moments import Additive
from ratelab.theory.notation import parse

KEY = stream_key(0, "regression")
AIRFOIL = Path(os.environ.get("RATELAB_DATA", ""), FILES["airfoil"][0].label)
BOOK = """
problems   = [{problems}]
schedules  = ["Constant()"]
averagings = ["Last()"]
lr         = [1.0]
lr_unit    = "absolute"
horizons   = [10]
record_every = 1
runs       = 1
"""


def design(name: str) -> tuple[Array, Array]:
    """The table as a user would prepare it: standardised (not the line), a column of ones last."""
    table = load(name)
    x, y = table.features, table.targets
    if name != "line":
        x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return np.column_stack([x, np.ones(len(y))]), y


@pytest.mark.parametrize("name", ["line", "diabetes"])
def test_a_table_is_seen_from_its_minimiser(name: str) -> None:
    x, y = design(name)
    d = x.shape[1]
    initial = tuple(np.linspace(-1, 1, d).tolist())
    problem = TableLeastSquares(name, initial=initial)  # type: ignore[arg-type]
    best: Array = np.asarray(np.linalg.solve(x.T @ x, x.T @ y), dtype=np.float64)

    def loss(w: Array) -> float:
        return float(0.5 * np.mean((x @ w - y) ** 2))

    assert problem.minimum == pytest.approx(loss(best), rel=1e-12)
    assert problem.constants.start_risk == pytest.approx(loss(np.array(initial)) - loss(best), rel=1e-11)
    assert pytest.approx(float(np.linalg.norm(np.array(initial) - best)), rel=1e-10) == problem.constants.D
    assert pytest.approx(np.linalg.eigvalsh(x.T @ x / len(y)).max(), rel=1e-12) == problem.constants.L
    from_zero = TableLeastSquares(name)  # type: ignore[arg-type]
    assert from_zero.constants.start_risk == pytest.approx(loss(np.zeros(d)) - loss(best), rel=1e-11)


def test_streaming_samples_have_the_law_declared() -> None:
    lam = np.array([2.0, 0.5, 0.1])
    problem = StreamingLeastSquares(Given(tuple(lam.tolist())), label_sd=0.7, batch=3)
    z, e = problem.sample(KEY, range(4), 0, 20_000)
    assert z.shape == (4, 20_000, 3, 3)
    assert e.shape == (4, 20_000, 3)
    rows, labels = z.reshape(-1, 3).astype(np.float64), e.reshape(-1).astype(np.float64)
    unit = np.column_stack([rows / np.sqrt(lam), labels / 0.7])
    for i in range(4):
        for j in range(i + 1):
            product = unit[:, i] * unit[:, j]
            assert abs(product.mean() - (i == j)) < 5.5 * product.std() / np.sqrt(len(product))
    across = (z[..., 0, :] * z[..., 1, :]).reshape(-1, 3).astype(np.float64)  # rows of one batch
    assert np.all(np.abs(across.mean(0)) < 5.5 * across.std(0) / np.sqrt(len(across)))


def test_the_gradient_is_the_mean_over_the_batch() -> None:
    problem = StreamingLeastSquares(Given((1.0, 1.0)), batch=2)
    z = torch.tensor([[[1.0, 2.0], [0.0, -1.0]]], dtype=torch.float64)
    e = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    delta = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)  # residuals 3 − ½ and −1 − 1
    assert problem.gradient(delta, z, e).tolist() == [[[1.25, 3.5]]]


def _row_numbers(problem: TableLeastSquares, run: int, first: int, updates: int) -> list[list[int]]:
    """Which rows each batch holds, recognised by their residuals; zero rows are padding."""
    rows = problem._rows
    z, e = problem.sample(KEY, range(run, run + 1), first, updates)
    found = []
    for batch, labels in zip(z[0], e[0], strict=True):
        size = int(np.count_nonzero(batch.any(axis=1)))
        scale = np.sqrt(problem.batch / size)
        numbers = [int(np.abs(rows.residuals * scale - label).argmin()) for label in labels[:size]]
        np.testing.assert_allclose(batch[:size], rows.features[numbers] * scale, rtol=1e-12)
        assert not batch[size:].any()
        assert not labels[size:].any()
        found.append(numbers)
    return found


@pytest.mark.parametrize("batch", [1, 5, 31, 32])
def test_an_epoch_covers_every_row_once(batch: int) -> None:
    problem = TableLeastSquares("line", batch=batch, replacement=False)
    per_epoch = -(-32 // batch)
    batches = _row_numbers(problem, 2, 0, 3 * per_epoch)
    orders = []
    for epoch in range(3):
        part = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert [len(rows) for rows in part] == [min(batch, 32 - k * batch) for k in range(per_epoch)]
        orders.append([row for rows in part for row in rows])
        assert sorted(orders[-1]) == list(range(32))
    assert orders[0] != orders[1]
    assert orders[0] != [row for rows in _row_numbers(problem, 3, 0, per_epoch) for row in rows]


@given(batch=st.integers(1, 32), first=st.integers(0, 200), updates=st.integers(1, 60))
def test_a_run_may_be_looked_at_from_anywhere(batch: int, first: int, updates: int) -> None:
    problem = TableLeastSquares("line", batch=batch, replacement=False)
    whole = problem.sample(KEY, range(1), 0, first + updates)
    for part, again in zip(whole, problem.sample(KEY, range(1), first, updates), strict=True):
        np.testing.assert_array_equal(part[:, first:], again)


def test_every_place_in_an_epoch_is_uniform_over_the_rows() -> None:
    """χ² of the rows at the first and at the last place, 3200 epochs: p > 1e-6."""
    from scipy.stats import chisquare

    problem = TableLeastSquares("line", batch=1, replacement=False)
    residuals = problem._rows.residuals
    (_, e) = problem.sample(KEY, range(100), 0, 32 * 32)
    numbers = np.abs(e[..., 0, None] - residuals).argmin(-1).reshape(100, 32, 32)
    for place in (0, 31):
        counts = np.bincount(numbers[:, :, place].ravel(), minlength=32)
        assert chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("batch", [5, 32])
def test_a_short_last_batch_divides_by_its_own_size(batch: int) -> None:
    problem = TableLeastSquares("line", batch=batch, replacement=False, initial=(0.9, 0.1))
    x, y = design("line")
    per_epoch = -(-32 // batch)
    z, e = problem.sample(KEY, range(1), 0, per_epoch)
    rows = _row_numbers(problem, 0, 0, per_epoch)[-1]
    assert len(rows) == (2 if batch == 5 else 32)
    w = np.array([0.9, 0.1])
    plain = x[rows].T @ (x[rows] @ w - y[rows]) / len(rows)
    delta = torch.from_numpy(problem.start)[None]
    found = problem.gradient(delta, torch.from_numpy(z[:, -1]), torch.from_numpy(e[:, -1]))
    np.testing.assert_allclose(found[0].numpy() @ problem._rows.basis.T, plain, rtol=1e-12)


def test_rows_with_replacement_are_uniform() -> None:
    from scipy.stats import chisquare

    problem = TableLeastSquares("line", batch=4)
    (_, e) = problem.sample(KEY, range(10), 0, 1000)
    numbers = np.abs(e[..., None] - problem._rows.residuals).argmin(-1)
    assert chisquare(np.bincount(numbers.ravel(), minlength=32)).pvalue > 1e-6


def test_the_line_notebook() -> None:
    """Krohn's notebook, mean squared error: m = 0.9, b = 0.1 costs 33.3355, a step at 0.02 leaves 2.76, then
    1000 steps at 0.02 · 0.995^k, k = 1, 2, …. Our loss is half the mean squared error, so our lr is 0.04."""
    problem = TableLeastSquares("line", batch=32, replacement=False, initial=(0.9, 0.1))
    assert problem.full
    assert isinstance(problem.law, Additive)
    x, y = design("line")
    w, cost = np.array([0.9, 0.1]), []
    multipliers: Array = 0.995 ** np.arange(1001.0)
    for lr in [*(0.02 * multipliers), 0.0]:
        cost.append(np.mean((x @ w - y) ** 2))
        w = w - lr * 2 * x.T @ (x @ w - y) / 32
    assert cost[0] == pytest.approx(33.3355, abs=5e-5)
    assert cost[1] == pytest.approx(2.76, abs=5e-3)
    times, rows, lrs = np.arange(1002), multipliers[None], np.array([0.04])
    exact = exact_risk(problem, rows, lrs, [np.ones_like(rows)], times)
    np.testing.assert_allclose(2 * (exact[0, 0, 0] + problem.minimum), cost, rtol=1e-12)
    job = Job(problem, SGD(), [lambda _: multipliers], lrs, [Last()], 1001, times, KEY, range(2))
    for run in step.compute(job)["risk"][:, 0, 0, 0]:
        np.testing.assert_allclose(run, exact[0, 0, 0], rtol=1e-9)


@pytest.mark.skipif(not AIRFOIL.is_file(), reason=f"RATELAB_DATA names no folder with {AIRFOIL.name}")
def test_the_airfoil_problem_of_dive_into_deep_learning(tmp_path: Path) -> None:
    """Section 12.5: the first 1500 rows, standardised over all 1503; gradient descent with rate 1 from w ~
    N(0, 0.01²), b = 0. Mean and covariance of that start are those of ten points, so that the mean of their
    losses is the loss from that start; it is compared with the book's own loop over the rows, and with the
    ten losses of the figure."""
    text = "TableLeastSquares(Rows('airfoil', first=1500), batch=1500, replacement=False, initial={})"
    points = 0.01 * 5**0.5 * np.concatenate([np.eye(5), -np.eye(5)])
    starts = [(*point.tolist(), 0.0) for point in points]
    path = tmp_path / "airfoil.toml"
    path.write_text(BOOK.format(problems=", ".join(f'"{text.format(start)}"' for start in starts)))
    spec = load_spec(path)
    problems = [p for p in spec.problems if isinstance(p, TableLeastSquares)]
    assert len(problems) == 10
    one = problems[0]
    assert one.full
    condition, limit = one.constants.L / one.constants.mu, 2 / one.constants.L
    assert one.minimum == pytest.approx(0.24168795509, abs=5e-12)
    assert condition == pytest.approx(12.08, abs=5e-3)
    assert limit == pytest.approx(0.953, abs=5e-4)
    ones, times = np.ones((1, 10)), np.array(spec.times(10))
    risks = [exact_risk(p, ones, np.array(spec.lr), [ones], times)[0, 0, 0] for p in problems]
    found = one.minimum + np.mean(risks, axis=0)
    table = load("airfoil")
    whole = np.column_stack([table.features, table.targets])
    rows = ((whole - whole.mean(axis=0)) / whole.std(axis=0))[:1500]
    x, y = np.column_stack([rows[:, :-1], np.ones(1500)]), rows[:, -1]
    w, losses = np.array(starts).T, []
    for _ in times:
        losses.append(np.mean(0.5 * (x @ w - y[:, None]) ** 2))
        w = w - x.T @ (x @ w - y[:, None]) / 1500
    np.testing.assert_allclose(found, losses, rtol=1e-12)
    drawn = [
        0.275848,
        0.250469,
        0.246681,
        0.245722,
        0.245401,
        0.245403,
        0.245650,
        0.246114,
        0.246787,
        0.247675,
    ]
    np.testing.assert_allclose(found[1:], drawn, rtol=0, atol=5e-7)


def test_rows_are_the_names_own() -> None:
    """A name stands for all rows of its table, which only real ones standardise."""
    for plain, rows in (("diabetes", Rows("diabetes")), ("line", Rows("line", standardised=False))):
        one = TableLeastSquares(plain, batch=2)  # type: ignore[arg-type]
        other = TableLeastSquares(rows, batch=2)
        assert parse(repr(other), "problem") == other != one
        assert other.constants == one.constants
    some = TableLeastSquares(Rows("line", first=20, standardised=False), batch=20, replacement=False)
    x, y = design("line")
    residuals = np.linalg.lstsq(x[:20], y[:20])[1]
    assert some.full
    assert some.minimum == pytest.approx(float(residuals[0]) / 40, rel=1e-12)


def test_laws() -> None:
    assert TableLeastSquares("diabetes", batch=3).law is not None
    assert TableLeastSquares("diabetes", batch=3, replacement=False).law is None
    assert not TableLeastSquares("line", batch=32).full


def test_bad_input() -> None:
    with pytest.raises(InputError, match="batch is 33 and 'line' has 32 rows"):
        TableLeastSquares("line", batch=33)
    with pytest.raises(InputError, match="initial has 1 numbers; 'line' needs 2, the intercept last"):
        TableLeastSquares("line", initial=(1.0,))
    with pytest.raises(InputError, match="first is 33, and there are 32 rows; give at most 32"):
        TableLeastSquares(Rows("line", first=33))
    with pytest.raises(InputError, match="table"):
        TableLeastSquares("lime")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch"):
        StreamingLeastSquares(Given((1.0,)), batch=0)


@pytest.mark.parametrize("first", [1, 5, 9, 442])
def test_fewer_rows_than_columns_are_flat_in_some_directions(first: int) -> None:
    problem = TableLeastSquares(Rows("diabetes", first=first))
    assert problem.constants.mu >= 0
    assert (problem.constants.mu < 1e-12) == (first < problem.dim)
