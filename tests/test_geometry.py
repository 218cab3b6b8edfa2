"""Points, boxes and matrices: what is fitted, applied and undone comes back, in the directions that are stated."""

import numpy as np
import pytest

from faceswap_pipeline import geometry

SEEDS = range(20)


def random_similarity(random: np.random.Generator) -> np.ndarray:
    return geometry.similarity_matrix(
        random.uniform(0.05, 20), random.uniform(-180, 180), random.uniform(-2000, 2000), random.uniform(-2000, 2000)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_fit_then_apply_then_invert_returns_the_points(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(0, 1000, (random.integers(2, 70), 2))
    matrix = random_similarity(random)
    moved = geometry.transform_points(matrix, points)
    fitted = geometry.fit_similarity(points, moved, random.uniform(0.1, 1, len(points)))
    np.testing.assert_allclose(fitted, matrix, atol=1e-6)
    np.testing.assert_allclose(geometry.transform_points(geometry.invert_matrix(fitted), moved), points, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fit_to_noisy_points_is_the_least_squares_one_and_no_mirror(seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = random.uniform(0, 100, (5, 2)), random.uniform(0, 100, (5, 2))
    weights = random.uniform(0.1, 1, 5)

    def cost(matrix: np.ndarray) -> float:
        return float((weights * ((geometry.transform_points(matrix, source) - target) ** 2).sum(1)).sum())

    fitted = geometry.fit_similarity(source, target, weights)
    assert np.linalg.det(fitted[:, :2]) > 0
    scale, angle, x, y = geometry.decompose_similarity(fitted)
    for change in np.concatenate([np.eye(4), -np.eye(4)]) * 1e-3:
        other = geometry.similarity_matrix(*(np.array([scale, angle, x, y]) + change))
        assert cost(other) >= cost(fitted)


def test_a_fit_ignores_points_without_weight() -> None:
    source = np.array([[0, 0], [10, 0], [0, 10], [500, 500]], float)
    target = source + [3, 4]
    target[3] = 0
    np.testing.assert_allclose(
        geometry.fit_similarity(source, target, [1, 1, 1, 0]), [[1, 0, 3], [0, 1, 4]], atol=1e-12
    )


@pytest.mark.parametrize("points", [[[5, 5]], [[5, 5], [5, 5]], np.zeros((0, 2))])
def test_a_fit_needs_two_distinct_points(points: list) -> None:
    with pytest.raises(ValueError, match="two distinct points"):
        geometry.fit_similarity(points, points)


def test_a_fit_with_no_weight_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="two distinct points"):
        geometry.fit_similarity([[0, 0], [1, 1]], [[0, 0], [1, 1]], [0, 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_similarity_is_decomposed_into_what_made_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.uniform(0.01, 9), random.uniform(-179, 179), *random.uniform(-500, 500, 2)
    np.testing.assert_allclose(geometry.decompose_similarity(geometry.similarity_matrix(*values)), values)


def test_a_positive_angle_turns_from_x_to_y() -> None:
    np.testing.assert_allclose(
        geometry.transform_points(geometry.similarity_matrix(1, 90, 0, 0), [1, 0]), [0, 1], atol=1e-12
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_composing_is_doing_one_after_the_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, 3)), random.normal(size=(2, 3))
    points = random.normal(size=(3, 4, 2))
    np.testing.assert_allclose(
        geometry.transform_points(geometry.compose_matrices(second, first), points),
        geometry.transform_points(second, geometry.transform_points(first, points)),
    )


def test_a_flat_matrix_cannot_be_inverted() -> None:
    with pytest.raises(ValueError, match="cannot be inverted"):
        geometry.invert_matrix([[1, 2, 0], [2, 4, 0]])


@pytest.mark.parametrize("scale", [0.1, 0.5, 1, 1.7, 3])
def test_resizing_maps_the_edges_of_a_picture_to_its_edges(scale: float) -> None:
    edges = np.array([[-0.5, -0.5], [99.5, 49.5]])  # the outer edges of a 100x50 picture
    moved = geometry.transform_points(geometry.resize_matrix(scale), edges)
    np.testing.assert_allclose(moved, [[-0.5, -0.5], [100 * scale - 0.5, 50 * scale - 0.5]])


def test_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [4, 4, 4, 9], [9, 9, 0, 0]], float)
    assert geometry.box_area(boxes).tolist() == [100, 100, 100, 0, 0]
    iou = geometry.box_iou(boxes, boxes[:3])
    assert iou.shape == (5, 3)
    np.testing.assert_allclose(iou[0], [1, 1 / 3, 0])
    np.testing.assert_allclose(iou[3:], 0)
    np.testing.assert_allclose(iou[:3], geometry.box_iou(boxes[:3], boxes[:3]).T)
    assert geometry.box_iou(np.zeros((0, 4)), boxes).shape == (0, 5)
    np.testing.assert_allclose(geometry.box_centre(boxes[1]), [10, 5])


def test_the_head_turns_in_the_stated_directions() -> None:
    nose, right_ear, crown = np.array([0, 0, -1]), np.array([1, 0, 0]), np.array([0, -1, 0])
    assert (geometry.rotation_matrix(20, 0, 0) @ nose)[0] > 0.3  # to the picture's right
    assert (geometry.rotation_matrix(0, 20, 0) @ nose)[1] > 0.3  # down: y grows downwards
    assert (geometry.rotation_matrix(0, 0, 20) @ right_ear)[1] < -0.3  # the right side rises: counter-clockwise
    assert (geometry.rotation_matrix(0, 0, 20) @ crown)[0] < -0.3
    np.testing.assert_allclose(geometry.rotation_matrix(0, 0, 0), np.eye(3), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_head_rotation_is_a_rotation_with_yaw_outermost(seed: int) -> None:
    yaw, pitch, roll = np.random.default_rng(seed).uniform(-80, 80, 3)
    rotation = geometry.rotation_matrix(yaw, pitch, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    apart = [geometry.rotation_matrix(*angles) for angles in ((yaw, 0, 0), (0, pitch, 0), (0, 0, roll))]
    np.testing.assert_allclose(rotation, apart[0] @ apart[1] @ apart[2], atol=1e-12)
    nose = rotation @ [0, 0, -1]
    assert np.degrees(np.arctan2(nose[0], -nose[2])) == pytest.approx(yaw)
    assert np.degrees(np.arcsin(nose[1])) == pytest.approx(pitch)
