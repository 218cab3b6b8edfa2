"""Grain: levels are measured past edges, split into what lasts and what passes, and given back no stronger."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from faceswap_pipeline.convert import grain
from faceswap_pipeline.geometry import similarity_matrix
from faceswap_pipeline.video.reader import picture_frame

SIZE = 96


def noise(seed, size=SIZE):
    return np.random.default_rng(seed).normal(0, 1, (size, size)).astype(np.float32)


@pytest.fixture
def skin():
    """A smooth slope with two nostrils, luma 0..255."""
    slope = np.linspace(120, 170, SIZE, dtype=np.float32)[None] * np.ones((SIZE, 1), np.float32)
    for x in (36, 60):
        cv2.circle(slope, (x, 60), 5, 40, -1)
    return slope


def levels(pieces):
    found = [level for level in grain.measure_grain(pieces) if level is not None]
    assert len(found) == len(pieces)
    return found


def test_smooth_skin_with_nostrils_has_no_grain(skin):
    assert levels([skin, skin])[0].max() < 0.3


def test_features_that_fill_most_of_a_small_face_are_no_grain():
    rows, columns = np.mgrid[:50, :50].astype(np.float32)
    nose = 12 * np.sin(rows) * np.sin(columns) * (columns < 28)
    piece = (140 + nose + 2 * noise(1, 50)).astype(np.float32)
    plain = (140 + 2 * noise(1, 50)).astype(np.float32)
    np.testing.assert_allclose(levels([piece])[0][:2], levels([plain])[0][:2], rtol=0.2, atol=0.2)


def test_level_grows_with_the_noise_and_what_lasts_does_not_pass(skin):
    lasting = [skin + 4 * noise(1)] * 4
    passing = [skin + 4 * noise(index) for index in range(4)]
    found = [levels(pieces)[0] for pieces in (lasting, passing)]
    assert found[0][2:].max() < 0.1
    np.testing.assert_allclose(found[1][2:], found[1][:2], rtol=0.2)
    doubled = levels([skin + 8 * noise(index) for index in range(4)])[0]
    np.testing.assert_allclose(doubled, 2 * found[1], rtol=0.15)


def test_pieces_that_are_missing_or_change_size_are_survived(skin):
    found = grain.measure_grain([None, skin + noise(1), skin[:80, :80], None])
    assert found[0] is None and found[3] is None
    assert found[1] is not None and found[1][2:].max() == 0
    assert grain.measure_grain([]) == []


def drawn(level, shift=0, frame=7, size=(SIZE, SIZE)):
    made = grain.draw_grain(size, np.array(level, float), grain.noise_tile(), similarity_matrix(1, 0, -shift, 0), frame)
    assert made is not None
    return made


def test_a_clean_swap_gets_the_level_of_the_skin_and_no_more(skin):
    wanted = levels([skin + 5 * noise(index) for index in range(4)])[0]
    made = drawn(grain.missing_grain(skin, wanted))
    np.testing.assert_allclose(levels([skin + made])[0][:2], wanted[:2], rtol=0.35)
    assert abs(made.mean()) < 1
    assert grain.missing_grain(skin + made, wanted * 0.9)[:2].max() < 0.6 * wanted[0]
    assert grain.draw_grain((SIZE, SIZE), np.zeros(4), grain.noise_tile(), np.eye(2, 3), 7) is None


def test_lasting_noise_follows_the_face_and_passing_noise_does_not():
    for level, follows in (([3, 3, 0, 0], True), ([3, 3, 3, 3], False)):
        made = [drawn(level, shift, frame) for frame, shift in ((0, 0), (1, 5))]
        moved = np.corrcoef(made[0][:, :-5].ravel(), made[1][:, 5:].ravel())[0, 1]
        assert (moved > 0.9) == follows and (follows or abs(moved) < 0.1)


def test_the_same_frame_gets_the_same_noise():
    made = [drawn([3, 2, 1, 1], frame=frame, size=(50, 40)) for frame in (4, 4, 5)]
    np.testing.assert_array_equal(made[0], made[1])
    assert made[0].shape == (40, 50) and np.abs(made[0] - made[2]).max() > 0


def test_a_sliver_at_the_border_gets_none():
    assert grain.missing_grain(np.zeros((3, 40), np.float32), np.ones(4) * 5).max() == 0
    frame = picture_frame(np.zeros((100, 100, 3), np.uint8), 0, Fraction(0), Fraction(1))
    assert grain.skin_piece(frame, similarity_matrix(1, 0, 47.5, 47.5), SIZE, 1.56) is None
    piece = grain.skin_piece(frame, similarity_matrix(1, 0, 0, 0), SIZE, 1.56)
    assert piece is not None and piece.shape == (22, 22)
