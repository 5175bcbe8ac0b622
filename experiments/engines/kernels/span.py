"""A span of updates of many models: what travels together through the layers of training, as two values."""

from typing import Any, NamedTuple

import numpy as np


class Span(NamedTuple):
    """K updates of R·P models: v ← momentum·v + inject·g, x ← x − push·v − direct·g.

    g is the gradient of the minibatch's mean loss plus weight_decay·x; averages become keep·x̄ + Σ_k weights_k
    x_{k+1}. inject, push, direct (R, P, K), weights (A, P, K), keep (A, P).
    """

    weight_decay: Any
    momentum: Any
    inject: Any
    push: Any
    direct: Any
    weights: Any
    keep: Any

    def without_velocity(self) -> "Span":
        """With momentum 0: what is injected is pushed at once."""
        none = np.zeros_like(self.inject)
        return self._replace(inject=none, push=none, direct=self.direct + self.push * self.inject)


class Models(NamedTuple):
    """x (R, P, N), v alike, or (R, P, 0) without momentum, and averages (A, R, P, N), float64; all change in
    place. Arrays for kernels, tensors for torch.
    """

    x: Any
    v: Any
    averages: Any


def compiled(span: Span, models: Models) -> Span:
    """As kernels want it: contiguous, in the dtype of the models, which the averages are summed in."""
    kind = models.x.dtype
    if models.v.shape[2] == 0:
        span = span.without_velocity()
    return Span(
        kind.type(span.weight_decay),
        kind.type(span.momentum),
        np.ascontiguousarray(span.inject, kind),
        np.ascontiguousarray(span.push, kind),
        np.ascontiguousarray(span.direct, kind),
        np.ascontiguousarray(span.weights, kind),
        np.ascontiguousarray(span.keep),
    )
