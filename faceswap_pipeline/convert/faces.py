"""From a face in a frame to the same face swapped: what is measured of each face, and how neighbours in time steady it.

In: frames, the dataset's records and masks, a `Swapper`. Out: frames with the faces replaced.
Every face is looked at once, by itself (`look`); a frame is painted from its own looks and those of a finite window of
frames around it (`paint`), so that any stretch of a film can be made alone and gives the same frames.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.convert import blend, grain
from faceswap_pipeline.convert.color import Vector, match_color, measure_skin, skin_weights, without_beard
from faceswap_pipeline.convert.detail import Album, measure_mouth, shut_mouth
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.swapper import Swapper
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.geometry import compose_matrices, invert_matrix, transform_points
from faceswap_pipeline.imaging import FloatImage, Image, add_luma, to_float, view_matrix, warp
from faceswap_pipeline.machine import cores
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.video.reader import Frame

Key = tuple[int, int]
"""Track and frame: what names a face within one source."""
_REACH = 4
"""Pixels of a crop beyond what is seen of it that have a say in it: those that averaging and cubic sampling take in."""
_MASKS_KEPT = 120
"""Masks that are kept decoded: of two batches of faces."""
_FREE = 0.9
"""Share of the face's middle that must be face for its grain to be measured."""
_FEW_FRAMES = 2
"""To each side: of fewer neighbours in time every one is measured."""


@dataclass(frozen=True)
class Cut:
    """What is taken from a frame for one face; the frame itself may then be forgotten."""

    crop: Image
    """(S, S, 3), as extraction cut it where the network sees it, nought beyond."""
    skin: FloatImage | None
    """(P, P) luma of the face's middle in frame pixels, for its grain."""


@dataclass(frozen=True)
class Look:
    """All that is known of one face before its neighbours in time are asked."""

    image: FloatImage
    """(D, D, 3) RGB -1..1, the other face as the network draws it, with detail from an album; without one D is R."""
    alpha: FloatImage
    """(R, R) 0..1, the learned mask, nought along the border of the view."""
    shape: FloatImage
    """(S, S) 0..1, the soft shape of the face in crop space."""
    tone: Vector | None
    """Colour statistic of the swap's skin."""
    tone_wanted: Vector | None
    """Colour statistic of the replaced skin; of samples only, as the next two."""
    detail: Vector | None
    """Energy of the swap's finest bands."""
    detail_wanted: Vector | None
    """Energy of the replaced face's finest bands at the size of `image`."""
    grain: Vector | None
    """Levels of the source's grain on the replaced skin, in frame pixels."""


@dataclass(frozen=True)
class Patch:
    """One swapped face where it lies in its frame."""

    record: FaceRecord
    region: blend.Region
    covered: FloatImage
    """(h, w) 0..1, how much of each pixel of the region it covers."""
    image: FloatImage
    """(D, D, 3) RGB -1..1, the swapped face."""
    matrix: NDArray[np.float64]
    """Pixels of the frame -> pixels of `image`, (2, 3)."""
    noise: FloatImage | None
    """(h, w) grey levels, what is added to the luma."""

    @property
    def face(self) -> FloatImage:
        """(h, w, 3) RGB -1..1, the swapped face in frame pixels."""
        face = blend.into_region(self.image, self.matrix, self.region)
        noisy = face if self.noise is None else add_luma(face, self.noise / np.float32(127.5))
        return np.clip(noisy, -1, 1)

    def lay_over(self, frame: Frame) -> Frame:
        """Lay the face over the planes of `frame`, which must be its own; returns it."""
        return blend.lay_over(frame, self.region, self.covered, self.image, self.matrix, self.noise)


class FaceMixer:
    """Swaps the faces of one source: `cut`, then `look` at whole batches, then `paint` frame by frame."""

    def __init__(
        self,
        dataset: FaceDataset,
        swapper: Swapper,
        options: ConvertOptions,
        rate: Fraction,
        draw_face: Callable[[FaceRecord], Image] | None = None,
        album: Album | None = None,
    ) -> None:
        """`rate` in frames a second; `draw_face` gives the mask (S, S) of a face for which the dataset has none;
        `album` holds pictures of the person whose face comes in.
        """
        self._dataset, self._swapper, self._options, self._album = dataset, swapper, options, album
        self._draw_face = draw_face
        size, resolution = dataset.crop_size, swapper.resolution
        self._to_view = view_matrix(size, resolution, swapper.view)
        self._side = resolution if album is None else album.side
        self._to_image = self._to_view if album is None else album.matrix(size, swapper.view)
        self._placed = blend.scaled_view(self._to_view, resolution, options.face_scale)
        self._image_placed = blend.scaled_view(self._to_image, self._side, options.face_scale)
        self._guard = blend.view_guard(resolution)
        self._seen = _part_seen(self._to_view, resolution, size)
        self._shut = None if album is None else shut_mouth(dataset)
        # A face's masks are asked for by its neighbours in time and by itself, within a few faces.
        self._mask = lru_cache(_MASKS_KEPT)(dataset.mask)
        self._in_time = {(record.source, record.track, record.frame): record for record in dataset.records}
        self._mouths: dict[str, float | None] = {}
        self._tile = grain.noise_tile()
        self._mask_reach = round(options.smooth_mask * rate)
        self._tone_reach = round(options.smooth_color * rate)

    @property
    def reach(self) -> int:
        """Frames to each side whose looks a painted frame may need."""
        return max(self._mask_reach, self._tone_reach)

    def cut(self, frame: Frame, record: FaceRecord) -> Cut:
        """The face out of its frame, whether or not its crop was deleted from the dataset."""
        size, coverage = self._dataset.crop_size, self._dataset.coverage
        skin = grain.skin_piece(frame, record.matrix, size, coverage) if self._options.grain else None
        rows, columns = self._seen
        part = compose_matrices([[1, 0, -columns.start], [0, 1, -rows.start]], record.matrix)
        crop = np.zeros((size, size, 3), np.uint8)
        crop[rows, columns] = frame.warped(part, (columns.stop - columns.start, rows.stop - rows.start))
        return Cut(crop, skin)

    def look(self, records: Sequence[FaceRecord], cuts: Sequence[Cut]) -> dict[Key, Look]:
        """What the network makes of a batch of faces, and what colours, sharpness and grain they should have."""
        if not records:
            return {}
        crops, masks = [cut.crop for cut in cuts], np.stack([self._face_mask(record) for record in records])
        # Each face by itself, on all cores: the network leaves them idle here, and most of the work is OpenCV's.
        with ThreadPoolExecutor(cores()) as pool:
            steps = None
            if self._album is not None:
                steps = self._album.opened_by(list(pool.map(self._opened, records)), self._options.open_mouth)
            made = self._swapper.swap(np.stack(crops), masks, steps)
            # The edges of a hand before it are no grain of the skin.
            free = (self._middle(mask).mean() > _FREE * 255 for mask in masks)
            grains = grain.measure_grain([cut.skin if whole else None for cut, whole in zip(cuts, free, strict=True)])
            shown = made.seen, made.faces[..., 0], made.image, made.alpha[..., 0]
            found = pool.map(self._look_at, records, crops, masks, *shown, grains)
            return {(record.track, record.frame): look for record, look in zip(records, found, strict=True)}

    def _look_at(self, record: FaceRecord, crop: Image, mask: Image, source: FloatImage, face: FloatImage,
                 image: FloatImage, alpha: FloatImage, level: Vector | None) -> Look:  # fmt: skip
        options, size = self._options, self._dataset.crop_size
        face = face * (alpha if options.cover != "dataset" else 1)
        fine = image
        if self._album is not None:
            pose = record.yaw, record.pitch
            fine, image = self._album.add_detail(image, options.detail, pose, self._opened(record))
        skin = skin_weights(face, self._features(record), np.ones_like(face))
        nose = float(transform_points(compose_matrices(self._to_view, record.matrix), record.landmarks)[2, 1])
        height = size / self._dataset.coverage
        if options.cover == "learned":
            mask = np.full_like(mask, 255)
        tone_wanted = detail = detail_wanted = None
        if self._is_sample(record):
            tone_wanted = measure_skin(options.color, source, without_beard(source, skin, nose))
            detail, detail_wanted = self._details(fine, crop, source, face)
        return Look(
            image=fine,
            alpha=self._guard * (blend.surely_face(alpha) if options.cover != "dataset" else 1),
            shape=blend.soft_shape(mask, options.erode, options.feather, height),
            tone=measure_skin(options.color, image, without_beard(image, skin, nose)),
            tone_wanted=tone_wanted,
            detail=detail,
            detail_wanted=detail_wanted,
            grain=level,
        )

    def _middle(self, mask: Image) -> Image:
        """The part of a mask (S, S) that `grain.skin_piece` looks at."""
        size = self._dataset.crop_size
        half = max(1, round(grain.SHARE * size / self._dataset.coverage / 2))
        return mask[size // 2 - half : size // 2 + half, size // 2 - half : size // 2 + half]

    def _is_sample(self, record: FaceRecord) -> bool:
        """Whether what is averaged over the neighbours in time is measured of this face: of every second one and of the
        first of each stretch; of all where few are averaged.
        """
        first = (record.source, record.track, record.frame - 1) not in self._in_time
        return first or record.frame % 2 == 0 or min(self._mask_reach, self._tone_reach) < _FEW_FRAMES

    def _details(
        self, fine: FloatImage, crop: Image, source: FloatImage, face: FloatImage
    ) -> tuple[Vector | None, Vector | None]:
        """How sharp the swap and the face it replaces are, inside `face` (R, R), at the size of `fine`."""
        if self._album is not None:
            side = (self._side, self._side)
            source = to_float(warp(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), self._to_image, side))
            face = cv2.resize(face, side)
        return blend.measure_detail(fine, face), blend.measure_detail(source, face)

    def paint(
        self, frame: Frame, records: Sequence[FaceRecord], looks: Mapping[Key, Look]
    ) -> tuple[Frame, list[Patch]]:
        """`frame` with the faces of `records` replaced, and what was laid over it, the lowest first.

        Where there is any, its planes are its own. `looks` holds those of all frames within `reach`. Nothing outside
        the faces' region changes, not one value of a plane.
        """
        patches: list[Patch] = []
        for record in records:
            patch = self._patch(frame, record, looks)
            if patch is not None:
                frame = patch.lay_over(frame if patches else frame.copied())
                patches.append(patch)
        return frame, patches

    def _patch(self, frame: Frame, record: FaceRecord, looks: Mapping[Key, Look]) -> Patch | None:
        options, own = self._options, looks[record.track, record.frame]
        near, far = (_Window(looks, record, reach) for reach in (self._mask_reach, self._tone_reach))
        covered = blend.cover(near.shape(), near.alpha(), self._placed) * np.float32(options.blend)
        region = blend.covered_region(covered, record.matrix, (frame.width, frame.height))
        if region is None:
            return None
        # The swap's own tone is that of this frame alone: what the network lets flicker is steadied here.
        tone = far.statistic("tone") if own.tone is None else own.tone
        image = match_color(options.color, own.image, tone, far.statistic("tone_wanted"))
        details = near.statistic("detail"), near.statistic("detail_wanted")
        # What comes from pictures is as sharp as a camera sees: it is changed only where the source is less sharp.
        most = blend.MOST_GAIN * (1 - options.detail * (self._album is not None))
        image = blend.match_detail(image, *details, options.sharpen, most)
        cover = blend.into_region(covered, record.matrix, region)
        matrix, wanted = compose_matrices(self._image_placed, record.matrix), far.statistic("grain")
        noise = None if wanted is None else self._noise(image, matrix, region, wanted * options.grain, record)
        patch, join = Patch(record, region, cover, image, matrix, noise), blend.JOINS[options.mix]
        if join is None:
            return patch
        joined = join(frame.part(*region.box), patch.face, cover)
        return replace(patch, image=joined, matrix=np.array([[1, 0, -region.x], [0, 1, -region.y]]), noise=None)

    def _noise(
        self, image: FloatImage, matrix: NDArray, region: blend.Region, wanted: Vector, record: FaceRecord
    ) -> FloatImage | None:
        """The noise (h, w) that a face lacks in its region, in grey levels."""
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * np.float32(127.5)
        levels = grain.missing_grain(blend.into_region(luma, matrix, region.middle)[..., 0], wanted)
        to_crop = compose_matrices(record.matrix, [[1, 0, region.x], [0, 1, region.y]])
        return grain.draw_grain((region.width, region.height), levels, self._tile, to_crop, record.frame)

    def _face_mask(self, record: FaceRecord) -> Image:
        """The dataset's face mask (S, S) 0..255, or the one drawn from the landmarks where there is none."""
        if self._dataset.has_mask(record, "face") or self._draw_face is None:
            return self._mask(record, "face")
        return self._draw_face(record)

    def _features(self, record: FaceRecord) -> FloatImage | None:
        """Eyes and mouth in view space (R, R) 0..1, as far as the dataset has them."""
        kinds = [kind for kind in ("eyes", "mouth") if self._dataset.has_mask(record, kind)]
        if not kinds or self._options.color == "none":
            return None
        return self._mask_in_view(np.maximum.reduce([self._mask(record, kind) for kind in kinds]))

    def _opened(self, record: FaceRecord) -> float | None:
        """How much higher the mouth is than when it is shut, share of the face's height; None without masks.

        Averaged over the neighbours in time: masks tremble, and another mouth in each frame would be seen.
        """
        if self._shut is None:
            return None
        heights, weights = [], []
        for step in range(-self._mask_reach, self._mask_reach + 1):
            near = self._in_time.get((record.source, record.track, record.frame + step))
            height = None if near is None else self._mouth(near)
            if height is not None:
                heights.append(height)
                weights.append(self._mask_reach + 1 - abs(step))
        return float(np.average(heights, weights=weights)) - self._shut if heights else None

    def _mouth(self, record: FaceRecord) -> float | None:
        """The height of a mouth, measured once."""
        if record.name not in self._mouths:
            self._mouths[record.name] = measure_mouth(self._dataset, record, self._mask)
        return self._mouths[record.name]

    def _mask_in_view(self, mask: Image) -> FloatImage:
        """A mask (S, S) 0..255 of crop space in view space, (R, R) 0..1."""
        size = (self._swapper.resolution, self._swapper.resolution)
        return np.asarray(warp(mask, self._to_view, size, "linear", "zero") * np.float32(1 / 255), np.float32)


def _part_seen(to_view: NDArray, resolution: int, size: int) -> tuple[slice, slice]:
    """Rows and columns of a crop (S, S) that decide what is seen of it through crop -> view."""
    corners = transform_points(invert_matrix(to_view), [[-0.5, -0.5], [resolution - 0.5, resolution - 0.5]])
    (left, top), (right, bottom) = np.clip(np.rint(corners) + [[-_REACH], [_REACH]], 0, size).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


class _Window:
    """The looks at one face within `reach` frames of a record, of the same track, nearer ones counting more."""

    def __init__(self, looks: Mapping[Key, Look], record: FaceRecord, reach: int) -> None:
        steps = range(-reach, reach + 1)
        found = [(looks.get((record.track, record.frame + step)), reach + 1 - abs(step)) for step in steps]
        self._looks = [(look, weight) for look, weight in found if look is not None]

    def shape(self) -> FloatImage:
        """The mean soft shape, (S, S) 0..1."""
        return self._mean([look.shape for look, _ in self._looks], [weight for _, weight in self._looks])

    def alpha(self) -> FloatImage:
        """The mean learned mask, (R, R) 0..1."""
        return self._mean([look.alpha for look, _ in self._looks], [weight for _, weight in self._looks])

    def statistic(self, name: str) -> Vector | None:
        """The mean of a statistic over the faces that have it; None where none has."""
        values = [(getattr(look, name), weight) for look, weight in self._looks]
        values = [(value, weight) for value, weight in values if value is not None]
        return self._mean([value for value, _ in values], [weight for _, weight in values]) if values else None

    @staticmethod
    def _mean(values: Sequence[NDArray], weights: Sequence[int]) -> NDArray:
        mean = values[0] * np.float32(weights[0] / sum(weights))
        for value, weight in zip(values[1:], weights[1:], strict=True):
            # OpenCV goes over a picture once; a few numbers are numpy's.
            share = np.float32(weight / sum(weights))
            mean = cv2.scaleAdd(value, float(share), mean) if value.ndim == 2 else mean + value * share
        return mean


def draw_oval(oval: NDArray, matrix: NDArray, size: int) -> Image:
    """A filled closed line (K, 2) of frame pixels in crop space, uint8 (size, size) 0 or 255, outline to 1/16 px."""
    mask = np.zeros((size, size), np.uint8)
    points = np.rint(transform_points(matrix, oval) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, shift=4)
    return mask
