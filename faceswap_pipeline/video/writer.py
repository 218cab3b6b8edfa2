"""Films: frames at their exact times, with everything else of the source beside them.

In: `Frame`s in the order of their times, the `VideoInfo` of their source. Out: an mp4, mov or mkv file that is whole or
not there.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.video.encoders import (
    ENCODERS,
    FALLBACK,
    Encoder,
    choose_pixel_format,
    encoder_options,
    find_encoder,
)
from faceswap_pipeline.video.film import FilmFile
from faceswap_pipeline.video.info import UNSPECIFIED, ColorTags, VideoInfo, open_video
from faceswap_pipeline.video.planes import empty_like, plane_views, with_full_chroma
from faceswap_pipeline.video.reader import Frame, stream_end


class VideoWriter:
    """Writes one film: `with VideoWriter(path, info, copy_from=source) as film: film.write(frame)`.

    The file is written beside its place and renamed when the block ends well; after an exception nothing is left. The
    frames keep their times exactly (mkv: to the millisecond, as that container counts), their chroma resolution, sample
    aspect and colour tags; untagged high definition is tagged BT.709. Odd sizes are written as 4:4:4. A source whose
    streams all begin later than a minute, or whose pictures begin before 0, is moved as a whole, and that is noted.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        *,
        encoder: str = "libx264",
        quality: float = 18.0,
        preset: str | None = None,
        copy_from: Path | None = None,
    ) -> None:
        """`quality` is on the encoder's own scale (`encoders.py`); `copy_from` is the source of audio and subtitles.

        Raises OptionError for an unknown encoder, quality or preset, VideoError for an ending that is no film.
        """
        self.notes: list[str] = []
        """What the user should know: converted or left out streams, a replaced encoder."""
        find_encoder(encoder, quality, preset)
        self._choice = (encoder, quality, preset)
        self._info = info
        self._file = FilmFile(path, info, copy_from, self.notes)
        self._base = Fraction(1, info.time_base.denominator)
        self._stream: Any = None
        self._pixel_format = ""
        self._last_ticks: int | None = None
        self._durations: dict[int, int] = {}
        self._written = self._muxed = 0
        self._end = Fraction(0)

    def __enter__(self) -> Self:
        self._file.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.abandon()
            return
        try:
            if self._stream is None:
                raise VideoError(f"{self._file.path}: no frame was written")
            self._mux(self._encoded(None))
            if self._muxed != self._written:
                raise VideoError(f"{self._file.path}: {self._written} frames went in, {self._muxed} came out")
            self._file.finish(self._end)
        except BaseException:
            self._file.abandon()
            raise

    def write(self, frame: Frame) -> None:
        """Append a frame; its time must be later than the last one's. Raises VideoError, StorageError."""
        if (frame.width, frame.height) != (self._info.width, self._info.height):
            raise VideoError(
                f"frame {frame.index} is {frame.width}x{frame.height}, "
                f"the film is {self._info.width}x{self._info.height}: all frames must have one size"
            )
        if self._stream is None:
            self._open_encoder(frame)
        exact = (frame.pts + self._file.shift) / self._base
        ticks = round(exact)
        if exact != ticks:
            self._note(f"frame times are rounded to 1/{self._base.denominator} s")
        if self._last_ticks is not None and ticks <= self._last_ticks:
            raise VideoError(f"frame {frame.index} at {float(frame.pts):.4f} s is not later than the one before it")
        self._last_ticks = ticks
        if frame.bits > 8:
            self._note(f"the source has {frame.bits} bits per sample: processed and written with 8, its tags kept")
        planes = _as_format(frame.planes, self._pixel_format, self._out_color())
        # The picture type of the source would force the encoder's; only time and pixels go in.
        planes.pict_type = 0
        planes.time_base, planes.pts = self._base, ticks
        length = frame.duration or 1 / self._info.rate
        planes.duration = self._durations[ticks] = max(1, round(length / self._base))
        self._written += 1
        self._end = frame.pts + self._file.shift + length
        self._mux(self._encoded(planes))

    def _encoded(self, planes: VideoFrame | None) -> list[Packet]:
        """Packets that are ready; None asks for the rest."""
        try:
            return self._stream.encode(planes)
        except FFmpegError as error:
            raise VideoError(f"{self._file.path}: the encoder {self._choice[0]} failed: {error.strerror}") from error

    def _mux(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            packet.duration = self._durations.pop(packet.pts, 0)
            self._muxed += 1
            self._file.mux_video(packet)

    def _open_encoder(self, frame: Frame) -> None:
        """Open the encoder asked for, or libx264 where that is not possible."""
        name, quality, preset = self._choice
        encoder = ENCODERS[name]
        pixel_format = choose_pixel_format(encoder, frame.planes.format.name, frame.width, frame.height)
        reason = "" if pixel_format else "it takes no odd sizes"
        if pixel_format:
            try:
                self._start(name, encoder, encoder_options(encoder, quality, preset), pixel_format, frame)
                return
            except (FFmpegError, UnknownCodecError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
        if name == FALLBACK:
            raise VideoError(f"{self._file.path}: the encoder {name} cannot be opened: {reason}")
        self._note(f"the encoder {name} cannot be opened here ({reason}): {FALLBACK} is used")
        self._file.reopen()
        self._choice = (FALLBACK, min(max(quality, 0), 51), None)
        self._open_encoder(frame)

    def _start(self, name: str, encoder: Encoder, options: dict[str, str], pixel_format: str, frame: Frame) -> None:
        out = self._file.out
        rate = min(max(self._info.rate.limit_denominator(65535), Fraction(1)), Fraction(1000))
        stream: Any = out.add_stream(name, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pixel_format
        stream.codec_context.time_base = stream.time_base = self._base
        stream.codec_context.sample_aspect_ratio = self._info.sample_aspect
        color = self._out_color()
        stream.colorspace, stream.color_primaries, stream.color_trc = color.matrix, color.primaries, color.transfer
        stream.color_range = 2 if color.full_range else 1
        if encoder.mp4_tag and self._file.format_name in ("mp4", "mov"):
            stream.codec_context.codec_tag = encoder.mp4_tag
        stream.codec_context.open()
        if pixel_format == "yuv444p" or pixel_format == "yuv422p":
            self._note(f"written as {pixel_format}: some players and browsers show only 4:2:0")
        self._stream, self._pixel_format = stream, pixel_format
        self._file.start(frame.pts)

    def _out_color(self) -> ColorTags:
        """The source's tags; BT.709 for untagged high definition; what RGB is converted to."""
        color = self._info.color
        if color.matrix == 0:
            return ColorTags().resolved(self._info.width, self._info.height)
        untagged = (color.matrix, color.primaries, color.transfer) == (UNSPECIFIED,) * 3
        resolved = color.resolved(self._info.width, self._info.height)
        return resolved if untagged and resolved.matrix == 1 else color

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def join_segments(segments: Sequence[Path], out: Path, info: VideoInfo, copy_from: Path | None = None) -> list[str]:
    """Join films that `VideoWriter` made of successive frames of one source, without encoding again; returns its notes.

    Each segment was made with the same options and the same `info`, its frames at their times in the source and without
    `copy_from`. The film equals the one that a single writer would have made in frame count, times and copied packets.
    Raises VideoError when a segment is missing, holds no picture, overlaps its predecessor or was made differently.
    """
    if not segments:
        raise VideoError(f"{out}: there is no segment to join")
    notes: list[str] = []
    file = FilmFile(out, info, copy_from, notes)
    delay = max(_reorder_delay(path) for path in segments)
    end: Fraction | None = None
    file.open()
    try:
        file.add_video_like(segments[0])
        clock = _JoinClock(delay)
        for number, path in enumerate(segments):
            with open_video(path) as container:
                file.check_same_coding(container, path)
                stream = container.streams.video[0]
                packets = [packet for packet in container.demux(stream) if packet.size]
                end = stream_end(container, stream)
                clock.stamp(packets, path)
                if number == 0:
                    base = Fraction(packets[0].time_base)
                    file.start(min(packet.pts or 0 for packet in packets) * base - file.shift)
                for packet in packets:
                    file.mux_video(packet)
        file.finish(end)
    except BaseException:
        file.abandon()
        raise
    return notes


class _JoinClock:
    """Decoding times for joined segments.

    Every segment counts its own from its own beginning, and with a variable frame rate they may overlap. Here packet i
    in decoding order gets the (i - delay)th presentation time of the whole film: increasing, and never after its own.
    """

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self._waiting: list[int] = []
        self._last: int | None = None

    def stamp(self, packets: list[Packet], path: Path) -> None:
        """Set the decoding times of a segment's packets."""
        shown = sorted(packet.pts for packet in packets if packet.pts is not None)
        if len(shown) < len(packets) or not shown:
            raise VideoError(f"{path}: this segment has no times or no pictures. Remove it and convert again")
        if self._last is not None and shown[0] <= self._last:
            raise VideoError(f"{path}: this segment overlaps the one before it. Remove both and convert again")
        if self._last is None:
            # Before the first picture: as far apart as the first two, or one tick.
            step = shown[1] - shown[0] if len(shown) > 1 else 1
            self._waiting = [shown[0] - step * (self._delay - i) for i in range(self._delay)]
        times = self._waiting + shown
        for packet, time in zip(packets, times, strict=False):
            packet.dts = time
        # Until the next picture is shown; mp4 itself only knows the distance in decoding order.
        lengths = {time: after - time for time, after in zip(shown, shown[1:], strict=False)}
        for packet in packets:
            packet.duration = lengths.get(packet.pts or 0, packet.duration)
        self._waiting, self._last = times[len(packets) :], shown[-1]


def _reorder_delay(path: Path) -> int:
    """By how many packets decoding runs before showing in a segment."""
    with open_video(path) as container:
        shown = [packet.pts for packet in container.demux(container.streams.video[0]) if packet.size]
    order = {pts: rank for rank, pts in enumerate(sorted(pts for pts in shown if pts is not None))}
    return max((index - order[pts] for index, pts in enumerate(shown) if pts is not None), default=0)


def _as_format(planes: VideoFrame, pixel_format: str, color: ColorTags) -> VideoFrame:
    """Planes of one of the reader's five formats in the encoder's format, ready to be stamped."""
    name = planes.format.name
    if name == "gbrp":
        return planes.reformat(
            format=pixel_format, dst_colorspace=5 if color.matrix in (5, 6) else 1, dst_color_range=1, threads=1
        )
    if name == "gray":
        new = empty_like(planes, planes.width, planes.height, pixel_format)
        views = plane_views(new)
        views[0][:] = plane_views(planes)[0]
        for view in views[1:]:
            view[:] = 128
        return new
    if name == pixel_format:
        return planes
    if pixel_format == "yuv444p":
        return with_full_chroma(planes)
    return planes.reformat(format=pixel_format, threads=1)
