"""Small made datasets: drawn faces whose mouth opens and whose place wanders, one colour a person."""

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.records import FaceRecord, FrameRow, Source
from faceswap_pipeline.video.info import ColorTags, VideoInfo

CROP = 48
PERFORMED = 5
"""Numbers that base weights read of what a face does."""


def drawn_face(random: np.random.Generator, skin: tuple[int, int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A picture (48, 48, 3) and its masks."""
    picture = np.full((CROP, CROP, 3), random.integers(0, 80, 3), np.uint8)
    masks = {kind: np.zeros((CROP, CROP), np.uint8) for kind in ("face", "eyes", "mouth")}
    x, y = random.integers(22, 26, 2).tolist()
    opening = int(random.integers(1, 6))
    cv2.ellipse(picture, (x, y), (13, 17), 0, 0, 360, skin, -1)
    cv2.ellipse(masks["face"], (x, y), (13, 17), 0, 0, 360, 255, -1)
    for side in (-5, 5):
        cv2.circle(picture, (x + side, y - 4), 2, (250, 250, 250), -1)
        cv2.circle(masks["eyes"], (x + side, y - 4), 4, 255, -1)
    cv2.ellipse(picture, (x, y + 8), (5, opening), 0, 0, 360, (120, 20, 30), -1)
    cv2.ellipse(masks["mouth"], (x, y + 8), (7, 6), 0, 0, 360, 255, -1)
    noise = random.integers(0, 6, picture.shape, dtype=np.uint8)
    return cv2.add(picture, noise), masks


def make_dataset(path: Path, seed: int, skin: tuple[int, int, int], count: int = 48, masks: bool = True) -> Path:
    """A finished dataset of `count` drawn faces, four a second, in one track."""
    random = np.random.default_rng(seed)
    info = VideoInfo(
        64, 64, Fraction(4), Fraction(count, 4), 0, Fraction(1), "yuv420p", count, ColorTags(1, 1, 1, False), ()
    )
    source = Source(str(path.with_suffix(".mp4")), f"{seed:064d}", info)
    with FaceDataset.create(path, [source], CROP, "mean-face-1", 1.56, {}) as dataset:
        for frame in range(count):
            picture, drawn = drawn_face(random, skin)
            record = FaceRecord(
                source=0,
                frame=frame,
                pts=Fraction(frame, 4),
                track=0,
                person=0,
                filled=False,
                box=np.array([8.0, 8, 56, 56]),
                landmarks_raw=np.ones((5, 2)),
                landmarks=np.ones((5, 2)),
                score=0.99,
                yaw=float(random.uniform(-30, 30)),
                pitch=0.0,
                roll=0.0,
                sharpness=10.0,
                marks=(),
                use_for_training=True,
                matrix=np.eye(2, 3),
            )
            dataset.append(record, picture)
            for kind, mask in drawn.items() if masks else ():
                dataset.write_mask(kind, record, mask, "landmarks", 1.0)
        dataset.finish([FrameRow(0, frame, Fraction(frame, 4), 1, "") for frame in range(count)])
    return path


TINY_RECIPE = """
[network]
resolution = 32
view = [0.7, 0.8]
down = [8, 12, 16]
latent = 16
shared_up = 12
up = [12, 8]
attention_encoder = [8]
attention_decoder = [16]
residual = 1

[discriminator]
down = [8, 12]
attention = [8]

[train]
batch = 4
learning_rate = 1e-3
warm_up = 2
adversarial_from = 6
"""


def tiny_recipe() -> dict[str, Any]:
    """The recipe above as values, adversarial from step 6."""
    return {"name": "tiny", **tomllib.loads(TINY_RECIPE)}


@pytest.fixture
def faces(tmp_path: Path) -> tuple[Path, Path]:
    """Datasets of two drawn persons."""
    return make_dataset(tmp_path / "faces_a", 1, (220, 180, 150)), make_dataset(tmp_path / "faces_b", 2, (120, 80, 60))


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The path of a recipe without an adversarial stage, which compiles in a few seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_RECIPE.replace("adversarial_from = 6", "adversarial_from = 0"))
    return str(path)


@pytest.fixture
def adversarial_recipe(tmp_path: Path) -> str:
    """The path of the same recipe, adversarial from step 6."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return str(path)
