"""What `probe` says of clips of every kind, and how it refuses what is none."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.video.images import write_png
from faceswap_pipeline.video.info import ColorTags, VideoInfo, file_sha256, probe


def test_facts_of_a_clip(clip):
    info = probe(clip("a.mp4", rate=Fraction(30000, 1001), audio=Fraction(1, 2), aspect=Fraction(4, 3)))
    assert (info.width, info.height, info.frames, info.rotation) == (64, 48, 12, 0)
    assert info.rate == Fraction(30000, 1001)
    assert info.duration == 12 * Fraction(1001, 30000)
    assert info.sample_aspect == Fraction(4, 3)
    assert (info.time_base.numerator, info.time_base.denominator % 30000) == (1, 0)
    assert [(stream.kind, stream.codec) for stream in info.streams] == [("video", "h264"), ("audio", "aac")]
    # The encoder's 1024 samples of priming come before the sound; this clip's own clock counts milliseconds.
    assert info.streams[1].start is not None
    assert abs(info.streams[1].start - (Fraction(1, 2) - Fraction(1024, 44100))) < Fraction(1, 1000)


def test_rotation_swaps_sides_and_aspect(clip):
    info = probe(clip("a.mp4", rotation=90, aspect=Fraction(4, 3)))
    assert (info.width, info.height, info.rotation, info.sample_aspect) == (48, 64, 90, Fraction(3, 4))


def test_missing_frame_count_is_none(clip):
    info = probe(clip("a.mkv"))
    assert info.frames is None
    assert info.duration == Fraction(12, 25)


def test_json_there_and_back(clip):
    info = probe(clip("a.mkv", rate=Fraction(24000, 1001), audio=Fraction(0), subtitle="subrip"))
    text = json.dumps(info.to_json())
    assert VideoInfo.from_json(json.loads(text)) == info
    assert '"rate": "24000/1001"' in text


def test_color_tags_are_read_and_full_range_seen(clip):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 2}
    assert probe(clip("a.mp4", tags=tags)).color == ColorTags(9, 9, 16, True)
    assert probe(clip("b.mp4")).color == ColorTags(2, 2, 2, False)
    assert probe(clip("c.mp4", pixel_format="yuvj420p")).color.full_range


@pytest.mark.parametrize(
    ("tags", "size", "expected"),
    [
        (ColorTags(), (1920, 1080), (1, 1, 1)),
        (ColorTags(), (720, 1280), (1, 1, 1)),
        (ColorTags(), (720, 576), (6, 6, 6)),
        (ColorTags(), (640, 360), (6, 6, 6)),
        (ColorTags(primaries=9), (640, 360), (9, 9, 14)),
        (ColorTags(matrix=5), (1920, 1080), (5, 5, 6)),
        (ColorTags(1, 9, 16), (640, 360), (1, 9, 16)),
    ],
)
def test_untagged_colors_are_guessed_as_players_do(tags, size, expected):
    resolved = tags.resolved(*size)
    assert (resolved.matrix, resolved.primaries, resolved.transfer) == expected


def test_folder_and_single_picture(tmp_path):
    for name in ("f10.png", "f2.png"):
        write_png(tmp_path / name, np.zeros((10, 20, 3), np.uint8))
    folder, single = probe(tmp_path), probe(tmp_path / "f2.png")
    assert (folder.width, folder.height, folder.frames, folder.rate, folder.duration) == (
        20,
        10,
        2,
        25,
        Fraction(2, 25),
    )
    assert single.frames == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.mp4", None, "no such file"),
        ("empty.mp4", b"", "is empty"),
        ("noise.mp4", bytes(range(256)) * 40, "is not a video"),
        ("words.txt", b"hello world\n" * 300, "it is text"),
    ],
)
def test_what_is_no_video_is_refused_by_name(tmp_path, name, content, words):
    path: Path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=words) as caught:
        probe(path)
    assert str(path) in str(caught.value)


def test_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(VideoError, match="folder without pictures"):
        probe(tmp_path)


def test_audio_file_names_what_was_found(tmp_path):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    with pytest.raises(VideoError, match="no video.*audio aac"):
        probe(path)


def test_no_decodable_frame_names_codec_and_way_out(clip):
    path = clip("a.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"h264.*ffmpeg -i a\.mp4"):
        probe(path)


def test_hash_of_a_folder_follows_names_and_contents(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    first = file_sha256(tmp_path)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert file_sha256(tmp_path) == first
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    renamed = file_sha256(tmp_path)
    write_png(tmp_path / "b.png", np.ones((4, 4, 3), np.uint8))
    assert len({first, renamed, file_sha256(tmp_path)}) == 3
