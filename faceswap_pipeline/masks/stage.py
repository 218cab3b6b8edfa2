"""The masks stage: writes the masks of every face of a dataset.

In: a dataset folder and MaskOptions. Out: the same folder with masks/<kind>/ filled.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from faceswap_pipeline.dataset import FaceDataset, FaceRecord
from faceswap_pipeline.detection.meanface import MeanFace, load_mean_face
from faceswap_pipeline.geometry import transform_points
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.masks import shapes
from faceswap_pipeline.masks.options import PARSED_KINDS, Kind, MaskOptions
from faceswap_pipeline.parsing import BATCH, FaceParser, Parsed, parsed_mask
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.video.ahead import ahead

FILLED_CONFIDENCE = 0.5
"""Confidence of a landmark mask where the tracker filled a gap, times the usual: there the landmarks are a guess."""

Work = list[tuple[FaceRecord, list[Kind]]]
ParsedFace = tuple[Parsed, int]
"""What the parser says of a batch, and which of it a face is."""


def make_masks(
    dataset: Path,
    options: MaskOptions,
    *,
    redo: bool = False,
    load_parser: Callable[[], FaceParser] = FaceParser,
    progress: Progress | None = None,
) -> FaceDataset:
    """Make the masks of `options.kind` for every record, also those whose crop was deleted (they are still
    converted; without a crop their masks come from the landmarks).

    Masks that are there stay, unless they were made with other options or `redo` is set; then all of that kind are
    made again. `load_parser` is called where one is needed. What is finished survives an interruption, and the next
    call goes on. Returns the dataset, closed for writing. Raises DatasetError when there is no dataset, StorageError
    when it cannot be written, WeightsError when the mean face or the parser is missing.
    """
    progress = progress or Progress()
    mean_face = load_mean_face(weight_file("mean_face"))
    opened = FaceDataset.open(dataset)
    again = _kinds_to_redo(opened, options, redo)
    if not again and "masks" in opened.options and not _work_to_do(opened, options, again):
        progress.note(f"{dataset}: the masks {', '.join(options.kind)} are there; --redo makes them again")
        return opened
    del opened  # its records are those that are opened for writing now
    parser = None if options.method == "landmarks" else load_parser()
    with FaceDataset.open(dataset, write=True) as written:
        work = _work_to_do(written, options, again)
        if again:
            written.set_options("masks_unfinished", {"kind": sorted(again)})
        written.set_options("masks", _recorded(written, options).to_json())
        with progress.phase("masks", len(work), "faces") as advance:
            # The next faces are read and parsed while the masks of these are written.
            for batch, parsed in ahead(_parsed_batches(written, parser, work), depth=1):
                for record, kinds in batch:
                    _write_masks(written, mean_face, record, kinds, parsed.get(record.name), options)
                    advance(1)
        if again:
            written.set_options("masks_unfinished", {"kind": sorted(again - set(options.kind))})
    return written


@contextmanager
def masks_beside(
    dataset: FaceDataset, options: MaskOptions, load_parser: Callable[[], FaceParser] = FaceParser
) -> Iterator[Callable[[FaceRecord, Image], None]]:
    """What to call with each face as it is added to a dataset open for writing, and its crop: makes its masks.

    They are parsed on a thread, a few faces at a time, while the next are cut, and no crop has to be read again. What
    is not made when the block is left by an exception is made by `make_masks`.
    """
    mean_face = load_mean_face(weight_file("mean_face"))
    parser = None if options.method == "landmarks" else load_parser()
    dataset.set_options("masks", options.to_json())
    waiting: list[tuple[FaceRecord, Image]] = []
    coming: deque[tuple[list[FaceRecord], Future[Parsed] | None]] = deque()

    def parse() -> None:
        if waiting:
            records, crops = zip(*waiting, strict=True)
            coming.append((list(records), pool.submit(parser.parse, crops) if parser else None))
            waiting.clear()

    def write(still: int) -> None:
        """Write what is parsed, but for the last `still` batches."""
        while len(coming) > still:
            records, parsed = coming.popleft()
            for index, record in enumerate(records):
                found = (parsed.result(), index) if parsed else None
                _write_masks(dataset, mean_face, record, options.kind, found, options)

    def add(record: FaceRecord, crop: Image) -> None:
        waiting.append((record, crop))
        if len(waiting) == BATCH:
            parse()
            write(still=1)

    with ThreadPoolExecutor(1, "parser") as pool:
        yield add
        parse()
        write(still=0)


def _parsed_batches(
    dataset: FaceDataset, parser: FaceParser | None, work: Work
) -> Iterator[tuple[Work, dict[str, ParsedFace]]]:
    """A few faces at a time, with what the parser says of those that have a crop, by name."""
    for start in range(0, len(work), BATCH):
        batch = work[start : start + BATCH]
        seen = [record for record, _ in batch if parser is not None and dataset.has_crop(record)]
        parsed = parser.parse([dataset.crop(record) for record in seen]) if parser is not None and seen else None
        yield batch, {record.name: (parsed, index) for index, record in enumerate(seen) if parsed is not None}


def _write_masks(
    dataset: FaceDataset,
    mean_face: MeanFace,
    record: FaceRecord,
    kinds: Sequence[Kind],
    found: ParsedFace | None,
    options: MaskOptions,
) -> None:
    """Make and write the masks of one face, which the parser has `found` or not."""
    for kind in kinds:
        if found is not None and _is_parsed(*found, kind, options):
            size, padding = dataset.crop_size, options.padding(kind) / dataset.coverage
            picture, confidence = parsed_mask(kind, *found, size, padding), float(found[0].confidence[found[1]])
            dataset.write_mask(kind, record, picture, how="parser", confidence=confidence)
        elif kind not in PARSED_KINDS:
            write_landmark_mask(dataset, mean_face, kind, record, options.padding(kind))


def _is_parsed(parsed: Parsed, index: int, kind: Kind, options: MaskOptions) -> bool:
    """Whether a mask comes from the parser rather than from the landmarks."""
    sure = parsed.confidence[index] >= options.least_confidence
    return options.method == "parser" or kind in PARSED_KINDS or bool(sure)


def write_landmark_mask(
    dataset: FaceDataset, mean_face: MeanFace, kind: Kind, record: FaceRecord, padding: float
) -> None:
    """Make one mask from the record's smoothed landmarks and write it; `padding` in face heights."""
    pose = shapes.crop_pose(record.yaw, record.pitch, dataset.crop_size, dataset.coverage)
    five = transform_points(record.matrix, record.landmarks)
    picture = shapes.mask(kind, mean_face, pose, five, dataset.crop_size, padding)
    confidence = record.score * (FILLED_CONFIDENCE if record.filled else 1.0)
    dataset.write_mask(kind, record, picture, how="landmarks", confidence=confidence)


def _kinds_to_redo(dataset: FaceDataset, options: MaskOptions, redo: bool) -> set[str]:
    """The kinds of which every mask is made again: asked for, made otherwise, or left half redone."""
    stored = dataset.options.get("masks")
    before = MaskOptions.from_json(stored) if stored else options
    otherwise = (before.method, before.least_confidence) != (options.method, options.least_confidence)
    changed = {kind for kind in options.kind if redo or otherwise or before.padding(kind) != options.padding(kind)}
    unfinished = dataset.options.get("masks_unfinished", {}).get("kind", [])
    return (changed & set(dataset.mask_kinds())) | set(unfinished)


def _work_to_do(dataset: FaceDataset, options: MaskOptions, again: set[str]) -> Work:
    """The faces that lack a mask, with the kinds they lack; parser-only kinds need the crop."""

    def lacks(record: FaceRecord, kind: Kind) -> bool:
        possible = kind not in PARSED_KINDS or dataset.has_crop(record)
        return possible and (kind in again or not dataset.has_mask(record, kind))

    found: Work = [(record, [kind for kind in options.kind if lacks(record, kind)]) for record in dataset.records]
    return [(record, kinds) for record, kinds in found if kinds]


def _recorded(dataset: FaceDataset, options: MaskOptions) -> MaskOptions:
    """The options that describe all masks of the dataset once `options.kind` are made: other kinds keep theirs."""
    stored = dataset.options.get("masks")
    if not stored:
        return options
    before = MaskOptions.from_json(stored)
    kept = {
        field: getattr(before, field)
        for kind, field in (("face", "face_padding"), ("eyes", "eye_padding"), ("mouth", "mouth_padding"))
        if kind not in options.kind
    }
    both = tuple(dict.fromkeys((*before.kind, *options.kind)))
    return replace(options, kind=both, **kept)
