"""Decoded planes: reduced to five 8-bit formats, turned upright, shown as RGB, and changed by a difference of colours.

In and out: `av.VideoFrame` whose `colorspace` and `color_range` are set; RGB is `uint8 (H, W, 3)`. The five formats are
yuv420p, yuv422p, yuv444p, gray and gbrp. Full-range "yuvj" formats become the plain ones with the range in the tag.
"""

from typing import NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

FULL_RANGE = 2
"""FFmpeg's `color_range` of planes that use 0..255 (1: 16..235)."""

# Weights of red and blue in luma, by H.273 matrix code (ITU-R BT.709, FCC, BT.601 twice, SMPTE 240M, BT.2020 twice).
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_SUBSAMPLED = {(1, 1): "yuv444p", (2, 1): "yuv422p", (2, 2): "yuv420p"}
_KEPT = {*_SUBSAMPLED.values(), "gray", "gbrp"}
_SUBSAMPLING = {name: steps for steps, name in _SUBSAMPLED.items()}
_CUT_OFF = (1.0, 1.5, 1.0)
"""Levels of red, green and blue by which swscale's quick way to RGB is darker than exact colours, in the mean: it cuts
off where it should round, and what is made at half the size is to look like what is made at full size."""
_TURNS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}


class Orientation(NamedTuple):
    """How a stored picture becomes upright: mirrored left to right first, then turned clockwise by quarter turns."""

    turns: int
    mirrored: bool


# Signs of the display matrix's linear part (a, b, c, d): x' = a x + c y, y' = b x + d y, with y downwards.
_ORIENTATIONS = {
    (1, 0, 0, 1): Orientation(0, False),
    (0, 1, -1, 0): Orientation(1, False),
    (-1, 0, 0, -1): Orientation(2, False),
    (0, -1, 1, 0): Orientation(3, False),
    (-1, 0, 0, 1): Orientation(0, True),
    (0, -1, -1, 0): Orientation(1, True),
    (1, 0, 0, -1): Orientation(2, True),
    (0, 1, 1, 0): Orientation(3, True),
}


def frame_orientation(frame: VideoFrame) -> Orientation | None:
    """What the display matrix on a decoded frame asks for; None when it turns by anything but quarter turns."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation(0, False)
    matrix = np.frombuffer(data, np.int32)[[0, 1, 3, 4]].astype(np.float64)
    size = float(np.abs(matrix).max())
    if size == 0:
        return Orientation(0, False)
    # A tenth of a degree off a quarter turn is the rounding of some camera.
    signs = matrix / size
    near = np.rint(signs)
    if np.abs(signs - near).max() > 0.002:
        return None
    a, b, c, d = (int(value) for value in near)
    return _ORIENTATIONS.get((a, b, c, d))


def can_show(matrix: int) -> bool:
    """Whether planes with this H.273 matrix code can be converted to RGB here."""
    return matrix in _LUMA_WEIGHTS


def plane_views(frame: VideoFrame) -> list[Plane]:
    """The 8-bit planes of a frame of the five formats as arrays (H, W) that share its memory."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


def empty_like(frame: VideoFrame, width: int, height: int, pixel_format: str) -> VideoFrame:
    """An unfilled frame of another size and format with the times and colour tags of `frame`."""
    new = VideoFrame(width, height, pixel_format)
    new.pts, new.duration = frame.pts, frame.duration
    if frame.time_base:
        new.time_base = frame.time_base
    new.colorspace, new.color_range = frame.colorspace, frame.color_range
    new.color_primaries, new.color_trc = frame.color_primaries, frame.color_trc
    return new


def reduced(frame: VideoFrame) -> VideoFrame:
    """The frame in one of the five 8-bit formats: the very same object when it is in one already.

    More than 8 bits are dithered down, alpha is dropped, rarer chroma subsampling becomes 4:4:4.
    """
    target = reduced_format(frame)
    if frame.format.name == target and all(plane.line_size > 0 for plane in frame.planes):
        return frame
    return frame.reformat(format=target, threads=1)


def reduced_format(frame: VideoFrame) -> str:
    """Which of the five formats `reduced` makes of a frame."""
    shape = frame.format
    if shape.is_rgb or shape.has_palette or shape.name.startswith(("xyz", "bayer")):
        return "gbrp"
    if len(shape.components) < 3:
        return "gray"
    return _SUBSAMPLED.get((16 // shape.chroma_width(16), 16 // shape.chroma_height(16)), "yuv444p")


def upright(frame: VideoFrame, orientation: Orientation) -> VideoFrame:
    """The frame turned as `orientation` says, every plane value kept; needs one of the five formats.

    Where a chroma sample would no longer cover the pixels it covered (4:2:2 on its side, odd sizes), chroma is first
    repeated to 4:4:4.
    """
    if orientation == Orientation(0, False):
        return frame
    step_x, step_y = _SUBSAMPLING.get(frame.format.name, (1, 1))
    sideways = orientation.turns % 2 == 1
    if (sideways and step_x != step_y) or frame.width % step_x or frame.height % step_y:
        frame = with_full_chroma(frame)
    size = (frame.height, frame.width) if sideways else (frame.width, frame.height)
    turned = empty_like(frame, *size, frame.format.name)
    for source, target in zip(plane_views(frame), plane_views(turned), strict=True):
        plane = cv2.flip(source, 1) if orientation.mirrored else source
        target[:] = cv2.rotate(plane, _TURNS[orientation.turns]) if orientation.turns else plane
    return turned


def with_full_chroma(frame: VideoFrame) -> VideoFrame:
    """The frame as yuv444p, each chroma sample repeated over the pixels it covers (no interpolation)."""
    step_x, step_y = _SUBSAMPLING[frame.format.name]
    full = empty_like(frame, frame.width, frame.height, "yuv444p")
    views = plane_views(full)
    luma, *chroma = plane_views(frame)
    views[0][:] = luma
    for source, target in zip(chroma, views[1:], strict=True):
        target[:] = source.repeat(step_y, 0).repeat(step_x, 1)[: frame.height, : frame.width]
    return full


def to_rgb(frame: VideoFrame) -> Plane:
    """RGB uint8 (H, W, 3) of a frame of the five formats, by its own matrix and range; chroma is repeated.

    Rows may lie further apart than 3 W bytes (no copy is made only to close the gaps).
    """
    name = frame.format.name
    if name == "gbrp":
        green, blue, red = plane_views(frame)
        return np.asarray(cv2.merge((red, green, blue)), np.uint8)
    if name == "gray":
        return np.asarray(cv2.cvtColor(_gray_levels(frame), cv2.COLOR_GRAY2RGB), np.uint8)
    width, height = frame.width, frame.height
    # Odd sizes leave swscale's fast path and blur the chroma: one more column or row keeps both.
    shown = _padded_to_even(frame) if name != "yuv444p" and (width % 2 or height % 2) else frame
    plane = shown.reformat(format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(shown.height, plane.line_size)[:height, : 3 * width]
    return rows.reshape(height, width, 3)


def part_to_rgb(frame: VideoFrame, x: int, y: int, width: int, height: int) -> Plane:
    """`to_rgb(frame)[y : y + height, x : x + width]`, of which nothing else is made; the region lies inside."""
    step_x, step_y = _SUBSAMPLING.get(frame.format.name, (1, 1))
    left, top = x // step_x, y // step_y  # in chroma samples, which are taken whole
    ahead, above = x - left * step_x, y - top * step_y
    part = empty_like(frame, ahead + width, above + height, frame.format.name)
    for number, (source, target) in enumerate(zip(plane_views(frame), plane_views(part), strict=True)):
        column, row = (left, top) if number else (left * step_x, top * step_y)
        target[:] = source[row : row + target.shape[0], column : column + target.shape[1]]
    return to_rgb(part)[above:, ahead:]


def half_rgb(frame: VideoFrame, region: tuple[int, int, int, int] | None = None) -> Plane:
    """About `to_rgb(frame)` averaged over blocks of 2x2, uint8 (H / 2, W / 2, 3), sizes rounded up.

    `region`: x, y, width and height of the part that is made, all of them even. 4:2:0 has its chroma at that size
    already: nothing is made at full size, which takes a quarter of the time.
    """
    x, y, width, height = region or (0, 0, frame.width, frame.height)
    size = ((width + 1) // 2, (height + 1) // 2)
    if frame.format.name != "yuv420p":
        whole = part_to_rgb(frame, x, y, width, height)
        return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    luma, *chroma = plane_views(frame)
    smaller = cv2.resize(luma[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
    here = slice(y // 2, y // 2 + size[1]), slice(x // 2, x // 2 + size[0])
    levels = cv2.merge((smaller, *(view[here] for view in chroma)))
    full_range = frame.color_range == FULL_RANGE
    back = np.linalg.inv(difference_matrix(frame.colorspace, full_range).astype(np.float64))
    zero = np.array([0 if full_range else 16, 128, 128])
    return np.asarray(cv2.transform(levels, np.column_stack([back, -back @ zero - _CUT_OFF])), np.uint8)


def shrunk(frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """A frame of one of the five formats area-averaged to a smaller size, plane by plane."""
    small = empty_like(frame, width, height, frame.format.name)
    for source, target in zip(plane_views(frame), plane_views(small), strict=True):
        target[:] = cv2.resize(source, target.shape[::-1], interpolation=cv2.INTER_AREA)
    return small


def with_difference(frame: VideoFrame, difference: NDArray, x: int, y: int) -> VideoFrame:
    """A copy of the frame with a difference of colours added at (x, y); the frame itself is left as it is.

    `difference` is (h, w, 3) in RGB levels (new minus old), inside the frame. It goes through the colour matrix alone:
    where it is zero no plane value changes. Chroma gets the mean over the pixels that each sample covers.
    """
    new = copied(frame)
    views = plane_views(new)
    change = np.asarray(difference, np.float32)
    name = frame.format.name
    if name == "gbrp":
        for view, channel in zip(views, (1, 2, 0), strict=True):
            _add(view, change[..., channel], x, y)
        return new
    levels = cv2.split(cv2.transform(change, difference_matrix(frame.colorspace, frame.color_range == FULL_RANGE)))
    _add(views[0], levels[0], x, y)
    for view, channel in zip(views[1:], (1, 2), strict=False):
        step_x, step_y = _SUBSAMPLING[name]
        mean = _block_means(
            levels[channel], (x % step_x, y % step_y), (step_x, step_y), (frame.width - x, frame.height - y)
        )
        _add(view, mean, x // step_x, y // step_y)
    return new


def plane_steps(frame: VideoFrame) -> list[tuple[int, int]]:
    """How many pixels of a frame of the five formats a sample of each plane covers, x and y."""
    steps = _SUBSAMPLING.get(frame.format.name, (1, 1))
    return [steps if number else (1, 1) for number in range(len(frame.planes))]


def plane_values(frame: VideoFrame, colors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What each plane of a frame would hold for colours (H, W, 3), RGB levels 0..255: as many float32 (H, W)."""
    if frame.format.name == "gbrp":
        red, green, blue = cv2.split(colors)
        return [green, blue, red]
    full_range = frame.color_range == FULL_RANGE
    zero = np.array([0 if full_range else 16, 128, 128], np.float32)
    matrix = np.column_stack([difference_matrix(frame.colorspace, full_range), zero])[: len(frame.planes)]
    return list(cv2.split(cv2.transform(colors, matrix)))


def luma_share(frame: VideoFrame) -> float:
    """Values of the luma plane (of each plane where they are colours) in one of 255 grey levels."""
    narrow = frame.format.name != "gbrp" and frame.color_range != FULL_RANGE
    return 219 / 255 if narrow else 1.0


def luma_levels(frame: VideoFrame, x: int, y: int, width: int, height: int) -> NDArray[np.float32]:
    """The luma (height, width) of a region inside a frame of the five formats, in grey levels 0..255."""
    if frame.format.name == "gbrp":
        return cv2.cvtColor(part_to_rgb(frame, x, y, width, height), cv2.COLOR_RGB2GRAY).astype(np.float32)
    region = plane_views(frame)[0][y : y + height, x : x + width].astype(np.float32)
    return region if frame.color_range == FULL_RANGE else (region - 16) * np.float32(255 / 219)


def copied(frame: VideoFrame) -> VideoFrame:
    """A frame of the five formats with the same planes, to be written to."""
    new = empty_like(frame, frame.width, frame.height, frame.format.name)
    for source, target in zip(plane_views(frame), plane_views(new), strict=True):
        target[:] = source
    return new


def difference_matrix(matrix: int, full_range: bool) -> NDArray[np.float32]:
    """Differences of R, G, B levels 0..255 -> differences of Y, Cb, Cr plane values, float32 (3, 3).

    `matrix` is an H.273 code; codes without known weights count as BT.709.
    """
    red, blue = _LUMA_WEIGHTS.get(matrix, _LUMA_WEIGHTS[1])
    luma = np.array([red, 1 - red - blue, blue])
    rows = np.stack([luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))])
    scale = np.ones(3) if full_range else np.array([219, 224, 224]) / 255
    return (rows * scale[:, None]).astype(np.float32)


def _add(view: Plane, change: NDArray, x: int, y: int) -> None:
    """Add a float array to a region of a plane, rounded and clipped."""
    region = view[y : y + change.shape[0], x : x + change.shape[1]]
    region[:] = cv2.add(region, np.rint(change).astype(np.int16), dtype=cv2.CV_8U)


def _block_means(values: NDArray, offset: tuple[int, int], steps: tuple[int, int], room: tuple[int, int]) -> NDArray:
    """Means of `values` (h, w) over blocks of `steps` (x, y) pixels; pixels of a block outside `values` count as zero.

    `offset` is where in its block the first pixel lies; `room` the pixels from there to the right and bottom border of
    the frame, beyond which a block has no pixels at all.
    """
    if steps == (1, 1):
        return values
    height, width = values.shape
    (left, top), (step_x, step_y) = offset, steps
    right, bottom = -(left + width) % step_x, -(top + height) % step_y
    padded = cv2.copyMakeBorder(values, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    sums = sum(padded[row::step_y, column::step_x] for row in range(step_y) for column in range(step_x))
    assert isinstance(sums, np.ndarray)
    columns = np.minimum(step_x, room[0] + left - step_x * np.arange(sums.shape[1]))
    rows = np.minimum(step_y, room[1] + top - step_y * np.arange(sums.shape[0]))
    return sums / (rows[:, None] * columns[None, :])


def _gray_levels(frame: VideoFrame) -> Plane:
    """The luma plane of a gray frame stretched to 0..255 (swscale takes every gray plane for full range)."""
    view = plane_views(frame)[0]
    if frame.color_range == FULL_RANGE:
        return view
    table = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(view, table), np.uint8)


def _padded_to_even(frame: VideoFrame) -> VideoFrame:
    """The frame with its last luma column and row doubled where its width or height is odd."""
    even = empty_like(frame, frame.width + frame.width % 2, frame.height + frame.height % 2, frame.format.name)
    for source, target in zip(plane_views(frame), plane_views(even), strict=True):
        rows, columns = source.shape
        target[:rows, :columns] = source
        target[:rows, columns:] = source[:, -1:]
        target[rows:] = target[rows - 1 : rows]
    return even
