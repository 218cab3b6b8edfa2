"""The first frame of the rendered clips, and the detector, loaded once."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.detection.meanface import MeanFace, load_mean_face
from faceswap_pipeline.video.reader import read_frames


@pytest.fixture(scope="session")
def pair_frames() -> list[NDArray[np.uint8]]:
    """The first frame of A and of B, RGB (540, 960, 3)."""
    folder = resources.examples_pair()
    return [next(iter(read_frames(folder / f"video_{name}.mp4", stop=1))).rgb for name in "ab"]


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector(min_face=0.1)


@pytest.fixture(scope="session")
def mean_face() -> MeanFace:
    return load_mean_face(resources.weight_file("mean_face"))
