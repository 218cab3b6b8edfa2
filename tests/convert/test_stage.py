"""A whole conversion on a drawn clip: what changes, what does not, and what a kill leaves."""

import hashlib
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from faceswap_pipeline.convert import detail, segments, stage
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.stage import convert_video
from faceswap_pipeline.dataset import FaceDataset, FrameRow, Source
from faceswap_pipeline.errors import DatasetError, OptionError, RunError, StorageError, VideoError
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.provenance.credentials import own_identity, read_manifest
from faceswap_pipeline.provenance.marking import payload_of
from faceswap_pipeline.provenance.watermark import embed, pattern
from faceswap_pipeline.video.images import read_image, write_png
from faceswap_pipeline.video.info import file_sha256, probe
from faceswap_pipeline.video.planes import plane_views
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import VideoWriter
from tests.convert.conftest import (
    CROP,
    FRAMES,
    HEIGHT,
    NO_FACE,
    WIDTH,
    StandIn,
    draw_frame,
    make_record,
    write_dataset,
)

PLAIN = {"color": "none", "detail": 0.0}
FAST = ConvertOptions(preset="ultrafast", quality=10, segment_seconds=0.6, smooth_color=0.12, batch=8, **PLAIN)
"""Segments of 15 frames; the stand-in's change stays to be seen."""
DETAILED = replace(FAST, detail=1.0)
MATCHED = replace(DETAILED, color="reinhard")


def planes(path: Path) -> list[list[np.ndarray]]:
    return [
        [np.frombuffer(memoryview(plane), np.uint8) for plane in frame.planes.planes] for frame in read_frames(path)
    ]


def rgb(path: Path) -> np.ndarray:
    return np.stack([frame.rgb for frame in read_frames(path)])


def packets(path: Path, kind: str) -> list[tuple]:
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        found = [packet for packet in container.demux(stream) if packet.size]
        return [(p.pts * p.time_base, hashlib.sha256(bytes(p)).hexdigest()) for p in found if p.pts is not None]


class Stop(Progress):
    """Interrupts like Ctrl-C after so many frames."""

    def __init__(self, after: int) -> None:
        self.after = after

    def phase(self, name, total, unit):
        from contextlib import contextmanager

        def advance(amount):
            self.after -= name.startswith("converting")
            if self.after < 0:
                raise KeyboardInterrupt

        @contextmanager
        def counted():
            yield advance

        return counted()


def test_film_has_the_new_face_and_all_else_as_it_was(studio):
    result = convert_video(studio.run, studio.folder, FAST)
    film = studio.folder / "video_a_swapped.mp4"
    assert result.films == (film,)
    source, made = rgb(studio.video), rgb(film)
    assert made.shape == source.shape
    difference = np.abs(made.astype(int) - source).mean(3)
    with_face = [frame for frame in range(FRAMES) if frame not in NO_FACE]
    assert difference[with_face, 66:76, 86:106].mean() > 8, "brighter by the stand-in's change"
    assert np.median(difference[:, :20]) <= 2, "the room differs by the encoder only"
    assert difference[list(NO_FACE)].mean() < 2
    assert packets(film, "audio") == packets(studio.video, "audio")
    assert [time for time, _ in packets(film, "video")] == [time for time, _ in packets(studio.video, "video")]
    assert not list(studio.folder.glob(".video_a*")), "no work folder is left"


def test_sidecar_says_how_it_was_made(studio):
    result = convert_video(studio.run, studio.folder, FAST)
    sidecar = json.loads((studio.folder / "video_a_swapped.json").read_text())
    counts = {"frames": FRAMES, "swapped": 50, "faces": 50, "untouched": {"no face": 10}}
    assert sidecar["frames"] == vars(result.counts[0]) == counts
    assert sidecar["checkpoint"] == "c" * 64 and sidecar["run"]["step"] == 7
    assert sidecar["options"] == FAST.to_json()
    assert sidecar["source"] == FaceDataset.open(studio.faces).sources[0].sha256
    assert sidecar["signed"]["film_sha256"] == file_sha256(result.films[0])


def test_the_film_is_signed_by_whom_it_was_asked_for(studio, tmp_path):
    identity = own_identity(tmp_path / "mine")
    film = convert_video(studio.run, studio.folder, FAST, identity=identity).films[0]
    found = read_manifest(film)
    assert found.state == "matches" and found.ours and found.serial == identity.serial
    assert found.statement["run"] == "c" * 64 and found.statement["consent"] == "not recorded"
    assert found.statement["source"] == file_sha256(studio.video)
    assert b"video_a.mp4" in film.read_bytes(), "the source is the parent"


def test_before_encoding_only_the_face_and_the_watermark_differ(studio, monkeypatch):
    written = []
    monkeypatch.setattr(VideoWriter, "write", lambda self, frame: written.append(frame))
    with pytest.raises(VideoError, match="no frame was written"):
        convert_video(studio.run, studio.folder, FAST)
    mark = pattern(HEIGHT, WIDTH, payload_of("c" * 64))
    for frame, before in zip(written, read_frames(studio.video), strict=False):
        pairs = zip(plane_views(frame.planes), plane_views(before.planes), strict=True)
        same = [np.array_equal(*pair) for pair in pairs]
        assert all(same) == (frame.index in NO_FACE), frame.index
        if all(same):
            continue
        outside = np.ones((HEIGHT, WIDTH), bool)
        ys, xs = np.mgrid[:HEIGHT, :WIDTH]
        record = next((r for r in FaceDataset.open(studio.faces).records if r.frame == frame.index), None)
        if record is not None:
            x, y = (record.box[:2] + [23, 31]).tolist()
            outside = ((xs - x) / 26) ** 2 + ((ys - y) / 34) ** 2 > 1
        luma, before_luma = plane_views(frame.planes)[0], plane_views(before.planes)[0]
        np.testing.assert_array_equal(luma[outside], embed(before_luma, mark)[outside], "nothing but the watermark")


def test_identity_gives_the_frames_back(studio):
    studio.swapper.change = 0.0
    options = replace(FAST, sharpen=0.0, grain=0.0)
    convert_video(studio.run, studio.folder, options)
    error = np.abs(rgb(studio.folder / "video_a_swapped.mp4").astype(int) - rgb(studio.video))
    assert error.mean() < 1.9, "the watermark alone makes 0.9"
    assert np.percentile(error, 99.5) < 16, "64 px of 50 lose a little at the drawn edges only"


def test_a_swap_of_another_tone_is_brought_back(studio):
    convert_video(studio.run, studio.folder, MATCHED)
    error = np.abs(rgb(studio.folder / "video_a_swapped.mp4").astype(int) - rgb(studio.video))
    assert error[:, 60:84, 80:112].mean() < 5


def test_blend_of_nought_changes_no_plane(studio, monkeypatch):
    written = []
    monkeypatch.setattr(VideoWriter, "write", lambda self, frame: written.append(frame))
    with pytest.raises(VideoError):
        convert_video(studio.run, studio.folder, replace(FAST, blend=0.0))
    for frame, before in zip(written, read_frames(studio.video), strict=False):
        for now, then in zip(plane_views(frame.planes), plane_views(before.planes), strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("after", [0, 1, 16, 33, 59])
def test_a_stop_at_any_frame_is_taken_up_with_the_same_frames(studio, after, monkeypatch):
    convert_video(studio.run, studio.folder / "whole", MATCHED)
    with pytest.raises(KeyboardInterrupt):
        convert_video(studio.run, studio.folder / "part", MATCHED, progress=Stop(after))
    assert not (studio.folder / "part" / "video_a_swapped.mp4").exists()
    kept = sorted(path.name for path in (studio.folder / "part").glob(".*.work/*.mp4"))
    assert kept == [f"{index:06d}.mp4" for index in range(len(kept))], "finished segments stay, none is torn"
    assert (after - 30) // 15 <= len(kept) <= after // 15, "what waits for the encoder is lost, 30 frames at most"
    begun = []
    begin = segments._SegmentWriter._begin
    monkeypatch.setattr(
        segments._SegmentWriter, "_begin", lambda self, index: begun.append(index) or begin(self, index)
    )
    convert_video(studio.run, studio.folder / "part", MATCHED)
    assert begun == list(range(len(kept), 4)), "no finished segment is made again"
    whole, part = (planes(studio.folder / name / "video_a_swapped.mp4") for name in ("whole", "part"))
    assert len(whole) == len(part) == FRAMES
    assert all(np.array_equal(*pair) for frames in zip(whole, part, strict=True) for pair in zip(*frames, strict=True))


def test_a_segment_that_cannot_be_finished_ends_the_work_and_is_made_again(studio, monkeypatch):
    finish = segments.WorkFolder.finish

    def fail(self, index, note):
        if index == 1:
            raise StorageError("the disk is full")
        finish(self, index, note)

    with monkeypatch.context() as full:
        full.setattr(segments.WorkFolder, "finish", fail)
        with pytest.raises(StorageError, match="full"):
            convert_video(studio.run, studio.folder, MATCHED)
    work = next(studio.folder.glob(".*.work"))
    assert (work / "000000.json").exists() and not (work / "000001.json").exists()
    assert convert_video(studio.run, studio.folder, MATCHED).counts[0].frames == FRAMES


def test_after_a_failure_nothing_more_is_worked_on():
    """What waits would else be written, and a segment with a frame missing be taken for a whole one."""
    done, wait = [], threading.Event()

    def work(number):
        wait.wait(10)
        if number == 1:
            raise StorageError("the disk is full")
        done.append(number)

    def hand_all_over():
        with segments.behind(work, 10) as hand_over:
            for number in range(5):
                hand_over(number)
            wait.set()

    with pytest.raises(StorageError, match="full"):
        hand_all_over()
    assert done == [0]


def test_segments_can_be_made_in_any_order(studio):
    convert_video(studio.run, studio.folder / "whole", MATCHED)
    with pytest.raises(KeyboardInterrupt):
        convert_video(studio.run, studio.folder / "part", MATCHED, progress=Stop(46))
    work = next((studio.folder / "part").glob(".*.work"))
    for index in (0, 1):
        (work / f"{index:06d}.json").unlink()
    convert_video(studio.run, studio.folder / "part", MATCHED)
    whole, part = (planes(studio.folder / name / "video_a_swapped.mp4") for name in ("whole", "part"))
    assert all(np.array_equal(*pair) for frames in zip(whole, part, strict=True) for pair in zip(*frames, strict=True))


def test_other_options_begin_anew(studio):
    with pytest.raises(KeyboardInterrupt):
        convert_video(studio.run, studio.folder, FAST, progress=Stop(50))
    studio.swapper.batches.clear()
    convert_video(studio.run, studio.folder, replace(FAST, blend=0.5))
    assert sum(studio.swapper.batches) == 50


def test_made_again_it_does_nothing_and_a_new_one_keeps_the_old(studio, monkeypatch):
    first = convert_video(studio.run, studio.folder, DETAILED)
    old = first.films[0].read_bytes()
    with monkeypatch.context() as without_network:
        without_network.delattr(stage, "load_swapper")
        assert convert_video(studio.run, studio.folder, DETAILED) == first
    assert first.films[0].read_bytes() == old
    convert_video(studio.run, studio.folder, replace(FAST, blend=0.5))
    assert (studio.folder / "video_a_swapped.1.mp4").read_bytes() == old
    assert json.loads((studio.folder / "video_a_swapped.1.json").read_text())["options"] == DETAILED.to_json()
    assert first.films[0].read_bytes() != old


def test_without_pictures_of_the_other_person_the_film_is_made_and_says_so(studio, monkeypatch):
    with monkeypatch.context() as demanding:
        demanding.setattr(detail, "FEWEST_PICTURES", 1000)
        few = convert_video(studio.run, studio.folder, DETAILED)
    assert any("too few pictures" in note for note in few.notes)
    lose_pictures(studio)
    soft = convert_video(studio.run, studio.folder, DETAILED)
    assert any("without pictures of b" in note and "gone" in note for note in soft.notes)
    assert json.loads((studio.folder / "video_a_swapped.json").read_text())["detail_from"] is None
    assert (studio.folder / "video_a_swapped.1.mp4").exists(), "the film made when there were some is kept"
    assert not convert_video(studio.run, studio.folder, FAST).notes, "none were asked for"


def test_a_run_keeps_the_pictures_that_films_take_detail_from(studio, monkeypatch):
    made = convert_video(studio.run, studio.folder, DETAILED)
    with FaceDataset.open(studio.faces) as dataset:
        fingerprint = dataset.fingerprint()
    assert json.loads((studio.folder / "video_a_swapped.json").read_text())["detail_from"] == fingerprint
    monkeypatch.delattr(StandIn, "redraw")  # nothing is drawn again
    again = convert_video(studio.run, studio.folder / "again", DETAILED)
    lose_pictures(studio)
    without = convert_video(studio.run, studio.folder / "without", DETAILED)
    assert not made.notes and not again.notes and not without.notes
    assert json.loads((studio.folder / "without" / "video_a_swapped.json").read_text())["detail_from"] == fingerprint
    films = [planes(result.films[0]) for result in (made, again, without)]
    for film in films[1:]:
        assert all(
            np.array_equal(*pair) for both in zip(films[0], film, strict=True) for pair in zip(*both, strict=True)
        )


def lose_pictures(studio):
    """The dataset of B is not where the run says it is."""
    manifest = json.loads((studio.run / "run.json").read_text())
    manifest["b"] = {**manifest["b"], "path": str(studio.folder / "gone")}
    (studio.run / "run.json").write_text(json.dumps(manifest))


def test_the_batch_is_kept_to(studio):
    convert_video(studio.run, studio.folder, FAST)
    assert studio.swapper.batches == [8] * 6 + [2]


def test_faces_without_masks_get_an_oval(studio):
    shutil.rmtree(studio.faces)
    write_dataset(studio.faces, studio.video, masks=False)
    result = convert_video(studio.run, studio.folder, FAST)
    assert any("50 of 50 faces have no mask" in note for note in result.notes)
    difference = np.abs(rgb(result.films[0]).astype(int) - rgb(studio.video)).mean(3)
    assert difference[0, 66:76, 86:106].mean() > 8


def test_moved_video_is_found_beside_the_dataset_or_where_it_is_named(studio, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved")
    shutil.move(studio.faces, moved / "faces_a")
    shutil.move(studio.video, moved / "video_a.mp4")
    with pytest.raises(DatasetError, match="faces_a"):
        convert_video(studio.run, studio.folder, FAST)
    assert convert_video(studio.run, studio.folder, FAST, dataset=moved / "faces_a").counts[0].frames == FRAMES
    shutil.move(moved / "video_a.mp4", moved / "other name.mp4")
    with pytest.raises(VideoError, match="video_a.mp4: not there"):
        convert_video(studio.run, studio.folder, FAST, dataset=moved / "faces_a")
    named = moved / "other name.mp4"
    made = convert_video(studio.run, studio.folder, FAST, video=named, dataset=moved / "faces_a")
    assert made.films == (studio.folder / "other name_swapped.mp4",)


def test_a_changed_video_is_refused(studio):
    with studio.video.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(VideoError, match="another content"):
        convert_video(studio.run, studio.folder, FAST)
    with pytest.raises(VideoError, match="content differs"):
        convert_video(studio.run, studio.folder, FAST, video=studio.video)


def test_faces_cropped_otherwise_are_refused(studio):
    run = json.loads((studio.run / "run.json").read_text())
    run["a"]["coverage"] = 1.8
    (studio.run / "run.json").write_text(json.dumps(run))
    with pytest.raises(RunError, match="coverage 1.56.*1.8"):
        convert_video(studio.run, studio.folder, FAST)


@pytest.mark.parametrize("crop", [64, 192])
def test_crops_of_another_size_give_the_same_film(studio, crop):
    """What a network sees is a share of the crop, so the crop's size in pixels may differ from training."""
    film = convert_video(studio.run, studio.folder, FAST).films[0]
    write_dataset(studio.folder / "other", studio.video, crop=crop)
    other = convert_video(studio.run, studio.folder / "out", FAST, dataset=studio.folder / "other").films[0]
    source, made, expected = (rgb(path).astype(int) for path in (studio.video, other, film))
    assert np.abs(made - source)[:, 66:76, 86:106].mean() > 8
    difference = np.abs(made - expected).mean((0, 3))
    assert difference.mean() < 1.5 and difference.max() < 14, "the same place, shape and tone"


def test_a_bad_encoder_is_refused_before_any_work(studio):
    with pytest.raises(OptionError, match="--encoder is 'x264'"):
        convert_video(studio.run, studio.folder, ConvertOptions(encoder="x264"))
    assert studio.swapper.batches == []


def test_a_run_without_weights_is_refused(studio, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(RunError, match="no trained weights"):
        convert_video(studio.run, studio.folder, FAST)


def test_one_name_for_two_videos_is_refused(studio, tmp_path_factory):
    from faceswap_pipeline.convert.inputs import film_paths

    with pytest.raises(VideoError, match="2 films"):
        film_paths(["a", "b"], [".mp4", ".mp4"], Path("film.mp4"))
    assert film_paths(["a", "a"], [".mp4", ".mp4"], Path("x")) == [Path("x/a_swapped.mp4"), Path("x/a_swapped_2.mp4")]


def picture_dataset(path: Path, source: Path, frames: list[int]) -> Path:
    """The faces of drawn frames that lie in `source` as pictures."""
    with FaceDataset.create(
        path, [Source(str(source), file_sha256(source), probe(source))], CROP, "t-1", 1.56, {}
    ) as made:
        for frame in frames:
            made.append(make_record(frame, 0), np.zeros((CROP, CROP, 3), np.uint8))
        made.finish(FrameRow(0, frame, made.records[frame].pts, 1, "") for frame in frames)
    return path


@pytest.mark.parametrize("single", [True, False])
def test_pictures_become_pictures(tmp_path, studio, single):
    folder = tmp_path / "stills"
    folder.mkdir()
    frames = [0] if single else [0, 1, 2]
    for frame in frames:
        write_png(folder / f"still {frame}.png", draw_frame(frame))
    source = folder / "still 0.png" if single else folder
    made = picture_dataset(tmp_path / "faces_stills", source, frames)
    layers = tmp_path / "layers"
    result = convert_video(studio.run, tmp_path, replace(FAST, label="swapped"), dataset=made, frames=layers)
    expected = tmp_path / ("still 0_swapped.png" if single else "stills_swapped")
    assert result.films == (expected,) and result.counts[0].swapped == len(frames)
    for frame in frames:
        picture = read_image(expected if single else expected / f"still {frame}.png")
        difference = np.abs(picture.astype(int) - draw_frame(frame)).mean(2)
        assert difference[66:76, 86:106].mean() > 8 and 0 < difference[-15:].max() <= 6, "the watermark is everywhere"
        assert difference[6:14, 10:40].mean() > 20, "every picture bears the notice"
        found = read_manifest(expected if single else expected / f"still {frame}.png")
        assert found.state == "matches" and found.ours
        assert read_manifest(layers / f"{frame:06d}.png").ours
