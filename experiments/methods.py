"""One update of a method: what is done with a stochastic gradient.

Every method here is v ← β v + a g, x ← x − p v − q g with v = 0 at first; `coefficients` gives (a, p, q) for
steps η.
"""

from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge, Lt

from ratelab.theory.arrays import Array
from ratelab.theory.notation import value

__all__ = ["SGD", "HeavyBall", "TorchMomentum"]

Momentum = Annotated[float, Ge(0.0), Lt(1.0)]


@runtime_checkable
class Method(Protocol):
    """A first-order method with momentum β."""

    @property
    def momentum(self) -> float:
        """β in [0, 1)."""

    def coefficients(self, steps: Array) -> tuple[Array, Array, Array]:
        """(a, p, q) of v ← β v + a g, x ← x − p v − q g, each of the shape of `steps`."""


@value("method")
class SGD:
    """Stochastic gradient descent: x_{t+1} = x_t − η_t g_t."""

    @property
    def momentum(self) -> float:
        return 0.0

    def coefficients(self, steps: Array) -> tuple[Array, Array, Array]:
        return np.zeros_like(steps), np.zeros_like(steps), steps


@value("method")
class HeavyBall:
    """Polyak's heavy ball: x_{t+1} = x_t − η_t g_t + β (x_t − x_{t−1}), β = `momentum` (Polyak 1964).

    PyTorch's SGD(momentum=β) multiplies its velocity by the current learning rate instead (`TorchMomentum`);
    both agree at a constant one.
    """

    momentum: Momentum = 0.9

    def coefficients(self, steps: Array) -> tuple[Array, Array, Array]:
        return steps, np.ones_like(steps), np.zeros_like(steps)


@value("method")
class TorchMomentum:
    """torch.optim.SGD's momentum: v ← β v + g, x ← x − η_t v; with `nesterov`, x ← x − η_t (g + β v).

    For networks and linear classifiers only: the exact laws of quadratics know `HeavyBall`.
    """

    momentum: Momentum = 0.9
    nesterov: bool = False

    def coefficients(self, steps: Array) -> tuple[Array, Array, Array]:
        ones = np.ones_like(steps)
        return (ones, self.momentum * steps, steps) if self.nesterov else (ones, steps, np.zeros_like(steps))
