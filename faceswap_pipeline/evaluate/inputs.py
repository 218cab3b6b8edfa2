"""What an evaluation starts from: a film, the sidecar beside it, and all that the sidecar names.

In: paths. Out: opened datasets and checked films, or an error that says what was looked for.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import DatasetError, OptionError, RunError, VideoError
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.video.info import VideoInfo, file_sha256, probe

SIDECAR_FORMAT, SIDECAR_VERSIONS = "faceswap-conversion", (2, 3)
_NEEDED = ("source", "input", "faces", "run", "options", "frames")


@dataclass(frozen=True)
class Inputs:
    """A film and all that is known of it."""

    film: Path
    sidecar: dict[str, Any]
    source: Path
    info: VideoInfo
    """Of the source."""
    index: int
    """Of the source in its dataset."""
    faces: FaceDataset
    """Of the source."""
    other: FaceDataset | None
    """Of the person whose face the film got."""
    other_missing: str
    """Why `other` is None."""
    truth: Path | None
    mask: Path | None
    hashes: dict[str, str]
    """SHA-256 by what it is of; of datasets, their fingerprints."""
    notes: tuple[str, ...]
    """What the user should know."""


def open_inputs(film: Path, source: Path | None = None, truth: Path | None = None, mask: Path | None = None) -> Inputs:
    """Everything an evaluation needs; `source` is where the film before the swap is now, None: where it was.

    Raises VideoError, DatasetError or OptionError where something is missing or does not belong to the film.
    """
    probe(film)
    if mask is not None and truth is None:
        raise OptionError("--mask says where the true face is: give the true swap too, with --truth CLIP")
    sidecar = read_sidecar(film)
    source = source or _find(sidecar["input"], film, "the source", "name it with --source")
    info = probe(source)
    faces = FaceDataset.open(_find(sidecar["faces"], film, "the dataset", "put it beside the film"))
    hashes = {"film": file_sha256(film), "source": file_sha256(source), "faces": faces.fingerprint()}
    notes = []
    if hashes["source"] != sidecar["source"]:
        raise VideoError(
            f"{source} is not what {film} was made from: its content differs. Name the right one: --source"
        )
    sources = [known.sha256 for known in faces.sources]
    if hashes["source"] not in sources:
        raise DatasetError(f"{faces.path} is not the dataset of {source}: extract it again")
    if hashes["faces"] != sidecar.get("dataset"):
        notes.append(f"{faces.path} has changed since {film.name} was made")
    signed = sidecar.get("signed", {}).get("film_sha256")
    if signed not in (None, hashes["film"]):
        notes.append(f"{film.name} has changed since its sidecar was written")
    for name, clip in (("truth", truth), ("mask", mask)):
        if clip is not None:
            probe(clip)
            hashes[name] = file_sha256(clip)
    other, missing = _open_other(sidecar, film)
    if other is not None:
        hashes["other"] = other.fingerprint()
    index = sources.index(hashes["source"])
    return Inputs(film, sidecar, source, info, index, faces, other, missing, truth, mask, hashes, tuple(notes))


def read_sidecar(film: Path) -> dict[str, Any]:
    """The JSON that `swap convert` left beside a film. Raises VideoError when it is missing or is something else."""
    path = film.with_name((film.name if film.is_dir() else film.stem) + ".json")
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise VideoError(
            f"{path} is not there: only films that `swap convert` made, with their sidecar, can be told "
            "apart from their source"
        ) from error
    except (OSError, ValueError) as error:
        raise VideoError(f"{path} is damaged ({error}): convert again") from error
    found = (values.get("format"), values.get("version")) if isinstance(values, dict) else None
    if found not in [(SIDECAR_FORMAT, version) for version in SIDECAR_VERSIONS]:
        versions = " or ".join(map(str, SIDECAR_VERSIONS))
        raise VideoError(f"{path} is {found}, expected ({SIDECAR_FORMAT!r}, {versions}): convert again")
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        raise VideoError(f"{path} is damaged ('{missing[0]}' is missing): convert again")
    return values


def _open_other(sidecar: dict[str, Any], film: Path) -> tuple[FaceDataset | None, str]:
    """The dataset of the face that was put in, or why it cannot be opened."""
    mend = "put it beside the film"
    try:
        run = TrainingRun.open(_find(sidecar["run"]["path"], film, "the run", mend))
        side = "b" if sidecar["options"]["direction"] == "a-to-b" else "a"
        return FaceDataset.open(_find(run.manifest[side]["path"], run.path, "the dataset of the new face", mend)), ""
    except (RunError, DatasetError, VideoError) as error:
        return None, str(error)


def _find(recorded: str, film: Path, what: str, mend: str) -> Path:
    """A recorded path as it is, or from the film's folder or the one above. Raises VideoError."""
    near = film.resolve().parent
    path = Path(recorded)
    places = dict.fromkeys((path, near / path, near / path.name, near.parent / path, near.parent / path.name))
    for place in places:
        if place.exists() or place.with_name(place.name + ".zip").exists():
            return place
    looked = ", ".join(str(place) for place in places)
    raise VideoError(f"{what} of {film} is not there (looked at {looked}): {mend}")
