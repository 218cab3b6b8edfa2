"""Compares a dataset's masks with the true ones of a rendered clip, by how far the head is turned.

In: a dataset extracted from the clip, and the clip's folder of label pictures (00000.png ..., one a frame, pixel
value = class). Out: a table of intersection over union (IoU) on the screen.

    python examples/measure_masks.py faces_A LABELS_FOLDER [--kind face]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset, FaceRecord
from faceswap_pipeline.imaging import warp

CLASSES = {"face": (1, 2, 4, 5, 6), "eyes": (5, 9), "mouth": (2, 6)}
"""Classes of the label pictures that a kind must hold."""
BANDS = (0, 10, 20, 30, 45, 90)
"""Degrees of yaw."""


def true_mask(labels: Path, record: FaceRecord, kind: str, size: int) -> NDArray[np.bool_]:
    """The true mask of a record's crop, bool (size, size)."""
    label = np.asarray(cv2.imread(str(labels / f"{record.frame:05d}.png"), cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.isin(warp(label, record.matrix, (size, size), "nearest", "zero"), CLASSES[kind])


def compare(made: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[float, float, float]:
    """IoU, the share of the truth that is found, and the share of the mask that is true."""
    both = (made & true).sum()
    return both / max((made | true).sum(), 1), both / max(true.sum(), 1), both / max(made.sum(), 1)


def main() -> None:
    """Measure every record that has a mask, and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--kind", choices=sorted(CLASSES), default="face")
    arguments = parser.parse_args()
    dataset = FaceDataset.open(arguments.dataset)
    records = [record for record in dataset.records if dataset.has_mask(record, arguments.kind)]
    figures = np.array(
        [
            compare(
                dataset.mask(record, arguments.kind) > 127,
                true_mask(arguments.labels, record, arguments.kind, dataset.crop_size),
            )
            for record in records
        ]
    )
    turn = np.abs([record.yaw for record in records])
    print(f"{arguments.kind} masks of {arguments.dataset}\n|yaw|  faces    IoU  worst 5 %  found   true")
    for low, high in [(0, 90), *zip(BANDS[:-1], BANDS[1:], strict=True)]:
        chosen = figures[(turn >= low) & (turn < high)]
        if len(chosen):
            iou, found, true = chosen.mean(0)
            worst = np.quantile(chosen[:, 0], 0.05)
            print(f"{low:2d}-{high:2d} {len(chosen):6d} {iou:7.3f} {worst:8.3f} {found:8.3f} {true:6.3f}")


if __name__ == "__main__":
    main()
