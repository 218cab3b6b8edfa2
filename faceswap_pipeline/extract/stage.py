"""Extraction: videos and pictures in, a dataset folder of aligned faces out.

Two passes over each input. The first finds the faces of every frame and keeps them per segment in the dataset's work
folder, so that a killed run goes on where it stopped. Tracks, persons and steady poses follow from those. The second
pass cuts the crops of the chosen persons.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.dataset import FaceDataset, FaceRecord, FrameRow, Source
from faceswap_pipeline.detection.alignment import COVERAGE, TEMPLATE, Aligned, align_track, crop_matrix, pose_at
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.detection.meanface import MeanFace, fit_pose, load_mean_face
from faceswap_pipeline.detection.tracking import Track, link
from faceswap_pipeline.errors import DatasetError, NoFaceError, OptionError, SwapError, VideoError
from faceswap_pipeline.extract import people
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.extract.report import dataset_page
from faceswap_pipeline.extract.scan import Scan, scan_source
from faceswap_pipeline.geometry import invert_matrix, transform_points
from faceswap_pipeline.identity import FaceEmbedder
from faceswap_pipeline.imaging import Image, middle, resize, sharpness, warp
from faceswap_pipeline.options import seconds
from faceswap_pipeline.parsing import FaceParser, parsed_mask
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.report import Level
from faceswap_pipeline.storage import keep_old, remove_folder
from faceswap_pipeline.video.ahead import ahead
from faceswap_pipeline.video.images import read_image, write_jpeg
from faceswap_pipeline.video.info import file_sha256, probe
from faceswap_pipeline.video.reader import Frame, read_frames

MAX_GAP_SECONDS = Fraction(1, 2)
"""The longest stretch without the face that a track bridges."""
UNTRAINED_MARKS = ("blurred", "clipped", "tiny", "low_score", "duplicate", "filled")
"""Faces with one of these marks are left out of training."""


CHOSEN_LATER = ("person", "blurred", "tiny", "clipped", "low_score", "duplicate")
"""Options that the first pass does not depend on."""


Add = Callable[[FaceRecord, Image], None]
Beside = Callable[[FaceDataset], AbstractContextManager[Add]]
"""Opens what is done beside the cutting with each face of a dataset; see `masks.stage.masks_beside`."""


@contextmanager
def _nothing_beside(dataset: FaceDataset) -> Iterator[Add]:
    yield lambda record, crop: None


@dataclass(frozen=True)
class _Face:
    """A track with all that is known of it."""

    source: int
    track: Track
    number: int
    """Unique in the dataset."""
    aligned: Aligned
    look: people.TrackLook

    def seen_as(self, direction: NDArray[np.floating]) -> "_Face":
        """The same, with where the embedding puts it."""
        return replace(self, look=replace(self.look, direction=direction))


class _Recogniser:
    """Tells who small pictures show: the embedding, with masks of the parser."""

    def __init__(self, parser: FaceParser) -> None:
        self._parser, self._embedder = parser, FaceEmbedder()

    def direction(self, samples: Sequence[Image]) -> NDArray[np.floating]:
        """Where the embedding puts the person in `samples`, (D,); (0,) without any."""
        if not samples:
            return np.zeros(0)
        parsed = self._parser.parse(samples)
        masks = [parsed_mask("face", parsed, index, len(sample)) for index, sample in enumerate(samples)]
        return people.mean_direction(self._embedder.embed(samples, masks))


def extract_faces(
    inputs: Sequence[Path],
    out: Path,
    options: ExtractOptions,
    *,
    redo: bool = False,
    load_parser: Callable[[], FaceParser] = FaceParser,
    beside: Beside = _nothing_beside,
    progress: Progress | None = None,
) -> FaceDataset:
    """Find, follow, align and cut the faces of `inputs` (videos, pictures, folders of pictures) into the folder `out`.

    An unfinished `out` made with the same inputs and options is gone on with, a finished one is returned as it is;
    other inputs or options raise DatasetError, unless `redo`, which keeps the old folder under a numbered name.
    `load_parser` is called where persons have to be told apart; what `beside` gives is called with every face cut.
    Raises VideoError for what cannot be read, NoFaceError when there is no face, OptionError for a person not there.
    """
    progress = progress or Progress()
    sources = _sources(inputs, options)
    mean_face = load_mean_face(resources.weight_file("mean_face"))
    photo = _photo_of(options, mean_face)
    for old in (out, out.with_name(out.name + ".zip")) if redo else ():
        if old.exists():
            progress.note(f"the old {old} is kept as {keep_old(old)}")
    dataset = _open_or_create(sources, out, options)
    if dataset.state == "done":
        progress.note(f"{out} is finished already: {len(dataset)} faces")
        dataset.close()
        return dataset
    with dataset:
        scans = [
            scan_source(dataset, index, Path(path), options, mean_face, progress) for index, path in enumerate(inputs)
        ]
        faces = _faces(scans, mean_face, progress)
        if not faces:
            # Nothing but the search itself is lost, and that has to be made anew with other options.
            dataset.close()
            remove_folder(out)
            raise _no_face(scans, inputs, options)
        wanted = None
        if photo is not None or len(faces) > 1:
            recogniser = _Recogniser(load_parser())
            faces = [face.seen_as(recogniser.direction(face.look.samples)) for face in faces]
            wanted = None if photo is None else recogniser.direction([photo])
        persons = _persons(faces)
        chosen = _choose(faces, persons, options, wanted, progress)
        if chosen is None:
            _write_people(dataset, faces, persons, set(), scans)
            raise OptionError(
                f"--person is {options.person}: expected {', '.join(map(str, sorted(set(persons))))} or all; "
                f"{out / 'people.jpg'} shows them. What was found is kept: run the line again with another --person"
            )
        sheet = _write_people(dataset, faces, persons, chosen, scans)
        with beside(dataset) as add:
            for index, scan in enumerate(scans):
                own = [face for face in faces if face.source == index and persons[face.number] in chosen]
                _cut_crops(dataset, Path(inputs[index]), scan, own, persons, options, add, progress)
        _mark_blurred(dataset, options)
        rows = list(_frame_rows(dataset, scans, faces))
        notes = _how_sure(faces, persons)
        dataset.write_artifact("report.html", dataset_page(dataset, rows, sheet, notes).encode())
        dataset.finish(rows)
        _summary(dataset, scans, progress)
        for level, text in notes:
            if level == "fair":
                progress.warn(text)
    return dataset


def _sources(inputs: Sequence[Path], options: ExtractOptions) -> list[Source]:
    start, end = _times(options)
    return [Source(str(path), file_sha256(path), probe(path), start, end) for path in map(Path, inputs)]


def _open_or_create(sources: Sequence[Source], out: Path, options: ExtractOptions) -> FaceDataset:
    """The dataset `out`, new or fit to go on with."""
    if not (out / "dataset.json").exists() and not (not out.exists() and out.with_name(out.name + ".zip").exists()):
        return FaceDataset.create(out, sources, options.size, TEMPLATE, COVERAGE, {"extract": options.to_json()})
    dataset = FaceDataset.open(out, write=out.is_dir())
    differences = []
    made_with = dataset.options.get("extract", {})
    try:
        before = ExtractOptions.from_json(made_with)
        if dataset.state == "extracting" and not dataset.records:
            # The faces are found and nothing is cut yet: what chooses and marks them may still change.
            later = {name: getattr(options, name) for name in CHOSEN_LATER}
            before = replace(before, **later)
        differences += options.differences(before)
    except OptionError as error:
        differences.append(str(error))
    if [source.sha256 for source in sources] != [source.sha256 for source in dataset.sources]:
        old, new = (", ".join(source.path for source in group) for group in (dataset.sources, sources))
        differences.append(f"inputs: {new}, was {old}" if old != new else f"inputs: the content of {new} has changed")
    if differences:
        dataset.close()
        raise DatasetError(
            f"{out} was made with other choices ({'; '.join(differences)}): "
            "name another folder with --out, or give --redo to make it anew (the old one is kept)"
        )
    if dataset.state == "extracting" and made_with != options.to_json():
        dataset.set_options("extract", options.to_json())
    return dataset


def _times(options: ExtractOptions) -> tuple[Fraction | None, Fraction | None]:
    start, end = (Fraction(str(seconds(text))) if text else None for text in (options.start, options.end))
    if start is not None and end is not None and end <= start:
        raise OptionError(f"--end is '{options.end}': expected a time after --start, which is '{options.start}'")
    return start, end


def _faces(scans: Sequence[Scan], mean_face: MeanFace, progress: Progress) -> list[_Face]:
    """The believable tracks of all sources, aligned, numbered in the order of source and time."""
    tracks = [
        (source, track)
        for source, scan in enumerate(scans)
        for track in link(scan.faces, scan.cuts, int(MAX_GAP_SECONDS * scan.rate))
        if _believable(track, scan)
    ]
    if not tracks:
        return []
    shots, faces = [np.cumsum(scan.cuts) for scan in scans], []
    with progress.phase("steadying faces", sum(len(track.frames) for _, track in tracks), "faces") as advance:
        for source, track in tracks:
            scan = scans[source]
            aligned = align_track(mean_face, track.landmarks, ~track.filled, float(scan.rate))
            first, last = int(track.frames[0]), int(track.frames[-1])
            look = people.TrackLook(
                source,
                first,
                last,
                int((~track.filled).sum()),
                scan.samples_of(track),
                shot=int(shots[source][first]),
                times=(float(scan.pts[first]), float(scan.pts[last])),
                boxes=track.boxes[[0, -1]],
                direction=np.zeros(0),
            )
            faces.append(_Face(source, track, len(faces), aligned, look))
            advance(len(track.frames))
    return faces


def _believable(track: Track, scan: Scan) -> bool:
    """Whether a track is a face: sure at least once, likely on the whole, not gone in a wink (but for single pictures).

    The scores are means over several crops of the face: those of a hand that looks like a face at one moment average
    0.73 over its track and never reach 0.95, those of a head in full profile average 0.75 and do.
    """
    best, usual = float(track.scores.max()), float(track.scores[~track.filled].mean())
    if scan.pictures:
        return best >= 0.9
    long_enough = (~track.filled).sum() >= min(max(3, scan.rate / 8), len(scan.frames))
    return best >= 0.95 and usual >= 0.7 and bool(long_enough)


def _persons(faces: Sequence[_Face]) -> list[int]:
    """A person number for each track number."""
    with_look = [face for face in faces if face.look.samples]
    numbers = people.group([face.look for face in with_look])
    persons = [max(numbers, default=-1) + 1] * len(faces)
    for face, number in zip(with_look, numbers, strict=True):
        persons[face.number] = number
    return persons


def _how_sure(faces: Sequence[_Face], persons: list[int]) -> list[tuple[Level, str]]:
    """How surely the persons were told apart, in words."""
    count = len(set(persons))
    if count < 2:
        return []
    with_look = [face for face in faces if face.look.samples]
    unsure = people.doubts([face.look for face in with_look], [persons[face.number] for face in with_look])
    if not unsure:
        return [("good", f"{count} persons, told apart without doubt.")]
    pairs = ", ".join(f"{low} and {high} ({distance:.2f})" for low, high, distance in unsure[:5])
    return [
        (
            "fair",
            f"{count} persons, but some may be one: {pairs}. Up to {people.SAME} apart counts as the same; compare "
            "them in people.jpg. --person all keeps everyone.",
        )
    ]


def _choose(
    faces: Sequence[_Face], persons: list[int], options: ExtractOptions, wanted: NDArray | None, progress: Progress
) -> set[int] | None:
    """The numbers of the persons to keep; None when `--person` names a number that nobody has.

    `wanted`: direction of the face in the photo that it names.
    """
    there = sorted(set(persons))
    if options.person == "all":
        return set(there)
    if options.person == "main":
        if len(there) > 1:
            progress.note(f"{len(there)} persons found: the one seen longest is taken (people.jpg; --person N picks)")
        return {0}
    if wanted is not None:
        return {_nearest_person(faces, persons, wanted, Path(options.person).name, progress)}
    return {int(options.person)} if int(options.person) in there else None


def _photo_of(options: ExtractOptions, mean_face: MeanFace) -> Image | None:
    """The aligned face of the photo that `--person` names; None when it names no photo.

    Raises OptionError when it is neither a number nor a photo with a face.
    """
    if options.person in ("main", "all") or options.person.isdigit():
        return None
    path = Path(options.person)
    if not path.is_file():
        raise OptionError(f"--person is '{options.person}': expected main, all, a number or the path of a photo")
    image = read_image(path)
    found = FaceDetector(options.min_face).detect([image])[0]
    if not found:
        raise OptionError(f"--person is '{options.person}': no face in that photo; take one that shows the face larger")
    pose = fit_pose(mean_face, found[0].landmarks)
    return warp(image, crop_matrix(pose, people.SAMPLE_SIZE), (people.SAMPLE_SIZE, people.SAMPLE_SIZE))


def _nearest_person(faces: Sequence[_Face], persons: list[int], wanted: NDArray, name: str, progress: Progress) -> int:
    """The person nearest to the direction `wanted`, of the photo `name`."""
    distances: dict[int, float] = {}
    for face in faces:
        if face.look.samples:
            far = people.distance_between(face.look.direction, wanted)
            number = persons[face.number]
            distances[number] = min(far, distances.get(number, np.inf))
    ranked = sorted(distances, key=lambda number: distances[number])
    near = ", ".join(f"person {number} {distances[number]:.2f}" for number in ranked[:3])
    progress.note(f"nearest to {name}: {near} (below {people.SAME} is taken for the same)")
    if distances[ranked[0]] > people.SAME:
        progress.warn(f"nobody here looks much like {name}: person {ranked[0]} is taken; look at people.jpg")
    return ranked[0]


def _cut_crops(
    dataset: FaceDataset,
    path: Path,
    scan: Scan,
    faces: Sequence[_Face],
    persons: list[int],
    options: ExtractOptions,
    add: Add,
    progress: Progress,
) -> None:
    """Append a record and a crop for every face of one source's tracks; goes on after the last one that is there."""
    source = scan.source
    there = {record.name for record in dataset.records if record.source == source}
    kept = _last_kept(dataset, source)
    new = lambda here: [(face, row) for face, row in here if _name(face, scan, row) not in there]  # noqa: E731
    positions = [position for position, _ in dropwhile(lambda each: not new(each[1]), _by_position(faces))]
    if not positions:
        return

    def cut() -> Iterator[list[tuple[FaceRecord, Image]]]:
        """The faces of each frame that are not there yet."""
        steps = dropwhile(lambda each: each[0] < positions[0], _by_position(faces))
        position, here = next(steps)
        for frame in read_frames(path, start=scan.frames[positions[0]], stop=scan.frames[positions[-1]] + 1):
            while scan.frames[position] < frame.index:
                position, here = next(steps)
            if scan.frames[position] == frame.index:
                yield [_record(frame, face, row, persons[face.number], options) for face, row in new(here)]

    with progress.phase("cutting faces", len(positions), "frames") as advance:
        for found in ahead(cut(), depth=4):  # the next are cut while these are compressed and written
            for face, crop in found:
                record = _mark_duplicate(face, crop, kept, options)
                dataset.append(record, crop)
                add(record, crop)
            advance(1)


def _by_position(faces: Sequence[_Face]) -> Iterator[tuple[int, list[tuple[_Face, int]]]]:
    """The positions where there is a face, in order, with the faces there and which row of its track each has there."""
    coming = deque(sorted(faces, key=lambda face: face.look.first))
    here: list[_Face] = []
    position = 0
    while coming or here:
        position = position if here else coming[0].look.first
        while coming and coming[0].look.first <= position:
            here.append(coming.popleft())
        yield position, [(face, position - face.look.first) for face in here]
        position += 1
        here = [face for face in here if face.look.last >= position]


def _name(face: _Face, scan: Scan, row: int) -> str:
    return f"{face.source}_{int(scan.frames[face.track.frames[row]]):06d}_{face.number:03d}"


def _record(frame: Frame, face: _Face, row: int, person: int, options: ExtractOptions) -> tuple[FaceRecord, Image]:
    """The record and the crop of one face of one frame."""
    pose = pose_at(face.aligned.pose, row)
    matrix = crop_matrix(pose, options.size)
    crop = frame.warped(matrix, (options.size, options.size))
    track = face.track
    marks = []
    if track.filled[row]:
        marks.append("filled")
    elif track.scores[row] < options.low_score:
        marks.append("low_score")
    if pose.scale * COVERAGE < options.tiny * options.size:
        marks.append("tiny")
    if _outside(matrix, options.size, frame.width, frame.height) > options.clipped:
        marks.append("clipped")
    record = FaceRecord(
        source=face.source,
        frame=frame.index,
        pts=frame.pts,
        track=face.number,
        person=person,
        filled=bool(track.filled[row]),
        box=track.boxes[row],
        landmarks_raw=track.landmarks[row],
        landmarks=face.aligned.landmarks[row],
        score=float(track.scores[row]),
        yaw=float(pose.yaw),
        pitch=float(pose.pitch),
        roll=float(pose.roll),
        sharpness=sharpness(crop),
        marks=tuple(marks),
        use_for_training=not marks,
        matrix=matrix,
    )
    return record, crop


def _outside(matrix: NDArray[np.float64], size: int, width: int, height: int) -> float:
    """Share of the face (an ellipse in the crop's middle) that lies outside the frame."""
    grid = np.linspace(-1, 1, 15)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    points = points[(points**2).sum(1) <= 1] * [0.4, 0.5]
    in_frame = transform_points(invert_matrix(matrix), points * size / COVERAGE + (size - 1) / 2)
    inside = (in_frame > -0.5).all(1) & (in_frame < [width - 0.5, height - 0.5]).all(1)
    return float(1 - inside.mean())


def _small(crop: Image) -> NDArray[np.float32]:
    """What two crops are compared by: the face at 64 px, grey levels."""
    inner = round(crop.shape[0] / COVERAGE)
    return resize(crop[middle(crop.shape[:2], inner)], (64, 64)).astype(np.float32).mean(2)


def _difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """How much two faces differ where they differ most (of 8x8 parts), in grey levels: a blink counts."""
    return float(np.abs(first - second).reshape(8, 8, 8, 8).mean((1, 3)).max())


def _last_kept(dataset: FaceDataset, source: int) -> dict[int, NDArray[np.float32]]:
    """By track, the last crop that was no duplicate."""
    last = {r.track: r for r in dataset.records if r.source == source and "duplicate" not in r.marks}
    return {track: _small(dataset.crop(record)) for track, record in last.items() if dataset.has_crop(record)}


def _mark_duplicate(
    record: FaceRecord, crop: Image, kept: dict[int, NDArray[np.float32]], options: ExtractOptions
) -> FaceRecord:
    """The record, marked when its crop hardly differs from the one kept before it; remembers the crop otherwise."""
    small = _small(crop)
    before = kept.get(record.track)
    if before is not None and _difference(small, before) < options.duplicate:
        return replace(record, marks=(*record.marks, "duplicate"), use_for_training=False)
    kept[record.track] = small
    return record


def _mark_blurred(dataset: FaceDataset, options: ExtractOptions) -> None:
    """Mark the crops that are far less sharp than is usual for their person."""
    usual: dict[int, float] = {}
    for person in {record.person for record in dataset.records}:
        usual[person] = float(np.median([r.sharpness for r in dataset.records if r.person == person]))
    records = []
    for record in dataset.records:
        blurred = record.sharpness < options.blurred * usual[record.person]
        marks = tuple(mark for mark in record.marks if mark != "blurred") + (("blurred",) if blurred else ())
        use = not any(mark in UNTRAINED_MARKS for mark in marks)
        changed = (marks, use) != (record.marks, record.use_for_training)
        records.append(replace(record, marks=marks, use_for_training=use) if changed else record)
    dataset.rewrite_records(records)


def _frame_rows(dataset: FaceDataset, scans: Sequence[Scan], faces: Sequence[_Face]) -> Iterator[FrameRow]:
    """One line for every frame of the inputs."""
    for source, scan in enumerate(scans):
        chosen = dataset.by_frame(source)
        tracked = Counter(int(p) for face in faces if face.source == source for p in face.track.frames)
        rows = [FrameRow(source, frame, pts, 0, _skipped(dataset.sources[source], pts)) for frame, pts in scan.skipped]
        for position, (frame, pts) in enumerate(zip(scan.frames, scan.pts, strict=True)):
            records = chosen.get(frame, [])
            rows.append(FrameRow(source, frame, pts, len(records), _reason(records, scan, position, tracked[position])))
        yield from sorted(rows, key=lambda row: row.frame)


def _skipped(source: Source, pts: Fraction) -> str:
    """Why a frame was not looked at."""
    if source.start is not None and pts < source.start:
        return "before --start"
    return "after --end" if source.end is not None and pts >= source.end else "left out by --every"


def _reason(records: Sequence[FaceRecord], scan: Scan, position: int, tracked: int) -> str:
    if not records:
        if tracked:
            return "other person"
        return "low score" if scan.faces[position] else "no face"
    if all(record.filled for record in records):
        return "filled by the tracker"
    return "duplicate" if all("duplicate" in record.marks for record in records) else ""


def _write_people(
    dataset: FaceDataset, faces: Sequence[_Face], persons: list[int], chosen: set[int], scans: Sequence[Scan]
) -> bytes | None:
    """people.jpg, and its bytes; None when no face was seen well enough for a picture."""
    rows = []
    for number in sorted(set(persons)):
        own = [face for face in faces if persons[face.number] == number]
        frames = sum(face.look.frames for face in own)
        time = sum(float(face.look.frames / scans[face.source].rate) for face in own)
        samples = [sample for face in own for sample in face.look.samples]
        if samples:
            rows.append((number, frames, time, samples))
    if not rows:
        return None
    path = dataset.work_folder() / "people.jpg"
    write_jpeg(path, people.contact_sheet(rows[:20], sorted(chosen)))
    dataset.write_artifact("people.jpg", path.read_bytes())
    return path.read_bytes()


def _no_face(scans: Sequence[Scan], inputs: Sequence[Path], options: ExtractOptions) -> SwapError:
    """What to say when nobody was found."""
    names = ", ".join(map(str, inputs))
    frames = sum(len(scan.frames) for scan in scans)
    if frames == 0:
        return VideoError(f"no frame of {names} lies between --start and --end")
    unsure = sum(bool(found) for scan in scans for found in scan.faces)
    short = min(min(scan.width, scan.height) for scan in scans)
    seen = f"; {unsure} frames hold something face-like, too unsure or too short-lived to use" if unsure else ""
    return NoFaceError(
        f"no face in the {frames} frames of {names}: looked for faces of "
        f"{options.min_face * short:.0f} px and more{seen}. If there are smaller faces, lower --min-face"
    )


def _summary(dataset: FaceDataset, scans: Sequence[Scan], progress: Progress) -> None:
    frames = sum(len(scan.frames) for scan in scans)
    marks = Counter(mark for record in dataset.records for mark in record.marks)
    said = ", ".join(f"{count} {mark}" for mark, count in marks.most_common())
    progress.note(
        f"{len(dataset)} faces in {frames} frames, {len(dataset.training_records())} for training"
        + (f" (left out: {said})" if said else "")
    )
    for scan in scans:
        for warning in scan.warnings:
            progress.warn(warning)
