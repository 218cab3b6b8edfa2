"""Extracts the faces of a video and draws one picture of them, from the head turned left to the head turned right.

In: a video, and a folder for the dataset. Out: the dataset, and `poses.jpg` beside it.

    python examples/extract_and_look.py video_a.mp4 faces_a
"""

import sys
from pathlib import Path

import numpy as np

from faceswap_pipeline import extract_faces
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.video.images import write_jpeg


def row_of_poses(faces: FaceDataset, count: int = 8) -> Image:
    """`count` crops side by side, evenly spread over all faces sorted by yaw; uint8 (S, count * S, 3) RGB."""
    turned = np.argsort(faces.column("yaw"))
    chosen = turned[np.linspace(0, len(turned) - 1, count).round().astype(int)]
    return np.concatenate([faces.crop(faces.records[index]) for index in chosen], axis=1)


def main(video: Path, folder: Path) -> Path:
    """Extract, say what was found, and return the path of the picture."""
    faces = extract_faces([video], folder, ExtractOptions())
    print(f"{len(faces)} faces, {len(faces.training_records())} of them fit to learn from")
    for row in faces.frame_rows():
        if row.reason:
            print(f"frame {row.frame} at {float(row.pts):.2f} s: {row.reason}")
    picture = folder.parent / "poses.jpg"
    write_jpeg(picture, row_of_poses(faces))
    return picture


if __name__ == "__main__":
    print(main(*map(Path, sys.argv[1:])))
