"""The building blocks of every network: steps down and up, self-attention, spectral normalisation.

In: feature maps `float32 (B, H, W, C)`. Out: the same kind. Only `keras.ops`, so any backend runs them.
"""

import keras
from keras import layers, ops


class PixelShuffle(layers.Layer):
    """(B, H, W, 4C) -> (B, 2H, 2W, C): sub-pixel convolution's second half (Shi et al. 2016)."""

    def call(self, x):
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, height, width, 2, 2, channels // 4))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, 2 * height, 2 * width, channels // 4))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, 2 * height, 2 * width, channels // 4


class SelfAttention(layers.Layer):
    """Self-attention over all places of a map, added to it with a gain that starts at 0 (SAGAN, Zhang et al. 2018).

    Queries and keys have C/8 channels, values C/2. Keys and values are max-pooled 2x2 where the map is larger than 8,
    as SAGAN's published networks do, which makes a 64x64 map four times cheaper.
    """

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.pooled = height > 8
        narrow, half = max(4, channels // 8), max(4, channels // 2)

        def project(name, count):
            layer = layers.Conv2D(count, 1, use_bias=False, name=name)
            layer.build(input_shape if name != "out" else (None, height, width, half))
            return layer

        self.query, self.key = project("query", narrow), project("key", narrow)
        self.value, self.out = project("value", half), project("out", channels)
        self.gain = self.add_weight(name="gain", shape=(), initializer="zeros")
        self.pool = layers.MaxPooling2D(2)

    def call(self, x):
        _, height, width, _ = x.shape
        key, value = self.key(x), self.value(x)
        if self.pooled:
            key, value = self.pool(key), self.pool(value)
        query = ops.reshape(self.query(x), (-1, height * width, self.query.filters))
        key = ops.reshape(key, (-1, key.shape[1] * key.shape[2], self.key.filters))
        value = ops.reshape(value, (-1, value.shape[1] * value.shape[2], self.value.filters))
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))), axis=-1)
        attended = ops.reshape(ops.matmul(weights, value), (-1, height, width, self.value.filters))
        return x + self.gain * self.out(attended)

    def compute_output_shape(self, input_shape):
        return input_shape


class SpectralConv2D(layers.Layer):
    """A convolution whose kernel is divided by its largest singular value (Miyato et al. 2018).

    The kernel itself is never assigned, only the power iteration's vector is, so that it works under stateless
    backends; gradients pass through the division. One power step is made for each call with `training=True`.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.vector = self.add_weight(
            name="vector", shape=(1, self.filters), initializer="random_normal", trainable=False
        )

    def call(self, x, training=False):
        flat = ops.reshape(self.kernel, (-1, self.filters))
        fixed = ops.stop_gradient(flat)
        right = self.vector
        left = _unit(ops.matmul(right, ops.transpose(fixed)))
        right = _unit(ops.matmul(left, fixed))
        if training:
            self.vector.assign(right)
        sigma = ops.sum(ops.matmul(left, flat) * right)
        y = ops.conv(x, self.kernel / sigma, strides=self.strides, padding="same")
        return y + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return batch, -(-height // self.strides), -(-width // self.strides), self.filters


def down(x, width: int, kernel: int, slope: float, normalise: bool, name: str):
    """Halve the map: stride-2 convolution, leaky rectifier, normalisation where asked."""
    x = layers.Conv2D(width, kernel, 2, "same", kernel_initializer="he_normal", name=name)(x)
    x = layers.LeakyReLU(slope, name=f"{name}_rectifier")(x)
    return normalised(x, f"{name}_norm") if normalise else x


class OwnMap(layers.Layer):
    """Adds one learned map to every code: zeros at the start."""

    def build(self, input_shape):
        self.map = self.add_weight(name="map", shape=input_shape[1:], initializer="zeros")

    def call(self, x):
        return x + self.map

    def compute_output_shape(self, input_shape):
        return input_shape


class Codes(layers.Layer):
    """Numbers of people (B,) -> their learned identity codes (B, size).

    A product with one-hot rows, whose gradient is dense: the joint norm of all gradients is clipped.
    """

    def __init__(self, people: int, size: int, **kwargs):
        super().__init__(**kwargs)
        self.people, self.size = people, size

    def build(self, input_shape):
        start = keras.initializers.RandomNormal(stddev=0.3)
        self.table = self.add_weight(name="table", shape=(self.people, self.size), initializer=start)

    def call(self, number):
        return ops.matmul(ops.one_hot(number, self.people), self.table)

    def compute_output_shape(self, input_shape):
        return *input_shape, self.size


class Modulation(layers.Layer):
    """Each channel of a map scaled and shifted as an identity code says: (B, H, W, C) and (B, D) -> (B, H, W, C).

    Perez et al., "FiLM", 2018. It starts as no change.
    """

    def build(self, input_shape):
        channels = input_shape[0][-1]
        self.dense = layers.Dense(2 * channels, kernel_initializer="zeros", name="dense")
        self.dense.build(input_shape[1])

    def call(self, inputs):
        x, identity = inputs
        scale, shift = ops.split(self.dense(identity)[:, None, None], 2, axis=-1)
        return x * (1 + scale) + shift

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def up(x, width: int, slope: float, normalise: bool, name: str, identity=None):
    """Double the map: 3x3 convolution to four times the width, leaky rectifier, normalisation, pixel shuffle.

    With an `identity` code (B, D) the convolution's channels are modulated by it.
    """
    x = layers.Conv2D(4 * width, 3, padding="same", kernel_initializer=Icnr(), name=name)(x)
    x = x if identity is None else Modulation(name=f"{name}_modulation")([x, identity])
    x = layers.LeakyReLU(slope, name=f"{name}_rectifier")(x)
    x = normalised(x, f"{name}_norm") if normalise else x
    return PixelShuffle(name=f"{name}_shuffle")(x)


def residual(x, slope: float, name: str):
    """Two 3x3 convolutions added to their input (He et al. 2016)."""
    width = x.shape[-1]
    y = layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_first")(x)
    y = layers.LeakyReLU(slope, name=f"{name}_first_rectifier")(y)
    y = layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_second")(y)
    return layers.LeakyReLU(slope, name=f"{name}_second_rectifier")(layers.Add(name=f"{name}_add")([x, y]))


def normalised(x, name: str):
    """Each picture's maps brought to mean 0 and deviation 1 over all places and channels, with a gain per channel."""
    return layers.GroupNormalization(groups=1, name=name)(x)


class Icnr(keras.initializers.Initializer):
    """He-normal kernel with the four phases of a pixel shuffle equal, so that training starts without a checkerboard.

    Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017.
    """

    def __call__(self, shape, dtype=None):
        height, width, inputs, outputs = shape
        deviation = (2.0 / (height * width * inputs)) ** 0.5
        phase = keras.random.normal((height, width, inputs, outputs // 4), stddev=deviation, dtype=dtype or "float32")
        return ops.tile(phase, (1, 1, 1, 4))

    def get_config(self):
        return {}


def _unit(vector):
    return vector / (ops.sqrt(ops.sum(vector * vector)) + 1e-12)
