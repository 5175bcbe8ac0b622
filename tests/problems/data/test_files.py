"""How a data file is found, refused and downloaded: from servers on localhost that fail in the known ways."""

import gzip
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path

import pytest
from cases import ROOT

from ratelab.problems.data import files
from ratelab.problems.data.files import KNOWN, DataFile, download, known, locate
from ratelab.theory.arrays import InputError

CONTENT = hashlib.shake_256(b"a data file").digest(200_000)
PIECE = 131_072
DATA = os.environ.get("RATELAB_DATA")
needs_data = pytest.mark.skipif(
    not DATA or not all((Path(DATA) / file.label).is_file() for file in KNOWN),
    reason="RATELAB_DATA names no folder with all data files",
)


def described(content: bytes, *mirrors: str, name: str = "file.gz", folder: str = "set") -> DataFile:
    return DataFile(name, folder, len(content), hashlib.sha256(content).hexdigest(), mirrors)


@dataclass
class Mirror:
    """A server of one file: what it does wrong, and what it was asked and has sent."""

    content: bytes = CONTENT
    status: int = 200
    ranges: bool = True
    shift: int = 0  # added to where a range begins
    with_length: bool = True
    encoding: str = ""
    cut: int | None = None  # the first answer breaks after that many bytes
    wait: threading.Event | None = None  # what comes after the first 128 kB waits for it
    asked: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range", "")
        self.asked.append(wanted)
        start, status = 0, self.status
        if wanted and self.ranges and status == 200:
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.shift
            status = 206 if start < len(self.content) else 416
        body = self.content[start:] if status in (200, 206) else b""
        handler.send_response(status)
        if status == 206:
            size = len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.encoding:
            handler.send_header("Content-Encoding", self.encoding)
        if self.with_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cut is not None:
            body, self.cut = body[: self.cut], None
        place = len(self.sent)  # its own: an earlier answer may still be on its way
        self.sent.append(0)
        with suppress(OSError):  # the client has gone
            for piece in range(0, len(body), PIECE):
                if piece and self.wait:
                    self.wait.wait(60)
                self.sent[place] += handler.wfile.write(body[piece : piece + PIECE])


@contextmanager
def serving(mirror: Mirror) -> Iterator[str]:
    """The address of the mirror's file while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in http.server)
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # what was sent is known once the server is closed
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/file.gz"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with serving(Mirror()) as url:
        return url


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATELAB_DATA", raising=False)


def kept(cache: Path) -> list[str]:
    """The files of the set in a cache, without the lock."""
    return sorted(path.name for path in (cache / "set").iterdir() if path.suffix != ".lock")


# what the mirrors do


def test_downloads_once(tmp_path: Path) -> None:
    mirror = Mirror()
    with serving(mirror) as url:
        path = download(described(CONTENT, url), tmp_path)
        assert download(described(CONTENT, url), tmp_path) == path
    assert path == tmp_path / "set" / "file.gz"
    assert path.read_bytes() == CONTENT
    assert (mirror.asked, kept(tmp_path)) == ([""], ["file.gz"])
    assert download(described(CONTENT, url), tmp_path) == path  # the server is gone


def test_locate_downloads_into_poochs_cache_what_the_data_folder_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    (tmp_path / "data").mkdir()
    with serving(Mirror()) as url:
        path = locate(described(CONTENT, url), tmp_path / "data")
    assert path == tmp_path / "ratelab" / "set" / "file.gz"
    assert path.read_bytes() == CONTENT
    assert locate(described(CONTENT)) == path


@pytest.mark.parametrize("first", [Mirror(status=404), Mirror(status=503), None], ids=["404", "503", "down"])
def test_the_second_mirror_serves_where_the_first_has_nothing(
    first: Mirror | None, nobody: str, tmp_path: Path
) -> None:
    with serving(first or Mirror()) as url, serving(Mirror()) as second:
        path = download(described(CONTENT, url if first else nobody, second), tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("with_length", [True, False])
def test_an_interrupted_transfer_is_continued_by_the_next_call(with_length: bool, tmp_path: Path) -> None:
    mirror = Mirror(cut=70_000, with_length=with_length)
    with serving(mirror) as url:
        file = described(CONTENT, url)
        with pytest.raises(InputError, match=r"70000 bytes are kept in .*file\.gz\.part: ask again"):
            download(file, tmp_path)
        assert kept(tmp_path) == ["file.gz.part"]
        assert download(file, tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["", "bytes=70000-"]
    assert mirror.sent == [70_000, 130_000]
    assert kept(tmp_path) == ["file.gz"]


def test_the_next_mirror_continues_an_interrupted_transfer(tmp_path: Path) -> None:
    first, second = Mirror(cut=70_000), Mirror()
    with serving(first) as one, serving(second) as two:
        assert download(described(CONTENT, one, two), tmp_path).read_bytes() == CONTENT
    assert (first.asked, second.asked, second.sent) == ([""], ["bytes=70000-"], [130_000])


def test_a_server_without_range_sends_the_whole(tmp_path: Path) -> None:
    mirror = Mirror(cut=70_000, ranges=False)
    with serving(mirror) as url:
        with pytest.raises(InputError):
            download(described(CONTENT, url), tmp_path)
        assert download(described(CONTENT, url), tmp_path).read_bytes() == CONTENT
    assert (mirror.asked, mirror.sent) == (["", "bytes=70000-"], [70_000, 200_000])


@pytest.mark.parametrize("shift", [10, -10, 200_000], ids=["later", "earlier", "416"])
def test_a_server_with_another_range_is_asked_for_the_whole(shift: int, tmp_path: Path) -> None:
    mirror = Mirror(cut=70_000, shift=shift)
    with serving(mirror) as url:
        with pytest.raises(InputError):
            download(described(CONTENT, url), tmp_path)
        assert download(described(CONTENT, url), tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["", "bytes=70000-", ""]


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (b"?" * 70_000, ["bytes=70000-", ""]),
        (b"?" * 200_000, [""]),
        (CONTENT + b"?", [""]),
        (CONTENT, []),
    ],
    ids=["bad", "bad-complete", "longer", "complete"],
)
def test_what_becomes_of_a_part(part: bytes, asked: list[str], tmp_path: Path) -> None:
    mirror = Mirror()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.gz.part").write_bytes(part)
    with serving(mirror) as url:
        assert download(described(CONTENT, url), tmp_path).read_bytes() == CONTENT
    assert (mirror.asked, kept(tmp_path)) == (asked, ["file.gz"])


def test_a_download_with_a_wrong_checksum_is_refused_and_not_kept(tmp_path: Path) -> None:
    wrong = CONTENT[::-1]
    with serving(Mirror(wrong)) as url, pytest.raises(InputError) as caught:
        download(described(CONTENT, url), tmp_path)
    for content in (wrong, CONTENT):
        assert f"200000 bytes with SHA-256 {hashlib.sha256(content).hexdigest()}" in str(caught.value)
    assert "it is altered" in str(caught.value)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("other", [b"an error page\n", CONTENT + b"?"], ids=["shorter", "longer"])
def test_a_mirrors_file_of_another_size_costs_no_part(other: bytes, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    part = tmp_path / "set" / "file.gz.part"
    part.write_bytes(CONTENT[:70_000])
    with serving(Mirror(other, ranges=False)) as url, serving(Mirror()) as second:
        with pytest.raises(InputError, match=f"its file has {len(other)} bytes, expected 200000"):
            download(described(CONTENT, url), tmp_path)
        assert part.read_bytes() == CONTENT[:70_000]
        assert download(described(CONTENT, url, second), tmp_path).read_bytes() == CONTENT


def test_an_endless_answer_is_left_and_not_kept(tmp_path: Path) -> None:
    mirror = Mirror(CONTENT * 500, with_length=False)
    with serving(mirror) as url, pytest.raises(InputError, match="altered"):
        download(described(CONTENT, url), tmp_path)
    assert kept(tmp_path) == []
    assert mirror.sent[0] < len(mirror.content)


def test_a_file_is_not_unpacked_on_the_way(tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    with serving(Mirror(packed, encoding="gzip")) as url:
        assert download(described(packed, url), tmp_path).read_bytes() == packed


@pytest.mark.parametrize("there", [CONTENT[:10], CONTENT[::-1], CONTENT + b"?"])
def test_a_corrupt_cache_is_fetched_anew(there: bytes, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.gz").write_bytes(there)
    with serving(Mirror()) as url:
        assert download(described(CONTENT, url), tmp_path).read_bytes() == CONTENT


def test_offline_names_the_file_the_checksum_the_mirrors_and_the_places(nobody: str, tmp_path: Path) -> None:
    with serving(Mirror(status=404)) as url, pytest.raises(InputError) as caught:
        download(described(CONTENT, nobody, url), tmp_path)
    said = str(caught.value)
    for piece in (
        "set/file.gz",
        hashlib.sha256(CONTENT).hexdigest(),
        "200000 bytes",
        "RATELAB_DATA",
        "--data",
    ):
        assert piece in said
    assert str(tmp_path / "set" / "file.gz") in said
    assert re.search(rf"\n  {nobody}: .*refused", said)
    assert re.search(rf"\n  {url}: 404 ", said)
    assert "digits need no download" in said
    assert "kept" not in said


def test_a_cache_that_cannot_be_made_is_reported(nobody: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"could not be downloaded(.|\n)*Not a directory|File exists"):
        download(described(CONTENT, nobody), tmp_path / "file")


# processes

DOWNLOAD = """
import sys
from pathlib import Path
from ratelab.problems.data.files import DataFile, download
url, size, sha256, cache = sys.argv[1:]
file = DataFile("file.gz", "set", int(size), sha256, (url,))
print("ready", flush=True)
print(download(file, Path(cache)))
"""


def downloading(url: str, cache: Path) -> "subprocess.Popen[str]":
    """A process that downloads the file, from the moment at which it is about to."""
    command = [sys.executable, "-c", DOWNLOAD, url]
    command += [str(len(CONTENT)), hashlib.sha256(CONTENT).hexdigest(), str(cache)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_that_ask_at_once_fetch_once(tmp_path: Path) -> None:
    mirror = Mirror(wait=threading.Event())
    with serving(mirror) as url:
        processes = [downloading(url, tmp_path) for _ in range(3)]
        assert mirror.wait is not None
        mirror.wait.set()
        said = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in said] == [f"{tmp_path / 'set' / 'file.gz'}\n"] * 3
    assert (tmp_path / "set" / "file.gz").read_bytes() == CONTENT
    assert (mirror.asked, kept(tmp_path)) == ([""], ["file.gz"])
    lines = "".join(err for _, err in said).splitlines()  # into a pipe: one line of the one that fetched
    assert len(lines) == 1
    assert lines[0].startswith(f"Downloading data from '{url}'")


def test_what_a_killed_process_fetched_is_continued(tmp_path: Path) -> None:
    mirror = Mirror(wait=threading.Event())
    part = tmp_path / "set" / "file.gz.part"
    with serving(mirror) as url:
        process = downloading(url, tmp_path)
        while not (part.exists() and part.stat().st_size >= 65_536):  # a piece of what it writes
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        size = part.stat().st_size
        assert size < 200_000
        assert mirror.wait is not None
        mirror.wait.set()
        assert download(described(CONTENT, url), tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["", f"bytes={size}-"]
    assert mirror.sent[1] == 200_000 - size


def test_progress_is_shown_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with serving(Mirror()) as url:
            download(described(CONTENT, url), tmp_path / str(terminal))
        assert ("set/file.gz" in capsys.readouterr().err) == terminal


# the data folder


@pytest.mark.parametrize("place", [Path("set") / "file.gz", Path("file.gz")])
def test_the_two_places_in_the_data_folder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / place).write_bytes(CONTENT)
    assert locate(described(CONTENT), tmp_path) == tmp_path / place
    monkeypatch.setenv("RATELAB_DATA", str(tmp_path))
    assert locate(described(CONTENT)) == tmp_path / place


def test_the_files_own_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.gz").write_bytes(CONTENT)
    (tmp_path / "file.gz").write_bytes(b"another set's file of the same name")
    assert locate(described(CONTENT), tmp_path) == tmp_path / "set" / "file.gz"


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"", "cut short"),
        (CONTENT[:-1], "cut short"),
        (CONTENT + b"\n", "altered"),
        (CONTENT[:-1] + b"\0", "altered"),
    ],
)
def test_another_file_in_the_data_folder_is_refused(content: bytes, state: str, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        locate(described(CONTENT), tmp_path)
    found, expected = hashlib.sha256(content).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
    for piece in (
        f"{path} is not set/file.gz",
        f"found {len(content)} bytes with SHA-256 {found}",
        state,
        f"expected 200000 bytes with SHA-256 {expected}",
        "Replace it",
    ):
        assert piece in str(caught.value)
    assert path.read_bytes() == content  # the user's file is the user's


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.gz").write_bytes(CONTENT)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match=r"file\.gz.*Permission denied"):
        locate(described(CONTENT), tmp_path)


def test_a_data_folder_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"nowhere \(--data\) does not exist"):
        locate(described(CONTENT), tmp_path / "nowhere")
    monkeypatch.setenv("RATELAB_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"elsewhere \(RATELAB_DATA\) does not exist"):
        locate(described(CONTENT))


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digest, reads = tmp_path / "file.gz", hashlib.file_digest, []

    def counted(stream: BufferedReader, algorithm: str) -> object:
        reads.append(algorithm)
        return digest(stream, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    path.write_bytes(CONTENT)
    for _ in range(3):
        assert locate(described(CONTENT), tmp_path) == path
    assert len(reads) == 1
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(0, 0))
    for reading in (2, 3):  # what was refused is read again: it may have been replaced
        with pytest.raises(InputError, match="altered"):
            locate(described(CONTENT), tmp_path)
        assert len(reads) == reading


def test_a_file_of_another_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = described(b"train", name="train-labels", folder="letters")
    monkeypatch.setattr(files, "KNOWN", (train, described(b"test", name="test-labels", folder="letters")))
    (tmp_path / "train-labels").write_bytes(b"test")
    with pytest.raises(InputError, match=r"found 4 bytes .*\(this is letters's test-labels\), expected 5"):
        locate(train, tmp_path)
    with serving(Mirror(b"train")) as url, pytest.raises(InputError, match="this is letters's train-labels"):
        download(replace(described(b"TRAIN", name="test-labels"), mirrors=(url,)), tmp_path)


# the files that we know


def test_known_files_can_be_told_apart() -> None:
    assert len({file.label for file in KNOWN}) == len({file.sha256 for file in KNOWN}) == len(KNOWN) == 11
    for file in KNOWN:
        assert known(file.folder, file.name) is file
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.mirrors
        assert all(re.fullmatch(rf"https?://[^ ]+/{re.escape(file.name)}", url) for url in file.mirrors)


# The checksums that others publish: torchvision (datasets/mnist.py) and d2l.ai (its table of data sets).
PUBLISHED = {
    "mnist/train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "mnist/train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "mnist/t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "mnist/t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    "fashion_mnist/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "fashion_mnist/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "fashion_mnist/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "fashion_mnist/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    "airfoil/airfoil_self_noise.dat": "76e5be1548fd8222e5074cf0faae75edff8cf93f",
}


@needs_data
@pytest.mark.parametrize("file", KNOWN, ids=lambda file: file.label)
def test_our_checksums_are_those_of_the_published_files(file: DataFile) -> None:
    path = locate(file, Path(str(DATA)))
    if file.folder == "libsvm":
        assert file.label not in PUBLISHED  # LIBSVM's page gives no checksum
        return
    published = PUBLISHED[file.label]
    content = path.read_bytes()
    assert hashlib.new("md5" if len(published) == 32 else "sha1", content).hexdigest() == published


@needs_data
@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("mnist/train-images-idx3-ubyte.gz", "mnist/train-labels-idx1-ubyte.gz"),
        ("mnist/t10k-images-idx3-ubyte.gz", "mnist/train-images-idx3-ubyte.gz"),
        ("mnist/t10k-labels-idx1-ubyte.gz", "fashion_mnist/t10k-labels-idx1-ubyte.gz"),
        ("libsvm/a9a", "libsvm/a9a.t"),
    ],
)
def test_a_swapped_file_is_named(wanted: str, given: str, tmp_path: Path) -> None:
    file = next(file for file in KNOWN if file.label == wanted)
    (tmp_path / file.name).symlink_to(Path(str(DATA)) / given)
    folder, name = given.split("/")
    with pytest.raises(
        InputError, match=re.escape(f"(this is {folder}'s {name}), expected {file.bytes} bytes")
    ):
        locate(file, tmp_path)
