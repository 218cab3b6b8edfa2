"""The mtcnn package behind the interface of our own detector: reference and rival (`--detector mtcnn`).

In: RGB pictures. Out: the same `Detection`s, found by the package on every picture.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from faceswap_pipeline.backend import backend_name
from faceswap_pipeline.detection.cascade import Detection, Pyramid
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.imaging import Image

SMALLEST = 20
"""Pixels of the smallest face that the package looks for. Raising it makes its pyramid fail and find nothing; so the
picture is made smaller instead."""


def package_stages() -> list[Any]:
    """The package's proposal, refine and output stages; each one's `model` is its Keras network.

    Their weights are named by absolute path: by name alone the package would look in the current folder first, and
    unpickle what lies there.
    """
    from mtcnn.stages import StageONet, StagePNet, StageRNet

    weights = files("mtcnn") / "assets" / "weights"
    parts = ((StagePNet, "pnet.lz4"), (StageRNet, "rnet.lz4"), (StageONet, "onet.lz4"))
    return [stage(weights=str(weights / name)) for stage, name in parts]


class PackageDetector:
    """`MTCNN().detect_faces` on pictures made small enough that `min_face` of their short side is 20 px."""

    def __init__(self, min_face: float = 0.05, score: float = 0.7) -> None:
        """Raises OptionError under another backend than TensorFlow, which the package needs."""
        if backend_name() != "tensorflow":
            raise OptionError(
                "--detector is 'mtcnn', which needs TensorFlow: set KERAS_BACKEND=tensorflow, or use 'cascade'"
            )
        from mtcnn import MTCNN

        self._package = MTCNN(stages=package_stages())
        self.min_face = min_face
        self.score = score

    def detect(self, pictures: Sequence[Image | Pyramid]) -> list[list[Detection]]:
        """Every face in each picture, best score first."""
        return [self._detect(item if isinstance(item, Pyramid) else Pyramid(item)) for item in pictures]

    def _detect(self, pyramid: Pyramid) -> list[Detection]:
        height, width = pyramid.picture.shape[:2]
        scale = min(1.0, SMALLEST / (self.min_face * min(width, height)))
        picture = pyramid.resized(round(width * scale), round(height * scale)) if scale < 1 else pyramid.picture
        ratio = np.array([width / picture.shape[1], height / picture.shape[0]])
        rows = self._package.detect_faces(picture, output_type="numpy", box_format="xyxy", threshold_onet=self.score)
        found = []
        for row in sorted(rows, key=lambda row: -row[5]):
            # Columns: picture, x0 y0 x1 y1, score, five x, five y.
            box = (row[1:5].reshape(2, 2) + 0.5) * ratio - 0.5
            points = (row[6:16].reshape(2, 5).T + 0.5) * ratio - 0.5
            found.append(Detection(box.reshape(4).astype(np.float32), points.astype(np.float32), float(row[5])))
        return found
