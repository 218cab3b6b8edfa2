"""What a conversion starts from: the run, the dataset of the film's person, and the film itself.

In: a run folder and, where things have moved, paths from the user. Out: opened folders and checked paths, or an error
that says what was looked for.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceswap_pipeline.convert.layers import LINES
from faceswap_pipeline.dataset import FaceDataset, Source
from faceswap_pipeline.errors import DatasetError, OptionError, RunError, VideoError
from faceswap_pipeline.options import flag
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.video.info import file_sha256

OTHER_ENDINGS = frozenset((".avi", ".gif", ".jpeg", ".jpg", ".m4v", ".mkv", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"))
"""What is hardly meant as the name of a folder."""


def open_side(run: TrainingRun, side: str, dataset: Path | None) -> FaceDataset:
    """The dataset of person `side` (`a` or `b`) of a run, or the one at `dataset` in its place.

    Raises DatasetError when it is not where it was when the run was trained, RunError when its faces were cropped
    otherwise.
    """
    entry = run.manifest[side]
    if dataset is None:
        dataset = _moved(Path(entry["path"]), run.path)
    faces = FaceDataset.open(dataset)
    check_alignment(run, entry, faces)
    if faces.state != "done":
        raise DatasetError(f"{faces.path} is not finished: run the same `swap extract` line again first")
    return faces


def check_alignment(run: TrainingRun, side: dict[str, Any], dataset: FaceDataset) -> None:
    """Raise RunError unless `dataset` was cropped like the faces (`side` of the run's manifest) the run learnt from."""
    for name in ("template", "coverage"):
        found, expected = getattr(dataset, name), side.get(name)
        if found != expected:
            raise RunError(
                f"{dataset.path} was cropped with {name} {found}, but {run.path} was trained on {name} {expected}: "
                f"extract the video again as {side.get('path')} was"
            )


def check_every_frame(dataset: FaceDataset) -> None:
    """Raise DatasetError, with the line that mends it, unless all frames of the dataset's inputs were looked at."""
    made_with = dataset.options.get("extract", {})
    every = made_with.get("every", 1)
    if every == 1:
        return
    words = ["swap", "extract", *(source.path for source in dataset.sources), "--out", str(dataset.path), "--redo"]
    for name in ("person", "size", "min_face", "start", "end", "detector"):
        if made_with.get(name):
            words += [flag(name), str(made_with[name])]
    raise DatasetError(
        f"{dataset.path} holds one frame in {every} only (--every {every}): enough to learn from, not to convert. "
        f"Extract all of it, then run the line again:\n    {shlex.join(words)}"
    )


def find_source(source: Source, dataset: FaceDataset) -> Path:
    """The video, folder of pictures or picture that `source` was, where it was or beside the dataset.

    Raises VideoError when it is in neither place, or is there with other content.
    """
    recorded = Path(source.path)
    looked_at: list[str] = []
    for path in dict.fromkeys((recorded, dataset.path.resolve().parent / recorded.name, Path(recorded.name))):
        if not path.exists():
            looked_at.append(f"{path}: not there")
        elif file_sha256(path) != source.sha256:
            looked_at.append(f"{path}: another content")
        else:
            return path
    raise VideoError(
        f"the video of {dataset.path} was not found ({'; '.join(looked_at)}): name it, as in `swap convert "
        f"{recorded.name}`"
    )


def match_video(video: Path, dataset: FaceDataset) -> int:
    """Which source of the dataset `video` is, by its content. Raises VideoError when it is none of them."""
    found = file_sha256(video)
    for index, source in enumerate(dataset.sources):
        if source.sha256 == found:
            return index
    names = ", ".join(Path(source.path).name for source in dataset.sources)
    raise VideoError(
        f"{video} is not the video that {dataset.path} was made from ({names}): its content differs. "
        f"Extract it into a dataset of its own with `swap extract {video}`"
    )


def film_paths(names: Sequence[str], endings: Sequence[str], out: Path) -> list[Path]:
    """Where the swapped form of each input goes: `NAME_swapped` and its ending in the folder `out`; no two the same.

    `out` may be the film itself when there is one input: it then ends in .mp4 or .mov (in .png for a single picture).
    Raises VideoError when one file is named for several inputs, or one of a kind that is not made.
    """
    if out.suffix.lower() in OTHER_ENDINGS and not out.is_dir():
        raise VideoError(f"{out}: films end in .mp4 or .mov, and pictures in .png; name the output so, or a folder")
    if out.suffix.lower() in (".mp4", ".mov", ".png") and not out.is_dir():
        if len(names) != 1:
            raise VideoError(f"{out} is one file, but {len(names)} films are made: name a folder with --out")
        return [out]
    paths: list[Path] = []
    for name, ending in zip(names, endings, strict=True):
        path, number = out / f"{name}_swapped{ending}", 2
        while path in paths:
            path, number = out / f"{name}_swapped_{number}{ending}", number + 1
        paths.append(path)
    return paths


def check_frames_folder(folder: Path, films: int) -> None:
    """Raise OptionError unless `folder` is new, empty, or holds layers of ours; and where several films are made."""
    if films != 1:
        raise OptionError(f"--frames is one folder, but {films} films are made: name one video")
    if folder.exists() and not (folder.is_dir() and ((folder / LINES).is_file() or not any(folder.iterdir()))):
        raise OptionError(f"--frames is {folder}, which is there and holds other things: name a new folder")


def _moved(path: Path, run: Path) -> Path:
    """A dataset's recorded path, or the same name beside the run or its folder when it is not there any more."""
    places = dict.fromkeys((path, run.resolve().parent / path.name, run.resolve().parent.parent / path.name))
    for place in places:
        if place.exists() or place.with_name(place.name + ".zip").exists():
            return place
    raise DatasetError(
        f"{run} was trained on {path}, which is not there; also looked at "
        f"{', '.join(str(place) for place in list(places)[1:])}: put it back"
    )
