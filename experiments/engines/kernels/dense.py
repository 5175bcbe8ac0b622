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
from numba import njit
from numba.core import cgutils
from numpy.typing import NDArray

from ratelab.experiments.engines.kernels import tiles
from ratelab.experiments.engines.kernels.averages import collect, fold
from ratelab.experiments.engines.kernels.losses import LOSSES, mean_loss
from ratelab.experiments.engines.kernels.span import Models, Span, compiled
from ratelab.problems.networks import Loss
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.threads import spread

_ROWS = 5 if tiles.AVX512 else 2  # of a tile, which has 4 columns: as many sums as there are registers for
_CACHE = 2**21  # bytes of the models that a loaded minibatch serves
_BLOCK, _PART = 64, 4096  # rows that `outputs` loads together, and that a thread takes a model for


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

    `more` is (shift, decay, momentum, inject, push, direct), as in `advance`.
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


# Layers


class _Layout(NamedTuple):
    """Where things are. Of layer l: inputs[l] numbers per row, a 1, zeros up to widths[l]; its weights
    (outputs[l], widths[l]) begin at firsts[l] of a model's padded parameters, and `where` parameters go.
    """

    inputs: Any
    outputs: Any
    widths: Any
    firsts: Any
    where: Any
    padded: Any


class _Layers(NamedTuple):
    """A minibatch of n rows on its way through a network: h (L, n, W) are the layers' inputs, g (L, n, W)
    their gradients, and z (C, n) the last layer's outputs, then their gradients.
    """

    layout: Any
    h: Any
    g: Any
    z: Any


@njit
def _layers(layout: Any, rows: Any, like: Any) -> Any:
    n, width, inputs = -(-rows // 4) * 4, layout.widths.max(), layout.inputs
    h, g = tiles.zeros((len(inputs), n, width), like), tiles.zeros((len(inputs), n, width), like)
    for layer in range(len(inputs)):
        h[layer, :, inputs[layer]] = 1
    return _Layers(layout, h, g, tiles.zeros((layout.outputs[-1], n), like))


@njit
def _copy(source: Any, target: Any) -> None:
    """A function of its own, so that the copy vectorises."""
    for i in range(len(source)):
        target[i] = source[i]


@njit
def _forward(x: Any, rows: Any, layers: Any) -> None:
    """The outputs z of a model x for the first `rows` rows of the minibatch."""
    layout, h, z = layers.layout, layers.h, layers.z
    _, n, width = h.shape
    lanes, last = tiles.lanes(x), len(layout.inputs) - 1
    for layer in range(last):
        across, first = layout.widths[layer], layout.firsts[layer]
        inputs, outputs = layer * n * width, (layer + 1) * n * width
        for b in range(0, rows, _ROWS):
            shape = min(_ROWS, rows - b), 4
            for o in range(0, layout.outputs[layer], 4):
                out = h, outputs + b * width + o, (width, 1)
                left, right = (
                    (h, inputs + b * width, (width, lanes)),
                    (x, first + o * across, (across, lanes)),
                )
                _sum_tile(shape, out, left, right, (across // lanes,), ())
        _rectify(h[layer + 1, :rows], layout.outputs[layer])
    across, first, outputs = layout.widths[last], layout.firsts[last], layout.outputs[last]
    for b in range(0, rows, 4):
        for o in range(0, outputs, _ROWS):
            shape = min(_ROWS, outputs - o), 4
            out, left = (z, o * n + b, (n, 1)), (x, first + o * across, (across, lanes))
            right = h, (last * n + b) * width, (width, lanes)
            _sum_tile(shape, out, left, right, (across // lanes,), ())


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
    layout, h, g = layers.layout, layers.h, layers.g.ravel()
    _, n, width = h.shape
    lanes, last = tiles.lanes(x), len(layout.inputs) - 1
    slopes, start, per_output, per_row = layers.z.ravel(), 0, n, 1
    for layer in range(last, -1, -1):
        across, first, outputs = layout.widths[layer], layout.firsts[layer], layout.outputs[layer]
        here = layer * n * width
        i = 0
        while i < across:
            columns = 4 if i + 4 * lanes <= across else 1
            if layer > 0:
                for b in range(0, rows, _ROWS):
                    out = g, here + b * width + i, (width, lanes)
                    left, right = (
                        (slopes, start + b * per_row, (per_row, per_output)),
                        (x, first + i, (lanes, across)),
                    )
                    _store_tile((min(_ROWS, rows - b), columns), out, left, right, (outputs,), ())
            for o in range(0, outputs, _ROWS):
                out = x, first + o * across + i, (across, lanes)
                left, right = (
                    (slopes, start + o * per_output, (per_output, per_row)),
                    (h, here + i, (lanes, width)),
                )
                _update_tile((min(_ROWS, outputs - o), columns), out, left, right, (rows,), step)
            i += columns * lanes
        if layer > 0:
            _mask(h[layer, :rows], layers.g[layer, :rows], layout.inputs[layer])
        slopes, start, per_output, per_row = g, here, 1, width


# Training


@njit
def _take(x: Any, where: Any, padded: Any) -> None:
    for i in range(len(x)):
        padded[where[i]] = x[i]


class _Room(NamedTuple):
    """Of a thread: a minibatch on its way, its labels, and scratch for its loss; of the models that pass it
    together the padded parameters, followed by velocities, and sums for averages.
    """

    layers: Any
    labels: Any
    scratch: Any
    own: Any
    sums: Any


@njit
def _room(layout: Any, table: Any, span: Any, models: Any, tasks: Any) -> Any:
    """For as many models as `_CACHE` holds, no more than there are tasks or models of a run."""
    batch, kind = table.rows.shape[2], models.x
    each = layout.padded if models.v.shape[2] == 0 else 2 * layout.padded
    averages = len(span.weights)
    fit = max(1, _CACHE // ((each + averages * layout.padded) * kind.itemsize))
    abreast = min(fit, tasks, kind.shape[1])
    return _Room(
        _layers(layout, batch, kind),
        np.empty(batch, table.labels.dtype),
        tiles.zeros((2, batch), kind),
        tiles.zeros((abreast, each), kind),
        tiles.zeros((abreast, averages, layout.padded), kind),
    )


@njit
def _load(table: Any, chosen: Any, room: Any) -> Any:
    """The chosen rows up to the first −1 into the first layer, and their labels; how many they are."""
    rows = 0
    while rows < len(chosen) and chosen[rows] >= 0:
        _copy(table.features[chosen[rows]], room.layers.h[0, rows])
        room.labels[rows] = table.labels[chosen[rows]]
        rows += 1
    return rows


@njit
def _fetch(models: Any, r: Any, p: Any, layout: Any, own: Any) -> None:
    """Models r, p, p + 1, … into their padded places."""
    own[:] = 0  # the padding of a model that diverged is not zero any more
    for m in range(len(own)):
        _take(models.x[r, p + m], layout.where, own[m])
        _take(models.v[r, p + m], layout.where, own[m, layout.padded :])


@njit
def _put_back(models: Any, r: Any, p: Any, layout: Any, span: Any, own: Any, sums: Any) -> None:
    """`_fetch` backwards, and the averages folded."""
    for m in range(len(own)):
        models.x[r, p + m] = own[m][layout.where]
        if own.shape[1] > layout.padded:
            models.v[r, p + m] = own[m, layout.padded :][layout.where]
        for a in range(sums.shape[1]):
            fold(span.keep[a, p + m], sums[m, a][layout.where], models.averages[a, r, p + m])


@njit(nogil=True, cache=True)
def _train(
    first: Any, last: Any, layout: Any, loss: Any, table: Any, span: Any, models: Any, losses: Any
) -> None:
    """`advance` for models first, …, last − 1 of all, run by run, as many at once as there is room for."""
    room = _room(layout, table, span, models, last - first)
    shift = room.own.shape[1] - layout.padded
    pairs, model = models.x.shape[1], first
    while model < last:
        r, p = divmod(model, pairs)
        here = min(len(room.own), last - model, pairs - p)
        own, sums = room.own[:here], room.sums[:here]
        _fetch(models, r, p, layout, own)
        sums[:] = 0
        for k in range(table.rows.shape[1]):
            rows = _load(table, table.rows[r, k], room)
            for m in range(here):
                _forward(own[m], rows, room.layers)
                losses[r, p + m, k] = mean_loss(loss, room.labels, rows, room.layers.z, room.scratch)
                factors = span.inject[r, p + m, k], span.push[r, p + m, k], span.direct[r, p + m, k]
                step = (shift, span.weight_decay, span.momentum, *factors)
                _backward(own[m], rows, step, room.layers)
                collect(span.weights[:, p + m, k], own[m], sums[m])
        _put_back(models, r, p, layout, span, own, sums)
        model += here


@njit(nogil=True, cache=True)
def _evaluate(first: Any, last: Any, layout: Any, x: Any, features: Any, out: Any) -> None:
    """`outputs` for parts first, …, last − 1 of all: `_PART` rows by one model, part by part."""
    models, rows = len(x), len(features)
    group = min(max(1, _CACHE // (layout.padded * x.itemsize)), last - first, models)
    layers, own = _layers(layout, _BLOCK, x), tiles.zeros((group, layout.padded), x)
    task = first
    while task < last:
        part, model = divmod(task, models)
        here = min(group, last - task, models - model)
        for m in range(here):
            _take(x[model + m], layout.where, own[m])
        for begin in range(part * _PART, min((part + 1) * _PART, rows), _BLOCK):
            n = min(_BLOCK, rows - begin)
            for b in range(n):
                _copy(features[begin + b], layers.h[0, b])
            for m in range(here):
                _forward(own[m], n, layers)
                _put(layers.z, out[model + m, begin : begin + n])
        task += here


@njit
def _put(z: Any, out: Any) -> None:
    for b in range(len(out)):
        for c in range(len(z)):
            out[b, c] = z[c, b]


def _layout(sizes: tuple[int, ...], x: NDArray[Any], features: NDArray[Any]) -> _Layout:
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
    return _Layout(inputs, outputs, widths, firsts, np.concatenate(where), int(numbers.sum()))


class Table(NamedTuple):
    """Of a data set features (n, D) and labels (n,), and which rows (R, K, B) the updates of a run see; −1
    after the last row of a short minibatch.
    """

    features: NDArray[Any]
    labels: Integers
    rows: Integers


def advance(sizes: tuple[int, ...], loss: Loss, table: Table, span: Span, models: Models) -> Array:
    """The updates of a span, in place; the mean loss over each minibatch before its update, (R, P, K).

    A model has layers z = W h + b, with h = max(0, z) in between, `sizes` (D, …, C) numbers wide; its
    parameters x (N,) are W (rows first), b of each layer in turn. "logistic" and "hinge" have C = 1 and
    labels 0 and 1.
    """
    layout, losses = _layout(sizes, models.x, table.features), np.empty(span.inject.shape)
    table = table._replace(rows=np.ascontiguousarray(table.rows))
    tasks = models.x.shape[0] * models.x.shape[1]
    number, span = LOSSES.index(loss), compiled(span, models)
    spread(_train, tasks, layout, number, table, span, models, losses)
    return losses


def outputs(sizes: tuple[int, ...], x: NDArray[Any], features: NDArray[Any]) -> NDArray[Any]:
    """Outputs (M, n, C) of models x (M, N), as in `advance`, for features (n, D), in the dtype of x."""
    out = np.empty((len(x), len(features), sizes[-1]), x.dtype)
    tasks = len(x) * -(-len(features) // _PART)
    layout = _layout(sizes, x, features)
    spread(_evaluate, tasks, layout, np.ascontiguousarray(x), np.ascontiguousarray(features), out)
    return out


@njit(nogil=True, cache=True)
def _gather(first: Any, last: Any, table: Any, features: Any, labels: Any) -> None:
    for j in range(first, last):
        row = max(table.rows[j], 0)
        labels[j] = table.labels[row]
        _copy(table.features[row], features[j])


def gather(table: Table) -> tuple[NDArray[Any], Integers]:
    """Features (R, K, B, D) and labels (R, K, B) of the rows; −1 stands for none, and takes any."""
    shape, rows = table.rows.shape, np.ascontiguousarray(table.rows).reshape(-1)
    features = np.empty((rows.size, table.features.shape[1]), table.features.dtype)
    labels = np.empty(rows.size, table.labels.dtype)
    spread(_gather, rows.size, table._replace(rows=rows), features, labels)
    return features.reshape(*shape, -1), labels.reshape(shape)
