"""The networks of a run, their optimizers and the training step, in the order of the algorithm.

In: a recipe. Then: resident crops of both persons and what was drawn for the step. Out: named losses; the networks,
their moving averages and the optimizers have moved on by one step.
"""

from functools import cached_property, partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.backend import compile_inference, compile_step, find_device, value_of
from faceswap_pipeline.imaging import to_float
from faceswap_pipeline.networks.autoencoder import (
    TOWARDS,
    IdentityShift,
    both_ways,
    build_decoder,
    build_encoder,
    build_reader,
    colors_and_alpha,
    encoder_input,
    moved_encoder,
    split_encoder,
    swap_faces,
)
from faceswap_pipeline.networks.discriminator import build_discriminator
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.networks.tone import Tone
from faceswap_pipeline.networks.weights import get_arrays, set_arrays
from faceswap_pipeline.train import augment, losses
from faceswap_pipeline.train.augment import Batch
from faceswap_pipeline.train.gradients import Adam, clipped, gradients
from faceswap_pipeline.train.perceptual import Block, perceptual_error
from faceswap_pipeline.train.shift import LEARNT_AT, SHOWN_AT, Aligner

PERSONS = ("a", "b")


Groups = list[tuple[str, dict[str, keras.Model]]]
"""Networks by name, with what is put before their names."""
Optimizers = dict[str, Adam]

FOOL = {"hinge": losses.hinge_generator, "mixup": lambda verdict: losses.least_squares(verdict, 1.0)}
"""The generator's side of each adversarial loss: logits of its pictures -> scalar."""
JUDGE = {
    "hinge": lambda judge, real, fake, mix: losses.hinge_discriminator(judge(real), judge(fake)),
    "mixup": lambda judge, real, fake, mix: losses.least_squares(judge(mix * real + (1 - mix) * fake), mix),
}
"""The discriminator's side: what judges pictures, true and made ones, and the mix -> scalar."""


AVERAGE_EVERY = 8
"""Steps from one move of the averages to the next, which then goes as far as eight: each costs a twelfth of a step."""


class Code(NamedTuple):
    """What the encoder makes of pictures."""

    map: Any
    """(B, H, H, C), which decoders take."""
    dense: Any
    """(B, D), what the map is made of."""


class SwapModel:
    """Shared encoder, a decoder and a discriminator for each person, and what training them needs.

    One optimizer moves encoder and both decoders together (the published system steps the encoder twice, under two
    optimizer states); another moves both discriminators.
    """

    def __init__(self, recipe: Recipe, seed: int, performed: int = 0, features: list[Block] | None = None):
        """Random weights from `seed`.

        `performed` is how many numbers the base weights that the networks will be given read of what a face does (0:
        there are none, or they cannot); `features` is a network of `read_features`, for the perceptual loss.
        """
        keras.utils.set_random_seed(seed)
        self.recipe, self._features = recipe, features
        self.generator = self._build_generator()
        self.average = self._build_generator()
        self.discriminator = {}
        if recipe.adversarial:
            self.discriminator = {
                f"discriminator_{person}": build_discriminator(
                    recipe.discriminator, recipe.network.resolution, f"discriminator_{person}"
                )
                for person in PERSONS
            }
        copy_weights(self.generator, self.average)
        self._to_code, self._from_code = split_encoder(self.generator["encoder"])
        self.reader, self.shift, self._aligners = {}, {}, []
        if performed:
            self.reader = {"performance": build_reader(recipe.network, performed)}
            self.shift, averaged = ({"shift": IdentityShift(recipe.network.latent, name="shift")} for _ in range(2))
            self.average |= averaged
            sets = (({**self.generator, **self.shift}, LEARNT_AT), (self.average, SHOWN_AT))
            reader = self.reader["performance"]
            self._aligners = [Aligner(networks, reader, recipe.network, most_off) for networks, most_off in sets]
        train = recipe.train
        taught = {name: part for name, part in self.generator.items() if train.encoder_rate or name != "encoder"}
        self.generator_weights = trainable(taught)
        self.discriminator_weights = trainable(self.discriminator)
        shares = [
            train.encoder_rate if name == "encoder" else 1.0
            for name, part in taught.items()
            for _ in part.trainable_variables
        ]
        self.generator_optimizer = Adam(self.generator_weights, train.learning_rate, train.beta_1, shares)
        self.discriminator_optimizer = Adam(self.discriminator_weights, train.discriminator_rate, train.beta_1)
        self._steps: dict[bool, Any] = {}
        self._swap: dict[tuple[str, str, bool], Any] = {}

    def _build_generator(self) -> dict[str, keras.Model]:
        network = self.recipe.network
        decoders = {f"decoder_{person}": build_decoder(network, f"decoder_{person}") for person in PERSONS}
        return {"encoder": build_encoder(network), **decoders}

    def variables(self) -> list[Any]:
        """Every variable of networks, averages and optimizers, in a fixed order."""
        groups = (self.generator, self.average, self.discriminator, self.reader, self.shift)
        networks = [network for group in groups for network in group.values()]
        found = [variable for network in networks for variable in network.variables]
        found += self.generator_optimizer.variables
        return found + (self.discriminator_optimizer.variables if self.discriminator else [])

    def step(self, crops: dict[str, Any], drawn: dict[str, Any], rate: float, step: int) -> dict[str, Any]:
        """One update of everything; `rate` multiplies both learning rates. Returns the named losses."""
        adversarial = self.is_adversarial(step)
        if adversarial not in self._steps:
            run = lambda crops, drawn, rate: self._update(crops, drawn, rate, adversarial)  # noqa: E731
            self._steps[adversarial] = compile_step(run, self.variables())
        terms = self._steps[adversarial](crops, drawn, np.float32(rate))
        if (step + 1) % AVERAGE_EVERY == 0:
            self._move_averages(np.float32(min(self.recipe.train.average, (1 + step) / (10 + step)) ** AVERAGE_EVERY))
        return terms

    @cached_property
    def _move_averages(self) -> Any:
        """The averages go a share `1 - keep` of the way to the networks, as one compiled function of `keep`."""
        variables = [v for group in (self.generator, self.average) for part in group.values() for v in part.variables]
        return compile_step(lambda keep: move_average(self.generator, self.average, keep), variables)

    def is_adversarial(self, step: int) -> bool:
        """Whether the discriminators take part in this step."""
        return self.recipe.adversarial and step >= self.recipe.train.adversarial_from

    def _update(self, crops, drawn, rate, adversarial: bool) -> dict[str, Any]:
        network = self.recipe.network
        batches = {person: augment.apply(crops[person], drawn[person], network) for person in PERSONS}
        return self.update(batches, rate, adversarial)

    def update(self, batches: dict[str, Batch], rate, adversarial: bool) -> dict[str, Any]:
        """The algorithm of a step on given batches: generators, then discriminators."""
        train, state = self.recipe.train, self.variables()

        def generator_loss():
            codes = self._encode(batches)
            made = {person: self.generator[f"decoder_{person}"](codes[person].map) for person in PERSONS}
            composed = self._composed(batches, made) if adversarial else {}
            terms = {**self._generator_terms(batches, made, composed), **self._performance_terms(batches, codes)}
            return sum(terms.values()), (terms, composed)

        (terms, fakes), found = gradients(generator_loss, self.generator_weights, state)
        found, norm = clipped(found, train.clip_norm)
        self.generator_optimizer.learning_rate.assign(rate * train.learning_rate)
        self.generator_optimizer.apply(found)

        if adversarial:

            def discriminator_loss():
                total = sum(self._discriminate(person, batches[person], fakes[person]) for person in PERSONS)
                return total, {"discriminator": total}

            verdict, found = gradients(discriminator_loss, self.discriminator_weights, state)
            found, _ = clipped(found, train.clip_norm)
            self.discriminator_optimizer.learning_rate.assign(rate * train.discriminator_rate)
            self.discriminator_optimizer.apply(found)
            terms = {**terms, **verdict}

        return {**terms, "gradient_norm": norm}

    def _encode(self, batches: dict[str, Batch]) -> dict[str, Code]:
        """Each person's warped pictures through the shared encoder.

        On a GPU it takes both persons at once; on a CPU each is a branch that a core of its own can run.
        """
        if find_device().kind == "gpu":
            dense = self._to_code(ops.concatenate([batches[person].warped for person in PERSONS], 0))
            maps, codes = (ops.split(part, len(PERSONS)) for part in (self._from_code(dense), dense))
        else:
            codes = [self._to_code(batches[person].warped) for person in PERSONS]
            maps = [self._from_code(code) for code in codes]
        return {person: Code(*parts) for person, *parts in zip(PERSONS, maps, codes, strict=True)}

    def _generator_terms(self, batches, made, composed) -> dict[str, Any]:
        """The weighted loss terms of both persons, `<term>_<person>`; adversarial ones where pictures are composed."""
        weight, terms = self.recipe.loss, {}
        for person in PERSONS:
            batch = batches[person]
            parts = losses.reconstruction_terms(made[person], batch, weight)
            terms |= {f"{name}_{person}": term for name, term in parts.items()}
            if self._features:
                seen = perceptual_error(self._features, colors_and_alpha(made[person])[0], batch.target, batch.face)
                terms[f"perceptual_{person}"] = weight.perceptual * seen
            if composed:
                pictures = ops.concatenate([composed[person], batch.warped], -1)
                verdict = self.discriminator[f"discriminator_{person}"](pictures)
                terms[f"adversarial_{person}"] = weight.adversarial * FOOL[self.recipe.discriminator.loss](verdict)
        return terms

    def _performance_terms(self, batches: dict[str, Batch], codes: dict[str, Code]) -> dict[str, Any]:
        """How differently the swaps of each person's faces perform from the faces, `performance_<person>`.

        Reconstruction never shows a decoder the other person's codes, so on them it drifts from what it knew. Half of
        the faces are swapped, the swaps encoded again, and what the base reads of both codes is compared: expression,
        gaze and pose, not who it is, which the code also tells and which must change. The face itself is the measure:
        no gradient goes through its own code there.
        """
        if not self.reader or not self.recipe.loss.performance:
            return {}
        read, terms = self.reader["performance"], {}
        for person, other in (PERSONS, PERSONS[::-1]):
            batch, count = batches[person], max(1, self.recipe.train.batch // 2)
            dense = codes[person].dense[:count]
            moved = self._from_code(self.shift["shift"](dense, towards=TOWARDS[other]))
            swapped, _ = colors_and_alpha(self.generator[f"decoder_{other}"](moved))
            again = self._to_code(encoder_input(swapped, batch.face[:count], self.recipe.network))
            wanted = read(ops.stop_gradient(dense))
            terms[f"performance_{person}"] = self.recipe.loss.performance * ops.mean((read(again) - wanted) ** 2)
        return terms

    def _composed(self, batches, made) -> dict[str, Any]:
        """What the discriminators judge: the decoder's colours inside its mask, the true picture outside.

        The mask gets no gradient from here: hiding the face behind an empty mask would fool any discriminator.
        """
        out = {}
        for person in PERSONS:
            colors, alpha = colors_and_alpha(made[person])
            alpha = ops.stop_gradient(alpha)
            out[person] = alpha * colors + (1 - alpha) * batches[person].target
        return out

    def _discriminate(self, person: str, batch: Batch, fake):
        """One person's discriminator on true and made pictures beside the distorted input."""
        network = self.discriminator[f"discriminator_{person}"]
        judge = lambda pictures: network(ops.concatenate([pictures, batch.warped], -1), training=True)  # noqa: E731
        return JUDGE[self.recipe.discriminator.loss](judge, batch.target, ops.stop_gradient(fake), batch.mix)

    def align(self, views: dict[str, NDArray[np.uint8]]) -> None:
        """Find the way from A's codes to B's anew, for the networks and for their averages, from both persons' views.

        Views are (N, R, R, 6), as many of each person, the same number each time. Does nothing where the networks came
        from no base.
        """
        for aligner in self._aligners:
            aligner.align(views)

    def swap(self, views: NDArray[np.uint8], of: str, person: str, wanted: Tone | None = None) -> NDArray[np.float32]:
        """Views (B, R, R, 6) `of` one person, colours and masks, through the averaged networks as `person`.

        Returns (B, R, R, 4). `wanted` is the tone of the result where the recipe is tone-free; by default each view's
        own. Give a person the same one each time. As in films, what is drawn of a moved code is drawn once more.
        """
        face = views[..., 3:4] / np.float32(255)
        made = self._drawer(of, person, wanted)(to_float(views[..., :3]), face)
        shift = self.average.get("shift") if of != person else None
        if shift is None or not np.any(value_of(shift.shift)[PERSONS.index(person)]):
            return made
        again = self._drawer(person, person, wanted)(made[..., :3], face)
        return np.concatenate([again[..., :3], made[..., 3:]], -1)

    def _drawer(self, of: str, person: str, wanted: Tone | None) -> Any:
        """Pictures (B, R, R, 3) `of` one person and face masks as `person`, (B, R, R, 4), compiled once."""
        key = (of, person, wanted is None)
        if key not in self._swap:
            encoder, decoder = self.average["encoder"], self.average[f"decoder_{person}"]
            network, shift = self.recipe.network, self.average.get("shift") if of != person else None
            encode = moved_encoder(encoder, partial(shift, towards=TOWARDS[person])) if shift else encoder
            self._swap[key] = compile_inference(
                lambda pictures, face: swap_faces(encode, decoder, pictures, face, network, wanted),
                [*encoder.variables, *decoder.variables, *(shift.variables if shift else [])],
            )
        return self._swap[key]

    def arrays(self) -> dict[str, NDArray]:
        """Everything that an exact resume needs, by name."""
        return all_arrays(self._groups(), self._optimizers())

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Take what `arrays` gave. Raises WeightsError when an array is missing or has another shape."""
        restore_all(self._groups(), self._optimizers(), both_ways(arrays))

    def inference_arrays(self) -> dict[str, NDArray]:
        """The averaged generator, named as conversion reads it: `encoder/...`, `decoder_a/...`, `decoder_b/...`."""
        return all_arrays([("", self.average)], {})

    def _groups(self) -> Groups:
        apart = {**self.discriminator, **self.reader, **self.shift}
        return [("", self.generator), ("average/", self.average), ("", apart)]

    def _optimizers(self) -> Optimizers:
        found = {"generator_optimizer": self.generator_optimizer}
        return found | ({"discriminator_optimizer": self.discriminator_optimizer} if self.discriminator else {})


def trainable(networks: dict[str, keras.Model]) -> list[Any]:
    """The weights of all networks that gradients move, in a fixed order."""
    return [variable for network in networks.values() for variable in network.trainable_variables]


def copy_weights(source: dict[str, keras.Model], target: dict[str, keras.Model]) -> None:
    """Give each network of `target` the weights of its namesake."""
    for name, network in source.items():
        target[name].set_weights(network.get_weights())


def move_average(networks: dict[str, keras.Model], averages: dict[str, keras.Model], keep: Any) -> None:
    """Take the averages a share `1 - keep` of the way to the networks."""
    for key, network in networks.items():
        for new, old in zip(network.variables, averages[key].variables, strict=True):
            old.assign(old * keep + new * (1 - keep))


def all_arrays(groups: Groups, optimizers: Optimizers) -> dict[str, NDArray]:
    """Every variable of networks and optimizers by name."""
    found = {}
    for prefix, networks in groups:
        for name, network in networks.items():
            found |= get_arrays(prefix + name, network.variables)
    for name, optimizer in optimizers.items():
        found |= {f"{name}/{i:04d}": value_of(value) for i, value in enumerate(optimizer.variables)}
    return found


def restore_all(groups: Groups, optimizers: Optimizers, arrays: dict[str, NDArray]) -> None:
    """Take what `all_arrays` gave. Raises WeightsError when an array is missing or has another shape."""
    for prefix, networks in groups:
        for name, network in networks.items():
            set_arrays(prefix + name, network.variables, arrays)
    for name, optimizer in optimizers.items():
        for i, variable in enumerate(optimizer.variables):
            variable.assign(arrays[f"{name}/{i:04d}"].astype(variable.dtype))
