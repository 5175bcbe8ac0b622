"""Many LeNets at once on the CPU: a thread trains one model over a whole span, and keeps it in its cache.

The network is `problems.networks.LeNet`. Its convolutions and linear layers, forward and backward, are made
of `kernels.tiles`, whose vectors run over the rows of a minibatch: arrays are laid out as (blocks,
channels, height, width, lanes), a block being as many rows as a vector has lanes. A tile of a convolution is
pooled where it was computed, and remembers which of four pixels was the largest (`_pool`); on the way back
their gradients are laid out again for one block, or one row of it, at a time (`_unpool`).

All sums of a model have a fixed order, so results depend neither on threads nor on the other models. Rows
that do not count are black images without gradient.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from ratelab.experiments.engines.kernels import tiles
from ratelab.experiments.engines.kernels.averages import collect, fold
from ratelab.experiments.engines.kernels.span import Models, Span, compiled
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.threads import spread

_ROWS = 64  # of a data set that `outputs` passes through a model together
_DENSE = 10  # rows of a tile of the dense layers
_ZERO = np.float32(0)  # widens no float32


# Vectors


def _choices(code: tiles.Vectors) -> tiles.Vectors:
    """Vectors of as many numbers from 0 to 4."""
    return tiles.Vectors(code.builder, ir.VectorType(ir.IntType(8), code.kind.count), 1)


@tiles.intrinsic
def _pool(_: Any, quads: Any, quad: Any, bias: Any, h: Any, route: Any, pixel: Any) -> Any:
    """h = max(0, four vectors of quads + bias), and in route which of them, the first of several; 4: none.

    What is not a number is the largest, as torch has it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, one = tiles.vectors(context, builder, h), ir.IntType(64)
        choices, lanes = _choices(code), code.kind.count
        values, largest, routes = tiles.entries(context, builder, signature, arguments, (0, 3, 4))
        first = builder.mul(arguments[1], one(4 * lanes))
        shift = code.repeated(arguments[2])
        best, chosen = code.constant(0), choices.constant(4)
        for q in range(4):
            value = builder.fadd(code.load(values, builder.add(first, one(q * lanes))), shift)
            larger, bad = builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value)
            taken = builder.or_(larger, bad)
            best = builder.select(taken, value, best)
            chosen = builder.select(taken, choices.constant(q), chosen)
        at = builder.mul(arguments[5], one(lanes))
        code.store(best, largest, at)
        choices.store(chosen, routes, at)
        return context.get_dummy_value()

    return types.void(quads, quad, bias, h, route, pixel), generate


@tiles.intrinsic
def _unpool(_: Any, out: Any, at: Any, row: Any, g: Any, route: Any, pixel: Any, bias: Any, c: Any) -> Any:
    """`_pool` backwards: gradients g of a pixel to two vectors of out at `at`, and two a `row` further on.

    They go where the maximum was, the other entries become 0, and are added to channel c of bias (C, lanes).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, one = tiles.vectors(context, builder, out), ir.IntType(64)
        choices, lanes = _choices(code), code.kind.count
        image, gradients, routes, sums = tiles.entries(context, builder, signature, arguments, (0, 3, 4, 6))
        first, step, from_, channel = (arguments[k] for k in (1, 2, 5, 7))
        source, cell = builder.mul(from_, one(lanes)), builder.mul(channel, one(lanes))
        value, chosen = code.load(gradients, source), choices.load(routes, source)
        total = code.load(sums, cell)
        for q in range(4):
            hit = builder.icmp_signed("==", chosen, choices.constant(q))
            part = builder.select(hit, value, code.constant(0))
            to = builder.add(builder.mul(step, one(q // 2)), one(lanes * (q % 2)))
            code.store(part, image, builder.add(first, to))
            total = builder.fadd(total, part)
        code.store(total, sums, cell)
        return context.get_dummy_value()

    return types.void(out, at, row, g, route, pixel, bias, c), generate


@tiles.intrinsic
def _turn(_: Any, source: Any, at: Any, row: Any, out: Any, to: Any, line: Any) -> Any:
    """Transposes as many vectors as they have lanes, `row` apart in source and `line` apart in out.

    By swapping blocks of 1, 2, 4, … off the diagonal (Eklundh 1972).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = tiles.vectors(context, builder, out)
        lanes = code.kind.count
        read, written = tiles.entries(context, builder, signature, arguments, (0, 3))

        def places(first: Any, stride: Any) -> list[Any]:
            return [builder.add(first, builder.mul(stride, ir.IntType(64)(n))) for n in range(lanes)]

        values = [code.load(read, place) for place in places(arguments[1], arguments[2])]
        block = 1
        while block < lanes:
            upper = [lanes + j - block if j & block else j for j in range(lanes)]
            lower = [lanes + j if j & block else j + block for j in range(lanes)]
            for i in range(lanes):
                if not i & block:
                    pair = values[i], values[i + block]
                    values[i], values[i + block] = code.picked(*pair, upper), code.picked(*pair, lower)
            block *= 2
        for value, place in zip(values, places(arguments[4], arguments[5]), strict=True):
            code.store(value, written, place)
        return context.get_dummy_value()

    return types.void(source, at, row, out, to, line), generate


# Convolutions: 5 × 5, ReLU, maximum of 2 × 2


_quad_tile = tiles.tile([2], [(2, 2)], scalar=True)
_taps_tile = tiles.tile([2], [(5,)], scalar=False, onto=True)
_QUAD, _TAPS = (2, 4), (2, 5)


@njit
def _convolve(w: Any, bias: Any, z: Any, quads: Any, h: Any, route: Any) -> None:
    """h, route (O, n, n, lanes) = pool(w (O, I, 5, 5) * z (I, 2n + 4, 2n + 4, lanes) + bias).

    quads (2, 4, lanes) is scratch.
    """
    outputs, inputs = w.shape[:2]
    width, pooled, lanes = z.shape[1], h.shape[1], tiles.lanes(z)
    row, image, taps = width * lanes, width * width * lanes, inputs * 25
    for o in range(0, outputs, 2):
        for y in range(pooled):
            for x in range(pooled):
                out, left = (quads, 0, (4 * lanes, 2 * lanes, lanes)), (w, o * taps, (taps, 25, 5, 1))
                right = z, 2 * y * row + 2 * x * lanes, (row, lanes, image, row, lanes)
                _quad_tile(_QUAD, out, left, right, (inputs, 5, 5), ())
                for i in range(2):
                    pixel = ((o + i) * pooled + y) * pooled + x
                    _pool(quads, i, bias[o + i], h, route, pixel)


@njit
def _correlate(g: Any, margin: Any, count: Any, z: Any, first: Any, sums: Any) -> None:
    """Adds to sums (O, I, 5, 5, lanes) the weight gradient of `count` rows of a convolution.

    g (O, H, W, lanes), after its margin, is the gradient of what z (I, n, n, lanes) from row `first` on gave.
    """
    outputs, inputs = sums.shape[:2]
    height, width, lanes = g.shape[1], g.shape[2], tiles.lanes(z)
    side = z.shape[1]
    for o in range(0, outputs, 2):
        for c in range(inputs):
            for d in range(5):
                out = sums, ((o * inputs + c) * 25 + 5 * d) * lanes, (inputs * 25 * lanes, lanes)
                begin = ((o * height + margin) * width + margin) * lanes
                left = g, begin, (height * width * lanes, width * lanes, lanes)
                right = z, (c * side + first + d) * side * lanes, (lanes, side * lanes, lanes)
                _taps_tile(_TAPS, out, left, right, (count, width - 2 * margin), ())


@njit
def _scatter(w: Any, g: Any, gz: Any) -> None:
    """gz (I, n, n, lanes): gradient of the inputs of a convolution with w (O, I, 5, 5).

    g (O, n − 2, n − 2, lanes) has a margin of one zero, for taps that reach only one of two neighbours.
    """
    outputs, inputs = w.shape[:2]
    side, width, lanes = gz.shape[1], g.shape[1], tiles.lanes(gz)
    row, image = width * lanes, width * width * lanes
    for c in range(0, inputs, 2):
        for y in range(0, side, 2):
            top, rows = max(0, y - side + 5), min(4, y + 1)
            for x in range(0, side, 2):
                left, columns = max(0, x - side + 5), min(4, x + 1)
                out = gz, ((c * side + y) * side + x) * lanes, (side * side * lanes, side * lanes, lanes)
                taps = w, c * 25 + top * 5 + left, (25, inputs * 25, 5, 1)
                begin = (y - top + 1) * row + (x - left + 1) * lanes
                right = g, begin, (row, lanes, image, -row, -lanes)
                counts = outputs, rows - top + 1, columns - left + 1
                _quad_tile(_QUAD, out, taps, right, counts, ())


@njit
def _sum_lanes(sums: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        total = _ZERO
        for lane in range(sums.shape[1]):
            total += sums[i, lane]
        out[i] = total


# Dense layers


_dense_tile = tiles.tile([_DENSE], [()], scalar=True)
_COLUMN = (_DENSE, 1)


@njit
def _dense(w: Any, bias: Any, h: Any, out: Any, relu: Any) -> None:
    """out (blocks, O, lanes) = w (O, I) h (blocks, I, lanes) + bias, at least 0 with `relu`.

    Where a tile does not fit, the last one begins earlier and computes a few outputs again.
    """
    (outputs, inputs), lanes = w.shape, tiles.lanes(h)
    for low in range(0, outputs, _DENSE):
        o = min(low, outputs - _DENSE)
        for block in range(len(h)):
            target, left = (out, (block * outputs + o) * lanes, (lanes,)), (w, o * inputs, (inputs, 1))
            _dense_tile(_COLUMN, target, left, (h, block * inputs * lanes, (lanes,)), (inputs,), ())
    for block in range(len(h)):
        for o in range(outputs):
            for lane in range(lanes):
                value = out[block, o, lane] + bias[o]
                out[block, o, lane] = _ZERO if relu and value <= 0 else value


@njit
def _dense_backward(w: Any, h: Any, g: Any, turned: Any, gw: Any, gbias: Any, gh: Any) -> None:
    """Gradients of w, bias and h from those of the outputs, g (blocks, O, lanes).

    Vectors of the weights' run along their inputs, so h is transposed, into `turned`.
    """
    (outputs, inputs), lanes = w.shape, tiles.lanes(h)
    for block in range(len(h)):
        for low in range(0, inputs, lanes):
            i = min(low, inputs - lanes)
            _turn(h, (block * inputs + i) * lanes, lanes, turned, block * lanes * inputs + i, inputs)
    for low in range(0, outputs, _DENSE):
        o = min(low, outputs - _DENSE)
        for left in range(0, inputs, lanes):
            i = min(left, inputs - lanes)
            out, slopes = (gw, o * inputs + i, (inputs,)), (g, o * lanes, (lanes, outputs * lanes, 1))
            _dense_tile(_COLUMN, out, slopes, (turned, i, (inputs * lanes, inputs)), (len(h), lanes), ())
    for o in range(outputs):
        total = _ZERO
        for block in range(len(g)):
            for lane in range(lanes):
                total += g[block, o, lane]
        gbias[o] = total
    for low in range(0, inputs, _DENSE):
        i = min(low, inputs - _DENSE)
        for block in range(len(h)):
            target, weights = (gh, (block * inputs + i) * lanes, (lanes,)), (w, i, (1, inputs))
            _dense_tile(_COLUMN, target, weights, (g, block * outputs * lanes, (lanes,)), (outputs,), ())


@njit
def _relu_backward(h: Any, g: Any) -> None:
    """g where h > 0."""
    for block in range(h.shape[0]):
        for i in range(h.shape[1]):
            for lane in range(h.shape[2]):
                value = g[block, i, lane]
                g[block, i, lane] = value if h[block, i, lane] > 0 else _ZERO


@njit
def _cross_entropy(logits: Any, labels: Any, count: Any, g: Any) -> Any:
    """Mean over the first `count` rows, and its gradient; no gradient beyond them."""
    lanes, total = tiles.lanes(logits), 0.0
    g[:] = 0
    for row in range(count):
        block, lane = divmod(row, lanes)
        top = logits[block, 0, lane]
        for c in range(1, 10):
            top = max(top, logits[block, c, lane])
        mass = _ZERO
        for c in range(10):
            g[block, c, lane] = np.exp(logits[block, c, lane] - top)
            mass += g[block, c, lane]
        for c in range(10):
            g[block, c, lane] /= mass * np.float32(count)
        label = labels[row]
        g[block, label, lane] -= 1 / np.float32(count)
        total += np.float64(np.log(mass) + top - logits[block, label, lane])
    return total / count


# The network


class _Weights(NamedTuple):
    """Views of a flat vector of parameters."""

    w1: Any
    b1: Any
    w2: Any
    b2: Any
    w3: Any
    b3: Any
    w4: Any
    b4: Any
    w5: Any
    b5: Any


@njit
def _weights(x: Any) -> Any:
    return _Weights(
        x[:150].reshape((6, 1, 5, 5)),
        x[150:156],
        x[156:2556].reshape((16, 6, 5, 5)),
        x[2556:2572],
        x[2572:50572].reshape((120, 400)),
        x[50572:50692],
        x[50692:60772].reshape((84, 120)),
        x[60772:60856],
        x[60856:61696].reshape((10, 84)),
        x[61696:],
    )


class _Layers(NamedTuple):
    """What each layer makes of a minibatch, with scratch for a block's rows and a tile."""

    rows: Any
    image: Any
    quads: Any
    h1: Any
    route1: Any
    h2: Any
    route2: Any
    h3: Any
    h4: Any
    logits: Any


@njit
def _layers(blocks: Any, like: Any) -> Any:
    lanes = tiles.lanes(like)
    return _Layers(
        tiles.zeros((lanes, 784), like),
        tiles.zeros((blocks, 1, 32, 32, lanes), like),
        tiles.zeros((2, 4, lanes), like),
        tiles.zeros((blocks, 6, 14, 14, lanes), like),
        np.zeros((blocks, 6, 14, 14, lanes), np.int8),
        tiles.zeros((blocks, 16, 5, 5, lanes), like),
        np.zeros((blocks, 16, 5, 5, lanes), np.int8),
        tiles.zeros((blocks, 120, lanes), like),
        tiles.zeros((blocks, 84, lanes), like),
        tiles.zeros((blocks, 10, lanes), like),
    )


@njit
def _load(features: Any, count: Any, blocks: Any, rows: Any, image: Any) -> None:
    """The first `count` rows of features (B, 784), with their margin of two zeros; the others are zero."""
    lanes = tiles.lanes(image)
    for block in range(blocks):
        for lane in range(lanes):
            row = block * lanes + lane
            if row < count:
                rows[lane, :] = features[row]
            else:
                rows[lane, :] = 0
        for y in range(28):
            for left in range(0, 28, lanes):
                x = min(left, 28 - lanes)
                to = ((block * 32 + y + 2) * 32 + x + 2) * lanes
                _turn(rows, 28 * y + x, 784, image, to, lanes)


@njit
def _forward(w: Any, blocks: Any, layers: Any) -> None:
    """The logits of the first blocks."""
    for n in range(blocks):
        _convolve(w.w1, w.b1, layers.image[n], layers.quads, layers.h1[n], layers.route1[n])
        _convolve(w.w2, w.b2, layers.h1[n], layers.quads, layers.h2[n], layers.route2[n])
    h2 = layers.h2.reshape((len(layers.h2), 400, layers.h2.shape[-1]))
    _dense(w.w3, w.b3, h2[:blocks], layers.h3, True)
    _dense(w.w4, w.b4, layers.h3[:blocks], layers.h4, True)
    _dense(w.w5, w.b5, layers.h4[:blocks], layers.logits, False)


class _Gradients(NamedTuple):
    """Of what each layer makes of a minibatch, and of the convolutions' weights and biases, lane by lane.

    Of one block: h1, image2 (before the second pooling, in a margin of zeros), rows1 (two rows before the
    first).
    """

    turned: Any
    rows1: Any
    h1: Any
    image2: Any
    h2: Any
    h3: Any
    h4: Any
    logits: Any
    w1: Any
    b1: Any
    w2: Any
    b2: Any


@njit
def _gradients(blocks: Any, like: Any) -> Any:
    lanes = tiles.lanes(like)
    return _Gradients(
        tiles.zeros((blocks * lanes * 400,), like),
        tiles.zeros((6, 2, 28, lanes), like),
        tiles.zeros((6, 14, 14, lanes), like),
        tiles.zeros((16, 12, 12, lanes), like),
        tiles.zeros((blocks, 16, 5, 5, lanes), like),
        tiles.zeros((blocks, 120, lanes), like),
        tiles.zeros((blocks, 84, lanes), like),
        tiles.zeros((blocks, 10, lanes), like),
        tiles.zeros((6, 1, 5, 5, lanes), like),
        tiles.zeros((6, lanes), like),
        tiles.zeros((16, 6, 5, 5, lanes), like),
        tiles.zeros((16, lanes), like),
    )


@njit
def _backward(w: Any, layers: Any, g: Any, out: Any) -> None:
    """Gradients of the weights into `out`, from those of the logits."""
    blocks, lanes = len(layers.image), tiles.lanes(layers.image)
    flat = (blocks, 400, lanes)
    _dense_backward(w.w5, layers.h4, g.logits, g.turned, out.w5, out.b5, g.h4)
    _relu_backward(layers.h4, g.h4)
    _dense_backward(w.w4, layers.h3, g.h4, g.turned, out.w4, out.b4, g.h3)
    _relu_backward(layers.h3, g.h3)
    _dense_backward(w.w3, layers.h2.reshape(flat), g.h3, g.turned, out.w3, out.b3, g.h2.reshape(flat))
    g.w1[:] = 0
    g.b1[:] = 0
    g.w2[:] = 0
    g.b2[:] = 0
    for n in range(blocks):
        for c in range(16):
            for y in range(5):
                for x in range(5):
                    pixel = (c * 5 + y) * 5 + x
                    at = ((c * 12 + 2 * y + 1) * 12 + 2 * x + 1) * lanes
                    _unpool(g.image2, at, 12 * lanes, g.h2[n], layers.route2[n], pixel, g.b2, c)
        _correlate(g.image2, 1, 10, layers.h1[n], 0, g.w2)
        _scatter(w.w2, g.image2, g.h1)
        for y in range(14):
            for c in range(6):
                for x in range(14):
                    at, pixel = (c * 56 + 2 * x) * lanes, (c * 14 + y) * 14 + x
                    _unpool(g.rows1, at, 28 * lanes, g.h1, layers.route1[n], pixel, g.b1, c)
            _correlate(g.rows1, 0, 2, layers.image[n], 2 * y, g.w1)
    _sum_lanes(g.w1.reshape((150, lanes)), out.w1.reshape(150))
    _sum_lanes(g.b1, out.b1)
    _sum_lanes(g.w2.reshape((2400, lanes)), out.w2.reshape(2400))
    _sum_lanes(g.b2, out.b2)


@njit(fastmath={"contract"})
def _step(decay: Any, momentum: Any, inject: Any, push: Any, direct: Any, g: Any, x: Any, v: Any) -> None:
    if len(v) == 0:
        for i in range(len(x)):
            x[i] -= direct * (g[i] + decay * x[i])
    else:
        for i in range(len(x)):
            slope = g[i] + decay * x[i]
            v[i] = momentum * v[i] + inject * slope
            x[i] -= push * v[i] + direct * slope


@njit(nogil=True, cache=True)
def _train(first: Any, last: Any, seen: Any, span: Any, models: Any, losses: Any) -> None:
    """`advance` for models first, …, last − 1 of all, run by run."""
    _, pairs, size = models.x.shape
    blocks, averages = -(-seen.features.shape[2] // tiles.lanes(models.x)), len(span.weights)
    layers, gradients = _layers(blocks, models.x), _gradients(blocks, models.x)
    g, sums = tiles.zeros((size,), models.x), tiles.zeros((averages, size), models.x)
    for model in range(first, last):
        r, p = divmod(model, pairs)
        x, v = models.x[r, p], models.v[r, p]
        own, slopes = _weights(x), _weights(g)
        sums[:] = 0
        for k in range(len(seen.counts)):
            count = seen.counts[k]
            _load(seen.features[r, k], count, blocks, layers.rows, layers.image)
            _forward(own, blocks, layers)
            losses[r, p, k] = _cross_entropy(layers.logits, seen.labels[r, k], count, gradients.logits)
            _backward(own, layers, gradients, slopes)
            factors = span.inject[r, p, k], span.push[r, p, k], span.direct[r, p, k]
            _step(span.weight_decay, span.momentum, *factors, g, x, v)
            collect(span.weights[:, p, k], x, sums)
        for a in range(averages):
            fold(span.keep[a, p], sums[a], models.averages[a, r, p])


@njit(nogil=True, cache=True)
def _evaluate(first: Any, last: Any, x: Any, features: Any, out: Any) -> None:
    """`outputs` for parts first, …, last − 1 of all: `_ROWS` rows by one model, model by model."""
    lanes = tiles.lanes(x)
    layers = _layers(_ROWS // lanes, x)
    parts = -(-len(features) // _ROWS)
    for task in range(first, last):
        model, part = divmod(task, parts)
        rows = features[part * _ROWS : (part + 1) * _ROWS]
        blocks = -(-len(rows) // lanes)
        _load(rows, len(rows), blocks, layers.rows, layers.image)
        _forward(_weights(x[model]), blocks, layers)
        for row in range(len(rows)):
            for c in range(10):
                out[model, part * _ROWS + row, c] = layers.logits[row // lanes, c, row % lanes]


class Minibatches(NamedTuple):
    """Features (R, K, B, 784) in the dtype of the models and labels (R, K, B), of which the first counts (K,)
    rows count.
    """

    features: NDArray[Any]
    labels: Integers
    counts: Integers


def advance(seen: Minibatches, span: Span, models: Models) -> Array:
    """The updates of a span, in place; the mean loss over each minibatch before its update, (R, P, K).

    The models are contiguous.
    """
    losses = np.empty(span.inject.shape)
    seen = Minibatches(np.ascontiguousarray(seen.features), np.ascontiguousarray(seen.labels), seen.counts)
    tasks = models.x.shape[0] * models.x.shape[1]
    spread(_train, tasks, seen, compiled(span, models), models, losses)
    return losses


def outputs(x: NDArray[Any], features: NDArray[Any]) -> NDArray[Any]:
    """Logits (M, n, 10) of models x (M, N) for features (n, 784), in the dtype of x."""
    out = np.empty((len(x), len(features), 10), x.dtype)
    parts = -(-len(features) // _ROWS)
    spread(_evaluate, len(x) * parts, np.ascontiguousarray(x), np.ascontiguousarray(features), out)
    return out
