"""The optional perceptual loss: pictures are compared by what a trained VGG-type network sees in them.

In: a file of weights that the user names; no such file comes with the program, and none is ever fetched. Out: the
convolutions as arrays, and a loss term in `keras.ops` (Johnson et al. 2016, "Perceptual Losses for Real-Time Style
Transfer and Super-Resolution"; VGG: Simonyan and Zisserman 2015).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.array_folder import read_arrays
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.storage import sha256_file

Block = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Convolutions, kernel (3, 3, in, out) and bias (out,), between two halvings of the picture."""

MEAN = np.array([103.939, 116.779, 123.68], np.float32)
"""Of ImageNet's pictures, blue, green, red: what VGG's published weights expect to have been taken off."""
DEPTH = 4
"""Blocks that are compared; a fifth sees 4 x 4 places of a 64-pixel picture."""


def perceptual_entry(file: str) -> dict[str, str] | None:
    """What a run's manifest says of the network that `--perceptual` names: path and hash; None without one.

    Raises OptionError when the file is missing or is no such network.
    """
    if not file:
        return None
    read_features(Path(file))
    return {"path": file, "sha256": sha256_file(Path(file))}


def features_of(entry: dict[str, str] | None) -> list[Block] | None:
    """The network of a manifest's entry. Raises OptionError when its file is missing or is another one now."""
    if entry is None:
        return None
    features = read_features(Path(entry["path"]))
    if sha256_file(Path(entry["path"])) != entry["sha256"]:
        raise OptionError(f"--perceptual: {entry['path']} is not the file that this run began with: put that one back")
    return features


def read_features(path: Path) -> list[Block]:
    """The convolutions of a VGG-type network, block by block, the first `DEPTH` of them.

    Read from Keras' own files (`vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5`, vgg19's) or from an npz with
    `block1_conv1/kernel`, `block1_conv1/bias` and so on. Raises OptionError when the file is missing or holds no such
    network.
    """
    if not path.is_file():
        raise OptionError(f"--perceptual: no file {path}: name the weights of a VGG-type network (.h5 or .npz)")
    try:
        arrays = read_arrays(path) if path.suffix == ".npz" else dict(_hdf5_arrays(path))
    except (OSError, ValueError) as error:
        raise OptionError(f"--perceptual: {path} cannot be read as .h5 or .npz: {error}") from error
    layers: dict[tuple[int, int], dict[int, NDArray[np.float32]]] = {}
    for name, array in arrays.items():
        if found := re.match(r"/?block(\d+)_conv(\d+)/", name):
            place = int(found[1]), int(found[2])
            layers.setdefault(place, {})[array.ndim] = np.asarray(array, np.float32)
    blocks: dict[int, Block] = {}
    for place, parts in sorted(layers.items()):
        missing = np.empty(0, np.float32)
        blocks.setdefault(place[0], []).append((parts.get(4, missing), parts.get(1, missing)))
    used = [blocks[number] for number in sorted(blocks)][:DEPTH]
    width = 3
    for kernel, bias in (layer for block in used for layer in block):
        if kernel.shape[:3] != (3, 3, width) or bias.shape != kernel.shape[3:]:
            raise OptionError(
                f"--perceptual: {path} holds a convolution of {kernel.shape} with a bias of {bias.shape} after {width} "
                "channels: expected 3x3 kernels (3, 3, in, out) that follow each other from RGB"
            )
        width = kernel.shape[3]
    if not used:
        raise OptionError(
            f"--perceptual: {path} holds no layers block1_conv1, block1_conv2, ...: expected the convolutions of VGG16 "
            "or VGG19 as Keras names them"
        )
    return used


def perceptual_error(features: list[Block], made: Any, target: Any, face: Any) -> Any:
    """How differently the network sees two pictures (B, R, R, 3) -1..1 inside the face (B, R, R, 1) 0..1.

    A scalar: the mean absolute difference of each block's last map over the mean of the target's, averaged over blocks;
    0 for equal pictures, about 1 for unrelated ones, whatever the network's scale.
    """
    inside = made * face + target * (1 - face)
    errors = []
    for one, other in zip(_maps(features, inside), _maps(features, target), strict=True):
        errors.append(ops.mean(ops.abs(one - other)) / (ops.mean(ops.abs(other)) + 1e-6))
    return sum(errors) / len(errors)


def _maps(features: list[Block], pictures: Any) -> Iterator[Any]:
    """The last map of every block."""
    x = ops.flip(pictures, axis=-1) * 127.5 + (127.5 - MEAN)
    for number, block in enumerate(features):
        if number:
            x = ops.max_pool(x, 2, strides=2)
        for kernel, bias in block:
            x = ops.relu(ops.conv(x, kernel, padding="same") + bias)
        yield x


def _hdf5_arrays(path: Path) -> Iterator[tuple[str, NDArray]]:
    """The arrays of an HDF5 file by their whole names."""
    import h5py

    with h5py.File(path, "r") as file:
        found: list[tuple[str, NDArray]] = []
        file.visititems(
            lambda name, item: found.append((name, item[()])) if isinstance(item, h5py.Dataset) else None  # type: ignore[func-returns-value]
        )
    yield from found
