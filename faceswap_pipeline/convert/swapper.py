"""The trained network as convert uses it: crops of one person's face in, the other person's face out.

In: crops uint8 (N, S, S, 3) of a dataset and the moving-average weights of a run. Out: `SwapOutput`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.array_folder import Checkpoint
from faceswap_pipeline.errors import RunError
from faceswap_pipeline.imaging import FloatImage, Image, View, network_view, to_float
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.run import TrainingRun


@dataclass(frozen=True)
class SwapOutput:
    """What a network makes of N faces, in view space."""

    image: FloatImage
    """(N, R, R, 3) RGB -1..1."""
    alpha: FloatImage
    """(N, R, R, 1) 0..1, where the network means its picture to cover."""


class Swapper(Protocol):
    """Anything that gives faces another identity; tests put simple functions in the network's place."""

    @property
    def resolution(self) -> int:
        """R, side of the pictures it makes, px."""
        ...

    @property
    def view(self) -> View:
        """The part of a crop, about its centre, that it sees."""
        ...

    def swap(self, crops: Image, masks: Image) -> SwapOutput:
        """Other faces for crops uint8 (N, S, S, 3) with their face masks (N, S, S); each depends on its own only."""
        ...

    def redraw(self, crops: Image, masks: Image) -> FloatImage:
        """Faces of the person whose face `swap` makes, as it draws them: (N, R, R, 3) RGB -1..1, in the same tone."""
        ...


class NetworkSwapper:
    """The shared encoder and one decoder, compiled for one batch size; smaller batches are filled up."""

    def __init__(
        self,
        recipe: Recipe,
        arrays: dict[str, NDArray],
        person: str,
        batch: int,
        tone: dict[str, list[float]] | None = None,
    ) -> None:
        """`person` is whose face comes out, `a` or `b`, in the `tone` that person usually has.

        Raises WeightsError when `arrays` are of another recipe.
        """
        from faceswap_pipeline.backend import compile_inference
        from faceswap_pipeline.networks.autoencoder import (
            TOWARDS,
            IdentityShift,
            build_decoder,
            build_encoder,
            shifted_encoder,
            swap_faces,
        )
        from faceswap_pipeline.networks.tone import Tone
        from faceswap_pipeline.networks.weights import set_arrays

        self._network, self._batch = recipe.network, batch
        name = f"decoder_{person}"
        encoder, decoder = build_encoder(recipe.network), build_decoder(recipe.network, name)
        set_arrays("encoder", encoder.variables, arrays)
        set_arrays(name, decoder.variables, arrays)
        wanted, state = Tone.from_json(tone) if tone else None, [*encoder.variables, *decoder.variables]
        shift = None
        if any(name.startswith("shift/") for name in arrays):  # of a run from base weights
            shift = IdentityShift(recipe.network.latent, name="shift")
            set_arrays("shift", shift.variables, arrays)
            state += shift.variables

        def draw(pictures, faces, towards):
            encode = encoder if shift is None else shifted_encoder(encoder, shift, towards)
            return swap_faces(encode, decoder, pictures, faces, recipe.network, wanted)

        self._infer = compile_inference(draw, state)
        self._towards = np.float32(TOWARDS[person])

    @property
    def resolution(self) -> int:
        """R, side of the pictures it makes, px."""
        return self._network.resolution

    @property
    def view(self) -> View:
        """The part of a crop, about its centre, that it sees."""
        return self._network.view

    def swap(self, crops: Image, masks: Image) -> SwapOutput:
        """Other faces for crops uint8 (N, S, S, 3) with face masks (N, S, S), in as many batches as it takes."""
        out = self._run(crops, masks, self._towards)
        return SwapOutput(out[..., :3], out[..., 3:])

    def redraw(self, crops: Image, masks: Image) -> FloatImage:
        """The person's own faces by the same decoder, (N, R, R, 3) RGB -1..1, in the tone that `swap` gives."""
        return self._run(crops, masks, np.float32(0))[..., :3]

    def _run(self, crops: Image, masks: Image, towards: np.float32) -> FloatImage:
        """What the network makes of crops whose codes are moved `towards` the other person's, (N, R, R, 4)."""
        size, view, count = self._network.resolution, self._network.view, len(crops)
        whole = -(-count // self._batch) * self._batch
        pictures, faces = (np.zeros((whole, size, size, channels), np.float32) for channels in (3, 1))
        for index, (crop, mask) in enumerate(zip(crops, masks, strict=True)):
            pictures[index] = to_float(network_view(crop, size, view))
            faces[index] = network_view(mask, size, view)[..., None] / np.float32(255)
        batches = [slice(start, start + self._batch) for start in range(0, whole, self._batch)]
        made = [self._infer(pictures[batch], faces[batch], towards) for batch in batches]
        return np.concatenate(made)[:count] if made else np.zeros((0, size, size, 4), np.float32)


def best_weights(run: TrainingRun) -> Checkpoint:
    """What a run converts with. Raises RunError when it has nothing to convert with yet."""
    best = run.load_best()
    if best is None:
        raise RunError(f"{run.path} holds no trained weights yet: run `swap train` until its first save")
    return best


def load_swapper(run: TrainingRun, weights: Checkpoint, person: str, batch: int) -> NetworkSwapper:
    """The network of a run that makes `person` (`a` or `b`), with one of its checkpoints.

    Raises WeightsError when the weights do not fit the run's recipe.
    """
    recipe, tone = Recipe.from_json(run.manifest["recipe"]), run.manifest.get(person, {}).get("tone")
    return NetworkSwapper(recipe, dict(weights.arrays), person, batch, tone)
