"""Which rows of a table each update sees: drawn by counter, so that the order depends on the key and
the run only."""

import numpy as np

from ratelab.problems import philox
from ratelab.theory.arrays import Integers


def updates_per_epoch(rows: int, batch: int) -> int:
    """⌈n / batch⌉: the last minibatch of an epoch takes what is left."""
    return -(-rows // batch)


def minibatches(
    key: int, runs: range, first: int, updates: int, *, rows: int, batch: int, replacement: bool
) -> Integers:
    """Row numbers (runs, updates, batch) of the updates first, first + 1, …

    With replacement every row is drawn independently. Without, every epoch is a fresh permutation of all rows
    cut into minibatches, the last of which is filled up by −1.
    """
    if replacement:
        return philox.integers(key, runs, first, updates, batch, rows)
    per_epoch = updates_per_epoch(rows, batch)
    epochs = range(first // per_epoch, (first + updates - 1) // per_epoch + 1)
    words = philox.words(key, runs, epochs.start, len(epochs), rows, philox.ROWS)
    tagged = words << np.uint64(32) | np.arange(rows, dtype=np.uint64)  # sorted faster than an argsort
    padded = np.full((len(runs), len(epochs), per_epoch * batch), -1)
    padded[..., :rows] = np.sort(tagged, axis=-1) & np.uint64(2**32 - 1)
    offset = first - epochs.start * per_epoch
    return padded.reshape(len(runs), -1, batch)[:, offset : offset + updates]
