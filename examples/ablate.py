"""What is each part of a recipe worth? Trains variants of it for equal steps on one pair and prints a table.

    python examples/ablate.py faces_a faces_b --truth truth.mp4 --steps 1500 --seeds 1 2 [--only "no attention" ...]

Figures inside A's face mask at the network's size, dB: `own`, A as A; `back`, A as B and that as A again, against A:
what a swap loses or leaks; `truth`, A as B against the true swap, tone of each channel fitted (with --truth, a clip
that equals A's but for the face). Own faces can look fine where swaps do not, so look at the last two.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.backend import share_cores
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.imaging import Image, network_view, to_float, to_uint8, warp
from faceswap_pipeline.machine import memory_bytes
from faceswap_pipeline.networks.recipe import Recipe, load_recipe
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.train.augment import Batch
from faceswap_pipeline.train.batches import load_faces
from faceswap_pipeline.train.gradients import Adam, clipped, gradients
from faceswap_pipeline.train.model import PERSONS, SwapModel, trainable
from faceswap_pipeline.train.stage import SwapLesson, usual_tone
from faceswap_pipeline.video.reader import read_frames

TWO_OPTIMIZERS = "the encoder stepped twice, by two optimizers"
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "whole crop seen": {"network.face_only": False},
    "tone kept": {"network.tone_free": False},
    "tone kept, colours augmented": {
        "network.tone_free": False,
        "train.color_transfer": 0.5,
        "train.color_jitter": 0.05,
    },
    "no attention": {"network.attention_encoder": (), "network.attention_decoder": ()},
    "adversarial from the middle": {"train.adversarial_from": -0.5},
    "surroundings count as the face": {"loss.outside": 1.0},
    "eyes and mouth count as the rest": {"loss.eyes": 0.0, "loss.mouth": 0.0},
    "eyes and mouth count more": {"loss.eyes": 10.0, "loss.mouth": 6.0},
    "no warp": {"train.warp": 0.0},
    "warp 6 %": {"train.warp": 0.06},
    "no moving average": {"train.average": 0.0},
    "inputs degraded": {"train.degrade": 0.3},
    "own map left out": {"network.own_map": False},
    TWO_OPTIMIZERS: {},
}
"""Name -> changed fields of the recipe; a negative `adversarial_from` is a share of the steps."""
FACES = 120
"""Faces of A that are judged, evenly spread over the clip."""


def main() -> None:
    """Train every variant with every seed, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--recipe", default="lite64")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    arguments = parser.parse_args()
    share_cores()
    recipe, truth = load_recipe(arguments.recipe), None
    folders = {"a": arguments.a, "b": arguments.b}
    faces = {}
    for person in PERSONS:
        with FaceDataset.open(folders[person]) as dataset:
            faces[person] = load_faces(dataset, recipe.network, memory_bytes() / 8, Progress())
    with FaceDataset.open(arguments.a) as dataset:
        views = judged_views(dataset, recipe)
        if arguments.truth:
            truth = true_views(dataset, recipe, arguments.truth)
    if truth is not None:
        print(f"no swap at all: truth {tone_fitted(views[..., :3], truth, views[..., 3]):.2f}")
    print("| variant | seed | own | back | truth |\n| --- | --- | --- | --- | --- |")
    for name in arguments.only:
        for seed in arguments.seeds:
            varied = changed(recipe, VARIANTS[name], arguments.steps)
            kind = TwiceSteppedModel if name == TWO_OPTIMIZERS else SwapModel
            lesson = SwapLesson(kind(varied, seed), faces, seed)
            for step in range(arguments.steps):
                lesson.step(step, min(1.0, (step + 1) / varied.train.warm_up))
            figures = judge(lesson.model, views, truth, faces)
            print(f"| {name} | {seed} | {' | '.join(f'{figure:.2f}' for figure in figures)} |", flush=True)


class TwiceSteppedModel(SwapModel):
    """As published: each person's loss moves encoder and own decoder, under an Adam state of its own."""

    def __init__(self, recipe: Recipe, seed: int):
        """Random weights from `seed`."""
        super().__init__(recipe, seed)
        train = recipe.train
        self._own = {
            person: trainable({name: self.generator[name] for name in ("encoder", f"decoder_{person}")})
            for person in PERSONS
        }
        self._own_optimizers = {p: Adam(self._own[p], train.learning_rate, train.beta_1) for p in PERSONS}

    def variables(self) -> list[Any]:
        """The joint model's, with those of both optimizers."""
        own = getattr(self, "_own_optimizers", {}).values()
        return super().variables() + [variable for optimizer in own for variable in optimizer.variables]

    def update(self, batches: dict[str, Batch], rate: Any, adversarial: bool) -> dict[str, Any]:
        """A person's step after the other's."""
        terms: dict[str, Any] = {}
        for person in PERSONS:

            def loss(person: str = person) -> Any:
                codes = self._encode(batches)
                made = {each: self.generator[f"decoder_{each}"](codes[each].map) for each in PERSONS}
                found = self._generator_terms(batches, made, {})
                own = {name: term for name, term in found.items() if name.endswith(f"_{person}")}
                return sum(own.values()), own

            found_terms, found = gradients(loss, self._own[person], self.variables())
            found, norm = clipped(found, self.recipe.train.clip_norm)
            self._own_optimizers[person].learning_rate.assign(rate * self.recipe.train.learning_rate)
            self._own_optimizers[person].apply(found)
            terms |= {**found_terms, "gradient_norm": norm}
        return terms


def changed(recipe: Recipe, fields: dict[str, Any], steps: int) -> Recipe:
    """The recipe with other values, `table.field` -> value."""
    for key, value in fields.items():
        table, field = key.split(".")
        value = round(-value * steps) if field == "adversarial_from" and value < 0 else value
        recipe = dataclasses.replace(recipe, **{table: dataclasses.replace(getattr(recipe, table), **{field: value})})
    return recipe


def judged_views(dataset: FaceDataset, recipe: Recipe) -> NDArray[np.uint8]:
    """A's faces as the network sees them, with the face mask, (N, R, R, 6)."""
    size, view = recipe.network.resolution, recipe.network.view
    views = []
    for record in _spread(dataset):
        mask = network_view(dataset.mask(record, "face"), size, view)
        views.append(np.dstack([network_view(dataset.crop(record), size, view), mask, mask * 0, mask * 0]))
    return np.stack(views)


def true_views(dataset: FaceDataset, recipe: Recipe, clip: Path) -> NDArray[np.uint8]:
    """The same places of the true swap, (N, R, R, 3)."""
    wanted = {record.frame: record for record in _spread(dataset)}
    size = (dataset.crop_size, dataset.crop_size)
    found = {}
    for frame in read_frames(clip):
        if frame.index in wanted:
            crop = warp(frame.rgb, wanted[frame.index].matrix, size)
            found[frame.index] = network_view(crop, recipe.network.resolution, recipe.network.view)
    return np.stack([found[index] for index in wanted])


def judge(model: SwapModel, views: NDArray[np.uint8], truth: NDArray[np.uint8] | None, faces: Any) -> list[float]:
    """`own`, `back` and, where it is known, `truth`."""
    mask = views[..., 3]
    swapped = made(model.swap(views, "a", "b", usual_tone(faces["b"])))
    back = made(model.swap(np.concatenate([swapped, views[..., 3:]], -1), "b", "a"))
    figures = [
        tone_fitted(made(model.swap(views, "a", "a")), views[..., :3], mask),
        tone_fitted(back, views[..., :3], mask),
    ]
    return figures + ([] if truth is None else [tone_fitted(swapped, truth, mask)])


def made(output: NDArray[np.float32]) -> Image:
    """The pictures of a network's output."""
    return to_uint8(output[..., :3])


def tone_fitted(pictures: NDArray[np.uint8], wanted: NDArray[np.uint8], masks: NDArray[np.uint8]) -> float:
    """PSNR inside the masks in dB after each picture's channels were brought to the wanted mean and deviation."""
    errors = []
    for picture, target, mask in zip(to_float(pictures), to_float(wanted), masks, strict=True):
        if (mask > 127).sum() < 50:
            continue
        one, other = picture[mask > 127], target[mask > 127]
        scale = other.std(0) / np.maximum(one.std(0), 1e-3)
        errors.append((((one - one.mean(0)) * scale + other.mean(0) - other) ** 2).mean())
    return float(10 * np.log10(4 / np.mean(errors)))


def _spread(dataset: FaceDataset) -> list[Any]:
    return dataset.records[:: max(1, len(dataset.records) // FACES)]


if __name__ == "__main__":
    main()
