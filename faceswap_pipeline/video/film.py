"""The file of a film while it is written: beside its place, its other streams copied in step, renamed when whole.

In: encoded video packets in decoding order, the `VideoInfo` and the path of their source. Out: an mp4, mov or mkv file.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.storage import storage_errors, sync_file, sync_folder
from faceswap_pipeline.video.copying import StreamCopier, add_copy, film_errors
from faceswap_pipeline.video.info import VideoInfo, open_video

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's name of the container, by the ending of the file."""

_LATE_START = Fraction(60)
_LARGEST_TIMESCALE = 2**31 - 1


class FilmFile:
    """The file of a film while it is being written beside its place, and the streams copied into it."""

    def __init__(self, path: Path, info: VideoInfo, copy_from: Path | None, notes: list[str]) -> None:
        name = FORMATS.get(path.suffix.lower())
        if name is None:
            raise VideoError(f"{path}: films end in {', '.join(FORMATS)}; name the output so")
        self.path = path
        self.format_name = name
        self.shift = _shift(info, notes)
        self._part = path.with_name(f".{path.name}.part")
        self._info = info
        self._copy_from = copy_from
        self._notes = notes
        self._out: OutputContainer | None = None
        self._source: Any = None
        self._copier: StreamCopier | None = None
        self._video: Any = None
        self._held: Packet | None = None
        self._lead: Fraction | None = None
        self._latest = -(2**62)

    @property
    def out(self) -> OutputContainer:
        """The open output."""
        assert self._out is not None
        return self._out

    def open(self) -> None:
        """Create the file beside. Raises StorageError when that is not possible, VideoError for a bad `copy_from`."""
        with storage_errors(self.path):
            try:
                self._part.touch()
            except FileNotFoundError as error:
                raise VideoError(f"{self.path}: there is no folder {self.path.parent}") from error
        self._out = av.open(f"file:{self._part}", "w", format=self.format_name)

    def reopen(self) -> None:
        """Begin again with no stream."""
        assert self._out is not None
        self._out.close()
        self.open()

    def add_video_like(self, segment: Path) -> None:
        """Add a stream for the packets of a finished segment."""
        with open_video(segment) as container:
            template = container.streams.video[0]
            self._coding = _coding(container)
            self._video = add_copy(self.out, template)
            self._video.codec_context.framerate = self._info.rate
            encoder_tag = template.codec_context.codec_tag
            if self.format_name in ("mp4", "mov") and encoder_tag in ("hvc1", "avc1"):
                self._video.codec_context.codec_tag = encoder_tag

    def check_same_coding(self, container: InputContainer, path: Path) -> None:
        """Raise VideoError when a segment needs another decoder set-up than the first."""
        if _coding(container) != self._coding:
            raise VideoError(f"{path}: this segment was encoded with other options. Remove it and convert again")

    def start(self, first_pts: Fraction) -> None:
        """Add the copied streams and write the header; `first_pts` is the source's time of the first frame."""
        out = self.out
        self._video = self._video or out.streams.video[0]
        if self._copy_from is not None:
            self._source = open_video(self._copy_from)
            container = self._source.__enter__()
            self._copier = StreamCopier(container, out, self.path, self.shift)
            self._notes.extend(self._copier.notes)
            self._said = len(self._copier.notes)
        if self.format_name in ("mp4", "mov"):
            exact = [self._info.time_base, first_pts + self.shift]
            if self._copier is not None:
                exact += self._copier.time_bases
                exact += [stream.start + self.shift for stream in self._info.streams if stream.start is not None]
            out.container_options.update({"movflags": "+faststart", "movie_timescale": str(_movie_timescale(exact))})
        with film_errors(self.path):
            out.start_encoding()

    def mux_video(self, packet: Packet) -> None:
        """Write a video packet, and before it what of the other streams comes before it; the last one is held back."""
        assert packet.pts is not None and packet.dts is not None
        if self._lead is None:
            self._lead = (packet.pts - packet.dts) * Fraction(packet.time_base)
        if self._held is not None:
            self._mux(self._held)
        self._held = packet
        self._latest = max(self._latest, packet.pts)

    def _mux(self, packet: Packet) -> None:
        if self._copier is not None:
            assert packet.dts is not None
            self._copier.pump(packet.dts * Fraction(packet.time_base))
        packet.stream = self._video
        with film_errors(self.path):
            self.out.mux(packet)

    def _mux_last(self, end: Fraction | None) -> None:
        """Write the last packet so that the film lasts exactly until `end`.

        mp4 states the length of the film in decoding times too, and players take the shorter of the two. So decoding
        ends as long before `end` as it began before the first picture.
        """
        packet = self._held
        if packet is None or packet.pts is None or packet.dts is None:
            return
        base = Fraction(packet.time_base)
        if end is not None:
            lead = round((self._lead or Fraction(0)) / base)
            packet.dts = max(packet.dts, packet.pts - lead)
            shown_last = packet.pts >= self._latest
            packet.duration = max(1, round(end / base) - (packet.pts if shown_last else lead + packet.dts))
        self._mux(packet)
        self._held = None

    def finish(self, end: Fraction | None) -> None:
        """Write what is left, close, flush to the disk and rename into place; the pictures end at `end` seconds."""
        self._mux_last(end)
        if self._copier is not None:
            self._copier.finish()
            self._notes.extend(self._copier.notes[self._said :])
        with film_errors(self.path):
            self.out.close()
        self._close_source()
        pairs = [(self._part, self.path), *(self._copier.beside if self._copier else [])]
        for part, _ in pairs:
            sync_file(part)
        with storage_errors(self.path):
            for part, place in reversed(pairs):
                os.replace(part, place)
        sync_folder(self.path.parent)

    def abandon(self) -> None:
        """Close and remove everything written."""
        if self._out is not None:
            with suppress(FFmpegError, OSError):
                self._out.close()
        if self._copier is not None:
            self._copier.abandon()
        self._close_source()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _close_source(self) -> None:
        if self._source is not None:
            self._source.__exit__(None, None, None)
            self._source = None


def _coding(container: InputContainer) -> tuple[object, ...]:
    """What must be equal for packets to share one stream."""
    context = container.streams.video[0].codec_context
    return (context.codec.name, context.extradata, context.width, context.height, context.pix_fmt)


def _movie_timescale(exact: Sequence[Fraction]) -> int:
    """Ticks per second of the film's own clock, in which mp4 states where each stream begins and how long it lasts.

    Every time in `exact` is a whole number of ticks, as far as 31 bits allow; the first ones come first.
    """
    scale = 1
    for time in exact:
        wider = lcm(scale, time.denominator)
        scale = wider if wider <= _LARGEST_TIMESCALE else scale
    return scale


def _shift(info: VideoInfo, notes: list[str]) -> Fraction:
    """Seconds added to all times of a source that begins before 0 or very late; noted when not 0."""
    starts = [stream.start for stream in info.streams if stream.start is not None and stream.kind in ("video", "audio")]
    pictures = [stream.start for stream in info.streams if stream.start is not None and stream.kind == "video"]
    if pictures and pictures[0] < 0:
        shift = -pictures[0]
    elif starts and min(starts) > _LATE_START:
        # Whole seconds are whole numbers of every stream's ticks: all times stay exact.
        shift = Fraction(-(min(starts) // 1))
    else:
        return Fraction(0)
    notes.append(f"all times are moved by {float(shift):.3f} s: the source begins at {float(min(starts)):.3f} s")
    return shift
