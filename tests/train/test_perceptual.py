"""The perceptual loss: networks read from a user's file, and what it says of pictures."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras import ops

from faceswap_pipeline.array_folder import write_arrays
from faceswap_pipeline.errors import OptionError, RunError
from faceswap_pipeline.storage import sha256_file
from faceswap_pipeline.train.gradients import gradients
from faceswap_pipeline.train.options import TrainOptions
from faceswap_pipeline.train.perceptual import features_of, perceptual_entry, perceptual_error, read_features
from faceswap_pipeline.train.stage import train_swap
from tests.train.conftest import TINY_RECIPE, make_dataset

WIDTHS = {(1, 1): (3, 4), (1, 2): (4, 4), (2, 1): (4, 6)}


def layers(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {}
    for (block, layer), (before, after) in WIDTHS.items():
        found[f"block{block}_conv{layer}/kernel"] = random.normal(0, 0.2, (3, 3, before, after)).astype(np.float32)
        found[f"block{block}_conv{layer}/bias"] = random.normal(0, 0.2, after).astype(np.float32)
    return found


def as_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    write_arrays(path, arrays)
    return path


def as_keras(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """In the layout of the published files: a group a layer, `block1_conv1/block1_conv1_W_1:0`."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, kind = name.split("/")
            file[f"{layer}/{layer}_{'W' if kind == 'kernel' else 'b'}_1:0"] = array
    return path


def pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)


def test_both_kinds_of_file_give_the_same_network(tmp_path: Path):
    one, other = as_npz(tmp_path / "a.npz", layers()), as_keras(tmp_path / "a.h5", layers())
    assert [len(block) for block in read_features(one)] == [2, 1]
    for block, twin in zip(read_features(one), read_features(other), strict=True):
        for layer, its_twin in zip(block, twin, strict=True):
            assert all(np.array_equal(*pair) for pair in zip(layer, its_twin, strict=True))


def test_the_error_is_nothing_for_the_truth_and_looks_at_the_face_alone(tmp_path: Path):
    features = read_features(as_npz(tmp_path / "a.npz", layers()))
    truth, face = pictures(1), np.zeros((2, 16, 16, 1), np.float32)
    face[:, 4:12, 4:12] = 1
    background = np.where(face > 0, truth, pictures(2))
    wrong = np.where(face > 0, pictures(2), truth)
    slightly = truth + 0.1 * (wrong - truth)
    assert float(perceptual_error(features, truth, truth, face)) == 0
    assert float(perceptual_error(features, background, truth, face)) == pytest.approx(0, abs=1e-6)
    errors = [float(perceptual_error(features, made, truth, face)) for made in (slightly, wrong)]
    assert 0 < 5 * errors[0] < errors[1]


def test_the_error_does_not_depend_on_the_networks_scale_and_leads_to_the_truth(tmp_path: Path):
    features = read_features(as_npz(tmp_path / "a.npz", layers()))
    face = np.ones((2, 16, 16, 1), np.float32)
    plain = [features[0]]
    made, truth = pictures(3), pictures(1)
    no_bias = [[(kernel, 0 * bias) for kernel, bias in block] for block in plain]
    scaled = [[(2 * kernel, 0 * bias) for kernel, bias in no_bias[0][:1]] + no_bias[0][1:]]
    assert float(perceptual_error(scaled, made, truth, face)) == pytest.approx(
        float(perceptual_error(no_bias, made, truth, face)), rel=1e-4
    )

    import keras

    variable = keras.Variable(made)

    def loss():
        error = perceptual_error(features, ops.convert_to_tensor(variable), truth, face)
        return error, error

    before, found = gradients(loss, [variable], [variable])
    norm = np.linalg.norm(ops.convert_to_numpy(found[0]))
    variable.assign(variable - 0.5 / norm * found[0])
    assert float(loss()[0]) < float(before)


def test_the_first_layer_is_given_what_vgg_expects(tmp_path: Path):
    """Blue, green, red, 0..255, ImageNet's mean taken off: a kernel that passes one channel on shows it."""
    kernel = np.zeros((3, 3, 3, 1), np.float32)
    kernel[1, 1, 0] = 1
    arrays = {"block1_conv1/kernel": kernel, "block1_conv1/bias": np.zeros(1, np.float32)}
    features = read_features(as_npz(tmp_path / "a.npz", arrays))
    blue = np.full((1, 4, 4, 3), [-1, -1, 1], np.float32)
    red = np.full((1, 4, 4, 3), [1, -1, -1], np.float32)
    face = np.ones((1, 4, 4, 1), np.float32)
    # Of red nothing is left above 0; the difference is the whole of what blue gives.
    assert float(perceptual_error(features, red, blue, face)) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: {}, "block1_conv1"),
        (lambda arrays: arrays | {"block1_conv2/kernel": np.zeros((3, 3, 5, 4), np.float32)}, r"\(3, 3, 5, 4\)"),
        (lambda arrays: arrays | {"block2_conv1/bias": np.zeros(7, np.float32)}, r"\(7,\)"),
        (lambda arrays: {n: a for n, a in arrays.items() if n != "block1_conv1/bias"}, "bias"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change, said: str):
    path = as_npz(tmp_path / "a.npz", change(layers()))
    with pytest.raises(OptionError, match=said):
        read_features(path)


def test_no_file_and_no_hdf5_are_refused(tmp_path: Path):
    with pytest.raises(OptionError, match="no file"):
        perceptual_entry(str(tmp_path / "none.h5"))
    (tmp_path / "text.h5").write_text("not at all")
    with pytest.raises(OptionError, match="cannot be read"):
        perceptual_entry(str(tmp_path / "text.h5"))
    assert perceptual_entry("") is None and features_of(None) is None


def test_a_run_records_its_network_and_goes_on_with_no_other(tmp_path: Path):
    faces = [make_dataset(tmp_path / f"faces_{name}", seed, (220, 180, 150)) for name, seed in (("a", 1), ("b", 2))]
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    network = as_npz(tmp_path / "vgg.npz", layers())
    given = {"recipe": str(tmp_path / "tiny.toml"), "base": "none", "report_steps": 2}
    train_swap(*faces, tmp_path / "run", TrainOptions(**given, steps=2, perceptual=str(network)))
    run = train_swap(*faces, tmp_path / "run", TrainOptions(**given, steps=4))
    assert run.manifest["perceptual"] == {"path": str(network), "sha256": sha256_file(network)}
    assert run.manifest["steps"] == 4
    reports = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert reports and all(report["losses"]["perceptual_a"] > 0 for report in reports)

    other = as_npz(tmp_path / "other.npz", layers(1))
    with pytest.raises(RunError, match="perceptual"):
        train_swap(*faces, tmp_path / "run", TrainOptions(**given, steps=6, perceptual=str(other)))
    as_npz(network, layers(2))
    with pytest.raises(OptionError, match="not the file that this run began with"):
        train_swap(*faces, tmp_path / "run", TrainOptions(**given, steps=6))
