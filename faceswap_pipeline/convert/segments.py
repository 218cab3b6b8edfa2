"""A film in closed pieces: which faces go through the network together, and the folder that keeps what is finished.

In: records of one source, frames from the reader. Out: painted frames in order, and segments that survive a kill.

What is done to a frame depends on the source, the run and the options alone, never on where the work was taken up:
batches are counted from the film's first face, and a stretch that starts in the middle first reads the frames whose
faces its own first frames need.
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any, Protocol, Self

from faceswap_pipeline.convert.faces import Cut, FaceMixer, Key, Look, Patch
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.progress import Advance
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.storage import FolderLock, atomic_write_json, make_folder, remove_folder
from faceswap_pipeline.video.ahead import ahead
from faceswap_pipeline.video.info import VideoInfo
from faceswap_pipeline.video.reader import Frame, read_frames
from faceswap_pipeline.video.writer import VideoWriter

_HELD, _HELD_PIXELS = (4, 60), 56_000_000
"""How many painted frames may wait for the encoder: at least and at most, and of how many pixels together between. The
least where something else is made of them too."""


@dataclass(frozen=True)
class FacePlan:
    """The faces of one source in the order in which they go through the network."""

    records: Sequence[FaceRecord]
    """By frame, then track."""
    batch: int
    """Faces that go through the network together."""
    reach: int
    """Frames to each side that a painted frame needs."""

    @cached_property
    def _frames(self) -> list[int]:
        return [record.frame for record in self.records]

    def of_frame(self, frame: int) -> range:
        """Positions in `records` of the faces of a frame."""
        return range(bisect_left(self._frames, frame), bisect_right(self._frames, frame))

    def first_face(self, start: int) -> int:
        """Position of the first face to look at before frame `start` can be painted; a batch begins there."""
        return bisect_left(self._frames, start - self.reach) // self.batch * self.batch

    def first_frame(self, start: int) -> int:
        """The frame from which to read so that frames from `start` on can be painted."""
        face = self.first_face(start)
        return min(start, self._frames[face]) if face < len(self._frames) else start


@dataclass(frozen=True)
class Painted:
    """What became of one frame."""

    source: Frame
    """As it was decoded."""
    frame: Frame
    """With the faces replaced, the notice where one is due, and the watermark; `source` where nothing was changed."""
    patches: Sequence[Patch]
    """The faces that were laid over it, the lowest first."""
    faces: int
    """How many faces were to be replaced; some may lie outside the frame."""


class Beside(Protocol):
    """Something made of the same frames beside the film, finished segment by segment with it."""

    def segment(self, index: int) -> AbstractContextManager[Callable[[Painted], None]]:
        """Takes the frames of a segment, in order; begun anew where it was left unfinished."""
        ...


@dataclass(frozen=True)
class Film:
    """One film to be made."""

    path: Path
    """The source video."""
    info: VideoInfo
    plan: FacePlan
    times: Mapping[int, Fraction]
    """Seconds of the source's frames, as far as known."""
    length: int
    """Frames of a segment."""
    options: ConvertOptions
    mark: Callable[[Frame], Frame]
    """Puts the watermark into a frame that was painted."""
    notice: Callable[[Frame], Frame]
    """Burns the visible notice in where one is due; else returns the frame itself."""
    beside: Sequence[Beside] = ()
    """What else is made of the frames."""


def paint_frames(frames: Iterable[Frame], film: Film, mixer: FaceMixer, start: int) -> Generator[Painted, None, None]:
    """Frames from index `start` on, painted and marked.

    A frame in which no face was replaced carries no watermark. `frames` must begin at `film.plan.first_frame(start)` or
    before and have no gap. Faces are looked at ahead, on a thread; holds about `reach` frames and one and a half
    batches.
    """
    plan = film.plan
    waiting: deque[Frame] = deque()
    looks: dict[Key, Look] = {}

    def paint(frame: Frame) -> Painted:
        for key in [key for key in looks if key[1] < frame.index - plan.reach]:
            del looks[key]
        records = [plan.records[face] for face in plan.of_frame(frame.index)]
        painted, patches = mixer.paint(frame, records, looks)
        shown = film.notice(painted)
        return Painted(frame, film.mark(shown) if patches else shown, patches, len(records))

    looks_ahead = ahead(look_at_frames(frames, plan, mixer, plan.first_face(start)), plan.batch // 2)
    with closing(looks_ahead) as looked_at:
        for frame, found in looked_at:
            looks |= found
            if frame.index >= start:
                waiting.append(frame)
            while waiting and waiting[0].index + plan.reach <= frame.index:
                yield paint(waiting.popleft())
    while waiting:
        yield paint(waiting.popleft())


def look_at_frames(
    frames: Iterable[Frame], plan: FacePlan, mixer: FaceMixer, first: int
) -> Generator[tuple[Frame, dict[Key, Look]], None, None]:
    """Each frame with the looks at its faces, but for faces before position `first`; whole batches are looked at."""
    waiting: deque[Frame] = deque()
    looks: dict[Key, Look] = {}
    batch: list[tuple[FaceRecord, Cut]] = []

    def look() -> None:
        if batch:
            looks.update(mixer.look(*zip(*batch, strict=True)))
            batch.clear()

    def known(end: float) -> Iterator[tuple[Frame, dict[Key, Look]]]:
        while waiting and waiting[0].index < end:
            records = [plan.records[face] for face in plan.of_frame(waiting[0].index) if face >= first]
            yield waiting.popleft(), {key: looks.pop(key) for key in ((each.track, each.frame) for each in records)}

    for frame in frames:
        waiting.append(frame)
        for face in plan.of_frame(frame.index):
            if face >= first:
                batch.append((plan.records[face], mixer.cut(frame, plan.records[face])))
                if (face + 1) % plan.batch == 0:
                    look()
        yield from known(batch[0][0].frame if batch else inf)
    look()
    yield from known(inf)


class WorkFolder:
    """Finished segments of one film on disk, kept until the film is whole.

    The folder belongs to one job, described by plain values: the same job goes on, another one begins anew. A segment
    counts as finished when its note is there; the note is written after the segment itself.
    """

    def __init__(self, path: Path, job: Mapping[str, Any]) -> None:
        """Open or make the folder. Raises StorageError when it cannot be written or another process works in it."""
        self.path = path
        make_folder(path)
        self._lock = FolderLock(path)
        self.key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
        self.is_new = self._read("job.json").get("key") != self.key
        """Whether nothing of this job was kept."""
        if self.is_new:
            for item in path.glob("[!.]*"):
                remove_folder(item) if item.is_dir() else item.unlink()
            atomic_write_json(path / "job.json", {"key": self.key, "job": dict(job)})

    def segment(self, index: int) -> Path:
        """Where segment `index` is, or will be."""
        return self.path / f"{index:06d}.mp4"

    def finish(self, index: int, note: Mapping[str, Any]) -> None:
        """Note that segment `index` is whole, with what there is to say about it (plain values)."""
        atomic_write_json(self.path / f"{index:06d}.json", dict(note))

    def note(self, index: int) -> dict[str, Any] | None:
        """What was said about a finished segment; None when it is not finished."""
        return self._read(f"{index:06d}.json") or None

    def forget(self) -> None:
        """Count no segment as finished: something that was made with them is gone."""
        for note in self.path.glob("[0-9]*.json"):
            note.unlink()

    def set_end(self, frames: int) -> None:
        """Note that the source has this many frames, now that its end was reached."""
        atomic_write_json(self.path / "end.json", {"frames": frames})

    @property
    def end(self) -> int | None:
        """How many frames the source has; None while its end was never reached."""
        return self._read("end.json").get("frames")

    def close(self) -> None:
        """Let other processes work here; what is finished stays."""
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder and all in it."""
        self._lock.release()
        remove_folder(self.path)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError):
            return {}


def write_segments(film: Film, work: WorkFolder, mixer: FaceMixer, advance: Advance) -> list[str]:
    """Make every segment that is not finished yet, in order; returns what was odd about the source or the encoder.

    Frames are painted while those before them are encoded, and while an encoder finishes its segment: it holds back
    some fifty frames to the end. On any exception, Ctrl-C included, the segment in work is removed and the finished
    ones stay.
    """
    notes: list[str] = []
    least, most = _HELD
    fitting = 0 if film.beside else _HELD_PIXELS // (film.info.width * film.info.height)
    held = min(max(fitting, least), most)
    index = 0
    while (index := _first_missing(film, work, index, advance)) is not None:
        start = index * film.length
        begin = film.plan.first_frame(start)
        frames = read_frames(film.path, start=begin, start_pts=film.times.get(begin), warnings=notes)
        with (
            closing(paint_frames(frames, film, mixer, start)) as painted,
            _SegmentWriter(film, work, index, notes) as writer,
            behind(writer.write, held) as write,
        ):
            for each in painted:
                if each.frame.index % film.length == 0 and work.note(each.frame.index // film.length) is not None:
                    writer.ends_early = True
                    break
                # What waits to be encoded holds on to nothing else.
                write(each if film.beside else Painted(each.frame, each.frame, (), each.faces))
                advance(1)
        index = writer.index + 1
    return notes


class _SegmentWriter:
    """Writes painted frames, which come in order, into one segment after the other."""

    def __init__(self, film: Film, work: WorkFolder, index: int, notes: list[str]) -> None:
        """`index` is the first segment's; `notes` takes what was odd about the encoder."""
        self._film, self._work, self._notes = film, work, notes
        self.index = index
        """Of the segment in work, or of the last one."""
        self.ends_early = False
        """Whether the source goes on after the last frame."""
        self._open: ExitStack | None = None
        self._takers: list[Callable[[Painted], None]] = []
        self._counts = {"frames": 0, "swapped": 0, "faces": 0}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None:
            if self._open is not None:
                self._open.__exit__(kind, error, trace)
            return
        frames = self._counts["frames"]
        if self._open is not None:
            self._finish()
        if not self.ends_early:
            self._work.set_end(self.index * self._film.length + frames)

    def write(self, painted: Painted) -> None:
        """Takes the next frame."""
        index = painted.frame.index // self._film.length
        if self._open is not None and index != self.index:
            self._finish()
        if self._open is None:
            self._begin(index)
        for take in self._takers:
            take(painted)
        self._counts["frames"] += 1
        self._counts["swapped"] += painted.faces > 0
        self._counts["faces"] += painted.faces

    def _begin(self, index: int) -> None:
        film, options = self._film, self._film.options
        self.index, self._counts = index, dict.fromkeys(self._counts, 0)
        with ExitStack() as opened:
            self._encoder = opened.enter_context(
                VideoWriter(
                    self._work.segment(index),
                    film.info,
                    encoder=options.encoder,
                    quality=options.quality,
                    preset=options.preset,
                )
            )
            besides = [opened.enter_context(beside.segment(index)) for beside in film.beside]
            self._takers = [lambda painted: self._encoder.write(painted.frame)]
            self._takers += [opened.enter_context(behind(take)) for take in besides]
            self._open = opened.pop_all()

    def _finish(self) -> None:
        opened, self._open = self._open, None
        assert opened is not None
        opened.close()
        self._notes += [note for note in self._encoder.notes if note not in self._notes]
        self._work.finish(self.index, self._counts | {"notes": self._encoder.notes})


def _first_missing(film: Film, work: WorkFolder, index: int, advance: Advance) -> int | None:
    """The first segment from `index` on that is not finished; None when the source ends before it."""
    while (note := work.note(index)) is not None:
        advance(note["frames"])
        index += 1
    end = work.end
    return None if end is not None and index * film.length >= end else index


@contextmanager
def behind(work: Callable[[Any], None], depth: int = 4) -> Iterator[Callable[[Any], None]]:
    """A function that hands `work` its arguments on a thread, in order, at most `depth` ahead.

    What `work` raises is raised by a later call or at the end of the block, and nothing after it is worked on; a block
    that raises drops what waits.
    """
    waiting: deque[Future[None]] = deque()
    failed = False

    def work_on(item: Any) -> None:
        nonlocal failed
        if failed:
            return
        try:
            work(item)
        except BaseException:
            failed = True
            raise

    def hand_over(item: Any) -> None:
        waiting.append(pool.submit(work_on, item))
        while len(waiting) > depth or (waiting and waiting[0].done()):
            waiting.popleft().result()

    with ThreadPoolExecutor(1, "behind") as pool:
        try:
            yield hand_over
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
