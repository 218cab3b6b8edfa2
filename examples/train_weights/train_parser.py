"""How weights/parser.npz is made: the face parser, trained on rendered people with film-like augmentation.

    python examples/train_weights/train_parser.py OUT --faces FACES PAIRS [--steps 12000] [--start FILE] [--export FILE]

Called again it goes on where it stopped; `--start` begins with exported weights. FACES and PAIRS are folders of
rendered faces (images/, labels/, faces.jsonl); people 0480 to 0539 are kept for validation. `--export` writes the
weights as they are now and ends.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from batches import Batch, clean_sample, make_batch, run_ahead, stack
from keras import ops
from loop import Plan, export, read_arguments, resume, start, train
from numpy.typing import NDArray

from faceswap_pipeline.backend import compile_inference
from faceswap_pipeline.detection.meanface import MeanFace, load_mean_face
from faceswap_pipeline.networks.parser import CLASSES, SIDE, build_parser
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.train.rendered import INNER_FACE, Faces, read_faces, split_by_person

CLASS_WEIGHTS = np.array([0.8, 1, 1.5, 1, 1.5, 3, 2, 1, 1, 1.5], np.float32)
"""How much a pixel of each class counts in the cross-entropy: small parts more."""
GROUPS = (INNER_FACE, (5,), (2, 6), (7,), (4,))
"""Classes whose joint region also enters as intersection over union: face, eyeballs, mouth, hair, brows."""
HIDDEN_WEIGHT = 0.4
"""How much a hidden landmark's place counts beside a visible one's."""
TURNED = (25.0, 40.0)
"""Degrees of yaw beyond each of which a picture is drawn once more: few of the rendered people look aside."""
BATCH = 32
"""Pictures judged at a time."""
POINT_SCALE = 12.0
"""Weight of the landmarks' mean distance, in shares of the side."""


def parser_loss(network: keras.Model, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Cross-entropy, soft IoU of the groups, distance of the landmarks and cross-entropy of their visibility."""
    logits, places, sight = network(batch["picture"], training=True)
    truth = ops.one_hot(ops.cast(batch["label"], "int32"), len(CLASSES))
    chances = ops.log_softmax(logits, axis=-1)
    pixel = -ops.mean(ops.sum(truth * chances * CLASS_WEIGHTS, axis=-1))
    likely = ops.exp(chances)
    overlap = 0.0
    for group in GROUPS:
        member = np.isin(np.arange(len(CLASSES)), group).astype(np.float32)
        made, true = ops.sum(likely * member, axis=-1), ops.sum(truth * member, axis=-1)
        both = ops.sum(made * true, axis=(1, 2))
        either = ops.sum(made + true - made * true, axis=(1, 2))
        overlap += ops.mean(1 - (both + 1) / (either + 1)) / len(GROUPS)
    visible = batch["visible"]
    trust = visible + HIDDEN_WEIGHT * (1 - visible)
    distance = ops.sqrt(ops.sum((places - batch["landmarks"]) ** 2, axis=-1) + 1e-8)
    points = ops.sum(distance * trust) / ops.sum(trust)
    seen = ops.mean(ops.relu(sight) - sight * visible + ops.log1p(ops.exp(-ops.abs(sight))))
    terms = {"pixel": pixel, "overlap": overlap, "points": points, "sight": seen}
    return pixel + overlap + POINT_SCALE * points + 0.1 * seen, terms


class Judge:
    """Validation faces, plain and with one fixed draw of cover and film."""

    def __init__(self, network: keras.Model, faces: Faces, mean_face: MeanFace, every: int):
        self.infer = compile_inference(lambda picture: network(picture, training=False), network.variables)
        chosen = np.arange(0, len(faces), every)
        chosen = chosen[: len(chosen) // BATCH * BATCH]
        self.yaw = np.abs(faces.angles[chosen, 0])
        self.plain = stack([clean_sample(faces, i, mean_face, SIDE) for i in chosen], faces.people[chosen])
        (self.film,) = run_ahead(faces, mean_face, SIDE, 256, 12345, range(1))

    def __call__(self) -> dict[str, float]:
        """Mean IoU by kind on plain pictures and, for the face, on filmed ones; the landmarks' distance, shares."""
        plain, _ = self._overlaps(self.plain)
        film, distance = self._overlaps(self.film)
        figures = {
            "face": plain["face"].mean(),
            "face_turned": plain["face"][self.yaw > 40].mean(),
            "eyes": np.nanmean(plain["eyes"]),
            "mouth": np.nanmean(plain["mouth"]),
            "film_face": film["face"].mean(),
            "film_points": distance,
        }
        return {name: float(value) for name, value in figures.items()}

    def _overlaps(self, batch: Batch) -> tuple[dict[str, NDArray[np.float64]], float]:
        """IoU of each picture by kind (not a number where there is next to nothing), and the landmarks' distance."""
        parts = [self.infer(batch.picture[i : i + BATCH]) for i in range(0, len(batch.picture), BATCH)]
        made, true = np.concatenate([part[0] for part in parts]).argmax(-1), batch.label
        found = {}
        for kind, group in (("face", INNER_FACE), ("eyes", (5,)), ("mouth", (2, 6))):
            one, other = np.isin(made, group), np.isin(true, group)
            either = (one | other).sum((1, 2))
            found[kind] = np.where(other.sum((1, 2)) > 4, (one & other).sum((1, 2)) / np.maximum(either, 1), np.nan)
        places = np.concatenate([part[1] for part in parts])
        distance = np.linalg.norm(places - batch.landmarks, axis=-1)[batch.visible > 0]
        return found, float(distance.mean())


def main() -> None:
    """Train, or export."""
    arguments = read_arguments(__doc__, batch=16, rate=1.5e-3)
    keras.utils.set_random_seed(arguments.seed)
    network = build_parser(normalise=True)
    if arguments.export:
        export(build_parser(), network, arguments.export, resume(arguments.out, network))
        return
    mean_face = load_mean_face(weight_file("mean_face"))
    training, validation = split_by_person(read_faces(*arguments.faces))
    times = 1 + (np.abs(training.angles[:, :1]) > TURNED).sum(1)
    print(f"{len(training)} pictures to train on ({(times > 1).sum()} more than once), {len(validation)} to validate")
    training = training[np.repeat(np.arange(len(training)), times)]
    if arguments.start:
        first = make_batch(training, mean_face, SIDE, 256, arguments.seed, 0)
        start(build_parser(), network, arguments.start, first.picture)

    def batches(steps: range) -> Iterator[dict[str, NDArray]]:
        for made in run_ahead(training, mean_face, SIDE, arguments.batch, arguments.seed, steps, workers=1):
            yield {"picture": made.picture, "label": made.label, "landmarks": made.landmarks, "visible": made.visible}

    train(
        arguments.out,
        network,
        lambda batch: parser_loss(network, batch),
        batches,
        Plan(arguments.steps, arguments.rate),
        Judge(network, validation, mean_face, 2),
    )


if __name__ == "__main__":
    main()
