"""What a network is too small to draw, taken from pictures of the person whose face is wanted.

In: a swap as the network draws it (R, R, 3), and an `Album` of that person's own pictures beside what the network makes
of each. Out: the swap (D, D, 3), D several times R, with the fine bands of the pictures that are most like it.

A network of 64 pixels gives pose, expression and light, and smears all that is finer. The person's own pictures have
lashes, lips and teeth. Those are looked up of which the network's drawing is most like the swap: two drawings by one
decoder, so that like is compared with like. Optical flow from drawing to drawing says where each thing lies, and what
lies there in the pictures is added. Retrieving the wanted person's own frames by appearance follows Garrido et al. 2014
("Automatic face reenactment"); adding a fine band looked up by a coarse one, Freeman et al. 2002 ("Example-based
super-resolution"); the flow is that of Kroeger et al. 2016 ("Fast optical flow using dense inverse search").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.convert.swapper import Swapper
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.geometry import compose_matrices, transform_points
from faceswap_pipeline.imaging import FloatImage, View, blur, resize, to_float, view_matrix, warp
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.records import FaceRecord

PICTURES = 200
"""How many of a person's pictures are kept; each takes about a megabyte."""
FEWEST_PICTURES = 8
"""Of fewer none is like anything."""
LARGEST_SIDE = 384
"""Pixels along a side of the pictures at most."""
NEAREST = 5
"""Pictures that are mixed for eyes, and for the mouth."""
_BAND = 0.02
"""Standard deviation of the blur that parts coarse (the network's) from fine (the pictures'), share of the side."""
_TONE_BAND = 0.06
"""The same for colour without luma: a network's irises have some of the old person's colour."""
_TRUST = 0.2
"""Difference of the coarse colours, -1..1, at which a third of the fine band is taken: who never opened the mouth so
far has no picture of it."""
_FLOW_SIDE = 96
"""Pixels along a side at which the flow is found: there is nothing finer in a drawing."""
_FLOW_BLUR = 2.0
"""Standard deviation of the flow's blur at that size, px."""
_FALL = 0.3
"""How much further than the nearest one, as a share of its distance, a picture is that counts a third of it."""
_LEAST = 0.1
"""What counts less than this share of the nearest one is not worth a flow."""
_ALIKE = 0.9
"""From this share of the nearest one on pictures are as good as the same, and it does not matter which are taken."""
_FEATURES = 10.0
"""How much more a pixel of eyes and mouth counts in a comparison than another of the face."""
_SEAM = 0.06
"""Half the height over which the upper part goes over into the lower, share of the side."""


@dataclass(frozen=True)
class Album:
    """Pictures of one person in view space, and what the network draws for each."""

    fine: FloatImage
    """(N, D, D, 4) what the pictures have that is finer than `_BAND`, and 0..1 where it is face: hair stays behind."""
    coarse: FloatImage
    """(N, D, D, 3) the drawings without what is finer."""
    drawn: NDArray[np.float32]
    """(2, N, R * R * 3) the drawings, RGB -1..1, times `roots`, so that their distances are weighted ones."""
    lengths: NDArray[np.float32]
    """(2, N) the squares of those."""
    grey: NDArray[np.uint8]
    """(N, F, F) the drawings for the flow."""
    roots: NDArray[np.float32]
    """(2, R, R, 1) roots of what counts in a comparison, above the nose and below; each sums to 1."""
    upper: FloatImage
    """(D, D, 1) 0..1, what is taken from the pictures chosen above the nose."""

    @property
    def side(self) -> int:
        """D."""
        return self.upper.shape[0]

    def matrix(self, crop_size: int, view: View) -> NDArray[np.float64]:
        """Pixels of crops (S, S) -> pixels of the album's pictures, (2, 3)."""
        return _to_side(crop_size, self.roots.shape[1], view, self.side)

    def add_detail(self, image: FloatImage, strength: float) -> FloatImage:
        """A swap (R, R, 3) RGB -1..1 as (D, D, 3), its fine band from the pictures.

        With `strength` 0 it is enlarged, no more; where no picture is like it, it also keeps its own.
        """
        large = resize(image, (self.side, self.side))
        if strength == 0:
            return large
        grey, fine, coarse = _for_flow(image), np.zeros((*large.shape[:2], 4), np.float32), np.zeros_like(large)
        flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        for index, (above, below) in self._shares(image).items():
            share = above * self.upper + below * (1 - self.upper)
            places = self._places(np.asarray(flow_of.calc(grey, self.grey[index], _no_flow())))
            for total, part in ((fine, self.fine), (coarse, self.coarse)):
                total += share * _at(part[index], places)
        own = _coarse(large)
        apart = blur(np.abs(own - coarse).mean(-1), _BAND * self.side / 2)
        taken = np.float32(strength) * np.exp(-np.square(apart / _TRUST))[..., None] * fine[..., 3:]
        return np.asarray(np.clip(own + taken * fine[..., :3] + (1 - taken) * (large - own), -1, 1), np.float32)

    def _shares(self, image: FloatImage) -> dict[int, tuple[float, float]]:
        """The pictures most like a swap, and how much of each is taken above the nose and below; each sums to 1.

        A share falls to nought before a picture drops out of the nearest, so that no picture comes or goes at once.
        """
        found: dict[int, list[float]] = {}
        for part, (drawn, lengths, roots) in enumerate(zip(self.drawn, self.lengths, self.roots, strict=True)):
            looked_for = (image * roots).ravel()
            distance = np.maximum(lengths - 2 * drawn @ looked_for + looked_for @ looked_for, 0)
            near = np.argsort(distance, kind="stable")[: NEAREST + 1]
            least = distance[near[0]]
            share = np.exp(-(distance[near] - least) / (_FALL * least + 1e-9))
            next_one = min(float(share[-1]), _ALIKE) if len(near) > NEAREST else 0.0
            share = np.maximum(share - max(_LEAST, next_one), 0)
            for index, value in zip(near, share / share.sum(), strict=True):
                if value > 0:
                    found.setdefault(int(index), [0.0, 0.0])[part] = float(value)
        return {index: (above, below) for index, (above, below) in found.items()}

    def _places(self, flow: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where in a picture (D, D, 2) x y px each pixel of the swap lies."""
        scale = self.side / _FLOW_SIDE
        axis = np.arange(self.side, dtype=np.float32)
        grid = np.stack(np.meshgrid(axis, axis), -1)
        return grid + cv2.resize(blur(flow, _FLOW_BLUR), (self.side, self.side)) * np.float32(scale)


def make_album(dataset: FaceDataset, swapper: Swapper, progress: Progress) -> Album | None:
    """The album of the person in `dataset`, whose faces `swapper` makes; None where it has too few faces."""
    whole = [each for each in dataset.training_records() if dataset.has_crop(each) and dataset.has_mask(each, "face")]
    records = choose_pictures(whole, PICTURES)
    if len(records) < FEWEST_PICTURES:
        return None
    size, resolution, view = dataset.crop_size, swapper.resolution, swapper.view
    side = min(max(1, round(size * max(view) / resolution)), max(1, LARGEST_SIDE // resolution)) * resolution
    to_view, to_side = view_matrix(size, resolution, view), _to_side(size, resolution, view, side)
    crops = np.stack([dataset.crop(record) for record in records])
    masks = np.stack([dataset.mask(record, "face") for record in records])
    with progress.phase(f"pictures of {dataset.path.name} for detail", len(records), "faces") as advance:
        drawn = swapper.redraw(crops, masks)
        parts = []
        for crop, mask, drawing in zip(crops, masks, drawn, strict=True):
            picture = to_float(warp(crop, to_side, (side, side), "cubic", "replicate"))
            face = warp(mask, to_side, (side, side), "linear", "zero") / np.float32(255)
            large, coarse, inside = resize(drawing, (side, side)), _coarse(picture), face > 0.5
            gain = (large[inside].std(0) + 0.01) / (coarse[inside].std(0) + 0.01) if inside.any() else 1.0
            fine = (picture - coarse) * np.float32(gain)
            parts.append((np.dstack([fine, blur(face, _BAND * side)]), _coarse(large), _for_flow(drawing)))
            advance(1)
    fine, coarse, grey = (np.stack(part) for part in zip(*parts, strict=True))
    weights, upper = _parts_of_face(dataset, records, to_view, resolution, side)
    roots = np.sqrt(weights)[..., None]
    weighted = np.stack([(drawn * root).reshape(len(drawn), -1) for root in roots])
    return Album(fine, coarse, weighted, (weighted**2).sum(-1), grey, roots, upper)


def choose_pictures(records: Sequence[FaceRecord], count: int) -> list[FaceRecord]:
    """At most `count` records: the sharpest of each of as many stretches of equal length."""
    edges = np.linspace(0, len(records), min(count, len(records)) + 1).astype(int)
    stretches = [records[low:high] for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return [max(stretch, key=lambda record: record.sharpness) for stretch in stretches]


def _parts_of_face(
    dataset: FaceDataset, records: Sequence[FaceRecord], to_view: NDArray, resolution: int, side: int
) -> tuple[NDArray[np.float32], FloatImage]:
    """What counts in a comparison (2, R, R), and `Album.upper`: a person's eyes and mouth, parted at the nose's tip."""

    def usual(kind: str) -> NDArray[np.floating[Any]]:
        masks = [dataset.mask(record, kind) for record in records if dataset.has_mask(record, kind)]
        if not masks:
            return np.full((resolution, resolution), float(kind == "face"), np.float32)
        views = [warp(mask, to_view, (resolution, resolution), "linear", "zero") for mask in masks]
        return np.asarray(np.mean(views, 0)) / 255

    noses = [transform_points(compose_matrices(to_view, record.matrix), record.landmarks)[2, 1] for record in records]
    nose = (float(np.median(noses)) + 0.5) / resolution

    def above(size: int) -> NDArray[Any]:
        height = (np.arange(size, dtype=np.float32) + 0.5) / size
        ramp = np.clip((nose + _SEAM - height) / (2 * _SEAM), 0, 1)
        return np.repeat(ramp[:, None], size, 1)

    face, upper = usual("face"), above(resolution)
    weights = np.stack(
        [
            (1 + _FEATURES * blur(usual(kind), 0.03 * resolution)) * part * (face + np.float32(1e-3))
            for kind, part in (("eyes", upper), ("mouth", 1 - upper))
        ]
    )
    weights = (weights / weights.sum((1, 2), keepdims=True)).astype(np.float32)
    return weights, above(side)[..., None].astype(np.float32)


def _to_side(crop_size: int, resolution: int, view: View, side: int) -> NDArray[np.float64]:
    """Crop px -> px of a network's view enlarged from `resolution` to `side` as `resize` does it."""
    scale = side / resolution
    shift = (scale - 1) / 2
    return compose_matrices([[scale, 0, shift], [0, scale, shift]], view_matrix(crop_size, resolution, view))


def _coarse(image: FloatImage) -> FloatImage:
    """(D, D, 3) without what is fine; it is linear."""
    luma = image @ np.array([[0.299], [0.587], [0.114]], np.float32)
    smooth = blur(luma[..., 0], _BAND * len(image))[..., None]
    return smooth + blur(image - luma, _TONE_BAND * len(image))


def _for_flow(image: FloatImage) -> NDArray[np.uint8]:
    """The luma of (R, R, 3) RGB -1..1 at the size of the flow."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.clip(np.rint((resize(luma, (_FLOW_SIDE, _FLOW_SIDE)) + 1) * 127.5), 0, 255).astype(np.uint8)


def _no_flow() -> NDArray[np.float32]:
    return np.zeros((_FLOW_SIDE, _FLOW_SIDE, 2), np.float32)


def _at(image: FloatImage, places: NDArray[np.float32]) -> FloatImage:
    """`image` (D, D, C) at places (D, D, 2) x y px, bilinear, the border repeated."""
    return np.asarray(cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]
