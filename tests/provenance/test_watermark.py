"""The watermark is faint, survives what films go through, and is not found where it is not."""

import math

import cv2
import numpy as np
import pytest

from faceswap_pipeline.provenance import watermark
from faceswap_pipeline.provenance.watermark import BANDS, embed, pattern, read
from tests.provenance.conftest import PAYLOAD, as_still, coded


def cropped(planes):
    """5 % of the width and the height cut away, more on one side than on the other."""
    height, width = planes[0].shape
    top, bottom, left, right = round(0.03 * height), round(0.02 * height), round(0.02 * width), round(0.03 * width)
    return [plane[top : height - bottom, left : width - right] for plane in planes]


def halved(planes):
    height, width = planes[0].shape
    return [cv2.resize(plane, (width // 4 * 2, height // 4 * 2), interpolation=cv2.INTER_AREA) for plane in planes]


@pytest.mark.parametrize(("size", "least"), [((288, 360), 46), ((540, 960), 46), ((1920, 1080), 48)])
def test_the_pattern_is_faint_and_fills_the_frame(size: tuple[int, int], least: float):
    mark = pattern(*size, PAYLOAD)
    assert mark.shape == size and mark.dtype == np.int8
    assert 20 * math.log10(255 / np.sqrt(np.mean(mark.astype(float) ** 2))) >= least
    assert np.abs(mark).max() <= 7 and abs(mark.mean()) < 0.1
    quarters = [part.std() for half in np.array_split(mark, 2) for part in np.array_split(half, 2, axis=1)]
    assert max(quarters) < 1.2 * min(quarters)


@pytest.mark.parametrize("size", [(288, 360), (540, 960), (300, 1600), (1920, 1080)])
def test_every_tile_is_the_same(size: tuple[int, int]):
    """Two tiles along the shorter side, as many as fit along the other: none is stretched into stripes."""
    mark, period = pattern(*size, PAYLOAD).astype(int), min(size) // 2
    assert np.abs(mark[period:] - mark[:-period]).max() <= 1
    assert np.abs(mark[:, period:] - mark[:, :-period]).max() <= 1
    assert min(np.diff(mark, axis=0).std(0).min(), np.diff(mark, axis=1).std(1).min()) > 0.2


def test_embedding_saturates():
    mark = pattern(120, 160, 1)
    for level, part in ((0, 0.5), (255, 1)):
        plane = embed(np.full((120, 160), level, np.uint8), mark)
        assert np.array_equal(plane, np.clip(level + np.rint(part * mark), 0, 255))


def test_the_mark_is_fainter_in_the_dark():
    mark = pattern(120, 160, 1)
    strength = [(embed(np.full((120, 160), level, np.uint8), mark) - float(level)).std() for level in (40, 64, 80, 200)]
    assert strength[0] < 0.5 * mark.std() < strength[1] < mark.std() == strength[2] == strength[3]


def test_a_still_of_jpeg_75_is_read(marked):
    reading = read([as_still(marked[7])])
    assert reading.present and reading.payload == PAYLOAD
    assert reading.scale == pytest.approx(1, abs=0.003) and reading.log10_chance < -12


@pytest.mark.parametrize(
    "attack",
    [lambda planes: coded(planes, 28), halved, cropped, lambda planes: coded(halved(cropped(planes)), 28)],
    ids=["crf28", "half", "crop", "all"],
)
def test_two_seconds_are_read_after(attack, marked):
    reading = read(attack(marked))
    assert reading.present and reading.payload == PAYLOAD


def test_a_crop_tells_its_size(marked):
    height = marked[0].shape[0]
    reading = read(cropped(marked[:1]))
    assert reading.scale == pytest.approx(height / cropped(marked[:1])[0].shape[0], rel=0.004)


def test_unmarked_frames_are_not_taken_for_marked(clean):
    reading = read(clean)
    assert not reading.present and reading.payload is None


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((300, 400), np.uint8),
        np.tile(np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((8, 8), np.uint8)), (20, 30)),
        np.random.default_rng(1).integers(0, 256, (300, 400)).astype(np.uint8),
    ],
    ids=["black", "chequered", "noise"],
)
def test_strange_pictures_are_not_taken_for_marked(picture):
    assert not read([picture]).present


def test_the_bound_holds_for_any_picture():
    """Phases of a picture are given, those of the key are drawn anew: tails stay below exp(-z^2 / 2)."""
    random = np.random.default_rng(3)
    band = BANDS[0]
    inside = watermark._key(band).inside
    weights = random.exponential(size=inside.shape) * inside
    scores = []
    for _ in range(40):
        key = np.exp(2j * np.pi * random.random(inside.shape)).astype(np.complex64) * inside
        scores.append(watermark._correlation(weights.astype(np.complex64), key, band.side).ravel()[::7])
    scores = np.concatenate(scores)
    assert scores.std() == pytest.approx(1, abs=0.05)
    for z in (1.0, 2.0, 3.0):
        assert np.mean(scores > z) <= math.exp(-z * z / 2)


def test_a_payload_out_of_range_is_refused():
    with pytest.raises(ValueError, match="1048575"):
        pattern(100, 100, 2**20)
    with pytest.raises(ValueError, match="no frame"):
        read([])
