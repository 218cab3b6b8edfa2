"""A folder of arrays and JSON state that is whole, or not there, or known to be damaged: checkpoints and best weights.

In: arrays by name. Out: arrays.npz, state.json and SHA256SUMS in one folder, replaced in four steps with a kill allowed
between any two: write NAME.new (SHA256SUMS last), NAME -> NAME.old, NAME.new -> NAME, delete NAME.old.
"""

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.errors import RunError
from faceswap_pipeline.storage import keep_old, sha256_file, storage_errors, sync_file, sync_folder

_ARRAYS, _STATE, _SUMS = "arrays.npz", "state.json", "SHA256SUMS"


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name and the JSON state that belongs to them."""

    step: int
    arrays: dict[str, NDArray[Any]]
    state: dict[str, Any]
    sha256: str
    """Of the arrays' file: names the weights."""


def write_folder(target: Path, arrays: Mapping[str, Any], state: dict[str, Any]) -> None:
    """Write or replace a folder of arrays and state. On any failure the old one stays and no half one remains."""
    with _replacing(target) as new:
        write_arrays(new / _ARRAYS, arrays)
        (new / _STATE).write_text(json.dumps(state, indent=1, default=_number) + "\n", encoding="utf-8")
        sums = "".join(f"{sha256_file(new / name)}  {name}\n" for name in (_ARRAYS, _STATE))
        (new / _SUMS).write_text(sums, encoding="utf-8")


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder of arrays and state over `target`, under the same guarantees.

    The copy is read back and must hold its sums before it counts. Raises RunError when it does not, which is mostly
    because `source` is damaged already; StorageError.
    """
    with _replacing(target) as new:
        for name in (_ARRAYS, _STATE, _SUMS):
            shutil.copyfile(source / name, new / name)
        problem = damage(new)
        if problem is not None:
            raise RunError(f"{source}: its copy is damaged ({problem})")


def same_folder(one: Path, other: Path) -> bool:
    """Whether `other` was written with the same sums as `one` and has not lost bytes since; the arrays are not read."""
    try:
        sizes = [[(folder / name).stat().st_size for name in (_ARRAYS, _STATE)] for folder in (one, other)]
        return sizes[0] == sizes[1] and _sums(one) == _sums(other)
    except (OSError, ValueError):
        return False


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `target` when the block ends well."""
    new, old = _beside(target, "new"), _beside(target, "old")
    try:
        with storage_errors(target):
            settle(target)
            new.mkdir()
            yield new
            for name in (_ARRAYS, _STATE, _SUMS):
                sync_file(new / name)
            sync_folder(new)
            if target.exists():
                target.rename(old)
            new.rename(target)
            sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def settled(target: Path) -> Path | None:
    """The folder that counts for `target`: itself, or the whole one beside it if a kill came between two renames."""
    for folder in (target, _beside(target, "new"), _beside(target, "old")):
        if folder.is_dir() and (folder == target or damage(folder) is None):
            return folder
    return None


def settle(target: Path) -> None:
    """Bring an interrupted replacement of `target` to its end and remove what it left beside. Raises StorageError."""
    with storage_errors(target):
        whole = settled(target)
        if whole is not None and whole != target:
            whole.rename(target)
        for leftover in (_beside(target, "new"), _beside(target, "old")):
            if leftover.exists():
                shutil.rmtree(leftover)


def target_of(folder: Path) -> Path:
    """The folder whose replacement `folder` is a part of: `best` for `best`, `best.new` and `best.old`."""
    return folder.with_name(folder.name.removesuffix(".new").removesuffix(".old"))


def damage(folder: Path) -> str | None:
    """What is wrong with a folder of arrays and state, or None when it is as it was written."""
    try:
        sums = _sums(folder)
        for name in (_ARRAYS, _STATE):
            if sums.get(name) != sha256_file(folder / name):
                return f"{name} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def set_aside(folder: Path) -> None:
    """Keep a damaged folder under another name, for a rescue by hand."""
    target = folder.with_name(f"{folder.name}.damaged")
    if target.exists():
        keep_old(target)
    with storage_errors(folder):
        folder.rename(target)


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON state of a whole folder."""
    return json.loads((folder / _STATE).read_text(encoding="utf-8"))


def read_folder(folder: Path) -> Checkpoint:
    """Arrays and state of a whole folder (`damage` returned None)."""
    state = read_state(folder)
    return Checkpoint(state["step"], read_arrays(folder / _ARRAYS), state, _sums(folder)[_ARRAYS])


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name as an uncompressed npz, one after the other, so that memory holds one copy at a time.

    The same arrays give the same bytes. Raises ValueError for an array that npz cannot hold without pickle.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = np.asarray(arrays[name])
            if array.dtype.kind not in "biufc":
                raise ValueError(f"array '{name}' is of {array.dtype}: expected plain numbers")
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by name."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}.{ending}")


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as SHA256SUMS has them."""
    lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _number(value: Any) -> Any:
    """A numpy number as a plain one, for JSON. Raises TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")
