"""Tiny clips made with PyAV: moving patterns, sine audio, subtitles, odd times, odd shapes."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.subtitles.subtitle import SubtitleSet


def make_pattern(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A smooth picture that differs from frame to frame and from side to side, uint8 (H, W, 3) RGB."""
    y, x = np.mgrid[0:height, 0:width]
    red = 60 + 120 * x / width + 20 * np.sin(index / 3)
    green = 60 + 120 * y / height
    blue = 90 + 60 * np.cos((x + y + 2 * index) / 20)
    image = np.stack([red, green, blue], -1)
    left = (3 * index) % (width - 12)
    image[5:15, left : left + 12] = (200, 60, 60)
    return np.rint(image).astype(np.uint8)


def make_clip(
    path: Path,
    count: int = 12,
    size: tuple[int, int] = (64, 48),
    rate: Fraction = Fraction(25),
    ticks: list[int] | None = None,
    base: Fraction | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    tags: dict[str, int] | None = None,
    audio: Fraction | None = None,
    audio_seconds: float = 1.0,
    audio_codec: str = "aac",
    subtitle: str | None = None,
    metadata: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Write a clip; `ticks` are its frame times in units of `base`; `audio` is where its sine starts, in seconds."""
    base = base or 1 / rate
    with av.open(str(path), "w", container_options=container) as out:
        out.metadata.update(metadata or {})
        x264 = {"crf": "12", "preset": "veryfast", "x264-params": "cpu-independent=1"}
        default = x264 if codec == "libx264" else {}
        stream: Any = out.add_stream(codec, rate=rate, options=default if options is None else options)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.sample_aspect_ratio = aspect or Fraction(1)
        for name, value in (tags or {}).items():
            setattr(stream, name, value)
        if rotation is not None:
            stream.set_display_rotation(-rotation, hflip=mirrored)
        sound: Any = (
            out.add_stream(audio_codec, rate=48000 if audio_codec == "libopus" else 44100)
            if audio is not None
            else None
        )
        lines: Any = out.add_stream(subtitle) if subtitle else None
        if lines is not None:
            lines.codec_context.subtitle_header = ASS_HEADER
            lines.metadata["language"] = "eng"
            lines.time_base = Fraction(1, 1000)
        packets = []
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(make_pattern(index, *size), "rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = ticks[index] if ticks else index, base
            if tags and "color_range" in tags:
                frame.color_range = tags["color_range"]
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound is not None and audio is not None:
            packets += _sine(sound, audio, audio_seconds)
        if lines is not None:
            packets += [_line(lines, text, start) for text, start in (("one", 100), ("two", 300))]
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            out.mux(packet)
    return path


ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _sine(stream: Any, start: Fraction, seconds: float) -> list[Any]:
    time = np.arange(int(44100 * seconds)) / 44100
    wave = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
    frame.sample_rate = 44100
    frame.time_base, frame.pts = Fraction(1, 44100), int(start * 44100)
    return stream.encode(frame) + stream.encode(None)


def _line(stream: Any, text: str, start: int) -> Any:
    line = SubtitleSet.create(f"0,0,Default,,0,0,0,,{text}".encode(), start=0, end=150, pts=start)
    packet = stream.codec_context.encode_subtitle(line)
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = start
    packet.duration = 150
    packet.stream = stream
    return packet


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """`clip("name.mp4", count=12, ...)` writes a clip into the test's folder; see `make_clip`."""
    return lambda name, **settings: make_clip(tmp_path / name, **settings)


@pytest.fixture
def pattern() -> Callable[..., np.ndarray]:
    """`pattern(index, width, height)`: the picture that frame `index` of a clip was made of."""
    return make_pattern
