"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: "ci" (the default) draws the same examples every time;
"quick" draws fewer; "search" draws new ones, and more of them. What tests store goes into a folder of
their own.
"""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the threads of small products wait longer than they work
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")  # numba's "omp" gives torch several all the same

import numpy as np
import pytest
from hypothesis import settings
from outsider import Outsider, outsider as one
from shelling import Shell
from synthetic import sgd

from ratelab.theory.arrays import Array

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("quick", max_examples=20, derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RATELAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def commons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def thousand_trials() -> tuple[Array, Array, Array]:
    times = np.unique(np.rint(np.geomspace(20, 2000, 25)))
    risks, exact = sgd(1, 1000, 64, times, np.array([1.0, 0.5, 0.25]))
    return times, risks, exact


@pytest.fixture(scope="session")
def outsider() -> Iterator[Outsider]:
    with one() as found:
        yield found


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """In an empty folder, without data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATELAB_DATA", raising=False)
    return Shell(capsys)
