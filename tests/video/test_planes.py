"""Planes: turned without loss, shown with the right matrix, changed only where and by what is asked."""

import av
import cv2
import numpy as np
import pytest

from faceswap_pipeline.video.planes import (
    Orientation,
    difference_matrix,
    half_rgb,
    part_to_rgb,
    plane_views,
    reduced,
    shrunk,
    to_rgb,
    upright,
    with_difference,
)

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
STEPS = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1)}


def noise(pixel_format: str, size: tuple[int, int], matrix: int = 1, full: bool = False) -> av.VideoFrame:
    """A frame of random plane values with its colour tags set."""
    frame = av.VideoFrame(*size, pixel_format)
    random = np.random.default_rng(3)
    for view in plane_views(frame):
        view[:] = random.integers(90, 160, view.shape)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


def full_chroma(frame: av.VideoFrame) -> list[np.ndarray]:
    """Planes as float arrays of full size, chroma repeated."""
    step_x, step_y = STEPS[frame.format.name]
    luma, *chroma = plane_views(frame)
    return [luma.astype(float)] + [
        plane.repeat(step_y, 0).repeat(step_x, 1)[: frame.height, : frame.width].astype(float) for plane in chroma
    ]


def reference_rgb(frame: av.VideoFrame) -> np.ndarray:
    """H.273's equations in floating point."""
    red, blue = WEIGHTS[frame.colorspace]
    y, cb, cr = full_chroma(frame)
    scale_y, scale_c, offset = (1, 1, 0) if frame.color_range == 2 else (255 / 219, 255 / 224, 16)
    y, cb, cr = (y - offset) * scale_y, (cb - 128) * scale_c, (cr - 128) * scale_c
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], -1), 0, 255)


@pytest.mark.parametrize("pixel_format", STEPS)
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (63, 48), (64, 47)])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, False), (9, False), (1, True), (6, True)])
def test_rgb_follows_matrix_and_range(pixel_format, size, matrix, full):
    frame = noise(pixel_format, size, matrix, full)
    assert np.abs(to_rgb(frame) - reference_rgb(frame)).max() <= 3


@pytest.mark.parametrize("pixel_format", [*STEPS, "gray", "gbrp"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_a_part_in_rgb_is_that_part_of_the_whole(pixel_format, size):
    frame = noise(pixel_format, size)
    whole = to_rgb(frame)
    random = np.random.default_rng(5)
    regions = [(0, 0, *size), (size[0] - 1, size[1] - 1, 1, 1), (3, 5, 1, 7)]
    for _ in range(40):
        x, y = (int(random.integers(0, side)) for side in size)
        regions.append((x, y, int(random.integers(1, size[0] - x + 1)), int(random.integers(1, size[1] - y + 1))))
    for x, y, width, height in regions:
        part = part_to_rgb(frame, x, y, width, height)
        np.testing.assert_array_equal(part, whole[y : y + height, x : x + width], f"{x} {y} {width} {height}")


@pytest.mark.parametrize("pixel_format", [*STEPS, "gray", "gbrp"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, True)])
def test_half_the_size_shows_the_mean_of_the_pixels(pixel_format, size, matrix, full):
    frame = noise(pixel_format, size, matrix, full)
    half = half_rgb(frame)
    expected = cv2.resize(to_rgb(frame), (32, 24), interpolation=cv2.INTER_AREA).astype(int)
    assert half.shape == (24, 32, 3) and half.dtype == np.uint8
    if size == (64, 48):  # odd sizes put the blocks elsewhere than the chroma samples
        assert np.abs(half - expected).max() <= 4
        np.testing.assert_array_equal(half_rgb(frame, (6, 10, 32, 20)), half[5:15, 3:19])
    assert np.abs(half.mean((0, 1)) - expected.mean((0, 1))).max() < 1


@pytest.mark.parametrize("pixel_format", [*STEPS, "gray", "gbrp"])
def test_a_shrunk_frame_keeps_its_format_colours_and_time(pixel_format):
    frame = noise(pixel_format, (96, 72), 6, full=True)
    frame.pts = 7
    small = shrunk(frame, 63, 47)
    assert (small.width, small.height, small.format.name, small.pts) == (63, 47, pixel_format, 7)
    assert (small.colorspace, small.color_range) == (frame.colorspace, frame.color_range)
    assert np.abs(to_rgb(small).mean((0, 1)) - to_rgb(frame).mean((0, 1))).max() < 2


def test_gray_stretches_by_its_range():
    frame = av.VideoFrame(16, 16, "gray")
    plane_views(frame)[0][:] = np.arange(256).reshape(16, 16)
    frame.color_range = 1
    shown = to_rgb(frame).reshape(-1, 3)
    assert shown[16].tolist() == [0, 0, 0] and shown[235].tolist() == [255, 255, 255]
    frame.color_range = 2
    assert (to_rgb(frame)[..., 1].ravel() == np.arange(256)).all()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "gray", "gbrp"])
def test_turning_moves_every_plane_value(turns, mirrored, pixel_format):
    frame = noise(pixel_format, (64, 48))
    frame.pts = 77
    turned = upright(frame, Orientation(turns, mirrored))
    assert (turned.format.name, turned.pts) == (pixel_format, 77)
    for before, after in zip(plane_views(frame), plane_views(turned), strict=True):
        assert (after == np.rot90(before[:, ::-1] if mirrored else before, -turns)).all()


@pytest.mark.parametrize(
    ("pixel_format", "size"), [("yuv422p", (64, 48)), ("yuv420p", (63, 47)), ("yuv422p", (63, 48))]
)
def test_turning_keeps_chroma_on_its_pixels(pixel_format, size):
    frame = noise(pixel_format, size)
    turned = upright(frame, Orientation(1, False))
    for before, after in zip(full_chroma(frame), full_chroma(turned), strict=True):
        assert (after == np.rot90(before, -1)).all()


@pytest.mark.parametrize(
    ("pixel_format", "expected"),
    [
        ("yuvj420p", "yuv420p"),
        ("nv12", "yuv420p"),
        ("yuv420p10le", "yuv420p"),
        ("yuyv422", "yuv422p"),
        ("yuv422p10le", "yuv422p"),
        ("yuv444p12le", "yuv444p"),
        ("yuv411p", "yuv444p"),
        ("yuva420p", "yuv420p"),
        ("gray10le", "gray"),
        ("rgb24", "gbrp"),
        ("bgra", "gbrp"),
        ("pal8", "gbrp"),
    ],
)
def test_every_format_becomes_one_of_five(pixel_format, expected):
    frame = av.VideoFrame(32, 16, pixel_format)
    assert reduced(frame).format.name == expected


def test_ten_bits_are_reduced_within_one_level():
    frame = av.VideoFrame(32, 16, "yuv420p10le")
    for plane in frame.planes:
        levels = np.frombuffer(memoryview(plane), np.uint16)
        levels[:] = 64 + np.arange(len(levels)) % 876
    frame.color_range = 1
    small = reduced(frame)
    for plane, view in zip(frame.planes, plane_views(small), strict=True):
        deep = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width]
        assert np.abs(view - deep / 4).max() < 1


def test_difference_matrix_moves_gray_by_luma_alone():
    for matrix in WEIGHTS:
        gray = difference_matrix(matrix, True) @ np.ones(3)
        assert gray == pytest.approx([1, 0, 0], abs=1e-6)
        white = difference_matrix(matrix, False) @ np.full(3, 255)
        assert white == pytest.approx([219, 0, 0], abs=1e-4)


@pytest.mark.parametrize("pixel_format", [*STEPS, "gray", "gbrp"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
@pytest.mark.parametrize("corner", [(20, 10), (21, 11), (51, 36)])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, True)])
def test_difference_touches_only_what_changes(pixel_format, size, corner, matrix, full):
    frame = noise(pixel_format, size, matrix, full)
    before = [view.copy() for view in plane_views(frame)]
    (x, y), (width, height) = corner, (12, 11)
    difference = np.zeros((height, width, 3), np.int16)
    difference[3:9, 2:11] = (25, -30, 12)
    changed = with_difference(frame, difference, x, y)
    touched = np.zeros((frame.height, frame.width), bool)
    touched[y + 3 : y + 9, x + 2 : x + 11] = True
    for old, view, new in zip(before, plane_views(frame), plane_views(changed), strict=True):
        assert (view == old).all()  # the frame itself is not written to
        step_y, step_x = -(-frame.height // old.shape[0]), -(-frame.width // old.shape[1])
        padded = np.pad(touched, ((0, -frame.height % step_y), (0, -frame.width % step_x)))
        blocks = padded.reshape(old.shape[0], step_y, old.shape[1], step_x).any((1, 3))
        assert (new[~blocks] == old[~blocks]).all()
        assert (new[blocks] != old[blocks]).any()


@pytest.mark.parametrize("pixel_format", STEPS)
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, False), (9, True)])
def test_difference_shows_the_asked_colors(pixel_format, size, matrix, full):
    frame = noise(pixel_format, size, matrix, full)
    width, height = size[0] - 10, size[1] - 10  # up to the odd border, from an even corner
    difference = np.tile(np.array([30, -20, 10], np.int16), (height, width, 1))
    shown = to_rgb(with_difference(frame, difference, 10, 10))[10:, 10:].astype(int)
    wanted = to_rgb(frame)[10:, 10:] + difference
    assert np.abs(shown - wanted).max() <= 3
    assert np.abs((shown - wanted).mean((0, 1))).max() < 1


def test_chroma_gets_the_mean_of_its_block():
    frame = noise("yuv420p", (8, 8), 1, True)
    difference = np.zeros((1, 1, 3), np.int16)
    difference[0, 0] = (0, 0, 100)
    one = plane_views(with_difference(frame, difference, 3, 3))[1].astype(int) - plane_views(frame)[1]
    assert one[1, 1] == round(100 * 0.5 / 4) and np.count_nonzero(one) == 1
