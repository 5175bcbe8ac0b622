"""Somebody who has matplotlib and nothing of ours: a process of its own that runs the scripts beside CSVs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

LOOP = """
import contextlib, io, json, runpy, sys, traceback
for name in ("theory", "problems", "experiments", "paper_figures", "ratelab", "torch", "scipy", "tueplots"):
    sys.modules[name] = None
for line in sys.stdin:
    sys.argv = json.loads(line)
    said = ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(sys.argv[0], run_name="__main__")
    except BaseException:
        said = traceback.format_exc()
    print(json.dumps(said), flush=True)
"""


class Outsider(Protocol):
    def __call__(self, script: Path, *arguments: Path) -> None:
        """Run a script; its error is an error here."""


@contextmanager
def outsider() -> Iterator[Outsider]:
    """One process for all scripts: matplotlib is imported once."""
    command = [sys.executable, "-I", "-W", "error", "-c", LOOP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked, answered = process.stdin, process.stdout
        assert asked is not None
        assert answered is not None

        def run(script: Path, *arguments: Path) -> None:
            print(json.dumps([str(script), *map(str, arguments)]), file=asked, flush=True)
            said = json.loads(answered.readline())
            assert not said, said

        yield run
        asked.close()
