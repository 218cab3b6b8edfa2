"""Pictures: warps land where their matrix says, to a fraction of a pixel, however much they shrink."""

import cv2
import numpy as np
import pytest

from faceswap_pipeline import geometry, imaging


def blob(width: int, height: int, x: float, y: float, sigma: float) -> np.ndarray:
    """A bright spot on black, float32 (height, width)."""
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


@pytest.fixture(scope="module")
def mottled() -> np.ndarray:
    """uint8 (700, 1000, 3), spots of about 15 px."""
    smooth = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (700, 1000, 3)).astype(np.float32), (0, 0), 6)
    return np.clip((smooth - 127) * 9 + 127, 0, 255).astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    """Centre of brightness (x, y) px."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
@pytest.mark.parametrize("scale", [0.06, 0.11, 0.25, 0.37, 0.49, 0.51, 0.8, 1.0, 2.3])
@pytest.mark.parametrize("angle", [0, 33])
def test_a_spot_lands_where_the_matrix_says(interpolation: imaging.Interpolation, scale: float, angle: float) -> None:
    x, y = 311.3, 187.6
    image = blob(601, 403, x, y, max(3.0, 2.5 / scale))
    target = np.array([40.35, 44.8])
    linear = geometry.similarity_matrix(scale, angle, 0, 0)
    shift = target - geometry.transform_points(linear, [x, y])
    matrix = geometry.compose_matrices([[1, 0, shift[0]], [0, 1, shift[1]]], linear)
    warped = imaging.warp(image, matrix, (81, 90), interpolation)
    assert np.abs(centroid(warped) - target).max() < 0.05


@pytest.mark.parametrize("size", [(160, 120), (200, 150), (80, 60), (640, 480)])
def test_a_resize_matrix_does_what_cv2_resize_does(size: tuple[int, int]) -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (240, 320, 3)).astype(np.float32), (0, 0), 6)
    scale = size[0] / 320
    warped = imaging.warp(smooth, geometry.resize_matrix(scale), size)
    resized = cv2.resize(smooth, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(warped - resized)[inner].max() < 1.0
    # On a slope every position shows in the value. (Linear: cv2's cubic does not reproduce slopes.)
    for slope in (axis.astype(np.float32) for axis in np.mgrid[:240, :320]):
        warped = imaging.warp(slope, geometry.resize_matrix(scale), size, "linear")
        resized = cv2.resize(slope, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        assert np.abs(warped - resized)[inner].max() * scale < 0.05


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1), (40, 60, 2), (40, 60, 3)])
def test_the_channel_axis_is_kept(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.float32)
    assert imaging.warp(image, np.eye(2, 3), (30, 20)).shape == (20, 30, *shape[2:])
    for size in ((30, 20), (90, 80), (60, 20), (60, 40)):
        resized = imaging.resize(image, size)
        assert resized.shape == (size[1], size[0], *shape[2:]) and not np.shares_memory(resized, image)
    assert imaging.blur(image, 2).shape == shape


@pytest.mark.parametrize("centre", [(450, 310), (5, 3), (999, 20), (-60, 400), (1060, 700), (-2000, 50)])
@pytest.mark.parametrize("scale", [0.45, 0.2])
@pytest.mark.parametrize("border", ["replicate", "zero", "reflect"])
def test_only_what_shows_is_reduced_and_it_shows_the_same(
    centre: tuple[int, int], scale: float, border: imaging.Border, mottled: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = mottled
    matrix = geometry.similarity_matrix(scale, 10, 0, 0)
    matrix[:, 2] = 31.5 - geometry.transform_points(matrix, centre)
    expected = cv2.warpAffine(cv2.GaussianBlur(image, (0, 0), 0.4 / scale), matrix, (64, 64), borderValue=(0, 0, 0))
    reduced, resize = [], cv2.resize
    monkeypatch.setattr(
        cv2, "resize", lambda image, *rest, **more: reduced.append(image) or resize(image, *rest, **more)
    )
    warped = imaging.warp(image, matrix, (64, 64), border=border)
    if border != "reflect":
        assert max(reduced[0].shape[:2]) < 1.2 * 74 / scale
    rows, columns = np.mgrid[:64, :64]
    seen = geometry.transform_points(geometry.invert_matrix(matrix), np.stack([columns, rows], -1))
    depth = np.minimum(seen, np.array([999, 699]) - seen).min(-1) * scale
    assert np.abs(warped.astype(int) - expected)[depth > 2].max(initial=0) <= 24
    assert np.abs(warped.astype(int) - expected)[depth > 2].sum() <= 2.5 * 3 * (depth > 2).sum()
    if border == "zero":
        assert warped[depth < -2].max(initial=0) == 0
    elif border == "replicate" and centre[0] < -1000:
        nearest = image[np.clip(seen[..., 1].round().astype(int), 0, 699), 0].astype(int)
        assert np.abs(warped - nearest).mean() < 25


@pytest.mark.parametrize("scale", [0.47, 0.2])
def test_a_picture_that_moves_by_little_changes_by_little(scale: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)

    def moved(x: float) -> np.ndarray:
        return imaging.warp(picture, [[scale, 0, -scale * (60 + x)], [0, scale, -scale * 60]], (64, 64)).astype(float)

    steps = [np.abs(moved(x + 0.05) - moved(x)).mean() for x in np.arange(0, 4, 0.05)]
    assert max(steps) < 2 * np.median(steps)


def test_strong_shrinking_does_not_alias() -> None:
    stripes = np.zeros((400, 400), np.uint8)
    stripes[:, ::2] = 255
    shrunk = imaging.warp(stripes, geometry.resize_matrix(0.13), (52, 52))
    assert np.abs(shrunk.astype(int) - 127).max() < 25  # without averaging: 127


@pytest.mark.parametrize("scale", [0.49, 0.36, 0.26, 0.25, 0.249, 0.13])
def test_shrinking_is_near_the_mean_of_the_pixels_that_each_sample_covers(scale: float) -> None:
    random = np.random.default_rng(0)
    image = imaging.blur(random.integers(0, 256, (1200, 1200, 3)).astype(np.float32), 3)
    image = np.clip((image - image.mean()) / image.std() * 50 + 127, 0, 255).astype(np.uint8)
    size, fine = round(1100 * scale), 8
    matrix = geometry.similarity_matrix(scale, 3, -15, -15)
    finer = geometry.compose_matrices([[fine, 0, (fine - 1) / 2], [0, fine, (fine - 1) / 2]], matrix)
    samples = cv2.warpAffine(image, finer, (fine * size, fine * size), flags=cv2.INTER_LINEAR)
    expected = cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA).astype(float)
    inner = (slice(size // 4, -size // 4),) * 2
    error = imaging.warp(image, matrix, (size, size)).astype(float)[inner] - expected[inner]
    assert np.sqrt((error**2).mean()) < 3.5


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_warp_keeps_the_type_and_a_border_is_chosen(kind: type) -> None:
    image = np.full((20, 30), 200, kind)
    away = [[1, 0, 15], [0, 1, 0]]
    assert imaging.warp(image, away, (40, 20)).dtype == kind
    assert imaging.warp(image, away, (40, 20), border="replicate")[10, 5] == 200
    assert imaging.warp(image, away, (40, 20), border="zero")[10, 5] == 0


def test_masks_stay_binary_with_nearest() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[30:60, 20:70] = 255
    warped = imaging.warp(mask, geometry.similarity_matrix(0.3, 20, 30, 5), (40, 40), "nearest")
    assert set(np.unique(warped)) == {0, 255}


@pytest.mark.parametrize(
    ("crop_size", "resolution", "view"),
    [
        (256, 64, (0.8, 0.8)),
        (256, 128, (0.58, 0.74)),
        (384, 256, (0.8, 0.7)),
        (256, 64, (1.0, 1.0)),
        (200, 96, (0.6, 0.7)),
    ],
)
def test_the_networks_view_is_where_its_matrix_says(crop_size: int, resolution: int, view: imaging.View) -> None:
    for position in ((0.5, 0.5), (0.37, 0.61), (0.3, 0.7)):
        point = np.array(position) * crop_size
        spot = (blob(crop_size, crop_size, point[0], point[1], crop_size / 40) * 255).astype(np.uint8)
        seen = imaging.network_view(np.dstack([spot] * 3), resolution, view)
        assert seen.shape == (resolution, resolution, 3) and seen.dtype == np.uint8
        expected = geometry.transform_points(imaging.view_matrix(crop_size, resolution, view), point)
        assert np.abs(centroid(seen[..., 1].astype(float)) - expected).max() < 0.05
    centre = geometry.transform_points(imaging.view_matrix(crop_size, resolution, view), [(crop_size - 1) / 2] * 2)
    np.testing.assert_allclose(centre, (resolution - 1) / 2)


def test_the_margin_is_even_on_both_sides() -> None:
    for resolution in (64, 96, 127, 256):
        for view in (0.5, 0.7, 0.8, 0.93, 1.0):
            width, height = imaging.margin_size(resolution, (view, 1.0))
            assert width >= resolution and (width - resolution) % 2 == 0
            assert abs(width - resolution / view) <= 1.5
            assert height == resolution and imaging.margin_size(resolution, (1.0, view)) == (height, width)


def test_a_networks_picture_goes_back_to_where_it_was_in_its_crop() -> None:
    view, size = (0.58, 0.74), 240
    crop = (blob(size, size, 130, 100, 12) * 255).astype(np.uint8)
    whole = imaging.whole_crop(imaging.network_view(crop, 64, view), view)
    assert whole.shape[0] == whole.shape[1] and whole[:, 0].max() == whole[0].max() == 0
    place = centroid(imaging.resize(whole, (size, size)).astype(float))
    assert np.abs(place - centroid(crop.astype(float))).max() < 0.6


def test_a_squeezed_picture_is_shown_in_its_true_proportions() -> None:
    shown = imaging.unsqueezed(np.zeros((64, 64, 3), np.uint8), 128, (0.58, 0.74))
    assert shown.shape == (128, 100, 3)


def test_bytes_survive_the_networks_range() -> None:
    every = np.arange(256, dtype=np.uint8)
    values = imaging.to_float(every)
    assert values.dtype == np.float32 and values[0] == -1 and values[-1] == 1
    assert np.array_equal(imaging.to_uint8(values), every)
    assert imaging.to_uint8(np.array([-7.0, 7.0, np.nextafter(1, 2)])).tolist() == [0, 255, 255]


def test_blur_keeps_the_brightness_and_zero_is_no_blur() -> None:
    image = blob(61, 61, 30, 30, 2)
    assert imaging.blur(image, 0) is image
    blurred = imaging.blur(image, 3)
    assert blurred.sum() == pytest.approx(image.sum(), rel=1e-3)
    spread = np.sqrt(((np.mgrid[:61, :61][0] - 30) ** 2 * blurred).sum() / blurred.sum())
    assert spread == pytest.approx(np.hypot(2, 3), rel=0.02)


def test_sharpness_falls_with_blur() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    values = [imaging.sharpness(imaging.blur(image, sigma)) for sigma in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert imaging.sharpness(np.full((32, 32, 3), 90, np.uint8)) == 0


def test_resize_averages_when_it_shrinks_one_side_only() -> None:
    stripes = np.zeros((20, 200), np.float32)
    stripes[:, ::2] = 1
    assert np.abs(imaging.resize(stripes, (20, 40)) - 0.5).max() < 0.15


def test_small_holes_are_filled_and_nothing_else_changes() -> None:
    mask = np.zeros((60, 50), np.uint8)
    mask[:40, 10:40] = 255  # 1200 pixels, up to the border
    holed = mask.copy()
    holed[10:14, 15:20] = holed[30, 30] = 0  # 20 pixels, and one
    np.testing.assert_array_equal(imaging.fill_holes(holed, 0.02), mask)
    for rows, columns in ((slice(0, 3), slice(20, 22)), (slice(20, 22), slice(8, 14)), (slice(10, 16), slice(15, 21))):
        opened = mask.copy()  # at the picture's border, at the mask's, larger
        opened[rows, columns] = 0
        np.testing.assert_array_equal(imaging.fill_holes(opened, 0.02), opened)
    for plain in (np.zeros((9, 9), np.uint8), np.full((9, 9), 255, np.uint8)):
        np.testing.assert_array_equal(imaging.fill_holes(plain, 0.5), plain)


def test_a_mouth_is_as_high_as_most_of_its_columns_whatever_its_width_and_place() -> None:
    faces, mouths = np.zeros((2, 4, 40, 40), np.uint8)
    faces[:, 5:25, 5:35] = 255
    for mouth, (rows, columns) in zip(mouths, ((4, 20), (4, 8), (8, 20), (0, 0)), strict=True):
        mouth[15 : 15 + rows, 10 : 10 + columns] = 255
    np.testing.assert_allclose(imaging.mouth_height(mouths, faces), [0.2, 0.2, 0.4, 0])
    mouths[0, 19, 10:20] = 255
    assert 0.2 < imaging.mouth_height(mouths, faces)[0] < 0.25, "half a row more is seen"
    assert imaging.mouth_height(mouths[:1], np.zeros_like(faces[:1]))[0] > 0, "a face that is not there breaks nothing"


@pytest.mark.parametrize("scale", [1.5, 0.7, 0.3, 0.1])
def test_a_channel_axis_of_one_stays(scale):
    """cv2 drops it, also where a picture is halved before it is sampled."""
    picture = np.random.default_rng(5).uniform(0, 1, (40, 50, 1)).astype(np.float32)
    made = imaging.warp(picture, np.array([[scale, 0, 0], [0, scale, 0]]), (20, 10))
    assert made.shape == (10, 20, 1)
    np.testing.assert_array_equal(
        made[..., 0], imaging.warp(picture[..., 0], np.array([[scale, 0, 0], [0, scale, 0]]), (20, 10))
    )
