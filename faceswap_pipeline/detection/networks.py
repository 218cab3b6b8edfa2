"""The three networks of MTCNN (Zhang et al. 2016) as Keras models, and their weights by name.

proposal  -- slides a 12x12 window over a whole picture: is this a face, and how should the box move
refine    -- the same question for 24x24 crops
output    -- 48x48 crops: face or not, box, and the five landmarks
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from faceswap_pipeline.errors import WeightsError

PROPOSAL_CELL = 12
"""Window of the proposal network in pixels."""
PROPOSAL_STRIDE = 2
"""Its step in pixels."""
REFINE_SIZE = 24
OUTPUT_SIZE = 48


class PooledConvolution(layers.Layer):
    """A 3x3 convolution, PReLU and 2x2 max pooling at once; height and width of the pictures must be even.

    A 4x4 kernel that moves by two and holds the 3x3 kernel at its four places gives the four results of each block as
    channels: few input channels then fill the processor's lanes, and the whole network takes three quarters of the
    time. Overlapping pools of 3, as the other two networks have them, gain nothing so.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Weights as the three layers have them."""
        self.kernel = self.add_weight(shape=(3, 3, input_shape[-1], self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias")
        self.alpha = self.add_weight(shape=(1, 1, self.filters), name="alpha")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """(N, H, W, C) -> (N, H / 2 - 1, W / 2 - 1, filters)."""
        ops = keras.ops
        places = ((0, 0), (0, 1), (1, 0), (1, 1))
        kernels = [ops.pad(self.kernel, ((row, 1 - row), (col, 1 - col), (0, 0), (0, 0))) for row, col in places]
        x = ops.conv(x, ops.concatenate(kernels, -1), strides=2, padding="valid") + ops.tile(self.bias, 4)
        x = ops.relu(x) - ops.tile(self.alpha[0, 0], 4) * ops.relu(-x)
        return ops.max(ops.reshape(x, (*ops.shape(x)[:3], 4, self.filters)), 3)


def build_proposal_network() -> keras.Model:
    """Pictures (N, H, W, 3) in -1..1 -> face probability (N, h, w) and box shifts (N, h, w, 4) in window widths.

    H and W must be even.
    """
    inputs = keras.Input((None, None, 3))
    x = PooledConvolution(10, name="conv1")(inputs)
    x = _convolution(x, 16, 3, "conv2")
    x = _convolution(x, 32, 3, "conv3")
    shifts = layers.Conv2D(4, 1, name="shifts")(x)
    face = layers.Conv2D(2, 1, activation="softmax", name="face")(x)
    return keras.Model(inputs, [face[..., 1], shifts], name="proposal")


def build_refine_network() -> keras.Model:
    """Crops (N, 24, 24, 3) in -1..1 -> face probability (N,) and box shifts (N, 4) in box widths and heights."""
    inputs = keras.Input((REFINE_SIZE, REFINE_SIZE, 3))
    x = _convolution(inputs, 28, 3, "conv1")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = _convolution(x, 48, 3, "conv2")
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _convolution(x, 64, 2, "conv3")
    x = _dense(layers.Flatten(name="flatten")(x), 128, "dense")
    face = layers.Dense(2, activation="softmax", name="face")(x)
    return keras.Model(inputs, [face[..., 1], layers.Dense(4, name="shifts")(x)], name="refine")


def build_output_network() -> keras.Model:
    """Crops (N, 48, 48, 3) in -1..1 -> face probability (N,), box shifts (N, 4) and landmarks (N, 10).

    Landmarks are shares of the box, first the five x, then the five y: left eye, right eye, nose, left and right
    corner of the mouth, as the viewer sees them.
    """
    inputs = keras.Input((OUTPUT_SIZE, OUTPUT_SIZE, 3))
    x = _convolution(inputs, 32, 3, "conv1")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = _convolution(x, 64, 3, "conv2")
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _convolution(x, 64, 3, "conv3")
    x = layers.MaxPooling2D(2, 2, padding="same", name="pool3")(x)
    x = _convolution(x, 128, 2, "conv4")
    x = _dense(layers.Flatten(name="flatten")(x), 256, "dense")
    face = layers.Dense(2, activation="softmax", name="face")(x)
    shifts, landmarks = layers.Dense(4, name="shifts")(x), layers.Dense(10, name="landmarks")(x)
    return keras.Model(inputs, [face[..., 1], shifts, landmarks], name="output")


def _convolution(x: keras.KerasTensor, filters: int, size: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, size, name=name)(x)
    return layers.PReLU(shared_axes=[1, 2], name=f"{name}_slope")(x)


def _dense(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    return layers.PReLU(name=f"{name}_slope")(layers.Dense(units, name=name)(x))


@dataclass(frozen=True)
class Networks:
    """The three models, ready to use."""

    proposal: keras.Model
    refine: keras.Model
    output: keras.Model


def load_networks(arrays: Mapping[str, NDArray[np.float32]]) -> Networks:
    """The three networks with weights named `proposal/conv1/kernel` and so on.

    They are float32 whatever the global precision policy says. Raises WeightsError when an array is missing or has
    another shape.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        networks = Networks(build_proposal_network(), build_refine_network(), build_output_network())
    finally:
        keras.config.set_dtype_policy(policy)
    for model in (networks.proposal, networks.refine, networks.output):
        model.trainable = False
        for name, variable in named_variables(model).items():
            if name not in arrays or arrays[name].shape != tuple(variable.shape):
                found = arrays[name].shape if name in arrays else "nothing"
                raise WeightsError(f"detector weights: {name} is {found}, expected {tuple(variable.shape)}")
            variable.assign(arrays[name])
    return networks


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights of one network by `network/layer/variable`, in the order of its layers."""
    return {
        f"{model.name}/{_place(layer.name, variable.name)}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }


def _place(layer: str, variable: str) -> str:
    """Slopes go by a name of their own, also where a layer holds them beside its kernel."""
    return f"{layer.removesuffix('_slope')}_slope" if variable == "alpha" else layer
