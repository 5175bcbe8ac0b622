"""Many dense networks at once on the CPU: a model is trained by one thread over a whole span of updates.

A run's minibatch is loaded once for as many of its models as `_CACHE` holds. Every product is made of
tiles whose sums stay in registers (`_tile`): a layer's outputs, the gradients of its inputs, and those of its
weights, which are never stored: the tile ends with the update itself. A layer's rows are padded to whole
vectors, and hold the bias as the weight of a constant 1.

A model's sums have a fixed order and see nothing of other models, so results depend neither on the threads
nor on which models pass a minibatch together. float64 takes somewhat over twice as long.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from problems.networks import Loss
from theory.arrays import Array, InputError, Integers
from theory.threads import spread

_WIDE = binding.get_host_cpu_features().get("avx512f", False)
_BYTES = 64 if _WIDE else 32  # of a vector
_ROWS = 5 if _WIDE else 2  # of a tile, which has 4 columns: as many sums as there are registers for
_CACHE = 2**21  # bytes of the models that a loaded minibatch serves
_intrinsic: Any = intrinsic  # what it returns is called without the typing context
_LOSSES = ("cross_entropy", "logistic", "hinge")


# Products


def _totals(builder: Any, vectors: list[Any], lanes: int) -> Any:
    """The sums of the lanes of each of four vectors, as one vector of four."""

    def picked(a: Any, b: Any, lanes: list[int]) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))

    def halved(a: Any, b: Any, width: int) -> Any:
        """The terms of a, then of b: each `width` neighbours become half as many."""
        low = [g + i for g in range(0, 2 * lanes, width) for i in range(width // 2)]
        return builder.fadd(picked(a, b, low), picked(a, b, [i + width // 2 for i in low]))

    pairs = halved(vectors[0], vectors[1], lanes), halved(vectors[2], vectors[3], lanes)
    all_four, width = halved(*pairs, lanes // 2), lanes // 4
    while width > 1:
        width //= 2
        all_four = builder.fadd(all_four, picked(all_four, all_four, [i ^ width for i in range(lanes)]))
    return picked(all_four, all_four, list(range(0, lanes, lanes // 4)))


def _tile(finish: Literal["sum", "store", "update"]) -> Any:
    """A numba intrinsic: s_ij = Σ_k a_ik b_jk over k < terms, for i < rows <= `_ROWS` and 1 or 4 columns j.

    `shape` is (rows, columns, terms). b_jk is a vector, and a_ik one too for "sum", a number otherwise.
    "sum" (4 columns) adds up the lanes, out_ij = Σ s_ij; "store" is out_ij = s_ij; "update" takes s_ij for a
    gradient of the parameters out_ij, whose velocities, if there are any, have the same places in v: `step`
    is (decay, momentum, inject, push, direct) as in `advance_rows`. Every operand is an array, its start
    in it, and its strides: (i, k) of a, (j, k) of b, i of out, whose columns are neighbours.
    """

    @_intrinsic
    def tile(
        _: Any, shape: Any, a: Any, a0: Any, da: Any, b: Any, b0: Any, db: Any,
        out: Any, o0: Any, do: Any, v: Any, step: Any,
    ) -> Any:  # fmt: skip
        kinds = (shape, a, a0, da, b, b0, db, out, o0, do, v, step)
        size = out.dtype.bitwidth // 8
        lanes = _BYTES // size

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(context.get_value_type(out.dtype), lanes)
            whole = ir.IntType(64)
            rows, columns, terms = cgutils.unpack_tuple(builder, arguments[0])
            data = {
                k: context.make_array(signature.args[k])(context, builder, arguments[k])
                for k in (1, 4, 7, 10)
            }
            a_step, b_step = (cgutils.unpack_tuple(builder, arguments[k]) for k in (3, 6))

            def at(operand: int, begin: Any, *moves: tuple[Any, Any]) -> Any:
                for stride, index in moves:
                    begin = builder.add(begin, builder.mul(stride, index))
                return builder.gep(data[operand].data, [begin])

            def load(pointer: Any) -> Any:
                return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=size)

            def store(value: Any, pointer: Any) -> None:
                builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=size)

            def repeated(number: Any) -> Any:
                single = builder.insert_element(ir.Constant(vector, ir.Undefined), number, whole(0))
                first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
                return builder.shuffle_vector(single, single, first)

            def plus(total: Any, x: Any, y: Any) -> Any:
                return builder.fadd(total, builder.fmul(x, y, flags=["contract"]), flags=["contract"])

            def emit(height: int, width: int) -> None:
                sums = {
                    (i, j): cgutils.alloca_once(builder, vector) for i in range(height) for j in range(width)
                }
                for s in sums.values():
                    builder.store(ir.Constant(vector, None), s)
                with cgutils.for_range(builder, terms) as loop:
                    k = loop.index
                    right = [
                        load(at(4, arguments[5], (b_step[0], whole(j)), (b_step[1], k))) for j in range(width)
                    ]
                    for i in range(height):
                        place = at(1, arguments[2], (a_step[0], whole(i)), (a_step[1], k))
                        left = load(place) if finish == "sum" else repeated(builder.load(place))
                        for j in range(width):
                            builder.store(plus(builder.load(sums[i, j]), left, right[j]), sums[i, j])
                for i in range(height):
                    begin = builder.add(arguments[8], builder.mul(arguments[9], whole(i)))
                    found = [builder.load(sums[i, j]) for j in range(width)]
                    if finish == "sum":
                        store(_totals(builder, found, lanes), at(7, begin))
                        continue
                    places = [builder.add(begin, whole(j * lanes)) for j in range(width)]
                    if finish == "update":
                        found = updated(found, places)
                    for value, place in zip(found, places, strict=True):
                        store(value, at(7, place))

            def updated(slopes: list[Any], places: list[Any]) -> list[Any]:
                factors = cgutils.unpack_tuple(builder, arguments[11])
                decay, momentum, inject, push, direct = map(repeated, factors)
                before = [load(at(7, place)) for place in places]
                slopes = [plus(slope, decay, x) for slope, x in zip(slopes, before, strict=True)]
                changes = [builder.fmul(direct, slope) for slope in slopes]
                kept = [cgutils.alloca_once_value(builder, change) for change in changes]
                with builder.if_then(builder.icmp_signed("!=", data[10].nitems, whole(0))):
                    for slope, change, here, place in zip(slopes, changes, kept, places, strict=True):
                        speed = plus(builder.fmul(momentum, load(at(10, place))), inject, slope)
                        store(speed, at(10, place))
                        builder.store(plus(change, push, speed), here)
                return [builder.fsub(x, builder.load(c)) for x, c in zip(before, kept, strict=True)]

            for height in range(1, _ROWS + 1):
                with builder.if_then(builder.icmp_signed("==", rows, whole(height))):
                    for width in (4,) if finish == "sum" else (1, 4):
                        with builder.if_then(builder.icmp_signed("==", columns, whole(width))):
                            emit(height, width)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return tile


_sum_tile, _store_tile, _update_tile = _tile("sum"), _tile("store"), _tile("update")


@_intrinsic
def _lanes(_: Any, like: Any) -> Any:
    """Numbers of an array's type in a vector, known to the compiler."""
    lanes = ir.IntType(64)(_BYTES // (like.dtype.bitwidth // 8))
    return types.intp(like), lambda *_: lanes


@njit
def _zeros(shape: Any, like: Any) -> Any:
    """An array of zeros that begins at a multiple of `_BYTES`."""
    size = 1
    for n in shape:
        size *= n
    room = np.zeros(size + _lanes(like), like.dtype)
    shift = (-room.ctypes.data % _BYTES) // like.itemsize
    return room[shift : shift + size].reshape(shape)


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
    h, g = _zeros((len(inputs), n, width), like), _zeros((len(inputs), n, width), like)
    for layer in range(len(inputs)):
        h[layer, :, inputs[layer]] = 1
    return _Layers(inputs, outputs, widths, firsts, h, g, _zeros((outputs[-1], n), like))


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
def _forward(x: Any, rows: Any, nothing: Any, step: Any, layers: Any) -> None:
    """The outputs z of a model x for the first `rows` rows of the minibatch."""
    h, z = layers.h.reshape(layers.h.size), layers.z.reshape(layers.z.size)
    _, n, width = layers.h.shape
    lanes, last = _lanes(x), len(layers.inputs) - 1
    for layer in range(last):
        across, first = layers.widths[layer], layers.firsts[layer]
        inputs, outputs = layer * n * width, (layer + 1) * n * width
        for b in range(0, rows, _ROWS):
            shape = min(_ROWS, rows - b), 4, across // lanes
            for o in range(0, layers.outputs[layer], 4):
                _sum_tile(
                    shape, h, inputs + b * width, (width, lanes), x, first + o * across, (across, lanes),
                    h, outputs + b * width + o, width, nothing, step,
                )  # fmt: skip
        _rectify(layers.h[layer + 1, :rows], layers.outputs[layer])
    across, first, outputs = layers.widths[last], layers.firsts[last], layers.outputs[last]
    for b in range(0, rows, 4):
        for o in range(0, outputs, _ROWS):
            shape = min(_ROWS, outputs - o), 4, across // lanes
            _sum_tile(
                shape, x, first + o * across, (across, lanes), h, (last * n + b) * width, (width, lanes),
                z, o * n + b, n, nothing, step,
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
def _backward(x: Any, v: Any, rows: Any, step: Any, layers: Any) -> None:
    """Update x and v along the gradient, of which z holds the beginning."""
    h, g, z = (
        layers.h.reshape(layers.h.size),
        layers.g.reshape(layers.g.size),
        layers.z.reshape(layers.z.size),
    )
    _, n, width = layers.h.shape
    lanes, last = _lanes(x), len(layers.inputs) - 1
    slopes, start, per_output, per_row = z, 0, n, 1
    for layer in range(last, -1, -1):
        across, first, outputs = layers.widths[layer], layers.firsts[layer], layers.outputs[layer]
        here = layer * n * width
        i = 0
        while i < across:
            columns = 4 if i + 4 * lanes <= across else 1
            if layer > 0:
                for b in range(0, rows, _ROWS):
                    shape = min(_ROWS, rows - b), columns, outputs
                    _store_tile(
                        shape, slopes, start + b * per_row, (per_row, per_output),
                        x, first + i, (lanes, across), g, here + b * width + i, width, v, step,
                    )  # fmt: skip
            for o in range(0, outputs, _ROWS):
                shape = min(_ROWS, outputs - o), columns, rows
                _update_tile(
                    shape, slopes, start + o * per_output, (per_output, per_row), h, here + i, (lanes, width),
                    x, first + o * across + i, across, v, step,
                )  # fmt: skip
            i += columns * lanes
        if layer > 0:
            _mask(layers.h[layer, :rows], layers.g[layer, :rows], layers.inputs[layer])
        slopes, start, per_output, per_row = g, here, 1, width


# Training


@njit(fastmath={"contract"})
def _add(weight: Any, x: Any, total: Any) -> None:
    for i in range(len(x)):
        total[i] += weight * x[i]


@njit
def _take(where: Any, flat: Any, padded: Any) -> None:
    for i in range(len(flat)):
        padded[where[i]] = flat[i]


@njit
def _give(where: Any, padded: Any, flat: Any) -> None:
    for i in range(len(flat)):
        flat[i] = padded[where[i]]


@njit
def _fold(keep: Any, where: Any, total: Any, average: Any) -> None:
    for i in range(len(average)):
        average[i] = keep * average[i] + np.float64(total[where[i]])


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
    pairs, moving = x.shape[1], min(v.shape[2], 1)
    group = max(1, _CACHE // ((1 + moving + len(weights)) * padded * x.itemsize))
    group = min(group, last - first, pairs)
    layers, known = _layers(table, batch, x), np.empty(batch, labels.dtype)
    own, speed = _zeros((group, padded), x), _zeros((group, moving * padded), x)
    sums, top, total = _zeros((len(weights), group, padded), x), _zeros((batch,), x), _zeros((batch,), x)
    model = first
    while model < last:
        r, p = divmod(model, pairs)
        here = min(group, last - model, pairs - p)
        for m in range(here):
            _take(where, x[r, p + m], own[m])
            _take(where, v[r, p + m], speed[m])
        sums[:] = 0
        for k in range(updates):
            n = _load(features, labels, rows[r, k], layers, known)
            for m in range(here):
                step = decay, momentum, inject[r, p + m, k], push[r, p + m, k], direct[r, p + m, k]
                _forward(own[m], n, speed[m], step, layers)
                if loss == 0:
                    losses[r, p + m, k] = _cross_entropy(known, n, layers.z, top, total)
                else:
                    losses[r, p + m, k] = _binary(known, n, layers.z, loss == 2)
                _backward(own[m], speed[m], n, step, layers)
                for a in range(len(weights)):
                    if weights[a, p + m, k] != 0:
                        _add(weights[a, p + m, k], own[m], sums[a, m])
        for m in range(here):
            _give(where, own[m], x[r, p + m])
            _give(where, speed[m], v[r, p + m])
            for a in range(len(weights)):
                _fold(keep[a, p + m], where, sums[a, m], averages[a, r, p + m])
        model += here


def _table(sizes: tuple[int, ...], lanes: int) -> tuple[Integers, Integers, int]:
    """The first fields of `_Layers` (4, L); where each parameter goes; how many there are, padded."""
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
    if features.shape[-1] != sizes[0]:
        raise InputError(f"sizes begin with {sizes[0]}, and rows have {features.shape[-1]} features")
    real = x.dtype.type
    table, where, padded = _table(sizes, _BYTES // x.itemsize)
    if v.shape[2] == 0:
        direct = direct + push * inject
    factors = [np.ascontiguousarray(c, dtype=x.dtype) for c in (inject, push, direct, weights)]
    losses = np.empty(inject.shape)
    spread(
        _train,
        x.shape[0] * x.shape[1],
        table,
        where,
        padded,
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
