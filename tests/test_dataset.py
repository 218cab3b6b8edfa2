"""The dataset folder: what goes in comes out, through kills, hand edits, torn lines and zips."""

import json
import resource
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset, FaceRecord, FrameRow, Source
from faceswap_pipeline.errors import DatasetError, StorageError
from faceswap_pipeline.storage import sha256_file
from faceswap_pipeline.video.info import ColorTags, StreamInfo, VideoInfo

SIZE = 32


def make_source(name: str = "video_a.mp4") -> Source:
    stream = StreamInfo(0, "video", "h264", None, Fraction(1, 3), None)
    info = VideoInfo(
        640, 360, Fraction(30000, 1001), Fraction(10), 90, Fraction(1), "yuv420p", None, ColorTags(), (stream,)
    )
    return Source(name, "ab" * 32, info, None, Fraction(7, 2))


def make_record(frame: int, track: int = 0, seed: int = 0, **changes: object) -> FaceRecord:
    random = np.random.default_rng([seed, frame, track])
    five = random.uniform(-50, 2000, (5, 2))
    record = FaceRecord(
        source=0,
        frame=frame,
        pts=Fraction(frame * 1001, 30000),
        track=track,
        person=0,
        filled=frame % 3 == 0,
        box=random.uniform(0, 2000, 4),
        landmarks_raw=five,
        landmarks=five + 1 / 3,
        score=random.uniform(),
        yaw=random.normal() * 30,
        pitch=-random.uniform(),
        roll=random.normal(),
        sharpness=random.uniform(0, 5000),
        marks=("blurred", "tiny") if frame == 1 else (),
        use_for_training=frame != 1,
        matrix=random.normal(size=(2, 3)),
    )
    return replace(record, **changes)


def make_crop(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)


def make_dataset(path: Path, faces: int = 5, finish: bool = True) -> FaceDataset:
    with FaceDataset.create(path, [make_source()], SIZE, "mean-face-1", 1.56, {"extract": {"size": SIZE}}) as dataset:
        for frame in range(faces):
            dataset.append(make_record(frame), make_crop(frame))
        if finish:
            for record in dataset.records[:3]:
                mask = np.zeros((SIZE, SIZE), np.uint8)
                mask[4 : 10 + record.frame] = 255
                dataset.write_mask("face", record, mask, "parser", 0.9)
            dataset.set_options("masks", {"kinds": ["face"]})
            dataset.write_artifact("people.jpg", b"jpeg")
            dataset.finish([FrameRow(0, i, Fraction(i, 25), int(i < faces), "") for i in range(faces + 2)])
    return dataset


def edit_header(path: Path, **changes: object) -> None:
    file = path / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_line(path: Path, number: int, **changes: object) -> None:
    lines = (path / "faces.jsonl").read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | changes)
    (path / "faces.jsonl").write_text("\n".join(lines) + "\n")


# -- what goes in comes out ------------------------------------------------------------------------------------------


def test_everything_written_is_read_back_exactly(tmp_path: Path) -> None:
    written = make_dataset(tmp_path / "faces_a")
    read = FaceDataset.open(tmp_path / "faces_a")
    assert read.records == written.records
    assert all(np.array_equal(read.crop(record), make_crop(record.frame)) for record in read.records)
    assert read.sources == (make_source(),)
    assert (read.crop_size, read.template, read.coverage, read.state) == (SIZE, "mean-face-1", 1.56, "done")
    assert read.options == {"extract": {"size": SIZE}, "masks": {"kinds": ["face"]}}
    assert read.mask_kinds() == ["face"]
    assert [read.has_mask(record, "face") for record in read.records] == [True, True, True, False, False]
    assert (read.mask(read.records[1], "face").max(1) > 0).sum() == 7
    assert read.mask_made("face")["0_000001_000"] == ("parser", 0.9)
    assert read.frame_rows()[6] == FrameRow(0, 6, Fraction(6, 25), 0, "")
    assert read.read_artifact("people.jpg") == b"jpeg"
    assert read.warnings == []


def test_a_record_equals_its_line_for_any_numbers() -> None:
    for seed in range(50):
        record = make_record(seed, seed=seed)
        line = json.dumps(record.to_json())
        assert FaceRecord.from_json(json.loads(line)) == record
        assert replace(record) == record
        assert json.loads(line)["pts"] == f"{record.pts.numerator}/{record.pts.denominator}"
        assert np.abs(record.landmarks - record.landmarks_raw - 1 / 3).max() <= 0.001


def test_records_cannot_be_changed() -> None:
    record = make_record(0)
    with pytest.raises(ValueError, match="read-only"):
        record.box[0] = 1
    with pytest.raises(AttributeError):
        record.frame = 2  # type: ignore[misc]


@pytest.mark.parametrize("change", [{"box": np.zeros(3)}, {"matrix": np.full((2, 3), np.nan)}, {"yaw": float("inf")}])
def test_a_record_refuses_arrays_of_the_wrong_shape_and_numbers_that_are_none(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        make_record(0, **change)


def test_columns_and_frames(tmp_path: Path) -> None:
    with FaceDataset.create(tmp_path / "d", [make_source(), make_source("b")], SIZE, "t", 1.5, {}) as dataset:
        assert dataset.column("landmarks").shape == (0, 5, 2)
        for frame, track, source in ((7, 1, 0), (3, 0, 0), (7, 0, 0), (5, 2, 1)):
            dataset.append(make_record(frame, track, source=source), make_crop(0))
        assert dataset.column("landmarks").shape == (4, 5, 2)
        assert dataset.column("frame").tolist() == [7, 3, 7, 5]
        assert dataset.column("pts")[0] == pytest.approx(7 * 1001 / 30000)
        frames = dataset.by_frame(0)
    assert list(frames) == [3, 7]
    assert [record.track for record in frames[7]] == [0, 1]


# -- kills, hand edits, full disks ----------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_and_cut_off_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path, finish=False)
    with (path / "faces.jsonl").open("a") as file:
        file.write('{"source": 0, "fra')
    assert len(FaceDataset.open(path)) == 5
    with FaceDataset.open(path, write=True) as dataset:
        dataset.append(make_record(9), make_crop(9))
    assert [record.frame for record in FaceDataset.open(path).records] == [0, 1, 2, 3, 4, 9]


def test_a_line_lost_after_the_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path)
    data = (path / "faces.jsonl").read_bytes()
    (path / "faces.jsonl").write_bytes(data[:-5])
    assert "4 of 5 faces" in FaceDataset.open(path).warnings[0]


def test_a_crop_deleted_by_hand_leaves_training_but_not_the_conversion(tmp_path: Path) -> None:
    path = tmp_path / "d"
    before = make_dataset(path).fingerprint()
    (path / "crops" / "0_000002_000.png").unlink()
    dataset = FaceDataset.open(path)
    assert dataset.missing_crops == 1 and len(dataset) == 5
    assert [record.frame for record in dataset.training_records()] == [0, 3, 4]  # 1 is marked, 2 deleted
    assert 2 in dataset.by_frame(0)
    assert dataset.fingerprint() != before
    assert "1 crops were deleted by hand" in dataset.warnings[0]
    with pytest.raises(DatasetError, match=r"0_000002_000\.png is missing"):
        dataset.crop(dataset.records[2])


def test_every_kill_while_appending_leaves_a_dataset_that_goes_on(tmp_path: Path) -> None:
    make_dataset(tmp_path / "template", finish=False)
    script = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, str(script), "append_face", str(tmp_path / "template"), str(tmp_path / "out")]
    subprocess.run(command, check=True)
    folders = sorted((tmp_path / "out").iterdir())
    assert len(folders) >= 5
    for folder in folders:
        with FaceDataset.open(folder, write=True) as dataset:
            assert len(dataset) in (5, 6)
            assert all(dataset.crop(record).shape == (SIZE, SIZE, 3) for record in dataset.records)
            if len(dataset) == 5:
                dataset.append(make_record(9), make_crop(9))
        assert len(FaceDataset.open(folder)) == 6
        assert not list(folder.rglob("*.part"))
    assert len({len(FaceDataset.open(folder)) for folder in folders}) == 1


def test_a_full_disk_while_appending_leaves_no_torn_file(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path, finish=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with FaceDataset.open(path, write=True) as dataset:
        for limit in (500, (path / "faces.jsonl").stat().st_size + 20):  # the crop fails, then the line
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            try:
                with pytest.raises(StorageError):
                    dataset.append(
                        make_record(9), make_crop(9) if limit == 500 else np.zeros((SIZE, SIZE, 3), np.uint8)
                    )
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert len(dataset) == 5
        dataset.append(make_record(10), make_crop(10))
    assert [record.frame for record in FaceDataset.open(path).records] == [0, 1, 2, 3, 4, 10]
    assert not list(path.rglob("*.part"))


def test_faces_whose_crop_a_power_cut_emptied_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path, finish=False)
    (path / "crops" / "0_000003_000.png").write_bytes(b"")
    (path / "crops" / "0_000000_000.png").unlink()  # by hand: stays a record
    with FaceDataset.open(path, write=True) as dataset:
        assert [record.frame for record in dataset.records] == [0, 1, 2]
        dataset.append(make_record(3), make_crop(3))
    assert [record.frame for record in FaceDataset.open(path).records] == [0, 1, 2, 3]


def test_a_killed_create_can_be_done_again_but_a_used_folder_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "d"
    (path / "crops").mkdir(parents=True)
    (path / ".lock").touch()
    make_dataset(path)
    with pytest.raises(DatasetError, match="exists already.*--out"):
        make_dataset(path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    with pytest.raises(DatasetError, match="exists already"):
        make_dataset(tmp_path / "photos")


def test_a_face_cannot_be_added_twice_nor_a_crop_of_another_size(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d", finish=False)
    with FaceDataset.open(tmp_path / "d", write=True) as dataset:
        with pytest.raises(ValueError, match="already"):
            dataset.append(make_record(0), make_crop(0))
        with pytest.raises(ValueError, match=r"expected uint8 \(32, 32, 3\)"):
            dataset.append(make_record(20), np.zeros((8, 8, 3), np.uint8))
        with pytest.raises(ValueError, match="expected uint8"):
            dataset.write_mask("face", dataset.records[0], np.zeros((SIZE, SIZE), np.float32), "parser", 1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="plain file name"):
            dataset.write_artifact("../outside", b"")
    assert len(FaceDataset.open(tmp_path / "d")) == 5


def test_records_are_rewritten_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path)
    with FaceDataset.open(path, write=True) as dataset:
        marked = [replace(record, marks=("blurred",), use_for_training=False) for record in dataset.records[1:]]
        dataset.rewrite_records(marked)
        with pytest.raises(ValueError, match="unknown"):
            dataset.rewrite_records([make_record(77)])
    read = FaceDataset.open(path)
    assert read.records == marked and read.training_records() == [] and read.warnings == []


def test_a_mask_made_again_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path)
    with FaceDataset.open(path, write=True) as dataset:
        before = dataset.fingerprint()
        dataset.write_mask("face", dataset.records[0], np.full((SIZE, SIZE), 255, np.uint8), "landmarks", 0.25)
    read = FaceDataset.open(path)
    assert read.mask(read.records[0], "face").min() == 255
    assert read.mask_made("face")[read.records[0].name] == ("landmarks", 0.25)
    assert read.fingerprint() != before
    (path / "masks" / "face" / "0_000001_000.png").unlink()
    assert not FaceDataset.open(path).has_mask(read.records[1], "face")


def test_work_is_for_resuming_only(tmp_path: Path) -> None:
    path = tmp_path / "d"
    make_dataset(path, finish=False)
    with FaceDataset.open(path, write=True) as dataset:
        (dataset.work_folder() / "segment_0.npz").write_bytes(b"x")
        dataset.finish([])
    assert not (path / "work").exists()
    assert FaceDataset.open(path).state == "done"
    with FaceDataset.open(path, write=True) as dataset, pytest.raises(ValueError, match="finished"):
        dataset.append(make_record(50), make_crop(0))


# -- what is refused, and in which words -----------------------------------------------------------------------------


def test_no_dataset_here(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no dataset .*faces_a: make one with `swap extract"):
        FaceDataset.open(tmp_path / "faces_a")
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        FaceDataset.open(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match="neither a dataset folder nor a whole zip"):
        FaceDataset.open(tmp_path / "video.mp4")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version 2, this software reads 1: update"),
        ({"format": "other"}, "format 'other'"),
        ({"crop_size": "256"}, "'crop_size' is '256'"),
        ({"sources": [{"path": "a"}]}, "a source is damaged"),
        ({"sources": None}, "'sources' is None"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    make_dataset(tmp_path / "d")
    edit_header(tmp_path / "d", **changes)
    with pytest.raises(DatasetError, match=words):
        FaceDataset.open(tmp_path / "d")


def test_a_torn_header_is_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d")
    (tmp_path / "d" / "dataset.json").write_text('{"format": "facesw')
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged.*--redo"):
        FaceDataset.open(tmp_path / "d")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame": "7"}, "'frame' is '7', expected int"),
        ({"filled": 1}, "'filled' is 1, expected bool"),
        ({"score": None}, "'score' is None"),
        ({"box": [1, 2, 3]}, "box of a face record"),
        ({"landmarks": [[1, 2]] * 4 + [["3", 4]]}, "'landmarks' is .*expected numbers"),
        ({"matrix": [[1, 0, float("nan")], [0, 1, 0]]}, "matrix of a face record"),
        ({"pts": 0.04}, "0.04 is no fraction"),
        ({"pts": "1/0"}, "'1/0' is no fraction"),
        ({"marks": "blurred"}, "'marks' is 'blurred'"),
        ({"source": 1}, "is of source 1, of 1"),
        ({"frame": 1}, "0_000001_000 appears twice"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path: Path, changes: dict, words: str) -> None:
    make_dataset(tmp_path / "d")
    edit_line(tmp_path / "d", 2, **changes)
    with pytest.raises(DatasetError, match=words) as caught:
        FaceDataset.open(tmp_path / "d")
    assert "line 3" in str(caught.value)


def test_a_line_that_is_no_json_or_lacks_a_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d" / "faces.jsonl"
    make_dataset(tmp_path / "d")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "no json\n", *lines[2:]]))
    with pytest.raises(DatasetError, match="line 2 is damaged"):
        FaceDataset.open(tmp_path / "d")
    path.write_text("".join([lines[0], lines[1].replace('"yaw"', '"jaw"'), *lines[2:]]))
    with pytest.raises(DatasetError, match="line 2 is damaged .'yaw' is missing"):
        FaceDataset.open(tmp_path / "d")
    path.write_text("".join([lines[0], "1, 2\n", *lines[2:]]))
    with pytest.raises(DatasetError, match="line 2 is damaged"):
        FaceDataset.open(tmp_path / "d")


def lengthen(dataset: Path, count: int) -> None:
    """Give the dataset's list `count` faces, all but the first few without a crop."""
    path = dataset / "faces.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    path.write_text("".join(json.dumps(first | {"frame": frame}) + "\n" for frame in range(count)))
    edit_header(dataset, faces=count)


def test_a_long_list_takes_little_more_memory_while_it_is_read(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d")
    lengthen(tmp_path / "d", 12_000)
    tracemalloc.start()
    try:
        dataset = FaceDataset.open(tmp_path / "d")
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(dataset) == 12_000 and most < 3.5 * kept


def test_a_wrong_line_far_down_is_named_with_its_number(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d")
    lengthen(tmp_path / "d", 5_000)
    edit_line(tmp_path / "d", 4_998, yaw="left")
    with pytest.raises(DatasetError, match="line 4999 is damaged"):
        FaceDataset.open(tmp_path / "d")


def test_unknown_keys_of_a_newer_writer_are_ignored(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d")
    edit_line(tmp_path / "d", 2, colour="blue")
    assert len(FaceDataset.open(tmp_path / "d")) == 5


def test_a_damaged_crop_is_named(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d")
    dataset = FaceDataset.open(tmp_path / "d")
    crop = tmp_path / "d" / "crops" / "0_000000_000.png"
    crop.write_bytes(b"\x89PNG nothing")
    with pytest.raises(DatasetError, match=r"0_000000_000\.png is damaged: no picture.*delete it"):
        dataset.crop(dataset.records[0])
    cv2.imwrite(str(crop), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"\(16, 16, 3\), expected \(32, 32, 3\)"):
        dataset.crop(dataset.records[0])


def test_reading_does_not_write_and_writing_excludes(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d", finish=False)
    reader = FaceDataset.open(tmp_path / "d")
    for write in (lambda: reader.append(make_record(9), make_crop(9)), reader.work_folder, lambda: reader.finish([])):
        with pytest.raises(DatasetError, match="open for reading only"):
            write()
    with FaceDataset.open(tmp_path / "d", write=True):
        with pytest.raises(StorageError, match="another process"):
            FaceDataset.open(tmp_path / "d", write=True)
        assert len(FaceDataset.open(tmp_path / "d")) == 5
    FaceDataset.open(tmp_path / "d", write=True).close()


# -- zips -------------------------------------------------------------------------------------------------------------


def test_a_packed_dataset_reads_like_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "faces_a"
    make_dataset(path)
    (path / "crops" / "0_000004_000.png").unlink()
    (path / "crops" / ".0_000009_000.png.part").touch()
    folder = FaceDataset.open(path)
    packed = FaceDataset.open(folder.pack(tmp_path / "faces_a.zip"))
    assert packed.records == folder.records
    assert packed.fingerprint() == folder.fingerprint()
    assert packed.missing_crops == 1
    assert np.array_equal(packed.crop(packed.records[0]), folder.crop(folder.records[0]))
    assert np.array_equal(packed.mask(packed.records[0], "face"), folder.mask(folder.records[0], "face"))
    assert packed.mask_kinds() == ["face"] and packed.mask_made("face") == folder.mask_made("face")
    assert packed.frame_rows() == folder.frame_rows()
    with zipfile.ZipFile(tmp_path / "faces_a.zip") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not [name for name in archive.namelist() if "/." in name]
    for write in (
        lambda: packed.append(make_record(9), make_crop(9)),
        lambda: packed.write_mask("eyes", packed.records[0], np.zeros((SIZE, SIZE), np.uint8), "parser", 1),
        lambda: packed.set_options("masks", {}),
        lambda: FaceDataset.open(tmp_path / "faces_a.zip", write=True),
        lambda: packed.pack(tmp_path / "again.zip"),
    ):
        with pytest.raises(DatasetError, match="packed"):
            write()


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    make_dataset(tmp_path / "one" / "faces_a")
    make_dataset(tmp_path / "two" / "faces_a")
    sums = [
        sha256_file(FaceDataset.open(tmp_path / n / "faces_a").pack(tmp_path / "new" / f"{n}.zip"))
        for n in ("one", "two")
    ]
    assert sums[0] == sums[1]


def test_the_zip_is_found_in_the_folders_place_and_may_be_packed_by_hand(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d")
    with zipfile.ZipFile(tmp_path / "faces_b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for item in (tmp_path / "d").rglob("*"):
            archive.write(item, item.relative_to(tmp_path / "d"))
    assert len(FaceDataset.open(tmp_path / "faces_b")) == 5


def test_an_unfinished_dataset_is_not_packed_and_a_failed_pack_leaves_nothing(tmp_path: Path) -> None:
    make_dataset(tmp_path / "half", finish=False)
    with pytest.raises(DatasetError, match="not finished"):
        FaceDataset.open(tmp_path / "half").pack(tmp_path / "half.zip")
    make_dataset(tmp_path / "d")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(StorageError):
            FaceDataset.open(tmp_path / "d").pack(tmp_path / "d.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["d", "half"]


# -- for people -------------------------------------------------------------------------------------------------------


def test_describe_says_what_matters_in_about_ten_lines(tmp_path: Path) -> None:
    path = tmp_path / "faces_a"
    make_dataset(path)
    (path / "crops" / "0_000002_000.png").unlink()
    lines = FaceDataset.open(path).describe()
    text = "\n".join(lines)
    assert 9 <= len(lines) <= 12
    for words in ("faces_a", "done", "video_a.mp4", "640x360", "5 in 1 tracks", "7, 5 with", "blurred 1", "tiny 1"):
        assert words in text
    for words in ("face 3", "1 deleted by hand", "extract, masks", "MB on disk", "3 for training"):
        assert words in text
    make_dataset(tmp_path / "empty", faces=0, finish=False)
    assert "run the same `swap extract` line again" in "\n".join(FaceDataset.open(tmp_path / "empty").describe())
