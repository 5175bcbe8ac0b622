"""Judging: what is read of the results, the intervals of numbers and exponents, whether the regime is
reached, and the claims held against all that.
"""

from typing import TYPE_CHECKING

from ratelab.theory import names

if TYPE_CHECKING:
    from ratelab.experiments.judging.claims import *
    from ratelab.experiments.judging.outcome import *
else:
    __getattr__, __dir__, __all__ = names.lazily(__name__)
