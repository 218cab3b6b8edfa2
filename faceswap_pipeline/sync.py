"""Work that must outlive its machine: datasets, runs and files are copied to a storage folder and back.

In: paths as seen from the current folder, and a folder on another disk (a network volume, a mounted drive). Out: the
same paths there. A dataset travels as one zip, since such disks dislike thousands of files. Whatever is copied is
written aside, read back, compared and renamed, so that a kill at any moment leaves what was there before, whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faceswap_pipeline.array_folder import copy_folder, damage, same_folder, set_aside
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import DatasetError, OptionError, RunError, StorageError, SwapError
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.storage import (
    FolderLock,
    copy_file,
    make_folder,
    remove_folder,
    same_file,
    storage_errors,
)


def push(paths: Sequence[Path], storage: Path, progress: Progress) -> None:
    """Copy datasets, runs and files into `storage`, where they differ from what is there.

    An older dataset or file there is kept under another name; a run there goes on. Raises OptionError when `storage` or
    a path is missing, DatasetError for an unfinished dataset, RunError when another run, or the same one trained
    further, is there, StorageError.
    """
    _check_storage(storage)
    _check_paths(paths)
    for path in paths:
        target = _inside(storage, path)
        if (path / "run.json").is_file():
            with TrainingRun.open(path, write=True) as run:
                push_run(run, target, progress)
        elif path.is_dir():
            _push_dataset(path, target.with_name(f"{target.name}.zip"), progress)
        elif path.is_file():
            if same_file(path, target):
                progress.note(f"{target} is up to date")
                continue
            make_folder(target.parent)
            copy_file(path, target, keep=True)
            progress.note(f"{path} is stored as {target}")
        else:
            raise OptionError(f"{path} is not there: name a dataset, a run or a file in the current folder")


def pull(paths: Sequence[Path], storage: Path, progress: Progress) -> None:
    """Bring back from `storage` what is missing here, and runs that were trained further; nothing else is changed.

    What is not stored yet is only said. Raises OptionError when `storage` is missing, DatasetError for a damaged zip,
    RunError when another run is here, StorageError.
    """
    _check_storage(storage)
    _check_paths(paths)
    for path in paths:
        stored = _inside(storage, path)
        archive = stored.with_name(f"{stored.name}.zip")
        if (stored / "run.json").is_file():
            _pull_run(TrainingRun.open(stored), path, progress)
        elif path.exists():
            progress.note(f"{path} is here already")
        elif archive.is_file():
            make_folder(path.parent)
            FaceDataset.open(archive).unpack(path)
            progress.note(f"{archive} is unpacked as {path}")
        elif stored.is_file():
            make_folder(path.parent)
            copy_file(stored, path)
            progress.note(f"{stored} is copied to {path}")
        else:
            progress.note(f"{path} is not in {storage} yet")


def push_run(run: TrainingRun, target: Path, progress: Progress) -> None:
    """Copy an opened run to `target`, or what has changed since it was copied there.

    Raises RunError when `target` is another run or was trained further, StorageError.
    """
    if (target / "run.json").is_file():
        with TrainingRun.open(target, write=True) as there:
            _check_same(run, there)
            here = _newest(run)
            for name, folder in there.saved_folders().items():
                if name == "best" or name <= here:
                    continue
                if damage(folder) is None:
                    raise RunError(
                        f"{target} is trained further ({name}) than {run.path} ({here or 'not at all'}): bring it here "
                        f"first with `swap pull`, or train into another folder with --out"
                    )
                set_aside(folder)
    _copy_run(run, target, progress)
    progress.note(f"{run.path} is stored as {target}: {_newest(run) or 'no checkpoint yet'}")


def after_each_save(storage: Path, path: Path, progress: Progress) -> Callable[[TrainingRun], None]:
    """What `train_swap` calls to store the run at `path` as it goes. A storage in trouble is warned of and tried again
    at the next save: training goes on."""

    def store(run: TrainingRun) -> None:
        try:
            _check_storage(storage)
            push_run(run, _inside(storage, path), progress)
        except (SwapError, OSError) as error:
            progress.warn(f"not stored, training goes on and the next save tries again: {error}")

    return store


def _pull_run(stored: TrainingRun, path: Path, progress: Progress) -> None:
    """Copy a stored run over the one at `path` where that is missing or behind."""
    if (path / "run.json").is_file():
        with TrainingRun.open(path, write=True) as here:
            _check_same(here, stored)
            whole = max((name for name, folder in _steps(here).items() if damage(folder) is None), default="")
        if _newest(stored) <= whole:
            progress.note(f"{path} is here already, as far as in {stored.path}: {whole or 'no checkpoint yet'}")
            return
    _copy_run(stored, path, progress)
    progress.note(f"{stored.path} is copied to {path}: {_newest(TrainingRun.open(path)) or 'no checkpoint yet'}")


def _push_dataset(path: Path, archive: Path, progress: Progress) -> None:
    """Pack a dataset here and copy the zip, unless the one there holds the same."""
    dataset = FaceDataset.open(path)
    try:
        if FaceDataset.open(archive).fingerprint() == dataset.fingerprint():
            progress.note(f"{archive} is up to date")
            return
    except DatasetError:  # none yet, or a damaged one, which is kept under another name
        pass
    make_folder(archive.parent)
    packed = path.with_name(f".{path.name}.zip")
    try:
        copy_file(dataset.pack(packed), archive, keep=True)
    finally:
        packed.unlink(missing_ok=True)
    progress.note(f"{path} is stored as {archive}")


def _copy_run(run: TrainingRun, target: Path, progress: Progress) -> None:
    """Checkpoints first, run.json last, and only then remove what is not in `run` any more."""
    with _writing(run, target):
        damaged = []
        kept = run.saved_folders()
        for name, folder in kept.items():
            copy = make_folder(target / "checkpoints") / name
            if same_folder(folder, copy):
                continue
            try:
                copy_folder(folder, copy)
            except RunError as error:
                damaged.append(name)
                progress.warn(f"{error}: it is left out")
        files = [path.relative_to(run.path) for path in sorted(run.path.rglob("*")) if path.is_file()]
        for file in [*filter(_travels, files), Path("run.json")]:
            if not same_file(run.path / file, target / file):
                make_folder((target / file).parent)
                copy_file(run.path / file, target / file)
        if damaged:
            return  # what is there may be all that is whole
        for name, folder in TrainingRun.open(target).saved_folders().items():
            if name not in kept and name != "best":
                remove_folder(folder)


@contextmanager
def _writing(run: TrainingRun, target: Path) -> Iterator[None]:
    """The lock of the copy's folder; what goes wrong in it in plain words."""
    make_folder(target)
    is_run = (target / "run.json").is_file()
    free = TrainingRun.open(target, write=True).close if is_run else FolderLock(target).release
    try:
        with storage_errors(target):
            yield
    except FileNotFoundError as error:
        raise StorageError(
            f"{error.filename} went away while {run.path} was copied to {target}: run the same line again"
        ) from error
    finally:
        free()


def _travels(file: Path) -> bool:
    """Whether a file of a run is copied by itself; hidden ones are locks and halves."""
    hidden = any(part.startswith(".") for part in file.parts)
    return not hidden and file.parts[0] != "checkpoints" and file != Path("run.json")


def _check_same(run: TrainingRun, other: TrainingRun) -> None:
    """Raise RunError unless two folders hold the same run."""
    if run.manifest["created"] != other.manifest["created"]:
        raise RunError(
            f"{run.path} was made at {run.manifest['created']}, {other.path} is another run, made at "
            f"{other.manifest['created']}: move one of them away, or train into another folder with --out"
        )


def _steps(run: TrainingRun) -> dict[str, Path]:
    return {name: folder for name, folder in run.saved_folders().items() if name != "best"}


def _newest(run: TrainingRun) -> str:
    """The name of a run's newest checkpoint, or nothing."""
    return max(_steps(run), default="")


def _check_storage(storage: Path) -> None:
    """Raise OptionError unless `storage` is there: a drive that is not mounted must not be taken for an empty one."""
    if not storage.is_dir():
        raise OptionError(f"--storage {storage} is no folder that is there: mount its drive first, or make the folder")


def _check_paths(paths: Sequence[Path]) -> None:
    if not paths:
        raise OptionError("name what is to be copied: datasets, runs or files, such as faces_a runs/a-b")


def _inside(storage: Path, path: Path) -> Path:
    """Where `path` lies in `storage`. Raises OptionError when it is not below the current folder."""
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise OptionError(f"{path}: name it as seen from the current folder, such as faces_a or runs/a-b")
    return storage / path
