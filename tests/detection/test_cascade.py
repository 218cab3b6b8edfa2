"""The cascade on the rendered pair: right, sub-pixel, batched, and like the package's."""

import cv2
import numpy as np
import pytest

from faceswap_pipeline.detection import cascade
from faceswap_pipeline.detection.cascade import FaceDetector, Pyramid
from faceswap_pipeline.geometry import box_iou


def test_finds_the_one_face_of_each_picture_in_the_viewers_order(detector, pair_frames):
    for faces in detector.detect(pair_frames):
        assert len(faces) == 1
        left_eye, right_eye, nose, mouth_left, mouth_right = faces[0].landmarks
        assert left_eye[0] < nose[0] < right_eye[0] and mouth_left[0] < mouth_right[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
        x0, y0, x1, y1 = faces[0].box
        assert ((faces[0].landmarks > [x0, y0]) & (faces[0].landmarks < [x1, y1])).all()
        assert faces[0].landmarks.dtype == faces[0].box.dtype == np.float32


def test_a_batch_gives_what_single_pictures_give(detector, pair_frames):
    together = detector.detect([*pair_frames, pair_frames[0]])
    alone = [detector.detect([picture])[0] for picture in pair_frames]
    np.testing.assert_allclose(together[1][0].landmarks, alone[1][0].landmarks, atol=1e-2)
    np.testing.assert_allclose(together[2][0].box, alone[0][0].box, atol=1e-2)


def test_landmarks_scale_with_the_picture(detector, pair_frames):
    """No half-pixel slips: the same picture at twice the size has its points at (2 x + 0.5)."""
    picture = pair_frames[0]
    boxes = np.array([detector.detect([picture])[0][0].box], np.float64)
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    points = detector.measure([picture], [boxes])[0][0]
    twice = detector.measure([large], [boxes * 2 + 0.5])[0][0]
    np.testing.assert_allclose(twice, points * 2 + 0.5, atol=0.3)


def test_refine_pulls_a_shifted_box_onto_the_face(detector, pair_frames):
    face = detector.detect(pair_frames[:1])[0][0]
    width = face.box[2] - face.box[0]
    shifted = face.box + width * np.array([0.12, -0.08, 0.12, -0.08], np.float32)
    (refined,) = detector.refine(pair_frames[:1], [[shifted]])[0]
    assert refined.score > 0.9
    assert box_iou(face.box, refined.box)[0, 0] > max(0.8, box_iou(face.box, shifted)[0, 0])
    np.testing.assert_allclose(refined.landmarks, face.landmarks, atol=0.05 * width)


def test_refine_says_when_there_is_no_face(detector, pair_frames):
    (wall,) = detector.refine(pair_frames[:1], [[(20, 20, 180, 220)]])[0]
    assert wall.score < 0.5


def test_measured_landmarks_tremble_less_with_the_box(detector, pair_frames):
    trembling = []
    for picture in pair_frames:
        face = detector.detect([picture])[0][0]
        shifts = np.random.default_rng(0).normal(0, 0.02 * (face.box[2] - face.box[0]), (48, 2))
        boxes = [face.box + np.tile(shift, 2) for shift in shifts]
        single = np.array([found.landmarks for found in detector.refine([picture], [boxes])[0]])
        several = detector.measure([picture], [boxes])[0]
        trembling.append((several.std(0).mean(), single.std(0).mean()))
    averaged, alone = np.sum(trembling, 0)
    assert averaged < 0.7 * alone


def test_several_crops_tell_a_face_from_what_looks_like_one(detector, pair_frames):
    for picture in pair_frames:
        face = detector.detect([picture])[0][0]
        (seen,) = detector.examine([picture], [[face.box]])
        assert seen.scores[0] > 0.98 and seen.spreads[0] < 0.02
        on_its_head = np.ascontiguousarray(picture[::-1, ::-1])
        height, width = picture.shape[:2]
        box = face.turned_back(2, width, height).box
        (seen,) = detector.examine([on_its_head, picture], [[box], [(20, 20, 180, 220)]])[:1]
        assert seen.scores[0] < 0.98 and seen.spreads[0] > 0.02


def test_no_picture_and_no_box_give_nothing(detector, pair_frames):
    assert detector.detect([]) == []
    assert detector.refine(pair_frames, [np.zeros((0, 4)), np.zeros((0, 4))]) == [[], []]
    assert [len(points) for points in detector.measure(pair_frames[:1], [np.zeros((0, 4))])] == [0]


def test_smallest_face_is_a_share_of_the_short_side():
    sizes = cascade.pyramid_sizes(1920, 1080, 0.1)
    assert sizes[0] == (214, 120), "a face of 108 px fills the window of 12 px"
    assert sizes == cascade.pyramid_sizes(960, 540, 0.1), "cost does not grow with resolution"
    assert min(sizes[-1]) >= 12


@pytest.mark.parametrize(("width", "height", "min_face"), [(1280, 720, 0.05), (405, 720, 0.02), (64, 64, 0.3)])
def test_all_sizes_fit_into_one_picture(width, height, min_face):
    sizes = cascade.pyramid_sizes(width, height, min_face)
    places, (whole_width, whole_height) = cascade.packed(sizes)
    taken = np.zeros((whole_height, whole_width), int)
    for (x, y), (wide, high) in zip(places, sizes, strict=True):
        assert x % 2 == y % 2 == 0, "the first network steps by two pixels"
        assert x + wide <= whole_width and y + high <= whole_height
        taken[y : y + high, x : x + wide] += 1
    assert taken.max() == 1 and taken.mean() > 0.8


def test_a_small_face_is_proposed_where_it_is(detector, pair_frames):
    """Whichever of the sizes in one picture it is found at."""
    picture = pair_frames[0]
    box = detector.detect([picture])[0][0].box
    for shrink in (1.0, 0.5, 0.25):
        small = np.full_like(picture, 127)
        size = (round(picture.shape[1] * shrink), round(picture.shape[0] * shrink))
        small[-size[1] :, -size[0] :] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        offset = np.array(picture.shape[1::-1]) - size
        wanted = box.reshape(2, 2) * shrink + offset
        (found,) = detector.detect([small])
        assert len(found) == 1 and box_iou(found[0].box, wanted.reshape(4))[0, 0] > 0.7


def test_small_and_flat_pictures_hold_no_face(detector):
    assert detector.detect([np.full((30, 40, 3), 90, np.uint8)]) == [[]]
    assert detector.detect([np.zeros((8, 8, 3), np.uint8)]) == [[]]


def test_crops_cut_beyond_the_border_are_grey_there():
    picture = np.full((50, 60, 3), 200, np.uint8)
    crop = Pyramid(picture).crop((-30.5, -0.5, 29.5, 59.5), 24)
    assert crop[12, 2, 0] == 127 and crop[12, 20, 0] == 200


def test_suppress_keeps_the_best_of_each_heap():
    boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (20, 20, 30, 30), (2, 2, 6, 6)], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert list(cascade.suppress(boxes, scores, 0.5)) == [1, 2, 3]
    assert list(cascade.suppress(boxes, scores, 0.5, of_smaller=True)) == [1, 2]
    # The third overlaps only with the second, which is gone: it stays.
    chain = np.array([(0, 0, 10, 10), (3, 0, 13, 10), (6, 0, 16, 10)], float)
    assert list(cascade.suppress(chain, np.array([0.9, 0.8, 0.7]), 0.5)) == [0, 2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_agrees_with_the_package(pair_frames):
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the package needs TensorFlow")
    from faceswap_pipeline.detection.reference import PackageDetector

    ours = FaceDetector(min_face=0.1).detect(pair_frames)
    theirs = PackageDetector(min_face=0.1).detect(pair_frames)
    for mine, its in zip(ours, theirs, strict=True):
        assert len(mine) == len(its) == 1
        assert box_iou(mine[0].box, its[0].box)[0, 0] > 0.8
        width = its[0].box[2] - its[0].box[0]
        np.testing.assert_allclose(mine[0].landmarks, its[0].landmarks, atol=0.06 * width)
