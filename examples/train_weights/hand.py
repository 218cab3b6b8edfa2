"""A hand as a solid: bones as swept balls, posed, turned, and seen from the front as depth, cover and shading.

In: a numpy Generator and the size of the picture. Out: `Hand`. Lengths of the model are millimetres, x to the little
finger's side of a right hand's back, y from wrist to finger tips, z out of the back of the hand.
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from film import Random
from numpy.typing import NDArray

from faceswap_pipeline.geometry import Array, rotation_matrix

FINE = 2
"""The solid is drawn this many times larger than it is seen."""
KNUCKLES = np.array([[-32.0, 88, 0], [-11, 95, 2], [11, 92, 1], [31, 82, -2]])
"""Where index, middle, ring and little finger begin."""
BONES = np.array([[41.0, 25, 21], [46, 29, 21], [42, 27, 21], [32, 20, 19]])
"""The three bones of each of them."""
RADII = np.array([[10.0, 8.5, 7.5, 6.3], [10.5, 9, 7.8, 6.5], [10, 8.5, 7.5, 6.2], [9, 7.5, 6.5, 5.5]])
"""Half the width at their ends."""
GRIPS: dict[str, tuple[tuple[float, float, float], float]] = {
    "flat": ((5, 5, 3), 8),
    "loose": ((25, 30, 15), 15),
    "hook": ((10, 75, 45), 10),
    "fist": ((80, 95, 55), 8),
}
"""Degrees by which the three joints of a finger are bent, and how much they vary."""
CLOSE = 0.5
"""Distance of neighbouring balls of a bone, in their radius."""
STEEPEST = 1.5
"""Slopes beyond it look like this: at a ball's rim they have no end, and skin is lit from behind there."""
SLEEVE = 0.4
"""Share of hands whose forearm is clothed."""


class Hand(NamedTuple):
    """One hand as it is seen, before it has a place and a colour; all (S, S)."""

    cover: NDArray[np.float32]
    """0..1."""
    light: NDArray[np.float32]
    """What the surface sends back, about 0.3 in a crease to 1.2 where it faces the lamp."""
    sleeve: NDArray[np.float32]
    """0..1, where the forearm is clothed."""


def draw_hand(random: Random, size: int, place: Array, unit: float) -> Hand:
    """A hand of some pose before a picture of `size` pixels; some point of it lies at `place` (2,) px.

    `unit`: pixels of a millimetre.
    """
    balls, arm = pose_hand(random)
    turn = _turn(random)
    balls[:, :3] = balls[:, :3] @ turn.T
    # Any part of the hand may be what is before the face, the fingers most often.
    anchor = balls[np.flatnonzero(~arm)[int(random.integers((~arm).sum()))], :2]
    balls[:, :2] = (balls[:, :2] - anchor) * unit * FINE + (np.asarray(place) + 0.5) * FINE
    balls[:, 2:] *= unit * FINE
    depth, owner = _depth(balls, size * FINE)
    solid = np.isfinite(depth)
    light = _light(np.where(solid, depth, 0), solid, unit * FINE, random)
    clothed = solid & arm[np.maximum(owner, 0)] & (random.random() < SLEEVE)
    parts = (solid.astype(np.float32), light * solid, clothed.astype(np.float32))
    cover, light, sleeve = (cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA) for part in parts)
    return Hand(cover, light / np.maximum(cover, 1e-3), sleeve / np.maximum(cover, 1e-3))


def pose_hand(random: Random) -> tuple[Array, NDArray[np.bool_]]:
    """A left or right hand of some grip: balls (N, 4) x y z radius in mm, and which of them are forearm."""
    rows: list[Array] = []
    for x in np.linspace(KNUCKLES[0, 0], KNUCKLES[-1, 0], 7):
        end = np.array([x, np.interp(x, KNUCKLES[:, 0], KNUCKLES[:, 1]) - 4, -1])
        rows.append(_bone(np.array([0.55 * x, 8, -4]), end, 14.0, 10.5))
    grip = random.choice(list(GRIPS))
    (bends, vary), pointing = GRIPS[grip], random.random() < 0.25
    for number, (knuckle, bones, radii) in enumerate(zip(KNUCKLES, BONES, RADII, strict=True)):
        straight = pointing and number <= int(random.integers(0, 2))
        bend = np.radians(np.array((5, 5, 3) if straight else bends) + random.normal(0, vary, 3))
        spread = np.radians((number - 1.5) * random.uniform(0, 9) * (0.2 if grip == "fist" else 1))
        start, angle = knuckle, 0.0
        for bone, turned, (one, other) in zip(bones, np.clip(bend, -0.2, 1.75), pairwise(radii), strict=True):
            angle += turned
            step = np.array([np.sin(spread) * np.cos(angle), np.cos(spread) * np.cos(angle), -np.sin(angle)])
            rows.append(_bone(start, start + bone * step, one, other))
            start = start + bone * step
    thumb = np.array([[-20.0, 15, -8], [-48, 45, -18], [-58, 76, -22], [-58, 103, -24]])
    thumb[1:] += np.cumsum(random.normal(0, (9, 6, 9), (3, 3)), 0) * 0.7
    if grip in ("fist", "hook") and random.random() < 0.6:
        thumb[2:] = [[-35, 78, -32], [-8, 84, -38]] + random.normal(0, 5, (2, 3))
    for number, (one, other) in enumerate(((15, 12), (12, 10), (10, 7.5))):
        rows.append(_bone(thumb[number], thumb[number + 1], one, other))
    hand = sum(len(row) for row in rows)
    bent = np.array([random.normal(0, 40), 0, random.normal(0, 60)])
    for side in (-1.0, -0.4, 0.4, 1.0):
        rows.append(_bone(np.array([14.0 * side, 10, -4]), bent + [20.0 * side, -330, 0], 16, 34 - 4 * abs(side)))
    balls = np.concatenate(rows)
    balls[:, :2] *= random.uniform(0.9, 1.1, 2)
    if random.random() < 0.5:
        balls[:, 0] *= -1
    return balls, np.arange(len(balls)) >= hand


def _bone(start: Array, end: Array, one: float, other: float) -> Array:
    """Balls (N, 4) along a line, close enough to look smooth."""
    count = max(2, int(np.linalg.norm(end - start) / (CLOSE * min(one, other))))
    share = np.linspace(0, 1, count)[:, None]
    return np.concatenate([start + (end - start) * share, one + (other - one) * share], 1)


def _turn(random: Random) -> Array:
    """A rotation (3, 3): palm or back to the viewer, tilted, the forearm from below or a side more often than above."""
    yaw = random.normal(0, 0.5) + (np.pi if random.random() < 0.5 else 0)
    pitch, roll = random.normal(0, 0.4), random.normal(0, 1.0) + np.pi
    return rotation_matrix(*np.degrees([yaw, -pitch, roll])).T


def _depth(balls: Array, side: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """How near the nearest surface is (side, side), minus infinity where there is none, and whose ball it is."""
    depth = np.full((side, side), -np.inf, np.float32)
    owner = np.full((side, side), -1, np.int32)
    steps = np.arange(side, dtype=np.float32)
    for number, (x, y, z, radius) in enumerate(balls.tolist()):
        low_x, high_x = max(0, int(x - radius)), min(side, int(x + radius) + 2)
        low_y, high_y = max(0, int(y - radius)), min(side, int(y + radius) + 2)
        if low_x >= high_x or low_y >= high_y:
            continue
        inside = radius**2 - (steps[low_x:high_x] - x) ** 2 - ((steps[low_y:high_y] - y) ** 2)[:, None]
        near = np.where(inside > 0, z + np.sqrt(np.maximum(inside, 0)), -np.inf)
        here = (slice(low_y, high_y), slice(low_x, high_x))
        np.copyto(owner[here], number, where=near > depth[here])
        np.maximum(depth[here], near, out=depth[here])
    return depth, owner


def _light(depth: NDArray[np.float32], solid: NDArray[np.bool_], unit: float, random: Random) -> NDArray[np.float32]:
    """A lamp, the light from all around, and the dark of creases; `unit`: pixels of a millimetre."""
    flesh = _within(depth, solid, 2.0 * unit)  # skin runs over where bones meet
    down, across = np.clip(np.gradient(flesh), -STEEPEST, STEEPEST)
    normal = np.stack([-across, -down, np.ones_like(flesh)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    angle, height = random.normal(-np.pi / 2, 1.0), random.uniform(0.3, 1.2)
    lamp = np.array([np.cos(angle) * np.cos(height), np.sin(angle) * np.cos(height), np.sin(height)])
    wrap, all_around = random.uniform(0.1, 0.6), random.uniform(0.35, 0.8)
    lit = np.clip((normal @ lamp + wrap) / (1 + wrap), 0, 1)
    around = all_around * (0.6 + 0.4 * normal[..., 2]) + (1 - all_around) * 1.3 * lit
    sunk = np.zeros_like(flesh)
    for reach in (3.0, 9.0):
        sunk += np.maximum(_within(flesh, solid, reach * unit) - flesh, 0) / (reach * unit)
    shaded = around * np.exp(-random.uniform(0.5, 1.6) * sunk)
    return np.asarray(1 + random.uniform(0.4, 1.1) * (shaded - 1), np.float32).clip(0.1, 1.6)


def _within(values: NDArray, solid: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """`values` blurred, by what is solid alone."""
    weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), max(sigma, 0.5))
    return cv2.GaussianBlur(np.where(solid, values, 0).astype(np.float32), (0, 0), max(sigma, 0.5)) / np.maximum(
        weight, 1e-3
    )
