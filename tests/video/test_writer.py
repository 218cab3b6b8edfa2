"""Films: the source's times, colours, shape and other streams, whole or not at all."""

import hashlib
import os
import re
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from faceswap_pipeline.errors import OptionError, StorageError, VideoError
from faceswap_pipeline.video import encoders, writer
from faceswap_pipeline.video.encoders import ENCODERS, choose_pixel_format
from faceswap_pipeline.video.images import write_png
from faceswap_pipeline.video.info import ColorTags, probe
from faceswap_pipeline.video.planes import plane_views
from faceswap_pipeline.video.reader import Frame, read_frames
from faceswap_pipeline.video.writer import VideoWriter, join_segments

VARIABLE = [0, 1, 2, 5, 6, 9, 10, 11, 15, 20, 21, 24]
FAST = {"preset": "ultrafast", "quality": 8.0}


def transcode(source: Path, out: Path, **settings) -> VideoWriter:
    with VideoWriter(out, probe(source), copy_from=source, **{**FAST, **settings}) as film:
        for frame in read_frames(source):
            film.write(frame)
    return film


def packets(path: Path, kind: str) -> list[tuple[str, Fraction, Fraction]]:
    """Hash, time and duration of every packet of the streams of a kind."""
    container: Any
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [
            (
                hashlib.sha256(bytes(packet)).hexdigest(),
                packet.pts * packet.time_base,
                packet.duration * packet.time_base,
            )
            for packet in container.demux(streams)
            if streams and packet.size
        ]


def texts(path: Path) -> list[tuple[str, Fraction, Fraction]]:
    """Text, start and length in seconds of every subtitle line that is not empty."""
    found = []
    container: Any
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            for line in packet.decode() if packet.size else []:
                text = re.sub(r"\{.*?\}", "", line.dialogue.decode())
                if text:
                    found.append((text, packet.pts * packet.time_base, packet.duration * packet.time_base))
    return found


def times(path: Path) -> list[tuple[Fraction, Fraction]]:
    return [(frame.pts, frame.duration) for frame in read_frames(path)]


def difference(first: Frame, second: Frame) -> float:
    pairs = zip(plane_views(first.planes), plane_views(second.planes), strict=True)
    return max(float(np.abs(a.astype(int) - b).mean()) for a, b in pairs)


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
@pytest.mark.parametrize(
    "settings",
    [
        {"rate": Fraction(25)},
        {"rate": Fraction(30000, 1001)},
        {"rate": Fraction(24000, 1001), "name": "a.mkv"},
        {"ticks": VARIABLE, "base": Fraction(1001, 60000)},
        {"ticks": [tick + 7 for tick in VARIABLE], "base": Fraction(1, 1001)},
        {"count": 1},
    ],
)
def test_times_are_the_sources(clip, tmp_path, ending, settings):
    source = clip(settings.pop("name", "a.mp4"), **settings)
    out = tmp_path / f"film{ending}"
    film = transcode(source, out, preset="medium")
    assert times(out) == times(source)
    before, after = probe(source), probe(out)
    assert after.duration == times(source)[-1][0] + times(source)[-1][1] - times(source)[0][0]
    assert after.rate == before.rate or source.suffix == ".mkv"
    assert film.notes == []


def test_matroska_rounds_to_milliseconds(clip, tmp_path):
    source = clip("a.mp4", rate=Fraction(30000, 1001))
    transcode(source, tmp_path / "film.mkv")
    got = [pts for pts, _ in times(tmp_path / "film.mkv")]
    assert [abs(a - b) <= Fraction(1, 2000) for a, (b, _) in zip(got, times(source), strict=True)] == [True] * 12


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_every_software_encoder_keeps_pictures_and_times(clip, tmp_path, encoder, capfd):
    source = clip("a.mp4", ticks=VARIABLE, base=Fraction(1, 50), size=(96, 80))
    out = tmp_path / "film.mp4"
    film = transcode(source, out, encoder=encoder, preset={"libsvtav1": "12"}.get(encoder, "ultrafast"))
    assert film.notes == []
    assert probe(out).streams[0].codec == ENCODERS[encoder].codec
    assert times(out) == times(source)
    for before, after in zip(read_frames(source), read_frames(out), strict=True):
        assert difference(before, after) < 2
    with av.open(str(out)) as container:
        tag = container.streams.video[0].codec_context.codec_tag
    assert tag == {"libx264": "avc1", "libx265": "hvc1", "libsvtav1": "av01"}[encoder]


@pytest.mark.parametrize(
    ("tags", "size", "expected"),
    [
        ({"colorspace": 1, "color_primaries": 1, "color_trc": 1}, (64, 48), ColorTags(1, 1, 1)),
        ({"colorspace": 9, "color_primaries": 9, "color_trc": 16}, (64, 48), ColorTags(9, 9, 16)),
        ({"colorspace": 5, "color_primaries": 5, "color_trc": 6}, (64, 48), ColorTags(5, 5, 6)),
        ({"color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1}, (64, 48), ColorTags(1, 1, 1, True)),
        (None, (64, 48), ColorTags(2, 2, 2)),
        (None, (1280, 720), ColorTags(1, 1, 1)),
    ],
)
def test_color_tags_are_carried(clip, tmp_path, tags, size, expected):
    source = clip("a.mp4", count=2, tags=tags, size=size)
    out = tmp_path / "film.mp4"
    transcode(source, out)
    assert probe(out).color == expected
    for before, after in zip(read_frames(source), read_frames(out), strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb).mean() < 2.5


def test_shape_is_kept_and_upright(clip, tmp_path):
    source = clip("a.mp4", rotation=90, aspect=Fraction(4, 3), size=(80, 48))
    out = tmp_path / "film.mp4"
    transcode(source, out)
    info = probe(out)
    assert (info.width, info.height, info.rotation, info.sample_aspect) == (48, 80, 0, Fraction(3, 4))
    for before, after in zip(read_frames(source), read_frames(out), strict=True):
        assert difference(before, after) < 2


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "gray", "bgr0"])
def test_odd_sizes_lose_no_pixel(clip, tmp_path, encoder, pixel_format):
    source = clip("a.mkv", codec="ffv1", pixel_format=pixel_format, size=(63, 47), count=3)
    out = tmp_path / "film.mp4"
    film = transcode(source, out, encoder=encoder)
    info = probe(out)
    assert (info.width, info.height, info.pixel_format) == (63, 47, "yuv444p")
    assert any("yuv444p" in note for note in film.notes)
    for before, after in zip(read_frames(source), read_frames(out), strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb).mean() < 3


@pytest.mark.parametrize(
    ("planes", "size", "expected"),
    [
        ("yuv420p", (64, 48), {"libx264": "yuv420p", "libsvtav1": "yuv420p", "h264_nvenc": "yuv420p"}),
        ("yuv422p", (64, 48), {"libx264": "yuv422p", "libsvtav1": "yuv420p", "h264_nvenc": "yuv420p"}),
        ("yuv444p", (64, 48), {"libx264": "yuv444p", "libsvtav1": "yuv420p", "h264_nvenc": "yuv444p"}),
        ("gbrp", (64, 48), {"libx264": "yuv420p", "libx265": "yuv420p"}),
        ("yuv420p", (63, 48), {"libx264": "yuv444p", "libsvtav1": "yuv420p", "h264_nvenc": "yuv444p"}),
        ("gray", (64, 47), {"libx264": "yuv444p"}),
    ],
)
def test_choice_of_pixel_format(planes, size, expected):
    for name, chosen in expected.items():
        assert choose_pixel_format(ENCODERS[name], planes, *size) == chosen


def test_rgb_source_keeps_its_colors(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32], image[24:, 32:] = (
        (200, 40, 40),
        (40, 180, 60),
        (30, 60, 190),
        128,
    )
    (tmp_path / "in").mkdir()
    for number in range(3):
        write_png(tmp_path / "in" / f"{number}.png", image)
    with VideoWriter(tmp_path / "film.mp4", probe(tmp_path / "in"), **FAST) as film:
        for frame in read_frames(tmp_path / "in"):
            film.write(frame)
    info = probe(tmp_path / "film.mp4")
    assert (info.rate, info.duration, info.pixel_format, info.color) == (
        25,
        Fraction(3, 25),
        "yuv420p",
        ColorTags(6, 6, 6),
    )
    for frame in read_frames(tmp_path / "film.mp4"):
        for y, x in ((10, 15), (10, 50), (35, 15), (35, 50)):
            assert np.abs(frame.rgb[y, x].astype(int) - image[y, x]).max() <= 5


@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 2), Fraction(12345, 44100)])
@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_audio_packets_are_the_sources(clip, tmp_path, start, ending):
    source = clip("a.mp4", count=30, audio=start, audio_seconds=2.0)
    out = tmp_path / f"film{ending}"
    film = transcode(source, out)
    assert packets(out, "audio") == packets(source, "audio")
    assert len(packets(out, "audio")) > 80
    assert probe(out).streams[1].start == probe(source).streams[1].start
    assert film.notes == []


def test_sound_decodes_to_the_same_samples(clip, tmp_path):
    def samples(path: Path) -> list[tuple[int | None, bytes]]:
        with av.open(str(path)) as container:
            return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(audio=0)]

    source = clip("a.mp4", count=30, audio=Fraction(0))
    transcode(source, tmp_path / "film.mp4")
    assert samples(tmp_path / "film.mp4") == samples(source)


def test_late_pictures_and_early_sound_keep_their_distance(clip, tmp_path):
    source = clip("a.mp4", ticks=[tick + 20 for tick in range(12)], base=Fraction(1, 25), audio=Fraction(1, 100))
    transcode(source, tmp_path / "film.mp4")
    assert times(tmp_path / "film.mp4") == times(source)
    assert packets(tmp_path / "film.mp4", "audio") == packets(source, "audio")


def test_sound_the_container_cannot_hold_becomes_aac_in_step(clip, tmp_path):
    source = clip("a.mov", count=40, audio=Fraction(1, 2), audio_codec="pcm_mulaw")
    film = transcode(source, tmp_path / "film.mp4")
    assert any("audio stream 1 (pcm_mulaw) is converted to AAC" in note for note in film.notes)

    def loud(path: Path) -> Fraction:
        """When the sine begins, in seconds."""
        container: Any
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                wave = np.abs(frame.to_ndarray().astype(float).reshape(-1))
                level = 0.1 if frame.format.name.startswith("flt") else 3000
                if wave.max() > level:
                    offset = int(np.argmax(wave > level)) // (1 if frame.format.is_planar else 2)
                    return frame.pts * frame.time_base + Fraction(offset, frame.sample_rate)
        raise AssertionError("silence")

    assert probe(tmp_path / "film.mp4").streams[1].codec == "aac"
    assert abs(loud(tmp_path / "film.mp4") - loud(source)) < Fraction(1, 200)


def test_text_subtitles_become_mov_text(clip, tmp_path):
    source = clip("a.mkv", subtitle="subrip")
    film = transcode(source, tmp_path / "film.mp4")
    assert film.notes == ["subtitle stream 1 (subrip, eng) is converted to mov_text: mp4 cannot hold it"]
    stream = probe(tmp_path / "film.mp4").streams[1]
    assert (stream.kind, stream.codec, stream.language) == ("subtitle", "mov_text", "eng")
    expected = [("one", Fraction(1, 10), Fraction(15, 100)), ("two", Fraction(3, 10), Fraction(15, 100))]
    assert texts(tmp_path / "film.mp4") == texts(source) == expected


def test_mov_text_is_copied(clip, tmp_path):
    source = clip("a.mp4", subtitle="mov_text")
    film = transcode(source, tmp_path / "film.mp4")
    assert film.notes == []
    assert texts(tmp_path / "film.mp4") == texts(source)
    assert packets(tmp_path / "film.mp4", "subtitle") == packets(source, "subtitle")


def test_picture_subtitles_go_beside_the_film(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("faceswap_pipeline.video.copying._PICTURE_SUBTITLES", {"subrip"})
    source = clip("a.mkv", subtitle="subrip")
    film = transcode(source, tmp_path / "film.mp4")
    assert film.notes == ["subtitle stream 1 (subrip, eng) is written beside the film: film.1.eng.mks"]
    assert texts(tmp_path / "film.1.eng.mks") == texts(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "film.1.eng.mks", "film.mp4"]


def test_everything_is_copied_into_matroska(clip, tmp_path):
    source = clip("a.mkv", subtitle="subrip", audio=Fraction(1, 2), audio_codec="pcm_s16le", metadata={"title": "A"})
    film = transcode(source, tmp_path / "film.mkv")
    assert film.notes == []
    for kind in ("audio", "subtitle"):
        assert packets(tmp_path / "film.mkv", kind) == packets(source, kind)
    with av.open(str(tmp_path / "film.mkv")) as container:
        assert container.metadata["title"] == "A"


def test_chapters_are_carried_and_other_pictures_named(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        streams = [out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p") for _ in range(2)]
        chapter = {"id": 1, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}
        out.set_chapters([chapter])  # type: ignore[list-item]
        for index in range(10):
            for stream in streams:
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    film = transcode(source, tmp_path / "film.mp4")
    assert film.notes == ["video stream 1 (h264) is left out: only the film, audio and subtitles are carried"]
    with av.open(str(tmp_path / "film.mp4")) as container:
        (kept,) = container.chapters()
    base = kept["time_base"]
    assert base and (kept["start"] * base, kept["end"] * base) == (0, Fraction(3, 10))
    assert kept["metadata"]["title"] == "one"


def test_deep_source_is_said_once(clip, tmp_path):
    source = clip("a.mov", codec="prores_ks", pixel_format="yuv422p10le", options={}, count=3)
    film = transcode(source, tmp_path / "film.mp4")
    assert [note for note in film.notes if "10 bits" in note] == film.notes[-1:]
    assert times(tmp_path / "film.mp4") == times(source)


def test_very_late_source_is_moved_as_a_whole(clip, tmp_path):
    ticks = [tick + 25 * 3600 for tick in range(12)]
    source = clip("a.mp4", ticks=ticks, base=Fraction(1, 25), audio=Fraction(3600))
    film = transcode(source, tmp_path / "film.mp4")
    assert len(film.notes) == 1 and "moved by -" in film.notes[0]
    move = times(source)[0][0] - times(tmp_path / "film.mp4")[0][0]
    assert move == 3599
    assert [pts + move for pts, _ in times(tmp_path / "film.mp4")] == [pts for pts, _ in times(source)]
    copied = [(hash_, pts + move, length) for hash_, pts, length in packets(tmp_path / "film.mp4", "audio")]
    assert copied == packets(source, "audio")


def test_unusable_encoder_falls_back_and_says_so(clip, tmp_path, monkeypatch):
    broken = encoders.Encoder("h264", "cq", (1, 51), "", "p5", ("p5",), options={"nothing": "1"})
    monkeypatch.setitem(ENCODERS, "no_such_encoder", broken)
    source = clip("a.mp4", count=3, audio=Fraction(0))
    film = transcode(source, tmp_path / "film.mp4", encoder="no_such_encoder", preset=None)
    assert len(film.notes) == 1 and "no_such_encoder cannot be opened" in film.notes[0] and "libx264" in film.notes[0]
    assert times(tmp_path / "film.mp4") == times(source)
    assert packets(tmp_path / "film.mp4", "audio") == packets(source, "audio")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "h265"}, "--encoder is 'h265': expected one of libx264"),
        ({"quality": 60.0}, "--quality is 60: libx264 expects 0"),
        ({"preset": "p5"}, "--preset is 'p5': libx264 expects one of ultrafast"),
    ],
)
def test_wrong_options_are_named_before_work_begins(clip, tmp_path, settings, words):
    with pytest.raises(OptionError, match=words):
        VideoWriter(tmp_path / "film.mp4", probe(clip("a.mp4")), **settings)


def test_wrong_targets_are_refused(clip, tmp_path):
    info = probe(clip("a.mp4"))
    with pytest.raises(VideoError, match=r"films end in \.mp4"):
        VideoWriter(tmp_path / "film.gif", info)
    with pytest.raises(VideoError, match="no folder"), VideoWriter(tmp_path / "none" / "film.mp4", info):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a part of this path is a file"):
        VideoWriter(tmp_path / "file" / "film.mp4", info).__enter__()


def test_frames_out_of_order_or_shape_are_refused(clip, tmp_path):
    frames = list(read_frames(clip("a.mp4")))
    info = probe(clip("a.mp4"))
    with pytest.raises(VideoError, match="not later"), VideoWriter(tmp_path / "film.mp4", info) as film:
        film.write(frames[1])
        film.write(frames[1])
    other = next(iter(read_frames(clip("b.mp4", size=(32, 32), count=1))))
    with (
        pytest.raises(VideoError, match="all frames must have one size"),
        VideoWriter(tmp_path / "f.mp4", info) as film,
    ):
        film.write(other)
    with pytest.raises(VideoError, match="no frame was written"), VideoWriter(tmp_path / "film.mp4", info):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_exception_leaves_the_old_film_and_nothing_else(clip, tmp_path, error):
    source = clip("a.mp4", audio=Fraction(0))
    (tmp_path / "film.mp4").write_bytes(b"old")
    with pytest.raises(error), VideoWriter(tmp_path / "film.mp4", probe(source), copy_from=source) as film:
        for frame in read_frames(source):
            film.write(frame)
            if frame.index == 5:
                raise error
    assert (tmp_path / "film.mp4").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "film.mp4"]


def test_full_disk_is_said_and_leaves_nothing(clip, tmp_path):
    source = clip("a.mp4", count=60, size=(320, 240), audio=Fraction(0))
    script = f"""
import resource, signal, sys
from pathlib import Path
from faceswap_pipeline.errors import StorageError
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
source = Path({str(source)!r})
info = probe(source)
resource.setrlimit(resource.RLIMIT_FSIZE, ({source.stat().st_size // 2}, {source.stat().st_size // 2}))
try:
    with VideoWriter(Path({str(tmp_path / "film.mp4")!r}), info, quality=1.0, copy_from=source) as film:
        for frame in read_frames(source):
            film.write(frame)
except StorageError as error:
    print("StorageError", error)
"""
    assert hasattr(resource, "RLIMIT_FSIZE")
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("StorageError") and "film.mp4" in done.stdout, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]


@pytest.mark.parametrize("cuts", [(30,), (7, 8, 29), (1, 2, 3)])
@pytest.mark.parametrize(
    "settings",
    [
        {"audio": Fraction(1, 2), "preset": "medium"},
        {"audio": Fraction(0), "ticks": [3 * tick + (tick * tick) % 3 for tick in range(40)], "base": Fraction(1, 90)},
        {"rate": Fraction(30000, 1001), "encoder": "libx265", "preset": "fast"},
        {"rotation": 90, "audio": Fraction(0), "aspect": Fraction(4, 3)},
    ],
)
def test_joined_segments_equal_the_uninterrupted_film(clip, tmp_path, cuts, settings):
    how = {"preset": settings.pop("preset", "medium"), "encoder": settings.pop("encoder", "libx264")}
    source = clip("a.mp4", count=40, **settings)
    transcode(source, tmp_path / "whole.mp4", **how)
    info = probe(source)
    segments = []
    for number, (start, stop) in enumerate(zip((0, *cuts), (*cuts, 40), strict=True)):
        segments.append(tmp_path / f"segment{number}.mp4")
        with VideoWriter(segments[-1], info, **{**FAST, **how}) as film:
            for frame in read_frames(source, start=start, stop=stop):
                film.write(frame)
    assert join_segments(segments, tmp_path / "joined.mp4", info, source) == []
    whole, joined = tmp_path / "whole.mp4", tmp_path / "joined.mp4"
    assert times(joined) == times(whole) == times(source)
    assert packets(joined, "audio") == packets(whole, "audio") == packets(source, "audio")
    first, second = probe(whole), probe(joined)
    for name in ("width", "height", "duration", "sample_aspect", "color", "frames", "streams"):
        assert getattr(first, name) == getattr(second, name), name
    for before, after in zip(read_frames(source), read_frames(joined), strict=True):
        assert difference(before, after) < 2


def test_segments_that_do_not_fit_are_refused(clip, tmp_path):
    source = clip("a.mp4", count=20)
    info = probe(source)

    def segment(name: str, start: int, stop: int, **how) -> Path:
        with VideoWriter(tmp_path / name, info, **{**FAST, **how}) as film:
            for frame in read_frames(source, start=start, stop=stop):
                film.write(frame)
        return tmp_path / name

    first = segment("1.mp4", 0, 10)
    with pytest.raises(VideoError, match="overlaps"):
        join_segments([first, segment("2.mp4", 9, 20)], tmp_path / "film.mp4", info)
    with pytest.raises(VideoError, match="other options"):
        join_segments([first, segment("3.mp4", 10, 20, encoder="libx265")], tmp_path / "film.mp4", info)
    with pytest.raises(VideoError, match="no such file"):
        join_segments([first, tmp_path / "none.mp4"], tmp_path / "film.mp4", info)
    with pytest.raises(VideoError, match="no segment"):
        join_segments([], tmp_path / "film.mp4", info)
    assert not (tmp_path / "film.mp4").exists() and not list(tmp_path.glob(".*.part"))


def test_unchanged_frames_go_in_as_decoded(clip, tmp_path, monkeypatch):
    """Lossless encoding gives back the very planes: no conversion lies between decoder and encoder."""
    source = clip("a.mp4", count=5)
    transcode(source, tmp_path / "film.mp4", quality=0.0)
    for before, after in zip(read_frames(source), read_frames(tmp_path / "film.mp4"), strict=True):
        assert difference(before, after) == 0
    assert writer.FilmFile


def test_the_same_pictures_are_the_same_film_whatever_memory_held_before(clip, tmp_path):
    """A segment made again after a kill equals the first; glibc fills memory as MALLOC_PERTURB_ says."""
    script = """
import sys
from pathlib import Path
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import VideoWriter
source, out = map(Path, sys.argv[1:])
with VideoWriter(out, probe(source)) as film:
    for frame in read_frames(source):
        film.write(frame)
"""
    source, films = clip("a.mp4", count=25), []
    for filling in ("1", "254"):
        out = tmp_path / f"{filling}.mp4"
        environment = os.environ | {"MALLOC_PERTURB_": filling}
        subprocess.run([sys.executable, "-c", script, source, out], env=environment, check=True)
        films.append(packets(out, "video"))
    assert films[0] == films[1]
