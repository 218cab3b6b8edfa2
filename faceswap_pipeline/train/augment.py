"""Augmentation: what is drawn for a batch (numpy, a pure function of seed and step) and how it is applied (keras.ops).

In: resident crops `uint8 (N, H, W, 6)`, colours and the face, eyes and mouth masks. Out: a `Batch`.

The input is warped by a random 5x5 grid about a randomly turned, scaled, shifted, mirrored view; the target is the
same view without the warp (warped-input reconstruction). The grid's own similarity part is removed, so that the
target is where the input's face is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.backend import fused
from faceswap_pipeline.networks.autoencoder import encoder_input
from faceswap_pipeline.networks.recipe import NetworkRecipe, TrainRecipe
from faceswap_pipeline.networks.tone import face_tone, take_tone
from faceswap_pipeline.train.degrade import degrade, draw_degradation

GRID = 5
"""Points of the warp's grid along a side."""
SIDES = {"a": 0, "b": 1}
MIX = 0.2
"""Of the Beta distribution that mixup draws from (Zhang et al. 2018): mostly near 0 or 1."""


class Batch(NamedTuple):
    """One person's part of a step: pictures float32 (B, R, R, 3) -1..1 as the recipe's networks see them (toneless,
    the face only), masks (B, R, R, 1) 0..1.
    """

    warped: Any
    target: Any
    face: Any
    eyes: Any
    mouth: Any
    mix: Any
    """(B, 1, 1, 1) 0..1: share of the true picture where a discriminator is shown a mix."""


@dataclass(frozen=True)
class Statistics:
    """What the draw needs to know of a person's pictures."""

    means: NDArray[np.float32]
    """Mean colour inside the face, (N, 3), -1..1."""
    deviations: NDArray[np.float32]
    """Standard deviation inside the face, (N, 3)."""
    chances: NDArray[np.float64]
    """How likely each picture is to be drawn, (N,), sums to 1."""


def draw(
    seed: int,
    step: int,
    side: str,
    own: Statistics,
    other: Statistics,
    recipe: TrainRecipe,
    network: NetworkRecipe,
) -> dict[str, NDArray]:
    """The random choices for one person's batch of a step; the same for the same seed, step and side.

    Returns arrays: `index` int32 (B,), `matrix` float32 (B, 2, 3) view px -> crop px about both centres,
    `displacement` float32 (B, 5, 5, 2) view px, `gain` and `offset` float32 (B, 3); with those of `draw_degradation`
    where the recipe degrades.
    """
    random = generator(seed, step, SIDES[side])
    count = recipe.batch
    index = random.choice(len(own.chances), count, p=own.chances)
    gain, offset = _draw_color(random, index, own, other, recipe)
    return {
        "index": index.astype(np.int32),
        "matrix": draw_view(random, count, recipe, network),
        "displacement": draw_warp(random, count, recipe.warp * network.resolution),
        "gain": gain,
        "offset": offset,
        "mix": random.beta(MIX, MIX, count).astype(np.float32),
        **(draw_degradation(random, count, recipe, network.resolution) if recipe.degrade else {}),
    }


def generator(seed: int, step: int, stream: int) -> np.random.Generator:
    """The random numbers of a step; 0 and 1 are two streams that never meet."""
    return np.random.Generator(np.random.Philox(key=[seed, (step << 1) | stream]))


def apply(crops: Any, drawn: dict[str, Any], recipe: NetworkRecipe) -> Batch:
    """Make the batch that `draw` chose from resident crops (N, H, W, 6).

    With `target` (B,) among what was drawn, the target is another crop than the input: another person's.
    """
    shown = ops.take(crops, drawn["index"], axis=0)
    wanted = ops.take(crops, drawn["target"], axis=0) if "target" in drawn else shown
    # Two programs: in one, XLA would sample anew for each use of what is sampled.
    views = fused(_views)(wanted, shown, drawn["matrix"], drawn["displacement"], recipe.resolution)
    parts = fused(_pictures)(*views, drawn, recipe)
    return Batch(*parts, mix=drawn["mix"][:, None, None, None])


def _views(wanted: Any, shown: Any, matrix: Any, displacement: Any, resolution: int) -> tuple[Any, Any]:
    """Views 0..255: of `wanted` as they are, (B, R, R, 6); of `shown` warped, with the face mask only, (B, R, R, 4)."""
    places, bent = view_places(matrix, displacement, resolution, shown.shape[1:3])
    return sample(wanted, places), sample(shown, bent)[..., :4]


def _pictures(clear: Any, distorted: Any, drawn: dict[str, Any], recipe: NetworkRecipe) -> tuple[Any, ...]:
    """What `_views` gave, 0..255, as the first parts of a `Batch`."""
    gain, offset = drawn["gain"][:, None, None], drawn["offset"][:, None, None]
    recolor = lambda picture: ops.clip(picture * (gain / 127.5) + (offset - gain), -1, 1)  # noqa: E731
    masks, seen_face = clear[..., 3:] / 255, distorted[..., 3:] / 255
    seen, target = recolor(distorted[..., :3]), recolor(clear[..., :3])
    seen = degrade(seen, drawn) if "blur" in drawn else seen
    if recipe.tone_free:
        tone = face_tone(target, masks[..., :1])
        target = take_tone(target, tone)
        seen = take_tone(seen, face_tone(seen, seen_face) if "target" in drawn else tone)
    return encoder_input(seen, seen_face, recipe), target, masks[..., :1], masks[..., 1:2], masks[..., 2:]


def planes(pictures: Any) -> Any:
    """(B, H, W, C) as (B, C, H, W)."""
    return ops.transpose(pictures, (0, 3, 1, 2))


def view_places(matrix: Any, displacement: Any, resolution: int, shape: Sequence[int]) -> tuple[Any, Any]:
    """Where each pixel of a view lies in crops of `shape` (H, W), without and with the warp: (B, 2, R, R) x y px each.

    Matrices (B, 2, 3) are about both centres; displacements (B, 5, 5, 2) are in view px. Both are mixtures of fixed
    pictures: x, y, one, and how much each of the grid's points has to say at each pixel.
    """
    axis = np.arange(resolution, dtype=np.float32) - (resolution - 1) / 2
    grid = np.stack([*np.meshgrid(axis, axis), np.ones((resolution, resolution), np.float32)]).reshape(3, -1)
    rows = _grid_matrix(resolution)
    points = np.einsum("ri,sj->ijrs", rows, rows).reshape(GRID * GRID, -1)
    moved = ops.matmul(matrix[:, :, :2], ops.transpose(ops.reshape(displacement, (-1, GRID * GRID, 2)), (0, 2, 1)))
    middle = (np.array(shape[::-1], np.float32)[:, None, None] - 1) / 2
    size = (-1, 2, resolution, resolution)
    places = ops.reshape(ops.matmul(matrix, grid), size) + middle
    return places, places + ops.reshape(ops.matmul(moved, points), size)


def sample(images: Any, places: Any) -> Any:
    """`images` (B, H, W, C) at places (B, 2, R, R) x y px, bilinear, the border repeated; float32 (B, R, R, C)."""
    height, width, channels = images.shape[1:]
    batch, last = ops.shape(images)[0], np.array([width, height], np.float32)[:, None, None] - np.float32(1.001)
    places = ops.minimum(ops.maximum(places, 0.0), last)
    corner = ops.floor(places)
    share = places - corner
    x, y = ops.unstack(ops.cast(corner, "int32"), 2, axis=1)
    first = ops.reshape(ops.arange(batch, dtype="int32") * (height * width), (-1, 1, 1)) + y * width + x
    flat = ops.reshape(images, (-1, channels))
    at = lambda step: ops.cast(ops.take(flat, first + step, axis=0), "float32")  # noqa: E731
    right, below = share[:, 0, ..., None], share[:, 1, ..., None]
    upper = at(0) + (at(1) - at(0)) * right
    lower = at(width) + (at(width + 1) - at(width)) * right
    return upper + (lower - upper) * below


def draw_view(
    random: np.random.Generator, count: int, recipe: TrainRecipe, network: NetworkRecipe
) -> NDArray[np.float32]:
    """Turn, size, shift and mirror as matrices (B, 2, 3) from view to crop, both about their centres.

    The face is turned as it is in the crop, not as squeezed as in the view.
    """
    angle = np.radians(random.uniform(-recipe.rotation, recipe.rotation, count))
    scale = np.exp(random.uniform(-recipe.zoom, recipe.zoom, count))
    shift = random.uniform(-recipe.shift, recipe.shift, (count, 2)) * network.resolution
    mirror = np.where(random.random(count) < recipe.flip, -1.0, 1.0)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    squeeze = network.view[1] / network.view[0]
    return np.stack(
        [np.stack([c * mirror, -s * squeeze, shift[:, 0]], -1), np.stack([s * mirror / squeeze, c, shift[:, 1]], -1)], 1
    ).astype(np.float32)


def draw_warp(random: np.random.Generator, count: int, deviation: float) -> NDArray[np.float32]:
    """Displacements (B, 5, 5, 2) px of the grid's points, with no shift, turn or change of size left in them."""
    noise = random.normal(0, deviation, (count, GRID * GRID * 2))
    basis = _similarity_basis()
    return (noise - noise @ basis @ basis.T).reshape(count, GRID, GRID, 2).astype(np.float32)


def _draw_color(
    random: np.random.Generator, index: NDArray, own: Statistics, other: Statistics, recipe: TrainRecipe
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset (B, 3): a random part of the way to a random picture's colours, then jitter."""
    count = len(index)
    either = [(person, random.choice(len(person.chances), count, p=person.chances)) for person in (own, other)]
    pick = random.random((count, 1)) < 0.5
    mean = np.where(pick, *[person.means[chosen] for person, chosen in either])
    deviation = np.where(pick, *[person.deviations[chosen] for person, chosen in either])
    share = np.where(random.random((count, 1)) < recipe.color_transfer, random.random((count, 1)), 0)
    ratio = np.clip(deviation / np.maximum(own.deviations[index], 0.02), 0.5, 2)
    gain = 1 - share + share * ratio
    offset = share * (mean - own.means[index] * ratio)
    jitter_gain = np.exp(random.normal(0, recipe.color_jitter, (count, 3)))
    jitter_offset = random.normal(0, recipe.color_jitter, (count, 3))
    return (gain * jitter_gain).astype(np.float32), (offset * jitter_gain + jitter_offset).astype(np.float32)


@cache
def _similarity_basis() -> NDArray[np.float64]:
    """An orthonormal basis (50, 4) of the displacements of a 5x5 grid that a similarity makes."""
    axis = np.linspace(-1, 1, GRID)
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    one, zero = np.ones_like(x), np.zeros_like(x)
    columns = [(one, zero), (zero, one), (x, y), (-y, x)]
    return np.linalg.qr(np.stack([np.stack(pair, -1).ravel() for pair in columns], -1))[0]


@cache
def _grid_matrix(resolution: int) -> NDArray[np.float32]:
    """(R, 5): how each row of pixels mixes the grid's five rows, linearly."""
    place = np.linspace(0, GRID - 1, resolution)[:, None]
    return np.clip(1 - np.abs(place - np.arange(GRID)), 0, None).astype(np.float32)
