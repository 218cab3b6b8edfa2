"""`swap pretrain`: folders of many people in, base weights out, from which every later swap starts.

What is learnt is the swap itself: one person's picture goes in, another person's picture of the same performance is
wanted. The work lies in a run folder beside the file, goes on where it stopped, and the file is written at the end.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.backend import backend_name, check_trains, compile_inference, resident, share_cores
from faceswap_pipeline.detection.meanface import load_mean_face
from faceswap_pipeline.errors import DatasetError, RunError
from faceswap_pipeline.imaging import to_uint8, unsqueezed
from faceswap_pipeline.machine import memory_bytes
from faceswap_pipeline.networks.recipe import DiscriminatorRecipe, Recipe, load_recipe
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.train import augment
from faceswap_pipeline.train.general import READ, GeneralModel, write_base
from faceswap_pipeline.train.monitor import picture_errors
from faceswap_pipeline.train.options import PretrainOptions
from faceswap_pipeline.train.people import HELD_BACK, People, draw_people, find_partners, load_people
from faceswap_pipeline.train.previews import SHOWN_SIDE
from faceswap_pipeline.train.stage import versions
from faceswap_pipeline.train.trainer import Journey, Trainer, resume

FEWEST_PEOPLE = 8
"""Fewer people than this teach who they are, not what people have in common."""
READ_FACES = 3
"""For each face that is made, how many more are only read."""
JUDGED = 128
"""Swaps between held-back performances that a report looks at."""
COLUMNS = 8


def pretrain_base(
    folders: Sequence[Path], out: Path, options: PretrainOptions, *, progress: Progress | None = None
) -> Path:
    """Train a recipe's encoder and a decoder for everybody on the people in `folders`; write base weights to `out`.

    Raises DatasetError when the folders hold too few people, RunError when the work beside `out` was begun otherwise.
    """
    progress = progress or Progress()
    check_trains()
    share_cores()
    recipe = base_recipe(load_recipe(options.recipe), options)
    mean_face = load_mean_face(weight_file("mean_face"))
    people = load_people(folders, options.keep_back, mean_face, recipe.network, memory_bytes() / 4, progress)
    if people.count < FEWEST_PEOPLE:
        raise DatasetError(f"{len(folders)} folders hold {people.count} people, expected at least {FEWEST_PEOPLE}")
    progress.note(f"{len(people.crops)} faces of {people.count} people, recipe {recipe.name} on {backend_name()}")
    with _open_work(out.with_name(f"{out.stem}_run"), recipe, people, options) as run:
        lesson = PeopleLesson(
            GeneralModel(recipe, people.count, people.performed.shape[2], options.seed), people, options
        )
        journey = resume(run, lesson.model, progress) or Journey()
        Trainer(run, lesson, journey, options, progress).train()
        best = run.load_best()
        assert best is not None
        write_base(out, recipe, best.arrays)
    progress.note(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")
    return out


def base_recipe(recipe: Recipe, options: PretrainOptions) -> Recipe:
    """The recipe as the base is trained: without discriminators, with poor inputs."""
    train = dataclasses.replace(recipe.train, degrade=options.degrade, color_transfer=0.0, color_jitter=0.0)
    return dataclasses.replace(recipe, discriminator=DiscriminatorRecipe(), train=train)


def _open_work(path: Path, recipe: Recipe, people: People, options: PretrainOptions) -> TrainingRun:
    """The run folder of the work, new or as it was left."""
    known = {"recipe": recipe.to_json(), "seed": options.seed, "people": people.count, "faces": len(people.crops)}
    if not (path / "run.json").is_file():
        manifest = {**known, "options": options.to_json(), "backend": backend_name(), "versions": versions()}
        return TrainingRun.create(path, {**manifest, "finished": None})
    run = TrainingRun.open(path, write=True)
    different = [name for name, value in known.items() if run.manifest[name] != value]
    if different:
        run.close()
        raise RunError(f"{path} was begun with another {', '.join(different)}: name another file with --out OTHER")
    return run


class PeopleLesson:
    """Many people's faces and the networks that learn to swap any of them."""

    def __init__(self, model: GeneralModel, people: People, options: PretrainOptions):
        self.model, self.recipe, self._options = model, model.recipe, options
        held = (people.performance >= 0) & (people.performance % HELD_BACK == HELD_BACK - 1)
        self._people = people.of(~held)
        self._partners = find_partners(self._people)
        self._crops = resident(self._people.crops)
        self._judged, self._wanted = self._hold_back(people.of(held) if held.any() else people)
        self._errors = compile_inference(picture_errors)

    def _hold_back(self, people: People) -> tuple[list[Any], list[NDArray[np.int32]]]:
        """Fixed batches of swaps that are never trained on, and who is wanted in each."""
        network = self.recipe.network
        plain = dataclasses.replace(
            self.recipe.train, degrade=0.0, warp=0.0, rotation=0.0, zoom=0.0, shift=0.0, flip=0.0
        )
        partners, crops = find_partners(people), resident(people.crops)
        cut = compile_inference(lambda drawn: tuple(augment.apply(crops, drawn, network)))
        randoms = [augment.generator(0, step, 0) for step in range(-(-JUDGED // plain.batch))]
        drawn = [draw_people(random, people, partners, 1.0, plain, network) for random in randoms]
        return [augment.Batch(*cut(each)) for each in drawn], [each["person"] for each in drawn]

    @property
    def faces_a_step(self) -> int:
        """Faces that a step sees."""
        return 2 * self.recipe.train.batch * (1 + READ_FACES)

    def step(self, step: int, rate: float) -> dict[str, Any]:
        """One update of everything; `rate` multiplies the learning rate."""
        whole = self.recipe.train
        sizes = {"whole": whole, READ: dataclasses.replace(whole, batch=READ_FACES * whole.batch)}
        drawn = {}
        for stream in (0, 1):
            random = augment.generator(self._options.seed, step, stream)
            for name, train in sizes.items():
                drawn[f"{name}_{stream}"] = draw_people(
                    random, self._people, self._partners, self._options.paired, train, self.recipe.network
                )
        return self.model.step(self._crops, drawn, rate, step)

    def figures(self) -> dict[str, float]:
        """Swaps of held-back performances against the true ones inside the face, toneless: `l1`, `ssim`, `score`."""
        rows = []
        for batch, person in zip(self._judged, self._wanted, strict=True):
            made = self.model.swap(batch, person)[..., :3]
            rows.append(np.stack(self._errors(made, batch.target, batch.face), -1))
        l1, structure = np.concatenate(rows).mean(0)
        return {"l1": float(l1) / 2, "ssim": 1 - float(structure), "score": float(l1) * 2 + float(structure)}

    def sentence(self, figures: dict[str, float]) -> str:
        """The figures in half a line."""
        return f"swaps of held-back performances: error {figures['l1']:.4f}, SSIM {figures['ssim']:.3f}"

    def preview(self) -> NDArray[np.uint8]:
        """Three rows of held-back swaps: who went in, what came out, what was wanted; twice."""
        rows = []
        for batch, person in list(zip(self._judged, self._wanted, strict=True))[:2]:
            made = self.model.swap(batch, person)
            for pictures in (batch.warped, made[..., :3], batch.target):
                faces = to_uint8(np.asarray(pictures[:COLUMNS]))
                shown, view = max(SHOWN_SIDE, faces.shape[1]), self.recipe.network.view
                rows.append(np.concatenate([unsqueezed(face, shown, view) for face in faces], 1))
        return np.concatenate(rows, 0)
