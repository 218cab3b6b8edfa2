"""Poses and crop matrices of made-up heads whose true pose is known."""

import numpy as np

from faceswap_pipeline.detection.alignment import COVERAGE, align_track, crop_matrix, pose_at
from faceswap_pipeline.detection.meanface import Pose, project
from faceswap_pipeline.geometry import transform_points


def test_the_crop_is_upright_and_centred(mean_face):
    pose = Pose(0.0, 0.0, 25.0, 180.0, 400.0, 300.0)
    points = transform_points(crop_matrix(pose, 256), project(mean_face.oval, pose))
    assert (
        np.ptp(points[:, 1]) == np.float64(256 / COVERAGE).round(6) or abs(np.ptp(points[:, 1]) - 256 / COVERAGE) < 0.5
    )
    np.testing.assert_allclose((points.min(0) + points.max(0)) / 2, 127.5, atol=0.5)
    eyes = transform_points(crop_matrix(pose, 256), project(mean_face.five, pose))[:2]
    assert abs(eyes[0, 1] - eyes[1, 1]) < 1e-6 and eyes[0, 0] < eyes[1, 0]


def test_a_turned_head_is_not_enlarged():
    front, turned = (crop_matrix(Pose(yaw, 0.0, 0.0, 180.0, 400.0, 300.0), 256) for yaw in (0.0, 40.0))
    np.testing.assert_array_equal(front, turned)


def track(mean_face, frames=120, noise=0.0, seed=0):
    """A head that turns, drifts, comes nearer and rolls over the +-180 seam of nothing; landmarks with noise."""
    time = np.arange(frames) / 25
    pose = Pose(
        30 * np.sin(2 * time), np.full(frames, 3.0), 8 * np.sin(time), 150 * np.exp(0.05 * np.sin(time)),
        600 + 40 * np.sin(1.5 * time), 400 + 10 * time,
    )  # fmt: skip
    points = project(mean_face.five, pose)
    return pose, points + np.random.default_rng(seed).normal(0, noise, points.shape)


def test_the_pose_of_a_clean_track_comes_back(mean_face):
    true, points = track(mean_face)
    pose, landmarks = align_track(mean_face, points, np.ones(len(points), bool), 25.0)
    assert np.abs(pose.x - true.x).max() < 1.5 and np.abs(pose.y - true.y).max() < 1.5
    assert np.abs(pose.roll - true.roll).max() < 1 and np.abs(pose.yaw - true.yaw).max() < 4
    assert np.abs(np.log(pose.scale / true.scale)).max() < 0.02
    assert np.abs(landmarks - points).max() < 2


def test_noise_on_landmarks_does_not_shake_the_crop(mean_face):
    true, points = track(mean_face, noise=1.0)
    aligned = align_track(mean_face, points, np.ones(len(points), bool), 25.0)
    eyes = project(mean_face.five, true)[:, :2].mean(1)
    raw = [crop_matrix(pose_at(true._replace(x=true.x + d[0], y=true.y + d[1]), i), 256)
           for i, d in enumerate((points - project(mean_face.five, true)).mean(1))]  # fmt: skip
    steady = [crop_matrix(pose_at(aligned.pose, index), 256) for index in range(len(points))]
    jitter = [
        np.abs(np.diff([transform_points(m, eye) for m, eye in zip(matrices, eyes, strict=True)], 2, axis=0)).mean()
        for matrices in (raw, steady)
    ]
    assert jitter[1] < jitter[0] / 5


def test_upside_down_faces_do_not_spin_at_the_seam(mean_face):
    time = np.arange(60)
    pose = Pose(
        np.zeros(60),
        np.zeros(60),
        180 + 4 * np.sin(time / 5),
        np.full(60, 150.0),
        np.full(60, 300.0),
        np.full(60, 300.0),
    )
    found = align_track(mean_face, project(mean_face.five, pose), np.ones(60, bool), 25.0).pose
    turn = np.abs((np.asarray(found.roll) - pose.roll + 180) % 360 - 180)
    assert turn.max() < 1


def test_one_frame_is_enough(mean_face):
    _, points = track(mean_face, frames=1)
    pose, landmarks = align_track(mean_face, points, np.ones(1, bool), 25.0)
    assert np.isfinite(np.array(pose_at(pose, 0), np.float64)).all() and landmarks.shape == (1, 5, 2)
