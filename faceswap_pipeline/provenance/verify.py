"""Was this file made with `swap`? Looks for the signed manifest, the watermark and the sidecar of a film or picture.

In: a file, perhaps renamed, re-encoded, cropped, without metadata. Out: a `Verification` with its answer, the reasons
in plain words, and the same as JSON values.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.provenance import watermark
from faceswap_pipeline.provenance.credentials import NO_MANIFEST, Manifest, read_manifest
from faceswap_pipeline.provenance.marking import luma_of, payload_of
from faceswap_pipeline.provenance.watermark import NOTHING, Reading
from faceswap_pipeline.storage import sha256_file
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import read_frames

WINDOW = Fraction(2)
"""Seconds of film that are read together."""
MOST_WINDOWS = 20
"""Windows of a long film that are looked at, spread evenly over it."""
_ENOUGH = -12.0
"""Logarithm of the chance at which no further window is read."""


@dataclass(frozen=True)
class Found:
    """What reading the watermark of a file gave."""

    reading: Reading
    """Of the clearest window, its chance with all windows counted."""
    windows: int
    """How many were read."""
    second: float
    """Where the clearest window begins."""


@dataclass(frozen=True)
class Sidecar:
    """What the JSON file beside a film says."""

    path: Path
    belongs: bool
    """Whether it names this very file by its SHA-256."""
    run: str
    """SHA-256 of the checkpoint it names."""


@dataclass(frozen=True)
class Verification:
    """What was found in one file."""

    path: Path
    manifest: Manifest
    mark: Found
    sidecar: Sidecar | None

    @property
    def answer(self) -> Literal["ours", "not ours", "does not match"]:
        """Either mark suffices for `ours`; a manifest that does not match the file comes before all else."""
        if self.manifest.state == "differs":
            return "does not match"
        return "ours" if self.manifest.ours or self.mark.reading.present else "not ours"

    @property
    def status(self) -> int:
        """The exit status of `swap verify`: 0 ours, 1 neither mark, 3 a manifest that does not match the file."""
        return {"ours": 0, "not ours": 1, "does not match": 3}[self.answer]

    def words(self) -> list[str]:
        """The findings, a line each, the answer first."""
        answers = {
            "ours": "a face in this file was swapped with this software",
            "not ours": "no sign that this software made this file; that does not prove that it is genuine",
            "does not match": "the file is not, or no more, the one that its manifest was signed for",
        }
        return [
            f"{self.path}: {answers[self.answer]}",
            f"manifest:  {_manifest_words(self.manifest)}",
            f"watermark: {_mark_words(self.mark)}",
            f"sidecar:   {self._sidecar_words()}",
        ]

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON values."""
        sidecar = None if self.sidecar is None else asdict(self.sidecar) | {"path": str(self.sidecar.path)}
        manifest = asdict(replace(self.manifest, statement=dict(self.manifest.statement)))
        mark = asdict(self.mark) | {"present": self.mark.reading.present}
        return {
            "file": str(self.path),
            "answer": self.answer,
            "status": self.status,
            "manifest": manifest,
            "watermark": mark,
            "sidecar": sidecar,
        }

    def _sidecar_words(self) -> str:
        if self.sidecar is None:
            return "none beside the file (it would not decide anything)"
        same = "names this very file" if self.sidecar.belongs else "was written for another state of the file"
        payload, number = self.mark.reading.payload, payload_of(self.sidecar.run) if self.sidecar.run else None
        agrees = "" if payload is None or number is None else f", {'the same' if payload == number else 'another'} run"
        return f"{self.sidecar.path.name} {same}{agrees} (it does not decide anything)"


def verify_file(path: Path) -> Verification:
    """Look for all marks in a film or picture. Raises VideoError when it is missing or is neither."""
    if path.is_dir():
        raise VideoError(f"{path} is a folder: name one film or picture")
    # What is damaged may still hold a manifest, which then says so.
    manifest = read_manifest(path) if path.is_file() else NO_MANIFEST
    try:
        mark = read_mark(path)
    except VideoError:
        if manifest.state == "none":
            raise
        mark = Found(NOTHING, 0, 0.0)
    return Verification(path, manifest, mark, read_sidecar(path))


def read_mark(path: Path) -> Found:
    """The watermark of the clearest two seconds of a film, or of a picture. Raises VideoError."""
    info = probe(path)
    count = max(1, math.ceil(info.duration / WINDOW)) if info.duration else None
    wanted = None if count is None or count <= MOST_WINDOWS else _spread(count, MOST_WINDOWS)
    best, windows, second = NOTHING, 0, 0.0
    frames = read_frames(path)
    first = next(frames)
    numbered = groupby(chain([first], frames), key=lambda frame: int((frame.pts - first.pts) / WINDOW))
    for number, stretch in numbered:
        if wanted is not None and number not in wanted:
            continue
        reading = watermark.read(_one_size(luma_of(frame) for frame in stretch))
        windows += 1
        if windows == 1 or reading.log10_chance < best.log10_chance:
            best, second = reading, float(number * WINDOW)
        if best.log10_chance + math.log10(windows) < _ENOUGH:
            break
    chance = min(0.0, best.log10_chance + math.log10(max(windows, 1)))
    return Found(replace(best, log10_chance=chance), windows, second)


def read_sidecar(path: Path) -> Sidecar | None:
    """The sidecar beside a film, if there is one of ours under its name."""
    beside = path.with_suffix(".json")
    try:
        values = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or values.get("format") != "faceswap-conversion":
        return None
    signed = values.get("signed") or {}
    belongs = isinstance(signed, dict) and signed.get("film_sha256") == sha256_file(path)
    return Sidecar(beside, belongs, str(values.get("checkpoint") or ""))


def _spread(count: int, most: int) -> set[int]:
    """`most` of the numbers below `count`, evenly apart."""
    return {(2 * number + 1) * count // (2 * most) for number in range(most)}


def _one_size(planes: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The planes as long as they have the size of the first one."""
    shape = None
    for plane in planes:
        shape = shape or plane.shape
        if plane.shape == shape:
            yield plane


def _manifest_words(manifest: Manifest) -> str:
    if manifest.state == "none":
        return "none in the file"
    if manifest.state == "differs":
        return f"present, but it does not match the file ({', '.join(manifest.problems)})"
    who = f"signed by {manifest.signer or 'somebody unnamed'}, whom nobody's list vouches for"
    if not manifest.ours:
        return f"valid, but made by other software ({manifest.generator or 'unnamed'}); {who}"
    consent = manifest.statement.get("consent", "not recorded")
    recorded = "consent recorded" if isinstance(consent, dict) else f"consent {consent}"
    return f"valid, says that a face was replaced ({manifest.generator}); {who}; {recorded}"


def _mark_words(found: Found) -> str:
    reading = found.reading
    where = f"{found.windows} stretch{'es' if found.windows != 1 else ''} read"
    if not reading.present:
        return f"none found ({where})"
    number = "its number cannot be read" if reading.payload is None else f"number {reading.payload:05x}"
    size = "" if abs(reading.scale - 1) < 0.006 else f", the picture was cropped to about {100 / reading.scale:.0f} %"
    return (
        f"present, {number}; by chance once in 10^{-reading.log10_chance:.0f} unmarked files "
        f"({where}, clearest at {found.second:.0f} s{size})"
    )
