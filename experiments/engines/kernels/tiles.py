"""Products of small matrices whose sums stay in registers, as numba intrinsics.

numba's own loops over a few sums keep them in memory. A tile (`tile`) is a block of a product, with as many
sums as there are registers for, each a vector as wide as the processor's (`WIDTH`): a loaded number or vector
serves a whole row or column of it. Loops over tiles stand in kernels, which the compiler merges with them.

An operand of a tile is (a contiguous array of any shape, the number in it where the operand begins, strides):
in numbers too, and they may be negative. numba's cache of a kernel does not see that this file changed:
after an edit remove experiments/engines/kernels/__pycache__.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

AVX512 = get_host_cpu_features().get("avx512f", False)
WIDTH = 64 if AVX512 else 32  # bytes of a vector


# Vectors


class Vectors(NamedTuple):
    """Emits code for vectors of type `kind`, whose numbers have `size` bytes, through LLVM's builder."""

    builder: Any
    kind: Any
    size: int

    def load(self, data: Any, at: Any) -> Any:
        """The vector of an array's entries `data` that begins with number `at`."""
        place = self.builder.bitcast(self.builder.gep(data, [at]), self.kind.as_pointer())
        return self.builder.load(place, align=self.size)

    def store(self, value: Any, data: Any, at: Any) -> None:
        place = self.builder.bitcast(self.builder.gep(data, [at]), value.type.as_pointer())
        self.builder.store(value, place, align=self.size)

    def constant(self, number: float) -> Any:
        return ir.Constant(self.kind, [number] * self.kind.count)

    def repeated(self, number: Any) -> Any:
        """A vector of equal numbers."""
        single = self.builder.insert_element(ir.Constant(self.kind, ir.Undefined), number, ir.IntType(32)(0))
        return self.picked(single, single, [0] * self.kind.count)

    def picked(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """The numbers `lanes` of a followed by b."""
        order = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, order)

    def plus(self, total: Any, x: Any, y: Any) -> Any:
        """total + x y, rounded once where the processor can."""
        product = self.builder.fmul(x, y, flags=["contract"])
        return self.builder.fadd(total, product, flags=["contract"])


def intrinsic(define: Callable[..., Any]) -> Any:
    """numba's `intrinsic`, whose types count its first argument among the caller's."""
    return numba_intrinsic(define)


def vectors(context: Any, builder: Any, like: Any) -> Vectors:
    """Vectors of the type of an array's entries."""
    size = like.dtype.bitwidth // 8
    return Vectors(builder, ir.VectorType(context.get_value_type(like.dtype), WIDTH // size), size)


def entries(context: Any, builder: Any, signature: Any, arguments: Any, which: Sequence[int]) -> list[Any]:
    """Where the entries of array arguments are."""
    return [context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in which]


@intrinsic
def lanes(_: Any, like: Any) -> Any:
    """Numbers of an array's type in a vector, known to the compiler."""
    count = ir.IntType(64)(WIDTH // (like.dtype.bitwidth // 8))
    return types.intp(like), lambda *_: count


@njit
def zeros(shape: Any, like: Any) -> Any:
    """An array of zeros that begins at a multiple of `WIDTH`."""
    size = 1
    for n in shape:
        size *= n
    room = np.zeros(size + lanes(like), like.dtype)
    shift = (-room.ctypes.data % WIDTH) // like.itemsize
    return room[shift : shift + size].reshape(shape)


# Tiles

Finish = Callable[[Vectors, list[Any], Any, list[Any], list[Any]], None]
INTEGER = ir.IntType(64)


class Operand(NamedTuple):
    """An array in a kernel: where its entries are, the number of the first that counts, and strides."""

    code: Vectors
    data: Any
    first: Any
    strides: list[Any]

    def place(self, *indices: Any) -> Any:
        """The number of an entry."""
        builder, place = self.code.builder, self.first
        for stride, index in zip(self.strides, indices, strict=True):
            place = builder.add(place, builder.mul(stride, index))
        return place

    def vector(self, *indices: Any) -> Any:
        """The vector that begins with an entry."""
        return self.code.load(self.data, self.place(*indices))

    def number(self, *indices: Any) -> Any:
        """An entry, repeated."""
        builder = self.code.builder
        return self.code.repeated(builder.load(builder.gep(self.data, [self.place(*indices)])))


def _operand(code: Vectors, context: Any, kind: Any, argument: Any) -> Operand:
    array, first, strides = cgutils.unpack_tuple(code.builder, argument)
    data = context.make_array(kind.types[0])(context, code.builder, array).data
    return Operand(code, data, first, cgutils.unpack_tuple(code.builder, strides))


def stored(code: Vectors, sums: list[Any], out: Any, places: list[Any], _: list[Any]) -> None:
    """How a tile ends unless told otherwise: the sums of a row go where they belong."""
    for total, place in zip(sums, places, strict=True):
        code.store(total, out, place)


def _cells(out: Operand, places: list[list[Any]], onto: bool) -> list[list[Any]]:
    """A cell of the stack for every sum, which the compiler keeps in a register."""
    code = out.code
    cells = [[cgutils.alloca_once(code.builder, code.kind) for _ in row] for row in places]
    for row, there in zip(cells, places, strict=True):
        for cell, place in zip(row, there, strict=True):
            code.builder.store(code.load(out.data, place) if onto else code.constant(0), cell)
    return cells


def _add_products(cells: list[list[Any]], left: Any, right: Any, across: list[Any], *k: Any) -> None:
    """s_ij += a_ik b_jk for one k and all i and j of a tile."""
    code = right.code
    loaded = [right.vector(*j, *k) for j in across]
    for i, row in enumerate(cells):
        factor = left(INTEGER(i), *k)
        for vector, cell in zip(loaded, row, strict=True):
            code.builder.store(code.plus(code.builder.load(cell), factor, vector), cell)


def _over(counts: list[Any], builder: Any, body: Callable[..., None], *k: Any) -> None:
    """Loops over the box `counts`, around what body(*k) emits."""
    if len(k) == len(counts):
        body(*k)
        return
    with cgutils.for_range(builder, counts[len(k)]) as loop:
        _over(counts, builder, body, *k, loop.index)


def tile(
    heights: Sequence[int],
    widths: Sequence[tuple[int, ...]],
    scalar: bool,
    finish: Finish = stored,
    onto: bool = False,
) -> Any:
    """An intrinsic for s_ij = Σ_k a_ik b_jk, i one index, j and k of any number, k in the box `counts`.

    `shape` is (rows, columns) of the tile, for which code stands ready: rows of `heights`, and columns as
    many as are in one of the boxes `widths`, over which j runs. b_jk are vectors, a_ik numbers with `scalar`,
    else vectors too. An operand is (array, first, strides), strides along (i, *j) of out, (i, *k) of a and
    (*j, *k) of b. `finish`, given the sums of a row, out, their places in it and what the tuple `more` holds,
    emits what becomes of them; with `onto` the sums begin with what out holds, else with 0.
    """

    @intrinsic
    def product(_: Any, shape: Any, out: Any, a: Any, b: Any, counts: Any, more: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = vectors(context, builder, out.types[0])
            target, left, right = (
                _operand(code, context, signature.args[k], arguments[k]) for k in (1, 2, 3)
            )
            (rows, columns), limits, rest = (cgutils.unpack_tuple(builder, arguments[k]) for k in (0, 4, 5))
            factor = left.number if scalar else left.vector

            def emit(height: int, width: tuple[int, ...]) -> None:
                across = [tuple(map(INTEGER, j)) for j in np.ndindex(*width)]
                places = [[target.place(INTEGER(i), *j) for j in across] for i in range(height)]
                cells = _cells(target, places, onto)
                _over(limits, builder, partial(_add_products, cells, factor, right, across))
                for row, there in zip(cells, places, strict=True):
                    finish(code, [builder.load(cell) for cell in row], target.data, there, rest)

            for height in heights:
                with builder.if_then(builder.icmp_signed("==", rows, INTEGER(height))):
                    for width in widths:
                        with builder.if_then(builder.icmp_signed("==", columns, INTEGER(prod(width)))):
                            emit(height, width)
            return context.get_dummy_value()

        return types.void(shape, out, a, b, counts, more), generate

    return product
