"""Extraction end to end on short clips of the rendered pair."""

import hashlib
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.tracking import Track
from faceswap_pipeline.errors import DatasetError, NoFaceError, OptionError, VideoError
from faceswap_pipeline.extract import scan, stage
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.extract.stage import extract_faces
from faceswap_pipeline.geometry import invert_matrix, transform_points
from faceswap_pipeline.imaging import warp
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.video.images import write_png
from faceswap_pipeline.video.reader import read_frames

from .conftest import FRAMES, wall, write_clip

OPTIONS = ExtractOptions(size=96, min_face=0.2)


class Notes(Progress):
    """Keeps what it is told; stops the work as Ctrl-C would once `stop_after` of a phase is done."""

    def __init__(self, phase: str = "", stop_after: int = 0) -> None:
        self.notes: list[str] = []
        self.advanced: dict[str, float] = {}
        self._stop = (phase, stop_after)

    @contextmanager
    def phase(self, name, total, unit):
        def advance(amount: float) -> None:
            self.advanced[name] = self.advanced.get(name, 0) + amount
            if self._stop[0] and self._stop[0] in name and self.advanced[name] >= self._stop[1]:
                raise KeyboardInterrupt

        yield advance

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory) -> dict:
    """The dataset, made by the first test that asks: the shared detector is there only while a test runs."""
    return {"out": tmp_path_factory.mktemp("faces") / "faces_film"}


@pytest.fixture
def dataset(clip, made, share_detector) -> FaceDataset:
    if "dataset" not in made:
        made["dataset"] = extract_faces([clip], made["out"], OPTIONS)
    return made["dataset"]


def test_the_person_seen_longest_is_cut_out_of_every_frame(dataset):
    assert dataset.state == "done"
    expected = [*range(FRAMES), *range(FRAMES + 8, 2 * FRAMES + 8)]
    assert [record.frame for record in dataset.records] == expected
    assert {record.person for record in dataset.records} == {0}
    assert len({record.track for record in dataset.records}) == 2, "a cut ends a track"
    assert (dataset.path / "people.jpg").exists() and not (dataset.path / "work").exists()
    assert "faces to learn from" in (dataset.path / "report.html").read_text("utf-8")


def test_every_frame_has_its_reason(dataset):
    rows = dataset.frame_rows()
    assert [row.frame for row in rows] == list(range(3 * FRAMES + 8))
    reasons = [row.reason for row in rows]
    assert set(reasons[FRAMES : FRAMES + 8]) == {"no face"}
    assert set(reasons[2 * FRAMES + 8 :]) == {"other person"}
    assert [row.faces for row in rows][:FRAMES] == [1] * FRAMES


def test_crop_matrix_landmarks_and_frame_agree(dataset, clip):
    record = dataset.records[5]
    (frame,) = read_frames(clip, start=record.frame, stop=record.frame + 1)
    apart = np.abs(dataset.crop(record).astype(int) - warp(frame.rgb, record.matrix, (96, 96)))
    assert apart.max() <= 6 and apart.mean() < 0.7, "RGB of what is shrunk is made at half the size"
    eyes_in_crop = transform_points(record.matrix, record.landmarks)[:2]
    assert abs(eyes_in_crop[0, 1] - eyes_in_crop[1, 1]) < 3, "upright"
    middle = transform_points(invert_matrix(record.matrix), [47.5, 47.5])
    assert record.box[0] < middle[0] < record.box[2] and record.box[1] < middle[1] < record.box[3]
    assert record.pts == frame.pts and record.score > 0.9


def test_running_again_does_nothing(dataset, clip):
    notes = Notes()
    again = extract_faces([clip], dataset.path, OPTIONS, progress=notes)
    assert len(again) == len(dataset) and notes.advanced == {}
    assert "finished already" in notes.notes[0]


def test_other_options_or_inputs_are_refused_and_named(dataset, clip, people_frames, tmp_path):
    with pytest.raises(DatasetError, match=r"--size: 128, was 96.*--out.*--redo"):
        extract_faces([clip], dataset.path, ExtractOptions(size=128, min_face=0.2))
    other = write_clip(tmp_path / "other.mp4", people_frames["b"][:4])
    with pytest.raises(DatasetError, match=r"other\.mp4, was .*film\.mp4"):
        extract_faces([other], dataset.path, OPTIONS)
    FaceDataset.open(dataset.path, write=True).close()  # the lock was given back


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a dataset but its header, whose paths and locks differ."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(("phase", "after"), [("finding", 12), ("finding", 24)])
def test_a_stopped_run_knows_the_frames_that_were_not_looked_at(clip, tmp_path, monkeypatch, phase, after):
    monkeypatch.setattr(scan, "SEGMENT", 5)
    for number, options in enumerate(
        (ExtractOptions(size=96, min_face=0.2, every=2), ExtractOptions(size=96, min_face=0.2, start="0.2", end="1.6"))
    ):
        whole = extract_faces([clip], tmp_path / f"whole{number}", options)
        with pytest.raises(KeyboardInterrupt):
            extract_faces([clip], tmp_path / f"stopped{number}", options, progress=Notes(phase, after))
        resumed = extract_faces([clip], tmp_path / f"stopped{number}", options)
        assert contents(resumed.path) == contents(whole.path)
        assert [row.frame for row in resumed.frame_rows()] == list(range(3 * FRAMES + 8))


@pytest.mark.parametrize(
    ("phase", "after"), [("finding", 3), ("finding", 27), ("finding", 55), ("cutting", 5), ("cutting", 25)]
)
def test_a_stopped_run_goes_on_to_the_same_result(clip, made, tmp_path, monkeypatch, phase, after):
    monkeypatch.setattr(scan, "SEGMENT", 10)
    if "in tens" not in made:
        made["in tens"] = extract_faces([clip], tmp_path / "whole", OPTIONS)
    whole = made["in tens"]
    with pytest.raises(KeyboardInterrupt):
        extract_faces([clip], tmp_path / "stopped", OPTIONS, progress=Notes(phase, after))
    assert FaceDataset.open(tmp_path / "stopped").state == "extracting"
    notes = Notes()
    extract_faces([clip], tmp_path / "stopped", OPTIONS, progress=notes)
    assert contents(tmp_path / "stopped") == contents(whole.path)
    cut_before = after if phase == "cutting" else 0
    assert notes.advanced["cutting faces"] == 2 * FRAMES - cut_before, "finished work is not done again"


def test_redo_keeps_the_old_folder(clip, people_frames, tmp_path):
    short = write_clip(tmp_path / "short.mp4", people_frames["a"][:6])
    out = tmp_path / "faces"
    extract_faces([short], out, OPTIONS)
    notes = Notes()
    extract_faces([short], out, ExtractOptions(size=64, min_face=0.2), redo=True, progress=notes)
    assert FaceDataset.open(tmp_path / "faces.1").crop_size == 96 and FaceDataset.open(out).crop_size == 64


def test_redo_keeps_the_packed_dataset_too(people_frames, tmp_path):
    short = write_clip(tmp_path / "short.mp4", people_frames["a"][:6])
    out = tmp_path / "faces"
    extract_faces([short], out, OPTIONS).pack(tmp_path / "faces.zip")
    other = ExtractOptions(size=64, min_face=0.2)
    assert extract_faces([short], out, other, redo=True).crop_size == 64
    assert FaceDataset.open(tmp_path / "faces.1").crop_size == 96
    assert FaceDataset.open(tmp_path / "faces.1.zip").crop_size == 96 and not (tmp_path / "faces.zip").exists()


def test_redo_that_cannot_begin_moves_nothing(people_frames, tmp_path):
    short = write_clip(tmp_path / "short.mp4", people_frames["a"][:6])
    extract_faces([short], tmp_path / "faces", OPTIONS)
    for wrong in (ExtractOptions(start="2s", end="1s"), ExtractOptions(person=str(tmp_path / "nobody.jpg"))):
        with pytest.raises(OptionError):
            extract_faces([short], tmp_path / "faces", wrong, redo=True)
    assert len(FaceDataset.open(tmp_path / "faces")) == 6 and not (tmp_path / "faces.1").exists()


def test_an_unknown_person_loses_nothing(clip, tmp_path):
    out = tmp_path / "faces"
    with pytest.raises(OptionError, match=r"--person is 5: expected 0, 1 or all; .*people.jpg .* kept"):
        extract_faces([clip], out, ExtractOptions(size=96, min_face=0.2, person="5"))
    assert (out / "people.jpg").exists()
    notes = Notes()
    b = extract_faces([clip], out, ExtractOptions(size=96, min_face=0.2, person="1", duplicate=0), progress=notes)
    assert b.state == "done" and {record.person for record in b.records} == {1}
    assert b.options["extract"]["person"] == "1"
    assert not any("finding" in phase for phase in notes.advanced), "what was found is taken up"
    with pytest.raises(DatasetError, match="--person: 0, was 1"):
        extract_faces([clip], out, ExtractOptions(size=96, min_face=0.2, person="0", duplicate=0))


def test_persons_by_number_photo_and_all(clip, people_frames, tmp_path):
    b = extract_faces([clip], tmp_path / "one", ExtractOptions(size=96, min_face=0.2, person="1"))
    assert [record.frame for record in b.records] == list(range(2 * FRAMES + 8, 3 * FRAMES + 8))
    write_png(tmp_path / "photo.png", people_frames["b"][3])
    options = ExtractOptions(size=96, min_face=0.2, person=str(tmp_path / "photo.png"))
    assert [r.frame for r in extract_faces([clip], tmp_path / "photo", options).records] == [r.frame for r in b.records]
    everyone = extract_faces([clip], tmp_path / "all", ExtractOptions(size=96, min_face=0.2, person="all"))
    assert {record.person for record in everyone.records} == {0, 1} and len(everyone) == 3 * FRAMES


@pytest.mark.parametrize(
    ("scores", "believed"),
    [
        ([0.99] * 10, True),
        ([0.96, 0.7, 0.75] * 4, True),  # a head in full profile
        ([0.93, 0.8, 0.5] * 4, False),  # a hand that looks like a face at one moment
        ([0.97] + [0.6] * 11, False),
        ([0.99] * 2, False),
    ],
)
def test_what_looks_like_a_face_at_moments_only_is_no_person(scores, believed):
    count = len(scores)
    track = Track(
        0,
        np.arange(count),
        np.zeros((count, 4)),
        np.zeros((count, 5, 2)),
        np.array(scores),
        np.zeros(count, bool),
    )
    film = scan.Scan(0, Fraction(25), False, 100, 100, frames=list(range(100)))
    assert stage._believable(track, film) == believed


def test_nobody_there_is_said_and_leaves_nothing_behind(tmp_path):
    film = write_clip(tmp_path / "wall.mp4", [wall(number) for number in range(6)])
    with pytest.raises(NoFaceError, match=r"no face in the 6 frames .* of 54 px and more.*--min-face"):
        extract_faces([film], tmp_path / "faces", OPTIONS)
    assert not (tmp_path / "faces").exists()


def test_every_start_and_end_choose_frames(clip, tmp_path):
    options = ExtractOptions(size=96, min_face=0.2, every=3, start="0.12", end="0.5s")
    chosen = extract_faces([clip], tmp_path / "faces", options)
    rows = chosen.frame_rows()
    assert [(row.frame, row.pts) for row in rows] == [(i, Fraction(i, 25)) for i in range(3 * FRAMES + 8)]
    reasons = [row.reason for row in rows]
    assert reasons[:3] == ["before --start"] * 3 and reasons[13:] == ["after --end"] * (3 * FRAMES - 5)
    assert [i for i in range(3, 13) if reasons[i] == "left out by --every"] == [4, 5, 7, 8, 10, 11]
    assert [row.frame for row in rows if row.faces] == [3, 6, 9, 12]
    with pytest.raises(VideoError, match="no frame of"):
        extract_faces([clip], tmp_path / "late", ExtractOptions(min_face=0.2, start="20s"))
    assert not (tmp_path / "late").exists()
    with pytest.raises(OptionError, match="after --start"):
        extract_faces([clip], tmp_path / "never", ExtractOptions(start="2s", end="1s"))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_people_on_their_side_or_head_are_found_and_cut_upright(people_frames, made, tmp_path, quarters):
    frames = people_frames["a"]
    if "upright" not in made:
        made["upright"] = extract_faces([write_clip(tmp_path / "a.mp4", frames)], tmp_path / "upright", OPTIONS)
    upright = made["upright"]
    turned = [np.ascontiguousarray(np.rot90(frame, -quarters)) for frame in frames]
    dataset = extract_faces([write_clip(tmp_path / "turned.mp4", turned)], tmp_path / "faces", OPTIONS)
    assert [record.frame for record in dataset.records] == list(range(FRAMES))
    for before, after in zip(upright.records, dataset.records, strict=True):
        assert abs((after.roll - before.roll + 90 * quarters + 180) % 360 - 180) < 3, "roll is counter-clockwise"
        assert abs(after.yaw - before.yaw) < 5
        difference = dataset.crop(after).astype(float) - upright.crop(before)
        assert np.abs(difference).mean() < 6, "the crop is upright"
        height, width = turned[0].shape[:2]
        assert 0 <= after.box[0] < after.box[2] < width and 0 <= after.box[1] < after.box[3] < height
        middle = transform_points(invert_matrix(after.matrix), [47.5, 47.5])
        assert after.box[0] < middle[0] < after.box[2] and after.box[1] < middle[1] < after.box[3]


def test_films_pictures_and_folders_fill_one_dataset(people_frames, tmp_path):
    short = write_clip(tmp_path / "short.mp4", people_frames["a"][:5])
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate((people_frames["a"][0], people_frames["a"][15][20:, 60:], wall(0))):
        write_png(folder / f"{number}.png", image)
    write_png(tmp_path / "one.png", people_frames["a"][9])
    dataset = extract_faces([short, folder, tmp_path / "one.png"], tmp_path / "faces", OPTIONS)
    counts = [sum(record.source == source for record in dataset.records) for source in range(3)]
    assert counts == [5, 2, 1]
    assert len({record.track for record in dataset.records}) == 4, "pictures are not one film"


def test_faces_that_hardly_differ_are_marked_and_not_trained_on(people_frames, tmp_path):
    film = write_clip(tmp_path / "still.mp4", [people_frames["a"][0]] * 6)
    dataset = extract_faces([film], tmp_path / "faces", OPTIONS)
    # The encoder sharpens a still picture once after its first frame.
    assert ["duplicate" in record.marks for record in dataset.records][2:] == [True] * 4
    assert not dataset.records[0].marks and dataset.records[0].use_for_training
    assert not any(record.use_for_training for record in dataset.records[2:])
    assert [row.reason for row in dataset.frame_rows()][2:] == ["duplicate"] * 4


def test_blurred_clipped_and_tiny_faces_are_marked_and_kept(people_frames, tmp_path):
    sharp = people_frames["a"]
    blurred = [cv2.GaussianBlur(image, (0, 0), 3) for image in sharp[:4]]
    cut_off = [np.concatenate([image[95:], image[:95] // 4 + 60]) for image in sharp[4:8]]
    film = write_clip(tmp_path / "film.mp4", sharp + blurred)
    dataset = extract_faces([film], tmp_path / "faces", OPTIONS)
    marks = [set(record.marks) for record in dataset.records]
    assert ["blurred" in found for found in marks] == [False] * FRAMES + [True] * 4
    film = write_clip(tmp_path / "low.mp4", cut_off)
    low = extract_faces([film], tmp_path / "low", ExtractOptions(size=1024, min_face=0.2))
    assert all({"clipped", "tiny"} <= set(record.marks) for record in low.records) and len(low) == 4
    assert low.training_records() == [] and all(low.has_crop(record) for record in low.records)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_package_as_detector(people_frames, tmp_path):
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the package needs TensorFlow")
    short = write_clip(tmp_path / "short.mp4", people_frames["a"][:4])
    ours = extract_faces([short], tmp_path / "ours", OPTIONS)
    theirs = extract_faces([short], tmp_path / "theirs", ExtractOptions(size=96, min_face=0.2, detector="mtcnn"))
    assert len(ours) == len(theirs) == 4
    for mine, its in zip(ours.records, theirs.records, strict=True):
        np.testing.assert_allclose(mine.landmarks, its.landmarks, atol=8)
