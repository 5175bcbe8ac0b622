"""The certified minima: against scikit-learn, scipy and written-out sums, by duality and by strong convexity;
the smoothness constants against exact Hessians; and the cache, which may be damaged but not believed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import Bounds, LinearConstraint, minimize

from ratelab.problems import minima
from ratelab.problems.minima import (
    Minimum,
    hinge_minimum,
    logistic_minimum,
    logistic_smoothness,
    softmax_minimum,
    softmax_smoothness,
)
from ratelab.theory.arrays import Array, InputError, Integers

DATA = os.environ.get("RATELAB_DATA")
needs_a9a = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "libsvm" / "a9a").is_file(),
    reason="RATELAB_DATA names no folder with libsvm/a9a",
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RATELAB_CACHE", str(folder))
    return folder / "minima"


def softmax_value(W: Array, X: Array, y: Integers, decay: float) -> Any:
    """f as it is defined, in long double."""
    X, W = X.astype(np.longdouble), W.astype(np.longdouble)
    logits = X @ W.T
    top = logits.max(axis=1)
    lse = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return (lse - logits[np.arange(len(y)), y]).mean() + np.longdouble(decay) / 2 * (W**2).sum()


def logistic_value(w: Array, X: Array, y: Integers, decay: float) -> Any:
    margins = (2 * y - 1) * (X.astype(np.longdouble) @ w.astype(np.longdouble))
    penalty = np.longdouble(decay) / 2 * (w.astype(np.longdouble) ** 2).sum()
    return np.logaddexp(np.longdouble(0), -margins).mean() + penalty


def hinge_value(w: Array, X: Array, y: Integers, decay: float) -> Any:
    margins = (2 * y - 1) * (X.astype(np.longdouble) @ w.astype(np.longdouble))
    penalty = np.longdouble(decay) / 2 * (w.astype(np.longdouble) ** 2).sum()
    return np.maximum(0, 1 - margins).mean() + penalty


Value = Callable[[Array, Array, Integers, float], Any]
Search = Callable[[Array, Integers, float], Minimum]
LOSSES: dict[str, tuple[Search, Value, int]] = {
    "softmax": (lambda X, y, decay: softmax_minimum(X, y, 3, decay), softmax_value, 3),
    "logistic": (logistic_minimum, logistic_value, 2),
    "hinge": (hinge_minimum, hinge_value, 2),
}


def table(seed: int, n: int = 40, p: int = 4, classes: int = 2) -> tuple[Array, Integers]:
    """Gaussian rows with a 1 appended, and labels that half follow the first columns."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((n, p - 1)), np.ones(n)])
    y = np.argmax(X @ rng.standard_normal((p, classes)) + rng.gumbel(size=(n, classes)), axis=1)
    return X, y.astype(np.int64)


def digits() -> tuple[Array, Integers]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images / 16, np.ones(len(images))]), labels.astype(np.int64)


def a9a() -> tuple[Array, Integers]:
    from sklearn.datasets import load_svmlight_file

    rows, signs = load_svmlight_file(str(Path(str(DATA)) / "libsvm" / "a9a"))
    return np.column_stack([rows.toarray(), np.ones(len(signs))]), (signs > 0).astype(np.int64)


problems = st.tuples(
    st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 6), st.floats(-4.0, 1.0).map(lambda e: 10.0**e)
)


@pytest.mark.parametrize("name", LOSSES)
@given(drawn=problems)
@settings(max_examples=40)
def test_no_point_lies_below_and_the_value_is_that_of_the_minimiser(
    name: str, drawn: tuple[int, int, int, float]
) -> None:
    search, value, classes = LOSSES[name]
    seed, n, p, decay = drawn
    X, y = table(seed, n, p, classes)
    found = search(X, y, decay)
    exact = value(found.minimiser, X, y, decay)
    assert abs(exact - found.value) <= minima.ROUNDING * exact
    rng = np.random.default_rng(seed)
    for scale in (1.0, 1e-3, 1e-7):
        other = found.minimiser + scale * rng.standard_normal(found.minimiser.shape)
        assert value(other, X, y, decay) >= found.value - found.accuracy
        # strong convexity: f(x) − f* ≥ (λ/2)‖x − x*‖², and the minimiser found is near x*
        distance = max(0.0, float(np.linalg.norm(other - found.minimiser)) - radius(found, decay))
        growth = value(other, X, y, decay) - found.value
        assert growth >= decay / 2 * distance**2 * (1 - 1e-9) - found.accuracy


def radius(found: Minimum, decay: float) -> float:
    """How far the minimiser found can lie from x*: (λ/2)‖x − x*‖² ≤ accuracy."""
    return float(np.sqrt(2 * found.accuracy / decay))


@pytest.mark.parametrize("name", ["softmax", "logistic"])
@pytest.mark.parametrize("decay", [1.0, 1e-2, 1e-4])
def test_the_gradient_by_differences_is_within_the_certificate(name: str, decay: float) -> None:
    search, value, classes = LOSSES[name]
    X, y = table(5, classes=classes)
    found = search(X, y, decay)
    flat = found.minimiser.ravel()
    step = 1e-5
    gradient = [
        (
            value((flat + step * e).reshape(found.minimiser.shape), X, y, decay)
            - value((flat - step * e).reshape(found.minimiser.shape), X, y, decay)
        )
        / (2 * step)
        for e in np.eye(flat.size)
    ]
    # f‴ ≤ max ‖x‖³ ~ 50, so the differences err by at most 50 step²/6 an entry
    error = np.sqrt(flat.size) * 50 * step**2 / 6
    assert np.linalg.norm(np.array(gradient, dtype=np.float64)) <= np.sqrt(2e-10 * decay) + error


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 10**6), exponent=st.floats(-3.0, 0.5))
@settings(max_examples=8)
def test_the_minima_agree_with_scipys(name: str, seed: int, exponent: float) -> None:
    search, value, classes = LOSSES[name]
    X, y = table(seed, n=15, p=3, classes=classes)
    decay = 10.0**exponent
    found = search(X, y, decay)
    shape = found.minimiser.shape

    def f(flat: Array, *_: Any) -> float:
        return float(value(flat.reshape(shape), X, y, decay))

    if name == "hinge":
        other = hinge_by_slsqp(X, y, decay)
    else:
        other = minimize(f, np.zeros(found.minimiser.size), method="BFGS").x.reshape(shape)
    theirs = value(other, X, y, decay)
    assert found.value - found.accuracy <= theirs
    assert theirs == pytest.approx(found.value, rel=1e-6)


def hinge_by_slsqp(X: Array, y: Integers, decay: float) -> Array:
    """w of: minimise mean ξ + (λ/2)‖w‖² with ξ ≥ 0 and s_i wᵀx_i + ξ_i ≥ 1, as a quadratic program."""
    n, p = X.shape
    rows = np.column_stack([(2 * y - 1)[:, None] * X, np.eye(n)])
    linear = np.concatenate([np.zeros(p), np.full(n, 1 / n)])
    curved = np.concatenate([np.full(p, decay), np.zeros(n)])

    def f(z: Array, *_: Any) -> float:
        return float(linear @ z + z @ (curved * z) / 2)

    def slope(z: Array, *_: Any) -> Array:
        return np.asarray(linear + curved * z)

    solved = minimize(
        f,
        np.concatenate([np.zeros(p), np.ones(n)]),
        jac=slope,
        method="SLSQP",
        bounds=Bounds(np.concatenate([np.full(p, -np.inf), np.zeros(n)]), np.full(n + p, np.inf)),
        constraints=LinearConstraint(rows, 1, np.inf),
        tol=1e-14,
        options={"maxiter": 1000},
    )
    return np.asarray(solved.x[:p])


@pytest.mark.parametrize("decay", [1.0, 1e-2, 1e-4])
def test_the_hinge_value_is_that_of_the_dual_too(decay: float) -> None:
    """Strong duality, the dual maximised by scipy: D(a) ≤ f* everywhere, and its maximum is f*."""
    X, y = table(7, n=25, p=3)
    found = hinge_minimum(X, y, decay)
    signed = (2 * y - 1)[:, None] * X

    def dual(a: Array) -> float:
        return float(a.mean() - (signed.T @ a / len(a)) @ (signed.T @ a / len(a)) / (2 * decay))

    def slope(a: Array) -> Array:
        return np.asarray((1 - signed @ (signed.T @ a) / (len(a) * decay)) / len(a))

    def loss(a: Array, *_: Any) -> float:
        return -dual(a)

    def downhill(a: Array, *_: Any) -> Array:
        return -slope(a)

    rng = np.random.default_rng(0)
    assert all(dual(rng.uniform(size=25)) <= found.value for _ in range(100))
    best = minimize(
        loss,
        np.full(25, 0.5),
        jac=downhill,
        bounds=Bounds(np.zeros(25), np.ones(25)),
        method="L-BFGS-B",
        tol=1e-15,
        options={"maxiter": 100_000},
    )
    assert dual(best.x) <= found.value + 1e-15
    assert dual(best.x) == pytest.approx(found.value, rel=1e-6)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_gap_is_primal_minus_dual_at_any_dual_point(seed: int) -> None:
    X, y = table(seed)
    hinge = minima._Hinge(X, (2 * y - 1).astype(np.float64), 0.1)
    a = np.random.default_rng(seed).uniform(size=len(y))
    w = hinge.weights(a)
    gap = minima._gap(a, hinge.slacks(w))
    primal = float(hinge_value(w, X, y, 0.1))
    assert gap == pytest.approx(primal - (a.mean() - 0.05 * w @ w), rel=1e-12, abs=1e-13 * primal)


def test_softmax_is_scikit_learns_on_digits() -> None:
    from sklearn.linear_model import LogisticRegression

    X, y = digits()
    X, y, decay = X[:500], y[:500], 1e-2
    found = softmax_minimum(X, y, 10, decay)
    peer = LogisticRegression(C=1 / (decay * len(y)), fit_intercept=False, tol=1e-8, max_iter=10_000)
    theirs = softmax_value(peer.fit(X, y).coef_, X, y, decay)
    assert -found.accuracy <= theirs - found.value <= 1e-9
    np.testing.assert_allclose(peer.coef_, found.minimiser, atol=1e-4)


def test_logistic_is_scikit_learns_on_digits() -> None:
    from sklearn.linear_model import LogisticRegression

    X, y = digits()
    y, decay = y % 2, 1e-3
    found = logistic_minimum(X, y, decay)
    peer = LogisticRegression(
        C=1 / (decay * len(y)), fit_intercept=False, solver="newton-cg", tol=1e-9, max_iter=1000
    )
    theirs = logistic_value(peer.fit(X, y).coef_[0], X, y, decay)
    assert -found.accuracy <= theirs - found.value <= 1e-9
    np.testing.assert_allclose(peer.coef_[0], found.minimiser, atol=1e-4)


def test_hinge_is_scikit_learns_on_digits() -> None:
    from sklearn.svm import LinearSVC

    X, y = digits()
    y, decay = y % 2, 1e-2
    found = hinge_minimum(X, y, decay)
    peer = LinearSVC(
        loss="hinge",
        C=1 / (decay * len(y)),
        fit_intercept=False,
        tol=1e-7,
        max_iter=1_000_000,
        random_state=0,
    )
    theirs = hinge_value(peer.fit(X, y).coef_[0], X, y, decay)
    assert -found.accuracy <= theirs - found.value <= 1e-6
    np.testing.assert_allclose(peer.coef_[0], found.minimiser, atol=0.05)


@given(seed=st.integers(0, 10**6), exponent=st.floats(-3.0, 0.0))
@settings(max_examples=20)
def test_logistic_is_the_softmax_of_two_classes_with_half_the_decay(seed: int, exponent: float) -> None:
    """W = (−w/2, w/2) has the logits' difference wᵀx and ‖W‖² = ‖w‖²/2."""
    X, y = table(seed)
    decay = 10.0**exponent
    two = softmax_minimum(X, y, 2, 2 * decay)
    one = logistic_minimum(X, y, decay)
    assert abs(two.value - one.value) <= two.accuracy + one.accuracy
    near = np.sqrt(2) * radius(two, 2 * decay) + radius(one, decay)
    assert np.linalg.norm(two.minimiser[1] - two.minimiser[0] - one.minimiser) <= near


@pytest.mark.parametrize("name", LOSSES)
def test_dependent_and_empty_columns_are_no_obstacle(name: str) -> None:
    """Weights on k copies of X are weights on √k X: f* is the same; a column of zeros adds nothing."""
    search, _, classes = LOSSES[name]
    X, y = table(4, n=60, p=5, classes=classes)
    for decay in (1e-2, 1e-4, 1e-6):
        copies = search(np.column_stack([X, X, np.zeros((60, 2)), X, X]), y, decay)
        once = search(2 * X, y, decay)
        assert abs(copies.value - once.value) <= copies.accuracy + once.accuracy


@pytest.mark.parametrize("decay", [1e-3, 1e-5, 1e-8])
def test_separable_rows_have_the_widest_margin(decay: float) -> None:
    """Rows ±(2, 0): w = (½, 0) has no loss, and f* = λ/8 for small λ, however small."""
    X, y = np.array([[2.0, 0.0], [-2.0, 0.0]] * 5), np.array([1, 0] * 5)
    found = hinge_minimum(X, y, decay)
    assert abs(found.value - decay / 8) <= found.accuracy
    np.testing.assert_allclose(found.minimiser, [0.5, 0.0], atol=radius(found, decay))


def test_one_row_in_closed_form() -> None:
    """n = p = 1, x = 2, y = 1: the hinge is λw = 2 up to the kink w = ½; the logistic solves λw = 2σ(−2w)."""
    X, y = np.array([[2.0]]), np.array([1])
    assert hinge_minimum(X, y, 0.5).value == pytest.approx(0.25 * 0.5**2, rel=1e-8)
    assert hinge_minimum(X, y, 8.0).value == pytest.approx(1 - 2 * 0.25 + 4 * 0.25**2, rel=1e-8)
    (w,) = logistic_minimum(X, y, 0.5).minimiser
    assert 0.5 * w == pytest.approx(2 / (1 + np.exp(2 * w)), abs=1e-5)


@pytest.mark.slow
@needs_a9a
@pytest.mark.parametrize("decay", [1e-3, 1e-5])
def test_a9a(decay: float) -> None:
    X, y = a9a()
    for search, value in ((logistic_minimum, logistic_value), (hinge_minimum, hinge_value)):
        found = search(X, y, decay)
        exact = value(found.minimiser, X, y, decay)
        assert abs(exact - found.value) <= minima.ROUNDING * exact
        assert found.accuracy <= 1e-10
        rng = np.random.default_rng(0)
        for scale in (1e-1, 1e-4):
            other = found.minimiser + scale * rng.standard_normal(X.shape[1])
            assert value(other, X, y, decay) > found.value


def softmax_hessian(W: Array, X: Array) -> Array:
    """Σ (diag(q_i) − q_i q_iᵀ) ⊗ x_i x_iᵀ / n, row by row."""
    logits = X @ W.T
    q = np.exp(logits - logits.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    parts = [np.kron(np.diag(a) - np.outer(a, a), np.outer(x, x)) for a, x in zip(q, X, strict=True)]
    return np.asarray(np.mean(parts, axis=0))


@pytest.mark.parametrize("classes", [2, 3, 10])
@given(seed=st.integers(0, 10**6), scale=st.floats(0.0, 10.0))
@settings(max_examples=20)
def test_smoothness_bounds_every_hessian(classes: int, seed: int, scale: float) -> None:
    X, _ = table(seed, n=12, p=3)
    W = scale * np.random.default_rng(seed).standard_normal((classes, 3))
    largest = np.linalg.eigvalsh(softmax_hessian(W, X))[-1]
    assert largest <= softmax_smoothness(X) * (1 + 1e-12)
    slope = 1 / (1 + np.exp(-(X @ W[0])))
    largest = np.linalg.eigvalsh((X.T * (slope * (1 - slope))) @ X / len(X))[-1]
    assert largest <= logistic_smoothness(X) * (1 + 1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_smoothness_is_attained(classes: int) -> None:
    """By two classes at W = 0; by more where the intercepts rule all but two out."""
    X, _ = table(3)
    W = np.zeros((classes, X.shape[1]))
    W[2:, -1] = -100
    attained = np.linalg.eigvalsh(softmax_hessian(W, X))[-1]
    assert softmax_smoothness(X) == pytest.approx(attained, rel=1e-12)
    assert softmax_smoothness(X, 0.25) == pytest.approx(attained + 0.25, rel=1e-12)
    at_zero = np.linalg.eigvalsh(X.T @ X / len(X))[-1] / 4
    assert logistic_smoothness(X) == pytest.approx(at_zero, rel=1e-12)
    assert logistic_smoothness(X, 0.25) == pytest.approx(at_zero + 0.25, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_boehnings_bound(classes: int, seed: int) -> None:
    """diag(q) − qqᵀ ≤ ½(I − 11ᵀ/C) for all probabilities q."""
    q = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3))
    above = (np.eye(classes) - 1 / classes) / 2 - (np.diag(q) - np.outer(q, q))
    assert np.linalg.eigvalsh(above)[0] >= -1e-15 * classes


@pytest.mark.parametrize(("n", "p"), [(300, 5), (5, 9)])
def test_chunked_products_are_the_plain_ones(n: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minima, "CHUNK", 64)
    rng = np.random.default_rng(0)
    X, weights = rng.standard_normal((n, p)), rng.uniform(size=n)
    np.testing.assert_allclose(minima._gram(X, weights), (X.T * weights) @ X, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pinned", [0, 1])
def test_the_curvature_is_the_derivative_of_the_gradient(pinned: int) -> None:
    X, y = table(2, classes=3)
    loss = minima._Multinomial(X, y, 3, pinned, 0.1)
    rng = np.random.default_rng(0)
    W, D = rng.standard_normal((2, 3 - pinned, X.shape[1]))
    step = 1e-6
    ahead, behind = loss.evaluate(W + step * D)[1], loss.evaluate(W - step * D)[1]
    product = loss.curvature(loss.evaluate(W)[2], D)
    np.testing.assert_allclose(product, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_minimum_is_kept_and_read_back(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, _, classes = LOSSES[name]
    X, y = table(1, classes=classes)
    first = search(X, y, 0.1)
    assert len(list(cache.iterdir())) == 1
    with pytest.raises(ValueError, match="read-only"):
        first.minimiser[0] = 7

    def searched(_loss: object) -> Array:
        raise LookupError

    monkeypatch.setattr(minima, "_newton", searched)
    monkeypatch.setattr(minima, "_interior_point", searched)
    again = search(X.astype(np.float64, order="F"), y.astype(np.int32), 0.1)
    assert (again.value, again.accuracy) == (first.value, first.accuracy)
    np.testing.assert_array_equal(again.minimiser, first.minimiser)
    with pytest.raises(ValueError, match="read-only"):
        again.minimiser[0] = 7
    for other in ((X, y, 0.2), (X[:, :-1], y, 0.1), (X, (y + 1) % classes, 0.1), (X + 1, y, 0.1)):
        with pytest.raises(LookupError):
            search(*other)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("damage", ["cut", "text", "noise", "shape", "nan", "huge", "empty", "complex"])
def test_a_damaged_or_stale_file_is_not_believed(name: str, damage: str, cache: Path) -> None:
    search, _, classes = LOSSES[name]
    X, y = table(1, classes=classes)
    first = search(X, y, 0.1)
    (path,) = cache.iterdir()
    whole, content = path.read_bytes(), np.load(path)
    if damage in ("cut", "text", "empty"):
        path.write_bytes({"cut": whole[:-9], "text": b"a page", "empty": b""}[damage])
    else:
        other = {
            "noise": np.random.default_rng(0).uniform(size=content.shape),
            "shape": content[..., :1],
            "nan": np.full_like(content, np.nan),
            "huge": np.full_like(content, 1e300),
            "complex": content + 1j,
        }[damage]
        np.save(path, other)
    again = search(X, y, 0.1)
    assert (again.value, again.accuracy) == (first.value, first.accuracy)
    assert path.read_bytes() == whole
    assert list(cache.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_costs_only_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = table(1)
    first = hinge_minimum(X, y, 0.1)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RATELAB_CACHE", str(tmp_path / "file"))
    assert hinge_minimum(X, y, 0.1).value == first.value


@pytest.mark.parametrize("name", LOSSES)
def test_a_certificate_that_is_not_reached_is_an_error(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minima, "STEPS", 1)
    search, _, classes = LOSSES[name]
    X, y = table(1, classes=classes)
    with pytest.raises(InputError, match=r"found only to within .*e.* standardise"):
        search(X, y, 1e-3)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("features", "labels", "decay", "message"),
    [
        (np.ones((3, 2)), [0, 1, 1], 0.0, "weight_decay is 0.0"),
        (np.ones((3, 2)), [0, 1, 1], np.nan, "weight_decay is nan"),
        (np.ones((3, 2)), [0, 1, 2], 0.1, "0 to 2 with 2 classes"),
        (np.ones((3, 2)), [-1, 1, 1], 0.1, "-1 to 1"),
        (np.ones((3, 2)), [0, 1], 0.1, "for 3 rows"),
        (np.ones((3, 2)), [0.0, 1.0, 1.0], 0.1, "float64"),
        (np.ones(3), [0, 1, 1], 0.1, "shape"),
        (np.ones((0, 2)), [], 0.1, "shape"),
        (np.array([[1.0, 2.0], [np.inf, 0.0]]), [0, 1], 0.1, r"inf at \[1, 0\]"),
    ],
)
def test_bad_input_is_refused(features: Array, labels: list[Any], decay: float, message: str) -> None:
    for search in (logistic_minimum, hinge_minimum):
        with pytest.raises(InputError, match=message):
            search(features, np.array(labels), decay)
    with pytest.raises(InputError, match=message):
        softmax_minimum(features, np.array(labels), 2, decay)
