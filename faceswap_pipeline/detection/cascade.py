"""Faces in pictures: the three-step cascade of MTCNN (Zhang et al. 2016), batched, with sub-pixel results.

In: RGB pictures uint8 (H, W, 3). Out: boxes, five landmarks and scores in pixels of the picture.

    detector = FaceDetector(min_face=0.05)
    faces = detector.detect([picture])[0]            # the whole cascade: finds faces
    faces = detector.refine([picture], [boxes])[0]   # the last two networks: follows faces whose place is nearly known
    seen = detector.examine([picture], [boxes])[0]   # the last network several times: steadier landmarks, surer scores

The smallest face searched is a share of the picture's short side, so that cost does not grow with resolution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline import backend, resources
from faceswap_pipeline.detection import networks
from faceswap_pipeline.geometry import box_area, box_iou
from faceswap_pipeline.imaging import Image

PYRAMID_FACTOR = 0.709
"""Size ratio of neighbouring pyramid levels: the square root of a half, as in the paper."""
PROPOSAL_SCORE, REFINE_SCORE = 0.6, 0.7
"""Below these the first two networks' candidates are dropped (the paper's own)."""
CROP_BATCHES = (8, 16, 32, 64)
"""Batches of crops are padded to one of these, so that every network is compiled a handful of times only."""
VIEWS = (
    (0.88, 0.03, 0.0, False),
    (0.94, -0.03, 0.0, True),
    (1.0, 0.0, 0.03, False),
    (0.88, 0.0, -0.03, True),
    (0.94, 0.03, 0.0, False),
    (1.0, -0.03, 0.0, True),
)
"""Crops that `examine` averages over: size and shift (x, y) as shares of the box, and whether mirrored."""
MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark each one becomes in a mirrored picture."""
PICTURE_BATCHES = (1, 4)
"""The same for batches of pictures."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One face found in one picture."""

    box: NDArray[np.float32]
    """(4,) x0 y0 x1 y1 px."""
    landmarks: NDArray[np.float32]
    """(5, 2) x y px: left eye, right eye, nose, left and right corner of the mouth, as the viewer sees them."""
    score: float
    """0..1, the last network's; the mean over several crops once the face was examined."""
    spread: float = 0.0
    """How far apart several crops put its landmarks, as `Examined` has it; 0 before the face was examined."""

    def turned_back(self, quarters: int, width: int, height: int) -> "Detection":
        """The face, found in a picture turned clockwise by quarter turns, in the picture as it was: `width`, `height`.

        The landmarks keep their names: the left eye is the viewer's left once the face is upright.
        """
        corners, points = self.box.reshape(2, 2), self.landmarks
        for done in range(quarters % 4):
            # One turn back takes the turned picture's right edge to the top.
            last = (height if (quarters - done) % 2 else width) - 1
            corners, points = (np.stack([p[:, 1], last - p[:, 0]], 1) for p in (corners, points))
        box = np.concatenate([corners.min(0), corners.max(0)])
        return Detection(box.astype(np.float32), points.astype(np.float32), self.score, self.spread)


class Examined(NamedTuple):
    """What several crops of each face of one picture say together."""

    landmarks: NDArray[np.float64]
    """(N, 5, 2) px, their mean."""
    scores: NDArray[np.float64]
    """(N,) 0..1, their mean."""
    spreads: NDArray[np.float64]
    """(N,) how far apart they put the landmarks: root mean square distance from the mean, as a share of the box.

    In filmed and rendered faces 0.003 to 0.02, in profiles up to 0.05; in hands and cloth taken for faces 0.02 to 0.09.
    """


class Pyramid:
    """A picture and its halvings, made when first asked for: crops are cut from the one that is just large enough."""

    def __init__(self, picture: Image) -> None:
        self.height, self.width = picture.shape[:2]
        self._levels = {0: np.ascontiguousarray(picture)}

    @property
    def picture(self) -> Image:
        """The picture itself, uint8 (H, W, 3)."""
        return self._level(0)

    def turned(self, quarters: int) -> "Pyramid":
        """The picture turned clockwise by quarter turns; itself for 0."""
        return Pyramid(np.rot90(self.picture, -quarters)) if quarters % 4 else self

    def crop(self, box: ArrayLike, size: int) -> Image:
        """The box (4,) x0 y0 x1 y1 px stretched to uint8 (size, size, 3); grey beyond the border."""
        x0, y0, x1, y1 = np.asarray(box, np.float64)
        image = self._reduced(max(x1 - x0, y1 - y0) / size)
        ratio_x, ratio_y = image.shape[1] / self.width, image.shape[0] / self.height
        # Edges measured from the picture's own edge scale exactly; pixel centres sit half a pixel further in.
        left, right, top, bottom = (
            (x0 + 0.5) * ratio_x,
            (x1 + 0.5) * ratio_x,
            (y0 + 0.5) * ratio_y,
            (y1 + 0.5) * ratio_y,
        )
        scale_x, scale_y = size / max(right - left, 1e-6), size / max(bottom - top, 1e-6)
        matrix = np.array(
            [[scale_x, 0, (0.5 - left) * scale_x - 0.5], [0, scale_y, (0.5 - top) * scale_y - 0.5]], np.float64
        )
        return cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(127,) * 3
        )

    def resized(self, width: int, height: int) -> Image:
        """The whole picture at a smaller size, area-averaged."""
        image = self._reduced(min(self.width / width, self.height / height))
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def _reduced(self, shrink: float) -> Image:
        """The smallest level that still has `1 / shrink` of the picture's resolution."""
        return self._level(int(np.log2(max(shrink, 1))))

    def _level(self, level: int) -> Image:
        """The picture halved so many times."""
        if level not in self._levels:
            self._levels[level] = self._made(level)
        return self._levels[level]

    def _made(self, level: int) -> Image:
        above = self._level(level - 1)
        half = ((above.shape[1] + 1) // 2, (above.shape[0] + 1) // 2)
        return np.asarray(cv2.resize(above, half, interpolation=cv2.INTER_AREA), np.uint8)


class FaceDetector:
    """The cascade with its weights loaded and compiled. One per process; not tied to a picture size."""

    def __init__(self, min_face: float = 0.05, score: float = 0.7) -> None:
        """`min_face`: side of the smallest face searched as a share of the picture's short side; `score`: least score.

        Raises WeightsError when the shipped weights are missing or damaged.
        """
        self.min_face = min_face
        self.score = score

    @cached_property
    def _networks(self) -> "_Compiled":
        with np.load(resources.weight_file("mtcnn"), allow_pickle=False) as file:
            loaded = networks.load_networks(dict(file))
        return _Compiled(*map(_compiled, (loaded.proposal, loaded.refine, loaded.output)))

    def measure(self, pictures: Sequence[Image | Pyramid], boxes: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
        """Landmarks (N, 5, 2) px of the faces in steady square boxes (N, 4), as `examine` finds them."""
        return [seen.landmarks for seen in self.examine(pictures, boxes)]

    def examine(self, pictures: Sequence[Image | Pyramid], boxes: Sequence[ArrayLike]) -> list[Examined]:
        """The faces in steady square boxes (N, 4) of each picture, by the last network on several crops each.

        One crop's landmarks tremble with where it was cut; over neighbouring frames the mean of `VIEWS` trembles less
        than half as much. And what is no face looks like one in a lucky crop, but not in all of them alike.
        """
        pyramids = [picture if isinstance(picture, Pyramid) else Pyramid(picture) for picture in pictures]
        groups = [np.asarray(group, np.float64).reshape(-1, 4) for group in boxes]
        squares = square_boxes(np.concatenate([*groups, np.zeros((0, 4))]))
        owners = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        centre, side = (squares[:, :2] + squares[:, 2:]) / 2, squares[:, 2:] - squares[:, :2]
        views = []
        for scale, x, y, _ in VIEWS:
            moved = centre + side * [x, y]
            views.append(np.concatenate([moved - side * scale / 2, moved + side * scale / 2], 1))
        flips = np.repeat([view[3] for view in VIEWS], len(squares))
        scores, _, shares = self._run(
            self._networks.output,
            networks.OUTPUT_SIZE,
            pyramids,
            np.tile(owners, len(VIEWS)),
            np.concatenate(views),
            flips,
        )
        points = shares.reshape(-1, 2, 5).transpose(0, 2, 1).astype(np.float64)
        mirrored = points[:, MIRRORED] * [-1, 1] + [1, 0]
        points = np.where(flips[:, None, None], mirrored, points).reshape(len(VIEWS), -1, 5, 2)
        placed = np.array(
            [p * (v[:, 2:] - v[:, :2])[:, None] + v[:, None, :2] for p, v in zip(points, views, strict=True)]
        )
        mean, score = placed.mean(0), scores.reshape(len(VIEWS), -1).mean(0).astype(np.float64)
        spread = np.sqrt(((placed - mean) ** 2).sum(3).mean((0, 2))) / np.maximum(side[:, 0], 1e-9)
        own = [owners == owner for owner in range(len(groups))]
        return [Examined(mean[mine], score[mine], spread[mine]) for mine in own]

    def _run(
        self,
        network: Callable[..., tuple[NDArray, ...]],
        size: int,
        pyramids: Sequence[Pyramid],
        owners: NDArray,
        boxes: NDArray,
        flips: NDArray | None = None,
    ) -> list[NDArray]:
        """A network for crops of `size` on boxes (N, 4) of the pictures `owners` (N,), mirrored where `flips` (N,)."""
        parts = []
        for start in range(0, max(len(boxes), 1), CROP_BATCHES[-1]):
            chosen = range(start, min(start + CROP_BATCHES[-1], len(boxes)))
            padded = next(batch for batch in CROP_BATCHES if batch >= len(chosen))
            batch = np.zeros((padded, size, size, 3), np.uint8)
            for row, index in enumerate(chosen):
                crop = pyramids[owners[index]].crop(boxes[index], size)
                batch[row] = crop if flips is None or not flips[index] else crop[:, ::-1]
            parts.append([values[: len(chosen)] for values in network(batch)])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def detect(self, pictures: Sequence[Image | Pyramid]) -> list[list[Detection]]:
        """Every face in each picture, best score first. Pictures of one size run as one batch."""
        pyramids = [picture if isinstance(picture, Pyramid) else Pyramid(picture) for picture in pictures]
        proposals: list[NDArray] = [np.zeros((0, 4))] * len(pyramids)
        shapes = [(pyramid.height, pyramid.width) for pyramid in pyramids]
        for shape in set(shapes):
            same = [index for index, own in enumerate(shapes) if own == shape]
            for start in range(0, len(same), PICTURE_BATCHES[-1]):
                chosen = same[start : start + PICTURE_BATCHES[-1]]
                for index, boxes in zip(chosen, self._proposals([pyramids[i] for i in chosen]), strict=True):
                    proposals[index] = boxes
        refined = self._refined(pyramids, proposals)
        return self._outputs(pyramids, refined)

    def refine(self, pictures: Sequence[Image | Pyramid], boxes: Sequence[ArrayLike]) -> list[list[Detection]]:
        """One Detection for each box (N, 4) that is expected to hold a face; whether it does, its score tells."""
        pyramids = [picture if isinstance(picture, Pyramid) else Pyramid(picture) for picture in pictures]
        groups = [np.asarray(group, np.float64).reshape(-1, 4) for group in boxes]
        owners = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        squares = square_boxes(np.concatenate([*groups, np.zeros((0, 4))]))
        _, shifts = self._run(self._networks.refine, networks.REFINE_SIZE, pyramids, owners, squares)
        moved = square_boxes(shift_boxes(squares, shifts))
        found = self._landmarks(pyramids, owners, moved)
        return [[found[i] for i in np.flatnonzero(owners == owner)] for owner in range(len(groups))]

    def _proposals(self, pyramids: Sequence[Pyramid]) -> list[NDArray[np.float64]]:
        """Square candidate boxes (N, 4) of each picture (all of one size) from the first network."""
        height, width = pyramids[0].height, pyramids[0].width
        count = len(pyramids)
        padded = next(size for size in PICTURE_BATCHES if size >= count)
        boxes: list[list[NDArray]] = [[] for _ in pyramids]
        scores: list[list[NDArray]] = [[] for _ in pyramids]
        sizes = pyramid_sizes(width, height, self.min_face)
        if not sizes:
            return [np.zeros((0, 4)) for _ in pyramids]
        # All sizes in one picture: the small ones are hardly worth a call each, and only one shape is compiled. A
        # window that lies on two of them is nobody's.
        (places, whole), stride = packed(sizes), networks.PROPOSAL_STRIDE
        sheets = np.zeros((padded, whole[1], whole[0], 3), np.uint8)
        for (x, y), size in zip(places, sizes, strict=True):
            for index, pyramid in enumerate(pyramids):
                sheets[index, y : y + size[1], x : x + size[0]] = pyramid.resized(*size)
        all_scores, all_shifts = self._networks.proposal(sheets)
        for (x, y), size in zip(places, sizes, strict=True):
            ratio = np.array([width / size[0], height / size[1]] * 2)
            own = [
                slice(start // stride, (start + side - networks.PROPOSAL_CELL) // stride + 1)
                for start, side in ((y, size[1]), (x, size[0]))
            ]
            level_scores, level_shifts = all_scores[:, *own], all_shifts[:, *own]
            for index in range(count):
                rows, columns = np.nonzero(level_scores[index] > PROPOSAL_SCORE)
                corner = np.stack([columns, rows], 1) * float(stride)
                cells = np.concatenate([corner, corner + networks.PROPOSAL_CELL], 1)
                moved = (cells + level_shifts[index, rows, columns] * networks.PROPOSAL_CELL) * ratio - 0.5
                values = level_scores[index, rows, columns]
                kept = suppress(moved, values, 0.5)
                boxes[index].append(moved[kept])
                scores[index].append(values[kept])
        result = []
        for index in range(count):
            all_boxes = np.concatenate([*boxes[index], np.zeros((0, 4))])
            kept = suppress(all_boxes, np.concatenate([*scores[index], np.zeros(0)]), 0.7)
            result.append(square_boxes(all_boxes[kept]))
        return result

    def _refined(self, pyramids: Sequence[Pyramid], proposals: Sequence[NDArray]) -> list[NDArray[np.float64]]:
        """The candidates that the second network keeps, moved and square."""
        owners = np.repeat(np.arange(len(proposals)), [len(boxes) for boxes in proposals])
        squares = np.concatenate([*proposals, np.zeros((0, 4))])
        scores, shifts = self._run(self._networks.refine, networks.REFINE_SIZE, pyramids, owners, squares)
        moved = shift_boxes(squares, shifts)
        result = []
        for owner in range(len(proposals)):
            chosen = np.flatnonzero((owners == owner) & (scores > REFINE_SCORE))
            result.append(square_boxes(moved[chosen[suppress(moved[chosen], scores[chosen], 0.7)]]))
        return result

    def _outputs(self, pyramids: Sequence[Pyramid], candidates: Sequence[NDArray]) -> list[list[Detection]]:
        """The faces that the last network confirms."""
        owners = np.repeat(np.arange(len(candidates)), [len(boxes) for boxes in candidates])
        found = self._landmarks(pyramids, owners, np.concatenate([*candidates, np.zeros((0, 4))]))
        result = []
        for owner in range(len(candidates)):
            faces = [found[i] for i in np.flatnonzero(owners == owner) if found[i].score >= self.score]
            boxes = np.array([face.box for face in faces]).reshape(-1, 4)
            kept = suppress(boxes, np.array([face.score for face in faces]), 0.7, of_smaller=True)
            result.append([faces[i] for i in kept])
        return result

    def _landmarks(self, pyramids: Sequence[Pyramid], owners: NDArray, squares: NDArray) -> list[Detection]:
        """The last network on square boxes (N, 4): one Detection each, whatever its score."""
        scores, shifts, shares = self._run(self._networks.output, networks.OUTPUT_SIZE, pyramids, owners, squares)
        boxes = shift_boxes(squares, shifts).astype(np.float32)
        corner, size = squares[:, None, :2], (squares[:, 2:] - squares[:, :2])[:, None]
        points = (corner + shares.reshape(-1, 2, 5).transpose(0, 2, 1) * size).astype(np.float32)
        return [Detection(boxes[i], points[i], float(scores[i])) for i in range(len(squares))]


class _Compiled(NamedTuple):
    """The three networks as compiled functions of uint8 pictures, whatever their number."""

    proposal: Callable[..., tuple[NDArray, ...]]
    refine: Callable[..., tuple[NDArray, ...]]
    output: Callable[..., tuple[NDArray, ...]]


def _compiled(model: keras.Model) -> Callable[..., tuple[NDArray, ...]]:
    def look(pictures):
        return tuple(model((keras.ops.cast(pictures, "float32") - 127.5) / 128, training=False))

    return backend.compile_inference(look, inputs=[keras.InputSpec("uint8", model.input_shape)])


def pyramid_sizes(width: int, height: int, min_face: float) -> list[tuple[int, int]]:
    """Sizes (width, height) px at which the 12-pixel window looks for faces, from `min_face` of the short side up.

    They are even, as the first network wants them.
    """
    short = min(width, height)
    scale = min(networks.PROPOSAL_CELL / (min_face * short), 1.0)
    sizes = []
    while short * scale >= networks.PROPOSAL_CELL:
        sizes.append((2 * round(width * scale / 2), 2 * round(height * scale / 2)))
        scale *= PYRAMID_FACTOR
    return sizes


def packed(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Where rectangles of `sizes` (width, height), the largest first, lie without overlap in one as wide as the first.

    Returns the place (x, y) of each and the size of the whole. Each is put as high up as it goes, then as far left.
    """
    placed: list[tuple[int, int, int, int]] = []
    for width, height in sizes:
        free = (
            (y, x)
            for x in {0, *(right for _, _, right, _ in placed)}
            for y in {0, *(bottom for _, _, _, bottom in placed)}
            if x + width <= sizes[0][0]
            and all(
                x >= right or x + width <= left or y >= bottom or y + height <= top
                for left, top, right, bottom in placed
            )
        )
        y, x = min(free)
        placed.append((x, y, x + width, y + height))
    return [(x, y) for x, y, _, _ in placed], (sizes[0][0], max(bottom for *_, bottom in placed))


def square_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Boxes (N, 4) grown about their centres to squares of their longer side."""
    b = np.asarray(boxes, np.float64)
    centre, half = (b[:, :2] + b[:, 2:]) / 2, (b[:, 2:] - b[:, :2]).max(1, keepdims=True, initial=0) / 2
    return np.concatenate([centre - half, centre + half], 1)


def shift_boxes(boxes: NDArray, shifts: NDArray) -> NDArray[np.float64]:
    """Boxes (N, 4) with every edge moved by a share (N, 4) of the box's width or height."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return boxes + shifts * size


def suppress(boxes: NDArray, scores: NDArray, overlap: float, of_smaller: bool = False) -> NDArray[np.int64]:
    """Non-maximum suppression: indexes of the boxes (N, 4) to keep, best score first.

    A box goes when it shares more than `overlap` with a better one that stays: of their union, or of the smaller box.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) < 2:
        return order
    sorted_boxes = boxes[order]
    shared = box_iou(sorted_boxes, sorted_boxes)
    if of_smaller:
        area = box_area(sorted_boxes)
        union_and_shared = area[:, None] + area[None]
        intersection = shared * union_and_shared / (1 + shared)
        shared = intersection / np.maximum(np.minimum(area[:, None], area[None]), 1e-12)
    rival = shared > overlap
    alive = np.ones(len(order), bool)
    for index in range(len(order)):
        if alive[index]:
            alive[index + 1 :] &= ~rival[index, index + 1 :]
    return order[alive]
