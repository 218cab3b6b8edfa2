"""How weights/embedding.npz is made: the identity embedding, trained to tell rendered people apart.

    python examples/train_weights/train_embedding.py OUT --faces FACES PAIRS [--steps N] [--start FILE] [--export FILE]

Called again it goes on where it stopped; `--start` begins with exported weights. FACES and PAIRS are folders of
rendered faces (images/, labels/, faces.jsonl); people 0480 to 0539 are kept for validation. `--export` writes the
weights as they are now and ends.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from batches import Batch, clean_sample, make_batch, run_ahead, stack
from keras import ops
from loop import Plan, export, read_arguments, resume, start, train
from numpy.typing import NDArray

from faceswap_pipeline.backend import compile_inference
from faceswap_pipeline.detection.meanface import MeanFace, load_mean_face
from faceswap_pipeline.imaging import grow_mask, margin_size, middle
from faceswap_pipeline.networks.embedding import DIMENSIONS, SIDE, VIEW, Likeness, bare_faces, build_embedding
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.train.rendered import FIRST_VALIDATION_PERSON, INNER_FACE, Faces, read_faces, split_by_person

SCALE, MARGIN = 24.0, 0.3
"""CosFace's: the cosine of the true person is lowered by the margin, then all are multiplied by the scale."""
TURNED = 25.0
"""Degrees of yaw beyond which a picture is drawn twice as often: few of the rendered people look aside."""
WHOLE = margin_size(SIDE, (VIEW, VIEW))[0]
"""Side of the pictures that are cut, px; the network sees their middle."""


def margin_loss(model: keras.Model, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """CosFace's loss (Wang et al. 2018), and the share of faces whose own person is the nearest."""
    likeness = model(bare_faces(batch["picture"], batch["face"]), training=True)
    true = ops.one_hot(ops.cast(batch["person"], "int32"), likeness.shape[-1])
    logits = SCALE * (likeness - MARGIN * true)
    loss = -ops.mean(ops.sum(true * ops.log_softmax(logits, axis=-1), axis=-1))
    right = ops.mean(ops.cast(ops.equal(ops.argmax(likeness, -1), ops.argmax(true, -1)), "float32"))
    return loss, {"loss": loss, "right": right}


def central(batch: Batch, random: np.random.Generator | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pictures (B, SIDE, SIDE, 3) and their face masks.

    With `random` the masks are as unsure as made ones, and half of them end where another face's does too: whose
    outline it is must not tell who it is, since a swap keeps that of the head it lies on.
    """
    rows, columns = middle((WHOLE, WHOLE), SIDE)
    masks = np.isin(batch.label, INNER_FACE).astype(np.uint8)
    if random is not None:
        masks = np.stack([_unsure(mask, random) for mask in masks])
        others = masks[random.permutation(len(masks))]
        masks = np.where(random.random((len(masks), 1, 1)) < 0.5, masks & others, masks)
    return batch.picture[:, rows, columns], masks[:, rows, columns, None].astype(np.float32)


def _unsure(mask: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A mask grown or shrunk by up to two pixels."""
    return grow_mask(mask, int(random.integers(-2, 3)))


def equal_error(likeness: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The rate at which as many different people are taken for one as the same one for two."""
    order = np.argsort(-likeness, kind="stable")
    same = same[order]
    missed = 1 - np.cumsum(same) / same.sum()
    mixed = np.cumsum(~same) / (~same).sum()
    at = int(np.argmin(np.abs(missed - mixed)))
    return float((missed[at] + mixed[at]) / 2)


def compiled(network: keras.Model) -> Callable[..., NDArray[np.float32]]:
    """Pictures and face masks, as `central` gives them -> embeddings."""
    return compile_inference(
        lambda pictures, faces: network(bare_faces(pictures, faces), training=False), network.variables
    )


def mean_directions(network: keras.Model, faces: Faces, mean_face: MeanFace) -> NDArray[np.float32]:
    """The mean embedding (N, 128) of each of the N people's plain pictures: a head that knows what the network does."""
    infer = compiled(network)
    sums = np.zeros((FIRST_VALIDATION_PERSON, DIMENSIONS), np.float32)
    for chosen in np.array_split(np.arange(len(faces)), -(-len(faces) // 64)):
        samples = [clean_sample(faces, int(index), mean_face, WHOLE) for index in chosen]
        np.add.at(sums, faces.people[chosen], infer(*central(stack(samples, faces.people[chosen]), None)))
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)


class Judge:
    """How well people never seen are told apart, on plain pictures and on filmed ones."""

    def __init__(self, network: keras.Model, faces: Faces, mean_face: MeanFace):
        self.infer = compiled(network)
        plain = stack([clean_sample(faces, i, mean_face, WHOLE) for i in range(len(faces))], faces.people)
        (film,) = run_ahead(faces, mean_face, WHOLE, 480, 12345, range(1))
        self.sets = {name: (*central(made, None), made.people) for name, made in (("plain", plain), ("film", film))}

    def __call__(self) -> dict[str, float]:
        """Equal error rates: `plain_error` and `film_error`."""
        found = {}
        for name, (pictures, faces, people) in self.sets.items():
            whole = len(faces) // 16 * 16
            batches = [slice(i, i + 16) for i in range(0, whole, 16)]
            vectors = np.concatenate([self.infer(pictures[batch], faces[batch]) for batch in batches])
            first, second = np.triu_indices(whole, 1)
            likeness = (vectors @ vectors.T)[first, second].astype(np.float64)
            found[f"{name}_error"] = equal_error(likeness, people[first] == people[second])
        return found


def main() -> None:
    """Train, or export."""
    arguments = read_arguments(__doc__, batch=32, rate=1e-3)
    keras.utils.set_random_seed(arguments.seed)
    network = build_embedding(normalise=True)
    model = keras.Model(network.input, Likeness(FIRST_VALIDATION_PERSON, name="likeness")(network.output))
    if arguments.export:
        export(build_embedding(), network, arguments.export, resume(arguments.out, model))
        return
    mean_face = load_mean_face(weight_file("mean_face"))
    training, validation = split_by_person(read_faces(*arguments.faces))
    turned = np.abs(training.angles[:, 0]) > TURNED
    training = training[np.concatenate([np.arange(len(training)), np.nonzero(turned)[0]])]
    print(f"{len(training)} pictures to train on ({turned.sum()} twice), {len(validation)} to validate")
    if arguments.start:
        first = central(make_batch(training, mean_face, WHOLE, 256, arguments.seed, 0), None)
        start(build_embedding(), network, arguments.start, np.asarray(bare_faces(*first)))
        model.layers[-1].directions.assign(mean_directions(network, training, mean_face).T)

    def batches(steps: range) -> Iterator[dict[str, NDArray]]:
        made = run_ahead(training, mean_face, WHOLE, arguments.batch, arguments.seed, steps, workers=1)
        for step, batch in zip(steps, made, strict=True):
            random = np.random.Generator(np.random.Philox(key=[arguments.seed, step], counter=[0, 0, 2, 0]))
            picture, face = central(batch, random)
            yield {"picture": picture, "face": face, "person": batch.people}

    train(
        arguments.out,
        model,
        lambda batch: margin_loss(model, batch),
        batches,
        Plan(arguments.steps, arguments.rate),
        Judge(network, validation, mean_face),
    )


if __name__ == "__main__":
    main()
