"""What several test files run through: one member of each averaging, problems and networks of every kind, and
the textbook's two-dimensional example."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import others

from ratelab.problems.data.datasets import FILES
from ratelab.problems.networks import MLP, LeNet, LinearClassifier, Network, Split
from ratelab.problems.noise import Gaussian, NoNoise, Rademacher, StudentT
from ratelab.problems.problem import Problem
from ratelab.problems.quadratic import Quadratic, Rotated
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.problems.spectra import Given, LogUniform, UniformSpectrum
from ratelab.theory import names
from ratelab.theory.arrays import Array
from ratelab.theory.averaging import (
    Averaging,
    ExponentialMovingAverage,
    Last,
    PolynomialDecay,
    StepWeighted,
    StochasticWeightAveraging,
    Tail,
    Uniform,
)
from ratelab.theory.schedules import Schedule

ROOT = Path(__file__).parent.parent
"""Of the repository."""
names.load("ratelab.problems")

AVERAGINGS: list[Averaging] = [
    Last(),
    Uniform(),
    StepWeighted(),
    Tail(0.5),
    PolynomialDecay(3.0),
    ExponentialMovingAverage(0.9, start=5),
    StochasticWeightAveraging(start=0.25, cycle=4),
]
AVERAGINGS += others("averaging", AVERAGINGS)

PROBLEMS: list[Problem] = [
    Quadratic(Given((2.0, 4.0)), Gaussian(), initial=(-5.0, -2.0)),
    Quadratic(LogUniform(dim=7, condition_number=100.0), Gaussian(0.5, "hessian")),
    Quadratic(UniformSpectrum(dim=3, condition_number=4.0), StudentT(df=12.0, sd=0.7)),
    Quadratic(LogUniform(dim=5, condition_number=10.0), Rademacher(0.3, "hessian")),
    Quadratic(Given((1.0, 0.25)), NoNoise()),
    Rotated(Quadratic(LogUniform(dim=4, condition_number=10.0), Gaussian(0.5, "hessian")), seed=3),
    StreamingLeastSquares(LogUniform(dim=5, condition_number=10.0), label_sd=0.5),
    StreamingLeastSquares(UniformSpectrum(dim=3, condition_number=2.0), batch=4),
    TableLeastSquares("line", batch=1),
    TableLeastSquares("line", batch=5, replacement=False),
    TableLeastSquares("line", batch=32, replacement=False, initial=(0.9, 0.1)),
    TableLeastSquares("diabetes", batch=8),
    TableLeastSquares("diabetes", batch=100, replacement=False),
]

A9A = Split("a9a", rows=220, test=60)
CLASSIFIERS: list[Network] = [
    LinearClassifier(Split("digits", rows=200, test=60), batch=17, weight_decay=0.01),
    LinearClassifier(
        Split("digits", rows=200, validation=30, test=60),
        batch=15,
        replacement=True,
        random_features=30,
        bandwidth=3.0,
        initial_scale=1.0,
    ),
    LinearClassifier(A9A, loss="logistic", batch=19, weight_decay=0.001),
    LinearClassifier(A9A, loss="hinge", batch=19, weight_decay=0.02, initial_scale=0.5),
    MLP(Split("digits", rows=230, validation=30, test=60), widths=(13,), batch=17, weight_decay=0.01),
    MLP(Split("digits", rows=200, test=60), widths=(16, 9), batch=18, initial="glorot", replacement=True),
    LeNet(Split("fashion_mnist", rows=74, validation=10, test=20), batch=15, weight_decay=0.001),
]
"""Twelve updates per epoch, five of LeNet; the last minibatch of an epoch is a short one."""
PROBLEMS += (added for added in others("problem", [*PROBLEMS, *CLASSIFIERS]) if isinstance(added, Problem))


def with_data(network: Network) -> Any:
    """A parameter that is skipped where the data folder lacks the network's files."""
    folder, files = os.environ.get("RATELAB_DATA"), [file.label for file in FILES[network.data.name]]
    lacks = [label for label in files if not folder or not (Path(folder) / label).is_file()]
    reason = f"RATELAB_DATA names no folder with {', '.join(lacks)}"
    return pytest.param(network, marks=pytest.mark.skipif(bool(lacks), reason=reason))


NETWORKS = [with_data(network) for network in CLASSIFIERS]
CONVEX = [with_data(n) for n in CLASSIFIERS if isinstance(n, LinearClassifier) and n.weight_decay]

# Dive into Deep Learning 12.4: f = x₁² + 2x₂², N(0, 1) on each gradient coordinate, start (−5, −2), lr 0.1.
# The book's counter starts at 1 and is incremented before use.
D2L = Quadratic(Given((2.0, 4.0)), Gaussian(), initial=(-5.0, -2.0))
D2L_LR = 0.1
D2L_EXPONENTIAL = np.exp(-0.1 * np.arange(2, 1002))
D2L_POLYNOMIAL = (1 + 0.1 * np.arange(2, 52)) ** -0.5
D2L_CONSTANT = np.ones(50)


def mixings(multipliers: Array, averagings: list[Averaging] = AVERAGINGS) -> list[Array]:
    """The weights of each averaging for every row of `multipliers` (S, T)."""
    return [np.stack([averaging(row) for row in multipliers]) for averaging in averagings]


def schedules(horizon: int) -> Array:
    """Three rows (3, T): constant, 1/√t, and one that pauses."""
    t = np.arange(horizon)
    return np.stack([np.ones(horizon), (1 + t) ** -0.5, np.where(t % 5 == 3, 0.0, 0.7)])


def _row(number: int, horizon: int) -> Array:
    return np.asarray(schedules(horizon)[number])


ROWS: list[Schedule] = [partial(_row, number) for number in range(3)]
"""The rows of `schedules`, each as one."""
