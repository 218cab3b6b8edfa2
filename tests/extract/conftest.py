"""Short small clips cut from the rendered pair."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.detection.finder import FaceFinder
from faceswap_pipeline.extract import scan
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.video.reader import read_frames

FRAMES = 16
"""Of each person."""


def write_clip(path: Path, frames: Sequence[NDArray[np.uint8]]) -> Path:
    """Write RGB frames as H.264 at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "14", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


def wall(number: int) -> NDArray[np.uint8]:
    """A picture (270, 480, 3) of nobody."""
    coarse = np.random.default_rng(7).integers(60, 120, (27, 48, 3), np.uint8)
    return np.roll(cv2.resize(coarse, (480, 270), interpolation=cv2.INTER_CUBIC), number, 1)


@pytest.fixture(scope="session")
def people_frames() -> dict[str, list[NDArray[np.uint8]]]:
    """FRAMES frames of A and of B at 480x270."""
    folder = resources.examples_pair()
    return {
        name: [
            cv2.resize(frame.rgb, (480, 270), interpolation=cv2.INTER_AREA)
            for frame in read_frames(folder / f"video_{name}.mp4", stop=FRAMES)
        ]
        for name in "ab"
    }


@pytest.fixture(scope="session")
def clip(people_frames, tmp_path_factory) -> Path:
    """A for FRAMES frames, a wall for 8, A for FRAMES more backwards, B for FRAMES: two persons, hard cuts."""
    a, b = people_frames["a"], people_frames["b"]
    frames = a + [wall(number) for number in range(8)] + a[::-1] + b
    return write_clip(tmp_path_factory.mktemp("clips") / "film.mp4", frames)


@pytest.fixture(scope="session")
def shared_detector() -> FaceDetector:
    """Compiled once for all tests."""
    return FaceDetector(min_face=0.2)


@pytest.fixture(autouse=True)
def share_detector(shared_detector, monkeypatch) -> None:
    """Extraction with `--min-face 0.2` does not compile the networks anew in every test."""
    make = scan._finder

    def shared(options: ExtractOptions) -> FaceFinder:
        ours = options.detector == "cascade" and options.min_face == shared_detector.min_face
        return FaceFinder(shared_detector, shared_detector) if ours else make(options)

    monkeypatch.setattr(scan, "_finder", shared)
