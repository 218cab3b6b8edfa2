"""The faces of every frame of a film: the whole cascade on key frames, its last two networks on those between.

In: pictures in order. Out: for each its faces and whether a new shot begins there.

Between two key frames that agree, each face's place is interpolated and refined in one batch. Where they disagree, or a
refined face is unsure, the stretch is halved and its middle becomes a key frame too, down to every single frame. The
spacing starts short after a cut, doubles while all is well and halves when it is not.

Where nobody is clearly seen, the picture is also looked at lying on its sides and on its head. A turn that clearly
shows a face which stays is kept until nobody is seen that way any more.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.detection.cascade import Detection, Examined, Pyramid, square_boxes
from faceswap_pipeline.geometry import box_centre, box_iou

FIRST_SPACING, MAX_SPACING = 4, 16
"""Frames between key frames: right after a cut, and at most."""
SURE_SCORE = 0.8
"""A refined face below this calls for the whole cascade."""
TURNS = (0, 1, 3, 2)
"""Quarter turns clockwise that are tried where no face is clearly seen."""
TURN_EVERY = 4
"""They are tried in the first and then in every so many such stretches between key frames of a shot."""
CLEAR_SCORE, CLEAR_SPREAD = 0.98, 0.02
"""A face that scores more and whose landmarks spread less is clearly one: hands, cloth and faces seen the wrong way up,
which the networks take for faces now and then, never are. Not every real face is clear: profiles are not."""
PATH_CONTEXT = 6
"""Pictures before a stretch that have a say in where boxes move in it: the last stretch of a shot may be very short."""
CUT_CONTEXT = 7
"""Frames before and after that are looked at to tell a cut from motion."""


@dataclass(frozen=True)
class FrameFaces:
    """What was found in one frame."""

    faces: list[Detection]
    cut: bool
    """A new shot begins with this frame."""
    key: bool
    """The whole cascade ran here."""
    pyramid: Pyramid
    """The picture."""


def thumbnail(picture: Pyramid) -> NDArray[np.float32]:
    """A 64x36 grey picture, float32, for telling shots apart."""
    return cv2.cvtColor(picture.resized(64, 36), cv2.COLOR_RGB2GRAY).astype(np.float32)


def change(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float]:
    """How much two thumbnails differ: one minus their correlation (0..2), and the mean grey difference (0..255)."""
    a, b = before - before.mean(), after - after.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    # Two flat pictures (black, white) correlate with anything: only the grey difference speaks there.
    correlation = float((a * b).sum()) / spread if spread > a.size else 1.0
    return 1 - correlation, float(np.abs(before - after).mean())


def is_cut(changes: NDArray[np.float64], index: int) -> bool:
    """Whether a shot begins between the pictures of `changes[index]`; rows (N, 2) are `change` of neighbours.

    A cut is a change that stands out from the motion around it, or one that no motion makes.
    """
    structure, grey = changes[index]
    if structure > 0.5 and grey > 8 or grey > 60:
        return True
    around = np.delete(changes, index, 0)[:, 0]
    return bool(structure > 0.03 and grey > 2.5 and structure > 3 * around.max(initial=0.005))


def with_cuts(pyramids: Iterable[Pyramid]) -> Iterator[tuple[Pyramid, bool]]:
    """Each picture with whether a shot begins there; runs `CUT_CONTEXT` pictures behind its input.

    The answer for a picture depends on `CUT_CONTEXT` pictures before and after it only.
    """
    waiting: deque[Pyramid] = deque()
    changes: deque[tuple[float, float]] = deque(maxlen=2 * CUT_CONTEXT - 1)
    last, seen, given = None, 0, 0

    def verdict() -> bool:
        # changes[k] leads to picture `seen - len(changes) + k`.
        index = given - (seen - len(changes))
        near = slice(max(0, index - CUT_CONTEXT + 1), index + CUT_CONTEXT)
        return given > 0 and is_cut(np.array(changes)[near], min(index, CUT_CONTEXT - 1))

    for pyramid in pyramids:
        small = thumbnail(pyramid)
        if last is not None:
            changes.append(change(last, small))
        last = small
        waiting.append(pyramid)
        seen += 1
        if len(waiting) == CUT_CONTEXT:
            yield waiting.popleft(), verdict()
            given += 1
    while waiting:
        yield waiting.popleft(), verdict()
        given += 1


class Detector(Protocol):
    """What finds faces in whole pictures."""

    def detect(self, pictures: Sequence[Pyramid]) -> list[list[Detection]]:
        """Every face in each picture."""
        ...


class Follower(Protocol):
    """What follows faces whose place is nearly known; see `cascade.FaceDetector`."""

    def refine(self, pictures: Sequence[Pyramid], boxes: Sequence[ArrayLike]) -> list[list[Detection]]:
        """One face for each box."""
        ...

    def examine(self, pictures: Sequence[Pyramid], boxes: Sequence[ArrayLike]) -> list[Examined]:
        """Steady landmarks of the face in each box, and how surely it is one."""
        ...


class FaceFinder:
    """Finds the faces of consecutive pictures; without a follower every picture is a key frame."""

    def __init__(self, detector: Detector, follower: Follower | None, max_spacing: int = MAX_SPACING) -> None:
        self._detector = detector
        self._follower = follower
        self._max_spacing = max_spacing if follower else 1

    def find(self, pictures: Iterable[tuple[Pyramid, bool]]) -> Iterator[FrameFaces]:
        """The faces of each picture (with its cut flag), in order; holds at most one key-frame spacing of pictures."""
        spacing = first = min(FIRST_SPACING, self._max_spacing)
        stretch: list[Pyramid] = []
        cuts: list[bool] = []
        found: dict[int, list[Detection]] = {}
        settled: dict[int, list[Detection]] = {}
        past: list[list[Detection]] = []
        turn, unclear = 0, 0

        def solve(quarters: int, ready: int) -> tuple[list[list[Detection]], set[int]]:
            """Fill `found` as seen turned by `quarters`; the faces of the first `ready` pictures, and the keys."""
            nonlocal found, settled, past, turn
            found, settled, past = (found, settled, past) if quarters == turn else ({}, {}, [])
            turn = quarters
            seen = [picture.turned(turn) for picture in stretch]
            self._solve(seen, found, settled)
            alike = [settled.get(index, found[index]) for index in range(len(stretch))]
            return self._measured(seen[:ready], past, alike), set(settled)

        def finish(keep_last: bool) -> Iterator[FrameFaces]:
            """Solve the stretch; its last picture, a key frame, begins the next one when `keep_last`."""
            nonlocal stretch, cuts, found, settled, past, spacing, unclear
            ready = len(stretch) - 1 if keep_last else len(stretch)
            faces, keys = solve(turn, ready)
            if any(_is_clear(face.score, face.spread) for group in faces for face in group):
                unclear = 0
            else:
                lost = turn != 0 and not any(faces)
                if lost or unclear % TURN_EVERY == 0:
                    better = self._clear_turn(stretch, turn)
                    if better is not None or lost:
                        faces, keys = solve(better or 0, ready)
                unclear += 1
            if len(stretch) - 1 > 1:
                spacing = min(2 * spacing, self._max_spacing) if len(keys) <= 2 else max(spacing // 2, first // 2)
            for index in range(ready):
                picture = stretch[index]
                upright = [face.turned_back(turn, picture.width, picture.height) for face in faces[index]]
                yield FrameFaces(upright, cuts[index], index in keys, picture)
            stretch, cuts = stretch[ready:], cuts[ready:]
            past = [*past, *faces][-PATH_CONTEXT:] if keep_last else []
            found, settled = ({0: found[ready]}, {0: settled[ready]}) if keep_last else ({}, {})

        for pyramid, cut in pictures:
            if cut and stretch:
                yield from finish(keep_last=False)
                spacing, unclear = first, 0
            stretch.append(pyramid)
            cuts.append(cut)
            if len(stretch) > spacing:
                yield from finish(keep_last=True)
        if stretch:
            yield from finish(keep_last=False)

    def _clear_turn(self, stretch: list[Pyramid], turn: int) -> int | None:
        """Quarter turns clockwise, other than `turn`, that clearly show the same face at both ends of the stretch."""
        if self._follower is None:
            return None
        for quarters in (each for each in TURNS if each != turn):
            ends = [picture.turned(quarters) for picture in (stretch[0], stretch[-1])]
            faces = [self._settled(*each) for each in zip(ends, self._detector.detect(ends), strict=True)]
            boxes = [np.array([face.box for face in found]).reshape(-1, 4) for found in faces]
            seen = self._follower.examine(ends, boxes)
            clear = [each[_is_clear(s.scores, s.spreads)] for each, s in zip(boxes, seen, strict=True)]
            if all(map(len, clear)) and box_iou(*clear).max() > 0.2:
                return quarters
        return None

    def _solve(
        self, stretch: list[Pyramid], found: dict[int, list[Detection]], settled: dict[int, list[Detection]]
    ) -> None:
        """Fill `found` for every picture of the stretch and `settled` for its key frames.

        Refining a box again moves it by up to 4 % of its side, to and fro, and landmarks with it. So key frames have
        their faces twice: as found, which is what the boxes in between are predicted from, and with boxes refined as
        often as those are.
        """
        pending = [(0, len(stretch) - 1)]
        while pending:
            first, last = pending.pop()
            wanted = [index for index in (first, last) if index not in settled]
            for index, faces in zip(wanted, self._detector.detect([stretch[i] for i in wanted]), strict=True):
                found[index], settled[index] = faces, self._settled(stretch[index], faces)
            if last - first < 2:
                continue
            if not self._follow(stretch, found, first, last):
                middle = (first + last) // 2
                pending += [(middle, last), (first, middle)]

    def _settled(self, picture: Pyramid, faces: list[Detection]) -> list[Detection]:
        """The faces of one picture with their boxes refined once more."""
        if self._follower is None or not faces:
            return faces
        (refined,) = self._follower.refine([picture], [[face.box for face in faces]])
        return [
            Detection(better.box, face.landmarks, face.score) if _is_sure(better, face.box) else face
            for face, better in zip(faces, refined, strict=True)
        ]

    def _follow(self, stretch: list[Pyramid], found: dict[int, list[Detection]], first: int, last: int) -> bool:
        """Find the faces between two key frames; False, with nothing changed, when the key frames do not hold the same
        faces or one between them is unsure."""
        pairs = match(found[first], found[last])
        if pairs is None:
            return False
        refined: list[list[Detection]] = [[] for _ in range(first + 1, last)]
        if pairs:
            assert self._follower is not None, "without a follower no two key frames have pictures between them"
            before, after = (np.array([pair[side].box for pair in pairs], np.float64) for side in (0, 1))
            shares = np.arange(1, last - first) / (last - first)
            predicted = [before * (1 - share) + after * share for share in shares]
            refined = self._follower.refine(stretch[first + 1 : last], predicted)
            for boxes, faces in zip(predicted, refined, strict=True):
                if not all(_is_sure(face, box) for box, face in zip(boxes, faces, strict=True)):
                    return False
        found.update(dict(zip(range(first + 1, last), refined, strict=True)))
        return True

    def _measured(
        self, pictures: list[Pyramid], past: list[list[Detection]], found: list[list[Detection]]
    ) -> list[list[Detection]]:
        """The faces `found` in `pictures` (and in some after them), with landmarks measured in boxes moving smoothly.

        How they moved in the `past`, the pictures before, has a say in it.
        """
        if self._follower is None:
            return found[: len(pictures)]
        faces = [*past, *found]
        boxes = [np.zeros((len(group), 4)) for group in faces]
        for chain in chains(faces):
            path = steady_boxes(np.array([faces[index][number].box for index, number in chain]))
            for (index, number), box in zip(chain, path, strict=True):
                boxes[index][number] = box
        seen = self._follower.examine(pictures, boxes[len(past) :][: len(pictures)])
        return [
            [
                Detection(face.box, five.astype(np.float32), float(score), float(spread))
                for face, five, score, spread in zip(group, *each, strict=True)
            ]
            for group, each in zip(found, seen, strict=False)
        ]


def _is_sure(face: Detection, box: ArrayLike) -> bool:
    """Whether a refined face is one, and still the one that was expected in `box` (4,)."""
    return face.score >= SURE_SCORE and box_iou(box, face.box)[0, 0] >= 0.4


def _is_clear(score: Any, spread: Any) -> Any:
    """Whether an examined face is a face without doubt; numbers, or arrays (N,) of many faces."""
    return (score > CLEAR_SCORE) & (spread < CLEAR_SPREAD)


def chains(frames: list[list[Detection]]) -> list[list[tuple[int, int]]]:
    """The faces of consecutive pictures strung together: lists of (picture, number of the face there)."""
    done: list[list[tuple[int, int]]] = []
    alive: dict[int, list[tuple[int, int]]] = {}
    for index, faces in enumerate(frames):
        grown: dict[int, list[tuple[int, int]]] = {}
        if index and faces and frames[index - 1]:
            near = box_iou(*(np.array([face.box for face in group]) for group in (frames[index - 1], faces)))
            for number in range(len(faces)):
                before = int(near[:, number].argmax())
                if near[before, number] > 0.2 and near[before].argmax() == number:
                    grown[number] = alive.pop(before)
        done += alive.values()
        alive = {number: [*grown.get(number, []), (index, number)] for number in range(len(faces))}
    return [*done, *alive.values()]


def steady_boxes(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Boxes (N, 4) of consecutive frames as squares (N, 4) that move smoothly: a low polynomial of time.

    Where the motion is livelier than that, the box stays within a small share of the measured one.
    """
    squares = square_boxes(boxes)
    if len(squares) < 3:
        return squares
    time = np.linspace(-1, 1, len(boxes))
    size = squares[:, 2] - squares[:, 0]
    values = np.stack([*box_centre(squares).T, size], 1)
    degree = 1 if len(boxes) < 6 else 2 if len(boxes) < 10 else 3
    smooth = np.polynomial.polynomial.polyval(time, np.polynomial.polynomial.polyfit(time, values, degree)).T
    limit = 0.04 * size[:, None]
    x, y, side = (values + np.clip(smooth - values, -limit, limit)).T
    return np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 1)


def match(first: list[Detection], second: list[Detection]) -> list[tuple[Detection, Detection]] | None:
    """The faces of two pictures paired by place and size; None when one is left over or has gone too far."""
    if len(first) != len(second):
        return None
    if not first:
        return []
    a, b = (np.array([face.box for face in faces], np.float64) for faces in (first, second))
    near = box_iou(a, b)
    pairs = []
    for index in range(len(a)):
        partner = int(near[index].argmax())
        size = float(np.hypot(*(a[index, 2:] - a[index, :2])))
        distance = float(np.hypot(*(box_centre(a[index]) - box_centre(b[partner]))))
        if near[index, partner] < 0.2 or distance > 0.4 * size or near[:, partner].argmax() != index:
            return None
        pairs.append((first[index], second[partner]))
    return pairs
