"""The mean face: its frame, the signs of its angles, and poses found from five points.

In: the shipped mean face and points made from known poses. Out: nothing.
"""

import time

import numpy as np
import pytest

from faceswap_pipeline.detection.meanface import (
    MeanFace,
    Pose,
    PosePrior,
    fit_in_plane,
    fit_pose,
    load_mean_face,
    posed,
    project,
)
from faceswap_pipeline.errors import WeightsError
from faceswap_pipeline.geometry import fit_similarity, rotation_matrix, transform_points
from faceswap_pipeline.resources import weight_file

LOOSE = PosePrior(yaw_deviation=1e4, pitch_deviation=1e4)
FIVE_MIRROR = [1, 0, 2, 4, 3]


@pytest.fixture(scope="module")
def face() -> MeanFace:
    return load_mean_face(weight_file("mean_face"))


def random_poses(count: int, seed: int = 0) -> Pose:
    random = np.random.default_rng(seed)
    low = [-40, -25, -60, 40, 0, 0]
    high = [40, 25, 60, 600, 1000, 1000]
    return Pose(*random.uniform(low, high, (count, 6)).T)


def test_frame_unit_and_origin_come_from_the_oval_seen_from_the_front(face: MeanFace) -> None:
    low, high = face.oval[:, :2].min(0), face.oval[:, :2].max(0)
    assert high[1] - low[1] == pytest.approx(1)
    assert low + high == pytest.approx([0, 0], abs=1e-9)
    assert 0.6 < high[0] - low[0] < 0.85


def test_template_is_symmetric_and_the_right_way_round(face: MeanFace) -> None:
    mirror = np.array([-1, 1, 1])
    np.testing.assert_allclose(face.five[FIVE_MIRROR] * mirror, face.five, atol=1e-12)
    np.testing.assert_allclose(face.points[16::-1] * mirror, face.points[:17], atol=1e-12)
    np.testing.assert_allclose(face.oval[-np.arange(len(face.oval))] * mirror, face.oval, atol=1e-12)
    left_eye, right_eye, nose, mouth_left, mouth_right = face.five
    assert left_eye[0] < 0 < right_eye[0] and mouth_left[0] < 0 < mouth_right[0]
    assert left_eye[1] < nose[1] < mouth_left[1]
    assert nose[2] < left_eye[2] < face.points[0, 2], "the nose is nearer than the eyes, the ears are behind"
    assert face.oval[len(face.oval) // 4, 0] > 0.3 and face.oval[0, 1] == face.oval[:, 1].min()


def test_mtcnn_points_lie_near_the_landmarks_they_name(face: MeanFace) -> None:
    named = [face.points[36:42].mean(0), face.points[42:48].mean(0), face.points[30], face.points[48], face.points[54]]
    assert np.abs(face.five - named)[:, :2].max() < 0.04


def test_angles_have_the_signs_and_values_of_the_project(face: MeanFace) -> None:
    for yaw, pitch in ((30, 0), (0, 20), (-35, 15)):
        expected = face.points @ rotation_matrix(yaw, pitch, 0)[:2].T
        np.testing.assert_allclose(posed(face.points, yaw, pitch), expected, atol=1e-12)
    nose = face.points[30:31]
    origin = project(nose, Pose(0, 0, 0, 100, 50, 60))[0]
    assert project(nose, Pose(20, 0, 0, 100, 50, 60))[0, 0] > origin[0], "yaw > 0 turns to the picture's right"
    assert project(nose, Pose(0, 20, 0, 100, 50, 60))[0, 1] > origin[1], "pitch > 0 turns down"
    rolled = project(np.array([[0.5, 0, 0]]), Pose(0, 0, 90, 100, 50, 60))[0]
    assert rolled == pytest.approx([50, 10]), "roll > 0 is counter-clockwise as seen"


def test_known_poses_come_back_from_exact_points(face: MeanFace) -> None:
    true = random_poses(500)
    found = fit_pose(face, project(face.five, true), LOOSE)
    for name, tolerance in (("yaw", 0.1), ("pitch", 0.1), ("roll", 0.1), ("scale", 0.5), ("x", 0.5), ("y", 0.5)):
        np.testing.assert_allclose(getattr(found, name), getattr(true, name), atol=tolerance, err_msg=name)


def test_one_face_and_many_faces_agree(face: MeanFace) -> None:
    five = project(face.five, random_poses(7))
    together, alone = np.stack(fit_pose(face, five), 1), [fit_pose(face, each) for each in five]
    np.testing.assert_allclose(together, np.array(alone), rtol=1e-9)
    assert all(np.ndim(value) == 0 for value in alone[0])
    assert project(face.oval, alone[0]).shape == (len(face.oval), 2)


def test_pose_does_not_depend_on_size_place_or_roll_of_the_picture(face: MeanFace) -> None:
    five = project(face.five, Pose(20, -8, 0, 100, 0, 0)) + np.random.default_rng(1).normal(0, 2, (5, 2))
    plain = fit_pose(face, five)
    matrix = np.column_stack([7 * rotation_matrix(0, 0, 30)[:2, :2], [300, -40]])
    moved = fit_pose(face, transform_points(matrix, five))
    assert (moved.yaw, moved.pitch) == pytest.approx((plain.yaw, plain.pitch), abs=1e-6)
    assert moved.roll == pytest.approx(plain.roll + 30)
    assert moved.scale == pytest.approx(7 * plain.scale)


def test_a_mirrored_face_has_mirrored_yaw_and_roll(face: MeanFace) -> None:
    five = project(face.five, Pose(25, 6, 11, 120, 0, 0)) + np.random.default_rng(2).normal(0, 2, (5, 2))
    plain, mirrored = fit_pose(face, five), fit_pose(face, five[FIVE_MIRROR] * [-1, 1])
    assert mirrored == pytest.approx((-plain.yaw, plain.pitch, -plain.roll, plain.scale, -plain.x, plain.y), abs=1e-6)


def test_noise_of_people_leaves_a_useful_pose_and_no_wild_pitch(face: MeanFace) -> None:
    true = random_poses(1000, seed=3)
    noise = np.random.default_rng(4).multivariate_normal(np.zeros(10), face.five_covariance, 1000).reshape(-1, 5, 2)
    upright = true._replace(roll=np.zeros(1000))
    five = project(face.five, upright) + noise * np.asarray(true.scale)[:, None, None]
    found = fit_pose(face, five)
    assert np.median(np.abs(found.yaw - true.yaw)) < 5
    assert np.median(np.abs(found.pitch - true.pitch)) < 8
    assert np.abs(found.pitch).max() < 60
    loose = fit_pose(face, five, LOOSE)
    assert np.mean((found.pitch - true.pitch) ** 2) < np.mean((loose.pitch - true.pitch) ** 2)


def test_given_angles_leave_a_similarity(face: MeanFace) -> None:
    five = project(face.five, Pose(15, 5, -20, 90, 30, 40)) + np.random.default_rng(5).normal(0, 3, (5, 2))
    weights = np.array([1, 2, 3, 0.5, 0])
    pose = fit_in_plane(face, five, 15, 5, weights)
    matrix = fit_similarity(posed(face.five, 15, 5), five, weights)
    np.testing.assert_allclose(
        project(face.points, pose), transform_points(matrix, posed(face.points, 15, 5)), atol=1e-9
    )
    with pytest.raises(ValueError, match="two of the five"):
        fit_in_plane(face, five, 15, 5, [1, 0, 0, 0, 0])


def test_a_missing_point_spoils_only_its_own_face(face: MeanFace) -> None:
    five = project(face.five, random_poses(3))
    five[1, 2] = np.nan
    found = fit_pose(face, five)
    assert np.isnan(np.asarray(found.yaw)[1]) and np.isfinite(np.asarray(found.yaw)[[0, 2]]).all()


def test_ten_thousand_faces_take_well_under_two_seconds(face: MeanFace) -> None:
    five = project(face.five, random_poses(10_000))
    start = time.perf_counter()
    fit_pose(face, five)
    assert time.perf_counter() - start < 2


def test_a_file_that_is_no_mean_face_is_refused(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no mean face"):
        load_mean_face(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", points=np.zeros((68, 3)))
    with pytest.raises(WeightsError, match="no mean face"):
        load_mean_face(tmp_path / "other.npz")
