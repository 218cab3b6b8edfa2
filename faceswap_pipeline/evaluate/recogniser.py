"""A face recogniser of the user's own, as an ONNX file, in place of the small embedding that comes with the program.

In: crops `uint8 (N, S, S, 3)` of a dataset. Out: unit vectors `float32 (N, D)`.

What such files agree on (ArcFace, Deng et al. 2019, and its relatives) is assumed: one RGB picture of 112x112 in,
channels first or last, values (x - 127.5) / 127.5, eyes and mouth
where ArcFace's five points lie; one vector out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.detection.alignment import COVERAGE
from faceswap_pipeline.detection.meanface import Pose, load_mean_face, project
from faceswap_pipeline.errors import OptionError, WeightsError
from faceswap_pipeline.geometry import Array, fit_similarity
from faceswap_pipeline.imaging import Image, warp

SIDE = 112
FIVE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
"""Where ArcFace wants eyes, nose and corners of the mouth, px of 112."""


class OnnxEmbedder:
    """A recogniser run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path):
        """Raises OptionError when ONNX Runtime is missing, WeightsError when the file is no such recogniser."""
        try:
            import onnxruntime
        except ImportError as error:
            raise OptionError(
                "--face-embedding needs ONNX Runtime: pip install 'faceswap-pipeline[recogniser]'"
            ) from error
        if not path.is_file():
            raise WeightsError(f"--face-embedding is {path}: there is no such file")
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise WeightsError(f"--face-embedding is {path}: not an ONNX file that can be run ({error})") from error
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape)
        sides = [size for size in shape[1:] if size == SIDE]
        if len(inputs) != 1 or len(shape) != 4 or len(sides) != 2 or 3 not in shape[1:]:
            raise WeightsError(
                f"--face-embedding is {path}: it takes {[entry.shape for entry in inputs]}, expected one input of "
                f"(N, 3, {SIDE}, {SIDE}) or (N, {SIDE}, {SIDE}, 3)"
            )
        self._name, self._channels_first = inputs[0].name, shape[1] == 3
        self._five = load_mean_face(resources.weight_file("mean_face")).five

    def embed(self, crops: Sequence[Image] | Image, masks: Sequence[Image] | Image) -> NDArray[np.float32]:
        """Unit vectors (N, D) of crops, each (S, S, 3); the masks are not looked at: such files know whole faces."""
        rows = []
        for crop in crops:
            picture = warp(crop, self._place(crop.shape[0]), (SIDE, SIDE)).astype(np.float32) / 127.5 - 1
            picture = np.moveaxis(picture, -1, 0) if self._channels_first else picture
            rows.append(np.ravel(self._session.run(None, {self._name: picture[None]})[0]))
        vectors = np.array(rows, np.float32).reshape(len(rows), -1)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def strangers(self) -> NDArray[np.float32]:
        """None: whom this recogniser knows is not ours to say, so it is asked only which of the two persons it is."""
        return np.zeros((0, 0), np.float32)

    def _place(self, size: int) -> Array:
        """Crop px -> the recogniser's px, (2, 3), for a face that looks ahead."""
        middle = (size - 1) / 2
        ahead = project(self._five, Pose(0.0, 0.0, 0.0, size / COVERAGE, middle, middle))
        return fit_similarity(ahead, FIVE)
