"""What is installed: a source distribution with all that tests need, a wheel made from it each part once,
and the wheel at work in a folder whose own packages are called as our rooms are."""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cases import ROOT

import ratelab

ROOMS = ("theory", "problems", "experiments", "paper_figures")
PARTS = ("*.py", "*.jinja", "*.toml", "py.typed")
USE = """
from ratelab import *
import ratelab
from ratelab.paper_figures.house import make
t, risk = risk_curve(Quadratic(LogUniform(5, condition_number=10.0)), InversePower(0.5), lr=0.5, horizon=100)
print(ratelab.__file__)
print(risk[-1])
print(make.caption(make.picture("bach_moulines")).splitlines()[0])
"""

pytestmark = pytest.mark.slow


def say(*command: str | Path, folder: Path) -> str:
    """What a program says that knows nothing of this repository."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RATELAB_DATA")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository without what git ignores."""
    pytest.importorskip("setuptools", "77")
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()]
    copy = tmp_path_factory.mktemp("source") / "ratelab"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", *ignored))
    return copy


@pytest.fixture(scope="module")
def unpacked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    make = f"import setuptools.build_meta as b; print(b.build_sdist({str(folder)!r}))"
    name = say(sys.executable, "-c", make, folder=source).split()[-1]
    with tarfile.open(folder / name) as file:
        file.extractall(folder, filter="data")
    return folder / name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    make = f"import setuptools.build_meta as b; print(b.build_wheel({str(folder)!r}))"
    return folder / say(sys.executable, "-c", make, folder=unpacked).split()[-1]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it depends on is that of the present one."""
    folder = tmp_path_factory.mktemp("environment")
    say(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    say(*pip, wheel, folder=folder)
    (site_packages(folder) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for room in ROOMS:
        keep_kernels(ROOT / room, site_packages(folder) / "ratelab" / room)
    return folder


def keep_kernels(ours: Path, installed: Path) -> None:
    """What numba has compiled here already; it tells a source by its size and time."""
    for kernel in ours.rglob("*.nb[ic]"):
        copy = installed / kernel.relative_to(ours)
        copy.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has put a newer one in its place
            shutil.copy(kernel, copy)
    for source in ours.rglob("*.py"):
        times = source.stat()
        os.utime(installed / source.relative_to(ours), ns=(times.st_atime_ns, times.st_mtime_ns))


def site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A researcher's folder: its packages are called as ours, and say so when they are imported."""
    for name in (*ROOMS, "tests", "house"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the {name} of a stranger')\n")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_source_distribution_is_the_repository(source: Path, unpacked: Path) -> None:
    made = {"PKG-INFO", "setup.cfg"}
    kept = {name for name in files(unpacked) if ".egg-info" not in name}
    assert kept - made == {name for name in files(source) if ".egg-info" not in name}


def test_the_wheel_has_every_part_once(wheel: Path) -> None:
    rooms = {
        f"ratelab/{p.relative_to(ROOT)}" for r in ROOMS for like in PARTS for p in (ROOT / r).rglob(like)
    }
    door = {str(p.relative_to(ROOT)) for like in PARTS for p in (ROOT / "ratelab").rglob(like)}
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(rooms | door)


def test_nothing_but_ratelab_is_installed(environment: Path) -> None:
    found = {path.name for path in site_packages(environment).iterdir() if path.suffix not in (".pth", "")}
    folders = {path.name for path in site_packages(environment).iterdir() if path.suffix == ""}
    assert folders == {"ratelab"}
    assert found == {f"ratelab-{ratelab.__version__}.dist-info"}


def test_python_uses_it_among_strangers(environment: Path, strange: Path) -> None:
    file, risk, caption = say(environment / "bin" / "python", "-c", USE, folder=strange).splitlines()
    assert Path(file).is_relative_to(site_packages(environment))
    problem = ratelab.Quadratic(ratelab.LogUniform(5, condition_number=10.0))
    _, here = ratelab.risk_curve(problem, ratelab.InversePower(0.5), lr=0.5, horizon=100)
    np.testing.assert_allclose(float(risk), here[-1], rtol=1e-12)
    assert caption


def test_the_command_line_uses_it_among_strangers(environment: Path, strange: Path) -> None:
    command = environment / "bin" / "ratelab"
    assert "bach_moulines" in say(command, "list", folder=strange)
    assert "wrote my.toml" in say(command, "init", "my.toml", folder=strange)
    assert "nothing was run or written" in say(command, "run", "my.toml", "--dry-run", folder=strange)
    assert str(site_packages(environment)) in say(command, "doctor", folder=strange)
    module = say(environment / "bin" / "python", "-m", "ratelab", "--help", folder=strange)
    assert "doctor" in module
