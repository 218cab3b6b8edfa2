"""A second of the rendered pair in small: source, true swap and its mask in memory, and the datasets of both people."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import pytest
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.detection.meanface import load_mean_face
from faceswap_pipeline.evaluate.groups import Subject
from faceswap_pipeline.evaluate.options import EvaluateOptions
from faceswap_pipeline.evaluate.stage import Evaluation, evaluate_swap
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.extract.stage import extract_faces
from faceswap_pipeline.imaging import Image, resize
from faceswap_pipeline.masks.options import MaskOptions
from faceswap_pipeline.masks.stage import make_masks
from faceswap_pipeline.parsing import FaceParser
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.video.info import file_sha256
from faceswap_pipeline.video.reader import read_frames

FIRST, FRAMES = 104, 32
"""Of the pair's clips: here the actor talks, blinks and turns the head."""
OTHERS = 16
"""Frames of the other person."""
SIZE = (480, 270)
LEFT_OUT = 5
"""The frame in which the film still shows the old face."""


@dataclass(frozen=True)
class Clips:
    """The clips in memory, RGB (270, 480, 3) each, and the datasets of both people."""

    source: list[Image]
    truth: list[Image]
    mask: list[Image]
    faces: FaceDataset
    other: FaceDataset

    @property
    def subject(self) -> Subject:
        """What groups of metrics are told."""
        mean_face = load_mean_face(resources.weight_file("mean_face"))
        return Subject(self.faces, 0, self.other, "", mean_face, {"frames": {"frames": FRAMES}})


def small_frames(name: str, first: int, count: int) -> list[Image]:
    """Frames of a clip of the rendered pair at `SIZE`."""
    frames = islice(read_frames(resources.examples_pair() / name), first, first + count)
    return [resize(frame.rgb, SIZE) for frame in frames]


def write_clip(path: Path, frames: Sequence[NDArray], quality: int = 12) -> Path:
    """Write RGB frames as H.264 at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(quality), "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


def make_dataset(clip: Path, folder: Path) -> FaceDataset:
    """Faces and masks of a clip."""
    extract_faces([clip], folder, ExtractOptions(size=192))
    return make_masks(folder, MaskOptions())


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """See Clips; `video_a.mp4`, `video_b.mp4` and the datasets lie in one folder."""
    folder = tmp_path_factory.mktemp("pair")
    source, truth, mask = (small_frames(name, FIRST, FRAMES) for name in ("video_a.mp4", "truth.mp4", "truth_mask.mp4"))
    faces = make_dataset(write_clip(folder / "video_a.mp4", source), folder / "faces_a")
    other = make_dataset(
        write_clip(folder / "video_b.mp4", small_frames("video_b.mp4", FIRST, OTHERS)), folder / "faces_b"
    )
    return Clips(source, truth, mask, faces, other)


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    """One for all tests: it compiles its networks once."""
    return FaceDetector()


@pytest.fixture(scope="session")
def parser() -> FaceParser:
    """One for all tests."""
    return FaceParser()


@pytest.fixture(scope="session")
def studio(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a conversion leaves, and the true swap with its mask."""
    folder = tmp_path_factory.mktemp("studio")
    pair = clips.faces.path.parent
    for name in ("video_a.mp4", "faces_a", "faces_b"):
        (folder / name).symlink_to(pair / name)
    run = folder / "runs" / "a-b"
    entry = {"path": "faces_b", "name": "faces_b", "sha256": "0", "template": "mean-face-1", "coverage": 1.56}
    with TrainingRun.create(run, {"recipe": {"name": "made"}, "a": entry | {"path": "faces_a"}, "b": entry}):
        pass
    frames = [clips.source[i] if i == LEFT_OUT else frame for i, frame in enumerate(clips.truth)]
    film = write_clip(folder / "video_a_swapped.mp4", frames, quality=20)
    sidecar = {
        "format": "faceswap-conversion",
        "version": 3,
        "source": file_sha256(pair / "video_a.mp4"),
        "dataset": clips.faces.fingerprint(),
        "input": "video_a.mp4",
        "faces": "faces_a",
        "run": {"path": "runs/a-b", "recipe": "made", "step": 7},
        "options": {"direction": "a-to-b", "quality": 20.0},
        "frames": {"frames": FRAMES, "swapped": FRAMES, "faces": FRAMES, "untouched": {}},
        "signed": {"film_sha256": file_sha256(film)},
    }
    (folder / "video_a_swapped.json").write_text(json.dumps(sidecar))
    write_clip(folder / "truth.mp4", clips.truth)
    write_clip(folder / "truth_mask.mp4", clips.mask)
    return folder


@pytest.fixture(scope="session")
def report(studio: Path) -> Evaluation:
    """The evaluation of the film against the true swap."""
    truth, mask = studio / "truth.mp4", studio / "truth_mask.mp4"
    return evaluate_swap(studio / "video_a_swapped.mp4", studio / "report", EvaluateOptions(), truth=truth, mask=mask)
