"""The masks stage on a small made dataset: what is written, kept, redone and resumed.

In: a dataset made here. Out: nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset, FaceRecord, FrameRow, Source
from faceswap_pipeline.detection.alignment import crop_matrix
from faceswap_pipeline.detection.meanface import MeanFace, Pose, load_mean_face, project
from faceswap_pipeline.errors import DatasetError
from faceswap_pipeline.masks.options import KINDS, MaskOptions
from faceswap_pipeline.masks.stage import make_masks
from faceswap_pipeline.progress import Advance, Progress
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.video.info import ColorTags, VideoInfo

SIZE, COVERAGE, FACES = 64, 1.56, 4


@pytest.fixture(scope="module")
def face() -> MeanFace:
    return load_mean_face(weight_file("mean_face"))


@pytest.fixture
def folder(tmp_path: Path, face: MeanFace) -> Path:
    """A finished dataset of faces turning from left to right, without masks; the parser finds none in its pictures."""
    info = VideoInfo(640, 360, Fraction(25), Fraction(1), 0, Fraction(1), "yuv420p", None, ColorTags(), ())
    source = Source("clip.mp4", "ab" * 32, info)
    path = tmp_path / "faces_a"
    with FaceDataset.create(path, [source], SIZE, "mean-face-1", COVERAGE, {}) as dataset:
        for frame in range(FACES):
            pose = Pose(20.0 * frame - 30, 5.0, 12.0, 120.0, 300.0, 180.0)
            five = project(face.five, pose)
            noise = np.random.default_rng(frame).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            dataset.append(record_of(frame, pose, five), noise)
        dataset.finish([FrameRow(0, frame, Fraction(frame, 25), 1, "") for frame in range(FACES)])
    return path


def record_of(frame: int, pose: Pose, five: np.ndarray) -> FaceRecord:
    return FaceRecord(
        source=0,
        frame=frame,
        pts=Fraction(frame, 25),
        track=0,
        person=0,
        filled=frame == 1,
        box=np.array([240, 100, 360, 260]),
        landmarks_raw=five,
        landmarks=five,
        score=0.9,
        yaw=float(pose.yaw),
        pitch=float(pose.pitch),
        roll=float(pose.roll),
        sharpness=100.0,
        marks=(),
        use_for_training=True,
        matrix=crop_matrix(pose, SIZE, COVERAGE),
    )


class Recorder(Progress):
    """Counts the work and keeps the notes; `stop_after` plays Ctrl-C."""

    def __init__(self, stop_after: float = np.inf) -> None:
        self.done, self.total, self.notes, self.stop_after = 0.0, 0.0, [], stop_after

    @contextmanager
    def phase(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        self.total = total or 0

        def advance(amount: float) -> None:
            self.done += amount
            if self.done >= self.stop_after:
                raise KeyboardInterrupt

        yield advance

    def note(self, text: str) -> None:
        self.notes.append(text)


def pixels(path: Path) -> dict[tuple[str, str], bytes]:
    dataset = FaceDataset.open(path)
    return {
        (kind, record.name): dataset.mask(record, kind).tobytes()
        for kind in dataset.mask_kinds()
        for record in dataset.records
        if dataset.has_mask(record, kind)
    }


def test_every_record_gets_every_kind(folder: Path) -> None:
    dataset = make_masks(folder, MaskOptions())
    assert dataset.mask_kinds() == sorted(KINDS)
    for record in dataset.records:
        face, eyes, mouth = (dataset.mask(record, kind) for kind in KINDS)
        assert {0, 255} == set(np.unique(face)) and face[SIZE // 2, SIZE // 2] == 255
        assert 0.15 < (face > 0).mean() < 0.5
        assert (eyes > 0).any() and (mouth > 0).any() and not ((eyes > 0) & (mouth > 0)).any()
    made = dataset.mask_made("face")
    assert {entry.how for entry in made.values()} == {"landmarks"}
    filled, measured = made[dataset.records[1].name], made[dataset.records[0].name]
    assert filled.confidence < measured.confidence == pytest.approx(0.9)
    assert dataset.options["masks"] == MaskOptions().to_json()


def test_the_mask_lies_where_the_face_is_in_the_crop(folder: Path, face: MeanFace) -> None:
    dataset = make_masks(folder, MaskOptions(kind=("mouth",)))
    for record in dataset.records:
        corners = record.landmarks[3:] @ record.matrix[:, :2].T + record.matrix[:, 2]
        mask = dataset.mask(record, "mouth") > 0
        inside = np.rint(corners).astype(int)
        assert mask[inside[:, 1], inside[:, 0]].all()
        rows, columns = np.nonzero(mask)
        assert abs(columns.mean() - corners[:, 0].mean()) < 4 and rows.mean() > corners[:, 1].mean() - 1


def test_a_second_call_does_nothing_and_says_so(folder: Path) -> None:
    make_masks(folder, MaskOptions())
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    progress = Recorder()
    make_masks(folder, MaskOptions(), progress=progress)
    assert progress.done == 0 and "--redo" in progress.notes[0]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == stamps


def test_one_kind_is_redone_alone(folder: Path) -> None:
    make_masks(folder, MaskOptions())
    before, progress = pixels(folder), Recorder()
    make_masks(folder, MaskOptions(kind=("face",), face_padding=0.1, eye_padding=0.09), progress=progress)
    after = pixels(folder)
    assert progress.done == FACES
    assert all((before[key] == after[key]) == (key[0] != "face") for key in before)
    recorded = MaskOptions.from_json(FaceDataset.open(folder).options["masks"])
    assert recorded == MaskOptions(face_padding=0.1), "the eyes were not made with the padding named beside the face's"


def test_redo_makes_damaged_masks_again(folder: Path) -> None:
    make_masks(folder, MaskOptions())
    before = pixels(folder)
    dataset = FaceDataset.open(folder)
    (folder / "masks" / "eyes" / f"{dataset.records[2].name}.png").write_bytes(b"")
    make_masks(folder, MaskOptions(kind=("eyes",)), redo=True)
    assert pixels(folder) == before


def test_an_interrupted_call_goes_on_where_it_stopped(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_masks(folder, MaskOptions(), progress=Recorder(stop_after=3))
    assert len(pixels(folder)) == 3 * len(KINDS)
    progress = Recorder()
    make_masks(folder, MaskOptions(), progress=progress)
    assert progress.done == progress.total == FACES - 3
    assert len(pixels(folder)) == len(KINDS) * FACES


def test_an_interrupted_redo_leaves_no_mixture(folder: Path) -> None:
    make_masks(folder, MaskOptions())
    wide = replace(MaskOptions(), face_padding=0.15)
    with pytest.raises(KeyboardInterrupt):
        make_masks(folder, wide, progress=Recorder(stop_after=2))
    make_masks(folder, wide)
    mixed = pixels(folder)
    make_masks(folder, wide, redo=True)
    assert pixels(folder) == mixed
    assert FaceDataset.open(folder).options["masks_unfinished"] == {"kind": []}


def test_going_back_after_an_interrupted_redo_leaves_no_mixture_either(folder: Path) -> None:
    make_masks(folder, MaskOptions())
    before = pixels(folder)
    with pytest.raises(KeyboardInterrupt):
        make_masks(folder, replace(MaskOptions(), mouth_padding=0.09), progress=Recorder(stop_after=3))
    make_masks(folder, MaskOptions())
    assert pixels(folder) == before


def test_a_face_whose_crop_was_deleted_still_gets_its_masks(folder: Path) -> None:
    dataset = FaceDataset.open(folder)
    (folder / "crops" / f"{dataset.records[0].name}.png").unlink()
    again = make_masks(folder, MaskOptions())
    assert all(again.has_mask(again.records[0], kind) for kind in KINDS)


def test_no_dataset_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        make_masks(tmp_path / "nowhere", MaskOptions())
