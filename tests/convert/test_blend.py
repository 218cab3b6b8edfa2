"""Placing a face in a frame: where it may reach, and that nothing else moves."""

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from faceswap_pipeline.convert import blend
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.geometry import compose_matrices, invert_matrix, similarity_matrix, transform_points
from faceswap_pipeline.imaging import network_view, to_float, view_matrix, warp
from faceswap_pipeline.video.planes import plane_views
from faceswap_pipeline.video.reader import picture_frame

SIZE, RESOLUTION, VIEW = 128, 64, (0.7, 0.8)


@pytest.fixture
def frame():
    """A smooth picture (240, 320, 3) with shapes of every scale the network can hold."""
    random = np.random.default_rng(2)
    noise = cv2.GaussianBlur(random.uniform(0, 255, (240, 320, 3)).astype(np.float32), (0, 0), 8)
    return np.clip((noise - 127) * 8 + 127, 0, 255).astype(np.uint8)


@pytest.fixture
def matrix():
    """Frame -> crop of a face of about 100 px, turned by 12 degrees."""
    turn = similarity_matrix(0.8, 12, 0, 0)
    turn[:, 2] = (SIZE - 1) / 2 - transform_points(turn, [163.3, 121.7])
    return turn


@pytest.fixture
def mask():
    """An oval face (128, 128) 0 or 255."""
    drawn = np.zeros((SIZE, SIZE), np.uint8)
    return cv2.ellipse(drawn, (64, 64), (30, 41), 0, 0, 360, 255, -1)


def to_view():
    return view_matrix(SIZE, RESOLUTION, VIEW)


def paste(frame, matrix, mask, alpha, change=0.0):
    """`frame` with its own face, changed by `change`, pasted over itself; and the cover in the frame."""
    crop = warp(frame, matrix, (SIZE, SIZE))
    image = to_float(network_view(crop, RESOLUTION, VIEW)) + np.float32(change)
    covered = blend.cover(blend.soft_shape(mask, 0, 0.06, 82), alpha, to_view())
    region = blend.covered_region(covered, matrix, (320, 240))
    assert region is not None
    cover = blend.into_region(covered, matrix, region)
    out = blend.lay_over(shown(frame), region, cover, image, compose_matrices(to_view(), matrix), None).rgb
    whole = np.zeros(frame.shape[:2], np.float32)
    region.of(whole)[:] = cover
    return out, whole


def shown(picture):
    return picture_frame(picture, 0, Fraction(0), Fraction(1, 25))


def in_planes(picture, pixel_format, full_range):
    """`picture` (H, W, 3) as a frame of a pixel format, BT.709."""
    whole = av.VideoFrame.from_ndarray(picture, format="rgb24")
    whole.colorspace, whole.color_range = 1, 2
    planes = whole.reformat(
        format=pixel_format, dst_colorspace=1, dst_color_range=2 if full_range else 1, src_color_range=2
    )
    return replace(shown(picture), planes=planes)


def test_own_face_comes_back_in_place(frame, matrix, mask):
    out, cover = paste(frame, matrix, mask, blend.view_guard(RESOLUTION))
    error = np.abs(out.astype(int) - frame)
    assert error[cover > 0.99].mean() < 1.5, "a shift of a quarter pixel costs more than this"
    moved = np.abs(np.roll(out, 1, 1).astype(int) - frame)[cover > 0.99].mean()
    assert error[cover > 0.99].mean() < moved / 3


def test_outside_the_cover_nothing_changes(frame, matrix, mask):
    out, cover = paste(frame, matrix, mask, blend.view_guard(RESOLUTION), change=0.5)
    np.testing.assert_array_equal(out[cover == 0], frame[cover == 0])
    assert np.abs(out.astype(int) - frame)[cover > 0.99].mean() > 30


def test_region_holds_all_that_is_covered(frame, matrix, mask):
    covered = blend.cover(blend.soft_shape(mask, 0, 0.06, 82), blend.view_guard(RESOLUTION), to_view())
    region = blend.covered_region(covered, matrix, (320, 240))
    assert region is not None
    anywhere = warp(covered, invert_matrix(matrix), (320, 240), "linear", "zero")
    total = anywhere.sum()
    assert region.of(anywhere).sum() == total
    assert region.x % 2 == region.y % 2 == region.width % 2 == region.height % 2 == 0
    assert region.width * region.height < 0.5 * 320 * 240


def test_region_is_cut_at_the_frame_and_none_outside(mask):
    covered = blend.soft_shape(mask, 0, 0.06, 82)
    corner = similarity_matrix(1, 0, 64, 64)
    region = blend.covered_region(covered, corner, (101, 75))
    assert region is not None and region.x == region.y == 0 and region.width <= 101 and region.height <= 75
    assert blend.covered_region(covered, similarity_matrix(1, 0, 500, 0), (101, 75)) is None
    assert blend.covered_region(covered * 0, corner, (101, 75)) is None


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gbrp", "gray"])
@pytest.mark.parametrize("size", [(320, 240), (201, 163)])
def test_a_face_shows_its_colours_in_every_format(frame, matrix, mask, pixel_format, full_range, size):
    """Laid over planes it looks as it does laid over RGB; what is not covered keeps every value of every plane."""
    picture = np.ascontiguousarray(frame[: size[1], : size[0]])
    there = in_planes(picture, pixel_format, full_range)
    covered = blend.cover(blend.soft_shape(mask, 0, 0.06, 82), blend.view_guard(RESOLUTION), to_view())
    region = blend.covered_region(covered, matrix, size)
    assert region is not None and region.x + region.width <= size[0]
    cover = blend.into_region(covered, matrix, region)
    slope = np.linspace(-0.4, 0.3, 64, dtype=np.float32)
    image = np.stack(
        [np.broadcast_to(slope, (64, 64)), np.broadcast_to(slope[:, None], (64, 64)), 0 * slope * slope[:, None]], -1
    )
    placed = compose_matrices(to_view(), matrix)
    noise = np.full(cover.shape, 12, np.float32)
    made = blend.lay_over(there.copied(), region, cover, image, placed, noise)
    face = (blend.into_region(image, placed, region) + 1) * 127.5 + 12
    if pixel_format == "gray":
        face = np.repeat((face @ np.float32([0.2126, 0.7152, 0.0722]))[..., None], 3, 2)
    inside = cover > 0.999
    error = region.of(made.rgb)[inside] - face[inside]
    assert np.abs(error).mean() < 3 and np.abs(error.mean(0)).max() < 2, "rounded planes, chroma of blocks, cut-off"
    touched = np.zeros(picture.shape[:2], bool)
    region.of(touched)[:] = cover > 0
    for old, new in zip(plane_views(there.planes), plane_views(made.planes), strict=True):
        steps = [-(-whole // part) for whole, part in zip(picture.shape[:2], old.shape, strict=True)]
        room = np.pad(touched, [(0, -whole % step) for whole, step in zip(picture.shape[:2], steps, strict=True)])
        blocks = room.reshape(old.shape[0], steps[0], old.shape[1], steps[1]).any((1, 3))
        np.testing.assert_array_equal(new[~blocks], old[~blocks])
        assert (new[blocks] != old[blocks]).any()


@pytest.mark.parametrize("erode", [0, 0.05])
def test_soft_rim_stays_inside_the_mask(mask, erode):
    shape = blend.soft_shape(mask, erode, 0.1, 82)
    assert shape[mask == 0].max() == 0
    inner = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(erode * 82) + 1,) * 2))
    assert shape[inner == 0].max() < 0.15
    assert shape[64, 64] == 1
    rim = shape[64, :64]
    assert (np.diff(rim) >= 0).all() and np.diff(rim).max() < 0.35, "a ramp, not a step"


def test_rim_is_as_wide_for_a_face_twice_as_large(mask):
    small = blend.soft_shape(mask, 0.02, 0.1, 82)
    large = blend.soft_shape(cv2.resize(mask, (256, 256), interpolation=cv2.INTER_NEAREST), 0.02, 0.1, 164)
    assert np.abs(cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA) - small).mean() < 0.01


def test_mask_that_fills_the_picture_still_fades_out(matrix):
    full = np.full((SIZE, SIZE), 255, np.uint8)
    shape = blend.soft_shape(full, 0, 0.06, 82)
    assert shape[0].max() < 0.2 and shape[64, 64] == 1
    covered = blend.cover(shape, blend.view_guard(RESOLUTION), to_view())
    corners = transform_points(invert_matrix(to_view()), [[0, 0], [63, 63]])
    low, high = np.ceil(corners[0]).astype(int), np.floor(corners[1]).astype(int)
    assert covered[: low[1]].max() == covered[:, : low[0]].max() == 0
    assert covered[high[1] + 1 :].max() == covered[:, high[0] + 1 :].max() == 0
    assert np.diff(covered[:, SIZE // 2]).max() < 0.3, "no visible box: the rise from the border is gentle"


def test_guard_is_symmetric_and_closes_the_border():
    guard = blend.view_guard(64)
    assert guard[0].max() == guard[-1].max() == guard[:, 0].max() == guard[:, -1].max() == 0
    np.testing.assert_allclose(guard, guard[::-1, ::-1])
    assert guard[32, 32] == 1 and (guard == 1).mean() > 0.6


def test_scaled_view_grows_about_the_centre():
    grown = blend.scaled_view(to_view(), RESOLUTION, 1.25)
    place, place_grown = invert_matrix(to_view()), invert_matrix(grown)
    middle, corner = [31.5, 31.5], [0, 0]
    np.testing.assert_allclose(transform_points(place_grown, middle), transform_points(place, middle))
    reach = transform_points(place, corner) - transform_points(place, middle)
    reach_grown = transform_points(place_grown, corner) - transform_points(place_grown, middle)
    np.testing.assert_allclose(reach_grown, 1.25 * reach)


def features(softness):
    """(64, 64, 3) -1..1: two eyes and a mouth on a plain face."""
    drawn = np.full((64, 64), 0.3, np.float32)
    for x, y, size in ((22, 24, 3), (42, 24, 3), (32, 44, 5)):
        cv2.circle(drawn, (x, y), size, -0.6, -1)
    return np.repeat(cv2.GaussianBlur(drawn, (0, 0), softness)[..., None], 3, 2)


def test_detail_is_brought_to_the_wanted_level_and_within_bounds():
    sharp, soft = features(0.8), features(1.05)
    weights = np.ones((64, 64), np.float32)
    own, wanted = blend.measure_detail(soft, weights), blend.measure_detail(sharp, weights)
    assert own is not None and wanted is not None
    for image, start, goal in ((soft, own, wanted), (sharp, wanted, own)):
        got = blend.measure_detail(blend.match_detail(image, start, goal, 1), weights)
        assert got is not None
        assert abs(np.sqrt(got[0] / goal[0]) - 1) < 0.5 * abs(np.sqrt(start[0] / goal[0]) - 1)
    assert np.abs(blend.match_detail(soft, own, wanted, 1) - sharp).mean() < 0.7 * np.abs(soft - sharp).mean()
    np.testing.assert_array_equal(blend.match_detail(soft, own, wanted, 0), soft)
    np.testing.assert_array_equal(blend.match_detail(soft, None, wanted, 1), soft)
    strongest = blend.match_detail(soft, own / 1e6, wanted, 1)
    assert np.abs(strongest - soft).max() <= 1.01 * np.abs(soft - cv2.GaussianBlur(soft, (0, 0), 1)).max()
    assert blend.measure_detail(sharp, weights * 0) is None


def test_sharpening_leaves_rough_skin_alone_and_the_hue_too():
    rough = features(1.2) + np.random.default_rng(3).normal(0, 0.03, (64, 64, 1)).astype(np.float32)
    rough = rough * np.array([1, 0.8, 0.6], np.float32)
    weights = np.ones((64, 64), np.float32)
    own, wanted = blend.measure_detail(rough, weights), blend.measure_detail(features(0.5), weights)
    change = blend.match_detail(rough, own, wanted, 1) - rough
    skin, eye = np.s_[52:62, 5:60], np.s_[19:30, 17:28]
    assert np.abs(change[skin]).mean() < 0.6 * np.abs(rough - cv2.GaussianBlur(rough, (0, 0), 1))[skin].mean()
    assert np.abs(change[eye]).mean() > 4 * np.abs(change[skin]).mean()
    np.testing.assert_allclose(change[..., 0], change[..., 2], atol=1e-6)


def test_poisson_takes_the_tone_of_the_surroundings_and_keeps_the_rest(frame, matrix, mask):
    covered = blend.cover(blend.soft_shape(mask, 0, 0.06, 82), blend.view_guard(RESOLUTION), to_view())
    region = blend.covered_region(covered, matrix, (320, 240))
    assert region is not None
    base = region.of(frame)
    cover = blend.into_region(covered, matrix, region)
    brighter = np.clip(to_float(base) * 0.5 + 0.3, -1, 1)
    own = np.clip(to_float(base) * 0.5, -1, 1)
    there = np.array([[1, 0, -region.x], [0, 1, -region.y]])
    out = [
        region.of(blend.lay_over(shown(frame), region, cover, blend.join_poisson(base, face, cover), there, None).rgb)
        for face in (brighter, own)
    ]
    out = [each.astype(int) for each in out]
    np.testing.assert_array_equal(out[0][cover == 0], base[cover == 0])
    assert np.abs(out[0] - out[1]).mean() < 3, "a constant offset of the face is solved away"


def test_every_mix_can_be_chosen():
    for mix in blend.JOINS:
        ConvertOptions(mix=mix)  # pyright: ignore[reportArgumentType]


def test_what_is_no_more_face_than_not_is_left_as_it_was():
    alpha = np.float32([[0.0, 0.3, 0.5, 0.75, 1.0]])
    np.testing.assert_allclose(blend.surely_face(alpha), [[0, 0, 0, 0.5, 1]])


def test_the_old_face_does_not_show_through_small_holes_and_what_is_in_front_of_it_does():
    face = cv2.ellipse(np.zeros((64, 64), np.float32), (32, 32), (22, 28), 0, 0, 360, 1.0, -1)
    spots, finger, sheet = face.copy(), face.copy(), face.copy()
    spots[20:24, 20:25], spots[40:42, 36] = 0.6, 0.1
    finger[30:34, :40] = 0  # from outside, however thin
    sheet[20:40, 24:40] = 0  # inside, and large
    np.testing.assert_array_equal(blend.surely_face(spots), face)
    for hidden in (finger, sheet):
        np.testing.assert_array_equal(blend.surely_face(hidden), hidden)
