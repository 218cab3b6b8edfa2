"""The face parser: a small U-net that says of every pixel of a crop what it is, and where the 68 landmarks are.

In: crops `float32 (B, S, S, 3)` -1..1, S = `SIDE`. Out: class logits `(B, S, S, 10)`, landmarks `(B, 68, 2)` as shares
of the side from the middle, and the logits of their visibility `(B, 68)`.

Ronneberger et al., "U-Net", 2015; He et al., "Deep residual learning", 2016; landmarks as the mean of a heat map, Sun
et al., "Integral human pose regression", 2018.
"""

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from faceswap_pipeline.networks.blocks import PixelShuffle

SIDE = 112
"""Side of the picture that goes in, px."""
CLASSES = ("background", "face", "lips", "skin", "brow", "eye", "inner_mouth", "hair", "clothes", "lash")
LANDMARKS = 68
MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)
"""For each of the 68 landmarks, the one it becomes in a mirrored picture."""
WIDTHS = (16, 32, 64, 128)
"""Channels at a half, a quarter, an eighth and a sixteenth of the side."""
EPSILON = 1e-3
"""Added to the variance in batch normalisation."""


def build_parser(normalise: bool = False) -> keras.Model:
    """The parser; `normalise` puts batch normalisation behind the convolutions, for training.

    `folded` gives the weights of the plain one, which is what is shipped: the same function, quicker.
    """
    picture = keras.Input((SIDE, SIDE, 3), name="picture")
    maps, x = [], picture
    for level, width in enumerate(WIDTHS):
        x = convolution(x, width, 3, f"down_{level}", normalise, strides=2)
        x = residual(x, f"down_{level}_residual", normalise) if level else x
        maps.append(x)
    maps[-1] = x = residual(x, "whole_residual", normalise)
    for level in (2, 1, 0):
        x = convolution(x, WIDTHS[level], 1, f"up_{level}_narrow", normalise)
        x = layers.Add(name=f"up_{level}_add")([layers.UpSampling2D(2, name=f"up_{level}_double")(x), maps[level]])
        x = convolution(x, WIDTHS[level], 3, f"up_{level}", normalise)
        maps[level] = x
    logits = PixelShuffle(name="classes")(layers.Conv2D(4 * len(CLASSES), 1, name="head")(x))
    heat = layers.Conv2D(LANDMARKS, 1, name="heat")(maps[1])
    sight = layers.Conv2D(LANDMARKS, 1, name="sight")(maps[1])
    places, visible = HeatMean(name="landmarks")([heat, sight])
    return keras.Model(picture, [logits, places, visible], name="parser")


class HeatMean(layers.Layer):
    """Two maps (B, H, H, P) -> the mean place of each heat (B, P, 2), and the mean of `sight` under it (B, P)."""

    def call(self, inputs):
        heat, sight = inputs
        _, side, _, points = heat.shape
        share = ops.softmax(ops.reshape(heat, (-1, side * side, points)), axis=1)
        axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(side * side, 2)
        places = ops.matmul(ops.transpose(share, (0, 2, 1)), grid)
        return places, ops.sum(share * ops.reshape(sight, (-1, side * side, points)), axis=1)

    def compute_output_shape(self, input_shape):
        batch, _, _, points = input_shape[0]
        return (batch, points, 2), (batch, points)


def convolution(x, width: int, kernel: int, name: str, normalise: bool, strides: int = 1, rectify: bool = True):
    """Convolution, batch normalisation where asked, rectifier; without that the kernel starts at 0."""
    first = "he_normal" if rectify else "zeros"
    x = layers.Conv2D(width, kernel, strides, "same", use_bias=not normalise, kernel_initializer=first, name=name)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=EPSILON, name=f"{name}_norm")(x) if normalise else x
    return layers.ReLU(name=f"{name}_rectifier")(x) if rectify else x


def residual(x, name: str, normalise: bool):
    """Two 3x3 convolutions added to their input, which is all there is at first (Goyal et al. 2017)."""
    y = convolution(x, x.shape[-1], 3, f"{name}_first", normalise)
    y = convolution(y, x.shape[-1], 3, f"{name}_second", normalise, rectify=False)
    return layers.ReLU(name=f"{name}_rectifier")(layers.Add(name=f"{name}_add")([x, y]))


def unfold(plain: keras.Model, trained: keras.Model, pictures: NDArray[np.float32]) -> None:
    """Give `trained`, which normalises, the weights with which it is the same function as `plain`: the way back.

    Its normalisation starts from what each convolution of `plain` makes of `pictures`, so that training can go on
    from shipped weights as if it had never stopped. Layers that `plain` lacks are left as they are.
    """
    names = {layer.name for layer in trained.layers}
    known = [layer for layer in plain.layers if isinstance(layer, layers.Conv2D | layers.Dense)]
    made = keras.Model(plain.input, [layer.output for layer in known])(pictures, training=False)
    for layer, output in zip(known, made, strict=True):
        if f"{layer.name}_norm" not in names:
            trained.get_layer(layer.name).set_weights(layer.get_weights())
            continue
        kernel, bias = layer.get_weights()
        mean, variance = (ops.convert_to_numpy(value) for value in ops.moments(output, axes=(0, 1, 2)))
        trained.get_layer(layer.name).set_weights([kernel])
        trained.get_layer(f"{layer.name}_norm").set_weights([np.sqrt(variance + EPSILON), mean, mean - bias, variance])


def fold(trained: keras.Model, plain: keras.Model) -> None:
    """Give `plain` the weights with which it is the same function as `trained` with its batch normalisation."""
    for layer in plain.layers:
        if not isinstance(layer, layers.Conv2D | layers.Dense):
            continue
        names = {other.name for other in trained.layers}
        if f"{layer.name}_norm" not in names:
            layer.set_weights(trained.get_layer(layer.name).get_weights())
            continue
        (kernel,) = trained.get_layer(layer.name).get_weights()
        gain, offset, mean, variance = trained.get_layer(f"{layer.name}_norm").get_weights()
        scale = gain / np.sqrt(variance + EPSILON)
        layer.set_weights([kernel * scale, offset - mean * scale])
