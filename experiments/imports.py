"""What joins the notation besides theory: problems, methods, and a user's own file (`--import`)."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

from ratelab.theory import names
from ratelab.theory.arrays import InputError


def import_file(path: Path) -> str:
    """Run a user's own file, so that the names it defines join the notation; returns its SHA-256."""
    if not path.is_file():
        raise InputError(f"--import {path}: no such file")
    module = importlib.util.spec_from_file_location(f"imported_{path.stem}", path)
    if module is None or module.loader is None:
        raise InputError(f"--import {path}: not a Python file")
    loaded = importlib.util.module_from_spec(module)
    sys.modules[module.name] = loaded
    try:
        module.loader.exec_module(loaded)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--import {path}: {type(error).__name__}: {error}; mend the file") from error
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fill_catalogue() -> None:
    """Import the modules that define problems, spectra, noises, data and methods."""
    for first in ("quadratic", "regression"):  # `ratelab list` begins with them
        importlib.import_module(f"ratelab.problems.{first}")
    names.load("ratelab.problems")
    importlib.import_module("ratelab.experiments.methods")
