"""Training batches of rendered faces that look like film: a pure function of seed and step.

In: `Faces`, the mean face, a seed and a step. Out: a `Batch` of pictures, class maps, landmarks and who it is.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from cover import cover
from film import film
from numpy.typing import NDArray

from faceswap_pipeline.detection.meanface import MeanFace
from faceswap_pipeline.geometry import Array
from faceswap_pipeline.imaging import to_float
from faceswap_pipeline.train.rendered import Faces, Sample, cut, draw_matrices, mirror


class Batch(NamedTuple):
    """B examples of S x S pixels."""

    picture: NDArray[np.float32]
    """(B, S, S, 3) RGB, -1..1."""
    label: NDArray[np.uint8]
    """(B, S, S), index into networks.parser.CLASSES."""
    landmarks: NDArray[np.float32]
    """(B, 68, 2), shares of the side: 0 is the middle, -0.5 and 0.5 the picture's edges."""
    visible: NDArray[np.float32]
    """(B, 68), 1 where the landmark is seen."""
    people: NDArray[np.int64]
    """(B,) number of the person."""


def make_sample(faces: Faces, index: int, matrix: Array, size: int, random: np.random.Generator) -> Sample:
    """One example through a picture -> crop matrix, perhaps mirrored, covered and filmed."""
    sample = cut(faces, index, matrix, size)
    if random.random() < 0.5:
        sample = mirror(sample)
    sample = cover(sample, random)
    return sample._replace(picture=film(sample.picture, random))


def clean_sample(faces: Faces, index: int, mean_face: MeanFace, size: int) -> Sample:
    """One example as the pipeline would cut it, for validation."""
    (matrix,) = draw_matrices(mean_face, faces.landmarks[[index]], size, None)
    return cut(faces, index, matrix, size)


def make_batch(faces: Faces, mean_face: MeanFace, size: int, count: int, seed: int, step: int) -> Batch:
    """The batch of a step: the same for the same seed and step, whoever makes it and in whatever order."""
    chosen = np.random.Generator(np.random.Philox(key=[seed, step])).integers(len(faces), size=count)
    randoms = [np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, 1, i])) for i in range(count)]
    matrices = draw_matrices(mean_face, faces.landmarks[chosen], size, randoms)
    samples = [
        make_sample(faces, int(i), matrix, size, random)
        for i, matrix, random in zip(chosen, matrices, randoms, strict=True)
    ]
    return stack(samples, faces.people[chosen])


def stack(samples: list[Sample], people: NDArray[np.int64]) -> Batch:
    """Samples of one size as network arrays."""
    size = samples[0].picture.shape[0]
    return Batch(
        to_float(np.stack([sample.picture for sample in samples])),
        np.stack([sample.label for sample in samples]),
        scale_landmarks(np.stack([sample.landmarks for sample in samples]), size),
        np.stack([sample.visible for sample in samples]).astype(np.float32),
        people,
    )


def scale_landmarks(landmarks: Array, size: int) -> NDArray[np.float32]:
    """Pixels of a picture of `size` to shares of its side, 0 in the middle."""
    return ((landmarks - (size - 1) / 2) / size).astype(np.float32)


def run_ahead(
    faces: Faces, mean_face: MeanFace, size: int, count: int, seed: int, steps: range, workers: int = 2
) -> Iterator[Batch]:
    """The batches of `steps` in order, a few of them made ahead on threads (cv2 and numpy let go of the
    interpreter).
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        for step in steps:
            waiting.append(pool.submit(make_batch, faces, mean_face, size, count, seed, step))
            if len(waiting) > workers + 1:
                yield waiting.pop(0).result()
        for made in waiting:
            yield made.result()
