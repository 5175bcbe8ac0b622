"""Compiled kernels on several threads.

A kernel takes a span of its tasks, releases the interpreter's lock and shares no sum with other tasks, so
its results do not depend on the number of threads. Numba's own parallel loops take three times as long to
compile.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numba import get_num_threads


def spread(kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """kernel(first, last, *arguments) over parts of range(tasks), one per thread.

    As many threads as `numba.set_num_threads` allows, and no more than tasks.
    """
    threads = min(get_num_threads(), tasks)
    if threads <= 1:
        kernel(0, tasks, *arguments)
        return
    edges = [tasks * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(kernel, *span, *arguments) for span in itertools.pairwise(edges)]
    for part in parts:
        part.result()
