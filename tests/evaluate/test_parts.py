"""The parts that need no film: what each figure says of small made inputs."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.evaluate import opening
from faceswap_pipeline.evaluate.blending import colour_step, extra_edge, relative_sharpness, rings_of
from faceswap_pipeline.evaluate.definitions import METRICS, failed_gates
from faceswap_pipeline.evaluate.detectability import describe, evened, told_apart
from faceswap_pipeline.evaluate.groups import Series, cohorts, without_usual
from faceswap_pipeline.evaluate.options import EvaluateOptions
from faceswap_pipeline.evaluate.pairs import choose
from faceswap_pipeline.evaluate.performance import movement_found
from faceswap_pipeline.evaluate.report import _worst_of_bins
from faceswap_pipeline.evaluate.untouched import psnr
from faceswap_pipeline.evaluate.worst import worst_frames
from faceswap_pipeline.imaging import blur
from faceswap_pipeline.networks.parser import CLASSES
from faceswap_pipeline.parsing import Parsed

SIDE, HEIGHT = 160, 100.0


@pytest.fixture
def skin() -> np.ndarray:
    """A mottled picture (160, 160, 3)."""
    noise = np.random.default_rng(0).normal(0, 40, (SIDE, SIDE, 1))
    return np.clip(blur(noise, 1.0) + [170, 130, 110], 0, 255).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    oval = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(oval, (SIDE // 2, SIDE // 2), (38, 50), 0, 0, 360, 255, -1)
    return oval


# -- definitions, gates, choice of frames ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [("jitter", (0.5, 1.5, 3.0)), ("outside_psnr", (60.0, 36.0, 10.0)), ("face_sharpness", (1.1, 0.7, 0.2)),
     ("face_sharpness", (0.95, 1 / 0.7, 4.0))],
)  # fmt: skip
def test_levels_follow_the_direction_of_a_figure(name, values):
    metric = METRICS[name]
    assert [metric.level(value) for value in values] == ["good", "fair", "poor"]
    assert np.all(np.diff([metric.badness(value) for value in values]) > 0)


def test_every_figure_that_has_words_says_what_would_help():
    for metric in METRICS.values():
        assert bool(metric.means) == bool(metric.helps)
        assert (metric.better == "one") == bool(metric.means_above)
    assert METRICS["face_sharpness"].words(0.5) != METRICS["face_sharpness"].words(2.0)


def test_the_documentation_defines_every_figure_and_states_its_limits():
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    for name, metric in METRICS.items():
        if metric.group == "truth":
            assert f"{metric.good:g}, {metric.fair:g}" in text
            continue
        row = next(line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1])
        assert f"{metric.good:g}, {metric.fair:g}" in row.split("|")[-2], name


def test_limits_hold_in_the_direction_of_the_figure():
    values = {"jitter": 1.4, "mouth_follows": 0.7, "face_sharpness": 1.5}
    assert failed_gates({"jitter": 1.5, "mouth_follows": 0.6, "face_sharpness": 0.6}, values) == []
    failed = failed_gates({"jitter": 1.3, "mouth_follows": 0.8, "face_sharpness": 0.8, "swapped": 1}, values)
    assert len(failed) == 4 and "not measured" in failed[-1]


@pytest.mark.parametrize("text", ["jitter", "jitter=much", "smoothness=1", "=1"])
def test_a_limit_must_name_a_figure_and_a_number(text):
    with pytest.raises(OptionError, match="--fail-below"):
        EvaluateOptions(fail_below=(text,))


def test_quick_looks_at_three_neighbours_of_every_place():
    choice = choose(500, 60)
    looked = [frame for frame in range(500) if choice.looked_at(frame)]
    assert len(looked) < 200 and sum(map(choice.closely, range(500))) == 63
    assert all({frame - 1, frame + 1} <= set(looked) for frame in range(490) if choice.closely(frame))
    assert all(choose(90, 60).closely(frame) for frame in range(90)), "a short film is looked at whole"


def test_frames_that_stand_out_are_bad_apart_and_of_every_kind():
    frames = list(range(100))
    series = {
        "seam_colour": Series(frames, [50.0] * 100),
        "flicker": Series(frames, [9.0 if frame == 41 else 0.1 for frame in frames]),
        "jitter": Series(frames, [1.0] * 100),
    }
    found = worst_frames(series, {41: 1.64}, rate=25)
    assert {"frame": 41, "seconds": 1.64, "metric": "flicker", "value": 9.0, "level": "poor"} in found
    assert len(found) >= 12 and "jitter" not in {entry["metric"] for entry in found}
    assert np.diff(sorted(entry["frame"] for entry in found)).min() >= 6
    assert worst_frames({"jitter": series["jitter"]}, {}, rate=25) == []


# -- performance -----------------------------------------------------------------------------------------------------


def talking(count: int, seed: int, size: float = 1.0) -> np.ndarray:
    """Patches (count, 16, 24) of a dark mouth that opens and closes."""
    patches = np.full((count, 16, 24), 180, np.uint8)
    opening = np.abs(blur(np.random.default_rng(seed).normal(0, 12, (count, 1)), 1.5)[:, 0])
    for patch, open_ in zip(patches, opening, strict=True):
        cv2.ellipse(patch, (12, 8), (round(7 * size), min(7, round(2 + open_))), 0, 0, 360, 60, -1)
    return patches


def test_movement_is_found_in_another_mouth_that_does_the_same():
    poses, tracks = np.random.default_rng(1).normal(0, 9, (120, 3)), np.zeros(120, int)
    source = talking(120, 5)
    noise = np.random.default_rng(2).normal(0, 3, source.shape)
    same = np.clip(talking(120, 5, size=1.3) * 0.7 + noise, 0, 255).astype(np.uint8)
    frozen = np.clip(source[:1] + noise, 0, 255).astype(np.uint8)
    assert movement_found(source, same, poses, tracks) > 0.7
    assert movement_found(source, talking(120, 6), poses, tracks) < 0.2
    assert movement_found(source, frozen, poses, tracks) < 0.2


def test_what_turns_with_the_head_is_no_movement_of_the_mouth():
    poses, tracks = np.random.default_rng(1).normal(0, 9, (120, 3)), np.zeros(120, int)
    source = talking(120, 5)
    turning = np.clip(140 + 3 * poses[:, :1, None] * np.linspace(-1, 1, 24), 0, 255)
    turning = np.repeat(turning, 16, 1).astype(np.uint8)
    assert movement_found(source, turning, poses, tracks) < 0.2


def test_the_usual_offset_is_that_of_a_track_or_of_a_person_in_short_ones():
    tracks, persons = [4] * 12 + [9] * 20 + list(range(20, 26)) + [40], [0] * 38 + [1]
    alike = cohorts(tracks, persons)
    assert [len(set(alike[part])) for part in (slice(12), slice(12, 32), slice(32, 38))] == [1, 1, 1]
    assert len(set(alike)) == 4
    offset = np.repeat(alike[:, None], 2, 1).astype(float)
    offset[2] += 1
    left = without_usual(offset, alike)
    assert left[2].tolist() == [1, 1] and np.isnan(left[38]).all(), "one face alone has nothing usual"
    assert not np.delete(left, [2, 38], 0).any()


# -- blending --------------------------------------------------------------------------------------------------------


def test_a_tone_of_its_own_is_a_colour_step(skin, mask):
    rings, everywhere = rings_of(mask, HEIGHT), np.ones(mask.shape, bool)
    warm = np.where(mask[..., None] > 0, np.clip(skin + [12.0, 0, -12], 0, 255), skin).astype(np.uint8)
    assert colour_step(skin, skin, rings, everywhere) == 0
    assert 5 < colour_step(skin, warm, rings, everywhere) < 20
    brighter = np.clip(skin.astype(int) + 20, 0, 255).astype(np.uint8)
    assert colour_step(skin, brighter, rings, everywhere) < 1.5, "face and surroundings alike: no step"


def test_an_edge_along_the_rim_has_the_height_of_its_step(mask):
    flat = np.full((SIDE, SIDE, 3), 100, np.uint8)
    rings, everywhere = rings_of(mask, HEIGHT), np.ones(mask.shape, bool)
    for height in (40, 80):
        step = flat + (mask[..., None] > 0).astype(np.uint8) * np.uint8(height)
        assert extra_edge(flat, step, rings, everywhere, HEIGHT) == pytest.approx(height, rel=0.25)
    assert extra_edge(flat, flat, rings, everywhere, HEIGHT) == 0


def test_sharpness_is_of_the_face_over_its_surroundings(skin, mask):
    rings, everywhere = rings_of(mask, HEIGHT), np.ones(mask.shape, bool)
    soft = np.asarray(blur(skin, 2.0))
    soft_face = np.where(mask[..., None] > 0, soft, skin)
    assert relative_sharpness(skin, skin, rings, everywhere, HEIGHT) == pytest.approx(1)
    assert relative_sharpness(skin, soft_face, rings, everywhere, HEIGHT) < 0.5
    assert relative_sharpness(skin, soft, rings, everywhere, HEIGHT) == pytest.approx(1, abs=0.3)


def test_what_lies_beyond_the_frame_does_not_count(skin, mask):
    rings = rings_of(mask, HEIGHT)
    inside = np.zeros(mask.shape, bool)
    spoilt = 255 - skin
    assert np.isnan(colour_step(skin, spoilt, rings, inside))
    assert np.isnan(relative_sharpness(skin, spoilt, rings, inside, HEIGHT))


# -- left alone ------------------------------------------------------------------------------------------------------


def test_psnr_is_its_definition_inside_the_mask(skin, mask):
    off = skin.copy()
    off[mask == 0] //= 2
    off[mask > 0] -= 5
    assert psnr(skin, off, mask) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(skin, skin) > 130
    assert np.isnan(psnr(skin, off, np.zeros_like(mask)))


# -- detectability ---------------------------------------------------------------------------------------------------


def textures(count: int, seed: int, sigma: float, gain: float = 1.0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    pictures = [blur(random.normal(0, 60, (SIDE, SIDE, 1)), sigma) * gain + [128, 120, 110] for _ in range(count)]
    return [describe(np.clip(picture, 0, 255).astype(np.uint8), mask) for picture in pictures]


def test_another_texture_is_told_apart_and_the_same_is_not():
    real, same, soft = textures(15, 0, 1.0), textures(15, 1, 1.0), textures(15, 2, 1.6)
    assert told_apart(real, same) == pytest.approx(0.5, abs=0.08)
    assert told_apart(real, soft) > 0.9


def test_what_a_film_does_to_all_its_faces_is_taken_out():
    here, there = textures(15, 0, 1.0), textures(15, 1, 1.5, gain=0.7)
    swapped_there = textures(15, 2, 1.5, gain=0.7)
    assert told_apart(here, swapped_there) > 0.9
    assert told_apart(evened(here, here), evened(swapped_there, there)) == pytest.approx(0.5, abs=0.1)


# -- the page --------------------------------------------------------------------------------------------------------


def test_a_long_film_is_drawn_by_its_worst_moments():
    values = [1.0] * 9000
    values[4321] = 7.0
    frames, drawn = _worst_of_bins("jitter", list(range(9000)), values)
    assert len(frames) == len(drawn) <= 1500
    assert drawn[frames.index(4321)] == 7.0
    assert _worst_of_bins("jitter", [3, 4], [1.0, 2.0]) == ([3, 4], [1.0, 2.0])


def test_openings_are_shares_of_face_and_eye_whatever_the_size() -> None:
    points, chances = np.zeros((3, 68, 2), np.float32), np.zeros((3, 100, 100, len(CLASSES)), np.float32)
    for upper, lower in opening.LIPS:
        points[:, upper, 1], points[:, lower, 1] = 0.2, 0.2 + 0.06
    for (left, right), x in zip(opening.EYES, (-0.2, 0.1), strict=True):
        points[:, left, 0], points[:, right, 0] = x, x + 0.1
    points[1] *= 0.5
    eye = CLASSES.index("eye")
    chances[0, 40:43, 30:40, eye] = chances[0, 40:43, 60:70, eye] = 1
    chances[1, 40:42, 30:34, eye] = chances[1, 40:42, 60:67, eye] = 0.5
    mouth, eyes = opening.openings(Parsed(chances, points, np.ones((3, 68), np.float32)), 0.6).T
    assert mouth == pytest.approx([0.1, 0.05, 0.1])
    assert eyes == pytest.approx([0.3, 0.22, 0], abs=1e-4), "30 pixels of an eye 10 wide, 5.5 of one 5 wide"


def test_correlation_is_blind_to_size_and_place_but_not_to_stillness() -> None:
    wave = np.sin(np.arange(40) / 3)
    assert opening.correlation(wave, 5 + 0.2 * wave) == pytest.approx(1)
    assert opening.correlation(wave, -wave) == pytest.approx(-1)
    assert opening.correlation(wave, np.full(40, 3.0)) == 0
