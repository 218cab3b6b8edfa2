"""Everything in a film but its pictures: audio and subtitles of the source carried into another file.

In: the path of the source and an open output. Out: the same packets at the same times, muxed in step with the video;
what the container cannot hold is converted, or written beside the film.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Stream

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.storage import storage_errors
from faceswap_pipeline.video.info import codec_name, video_stream

# Subtitles that are pictures: nothing turns them into text.
_PICTURE_SUBTITLES = {"dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle", "xsub", "dvb_teletext"}
_EMPTY_LINE = b"\0\0"  # of mov_text: a text of length 0
_FILE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_BITS_PER_CHANNEL = 96000


class _Route(Protocol):
    """Where the packets of one source stream go."""

    def feed(self, packet: Packet | None) -> None:
        """Take the next packet; None ends the stream."""
        ...


class StreamCopier:
    """Carries audio and subtitle streams from a source to an open output whose header is not written yet."""

    def __init__(self, source: InputContainer, out: OutputContainer, target: Path, shift: Fraction) -> None:
        """`target` names the film, for files beside it; `shift` seconds are added to every time."""
        self.notes: list[str] = []
        self.beside: list[tuple[Path, Path]] = []
        """Files beside the film: where they are being written, where they belong."""
        self._source, self._out, self._target, self._shift = source, out, target, shift
        self._beside_files: list[OutputContainer] = []
        self.time_bases: list[Fraction] = []
        """Units in which the times of the copied streams are exact."""
        self._routes: dict[int, _Route] = {}
        self._packets = self._demuxed()
        self._film = video_stream(source, target).index
        try:
            for stream in source.streams:
                route = self._route(stream)
                if route is not None:
                    self._routes[stream.index] = route
                    self.time_bases.append(Fraction(stream.time_base or 1))
                else:
                    stream.discard = Discard.all
            self._next: Packet | None = next(self._packets, None)
        except BaseException:
            self.abandon()
            raise
        _copy_file_tags(source, out, shift)

    def pump(self, until: Fraction | None) -> None:
        """Mux what the source holds before `until` seconds (of the output's clock); None: all that is left."""
        while self._next is not None and (until is None or self._time(self._next) < until):
            packet = self._next
            self._next = next(self._packets, None)
            route = self._routes[packet.stream_index]
            self._move(packet)
            with film_errors(self._target):
                route.feed(packet)

    def finish(self) -> None:
        """Mux all that is left and close the files beside the film."""
        self.pump(None)
        with film_errors(self._target):
            for route in self._routes.values():
                route.feed(None)
            for file in self._beside_files:
                file.close()

    def abandon(self) -> None:
        """Close and remove the files beside the film."""
        for file in self._beside_files:
            with suppress(FFmpegError, OSError):
                file.close()
        for part, _ in self.beside:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _demuxed(self) -> Iterator[Packet]:
        """Packets of the carried streams; a damaged source ends early and is noted."""
        streams = [self._source.streams[index] for index in self._routes]
        if not streams:
            return
        try:
            for packet in self._source.demux(streams):
                if packet.size and (packet.dts is not None or packet.pts is not None):
                    yield packet
        except FFmpegError as error:
            self.notes.append(f"the source's audio or subtitles end early: {error.strerror}")

    def _time(self, packet: Packet) -> Fraction:
        ticks = packet.dts if packet.dts is not None else packet.pts
        assert ticks is not None
        return ticks * Fraction(packet.time_base) + self._shift

    def _move(self, packet: Packet) -> None:
        if self._shift:
            ticks = round(self._shift / Fraction(packet.time_base))
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def _route(self, stream: Stream) -> _Route | None:
        """How one stream is carried; None when it is not, which is noted unless it belongs to the pictures."""
        label = _label(stream)
        if stream.type not in ("audio", "subtitle"):
            if stream.index != self._film:
                self.notes.append(f"{label} is left out: only the film, audio and subtitles are carried")
            return None
        if can_hold(self._out.format.name, stream):
            return _Copy(self._out, add_copy(self._out, stream), self._note_order(label))
        if stream.codec_context is None:
            self.notes.append(f"{label} is left out: its codec is not known here")
            return None
        name = self._out.format.name
        if stream.type == "audio":
            self.notes.append(f"{label} is converted to AAC: {name} cannot hold it")
            return _ToAac(self._out, stream)
        if codec_name(stream) not in _PICTURE_SUBTITLES and "mov_text" in self._out.supported_codecs:
            with suppress(FFmpegError, ValueError):
                route = _ToMovText(self._out, stream)
                self.notes.append(f"{label} is converted to mov_text: {name} cannot hold it")
                return route
        return self._write_beside(stream, label)

    def _write_beside(self, stream: Stream, label: str) -> _Route | None:
        if not can_hold("matroska", stream):
            self.notes.append(f"{label} is left out: neither {self._out.format.name} nor Matroska can hold it")
            return None
        language = stream.metadata.get("language", "")
        middle = f".{stream.index}.{language}" if language.isalnum() else f".{stream.index}"
        path = self._target.with_name(f"{self._target.stem}{middle}.mks")
        part = path.with_name(f".{path.name}.part")
        with storage_errors(path):
            part.touch()
        self.beside.append((part, path))
        file = av.open(f"file:{part}", "w", format="matroska")
        self._beside_files.append(file)
        self.notes.append(f"{label} is written beside the film: {path.name}")
        return _Copy(file, add_copy(file, stream), self._note_order(label))

    def _note_order(self, label: str) -> Callable[[], None]:
        def note() -> None:
            text = f"{label}: packets with times out of order were moved by a tick"
            if text not in self.notes:
                self.notes.append(text)

        return note


def add_copy(out: OutputContainer, stream: Stream) -> Stream:
    """Add a stream to `out` that takes the packets of `stream` as they are; language, title and role go with it."""
    copy = out.add_stream_from_template(stream, opaque=True)
    copy.metadata.update({key: value for key, value in stream.metadata.items() if key.lower() not in _FILE_TAGS})
    copy.disposition = stream.disposition
    return copy


def can_hold(format_name: str, stream: Stream) -> bool:
    """Whether a container can hold a stream's packets: tried by writing a header into memory."""
    if stream.codec_context is None:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=format_name) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


@contextmanager
def film_errors(path: Path) -> Iterator[None]:
    """Turn what FFmpeg says while writing into a StorageError (disk full, rights) or a VideoError (anything else)."""
    try:
        with storage_errors(path):
            try:
                yield
            except FFmpegError as error:
                raise OSError(error.errno, error.strerror) from error
    except OSError as error:
        raise VideoError(f"{path} cannot be written: {error.strerror}") from error


class _Copy:
    """Packets as they are."""

    def __init__(self, out: OutputContainer, stream: Stream, on_disorder: Callable[[], None]) -> None:
        self._out, self._stream, self._on_disorder = out, stream, on_disorder
        # mp4 writes the empty samples between two lines itself: those of the source would double them.
        self._drops_gaps = codec_name(stream) == "mov_text" and out.format.name in ("mp4", "mov")
        self._last: int | None = None

    def feed(self, packet: Packet | None) -> None:
        if packet is None or (self._drops_gaps and bytes(packet) == _EMPTY_LINE):
            return
        if packet.dts is None:
            packet.dts = packet.pts
        assert packet.dts is not None
        if self._last is not None and packet.dts <= self._last:
            self._on_disorder()
            packet.dts = self._last + 1
            packet.pts = max(packet.pts or 0, packet.dts)
        self._last = packet.dts
        packet.stream = self._stream
        self._out.mux(packet)


class _ToAac:
    """Audio decoded and encoded again as AAC, at the same times."""

    def __init__(self, out: OutputContainer, stream: Stream) -> None:
        context: Any = stream.codec_context
        rate = next((rate for rate in _AAC_RATES if rate <= context.sample_rate), _AAC_RATES[-1])
        channels = context.layout.nb_channels
        self._out, self._source = out, stream
        kept = channels in (1, 2, 6, 8)
        self._stream: Any = out.add_stream("aac", rate=rate)
        self._stream.layout = context.layout.name if kept else "stereo"
        self._stream.bit_rate = _AAC_BITS_PER_CHANNEL * (channels if kept else 2)
        self._stream.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
        self._stream.disposition = stream.disposition

    def feed(self, packet: Packet | None) -> None:
        source: Any = self._source
        try:
            frames = source.decode(packet)
        except FFmpegError:  # a damaged packet: its sound is missing, the rest keeps its time
            frames = []
        for frame in frames:
            self._out.mux(self._stream.encode(frame))
        if packet is None:
            self._out.mux(self._stream.encode(None))


class _ToMovText:
    """Text subtitles as mov_text, at the same times."""

    def __init__(self, out: OutputContainer, stream: Stream) -> None:
        self._out = out
        self._decoder: Any = stream.codec_context
        self._decoder.open(strict=False)
        # The encoder is tried apart: a stream, once added, cannot be taken back.
        trial: Any = av.CodecContext.create("mov_text", "w")
        trial.subtitle_header = self._decoder.subtitle_header
        trial.open()
        self._stream: Any = out.add_stream("mov_text")
        self._stream.codec_context.subtitle_header = self._decoder.subtitle_header
        self._stream.time_base = stream.time_base
        self._stream.codec_context.time_base = stream.time_base
        self._stream.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
        self._stream.disposition = stream.disposition

    def feed(self, packet: Packet | None) -> None:
        if packet is None:
            return
        try:
            text = self._decoder.decode2(packet)
        except FFmpegError:  # a damaged line
            return
        if text is None or not len(text):
            return
        encoded = self._stream.codec_context.encode_subtitle(text)
        encoded.time_base = packet.time_base
        encoded.pts = encoded.dts = packet.pts if packet.pts is not None else packet.dts
        encoded.duration = packet.duration or 0
        encoded.stream = self._stream
        self._out.mux(encoded)


def _copy_file_tags(source: InputContainer, out: OutputContainer, shift: Fraction) -> None:
    """Title, date and the like, and the chapters."""
    out.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in _FILE_TAGS})
    chapters = source.chapters()
    for chapter in chapters:
        ticks = round(shift / Fraction(chapter["time_base"] or 1))
        chapter["start"], chapter["end"] = chapter["start"] + ticks, chapter["end"] + ticks
    if chapters:
        out.set_chapters(chapters)


def _label(stream: Stream) -> str:
    language = stream.metadata.get("language")
    return f"{stream.type} stream {stream.index} ({codec_name(stream)}{', ' + language if language else ''})"
