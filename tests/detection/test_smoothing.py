"""Noise goes, motion stays, nothing lags."""

import numpy as np
import pytest

from faceswap_pipeline.detection import smoothing
from faceswap_pipeline.detection.smoothing import push_ratio, smooth

RATE = 25.0


def jitter(values: np.ndarray) -> float:
    return float(np.sqrt((np.diff(values, 2, axis=0) ** 2).mean()))


def test_noise_on_a_still_face_goes_and_its_place_stays():
    noisy = 6.0 + np.random.default_rng(0).normal(0, 0.01, (200, 1))
    path = smooth(noisy, np.ones(200, bool), RATE, 3.0)
    assert jitter(path) < jitter(noisy) / 20
    assert np.abs(path - 6.0).max() < 0.01, "also in the first frames, however far from the origin"


def test_a_fast_turn_is_followed_without_lag():
    time = np.arange(150)
    turn = 45 / (1 + np.exp(-(time - 75) / 2.5))
    noisy = turn + np.random.default_rng(1).normal(0, 0.5, 150)
    path = smooth(noisy[:, None], np.ones(150, bool), RATE, 3.0)[:, 0]
    errors = {lag: np.abs(np.interp(time + lag, time, path) - turn)[20:-20].max() for lag in np.arange(-2, 2.01, 0.25)}
    assert abs(min(errors, key=lambda lag: errors[lag])) <= 0.25
    assert np.abs(path - turn).max() < 2


def test_units_do_not_matter():
    noisy = np.cumsum(np.random.default_rng(2).normal(0, 1, (100, 2)), 0) + np.random.default_rng(3).normal(
        size=(100, 2)
    )
    seen = np.ones(100, bool)
    np.testing.assert_allclose(smooth(noisy * 1000, seen, RATE, 3.0), 1000 * smooth(noisy, seen, RATE, 3.0), rtol=1e-6)


def test_a_channel_alone_and_among_others_is_smoothed_alike():
    noisy = np.random.default_rng(4).normal(0, [1, 5], (80, 2)) + np.arange(80)[:, None]
    seen = np.ones(80, bool)
    together, alone = smooth(noisy, seen, RATE, (1.0, 3.0)), smooth(noisy[:, 1:], seen, RATE, 3.0)
    np.testing.assert_allclose(together[:, 1:], alone, rtol=1e-6)


@pytest.mark.parametrize("junk", [np.nan, 1e6])
def test_what_stands_in_unmeasured_rows_does_not_matter(junk):
    time = np.arange(60.0)
    values, seen = time[:, None].copy(), np.ones(60, bool)
    seen[[0, 1, 30, 31, 32, 59]] = False
    values[~seen] = junk
    path = smooth(values, seen, RATE, 3.0)
    np.testing.assert_allclose(path[2:59, 0], time[2:59], atol=0.1)
    assert np.isfinite(path).all()


def test_one_wild_measurement_hardly_pulls():
    values = 3 + np.random.default_rng(5).normal(0, 0.01, (100, 1))
    values[50] += 1
    assert np.abs(smooth(values, np.ones(100, bool), RATE, 3.0) - 3).max() < 0.1


def test_few_rows_are_left_as_they_are():
    values = np.array([[1.0], [5.0], [2.0]])
    np.testing.assert_array_equal(smooth(values, np.array([True, False, True]), RATE, 3.0), [[1.0], [1.5], [2.0]])


def test_the_limit_is_where_half_of_a_motion_passes():
    time = np.arange(400)
    wave = np.sin(2 * np.pi * 2.0 * time / RATE)
    from faceswap_pipeline.detection.smoothing import _smoothed

    push = np.atleast_1d(push_ratio(2.0, RATE))
    path = _smoothed(wave[:, None], np.ones(400, bool), np.ones((400, 1)), push)[:, 0]
    assert np.abs(path[100:300]).max() == pytest.approx(0.5, abs=0.05)


def test_long_tracks_are_smoothed_in_pieces_that_do_not_show(monkeypatch):
    random = np.random.default_rng(3)
    time = np.arange(900) / 25
    values = np.stack([np.sin(time), np.cos(2 * time)], 1) + random.normal(0, 0.02, (900, 2))
    measured = random.random(900) > 0.1
    measured[395:460] = False
    whole = smooth(values, measured, 25, (3.0, 3.0))
    monkeypatch.setattr(smoothing, "PIECE", 100)
    monkeypatch.setattr(smoothing, "MARGIN", 150)
    np.testing.assert_allclose(smooth(values, measured, 25, (3.0, 3.0)), whole, atol=1e-4)
    monkeypatch.setattr(smoothing, "MARGIN", 10)
    assert np.isfinite(smooth(values, measured, 25, (3.0, 3.0))).all(), "a piece without one measurement"
