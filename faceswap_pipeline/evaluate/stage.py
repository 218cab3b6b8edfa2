"""`evaluate_swap`: how good is a film that `swap convert` made, in figures that can be trusted.

In: the film with its sidecar, which names source, dataset and run; a true swap where there is one. Out: evaluation.json
and evaluation.html.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faceswap_pipeline import __version__, resources
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.detection.meanface import load_mean_face
from faceswap_pipeline.evaluate.blending import Blending
from faceswap_pipeline.evaluate.coverage import Coverage
from faceswap_pipeline.evaluate.definitions import METRICS, failed_gates
from faceswap_pipeline.evaluate.detectability import Detectability
from faceswap_pipeline.evaluate.groups import Findings, Group, Subject
from faceswap_pipeline.evaluate.identity import Identity
from faceswap_pipeline.evaluate.inputs import Inputs, open_inputs
from faceswap_pipeline.evaluate.opening import Opening
from faceswap_pipeline.evaluate.options import EvaluateOptions
from faceswap_pipeline.evaluate.pairs import Choice, FramePair, Measurer, choose, read_faces, read_pairs
from faceswap_pipeline.evaluate.performance import Performance
from faceswap_pipeline.evaluate.recogniser import OnnxEmbedder
from faceswap_pipeline.evaluate.report import film_page
from faceswap_pipeline.evaluate.steadiness import Steadiness
from faceswap_pipeline.evaluate.truth import Truth
from faceswap_pipeline.evaluate.untouched import Untouched
from faceswap_pipeline.evaluate.worst import worst_frames
from faceswap_pipeline.identity import Embedder, shipped_embedder
from faceswap_pipeline.parsing import FaceParser
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.storage import atomic_write_json, atomic_write_text, keep_old, make_folder, sha256_file
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import VideoWriter

FORMAT, VERSION = "faceswap-evaluation", 1
QUICK_PLACES = 60
"""Places of a film that `--quick` looks at."""

GROUPS: dict[str, Callable[[Subject], Group]] = {
    "coverage": Coverage,
    "identity": Identity,
    "performance": Performance,
    "opening": Opening,
    "steadiness": Steadiness,
    "blending": Blending,
    "untouched": Untouched,
    "truth": Truth,
    "detectability": Detectability,
}
"""The groups of metrics, in the order of the report."""


@dataclass(frozen=True)
class Evaluation:
    """What was found of one film."""

    record: dict[str, Any]
    """What evaluation.json holds."""
    page: Path
    """evaluation.html."""
    gates: dict[str, float]
    """Limits by metric, as asked for."""

    @property
    def values(self) -> dict[str, float]:
        """The figures by metric name."""
        return {name: entry["value"] for name, entry in self.record["metrics"].items()}

    @property
    def status(self) -> int:
        """What a command line ends with: 1 where a limit is not reached, else 0."""
        return int(bool(failed_gates(self.gates, self.values)))

    def lines(self) -> list[str]:
        """The figures as a table of text, one line each; then the limits that were not reached."""
        lines = []
        for name, entry in self.record["metrics"].items():
            lines.append(
                f"{name:<20} {entry['value']:>9.4g} {entry['unit']:<15} {entry['level']:<5} {METRICS[name].title}"
            )
        missing = self.record["not_measured"]
        for why in dict.fromkeys(missing.values()):
            names = ", ".join(name for name, reason in missing.items() if reason == why)
            lines.append(f"not measured, {why}: {names}")
        lines += [f"not reached: {line}" for line in failed_gates(self.gates, self.values)]
        return [*lines, f"report: {self.page}"]


def evaluate_swap(
    film: Path,
    out: Path,
    options: EvaluateOptions,
    *,
    truth: Path | None = None,
    mask: Path | None = None,
    source: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure `film` and write evaluation.json and evaluation.html into the folder `out`.

    `truth` is the true swap of a rendered pair and `mask` the clip whose white says where the true face is (without
    it: the dataset's masks). `source` is the film before the swap where it has moved. An evaluation that is there
    already, of the same things looked at as closely, is returned as it is; another one is kept under a number.

    Raises VideoError, DatasetError, OptionError, RunError or StorageError where something is missing or does not fit.
    """
    progress = progress or Progress()
    inputs = open_inputs(film, source, truth, mask)
    for note in inputs.notes:
        progress.warn(note)
    made = _made_before(out, inputs, options)
    if made is not None:
        progress.note(f"{out / 'evaluation.json'} is there already, of the same film with the same options")
        return made
    choice = choose(inputs.sidecar["frames"]["frames"], QUICK_PLACES) if options.quick else Choice()
    embedder = OnnxEmbedder(Path(options.face_embedding)) if options.face_embedding else shipped_embedder()
    findings, times = _measure(inputs, choice, FaceDetector(), embedder, progress)
    record = _record(inputs, options, choice, findings, times)
    page = film_page(record, inputs, progress)
    return Evaluation(record, _write(out, record, page), options.gates)


def _measure(
    inputs: Inputs, choice: Choice, measurer: Measurer, embedder: Embedder | None, progress: Progress
) -> tuple[dict[str, Findings], dict[int, float]]:
    """The findings of every group, and the times in seconds of the frames that were looked at closely."""
    mean_face = load_mean_face(resources.weight_file("mean_face"))
    subject = Subject(
        inputs.faces,
        inputs.index,
        inputs.other,
        inputs.other_missing,
        mean_face,
        inputs.sidecar,
        embedder,
        FaceParser(),
    )
    groups = {name: make(subject) for name, make in GROUPS.items()}
    times: dict[int, float] = {}
    films = {"source": inputs.source, "result": inputs.film}
    films |= {name: path for name, path in (("truth", inputs.truth), ("mask", inputs.mask)) if path is not None}
    records = inputs.faces.by_frame(inputs.index)
    total = sum(choice.looked_at(frame) for frame in range(inputs.sidecar["frames"]["frames"]))
    with tempfile.TemporaryDirectory(prefix="swap_evaluate_") as folder:
        if inputs.truth is not None:
            quality = float(inputs.sidecar["options"]["quality"])
            films["encoded"] = _encode_again(inputs.truth, Path(folder) / "encoded.mp4", quality, progress)
        with progress.phase(f"looking at {inputs.film.name}", total, "frames") as advance:

            def see_frame(pair: FramePair) -> None:
                times[pair.index] = float(pair.pts)
                for group in groups.values():
                    group.see_frame(pair)
                advance(1)

            read_faces(
                read_pairs(films, records, choice),
                inputs.faces,
                measurer,
                see_frame,
                lambda face: _each(groups.values(), face),
            )
    return {name: group.finish() for name, group in groups.items()}, times


def _each(groups: Iterable[Group], face: Any) -> None:
    for group in groups:
        group.see_face(face)


def _encode_again(truth: Path, target: Path, quality: float, progress: Progress) -> Path:
    """The true swap, encoded with the quality of the film, so that one can see what encoding alone costs."""
    info = probe(truth)
    with progress.phase("encoding the true swap again", info.frames, "frames") as advance:
        with VideoWriter(target, info, quality=min(quality, 51.0), preset="veryfast") as writer:
            for frame in read_frames(truth):
                writer.write(frame)
                advance(1)
    return target


def _identity(inputs: Inputs, options: EvaluateOptions) -> dict[str, Any]:
    """All that decides what an evaluation finds."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "software": __version__,
        "sha256": inputs.hashes,
        "quick": options.quick,
        "face_embedding": sha256_file(Path(options.face_embedding)) if options.face_embedding else None,
    }


def _made_before(out: Path, inputs: Inputs, options: EvaluateOptions) -> Evaluation | None:
    """The evaluation in `out`, if it is the one that would be made."""
    page = out / "evaluation.html"
    try:
        record = json.loads((out / "evaluation.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    same = page.is_file() and isinstance(record, dict)
    if not same or any(record.get(name) != value for name, value in _identity(inputs, options).items()):
        return None
    return Evaluation(record, page, options.gates)


def _record(
    inputs: Inputs,
    options: EvaluateOptions,
    choice: Choice,
    findings: Mapping[str, Findings],
    times: Mapping[int, float],
) -> dict[str, Any]:
    """What evaluation.json holds."""
    values = {name: value for found in findings.values() for name, value in found.values.items()}
    series = {name: one for found in findings.values() for name, one in found.series.items()}
    missing = {name: why for found in findings.values() for name, why in found.missing.items()}
    metrics = {}
    for name, metric in METRICS.items():
        if name in values:
            entry = {"group": metric.group, "title": metric.title, "unit": metric.unit, "better": metric.better}
            metrics[name] = {"value": values[name], "level": metric.level(values[name])} | entry
    paths = {"film": inputs.film, "source": inputs.source, "faces": inputs.faces.path}
    paths |= {name: path for name, path in (("truth", inputs.truth), ("mask", inputs.mask)) if path is not None}
    return _identity(inputs, options) | {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "paths": {name: str(path) for name, path in paths.items()},
        "run": inputs.sidecar["run"],
        "frames": {"film": inputs.sidecar["frames"]["frames"], "looked_at": len(times), "every": choice.every},
        "metrics": metrics,
        "not_measured": {name: missing[name] for name in METRICS if name in missing},
        "details": {name: found.details for name, found in findings.items() if found.details},
        "worst": worst_frames(series, times, float(inputs.info.rate)),
        "seconds": {str(frame): round(time, 4) for frame, time in times.items()},
        "series": {name: one.to_json() for name, one in series.items()},
        "notes": list(inputs.notes),
    }


def _write(out: Path, record: dict[str, Any], page: str) -> Path:
    """Put both files into `out` and return the page's path; older ones are kept under one number."""
    make_folder(out)
    target, shown = out / "evaluation.json", out / "evaluation.html"
    if target.exists():
        kept = keep_old(target)
        if shown.exists():
            os.replace(shown, kept.with_suffix(".html"))
    atomic_write_text(shown, page)
    atomic_write_json(target, record)
    return shown
