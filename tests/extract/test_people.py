"""Who is who, on crops of the rendered pair."""

import cv2
import numpy as np
import pytest

from faceswap_pipeline.extract.people import (
    CONTINUED,
    SAME,
    TrackLook,
    contact_sheet,
    descriptor,
    distance_between,
    doubts,
    group,
)


@pytest.fixture(scope="module")
def crops(people_frames):
    """Roughly aligned crops of A and of B."""
    a = [cv2.resize(image[28:222, 138:332], (64, 64), interpolation=cv2.INTER_AREA) for image in people_frames["a"]]
    b = [cv2.resize(image[45:239, 145:339], (64, 64), interpolation=cv2.INTER_AREA) for image in people_frames["b"]]
    return a, b


def test_persons_lie_further_apart_than_moments(crops):
    a, b = crops
    assert distance_between(a[:4], a[10:]) < SAME < distance_between(a, b)


def test_light_and_colour_do_not_change_who_it_is(crops):
    a, _ = crops
    darker = [np.clip(image * np.array([0.5, 0.6, 0.75]) + 20, 0, 255).astype(np.uint8) for image in a]
    assert distance_between(a[:4], darker[:4]) < SAME
    assert descriptor(np.full((64, 64, 3), 9, np.uint8)).shape == descriptor(a[0]).shape


def look(first, last, samples, source=0, shot=None, place=0):
    """A track at 25 frames a second, in a shot of its own unless told otherwise."""
    boxes = np.array([[0, 0, 80, 100], [10, 0, 90, 100]], np.float32) + place
    times = (first / 25, last / 25)
    return TrackLook(source, first, last, last - first + 1, list(samples), shot or first, times, boxes)


def test_tracks_of_one_person_are_joined_across_cuts_and_films(crops):
    a, b = crops
    tracks = [look(0, 9, b[:4]), look(10, 59, a[:4]), look(60, 99, a[8:12]), look(0, 9, b[6:9], source=1)]
    assert group(tracks) == [1, 0, 0, 1]


def covered(samples):
    """The same faces behind something that hides a side of them."""
    hidden = [sample.copy() for sample in samples]
    for sample in hidden:
        sample[:, :24] = 90
    return hidden


def test_who_comes_back_in_the_same_place_is_the_same(crops):
    a, _ = crops
    before, after = look(0, 50, a[:4], shot=1), covered(a[8:12])
    assert SAME < distance_between(a[:4], after) < CONTINUED, "a face half covered does not look like itself"
    assert group([before, look(66, 80, after, shot=1)]) == [0, 0]
    assert group([look(66, 80, after, shot=1), before]) == [0, 0], "in whatever order"
    assert len(set(group([before, look(66, 80, after, shot=2)]))) == 2, "another shot"
    assert len(set(group([before, look(66, 80, after, shot=1, place=60)]))) == 2, "another place"
    assert len(set(group([before, look(90, 99, after, shot=1)]))) == 2, "too late"
    assert len(set(group([before, look(40, 80, after, shot=1)]))) == 2, "seen together"
    nobody = [np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)]
    assert len(set(group([before, look(66, 80, nobody, shot=1)]))) == 2, "looks like somebody else"


def test_nobody_is_in_one_picture_twice(crops):
    a, _ = crops
    assert len(set(group([look(0, 20, a[:4]), look(15, 30, a[4:8])]))) == 2
    assert group([]) == []


def test_persons_who_may_be_one_are_named(crops):
    a, b = crops
    tracks = [look(0, 59, a[:4]), look(60, 99, a[8:12]), look(100, 120, b[:4])]
    assert doubts(tracks, [0, 0, 1]) == []
    (pair,) = doubts(tracks, [0, 1, 2])
    assert pair[:2] == (0, 1) and pair[2] < SAME
    assert doubts([look(0, 59, a[:4]), look(30, 99, a[8:12])], [0, 1]) == [], "seen together: two for sure"
    assert doubts([], []) == []


def test_contact_sheet_has_a_row_for_each_person(crops):
    sheet = contact_sheet([(0, 100, 4.0, crops[0]), (1, 20, 0.8, crops[1][:2])], [0])
    assert sheet.shape == (2 * 120, 8 * 96, 3) and sheet.dtype == np.uint8
