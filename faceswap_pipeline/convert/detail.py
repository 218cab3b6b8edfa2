"""What a network is too small to draw, taken from pictures of the person whose face is wanted.

In: a swap as the network draws it (R, R, 3), and an `Album` of that person's own pictures beside what the network makes
of each. Out: the swap (D, D, 3), D several times R, with the fine bands of the pictures that are most like it.

A network of 64 pixels gives pose, expression and light, and smears all that is finer. The person's own pictures have
lashes, lips and teeth. Those are looked up of which the network's drawing is most like the swap: two drawings by one
decoder, so that like is compared with like. Optical flow from drawing to drawing says where each thing lies, and what
lies there in the pictures is added. Flow and mouths look at drawings divided by their own light: the pictures were
taken in another light, which would choose other mouths and bend lids and lips to where the shade lies. Mouths are also
chosen by how far the one is open that is replaced: a network draws it less open than it is. Before it draws, its code
is moved the way that this person's codes go when the mouth opens.

Retrieving the wanted person's own frames by appearance follows Garrido et al. 2014 ("Automatic face reenactment");
adding a fine band looked up by a coarse one, Freeman et al. 2002 ("Example-based super-resolution"); the flow is that
of Kroeger et al. 2016 ("Fast optical flow using dense inverse search"); a picture over its own blur tells little of the
light, as in Jobson et al. 1997 ("Properties and performance of a center/surround retinex").
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.convert.swapper import Swapper
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.geometry import compose_matrices, transform_points
from faceswap_pipeline.imaging import (
    FloatImage,
    Image,
    View,
    blur,
    grow_mask,
    mouth_height,
    ramp,
    resize,
    to_float,
    to_uint8,
    view_matrix,
    warp,
)
from faceswap_pipeline.machine import cores
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.records import FaceRecord

PICTURES = 200
"""How many of a person's pictures are kept; each takes some 300 kB."""
FEWEST_PICTURES = 8
"""Of fewer none is like anything."""
_MASKS = 50
"""Of how many of them eyes and mouth are looked up to say where a person usually has them."""
LARGEST_SIDE = 384
"""Pixels along a side of the pictures at most."""
NEAREST = 4
"""Pictures that are mixed for eyes, and for the mouth."""
_BANDS = (0.02, 0.012)
"""Standard deviations of the blur that parts coarse (the network's) from fine (the pictures'), share of the side, above
the nose's tip and below: a mouth has more shapes than there are pictures of it, and the network's is to stay."""
_TONE_BAND = 0.04
"""The same for colour without luma: a network's irises have some of the old person's colour."""
_RIMS = (0.03, 0.07)
"""How much of a picture's face along its border is left out, share of the side, above the nose's tip and below: a jaw's
edge, or a strand of hair beside it, would be drawn as a line across the broader jaw of another."""
_TRUST = 0.2
"""Difference of the coarse colours, light aside, at which a third of the fine band is taken: who never opened the mouth
so far has no picture of it."""
_ANYTHING_LIKE = 0.4
"""The same at which a third of what is no face is taken for none."""
_HAIRY = (0.06, 0.02)
"""How much of a face along its border may be drawn as hair, above the nose's tip and below, share of the side: a fringe
casts its shadow and is smeared."""
_AROUND = (0.25, 0.06)
"""Standard deviations of the blurs that give the skin's colours far from it and near it, share of the side."""
_FEW = 0.02
"""Where the skin nearby weighs no more than this, its colours are half those of the skin further away."""
_FEATURE, _HAIR, _OTHER_HUE = (0.08, 0.25), (0.2, 0.45), (0.15, 0.4)
"""How much darker than the skin around brows and lips are, as a share, and hair, which may be no shade; how far what is
no skin is from its hue, in shares of the light: from where on it counts, and in full."""
_SMEARED = 0.03
"""How far what is no skin is smeared over what is, share of the side."""
_BESIDE_HAIR = 0.12
"""How near to hair what is a little darker than skin is hair too, and no shade, share of the side."""
_AROUND_CELLS = 16
"""Points along a side at which what is far is looked at."""
_LIGHT, _LIGHT_OF_FLOW, _LIGHT_OF_FINE = 0.2, 0.035, 0.05
"""Standard deviations of the blur that leaves light alone, share of the side: for what drawings of a mouth are compared
by; for what the flow follows, which is lines and no shade; for how much stronger what is fine is in a lighter place."""
_FLOW_CONTRAST = 2.0
"""What is finer than that light is shown to the flow so many times as strong, as a share of the light."""
_LEAST_LIGHT = 0.05
"""Added to light 0..1 before a ratio: what is black has none."""
_FLOW_SIDE = 80
"""F, pixels along a side at which the flow is found: there is nothing finer in a drawing."""
_COMPARED_SIDE = 32
"""C, pixels along a side at which drawings are compared: they differ in what is large."""
_MOST = 1.0
"""Largest value of the fine band over the light that is kept; it is stored as bytes."""
_FLOW_BLUR = 2.5
"""Standard deviation of the flow's blur at that size, px: features move as wholes and keep their shape."""
_FALL = 0.3
"""How much further than the nearest one, as a share of its distance, a picture is that counts a third of it."""
_LEAST = 0.1
"""What counts less than this share of the nearest one is not worth a flow."""
_ALIKE = 0.9
"""From this share of the nearest one on pictures are as good as the same, and it does not matter which are taken."""
_ANY_WAY = 20.0
"""Degrees by which a picture's head may be turned away from the swap's: among those the look alone decides. A blink has
few pictures, and any near pose will do."""
_TURNED = (10.0, 40.0)
"""Degrees beyond those that make a picture count as twice as unlike, above the nose's tip and below: the eyes of a head
turned left, in the shade, are like those of one turned right, and do not fit. A mouth says more of its pose itself."""
_OPENED = 0.03
"""How much further open or shut than the replaced mouth one is that counts as twice as unlike, share of the face's
height: a network draws a mouth less open than it is, and alone would choose one that is shut."""
_LITTLE_OPENED = 0.005
"""A deviation of mouths' heights that says little of what goes with it, share of the face's height."""
_SHUT = 0.2
"""Of a person's mouths this share is lower than one that counts as shut."""
_FEATURES = 10.0
"""How much more a pixel of eyes and mouth counts in a comparison than another of the face."""
_LEAST_ROOT = 1e-3
"""What counts for less than this, in roots of the most that a pixel counts for, is left out of a comparison."""
_SEAM = 0.06
"""Half the height over which the upper part goes over into the lower, share of the side."""
_MARGIN = 0.1
"""How far beyond the rows that it is wanted for a picture's flow is looked for, share of the side."""


@dataclass(frozen=True)
class Album:
    """Pictures of one person in view space, and what the network draws for each."""

    fine: Image
    """(N, D, D, 4) what the pictures have that is finer than `_BANDS`, over the light there, 0..255 for `_MOST` to both
    sides, and where they are face, 0..255: hair stays behind."""
    coarse: FloatImage
    """(N, F, F, 4) the drawings without light and without what is finer, and where they are surely face, 0..1."""
    grey: Image
    """(N, F, F) the drawings for the flow."""
    drawn: NDArray[np.float32]
    """(2, N, C * C * 3) the drawings as `_compared` has them, times `roots`: their distances are weighted ones."""
    roots: NDArray[np.float32]
    """(2, C, C, 1) roots of what counts in a comparison, above the nose's tip and below; each sums to 1."""
    poses: NDArray[np.float32]
    """(N, 2) yaw and pitch, degrees."""
    opened: NDArray[np.float64] | None
    """(N,) how much higher the mouths are than one that is shut, shares of the face's height; None without masks."""
    opening: NDArray[np.float32] | None
    """(L,) what opening the mouth by the face's height adds to this person's code; None without masks."""
    nose: float
    """Height of the nose's tip, 0 at the top to 1."""
    resolution: int
    """R."""

    @property
    def side(self) -> int:
        """D."""
        return self.fine.shape[1]

    @cached_property
    def _counting(self) -> list[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]]:
        """For each row of `drawn`: the K columns that count at all, what is in them (N, K), its squared lengths (N,).

        Above the nose's tip nothing counts below it, and the other way round.
        """
        counts = [np.flatnonzero(np.repeat(root.ravel() > _LEAST_ROOT * root.max(), 3)) for root in self.roots]
        rows = [np.ascontiguousarray(drawn[:, columns]) for drawn, columns in zip(self.drawn, counts, strict=True)]
        return [(columns, row, np.square(row).sum(-1)) for columns, row in zip(counts, rows, strict=True)]

    def opened_by(self, opened: Sequence[float | None], strength: float) -> NDArray[np.float32] | None:
        """What to add to codes for mouths that stand open so far (N,), so that they are drawn `strength` times as far
        further open, (N, L). None where nothing is to be added.
        """
        if self.opening is None or strength == 0:
            return None
        further = [strength * max(0.0, each or 0.0) for each in opened]
        return np.outer(further, self.opening).astype(np.float32)

    def matrix(self, crop_size: int, view: View) -> NDArray[np.float64]:
        """Pixels of crops (S, S) -> pixels of the album's pictures, (2, 3)."""
        return _to_side(crop_size, self.resolution, view, self.side)

    def add_detail(
        self, image: FloatImage, strength: float, pose: tuple[float, float], opened: float | None = None
    ) -> tuple[FloatImage, FloatImage]:
        """A swap (R, R, 3) RGB -1..1 of a head with this yaw and pitch, degrees, as (D, D, 3), its fine band from the
        pictures; and the swap itself with skin where this person has hair, or no face (`_all_skin`). `opened` is how
        much higher the replaced mouth is than it is when shut (`shut_mouth`), where that is known.

        With `strength` 0 it is enlarged, no more; where no picture is like it, it also keeps its own.
        """
        whole = (self.side, self.side)
        if strength == 0:
            return resize(image, whole), image
        drawing = resize(image, (_FLOW_SIDE, _FLOW_SIDE))
        grey = _grey(drawing)
        placed = [
            _Placed(index, _find_flow(grey, self.grey[index], _rows(_FLOW_SIDE, self.nose, shares)), shares)
            for index, shares in self._shares(image, pose, opened).items()
        ]
        fine, coarse = _mixed(self.fine, placed, self.nose), _mixed(self.coarse, placed, self.nose)
        apart = self._apart(drawing, coarse[..., :3])
        # Where no picture is anything like it, the flow may lead anywhere.
        no_face = np.exp(-np.square(apart / _ANYTHING_LIKE)) * (1 - coarse[..., 3])
        image, replaced = _all_skin(image, no_face)
        drawing, large = resize(image, (_FLOW_SIDE, _FLOW_SIDE)), resize(image, whole)
        own = _coarse(drawing, self.nose)
        alike = np.exp(-np.square(apart / _TRUST)) * (1 - resize(replaced, apart.shape))
        trusted = resize(np.float32(strength) * alike, whole)
        *colors, face = cv2.split(fine)
        taken = cv2.multiply(trusted, face, scale=1 / 255)
        # By OpenCV, which goes over a picture once where numpy's broadcasting takes several times as long.
        light = resize(_light(drawing, _LIGHT_OF_FINE), whole)
        wanted = cv2.multiply(cv2.merge(colors) * np.float32(_MOST / 127.5) - np.float32(_MOST), cv2.merge([light] * 3))
        missing = cv2.add(cv2.subtract(wanted, large), resize(own, whole))
        return np.clip(cv2.add(large, cv2.multiply(missing, cv2.merge((taken, taken, taken)))), -1, 1), image

    def _apart(self, drawing: FloatImage, coarse: FloatImage) -> FloatImage:
        """How far each place of a drawing (F, F, 3) is from what was mixed of `coarse`, light aside, (F, F)."""
        bare = _coarse(_without_light(drawing), self.nose)
        return blur(np.abs(bare - coarse).mean(-1), _BANDS[0] * _FLOW_SIDE / 2)

    def _shares(
        self, image: FloatImage, pose: tuple[float, float], opened: float | None = None
    ) -> dict[int, tuple[float, float]]:
        """The pictures most like a swap, and how much of each is taken above the nose and below; each sums to 1.

        A share falls to nought before a picture drops out of the nearest, so that no picture comes or goes at once.
        """
        found: dict[int, list[float]] = {}
        away = np.maximum(np.linalg.norm(self.poses - np.array(pose, np.float32), axis=-1) - _ANY_WAY, 0)
        mouth = 0.0 if opened is None or self.opened is None else (self.opened - opened) / _OPENED
        parts = zip(self._counting, _compared(image) * self.roots, _TURNED, (0.0, mouth), strict=True)
        for part, ((columns, drawn, lengths), own, turned, apart) in enumerate(parts):
            wanted = own.ravel()[columns]
            # Not by BLAS, whose threads wait busily for each other beside all the others here.
            alike = np.einsum("ij,j->i", drawn, wanted)
            unlike = np.maximum(lengths - 2 * alike + np.square(wanted).sum(), 0)
            distance = (1 + np.square(away / turned)) * (1 + np.square(apart)) * unlike
            near = np.argsort(distance, kind="stable")[: NEAREST + 1]
            least = distance[near[0]]
            share = np.exp(-(distance[near] - least) / (_FALL * least + 1e-9))
            next_one = min(float(share[-1]), _ALIKE) if len(near) > NEAREST else 0.0
            share = np.maximum(share - max(_LEAST, next_one), 0)
            for index, value in zip(near, share / share.sum(), strict=True):
                if value > 0:
                    found.setdefault(int(index), [0.0, 0.0])[part] = float(value)
        return {index: (above, below) for index, (above, below) in found.items()}


class _Placed(NamedTuple):
    """One of an album's pictures as it is used for a swap."""

    index: int
    flow: FloatImage
    """(F, F, 2) x y px of F, from each place in the swap to the same in the picture; known where it has a share."""
    shares: tuple[float, float]
    """How much of the mean it is above the nose's tip and below."""


def _rows(side: int, nose: float, shares: tuple[float, float]) -> slice:
    """The rows of pictures of `side` px in which one with these shares above the nose's tip and below is wanted."""
    above, below = shares
    low, high = (round(min(max(nose + end * _SEAM, 0.0), 1.0) * side) for end in (-1, 1))
    return slice(0 if above else low, side if below else high)


def _find_flow(drawing: Image, picture: Image, rows: slice) -> FloatImage:
    """Where each place of a drawing (F, F) is in a picture (F, F), (F, F, 2) px; nought outside `rows`."""
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow_of.setGradientDescentIterations(6)  # as good as the preset's 25 here, and quicker
    flow_of.setVariationalRefinementIterations(3)
    margin = round(_MARGIN * _FLOW_SIDE)
    seen, flow = slice(max(0, rows.start - margin), rows.stop + margin), _no_flow()
    flow[seen] = blur(np.asarray(flow_of.calc(drawing[seen], picture[seen], flow[seen])), _FLOW_BLUR)
    return flow


def _mixed(pictures: NDArray, placed: Sequence[_Placed], nose: float) -> FloatImage:
    """The mean of pictures (N, D, D, C), each brought into place, one above the nose and one below."""
    side = pictures.shape[1]
    grid, total = _grid(side), [0.0, 0.0]
    parts = _rows(side, nose, (1, 0)), _rows(side, nose, (0, 1))
    above, below = means = [np.zeros((part.stop - part.start, *pictures.shape[2:]), np.float32) for part in parts]
    for index, flow, shares in placed:
        rows = _rows(side, nose, shares)
        there = cv2.resize(flow * np.float32(side / _FLOW_SIDE), (side, side))[rows]
        there += grid[rows]
        picture = cv2.remap(pictures[index], there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportCallIssue, reportArgumentType]
        for part, share in enumerate(shares):
            if share > 0:
                total[part] += share
                own = picture[parts[part].start - rows.start : parts[part].stop - rows.start]
                cv2.accumulateWeighted(own, means[part], share / total[part])
    seam = slice(parts[1].start, parts[0].stop)
    high, low = above[seam], below[: seam.stop - seam.start]
    mixed = low + _above(nose, side)[seam] * (high - low)
    return np.concatenate([above[: seam.start], mixed, below[len(low) :]], dtype=np.float32)


@cache
def _grid(side: int) -> NDArray[np.float32]:
    """(side, side, 2) x y px of each place in a picture."""
    axis = np.arange(side, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), -1)


def make_album(dataset: FaceDataset, swapper: Swapper, progress: Progress) -> Album | None:
    """The album of the person in `dataset`, whose faces `swapper` makes; None where it has too few faces."""
    whole = [each for each in dataset.training_records() if dataset.has_crop(each) and dataset.has_mask(each, "face")]
    records = choose_pictures(whole, PICTURES)
    if len(records) < FEWEST_PICTURES:
        return None
    size, resolution, view = dataset.crop_size, swapper.resolution, swapper.view
    side = min(max(1, round(size * max(view) / resolution)), max(1, LARGEST_SIDE // resolution)) * resolution
    to_side, to_flow = (_to_side(size, resolution, view, each) for each in (side, _FLOW_SIDE))
    weights, nose = _parts_of_face(dataset, records, view_matrix(size, _COMPARED_SIDE, view))

    def read(record: FaceRecord) -> tuple[Image, Image, float | None]:
        kept = cache(dataset.mask)
        return dataset.crop(record), kept(record, "face"), measure_mouth(dataset, record, kept)

    def leaf(crop: Image, mask: Image, drawing: FloatImage) -> tuple[Image, FloatImage, Image]:
        """One picture's rows of `fine`, `coarse` and `grey`."""
        picture = to_float(warp(crop, to_side, (side, side), "cubic", "replicate"))
        face, coarse = warp(mask, to_side, (side, side), "linear", "zero"), _coarse(picture, nose)
        gain = _spread(resize(drawing, (side, side)), face) / _spread(coarse, face)
        small = resize(drawing, (_FLOW_SIDE, _FLOW_SIDE))
        light = resize(_light(small, _LIGHT_OF_FINE), (side, side))[..., None]
        fine = to_uint8((picture - coarse) * gain / light / _MOST)
        sure = _inner(warp(mask, to_flow, (_FLOW_SIDE, _FLOW_SIDE), "linear", "zero"), _HAIRY, nose)
        return (
            np.dstack([fine, blur(_inner(face, _RIMS, nose), _BANDS[0] * side)]),
            np.asarray(np.dstack([_coarse(_without_light(small), nose), blur(sure, 1) / 255]), np.float32),
            _grey(small),
        )

    with (
        progress.phase(f"pictures of {dataset.path.name} for detail", len(records), "faces") as advance,
        ThreadPoolExecutor(cores()) as pool,
    ):
        reading = pool.map(read, records)
        first = next(reading)
        swapper.redraw(*(part[None] for part in first[:2]))  # the network loads while the other pictures are read
        *pictures, heights = zip(first, *reading, strict=True)
        crops, masks = (np.stack(part) for part in pictures)
        drawn = swapper.redraw(crops, masks)
        parts = []
        for part in pool.map(leaf, crops, masks, drawn):
            parts.append(part)
            advance(1)
    fine, coarse, grey = (np.stack(part) for part in zip(*parts, strict=True))
    roots = np.sqrt(weights)[..., None]
    weighted = np.stack([(_compared(drawing) * roots).reshape(len(roots), -1) for drawing in drawn], 1)
    poses = np.array([[record.yaw, record.pitch] for record in records], np.float32)
    opened = None if None in heights else np.array(heights) - _shut(heights)
    opening = None if opened is None else opening_step(swapper.codes(crops, masks), opened, poses)
    return Album(fine, coarse, grey, weighted, roots, poses, opened, opening, nose, resolution)


def opening_step(codes: NDArray[np.float32], opened: NDArray[np.floating], poses: NDArray[np.float32]) -> NDArray:
    """What of a person's codes (N, L) goes with an open mouth and not with the pose (N, 2): (L,) for each unit of
    `opened` (N,).

    Ridge regression: the mouth of one who hardly opens it explains nothing. Along such directions faces change in one
    respect: Radford et al. 2016 ("Unsupervised representation learning with deep convolutional GANs").
    """
    known = np.column_stack([opened, poses / _ANY_WAY]).astype(np.float64)
    known -= known.mean(0)
    ridge = len(known) * np.diag([_LITTLE_OPENED**2, 0.01, 0.01])
    explained = np.linalg.solve(known.T @ known + ridge, known.T @ (codes - codes.mean(0)).astype(np.float64))
    return explained[0].astype(np.float32)


def shut_mouth(dataset: FaceDataset) -> float | None:
    """How high a person's mouth is when it is shut (`mouth_height`), by a few dozen faces; None without masks.

    Two persons' lips differ: what a mouth is higher than when it is shut is what both have in common.
    """
    whole = [each for each in dataset.training_records() if dataset.has_mask(each, "mouth")]
    measured = [measure_mouth(dataset, record, dataset.mask) for record in whole[:: max(1, len(whole) // _MASKS)]]
    heights = [height for height in measured if height is not None]
    return _shut(heights) if heights else None


def _shut(heights: Sequence[float]) -> float:
    return float(np.quantile(heights, _SHUT))


def measure_mouth(dataset: FaceDataset, record: FaceRecord, read: Callable[[FaceRecord, str], Image]) -> float | None:
    """The height of a record's mouth (`mouth_height`) by the masks that `read` gives; None without masks."""
    if not all(dataset.has_mask(record, kind) for kind in ("mouth", "face")):
        return None
    return float(mouth_height(read(record, "mouth")[None], read(record, "face")[None])[0])


def _spread(image: FloatImage, face: Image) -> NDArray[np.float32]:
    """Deviation of each channel inside a face (D, D), (3,); never nought."""
    inside = np.asarray(face > 127, np.uint8)
    return cv2.meanStdDev(image, mask=inside)[1][:, 0].astype(np.float32) + np.float32(0.01)


def choose_pictures(records: Sequence[FaceRecord], count: int) -> list[FaceRecord]:
    """At most `count` records: the sharpest of each of as many stretches of equal length."""
    edges = np.linspace(0, len(records), min(count, len(records)) + 1).astype(int)
    stretches = [records[low:high] for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return [max(stretch, key=lambda record: record.sharpness) for stretch in stretches]


def _parts_of_face(
    dataset: FaceDataset, records: Sequence[FaceRecord], to_view: NDArray
) -> tuple[NDArray[np.float32], float]:
    """What counts in a comparison (2, C, C), a person's eyes and mouth before all; and the height of the nose's tip."""
    size, few = (_COMPARED_SIDE, _COMPARED_SIDE), records[:: max(1, len(records) // _MASKS)]

    def usual(kind: str) -> NDArray[np.floating[Any]]:
        masks = [dataset.mask(record, kind) for record in few if dataset.has_mask(record, kind)]
        if not masks:
            return np.full(size, float(kind == "face"), np.float32)
        return np.asarray(np.mean([warp(mask, to_view, size, "linear", "zero") for mask in masks], 0)) / 255

    noses = [transform_points(compose_matrices(to_view, record.matrix), record.landmarks)[2, 1] for record in records]
    nose = (float(np.median(noses)) + 0.5) / _COMPARED_SIDE
    face, upper = usual("face"), _above(nose, _COMPARED_SIDE)[..., 0]
    weights = np.stack(
        [
            (1 + _FEATURES * blur(usual(kind), 0.03 * _COMPARED_SIDE)) * part * (face + np.float32(1e-3))
            for kind, part in (("eyes", upper), ("mouth", 1 - upper))
        ]
    )
    return (weights / weights.sum((1, 2), keepdims=True)).astype(np.float32), nose


def _above(nose: float, side: int) -> FloatImage:
    """(side, 1, 1) 0..1, how much of each row is above the nose's tip."""
    height = (np.arange(side, dtype=np.float32) + 0.5) / side
    ramp = np.clip((nose + _SEAM - height) / (2 * _SEAM), 0, 1)
    return ramp.astype(np.float32)[:, None, None]


def _to_side(crop_size: int, resolution: int, view: View, side: int) -> NDArray[np.float64]:
    """Crop px -> px of a network's view enlarged from `resolution` to `side` as `resize` does it."""
    scale = side / resolution
    shift = (scale - 1) / 2
    return compose_matrices([[scale, 0, shift], [0, scale, shift]], view_matrix(crop_size, resolution, view))


def _coarse(image: FloatImage, nose: float) -> FloatImage:
    """(D, D, 3) without what is fine; it is linear."""
    luma, side = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), len(image)
    above, below = (blur(luma, band * side)[..., None] for band in _BANDS)
    return below + _above(nose, side) * (above - below) + blur(image - luma[..., None], _TONE_BAND * side)


def _inner(face: Image, rims: tuple[float, float], nose: float) -> Image:
    """A mask (D, D) without its rim, shares of the side above the nose's tip and below."""
    above, below = (grow_mask(face, -round(rim * len(face))) for rim in rims)
    return np.where(_above(nose, len(face))[..., 0] > 0.5, above, below)


def _all_skin(image: FloatImage, no_face: FloatImage) -> tuple[FloatImage, FloatImage]:
    """A drawing (R, R, 3) RGB -1..1 with the colours of the skin around it where it has hair, or what is behind a jaw;
    and where that is, (C, C) 0..1.

    `no_face` (F, F) 0..1 is where the person may have no face: what is much darker there than the skin around, or of
    another hue, is none. The other one may have a bare forehead and a broader jaw there.
    """
    size = (_COMPARED_SIDE, _COMPARED_SIDE)  # skin is smooth
    small, face = resize(image, size), 1 - resize(no_face, size)
    lit = ramp(_light(small, 0) / _light(_colors_around(small, face), 0), (1 - _FEATURE[1], 1 - _FEATURE[0]))
    skin = _colors_around(small, face * lit)  # brows, eyes and lips are no skin
    light, light_around = _light(small, 0)[..., None], _light(skin, 0)[..., None]
    shares = [(part + np.float32(1)) * np.float32(0.5) / of for part, of in ((small, light), (skin, light_around))]
    darker = 1 - (light / light_around)[..., 0]
    other = np.maximum(ramp(darker, _HAIR), ramp(np.abs(shares[0] - shares[1]).max(-1), _OTHER_HUE))
    beside = grow_mask(other, round(_BESIDE_HAIR * _COMPARED_SIDE)) * ramp(darker, _FEATURE)
    replaced = (1 - face) * blur(grow_mask(np.maximum(other, beside), round(_SMEARED * _COMPARED_SIDE)), 0.5)
    there = np.clip(resize(replaced, image.shape[:2]), 0, 1)[..., None]
    return image + there * (resize(skin, image.shape[:2]) - image), replaced


def _colors_around(image: FloatImage, weights: NDArray) -> FloatImage:
    """The mean colours (C, C, 3) of an image near each place, by weights (C, C); far from them, of what is nearest."""
    known = np.asarray(np.dstack([image * weights[..., None], weights]), np.float32)
    cells = cv2.resize(known, (_AROUND_CELLS, _AROUND_CELLS), interpolation=cv2.INTER_AREA)
    far, near = resize(blur(cells, _AROUND[0] * _AROUND_CELLS), weights.shape), blur(known, _AROUND[1] * len(weights))
    beyond = far[..., :3] / (far[..., 3:] + np.float32(1e-3))
    return np.asarray((near[..., :3] + np.float32(_FEW) * beyond) / (near[..., 3:] + np.float32(_FEW)), np.float32)


def _compared(image: FloatImage) -> FloatImage:
    """What a drawing (R, R, 3) RGB -1..1 is compared by above the nose's tip and below, (2, C, C, 3).

    A mouth without its light finds mouths of the same shape. An eye keeps it: where the white is says where it looks.
    """
    small = resize(image, (_COMPARED_SIDE, _COMPARED_SIDE))
    return np.stack([small, _without_light(small)])


def _grey(image: FloatImage) -> Image:
    """What the flow of (F, F, 3) RGB -1..1 follows, (F, F): lines darker and lighter than what is around them."""
    return to_uint8((_light(image, 0) / _light(image, _LIGHT_OF_FLOW) - 1) * _FLOW_CONTRAST)


def _without_light(image: FloatImage) -> FloatImage:
    """Colours of (F, F, 3) RGB -1..1 as shares of the light around them."""
    colors = (image + np.float32(1)) * np.float32(0.5) + np.float32(_LEAST_LIGHT)
    return colors / _light(image, _LIGHT)[..., None]


def _light(image: FloatImage, spread: float) -> FloatImage:
    """(F, F) the luma of RGB -1..1, blurred by a share `spread` of the side, as light 0..1; never nought."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return (blur(luma, spread * len(image)) + np.float32(1)) * np.float32(0.5) + np.float32(_LEAST_LIGHT)


def _no_flow() -> NDArray[np.float32]:
    return np.zeros((_FLOW_SIDE, _FLOW_SIDE, 2), np.float32)
