"""The invisible mark of swapped frames: a faint fixed pattern in the luma, found again after compression and cropping.

In: luma planes `uint8 (H, W)` and a number of `PAYLOAD_BITS` bits. Out: planes with the pattern added, or a `Reading`.

The pattern is one square tile, repeated over the frame. Two tiles fit into the frame's shorter side, so the pattern of
a rescaled film is the same again. In the tile's Fourier transform the frequencies of one band have equal magnitudes and
phases drawn from a fixed key. Half of them say that the mark is there; each other quarter is shifted against them by
one of 1024 steps, and the two shifts are the payload.

The reader averages the frames, removes what is smooth, weighs each place by how quiet it is, folds the tiles onto each
other and correlates phases, for every band, scale and shift. Its test needs no model of pictures: let the picture be
given and the phases of the key be drawn anew. Then a sum of w cos(phase) over the frequencies, with weights w from the
picture alone, exceeds t with a probability of at most exp(-t^2 / sum w^2), because its terms are independent and
E exp(a cos) = I0(a) <= exp(a^2 / 4). That bound times the number of all trials is what a reading states.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS = 20
ALARM = 1e-6
"""Largest share of unmarked readings that may be taken for marked ones."""
STRENGTH = 1.1, 0.9
"""Root mean square of the pattern, levels of 255, in small frames and in large ones; its PSNR is 47.0 and 48.6 dB.

A large frame has places to spare, and a pattern of full strength makes a clean film of it a third larger.
"""
_WEAKER = 540, 720
"""Shorter sides, px, between which the strength goes from the first to the second."""
NORMAL = 512
"""Shorter side, in samples, of a picture that is read."""
LARGEST_SCALE = 1.2
SMALLEST_SCALE = 0.92
"""Sizes of the tile that are looked for, over half the shorter side of the picture at hand; above 1 after a crop."""

_SMALL, _LARGE = 400, 800
"""Shorter sides, px, at which the band changes: its waves stay between 8 and 40 pixels."""
_STEPS = 32
_PAYLOAD_ERROR = 1e-3
_KEY = 0x53776170
_DRAWN = 512
"""Samples of the tile's side from which a frame's pattern is drawn."""
_QUIET = 1.5
"""Detail below this many levels counts as quiet; it is what compression leaves anywhere."""
_LOUDEST = 2.0
"""Largest weight of a frequency, over the mean of its neighbours."""
_CERTAIN = -15.0
"""Logarithm of the chance at which no further band is tried.

Of a band all scales are tried: a clear mark shows at scales beside its own, too weakly for the payload.
"""
_LONGEST = 4
"""Largest ratio of a picture's sides that is read whole."""
_FINEST = 2.0
"""Shortest wave, px of the picture at hand, that is worth looking for."""

_BLACK, _FULL = 16, 64
"""Luma of black, and how many levels above it the pattern has its full strength: as a share of that it falls with the
luma to half of it, since in the dark a step of one level is a larger share of the light."""

Luma = NDArray[np.uint8]
Spectrum = NDArray[np.complex64]
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Band:
    """Frequencies of a pattern, in cycles per tile."""

    low: int
    high: int

    @property
    def side(self) -> int:
        """Samples of the tile's side when it is read: twice as many as the highest frequency needs."""
        return 4 * self.high

    @property
    def shifts(self) -> int:
        """Shifts tried in each direction, an eighth of the shortest wave apart."""
        return 2 * self.side

    @property
    def scales(self) -> list[float]:
        """The scales to try, from 1 outwards, so near to each other that no wave slips by over a sixth of its length.

        A picture twice as wide as high reaches two tiles to each side of its centre.
        """
        step = 1 / (5 * self.high)
        smaller, larger = (round(abs(math.log(end)) / step) for end in (SMALLEST_SCALE, LARGEST_SCALE))
        return [math.exp(step * number) for number in sorted(range(-smaller, larger + 1), key=abs)]


BANDS = (Band(5, 16), Band(10, 32), Band(20, 64))
"""For small, middling and large frames."""
TRIALS = sum(len(band.scales) * band.shifts**2 for band in BANDS)


@dataclass(frozen=True)
class Reading:
    """What was found in one or several frames."""

    log10_chance: float
    """Logarithm of the probability that unmarked frames give this, an upper bound, all trials counted; 0 at most."""
    payload: int | None
    """The embedded number; None when it does not stand out."""
    scale: float
    """Size of the tile over half the picture's shorter side, above 1 after a crop: middle of where the mark shows."""
    shift: tuple[float, float]
    """Where in the picture a tile begins, (x, y) in shares of a tile, 0 to 1."""

    @property
    def present(self) -> bool:
        """Whether the mark is there: unmarked frames are taken for marked ones less than once in a million readings."""
        return self.log10_chance < math.log10(ALARM)


NOTHING = Reading(0.0, None, 1.0, (0.0, 0.0))
"""The reading of a picture that gives no sign of the mark."""


@dataclass(frozen=True)
class _Key:
    """Phases of one band as unit numbers; complex (2 high + 1, high + 1), the frequency (0, 0) at (high, 0)."""

    presence: Spectrum
    messages: tuple[Spectrum, Spectrum]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Where the band is."""
        return (self.presence != 0) | (self.messages[0] != 0) | (self.messages[1] != 0)


def pattern(height: int, width: int, payload: int) -> NDArray[np.int8]:
    """The mark for frames of a size in pixels, int8 (height, width) levels, about -5..5; the same for every frame.

    Raises ValueError for a payload that is not 0 .. 2^PAYLOAD_BITS - 1.
    """
    if not 0 <= payload < 2**PAYLOAD_BITS:
        raise ValueError(f"payload is {payload}: expected 0 to {2**PAYLOAD_BITS - 1}")
    shorter = min(height, width)
    band = BANDS[0 if shorter < _SMALL else 1 if shorter < _LARGE else 2]
    key = _key(band)
    spectrum = key.presence.copy()
    for part, steps in zip(key.messages, divmod(payload, _STEPS**2), strict=True):
        spectrum += part * _shifted(band, steps)
    tile = _waves(spectrum, _DRAWN)
    step = 2 * _DRAWN / shorter
    # A row and a column more than the cubic needs on each side: cv2's own wrapping border goes round only once.
    padded = cv2.copyMakeBorder(tile, 4, 4, 4, 4, cv2.BORDER_WRAP)
    rows, columns = (((np.arange(count) + 0.5) * step - 0.5) % _DRAWN + 4 for count in (height, width))
    places = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    drawn = cv2.remap(padded, *places, cv2.INTER_CUBIC)
    strength = float(np.interp(shorter, _WEAKER, STRENGTH))
    return np.rint(drawn * (strength / max(float(drawn.std()), 1e-3))).astype(np.int8)


def embed(luma: Luma, mark: NDArray[np.int8]) -> Luma:
    """A luma plane, uint8 (H, W), with the pattern of its size added, fainter in the dark; black and white saturate."""
    gain = cv2.min(cv2.max(cv2.subtract(luma, _BLACK), _FULL / 2), _FULL)
    fitted = cv2.multiply(mark, gain.view(np.int8), scale=1 / _FULL)
    # What is added and what is taken away, each of one type: OpenCV takes many times as long where types are mixed.
    lighter = cv2.max(fitted, 0)
    darker = cv2.absdiff(fitted, lighter)
    return np.asarray(cv2.subtract(cv2.add(luma, lighter.view(np.uint8)), darker.view(np.uint8)), np.uint8)


def read(frames: Iterable[Luma]) -> Reading:
    """Look for the mark in frames of one size, luma uint8 (H, W), such as those of two seconds or a single picture.

    Nothing else is asked for: the frames may have been compressed, rescaled, and cropped by up to a sixth of their
    shorter side. Raises ValueError without a frame.
    """
    mean, shorter = _average(frames)
    best = NOTHING
    for band in BANDS:
        if shorter / 2 / band.high < _FINEST:
            continue
        detail = _detail(mean, band)
        readings = [_strongest(_folded(detail, band, scale), band, scale) for scale in band.scales]
        clearest = min(readings, key=lambda each: each.log10_chance)
        if clearest.log10_chance < best.log10_chance:
            best = replace(clearest, scale=_middle(readings))
        if best.log10_chance < _CERTAIN:
            break
    return best


@cache
def _key(band: Band) -> _Key:
    y, x = _frequencies(band)
    radius = np.hypot(x, y)
    # A real picture holds each wave of the column x = 0 twice: one of them is enough.
    inside = (radius >= band.low) & (radius <= band.high) & ((x > 0) | (y > 0))
    random = np.random.Generator(np.random.PCG64([_KEY, band.high]))
    waves = np.exp(2j * np.pi * random.random(inside.shape)).astype(np.complex64)
    quarter = random.integers(0, 4, inside.shape)
    parts = [np.where(inside & chosen, waves, 0) for chosen in (quarter < 2, quarter == 2, quarter == 3)]
    return _Key(parts[0], (parts[1], parts[2]))


def _frequencies(band: Band) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles per tile, y and x, of each place of a band's spectrum."""
    y, x = np.mgrid[-band.high : band.high + 1, : band.high + 1]
    return y, x


def _shifted(band: Band, steps: int) -> Spectrum:
    """What moves a tile down and right by one of the 1024 message shifts."""
    down, right = divmod(steps, _STEPS)
    y, x = _frequencies(band)
    return np.exp(-2j * np.pi * (y * down + x * right) / _STEPS).astype(np.complex64)


def _waves(spectrum: Spectrum, side: int) -> Field:
    """The tile (side, side) that is the sum of the waves of a band's spectrum."""
    high = spectrum.shape[1] - 1
    half = np.zeros((side, side // 2 + 1), np.complex64)
    half[: high + 1, : high + 1] = spectrum[high:]
    half[-high:, : high + 1] = spectrum[:high]
    # In the column x = 0 the inverse transform expects each wave twice.
    half[1:, 0] += np.conj(half[1:, 0][::-1])
    return (np.fft.irfft2(half, (side, side)) * (side * side / 2)).astype(np.float32)


def _average(frames: Iterable[Luma]) -> tuple[Field, int]:
    """The mean of frames at NORMAL samples, float32, and the shorter side in pixels they had.

    A mean over two seconds keeps the pattern while what moves is blurred.
    """
    total: Field | None = None
    count = shorter = 0
    for frame in frames:
        shorter = min(frame.shape)
        # Of a very long strip the beginning is enough.
        frame = frame[: _LONGEST * shorter, : _LONGEST * shorter]
        factor = NORMAL / shorter
        size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        sized = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        total = np.asarray(sized, np.float32) if total is None else cv2.accumulate(sized, total)
        count += 1
    if total is None:
        raise ValueError("no frame to read")
    return np.asarray(total / count, np.float32), shorter


def _detail(mean: Field, band: Band) -> Field:
    """The waves of a band, each place divided by how much detail is around it: what a matched filter asks for.

    The result has two tiles of `band.side` samples along the shorter side.
    """
    fine, coarse = 0.055 * NORMAL / band.high, 0.1 * NORMAL / band.low
    detail = cv2.GaussianBlur(mean, (0, 0), fine) - cv2.GaussianBlur(mean, (0, 0), coarse)
    detail = np.clip(detail, -8, 8)
    power = cv2.GaussianBlur(detail * detail, (0, 0), 1.2 * coarse)
    detail /= power + _QUIET**2
    factor = 2 * band.side / NORMAL
    if factor < 1:
        size = (round(detail.shape[1] * factor), round(detail.shape[0] * factor))
        detail = cv2.resize(detail, size, interpolation=cv2.INTER_AREA)
    return np.asarray(detail, np.float32)


def _folded(detail: Field, band: Band, scale: float) -> Spectrum:
    """A band's spectrum of all tiles on top of each other; magnitudes over the mean of their neighbours.

    `scale` x side samples make a tile of `detail`. No magnitude is above _LOUDEST; outside the band all are 0.
    """
    sized = cv2.resize(detail, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_LINEAR)
    (height, width), side = sized.shape, band.side
    rows, columns = -(-height // side), -(-width // side)
    padded = np.zeros((rows * side, columns * side), np.float32)
    padded[:height, :width] = sized
    half = np.fft.rfft2(padded.reshape(rows, side, columns, side).sum((0, 2)))
    spectrum = np.concatenate((half[-band.high :, : band.high + 1], half[: band.high + 1, : band.high + 1]))
    magnitude = np.abs(spectrum)
    around = np.maximum(cv2.blur(magnitude, (7, 7)), magnitude / _LOUDEST)
    return np.where(_key(band).inside, spectrum / np.maximum(around, 1e-9), 0).astype(np.complex64)


def _correlation(spectrum: Spectrum, part: Spectrum, shifts: int) -> Field:
    """For `shifts` x `shifts` shifts, the sum of w cos(phase) over a part, over its root mean square by chance."""
    product = spectrum * np.conj(part)
    power = float((np.abs(product) ** 2).sum()) / 2
    return _waves(product, shifts) * np.float32(1 / math.sqrt(max(power, 1e-9)))


def _strongest(spectrum: Spectrum, band: Band, scale: float) -> Reading:
    """The reading of the best shift at one scale."""
    found = _correlation(spectrum, _key(band).presence, band.shifts)
    y, x = divmod(int(found.argmax()), band.shifts)
    z = max(float(found[y, x]), 0.0)
    log10_chance = min(0.0, (math.log(TRIALS) - z * z / 2) / math.log(10))
    payload = _payload(spectrum, band, y, x) if log10_chance < math.log10(ALARM) else None
    return Reading(log10_chance, payload, scale, (x / band.shifts, y / band.shifts))


def _middle(readings: list[Reading]) -> float:
    """The scale in the middle of the peak, which is broader than the steps between scales and uneven on its top."""
    chances = np.array([reading.log10_chance for reading in readings])
    above = np.maximum(0.75 * chances.min() - chances, 0)
    return float(above @ [reading.scale for reading in readings] / above.sum())


def _payload(spectrum: Spectrum, band: Band, y: int, x: int) -> int | None:
    """Both message shifts against the presence shift (y, x); None when one does not stand out."""
    payload = 0
    for part in _key(band).messages:
        shifts = np.roll(_correlation(spectrum, part, band.shifts), (-y, -x), (0, 1))
        steps = shifts[:: band.shifts // _STEPS, :: band.shifts // _STEPS]
        best = int(steps.argmax())
        if steps.size * math.exp(-(float(steps.flat[best]) ** 2) / 2) > _PAYLOAD_ERROR:
            return None
        payload = payload * steps.size + best
    return payload
