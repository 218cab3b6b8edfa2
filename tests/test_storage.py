"""Whole files or none: on a full disk, after a kill, with a second process."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faceswap_pipeline import storage
from faceswap_pipeline.errors import StorageError


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes of any file fail in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    storage.atomic_write_json(path, {"old": 1})
    with file_size_limit(1000), pytest.raises(StorageError, match=r"state\.json.*--out|disk"):
        storage.atomic_write_text(path, "x" * 5000)
    assert path.read_text() == '{\n "old": 1\n}\n'
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EPERM, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOTCONN, "mount it again"),
        (errno.ESTALE, "mount it again"),
    ],
)
def test_what_the_system_says_becomes_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, "cryptic")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=words) as caught:
        storage.atomic_write_bytes(tmp_path / "film.mp4", b"data")
    assert str(tmp_path / "film.mp4") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage.storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_an_exception_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), storage.open_aside(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_lines_survive_a_torn_end_and_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    with storage.LineFile(path) as lines:
        assert path.read_bytes() == b"one\ntwo\n"
        with file_size_limit(20), pytest.raises(StorageError):
            lines.append("x" * 100)
        assert path.read_bytes() == b"one\ntwo\n"
        lines.append("three")
        lines.sync()
    assert storage.whole_lines(path.read_bytes()) == [b"one", b"two", b"three"]


def test_a_torn_line_longer_than_one_read_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"one\n" + b"y" * 200_000)
    storage.LineFile(path).close()
    assert path.read_bytes() == b"one\n"


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole_write(descriptor, data[:3]))
    with storage.LineFile(tmp_path / "log.jsonl") as lines:
        lines.append("a long line")
    assert (tmp_path / "log.jsonl").read_bytes() == b"a long line\n"


def test_keep_old_takes_the_first_free_number(tmp_path: Path) -> None:
    for name in ("faces_a", "faces_a.1"):
        (tmp_path / name).mkdir()
    (tmp_path / "film.mp4").touch()
    assert storage.keep_old(tmp_path / "faces_a") == tmp_path / "faces_a.2"
    assert storage.keep_old(tmp_path / "film.mp4") == tmp_path / "film.1.mp4"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["faces_a.1", "faces_a.2", "film.1.mp4"]


def test_make_folder_says_when_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="a file"):
            storage.make_folder(path)


HOLDER = """
import sys, time
from pathlib import Path
from faceswap_pipeline.storage import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_told_who_writes_and_a_killed_one_frees_the_folder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=f"another process .process {holder.pid} on"):
            storage.FolderLock(tmp_path)
        holder.kill()
    lock = storage.FolderLock(tmp_path)
    with pytest.raises(StorageError, match="another process"):
        storage.FolderLock(tmp_path)
    lock.release()
    storage.FolderLock(tmp_path).release()
