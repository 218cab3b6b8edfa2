"""Adds masks of a kind of its own to a dataset: the nose, drawn around the landmarks.

In: a dataset folder. Out: the same folder with `masks/nose/`, as docs/formats.md describes it; every verb leaves kinds
that it does not know as they are.

    python examples/add_mask_kind.py faces_a
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset, FaceRecord
from faceswap_pipeline.geometry import transform_points


def nose_mask(record: FaceRecord, size: int) -> NDArray[np.uint8]:
    """255 inside the nose, 0 outside; uint8 (size, size)."""
    left_eye, right_eye, nose, left_corner, right_corner = transform_points(record.matrix, record.landmarks)
    across = (right_eye - left_eye + right_corner - left_corner) / 2
    bridge, under = (left_eye + right_eye) / 2, nose + 0.2 * (left_corner + right_corner - 2 * nose)
    outline = [bridge - 0.12 * across, bridge + 0.12 * across, nose + 0.3 * across, under, nose - 0.3 * across]
    mask = np.zeros((size, size), np.uint8)
    return cv2.fillConvexPoly(mask, np.rint(outline).astype(np.int32), 255, cv2.LINE_8)


def main(folder: Path) -> int:
    """Write a mask for every face that has none yet; return how many."""
    count = 0
    with FaceDataset.open(folder, write=True) as faces:
        for record in faces.records:
            if not faces.has_mask(record, "nose"):
                faces.write_mask("nose", record, nose_mask(record, faces.crop_size), "landmarks", record.score)
                count += 1
    return count


if __name__ == "__main__":
    print(f"{main(Path(sys.argv[1]))} masks written")
