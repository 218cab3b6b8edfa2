"""`swap train`: two dataset folders in, a run folder out, continued wherever it stopped.

The stage reads as its own summary: open both datasets, open or create the run, load faces, build the networks, restore
the newest checkpoint, step until a limit or the plateau rule ends it, and leave everything saved.
"""

import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import __version__
from faceswap_pipeline.backend import (
    Device,
    backend_name,
    check_trains,
    find_device,
    resident,
    share_cores,
)
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import OptionError, RunError
from faceswap_pipeline.identity import shipped_embedder
from faceswap_pipeline.imaging import middle
from faceswap_pipeline.machine import memory_bytes
from faceswap_pipeline.networks.recipe import Recipe, load_recipe
from faceswap_pipeline.networks.tone import Tone
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun, read_consent
from faceswap_pipeline.train import augment
from faceswap_pipeline.train.base import choose_base, fit_to, start_from
from faceswap_pipeline.train.batches import Faces, load_faces, usable_records
from faceswap_pipeline.train.model import PERSONS, SwapModel
from faceswap_pipeline.train.monitor import SwapLikeness, Validation
from faceswap_pipeline.train.options import TrainOptions
from faceswap_pipeline.train.perceptual import features_of, perceptual_entry
from faceswap_pipeline.train.previews import preview
from faceswap_pipeline.train.trainer import Journey, Trainer, resume

ALIGN_STEPS = 250
"""Steps between two looks at how far apart the two persons' codes are."""
ALIGNED_FACES = 128
"""Faces of each person for that, evenly spread."""
DATASET_KEYS = ("crop_size", "template", "coverage")


def train_swap(
    a: Path,
    b: Path,
    out: Path,
    options: TrainOptions,
    *,
    consent: Path | None = None,
    after_save: Callable[[TrainingRun], None] = lambda run: None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train a swap between the persons of two dataset folders; return the run, closed.

    An existing run goes on from its newest whole checkpoint. `after_save` is called with the run each time it was
    saved; training waits for it. Raises SwapError for everything the user can mend; on
    KeyboardInterrupt everything is saved first.
    """
    progress = progress or Progress()
    check_trains()
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
        base, features = run.manifest["base"], features_of(run.manifest.get("perceptual"))
        taught, performed = fit_to(base, recipe)
        model = SwapModel(taught, options.seed, performed, features)
        lesson = SwapLesson(model, faces, options.seed)
        if lesson.likeness is not None and lesson.likeness.probe.doubt:
            progress.note(f"who a swap looks like is left out of the reports: {lesson.likeness.probe.doubt}")
        run.update_manifest(**{name: {**entries[name], "tone": lesson.tones[name].to_json()} for name in PERSONS})
        journey = resume(run, model, progress)
        if journey is None:
            start_from(base, model, faces, options.seed, progress)
        Trainer(run, lesson, journey or Journey(), options, progress, after_save).train()
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
    for dataset in found.values():
        usable_records(dataset)  # both, before a run is begun or the first is loaded
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
            "base": choose_base(options.base, recipe),
            "perceptual": perceptual_entry(options.perceptual),
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
        if [entries[person]["sha256"] for person in PERSONS] == [run.manifest[other]["sha256"] for other in "ba"]:
            known = run.manifest
            raise RunError(
                f"{out} was trained with the persons the other way round: --a {known['a']['path']} --b "
                f"{known['b']['path']} goes on with it (`swap convert --direction b-to-a` swaps that way), --out OTHER "
                "starts anew"
            )
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
        kept = {person: {**run.manifest[person], **entries[person]} for person in PERSONS}
        run.update_manifest(**kept, options=options.to_json(), backend=backend_name(), versions=versions())
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
    """Raise RunError when an existing run was made with another recipe, seed, base or perceptual network."""
    # An older version may have written a recipe with fewer fields: what is missing has its default.
    known = {**run.manifest, "recipe": Recipe.from_json(run.manifest["recipe"]).to_json()}
    asked = {"recipe": recipe.to_json(), "seed": options.seed}
    if options.base != "auto":  # an existing run keeps to what it started from
        asked["base"] = choose_base(options.base, recipe)
    if options.perceptual:
        asked["perceptual"] = perceptual_entry(options.perceptual)
    different = [name for name, value in asked.items() if known.get(name) != value]
    if different:
        parts = [f"{name} {_short(known.get(name))} (asked for: {_short(asked[name])})" for name in different]
        raise RunError(f"{run.path} was trained with {'; '.join(parts)}: name another folder with --out OTHER")


def _short(value: Any) -> str:
    """A manifest value in a message: a recipe or base by its name."""
    return str(value.get("name", value.get("path"))) if isinstance(value, dict) else str(value)


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


class SwapLesson:
    """Two persons' faces and the networks that learn to swap them."""

    def __init__(self, model: SwapModel, faces: dict[str, Faces], seed: int):
        self.model, self.recipe, self._seed = model, model.recipe, seed
        self._statistics = {person: faces[person].statistics for person in PERSONS}
        self._crops = {person: resident(faces[person].train) for person in PERSONS}
        learnt = {p: central_views(faces[p].train, self.recipe) for p in PERSONS}
        self._aligned_by = {p: views[_spread(len(views), ALIGNED_FACES)] for p, views in learnt.items()}
        self._held_out = {person: central_views(faces[person].held_out, self.recipe) for person in PERSONS}
        self.tones = {person: usual_tone(faces[person]) for person in PERSONS}
        embedder = shipped_embedder()
        self.likeness = SwapLikeness(embedder, learnt, self.recipe.network.view) if embedder else None
        self._validation = Validation(model, self._held_out, self.likeness)

    @property
    def faces_a_step(self) -> int:
        """Faces that a step sees."""
        return 2 * self.recipe.train.batch

    def step(self, step: int, rate: float) -> dict[str, Any]:
        """One update of everything; `rate` multiplies the learning rates."""
        if step % ALIGN_STEPS == 0:
            self.model.align(self._aligned_by)
        drawn = {
            person: augment.draw(
                self._seed,
                step,
                person,
                self._statistics[person],
                self._statistics[other],
                self.recipe.train,
                self.recipe.network,
            )
            for person, other in (PERSONS, PERSONS[::-1])
        }
        return self.model.step(self._crops, drawn, rate, step)

    def figures(self) -> dict[str, float]:
        """Reconstruction of held-out faces, and `score`."""
        return self._validation.figures()

    def sentence(self, figures: dict[str, float]) -> str:
        """The figures in half a line."""
        identity = f", swaps taken for B {figures['identity']:.0%}" if "identity" in figures else ""
        return (
            f"held-out faces error {figures['l1_a']:.4f} / {figures['l1_b']:.4f}, "
            f"SSIM {figures['ssim_a']:.3f} / {figures['ssim_b']:.3f} (A / B){identity}"
        )

    def preview(self) -> NDArray[np.uint8]:
        """Held-out faces, themselves again, swapped, and the masks."""
        return preview(self.model, self._held_out, self.tones)


def _spread(count: int, wanted: int) -> NDArray[np.intp]:
    """`wanted` places of `count`, in order, some of them several times where there are fewer."""
    return np.linspace(0, count - 1, wanted).round().astype(np.intp)


def usual_tone(faces: Faces) -> Tone:
    """The tone that a person mostly has: the median over the faces to train on, each part (1, 1, 1, 3)."""
    known = faces.statistics
    return Tone(*(np.median(part, 0).reshape(1, 1, 1, 3) for part in (known.means, known.deviations)))


def central_views(faces: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.uint8]:
    """The network's view of resident faces (N, H, W, 6): their centre, (N, R, R, 6)."""
    rows, columns = middle(faces.shape[1:3], recipe.network.resolution)
    return faces[:, rows, columns]
