"""Frames out of clips of every kind: exact times, upright, the same whichever way they are reached."""

import signal
import threading
from fractions import Fraction

import numpy as np
import pytest

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.geometry import similarity_matrix
from faceswap_pipeline.imaging import warp
from faceswap_pipeline.video import reader
from faceswap_pipeline.video.images import write_jpeg, write_png
from faceswap_pipeline.video.info import ColorTags, probe
from faceswap_pipeline.video.planes import plane_views, to_rgb
from faceswap_pipeline.video.reader import DEPTH, Frame, read_frames, times_after

VARIABLE = [0, 1, 2, 5, 6, 9, 10, 11, 15, 20, 21, 24]


def planes(frame: Frame) -> list[bytes]:
    return [view.tobytes() for view in plane_views(frame.planes)]


def pattern_error(frame: Frame, expected: np.ndarray) -> float:
    return float(np.abs(frame.rgb.astype(int) - expected).mean())


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001)])
def test_times_are_exact_at_constant_rates(clip, name, rate):
    frames = list(read_frames(clip(name, rate=rate)))
    assert [frame.pts for frame in frames] == [index / rate for index in range(12)]
    assert [frame.index for frame in frames] == list(range(12))
    assert {frame.duration for frame in frames} == {1 / rate}


def test_times_of_a_variable_rate(clip):
    base = Fraction(1001, 60000)
    frames = list(read_frames(clip("a.mp4", ticks=VARIABLE, base=base)))
    assert [frame.pts for frame in frames] == [tick * base for tick in VARIABLE]
    assert [frame.duration for frame in frames][:4] == [base, base, 3 * base, base]


def test_matroska_keeps_its_milliseconds(clip):
    frames = list(read_frames(clip("a.mkv", rate=Fraction(30))))
    assert [frame.pts for frame in frames][:4] == [0, Fraction(33, 1000), Fraction(67, 1000), Fraction(1, 10)]


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_display_matrix_turns_the_planes(clip, rotation, mirrored):
    stored = list(read_frames(clip("flat.mp4")))
    turned = list(read_frames(clip("turned.mp4", rotation=rotation, mirrored=mirrored)))
    info = probe(clip("again.mp4", rotation=rotation))
    assert info.rotation == rotation
    for before, after in zip(stored, turned, strict=True):
        for old, new in zip(plane_views(before.planes), plane_views(after.planes), strict=True):
            expected = np.rot90(old, -rotation // 90)
            assert (new == (expected[:, ::-1] if mirrored else expected)).all()


@pytest.mark.parametrize(
    ("settings", "kept", "bits"),
    [
        ({"name": "a.mp4"}, "yuv420p", 8),
        ({"name": "a.mp4", "size": (63, 47), "pixel_format": "yuv444p"}, "yuv444p", 8),
        ({"name": "a.mp4", "pixel_format": "yuv422p"}, "yuv422p", 8),
        ({"name": "a.mp4", "pixel_format": "yuvj420p"}, "yuv420p", 8),
        (
            {
                "name": "a.mp4",
                "codec": "libx265",
                "pixel_format": "yuv420p10le",
                "options": {"x265-params": "log-level=0"},
            },
            "yuv420p",
            10,
        ),
        ({"name": "a.mov", "codec": "prores_ks", "pixel_format": "yuv422p10le"}, "yuv422p", 10),
        ({"name": "a.mkv", "codec": "ffv1", "pixel_format": "bgr0"}, "gbrp", 8),
        ({"name": "a.mkv", "codec": "ffv1", "size": (63, 47), "pixel_format": "yuv420p"}, "yuv420p", 8),
        ({"name": "a.webm", "codec": "libvpx-vp9", "options": {"crf": "4"}}, "yuv420p", 8),
        ({"name": "a.mpg", "codec": "mpeg2video", "options": {"b": "6M"}}, "yuv420p", 8),
        ({"name": "a.avi", "codec": "mjpeg", "pixel_format": "yuvj422p", "options": {"qscale": "1"}}, "yuv422p", 8),
    ],
)
def test_pictures_come_out_right_from_every_format(clip, pattern, settings, kept, bits):
    size = settings.get("size", (64, 48))
    frames = list(read_frames(clip(settings.pop("name"), **settings)))
    assert len(frames) == 12
    for frame in frames:
        assert (frame.width, frame.height, frame.planes.format.name, frame.bits) == (*size, kept, bits)
        assert pattern_error(frame, pattern(frame.index, *size)) < 7


def test_tags_decide_the_colors(clip):
    """The same plane values with another matrix tag are other colours."""
    plain = next(iter(read_frames(clip("a.mp4", count=1))))
    tagged = next(iter(read_frames(clip("b.mp4", count=1, tags={"colorspace": 1}))))
    assert plain.color.matrix == 6 and tagged.color.matrix == 1
    assert planes(plain) == planes(tagged)
    assert np.abs(plain.rgb.astype(int) - tagged.rgb).max() > 8


def test_rgb_is_made_once_and_not_writeable(clip):
    frame = next(iter(read_frames(clip("a.mp4", count=1))))
    assert frame.rgb is frame.rgb
    with pytest.raises(ValueError, match="read-only"):
        frame.rgb[0, 0] = 0


def test_what_is_warped_out_of_a_frame_does_not_need_the_rest_of_it(clip):
    (frame,) = read_frames(clip("a.mp4", count=1))
    for scale, angle, x, y in ((1.3, 12.0, -20, -10), (0.6, -70.0, 10, 20), (2.0, 0.0, 60, 50), (1.0, 180.0, 90, 70)):
        matrix = similarity_matrix(scale, angle, x, y)
        alone = frame.warped(matrix, (48, 40))
        assert "rgb" not in vars(frame)
        np.testing.assert_array_equal(alone, warp(to_rgb(frame.planes), matrix, (48, 40)))
    whole = frame.rgb
    np.testing.assert_array_equal(frame.part(3, 5, 21, 13), whole[5:18, 3:24])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("size", [(128, 96), (127, 95)])
def test_what_is_warped_small_is_made_of_half_the_frame(clip, pixel_format, size):
    pixel_format = "yuv444p" if size[0] % 2 else pixel_format
    (frame,) = read_frames(clip("a.mp4", count=1, size=size, pixel_format=pixel_format))
    for scale, angle, x, y in ((0.45, -70.0, 3, 30), (0.4, 0.0, -5, -6), (0.22, 8.0, 10, 9), (0.45, 0.0, 20.3, 18)):
        matrix = similarity_matrix(scale, angle, x, y)
        small, whole = frame.warped(matrix, (30, 24)), warp(to_rgb(frame.planes), matrix, (30, 24))
        assert np.abs(small.astype(int) - whole).max() <= 4 and np.abs(small.astype(int) - whole).mean() < 1
    assert "rgb" not in vars(frame)


def test_changed_replaces_a_region_and_nothing_else(clip):
    frame = next(iter(read_frames(clip("a.mp4", count=1))))
    region = frame.rgb[11:31, 9:40].copy()
    region[4:12, 5:20] = np.clip(region[4:12, 5:20].astype(int) + (20, -10, 15), 0, 255).astype(np.uint8)
    changed = frame.changed(region, 9, 11)
    assert (changed.index, changed.pts, changed.color) == (frame.index, frame.pts, frame.color)
    assert planes(frame.changed(frame.rgb[11:31, 9:40], 9, 11)) == planes(frame)
    inside = np.abs(changed.rgb[16:22, 16:28].astype(int) - region[5:11, 7:19])
    assert inside.max() <= 3
    outside = changed.rgb.copy()
    outside[14:24, 12:30] = frame.rgb[14:24, 12:30]
    assert (outside == frame.rgb).all()


@pytest.mark.parametrize("place", [(-1, 0), (60, 0), (0, 46)])
def test_changed_refuses_regions_outside(clip, place):
    frame = next(iter(read_frames(clip("a.mp4", count=1))))
    with pytest.raises(ValueError, match="not inside 64x48"):
        frame.changed(np.zeros((8, 8, 3), np.uint8), *place)


def test_start_and_stop_count_frames(clip):
    path = clip("a.mp4")
    whole = list(read_frames(path))
    part = list(read_frames(path, start=3, stop=7))
    assert [frame.index for frame in part] == [3, 4, 5, 6]
    assert [planes(frame) for frame in part] == [planes(frame) for frame in whole[3:7]]
    assert list(read_frames(path, start=5, stop=5)) == []
    assert list(read_frames(path, start=50)) == []


@pytest.mark.parametrize(
    ("settings", "indexed"),
    [
        ({"name": "a.mp4"}, True),
        ({"name": "a.mkv"}, True),
        ({"name": "a.mp4", "ticks": [3 * tick + tick % 2 for tick in range(120)], "base": Fraction(1, 50)}, True),
        (
            {"name": "a.mp4", "codec": "libx265", "options": {"x265-params": "log-level=0:keyint=20:min-keyint=20"}},
            True,
        ),
        ({"name": "a.webm", "codec": "libvpx-vp9", "options": {"g": "20"}}, True),
        ({"name": "a.mpg", "codec": "mpeg2video", "options": {}}, False),
    ],
)
def test_entering_by_time_gives_the_same_frames(clip, monkeypatch, settings, indexed):
    settings = {"count": 120, "options": {"g": "20", "bf": "3", "crf": "20"}, **settings}
    path = clip(settings.pop("name"), **settings)
    whole = list(read_frames(path))
    if indexed:  # not by decoding all before it
        monkeypatch.setattr(reader, "_whole_video", None)
    for start in (1, 40, 61, 119):
        part = list(read_frames(path, start=start, stop=start + 30, start_pts=whole[start].pts))
        expected = whole[start : start + 30]
        assert [(frame.index, frame.pts, frame.duration) for frame in part] == [
            (frame.index, frame.pts, frame.duration) for frame in expected
        ]
        assert [planes(frame) for frame in part] == [planes(frame) for frame in expected]


def test_entering_at_a_time_that_is_none_falls_back_to_counting(clip):
    path = clip("a.mp4", count=60)
    part = list(read_frames(path, start=40, start_pts=Fraction(40, 25) + Fraction(1, 99)))
    assert [frame.index for frame in part] == list(range(40, 60))


def test_truncated_file_gives_what_decodes_then_a_warning(clip):
    path = clip("a.mp4", count=60, options={"g": "10", "bf": "0", "crf": "1"}, container={"movflags": "+faststart"})
    whole = [planes(frame) for frame in read_frames(path)]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    warnings: list[str] = []
    frames = list(read_frames(path, warnings=warnings))
    assert 10 < len(frames) < 60
    assert [planes(frame) for frame in frames[:-1]] == whole[: len(frames) - 1]
    assert len(warnings) == 1 and "damaged or cut off" in warnings[0] and str(len(frames)) in warnings[0]


def test_damage_in_the_middle_loses_only_what_it_hits(clip):
    path = clip("a.mp4", count=60, options={"g": "10", "bf": "0", "crf": "1"})
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 8, data.index(b"moov")
    middle = (start + end) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    warnings: list[str] = []
    frames = list(read_frames(path, warnings=warnings))
    assert len(frames) >= 55 and frames[-1].pts == Fraction(59, 25)
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_single_frame_and_audio_longer_than_video(clip):
    assert [frame.pts for frame in read_frames(clip("one.mp4", count=1))] == [0]
    longer = clip("longer.mp4", count=5, audio=Fraction(0), audio_seconds=2.0)
    assert len(list(read_frames(longer))) == 5


def test_missing_and_repeated_times_are_put_in_order():
    class Stream:
        time_base = Fraction(1, 100)
        average_rate = Fraction(25)
        guessed_rate = None

    class Raw:
        def __init__(self, pts: int | None) -> None:
            self.pts = pts

    clock = reader._Clock(Stream())  # type: ignore[arg-type]
    given = [0, 4, None, 12, 12, 16, 500, 0, 4, 8]
    ticks = [clock(Raw(pts)) * 100 for pts in given]  # type: ignore[arg-type]
    assert ticks == [0, 4, 8, 12, 13, 16, 500, 504, 508, 512]


def test_stream_without_times_that_changes_its_size(clip, tmp_path):
    first, second = clip("a.h264", count=5), clip("b.h264", count=4, size=(96, 64))
    path = tmp_path / "joined.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    warnings: list[str] = []
    frames = list(read_frames(path, warnings=warnings))
    assert len(frames) == 9
    assert {(frame.width, frame.height) for frame in frames} == {(64, 48)}
    steps = {after.pts - before.pts for before, after in zip(frames, frames[1:], strict=False)}
    assert steps == {Fraction(1, 25)}
    assert any("size changes" in warning for warning in warnings)


def test_pictures_in_a_folder_and_alone(tmp_path):
    images = [np.full((20, 30, 3), (10 * n, 50, 90), np.uint8) for n in range(3)]
    for number, image in enumerate(images):
        write_png(tmp_path / f"p{number + 8}.png", image)
    (tmp_path / "p9b.png").write_bytes(b"torn")
    warnings: list[str] = []
    frames = list(read_frames(tmp_path, warnings=warnings))
    assert [frame.pts for frame in frames] == [0, Fraction(1, 25), Fraction(2, 25)]
    assert all((frame.rgb == image).all() for frame, image in zip(frames, images, strict=True))
    assert len(warnings) == 1 and "p9b.png" in warnings[0]
    assert frames[0].color == ColorTags(0, 1, 13, True)
    write_jpeg(tmp_path / "one.jpg", images[0], 100)
    assert [frame.index for frame in read_frames(tmp_path / "one.jpg")] == [0]
    changed = frames[0].changed(np.full((5, 5, 3), 200, np.uint8), 3, 4)
    assert (changed.rgb[4:9, 3:8] == 200).all() and (changed.rgb[:4] == images[0][:4]).all()


def test_errors_come_at_the_first_frame(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        next(iter(read_frames(tmp_path / "none.mp4")))


def test_reading_ahead_is_bounded_and_stops_with_its_reader(clip, monkeypatch):
    made = 0
    original = reader.reduced

    def counting(frame):
        nonlocal made
        made += 1
        return original(frame)

    monkeypatch.setattr(reader, "reduced", counting)
    frames = read_frames(clip("a.mp4", count=80))
    next(iter(frames))
    for _ in range(50):
        threading.Event().wait(0.01)
    assert made <= DEPTH + 4
    frames.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_interrupt_while_waiting_for_a_frame(clip):
    path = clip("a.mp4", count=80)
    # A shell starts its background jobs with the signal ignored; the tests may be one of them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            for frame in read_frames(path):
                if frame.index == 5:
                    signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_after_are_those_of_the_frames_that_would_be_read(clip, tmp_path, name):
    path = clip(name, rate=Fraction(25), ticks=VARIABLE, options={"bf": "3", "g": "4"})
    times = [frame.pts for frame in read_frames(path)]
    assert times_after(path, times[4]) == times[5:] and times_after(path, Fraction(-1)) == times
    assert times_after(path, times[-1]) == []
    for number in range(3):
        write_png(tmp_path / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    assert times_after(tmp_path / "0.png", Fraction(0)) == []
