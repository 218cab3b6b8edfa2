"""`swap train`: two dataset folders in, a run folder out, continued wherever it stopped.

The stage reads as its own summary: open both datasets, open or create the run, load faces, build the networks, restore
the newest checkpoint, step until a limit or the plateau rule ends it, and leave everything saved.
"""

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import __version__
from faceswap_pipeline.array_folder import Checkpoint
from faceswap_pipeline.backend import (
    Device,
    backend_name,
    find_device,
    memory_bytes,
    resident,
    share_cores,
    value_of,
)
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import OptionError, RunError, TrainingDiverged
from faceswap_pipeline.networks.recipe import Recipe, load_recipe
from faceswap_pipeline.networks.weights import set_arrays
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun, read_consent
from faceswap_pipeline.train import augment
from faceswap_pipeline.train.batches import Faces, load_faces
from faceswap_pipeline.train.model import PERSONS, SwapModel
from faceswap_pipeline.train.monitor import Plateau, Validation
from faceswap_pipeline.train.options import TrainOptions
from faceswap_pipeline.train.previews import curves, preview
from faceswap_pipeline.video.images import write_jpeg

CHECK_STEPS = 25
"""Steps between two looks at whether the losses are still numbers."""
MOST_ROLLBACKS = 3
"""Returns to the last good checkpoint without a report in between before training gives up."""
DATASET_KEYS = ("crop_size", "template", "coverage")


@dataclass
class Journey:
    """Where a run is; the part that is not weights. It travels in the checkpoint's state."""

    step: int = 0
    seconds: float = 0.0
    plateau: Plateau = field(default_factory=Plateau)
    rollback_rate: float = 1.0
    """What the rollbacks have left of the learning rate."""
    best: dict[str, Any] = field(default_factory=dict)
    """Stage, score and step of the best weights so far."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "plateau": self.plateau.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Journey":
        """What `to_json` gave."""
        return cls(**{**values, "plateau": Plateau.from_json(values["plateau"])})


def train_swap(
    a: Path,
    b: Path,
    out: Path,
    options: TrainOptions,
    *,
    consent: Path | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train a swap between the persons of two dataset folders; return the run, closed.

    An existing run goes on from its newest whole checkpoint. Raises SwapError for everything the user can mend; on
    KeyboardInterrupt everything is saved first.
    """
    progress = progress or Progress()
    share_cores()
    if consent is not None:
        read_consent(consent)  # a bad file must not leave a new run behind
    datasets = _open_datasets(a, b)
    recipe, why = choose_recipe(options.recipe, out, find_device())
    entries = _dataset_entries(datasets)
    with _open_run(out, entries, recipe, options, consent, progress) as run:
        if run.manifest.get("finished") and not _goes_on(run, options):
            progress.note(f"{run.path} had stopped: {run.manifest['finished']}")
            progress.note(
                f"to go on: swap train --a {a} --b {b} --out {out} --time 20m (or --continue, or more --steps)"
            )
            return run
        progress.note(why)
        share = memory_bytes() / 4 / len(PERSONS)
        faces = {name: load_faces(datasets[name], recipe.network, share, progress) for name in PERSONS}
        model = SwapModel(recipe, options.seed)
        journey = _resume(run, model, options, progress)
        _Trainer(run, model, faces, journey, options, progress).train()
    return run


def choose_recipe(name: str, out: Path, device: Device) -> tuple[Recipe, str]:
    """The recipe that `--recipe` means and a line that says why.

    `auto` is the recipe of an existing run at `out`, else the one that fits the machine.
    """
    if name != "auto":
        return load_recipe(name), f"recipe {name}, as asked, on {device.name}"
    if (out / "run.json").is_file():
        with TrainingRun.open(out) as run:
            recipe = Recipe.from_json(run.manifest["recipe"])
        return recipe, f"recipe {recipe.name}, the run's own, on {device.name}"
    if device.kind == "gpu":
        return load_recipe("gan64"), f"recipe gan64: a GPU was found ({device.name}); --recipe names another"
    return load_recipe("lite64"), f"recipe lite64: no GPU was found by {backend_name()}, and it is sized for a CPU"


def _open_datasets(a: Path, b: Path) -> dict[str, FaceDataset]:
    """Both datasets, checked against each other."""
    if a.resolve() == b.resolve():
        raise OptionError(f"--a and --b are both {a}: a swap needs two persons, each in a dataset of its own")
    found = {"a": FaceDataset.open(a), "b": FaceDataset.open(b)}
    for key in DATASET_KEYS:
        values = [getattr(found[person], key) for person in PERSONS]
        if key != "crop_size" and values[0] != values[1]:
            raise OptionError(f"{a} has {key} {values[0]} and {b} has {values[1]}: extract both with the same")
    return found


def _dataset_entries(datasets: dict[str, FaceDataset]) -> dict[str, dict[str, Any]]:
    """What the manifest says of each dataset. Raises OptionError when both hold the same faces."""
    entries = {
        person: {
            "path": str(dataset.path),
            "name": dataset.path.stem,
            "sha256": dataset.fingerprint(),
            **{key: getattr(dataset, key) for key in DATASET_KEYS},
        }
        for person, dataset in datasets.items()
    }
    if entries["a"]["sha256"] == entries["b"]["sha256"]:
        both = " and ".join(entry["path"] for entry in entries.values())
        raise OptionError(f"{both} hold the same faces: a swap needs two persons")
    return entries


def _open_run(
    out: Path,
    entries: dict[str, dict[str, Any]],
    recipe: Recipe,
    options: TrainOptions,
    consent: Path | None,
    progress: Progress,
) -> TrainingRun:
    """A new run, or the existing one when it was made with the same recipe, base and seed."""
    if not (out / "run.json").is_file():
        manifest = {
            "recipe": recipe.to_json(),
            "options": options.to_json(),
            "seed": options.seed,
            "base": base_entry(options.base),
            "backend": backend_name(),
            "versions": versions(),
            **entries,
            "finished": None,
        }
        run = TrainingRun.create(out, manifest)
        _record_consent(run, consent, progress)
        return run
    run = TrainingRun.open(out, write=True)
    try:
        _check_same(run, recipe, options)
        for person in PERSONS:
            known = run.manifest[person]
            for key in ("template", "coverage"):
                if known[key] != entries[person][key]:
                    raise RunError(
                        f"{out} was trained on faces with {key} {known[key]}, {entries[person]['path']} has "
                        f"{entries[person][key]}: extract as before, or start anew with --out OTHER"
                    )
            if known["sha256"] != entries[person]["sha256"]:
                progress.note(f"{entries[person]['path']} has changed since the last call: going on with the new faces")
        run.update_manifest(**entries, options=options.to_json(), backend=backend_name(), versions=versions())
        _record_consent(run, consent, progress)
    except BaseException:
        run.close()
        raise
    return run


def _record_consent(run: TrainingRun, file: Path | None, progress: Progress) -> None:
    """Take the consent record into the run; say in one line what its form is for when it is empty."""
    if not run.record_consent(file).recorded:
        progress.note(
            f"consent: not recorded; {run.path}/consent.toml is a form for who agreed to what (or give --consent FILE)"
        )


def _check_same(run: TrainingRun, recipe: Recipe, options: TrainOptions) -> None:
    """Raise RunError when an existing run was made with another recipe, seed or base."""
    known = run.manifest
    asked = {"recipe": recipe.to_json(), "seed": options.seed, "base": base_entry(options.base)}
    different = [name for name, value in asked.items() if known[name] != value]
    if different:
        parts = [f"{name} {_short(known[name])} (asked for: {_short(asked[name])})" for name in different]
        raise RunError(f"{run.path} was trained with {'; '.join(parts)}: name another folder with --out OTHER")


def _short(value: Any) -> str:
    """A manifest value in a message: a recipe or base by its name."""
    return str(value.get("name", value.get("path"))) if isinstance(value, dict) else str(value)


def base_entry(base: str) -> dict[str, Any] | None:
    """What the manifest says of the weights that a run starts from."""
    if base == "none":
        return None
    with TrainingRun.open(Path(base)) as run:
        checkpoint = _best_of(run)
        digest = hashlib.sha256()
        for name in sorted(checkpoint.arrays):
            digest.update(name.encode() + np.ascontiguousarray(checkpoint.arrays[name]).tobytes())
        return {"path": base, "recipe": run.manifest["recipe"]["name"], "sha256": digest.hexdigest()}


def _best_of(run: TrainingRun) -> Checkpoint:
    """A run's best weights. Raises RunError when it has none yet."""
    checkpoint = run.load_best()
    if checkpoint is None:
        raise RunError(f"{run.path} has no best weights yet: train it first, or leave --base out")
    return checkpoint


def versions() -> dict[str, str]:
    """Versions of what computes, for the run's record."""
    found = {"python": platform.python_version(), "faceswap-pipeline": __version__}
    for package in ("keras", "numpy", "tensorflow", "jax"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _goes_on(run: TrainingRun, options: TrainOptions) -> bool:
    """Whether this call asks a run that had stopped by itself for more."""
    done = run.manifest.get("steps", 0)
    return bool(options.time) or options.continue_ or (options.steps is not None and options.steps > done)


def _resume(run: TrainingRun, model: SwapModel, options: TrainOptions, progress: Progress) -> Journey:
    """Put the newest checkpoint, or the base, or nothing into the networks."""
    checkpoint = run.load_checkpoint()
    for warning in run.warnings:
        progress.warn(warning)
    if checkpoint is not None:
        model.restore(checkpoint.arrays)
        journey = Journey.from_json(checkpoint.state)
        run.truncate_log(journey.step)
        progress.note(f"going on with {run.path} at step {journey.step}")
        return journey
    if options.base != "none":
        with TrainingRun.open(Path(options.base)) as base:
            arrays = _best_of(base).arrays
        for name, network in [*model.generator.items(), *model.average.items()]:
            set_arrays(name, network.variables, arrays)
        progress.note(f"starting from the networks of {options.base}")
    return Journey()


class _Trainer:
    """The loop: steps, reports, saves and stops."""

    def __init__(
        self,
        run: TrainingRun,
        model: SwapModel,
        faces: dict[str, Faces],
        journey: Journey,
        options: TrainOptions,
        progress: Progress,
    ):
        self.run, self.model, self.journey, self.options, self.progress = run, model, journey, options, progress
        self.recipe = model.recipe
        self.statistics = {person: faces[person].statistics for person in PERSONS}
        self.crops = {person: resident(faces[person].train) for person in PERSONS}
        self.held_out = {person: central_views(faces[person].held_out, self.recipe) for person in PERSONS}
        self.validation = Validation(model, self.held_out)
        self.pending_best: dict[str, NDArray] | None = None
        self.rollbacks = 0
        self.save_seconds = 1.0
        self.start = time.monotonic()
        self.start_seconds, self.start_step = journey.seconds, journey.step
        self.last_save = self.start
        self.clock_step, self.clock = journey.step, self.start

    def train(self) -> None:
        """Step until something ends it; save in any case, except when what there is cannot be trusted."""
        self.run.update_manifest(finished=None)
        total, unit, measure = self._extent()
        reason = None
        try:
            with self.progress.phase("training", total, unit) as advance:
                done = measure()
                while reason is None:
                    losses = self._step()
                    reason = self._after(losses)
                    advance(measure() - done)
                    done = measure()
        except TrainingDiverged:
            raise
        except BaseException:
            self._finish("interrupted", closing_report=False)
            raise
        self._finish(reason, closing_report=True)

    def _extent(self) -> tuple[float | None, str, Callable[[], float]]:
        """How much there is to do in this call, its unit, and how to measure what is done."""
        if self.options.time_seconds is not None and self.options.steps is None:
            return self.options.time_seconds, "s", lambda: time.monotonic() - self.start
        left = None if self.options.steps is None else max(0, self.options.steps - self.journey.step)
        return left, "steps", lambda: self.journey.step - self.start_step

    def _step(self) -> dict[str, Any]:
        """One training step, drawn from (seed, step) alone."""
        step, recipe = self.journey.step, self.recipe
        drawn = {
            person: augment.draw(
                self.options.seed,
                step,
                person,
                self.statistics[person],
                self.statistics["b" if person == "a" else "a"],
                recipe.train,
                recipe.network.resolution,
            )
            for person in PERSONS
        }
        warm = min(1.0, (step + 1) / max(1, recipe.train.warm_up))
        losses = self.model.step(self.crops, drawn, warm * self.journey.plateau.rate * self.journey.rollback_rate, step)
        self.journey.step += 1
        self.journey.seconds = self.start_seconds + time.monotonic() - self.start
        return losses

    def _after(self, losses: dict[str, Any]) -> str | None:
        """What follows a step: checks, reports, saves. Returns why training ends, or None."""
        step, options = self.journey.step, self.options
        if step % CHECK_STEPS == 0 and not _finite(losses):
            self._roll_back()
            return None
        reason = None
        if step % options.report_steps == 0:
            reason = self._report(losses, judge=True)
        if step % options.preview_steps == 0:
            self._preview()
        if options.steps is not None and step >= options.steps:
            return f"reached {options.steps} steps"
        elapsed = time.monotonic() - self.start
        if options.time_seconds is not None and elapsed >= options.time_seconds - 2 * self.save_seconds:
            return f"the time limit of {options.time} was reached"
        if reason is None and time.monotonic() - self.last_save >= options.save_minutes * 60 and _finite(losses):
            self._save()
        return reason

    def _report(self, losses: dict[str, Any], judge: bool) -> str | None:
        """Measure held-out faces, log, keep the best; with `judge` let the plateau rule decide."""
        journey, stage = self.journey, self._stage()
        figures = self.validation.figures()
        now = time.monotonic()
        speed = (journey.step - self.clock_step) * 2 * self.recipe.train.batch / max(1e-9, now - self.clock)
        self.clock_step, self.clock = journey.step, now
        if journey.best.get("stage") != stage or figures["score"] < journey.best["score"]:
            journey.best = {"stage": stage, "score": figures["score"], "step": journey.step}
            self.pending_best = self.model.inference_arrays()
        reason = None
        if judge:
            last = stage == "adversarial" or not self.recipe.adversarial
            journey.plateau, decision = journey.plateau.judge(stage, figures["score"], self.options.patience, last)
            if decision == "halve the rate":
                self.progress.note(f"step {journey.step}: no progress on held-out faces, the rate is halved")
            if decision == "stop":
                reason = f"held-out faces stopped improving (best at step {journey.best['step']})"
            self.rollbacks = 0
        named = {name: round(float(value), 5) for name, value in losses.items()}
        held = {name: round(value, 5) for name, value in figures.items()}
        self.run.log(
            {
                "step": journey.step,
                "seconds": round(journey.seconds, 2),
                "images_per_second": round(speed, 1),
                "rate": journey.plateau.rate * journey.rollback_rate,
                "stage": stage,
                "losses": named,
                "held_out": held,
            }
        )
        self.progress.note(
            f"step {journey.step}: held-out faces error {figures['l1_a']:.4f} / {figures['l1_b']:.4f}, "
            f"SSIM {figures['ssim_a']:.3f} / {figures['ssim_b']:.3f} (A / B), {speed:.0f} images/s"
        )
        return reason

    def _stage(self) -> str:
        """The stage that the last step belonged to."""
        return "adversarial" if self.model.is_adversarial(self.journey.step - 1) else "reconstruction"

    def _preview(self) -> None:
        picture = preview(self.model, self.held_out)
        write_jpeg(self.run.preview_path(self.journey.step), picture)
        self.run.write_artifact("curves.png", curves(self.run.read_log()))

    def _save(self) -> None:
        """Checkpoint and, when it is newer, the best weights."""
        began = time.monotonic()
        self.run.save_checkpoint(self.journey.step, self.model.arrays(), self.journey.to_json())
        if self.pending_best is not None:
            self.run.save_best(self.pending_best, {"recipe": self.recipe.name, **self.journey.best})
            self.pending_best = None
        self.run.update_manifest(steps=self.journey.step, seconds=round(self.journey.seconds, 1))
        self.last_save = time.monotonic()
        self.save_seconds = self.last_save - began

    def _finish(self, reason: str | None, closing_report: bool) -> None:
        """Leave everything saved; after a regular end also report, preview and record why."""
        if self.journey.step == self.start_step:
            self.run.update_manifest(finished=reason if closing_report else None)
            return
        if not self._weights_are_numbers():
            self.progress.warn(
                "the newest weights hold values that are not numbers: the last checkpoint is kept instead"
            )
            return
        if closing_report and self.journey.step % self.options.report_steps:
            self._report({}, judge=False)
        if closing_report:
            self._preview()
        if self.pending_best is None and not self.journey.best:
            self.journey.best = {"stage": self._stage(), "score": float("1e9"), "step": self.journey.step}
            self.pending_best = self.model.inference_arrays()
        self._save()
        self.run.update_manifest(finished=reason if closing_report else None)
        self.progress.note(f"saved {self.run.path} at step {self.journey.step}: {reason}")

    def _weights_are_numbers(self) -> bool:
        return all(bool(np.isfinite(value_of(value)).all()) for value in self.model.generator_weights)

    def _roll_back(self) -> None:
        """Return to the last good checkpoint with half the rate. Raises TrainingDiverged when that keeps failing."""
        self.rollbacks += 1
        if self.rollbacks > MOST_ROLLBACKS:
            raise TrainingDiverged(
                f"training of {self.run.path} diverged {self.rollbacks} times in a row near step {self.journey.step}: "
                f"the last good checkpoint is kept; try a lower learning_rate in the recipe, with --out OTHER"
            )
        rate = self.journey.rollback_rate / 2
        checkpoint = self.run.load_checkpoint()
        found = self.journey.step
        if checkpoint is None:
            fresh = SwapModel(self.recipe, self.options.seed)
            self.model.restore(fresh.arrays())
            self.journey = Journey(seconds=self.journey.seconds)
        else:
            self.model.restore(checkpoint.arrays)
            self.journey = Journey.from_json(checkpoint.state)
        self.journey.rollback_rate = rate
        self.run.truncate_log(self.journey.step)
        self.progress.warn(
            f"step {found}: the losses were not numbers; back to step {self.journey.step} with {rate:g} of the rate"
        )


def central_views(faces: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.uint8]:
    """The network's view of resident faces (N, M, M, 6): their centre, (N, R, R, 6)."""
    start = (faces.shape[1] - recipe.network.resolution) // 2
    inside = slice(start, start + recipe.network.resolution)
    return faces[:, inside, inside]


def _finite(losses: dict[str, Any]) -> bool:
    return all(np.isfinite(float(value)) for value in losses.values())
