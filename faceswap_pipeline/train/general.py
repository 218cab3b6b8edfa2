"""The general swap model: one encoder and one decoder for everybody, told by an identity code who is wanted.

In: faces of many people. Out: base weights, from which a run's two decoders are made (`persons_decoder`).
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.array_folder import read_arrays, write_arrays
from faceswap_pipeline.backend import compile_inference, compile_step, resident, value_of
from faceswap_pipeline.errors import WeightsError
from faceswap_pipeline.networks.autoencoder import build_decoder, build_encoder, build_reader, fold_identity
from faceswap_pipeline.networks.blocks import Codes
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.networks.weights import set_arrays
from faceswap_pipeline.train import augment, losses
from faceswap_pipeline.train.augment import Batch, Statistics
from faceswap_pipeline.train.gradients import Adam, clipped, gradients
from faceswap_pipeline.train.model import (
    Groups,
    Optimizers,
    all_arrays,
    copy_weights,
    move_average,
    restore_all,
    trainable,
)

CODE = 64
"""Numbers in an identity code."""
CODE_COST = 1e-3
"""Weight of the mean square of the identity codes: new people are looked for near the middle of the known ones."""
READ = "read"
"""What names of batches begin with from which only the encoder learns: a quarter of the work of a whole one."""
PERFORMANCE_COST = 1.0
"""Weight of the mean squared error with which the code says what the face does, where that is known."""
TWIN_COST = 0.1
"""Weight of how far apart the codes of one performance by two people are, in deviations of the codes."""
FIT_STEPS = 150
"""Steps in which a new person's identity code is found, everything else held still."""
FIT_RATE = 0.05
"""Rate of Adam in them; it falls to 0."""


class GeneralModel:
    """Encoder, conditioned decoder, a code for each person, their moving averages and one optimizer."""

    def __init__(self, recipe: Recipe, people: int, performed: int, seed: int):
        """`performed` is how many numbers are known of what a face does; 0: none."""
        keras.utils.set_random_seed(seed)
        self.recipe, self.people, self.performed = recipe, people, performed
        self.generator, self.average = self._build(), self._build()
        copy_weights(self.generator, self.average)
        encoder = self.generator["encoder"]
        self._encoder = keras.Model(encoder.input, [encoder.output, encoder.get_layer("code").output])
        self.generator_weights = trainable(self.generator)
        self.generator_optimizer = Adam(self.generator_weights, recipe.train.learning_rate, recipe.train.beta_1)
        self._step: Any = None
        self._swap: Any = None

    def _build(self) -> dict[str, keras.Model]:
        number = keras.Input((), dtype="int32", name="person")
        codes = Codes(self.people, CODE, name="codes")(number)
        return {
            "encoder": build_encoder(self.recipe.network),
            "decoder": build_decoder(self.recipe.network, "decoder", identity=CODE),
            "people": keras.Model(number, codes, name="people"),
            **({"performance": build_reader(self.recipe.network, self.performed)} if self.performed else {}),
        }

    def variables(self) -> list[Any]:
        """Every variable of networks, averages and optimizer, in a fixed order."""
        networks = [*self.generator.values(), *self.average.values()]
        found = [variable for network in networks for variable in network.variables]
        return found + self.generator_optimizer.variables

    def is_adversarial(self, step: int) -> bool:
        """Never: the base learns by reconstruction."""
        return False

    def step(self, crops: Any, drawn: dict[str, dict[str, Any]], rate: float, step: int) -> dict[str, Any]:
        """One update of everything by named batches; `rate` multiplies the learning rate. Returns the named losses.

        Each batch is a branch of its own, which a CPU's core of its own can run.
        """
        if self._step is None:
            self._step = compile_step(self._update, self.variables())
        keep = min(self.recipe.train.average, (1 + step) / (10 + step))
        return self._step(crops, drawn, np.float32(rate), np.float32(keep))

    def _update(self, crops, drawn, rate, keep) -> dict[str, Any]:
        batches = {name: (augment.apply(crops, each, self.recipe.network), each) for name, each in drawn.items()}

        def loss():
            parts = [self._terms(*batch, only_read=name.startswith(READ)) for name, batch in batches.items()]
            names = {name: None for part in parts for name in part}
            terms = {name: _mean([part[name] for part in parts if name in part]) for name in names}
            return sum(terms.values()), terms

        terms, found = gradients(loss, self.generator_weights, self.variables())
        found, norm = clipped(found, self.recipe.train.clip_norm)
        self.generator_optimizer.learning_rate.assign(rate * self.recipe.train.learning_rate)
        self.generator_optimizer.apply(found)
        move_average(self.generator, self.average, keep)
        return {**terms, "gradient_norm": norm}

    def _terms(self, batch: Batch, drawn: dict[str, Any], only_read: bool) -> dict[str, Any]:
        """The weighted losses of a batch by name; with `only_read` those of the dense code alone.

        One linear map of the code must tell what the face does, where that is known: expression and gaze are a few
        pixels of the picture, and all of what a swap must keep. Two people in one performance and one view must have
        the same code, so that who it is has no way through.
        """
        seen, dense = self._encoder(batch.warped)
        apart = ops.mean(ops.abs(dense - ops.take(dense, drawn["twin"], axis=0)))
        terms = {"twin": TWIN_COST * apart / (ops.mean(ops.std(dense, axis=0)) + 1e-6)}
        if self.performed:
            error = ops.mean((self.generator["performance"](dense) - drawn["performed"]) ** 2, -1, keepdims=True)
            terms["performance"] = PERFORMANCE_COST * ops.mean(error * drawn["known"])
        if only_read:
            return terms
        code = self.generator["people"](drawn["person"])
        made = self.generator["decoder"]([seen, code])
        terms |= losses.reconstruction_terms(made, batch, self.recipe.loss)
        return {**terms, "code": CODE_COST * ops.mean(code * code)}

    def swap(self, batch: Batch, person: NDArray[np.int32]) -> NDArray[np.float32]:
        """The inputs of a batch as other persons (B,), by the averaged networks -> (B, R, R, 4), toneless."""
        if self._swap is None:
            encoder, decoder, people = (self.average[name] for name in ("encoder", "decoder", "people"))
            weights = [variable for network in (encoder, decoder, people) for variable in network.variables]
            self._swap = compile_inference(lambda seen, person: decoder([encoder(seen), people(person)]), weights)
        return self._swap(batch.warped, person)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that an exact resume needs, by name."""
        return all_arrays(self._groups(), self._optimizers())

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Take what `arrays` gave. Raises WeightsError when an array is missing or has another shape."""
        restore_all(self._groups(), self._optimizers(), arrays)

    def inference_arrays(self) -> dict[str, NDArray]:
        """The averaged networks: `encoder/...`, `decoder/...`, `people/...`."""
        return all_arrays([("", self.average)], {})

    def _groups(self) -> Groups:
        return [("", self.generator), ("average/", self.average)]

    def _optimizers(self) -> Optimizers:
        return {"generator_optimizer": self.generator_optimizer}


def _mean(values: list[Any]) -> Any:
    return sum(values) / len(values)


class Base:
    """Base weights: an encoder, and a decoder for whoever has an identity code."""

    def __init__(self, recipe: Recipe, arrays: dict[str, NDArray]):
        """Raises WeightsError when the arrays are of another network than the recipe's."""
        self.recipe = recipe
        self.encoder = build_encoder(recipe.network)
        self.decoder = build_decoder(recipe.network, "decoder", identity=CODE)
        set_arrays("encoder", self.encoder.variables, arrays)
        set_arrays("decoder", self.decoder.variables, arrays)
        self.performance = {name: value for name, value in arrays.items() if name.startswith("performance/")}
        """Of the map that reads what a face does from the dense code; empty where the base was not taught to."""
        (table,) = [value for name, value in arrays.items() if name.startswith("people/")]
        self.middle = table.astype(np.float32).mean(0)
        """(CODE,) of nobody in particular."""

    def find_code(self, crops: NDArray[np.uint8], statistics: Statistics, seed: int) -> NDArray[np.float32]:
        """The identity code (CODE,) with which the decoder makes a person's faces (N, M, M, 6) best."""
        recipe, count = self.recipe, self.recipe.train.batch
        code = keras.Variable(self.middle[None], name="code")
        optimizer = Adam([code], FIT_RATE)
        state = [code, *optimizer.variables, *self.encoder.variables, *self.decoder.variables]

        def update(crops, drawn, rate):
            batch = augment.apply(crops, drawn, recipe.network)

            def loss():
                person = ops.repeat(ops.convert_to_tensor(code), count, axis=0)
                made = self.decoder([self.encoder(batch.warped), person])
                terms = losses.reconstruction_terms(made, batch, recipe.loss)
                return sum(terms.values()) + CODE_COST * ops.mean(person * person), terms

            terms, found = gradients(loss, [code], state)
            optimizer.learning_rate.assign(rate)
            optimizer.apply(found)
            return terms

        step_once, kept = compile_step(update, state), resident(crops)
        for step in range(FIT_STEPS):
            drawn = augment.draw(seed, step, "a", statistics, statistics, recipe.train, recipe.network)
            step_once(kept, drawn, np.float32(FIT_RATE * (1 - step / FIT_STEPS)))
        return value_of(code)[0]

    def persons_decoder(self, code: NDArray[np.float32], name: str) -> keras.Model:
        """A run's decoder that starts as the general one for this code."""
        own = build_decoder(self.recipe.network, name)
        fold_identity(self.decoder, code, own)
        return own


def write_base(path: Path, recipe: Recipe, arrays: dict[str, NDArray]) -> None:
    """Base weights as half-precision arrays by name, and the recipe that they are of."""
    text = np.frombuffer(json.dumps(recipe.to_json()).encode(), np.uint8)
    write_arrays(path, {"recipe": text, **{name: value.astype(np.float16) for name, value in arrays.items()}})


def read_base(path: Path) -> Base:
    """Base weights from a file of `write_base`. Raises WeightsError when it is none."""
    recipe, arrays = _read(path)
    return Base(recipe, {name: value.astype(np.float32) for name, value in arrays.items()})


def describe_base(path: Path) -> tuple[Recipe, int]:
    """The recipe that the base weights in a file are of, and how many numbers they read of what a face does.

    Without building a network. Raises WeightsError.
    """
    recipe, arrays = _read(path)
    return recipe, next((len(value) for name, value in arrays.items() if name == "performance/performed/bias"), 0)


def _read(path: Path) -> tuple[Recipe, dict[str, NDArray]]:
    try:
        arrays = read_arrays(path)
        stored = json.loads(arrays.pop("recipe").tobytes())
        return Recipe.from_json(stored), arrays
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} holds no base weights: expected a file that `swap pretrain` wrote ({error})"
        ) from error
