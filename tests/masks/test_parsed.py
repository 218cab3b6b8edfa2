"""Masks by the shipped parser on rendered people: what it finds, leaves out and leaves to the landmarks.

In: a few frames of the shipped true swap and its matte. Out: nothing.
"""

import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.extract.stage import extract_faces
from faceswap_pipeline.imaging import warp
from faceswap_pipeline.masks import stage
from faceswap_pipeline.masks.options import KINDS, PARSED_KINDS, MaskOptions
from faceswap_pipeline.masks.stage import make_masks, masks_beside
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.images import write_png
from faceswap_pipeline.video.reader import read_frames

SHOWN = (0, 150, 300)
"""Frames of the clip that are looked at."""


@pytest.fixture(scope="module")
def mattes() -> dict[int, np.ndarray]:
    """The true face of each frame, bool."""
    frames = read_frames(examples_pair() / "truth_mask.mp4", stop=SHOWN[-1] + 1)
    return {SHOWN.index(frame.index): frame.rgb[..., 0] > 127 for frame in frames if frame.index in SHOWN}


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """A dataset of three frames of a person whom the parser never saw, without masks."""
    pictures = tmp_path_factory.mktemp("pictures")
    for frame in read_frames(examples_pair() / "truth.mp4", stop=SHOWN[-1] + 1):
        if frame.index in SHOWN:
            write_png(pictures / f"{frame.index:03d}.png", frame.rgb)
    return extract_faces([pictures], tmp_path_factory.mktemp("made") / "faces", ExtractOptions()).path


@pytest.fixture
def folder(faces: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(faces, tmp_path / "faces"))


def overlap(mask: np.ndarray, true: np.ndarray) -> float:
    return float((mask & true).sum() / (mask | true).sum())


def test_the_face_is_found_to_its_border(folder: Path, mattes: dict[int, np.ndarray]) -> None:
    dataset = make_masks(folder, MaskOptions())
    assert {entry.how for entry in dataset.mask_made("face").values()} == {"parser"}
    for record in dataset.records:
        true = warp(mattes[record.frame].astype(np.uint8) * 255, record.matrix, (256, 256), "linear", "zero") > 127
        assert overlap(dataset.mask(record, "face") > 0, true) > 0.93


def test_what_stands_before_a_face_is_left_out(folder: Path) -> None:
    dataset = FaceDataset.open(folder)
    record = dataset.records[0]
    crop = dataset.crop(record)
    crop[110:135] = 110
    path = folder / "crops" / f"{record.name}.png"
    write_png(path, crop)
    dataset = make_masks(folder, MaskOptions(kind=("face",)))
    mask = dataset.mask(record, "face") > 0
    assert mask[113:132].mean() < 0.1 * mask[80:105].mean() and mask[140:160].mean() > 0.3


def test_kinds_that_only_the_parser_knows_lie_where_they_should(folder: Path) -> None:
    dataset = make_masks(folder, MaskOptions(kind=(*KINDS, *PARSED_KINDS)))
    for record in dataset.records:
        face, head, hair = (dataset.mask(record, kind) > 0 for kind in ("face", "head", "hair"))
        assert head.sum() > face.sum() and (face & head).sum() > 0.95 * face.sum()
        assert hair.any() and (face & hair).sum() < 0.02 * face.sum()


def test_an_unsure_parser_leaves_the_face_to_its_landmarks(folder: Path) -> None:
    dataset = make_masks(folder, MaskOptions(least_confidence=1.0))
    assert {entry.how for entry in dataset.mask_made("face").values()} == {"landmarks"}
    before = {record.name: dataset.mask(record, "face") for record in dataset.records}
    again = make_masks(folder, MaskOptions())
    assert {entry.how for entry in again.mask_made("face").values()} == {"parser"}, "another threshold makes them again"
    assert any((again.mask(record, "face") != before[record.name]).any() for record in again.records)


def test_a_face_without_its_crop_keeps_to_the_landmarks(folder: Path) -> None:
    dataset = FaceDataset.open(folder)
    name = dataset.records[1].name
    (folder / "crops" / f"{name}.png").unlink()
    made = make_masks(folder, MaskOptions(method="parser", kind=("face", "hair")))
    assert made.mask_made("face")[name].how == "landmarks"
    assert not made.has_mask(made.records[1], "hair") and made.has_mask(made.records[0], "hair")


def all_masks(dataset: FaceDataset) -> dict[str, tuple[bytes, object]]:
    return {
        f"{kind} {record.name}": (dataset.mask(record, kind).tobytes(), dataset.mask_made(kind)[record.name])
        for kind in dataset.mask_kinds()
        for record in dataset.records
    }


@pytest.mark.parametrize("method", ["auto", "landmarks"])
@pytest.mark.parametrize("stopped", [False, True])
def test_masks_made_while_faces_are_cut_are_those_made_afterwards(folder, tmp_path, monkeypatch, method, stopped):
    monkeypatch.setattr(stage, "BATCH", 1)
    options = MaskOptions(method=method)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with pytest.raises(KeyboardInterrupt) if stopped else nullcontext():
        with FaceDataset.open(other, write=True) as dataset, masks_beside(dataset, options) as add:
            for number, record in enumerate(dataset.records):
                if stopped and number == 1:
                    raise KeyboardInterrupt
                add(record, dataset.crop(record))
    beside = make_masks(other, options) if stopped else FaceDataset.open(other)
    assert beside.mask_kinds() == sorted(KINDS)
    afterwards = make_masks(folder, options)
    assert all_masks(beside) == all_masks(afterwards) and beside.options["masks"] == afterwards.options["masks"]
