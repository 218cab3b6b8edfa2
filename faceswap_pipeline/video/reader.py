"""Upright frames with exact times out of any video, folder of pictures or single picture.

In: a path. Out: an iterator of `Frame`, decoded ahead on a thread; the planes stay as they came, RGB is made on demand.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.geometry import compose_matrices
from faceswap_pipeline.imaging import block_side, shown_region, warp
from faceswap_pipeline.video.ahead import ahead
from faceswap_pipeline.video.images import list_images, read_image
from faceswap_pipeline.video.info import PICTURE_RATE, ColorTags, frame_color, open_video, video_stream
from faceswap_pipeline.video.planes import (
    FULL_RANGE,
    Orientation,
    can_show,
    copied,
    frame_orientation,
    half_rgb,
    part_to_rgb,
    plane_views,
    reduced,
    to_rgb,
    upright,
    with_difference,
)

DEPTH = 8
"""Frames that may wait decoded: the bound of the reader's memory."""

_INDEXED = {"mov", "mp4", "matroska", "webm"}
_JUMP = Fraction(1)
_SEEK_MARGIN = Fraction(1)


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright frame."""

    index: int
    """Counts the decoded frames of its source from 0."""
    pts: Fraction
    """Seconds, on the clock of the source."""
    planes: VideoFrame
    """8 bits, one of yuv420p, yuv422p, yuv444p, gray, gbrp; never written to."""
    color: ColorTags
    """Resolved: nothing is unspecified."""
    duration: Fraction = Fraction(0)
    """Seconds that it is shown: to the next frame, or to the end of the source."""
    bits: int = 8
    """Bits per sample in the source; the planes hold 8."""

    @property
    def width(self) -> int:
        """Pixels."""
        return self.planes.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.planes.height

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3), not writeable: made once, when first asked for."""
        image = to_rgb(self.planes)
        image.flags.writeable = False
        return image

    def part(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """`rgb[y : y + height, x : x + width]`, a region inside the frame; RGB of the rest is not made for it."""
        if "rgb" in vars(self):
            return self.rgb[y : y + height, x : x + width]
        return part_to_rgb(self.planes, x, y, width, height)

    def warped(self, matrix: ArrayLike, size: tuple[int, int]) -> NDArray[np.uint8]:
        """`warp(rgb, matrix, size)`; RGB of what does not show is not made for it.

        Where the matrix shrinks by more than a half, RGB is made at half the size, some levels off at most.
        """
        x, y, width, height = shown_region(matrix, size, (self.width, self.height))
        here = compose_matrices(matrix, [[1, 0, x], [0, 1, y]])
        if block_side(matrix) == 1 or min(width, height) < 2:
            return warp(self.part(x, y, width, height), here, size)
        half = half_rgb(self.planes, (x, y, width - width % 2, height - height % 2))
        return warp(half, compose_matrices(here, [[2, 0, 0.5], [0, 2, 0.5]]), size, averaged=True)

    def copied(self) -> "Frame":
        """The same frame with planes of its own, to be written to."""
        return replace(self, planes=copied(self.planes))

    def changed(self, rgb_new: NDArray[np.uint8], x: int, y: int) -> "Frame":
        """The frame with the region whose top-left pixel is (x, y) showing `rgb_new`, uint8 (h, w, 3) RGB.

        Only the difference to `rgb` is pushed through the colour matrix and added to the planes: where they are equal,
        not one plane value changes. Raises ValueError when the region is not inside the frame.
        """
        height, width = rgb_new.shape[:2]
        if x < 0 or y < 0 or x + width > self.width or y + height > self.height or rgb_new.dtype != np.uint8:
            raise ValueError(
                f"region {rgb_new.dtype} {width}x{height} at ({x}, {y}) is not inside {self.width}x{self.height}"
            )
        difference = rgb_new.astype(np.int16) - self.part(x, y, width, height)
        planes = with_difference(self.planes, difference, x, y)
        return Frame(self.index, self.pts, planes, self.color, self.duration, self.bits)


def read_frames(
    path: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    start_pts: Fraction | None = None,
    warnings: list[str] | None = None,
) -> Iterator[Frame]:
    """Yield the upright frames `start` to `stop` (excluded) of a video, a folder of pictures or a single picture.

    Indexes count decoded frames. `start_pts`, the exact time of frame `start`, lets files with an index be entered at
    the key frame before it; the frames are the same as without. A damaged file yields every frame that decodes, then
    adds a line to `warnings`. A frame without a time follows its predecessor by one frame length; one not later than
    its predecessor follows by one tick; a jump back of over a second (joined recordings) shifts all that follow.

    Decoding runs ahead on a thread, at most `DEPTH` frames. Raises VideoError when there is nothing to read.
    """
    notes = warnings if warnings is not None else []
    pictures = list_images(path)
    frames = _read_pictures(pictures, notes) if pictures is not None else _read_video(path, start, start_pts, notes)
    first = start if pictures is not None else 0
    return ahead(islice(frames, first, None if stop is None else max(stop - start + first, 0)), DEPTH)


def times_after(path: Path, time: Fraction) -> list[Fraction]:
    """The times of the frames that are shown later than `time`, as the container tells them, nothing decoded.

    For a whole film in a container that keeps each frame's time (not AVI), these are the frames and times that
    `read_frames` gives. Raises VideoError.
    """
    pictures = list_images(path)
    if pictures is not None:
        return [at for at in (index / PICTURE_RATE for index in range(len(pictures))) if at > time]
    with open_video(path) as container:
        stream = video_stream(container, path)
        base = Fraction(stream.time_base or 0)
        with suppress(FFmpegError):
            container.seek(int(time / base) if base else 0, stream=stream)
        times = set()
        with suppress(FFmpegError):
            for packet in container.demux(stream):
                if packet.pts is not None and packet.size and not packet.is_discard:
                    times.add(packet.pts * base)
    return sorted(at for at in times if at > time)


def picture_frame(image: NDArray[np.uint8], index: int, pts: Fraction, duration: Fraction) -> Frame:
    """A frame made of an RGB picture uint8 (H, W, 3)."""
    planes = VideoFrame(image.shape[1], image.shape[0], "gbrp")
    for view, channel in zip(plane_views(planes), (1, 2, 0), strict=True):
        view[:] = image[..., channel]
    color = ColorTags(matrix=0, primaries=1, transfer=13, full_range=True)
    _tag(planes, color)
    _set_times(planes, pts, duration, 1 / PICTURE_RATE)
    return Frame(index, pts, planes, color, duration)


def _read_pictures(pictures: list[Path], warnings: list[str]) -> Generator[Frame, None, None]:
    index = 0
    for picture in pictures:
        try:
            image = read_image(picture)
        except VideoError as error:
            warnings.append(f"left out: {error}")
            continue
        yield picture_frame(image, index, index / PICTURE_RATE, 1 / PICTURE_RATE)
        index += 1


def _read_video(
    path: Path, start: int, start_pts: Fraction | None, warnings: list[str]
) -> Generator[Frame, None, None]:
    """Frames from index `start` on."""
    if start > 0 and start_pts is not None:
        entered = _enter_at(path, start, start_pts)
        if entered is not None:
            yield from entered
            return
    yield from islice(_whole_video(path, warnings, start), start, None)


def _whole_video(path: Path, warnings: list[str], plain_until: int = 0) -> Generator[Frame, None, None]:
    """All frames from the beginning; those before `plain_until` are only placeholders, to be dropped by the caller."""
    count = 0
    try:
        for frame in _decode(path, warnings, tolerant=False, plain_until=plain_until):
            yield frame
            count += 1
    except _DamagedError:
        # Frame threads lose pictures around damage. Decode again without them: the frames so far are the same.
        tolerant = _decode(path, warnings, tolerant=True, plain_until=max(plain_until, count))
        yield from islice(tolerant, count, None)


class _DamagedError(Exception):
    """Something in the file does not decode."""


def _decode(path: Path, warnings: list[str], *, tolerant: bool, plain_until: int) -> Generator[Frame, None, None]:
    """All frames. When not `tolerant`, the first trouble raises _DamagedError; else it is counted and recorded."""
    with open_video(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "SLICE" if tolerant else "AUTO"
        make = _FrameMaker(stream, warnings)
        troubles: list[str] = []
        promised = _promised_packets(container, stream)
        frames = (
            make(raw, plain=make.count < plain_until)
            for raw in _decoded(container, stream, troubles, tolerant=tolerant, promised=promised)
        )
        yield from _with_durations(frames, stream_end(container, stream), troubles)
        if make.count == 0:
            raise VideoError(f"{path}: not one frame of its video could be decoded")
        if troubles:
            warnings.append(f"{path.name} is damaged or cut off: {make.count} frames could be decoded ({troubles[0]})")


def _with_durations(frames: Iterator[Frame], end: Fraction | None, troubles: list[str]) -> Generator[Frame, None, None]:
    """The frames with the time to the next one as duration; the last is shown until `end` unless there was trouble.

    What mp4 states per frame is the distance in decoding order, which is not how long a frame is shown.
    """
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            yield _lasting(held, frame.pts - held.pts)
        held = frame
    if held is not None:
        rest = end - held.pts if end is not None and not troubles else Fraction(0)
        yield _lasting(held, rest if rest > 0 else held.duration)


def _lasting(frame: Frame, duration: Fraction) -> Frame:
    base = frame.planes.time_base
    if base:
        frame.planes.duration = int(duration / base)
    return replace(frame, duration=duration)


def stream_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """When the last frame of a video ends, in seconds, where the container keeps that exactly."""
    if "mp4" not in container.format.name.split(",") or not stream.duration or not stream.time_base:
        return None
    return ((stream.start_time or 0) + stream.duration) * Fraction(stream.time_base)


def _decoded(
    container: InputContainer, stream: VideoStream, troubles: list[str], *, tolerant: bool, promised: int = 0
) -> Generator[VideoFrame, None, None]:
    """What the decoder gives; fewer than `promised` packets are a trouble.

    When `tolerant`, one line per trouble goes to `troubles`, else the first one raises _DamagedError.
    """
    packets = 0

    def trouble(text: str) -> None:
        if not tolerant:
            raise _DamagedError(text)
        troubles.append(text)

    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer, None)
        except FFmpegError as error:
            trouble(str(error.strerror))
            packet = None
        if packet is None or (packet.size == 0 and packet.dts is None):
            break
        packets += 1
        if packet.size == 0:  # a repeated picture (AVI, Theora)
            continue
        try:
            yield from stream.decode(packet)
        except FFmpegError as error:
            trouble(str(error.strerror))
    if packets < promised:
        trouble(f"its index promises {promised} pictures, {packets} are there")
    while True:
        try:
            yield from stream.decode(None)
            return
        except EndOfFileError:
            return
        except FFmpegError as error:
            trouble(str(error.strerror))
            if len(troubles) > packets:
                return


def _promised_packets(container: InputContainer, stream: VideoStream) -> int:
    """How many packets the file's index lists; 0 for containers whose index does not list every one."""
    return len(stream.index_entries) if "mp4" in container.format.name.split(",") else 0


def _enter_at(path: Path, start: int, start_pts: Fraction) -> Generator[Frame, None, None] | None:
    """Frames from the one at `start_pts` on, numbered from `start`, without decoding all before it.

    None when that is not certain to give the same frames: no index, no frame at exactly that time, or any damage.
    """
    frames = _entered(path, start, start_pts)
    try:
        first = next(frames)
    except (StopIteration, _DamagedError):
        return None

    def all_frames() -> Generator[Frame, None, None]:
        last = first
        yield first
        try:
            for frame in frames:
                yield frame
                last = frame
        except _DamagedError:
            yield from islice(_whole_video(path, [], last.index + 1), last.index + 1, None)
        finally:
            frames.close()

    return all_frames()


def _entered(path: Path, start: int, start_pts: Fraction) -> Generator[Frame, None, None]:
    with open_video(path) as container:
        stream = video_stream(container, path)
        if not _INDEXED & set(container.format.name.split(",")) or not stream.time_base:
            return
        stream.thread_type = "AUTO"
        depth = stream.codec_context.reorder_depth
        try:
            container.seek(int((start_pts - _SEEK_MARGIN) / stream.time_base), stream=stream)
        except FFmpegError:
            return
        stream.codec_context.reorder_depth = depth
        make = _FrameMaker(stream, [], start)
        frames = _made_from(start_pts, _decoded(container, stream, [], tolerant=False), make, stream)
        yield from _with_durations(frames, stream_end(container, stream), [])


def _made_from(
    start_pts: Fraction, decoded: Iterator[VideoFrame], make: "_FrameMaker", stream: VideoStream
) -> Generator[Frame, None, None]:
    """Frames from the one at exactly `start_pts` on; nothing when the decoder does not give it."""
    found = False
    for raw in decoded:
        pts = None if raw.pts is None else raw.pts * Fraction(stream.time_base or 0)
        if not found and (pts is None or pts > start_pts):
            return
        make.see(raw)
        if found or pts == start_pts:
            found = True
            yield make(raw)


class _FrameMaker:
    """Turns what the decoder gives into frames: times, colour tags, 8 bits, upright."""

    def __init__(self, stream: VideoStream, warnings: list[str], count: int = 0) -> None:
        self.count = count
        self._stream = stream
        self._warnings = warnings
        self._clock = _Clock(stream)
        self._orientation: Orientation | None = None
        self._size: tuple[int, int] | None = None
        self._said: set[str] = set()

    def see(self, raw: VideoFrame) -> None:
        """Take the properties that hold for the whole stream from its first frame."""
        if self._orientation is None:
            found = frame_orientation(raw)
            if found is None:
                self._say("the display matrix turns by a skew angle: left as stored")
            self._orientation = found or Orientation(0, False)
            self._size = (raw.width, raw.height)

    def __call__(self, raw: VideoFrame, *, plain: bool = False) -> Frame:
        """The next frame. `plain` ones only keep the clock and the count right."""
        self.see(raw)
        assert self._orientation is not None and self._size is not None
        pts = self._clock(raw)
        if self._clock.corrected == 1:
            self._say("some frames had no time or one before their predecessor: put in order")
        duration = (raw.duration or 0) * self._clock.base or self._clock.length
        color = frame_color(self._stream, raw)
        index = self.count
        self.count += 1
        if plain:
            return Frame(index, pts, raw, color, duration)
        bits = max(component.bits for component in raw.format.components)
        if (raw.width, raw.height) != self._size:
            self._say("the picture size changes on the way: later frames are scaled to the first")
            raw = raw.reformat(width=self._size[0], height=self._size[1], threads=1)
        # Tags decide how the reduction and the way to RGB read the planes.
        sideways = self._orientation.turns % 2 == 1
        size = (raw.height, raw.width) if sideways else (raw.width, raw.height)
        shown = color.resolved(*size)
        if not raw.format.is_rgb and not can_show(shown.matrix):
            self._say(f"colour matrix {shown.matrix} is not known here: shown as if it were not tagged")
            shown = ColorTags(full_range=color.full_range).resolved(*size)
        _tag(raw, shown)
        planes = upright(reduced(raw), self._orientation)
        planes.pict_type = 0
        _set_times(planes, pts, duration, self._clock.base)
        return Frame(index, pts, planes, shown, duration, bits)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._warnings.append(text)


class _Clock:
    """Exact, strictly increasing times of successive frames; the rules are those of `read_frames`."""

    def __init__(self, stream: VideoStream) -> None:
        self.base = Fraction(stream.time_base or Fraction(1, 90000))
        self.corrected = 0
        rate = stream.average_rate or stream.guessed_rate or PICTURE_RATE
        ticks = round(1 / (Fraction(rate) * self.base))
        self.length = max(ticks, 1) * self.base
        self._shift = Fraction(0)
        self._last: Fraction | None = None

    def __call__(self, frame: VideoFrame) -> Fraction:
        """Seconds of the next frame."""
        last = self._last
        ticks = frame.pts if frame.pts is not None else None
        if ticks is None:
            pts = Fraction(0) if last is None else last + self.length
            self.corrected += 1
        else:
            pts = ticks * self.base + self._shift
            if last is not None and pts <= last:
                self.corrected += 1
                if last - pts > _JUMP:
                    self._shift += last + self.length - pts
                    pts = last + self.length
                else:
                    pts = last + self.base
        self._last = pts
        return pts


def _tag(frame: VideoFrame, color: ColorTags) -> None:
    frame.colorspace, frame.color_range = color.matrix, FULL_RANGE if color.full_range else 1
    frame.color_primaries, frame.color_trc = color.primaries, color.transfer


def _set_times(frame: VideoFrame, pts: Fraction, duration: Fraction, base: Fraction) -> None:
    frame.time_base = base
    frame.pts = int(pts / base)
    frame.duration = int(duration / base)
