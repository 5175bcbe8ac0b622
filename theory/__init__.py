"""What mathematics says about a step sequence: NumPy float64 only, no randomness, no problem objects.

The notation of the whole project, in code and in text:

- f convex on R^d, minimiser x*, f* = f(x*); start x_0, D = ||x_0 - x*||, a distance, not squared.
- T updates, t = 0..T-1: x_{t+1} = x_t - eta_t g_t, E[g_t | x_t] a subgradient. "After t updates" is x_t;
  records run over t = 0..T.
- eta_t = lr * s_t, where the multipliers s = schedule(T), shape (T,), are dimensionless and >= 0.
- risk = f(x_t) - f*, always computed from delta = x - x*, never as a difference of losses.
- L smoothness, mu strong convexity, kappa = L/mu; G^2 bounds E||g_t||^2; sigma^2 noise per coordinate.
- Quadratic: f = 1/2 sum_i lambda_i delta_i^2; a_i = 1 - eta lambda_i, m_i = E delta_i^2.
- Averages: xbar_t = (1 - c_t) xbar_{t-1} + c_t x_t, mixing weights c_1..c_T, xbar_0 = x_0.
- A duration is an int (updates) or a float in [0, 1] (fraction of the horizon); 1 and 1.0 differ.
- suffix_sum(v)_k = sum_{t>=k} v_t, summed from the end, where positive terms cannot cancel.
- A rate is t^-power (log t)^log_power. A value is written as its `repr`: text and value are one.
"""

from typing import TYPE_CHECKING

from ratelab.theory import names

if TYPE_CHECKING:
    from ratelab.theory.arrays import *
    from ratelab.theory.averaging import *
    from ratelab.theory.bounds import *
    from ratelab.theory.combine import *
    from ratelab.theory.cycles import *
    from ratelab.theory.feedback import *
    from ratelab.theory.notation import *
    from ratelab.theory.rates import *
    from ratelab.theory.sampled import *
    from ratelab.theory.schedules import *
    from ratelab.theory.stepsizes import *
else:
    __getattr__, __dir__, __all__ = names.lazily(__name__)
names.load(__name__)  # all of it: the catalogues of the notation are then full
