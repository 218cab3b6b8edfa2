"""The generator: one encoder that both persons share and one decoder for each.

In: pictures `float32 (B, R, R, 3)` -1..1. Between: the code `(B, H, H, C)`. Out: `(B, R, R, 4)`, colours -1..1 and
the learned mask (alpha) 0..1 last.

`original64` follows the thesis' listings (shared encoder with a dense bottleneck, decoders of sub-pixel steps); the
GAN recipes follow the published self-attention face-swap GAN. See `docs/recipes.md`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from faceswap_pipeline.networks.blocks import Icnr, OwnMap, PixelShuffle, SelfAttention, down, residual, up
from faceswap_pipeline.networks.recipe import NetworkRecipe
from faceswap_pipeline.networks.tone import Tone, face_tone, give_tone, take_tone


def build_encoder(recipe: NetworkRecipe) -> keras.Model:
    """Picture -> code. The dense bottleneck is what forgets who it was and keeps pose, expression and light."""
    picture = x = keras.Input((recipe.resolution, recipe.resolution, 3), name="picture")
    if recipe.stem:
        x = layers.Conv2D(recipe.stem, 5, padding="same", use_bias=False, name="stem")(x)
    for index, width in enumerate(recipe.down):
        x = down(x, width, recipe.down_kernel, recipe.slope, recipe.normalise and index > 0, f"down_{index}")
        x = attend(x, recipe.attention_encoder)
    side, width = x.shape[1], x.shape[3]
    x = layers.Dense(recipe.latent, name="code")(layers.Flatten(name="flatten")(x))
    x = layers.Dense(side * side * width, name="spread")(x)
    x = layers.Reshape((side, side, width), name="map")(x)
    x = up(x, recipe.shared_up, recipe.slope, recipe.normalise, "up")
    return keras.Model(picture, x, name="encoder")


def build_decoder(recipe: NetworkRecipe, name: str, identity: int = 0) -> keras.Model:
    """Code -> colours and alpha of one person; with `identity` > 0, of the person whose code (B, identity) comes along.

    `fold_identity` turns the second kind, for one person, into the first.
    """
    side = (recipe.resolution >> len(recipe.down)) * 2
    code = x = keras.Input((side, side, recipe.shared_up), name="code")
    person = keras.Input((identity,), name="identity") if identity else None
    if recipe.own_map:
        x = OwnMap(name="own")(x) if person is None else _made_map(x, person)
    for index, width in enumerate(recipe.up):
        x = up(x, width, recipe.slope, recipe.normalise, f"up_{index}", person)
        x = attend(x, recipe.attention_decoder)
    for index in range(recipe.residual):
        x = residual(x, recipe.slope, f"residual_{index}")
    return keras.Model(code if person is None else [code, person], picture_and_mask(x, recipe), name=name)


def split_encoder(encoder: keras.Model) -> tuple[keras.Model, keras.Model]:
    """An encoder's two halves, with the same weights: picture -> dense code (B, D), dense code -> code (B, H, H, C)."""
    dense = encoder.get_layer("code").output
    return keras.Model(encoder.input, dense, name="to_code"), keras.Model(dense, encoder.output, name="from_code")


class IdentityShift(layers.Layer):
    """Dense codes (B, D) of one person moved to those of the other: `towards` 1 from A to B, -1 back, 0 not at all."""

    def __init__(self, width: int, **settings):
        super().__init__(**settings)
        self.shift = self.add_weight(shape=(2, width), initializer="zeros", trainable=False, name="shift")
        """What is added on the way to A, and on the way to B."""
        self.built = True

    def call(self, codes, towards):
        to_a, to_b = ops.unstack(ops.convert_to_tensor(self.shift), 2)
        return codes + ops.maximum(-towards, 0) * to_a + ops.maximum(towards, 0) * to_b


def both_ways(arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """A run's arrays as today's networks take them: once one vector was added on the way to B and taken away back."""
    return {
        name: np.stack([-value, value]) if name.endswith("shift/shift/shift") and value.ndim == 1 else value
        for name, value in arrays.items()
    }


TOWARDS = {"a": -1.0, "b": 1.0}
"""The way of an `IdentityShift` by whose face is wanted."""


def build_reader(recipe: NetworkRecipe, performed: int) -> keras.Model:
    """The encoder's dense code (B, D) -> what the face does (B, performed): expression units, gaze, yaw and pitch."""
    code = keras.Input((recipe.latent,), name="code")
    return keras.Model(code, layers.Dense(performed, name="performed")(code), name="performance")


def _made_map(x, person):
    """The code plus the map that the identity code makes, as `OwnMap` adds one of its own."""
    made = layers.Dense(math.prod(x.shape[1:]), kernel_initializer="zeros", name="own_dense")(person)
    return layers.Add(name="own_add")([x, layers.Reshape(x.shape[1:], name="own_map")(made)])


def fold_identity(general: keras.Model, identity: NDArray[np.float32], own: keras.Model) -> None:
    """Give a person's decoder the weights with which it is `general` for the identity code (D,).

    A modulated convolution is a convolution: (x * k + b) s + t = x * (k s) + (b s + t).
    """
    for layer in own.layers:
        if isinstance(layer, OwnMap):
            kernel, bias = general.get_layer("own_dense").get_weights()
            layer.set_weights([(identity @ kernel + bias).reshape(layer.map.shape)])
            continue
        weights = general.get_layer(layer.name).get_weights() if layer.weights else []
        modulation = next((other for other in general.layers if other.name == f"{layer.name}_modulation"), None)
        if modulation is not None:
            (kernel, bias), (dense, offset) = weights, modulation.get_weights()
            scale, shift = np.split(identity @ dense + offset, 2)
            weights = [kernel * (1 + scale), bias * (1 + scale) + shift]
        if weights:
            layer.set_weights(weights)


def encoder_input(pictures: Any, face: Any, recipe: NetworkRecipe) -> Any:
    """What the encoder is given of pictures (B, R, R, 3) -1..1, toneless where the recipe wants that, with face masks.

    With `face_only` all but the face (B, R, R, 1) 0..1 is grey. Without it one encoder reads two backdrops and two
    heads of hair, gives each person codes of its own, and the other person's decoder meets codes it never knew.
    """
    return pictures * face if recipe.face_only else pictures


def seen_faces(pictures: Any, face: Any, recipe: NetworkRecipe) -> tuple[Any, Tone | None]:
    """What the encoder is given of pictures (B, R, R, 3) -1..1 with face masks, and the tone that was taken out."""
    if not recipe.tone_free:
        return encoder_input(pictures, face, recipe), None
    tone = face_tone(pictures, face)
    return encoder_input(take_tone(pictures, tone), face, recipe), tone


def swap_faces(
    encode: Any, decoder: Any, pictures: Any, face: Any, recipe: NetworkRecipe, wanted: Tone | None = None
) -> Any:
    """Pictures (B, R, R, 3) -1..1 and their face masks (B, R, R, 1) 0..1 as another person: (B, R, R, 4).

    `encode` is an encoder, or one whose codes are moved (`moved_encoder`).
    With a tone-free recipe the colours come out in the tone `wanted`, by default that of the picture that went in. A
    swap wants the tone that the other person usually has: a beard or dark brows give a face a contrast of its own,
    which on the other's face turns eyes and brows black.
    """
    seen, tone = seen_faces(pictures, face, recipe)
    made = decoder(encode(seen, training=False), training=False)
    if tone is None:
        return made
    return ops.concatenate([give_tone(made[..., :3], wanted or tone), made[..., 3:]], axis=-1)


def moved_encoder(encoder: keras.Model, move: Callable[[Any], Any]) -> Any:
    """Pictures -> code, its dense code (B, D) changed by `move` on the way; called like an encoder."""
    to_code, from_code = split_encoder(encoder)
    return lambda pictures, training: from_code(move(to_code(pictures, training=training)), training=training)


def picture_and_mask(x, recipe: NetworkRecipe):
    """The decoder's last map -> (B, R, R, 4): tanh colours and sigmoid alpha."""
    if recipe.shuffle_head:
        x = layers.Conv2D(16, 3, padding="same", kernel_initializer=Icnr(), name="head")(x)
        x = PixelShuffle(name="head_shuffle")(x)
    else:
        x = layers.Conv2D(4 if recipe.learned_mask else 3, 5, padding="same", name="head")(x)
    return ColorsAndAlpha(name="picture")(x)


def attend(x, sides: tuple[int, ...]):
    """Self-attention where the map's side is one of `sides`."""
    return SelfAttention(name=f"attention_{x.shape[1]}")(x) if x.shape[1] in sides else x


def colors_and_alpha(made: Any) -> tuple[Any, Any]:
    """A decoder's pictures (B, R, R, 4) in two: colours and mask.

    Split, not sliced: the gradient of a slice takes TensorFlow as long as a convolution.
    """
    colors, alpha = ops.split(made, [3], axis=-1)
    return colors, alpha


class ColorsAndAlpha(layers.Layer):
    """(B, R, R, 3 or 4) -> (B, R, R, 4): tanh on the colours; sigmoid on the fourth channel, 1 where there is none."""

    def call(self, x):
        if x.shape[-1] == 3:
            return ops.concatenate([ops.tanh(x), ops.ones_like(x[..., :1])], axis=-1)
        colors, alpha = colors_and_alpha(x)
        return ops.concatenate([ops.tanh(colors), ops.sigmoid(alpha)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], 4)
