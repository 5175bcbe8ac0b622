"""Compiled kernels on several threads.

A kernel takes a span of its tasks, releases the interpreter's lock and shares no sum with other tasks, so
its results do not depend on the number of threads. Numba's own parallel loops take three times as long to
compile.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from numba import get_num_threads
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@cache
def _products() -> Any:
    import scipy.linalg.cython_blas  # noqa: F401 - compiled code calls its products; found only once loaded

    return ThreadpoolController().select(user_api="blas")


def serial_products() -> AbstractContextManager[object]:
    """A context in which a kernel's matrix products stay on its thread: products of several wait in line."""
    limits: AbstractContextManager[object] = _products().limit(limits=1)
    return limits


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept, since to start a thread takes longer than many a kernel."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):  # a copy of this process has none of its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def spread(kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """kernel(first, last, *arguments) over parts of range(tasks), one per thread.

    As many threads as `numba.set_num_threads` allows, and no more than tasks; the caller's is one of them.
    """
    threads = max(1, min(get_num_threads(), tasks))
    edges = [tasks * part // threads for part in range(threads + 1)]
    own, *others = itertools.pairwise(edges)
    parts = [_pool(threads - 1).submit(kernel, *span, *arguments) for span in others]
    try:
        kernel(*own, *arguments)
    finally:
        wait(parts)  # they write into what the caller gave
    for part in parts:
        part.result()
