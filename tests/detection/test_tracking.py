"""Which faces belong to one track."""

import numpy as np

from faceswap_pipeline.detection.cascade import Detection
from faceswap_pipeline.detection.tracking import link


def face(x: float, y: float = 100, size: float = 50) -> Detection:
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    return Detection(box, np.full((5, 2), x, np.float32), 0.99)


def test_two_people_crossing_keep_their_tracks():
    frames = [[face(100 + 8 * t, 100), face(500 - 8 * t, 112)] for t in range(50)]
    frames[24] = [frames[24][0]]
    tracks = link([faces[:: 1 if t % 2 else -1] for t, faces in enumerate(frames)], [False] * 50, 6)
    assert len(tracks) == 2
    speeds = {round(float(np.diff(track.boxes[:, 0]).mean())) for track in tracks}
    assert speeds == {8, -8}


def test_short_gaps_are_filled_and_marked():
    frames = [[face(100 + 2 * t)] if not 10 <= t < 15 else [] for t in range(30)]
    (track,) = link(frames, [False] * 30, 12)
    assert list(track.frames) == list(range(30))
    assert list(np.flatnonzero(track.filled)) == list(range(10, 15))
    np.testing.assert_allclose(track.landmarks[:, 0, 0], 100 + 2 * np.arange(30))
    assert track.scores[12] == 0 and track.scores[9] > 0.9


def test_long_gaps_end_a_track():
    frames = [[face(100)] if not 10 <= t < 25 else [] for t in range(40)]
    assert [(t.frames[0], t.frames[-1]) for t in link(frames, [False] * 40, 12)] == [(0, 9), (25, 39)]


def test_tracks_never_cross_a_cut():
    cuts = [t == 10 for t in range(20)]
    assert [(t.frames[0], t.frames[-1]) for t in link([[face(100)]] * 20, cuts, 12)] == [(0, 9), (10, 19)]


def test_a_face_elsewhere_or_of_another_size_is_another_track():
    assert len(link([[face(100)], [face(160)]], [False] * 2, 12)) == 2
    assert len(link([[face(100)], [face(100, size=90)]], [False] * 2, 12)) == 2


def test_nothing_gives_nothing():
    assert link([], [], 5) == [] and link([[], []], [False, False], 5) == []
