"""The face parser as stages use it: what each pixel of a crop is, where the 68 landmarks are, and how sure that is.

In: crops `uint8 (N, S, S, 3)` of a dataset. Out: `Parsed`, and masks of any kind in `KINDS`.

    parser = FaceParser()
    parsed = parser.parse(crops)
    mask = parsed_mask("face", parsed, index, size=256)

The network was trained on rendered people only (`examples/train_weights/train_parser.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.imaging import Image, fill_holes, grow_mask, resize
from faceswap_pipeline.networks.parser import CLASSES, MIRROR, SIDE

BATCH = 16
"""Crops in one pass; smaller batches are filled up."""
TURNED = 0.7
"""`_turn` beyond which a head is also looked at in the mirror, some 32 degrees of yaw. There it adds 0.005 to the
overlap with the true face; from the front no less, and would take twice the time."""
LARGEST_LOGIT = 60.0
"""Beyond it a class is certain, and short of what overflows."""
INNER_FACE = ("face", "lips", "brow", "eye", "inner_mouth", "lash")
"""Classes inside the border of the face."""
EYE_POINTS = (slice(36, 42), slice(42, 48))
"""The landmarks around each eye."""
INNER_POINTS = slice(27, 68)
"""Nose, eyes and mouth: brows are under many a fringe, and the jaw of a turned head is hidden by itself."""
COVERED = 0.862
"""Mean visibility of those below which something stands before the face: 0.71 to 0.86 under a hand, 0.89 and more on
five filmed clips where nothing does; a bearded man has one frame at 0.865 (docs/results.md)."""
HIDDEN = 0.8
"""Visibility of a landmark, where something stands before the face, below which it is behind that."""
HIDDEN_DEPTH, FEWEST_HIDDEN = 0.07, 8
"""How far inside the face that the classes see hidden landmarks must lie, share of its height, and how many of them."""
LARGEST_GLIMPSE = 0.15
"""A hole of the face that is smaller, as a share of it, is a glimpse of a larger thing; one that is larger is all."""
HINT = 0.25
"""Chance of clothes or background from which a pixel belongs to what stands before hidden landmarks."""
HIDDEN_REACH, HINT_GAP = 0.1, 0.06
"""How far around a hidden landmark all is hidden, and gaps of what width are closed, shares of the face's height."""


@dataclass(frozen=True)
class Parsed:
    """What the parser says of N crops."""

    chances: NDArray[np.float32]
    """(N, SIDE, SIDE, 10): how likely each class is at each pixel, sums to 1."""
    landmarks: NDArray[np.float32]
    """(N, 68, 2) x y as shares of the crop's side, 0 in its middle, in the order of iBUG 300-W."""
    visible: NDArray[np.float32]
    """(N, 68) 0..1."""

    def likely(self, index: int, classes: Sequence[str]) -> NDArray[np.float32]:
        """How likely each pixel is one of `classes`, (SIDE, SIDE) 0..1."""
        member = [CLASSES.index(name) for name in classes]
        return self.chances[index][..., member].sum(-1)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(N,) 0..1: the overlap (IoU) that the parser itself expects of its face mask with the truth; 0 without one.

        The expected intersection over the expected union of the mask at one half, under the pixels' own chances.
        """
        member = [CLASSES.index(name) for name in INNER_FACE]
        face = self.chances[..., member].sum(-1, dtype=np.float64)
        inside = face > 0.5
        both = (face * inside).sum((1, 2))
        return both / np.maximum(inside.sum((1, 2)) + (face * ~inside).sum((1, 2)), 1e-9)


class _Seen(NamedTuple):
    """The three outputs of the network, as `Parsed` has them."""

    chances: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    visible: NDArray[np.float32]


class FaceParser:
    """The network with its shipped weights, compiled for one batch size."""

    def __init__(self, warm: bool = False) -> None:
        """`warm` compiles now and not with the first crops.

        Raises WeightsError when the weights are missing or not the ones of the manifest.
        """
        from keras import ops

        from faceswap_pipeline.array_folder import read_arrays
        from faceswap_pipeline.backend import compile_inference
        from faceswap_pipeline.networks.parser import build_parser
        from faceswap_pipeline.networks.weights import set_arrays

        network = build_parser()
        set_arrays("parser", network.variables, read_arrays(resources.weight_file("parser")))

        def infer(pictures):
            logits, landmarks, sight = network(ops.cast(pictures, "float32") / 127.5 - 1, training=False)
            # What `ops.softmax` gives, which takes twice as long over so short an axis.
            raised = ops.exp(ops.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT))
            return raised / ops.sum(raised, axis=-1, keepdims=True), landmarks, ops.sigmoid(sight)

        self._infer: Callable[..., Any] = compile_inference(infer, network.variables)
        if warm:
            self.parse([np.zeros((SIDE, SIDE, 3), np.uint8)])

    def parse(self, crops: Sequence[Image] | Image) -> Parsed:
        """What the crops, each uint8 (S, S, 3), show. Heads turned far aside are looked at in the mirror as well."""
        pictures = np.array([resize(crop, (SIDE, SIDE)) for crop in crops], np.uint8).reshape(-1, SIDE, SIDE, 3)
        seen = self._run(pictures)
        turned = np.flatnonzero(_turn(seen.landmarks) > TURNED)
        if turned.size:
            mirrored = _mirrored(self._run(pictures[turned, :, ::-1]))
            seen = _Seen(*map(np.array, seen))
            for whole, again in zip(seen, mirrored, strict=True):
                whole[turned] = (whole[turned] + again) / 2
        return Parsed(*seen)

    def _run(self, pictures: Image) -> _Seen:
        """What the network says of pictures uint8 (N, SIDE, SIDE, 3)."""
        count = len(pictures)
        whole = np.zeros((max(1, -(-count // BATCH)) * BATCH, SIDE, SIDE, 3), np.uint8)
        whole[:count] = pictures
        parts = [self._infer(whole[start : start + BATCH]) for start in range(0, len(whole), BATCH)]
        joined = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return _Seen(*(part[:count] for part in joined))


def _turn(landmarks: NDArray[np.float32]) -> NDArray[np.floating]:
    """(N,) how far the nose's tip is from the middle between both ends of the jaw: 0 from the front, 1 near profile."""
    left, nose, right = (landmarks[:, point, 0] for point in (0, 30, 16))
    return np.abs(2 * nose - left - right) / np.maximum(right - left, np.float32(1e-6))


def _mirrored(seen: _Seen) -> _Seen:
    """What was seen in the mirror, as it is without."""
    landmarks = seen.landmarks[:, MIRROR] * np.array([-1, 1], np.float32)
    return _Seen(seen.chances[:, :, ::-1], landmarks, seen.visible[:, MIRROR])


def parsed_mask(kind: str, parsed: Parsed, index: int, size: int, padding: float = 0.0) -> Image:
    """The mask of a kind of `KINDS` for one parsed crop, uint8 0 or 255 (size, size).

    `padding` widens it, or draws it in below 0, in sides of the crop.
    """
    soft = KINDS[kind](parsed, index)
    mask = cv2.compare(np.asarray(resize(soft, (size, size)), np.float32), 0.5, cv2.CMP_GT)
    if kind in SOLID:
        mask = np.where(hidden_part(parsed, index, size), np.uint8(0), fill_holes(mask))
    return np.asarray(grow_mask(mask, round(padding * size)), np.uint8)


def hidden_part(parsed: Parsed, index: int, size: int) -> NDArray[np.bool_]:
    """What lies behind a hand or another thing that the classes miss, (size, size).

    Of a hand as bright as the face behind it they see edges and hollows alone. The landmarks behind it are told to be
    hidden all the same: they and what looks like an edge nearby span it. A head that is turned far aside hides
    landmarks itself.
    """
    seen, landmarks = parsed.visible[index], parsed.landmarks[index]
    if seen[INNER_POINTS].mean() >= COVERED or _turn(landmarks[None])[0] > TURNED:
        return np.zeros((size, size), bool)
    face = fill_holes(cv2.compare(KINDS["face"](parsed, index), 0.5, cv2.CMP_GT), LARGEST_GLIMPSE)
    height = float((face > 0).any(1).sum())
    found = np.zeros((SIDE, SIDE), np.uint8)
    x, y = np.clip(_pixels(landmarks[INNER_POINTS][seen[INNER_POINTS] < HIDDEN]), 0, SIDE - 1).T
    deep = grow_mask(face, -round(HIDDEN_DEPTH * height))[y, x] > 0  # what the classes see hides its surroundings too
    if deep.sum() < FEWEST_HIDDEN:
        return np.zeros((size, size), bool)
    for place in zip(x[deep].tolist(), y[deep].tolist(), strict=True):
        cv2.circle(found, place, round(HIDDEN_REACH * height), 255, -1)
    edges = (parsed.likely(index, ("clothes", "background")) > HINT) & (face > 0)
    reach = round(HINT_GAP * height / 2)
    _, parts = cv2.connectedComponents(_closed(np.where(edges, np.uint8(255), found), reach))
    hidden = np.zeros((SIDE, SIDE), np.uint8)
    for part in np.unique(parts[found > 0]):
        points = cv2.findNonZero((parts == part).astype(np.uint8))
        cv2.fillConvexPoly(hidden, cv2.convexHull(points), 255)
    return np.asarray(resize(hidden, (size, size)) > 127)


def _closed(mask: Image, reach: int) -> Image:
    """A mask without gaps narrower than twice `reach`."""
    return np.asarray(grow_mask(grow_mask(mask, reach), -reach), np.uint8)


def _eyes(parsed: Parsed, index: int) -> NDArray[np.float32]:
    """Eyeballs and lashes, and the outline of the lids, which is there also when they are shut."""
    soft = parsed.likely(index, ("eye", "lash"))
    lids = np.zeros((SIDE, SIDE), np.uint8)
    for points in EYE_POINTS:
        cv2.fillPoly(lids, [_pixels(parsed.landmarks[index, points])], 255)
    bare = 1 - parsed.likely(index, ("hair", "clothes", "background"))
    return np.maximum(soft, np.minimum(lids.astype(np.float32) / 255, bare))


def _head(parsed: Parsed, index: int) -> NDArray[np.float32]:
    """All facial skin above the jawline: the neck is the same class as the cheeks, the jaw's landmarks part them."""
    jaw = _pixels(parsed.landmarks[index, :17])
    outline = np.concatenate([[[jaw[0, 0], 0]], jaw, [[jaw[-1, 0], 0]]])
    above = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(above, [outline.astype(np.int32)], 255)
    inner = parsed.likely(index, INNER_FACE)
    return np.maximum(inner, np.minimum(parsed.likely(index, (*INNER_FACE, "skin")), above.astype(np.float32) / 255))


def _pixels(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """Shares of the side -> whole pixels of the parser's picture."""
    return np.rint(points * SIDE + (SIDE - 1) / 2).astype(np.int32)


KINDS: dict[str, Callable[[Parsed, int], NDArray[np.float32]]] = {
    "face": lambda parsed, index: parsed.likely(index, INNER_FACE),
    "head": _head,
    "skin": lambda parsed, index: parsed.likely(index, ("face", "skin")),
    "eyes": _eyes,
    "mouth": lambda parsed, index: parsed.likely(index, ("lips", "inner_mouth")),
    "hair": lambda parsed, index: parsed.likely(index, ("hair",)),
}
"""Each kind of mask as chances (SIDE, SIDE) 0..1."""
SOLID = frozenset(("face", "head", "skin"))
"""Kinds whose small holes are filled."""
