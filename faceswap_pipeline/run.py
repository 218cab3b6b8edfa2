"""The run folder, the contract between training and conversion.

In: weights and optimizer states as arrays by name, reports, choices. Out: a folder that no kill and no full disk can
bring to lose more than the work since the last checkpoint. docs/formats.md describes the files.
"""

import json
import math
import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from faceswap_pipeline import __version__
from faceswap_pipeline.array_folder import (
    Checkpoint,
    damage,
    read_folder,
    read_state,
    set_aside,
    settle,
    settled,
    target_of,
    write_folder,
)
from faceswap_pipeline.errors import RunError
from faceswap_pipeline.storage import (
    FolderLock,
    LineFile,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    folder_bytes,
    make_folder,
    opening_lock,
    remove_folder,
    sha256_file,
    whole_lines,
)

FORMAT = "faceswap-run"
VERSION = 1
KEEP = 2
"""How many of the newest checkpoints are kept."""

_CONSENT_KEYS = ("who", "what_for", "when", "evidence")
_CONSENT_FORM = """\
# The consent of the people whose faces this run was trained on. Fill this in; the next `swap train` records it.
# who: whose faces; what_for: the use they agreed to; when: the date; evidence: where the signed paper or message is.
who = ""
what_for = ""
when = ""
evidence = ""
"""


@dataclass(frozen=True)
class Consent:
    """What a consent file says. Empty fields mean that it is not recorded."""

    who: str
    what_for: str
    when: str
    evidence: str

    @property
    def recorded(self) -> bool:
        """Whether every field is filled in."""
        return all((self.who, self.what_for, self.when, self.evidence))


class TrainingRun:
    """A run folder, opened.

    Reading needs no lock. Writing needs `create` or `open(path, write=True)`, which take the folder's lock until
    `close()` (or the end of a `with` block); after that the object still reads.

        with TrainingRun.create(Path("runs/a-b"), manifest) as run:
            run.log({"step": 100, "seconds": 12.5, "loss": 0.1})
            run.save_checkpoint(100, arrays, state)

    path: the folder; manifest: the content of run.json; warnings: what was odd but survived, newest last.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.manifest = manifest
        self.warnings: list[str] = []
        self._lock: FolderLock | None = None
        self._log: LineFile | None = None

    # -- opening and closing ------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> Self:
        """A new run, open for writing, with an empty consent form.

        Format, versions and the time of creation are added to `manifest`. Raises RunError when the folder holds
        anything already, StorageError when it cannot be written.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(not item.name.startswith(".") for item in path.iterdir())):
            raise RunError(f"{path} exists already: choose another name with --out")
        make_folder(path)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        header = {"format": FORMAT, "version": VERSION, "software": __version__, "created": now}
        run = cls(path, header | {"consent": {"recorded": False}, "finished": None} | manifest)
        run._lock = FolderLock(path)
        run._write_manifest()
        run.record_consent()
        return run

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> Self:
        """An existing run. `write=True` takes the lock and clears away what a kill in the middle of a save left.

        Raises RunError when there is none or it is of another version, StorageError when another process writes it.
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            what = f"{path} is no run folder (it holds no run.json)" if path.exists() else f"there is no run {path}"
            raise RunError(f"{what}: make one with `swap train --a FACES_A --b FACES_B --out {path}`")
        with opening_lock(path, write) as lock:
            run = cls(path, _read_manifest(path / "run.json"))
            run._lock = lock
            if write:
                run._settle()
        return run

    def close(self) -> None:
        """Flush the log and give the lock back; the object still reads. May be called again."""
        if self._lock is None:
            return
        if self._log is not None:
            self._log.close()
            self._log = None
        self._lock.release()
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what was chosen ----------------------------------------------------------------------------------------------

    def update_manifest(self, **values: Any) -> None:
        """Change or add top-level entries of run.json."""
        self._need_writing()
        self.manifest = self.manifest | values
        self._write_manifest()

    def record_consent(self, file: Path | None = None) -> Consent:
        """Take a consent file into the run, or what was filled into the run's own form; written when missing.

        run.json then holds its fields, its SHA-256 and `recorded`. Raises RunError when the file is missing or is not
        TOML with the texts who, what_for, when and evidence.
        """
        self._need_writing()
        own = self.path / "consent.toml"
        if file is not None:
            read_consent(file)
            atomic_write_bytes(own, file.read_bytes())
        elif not own.exists():
            atomic_write_text(own, _CONSENT_FORM)
        consent = read_consent(own)
        filled = {"sha256": sha256_file(own)} | asdict(consent) if any(asdict(consent).values()) else {}
        entry = {"recorded": consent.recorded} | filled
        if self.manifest["consent"] != entry:
            self.update_manifest(consent=entry)
        return consent

    # -- the log ------------------------------------------------------------------------------------------------------

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a report to log.jsonl; numbers that are not finite are written as null."""
        self._need_writing()
        if self._log is None:
            self._log = LineFile(self.path / "log.jsonl")
        self._log.append(json.dumps(_finite(entry), allow_nan=False))

    def read_log(self) -> list[dict[str, Any]]:
        """All reports, oldest first; a torn last line is dropped. Raises RunError when another line is damaged."""
        path = self.path / "log.jsonl"
        entries = []
        for number, line in enumerate(whole_lines(path.read_bytes()) if path.exists() else [], 1):
            try:
                entries.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{path}, line {number} is damaged ({error}): remove the line") from error
        return entries

    def truncate_log(self, step: int) -> None:
        """Cut off the reports above `step`: training goes on from there and will write them again."""
        self._need_writing()
        entries = self.read_log()
        kept = [entry for entry in entries if entry.get("step", 0) <= step]
        if len(kept) < len(entries):
            if self._log is not None:
                self._log.close()
                self._log = None
            atomic_write_text(self.path / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in kept))

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def checkpoint_steps(self) -> list[int]:
        """The steps of the checkpoints that are there, whole or not, rising."""
        return sorted(step for step, _ in self._checkpoints())

    def save_checkpoint(self, step: int, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint; whole or not at all, whatever happens. The newest two are kept.

        `arrays` are fetched and written one by one. Checkpoints above `step` belong to a line that training has left
        (a roll-back) and are removed. Raises StorageError: the old checkpoints are then untouched.
        """
        self._need_writing()
        if self._log is not None:
            self._log.sync()
        target = make_folder(self.path / "checkpoints") / f"step_{step:08d}"
        if target.exists() and damage(target) is not None:
            set_aside(target)
        write_folder(target, arrays, {"step": step} | dict(state))
        kept = [found for found in sorted(self.checkpoint_steps(), reverse=True) if found <= step][:KEEP]
        for found, folder in self._checkpoints():
            if found not in kept:
                remove_folder(folder)
        return target

    def load_checkpoint(self, before: int | None = None) -> Checkpoint | None:
        """The newest whole checkpoint (below step `before`), or None when there was never one.

        Damaged newer ones are named in `warnings` and, when open for writing, kept under another name. Raises RunError
        when all are damaged: training never starts from zero over unreadable work.
        """
        found = [(step, folder) for step, folder in self._checkpoints() if before is None or step < before]
        problems = []
        for _, folder in sorted(found, reverse=True):
            problem = damage(folder)
            if problem is None:
                checkpoint = read_folder(folder)
                if problems:
                    self.warnings.append(f"{'; '.join(problems)}: going on from step {checkpoint.step}")
                    self._set_aside_above(checkpoint.step, before)
                return checkpoint
            problems.append(f"checkpoint {folder.name} is damaged ({problem})")
        aside = sorted(p.name for p in (self.path / "checkpoints").glob("step_*.damaged*")) if before is None else []
        if problems or aside:
            what = "; ".join(problems) or f"only damaged checkpoints are left ({', '.join(aside)})"
            raise RunError(
                f"{self.path}: {what}: no whole one is left. Restore the folder from a copy, or train into another "
                "folder with --out"
            )
        return None

    def save_best(self, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
        """Replace the best weights, those that conversion uses; at every moment the old or the new ones are whole.

        `state` should hold `step` and the figures that made them the best.
        """
        self._need_writing()
        target = make_folder(self.path / "checkpoints") / "best"
        write_folder(target, arrays, {"step": 0} | dict(state))
        return target

    def load_best(self) -> Checkpoint | None:
        """The best weights, or None when none were saved yet. Raises RunError when they are damaged."""
        folder = self._best_folder()
        return None if folder is None else read_folder(folder)

    def best_state(self) -> dict[str, Any] | None:
        """The state that was saved with the best weights, without reading the weights."""
        folder = self._best_folder()
        return None if folder is None else read_state(folder)

    def saved_folders(self) -> dict[str, Path]:
        """Every checkpoint and the best weights by name, such as step_00012000 and best, older steps first; not read,
        so they may be damaged."""
        best = settled(self.path / "checkpoints" / "best")
        steps = {f"step_{step:08d}": folder for step, folder in sorted(self._checkpoints())}
        return steps if best is None else steps | {"best": best}

    # -- files for people ---------------------------------------------------------------------------------------------

    def preview_path(self, step: int) -> Path:
        """Where the preview picture of a step goes; its folder is made."""
        return make_folder(self.path / "previews") / f"step_{step:08d}.jpg"

    def write_artifact(self, name: str, data: bytes) -> Path:
        """Write a file for people, such as curves.png, and return its path."""
        self._need_writing()
        if not name or name.startswith(".") or "/" in name or name in ("run.json", "log.jsonl", "consent.toml"):
            raise ValueError(f"'{name}' is no file name for this")
        atomic_write_bytes(self.path / name, data)
        return self.path / name

    def tensorboard_folder(self) -> Path:
        """The folder for TensorBoard's files; made when missing."""
        self._need_writing()
        return make_folder(self.path / "tensorboard")

    def describe(self) -> list[str]:
        """About ten lines for `swap info`: what was trained, on what, how far, how good, and why it stopped."""
        manifest, log = self.manifest, self.read_log()
        steps = self.checkpoint_steps()
        last = next((entry for entry in reversed(log) if "step" in entry), {})
        trained = max([*steps, last.get("step", 0), 0])
        recipe = manifest.get("recipe", {})
        consent = manifest.get("consent", {})
        name = recipe.get("name", "?") if isinstance(recipe, dict) else recipe
        who = consent.get("who") if consent.get("recorded") else "not recorded"
        best = self.best_state()
        figures = {} if best is None else {k: v for k, v in best.items() if k != "step" and isinstance(v, int | float)}
        return [
            f"{self.path}: run folder, format {VERSION}, written by {manifest['software']}",
            f"recipe      {name}, backend {manifest.get('backend', '?')}, seed {manifest.get('seed', '?')}",
            *(f"dataset {side}   {_dataset_line(manifest.get(side))}" for side in ("a", "b")),
            f"trained     {trained} steps, {_time_text(manifest.get('seconds', last.get('seconds')))}",
            f"checkpoints {', '.join(map(str, steps)) or 'none yet'}",
            f"best        {_best_line(best, figures)}",
            f"stopped     {manifest.get('finished') or 'not by itself: run the same `swap train` line to go on'}",
            f"base        {_base_text(manifest.get('base'))}",
            f"consent     {who}",
            f"on disk     {folder_bytes(self.path) / 1e6:.1f} MB",
        ]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _need_writing(self) -> None:
        if self._lock is None:
            raise RunError(f"{self.path} is open for reading only: open(path, write=True)")

    def _write_manifest(self) -> None:
        self.manifest = self.manifest | {"format": FORMAT, "version": VERSION, "software": __version__}
        atomic_write_json(self.path / "run.json", self.manifest)

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """Step and folder of every checkpoint; those between two names of a replacement are found too."""
        folder = self.path / "checkpoints"
        found: dict[int, Path] = {}
        for item in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = target_of(item).name
            digits = name.removeprefix("step_")
            if name.startswith("step_") and digits.isdigit() and (whole := settled(folder / name)) is not None:
                found[int(digits)] = whole
        return list(found.items())

    def _best_folder(self) -> Path | None:
        folder = settled(self.path / "checkpoints" / "best")
        problem = None if folder is None else damage(folder)
        if problem is not None:
            raise RunError(
                f"{folder} is damaged ({problem}): restore it from a copy, or train on (the next best replaces it) "
                "with `swap train --continue`"
            )
        return folder

    def _set_aside_above(self, step: int, before: int | None) -> None:
        for found, folder in self._checkpoints():
            if self._lock is not None and step < found and (before is None or found < before):
                set_aside(folder)

    def _settle(self) -> None:
        """Bring an interrupted replacement of a folder to its end, and remove half-written ones."""
        folder = self.path / "checkpoints"
        for item in sorted(folder.iterdir()) if folder.is_dir() else ():
            if item.name.startswith(".") and item.name.endswith(".removed"):
                shutil.rmtree(item)
            elif target_of(item) != item:
                settle(target_of(item))


def newest(folder: Path) -> TrainingRun:
    """The run in `folder` (such as `runs/`) that was trained last. Raises RunError when there is none."""
    folder = Path(folder)
    found = [item for item in folder.iterdir() if (item / "run.json").is_file()] if folder.is_dir() else []
    if not found:
        raise RunError(f"there is no run in {folder}/: train one with `swap train --a FACES_A --b FACES_B`")
    return TrainingRun.open(max(found, key=lambda item: (_touched(item), item.name)))


def read_consent(file: Path) -> Consent:
    """A consent file: TOML with the texts who, what_for, when (or a date) and evidence. Raises RunError."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"there is no consent file {file}") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{file} is no consent file ({error}): expected TOML with {', '.join(_CONSENT_KEYS)}") from error
    wrong = sorted(set(_CONSENT_KEYS) ^ set(values))
    if wrong:
        expected = ", ".join(_CONSENT_KEYS)
        raise RunError(f"{file}: missing or unknown: {', '.join(wrong)}; expected {expected}")
    return Consent(**{name: str(values[name]).strip() for name in _CONSENT_KEYS})


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): restore it from a copy, or train into another --out") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise RunError(f"{path} is of format {found!r}, expected '{FORMAT}': is it a run folder?")
    if manifest.get("version") != VERSION:
        raise RunError(
            f"{path.parent} has run version {manifest.get('version')}, this software reads {VERSION}: update the "
            "software, or train into another folder (--out)"
        )
    return {"consent": {"recorded": False}, "finished": None} | manifest


def _finite(value: Any) -> Any:
    """JSON values; numpy numbers become plain ones, numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _touched(run: Path) -> float:
    """When a run was last written to, in seconds."""
    names = ("run.json", "log.jsonl", "checkpoints", "checkpoints/best")
    return max(os.stat(run / name).st_mtime for name in names if (run / name).exists())


def _dataset_line(entry: Any) -> str:
    if not isinstance(entry, dict):
        return "?"
    return f"{entry.get('path', '?')} ({entry.get('crop_size', '?')} px, {str(entry.get('sha256', '?'))[:12]})"


def _base_text(base: Any) -> str:
    return str(base.get("path", base)) if isinstance(base, dict) else str(base or "none: from the beginning")


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "no time logged"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{seconds / 60:.1f} min"


def _best_line(best: dict[str, Any] | None, figures: Mapping[str, float]) -> str:
    if best is None:
        return "none yet"
    return f"step {best.get('step')}; {', '.join(f'{k} {v:.4g}' for k, v in figures.items()) or 'no figures'}"
