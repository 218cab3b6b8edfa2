"""Our three networks against those of the mtcnn package, on the same crops."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


import keras
import numpy as np
import pytest

from faceswap_pipeline import resources
from faceswap_pipeline.detection import networks
from faceswap_pipeline.detection.reference import package_stages
from faceswap_pipeline.errors import WeightsError

# lz4 closes its file twice on some Pythons, in the package's own loading.
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the package needs TensorFlow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def arrays():
    with np.load(resources.weight_file("mtcnn"), allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(arrays):
    return networks.load_networks(arrays)


def package_network(name: str):
    return dict(zip(("pnet", "rnet", "onet"), package_stages(), strict=True))[name].model


def test_proposal_network_equals_the_packages(ours, pair_frames):
    picture = (pair_frames[0][None, 100:300:2, 350:598:2].astype(np.float32) - 127.5) / 128
    scores, shifts = ours.proposal(picture)
    package_shifts, package_scores = package_network("pnet")(picture)
    np.testing.assert_allclose(scores, package_scores[..., 1], atol=1e-4)
    np.testing.assert_allclose(shifts, package_shifts, atol=1e-4)


@pytest.mark.parametrize(("name", "size"), [("rnet", 24), ("onet", 48)])
def test_crop_networks_equal_the_packages(ours, pair_frames, name, size):
    import cv2

    face = cv2.resize(pair_frames[0][110:370, 380:580], (size, size))
    other = cv2.resize(pair_frames[1][100:400, 300:640], (size, size))
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    crops = (np.stack([face, other, noise]).astype(np.float32) - 127.5) / 128
    package = package_network(name)(crops)
    if name == "rnet":
        scores, shifts = ours.refine(crops)
        package_shifts, package_scores = package
    else:
        scores, shifts, landmarks = ours.output(crops)
        package_shifts, package_landmarks, package_scores = package
        np.testing.assert_allclose(landmarks, package_landmarks, atol=1e-4)
    np.testing.assert_allclose(scores, package_scores[..., 1], atol=1e-4)
    np.testing.assert_allclose(shifts, package_shifts, atol=1e-4)


def test_networks_stay_float32_under_mixed_precision(arrays):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert networks.load_networks(arrays).output.dtype_policy.name == "float32"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_a_missing_array_is_named(arrays):
    with pytest.raises(WeightsError, match="refine/dense/kernel is nothing"):
        networks.load_networks({name: a for name, a in arrays.items() if name != "refine/dense/kernel"})
