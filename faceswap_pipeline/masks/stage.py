"""The masks stage: writes the masks of every face of a dataset.

In: a dataset folder and MaskOptions. Out: the same folder with masks/<kind>/ filled.
"""

from dataclasses import replace
from pathlib import Path

from faceswap_pipeline.dataset import FaceDataset, FaceRecord
from faceswap_pipeline.detection.meanface import MeanFace, load_mean_face
from faceswap_pipeline.geometry import transform_points
from faceswap_pipeline.masks import shapes
from faceswap_pipeline.masks.options import KINDS, Kind, MaskOptions
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.resources import weight_file

FILLED_CONFIDENCE = 0.5
"""Confidence of a mask where the tracker filled a gap, times the usual: there the landmarks are a guess."""


def make_masks(
    dataset: Path, options: MaskOptions, *, redo: bool = False, progress: Progress | None = None
) -> FaceDataset:
    """Make the masks of `options.kind` for every record, also those whose crop was deleted (they are still
    converted).

    Masks that are there stay, unless they were made with another padding or `redo` is set; then all of that kind are
    made again. What is finished survives an interruption, and the next call goes on. Returns the dataset, closed for
    writing. Raises DatasetError when there is no dataset, StorageError when it cannot be written, WeightsError when
    the mean face is missing.
    """
    progress = progress or Progress()
    mean_face = load_mean_face(weight_file("mean_face"))
    opened = FaceDataset.open(dataset)
    again = _kinds_to_redo(opened, options, redo)
    work: list[tuple[Kind, list[FaceRecord]]] = [
        (kind, _records_to_do(opened, kind, kind in again)) for kind in options.kind
    ]
    if not again and not any(records for _, records in work) and "masks" in opened.options:
        progress.note(f"{dataset}: the masks {', '.join(options.kind)} are there; --redo makes them again")
        return opened
    with FaceDataset.open(dataset, write=True) as written:
        if again:
            written.set_options("masks_unfinished", {"kind": sorted(again)})
        written.set_options("masks", _recorded(written, options).to_json())
        total = sum(len(records) for _, records in work)
        with progress.phase("masks", total, "masks") as advance:
            for kind, records in work:
                for record in records:
                    write_landmark_mask(written, mean_face, kind, record, options.padding(kind))
                    advance(1)
        if again:
            written.set_options("masks_unfinished", {"kind": sorted(again - set(options.kind))})
    return written


def write_landmark_mask(
    dataset: FaceDataset, mean_face: MeanFace, kind: Kind, record: FaceRecord, padding: float
) -> None:
    """Make one mask from the record's smoothed landmarks and write it; `padding` in face heights."""
    pose = shapes.crop_pose(record.yaw, record.pitch, dataset.crop_size, dataset.coverage)
    five = transform_points(record.matrix, record.landmarks)
    picture = shapes.mask(kind, mean_face, pose, five, dataset.crop_size, padding)
    confidence = record.score * (FILLED_CONFIDENCE if record.filled else 1.0)
    dataset.write_mask(kind, record, picture, how="landmarks", confidence=confidence)


def _unfinished(dataset: FaceDataset) -> list[str]:
    """Kinds of which an interrupted call was making every mask again, so that old and new lie mixed."""
    return dataset.options.get("masks_unfinished", {}).get("kind", [])


def _kinds_to_redo(dataset: FaceDataset, options: MaskOptions, redo: bool) -> set[str]:
    """The kinds of which every mask is made again."""
    stored = dataset.options.get("masks")
    before = MaskOptions.from_json(stored) if stored else options
    changed = {kind for kind in options.kind if redo or before.padding(kind) != options.padding(kind)}
    return (changed & set(dataset.mask_kinds())) | set(_unfinished(dataset))


def _records_to_do(dataset: FaceDataset, kind: Kind, all_of_them: bool) -> list[FaceRecord]:
    return [record for record in dataset.records if all_of_them or not dataset.has_mask(record, kind)]


def _recorded(dataset: FaceDataset, options: MaskOptions) -> MaskOptions:
    """The options that describe all masks of the dataset once `options.kind` are made: other kinds keep theirs."""
    stored = dataset.options.get("masks")
    if not stored:
        return options
    before = MaskOptions.from_json(stored)
    kept = {
        field: getattr(before, field)
        for kind, field in (("face", "face_padding"), ("eyes", "eye_padding"), ("mouth", "mouth_padding"))
        if kind not in options.kind
    }
    both = tuple(kind for kind in KINDS if kind in options.kind or kind in before.kind)
    return replace(options, kind=both, **kept)
