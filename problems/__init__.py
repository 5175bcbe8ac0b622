"""Convex problems that know their minimiser, their constants and, where there is one, their exact law:
quadratics and least squares, the spectra, noises and tables they are made of, and the random numbers drawn.
"""

from typing import TYPE_CHECKING

from ratelab.theory import names

if TYPE_CHECKING:
    from ratelab.problems.networks import *
    from ratelab.problems.noise import *
    from ratelab.problems.problem import *
    from ratelab.problems.quadratic import *
    from ratelab.problems.regression import *
    from ratelab.problems.spectra import *
else:
    __getattr__, __dir__, __all__ = names.lazily(__name__)
