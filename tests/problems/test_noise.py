"""Noises: centred, of unit variance before they are scaled, independent, with the fourth moment of their law.

Keys are fixed; over all keys this file fails by chance with probability below 1e-5 (|z| < 5.5, p > 1e-7)."""

import numpy as np
import pytest
from scipy import stats
from strategies import others

from ratelab.problems.noise import Gaussian, Noise, NoNoise, Rademacher, StudentT
from ratelab.problems.philox import stream_key
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import Given
from ratelab.theory.arrays import InputError
from ratelab.theory.notation import catalogue

KEY = stream_key(0, "noise")
LAM = np.array([2.0, 1.0, 0.25])
# each noise, the fourth moment of a standardised variate (None: infinite), and the law of a variate where it
# has a density
NOISES = [
    (Gaussian(0.5), 3.0, stats.norm()),
    (Gaussian(2.0, "hessian"), 3.0, stats.norm()),
    (StudentT(df=12.0, sd=0.5), 3 + 6 / 8, stats.t(12, scale=np.sqrt(10 / 12))),
    (StudentT(df=2.5, covariance="hessian"), None, stats.t(2.5, scale=np.sqrt(0.5 / 2.5))),
    (Rademacher(0.7), 1.0, None),
    (Rademacher(0.7, "hessian"), 1.0, None),
    (NoNoise(), 0.0, None),
]
NOISES += [(noise, np.nan, None) for noise in others("noise", [noise for noise, _, _ in NOISES])]


def test_the_catalogue_is_covered() -> None:
    assert {type(noise).__name__ for noise, _, _ in NOISES} == set(catalogue("noise"))


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "fourth", "law"), NOISES, ids=[repr(noise) for noise, _, _ in NOISES])
def test_variates_are_standardised(
    noise: Noise, fourth: float | None, law: stats.rv_continuous | None
) -> None:
    assert isinstance(noise, Noise)
    z = noise.draw(KEY, range(4), 0, 100_000, 3).astype(np.float64)
    assert z.shape == (4, 100_000, 3)
    if isinstance(noise, NoNoise):
        assert not z.any()
        return
    moments = [0.0, 1.0] if fourth is None else [0.0, 1.0, 0.0, fourth]
    for order, exact in enumerate(moments, start=1):
        if fourth is None and order == 2:
            continue  # its error is infinite; the law below has variance 1
        if np.isnan(exact):
            continue  # of a noise that isn't in the table yet
        error = (z**order).std() / np.sqrt(z.size)
        assert abs((z**order).mean() - exact) < 5.5 * error + 1e-6
    if law is not None:
        assert law.var() == pytest.approx(1.0)
        assert stats.kstest(z.ravel(), law.cdf).pvalue > 1e-7
    for a, b in ((z[..., 0], z[..., 1]), (z[:, 1:], z[:, :-1]), (z[1:], z[:-1])):
        product = np.sign(a * b)  # bounded, so that heavy tails don't drown it
        assert abs(product.mean()) < 5.5 / np.sqrt(product.size)


@pytest.mark.parametrize(("noise", "fourth", "law"), NOISES, ids=[repr(noise) for noise, _, _ in NOISES])
def test_variance_is_that_of_the_samples(
    noise: Noise, fourth: float | None, law: stats.rv_continuous | None
) -> None:
    del law
    quadratic = Quadratic(Given(tuple(LAM.tolist())), noise)
    sd = getattr(noise, "sd", 0.0)
    scale = LAM if getattr(noise, "covariance", "identity") == "hessian" else np.ones(3)
    np.testing.assert_allclose(noise.variance(LAM), sd**2 * scale, rtol=1e-15)
    np.testing.assert_array_equal(quadratic.law.noise, noise.variance(LAM))
    (xi,) = quadratic.sample(KEY, range(4), 0, 1000)
    unit = noise.draw(KEY, range(4), 0, 1000, 3)
    np.testing.assert_allclose(xi, unit * np.sqrt(noise.variance(LAM)), rtol=1e-6)
    assert quadratic.gaussian == (fourth == 3.0 or isinstance(noise, NoNoise))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="sd"):
        Gaussian(-1.0)
    with pytest.raises(InputError, match="df"):
        StudentT(df=2.0)
    with pytest.raises(InputError, match="covariance"):
        Gaussian(1.0, "hessien")  # type: ignore[arg-type]
