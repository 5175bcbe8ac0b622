"""The results that a command is given, opened and checked, and the folder of data sets."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from ratelab.experiments.cells import cells
from ratelab.experiments.file import load
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Store
from ratelab.theory.arrays import InputError


def use_data(folder: Path | None) -> None:
    """Data sets are looked for in the folder that RATELAB_DATA names, here and in the worker processes."""
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: no such folder")
        os.environ["RATELAB_DATA"] = str(folder.resolve())


def results_folder(file: Path, full: bool = False) -> Path:
    """results/NAME of an experiment file NAME.toml, results/NAME-full of its full form."""
    return Path("results") / (file.stem + ("-full" if full else ""))


def again(spec: Spec, store: Store) -> str:
    """The command that goes on with a run."""
    return f"ratelab run {store.spec_file} --out {store.folder}" + (" --full" if spec.full else "")


def opened(run: Path, imports: Sequence[Path], full: bool = False) -> tuple[Store, Spec]:
    """The results of a folder, or those of a file with its present claims; which form, a folder knows."""
    from_file = run.suffix == ".toml"
    store = Store(results_folder(run, full) if from_file else run)
    if not store.spec_file.exists():
        raise InputError(
            f"{store.folder} holds no results; `ratelab run FILE --out {store.folder}` makes some"
        )
    manifest = store.manifest()
    full = full or bool(manifest and manifest["spec"].get("full"))
    spec = load(run if from_file else store.spec_file, imports, full, data=False)
    store.refuse_changes(spec)
    return store, spec


def require_complete(spec: Spec, store: Store) -> None:
    """Exit code 4 when cells have failed; InputError when some are yet to be computed."""
    lacking = [cell for cell in cells(spec) if not store.cell_file(cell).exists()]
    if not lacking:
        return
    notes = store.manifest().get("cells", {})
    failed = [cell.name for cell in lacking if "error" in notes.get(cell.key, {})]
    command = again(spec, store)
    if failed:
        print(
            "\n".join(f"failed: {name}" for name in failed)
            + f"\ndetails in {store.manifest_file}; retry with: {command}",
            file=sys.stderr,
        )
        raise typer.Exit(4)
    raise InputError(f"{len(lacking)} cells of {store.folder} are not computed yet; go on with: {command}")
