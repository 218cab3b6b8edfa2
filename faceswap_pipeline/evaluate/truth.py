"""Against the true swap of a rendered pair: inside the true face, as it is and registered.

In: frame pairs with the true swap and its mask. Out: PSNR, SSIM, multi-scale SSIM and the error of gradients, for the
result and for two rows that make the scale readable: no swap at all, and the true swap encoded again.

Registered: the result is first moved onto the truth by an affine map (ECC on blurred luma inside the mask) and each
channel's mean and deviation inside the mask are brought to the truth's. Where exactly a face of another shape is placed
and which tone it takes are choices, and the raw figures punish them.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.evaluate.groups import Findings, Group, Series, Subject
from faceswap_pipeline.evaluate.pairs import FramePair
from faceswap_pipeline.geometry import invert_matrix
from faceswap_pipeline.imaging import Image, blur, warp

MARGIN = 24
"""Pixels around the mask that are read: more than any window of the measures reaches, but the coarsest scales'."""
FEWEST = 50
"""Pixels a mask must have for its frame to count."""
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales of multi-scale SSIM (Wang, Simoncelli and Bovik 2003)."""
WINDOW, SIGMA = 11, 1.5
"""Of SSIM (Wang et al. 2004), px."""
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
NAMES = ("psnr", "ssim", "ms_ssim", "gradient")
ROWS = {"result": "result", "no swap at all": "source", "true swap, encoded again": "encoded"}

Pictures = NDArray[np.uint8] | NDArray[np.float32]


class Truth(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._faces = subject.faces
        self._rows = {
            row: {f"{how}_{name}": Series() for how in ("truth", "registered") for name in NAMES} for row in ROWS
        }

    def see_frame(self, pair: FramePair) -> None:
        """Measure a frame that is looked at closely."""
        if not pair.closely or "truth" not in pair.others:
            return
        inside = self._inside(pair)
        if inside.sum() < FEWEST:
            return
        pictures = {"result": pair.result, "source": pair.source} | dict(pair.others)
        for row, name in ROWS.items():
            if name in pictures:
                for metric, value in against_truth(pictures[name], pictures["truth"], inside).items():
                    self._rows[row][metric].add(pair.index, value)

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        for name, series in self._rows["result"].items():
            found.put_series(name, series, "no true swap was given (--truth CLIP)")
        found.details["scale"] = {
            row: {name: one.mean() for name, one in series.items() if one.values} for row, series in self._rows.items()
        }
        return found

    def _inside(self, pair: FramePair) -> NDArray[np.bool_]:
        """The true face (H, W): the mask clip's where there is one, else the dataset's masks."""
        if "mask" in pair.others:
            return pair.others["mask"][..., 1] > 127
        inside, size = np.zeros(pair.source.shape[:2], bool), (pair.source.shape[1], pair.source.shape[0])
        for record in pair.records:
            if self._faces.has_mask(record, "face"):
                mask, back = self._faces.mask(record, "face"), invert_matrix(record.matrix)
                inside |= warp(mask, back, size, "linear", "zero") > 127
        return inside


def against_truth(picture: Image, truth: Image, inside: NDArray[np.bool_]) -> Mapping[str, float]:
    """All figures of one frame; pictures (H, W, 3), `inside` (H, W)."""
    rows, columns = np.nonzero(inside)
    box = np.s_[
        max(rows.min() - MARGIN, 0) : rows.max() + MARGIN + 1,
        max(columns.min() - MARGIN, 0) : columns.max() + MARGIN + 1,
    ]
    picture, truth, inside = np.ascontiguousarray(picture[box]), np.ascontiguousarray(truth[box]), inside[box]
    figures = {}
    for how, shown in (("truth", picture), ("registered", register(picture, truth, inside))):
        figures[f"{how}_psnr"] = psnr(shown, truth, inside)
        scales = ssim_scales(shown, truth, inside)
        figures[f"{how}_ssim"] = scales[0][0]
        figures[f"{how}_ms_ssim"] = multi_scale(scales)
        figures[f"{how}_gradient"] = gradient_error(shown, truth, inside)
    return figures


def psnr(first: Pictures, second: Pictures, inside: NDArray[np.bool_]) -> float:
    """Peak signal to noise ratio inside the mask in dB, over all channels."""
    squares = (first[inside].astype(np.float64) - second[inside].astype(np.float64)) ** 2
    return float(10 * np.log10(255**2 / max(float(squares.mean()), 1e-9)))


def ssim_scales(first: Pictures, second: Pictures, inside: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """For each of five scales, halved from one to the next: mean SSIM inside the mask, and its contrast and structure
    part alone; of the mean of the channels.
    """
    a, b = first.astype(np.float64).mean(2), second.astype(np.float64).mean(2)
    weight = inside.astype(np.float64)
    scales = []
    for _ in SCALES:
        whole, structure = _ssim_maps(a, b)
        total = max(float(weight.sum()), 1e-9)
        scales.append((float((whole * weight).sum() / total), float((structure * weight).sum() / total)))
        half = ((a.shape[1] + 1) // 2, (a.shape[0] + 1) // 2)
        a, b, weight = (cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in (a, b, weight))
    return scales


def multi_scale(scales: list[tuple[float, float]]) -> float:
    """Multi-scale SSIM of `ssim_scales`: contrast and structure of every scale, luminance of the coarsest only."""
    parts = [structure for _, structure in scales[:-1]] + [scales[-1][0]]
    return float(np.prod([max(part, 0.0) ** weight for part, weight in zip(parts, SCALES, strict=True)]))


def gradient_error(first: Pictures, second: Pictures, inside: NDArray[np.bool_]) -> float:
    """Root mean square difference of the gradients inside the mask, grey levels a pixel (Sobel, mean of channels)."""
    change = first.astype(np.float32).mean(2) - second.astype(np.float32).mean(2)
    x, y = (cv2.Sobel(change, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return float(np.sqrt((x[inside] ** 2 + y[inside] ** 2).mean()))


def register(picture: Image, truth: Image, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`picture` (H, W, 3) moved onto `truth` inside the mask, its colours matched there; float32.

    Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008.
    Where that does not converge the picture stays where it is.
    """
    way = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    lumas = [blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 2.0) for image in (truth, picture)]
    try:
        cv2.findTransformECC(*lumas, way, cv2.MOTION_AFFINE, stop, np.uint8(inside) * 255, 1)
    except cv2.error:
        way = np.eye(2, 3, dtype=np.float32)
    size, flags = truth.shape[1::-1], cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(picture.astype(np.float32), way, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    for channel in range(3):
        ours, theirs = moved[..., channel][inside], truth[..., channel][inside].astype(np.float32)
        moved[..., channel] = (moved[..., channel] - ours.mean()) * theirs.std() / max(ours.std(), 1e-3) + theirs.mean()
    return moved


def _ssim_maps(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """SSIM of two grey pictures at every pixel, and its contrast and structure part."""

    def near(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.GaussianBlur(image, (WINDOW, WINDOW), SIGMA)

    mean_a, mean_b = near(a), near(b)
    spread = near(a * a) - mean_a**2 + near(b * b) - mean_b**2
    structure = (2 * (near(a * b) - mean_a * mean_b) + C2) / (spread + C2)
    return structure * (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1), structure
