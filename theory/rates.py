"""Decay rates: how people write them, and what theory predicts for named settings.

A rate t^-p (log t)^q is a value of two numbers. The predictions return rates of the risk; each says where it
comes from and whether it is what happens or only what a theorem guarantees.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from ratelab.theory.arrays import Array, InputError

__all__ = ["Rate"]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<word>sqrt|√|log|ln|[tTnN](?![a-zA-Z]))|(?P<sign>\*\*|[-+*/^(){}·−]))"
)
_SPELLING = str.maketrans("·−{}TN", "*-()tt")
_MAX_TEXT = 200


@dataclass(frozen=True)
class Rate:
    """t^-power (log t)^log_power; power 0 is no decay.

    >>> str(Rate(0.5, 1)), Rate.parse("1/sqrt(t)"), Rate.parse("log(t)/t")
    ('t^-1/2 log t', Rate(power=0.5, log_power=0.0), Rate(power=1.0, log_power=1.0))
    """

    power: float
    log_power: float = 0.0

    def __post_init__(self) -> None:
        for name in ("power", "log_power"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
                raise InputError(f"Rate.{name} = {given!r}: give a finite number")
            object.__setattr__(self, name, float(given) + 0.0)  # no -0.0: one rate, one text

    def __call__(self, t: ArrayLike) -> Array:
        """t^-power (log t)^log_power at times t > 1."""
        x = np.asarray(t, dtype=np.float64)
        return np.asarray(x**-self.power * np.log(x) ** self.log_power)

    def __str__(self) -> str:
        """Canonical text; `Rate.parse(str(rate)) == rate`."""
        text = f"t^{_number(-self.power)}"
        if self.log_power == 1:
            return text + " log t"
        return text + (f" (log t)^{_number(self.log_power)}" if self.log_power else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A rate as people write it: "t^-1/2", "1/t", "1/sqrt(t)", "log(t)/t", "t^-1/2 log t", "1/(t log t)",
        "t^0".

        Factors 1, t^x, sqrt(t), log t, (log t)^x, multiplied and divided; t may be called T, n or N, ^ may be
        **. An exponent takes a following /number with it: t^-1/2 is t^(-1/2). InputError for anything else.
        """
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            raise InputError(f"{text!r:.80} is not a rate; {_REMEDY}")
        power, log_power = _Reader(text).read()
        return cls(-power, log_power)


_REMEDY = 'write for example "t^-1/2", "1/t", "1/sqrt(t)", "log(t)/t" or "t^-1/2 log t"'


class _Reader:
    """Recursive descent over the tokens of one rate; every method returns exponents (of t, of log t)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"{text[position:].strip()[:20]!r} has no meaning here")
            token = match.group().strip().translate(_SPELLING)
            self.tokens.append({"**": "^", "√": "sqrt", "ln": "log", "n": "t"}.get(token, token))
            position = match.end()
        self.tokens.append("")

    def error(self, reason: str) -> InputError:
        return InputError(f"cannot read the rate {self.text!r:.80}: {reason}; {_REMEDY}")

    def take(self, *wanted: str) -> bool:
        if self.tokens[0] in wanted:
            self.tokens.pop(0)
            return True
        return False

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            raise self.error(f"{wanted!r} is missing before {self.tokens[0] or 'the end'!r}")

    def read(self) -> tuple[float, float]:
        exponents = self.product()
        if self.tokens[0]:
            raise self.error(f"{self.tokens[0]!r} has no meaning here")
        if not all(map(math.isfinite, exponents)):
            raise self.error("the exponent is not finite")
        return exponents

    def product(self) -> tuple[float, float]:
        power, log_power = self.factor()
        while True:
            if self.take("/"):
                sign = -1.0
            elif self.take("*") or self.tokens[0] in ("t", "sqrt", "log", "("):
                sign = 1.0
            else:
                return power, log_power
            more = self.factor()
            power, log_power = power + sign * more[0], log_power + sign * more[1]

    def factor(self) -> tuple[float, float]:
        if self.take("1"):
            return 0.0, 0.0
        if self.take("log"):
            exponent = self.exponent()  # log^2 t
            if not self.take("t"):
                self.need("(")
                self.need("t")
                self.need(")")
            return 0.0, exponent * self.exponent()
        if self.take("sqrt"):
            inner = self.atom()
            return inner[0] / 2, inner[1] / 2
        inner = self.atom()
        exponent = self.exponent()
        return inner[0] * exponent, inner[1] * exponent

    def atom(self) -> tuple[float, float]:
        if self.take("t"):
            return 1.0, 0.0
        if self.take("("):
            inner = self.product()
            self.need(")")
            return inner
        raise self.error(f"a factor is missing before {self.tokens[0] or 'the end'!r}")

    def exponent(self) -> float:
        if not self.take("^"):
            return 1.0
        if self.take("("):
            exponent = self.number()
            self.need(")")
            return exponent
        return self.number()

    def number(self) -> float:
        sign = -1.0 if self.take("-") else 1.0
        self.take("+")
        result = sign * self.digits()
        if self.tokens[0] == "/" and self.tokens[1][:1].isdigit():
            self.tokens.pop(0)
            divisor = self.digits()
            if divisor == 0:
                raise self.error("division by zero")
            result /= divisor
        return result

    def digits(self) -> float:
        token = self.tokens[0]
        if not (token[:1].isdigit() or token[:1] == "."):
            raise self.error(f"a number is missing before {token or 'the end'!r}")
        self.tokens.pop(0)
        return float(token)


def _number(x: float) -> str:
    """A short fraction where it is exact, else the shortest decimal that reads back."""
    short = Fraction(x).limit_denominator(12)
    return str(short) if float(short) == x and abs(short.numerator) < 1000 else repr(x)


def quadratic_last(step_power: float, stiffness: float) -> Rate:
    """The last iterate on a strongly convex quadratic with noise, for steps C (1 + t)^-alpha.

    step_power: alpha >= 0. stiffness: 2 lambda C for the smallest lambda; only alpha = 1 looks at it.
    alpha < 1: t^-alpha (constant C sigma^2/(2 lambda) for E delta^2; alpha = 0 stalls). alpha = 1: t^-min(1,
    2 lambda C), with a log at 2 lambda C = 1. alpha > 1: the steps sum up to less than the way to go, t^0.
    What happens, not only a guarantee; checked numerically. Source: Bach and Moulines 2011.
    """
    _check(step_power, stiffness)
    if step_power > 1:
        return Rate(0.0)
    if step_power < 1:
        return Rate(step_power)
    return Rate(min(1.0, stiffness), 1.0 if stiffness == 1 else 0.0)


def quadratic_averaged(step_power: float, stiffness: float) -> Rate:
    """The uniform average in the setting of `quadratic_last`: 1/t for every alpha < 1, whatever the constant.

    t * E deltabar^2 -> sigma^2/lambda^2 (Polyak and Juditsky 1992). alpha = 1 is like the last iterate: a C
    that is too small is not rescued by averaging, because the average has the same exponents min(1, 2 lambda
    C). Checked numerically. Source: Bach and Moulines 2011.
    """
    _check(step_power, stiffness)
    return Rate(1.0) if step_power < 1 else quadratic_last(step_power, stiffness)


def convex_averaged(step_power: float) -> Rate:
    """The guarantee for the average on a convex function with bounded gradients, for steps C (1 + t)^-alpha.

    An upper bound, read off (D^2 + G^2 sum eta^2)/(2 sum eta): t^-min(alpha, 1 - alpha), with a log at alpha
    = 1/2; 1/log t at alpha = 1, no decay beyond. Source: Nemirovski et al. 2009; Bach and Moulines 2011 for
    alpha > 1/2.
    """
    _check(step_power, 1.0)
    if step_power >= 1:
        return Rate(0.0, -1.0 if step_power == 1 else 0.0)
    return Rate(min(step_power, 1 - step_power), 1.0 if step_power == 0.5 else 0.0)


def power_law_bias_last(step_power: float, spectrum_power: float, start_power: float) -> Rate:
    """What is left of the start, last iterate: t^-(1 - alpha)(b - 1)/a, without noise.

    Quadratic with lambda_i = i^-a (a = spectrum_power > 1), lambda_i delta_i^2 = i^-b (b = start_power > 1),
    noise covariance sigma^2 H, steps ~ t^-alpha, 0 <= alpha < 1; valid while eta lambda_d t^(1 - alpha) << 1,
    d the dimension: later the truncation of the spectrum fakes a faster rate. What happens, not only a
    guarantee; checked numerically.
    """
    _check_power_law(step_power, spectrum_power, start_power)
    return Rate((1 - step_power) * (start_power - 1) / spectrum_power)


def power_law_bias_averaged(step_power: float, spectrum_power: float, start_power: float) -> Rate:
    """As `power_law_bias_last` for the uniform average, which forgets the start no faster than t^-2."""
    last = power_law_bias_last(step_power, spectrum_power, start_power)
    return Rate(min(last.power, 2.0), 1.0 if last.power == 2 else 0.0)


def power_law_variance_last(step_power: float, spectrum_power: float) -> Rate:
    """What the noise adds to the last iterate in the setting of `power_law_bias_last`, started at the
    minimiser.

    t^-alpha for alpha <= 1/2, else t^-min(alpha, (1 - alpha)(2 - 1/a)). Above 1/2 both powers are present and
    the limit is slow: for alpha = 0.7, a = 2 the slope is still 0.50 at t = 10^6, on its way to 0.45 (checked
    numerically).
    """
    _check_power_law(step_power, spectrum_power, 2.0)
    if step_power <= 0.5:
        return Rate(step_power)
    return Rate(min(step_power, (1 - step_power) * (2 - 1 / spectrum_power)))


def power_law_variance_averaged(step_power: float, spectrum_power: float) -> Rate:
    """As `power_law_variance_last` for the uniform average.

    t^-(1 - (1 - alpha)/a) for alpha <= 1/2, with a log at 1/2; else t^-(1 - alpha)(2 - 1/a).
    """
    _check_power_law(step_power, spectrum_power, 2.0)
    if step_power <= 0.5:
        return Rate(1 - (1 - step_power) / spectrum_power, 1.0 if step_power == 0.5 else 0.0)
    return Rate((1 - step_power) * (2 - 1 / spectrum_power))


def _check(step_power: float, stiffness: float) -> None:
    if not 0 <= step_power < math.inf:
        raise InputError(f"step_power is {step_power}; the exponent of the steps is at least 0")
    if not 0 < stiffness < math.inf:
        raise InputError(f"stiffness is {stiffness}; 2 lambda C is positive and finite")


def _check_power_law(step_power: float, spectrum_power: float, start_power: float) -> None:
    if not 0 <= step_power < 1:
        raise InputError(f"step_power is {step_power}; power laws are predicted for exponents in [0, 1)")
    for name, given in (("spectrum_power", spectrum_power), ("start_power", start_power)):
        if not 1 < given < math.inf:
            raise InputError(f"{name} is {given}; it must be finite and exceed 1")
