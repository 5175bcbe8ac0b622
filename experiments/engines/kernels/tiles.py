"""Products of small matrices whose sums stay in registers, as numba intrinsics.

numba's own loops over a few sums keep them in memory. A tile (`tile`) is a block of a product, with as many
sums as there are registers for, each a vector as wide as the processor's (`WIDTH`): a loaded number or vector
serves a whole row or column of it. Loops over tiles stand in kernels, which the compiler merges with them.

An operand of an intrinsic is a contiguous array of any shape, the number in it where the operand begins, and
strides, in numbers too; they may be negative. numba's cache of a kernel does not see that this file changed:
after an edit remove experiments/__pycache__.
"""

from collections.abc import Callable, Sequence
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


def stored(code: Vectors, sums: list[Any], out: Any, places: list[Any], _: list[Any]) -> None:
    """How a tile ends unless told otherwise: the sums of a row go where they belong."""
    for total, place in zip(sums, places, strict=True):
        code.store(total, out, place)


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
    else vectors too. Strides are along (i, *j) of out, (i, *k) of a, (*j, *k) of b. `finish`, given the sums
    of a row, out, their places in it and what the tuple `more` holds, emits what becomes of them; with `onto`
    the sums begin with what out holds, else with 0.
    """

    @intrinsic
    def product(
        _: Any, shape: Any, out: Any, o0: Any, do: Any, a: Any, a0: Any, da: Any, b: Any, b0: Any, db: Any,
        counts: Any, more: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, whole = vectors(context, builder, out), ir.IntType(64)
            data = entries(context, builder, signature, arguments, (1, 4, 7))
            rows, columns = cgutils.unpack_tuple(builder, arguments[0])
            strides = [cgutils.unpack_tuple(builder, arguments[k]) for k in (3, 6, 9)]
            limits, rest = (cgutils.unpack_tuple(builder, arguments[k]) for k in (10, 11))

            def at(operand: int, *indices: Any) -> Any:
                place = arguments[2 + 3 * operand]
                for stride, index in zip(strides[operand], indices, strict=True):
                    place = builder.add(place, builder.mul(stride, index))
                return place

            def left(i: Any, k: tuple[Any, ...]) -> Any:
                if scalar:
                    return code.repeated(builder.load(builder.gep(data[1], [at(1, i, *k)])))
                return code.load(data[1], at(1, i, *k))

            def emit(height: int, width: tuple[int, ...]) -> None:
                down = [whole(i) for i in range(height)]
                across = [tuple(map(whole, j)) for j in np.ndindex(*width)]
                places = [[at(0, i, *j) for j in across] for i in down]
                sums = [[cgutils.alloca_once(builder, code.kind) for _ in across] for _ in down]
                for i in range(height):
                    for place, total in zip(places[i], sums[i], strict=True):
                        builder.store(code.load(data[0], place) if onto else code.constant(0), total)

                def accumulate(*k: Any) -> None:
                    if len(k) < len(limits):
                        with cgutils.for_range(builder, limits[len(k)]) as loop:
                            accumulate(*k, loop.index)
                        return
                    right = [code.load(data[2], at(2, *j, *k)) for j in across]
                    for i in range(height):
                        factor = left(down[i], k)
                        for vector, total in zip(right, sums[i], strict=True):
                            builder.store(code.plus(builder.load(total), factor, vector), total)

                accumulate()
                for i in range(height):
                    finish(code, [builder.load(total) for total in sums[i]], data[0], places[i], rest)

            for height in heights:
                with builder.if_then(builder.icmp_signed("==", rows, whole(height))):
                    for width in widths:
                        with builder.if_then(builder.icmp_signed("==", columns, whole(prod(width)))):
                            emit(height, width)
            return context.get_dummy_value()

        return types.void(shape, out, o0, do, a, a0, da, b, b0, db, counts, more), generate

    return product
