"""Who it is: the embedding of a face.

In: crops `uint8 (N, S, S, 3)` of a dataset and their face masks. Out: unit vectors `float32 (N, 128)`; the cosine of
two says how alike the persons are, whatever the light, the pose and the hair.

The network was trained on rendered people only (`examples/train_weights/train_embedding.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.imaging import Image, network_view, to_float
from faceswap_pipeline.networks.embedding import DIMENSIONS, SIDE, VIEW

BATCH = 16
"""Faces in one pass; smaller batches are filled up."""


class FaceEmbedder:
    """The network with its shipped weights, compiled for one batch size."""

    def __init__(self) -> None:
        """Raises WeightsError when the weights are missing or not the ones of the manifest."""
        from faceswap_pipeline.array_folder import read_arrays
        from faceswap_pipeline.backend import compile_inference
        from faceswap_pipeline.networks.embedding import bare_faces, build_embedding
        from faceswap_pipeline.networks.weights import set_arrays

        network = build_embedding()
        set_arrays("embedding", network.variables, read_arrays(resources.weight_file("embedding")))
        self._infer: Callable[..., Any] = compile_inference(
            lambda pictures, faces: network(bare_faces(pictures, faces), training=False), network.variables
        )

    def embed(self, crops: Sequence[Image] | Image, masks: Sequence[Image] | Image) -> NDArray[np.float32]:
        """Unit vectors (N, 128) of crops, each uint8 (S, S, 3), with their face masks, each (S, S) 0..255."""
        count = len(crops)
        whole = -(-count // BATCH) * BATCH
        pictures, faces = (np.zeros((whole, SIDE, SIDE, channels), np.float32) for channels in (3, 1))
        for index, (crop, mask) in enumerate(zip(crops, masks, strict=True)):
            pictures[index] = to_float(network_view(crop, SIDE, VIEW))
            faces[index] = network_view(mask, SIDE, VIEW)[..., None] / np.float32(255)
        batches = [slice(start, start + BATCH) for start in range(0, whole, BATCH)]
        parts = [self._infer(pictures[batch], faces[batch]) for batch in batches]
        return np.concatenate(parts)[:count] if parts else np.zeros((0, DIMENSIONS), np.float32)
