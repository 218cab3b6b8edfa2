"""Does `swap extract` find what the mtcnn package finds on every full frame, and does it find what is no face?

    python examples/measure_detection.py CLIP ... --every 25 --out misses

For each clip the package looks at every k-th full frame; its boxes with a score over 0.9 that are no smaller than our
smallest face count. One is found when a box of ours in the same frame covers it with IoU 0.7. Ours are the boxes of all
persons after tracking. Prints one table row a clip, then every miss; with --out, pictures of the misses and of our
boxes that the package lacks go there. Look at them: either side may be wrong.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SCORE, FOUND, NEAR = 0.9, 0.7, 0.3
"""Least score of a box of the package; IoU of a find; IoU below which a box of ours is one that the package lacks."""


@dataclass
class Comparison:
    """What came of one clip."""

    frames: int = 0
    theirs: int = 0
    missed: list[tuple[int, NDArray[np.float64], float, float]] = field(default_factory=list)
    """Frame, box, score, IoU with the nearest of ours."""
    extra: list[tuple[int, NDArray[np.float64], float]] = field(default_factory=list)
    """Frame, box, score of ours that the package lacks."""
    ours: int = 0


def main() -> None:
    """Compare the clips that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=25, help="the package looks at every k-th frame")
    parser.add_argument("--min-face", type=float, default=0.05, help="as for swap extract")
    parser.add_argument("--out", type=Path, help="folder for pictures of misses and extra boxes")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("| clip | frames compared | boxes of the package | found at IoU 0.7 | boxes of ours | the package lacks |")
    print("| --- | --- | --- | --- | --- | --- |")
    results = {}
    for clip in arguments.clips:
        results[clip] = found = compare(clip, arguments.every, arguments.min_face, arguments.out)
        share = f"{found.theirs - len(found.missed)} = {1 - len(found.missed) / max(found.theirs, 1):.1%}"
        columns = (clip.stem, found.frames, found.theirs, share, found.ours, len(found.extra))
        print(f"| {' | '.join(map(str, columns))} |", flush=True)
    for clip, found in results.items():
        for frame, box, score, near in found.missed:
            print(
                f"{clip.stem}, frame {frame}: missed {np.round(box).astype(int).tolist()}, {score=:.3f}, IoU {near:.2f}"
            )


def compare(clip: Path, every: int, min_face: float, out: Path | None) -> Comparison:
    """Both detectors on one clip."""
    from mtcnn import MTCNN

    from faceswap_pipeline.detection.reference import package_stages
    from faceswap_pipeline.geometry import box_iou
    from faceswap_pipeline.video.reader import read_frames

    ours = our_boxes(clip, min_face)
    package = MTCNN(stages=package_stages())
    result = Comparison()
    for frame in read_frames(clip):
        if frame.index % every:
            continue
        result.frames += 1
        least = min_face * min(frame.width, frame.height)
        rows = package.detect_faces(frame.rgb, output_type="numpy", box_format="xyxy")
        anything = np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4)
        rows = [row for row in rows if row[5] > SCORE and np.sqrt(np.prod(row[3:5] - row[1:3])) >= least]
        theirs = np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4)
        boxes, scores = ours.get(frame.index, (np.zeros((0, 4)), np.zeros(0)))
        overlap = box_iou(theirs, boxes)
        result.theirs += len(theirs)
        result.ours += len(boxes)
        for row, box, near in zip(rows, theirs, overlap.max(1, initial=0), strict=True):
            if near < FOUND:
                result.missed.append((frame.index, box, float(row[5]), float(near)))
                save(out, f"{clip.stem}_{frame.index:05d}_missed_{len(result.missed)}.png", frame.rgb, box, boxes)
        # Neither too unsure nor too small to count against us, so not to count as lacking either.
        for box, score, near in zip(boxes, scores, box_iou(anything, boxes).max(0, initial=0), strict=True):
            if near < NEAR:
                result.extra.append((frame.index, box, float(score)))
                save(out, f"{clip.stem}_{frame.index:05d}_extra_{len(result.extra)}.png", frame.rgb, box, theirs)
    return result


def our_boxes(clip: Path, min_face: float) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Boxes (N, 4) and scores (N,) of all persons by frame; what the tracker filled in has score 0."""
    from faceswap_pipeline.errors import NoFaceError
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.extract.stage import extract_faces

    options = ExtractOptions(person="all", size=64, min_face=min_face)
    with tempfile.TemporaryDirectory() as folder:
        try:
            dataset = extract_faces([clip], Path(folder) / "faces", options)
        except NoFaceError:
            return {}
        found = dataset.by_frame(0)
    return {
        frame: (np.array([record.box for record in records]), np.array([record.score for record in records]))
        for frame, records in found.items()
    }


def save(
    out: Path | None, name: str, image: NDArray[np.uint8], box: NDArray[np.float64], others: NDArray[np.float64]
) -> None:
    """A picture of the surroundings of `box` (red) with the other side's boxes (green)."""
    import cv2

    from faceswap_pipeline.video.images import write_png

    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    drawn = image.copy()
    thick = max(1, round(min(image.shape[:2]) / 300))
    for shown, color in ((others, (0, 220, 0)), (box[None], (240, 30, 30))):
        for x0, y0, x1, y1 in np.round(shown).astype(int).tolist():
            cv2.rectangle(drawn, (x0, y0), (x1, y1), color, thick)
    x0, y0, x1, y1 = around(box, image.shape[1], image.shape[0])
    write_png(out / name, np.ascontiguousarray(drawn[y0:y1, x0:x1]))


def around(box: NDArray[np.float64], width: int, height: int) -> Iterator[int]:
    """The box grown by its size on every side, whole px inside the picture: x0 y0 x1 y1."""
    size = np.tile(box[2:] - box[:2], 2) * [-1, -1, 1, 1]
    limits = [width - 1, height - 1, width, height]
    return iter(np.clip(np.round(box + size), [0, 0, 1, 1], limits).astype(int).tolist())


if __name__ == "__main__":
    main()
