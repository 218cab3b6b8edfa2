"""Many people's faces in memory, and what is drawn of them for a step of pretraining.

In: folders of rendered faces (`rendered.py`) or datasets, one person each. Out: `People`, and draws for
`augment.apply`: one person's picture as the input, another person's picture of the same performance as the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.meanface import MeanFace
from faceswap_pipeline.errors import DatasetError
from faceswap_pipeline.imaging import grow_mask, margin_size, resize
from faceswap_pipeline.networks.recipe import NetworkRecipe, TrainRecipe
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.train import rendered
from faceswap_pipeline.train.augment import draw_view, draw_warp
from faceswap_pipeline.train.batches import load_faces
from faceswap_pipeline.train.degrade import draw_degradation

EYES, MOUTH = (5, 9), (2, 6)
"""Classes of rendered labels that are eyes and mouth."""
RIM = 0.03
"""How far the eye and mouth masks reach beyond them, share of the crop."""
HELD_BACK = 10
"""Of this many performances one is never trained on."""


@dataclass(frozen=True)
class People:
    """Faces of many people."""

    crops: NDArray[np.uint8]
    """(N, M, M, 6) colours and the face, eyes and mouth masks."""
    person: NDArray[np.int32]
    """(N,) number of the person, 0 to the count of people less one."""
    performance: NDArray[np.int32]
    """(N,) number of the performance; -1: nobody else played it."""
    performed: NDArray[np.float32]
    """(N, 2, K) what the face does, as seen and in a mirror (`rendered.Faces`); NaN where nobody knows."""
    count: int
    """How many people there are."""

    def of(self, chosen: NDArray[np.bool_]) -> "People":
        """The chosen faces; people keep their numbers."""
        parts = self.crops[chosen], self.person[chosen], self.performance[chosen], self.performed[chosen]
        return People(*parts, self.count)


@dataclass(frozen=True)
class Partners:
    """For each face, the others of its performance."""

    table: NDArray[np.int32]
    """(N, K) indexes, the first `number` of each row count."""
    number: NDArray[np.int32]
    """(N,)."""


def load_people(folders: Sequence[Path], keep_back: int, mean_face: MeanFace, recipe: NetworkRecipe,
                memory_bytes: float, progress: Progress) -> People:  # fmt: skip
    """Everybody in the folders at the size that a recipe trains on.

    A folder with `faces.jsonl` and `labels/` is one of rendered faces, of whom those numbered `keep_back` and above are
    left out; one with `dataset.json` is a dataset and one person. Raises DatasetError for any other.
    """
    parts, number = [], 0
    drawn = [folder for folder in folders if (folder / "labels").is_dir()]
    if drawn:
        faces = rendered.read_faces(*drawn)
        parts.append(cut_rendered(faces[faces.people < keep_back], mean_face, recipe, progress))
        number = parts[0].count
    for folder in folders:
        if folder in drawn:
            continue
        if not (folder / "dataset.json").is_file():
            raise DatasetError(
                f"{folder} holds no people: expected a folder of rendered faces (images/, labels/, faces.jsonl) or a "
                f"dataset made by `swap extract`"
            )
        with FaceDataset.open(folder) as dataset:
            crops = load_faces(dataset, recipe, memory_bytes, progress).train
        count, known = len(crops), parts[0].performed.shape[2] if drawn else 0
        unknown = np.full((count, 2, known), np.nan, np.float32)
        parts.append(People(crops, np.full(count, number, np.int32), np.full(count, -1, np.int32), unknown, 0))
        number += 1
    fields = ("crops", "person", "performance", "performed")
    crops, person, performance, performed = (np.concatenate([getattr(part, name) for part in parts]) for name in fields)
    return People(crops, person, performance, performed, number)


def cut_rendered(faces: rendered.Faces, mean_face: MeanFace, recipe: NetworkRecipe, progress: Progress) -> People:
    """Rendered faces cut as the pipeline cuts its crops, with masks from their labels."""
    width, height = margin_size(recipe.resolution, recipe.view)
    side = max(width, height)
    matrices = rendered.draw_matrices(mean_face, faces.landmarks, side, None)
    crops = np.empty((len(faces), height, width, 6), np.uint8)
    with progress.phase("cutting rendered faces", len(faces), "faces") as advance:
        for index, matrix in enumerate(matrices):
            sample = rendered.cut(faces, index, matrix, side)
            masks = [
                np.isin(sample.label, group).astype(np.uint8) * 255 for group in (rendered.INNER_FACE, EYES, MOUTH)
            ]
            masks[1:] = [grow_mask(mask, round(RIM * side)) for mask in masks[1:]]
            parts = sample.picture, np.stack(masks, -1)
            crops[index] = np.concatenate([resize(part, (width, height)) for part in parts], -1)
            advance(1)
    names, person = np.unique(faces.people, return_inverse=True)
    return People(crops, person.astype(np.int32), faces.performances.astype(np.int32), faces.performed, len(names))


def find_partners(people: People) -> Partners:
    """Who else played each face's performance."""
    rows: list[list[int]] = [[] for _ in people.person]
    for performance in np.unique(people.performance[people.performance >= 0]):
        members = np.nonzero(people.performance == performance)[0]
        for member in members:
            rows[member] = [int(other) for other in members if people.person[other] != people.person[member]]
    width = max([1, *map(len, rows)])
    table = np.array([row + [0] * (width - len(row)) for row in rows], np.int32)
    return Partners(table, np.array([len(row) for row in rows], np.int32))


def draw_people(
    random: np.random.Generator,
    people: People,
    partners: Partners,
    paired: float,
    recipe: TrainRecipe,
    network: NetworkRecipe,
) -> dict[str, NDArray]:
    """The random choices for a batch, as `augment.draw` gives them, with `target` and `person` (B,) of the target, and
    `performed` (B, K) with `known` (B, 1), 0 where nobody knows it.

    A share `paired` of the batch are pairs: two people of one performance in the same view, each the other's target.
    `twin` (B,) is each face's partner in the batch, itself where it has none: the rest are their own target, warped.
    """
    count = recipe.batch
    with_others = np.nonzero(partners.number)[0]
    pairs = round(paired * count / 2) if len(with_others) else 0
    first = with_others[random.integers(len(with_others), size=pairs)] if pairs else np.zeros(0, int)
    second = partners.table[first, (random.random(pairs) * partners.number[first]).astype(int)]
    alone = random.integers(len(people.person), size=count - 2 * pairs)
    index, target = np.concatenate([first, second, alone]), np.concatenate([second, first, alone])
    twin = np.concatenate([np.arange(pairs) + pairs, np.arange(pairs), np.arange(2 * pairs, count)])
    matrix = draw_view(random, count, recipe, network)
    matrix[pairs : 2 * pairs] = matrix[:pairs]
    mirrored = (np.linalg.det(matrix[:, :, :2]) < 0).astype(np.int32)
    performed = people.performed[index, mirrored]
    return {
        "index": index.astype(np.int32),
        "target": target.astype(np.int32),
        "person": people.person[target],
        "twin": twin.astype(np.int32),
        "performed": np.nan_to_num(performed),
        "known": np.asarray(np.isfinite(performed).all(1, keepdims=True), np.float32),
        "matrix": matrix,
        "displacement": draw_warp(random, count, recipe.warp * network.resolution),
        "gain": np.ones((count, 3), np.float32),
        "offset": np.zeros((count, 3), np.float32),
        "mix": np.ones(count, np.float32),
        **(draw_degradation(random, count, recipe, network.resolution) if recipe.degrade else {}),
    }
