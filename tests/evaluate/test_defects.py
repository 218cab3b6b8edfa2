"""Made defects against the figures: what must see a defect does, and what must not be moved by it stays in its noise.

The good film is the true swap of the rendered pair, each frame once through JPEG.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import pytest

from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.evaluate.groups import Subject
from faceswap_pipeline.evaluate.identity import NAMES
from faceswap_pipeline.evaluate.pairs import FramePair, read_faces
from faceswap_pipeline.evaluate.stage import GROUPS
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.parsing import FaceParser

from .conftest import Clips
from .defects import DEFECTS, encoded

NOISE = {
    "swapped": 0.01,
    "landmark_distance": 0.006,
    "landmark_motion": 0.0012,
    "pose_difference": 0.3,
    "mouth_follows": 0.08,
    "eyes_follow": 0.08,
    "mouth_opening": 0.06,
    "eye_opening": 0.06,
    "jitter": 0.15,
    "flicker": 0.15,
    "scale_wobble": 0.15,
    "seam_colour": 0.6,
    "seam_gradient": 0.6,
    "face_sharpness": 0.08,
    "outside_psnr": 0.25,
    "truth_psnr": 0.5,
    "truth_ssim": 0.005,
    "truth_ms_ssim": 0.005,
    "truth_gradient": 0.15,
    "registered_psnr": 0.5,
    "registered_ssim": 0.005,
    "registered_ms_ssim": 0.005,
    "registered_gradient": 0.15,
    "detected": 0.06,
}
"""How far each figure may be from that of the good film without meaning anything."""
TRUTH = {name for name in NOISE if METRICS[name].group == "truth"}
RAW = {name for name in TRUTH if name.startswith("truth")}
FOLLOWS = {"mouth_follows", "eyes_follow", "mouth_opening", "eye_opening"}
PLACE = {"landmark_distance", "landmark_motion", "pose_difference", "scale_wobble"}

TABLE: dict[str, tuple[set[str], set[str]]] = {
    "shifted face": (
        {"landmark_distance", "seam_gradient"} | RAW,
        (PLACE | TRUTH | FOLLOWS | {"seam_colour", "flicker", "detected"}),
    ),
    "frozen mouth": (
        {"mouth_follows", "mouth_opening", "landmark_motion", "truth_ssim", "registered_ssim"},
        (PLACE | TRUTH | {"jitter", "flicker", "face_sharpness", "detected"}),
    ),
    "added jitter": (
        {"jitter", "landmark_motion", "flicker"} | RAW,
        (PLACE | TRUTH | FOLLOWS | {"seam_colour", "seam_gradient", "face_sharpness", "detected"}),
    ),
    "colour cast": ({"seam_colour", "truth_psnr"}, {"registered_psnr", "truth_gradient", "detected"}),
    "flickering light": ({"flicker", "truth_psnr"}, {"jitter"}),
    "unswapped frames": (
        {"swapped", "flicker", "jitter", "truth_psnr"},
        PLACE | TRUTH | FOLLOWS | {"seam_colour", "seam_gradient", "detected"},
    ),
    "pasted box": ({"seam_gradient", "outside_psnr", "truth_psnr"}, TRUTH | FOLLOWS | {"seam_colour", "detected"}),
    "blurred face": (
        {"face_sharpness", "detected", "truth_ssim", "registered_ssim"},
        TRUTH | {"seam_gradient", "eyes_follow", "mouth_opening", "eye_opening"},
    ),
    "changed background": ({"outside_psnr"}, set()),
}
"""For each defect the figures that must see it, and those that may; all others must not."""

Measured = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def measured(clips: Clips, detector: FaceDetector, parser: FaceParser) -> Measured:
    """Every figure of the good film, of the source itself, and of every spoilt film."""
    films: dict[str, Callable[[], list[Image]]] = {"good": lambda: clips.truth, "no swap": lambda: clips.source}
    films |= {name: lambda spoil=spoil: spoil(clips, clips.truth) for name, spoil in DEFECTS.items()}
    subject = dataclasses.replace(clips.subject, parser=parser)
    return {
        name: measure([encoded(frame) for frame in frames()], clips, subject, detector)
        for name, frames in films.items()
    }


def measure(result: list[Image], clips: Clips, subject: Subject, detector: FaceDetector) -> dict[str, float]:
    """All figures of a film in memory; every second frame closely, every eighth against the true swap."""
    groups = [make(subject) for make in GROUPS.values()]
    records = clips.faces.by_frame(0)
    pairs = []
    for i, frame in enumerate(result):
        others = {"truth": clips.truth[i], "mask": clips.mask[i]} if i % 8 == 2 else {}
        pairs.append(FramePair(i, Fraction(i, 25), i % 2 == 0, records.get(i, ()), clips.source[i], frame, others))
    read_faces(
        iter(pairs),
        clips.faces,
        detector,
        lambda pair: [group.see_frame(pair) for group in groups],
        lambda face: [group.see_face(face) for group in groups],
    )
    return {name: value for group in groups for name, value in group.finish().values.items()}


def test_the_table_speaks_of_every_defect_and_figure(measured: Measured) -> None:
    assert set(TABLE) == set(DEFECTS)
    assert set(NOISE) == set(METRICS) - {"untouched_psnr"} - set(NAMES) == set(measured["good"])


@pytest.mark.parametrize("defect", TABLE)
def test_what_must_see_a_defect_does(defect: str, measured: Measured) -> None:
    blind = {}
    for name in TABLE[defect][0]:
        good, spoilt = measured["good"][name], measured[defect][name]
        if not METRICS[name].worse(spoilt, good) or abs(spoilt - good) < 2 * NOISE[name]:
            blind[name] = (good, spoilt)
    assert blind == {}


@pytest.mark.parametrize("defect", TABLE)
def test_what_must_not_see_a_defect_stays_in_its_noise(defect: str, measured: Measured) -> None:
    must, may = TABLE[defect]
    moved = {}
    for name in set(NOISE) - must - may:
        good, spoilt = measured["good"][name], measured[defect][name]
        if abs(spoilt - good) > NOISE[name]:
            moved[name] = (good, spoilt)
    assert moved == {}


def test_a_perfect_swap_is_told_from_none(measured: Measured) -> None:
    good, none = measured["good"], measured["no swap"]
    assert (good["swapped"], none["swapped"]) == (1, 0)
    assert none["landmark_distance"] < 0.01 and none["seam_colour"] < 1, "the source differs from itself by encoding"
    assert none["registered_ssim"] < 0.85 < 0.97 < good["registered_ssim"]


def test_the_true_swap_is_judged_good(measured: Measured) -> None:
    levels = {name: METRICS[name].level(value) for name, value in measured["good"].items()}
    del levels["outside_psnr"], levels["detected"]  # JPEG is harsher than a film's encoder, and leaves its traces
    assert {name for name, level in levels.items() if level != "good"} == set()
