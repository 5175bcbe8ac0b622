"""What lr = 1 means: the units that a learning rate may be given in, of a problem and a method."""

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from ratelab.theory import moments
from ratelab.theory.arrays import InputError

if TYPE_CHECKING:
    from ratelab.experiments.methods import Method
    from ratelab.problems.problem import Objective

LrUnit: TypeAlias = Literal["absolute", "1/L", "1/mu", "critical", "D/G", "D/(G sqrt T)"]


def unit_of_lr(problem: "Objective", method: "Method", unit: LrUnit, horizon: int) -> float:
    """What lr = 1 means in absolute terms; InputError where the problem has no such unit."""
    if unit == "absolute":
        return 1.0
    if unit == "critical":
        if problem.law is None:
            smooth = problem.constants.L is not None
            raise InputError(
                f"the critical step of {problem!r} is not known; use "
                + ('"1/L" or ' if smooth else "")
                + '"absolute"'
            )
        return moments.critical_lr(problem.law, method.momentum)
    constants, of_f = problem.constants, {"1/L": ("L", "smoothness"), "1/mu": ("mu", "strong convexity")}
    constant, words = of_f.get(unit, ("G", "gradient bound"))
    number = getattr(constants, constant)
    if number is None and constant == "G":
        why, use = ": the gradient of a quadratic grows with the distance", '"1/L", "critical" or "absolute"'
        if problem.trained:
            why, use = "", '"absolute"'
        raise InputError(
            f'lr_unit = "{unit}" needs a bound G on the gradient, and {problem!r} has none{why}; use {use}'
        )
    if number is None or not 0 < number < np.inf:
        raise InputError(
            f'lr_unit = "{unit}" needs {words} > 0, and {problem!r} has '
            f'{"none" if number is None else number}; use "absolute"'
        )
    if constant == "G":
        assert constants.D is not None  # what knows G knows D
        return constants.D / float(number) / (1.0 if unit == "D/G" else horizon**0.5)
    return 1 / float(number)
