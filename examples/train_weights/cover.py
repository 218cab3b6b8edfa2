"""Other backdrops behind a rendered person, beards and brows, and things held or worn before the face.

In: a `Sample` (picture, label, landmarks) and a numpy Generator. Out: a `Sample` whose label and visible landmarks
follow what was painted. Lengths are shares of the picture's side, so that they hold at any size.
"""

from collections.abc import Callable

import cv2
import numpy as np
from film import Random, as_image
from hand import draw_hand
from numpy.typing import NDArray

from faceswap_pipeline.geometry import Array
from faceswap_pipeline.networks.parser import CLASSES
from faceswap_pipeline.train.rendered import Sample

Mask = NDArray[np.float32]
"""(S, S) 0..1."""

OCCLUDER = CLASSES.index("clothes")
"""Whatever is held or worn before the face counts with the clothes, as the rendered glasses do."""
HAIR = CLASSES.index("hair")
BROW = CLASSES.index("brow")
SKIN = (CLASSES.index("face"), CLASSES.index("skin"))
HAND_UNIT = 0.55 / 180
"""A millimetre as a share of a crop's side, where a face of 180 mm is."""


def cover(sample: Sample, random: Random, strength: float = 1.0) -> Sample:
    """Another backdrop, and everything of `GROWTH` and `OCCLUDERS`, each with its chance times `strength`."""
    if random.random() < BACKDROP * strength:
        sample = replace_background(sample, random)
    for paint, share in (*GROWTH, *OCCLUDERS):
        if random.random() < share * strength:
            sample = paint(sample, random)
    return sample


# -- backgrounds ---------------------------------------------------------------------------------------------------


def replace_background(sample: Sample, random: Random) -> Sample:
    """Another backdrop behind the person: a gradient, clouds of noise or hard shapes, sharp or out of focus."""
    size = sample.picture.shape[0]
    behind = cv2.GaussianBlur((sample.label == 0).astype(np.float32), (0, 0), 0.004 * size)[..., None]
    kind = random.choice(["gradient", "clouds", "shapes"])
    if kind == "gradient":
        backdrop = smooth_field(random, size, 2)
    elif kind == "clouds":
        backdrop = smooth_field(random, size, int(random.integers(3, 24)))
    else:
        backdrop = draw_shapes(random, size)
    if random.random() < 0.5:
        backdrop = cv2.GaussianBlur(backdrop, (0, 0), size * random.uniform(0.005, 0.05))
    return sample._replace(picture=as_image(sample.picture * (1 - behind) + backdrop * behind))


def smooth_field(random: Random, size: int, cells: int) -> NDArray[np.float32]:
    """Random colours on a grid of `cells`, blended, float32 (size, size, 3) 0..255."""
    colors = random.uniform(0, 255, (cells, cells, 3)) * random.uniform(0.3, 1) + random.uniform(0, 60)
    field = cv2.resize(colors.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(field, 0, 255).astype(np.float32)


def draw_shapes(random: Random, size: int) -> NDArray[np.float32]:
    """Boxes, lines and discs, some of them as coloured as skin, float32 (size, size, 3) 0..255."""
    canvas = smooth_field(random, size, 2)
    for _ in range(int(random.integers(5, 30))):
        color = skin_color(random) if random.random() < 0.3 else random.uniform(0, 255, 3)
        a, b = random.integers(0, size, (2, 2)).tolist()
        width = int(random.choice([-1, -1, 1, max(1, size // 40)]))
        shape = random.choice(["box", "line", "disc"])
        if shape == "box":
            cv2.rectangle(canvas, a, b, color.tolist(), width, cv2.LINE_AA)
        elif shape == "line":
            cv2.line(canvas, a, b, color.tolist(), max(1, width), cv2.LINE_AA)
        else:
            cv2.circle(canvas, a, int(random.uniform(0.02, 0.25) * size), color.tolist(), width, cv2.LINE_AA)
    return canvas


# -- what grows on the face -----------------------------------------------------------------------------------------


def paint_beard(sample: Sample, random: Random) -> Sample:
    """Stubble or a beard along jaw and lips, whole or patchy: part of the face, as beards are in the labels."""
    size, points = sample.picture.shape[0], sample.landmarks
    grown = np.zeros((size, size), np.float32)
    thick = size * random.uniform(0.05, 0.12)
    low = points[2:15] + (points[33] - points[2:15]) * 0.08
    if random.random() < 0.75:
        draw_line(grown, list(low if random.random() < 0.6 else low[4:9]), thick)
    if random.random() < 0.8:
        lip = (points[48:55] + points[[31, 31, 32, 33, 34, 35, 35]]) / 2
        draw_line(grown, list(np.concatenate([points[[48]] + [0, 0.02 * size], lip, points[[54]] + [0, 0.02 * size]])),
                  size * random.uniform(0.015, 0.045))  # fmt: skip
    if random.random() < 0.7:
        draw_line(grown, [points[57] + [0, 0.02 * size], points[8]], size * random.uniform(0.03, 0.12))
    grown = cv2.GaussianBlur(grown, (0, 0), size * random.uniform(0.006, 0.02))
    patches = smooth_field(random, size, int(random.integers(4, 20)))[..., 0] / 255
    hairs = random.normal(0, 1, (size, size)).astype(np.float32)
    hairs = cv2.GaussianBlur(hairs, (0, 0), sigmaX=0.5, sigmaY=size * random.uniform(0.005, 0.015))
    hairs = np.clip(0.6 + 0.5 * hairs / hairs.std(), 0, 1)
    dense = random.uniform(0.25, 1) * grown * np.clip(patches + random.uniform(0, 1), 0, 1)
    dense = np.clip(dense * (hairs + random.uniform(-0.2, 0.6)), 0, 1) * np.isin(sample.label, SKIN)
    picture = sample.picture + (hair_color(sample, random) - sample.picture) * dense[..., None]
    return sample._replace(picture=as_image(picture))


def paint_brows(sample: Sample, random: Random) -> Sample:
    """Thicker and darker brows than the rendered ones."""
    brows = (sample.label == BROW).astype(np.uint8)
    around = cv2.dilate(brows, np.ones((3, 3), np.uint8), iterations=int(random.integers(0, 2)))
    around &= np.isin(sample.label, (*SKIN, BROW)).astype(np.uint8)
    dense = cv2.GaussianBlur(around.astype(np.float32), (0, 0), 0.6) * random.uniform(0.4, 0.95)
    picture = sample.picture + (hair_color(sample, random) - sample.picture) * dense[..., None]
    return sample._replace(picture=as_image(picture), label=np.where(around, np.uint8(BROW), sample.label))


def hair_color(sample: Sample, random: Random) -> NDArray[np.float32]:
    """The person's own (3,) 0..255, darker; something brown or grey for the bald."""
    own = sample.picture[sample.label == HAIR]
    color = np.median(own, axis=0) if len(own) > 50 else random.uniform(10, 110) * np.array([1, 0.8, 0.65])
    return np.asarray(color * random.uniform(0.3, 1), np.float32)


# -- things before the face -----------------------------------------------------------------------------------------


def paint_hand(sample: Sample, random: Random) -> Sample:
    """A hand, now and then two, in a skin tone that is often the person's own; it may be moving."""
    size = sample.picture.shape[0]
    own = sample.picture[np.isin(sample.label, SKIN)]
    own = np.median(own, axis=0) if len(own) and random.random() < 0.7 else skin_color(random)
    for _ in range(2 if random.random() < 0.15 else 1):
        unit = HAND_UNIT * size * random.uniform(0.8, 1.4)
        hand = draw_hand(random, size, point_on_face(sample, random), unit)
        # Hands are a little redder than faces, and unevenly so.
        red = 1 + (smooth_field(random, size, 10)[..., :1] / 255 - 0.4) * [0.06, -0.08, -0.06]
        cloth = smooth_field(random, size, int(random.integers(2, 20)))
        color = own * np.exp(random.normal(0, 0.15)) * red
        color = color + (cloth - color) * hand.sleeve[..., None]
        texture = np.clip(color * hand.light[..., None] * 1.1, 0, 255).astype(np.float32)
        mask = hand.cover
        if random.random() < 0.25:
            mask, texture = smear(mask, texture, random)
        sample = put_before(sample, mask, texture, random)
    return sample


def smear(mask: Mask, texture: NDArray[np.float32], random: Random) -> tuple[Mask, NDArray[np.float32]]:
    """What moves while the shutter is open: cover and colours drawn along a line of up to a twelfth of the side."""
    reach = max(1, round(mask.shape[0] * random.uniform(0.01, 0.08) / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    angle = random.uniform(0, np.pi)
    way = np.array([np.cos(angle), np.sin(angle)]) * reach
    draw_line(kernel, [reach - way, reach + way], 1)
    kernel /= kernel.sum()
    moved = cv2.filter2D(mask, -1, kernel)
    return moved, cv2.filter2D(texture * mask[..., None], -1, kernel) / np.maximum(moved, 1e-3)[..., None]


def paint_bar(sample: Sample, random: Random) -> Sample:
    """A straight bar or a sheet with one straight edge, plain or patterned."""
    size = sample.picture.shape[0]
    mask = np.zeros((size, size), np.float32)
    middle, angle = point_on_face(sample, random), random.uniform(0, np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    width = size * (random.uniform(0.02, 0.2) if random.random() < 0.8 else 0.5)
    middle = middle + np.array([-direction[1], direction[0]]) * width * 0.5 * random.choice([-1, 1])
    draw_line(mask, [middle - 2 * size * direction, middle + 2 * size * direction], width)
    texture = smooth_field(random, size, int(random.integers(2, 12)))
    if random.random() < 0.4:
        texture = np.broadcast_to(random.uniform(0, 255, 3), texture.shape)
    return put_before(sample, mask, np.asarray(texture, np.float32), random)


def paint_microphone(sample: Sample, random: Random) -> Sample:
    """A dark stick with a ball, pointing at the mouth or beside it."""
    size = sample.picture.shape[0]
    mouth = sample.landmarks[48:68].mean(0) + random.normal(0, 0.05, 2) * size
    angle = np.radians(random.uniform(20, 160))
    direction = np.array([np.cos(angle), np.sin(angle)])
    ball = mouth + direction * size * random.uniform(0, 0.12)
    radius = size * random.uniform(0.025, 0.07)
    mask = np.zeros((size, size), np.float32)
    cv2.circle(mask, *fixed(ball, radius), 1.0, -1, cv2.LINE_AA, shift=4)
    draw_line(mask, [ball, ball + direction * size], radius * random.uniform(0.7, 1.4))
    color = random.uniform(0, 90, 3) if random.random() < 0.8 else random.uniform(0, 255, 3)
    texture = shade(mask, color.astype(np.float32), random)
    grid = (np.indices((size, size)).sum(0) // max(1, size // 90) % 2).astype(np.float32)[..., None]
    return put_before(sample, mask, texture * (0.8 + 0.4 * grid), random)


def paint_spectacles(sample: Sample, random: Random) -> Sample:
    """Frames round both eyes with a bridge and temples; sometimes the lenses are tinted or mirror something."""
    size = sample.picture.shape[0]
    eyes = [sample.landmarks[36:42].mean(0), sample.landmarks[42:48].mean(0)]
    across = eyes[1] - eyes[0]
    apart = float(np.hypot(*across))
    if apart < 0.12 * size:
        return sample
    angle = np.degrees(np.arctan2(across[1], across[0]))
    axes = np.array([random.uniform(0.3, 0.46), random.uniform(0.2, 0.4)]) * apart
    power = random.choice([2.0, 3.0, 6.0])
    frame, lens = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    width = max(1.0, apart * random.uniform(0.025, 0.1))
    drop = random.uniform(-0.02, 0.12) * apart
    for eye in eyes:
        outline = rounded_outline(eye + [0, drop], axes, angle, power)
        draw_line(frame, [*outline, outline[0]], width)
        cv2.fillPoly(lens, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    unit = across / apart
    draw_line(frame, [eyes[0] + unit * axes[0] + [0, drop], eyes[1] - unit * axes[0] + [0, drop]], width)
    ears = [sample.landmarks[0], sample.landmarks[16]]
    for eye, ear, way in zip(eyes, ears, (-1, 1), strict=True):
        draw_line(frame, [eye + way * unit * axes[0] + [0, drop], ear], width)
    color = random.uniform(0, 80, 3) if random.random() < 0.6 else random.uniform(0, 255, 3)
    if random.random() < 0.35:
        dark = random.uniform(0.2, 1.0) if random.random() < 0.5 else random.uniform(0, 0.3)
        tint = np.broadcast_to(random.uniform(0, 120, 3).astype(np.float32), (size, size, 3))
        sample = put_before(sample, lens * np.float32(dark), tint, random, opaque=0.7)
    if random.random() < 0.3:
        shine = np.clip(smooth_field(random, size, 5)[..., 0] / 255 - 0.6, 0, 0.4).astype(np.float32)
        glow = np.full((size, size, 3), 255, np.float32)
        sample = put_before(sample, lens * shine, glow, random, opaque=0.7)
    return put_before(sample, frame, np.broadcast_to(color.astype(np.float32), (size, size, 3)), random)


def paint_text(sample: Sample, random: Random) -> Sample:
    """Letters over the picture: a caption, a watermark, a clock."""
    size = sample.picture.shape[0]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:.-!?"
    text = "".join(random.choice(list(letters), int(random.integers(3, 14))))
    letters_drawn = np.zeros((size, size), np.uint8)
    start = (int(random.uniform(-0.1, 0.5) * size), int(random.uniform(0.15, 1) * size))
    scale = size / 256 * random.uniform(0.5, 2.5)
    font = int(random.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
    thickness = max(1, round(scale * random.uniform(1, 4)))
    cv2.putText(letters_drawn, text, start, font, scale, 255, thickness, cv2.LINE_AA)
    mask = letters_drawn.astype(np.float32) / np.float32(255 * random.uniform(1, 2))
    color = random.choice([0.0, 255.0]) if random.random() < 0.7 else random.uniform(0, 255, 3)
    texture = np.broadcast_to(np.asarray(color, np.float32), (size, size, 3))
    return put_before(sample, mask, texture, random, shadow=False)


def paint_strands(sample: Sample, random: Random) -> Sample:
    """Thin locks of hair that fall over brow and cheek; they count as hair."""
    size = sample.picture.shape[0]
    own = sample.picture[sample.label == HAIR]
    color = np.median(own, axis=0) if len(own) > 50 else random.uniform(0, 120, 3)
    mask = np.zeros((size, size), np.float32)
    top = sample.landmarks[17:27].mean(0) - [0, 0.25 * size]
    for _ in range(int(random.integers(1, 5))):
        start = top + random.normal(0, 0.12, 2) * size
        bend = random.normal(0, 0.08, 2) * size
        end = start + np.array([random.normal(0, 0.12), random.uniform(0.2, 0.6)]) * size
        for _ in range(int(random.integers(2, 12))):
            share = np.linspace(0, 1, 12)[:, None]
            path = start + (end - start) * share + bend * np.sin(np.pi * share) + random.normal(0, 0.012, 2) * size
            draw_line(mask, list(path), max(1.0, size * random.uniform(0.002, 0.006)))
    texture = shade(mask, np.asarray(color, np.float32), random)
    return put_before(sample, mask, texture, random, label=HAIR)


GROWTH: tuple[tuple[Callable[[Sample, Random], Sample], float], ...] = ((paint_beard, 0.2), (paint_brows, 0.15))
"""What may grow on the face, with its chance."""
OCCLUDERS: tuple[tuple[Callable[[Sample, Random], Sample], float], ...] = (
    (paint_strands, 0.1),
    (paint_spectacles, 0.15),
    (paint_hand, 0.25),
    (paint_bar, 0.08),
    (paint_microphone, 0.1),
    (paint_text, 0.06),
)
"""What may stand before the face, from the face outwards, with its chance."""
BACKDROP = 0.35
"""Chance of another backdrop."""

# -- shared ---------------------------------------------------------------------------------------------------------


def put_before(
    sample: Sample,
    mask: Mask,
    texture: NDArray[np.float32],
    random: Random,
    label: int = OCCLUDER,
    opaque: float = 0.5,
    shadow: bool = True,
) -> Sample:
    """Lay `texture` (S, S, 3) 0..255 over the picture where `mask` is; where it is above `opaque` the label changes
    and landmarks are hidden. A faint shadow may fall beside it.
    """
    size = sample.picture.shape[0]
    picture = sample.picture.astype(np.float32)
    if shadow and random.random() < 0.6:
        shift = random.normal(0, 0.015, 2) * size
        moved = cv2.warpAffine(mask, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (size, size))
        dark = cv2.GaussianBlur(moved, (0, 0), size * random.uniform(0.004, 0.03)) * random.uniform(0.1, 0.5)
        picture = picture * (1 - dark[..., None])
    picture = picture + (texture - picture) * mask[..., None]
    covered = mask > opaque
    place = np.clip(np.rint(sample.landmarks), 0, size - 1).astype(int)
    return Sample(
        as_image(picture),
        np.where(covered, np.uint8(label), sample.label),
        sample.landmarks,
        sample.visible & ~covered[place[:, 1], place[:, 0]],
    )


def shade(mask: Mask, color: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """A rounded look: darker towards the rim, with a soft mottle, float32 (S, S, 3) 0..255."""
    size = mask.shape[0]
    depth = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    round_off = 0.55 + 0.45 * np.clip(depth / (0.03 * size), 0, 1)
    mottle = 1 + (smooth_field(random, size, 16)[..., :1] / 255 - 0.5) * 0.2
    return np.clip(color * round_off[..., None] * mottle * np.exp(random.normal(0, 0.2)), 0, 255).astype(np.float32)


def skin_color(random: Random) -> NDArray[np.float32]:
    """Some skin tone (3,) 0..255, from very light to very dark."""
    light = random.uniform(0.12, 0.9)
    ratio = np.array([1.0, 0.78 - 0.12 * (1 - light), 0.66 - 0.2 * (1 - light)]) * np.exp(random.normal(0, 0.05, 3))
    return (255 * light * ratio).astype(np.float32).clip(0, 255)


def point_on_face(sample: Sample, random: Random) -> Array:
    """A place (2,) px somewhere on the face, a little beyond its border too."""
    low, high = sample.landmarks.min(0), sample.landmarks.max(0)
    return random.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low))


def draw_line(mask: Mask, points: list[Array], width: float) -> None:
    """Draw a smooth line with round ends of `width` px into `mask`."""
    path = np.rint(np.array(points) * 16).astype(np.int32)
    cv2.polylines(mask, [path], False, 1.0, max(1, round(width)), cv2.LINE_AA, shift=4)


def rounded_outline(middle: Array, axes: Array, angle: float, power: float) -> Array:
    """A closed curve (40, 2) px between an ellipse (power 2) and a box (large power), turned by `angle` degrees."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    curve = np.stack([np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)], 1) * axes
    radians = np.radians(angle)
    return curve @ np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]]) + middle


def fixed(point: Array, radius: float) -> tuple[tuple[int, int], int]:
    """A circle in cv2's fixed point with 4 fractional bits."""
    return (round(point[0] * 16), round(point[1] * 16)), round(radius * 16)
