"""Who is who, given where the embedding puts them; tests/extract/test_stage.py has it look at faces."""

import numpy as np
import pytest

from faceswap_pipeline.extract.people import (
    CONTINUED,
    SAME,
    TrackLook,
    contact_sheet,
    distance_between,
    doubts,
    group,
    mean_direction,
)

SIZE = 16
"""Numbers in a direction here; who it is decides where it points, and moments push it about."""


def person(number, moment=0, push=0.15):
    """A direction that leans `push` away from that of person `number`."""
    lean = np.random.default_rng(moment).normal(size=SIZE)
    lean[number] = 0
    direction = np.eye(SIZE)[number] + push * lean / np.linalg.norm(lean)
    return direction / np.linalg.norm(direction)


def look(first, last, direction, source=0, shot=None, place=0):
    """A track at 25 frames a second, in a shot of its own unless told otherwise."""
    boxes = np.array([[0, 0, 80, 100], [10, 0, 90, 100]], np.float32) + place
    times = (first / 25, last / 25)
    return TrackLook(source, first, last, last - first + 1, [], shot or first, times, boxes, direction)


def test_a_mean_direction_has_length_one_and_lies_between():
    mean = mean_direction(np.array([person(0, 1), person(0, 2), person(0, 3)]))
    assert np.linalg.norm(mean) == pytest.approx(1)
    assert distance_between(mean, person(0)) < min(distance_between(person(0, n), person(0)) for n in (1, 2, 3))


def test_tracks_of_one_person_are_joined_across_cuts_and_films():
    tracks = [
        look(0, 9, person(1, 1)),
        look(10, 59, person(0, 2)),
        look(60, 99, person(0, 3)),
        look(0, 9, person(1, 4), source=1),
    ]
    assert group(tracks) == [1, 0, 0, 1]


def test_who_comes_back_in_the_same_place_is_the_same():
    before, half_covered = look(0, 50, person(0, 1), shot=1), person(0, 2, push=1.2)
    assert SAME < distance_between(before.direction, half_covered) < CONTINUED
    assert group([before, look(66, 80, half_covered, shot=1)]) == [0, 0]
    assert group([look(66, 80, half_covered, shot=1), before]) == [0, 0], "in whatever order"
    assert len(set(group([before, look(66, 80, half_covered, shot=2)]))) == 2, "another shot"
    assert len(set(group([before, look(66, 80, half_covered, shot=1, place=60)]))) == 2, "another place"
    assert len(set(group([before, look(90, 99, half_covered, shot=1)]))) == 2, "too late"
    assert len(set(group([before, look(40, 80, half_covered, shot=1)]))) == 2, "seen together"
    assert len(set(group([before, look(66, 80, person(2), shot=1)]))) == 2, "looks like somebody else"


def test_nobody_is_in_one_picture_twice():
    assert len(set(group([look(0, 20, person(0, 1)), look(15, 30, person(0, 2))]))) == 2
    assert group([]) == []


def test_persons_who_may_be_one_are_named():
    tracks = [look(0, 59, person(0, 1)), look(60, 99, person(0, 2)), look(100, 120, person(1, 3))]
    assert doubts(tracks, [0, 0, 1]) == []
    (pair,) = doubts(tracks, [0, 1, 2])
    assert pair[:2] == (0, 1) and pair[2] < SAME
    assert doubts([look(0, 59, person(0, 1)), look(30, 99, person(0, 2))], [0, 1]) == [], "seen together: two for sure"
    assert doubts([], []) == []


def test_contact_sheet_has_a_row_for_each_person():
    samples = [np.zeros((64, 64, 3), np.uint8)] * 5
    sheet = contact_sheet([(0, 100, 4.0, samples), (1, 20, 0.8, samples[:2])], [0])
    assert sheet.shape == (2 * 120, 8 * 96, 3) and sheet.dtype == np.uint8
