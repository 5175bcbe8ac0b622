"""Spectra: the condition number asked for, the order, the closed forms, and Marchenko–Pastur against its
density (by quadrature) and against the eigenvalues of a sampled Wishart matrix."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.integrate import quad

from ratelab.problems.spectra import (
    Given,
    LogUniform,
    MarchenkoPastur,
    PowerLaw,
    Spectrum,
    TwoCluster,
    UniformSpectrum,
)
from ratelab.theory.arrays import InputError
from ratelab.theory.notation import catalogue, parse

BY_CONDITION_NUMBER: list[Callable[[int, float, float], Spectrum]] = [
    lambda dim, kappa, largest: UniformSpectrum(dim, kappa, largest=largest),
    lambda dim, kappa, largest: LogUniform(dim, kappa, largest=largest),
    lambda dim, kappa, largest: TwoCluster(dim, kappa, fraction=0.3, largest=largest),
    lambda dim, kappa, largest: MarchenkoPastur(dim, kappa, largest=largest),
    lambda dim, kappa, largest: Given(tuple(np.linspace(largest, largest / kappa, dim).tolist())),
]
EXAMPLES: list[Spectrum] = [make(7, 30.0, 2.0) for make in BY_CONDITION_NUMBER] + [PowerLaw(7, 1.5)]


@pytest.mark.parametrize("make", BY_CONDITION_NUMBER)
@pytest.mark.parametrize("kappa", [1.0, 2.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 1e4, 1e6, 1e8, 1e12])
def test_condition_number_is_exactly_the_one_asked_for(
    make: Callable[[int, float, float], Spectrum], kappa: float
) -> None:
    values = make(100, kappa, 1.0).eigenvalues()
    assert values.max() / values.min() == kappa
    assert values.max() == 1.0


@given(
    make=st.sampled_from(BY_CONDITION_NUMBER),
    dim=st.integers(2, 40),
    kappa=st.floats(1.0, 1e16),
    largest=st.floats(1e-100, 1e100),
)
def test_ends_order_and_shape(
    make: Callable[[int, float, float], Spectrum], dim: int, kappa: float, largest: float
) -> None:
    spectrum = make(dim, kappa, largest)
    values = spectrum.eigenvalues()
    assert values.shape == (spectrum.dim,) == (dim,)
    assert values.dtype == np.float64
    assert values[0] == values.max() == spectrum.largest == largest
    assert values[-1] == values.min() == largest / kappa  # the float64 number nearest to L/κ
    assert np.all(np.diff(values) <= 0)
    assert values[0] / values[-1] == pytest.approx(kappa, rel=2**-52, abs=0)


@given(kappa=st.one_of(st.integers(2, 10**6).map(float), st.floats(2.0, 1e12)))
def test_where_the_quotient_is_not_the_condition_number_float64_has_none_closer(kappa: float) -> None:
    high, low = LogUniform(2, kappa).eigenvalues().tolist()
    if high / low != kappa:
        assert kappa not in (high / math.nextafter(low, 0), high / math.nextafter(low, 1))


@given(dim=st.integers(1, 1000), exponent=st.floats(0.0, 5.0))
def test_power_law_has_condition_number_dim_to_the_exponent(dim: int, exponent: float) -> None:
    spectrum = PowerLaw(dim, exponent)
    values = spectrum.eigenvalues()
    assert spectrum.condition_number == float(dim) ** exponent
    assert values[0] == 1.0
    assert values[-1] == 1.0 / spectrum.condition_number
    np.testing.assert_allclose(values, np.arange(1.0, dim + 1) ** -exponent, rtol=1e-14)


def test_closed_forms() -> None:
    np.testing.assert_allclose(UniformSpectrum(4, 4.0).eigenvalues(), [1, 0.75, 0.5, 0.25], rtol=1e-15)
    np.testing.assert_allclose(LogUniform(4, 1e3, 2.0).eigenvalues(), [2, 0.2, 0.02, 0.002], rtol=1e-14)
    np.testing.assert_array_equal(TwoCluster(5, 4.0, 0.4).eigenvalues(), [1, 1, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(TwoCluster(3, 4.0, 0.01).eigenvalues(), [1, 0.25, 0.25])
    np.testing.assert_array_equal(TwoCluster(3, 4.0, 0.99).eigenvalues(), [1, 1, 0.25])
    np.testing.assert_allclose(PowerLaw(4, 1.0, 12.0).eigenvalues(), [12, 6, 4, 3], rtol=1e-15)


def test_given_keeps_the_order_written() -> None:
    spectrum = Given((2.0, 4.0))
    np.testing.assert_array_equal(spectrum.eigenvalues(), [2.0, 4.0])
    assert (spectrum.dim, spectrum.largest, spectrum.condition_number) == (2, 4.0, 2.0)


@pytest.mark.parametrize("make", BY_CONDITION_NUMBER)
def test_one_dimension_has_condition_number_one(make: Callable[[int, float, float], Spectrum]) -> None:
    np.testing.assert_array_equal(make(1, 1.0, 3.0).eigenvalues(), [3.0])


@pytest.mark.parametrize("kappa", [1.5, 4.0, 100.0, 1e4])
def test_marchenko_pastur_quantiles_against_its_density(kappa: float) -> None:
    """Quadrature of the density as published, √((b − x)(x − a))/(2π r² x), between the quantiles."""
    r = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    a, b = (1 - r) ** 2, (1 + r) ** 2
    d = 12
    x = MarchenkoPastur(d, kappa, largest=b).eigenvalues()

    def density(at: float) -> float:
        return math.sqrt(max(0.0, (b - at) * (at - a))) / (2 * math.pi * r**2 * at)

    masses = [quad(density, low, high, limit=200)[0] for high, low in pairwise(x)]
    np.testing.assert_allclose(masses, 1 / (d - 1), rtol=1e-6)


def test_marchenko_pastur_moments() -> None:
    """The law's mean is 1 and its second moment 1 + r²; the trapezoid rule gives 5 digits."""
    kappa = 25.0
    r = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    x = MarchenkoPastur(20_001, kappa, largest=(1 + r) ** 2).eigenvalues()
    assert np.trapezoid(x, dx=1 / 20_000) == pytest.approx(1.0, rel=1e-5)
    assert np.trapezoid(x**2, dx=1 / 20_000) == pytest.approx(1 + r**2, rel=1e-5)


def test_marchenko_pastur_against_a_wishart_matrix() -> None:
    """The eigenvalues of ZᵀZ/n are rigid: at p = 300 they keep close to the quantiles (fixed seed).

    0.066 is three times the edge's fluctuation p^(-2/3) in the matrix's own units.
    """
    p, n = 300, 1200  # r = 1/2, κ = 9
    z = np.random.default_rng(0).standard_normal((n, p))
    sampled = np.linalg.eigvalsh(z.T @ z / n)[::-1]
    levels = 2 * p + 1  # the odd places of 2p + 1 quantiles are the levels (i − 1/2)/p
    expected = MarchenkoPastur(levels, 9.0, largest=2.25).eigenvalues()[1::2]
    assert np.abs(sampled - expected).max() < 0.066
    assert np.abs(sampled - expected).mean() < 0.01


@given(kappa=st.floats(1.0, 1.001))
def test_marchenko_pastur_near_condition_number_one_is_the_semicircle(kappa: float) -> None:
    """As r → 0 the law, scaled to [−1, 1], becomes Wigner's semicircle, whose upper quartile is 0.40397."""
    x = MarchenkoPastur(5, kappa).eigenvalues()
    centre, half_width = (x[0] + x[-1]) / 2, (x[0] - x[-1]) / 2
    if half_width > 1e-12:
        np.testing.assert_allclose((x - centre) / half_width, [1, 0.40397, 0, -0.40397, -1], atol=1e-3)


@pytest.mark.parametrize("spectrum", EXAMPLES, ids=repr)
def test_notation_round_trip(spectrum: Spectrum) -> None:
    assert parse(repr(spectrum), "spectrum") == spectrum
    assert hash(parse(repr(spectrum), "spectrum")) == hash(spectrum)
    assert isinstance(spectrum, Spectrum)


def test_every_registered_spectrum_is_tested() -> None:
    ours = {
        name for name, cls in catalogue("spectrum").items() if cls.__module__ == "ratelab.problems.spectra"
    }
    assert ours == {type(spectrum).__name__ for spectrum in EXAMPLES}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LogUniform(10, 0.5), ["LogUniform", "condition_number", "0.5", "1"]),
        (lambda: UniformSpectrum(0, 10.0), ["UniformSpectrum", "dim", "0", "1"]),
        (lambda: MarchenkoPastur(1, 10.0), ["MarchenkoPastur", "dim=1", "10.0", "condition_number=1.0"]),
        (lambda: TwoCluster(10, 10.0, fraction=1.0), ["TwoCluster", "fraction", "1"]),
        (lambda: LogUniform(10, math.nan), ["LogUniform", "condition_number", "nan"]),
        (lambda: LogUniform(10, 10.0, largest=0.0), ["LogUniform", "largest", "0"]),
        (lambda: PowerLaw(10, -1.0), ["PowerLaw", "exponent", "-1"]),
        (lambda: PowerLaw(10, 400.0), ["PowerLaw", "inf", "smaller"]),
        (lambda: LogUniform(10, 1e300, largest=1e-100), ["LogUniform", "1e+300", "1e-100", "smaller"]),
        (lambda: Given(()), ["Given", "values"]),
        (lambda: Given((1.0, 0.0)), ["Given", "values", "0"]),
        (lambda: Given((1e300, 1e-300)), ["Given", "inf", "smaller"]),
    ],
)
def test_bad_values_are_refused(make: Callable[[], Any], said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make()
    for piece in said:
        assert piece in str(caught.value)
