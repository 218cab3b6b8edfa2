"""Faces in memory: which are trained on, which are held out, and how often each is drawn.

In: a `FaceDataset`. Out: resident arrays `uint8 (N, M, M, 6)`, colours and the face, eyes and mouth masks, at the
recipe's size plus the margin that turning and shifting need.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import DatasetError, NoFaceError
from faceswap_pipeline.imaging import margin_size, mouth_height, resize
from faceswap_pipeline.networks.recipe import NetworkRecipe
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.train.augment import Statistics

FEWEST_FACES = 32
"""Training on fewer faces than this learns the pictures, not the person."""
MASK_KINDS = ("face", "eyes", "mouth")
HELD_OUT_SHARE = 0.1
HELD_OUT_GAP = 1.0
"""Seconds next to a held-out block that are left out of training, since neighbours look alike."""
POSE_BIN = 5.0
"""Side of the yaw and pitch bins that are balanced, degrees."""
MOUTH_BIN = 0.02
"""The same for how high a mouth is, share of the face's height: who speaks has it shut in most pictures."""


@dataclass(frozen=True)
class Faces:
    """One person's faces."""

    train: NDArray[np.uint8]
    """(N, H, W, 6)."""
    held_out: NDArray[np.uint8]
    """(V, H, W, 6), never trained on."""
    statistics: Statistics
    """Of the faces in `train`."""


def load_faces(dataset: FaceDataset, recipe: NetworkRecipe, memory_bytes: float, progress: Progress) -> Faces:
    """The faces of a dataset that training may use, in memory, the held-out ones apart.

    Takes the sharpest ones only when all would need more than `memory_bytes`, and says so. Raises as `usable_records`.
    """
    records = usable_records(dataset)
    size = margin_size(recipe.resolution, recipe.view)
    most = max(FEWEST_FACES, int(memory_bytes // (size[0] * size[1] * 6)))
    if len(records) > most:
        progress.note(
            f"{dataset.path}: {len(records)} faces do not fit in a quarter of the memory: the {most} sharpest"
        )
        best = sorted(sorted(records, key=lambda record: -record.sharpness)[:most], key=lambda r: (r.source, r.frame))
        records = best
    train, held_out = split(records)
    arrays = np.empty((len(records), *size[::-1], 6), np.uint8)
    with progress.phase(f"loading {dataset.path.name}", len(records), "faces") as advance:
        for row, record in enumerate(records):
            arrays[row] = _face(dataset, record, size)
            advance(1)
    likely = chances([records[i] for i in train], arrays[train])
    return Faces(arrays[train], arrays[held_out], statistics(arrays[train], likely))


def usable_records(dataset: FaceDataset) -> list[FaceRecord]:
    """The faces that training may use.

    Raises NoFaceError when there are too few, DatasetError when masks are missing.
    """
    records = [record for record in dataset.training_records() if _has_masks(dataset, record)]
    if not records and dataset.training_records():
        raise DatasetError(f"{dataset.path} has no masks: make them with `swap masks {dataset.path}`")
    if len(records) < FEWEST_FACES:
        raise NoFaceError(
            f"{dataset.path} has {len(records)} faces to train on, expected at least {FEWEST_FACES} (some hundreds are "
            f"good): film longer, or take several clips: `swap extract clip1.mp4 clip2.mp4 --out {dataset.path} --redo`"
        )
    return records


def split(records: Sequence[FaceRecord]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indexes to train on and indexes to hold out.

    Whole shots (tracks) are held out where there are at least five, about a tenth of the faces; otherwise one block of
    a tenth of the time with a second's gap on both sides; a handful of pictures without a time: every tenth.
    """
    tracks = np.array([record.track for record in records])
    names, counts = np.unique(tracks, return_counts=True)
    wanted = max(1, round(len(records) * HELD_OUT_SHARE))
    every = np.arange(len(records))
    if len(names) >= 5 and counts.min() <= 2 * wanted:
        order = names[np.argsort(np.abs(counts - min(wanted, np.median(counts))), kind="stable")]
        held: list[int] = []
        for name in order:
            size = int((tracks == name).sum())
            if len(held) < wanted and len(held) + size <= 2 * wanted:
                held += every[tracks == name].tolist()
        return np.setdiff1d(every, held), np.array(sorted(held))
    times = np.array([float(record.pts) for record in records])
    low, high = np.quantile(times, [0.55, 0.55 + HELD_OUT_SHARE])
    inside = (times >= low) & (times <= high)
    near = (times >= low - HELD_OUT_GAP) & (times <= high + HELD_OUT_GAP)
    if high - low > HELD_OUT_GAP / 5 and (~near).sum() >= len(records) // 2:
        return every[~near], every[inside]
    return every[every % 10 != 5], every[every % 10 == 5]


def chances(records: Sequence[FaceRecord], faces: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How likely each face is drawn, (N,), sums to 1: the roots of how rare its pose and its mouth's height are.

    `faces` (N, H, W, 6) are those of `records`.
    """
    poses = [(record.yaw // POSE_BIN, record.pitch // POSE_BIN) for record in records]
    rarity = _rarity(np.array(poses)) * _rarity(
        np.rint(mouth_height(faces[..., 5], faces[..., 3]) / MOUTH_BIN)[:, None]
    )
    return rarity / rarity.sum()


def _rarity(bins: NDArray) -> NDArray[np.float64]:
    """For each row of `bins` (N, K), one over the root of how many are like it, (N,)."""
    _, index, counts = np.unique(bins, axis=0, return_inverse=True, return_counts=True)
    return 1 / np.sqrt(counts[index.ravel()])


def statistics(faces: NDArray[np.uint8], chances: NDArray[np.float64]) -> Statistics:
    """Mean and deviation of each face's colours inside its face mask, for colour transfer."""
    means, deviations = np.zeros((len(faces), 3), np.float32), np.ones((len(faces), 3), np.float32)
    for row, face in enumerate(faces):
        inside = face[..., :3][face[..., 3] > 127].astype(np.float32) / 127.5 - 1
        if len(inside):
            means[row], deviations[row] = inside.mean(0), inside.std(0)
    return Statistics(means, deviations, chances)


def _has_masks(dataset: FaceDataset, record: FaceRecord) -> bool:
    return all(dataset.has_mask(record, kind) for kind in MASK_KINDS)


def _face(dataset: FaceDataset, record: FaceRecord, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One face with its masks at the margin size (width, height), (H, W, 6)."""
    masks = np.stack([dataset.mask(record, kind) for kind in MASK_KINDS], -1)
    return np.concatenate([resize(dataset.crop(record), size), resize(masks, size)], -1)
