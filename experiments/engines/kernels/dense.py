"""Many dense networks at once on the CPU: a model is trained by one thread over a whole span of updates.

A run's minibatch is loaded once for as many of its models as `_CACHE` holds. Every product is made of
`kernels.tiles`: a layer's outputs, the gradients of its inputs, and those of its weights, which are never
stored: the tile ends with the update itself. A layer's rows are padded to whole vectors, and hold the bias as
the weight of a constant 1.

A model's sums have a fixed order and see nothing of other models, so results depend neither on the threads
nor on which models pass a minibatch together. float64 takes somewhat over twice as long.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import overload
from numpy.typing import NDArray

from ratelab.experiments.engines.kernels import tiles
from ratelab.problems.networks import Loss
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.threads import spread

_ROWS = 5 if tiles.AVX512 else 2  # of a tile, which has 4 columns: as many sums as there are registers for
_CACHE = 2**21  # bytes of the models that a loaded minibatch serves
_BLOCK, _PART = 64, 4096  # rows that `outputs` loads together, and that a thread takes a model for
_LOSSES = ("cross_entropy", "logistic", "hinge")


# Products: how a tile's rows of sums end


def _total(code: tiles.Vectors, sums: list[Any], out: Any, places: list[Any], _: list[Any]) -> None:
    """Four sums over the lanes, which go to neighbours."""
    lanes = code.kind.count

    def halved(a: Any, b: Any, width: int) -> Any:
        """The terms of a, then of b: each `width` neighbours become half as many."""
        low = [g + i for g in range(0, 2 * lanes, width) for i in range(width // 2)]
        high = [i + width // 2 for i in low]
        return code.builder.fadd(code.picked(a, b, low), code.picked(a, b, high))

    pairs = halved(sums[0], sums[1], lanes), halved(sums[2], sums[3], lanes)
    found, width = halved(*pairs, lanes // 2), lanes // 4
    while width > 1:
        width //= 2
        found = code.builder.fadd(found, code.picked(found, found, [i ^ width for i in range(lanes)]))
    code.store(code.picked(found, found, list(range(0, lanes, lanes // 4))), out, places[0])


def _update(code: tiles.Vectors, sums: list[Any], out: Any, places: list[Any], more: list[Any]) -> None:
    """Gradients update the parameters in their places, whose velocities lie `shift` further on; 0: nowhere.

    `more` is (shift, decay, momentum, inject, push, direct), as in `advance_rows`.
    """
    builder, (shift, *factors) = code.builder, more
    decay, momentum, inject, push, direct = map(code.repeated, factors)
    before = [code.load(out, place) for place in places]
    slopes = [code.plus(total, decay, x) for total, x in zip(sums, before, strict=True)]
    changes = [builder.fmul(direct, slope) for slope in slopes]
    kept = [cgutils.alloca_once_value(builder, change) for change in changes]
    with builder.if_then(builder.icmp_signed("!=", shift, shift.type(0))):
        for slope, change, here, place in zip(slopes, changes, kept, places, strict=True):
            there = builder.add(place, shift)
            speed = code.plus(builder.fmul(momentum, code.load(out, there)), inject, slope)
            code.store(speed, out, there)
            builder.store(code.plus(change, push, speed), here)
    for x, change, place in zip(before, kept, places, strict=True):
        code.store(builder.fsub(x, builder.load(change)), out, place)


_HEIGHTS = range(1, _ROWS + 1)
_sum_tile = tiles.tile(_HEIGHTS, [(4,)], scalar=False, finish=_total)
_store_tile = tiles.tile(_HEIGHTS, [(1,), (4,)], scalar=True)
_update_tile = tiles.tile(_HEIGHTS, [(1,), (4,)], scalar=True, finish=_update)


# Losses


def _exp(x: Any) -> Any:
    """eˣ for x <= 0: in float64, and the name under which compiled code finds that of its type."""
    return np.exp(x)


_f = np.float32
_LOG2_E, _LN2_HIGH, _LN2_LOW = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
_LOWEST, _ROUNDER, _BIAS, _23 = _f(-87.0), _f(1.5 * 2**23), np.int32(127), np.int32(23)


def _exp_32(x: Any) -> Any:
    """Cephes' expf, which vectorises: 2ⁿ eᶻ with |z| <= ½ ln 2; not below e^−87. Not a number stays so."""
    x = _LOWEST if x < _LOWEST else x
    shifted = x * _LOG2_E + _ROUNDER  # its last bits are n
    n = shifted - _ROUNDER
    z = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = _f(1.9875691500e-4)
    p = p * z + _f(1.3981999507e-3)
    p = p * z + _f(8.3334519073e-3)
    p = p * z + _f(4.1665795894e-2)
    p = p * z + _f(1.6666665459e-1)
    p = p * z + _f(5.0000001201e-1)
    power = np.int32((_f(shifted).view(np.int32) + _BIAS) << _23).view(np.float32)
    return (z * z * p + z + _f(1)) * power


@overload(_exp)
def _exp_of_type(x: Any) -> Any:
    return _exp_32 if x == types.float32 else _exp


@njit(fastmath={"contract"})
def _softmax(z: Any, rows: Any, top: Any, total: Any) -> None:
    """z (C, rows …) becomes e^{z − top}, top the largest of the C and total the sum; rows are neighbours."""
    for b in range(rows):
        top[b] = z[0, b]
        total[b] = 0
    for c in range(1, z.shape[0]):
        for b in range(rows):
            top[b] = z[c, b] if z[c, b] > top[b] else top[b]
    for c in range(z.shape[0]):
        for b in range(rows):
            z[c, b] = _exp(z[c, b] - top[b])
            total[b] += z[c, b]


@njit(fastmath={"contract"})
def _scale(factors: Any, z: Any, rows: Any) -> None:
    for c in range(z.shape[0]):
        for b in range(rows):
            z[c, b] *= factors[b]


@njit
def _cross_entropy(labels: Any, rows: Any, z: Any, top: Any, total: Any) -> Any:
    """Mean of ln Σ_c e^{z_c} − z_label over the rows; z (C, rows …) becomes its gradient."""
    loss, one = 0.0, z.dtype.type(1)
    for b in range(rows):
        loss -= np.float64(z[labels[b], b])
    _softmax(z, rows, top, total)
    for b in range(rows):
        loss += np.float64(top[b]) + np.float64(np.log(total[b]))
        total[b] = one / (total[b] * z.dtype.type(rows))
    _scale(total, z, rows)
    for b in range(rows):
        z[labels[b], b] -= one / z.dtype.type(rows)
    return loss / rows


@njit
def _binary(labels: Any, rows: Any, z: Any, hinge: Any) -> Any:
    """Mean of max(0, 1 − m) or of ln(1 + e^{−m}), m = ±z, over the rows; z becomes its gradient."""
    loss, zero, one = 0.0, z.dtype.type(0), z.dtype.type(1)
    for b in range(rows):
        sign = z.dtype.type(2 * labels[b] - 1)
        margin = sign * z[0, b]
        if hinge:
            value = zero if margin >= 1 else one - margin
            slope = zero if margin >= 1 else one
        else:
            e = _exp(-abs(margin))
            value = np.log1p(e) - (margin if margin < 0 else zero)
            slope = (e if margin > 0 else one) / (one + e)
        loss += np.float64(value)
        z[0, b] = -sign * slope / z.dtype.type(rows)
    return loss / rows


# Layers


class _Layers(NamedTuple):
    """Where a thread keeps a minibatch on its way through a network.

    h (L, n, W) are the layers' inputs: of layer l, inputs[l] numbers per row, a 1, zeros up to widths[l]. Its
    weights (outputs[l], widths[l]) begin at firsts[l] of a model's parameters. g (L, n, W) are the gradients
    of h, and z (C, n) the last layer's outputs, then their gradients.
    """

    inputs: Any
    outputs: Any
    widths: Any
    firsts: Any
    h: Any
    g: Any
    z: Any


@njit
def _layers(table: Any, rows: Any, like: Any) -> Any:
    inputs, outputs, widths, firsts = table[0], table[1], table[2], table[3]
    n, width = -(-rows // 4) * 4, widths.max()
    h, g = tiles.zeros((len(inputs), n, width), like), tiles.zeros((len(inputs), n, width), like)
    for layer in range(len(inputs)):
        h[layer, :, inputs[layer]] = 1
    return _Layers(inputs, outputs, widths, firsts, h, g, tiles.zeros((outputs[-1], n), like))


@njit
def _copy(source: Any, target: Any) -> None:
    """A function of its own, so that the copy vectorises."""
    for i in range(len(source)):
        target[i] = source[i]


@njit
def _load(features: Any, labels: Any, chosen: Any, layers: Any, known: Any) -> Any:
    """The chosen rows up to the first −1 into the first layer and `known`; how many they are."""
    rows = 0
    while rows < len(chosen) and chosen[rows] >= 0:
        _copy(features[chosen[rows]], layers.h[0, rows])
        known[rows] = labels[chosen[rows]]
        rows += 1
    return rows


@njit
def _forward(x: Any, rows: Any, layers: Any) -> None:
    """The outputs z of a model x for the first `rows` rows of the minibatch."""
    h, z = layers.h, layers.z
    _, n, width = h.shape
    lanes, last = tiles.lanes(x), len(layers.inputs) - 1
    for layer in range(last):
        across, first = layers.widths[layer], layers.firsts[layer]
        inputs, outputs = layer * n * width, (layer + 1) * n * width
        for b in range(0, rows, _ROWS):
            shape = min(_ROWS, rows - b), 4
            for o in range(0, layers.outputs[layer], 4):
                _sum_tile(
                    shape, h, outputs + b * width + o, (width, 1), h, inputs + b * width, (width, lanes),
                    x, first + o * across, (across, lanes), (across // lanes,), (),
                )  # fmt: skip
        _rectify(h[layer + 1, :rows], layers.outputs[layer])
    across, first, outputs = layers.widths[last], layers.firsts[last], layers.outputs[last]
    for b in range(0, rows, 4):
        for o in range(0, outputs, _ROWS):
            shape = min(_ROWS, outputs - o), 4
            _sum_tile(
                shape, z, o * n + b, (n, 1), x, first + o * across, (across, lanes),
                h, (last * n + b) * width, (width, lanes), (across // lanes,), (),
            )  # fmt: skip


@njit
def _rectify(h: Any, outputs: Any) -> None:
    """max(0, h), not a number where h is none, and the constant after it."""
    for b in range(len(h)):
        for o in range(outputs):
            h[b, o] = 0 if h[b, o] <= 0 else h[b, o]
        h[b, outputs] = 1


@njit
def _mask(h: Any, g: Any, inputs: Any) -> None:
    for b in range(len(h)):
        for i in range(inputs):
            g[b, i] = g[b, i] if h[b, i] > 0 else 0


@njit
def _backward(x: Any, rows: Any, step: Any, layers: Any) -> None:
    """Update x, by `step` as in `_update`, along the gradient, of which z holds the beginning."""
    h, g = layers.h, layers.g.ravel()
    _, n, width = h.shape
    lanes, last = tiles.lanes(x), len(layers.inputs) - 1
    slopes, start, per_output, per_row = layers.z.ravel(), 0, n, 1
    for layer in range(last, -1, -1):
        across, first, outputs = layers.widths[layer], layers.firsts[layer], layers.outputs[layer]
        here = layer * n * width
        i = 0
        while i < across:
            columns = 4 if i + 4 * lanes <= across else 1
            if layer > 0:
                for b in range(0, rows, _ROWS):
                    _store_tile(
                        (min(_ROWS, rows - b), columns), g, here + b * width + i, (width, lanes),
                        slopes, start + b * per_row, (per_row, per_output),
                        x, first + i, (lanes, across), (outputs,), (),
                    )  # fmt: skip
            for o in range(0, outputs, _ROWS):
                _update_tile(
                    (min(_ROWS, outputs - o), columns), x, first + o * across + i, (across, lanes),
                    slopes, start + o * per_output, (per_output, per_row),
                    h, here + i, (lanes, width), (rows,), step,
                )  # fmt: skip
            i += columns * lanes
        if layer > 0:
            _mask(h[layer, :rows], layers.g[layer, :rows], layers.inputs[layer])
        slopes, start, per_output, per_row = g, here, 1, width


# Training


@njit
def _take(x: Any, where: Any, padded: Any) -> None:
    for i in range(len(x)):
        padded[where[i]] = x[i]


@njit(nogil=True, cache=True)
def _train(
    first: Any,
    last: Any,
    table: Any,
    where: Any,
    padded: Any,
    loss: Any,
    decay: Any,
    momentum: Any,
    features: Any,
    labels: Any,
    rows: Any,
    inject: Any,
    push: Any,
    direct: Any,
    weights: Any,
    keep: Any,
    x: Any,
    v: Any,
    averages: Any,
    losses: Any,
) -> None:
    """`advance_rows` for models first, …, last − 1 of all, run by run, as many at once as `_CACHE` holds."""
    _, updates, batch = rows.shape
    pairs, shift = x.shape[1], padded if v.shape[2] > 0 else 0
    group = max(1, _CACHE // ((shift + (1 + len(weights)) * padded) * x.itemsize))
    group = min(group, last - first, pairs)
    layers, known = _layers(table, batch, x), np.empty(batch, labels.dtype)
    own, sums = tiles.zeros((group, padded + shift), x), tiles.zeros((group, len(weights), padded), x)
    top, total = tiles.zeros((batch,), x), tiles.zeros((batch,), x)
    model = first
    while model < last:
        r, p = divmod(model, pairs)
        here = min(group, last - model, pairs - p)
        own[:] = 0  # the padding of a model that diverged is not zero any more
        for m in range(here):
            _take(x[r, p + m], where, own[m])
            _take(v[r, p + m], where, own[m, shift:])
        sums[:] = 0
        for k in range(updates):
            n = _load(features, labels, rows[r, k], layers, known)
            for m in range(here):
                _forward(own[m], n, layers)
                if loss == 0:
                    losses[r, p + m, k] = _cross_entropy(known, n, layers.z, top, total)
                else:
                    losses[r, p + m, k] = _binary(known, n, layers.z, loss == 2)
                factors = inject[r, p + m, k], push[r, p + m, k], direct[r, p + m, k]
                _backward(own[m], n, (shift, decay, momentum, *factors), layers)
                tiles.collect(weights[:, p + m, k], own[m], sums[m])
        for m in range(here):
            x[r, p + m] = own[m][where]
            if shift > 0:
                v[r, p + m] = own[m, shift:][where]
            for a in range(len(weights)):
                tiles.fold(keep[a, p + m], sums[m, a][where], averages[a, r, p + m])
        model += here


@njit(nogil=True, cache=True)
def _evaluate(
    first: Any, last: Any, table: Any, where: Any, padded: Any, x: Any, features: Any, out: Any
) -> None:
    """`outputs` for parts first, …, last − 1 of all: `_PART` rows by one model, part by part."""
    models, rows = len(x), len(features)
    group = min(max(1, _CACHE // (padded * x.itemsize)), last - first, models)
    layers, own = _layers(table, _BLOCK, x), tiles.zeros((group, padded), x)
    task = first
    while task < last:
        part, model = divmod(task, models)
        here = min(group, last - task, models - model)
        for m in range(here):
            _take(x[model + m], where, own[m])
        for begin in range(part * _PART, min((part + 1) * _PART, rows), _BLOCK):
            n = min(_BLOCK, rows - begin)
            for b in range(n):
                _copy(features[begin + b], layers.h[0, b])
            for m in range(here):
                _forward(own[m], n, layers)
                for b in range(n):
                    for c in range(len(layers.z)):
                        out[model + m, begin + b, c] = layers.z[c, b]
        task += here


def _table(sizes: tuple[int, ...], x: NDArray[Any], features: NDArray[Any]) -> tuple[Integers, Integers, int]:
    """The first fields of `_Layers` (4, L); where each parameter goes; how many there are, padded."""
    if features.shape[-1] != sizes[0]:
        raise InputError(f"sizes begin with {sizes[0]}, and rows have {features.shape[-1]} features")
    lanes = tiles.WIDTH // x.itemsize
    inputs, outputs = np.array(sizes[:-1]), np.array(sizes[1:])
    widths = (inputs // lanes + 1) * lanes
    numbers = -(-outputs // 4) * 4 * widths
    firsts = np.cumsum(numbers) - numbers
    where = []
    for i, o, width, begin in zip(inputs, outputs, widths, firsts, strict=True):
        rows = begin + width * np.arange(o)[:, None]
        where += [(rows + np.arange(i)).ravel(), rows[:, 0] + i]
    return np.array([inputs, outputs, widths, firsts]), np.concatenate(where), int(numbers.sum())


def advance_rows(
    sizes: tuple[int, ...],
    loss: Loss,
    weight_decay: float,
    momentum: float,
    features: NDArray[Any],
    labels: Integers,
    rows: Integers,
    inject: Array,
    push: Array,
    direct: Array,
    weights: Array,
    keep: Array,
    x: NDArray[Any],
    v: NDArray[Any],
    averages: Array,
) -> Array:
    """K updates of all models, in place: v ← momentum·v + inject·g, x ← x − push·v − direct·g.

    A model has layers z = W h + b, with h = max(0, z) in between, `sizes` (D, …, C) numbers wide; its
    parameters x (N,) are W (rows first), b of each layer in turn. g is the gradient of the mean loss over the
    minibatch plus weight_decay·x; "logistic" and "hinge" have C = 1 and labels 0 and 1. Run r sees rows
    (R, K, B) of features (n, D) and labels (n,), −1 after the last row of a short minibatch.

    inject, push, direct are (R, P, K), x (R, P, N), v alike, or (R, P, 0) without momentum. Averages
    (A, R, P, N) become keep·x̄ + Σ_k weights_k x_{k+1} with keep (A, P), weights (A, P, K), summed in the
    dtype of x. Returns the mean loss over each minibatch before its update, (R, P, K).
    """
    layout = _table(sizes, x, features)
    real = x.dtype.type
    if v.shape[2] == 0:
        direct = direct + push * inject
    factors = [np.ascontiguousarray(c, dtype=x.dtype) for c in (inject, push, direct, weights)]
    losses = np.empty(inject.shape)
    spread(
        _train,
        x.shape[0] * x.shape[1],
        *layout,
        _LOSSES.index(loss),
        real(weight_decay),
        real(momentum),
        features,
        labels,
        np.ascontiguousarray(rows),
        *factors,
        np.ascontiguousarray(keep),
        x,
        v,
        averages,
        losses,
    )
    return losses


def outputs(sizes: tuple[int, ...], x: NDArray[Any], features: NDArray[Any]) -> NDArray[Any]:
    """Outputs (M, n, C) of models x (M, N), as in `advance_rows`, for features (n, D), in the dtype of x."""
    out = np.empty((len(x), len(features), sizes[-1]), x.dtype)
    tasks = len(x) * -(-len(features) // _PART)
    spread(
        _evaluate,
        tasks,
        *_table(sizes, x, features),
        np.ascontiguousarray(x),
        np.ascontiguousarray(features),
        out,
    )
    return out


@njit(nogil=True, cache=True)
def _gather(first: Any, last: Any, features: Any, labels: Any, rows: Any, out: Any, chosen: Any) -> None:
    for j in range(first, last):
        row = max(rows[j], 0)
        chosen[j] = labels[row]
        _copy(features[row], out[j])


def gather(features: NDArray[Any], labels: Integers, rows: Integers) -> tuple[NDArray[Any], Integers]:
    """Features (R, K, B, D) and labels (R, K, B) of rows (R, K, B); −1 stands for none, and takes any."""
    out = np.empty((rows.size, features.shape[1]), features.dtype)
    chosen = np.empty(rows.size, labels.dtype)
    spread(_gather, rows.size, features, labels, np.ascontiguousarray(rows).reshape(-1), out, chosen)
    return out.reshape(*rows.shape, -1), chosen.reshape(rows.shape)
