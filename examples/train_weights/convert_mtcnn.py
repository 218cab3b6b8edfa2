"""How weights/mtcnn.npz is made: the weights of the mtcnn package's three networks, renamed and stored without pickle.

    python examples/train_weights/convert_mtcnn.py weights/mtcnn.npz

The package is mtcnn 1.0.0 (MIT, Copyright 2019-2024 Ivan de Paz Centeno); it reads its own files. It flattens its last
feature map column by column; ours goes row by row, so the first dense kernel's rows are put into that order here.
"""

import sys
from typing import Any

import numpy as np

from faceswap_pipeline.detection import networks
from faceswap_pipeline.detection.reference import package_stages

PARTS = (
    (networks.build_proposal_network, None),
    (networks.build_refine_network, (3, 3, 64)),
    (networks.build_output_network, (3, 3, 128)),
)
"""Our twin of each of the package's stages, and its last feature map."""
PACKAGE_ORDER = ("shifts", "landmarks", "face")
"""The order in which the package stores its heads."""


def package_names(model) -> list[str]:
    """The names of our variables in the order of the package's list."""
    names = list(networks.named_variables(model))
    body = [name for name in names if name.split("/")[1] not in PACKAGE_ORDER]
    return body + [name for head in PACKAGE_ORDER for name in names if name.split("/")[1] == head]


def convert() -> dict[str, np.ndarray]:
    """All arrays by our names."""
    arrays = {}
    for stage, (build, last_map) in zip(package_stages(), PARTS, strict=True):
        model = build()
        values = stage.model.get_weights()
        for name, value in zip(package_names(model), values, strict=True):
            if name.endswith("/dense/kernel") and last_map:
                height, width, channels = last_map
                value = value.reshape(width, height, channels, -1).transpose(1, 0, 2, 3).reshape(value.shape)
            expected = tuple(networks.named_variables(model)[name].shape)
            if value.shape != expected:
                raise SystemExit(f"{name}: the package's array is {value.shape}, expected {expected}")
            arrays[name] = np.asarray(value, np.float32)
    return arrays


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    arrays: dict[str, Any] = convert()
    np.savez(sys.argv[1], **arrays)
