"""The few places where stages are chained, and the default names of everything.

In: what the command line was given. Out: what the last stage returned. Stages are imported where they are called, so
that naming a folder costs nothing.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from faceswap_pipeline.errors import DatasetError, OptionError, RunError, VideoError
from faceswap_pipeline.progress import Progress

if TYPE_CHECKING:
    from faceswap_pipeline.convert.options import ConvertOptions
    from faceswap_pipeline.convert.stage import ConvertResult
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.run import TrainingRun
    from faceswap_pipeline.train.options import TrainOptions

RUNS = Path("runs")
_FILM_ENDINGS = (".mp4", ".mov")


def dataset_name(source: Path) -> str:
    """`faces_X` for `video_X.mp4`, `faces_NAME` for any other `NAME.ext` and for a folder NAME."""
    path = Path(os.path.abspath(source))
    name = path.name if path.is_dir() else path.stem
    return "faces_" + (name.removeprefix("video_") or name)


def dataset_folder(inputs: Sequence[Path], out: Path | None) -> Path:
    """Where the faces of `inputs` go. Raises OptionError when several inputs come without `out`."""
    if out is not None:
        return out
    if len(inputs) != 1:
        raise OptionError(f"{len(inputs)} inputs go into one dataset: name it with --out FOLDER")
    return Path(dataset_name(inputs[0]))


def run_folder(a: Path, b: Path) -> Path:
    """`runs/a-b` for the datasets `faces_a` and `faces_b`, packed or not."""
    names = [Path(os.path.abspath(path)).name.removesuffix(".zip").removeprefix("faces_") for path in (a, b)]
    return RUNS / "-".join(names)


def film_paths(videos: Sequence[Path], out: Path | None) -> list[Path]:
    """The film made of each video: `NAME_swapped.mp4` in the current folder or in the folder `out`; no two the same.

    `out` may also be the film itself (.mp4 or .mov) when there is one video; else OptionError.
    """
    if out is not None and out.suffix.lower() in _FILM_ENDINGS and not out.is_dir():
        if len(videos) != 1:
            raise OptionError(f"--out is the film '{out}', but there are {len(videos)} videos: name a folder")
        return [out]
    paths: list[Path] = []
    for video in videos:
        name, number = f"{video.stem}_swapped", 2
        path = (out or Path()) / f"{name}.mp4"
        while path in paths:
            path, number = path.with_name(f"{name}_{number}.mp4"), number + 1
        paths.append(path)
    return paths


def extract(
    inputs: Sequence[Path],
    out: Path | None,
    options: "ExtractOptions",
    *,
    redo: bool = False,
    progress: Progress | None = None,
) -> "FaceDataset":
    """Faces, then masks. A dataset whose masks were made with options of their own keeps those options."""
    from faceswap_pipeline.extract.stage import extract_faces
    from faceswap_pipeline.masks.options import MaskOptions
    from faceswap_pipeline.masks.stage import make_masks

    progress = progress or Progress()
    dataset = extract_faces(inputs, dataset_folder(inputs, out), options, redo=redo, progress=progress)
    recorded = dataset.options.get("masks")
    mask_options = MaskOptions.from_json(recorded) if recorded is not None else MaskOptions()
    return make_masks(dataset.path, mask_options, progress=progress)


def train(
    a: Path,
    b: Path,
    out: Path | None,
    options: "TrainOptions",
    *,
    consent: Path | None = None,
    progress: Progress | None = None,
) -> "TrainingRun":
    """Train on two datasets, in `runs/a-b` unless `out` names another folder."""
    from faceswap_pipeline.train.stage import train_swap

    return train_swap(a, b, out or run_folder(a, b), options, consent=consent, progress=progress or Progress())


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
    if (folder / "run.json").is_file():
        from faceswap_pipeline.run import TrainingRun

        return TrainingRun.open(folder).describe()
    from faceswap_pipeline.dataset import FaceDataset

    return FaceDataset.open(folder).describe()
