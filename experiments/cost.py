"""What a run will cost before it is run: seconds and memory of a cell, from its shape and measured constants.

The model counts the innermost operations of each engine. Its constants were measured on one core of a server
with AVX-512; expect a factor of three either way elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratelab.experiments.cells import Cell, Engine
from ratelab.theory.moments import Minibatches

if TYPE_CHECKING:
    from ratelab.problems.networks import Network

START = 4.0
"""Seconds until a worker has imported what it needs; compiling kernels, once per machine, comes on top."""
CELL = 0.03
"""Seconds of a cell of no size: parsing, reading compiled kernels, writing the file."""

MOMENT = 0.4e-9
"""Per pair, step, coordinate and averaging, where the second moments are diagonal."""
TABLE = 0.25e-9
"""Per pair, step and pair of entries of a covariance, for minibatches."""
ARRAYS = 20e-9
"""Per schedule, averaging and step: multipliers, mixing weights."""
BOUND = 250e-9
"""Per pair and step: bounds at all records."""
FOLD = 0.35e-9
"""Per pair, step, coordinate and averaging: a jump's coefficients."""
DRAW = 15e-9
"""Per run, pair, record and coordinate: a jump."""
UPDATE = 1.3e-9
"""Per run, pair, step, coordinate, sample of a batch and averaging: a step."""
LOOP = 250e-6
"""Per step of closed loops, which are stepped in torch and not in a kernel."""
NOISE = 1.5e-9
"""Per run, step and number drawn."""
DENSE = 2e-11
"""Per multiplication of a dense network, float32, on all cores of a CPU."""
CONVOLUTION = 5e-11
"""Per multiplication of a network with convolutions."""
PIXELS = (28 * 28, 10 * 10)
"""At which the first and the second convolution of the LeNet are applied."""
GROUP = 2**31
"""Bytes of the models that are trained together, at most."""


@dataclass(frozen=True)
class Expectation:
    """Cells of one kind: how many, by which engine, bytes of the largest, seconds of all: on one core; what
    is trained, on all of a CPU."""

    part: str
    cells: int
    engine: Engine
    bytes: int
    seconds: float


def expect(todo: Sequence[Cell]) -> list[Expectation]:
    """What the cells cost, those of one problem, method, horizon and kind together."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in todo:
        groups.setdefault((cell.problem, cell.method, cell.horizon, _kind(cell)), []).append(cell)
    return [
        Expectation(
            part=f"{problem!r}, {method!r}, T = {horizon}, {kind}",
            cells=len(cells),
            engine=cells[0].engine,
            bytes=max(memory(cell) for cell in cells),
            seconds=sum(cell_seconds(cell) for cell in cells),
        )
        for (problem, method, horizon, kind), cells in groups.items()
    ]


def _kind(cell: Cell) -> str:
    if cell.runs is None:
        return "exact risk and bounds"
    return "runs" if cell.feedback_every is None else "runs of closed loops"


def seconds(todo: Sequence[Cell], workers: int) -> float:
    """Wall-clock seconds with so many workers: the work shared out, but no less than the longest cell."""
    each = [cell_seconds(cell) for cell in todo]
    return START + max([sum(each) / workers, *each]) if each else 0.0


def cell_seconds(cell: Cell) -> float:
    """Seconds of one cell on one core, or of a network on all of them."""
    problem = cell.problem
    if problem.trained:
        return CELL + _training_seconds(cell, problem)
    pairs, averagings = len(cell.schedules) * len(cell.lr), len(cell.averagings)
    d, T = int(problem.dim), cell.horizon
    plain = cell.method.momentum == 0
    coupled = 1.0 if plain else 1.5
    total = CELL + ARRAYS * len(cell.schedules) * (1 + averagings) * T
    if cell.runs is None:
        law = problem.law
        if isinstance(law, Minibatches):
            total += TABLE * (1 + plain) * (d * (d + 1) // 2) ** 2 * pairs * T
        elif law is not None:
            total += MOMENT * coupled * (averagings + plain) * d * pairs * T
        return total + (BOUND * pairs * T if plain else 0.0)
    runs = cell.runs[1] - cell.runs[0]
    if cell.engine == "jump":
        total += FOLD * coupled * pairs * averagings * d * T
        return total + (DRAW * coupled * pairs * averagings + 2 * NOISE) * runs * d * len(cell.times)
    batch = int(getattr(problem, "batch", 1))
    steps = runs * T * d * (batch * NOISE + UPDATE * pairs * (batch + averagings))
    return total + steps + (0.0 if cell.feedback_every is None else LOOP * T)


def _training_seconds(cell: Cell, network: "Network") -> float:
    """Three passes per row of a minibatch; one per row of the data, record and averaging."""
    from ratelab.problems.networks import epoch

    assert cell.runs is not None
    models = (cell.runs[1] - cell.runs[0]) * len(cell.schedules) * len(cell.lr)
    updates = cell.horizon * (epoch(network) if cell.clock == "epoch" else 1)
    rows = sum(len(part.labels) for part in network.parts().values())
    seen = 3 * updates * network.batch + rows * len(cell.times) * len(cell.averagings)
    each = CONVOLUTION if any(len(shape) == 4 for shape in network.shapes) else DENSE
    return (2 if cell.dtype == "float64" else 1) * each * models * seen * multiplications(network)


def multiplications(network: "Network") -> int:
    """Of one row's way through the network: a dense weight is used once, a convolution's once per pixel."""
    weights = [shape for shape in network.shapes if len(shape) > 1]
    convolutions = [shape for shape in weights if len(shape) == 4]
    pixels = [*PIXELS[: len(convolutions)], *[1] * (len(weights) - len(convolutions))]
    return sum(math.prod(shape) * used for shape, used in zip(weights, pixels, strict=True))


def memory(cell: Cell) -> int:
    """Bytes that a cell holds at its peak: multipliers, mixing weights, risks, states."""
    problem = cell.problem
    schedules, averagings = len(cell.schedules), len(cell.averagings)
    if problem.trained:
        return _training_memory(cell, problem)
    numbers = schedules * (1 + averagings) * cell.horizon
    risks = schedules * len(cell.lr) * averagings * len(cell.times)
    if cell.runs is None:
        return 8 * ((1 + averagings + len(cell.lr)) * cell.horizon * 2 + risks * 2)
    runs = cell.runs[1] - cell.runs[0]
    states = runs * schedules * len(cell.lr) * int(problem.dim) * (2 + averagings)
    return 8 * (2 * numbers + runs * risks * 2 + states) + 64 * 2**20


def _training_memory(cell: Cell, network: "Network") -> int:
    """Rows, steps and mixing weights of every update, what is kept at the records; and models with gradients,
    velocities and float64 averages, as many as are trained together."""
    from ratelab.problems.networks import epoch, size

    assert cell.runs is not None
    pairs, averagings = len(cell.schedules) * len(cell.lr), len(cell.averagings)
    models = (cell.runs[1] - cell.runs[0]) * pairs
    updates = cell.horizon * (epoch(network) if cell.clock == "epoch" else 1)
    rows = sum(part.features.nbytes + part.labels.nbytes for part in network.parts().values())
    kept = models * averagings * len(cell.times) * len(network.quantities)
    number = 8 if cell.dtype == "float64" else 4
    model = size(network) * (3 * number + 8 * averagings)
    states = max(model, min(GROUP, models * model))
    return rows + 8 * (len(cell.schedules) * (1 + averagings) * updates + 2 * kept) + states + 64 * 2**20
