"""Methods: what an update does with a stochastic gradient."""

from typing import Annotated, Protocol, runtime_checkable

from annotated_types import Ge, Lt

from theory.notation import value


@runtime_checkable
class Method(Protocol):
    """x_{t+1} = x_t − η_t g_t + β (x_t − x_{t−1}), β = `momentum`, x_{−1} = x_0."""

    @property
    def momentum(self) -> float:
        """β in [0, 1)."""


@value("method")
class SGD:
    """Stochastic gradient descent: x_{t+1} = x_t − η_t g_t."""

    @property
    def momentum(self) -> float:
        return 0.0


@value("method")
class HeavyBall:
    """Polyak's heavy ball: x_{t+1} = x_t − η_t g_t + β (x_t − x_{t−1}), β = `momentum` (Polyak 1964).

    PyTorch's SGD(momentum=β) multiplies its velocity by the current learning rate instead; both agree at a
    constant one.
    """

    momentum: Annotated[float, Ge(0.0), Lt(1.0)] = 0.9
