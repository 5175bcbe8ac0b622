"""Numbers kept by their digest: found again in this process and in another, never believed unchecked."""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cases import ROOT

from ratelab.theory import sampled
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import parse
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import Facts, HorizonError

NUMBERS = np.array([1.0, 0.5, 0.75, 0.0, 2.0])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder and a memory of its own for every test."""
    monkeypatch.setenv("RATELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sampled, "_KEPT", {})
    return tmp_path / "cache" / "values"


def forget() -> None:
    """What another process would know: only the files."""
    sampled._KEPT.clear()


def test_the_beginning_of_the_numbers() -> None:
    values = Values.of(NUMBERS)
    for T in range(6):
        np.testing.assert_array_equal(values(T), NUMBERS[:T])
    with pytest.raises(HorizonError, match="6 updates"):
        values(6)
    with pytest.raises(InputError, match="-1"):
        values(-1)


def test_the_text_is_the_value(cache: Path) -> None:
    values = Values.of(NUMBERS)
    assert values == Values(hashlib.sha256(NUMBERS.astype("<f8").tobytes()).hexdigest(), length=5)
    assert parse(repr(values), "schedule") == values
    assert pickle.loads(pickle.dumps(values)) == values
    assert [path.name for path in cache.iterdir()] == [f"{values.digest}.npy"]
    np.testing.assert_array_equal(np.load(cache / f"{values.digest}.npy"), NUMBERS)
    assert Values.of(NUMBERS.tolist()) == values
    assert Values.of(NUMBERS.astype(np.float32)) == values  # these numbers are exact in both
    assert Values.of(NUMBERS[:4]) != values


def test_minus_zero_is_zero() -> None:
    assert Values.of([-0.0, 1.0]) == Values.of([0.0, 1.0])


@pytest.mark.parametrize(
    ("numbers", "low", "high", "monotone"),
    [
        (NUMBERS, 0.0, 2.0, None),
        ([3.0, 2.0, 2.0], 2.0, 3.0, "decreasing"),
        ([1.0, 1.0, 4.0], 1.0, 4.0, "increasing"),
        ([2.0, 2.0], 2.0, 2.0, "constant"),
        ([0.5], 0.5, 0.5, "constant"),
    ],
    ids=["neither", "decreasing", "increasing", "constant", "single"],
)
def test_facts_are_measured(numbers: Array, low: float, high: float, monotone: str | None) -> None:
    known = Values.of(numbers).facts
    assert known == Facts(low, high, known.monotone, anytime=True)
    assert known.monotone == monotone


def test_neither_the_given_nor_the_returned_array_reaches_what_is_kept() -> None:
    given = NUMBERS.copy()
    values = Values.of(given)
    given[:] = 9.0
    values(5)[:] = 9.0
    np.testing.assert_array_equal(values(5), NUMBERS)
    assert not sampled._KEPT[values.digest].flags.writeable
    forget()
    np.testing.assert_array_equal(values(5), NUMBERS)
    assert not sampled._KEPT[values.digest].flags.writeable


def test_another_process_finds_the_numbers() -> None:
    values = Values.of(NUMBERS)
    program = f"from ratelab.theory.sampled import Values; print({values!r}(5).tolist())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(NUMBERS.tolist())


def test_many_processes_write_the_same_numbers_at_once(cache: Path) -> None:
    program = (
        "from ratelab.theory.sampled import Values; print(Values.of([k / 7 for k in range(20_000)]).digest)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    digests = {process.communicate()[0].strip() for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(digests) == 1
    assert [path.name for path in cache.iterdir()] == [f"{digests.pop()}.npy"]  # and nothing half-written


def test_missing_numbers_are_named_with_the_remedy(cache: Path) -> None:
    values = Values("ab" * 32, length=3)
    with pytest.raises(InputError, match=r"No such file.*Values\.of.*RATELAB_CACHE") as error:
        values(2)
    assert str(cache / f"{'ab' * 32}.npy") in str(error.value)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit flipped": lambda whole: whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
    "cut short": lambda whole: whole[:-1],
    "only the header": lambda whole: whole[:128],
    "empty": lambda _: b"",
    "other numbers": lambda whole: whole[:128] + NUMBERS[::-1].astype("<f8").tobytes(),
    "not our format": lambda whole: b"PK\x03\x04" + whole,
    "another type": lambda whole: whole.replace(b"'<f8'", b"'<i8'"),
    "another shape": lambda whole: whole.replace(b"(5,), ", b"(5,1),"),
    "a header out of joint": lambda whole: whole.replace(b"{'descr'", b"((( [  "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_believed_and_can_be_mended(cache: Path, damage: str) -> None:
    values = Values.of(NUMBERS)
    path = cache / f"{values.digest}.npy"
    whole = path.read_bytes()
    damaged = DAMAGES[damage](whole)
    assert damaged != whole
    path.write_bytes(damaged)
    forget()
    with pytest.raises(InputError, match=r"is damaged.*Values\.of") as error:
        values(2)
    assert str(path) in str(error.value)
    assert Values.of(NUMBERS) == values
    assert path.read_bytes() == whole


def test_without_a_folder_to_write_to_the_numbers_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RATELAB_CACHE", str(tmp_path / "file"))
    values = Values.of(NUMBERS)
    np.testing.assert_array_equal(values(5), NUMBERS)
    forget()
    with pytest.raises(InputError, match=r"not in memory.*Values\.of"):
        values(5)


def test_a_write_that_fails_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    values = Values.of(NUMBERS)
    np.testing.assert_array_equal(values(5), NUMBERS)
    assert list(cache.iterdir()) == []


def test_the_folder_is_the_users_cache_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELAB_CACHE", "/somewhere")
    assert sampled._path("d") == Path("/somewhere/values/d.npy")
    monkeypatch.delenv("RATELAB_CACHE")
    assert sampled._path("d").parts[-3:] == ("ratelab", "values", "d.npy")


@pytest.mark.parametrize("digest", ["", "ab", "../" * 21 + "x", "AB" * 32, "ab" * 32 + "\n", "ab" * 33])
def test_a_digest_is_not_a_path(digest: str) -> None:
    with pytest.raises(InputError, match="64 digits"):
        Values(digest, length=1)


def test_a_length_that_is_not_that_of_the_numbers() -> None:
    with pytest.raises(InputError, match="write length=5"):
        Values(Values.of(NUMBERS).digest, length=4)(2)


@pytest.mark.parametrize(
    ("numbers", "hint"),
    [([], "empty"), ([-1.0], "negative"), ([np.nan], "nan"), ([[1.0, 2.0]], "one row"), (1.0, "one row")],
    ids=["empty", "negative", "nan", "table", "number"],
)
def test_numbers_that_are_no_multipliers_are_refused(numbers: object, hint: str, cache: Path) -> None:
    with pytest.raises(InputError, match=hint):
        Values.of(numbers)  # type: ignore[arg-type]  # a nested list is the point
    assert not cache.exists()
