"""How often verdicts are wrong: a zoo of curves whose truth is known, judged as claims are.

Each family is a generator over parameter ranges. Of every curve true claims are made (the truth as equality
and as both inequalities, and inequalities weaker than it) and false ones (other exponents, the truth without
its logarithm or with another, and what tempts: the slope of a straight line through the window). What is
counted is how many of the true ones are refuted, of the false ones supported, and of the true ones left
undecided.

A claim counts as true when it holds for t → ∞, and as false when its exponent is off by more than 1.5 δ:
within δ, verdicts promise nothing. Curves are drawn so that their truth can be seen: what happens after the
window, or in its last quarter, no window shows (`late breaks` has these, and docs/verdicts.md says so).
"""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy
from numpy.random import Generator

from ratelab.experiments.engines import jump
from ratelab.experiments.engines.job import Job
from ratelab.experiments.judging import evidence, regime
from ratelab.experiments.judging.estimates import (
    MIN_SEEDS,
    Estimate,
    judge_value,
    mean_estimate,
    ratio_estimate,
    risk_floor,
)
from ratelab.experiments.judging.evidence import Fit, NoFit
from ratelab.experiments.judging.paths import Path
from ratelab.experiments.judging.verdict import Relation, Status
from ratelab.experiments.methods import SGD, HeavyBall, Method
from ratelab.experiments.spec import Selector, Spec
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory import rates
from ratelab.theory.arrays import Array, record_times
from ratelab.theory.averaging import Averaging, ExponentialMovingAverage, Last, Tail, Uniform
from ratelab.theory.combine import Warmup
from ratelab.theory.rates import Rate
from ratelab.theory.schedules import Constant, InversePower, MultiStep, Polynomial, Schedule

RUNS = 64
TRUE_REFUTED, FALSE_SUPPORTED, HONEST_UNDECIDED = 0.05, 0.01, 0.10
"""What is aimed at: in every family, in every family, and in those of a settled power."""


MISSED = 0.01


@dataclass(frozen=True)
class Curve:
    """An exact risk (K,), or runs (n, K), at `times`, what it tends to, and what is known of it
    beforehand."""

    times: Array
    risk: Array
    truth: Rate
    floor: float = 0.0
    premature: str | None = None


@dataclass(frozen=True)
class Tally:
    """Outcomes of the claims of one family."""

    true_refuted: int = 0
    true_undecided: int = 0
    true_claims: int = 0
    false_supported: int = 0
    false_claims: int = 0

    def add(self, true: bool, status: Status) -> "Tally":
        t = int(true)
        return Tally(
            self.true_refuted + t * (status == "refuted"),
            self.true_undecided + t * (status == "undecided"),
            self.true_claims + t,
            self.false_supported + (1 - t) * (status == "supported"),
            self.false_claims + 1 - t,
        )

    @property
    def shares(self) -> tuple[float, float, float]:
        """True refuted, false supported, true undecided."""
        true, false = max(1, self.true_claims), max(1, self.false_claims)
        return self.true_refuted / true, self.false_supported / false, self.true_undecided / true


@dataclass(frozen=True)
class Family:
    """A generator of judged claims: (whether the claim is true, the verdict's status)."""

    name: str
    about: str
    judged: Callable[[Generator], Iterator[tuple[bool, Status]]] = field(repr=False)
    honest: bool = False
    promised: bool = True


def calibrate(
    cases: int = 300, seed: int = 0, report: Callable[[float, int], None] | None = None
) -> dict[str, Tally]:
    """The tally of every family over `cases` curves each; the same for the same seed, whatever is run with
    it.

    `report` is told (families done, of how many), of one that is being judged the part.
    """
    found = {}
    for done, family in enumerate(FAMILIES):
        told = None if report is None else partial(_within, report, done)
        found[family.name] = tally(family, cases, seed, told)
    return found


def _within(report: Callable[[float, int], None], done: int, part: float) -> None:
    report(done + part, len(FAMILIES))


def tally(family: Family, cases: int, seed: int = 0, report: Callable[[float], None] | None = None) -> Tally:
    """The tally of one family; `report` is told the part that is done."""
    rng = np.random.default_rng([seed, zlib.crc32(family.name.encode())])
    found = Tally()
    for case in range(cases):
        for true, status in family.judged(rng):
            found = found.add(true, status)
        if report is not None:
            report((case + 1) / cases)
    return found


def missed(family: Family, tally: Tally) -> tuple[str, ...]:
    """The aims that a tally misses: were they met, so many wrong claims would have a chance below 1 %."""
    if not family.promised:
        return ()
    aims = (
        ("true refuted", tally.true_refuted, tally.true_claims, TRUE_REFUTED),
        ("false supported", tally.false_supported, tally.false_claims, FALSE_SUPPORTED),
        ("true undecided", tally.true_undecided * family.honest, tally.true_claims, HONEST_UNDECIDED),
    )
    return tuple(name for name, hits, n, aim in aims if scipy.stats.binom.sf(hits - 1, n, aim) < MISSED)


# Claims about a curve


def _judged(curve: Curve, rng: Generator) -> Iterator[tuple[bool, Status]]:
    fits: dict[float, Fit | NoFit] = {}
    truth = curve.truth

    def status(rate: Rate, relation: Relation) -> Status:
        q = rate.log_power
        if q not in fits:
            fits[q] = _fit(curve, q)
        return evidence.judge_rate(fits[q], rate, relation, premature=curve.premature).status

    relations: tuple[Relation, ...] = ("equals", "at_most", "at_least")
    yield from ((True, status(truth, relation)) for relation in relations)
    delta = evidence.margin(curve.times[evidence.window(curve.times)])
    sides: tuple[tuple[int, Relation, Relation], ...] = (
        (-1, "at_most", "at_least"),
        (1, "at_least", "at_most"),
    )
    for sign, weaker, wrong in sides:
        other = Rate(truth.power + sign * rng.uniform(1.5 * delta, 0.6), truth.log_power)
        yield True, status(other, weaker)
        yield False, status(other, wrong)
        yield False, status(other, "equals")
    for q in {0.0, 1.0, -1.0} - {truth.log_power}:
        yield False, status(Rate(truth.power, q), "equals")
    plain = fits.get(0.0)
    if isinstance(plain, Fit) and abs(plain.exponent - truth.power) > 1.5 * delta:
        tempting = Rate(round(plain.exponent, 2))
        if truth.log_power == 0 or plain.exact:  # runs can't tell t^-p log t from the power that it mimics
            yield False, status(tempting, "equals")


def _fit(curve: Curve, log_power: float) -> Fit | NoFit:
    if curve.risk.ndim == 2:
        return evidence.fit_trajectories(curve.times, curve.risk, log_power=log_power, floor=curve.floor)
    few = len(curve.times) < evidence.MIN_RECORDS
    minimum = evidence.MIN_HORIZONS if few else evidence.MIN_RECORDS
    return evidence.fit_exact(
        curve.times, curve.risk, log_power=log_power, minimum=minimum, floor=curve.floor
    )


def _synthetic(
    draw: Callable[[Generator, Array], tuple[Array, Rate]], dim: int | None = None
) -> Callable[[Generator], Iterator[tuple[bool, Status]]]:
    """Claims on curves that `draw` makes at log-spaced records: exact, or the mean of 64 runs in `dim`
    dimensions."""

    def judged(rng: Generator) -> Iterator[tuple[bool, Status]]:
        times = record_times(int(10 ** rng.uniform(3.5, 7)), 100)[1:].astype(np.float64)
        risk, truth = draw(rng, times)
        if dim is not None:
            risk = risk * _runs(rng, times, dim)
        yield from _judged(Curve(times, risk, truth, floor=1e-290), rng)

    return judged


def _runs(rng: Generator, times: Array, dim: int) -> Array:
    """Relative risks (RUNS, K) of mean 1: Σ z²/d of d coordinates z ~ N(0, 1), correlated along the run as
    c/√t makes them."""
    inside = np.flatnonzero(evidence.window(times))
    memory = np.exp(-np.diff(np.sqrt(times[inside])) * rng.uniform(0.01, 1.0))
    z = rng.standard_normal((RUNS, dim))
    found = np.ones((RUNS, times.size))
    for k, i in enumerate(inside):
        if k:
            z = memory[k - 1] * z + math.sqrt(1 - memory[k - 1] ** 2) * rng.standard_normal((RUNS, dim))
        found[:, i] = (z**2).mean(axis=1)
    return found


# Curves


def _power(rng: Generator, t: Array) -> tuple[Array, Rate]:
    p = float(rng.choice([0.0, 1 / 3, 0.5, 1.0, rng.uniform(0, 2)]))
    return t**-p, Rate(p)


def _log(rng: Generator, t: Array) -> tuple[Array, Rate]:
    p, q = float(rng.choice([0.5, 1.0])), float(rng.choice([1.0, -1.0]))
    return t**-p * (rng.uniform(0, 1) + np.log(t)) ** q, Rate(p, q)


def _break_time(rng: Generator, t: Array) -> float:
    """From ten times before the window to the end of its third quarter."""
    return float(t[-1] * 10 ** rng.uniform(-3, -0.5))


def _powers(rng: Generator) -> tuple[float, float]:
    early = rng.uniform(0, 1.5)
    return early, early + rng.choice([-1, 1]) * rng.uniform(0.1, 1.0)


def _smooth_break(rng: Generator, t: Array) -> tuple[Array, Rate]:
    early, late = _powers(rng)
    sharp, u = rng.uniform(0.5, 8), np.log(t / _break_time(rng, t))
    risk = np.exp(-early * u - (late - early) * np.logaddexp(0, sharp * u) / sharp)
    return risk, Rate(late)


def _kink(rng: Generator, t: Array) -> tuple[Array, Rate]:
    early, late = _powers(rng)
    u = np.log(t / _break_time(rng, t))
    return np.exp(-np.where(u < 0, early, late) * u), Rate(late)


def _jump(rng: Generator, t: Array) -> tuple[Array, Rate]:
    p = rng.uniform(0, 1.5)
    factor = 10 ** (rng.choice([-1, 1]) * rng.uniform(0.05, 2))
    return t**-p * np.where(t < _break_time(rng, t), 1.0, factor), Rate(p)


def _hump(rng: Generator, t: Array) -> tuple[Array, Rate]:
    p, width = rng.uniform(0, 1.5), rng.uniform(0.2, 1.2)
    u = np.log(t / _break_time(rng, t)) / width
    return t**-p * np.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 2) * np.exp(-(u**2) / 2)), Rate(p)


def _wiggle(rng: Generator, t: Array) -> tuple[Array, Rate]:
    """Periodic in t, as cyclical steps make it: the records see an alias of it."""
    p, period = rng.uniform(0, 1.5), t[-1] / 10 ** rng.uniform(1.7, 3.5)
    wave = np.sin(2 * np.pi * (t / max(period, 2) + rng.uniform()))
    return t**-p * (1 + rng.uniform(0.05, 0.8) * wave), Rate(p)


def _log_wiggle(rng: Generator, t: Array) -> tuple[Array, Rate]:
    """Periodic in log t, as restarts of growing length make it."""
    p, period = rng.uniform(0, 1.5), rng.uniform(0.3, 3)
    wave = np.sin(2 * np.pi * (np.log(t) / period + rng.uniform()))
    return t**-p * np.exp(rng.uniform(0.02, 0.5) * wave), Rate(p)


def _stall(rng: Generator, t: Array) -> tuple[Array, Rate]:
    p = rng.uniform(0.5, 2)
    return t**-p + _break_time(rng, t) ** -p, Rate(0.0)


def _late_break(rng: Generator, t: Array) -> tuple[Array, Rate]:
    """In the last quarter of the window, or up to twice after it."""
    early, late = _powers(rng)
    u = np.log(t / (t[-1] * 10 ** rng.uniform(-0.5, 0.3)))
    return np.exp(-np.where(u < 0, early, late) * u), Rate(late)


def _floored(rng: Generator) -> Iterator[tuple[bool, Status]]:
    """A power that falls through the floor of what is known inside the window, where only rounding is
    seen."""
    times = record_times(int(10 ** rng.uniform(3.5, 7)), 100)[1:].astype(np.float64)
    p = rng.uniform(0.3, 3)
    floor = float((times[-1] * 10 ** rng.uniform(-2.2, 0.0)) ** -p)
    risk = times**-p
    stalls = bool(rng.random() < 0.5)  # above the floor or at it, nobody knows
    rounded = np.abs(risk + 0.3 * floor * rng.uniform(-1, 1, times.size)) + 0.5 * floor * stalls
    delta = evidence.margin(times[evidence.window(times)])
    curve = Curve(times, np.where(risk < floor, rounded, risk), Rate(p), floor)
    fit = _fit(curve, 0.0)
    relations: tuple[Relation, ...] = ("equals", "at_most", "at_least")
    for relation in relations:
        yield True, evidence.judge_rate(fit, Rate(p), relation).status
    off = rng.uniform(1.5 * delta, 0.6)
    false: tuple[tuple[Rate, Relation], ...] = (
        (Rate(p + off), "at_most"),
        (Rate(p - off), "at_least"),
        (Rate(p + off), "equals"),
        (Rate(p - off), "equals"),
        (Rate(0.0), "equals"),
    )
    for rate, relation in false:
        yield False, evidence.judge_rate(fit, rate, relation).status


# Quadratics by their exact law, and by runs


def _quadratic(rng: Generator) -> Iterator[tuple[bool, Status]]:
    """Textbook rates on quadratics of any condition number, with schedules, momenta and averages that reach
    their asymptote before, in or long after the window."""
    kappa, dim = float(10 ** rng.uniform(0, 3)), int(rng.integers(2, 30))
    problem = Quadratic(
        LogUniform(dim=dim, condition_number=kappa), noise=Gaussian(sd=float(10 ** rng.uniform(-3, 1)))
    )
    alpha = float(rng.choice([0.0, 0.25, 0.5, 0.75, 1.0, 1.2]))
    timescale = float(rng.choice([1.0, 1.0, 10 ** rng.uniform(0, 6)]))
    beta = float(rng.choice([0.0, 0.0, 0.5, 0.9, 0.99]))
    horizon = int(10 ** rng.uniform(3, 5.3))
    base: Schedule = InversePower(alpha, timescale) if alpha else Constant()
    schedule, later = base, int(10 ** rng.uniform(1, math.log10(horizon)))
    kind = rng.integers(0, 4)
    if kind == 0:
        schedule = Warmup(base, length=later)
    elif kind == 1 and alpha == 0:
        schedule = MultiStep((later,), gamma=float(10 ** rng.uniform(-2, -0.05)))
    averaging: Averaging = (
        Last(),
        Uniform(),
        Tail(later),
        ExponentialMovingAverage(float(1 - 10 ** rng.uniform(-3.5, -0.5))),
    )[int(rng.integers(0, 4))]
    lr = float(10 ** rng.uniform(-2, -0.1))
    path, lrs = _path(problem, HeavyBall(beta) if beta else SGD(), schedule, averaging, lr, horizon)
    stiffness = 2 * problem.constants.mu * lr * path.unit(horizon) * timescale / (1 - beta)
    averaged = isinstance(averaging, Uniform | Tail)
    predict = rates.quadratic_averaged if averaged else rates.quadratic_last
    risk = path.risk(lrs)
    yield from _judged(_of_path(path, lrs, risk, risk, predict(alpha, stiffness)), rng)


def _settled(runs: int) -> Callable[[Generator], Iterator[tuple[bool, Status]]]:
    """Textbook rates that have long settled where the window starts: exact (`runs` 0), or simulated."""

    def judged(rng: Generator) -> Iterator[tuple[bool, Status]]:
        kappa, dim = float(rng.uniform(1.1, 4)), int(rng.integers(10, 30))
        problem = Quadratic(LogUniform(dim=dim, condition_number=kappa), noise=Gaussian(sd=1.0))
        alpha = float(rng.choice([0.0, 0.25, 0.5]))
        schedule: Schedule = InversePower(alpha) if alpha else Constant()
        averaging: Averaging = Last() if runs else (Last(), Uniform())[int(rng.integers(0, 2))]
        lr, horizon = float(rng.uniform(0.2, 0.4)), int(10 ** rng.uniform(5.0, 5.5))
        path, lrs = _path(problem, SGD(), schedule, averaging, lr, horizon)
        predict = rates.quadratic_last if isinstance(averaging, Last) else rates.quadratic_averaged
        risk = path.risk(lrs)
        seen = risk
        if runs:
            steps, key = lrs[:1] * path.unit(horizon), int(rng.integers(2**62))
            times = np.array(path.times)
            job = Job(problem, SGD(), [schedule], steps, [Last()], horizon, times, key, range(runs))
            seen = jump.compute(job)["risk"][:, 0, 0, 0]
        yield from _judged(_of_path(path, lrs, risk, seen, predict(alpha, 1.0)), rng)

    return judged


def _over_horizons(rng: Generator) -> Iterator[tuple[bool, Status]]:
    """Schedules of the horizon: (1 − p)^k leaves the last iterate at T^-k/(k + 1), for the steps over its
    memory at the end are T^-k/(k + 1); one that ends above zero stalls, however small its end; and half of a
    constant run averages to 1/T."""
    kappa, dim = float(rng.uniform(1.1, 30)), int(rng.integers(2, 20))
    problem = Quadratic(
        LogUniform(dim=dim, condition_number=kappa), noise=Gaussian(sd=float(10 ** rng.uniform(-2, 1)))
    )
    power = float(rng.choice([1.0, 2.0, 3.0]))
    final = float(rng.choice([0.0, 10 ** rng.uniform(-7, 0)]))
    schedule: Schedule = Polynomial(power, final=final)
    averaging: Averaging = Last()
    truth = Rate(0.0 if final else power / (power + 1))
    if rng.random() < 0.25:
        schedule, averaging, truth = Constant(), Tail(float(rng.uniform(0.2, 0.8))), Rate(1.0)
    lr, longest = float(10 ** rng.uniform(-1.5, -0.1)), 10 ** rng.uniform(4, 5)
    horizons = tuple(int(t) for t in np.geomspace(longest / 90, longest, 10))
    spec = Spec((problem,), (schedule,), (lr,), "critical", horizons, 1, averagings=(averaging,))
    path = Path.of(spec, Selector(problem, SGD(), schedule, averaging, lr), horizons)
    lrs = np.full(len(horizons), lr)
    risk = path.risk(lrs)
    yield from _judged(_of_path(path, lrs, risk, risk, truth), rng)


def _path(
    problem: Quadratic, method: Method, schedule: Schedule, averaging: Averaging, lr: float, horizon: int
) -> tuple[Path, Array]:
    spec = Spec((problem,), (schedule,), (lr,), "critical", (horizon,), 1, averagings=(averaging,))
    times = np.array(spec.times(horizon))
    times = times[evidence.window(times)]
    path = Path.of(spec, Selector(problem, method, schedule, averaging, lr), times)
    return path, np.full(len(times), lr)


def _of_path(path: Path, lrs: Array, exact: Array, seen: Array, truth: Rate) -> Curve:
    floor = risk_floor(path.row.problem.constants.start_risk)
    return Curve(
        np.array(path.times, dtype=np.float64), seen, truth, floor, regime.premature(path, lrs, exact)
    )


# Numbers


def _skewed(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Positive samples of mean 1 with a coefficient of variation of 1 to 50 % and skewness 0 to 2."""
    order_ = 10 ** rng.uniform(0, 3)  # of the gamma law: skewness 2/√order
    spread = min(rng.uniform(0.01, 0.5), 1.0)
    standard = (rng.gamma(order_, 1.0, shape) - order_) / math.sqrt(order_)
    return np.asarray(1 + spread * standard)


def _heavy(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Risks of SGD on a quadratic under Student-t noise of 4 to 8 degrees of freedom, over their mean."""
    df, eta, dim = rng.uniform(4, 8), rng.uniform(0.02, 0.5), int(rng.choice([1, 3, 10]))
    x, second = np.zeros((*shape, dim)), 0.0
    for _ in range(math.ceil(3 / eta)):
        x = (1 - eta) * x + eta * rng.standard_t(df, x.shape) * math.sqrt((df - 2) / df)
        second = (1 - eta) ** 2 * second + eta**2
    return np.asarray((x**2).mean(axis=-1) / second)


def _errors(rng: Generator, shape: tuple[int, ...]) -> tuple[Array, int, float]:
    """Errors on few rows: fractions of them."""
    rows, p = int(rng.choice([20, 50, 200])), rng.uniform(0.01, 0.3)
    return rng.binomial(rows, p, shape) / rows, rows, p


def _numbers(
    runs: int, draw: Callable[[Generator, tuple[int, ...]], Array]
) -> Callable[[Generator], Iterator[tuple[bool, Status]]]:
    """Claims on a mean of 1 and on the ratio of two."""

    def judged(rng: Generator) -> Iterator[tuple[bool, Status]]:
        x = draw(rng, (2, runs))
        yield from _held(mean_estimate(x[0], minimum=MIN_SEEDS), 1.0, rng)
        paired = bool(rng.random() < 0.5)
        below = 0.5 * (x[0] + x[1]) if paired else x[1]
        yield from _held(ratio_estimate(x[0], below, paired=paired, minimum=MIN_SEEDS), 1.0, rng)

    return judged


def _few_rows(rng: Generator) -> Iterator[tuple[bool, Status]]:
    errors, rows, p = _errors(rng, (MIN_SEEDS,))
    yield from _held(mean_estimate(errors, minimum=MIN_SEEDS, rows=rows), p, rng)


def _held(estimate: Estimate, truth: float, rng: Generator) -> Iterator[tuple[bool, Status]]:
    tolerance = truth * rng.uniform(0.001, 0.3)
    off = truth * rng.uniform(0.001, 0.5)
    yield True, judge_value(estimate, truth, tolerance, "equals").status
    yield True, judge_value(estimate, truth, 0.0, "at_most").status
    yield True, judge_value(estimate, truth, 0.0, "at_least").status
    yield False, judge_value(estimate, truth + tolerance + off, tolerance, "equals").status
    yield False, judge_value(estimate, truth - tolerance - off, tolerance, "equals").status
    yield False, judge_value(estimate, truth - off, 0.0, "at_most").status
    yield False, judge_value(estimate, truth + off, 0.0, "at_least").status


def _both(name: str, about: str, draw: Callable[[Generator, Array], tuple[Array, Rate]]) -> list[Family]:
    return [
        Family(name, about, _synthetic(draw)),
        Family(f"{name}, runs", f"the same, {RUNS} runs of 10 dimensions", _synthetic(draw, 10)),
    ]


FAMILIES: tuple[Family, ...] = (
    Family("powers", "t^-p", _synthetic(_power), honest=True),
    Family("powers, runs", f"t^-p, {RUNS} runs of 10 dimensions", _synthetic(_power, 10), honest=True),
    Family("powers, d = 100", f"t^-p, {RUNS} runs of 100 dimensions", _synthetic(_power, 100), honest=True),
    Family("powers, d = 1", f"t^-p, {RUNS} runs of one dimension", _synthetic(_power, 1)),
    *_both("logarithms", "t^-p (c + log t)^±1", _log),
    *_both("smooth breaks", "one power turns into another", _smooth_break),
    *_both("kinks", "one power turns into another at once", _kink),
    *_both("jumps", "a power that is multiplied at a time", _jump),
    *_both("humps", "a power with a bump or a dip", _hump),
    *_both("wiggles", "a power times a wave in t", _wiggle),
    *_both("log wiggles", "a power times a wave in log t", _log_wiggle),
    *_both("stalls", "t^-p + c", _stall),
    Family("floors", "a power that falls through the floor", _floored),
    Family("quadratics", "exact risk, textbook rates, any regime", _quadratic),
    Family("quadratics, settled", "exact risk, textbook rates, long settled", _settled(0)),
    Family("quadratics, runs", f"the same, {RUNS} runs of 10 to 30 dimensions", _settled(RUNS)),
    Family("horizons", "exact risk of schedules that know the horizon", _over_horizons),
    Family("few seeds", "means and ratios of 5, skewness 0 to 2", _numbers(MIN_SEEDS, _skewed)),
    Family("few rows", "errors of 5 seeds on 20 to 200 rows", _few_rows),
    Family("heavy tails", f"means and ratios of {RUNS} under Student-t noise", _numbers(RUNS, _heavy)),
    Family("late breaks", "a kink in the last quarter, or after it", _synthetic(_late_break), promised=False),
)
