"""What a video file says about itself: size, rate, rotation, aspect, colour and streams.

In: the path of a video, of a picture or of a folder of pictures. Out: a frozen `VideoInfo`, or a VideoError.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import av
from av.container import InputContainer
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.storage import sha256_file
from faceswap_pipeline.video.images import list_images, read_image
from faceswap_pipeline.video.planes import Orientation, frame_orientation

PICTURE_RATE = Fraction(25)
"""Frames per second of a folder of pictures."""

UNSPECIFIED = 2
"""The code with which ITU-T H.273 says that a colour property is not told."""

_KINDS: dict[str, Literal["video", "audio", "subtitle", "data", "attachment"]] = {
    "video": "video",
    "audio": "audio",
    "subtitle": "subtitle",
    "attachment": "attachment",
}
# What FFmpeg makes of plain text files: they open, but nobody means them as films.
_TEXT_CODECS = {"ansi", "bintext", "xbin", "idf"}
_H273_CODES = {"matrix": set(range(15)), "primaries": {*range(1, 13), 22}, "transfer": set(range(1, 19))}


@dataclass(frozen=True)
class ColorTags:
    """How plane values mean colours: the codes of ITU-T H.273; 2 = unspecified."""

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    full_range: bool = False
    """True: 0..255 means black to white; False: 16..235."""

    def resolved(self, width: int, height: int) -> Self:
        """The same with nothing unspecified.

        As players guess it: from the primaries when only these are tagged; else BT.709 for high definition (long side
        from 1280 or short side above 576 pixels), BT.601 below.
        """
        high_definition = max(width, height) >= 1280 or min(width, height) > 576
        matrix, primaries, transfer = self.matrix, self.primaries, self.transfer
        if matrix == UNSPECIFIED:
            by_primaries = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9}
            matrix = by_primaries.get(primaries, 1 if high_definition else 6)
        if primaries == UNSPECIFIED:
            primaries = {0: 1, 1: 1, 5: 5, 9: 9, 10: 9}.get(matrix, 6)
        if transfer == UNSPECIFIED:
            transfer = {0: 13, 1: 1, 9: 14, 10: 14}.get(matrix, 6)
        return type(self)(matrix, primaries, transfer, self.full_range)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The tags that `to_json` wrote."""
        return cls(**values)


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file. Times are seconds, None when the file does not tell."""

    index: int
    kind: Literal["video", "audio", "subtitle", "data", "attachment"]
    codec: str
    language: str | None
    start: Fraction | None
    duration: Fraction | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, fractions as text."""
        return {name: str(value) if isinstance(value, Fraction) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The stream that `to_json` wrote."""
        times = {name: None if values[name] is None else Fraction(values[name]) for name in ("start", "duration")}
        return cls(**{**values, **times})


@dataclass(frozen=True)
class VideoInfo:
    """What the pipeline needs to know of a video before decoding it."""

    width: int
    """Pixels, after rotation."""
    height: int
    """Pixels, after rotation."""
    rate: Fraction
    """Frames per second, on average."""
    duration: Fraction
    """Seconds of the video stream as the header claims; 0 = not told."""
    rotation: int
    """Degrees clockwise that turn the stored picture upright: 0, 90, 180 or 270."""
    sample_aspect: Fraction
    """Width of a pixel over its height, of the upright picture."""
    pixel_format: str
    """FFmpeg's name of the decoded format."""
    frames: int | None
    """Number of frames as the header claims, None when it does not."""
    color: ColorTags
    """As the file tags it; `ColorTags.resolved` fills what is missing."""
    streams: tuple[StreamInfo, ...]
    time_base: Fraction = Fraction(1, 90000)
    """Seconds of one tick of the video stream: every timestamp is a whole number of these."""

    @property
    def short_side(self) -> int:
        """The smaller of width and height in pixels."""
        return min(self.width, self.height)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; fractions as text such as "30000/1001"."""
        values = {name: str(value) if isinstance(value, Fraction) else value for name, value in vars(self).items()}
        return {**values, "color": self.color.to_json(), "streams": [stream.to_json() for stream in self.streams]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The info that `to_json` wrote."""
        fractions = ("rate", "duration", "sample_aspect", "time_base")
        return cls(
            **{
                **values,
                **{name: Fraction(values[name]) for name in fractions if name in values},
                "color": ColorTags.from_json(values["color"]),
                "streams": tuple(StreamInfo.from_json(stream) for stream in values["streams"]),
            }
        )


def probe(path: Path) -> VideoInfo:
    """Read a file's header and its first frame.

    Raises VideoError when `path` is missing, is a folder without pictures, is no video, or when not one frame decodes.
    """
    pictures = list_images(path)
    if pictures is not None:
        return _probe_pictures(path, pictures)
    with open_video(path) as container:
        stream = video_stream(container, path)
        frame = _first_frame(container, stream, path)
        return describe(container, stream, frame)


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """Open a local file with PyAV and close it at the end of the block; only this file is read, never an address in it.

    Raises VideoError when it is missing, a folder, unreadable or no media file.
    """
    if path.is_dir():
        raise VideoError(f"{path} is a folder without pictures: expected a video, a picture or a folder of pictures")
    if not path.exists():
        raise VideoError(f"{path}: no such file. Check the name and the folder")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty: expected a video. Copy or download it again")
    try:
        container = av.open(f"file:{path}", mode="r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except PermissionError as error:
        raise VideoError(f"{path}: no permission to read it") from error
    except (FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{path} is not a video: {_reason(error)}. Expected mp4, mov, mkv, webm or the like"
        ) from error
    try:
        yield container
    finally:
        container.close()


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The film in a file: its first video stream that is no cover picture.

    Raises VideoError when there is none, or when nothing here decodes its codec.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        found = ", ".join(f"{stream.type} {codec_name(stream)}" for stream in container.streams) or "nothing"
        raise VideoError(f"{path} holds no video (found: {found}): expected a file with moving pictures")
    stream = streams[0]
    if codec_name(stream) in _TEXT_CODECS:
        raise VideoError(f"{path} is not a video: it is text. Expected mp4, mov, mkv, webm or the like")
    if stream.codec_context is None:
        raise VideoError(f"{path}: its video codec is not known here. {_convert_line(path)}")
    return stream


def codec_name(stream: Stream) -> str:
    """The name of a stream's codec ("h264", "aac"), or "unknown"."""
    context = stream.codec_context
    if context is None:
        return str(getattr(stream, "name", None) or "unknown")
    return str(getattr(context.codec, "canonical_name", context.name))


def describe(container: InputContainer, stream: VideoStream, frame: VideoFrame) -> VideoInfo:
    """The info of an open file whose first decoded frame (as stored, not yet turned) is `frame`."""
    orientation = frame_orientation(frame) or Orientation(0, False)
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    sideways = orientation.turns % 2 == 1
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return VideoInfo(
        width=frame.height if sideways else frame.width,
        height=frame.width if sideways else frame.height,
        rate=next((Fraction(rate) for rate in rates if rate), PICTURE_RATE),
        duration=_duration(container, stream),
        rotation=90 * orientation.turns,
        sample_aspect=Fraction(1) / aspect if sideways and aspect else Fraction(aspect or 1),
        pixel_format=frame.format.name,
        frames=stream.frames or None,
        color=frame_color(stream, frame),
        streams=tuple(_stream_info(item) for item in container.streams),
        time_base=Fraction(stream.time_base or Fraction(1, 90000)),
    )


def frame_color(stream: VideoStream, frame: VideoFrame) -> ColorTags:
    """The colour tags of a decoded frame, from the frame where it has them, else from its stream."""
    context = stream.codec_context
    values = {
        "matrix": (frame.colorspace, context.colorspace),
        "primaries": (frame.color_primaries, context.color_primaries),
        "transfer": (frame.color_trc, context.color_trc),
    }
    codes = {
        name: next((int(v) for v in pair if int(v) in _H273_CODES[name] - {UNSPECIFIED}), UNSPECIFIED)
        for name, pair in values.items()
    }
    rgb = frame.format.is_rgb or frame.format.has_palette
    tagged = int(frame.color_range) or int(context.color_range)
    full = rgb or frame.format.name.startswith("yuvj") or tagged == 2
    if rgb:
        return ColorTags(0, codes["primaries"], codes["transfer"], True)
    # Matrix 0 says RGB: on planes of luma and chroma it can only be a wrong tag.
    return ColorTags(codes["matrix"] or UNSPECIFIED, codes["primaries"], codes["transfer"], full)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as hex; of a folder of pictures: over its pictures' names and contents, in order.

    Raises VideoError when there is no such file.
    """
    pictures = list_images(path)
    if pictures is None or not path.is_dir():
        if not path.is_file():
            raise VideoError(f"{path}: no such file. Check the name and the folder")
        return sha256_file(path)
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.name}\0{sha256_file(picture)}\n".encode())
    return digest.hexdigest()


def _probe_pictures(path: Path, pictures: list[Path]) -> VideoInfo:
    height, width = read_image(pictures[0]).shape[:2]
    length = len(pictures) / PICTURE_RATE
    return VideoInfo(
        width=width,
        height=height,
        rate=PICTURE_RATE,
        duration=length,
        rotation=0,
        sample_aspect=Fraction(1),
        pixel_format="gbrp",
        frames=len(pictures),
        color=ColorTags(matrix=0, primaries=1, transfer=13, full_range=True),
        streams=(StreamInfo(0, "video", "pictures", None, Fraction(0), length),),
        time_base=1 / PICTURE_RATE,
    )


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    """The first frame that decodes. Raises VideoError when there is none."""
    last: Exception | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            data = packet if packet is not None and packet.size else None
            frames = [] if packet is not None and data is None else stream.decode(data)
        except FFmpegError as error:
            last, frames = error, []
            if isinstance(error, EndOfFileError):
                packet = None
        if frames:
            return frames[0]
        if packet is None:
            why = f" ({_reason(last)})" if last else ""
            raise VideoError(
                f"{path}: not one frame of its {codec_name(stream)} video could be decoded{why}. {_convert_line(path)}"
            )


def _duration(container: InputContainer, stream: VideoStream) -> Fraction:
    """Seconds of the video stream: its own claim, its DURATION tag (Matroska), or the file's claim; 0 when unknown."""
    if stream.duration and stream.time_base:
        return stream.duration * Fraction(stream.time_base)
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(stream.metadata.get("DURATION", "")).strip("\0 "))
    if match:
        end = 3600 * int(match[1]) + 60 * int(match[2]) + Fraction(match[3])
        start = (stream.start_time or 0) * Fraction(stream.time_base or 0)
        return max(end - start, Fraction(0))
    return Fraction(container.duration or 0, av.time_base)


def _stream_info(stream: Stream) -> StreamInfo:
    base = Fraction(stream.time_base) if stream.time_base else None
    return StreamInfo(
        index=stream.index,
        kind=_KINDS.get(str(stream.type), "data"),
        codec=codec_name(stream),
        language=stream.metadata.get("language"),
        start=None if stream.start_time is None or base is None else stream.start_time * base,
        duration=None if not stream.duration or base is None else stream.duration * base,
    )


def _reason(error: Exception | None) -> str:
    """An FFmpeg error in a few words, without its number and file name."""
    text = getattr(error, "strerror", None) or str(error)
    return str(text)[:1].lower() + str(text)[1:]


def _convert_line(path: Path) -> str:
    return f"Convert it first: ffmpeg -i {path.name} -c:v libx264 -crf 14 -c:a copy {path.stem}_h264.mkv"
