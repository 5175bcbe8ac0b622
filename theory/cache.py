"""The user's cache folder: what was computed once and is found again, checked by whoever reads it."""

import os
import tempfile
from pathlib import Path

import numpy as np

from ratelab.theory.arrays import Array


def folder(name: str) -> Path:
    """The folder `name` in the user's cache, or in the folder that RATELAB_CACHE names."""
    place = os.environ.get("RATELAB_CACHE")
    if not place:
        import pooch

        place = str(pooch.os_cache("ratelab"))
    return Path(place) / name


def write_array(path: Path, array: Array) -> None:
    """A file of little-endian float64, all at once or not at all; without a word where the folder cannot be
    written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                np.lib.format.write_array(file, array.astype("<f8", copy=False), allow_pickle=False)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError:
        return
