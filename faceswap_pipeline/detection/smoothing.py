"""Smooth without lag: a Kalman filter forward and the Rauch-Tung-Striebel pass backward over a whole track.

In: several channels measured once a frame, with holes. Out: the same channels, smoothed, without holes.

Each channel is a place and a speed that changes by random pushes (constant-velocity model). How strong the pushes are
against the noise of the measurement is fitted to each channel of each track by maximum likelihood within limits in Hz,
so that nothing here is in pixels; the caller gives channels relative to the face's size.
Rauch, Tung and Striebel, "Maximum likelihood estimates of linear dynamic systems", 1965.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

SLOWEST = 0.3
"""Hz: no path is smoothed more than to this."""
CANDIDATES = 6
"""How many cut-off frequencies between the slowest and the channel's own limit are tried."""
FIT_FRAMES = 600
"""Frames of a track that the noise is fitted on; more add time, not knowledge."""
PIECE, MARGIN = 3000, 400
"""Frames that are smoothed at once, and how many before and after them are looked at too; the path is that of all at
once, to 1e-11."""
OUTLIER = 3.0
"""Measurements further than this many deviations from the smooth path are trusted less, and then less again."""


def smooth(values: ArrayLike, measured: ArrayLike, rate: float, limits: ArrayLike) -> NDArray[np.float64]:
    """Channels (N, C) smoothed; rows where `measured` (N,) is false are filled in whatever they held.

    `rate`: frames a second; `limits` (C,): the fastest motion each channel is believed to make, Hz. The limit is needed
    since what is measured errs for several frames in the same direction, which no likelihood can tell from motion.
    """
    values, measured = np.array(values, np.float64), np.asarray(measured, bool)
    if values.shape[0] < 4 or measured.sum() < 4:
        return _interpolated(values, measured)
    noise, push = fit_noise(values, measured, rate, np.broadcast_to(np.asarray(limits, np.float64), values.shape[1]))
    trust = np.ones_like(values)
    for _ in range(2):
        path = _smoothed(values, measured, noise / trust, push)
        off = np.abs(values - path) / np.sqrt(noise)
        # Huber's weights: a measurement far off pulls with the force of one at the limit, not more.
        trust = np.where(measured[:, None], np.minimum(1.0, OUTLIER / np.maximum(off, 1e-9)), 1.0)
    return _smoothed(values, measured, noise / trust, push)


def push_ratio(frequency: ArrayLike, rate: float) -> NDArray[np.float64]:
    """Variance of the push a frame over that of the measurement, with which the smoothed path passes half of a motion
    of `frequency` Hz at `rate` frames a second: the smoother's answer is q / (q + r (2 sin(pi f / rate))^4)."""
    share = np.minimum(np.asarray(frequency, np.float64) / rate, 0.5)
    return (2 * np.sin(np.pi * share)) ** 4


def fit_noise(
    values: NDArray[np.float64], measured: NDArray[np.bool_], rate: float, limits: NDArray[np.float64]
) -> tuple[NDArray, NDArray]:
    """Variance of the measurement and of the push, (C,) each, that make the first `FIT_FRAMES` rows most likely.

    For each ratio of the two a filter run with unit measurement noise gives the best scale in closed form.
    """
    part, seen = values[:FIT_FRAMES], measured[:FIT_FRAMES]
    if seen.sum() < 4:
        part, seen = values, measured
    ratio = push_ratio(np.geomspace(np.minimum(SLOWEST, limits), limits, CANDIDATES), rate)
    squared, spread, count = _innovations(part, seen, ratio)
    scale = np.maximum(squared / count, 1e-16)
    likeliest = np.argmax(-0.5 * (count * np.log(scale) + spread), 0)
    noise = scale[likeliest, np.arange(len(limits))]
    return noise, noise * ratio[likeliest, np.arange(len(limits))]


def _innovations(values: NDArray, measured: NDArray, ratio: NDArray) -> tuple[NDArray, NDArray, int]:
    """Sums of squared scaled surprises and of log variances, and their count: unit noise, push ratios (..., C)."""
    first = int(np.flatnonzero(measured)[0])
    place, speed = np.broadcast_to(values[first], ratio.shape), np.zeros_like(ratio)
    a, b, d = np.ones_like(ratio), np.zeros_like(ratio), np.ones_like(ratio)
    squared, spread, count = np.zeros_like(ratio), np.zeros_like(ratio), 0
    for row in range(first + 1, len(values)):
        place = place + speed
        a, b, d = a + 2 * b + d + ratio / 4, b + d + ratio / 2, d + ratio
        if measured[row]:
            total = a + 1
            surprise = values[row] - place
            if row > first + 1:
                squared += surprise**2 / total
                spread += np.log(total)
                count += 1
            place, speed = place + a / total * surprise, speed + b / total * surprise
            a, b, d = a / total, b / total, d - b * b / total
    return squared, spread, max(count, 1)


def _smoothed(values: NDArray, measured: NDArray, noise: NDArray, push: NDArray) -> NDArray[np.float64]:
    """One forward and backward pass over all channels; `noise` is (N, C), `push` (C,).

    A long track is smoothed in pieces that overlap, so that memory does not grow with it: what lies `MARGIN` frames
    away has no say in where the path runs.
    """
    parts = []
    for start in range(0, len(values), PIECE):
        first, last = max(0, start - MARGIN), min(len(values), start + PIECE + MARGIN)
        while first > 0 and not measured[first : start + PIECE].any():
            first -= 1
        path = _smoothed_piece(values[first:last], measured[first:last], noise[first:last], push)
        parts.append(path[start - first : start - first + PIECE])
    return np.concatenate(parts)


def _smoothed_piece(values: NDArray, measured: NDArray, noise: NDArray, push: NDArray) -> NDArray[np.float64]:
    """The same in one go, all channels as one block-diagonal filter."""
    # Half a second, for the statistics and plots that come with it: `workflows.extract` imports it during the search.
    from filterpy.kalman import KalmanFilter

    rows, channels = values.shape
    first = int(np.flatnonzero(measured)[0])
    filter_ = KalmanFilter(dim_x=2 * channels, dim_z=channels)
    identity = np.eye(channels)
    filter_.F = np.kron(identity, [[1.0, 1.0], [0.0, 1.0]])
    filter_.H = np.kron(identity, [[1.0, 0.0]])
    filter_.Q = np.kron(np.diag(push), [[0.25, 0.5], [0.5, 1.0]])
    # The first measurement is where the path begins; its speed is open, within what the pushes of a few frames give.
    filter_.x = np.kron(values[first], [1.0, 0.0])[:, None]
    filter_.P = np.kron(np.diag(noise[first]), [[1.0, 0.0], [0.0, 0.0]]) + np.kron(
        np.diag(100 * push + noise[first]), [[0.0, 0.0], [0.0, 1.0]]
    )
    means, covariances = [filter_.x.copy()], [filter_.P.copy()]
    for row in range(first + 1, rows):
        filter_.predict()
        if measured[row]:
            filter_.update(values[row][:, None], R=np.diag(noise[row]))
        means.append(filter_.x.copy())
        covariances.append(filter_.P.copy())
    states = filter_.rts_smoother(np.array(means), np.array(covariances))[0]
    path = states[:, ::2, 0]
    return np.concatenate([np.repeat(path[:1], first, 0), path])


def _interpolated(values: NDArray[np.float64], measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Too few measurements to smooth: they stay, the holes between them are filled in a straight line."""
    where = np.flatnonzero(measured)
    if len(where) == 0 or len(where) == len(values):
        return values
    return np.stack([np.interp(np.arange(len(values)), where, column[where]) for column in values.T], 1)
