"""The few places where stages are chained, and the default names of everything.

In: what the command line was given. Out: what the last stage returned. Stages are imported where they are called, so
that naming a folder costs nothing.
"""

import importlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from faceswap_pipeline.errors import DatasetError, OptionError, VideoError
from faceswap_pipeline.progress import Progress

if TYPE_CHECKING:
    from faceswap_pipeline.convert.options import ConvertOptions
    from faceswap_pipeline.convert.stage import ConvertResult
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.evaluate.options import EvaluateOptions
    from faceswap_pipeline.evaluate.stage import Evaluation
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.masks.options import MaskOptions
    from faceswap_pipeline.parsing import FaceParser
    from faceswap_pipeline.provenance.verify import Verification
    from faceswap_pipeline.run import TrainingRun
    from faceswap_pipeline.train.options import PretrainOptions, TrainOptions

RUNS = Path("runs")


def dataset_name(source: Path) -> str:
    """`faces_X` for `video_X.mp4`, `faces_NAME` for any other `NAME.ext` and for a folder NAME."""
    path = Path(os.path.abspath(source))
    name = path.name if path.is_dir() else path.stem
    return "faces_" + (name.removeprefix("video_") or name)


def dataset_folder(inputs: Sequence[Path], out: Path | None) -> Path:
    """Where the faces of `inputs` go. Raises OptionError when several inputs come without `out`."""
    if out is not None:
        return named(out)
    if len(inputs) != 1:
        raise OptionError(f"{len(inputs)} inputs go into one dataset: name it with --out FOLDER")
    return Path(dataset_name(inputs[0]))


def named(path: Path) -> Path:
    """`path`, or for `.`, which has no name that could be recorded or numbered, where it is."""
    return path if path.name else Path(os.path.abspath(path))


def run_folder(a: Path, b: Path) -> Path:
    """`runs/a-b` for the datasets `faces_a` and `faces_b`, packed or not."""
    names = [Path(os.path.abspath(path)).name.removesuffix(".zip").removeprefix("faces_") for path in (a, b)]
    return RUNS / "-".join(names)


def check_inputs(inputs: Sequence[Path], out: Path | None = None) -> None:
    """What can be said of inputs before anything heavy is imported. Raises VideoError, OptionError."""
    from faceswap_pipeline.video.info import probe

    dataset_folder(inputs, out)
    for path in inputs:
        if path.parts[:1] in (("http:",), ("https:",)):
            raise VideoError(f"{path.parts[0]}//... is an address: download the video first, and name the file")
        probe(path)


def check_datasets(paths: Sequence[Path]) -> None:
    """What can be said of datasets before anything heavy is imported. Raises DatasetError."""
    from faceswap_pipeline.dataset import FaceDataset

    for path in paths:
        FaceDataset.open(path)


def find_run(run: Path | None) -> "TrainingRun":
    """The run at `run`, or the one in `runs/` that was trained last. Raises RunError when there is none."""
    from faceswap_pipeline.run import TrainingRun, newest

    return TrainingRun.open(run) if run is not None else newest(RUNS)


def extract(
    inputs: Sequence[Path],
    out: Path | None,
    options: "ExtractOptions",
    *,
    redo: bool = False,
    progress: Progress | None = None,
) -> "FaceDataset":
    """Faces and their masks. A dataset whose masks were made with options of their own keeps those options."""
    from faceswap_pipeline.extract.stage import extract_faces
    from faceswap_pipeline.masks.stage import make_masks, masks_beside
    from faceswap_pipeline.parsing import FaceParser

    progress, out = progress or Progress(), dataset_folder(inputs, out)
    with ThreadPoolExecutor(1, "loading") as pool:
        load_parser = pool.submit(_ready_after_search).result if redo or not out.exists() else cache(FaceParser)
        dataset = extract_faces(
            inputs,
            out,
            options,
            redo=redo,
            load_parser=load_parser,
            beside=lambda dataset: masks_beside(dataset, _mask_options(dataset), load_parser),
            progress=progress,
        )
        mask_options = _mask_options(dataset)
        if all(dataset.has_mask(record, kind) for kind in mask_options.kind for record in dataset.records):
            return dataset
        folder = dataset.path
        del dataset  # of an hour's film its records take as much memory as the parser
        return make_masks(folder, mask_options, load_parser=load_parser, progress=progress)


def _mask_options(dataset: "FaceDataset") -> "MaskOptions":
    """Those that the dataset's masks were made with, or the usual ones."""
    from faceswap_pipeline.masks.options import MaskOptions

    recorded = dataset.options.get("masks")
    return MaskOptions.from_json(recorded) if recorded is not None else MaskOptions()


def _ready_after_search() -> "FaceParser":
    """Load what a new dataset needs after the search for faces, which leaves a core some time: filter and parser."""
    importlib.import_module("filterpy.kalman")
    from faceswap_pipeline.parsing import FaceParser

    return FaceParser(warm=True)


def train(
    a: Path,
    b: Path,
    out: Path | None,
    options: "TrainOptions",
    *,
    consent: Path | None = None,
    storage: Path | None = None,
    progress: Progress | None = None,
) -> "TrainingRun":
    """Train on two datasets, in `runs/a-b` unless `out` names another folder, and prepare B's pictures for films.

    With `storage` the run is fetched from that folder where it is missing here or behind, and copied there as often as
    it is saved; see `sync`.
    """
    from faceswap_pipeline import sync
    from faceswap_pipeline.convert.album_folder import prepare_album
    from faceswap_pipeline.train.stage import train_swap

    a, b = named(a), named(b)
    progress, out = progress or Progress(), out or run_folder(a, b)
    stored = {}
    if storage is not None:
        sync.pull([out], storage, progress)
        stored["after_save"] = sync.after_each_save(storage, out, progress)
    run = train_swap(a, b, out, options, consent=consent, **stored, progress=progress)
    prepare_album(run, "b", progress)
    if storage is not None:
        sync.push([out], storage, progress)
    return run


def pretrain(faces: Sequence[Path], out: Path, options: "PretrainOptions", *, progress: Progress | None = None) -> Path:
    """`swap pretrain`: base weights from folders of many people, written to `out`."""
    from faceswap_pipeline.train.pretrain import pretrain_base

    return pretrain_base(faces, out, options, progress=progress or Progress())


def convert(
    video: Path | None,
    run: Path | None,
    out: Path | None,
    options: "ConvertOptions",
    *,
    frames: Path | None = None,
    identity: Path | None = None,
    time_authority: str = "",
    progress: Progress | None = None,
) -> "ConvertResult":
    """A film of every video of the run's dataset, or of `video`; of the newest run in `runs/` unless `run` names one.

    A video that the run's dataset was not made from is extracted first, into `faces_NAME`, and there the person who
    looks most like the run's is taken. `frames` is a new folder for layers, see `convert_video`. `identity` is a folder
    with the user's own `key.pem` and `certificate.pem`; without it this installation's sign. `time_authority` is the
    address of a time-stamp server; without it no time is certified and nothing leaves the machine. Raises RunError
    without a run, VideoError for a video that cannot be read.
    """
    from faceswap_pipeline.convert.inputs import open_side
    from faceswap_pipeline.convert.stage import convert_video
    from faceswap_pipeline.provenance.credentials import open_identity, own_identity
    from faceswap_pipeline.video.info import file_sha256

    progress = progress or Progress()
    signer = open_identity(identity, time_authority) if identity else own_identity(time_authority=time_authority)
    opened = find_run(run)
    side = "a" if options.direction == "a-to-b" else "b"
    dataset = None
    if video is not None:
        faces = open_side(opened, side, None)
        if file_sha256(video) not in [source.sha256 for source in faces.sources]:
            dataset = _extract_clip(video, opened, side, faces, progress)
    given = {"video": video, "dataset": dataset, "frames": frames, "identity": signer}
    result = convert_video(opened.path, out or Path(), options, **given, progress=progress)
    for film, counts in zip(result.films, result.counts, strict=True):
        progress.note(f"{film}: {counts.frames} frames, {counts.swapped} of them with the new face")
    progress.note("marked as manipulated: watermark in every swapped frame, signed credentials (`swap verify FILE`)")
    return result


def _extract_clip(video: Path, run: "TrainingRun", side: str, known: "FaceDataset", progress: Progress) -> Path:
    """The dataset of a clip that the run has not seen, with the one person who looks most like person `side`."""
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.video.info import file_sha256

    folder = Path(dataset_name(video))
    if folder.is_dir() and (folder / "dataset.json").is_file():
        existing = FaceDataset.open(folder)
        if existing.state == "done" and file_sha256(video) in [source.sha256 for source in existing.sources]:
            progress.note(f"{video} is not a video of {known.path}; its own dataset {folder} is taken")
            return folder
    progress.note(f"{video} is not a video of {known.path}: extracting it to {folder}, the person nearest to the run's")
    photo = portrait(run, side, known)
    recorded = ExtractOptions.from_json(known.options.get("extract", {}))
    options = replace(recorded, person=str(photo), every=1, start="", end="")
    return extract([video], folder, options, progress=progress).path


def portrait(run: "TrainingRun", side: str, faces: "FaceDataset") -> Path:
    """A picture of person `side` in the run's folder: the sharpest of the frontal crops; made when missing.

    Raises DatasetError when the dataset has no crop left.
    """
    from faceswap_pipeline.run import TrainingRun
    from faceswap_pipeline.video.images import write_png

    path = run.path / f"person_{side}.png"
    if path.is_file():
        return path
    records = [record for record in faces.training_records() or faces.records if faces.has_crop(record)]
    if not records:
        raise DatasetError(f"{faces.path} has no crop left: extract it again with --redo")
    frontal = sorted(records, key=lambda record: abs(record.yaw) + abs(record.pitch))[: max(1, len(records) // 10)]
    best = max(frontal, key=lambda record: record.sharpness)
    with TrainingRun.open(run.path, write=True):
        write_png(path, faces.crop(best))
    return path


def evaluate(
    film: Path,
    out: Path | None,
    options: "EvaluateOptions",
    *,
    truth: Path | None = None,
    mask: Path | None = None,
    source: Path | None = None,
    progress: Progress | None = None,
) -> "Evaluation":
    """Measure a film that `convert` made; the report goes into the current folder unless `out` names another."""
    from faceswap_pipeline.evaluate.stage import evaluate_swap

    return evaluate_swap(film, out or Path(), options, truth=truth, mask=mask, source=source, progress=progress)


def pack(dataset: Path, out: Path | None) -> Path:
    """Pack a dataset into `out`, or NAME.zip in the current folder; a file of that name is kept as NAME.1.zip."""
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.storage import keep_old

    opened = FaceDataset.open(dataset)
    to = out or Path(opened.path.resolve().name + ".zip")
    if to.is_file() and opened.path.is_dir():
        keep_old(to)
    return opened.pack(to)


def describe(folder: Path) -> list[str]:
    """What `swap info` says of a dataset folder, a packed dataset or a run folder. Raises DatasetError for others."""
    return open_folder(folder).describe()


def open_folder(folder: Path) -> "FaceDataset | TrainingRun":
    """The dataset, packed or not, or the run at `folder`. Raises DatasetError for others, RunError when damaged."""
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.run import TrainingRun

    if (folder / "run.json").is_file():
        return TrainingRun.open(folder)
    if folder.is_dir() and not (folder / "dataset.json").exists():
        raise DatasetError(f"{folder} holds neither dataset.json nor run.json: name a dataset folder or a run folder")
    return FaceDataset.open(folder)


def verify(file: Path) -> "Verification":
    """What `swap verify` finds in a film or picture. Raises VideoError when it is missing or is neither."""
    from faceswap_pipeline.provenance.verify import verify_file

    return verify_file(file)
