"""The tone of a face, its mean colour and contrast: taken out before a network, given back after it.

In: pictures `float32 (B, R, R, 3)` -1..1 and face masks `(B, R, R, 1)` 0..1. Out: the same kinds. Only `keras.ops`.

What is left is shape, shading and texture. It is Reinhard et al.'s colour transfer ("Color transfer between images",
2001) with one fixed look as its target.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from keras import ops

SPREAD = 0.33
"""Standard deviation that each channel is brought to inside the face."""
LEAST_SPREAD = 0.03
"""A flatter face than this is not stretched further."""


class Tone(NamedTuple):
    """Of each picture."""

    mean: Any
    """(B, 1, 1, 3) inside the face, -1..1."""
    spread: Any
    """(B, 1, 1, 3) standard deviation inside the face."""

    def to_json(self) -> dict[str, list[float]]:
        """One picture's tone, or a person's, as JSON values."""
        return {name: [round(float(value), 5) for value in np.ravel(part)] for name, part in self._asdict().items()}

    @classmethod
    def from_json(cls, values: dict[str, list[float]]) -> Self:
        """What `to_json` gave, to be broadcast: each (1, 1, 1, 3)."""
        return cls(*(np.reshape(values[name], (1, 1, 1, 3)).astype(np.float32) for name in cls._fields))


def face_tone(pictures: Any, face: Any) -> Tone:
    """The tone inside the faces."""
    weights = face / (ops.sum(face, axis=(1, 2), keepdims=True) + 1e-3)
    mean = ops.sum(pictures * weights, axis=(1, 2), keepdims=True)
    variance = ops.sum((pictures - mean) ** 2 * weights, axis=(1, 2), keepdims=True)
    return Tone(mean, ops.sqrt(variance + LEAST_SPREAD**2))


def take_tone(pictures: Any, tone: Tone) -> Any:
    """Pictures brought to mean 0 and spread `SPREAD` inside the face, clipped to -1..1."""
    return ops.clip((pictures - tone.mean) * (SPREAD / tone.spread), -1, 1)


def give_tone(pictures: Any, tone: Tone) -> Any:
    """What `take_tone` took, given to pictures without one; clipped to -1..1."""
    return ops.clip(pictures * (tone.spread / SPREAD) + tone.mean, -1, 1)
