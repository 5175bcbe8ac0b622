"""The folder of a run: one netCDF file per cell, written atomically, a manifest, and the curves read back.

A cell's file is named after the hash of its content, so one that is there and whole is never computed again.
Every chunk carries a checksum: a file cut short or altered is noticed when it is read.
"""

import json
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import xarray as xr

from ratelab.experiments.cells import DIMS, Cell, cells
from ratelab.experiments.spec import Spec, changes, resolved
from ratelab.theory.arrays import InputError
from ratelab.theory.cache import atomically

if TYPE_CHECKING:
    from ratelab.experiments.methods import Method
    from ratelab.problems.problem import Objective
    from ratelab.theory.averaging import Averaging
    from ratelab.theory.feedback import Feedback
    from ratelab.theory.schedules import Schedule

__all__ = ["Curve", "Results", "Store"]


@dataclass(frozen=True)
class Store:
    """results/<name>/{spec.toml, manifest.json, cells/, figures/, report.md}."""

    folder: Path

    @property
    def spec_file(self) -> Path:
        return self.folder / "spec.toml"

    @property
    def manifest_file(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.md"

    def cell_file(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.key}.nc"

    def manifest(self) -> dict[str, Any]:
        """The manifest; empty where nothing was run. InputError where it cannot be read."""
        try:
            content: dict[str, Any] = json.loads(self.manifest_file.read_text(encoding="utf-8"))
            whole = all(isinstance(content[key], dict) for key in ("spec", "cells"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.manifest_file} cannot be read ({error}); move it away and run again: cells are kept"
            ) from error
        if not whole:
            raise InputError(
                f"{self.manifest_file} has no spec and cells; move it away and run again: cells are kept"
            )
        return content

    def refuse_changes(self, spec: Spec) -> None:
        """InputError when the numbers here are another experiment's; title, claims and labels may change."""
        before = self.manifest()
        changed = changes(before["spec"], resolved(spec)) if before else {}
        if changed:
            lines = [f"  - {key}: was {old!r}, now {new!r}" for key, (old, new) in changed.items()]
            raise InputError(
                f"{self.folder} holds the results of another experiment; nothing was run or changed:\n"
                + "\n".join(lines)
                + "\nUse `run --out NEWDIR` for a run of its own, or `run --update` to keep the cells that "
                "still match and compute the missing"
            )

    def prepare(self) -> None:
        """Make the folders; InputError where they cannot be written."""
        try:
            (self.folder / "cells").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder / "cells"):
                pass
        except OSError as error:
            raise InputError(
                f"cannot write to {self.folder} ({error.strerror or error}); name another folder with --out"
            ) from error

    def write_text(self, path: Path, text: str) -> None:
        try:
            with atomically(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"cannot write {path} ({error.strerror or error}); free the disk or name another folder"
            ) from error

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        self.write_text(self.manifest_file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def write_cell(self, cell: Cell, data: xr.Dataset) -> None:
        """One file, whole or not there at all."""
        checked = {
            name: {"fletcher32": True, "chunksizes": v.shape} for name, v in data.data_vars.items() if v.size
        }
        with atomically(self.cell_file(cell)) as temporary:
            data.assign_attrs(key=cell.key).to_netcdf(temporary, engine="h5netcdf", encoding=checked)

    def read_cell(self, cell: Cell) -> xr.Dataset:
        """The cell's data; InputError when the file is missing or not whole."""
        path = self.cell_file(cell)
        if not path.exists():
            raise InputError(f"{path} is missing ({cell.name}); compute it with `ratelab run`")
        try:
            found, reason = _whole(path), "it holds another cell"
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            found, reason = xr.Dataset(), str(error)
        if found.attrs.get("key") != cell.key:
            raise InputError(
                f"{path} is damaged ({reason}); `ratelab run` sets it aside and computes it again"
            )
        return found

    def set_aside(self, cell: Cell) -> None:
        """Rename the file of a cell, where there is one, to *.corrupt."""
        path = self.cell_file(cell)
        if path.exists():
            path.replace(path.with_suffix(".nc.corrupt"))

    def readable(self, cell: Cell) -> bool:
        """Whether the cell is there and can be read to the end."""
        try:
            self.read_cell(cell)
        except InputError:
            return False
        return True


def _whole(path: Path) -> xr.Dataset:
    """What `xr.load_dataset` reads of a cell's file, ten times as fast, for its names and dims are known.

    Of the attributes only the key.
    """
    with h5py.File(path) as file:
        key = file.attrs.get("key")
        content = {
            name: data.asstr()[()].astype(str) if data.dtype.hasobject else data[()]
            for name, data in file.items()
        }
    along = {**{name: name for name in DIMS}, "step": "lr"}
    coordinates = {name: (dim, content.pop(name)) for name, dim in along.items() if name in content}
    return xr.Dataset({name: (DIMS[-v.ndim :], v) for name, v in content.items()}, coordinates, {"key": key})


class Curve(NamedTuple):
    """One curve of an experiment: one value on every axis. lr is in the file's unit."""

    problem: "Objective"
    method: "Method"
    schedule: "Schedule | Feedback"
    averaging: "Averaging"
    lr: float
    horizon: int


@dataclass(frozen=True)
class Results:
    """What a run computed, read from its folder when asked. Curves have the coordinate t."""

    spec: Spec
    store: Store

    def exact(self, curve: Curve) -> xr.DataArray | None:
        """E f(x̄_t) − f*, dims (t); None where no law is known."""
        return self._read(curve, "exact")

    def bound(self, curve: Curve) -> xr.DataArray | None:
        """The worst-case bound for the same iterate, dims (t), NaN where unknown; None if it always is."""
        return self._read(curve, "bound")

    def runs(self, curve: Curve, quantity: str = "risk") -> xr.DataArray:
        """f(x̄_t) − f* of every run, or another of its problem's `quantities`; dims (run, t)."""
        kept = curve.problem.quantities
        if quantity not in kept:
            raise InputError(f"{curve.problem!r} has no {quantity}; ask for {' or '.join(kept)}")
        cells = [cell for cell in self._cells(curve) if cell.runs is not None]
        blocks = [self._select(cell, curve, self._load(cell)[quantity]) for cell in cells]
        return xr.concat(blocks, dim="run") if len(blocks) > 1 else blocks[0]

    def _read(self, curve: Curve, name: str) -> xr.DataArray | None:
        cell = next((cell for cell in self._cells(curve) if cell.runs is None), None)
        data = None if cell is None else self._load(cell).get(name)
        return None if cell is None or data is None else self._select(cell, curve, data)

    def _select(self, cell: Cell, curve: Curve, data: xr.DataArray) -> xr.DataArray:
        """A copy of the curve's part. By position: a search for labels takes twenty times as long."""
        part = data.isel(
            schedule=cell.schedules.index(curve.schedule),
            lr=cell.lr.index(curve.lr),
            averaging=cell.averagings.index(curve.averaging),
        )
        return part.isel(t=np.arange(bisect_right(cell.times, curve.horizon)))

    def _cells(self, curve: Curve) -> list[Cell]:
        home = self.spec.home(curve.schedule, curve.averaging, curve.horizon)
        place = self._by_place[curve.problem, curve.method, home]
        return [cell for cell in place if curve.schedule in cell.schedules]

    @cached_property
    def _by_place(self) -> dict[tuple[object, object, int], list[Cell]]:
        places: dict[tuple[object, object, int], list[Cell]] = {}
        for cell in cells(self.spec):
            places.setdefault((cell.problem, cell.method, cell.horizon), []).append(cell)
        return places

    @cached_property
    def _load(self) -> Callable[[Cell], xr.Dataset]:
        return lru_cache(maxsize=32)(self.store.read_cell)


def missing(spec: Spec, store: Store) -> list[Cell]:
    """The cells that have no file yet, or a damaged one."""
    return [cell for cell in cells(spec) if not store.readable(cell)]
