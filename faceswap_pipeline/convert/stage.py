"""`convert_video`: a run and the video of one of its persons to a film with the other one's face.

In: a run folder, its dataset, the video that the dataset was made from. Out: an mp4 (a folder of PNGs, a PNG) with all
else of the video as it was, and a sidecar of plain JSON that says how it was made; a comparison and layers for
compositors where they are asked for.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from faceswap_pipeline import __version__, resources
from faceswap_pipeline.array_folder import Checkpoint
from faceswap_pipeline.backend import backend_name
from faceswap_pipeline.convert.album_folder import AlbumFolder, find_album
from faceswap_pipeline.convert.compare import Comparison
from faceswap_pipeline.convert.detail import Album
from faceswap_pipeline.convert.faces import FaceMixer, draw_oval
from faceswap_pipeline.convert.inputs import (
    check_every_frame,
    check_frames_folder,
    film_paths,
    find_source,
    match_video,
    open_side,
)
from faceswap_pipeline.convert.layers import LINES, Layers
from faceswap_pipeline.convert.notice import Notice
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.segments import Beside, FacePlan, Film, WorkFolder, paint_frames, write_segments
from faceswap_pipeline.convert.swapper import Swapper, best_weights, load_swapper
from faceswap_pipeline.convert.text import check_text
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.meanface import fit_pose, load_mean_face, project
from faceswap_pipeline.errors import DatasetError, OptionError, RunError
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.machine import return_large_blocks
from faceswap_pipeline.progress import Advance, Progress
from faceswap_pipeline.provenance.credentials import FileSigner, Identity, own_identity, sign_file
from faceswap_pipeline.provenance.marking import Marker, payload_of
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.storage import atomic_write_json, atomic_write_text, keep_old, make_folder, storage_errors
from faceswap_pipeline.video.encoders import find_encoder
from faceswap_pipeline.video.images import list_images, write_png
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import join_segments

FORMAT = "faceswap-conversion"
VERSION = 3
_LARGE_BLOCK = 1_500_000
"""Bytes: planes of large frames, and pictures of faces in them, are given back when they are freed."""


@dataclass(frozen=True)
class Counts:
    """What became of the frames of one film."""

    frames: int
    swapped: int
    """Frames with at least one replaced face."""
    faces: int
    """Replaced faces."""
    untouched: dict[str, int]
    """Frames passed through as they were, by reason."""


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion made."""

    films: tuple[Path, ...]
    counts: tuple[Counts, ...]
    """One for each film."""
    notes: tuple[str, ...]
    """What the user should know."""
    comparisons: tuple[Path, ...] = ()
    """One for each film where they were asked for."""


@dataclass(frozen=True)
class _Job:
    """What all films of one conversion share. The network is loaded for the first film that is not there already."""

    run: TrainingRun
    dataset: FaceDataset
    other: str
    """Whose face comes in, `a` or `b`."""
    pictures: FaceDataset | None
    """That person's dataset, where it gives the detail and is there."""
    kept: AlbumFolder
    """Where the run keeps that person's pictures."""
    checkpoint: Checkpoint
    options: ConvertOptions
    progress: Progress
    identity: Identity
    frames: Path | None

    @cached_property
    def detail_from(self) -> str | None:
        """Fingerprint of `pictures`; where they are gone, of those that the run keeps an album of; else None."""
        if not self.options.detail:
            return None
        return self.kept.pictures if self.pictures is None else self.pictures.fingerprint()

    @cached_property
    def swapper(self) -> Swapper:
        """The network that makes the other person's face."""
        return load_swapper(self.run, self.checkpoint, self.other, self.options.batch)

    @cached_property
    def album(self) -> Album | None:
        """The other person's pictures; None where there are too few."""
        if self.detail_from is None:
            return None
        return find_album(self.kept, self.pictures, self.detail_from, self.swapper, self.progress)


def convert_video(
    run: Path,
    out: Path,
    options: ConvertOptions,
    *,
    video: Path | None = None,
    dataset: Path | None = None,
    frames: Path | None = None,
    identity: Identity | None = None,
    progress: Progress | None = None,
) -> ConvertResult:
    """Put the other person's face into every video of a run's dataset, or into `video` alone.

    `out` is a folder, which gets `NAME_swapped.mp4` for each video, or the film itself where there is one video; an
    older film of that name is kept as `NAME_swapped.1.mp4`. `dataset` takes the place of the run's own (another clip
    of the same person). Interrupted, it keeps finished segments beside the film and goes on from them when called
    again; a film that is there already, made from the same things with the same options, is left as it is.

    `frames` names a folder that gets every frame's swapped faces over transparency as PNG, and their matrices.

    Every frame that was changed carries the watermark, and each file is signed as its last write: by `identity`, or by
    this installation's own, which is made on first use. There is no way to leave either out.

    Raises RunError, DatasetError, VideoError, OptionError or StorageError where something is missing or does not fit.
    """
    return_large_blocks(_LARGE_BLOCK)
    find_encoder(options.encoder, options.quality, options.preset)
    check_text(options.label, options.label_font)
    identity = identity or own_identity()
    opened = TrainingRun.open(run)
    side, other = ("a", "b") if options.direction == "a-to-b" else ("b", "a")
    faces = open_side(opened, side, dataset)
    check_every_frame(faces)
    indexes = list(range(len(faces.sources))) if video is None else [match_video(video, faces)]
    paths = [video or find_source(faces.sources[index], faces) for index in indexes]
    targets = film_paths([path.stem for path in paths], [_ending(path) for path in paths], out)
    if options.compare and not all(target.suffix in (".mp4", ".mov") for target in targets):
        raise OptionError("--compare makes a film, and pictures become pictures: leave it out")
    if frames is not None:
        check_frames_folder(frames, len(targets))
    weights = best_weights(opened)
    kept = AlbumFolder(opened.path, other, weights)
    pictures, missing = _pictures(opened, other, kept, options)
    job = _Job(opened, faces, other, pictures, kept, weights, options, progress or Progress(), identity, frames)
    films = [_convert_source(job, *each, missing) for each in zip(indexes, paths, targets, strict=True)]
    notes = dict.fromkeys(note for _, found in films for note in found)
    comparisons = tuple(map(_compare, targets)) if options.compare else ()
    return ConvertResult(tuple(targets), tuple(counts for counts, _ in films), tuple(notes), comparisons)


def _pictures(
    run: TrainingRun, person: str, kept: AlbumFolder, options: ConvertOptions
) -> tuple[FaceDataset | None, list[str]]:
    """The dataset of the person whose face comes in, for detail, and what is to be said when it is not there."""
    if not options.detail:
        return None, []
    try:
        return open_side(run, person, None), []
    except (DatasetError, RunError) as error:
        if kept.pictures is not None:
            return None, []
        return None, [f"the swap is as soft as the network draws it, without pictures of {person}: {error}"]


def _convert_source(
    job: _Job, index: int, path: Path, target: Path, missing: Sequence[str]
) -> tuple[Counts, list[str]]:
    """Make one film from source `index` of the dataset, unless it is there already."""
    made = _made_before(job, index, target)
    if made is not None:
        job.progress.note(f"{target} is made already, from the same things with the same options")
        return made
    make_folder(target.parent)
    mixer, notes = _mixer(job, index)
    notes += missing
    rows = {row.frame: row.reason for row in job.dataset.frame_rows() if row.source == index}
    with ExitStack() as open_folders:
        work = _Work(job, index, path, target, open_folders)
        film = _film(job, index, path, mixer, work)
        count = len(rows) or film.info.frames
        with job.progress.phase(f"converting {path.name}", count, "frames") as advance:
            make = _make_pictures if list_images(path) is not None else _make_film
            counts, made_beside = make(film, work, mixer, target, notes, advance)
        touched = {record.frame for record in film.plan.records}
        reasons = Counter(rows.get(frame) or "not looked at" for frame in range(counts.frames) if frame not in touched)
        counts = Counts(counts.frames, counts.swapped, counts.faces, dict(sorted(reasons.items())))
        for note in notes:
            job.progress.note(f"{target.name}: {note}")
        atomic_write_json(_sidecar(target), _sidecar_values(job, index, path, target, counts, notes) | made_beside)
        work.remove()
    return counts, notes


class _Work:
    """What one film and all that is made beside it are kept in until they are whole, and who signs them."""

    def __init__(self, job: _Job, index: int, path: Path, target: Path, open_folders: ExitStack) -> None:
        made = {**_job_values(job, index), "frames": job.frames is not None}
        self.film = WorkFolder(target.with_name(f".{target.name}.work"), made)
        open_folders.callback(self.film.close)
        self._path, self._statement, self._identity = path, _statement(job, index), job.identity
        info, mark, size = job.dataset.sources[index].info, _marker(job), job.dataset.crop_size
        self.comparison = Comparison(self.film.path, info, job.options, mark) if job.options.compare else None
        self.frames, self.layers = job.frames, None
        if job.frames is not None:
            make_folder(job.frames.parent)
            self._layers_folder = WorkFolder(job.frames.with_name(f".{job.frames.name}.work"), made)
            open_folders.callback(self._layers_folder.close)
            if self._layers_folder.is_new:
                self.film.forget()
            self.layers = Layers(self._layers_folder.path, size, mark)

    @property
    def beside(self) -> tuple[Beside, ...]:
        """What is made of the frames beside the film."""
        return tuple(each for each in (self.comparison, self.layers) if each is not None)

    def sign(self, unsigned: Path, target: Path, source: Path | None = None) -> dict[str, Any]:
        """Write the signed form of a file; `source` is the picture it was made from, if not the whole source."""
        return sign_file(unsigned, target, source or self._path, self._statement, self._identity)

    def finish_frames(self, segments: int) -> dict[str, Any]:
        """Put the signed layers and their lines into the folder asked for; what the sidecar says of them."""
        if self.layers is None or self.frames is None:
            return {}
        sign = FileSigner(self._path, self._statement, self._identity)
        whole = make_folder(self._layers_folder.path / "signed")
        lines = "".join(self.layers.lines(index).read_text("utf-8") for index in range(segments))
        names = [json.loads(line)["file"] for line in lines.splitlines()]
        for name in names:
            sign(self._layers_folder.path / name, whole / name)
        atomic_write_text(whole / LINES, lines)
        if self.frames.is_dir() and any(self.frames.iterdir()):
            keep_old(self.frames)
        with storage_errors(self.frames):
            os.replace(whole, self.frames)
        return {"frames_folder": str(self.frames), "layers": len(names)}

    def remove(self) -> None:
        """Remove the folders: all in them is whole and in its place."""
        self.film.remove()
        if self.layers is not None:
            self._layers_folder.remove()


def _mixer(job: _Job, index: int) -> tuple[FaceMixer, list[str]]:
    """The one that swaps the faces of source `index`, and what is to be said about masks and pictures."""
    records = [record for record in job.dataset.records if record.source == index]
    bare = sum(not job.dataset.has_mask(record, "face") for record in records)
    notes = []
    if bare:
        notes.append(f"{bare} of {len(records)} faces have no mask: an oval is used (`swap masks` makes better ones)")
    if job.pictures is not None and job.album is None:
        notes.append(
            f"{job.pictures.path} has too few pictures for detail: the swap is as soft as the network draws it"
        )
    rate = job.dataset.sources[index].info.rate
    draw_face = _oval_drawer(job.dataset.crop_size) if bare else None
    return FaceMixer(job.dataset, job.swapper, job.options, rate, draw_face, job.album), notes


def _oval_drawer(size: int) -> Callable[[FaceRecord], Image]:
    """A function that draws the mean face's border as the five landmarks of a record pose it: (size, size) 0 or 255."""
    mean_face = load_mean_face(resources.weight_file("mean_face"))

    def draw(record: FaceRecord) -> Image:
        pose = fit_pose(mean_face, record.landmarks)
        return draw_oval(project(mean_face.oval, pose), record.matrix, size)

    return draw


def _film(job: _Job, index: int, path: Path, mixer: FaceMixer, work: _Work) -> Film:
    options, info = job.options, job.dataset.sources[index].info
    found = [record for frame in job.dataset.by_frame(index).values() for record in frame]
    times = {row.frame: row.pts for row in job.dataset.frame_rows() if row.source == index}
    length = max(1, round(options.segment_seconds * info.rate))
    showing = {"seconds": options.label_seconds, "every": options.label_every} if list_images(path) is None else {}
    start = times.get(0, Fraction(0))
    notice = Notice(options.label, (info.width, info.height), font=options.label_font, start=start, **showing)
    plan = FacePlan(found, options.batch, mixer.reach)
    return Film(path, info, plan, times, length, options, _marker(job), notice, work.beside)


def _marker(job: _Job) -> Marker:
    return Marker(payload_of(job.checkpoint.sha256))


def _statement(job: _Job, index: int) -> dict[str, Any]:
    """What the manifests of all that is made of source `index` say."""
    consent = job.run.manifest["consent"]
    return {
        "run": job.checkpoint.sha256,
        "step": job.checkpoint.step,
        "recipe": job.run.manifest["recipe"].get("name", ""),
        "source": job.dataset.sources[index].sha256,
        "options": job.options.to_json(),
        "watermark": payload_of(job.checkpoint.sha256),
        "consent": consent if consent.get("recorded") else "not recorded",
    }


def _make_film(
    film: Film, work: _Work, mixer: FaceMixer, target: Path, notes: list[str], advance: Advance
) -> tuple[Counts, dict[str, Any]]:
    """The segments, and the film joined from them with the source's other streams, signed; what is beside it first."""
    notes += write_segments(film, work.film, mixer, advance)
    finished = [
        note for note in map(work.film.note, range(-(-(work.film.end or 0) // film.length))) if note is not None
    ]
    notes += [note for part in finished for note in part["notes"] if note not in notes]
    joined = make_folder(work.film.path / "joined")
    _keep_old(target)
    said = work.finish_frames(len(finished))
    if work.comparison is not None:
        unsigned, compare = joined / _compare(target).name, _compare(target)
        parts = [work.comparison.path(index) for index in range(len(finished))]
        join_segments(parts, unsigned, work.comparison.info, film.path)
        said["compare"] = {"film": compare.name, **work.sign(unsigned, compare)}
    unsigned = joined / target.name
    segments = [work.film.segment(index) for index in range(len(finished))]
    notes += [note for note in join_segments(segments, unsigned, film.info, film.path) if note not in notes]
    for beside in unsigned.parent.glob(f"{unsigned.stem}*.mks"):
        os.replace(beside, target.with_name(beside.name))
    return _sum(finished), {**said, "signed": work.sign(unsigned, target)}


def _make_pictures(
    film: Film, work: _Work, mixer: FaceMixer, target: Path, notes: list[str], advance: Advance
) -> tuple[Counts, dict[str, Any]]:
    """A signed PNG for each picture, with its name; in a folder, unless the source is one picture."""
    pictures = list_images(film.path) or []
    folder = make_folder(work.film.path / "pictures")
    swapped = faces = count = 0
    with ExitStack() as open_ones:
        others = [open_ones.enter_context(beside.segment(0)) for beside in film.beside]
        for each in paint_frames(read_frames(film.path, warnings=notes), film, mixer, 0):
            write_png(folder / f"{each.frame.index:06d}.png", each.frame.rgb)
            for other in others:
                other(each)
            swapped, faces, count = swapped + (each.faces > 0), faces + each.faces, count + 1
            advance(1)
    counts = Counts(count, swapped, faces, {})
    _keep_old(target)
    said = work.finish_frames(1)
    if not film.path.is_dir():
        return counts, {**said, "signed": work.sign(folder / "000000.png", target)}
    names, sources = [picture.stem for picture in pictures], dict(enumerate(pictures))
    if not len(set(names)) == len(names) == count:
        names, sources = [f"{number:06d}" for number in range(count)], {}
        notes.append("the pictures are numbered: their own names were not clear")
    whole = make_folder(work.film.path / "signed")
    signed = {
        f"{name}.png": work.sign(folder / f"{number:06d}.png", whole / f"{name}.png", sources.get(number))
        for number, name in enumerate(names)
    }
    os.replace(whole, target)
    return counts, {**said, "signed": signed}


def _keep_old(target: Path) -> None:
    """Rename an older film and its sidecar out of the way, under one number."""
    if target.exists():
        kept = keep_old(target)
        for name in (_sidecar, _compare):
            if name(target).exists():
                os.replace(name(target), name(kept))


def _compare(target: Path) -> Path:
    """Where the comparison of a film goes."""
    return target.with_name(f"{target.stem}_compare{target.suffix}")


def _sidecar(target: Path) -> Path:
    return target.with_name((target.stem if target.suffix in (".mp4", ".mov", ".png") else target.name) + ".json")


def _ending(path: Path) -> str:
    """What the swapped form of a source ends in: a film, a folder, or a picture."""
    return ".mp4" if list_images(path) is None else "" if path.is_dir() else ".png"


def _sum(segments: list[dict[str, Any]]) -> Counts:
    frames, swapped, faces = (sum(note[name] for note in segments) for name in ("frames", "swapped", "faces"))
    return Counts(frames, swapped, faces, {})


def _job_values(job: _Job, index: int) -> dict[str, Any]:
    """All that decides how the frames of a film look: work that was interrupted goes on only if it agrees."""
    return {
        "software": __version__,
        "version": VERSION,
        "source": job.dataset.sources[index].sha256,
        "dataset": job.dataset.fingerprint(),
        "checkpoint": job.checkpoint.sha256,
        "watermark": payload_of(job.checkpoint.sha256),
        "detail_from": job.detail_from,
        "options": job.options.to_json(),
    }


def _made_before(job: _Job, index: int, target: Path) -> tuple[Counts, list[str]] | None:
    """What the sidecar says of a film that is there, if it is the one that would be made."""
    try:
        values = json.loads(_sidecar(target).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not target.exists() or any(values.get(name) != value for name, value in _job_values(job, index).items()):
        return None
    if job.options.compare and not _compare(target).exists():
        return None
    if job.frames is not None and not (values.get("frames_folder") == str(job.frames) and job.frames.is_dir()):
        return None
    return Counts(**values["frames"]), values["notes"]


def _sidecar_values(
    job: _Job, index: int, path: Path, target: Path, counts: Counts, notes: list[str]
) -> dict[str, Any]:
    manifest = job.run.manifest
    recipe = manifest["recipe"]
    return {
        "format": FORMAT,
        **_job_values(job, index),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "backend": backend_name(),
        "film": target.name,
        "input": str(path),
        "faces": str(job.dataset.path),
        "run": {"path": str(job.run.path), "recipe": recipe.get("name"), "step": job.checkpoint.step},
        "consent": manifest["consent"],
        "frames": vars(counts),
        "notes": notes,
    }
