"""What a verb came to, for programs: the JSON objects that `--json` prints.

In: what a stage returned. Out: plain values by name; paths as they were named on the command line.
"""

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceswap_pipeline.convert.stage import ConvertResult
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.run import TrainingRun


def folder_outcome(opened: "FaceDataset | TrainingRun") -> dict[str, Any]:
    """Of a dataset or a run."""
    from faceswap_pipeline.run import TrainingRun

    return run_outcome(opened) if isinstance(opened, TrainingRun) else dataset_outcome(opened)


def dataset_outcome(dataset: "FaceDataset") -> dict[str, Any]:
    """What a dataset holds; `masks` counts them by kind, `reasons` the frames without a chosen face."""
    rows = dataset.frame_rows()
    return {
        "dataset": str(dataset.path),
        "state": dataset.state,
        "sources": [source.path for source in dataset.sources],
        "frames": len(rows),
        "faces": len(dataset),
        "for_training": len(dataset.training_records()),
        "persons": len({record.person for record in dataset.records}),
        "crop_size": dataset.crop_size,
        "masks": {kind: len(dataset.mask_made(kind)) for kind in dataset.mask_kinds()},
        "marks": dict(Counter(mark for record in dataset.records for mark in record.marks)),
        "reasons": dict(Counter(row.reason for row in rows if row.reason)),
        "warnings": dataset.warnings,
    }


def run_outcome(run: "TrainingRun") -> dict[str, Any]:
    """How far a run is; `best` is null before the first report, `finished` null where it did not stop by itself."""
    manifest, best = run.manifest, run.best_state()
    return {
        "run": str(run.path),
        "recipe": manifest["recipe"].get("name"),
        "backend": manifest.get("backend"),
        "steps": manifest.get("steps", 0),
        "seconds": manifest.get("seconds", 0.0),
        "finished": manifest["finished"],
        "best": None if best is None else {name: _finite(value) for name, value in best.items()},
        "a": manifest["a"]["path"],
        "b": manifest["b"]["path"],
        "consent": manifest["consent"]["recorded"],
        "warnings": run.warnings,
    }


def films_outcome(result: "ConvertResult") -> dict[str, Any]:
    """What a conversion made; `compare` names the comparisons, in the order of the films."""
    films = zip(result.films, result.counts, strict=True)
    return {
        "films": [{"film": str(film), **vars(counts)} for film, counts in films],
        "compare": [str(path) for path in result.comparisons],
        "notes": list(result.notes),
    }


def _finite(value: Any) -> Any:
    """JSON knows no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
