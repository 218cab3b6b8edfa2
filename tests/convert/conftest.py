"""A made clip with sound, the dataset of its drawn face, and a run whose network is a stand-in."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from faceswap_pipeline.array_folder import Checkpoint
from faceswap_pipeline.convert import stage
from faceswap_pipeline.convert.swapper import SwapOutput
from faceswap_pipeline.dataset import FaceDataset, FrameRow, Source
from faceswap_pipeline.geometry import similarity_matrix, transform_points
from faceswap_pipeline.imaging import View, network_view, to_float
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.video.info import file_sha256, probe

CROP, RATE, FRAMES = 96, 25, 60
WIDTH, HEIGHT = 192, 144
NO_FACE = range(20, 30)
"""Frames of the clip without a face."""


def face_at(frame: int) -> NDArray[np.float64]:
    """Centre (2,) px of the drawn face."""
    return np.array([96 + 20 * np.sin(frame / 9), 72 + 6 * np.cos(frame / 7)])


def face_matrix(frame: int, crop: int = CROP) -> NDArray[np.float64]:
    """Frame -> crop of the drawn face, which is 62 px high in the frame."""
    matrix = similarity_matrix(crop / 1.56 / 62, 3 * np.sin(frame / 5), 0, 0)
    matrix[:, 2] = (crop - 1) / 2 - transform_points(matrix, face_at(frame))
    return matrix


def draw_frame(frame: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3): a mottled room and, outside NO_FACE, an oval head with eyes and mouth."""
    random = np.random.default_rng(0)
    room = cv2.GaussianBlur(random.uniform(20, 140, (HEIGHT, WIDTH, 3)).astype(np.float32), (0, 0), 3)
    image = np.clip((room - 80) * 3 + 80, 0, 255).astype(np.uint8)
    if frame not in NO_FACE:
        centre = face_at(frame)
        x, y = np.rint(centre * 16).astype(int).tolist()
        cv2.ellipse(image, (x, y), (23 * 16, 31 * 16), 0, 0, 360, (205, 150, 120), -1, cv2.LINE_AA, 4)
        for dx, dy, size in ((-9, -8, 3), (9, -8, 3), (0, 14, 5)):
            cv2.circle(image, (x + dx * 16, y + dy * 16), size * 16, (60, 30, 40), -1, cv2.LINE_AA, 4)
    return image


def write_clip(path: Path) -> None:
    """FRAMES drawn frames and as much sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "12", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(draw_frame(index), "rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(16000 * FRAMES // RATE) / 20).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        sound.sample_rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def make_record(frame: int, track: int, crop: int = CROP) -> FaceRecord:
    """The drawn face of a frame as extraction would record it."""
    points = face_at(frame) + np.array([[-9, -8], [9, -8], [0, 2], [-5, 14], [5, 14]])
    box = np.concatenate([face_at(frame) - [23, 31], face_at(frame) + [23, 31]])
    return FaceRecord(
        source=0,
        frame=frame,
        pts=Fraction(frame, RATE),
        track=track,
        person=0,
        filled=False,
        box=box,
        landmarks_raw=points,
        landmarks=points,
        score=0.99,
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        sharpness=1.0,
        marks=(),
        use_for_training=True,
        matrix=face_matrix(frame, crop),
    )


def write_dataset(path: Path, video: Path, *, masks: bool = True, crop: int = CROP) -> None:
    """The faces of the drawn clip; each stretch with a face is a track of its own. Crops are left black."""
    oval = np.zeros((crop, crop), np.uint8)
    cv2.ellipse(oval, (crop // 2, crop // 2), (23 * crop // CROP, 31 * crop // CROP), 0, 0, 360, 255, -1)
    with FaceDataset.create(
        path, [Source(str(video), file_sha256(video), probe(video))], crop, "t-1", 1.56, {}
    ) as made:
        for frame in (frame for frame in range(FRAMES) if frame not in NO_FACE):
            record = make_record(frame, int(frame > NO_FACE[0]), crop)
            made.append(record, np.zeros((crop, crop, 3), np.uint8))
            if masks:
                made.write_mask("face", record, oval, "landmarks", 1.0)
        reasons = [(frame, "no face" if frame in NO_FACE else "") for frame in range(FRAMES)]
        made.finish(FrameRow(0, frame, Fraction(frame, RATE), int(not reason), reason) for frame, reason in reasons)


@dataclass
class StandIn:
    """A swapper whose picture is the crop itself, changed; it remembers how large its batches were."""

    resolution: int = 64
    view: View = (0.7, 0.8)
    change: float = 0.0

    def __post_init__(self) -> None:
        self.batches: list[int] = []

    def swap(
        self, crops: NDArray[np.uint8], masks: NDArray[np.uint8], steps: NDArray[np.float32] | None = None
    ) -> SwapOutput:
        assert masks.shape == crops.shape[:3]
        self.batches.append(len(crops))
        views = np.stack([to_float(network_view(crop, self.resolution, self.view)) for crop in crops])
        image = np.clip(views + np.float32(self.change), -1, 1)
        faces = np.stack([network_view(mask, self.resolution, self.view) for mask in masks])[..., None]
        return SwapOutput(image, np.ones_like(image[..., :1]), views, faces / np.float32(255))

    def redraw(self, crops: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert masks.shape == crops.shape[:3]
        return np.stack([to_float(network_view(crop, self.resolution, self.view)) for crop in crops])

    def codes(self, crops: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return crops.mean((1, 2))


@dataclass(frozen=True)
class Studio:
    """A folder with video_a.mp4, its dataset faces_a, and a run; `swapper` is what the run's network does."""

    folder: Path
    swapper: StandIn

    @property
    def video(self) -> Path:
        return self.folder / "video_a.mp4"

    @property
    def faces(self) -> Path:
        return self.folder / "faces_a"

    @property
    def run(self) -> Path:
        return self.folder / "run"


@pytest.fixture
def studio(tmp_path, monkeypatch) -> Studio:
    """See Studio."""
    made = Studio(tmp_path, StandIn(change=0.3))
    write_clip(made.video)
    write_dataset(made.faces, made.video)
    entry = {"path": str(made.faces), "name": "faces_a", "sha256": "0", "template": "t-1", "coverage": 1.56}
    with TrainingRun.create(made.run, {"recipe": {"name": "stand-in"}, "a": entry, "b": entry}):
        pass
    checkpoint = Checkpoint(7, {}, {}, "c" * 64)
    monkeypatch.setattr(stage, "best_weights", lambda run: checkpoint)
    monkeypatch.setattr(stage, "load_swapper", lambda run, weights, person, batch: made.swapper)
    return made
