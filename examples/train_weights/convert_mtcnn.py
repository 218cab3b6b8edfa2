"""How weights/mtcnn.npz was made: the mtcnn package's three weight files, renamed and stored without pickle.

    python examples/train_weights/convert_mtcnn.py FOLDER_WITH_pnet.lz4_rnet.lz4_onet.lz4 weights/mtcnn.npz

The files lie in the package mtcnn 1.0.0 (MIT, Copyright 2019-2024 Ivan de Paz Centeno) under `mtcnn/assets/weights`.
They are joblib pickles, which run code when loaded: give a folder you trust. The package flattens its last feature map
column by column; ours goes row by row, so the first dense kernel's rows are put into that order here.
"""

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from faceswap_pipeline.detection import networks

PARTS = {
    "pnet.lz4": (networks.build_proposal_network, None),
    "rnet.lz4": (networks.build_refine_network, (3, 3, 64)),
    "onet.lz4": (networks.build_output_network, (3, 3, 128)),
}
PACKAGE_ORDER = ("shifts", "landmarks", "face")
"""The order in which the package stores its heads."""


def package_names(model) -> list[str]:
    """The names of our variables in the order of the package's list."""
    names = list(networks.named_variables(model))
    body = [name for name in names if name.split("/")[1] not in PACKAGE_ORDER]
    return body + [name for head in PACKAGE_ORDER for name in names if name.split("/")[1] == head]


def convert(folder: Path) -> dict[str, np.ndarray]:
    """All arrays by our names."""
    arrays = {}
    for file, (build, last_map) in PARTS.items():
        model = build()
        values = joblib.load((folder / file).resolve(strict=True))
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
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    arrays: dict[str, Any] = convert(Path(sys.argv[1]))
    np.savez(sys.argv[2], **arrays)
