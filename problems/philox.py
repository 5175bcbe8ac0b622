"""Counter-based random numbers: Philox4x32-10, and the variates drawn from it.

A draw is a pure function of (key, run, time, coordinate, stream), so results cannot depend on how a batch is
cut into chunks, threads or workers. The key is hashed from the root seed and the names of what is simulated.
Variates are float32 (uniforms have 32 bits: |z| < 6.8); the states that they drive are float64 by default.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

import hashlib
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ratelab.theory.arrays import Array, Integers
from ratelab.theory.threads import spread

Floats = NDArray[np.float32]
Words = NDArray[np.uint64]

NOISE, LABELS, ROWS, START = 0, 1, 2, 3
"""Streams: what a draw is used for. Draws of different streams are independent."""

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_LANES = 1024  # counters at a time: they and their variates stay in the first-level cache


def stream_key(seed: int, *names: str) -> int:
    """A 64-bit Philox key from a root seed and the names of what is simulated (SHA-256, first 8 bytes)."""
    text = "\0".join([str(seed), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


@njit
def philox4x32(words: Any, k0: Any, k1: Any) -> None:
    """Ten rounds of Philox4x32, in place: `words` (4, lanes) holds counters before and random words after.

    Arithmetic is in uint64 lanes and every value has a name of its own: only then do the 32×32→64 products
    vectorise (returning them as a tuple costs a factor of eight).
    """
    for j in range(words.shape[1]):
        c0, c1, c2, c3 = (
            np.uint64(words[0, j]),
            np.uint64(words[1, j]),
            np.uint64(words[2, j]),
            np.uint64(words[3, j]),
        )
        a, b = k0, k1
        for _ in range(10):
            p0 = _M0 * c0
            p1 = _M1 * c2
            c0 = (p1 >> _32) ^ c1 ^ a
            c2 = (p0 >> _32) ^ c3 ^ b
            c1 = p1 & _LOW
            c3 = p0 & _LOW
            a = (a + _W0) & _LOW
            b = (b + _W1) & _LOW
        words[0, j] = np.uint32(c0)
        words[1, j] = np.uint32(c1)
        words[2, j] = np.uint32(c2)
        words[3, j] = np.uint32(c3)


@njit
def _set_counters(words: Any, blocks: Any, times: Any, first: Any, run: Any, stream: Any) -> None:
    """Counter (block, time, run, stream) in lane time·blocks + block."""
    for t in range(times):
        for j in range(blocks):
            lane = t * blocks + j
            words[0, lane] = np.uint32(j)
            words[1, lane] = np.uint32(first + t)
            words[2, lane] = np.uint32(run)
            words[3, lane] = np.uint32(stream)


def _bitcast(source: Any, target: Any, bits: Any) -> Any:
    """A numba intrinsic that reads the bits of one 32-bit type as another."""

    @intrinsic
    def cast(typingctx: Any, x: Any) -> Any:  # noqa: ARG001 - numba's calling convention
        return target(source), lambda context, builder, sig, args: builder.bitcast(args[0], bits)  # noqa: ARG005

    return cast


_bits_of = _bitcast(types.float32, types.int32, ir.IntType(32))
_float_of = _bitcast(types.int32, types.float32, ir.FloatType())

_f = np.float32
_HALF, _ONE, _TWO = _f(0.5), _f(1), _f(2)
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)
_SQRT2_BITS, _ONE_BITS = np.int32(0x3FB504F3), np.int32(0x3F800000)
_MANTISSA, _23 = np.int32(0x7FFFFF), np.int32(23)
_QUARTER = _f(math.pi / 2 / 2**30)
_EIGHTH = _f(math.pi / 4)
_30, _29BITS, _ODD, _NEGATIVE = np.uint32(30), np.uint32(0x3FFFFFFF), np.uint32(1), np.uint32(2)


@njit(inline="always")
def _log_uniform(word: Any) -> Any:
    """ln((word + ½)/2³²) in float32: Cephes' logf on the mantissa, so accurate next to 1 as well."""
    x = _f(word) + _HALF
    bits = _bits_of(x)
    mantissa = (bits & _MANTISSA) | _ONE_BITS
    exponent = (bits >> _23) - np.int32(159)  # 127 of the bias, 32 of the division
    upper = mantissa > _SQRT2_BITS
    exponent = exponent + np.int32(1) if upper else exponent
    z = (_HALF * _float_of(mantissa) if upper else _float_of(mantissa)) - _ONE
    p = _f(7.0376836292e-2)
    p = p * z + _f(-1.1514610310e-1)
    p = p * z + _f(1.1676998740e-1)
    p = p * z + _f(-1.2420140846e-1)
    p = p * z + _f(1.4249322787e-1)
    p = p * z + _f(-1.6668057665e-1)
    p = p * z + _f(2.0000714765e-1)
    p = p * z + _f(-2.4999993993e-1)
    p = p * z + _f(3.3333331174e-1)
    e = _f(exponent)
    return z + (z * z * z * p - _HALF * z * z + e * _LN2_LOW) + e * _LN2_HIGH


@njit(inline="always")
def _unit_vector(word: Any) -> Any:
    """(cos, sin) of a uniform angle: two bits choose the quadrant, thirty the angle in [−π/4, π/4)."""
    quadrant = word >> _30
    x = _f(np.int32(word & _29BITS)) * _QUARTER - _EIGHTH
    y = x * x
    s = x + x * y * ((_f(-1.9515295891e-4) * y + _f(8.3321608736e-3)) * y + _f(-1.6666654611e-1))
    tail = (_f(2.443315711809948e-5) * y + _f(-1.388731625493765e-3)) * y + _f(4.166664568298827e-2)
    c = _ONE - _HALF * y + y * y * tail
    odd = (quadrant & _ODD) == _ODD
    negative = (quadrant & _NEGATIVE) == _NEGATIVE
    first = -s if odd else c
    second = c if odd else s
    return (-first if negative else first), (-second if negative else second)


@njit
def _box_muller(words: Any, out: Any) -> None:
    """Four independent N(0, 1) per lane from its four words (Box and Muller 1958)."""
    for half in range(0, 4, 2):
        for j in range(words.shape[1]):
            radius = np.sqrt(-_TWO * _log_uniform(words[half, j]))
            c, s = _unit_vector(words[half + 1, j])
            out[half, j] = radius * c
            out[half + 1, j] = radius * s


@njit
def _copy(source: Any, target: Any) -> None:
    """A function of its own, so that the copy vectorises: inside `_fill_run` it is 8 times slower."""
    for j in range(target.shape[0]):
        target[j] = source[j]


@njit
def _fill_run(out: Any, k0: Any, k1: Any, first: Any, run: Any, stream: Any, normal: Any) -> None:
    """(times, dim) variates of one run: block j fills coordinates j, j + n, j + 2n, j + 3n, n = ⌈dim/4⌉."""
    times, dim = out.shape
    blocks = (dim + 3) // 4
    chunk = max(1, min(times, _LANES // blocks))
    words = np.empty((4, chunk * blocks), dtype=np.uint32)
    variates = np.empty((4, chunk * blocks), dtype=np.float32)
    for start in range(0, times, chunk):
        _set_counters(words, blocks, chunk, first + start, run, stream)
        philox4x32(words, k0, k1)
        if normal:
            _box_muller(words, variates)
        for t in range(min(chunk, times - start)):
            lanes = slice(t * blocks, (t + 1) * blocks)
            for q in range(4):
                here = out[start + t, q * blocks : (q + 1) * blocks]
                if normal:
                    _copy(variates[q, lanes], here)
                else:
                    _copy(words[q, lanes], here)


@njit(nogil=True, cache=True)
def _fill(
    start: Any, stop: Any, out: Any, k0: Any, k1: Any, first: Any, runs: Any, stream: Any, normal: Any
) -> None:
    for r in range(start, stop):
        _fill_run(out[r], k0, k1, first, runs[r], stream, normal)


def _split(key: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)


def normals(key: int, runs: range, first: int, times: int, dim: int, stream: int = NOISE) -> Floats:
    """N(0, 1) of shape (runs, times, dim), for the times first, first + 1, …; float32."""
    out = np.empty((len(runs), times, dim), dtype=np.float32)
    numbers = np.asarray(runs, dtype=np.uint64)
    spread(_fill, len(runs), out, *_split(key), first, numbers, np.uint64(stream), True)
    return out


def words(key: int, runs: range, first: int, times: int, count: int, stream: int = NOISE) -> Words:
    """Uniform 32-bit words of shape (runs, times, count), in uint64."""
    out = np.empty((len(runs), times, count), dtype=np.uint64)
    numbers = np.asarray(runs, dtype=np.uint64)
    spread(_fill, len(runs), out, *_split(key), first, numbers, np.uint64(stream), False)
    return out


def uniforms(key: int, runs: range, first: int, times: int, count: int, stream: int = NOISE) -> Array:
    """Uniform in (0, 1), 2³² values, of shape (runs, times, count); float64."""
    return (words(key, runs, first, times, count, stream) + 0.5) / 2**32


def integers(
    key: int, runs: range, first: int, times: int, count: int, below: int, stream: int = ROWS
) -> Integers:
    """Uniform integers in [0, below), shape (runs, times, count); their bias is below/2³² at most."""
    return ((words(key, runs, first, times, count, stream) * np.uint64(below)) >> _32).astype(np.int64)


def signs(key: int, runs: range, first: int, times: int, dim: int) -> Floats:
    """Rademacher variates: ±1 with probability ½ each, shape (runs, times, dim)."""
    bits = words(key, runs, first, times, dim) & np.uint64(1)
    return (2 * bits.astype(np.float32) - 1).astype(np.float32)


def student_t(key: int, runs: range, first: int, times: int, dim: int, df: float) -> Floats:
    """Student's t with `df` degrees of freedom: √(ν(u^{−2/ν} − 1)) cos 2πv (Bailey, Math. Comp. 1994)."""
    high, low, angle = np.split(words(key, runs, first, times, 3 * dim).astype(np.float64), 3, axis=-1)
    log_u = np.log((high + (low + 0.5) / 2**32) / 2**32)  # 64 bits: the tails carry the variance
    radius = np.sqrt(df * np.expm1(-2 / df * log_u))
    return (radius * np.cos(2 * np.pi * (angle + 0.5) / 2**32)).astype(np.float32)
