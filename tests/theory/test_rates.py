"""Rates: reading back what is written, what people write, and predictions against exact recursions."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.rates import (
    Rate,
    convex_averaged,
    power_law_bias_averaged,
    power_law_bias_last,
    power_law_variance_averaged,
    power_law_variance_last,
    quadratic_averaged,
    quadratic_last,
)

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.fractions(-4, 4, max_denominator=12).map(
    float
)


@given(numbers, numbers)
def test_the_canonical_text_reads_back(power: float, log_power: float) -> None:
    rate = Rate(power, log_power)
    assert Rate.parse(str(rate)) == rate
    assert str(Rate.parse(str(rate))) == str(rate)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("t^-1/2", Rate(0.5)),
        ("t^(-1/2)", Rate(0.5)),
        ("t^{-1/2}", Rate(0.5)),
        ("t**-0.5", Rate(0.5)),
        ("T^-1", Rate(1)),
        ("n^-1", Rate(1)),
        ("1/t", Rate(1)),
        ("1/t^2", Rate(2)),
        ("1/t^1/2", Rate(0.5)),
        ("1/sqrt(t)", Rate(0.5)),
        ("1/√t", Rate(0.5)),
        ("log(t)/t", Rate(1, 1)),
        ("log t / t", Rate(1, 1)),
        ("ln(n)/n", Rate(1, 1)),
        ("t^-1/2 log t", Rate(0.5, 1)),
        ("t^-1/2 * (log t)^2", Rate(0.5, 2)),
        ("log^2 t / t", Rate(1, 2)),
        ("sqrt(log t / t)", Rate(0.5, 0.5)),
        ("1/(t log t)", Rate(1, -1)),
        ("t^0", Rate(0)),
        ("1", Rate(0)),
        (" 1 / log t ", Rate(0, -1)),
        ("t^-1e-05", Rate(1e-5)),
    ],
)
def test_what_people_write(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


def test_canonical_forms() -> None:
    assert [
        str(r) for r in (Rate(0.5), Rate(1, 1), Rate(1 / 3, 2), Rate(0, -1), Rate(-0.0), Rate(0.4321))
    ] == [
        "t^-1/2",
        "t^-1 log t",
        "t^-1/3 (log t)^2",
        "t^0 (log t)^-1",
        "t^0",
        "t^-0.4321",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t^",
        "t^1/0",
        "2/t",
        "x",
        "exp(-t)",
        "t t t +",
        "log",
        "((((t",
        "t^9e999",
        "tn",
        "t^-",
        "1/",
        "t)",
        3,
        "(" * 300,
    ],
)
def test_what_is_not_a_rate(text: object) -> None:
    with pytest.raises(InputError, match="write for example"):
        Rate.parse(text)  # type: ignore[arg-type]


@given(st.text("tTnN0123456789^-+*/().{} logsqrt", max_size=30) | st.text(max_size=300))
def test_any_text_is_a_rate_or_refused(text: str) -> None:
    try:
        rate = Rate.parse(text)
    except InputError:
        return
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("power", [math.nan, math.inf, True, "1"])
def test_a_rate_is_two_finite_numbers(power: float) -> None:
    with pytest.raises(InputError, match=r"Rate\.power"):
        Rate(power)
    with pytest.raises(InputError, match=r"Rate\.log_power"):
        Rate(1.0, power)


def test_a_rate_is_a_function_of_time() -> None:
    np.testing.assert_allclose(Rate(0.5, 1)([math.e, 100.0]), [math.exp(-0.5), math.log(100) / 10])


def moments(alpha: Array, C: Array, T: int) -> tuple[Array, Array]:
    """E delta_t^2 and E deltabar_t^2 at t = T/10 and T, a row each, for eta_t = C t^-alpha with a column per
    alpha and C: eigenvalue 1, delta_0 = 1, noise of variance 1.
    """
    m = q = r = np.ones_like(C)
    kept = []
    for t in range(1, T + 1):
        eta = C * t**-alpha
        a, c = 1 - eta, 1 / (t + 1)
        m_next = a * a * m + eta**2
        r = (1 - c) ** 2 * r + 2 * c * (1 - c) * a * q + c * c * m_next
        q = (1 - c) * a * q + c * m_next
        m = m_next
        if t in (T // 10, T):
            kept.append((m, r))
    return np.array([k[0] for k in kept]), np.array([k[1] for k in kept])


def exponent(pair: Array, log_power: float, T: int) -> Array:
    """Minus the slope over the last decade, the predicted logarithm divided out."""
    logs = log_power * math.log(math.log(T) / math.log(T / 10))
    return np.asarray((np.log(pair[0] / pair[1]) + logs) / math.log(10))


STEPS = [(0.0, 0.2), (0.3, 0.5), (0.5, 1.0), (0.7, 1.0), (1.0, 0.2), (1.0, 0.5), (1.0, 2.0), (1.5, 0.5)]


@pytest.fixture(scope="module")
def all_moments() -> tuple[Array, Array]:
    """Of all STEPS after 10^5 of them, in one recursion."""
    alpha, C = np.transpose(STEPS)
    return moments(alpha, C, 10**5)


@pytest.mark.parametrize("case", range(len(STEPS)), ids=["-".join(map(str, step)) for step in STEPS])
def test_quadratic_rates_are_what_happens(case: int, all_moments: tuple[Array, Array]) -> None:
    """lambda = 1, so 2 lambda C = 2C. The last decade of 10^5 steps; a constant inside a logarithm needs the
    width 0.06.
    """
    alpha, C = STEPS[case]
    last, averaged = all_moments
    for measured, predicted in (
        (last, quadratic_last(alpha, 2 * C)),
        (averaged, quadratic_averaged(alpha, 2 * C)),
    ):
        found = exponent(measured[:, case], predicted.log_power, 10**5)
        assert found == pytest.approx(predicted.power, abs=0.06)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.6])
def test_power_law_rates_are_what_happens(alpha: float) -> None:
    """a = 2, b = 1.5 over 3000 steps and 4000 eigenvalues, so that eta lambda_d t^(1 - alpha) stays below
    1e-3.
    """
    T, d, a, b, C = 3000, 4000, 2.0, 1.5, 0.3
    i = np.arange(1, d + 1, dtype=np.float64)
    lam = i**-a
    zero = np.zeros(d)
    start = moments_power(alpha, lam, i ** ((a - b) / 2), zero, C, T)
    noise = moments_power(alpha, lam, zero, lam, C, T)
    for pair, predicted in (
        (start[0], power_law_bias_last(alpha, a, b)),
        (start[1], power_law_bias_averaged(alpha, a, b)),
        (noise[0], power_law_variance_last(alpha, a)),
        (noise[1], power_law_variance_averaged(alpha, a)),
    ):
        assert exponent(pair, predicted.log_power, T) == pytest.approx(predicted.power, abs=0.08)


def moments_power(
    alpha: float, lam: Array, delta: Array, noise: Array, C: float, T: int
) -> tuple[Array, Array]:
    """Risk 1/2 sum lambda m of the last iterate and of the average at t = T/10 and T."""
    m, q, r = delta**2, delta**2, delta**2
    kept = []
    for t in range(1, T + 1):
        eta = C * t**-alpha
        a, c = 1 - eta * lam, 1 / (t + 1)
        m_next = a * a * m + eta**2 * noise
        r = (1 - c) ** 2 * r + 2 * c * (1 - c) * a * q + c * c * m_next
        q = (1 - c) * a * q + c * m_next
        m = m_next
        if t in (T // 10, T):
            kept.append((lam @ m / 2, lam @ r / 2))
    return np.array([k[0] for k in kept]), np.array([k[1] for k in kept])


def test_predictions_at_their_corners() -> None:
    assert quadratic_last(0.0, 1.0) == Rate(0)
    assert quadratic_averaged(0.0, 1.0) == Rate(1)
    assert quadratic_last(1.0, 1.0) == quadratic_averaged(1.0, 1.0) == Rate(1, 1)
    assert quadratic_last(1.0, 0.4) == quadratic_averaged(1.0, 0.4) == Rate(0.4)
    assert [convex_averaged(x) for x in (0.25, 0.5, 0.75, 1.0, 2.0)] == [
        Rate(0.25),
        Rate(0.5, 1),
        Rate(0.25),
        Rate(0, -1),
        Rate(0),
    ]
    assert power_law_bias_averaged(0.0, 1.5, 9.0) == Rate(2)
    assert power_law_variance_averaged(0.5, 2.0) == Rate(0.75, 1)


def test_predictions_refuse_what_they_do_not_cover() -> None:
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="step_power"):
            quadratic_last(wrong, 1.0)
    with pytest.raises(InputError, match="stiffness"):
        quadratic_averaged(1.0, 0.0)
    with pytest.raises(InputError, match="step_power"):
        power_law_variance_last(1.0, 2.0)
    with pytest.raises(InputError, match="spectrum_power"):
        power_law_variance_last(0.5, 1.0)
    with pytest.raises(InputError, match="start_power"):
        power_law_bias_last(0.5, 2.0, 1.0)
