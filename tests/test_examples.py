"""The experiment files of examples/: every one loads in both forms, and those that run a source's study as
printed train at the rates that the source's code trains at."""

import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from claiming import faults_of_source

from ratelab.experiments.file import load
from ratelab.experiments.judging.claims import outcome
from ratelab.experiments.spec import Selector, Spec
from ratelab.experiments.store import Curve
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import parse
from ratelab.theory.schedules import Schedule, multipliers

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples").glob("*.toml"))
D2L = json.loads((ROOT / "tests/reference/schedule_traces.json").read_text())["d2l_torch_multistep"]


def rates(name: str) -> dict[str, Array]:
    """Of the schedules of a file, by label, over its horizon and times its lr."""
    file: dict[str, Any] = tomllib.loads((ROOT / "examples" / f"{name}.toml").read_text())
    found = {}
    for entry in file["schedules"]:
        schedule = parse(entry["value"], "schedule")
        assert isinstance(schedule, Schedule)
        found[entry["label"]] = file["lr"][0] * multipliers(schedule, file["horizons"][0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_in_both_forms(path: Path) -> None:
    spec = load(path, data=False)
    assert spec.title
    assert spec.claims
    if "full" in tomllib.loads(path.read_text()):
        full = load(path, full=True, data=False)
        assert full.claims
        assert full.title != spec.title  # what it leaves out is said there


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_claim_says_who_says_it_where_and_of_what(path: Path) -> None:
    forms = [load(path, data=False)]
    if "full" in tomllib.loads(path.read_text()):
        forms.append(load(path, full=True, data=False))
    assert not [fault for spec in forms for claim in spec.claims for fault in faults_of_source(claim)]


@dataclass(frozen=True)
class World:
    """Results that could have been: curves that decay at any rate, to any level, in which runs diverge."""

    spec: Spec
    seed: int

    def _curve(self, curve: Curve, quantity: str, runs: int) -> xr.DataArray:
        rng = np.random.default_rng([self.seed, *repr((curve._replace(horizon=0), quantity)).encode()])
        times = np.array(self.spec.times(curve.horizon))
        decay = 10 ** rng.uniform(-3, 1) * (1.0 + times) ** -rng.choice([0.0, 0.25, 0.5, 1.0, 1.5])
        values = rng.lognormal(sigma=0.1, size=(runs, 1)) * decay
        values[rng.random(runs) < rng.choice([0.0, 0.5, 1.0])] = np.inf
        return xr.DataArray(values, dims=("run", "t"), coords={"t": times})

    def exact(self, curve: Curve) -> xr.DataArray:
        return self._curve(curve, "risk", 1)[0]

    def runs(self, curve: Curve, quantity: str = "risk") -> xr.DataArray:
        return self._curve(curve, quantity, self.spec.runs)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_claim_holds_whatever_is_measured(path: Path) -> None:
    """Of those that hold or are open; with a tuned lr the exact risk decides, whatever the results are."""
    try:
        spec = load(path)
    except InputError as error:
        pytest.skip(str(error))
    worlds = [World(spec, seed) for seed in range(60)]
    for claim in spec.claims:
        select = getattr(claim.measured, "select", Selector())
        if claim.expect != "refuted" and select.lr != "tuned":
            assert any(outcome(claim, world).status == "refuted" for world in worlds), claim.sentence


def test_the_book_asks_its_schedulers_one_epoch_late() -> None:
    printed, intended = rates("d2l_lenet_as_printed"), rates("d2l_lenet_as_intended")
    for label, base in (
        ("constant 0.3", 0.3),
        ("square root", 0.1),
        ("cosine", 0.3),
        ("warmup + cosine", 0.3),
    ):
        np.testing.assert_allclose(printed[label], [base, *intended[label][:-1]], rtol=1e-12)
    np.testing.assert_allclose(printed["multistep"], D2L["used_in_training"], rtol=1e-12)
    np.testing.assert_allclose(intended["multistep"], D2L["plotted"], rtol=1e-12)


def test_the_books_rates_as_its_text_has_them() -> None:
    """SquareRootScheduler(0.1) and CosineScheduler(20, base_lr=0.3, final_lr=0.01), as it plots them."""
    found = rates("d2l_lenet_as_intended")

    def cosine(t: int, warmup: int) -> float:
        if t < warmup:
            return 0.3 * t / warmup
        through = min((t - warmup) / (20 - warmup), 1)
        return 0.01 + 0.29 * (1 + math.cos(math.pi * through)) / 2

    epochs = range(30)
    np.testing.assert_allclose(found["square root"], [0.1 * (t + 1) ** -0.5 for t in epochs], rtol=1e-12)
    np.testing.assert_allclose(found["cosine"], [cosine(t, 0) for t in epochs], rtol=1e-12)
    np.testing.assert_allclose(found["warmup + cosine"], [cosine(t, 5) for t in epochs], rtol=1e-12)


def test_plotting_first_leaves_the_books_multistep_at_an_eighth() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[15, 30], gamma=0.5)
    for _ in range(30):  # the plot
        optimizer.step()
        scheduler.step()
    trained = []
    for _ in range(30):
        trained.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates("d2l_lenet_as_printed")["multistep"], trained, rtol=1e-12)


def test_the_keras_rule_compounds() -> None:
    """Against the rule as Keras calls it, and the rates that the notebook prints (epochs from 1, float32)."""
    lr, by_hand = 0.01, []
    for epoch in range(100):
        lr = lr / (1 + 1e-4 * epoch)
        by_hand.append(lr)
    printed = rates("keras_study_as_printed")
    np.testing.assert_allclose(printed["time-based"], by_hand, rtol=1e-12)
    for epoch, rate in ((31, 0.009546095), (51, 0.008804817), (81, 0.007238765), (100, 0.006105673)):
        assert printed["time-based"][epoch - 1] == pytest.approx(rate, rel=2e-6)
    for epoch, rate in ((2, 0.009048374), (100, 5.017468e-07)):
        assert printed["exponential decay"][epoch - 1] == pytest.approx(rate, rel=2e-6)
    assert printed["step decay"][-1] == pytest.approx(1.953125e-05)
    intended = rates("keras_study_as_intended")
    np.testing.assert_allclose(
        intended["time-based"], [0.01 / (1 + 1e-4 * e) for e in range(100)], rtol=1e-12
    )
