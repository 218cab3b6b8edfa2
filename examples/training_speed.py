"""How quick is a step of training, beside what it must at least cost and beside what one would otherwise write?

In: a recipe. Out: images a second of our step, of the networks' bare forward and backward pass, and of the same
networks and losses trained by plain `keras fit`, fed by a tf.data pipeline that augments on the CPU with OpenCV.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.backend import compile_step, resident
from faceswap_pipeline.imaging import margin_size
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.networks.tone import SPREAD
from faceswap_pipeline.train import augment
from faceswap_pipeline.train.augment import Batch
from faceswap_pipeline.train.gradients import gradients
from faceswap_pipeline.train.losses import reconstruction_terms
from faceswap_pipeline.train.model import PERSONS, SwapModel

CROPS = 256
"""Pictures of each person."""
WARM_UP, TAKES = 4, 40
"""Steps that compile and are not timed, and those that are."""


def our_step(recipe: Recipe, adversarial: bool = False, performed: int = 0) -> Callable[[int], Any]:
    """A whole step, called with its number: drawing, augmentation, losses, both updates, the moving average.

    `performed` is how many numbers base weights read of what a face does: a run from them swaps half of its faces too.
    """
    model, crops = SwapModel(recipe, 1, performed), {person: resident(made_crops(recipe)) for person in PERSONS}
    plain = np.zeros((CROPS, 3), np.float32)
    known = augment.Statistics(plain, plain + 1, np.full(CROPS, 1 / CROPS))
    first = recipe.train.adversarial_from if adversarial else 0

    def step(number: int) -> None:
        drawn = {
            person: augment.draw(1, number % 1000, person, known, known, recipe.train, recipe.network)
            for person in PERSONS
        }
        float(model.step(crops, drawn, 1.0, first + number)["gradient_norm"])

    return step


def bare_pass(recipe: Recipe) -> Callable[[int], Any]:
    """Forward and backward through encoder and decoders, on a resident batch, colours and mask."""
    model, size = SwapModel(recipe, 1), recipe.network.resolution
    random = np.random.default_rng(0)
    shape = (recipe.train.batch, size, size, 4)
    wanted = {person: random.uniform(-1, 1, shape).astype(np.float32) for person in PERSONS}

    def loss() -> Any:
        made = [model.generator[f"decoder_{p}"](model.generator["encoder"](wanted[p][..., :3])) for p in PERSONS]
        parts = [keras.ops.mean(keras.ops.abs(m - wanted[p])) for m, p in zip(made, PERSONS, strict=True)]
        return sum(parts), parts[0]

    def bare() -> Any:
        total, found = gradients(loss, model.generator_weights, model.variables())
        return total + sum(keras.ops.sum(gradient) for gradient in found)

    step = compile_step(bare, model.variables())
    return lambda number: float(step())


def plain_fit(recipe: Recipe) -> float:
    """Images a second of `keras fit` on the same networks, losses, optimizer and kind of augmentation."""
    model = SwapModel(recipe, 1)
    size = recipe.network.resolution
    inputs = [keras.Input((size, size, 3), name=person) for person in PERSONS]
    outputs = [
        model.generator[f"decoder_{person}"](model.generator["encoder"](seen))
        for person, seen in zip(PERSONS, inputs, strict=True)
    ]
    network = keras.Model(inputs, outputs)

    def loss(wanted: Any, made: Any) -> Any:
        batch = Batch(None, wanted[..., :3], wanted[..., 3:4], wanted[..., 4:5], wanted[..., 5:], None)
        return sum(reconstruction_terms(made, batch, recipe.loss).values())

    train = recipe.train
    optimizer = keras.optimizers.Adam(
        train.learning_rate,
        train.beta_1,
        global_clipnorm=train.clip_norm,
        use_ema=bool(train.average),
        ema_momentum=train.average or 0.99,
    )
    network.compile(optimizer, loss=[loss] * len(PERSONS))
    data = augmenting_pipeline(recipe)
    network.fit(data, steps_per_epoch=WARM_UP, shuffle=False, verbose=0)
    start = time.perf_counter()
    network.fit(data, steps_per_epoch=2 * TAKES, shuffle=False, verbose=0)
    return len(PERSONS) * train.batch * 2 * TAKES / (time.perf_counter() - start)


def augmenting_pipeline(recipe: Recipe) -> Any:
    """A tf.data pipeline of ((A's inputs, B's inputs), (A's targets with masks, B's)), drawn for ever."""
    import tensorflow as tf

    size, crops = recipe.network.resolution, made_crops(recipe)

    def one(number: int) -> tuple[NDArray, ...]:
        random = np.random.default_rng(int(number))
        pairs = [augmented(crops[random.integers(len(crops))], random, recipe) for _ in PERSONS]
        return tuple(pair[0] for pair in pairs) + tuple(pair[1] for pair in pairs)

    def example(number: Any) -> Any:
        parts = tf.numpy_function(one, [number], [tf.float32] * 4, stateful=False)
        for part, channels in zip(parts, (3, 3, 6, 6), strict=True):
            part.set_shape((size, size, channels))
        return tuple(parts[:2]), tuple(parts[2:])

    numbers = tf.data.Dataset.range(1 << 40)
    made = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(recipe.train.batch)
    return made.prefetch(tf.data.AUTOTUNE)


def augmented(crop: NDArray[np.uint8], random: np.random.Generator, recipe: Recipe) -> tuple[NDArray, NDArray]:
    """An input (R, R, 3) and its target with masks (R, R, 6), float32: view, warp, colours, tone, the face alone."""
    train, size = recipe.train, recipe.network.resolution
    angle, scale = random.uniform(-train.rotation, train.rotation), np.exp(random.uniform(-train.zoom, train.zoom))
    middle = np.array(crop.shape[1::-1]) / 2
    matrix = cv2.getRotationMatrix2D(middle.tolist(), angle, scale)
    matrix[:, 2] += size / 2 - middle + random.uniform(-train.shift, train.shift, 2) * size
    view = np.dstack([cv2.warpAffine(part, matrix, (size, size)) for part in (crop[..., :3], crop[..., 3:])])
    if random.random() < train.flip:
        view = view[:, ::-1]
    grid = random.normal(0, train.warp * size, (augment.GRID, augment.GRID, 2)).astype(np.float32)
    places = cv2.resize(grid, (size, size)) + np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)
    seen = cv2.remap(np.ascontiguousarray(view[..., :4]), places.astype(np.float32), None, cv2.INTER_LINEAR)
    view, seen = view.astype(np.float32) / 255, seen.astype(np.float32) / 255
    pictures = [view[..., :3] * 2 - 1, seen[..., :3] * 2 - 1]
    gain, offset = np.exp(random.normal(0, train.color_jitter, 3)), random.normal(0, train.color_jitter, 3)
    pictures = [np.clip(picture * gain + offset, -1, 1) for picture in pictures]
    if recipe.network.tone_free:
        inside = view[..., 3] > 0.5
        part = pictures[0][inside] if inside.any() else pictures[0].reshape(-1, 3)
        mean, spread = part.mean(0), part.std(0) + 0.03
        pictures = [np.clip((picture - mean) * (SPREAD / spread), -1, 1) for picture in pictures]
    if recipe.network.face_only:
        pictures[1] = pictures[1] * seen[..., 3:4]
    return pictures[1].astype(np.float32), np.concatenate([pictures[0], view[..., 3:]], -1).astype(np.float32)


def made_crops(recipe: Recipe) -> NDArray[np.uint8]:
    """Noise in the shape of a dataset's crops with their masks, (N, H, W, 6)."""
    width, height = margin_size(recipe.network.resolution, recipe.network.view)
    return np.random.default_rng(0).integers(0, 256, (CROPS, height, width, 6), dtype=np.uint8)


def images_a_second(steps: Sequence[Callable[[int], Any]], recipe: Recipe) -> list[float]:
    """Of each kind of step, from the median time of those that do not compile.

    The kinds take turns, so that whatever else the machine does meets them alike.
    """
    times: list[list[float]] = [[] for _ in steps]
    for number in range(WARM_UP + TAKES):
        for own, step in zip(times, steps, strict=True):
            start = time.perf_counter()
            step(number)
            own.append(time.perf_counter() - start)
    return [len(PERSONS) * recipe.train.batch / statistics.median(own[WARM_UP:]) for own in times]
