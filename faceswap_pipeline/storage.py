"""Files that survive a kill, a full disk and a second process: written aside, flushed to the disk, renamed.

In: paths and bytes. Out: files that are either whole or not there, and StorageErrors in plain words.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from filelock import FileLock, Timeout

from faceswap_pipeline.errors import StorageError

_GONE = "this disk has gone, as mounted drives do: mount it again, then run the same line again"
_REASONS = {
    **dict.fromkeys((errno.ENOTCONN, getattr(errno, "ESTALE", errno.ENOTCONN), errno.ETIMEDOUT), _GONE),
    errno.ENOSPC: "the disk is full: free some space, then run the same line again",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the disk is full (quota): free some space, then run the same line again",
    errno.EFBIG: "this disk's format holds no file that large: use another disk (--out)",
    errno.EACCES: "no permission to write here: change the folder's rights or name another with --out",
    errno.EPERM: "no permission to write here: change the folder's rights or name another with --out",
    errno.EROFS: "this disk is read-only: name a folder elsewhere with --out",
    errno.EIO: "the disk reports a failure: check it, or name a folder elsewhere with --out",
    errno.ENOTDIR: "a part of this path is a file, expected a folder: name another path",
    errno.EISDIR: "this is a folder, expected a file: name another path",
    errno.ENAMETOOLONG: "the name is too long: use a shorter one",
}
# File systems without locks (some network and cloud mounts): work goes on unlocked.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about disks and rights into a StorageError that names `path` and the next step.

    Other OSErrors (a missing file, for instance) pass unchanged.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise StorageError(f"{path}: {reason}") from error


def make_folder(path: Path) -> Path:
    """Create the folder `path` and its parents where missing, and return it. Raises StorageError."""
    with storage_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StorageError(f"{path}: this is a file, expected a folder: name another path") from error
    return path


def sync_folder(path: Path) -> None:
    """Make the names in a folder (new, renamed, removed) survive a power cut. Does nothing where unsupported."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def open_aside(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` only when the block ends well; else `path` stays as it was.

    `sync=False` leaves the flush to the disk to the caller: safe against a kill, not against a power cut.
    One writer at a time: the file beside is always `.NAME.part`. Raises StorageError.
    """
    part = path.with_name(f".{path.name}.part")
    with storage_errors(path):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
    if sync:
        sync_folder(path.parent)


def atomic_write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a whole file or nothing. Raises StorageError."""
    with open_aside(path, sync=sync) as file:
        file.write(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file or nothing. Raises StorageError."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, or nothing. Raises StorageError; ValueError for NaN and infinity."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def copy_file(source: Path, target: Path, *, keep: bool = False) -> None:
    """Copy a file; `target` is what it was, or the whole new file that was read back and compared, at every moment.

    `keep=True` keeps an older `target` as `keep_old` does. Raises StorageError.
    """
    digest = hashlib.sha256()
    with open_aside(target) as file:
        with source.open("rb") as reader:
            while block := reader.read(1 << 20):
                digest.update(block)
                file.write(block)
        file.flush()
        os.fsync(file.fileno())
        if sha256_file(Path(file.name)) != digest.hexdigest():
            raise StorageError(f"{target}: the disk gives back other bytes than were written: use another one")
        if keep and target.exists():
            keep_old(target)


def same_file(one: Path, other: Path) -> bool:
    """Whether both are files of the same bytes."""
    if not (one.is_file() and other.is_file()) or one.stat().st_size != other.stat().st_size:
        return False
    return sha256_file(one) == sha256_file(other)


def sync_file(path: Path) -> None:
    """Flush what was written to a file through to the disk. Raises StorageError."""
    with storage_errors(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(path: Path) -> int:
    """Bytes of all files in and below a folder, or of one file."""
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def keep_old(path: Path) -> Path:
    """Rename `path` out of the way and return its new path: `faces_a` -> `faces_a.1`, `film.mp4` -> `film.1.mp4`.

    Takes the first free number. Raises StorageError.
    """
    stem, suffix = (path.stem, path.suffix) if path.is_file() else (path.name, "")
    number = 1
    while (kept := path.with_name(f"{stem}.{number}{suffix}")).exists():
        number += 1
    with storage_errors(path):
        path.rename(kept)
    return kept


def remove_folder(path: Path) -> None:
    """Remove a folder and all in it, if it is there; under another name first, so that no half of it is ever met."""
    doomed = path.with_name(f".{path.name}.removed")
    with storage_errors(path):
        if doomed.exists():
            shutil.rmtree(doomed)
        if path.exists():
            path.rename(doomed)
            shutil.rmtree(doomed)


def whole_lines(data: bytes) -> list[bytes]:
    """The lines of a file that end with a newline; a torn last line (a kill or a full disk) is dropped."""
    return data.split(b"\n")[:-1]


class LineFile:
    """A text file that grows by whole lines. Opening it cuts off a torn last line.

    A line that does not fit on the disk is taken back: the file then ends as before. Raises StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            self._end = _end_of_last_line(self._descriptor)
            os.ftruncate(self._descriptor, self._end)

    def append(self, line: str) -> None:
        """Write one line (without its newline), handed to the system at once: a kill does not lose it."""
        data = (line + "\n").encode()
        with storage_errors(self.path):
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except BaseException:
                os.ftruncate(self._descriptor, self._end)
                raise
        self._end += len(data)

    def sync(self) -> None:
        """Flush through to the disk: a power cut does not lose what was appended."""
        with storage_errors(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end_of_last_line(descriptor: int) -> int:
    """Bytes up to and with the last newline of an open file."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


class FolderLock:
    """The right to write a folder, held by one process at a time and freed by the system when that process dies.

    Raises StorageError at once, naming the process that holds it. On disks that know no locks it locks nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._owner = folder / ".owner"
        self._lock = FileLock(folder / ".lock", thread_local=False)
        with storage_errors(folder):
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                with suppress(OSError):
                    raise StorageError(
                        f"{folder} is being written by another process ({self._owner.read_text()}): "
                        "wait until it is done, or stop it"
                    ) from None
                raise StorageError(f"{folder} is being written by another process: wait until it is done") from None
            except NotImplementedError:
                return
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    return
                raise
            with suppress(OSError):
                now = time.strftime("%Y-%m-%d %H:%M:%S")
                self._owner.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}")

    def release(self) -> None:
        """Give the right back; a second call does nothing."""
        if self._lock.is_locked:
            with suppress(OSError):
                self._owner.unlink(missing_ok=True)
            self._lock.release()


@contextmanager
def opening_lock(folder: Path, write: bool) -> Iterator[FolderLock | None]:
    """The lock of a folder that is being opened, None for reading; given back only when the opening fails."""
    lock = FolderLock(folder) if write else None
    try:
        yield lock
    except BaseException:
        if lock is not None:
            lock.release()
        raise
