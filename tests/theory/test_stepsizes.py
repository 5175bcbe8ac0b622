"""Step sizes from theory: what each theorem promises, measured on the functions that attain it, and the
identities that make some famous rules members of the elementary shapes."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import PolynomialDecay
from ratelab.theory.bounds import average, omega
from ratelab.theory.schedules import HorizonError, InversePower, Linear, Schedule, facts
from ratelab.theory.stepsizes import (
    Bottou,
    Chebyshev,
    HorizonPower,
    Noam,
    Refined,
    Silver,
    Stages,
    bottou_start,
)

RHO = 1 + math.sqrt(2)
ALL: list[Schedule] = [
    HorizonPower(),
    Stages(),
    Chebyshev(50.0),
    Chebyshev(50.0, "lebedev-finogenov"),
    Chebyshev(50.0, "fractal"),
    Silver(),
    Noam(warmup=10),
    Bottou(7.0),
    Refined((2.0, 1.0, 3.0)),
]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_no_updates_one_update_and_a_negative_horizon(schedule: Schedule) -> None:
    assert schedule(0).shape == (0,)
    assert schedule(1).shape == (1,)
    assert schedule(1)[0] > 0
    with pytest.raises(InputError, match="-1"):
        schedule(-1)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
@pytest.mark.parametrize("T", [1, 2, 32, 1024])
def test_they_keep_to_what_they_declare(schedule: Schedule, T: int) -> None:
    declared, s = facts(schedule), schedule(T)
    assert declared.low * (1 - 1e-12) <= s.min() <= s.max() <= declared.high * (1 + 1e-12)
    assert declared.monotone != "decreasing" or np.all(np.diff(s) <= 1e-12 * s.max())
    if declared.anytime or T >= 32:  # two updates are too few to tell
        assert np.array_equal(schedule(T)[: T // 2], schedule(T // 2)) == declared.anytime


# -- rules that are members of elementary shapes -----------------------------------------------------


def test_rules_that_are_inverse_powers() -> None:
    t = np.arange(50.0)
    np.testing.assert_allclose(InversePower(0.5)(50), 1 / np.sqrt(t + 1), rtol=1e-15)
    np.testing.assert_allclose(InversePower(1.0)(50), 1 / (t + 1), rtol=1e-15)
    np.testing.assert_allclose(InversePower(1.0, timescale=2.0)(50), 2 / (t + 2), rtol=1e-15)
    np.testing.assert_allclose(0.3 * InversePower(2 / 3)(50), 0.3 * (t + 1) ** (-2 / 3), rtol=1e-14)


def test_the_average_that_belongs_to_two_over_t_plus_two() -> None:
    weights = np.arange(1.0, 52)  # t + 1 on x_t
    np.testing.assert_allclose(
        PolynomialDecay(1.0)(np.ones(50)), (weights / weights.cumsum())[1:], rtol=1e-14
    )


# -- a known horizon ---------------------------------------------------------------------------------


def test_the_constant_step_of_a_known_horizon() -> None:
    np.testing.assert_array_equal(HorizonPower(0.5)(16), np.full(16, 0.25))
    np.testing.assert_array_equal(HorizonPower(2.0)(4), np.full(4, 1 / 16))
    np.testing.assert_array_equal(HorizonPower(0.0)(4), np.ones(4))
    assert HorizonPower(0.5).closing(16) == 0.25
    D, G = 3.0, 0.5
    bound = average(HorizonPower()(100), D, G)
    assert bound.best_lr == pytest.approx(D / G)
    assert bound.best == pytest.approx(D * G / 10)


# -- stages ------------------------------------------------------------------------------------------


def stages_by_definition(T: int) -> list[float]:
    k = next(i for i in range(100) if T * 2.0**-i <= 1)
    starts = [T - math.ceil(T * 2.0**-i) for i in range(k + 1)] + [T]
    return [2.0**-i for i, (start, end) in enumerate(pairwise(starts)) for _ in range(start, end)]


@pytest.mark.parametrize("T", [*range(1, 70), 1000, 1023, 1025])
def test_stages_are_those_of_the_paper(T: int) -> None:
    np.testing.assert_array_equal(Stages()(T), stages_by_definition(T))


def test_stages_of_a_power_of_two() -> None:
    expected = [1.0] * 8 + [0.5] * 4 + [0.25] * 2 + [1 / 8, 1 / 16]
    np.testing.assert_array_equal(Stages()(16), expected)


def test_stages_remove_the_log_from_the_convex_bound() -> None:
    for T, value in ((10**4, 2.0404), (10**6, 2.0393)):
        assert math.sqrt(T) * omega(Stages()(T), 1.0, 1.0).best == pytest.approx(value, abs=1e-4)
    assert math.sqrt(10**6) * omega(np.ones(10**6), 1.0, 1.0).best > 3.9


def last_half(steps: Array) -> float:
    """T mu/G^2 times Omega of the last half of a run whose first half has the steps 1/(mu (t + 1)): there
    E||x_m - x*||^2 <= 4 G^2/(mu^2 (m + 1))."""
    m = len(steps) // 2
    return len(steps) * omega(steps[m:], 2 / math.sqrt(m + 1), 1.0).at(1.0)


def test_stages_remove_the_log_from_the_strongly_convex_bound() -> None:
    horizons = (10**3, 10**4, 10**5, 10**6)
    plain = [last_half(InversePower(1.0)(T)) for T in horizons]
    staged = [last_half(InversePower(1.0)(T) * Stages()(T)) for T in horizons]
    np.testing.assert_allclose(staged, 16.88, rtol=1e-3)
    np.testing.assert_allclose(np.diff(plain), math.log(10) / 2, rtol=0.02)


def harvey(steps: Array) -> float:
    """f(x_T) - f* after subgradient descent on Harvey et al.'s strongly convex instance (mu = 1, x_0 = x* =
    0): max_i h_i.x + ||x||^2/2, the subgradient being that of the smallest active index."""
    T = len(steps)
    i, j = np.arange(1, T + 2)[:, None], np.arange(1, T + 1)
    h = np.where(j < i, 1 / (2 * (T + 1 - j)), 0.0) - (j == i)
    x = np.zeros(T)
    for step in steps:
        heights = h @ x
        x = x - step * (h[np.flatnonzero(heights >= heights.max() - 1e-12)[0]] + x)
    return float((h @ x).max() + x @ x / 2)


@pytest.mark.parametrize("T", [64, 256])
def test_harveys_instance_has_the_log_and_stages_do_without(T: int) -> None:
    assert T * harvey(InversePower(1.0)(T)) >= math.log(T) / 4
    assert T * harvey(InversePower(1.0)(T) * Stages()(T)) == pytest.approx(1.116, abs=0.003)


# -- Chebyshev ---------------------------------------------------------------------------------------

KAPPAS = [1.0, 4.0, 100.0, 1e6]


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("T", [1, 2, 8, 64])
def test_chebyshev_orders_are_permutations_of_one_set(kappa: float, T: int) -> None:
    k = np.arange(1, T + 1)
    rates = (1 + 1 / kappa) / 2 - (1 - 1 / kappa) / 2 * np.cos((2 * k - 1) * np.pi / (2 * T))
    natural = Chebyshev(kappa)(T)
    np.testing.assert_allclose(natural, 1 / rates, rtol=1e-9)
    for order in ("lebedev-finogenov", "fractal"):
        np.testing.assert_array_equal(np.sort(Chebyshev(kappa, order)(T))[::-1], natural)


@pytest.mark.parametrize("order", ["natural", "lebedev-finogenov", "fractal"])
@pytest.mark.parametrize("kappa", KAPPAS[1:])
@pytest.mark.parametrize("T", [1, 4, 16])
def test_chebyshev_reaches_its_polynomial_at_both_ends_and_nowhere_exceeds_it(
    order: str, kappa: float, T: int
) -> None:
    h = Chebyshev(kappa, order)(T)  # type: ignore[arg-type]  # parametrised as text
    spectrum = np.linspace(1 / kappa, 1, 1001)
    left = np.abs(np.prod(1 - h[:, None] * spectrum, axis=0))
    reached = 1 / math.cosh(T * math.acosh((kappa + 1) / (kappa - 1)))
    np.testing.assert_allclose(left[[0, -1]], reached, rtol=1e-9)
    assert left.max() <= reached * (1 + 1e-9)


def growth(h: Array, kappa: float) -> tuple[float, float]:
    """Logarithms of the largest |product of (1 - h lambda)| over the beginnings, and over the endings."""
    spectrum = np.concatenate([np.geomspace(1 / kappa, 1, 400), np.linspace(1 / kappa, 1, 400), 1 / h])
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(1 - h[:, None] * spectrum))
    return float(np.cumsum(logs, axis=0).max()), float(np.cumsum(logs[::-1], axis=0).max())


@pytest.mark.parametrize("kappa", KAPPAS[1:])
def test_the_stable_order_bounds_every_beginning_and_every_ending(kappa: float) -> None:
    for T in range(1, 130):
        beginning, ending = growth(Chebyshev(kappa, "lebedev-finogenov")(T), kappa)
        assert beginning <= math.log(kappa)
        assert ending <= 0
    h = Chebyshev(kappa)(64)
    assert growth(h, kappa)[0] > math.log(1e7)
    assert growth(h[::-1], kappa)[1] > math.log(1e7)


def test_chebyshev_steps_are_for_quadratics_only() -> None:
    """f' has slope L = 1 up to the corner and 1/kappa beyond: as smooth and as strongly convex."""
    kappa, corner, x = 100.0, 34.185, 1.0
    for h in Chebyshev(kappa, "lebedev-finogenov")(16):
        x -= h * math.copysign(min(abs(x), corner) + max(abs(x) - corner, 0) / kappa, x)
    assert abs(x) == pytest.approx(210, abs=1)


def test_the_fractal_order_is_the_published_one_and_refuses_other_horizons() -> None:
    h = Chebyshev(100.0, "fractal")(8)
    np.testing.assert_array_equal(h, Chebyshev(100.0)(8)[[0, 7, 3, 4, 1, 6, 2, 5]])
    np.testing.assert_array_equal(h, Chebyshev(100.0, "lebedev-finogenov")(8))
    with pytest.raises(HorizonError, match="lebedev-finogenov"):
        Chebyshev(100.0, "fractal")(12)


def test_the_stable_order_of_other_horizons_is_the_textbooks() -> None:
    """Samarskii's chain for 25: 1, then 2 and a middle, 3, doubled to 6, 12, and 24 and a middle."""
    h = np.sort(Chebyshev(10.0)(25))[::-1]
    order = [1, 25, 12, 14, 6, 20, 7, 19, 3, 23, 10, 16, 4, 22, 9, 17, 2, 24, 11, 15, 5, 21, 8, 18, 13]
    np.testing.assert_array_equal(Chebyshev(10.0, "lebedev-finogenov")(25), h[np.array(order) - 1])


# -- silver ------------------------------------------------------------------------------------------


def quadratic(h: Array, curvature: float) -> float:
    """f(x_T) of gradient descent on curvature x^2/2 from x_0 = 1."""
    return curvature * float(np.prod(1 - h * curvature)) ** 2 / 2


def huber(h: Array, corner: float) -> float:
    """f(x_T) on the function that is x^2/2 within the corners and linear outside, from x_0 = 1."""
    x = 1.0
    for step in h:
        x -= step * min(max(x, -corner), corner)
    return x * x / 2 if abs(x) <= corner else corner * (abs(x) - corner / 2)


def test_silver_steps_are_the_published_ones() -> None:
    valuation = [(i & -i).bit_length() - 1 for i in range(1, 101)]
    np.testing.assert_allclose(Silver()(100), 1 + RHO ** (np.array(valuation) - 1.0), rtol=1e-15)


@pytest.mark.parametrize("k", range(1, 8))
def test_silver_steps_meet_their_worst_case_on_a_huber_function(k: int) -> None:
    h = Silver()(2**k - 1)
    bound = 1 / (4 * RHO**k - 2)
    assert h.sum() == pytest.approx(RHO**k - 1)
    assert abs(np.prod(1 - h)) == pytest.approx(RHO**-k)
    assert huber(h, 1 / (2 * h.sum() + 1)) == pytest.approx(bound)
    assert max(huber(h, corner) for corner in np.geomspace(1e-5, 1, 300)) <= bound * (1 + 1e-12)
    assert max(quadratic(h, curvature) for curvature in np.linspace(0, 1, 300)) <= bound * (1 + 1e-12)


def test_silver_steps_stopped_after_the_longest_have_won_nothing() -> None:
    for k in range(1, 12):
        assert quadratic(Silver()(2**k), 1.0) == pytest.approx(RHO**-2 / 2)


# -- Noam and Bottou ---------------------------------------------------------------------------------


def test_noam_is_the_published_formula() -> None:
    W, width, n = 30, 512, np.arange(1.0, 201)
    published = width**-0.5 * np.minimum(n**-0.5, n * W**-1.5)
    np.testing.assert_allclose((width * W) ** -0.5 * Noam(warmup=W)(200), published, rtol=1e-14)
    s = Noam(warmup=W)(200)
    assert s[0] == 1 / W
    assert int(np.argmax(s)) == W - 1
    assert s[W - 1] == 1
    np.testing.assert_allclose(Noam(warmup=1)(20), InversePower(0.5)(20), rtol=1e-15)


def test_noam_of_a_warmup_longer_than_any_run_only_rises() -> None:
    assert np.all(np.diff(Noam(warmup=10**400)(5)) > 0)


@pytest.mark.parametrize("t0", [0.5, 1.0, 1000.0])
def test_bottou_is_inverse_time(t0: float) -> None:
    np.testing.assert_allclose(Bottou(t0)(100), InversePower(1.0, timescale=t0)(100), rtol=1e-14)


@pytest.mark.parametrize("alpha", [1e-4, 0.01, 2.0])
@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        ("hinge", -1.0),
        ("log_loss", -0.5),
        ("modified_huber", -2.0),
        ("squared_hinge", -2.0),
        ("squared_error", -1.0),
        ("huber", -0.1),
        ("epsilon_insensitive", -1.0),
        ("squared_epsilon_insensitive", -1.8),
    ],
)
def test_scikit_learn_starts_where_bottou_start_says(loss: str, slope: float, alpha: float) -> None:
    """One sample x = 1 of class 1 from weight 0, where the loss has the given slope: w = -eta_0 slope."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss=loss, alpha=alpha, penalty=None, fit_intercept=False, epsilon=0.1)
    model.partial_fit([[1.0]], [1], classes=[0, 1])
    assert -model.coef_[0, 0] / slope == pytest.approx(1 / (alpha * bottou_start(alpha)))
    assert 1 / (alpha * bottou_start(alpha)) == pytest.approx(alpha**-0.25)


def test_scikit_learn_takes_bottous_steps() -> None:
    """The hinge loss of a tiny feature keeps its slope, so that the weight adds up the steps."""
    from sklearn.linear_model import SGDClassifier

    alpha, x = 0.01, 1e-6
    model = SGDClassifier(loss="hinge", alpha=alpha, penalty=None, fit_intercept=False)
    weights = [0.0]
    for _ in range(20):
        model.partial_fit([[x]], [1], classes=[0, 1])
        weights.append(model.coef_[0, 0])
    t0 = bottou_start(alpha)
    np.testing.assert_allclose(np.diff(weights) / x, Bottou(t0)(20) / (alpha * t0), rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_a_penalty_without_strength_has_no_start(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        bottou_start(alpha)


# -- refined -----------------------------------------------------------------------------------------

D = 2.5
NORMS = {
    "noise": tuple(np.random.default_rng(0).uniform(0.2, 3.0, 13).tolist()),
    "a large start": (9.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "growing": (1.0, 1.5, 2.0, 2.5),
    "two": (1.0, 4.0),
}


def last_iterate_bound(steps: Array, norms: Array) -> float:
    """min over s_N of [D^2/s_0^2 + G_N^2 s_N^2 + sum_k G_k^2 (s_k - s_{k+1})^2]/2 with s_k = s_{k+1} +
    eta_k/s_{k+1}, which bounds f(x_N) - f* (a consequence of Zamani and Glineur 2023)."""

    def at(log_last: float) -> float:
        s = math.exp(log_last)
        noise = norms[-1] ** 2 * s**2
        for eta, G in zip(steps[::-1], norms[-2::-1], strict=True):
            noise += (G * eta / s) ** 2
            s += eta / s
        return float(D**2 / s**2 + noise) / 2

    coarse = np.linspace(-8, 4, 241)
    best = coarse[int(np.argmin([at(x) for x in coarse]))]
    return float(minimize_scalar(at, bounds=(best - 0.1, best + 0.1), options={"xatol": 1e-9}).fun)


@pytest.mark.parametrize("name", NORMS)
def test_refined_reaches_its_bound_and_no_other_steps_do_better(name: str) -> None:
    G = np.array(NORMS[name])
    w = G**-2.0
    shape = w[:-1] * (w.sum() - w.cumsum())[:-1]
    s = Refined(NORMS[name])(len(G) - 1)
    np.testing.assert_allclose(s, shape / shape.max(), rtol=1e-12)
    lr = D * shape.max() / w.sum() ** 1.5
    bound = D / math.sqrt(w.sum())
    assert last_iterate_bound(lr * s, G) == pytest.approx(bound, rel=1e-9)
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert last_iterate_bound(lr * s * rng.uniform(0.8, 1.25, len(s)), G) > bound


def test_the_weaker_bound_of_refined_steps_tends_to_twice_theirs() -> None:
    """Omega, with unequal norms, speaks of the last point that a step is taken from."""
    T, norms = 10**5, (5.0, 1.0, 2.0, 1.0)
    G = np.interp(np.arange(T + 1), np.linspace(0, T, 4), norms)
    weaker = omega(Refined(norms)(T), D, G[:-1]).best
    assert weaker / (D / math.sqrt(np.sum(G**-2.0))) == pytest.approx(2, rel=2e-4)


@pytest.mark.parametrize("norms", [(), (3.0,), (0.1, 0.1, 0.1)], ids=["none", "one", "three"])
def test_equal_norms_give_linear_decay(norms: tuple[float, ...]) -> None:
    for T in (1, 5, 100):
        np.testing.assert_allclose(Refined(norms)(T), Linear()(T), rtol=1e-12)
    assert Refined(norms).closing(100) == 0.0


def test_only_ratios_of_norms_matter_and_large_norms_at_the_start_are_a_warmup() -> None:
    norms = (8.0, 1.0, 1.0, 1.0, 1.0)
    s = Refined(norms)(1000)
    np.testing.assert_allclose(s, Refined(tuple(1e30 * G for G in norms))(1000), rtol=1e-12)
    assert s[0] < 0.02
    assert 200 <= int(np.argmax(s)) <= 250
    assert s[-1] < 0.002
