"""The identity embedding: a small residual network from a bare inner face to a direction in 128 dimensions.

In: faces `float32 (B, S, S, 3)`, S = `SIDE`, as `bare_faces` makes them. Out: unit vectors `(B, 128)`; the cosine of
two says how alike the persons are.

He et al., "Deep residual learning", 2016; the margin is CosFace's (Wang et al. 2018).
"""

from typing import Any

import keras
from keras import layers, ops

from faceswap_pipeline.networks.parser import convolution, residual
from faceswap_pipeline.networks.tone import face_tone, take_tone

SIDE = 64
"""Side of the picture that goes in, px."""
VIEW = 0.8
"""Share of a dataset crop, about its centre, that goes in."""
INSET = 4
"""Pixels by which the face mask is drawn in: a face ends where its head does, and a swap leaves the head in place."""
DIMENSIONS = 128
WIDTHS = ((32, 1), (64, 2), (128, 2), (160, 1))
"""Channels and residual blocks at a half, a quarter, an eighth and a sixteenth of the side."""


def bare_faces(pictures: Any, face: Any) -> Any:
    """Faces without tone, outline and surroundings, (B, S, S, 3): light, skin tone, hair, clothes say nothing.

    `pictures` (B, S, S, 3) -1..1 with face masks (B, S, S, 1) 0..1, which are drawn in by `INSET`. Without any mask
    all is 0.
    """
    outside = 1 - face
    for size in ((2 * INSET + 1, 1), (1, 2 * INSET + 1)):
        outside = ops.max_pool(outside, size, strides=1, padding="same")
    inner = 1 - outside
    return take_tone(pictures, face_tone(pictures, inner)) * inner


def build_embedding(normalise: bool = False) -> keras.Model:
    """Face -> unit vector; `normalise` puts batch normalisation behind the convolutions, for training."""
    picture = x = keras.Input((SIDE, SIDE, 3), name="picture")
    for level, (width, blocks) in enumerate(WIDTHS):
        x = convolution(x, width, 3, f"down_{level}", normalise, strides=2)
        for block in range(blocks):
            x = residual(x, f"down_{level}_residual_{block}", normalise)
    x = layers.Dense(DIMENSIONS, name="embedding")(layers.Flatten(name="flatten")(x))
    return keras.Model(picture, layers.UnitNormalization(name="direction")(x), name="embedding")


class Likeness(layers.Layer):
    """Cosines (B, N) of embeddings with one learned direction for each of N people; only training needs it."""

    def __init__(self, people: int, **kwargs):
        super().__init__(**kwargs)
        self.people = people

    def build(self, input_shape):
        self.directions = self.add_weight(
            name="directions", shape=(input_shape[-1], self.people), initializer="random_normal"
        )

    def call(self, x):
        return ops.matmul(x, ops.normalize(self.directions, axis=0))

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.people
