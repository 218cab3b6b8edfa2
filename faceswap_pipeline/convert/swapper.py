"""The trained network as convert uses it: crops of one person's face in, the other person's face out.

In: crops uint8 (N, S, S, 3) of a dataset and the moving-average weights of a run. Out: `SwapOutput`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

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
    seen: FloatImage
    """(N, R, R, 3) RGB -1..1, what it was shown."""
    faces: FloatImage
    """(N, R, R, 1) 0..1, the face masks of what it was shown."""


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

    def swap(self, crops: Image, masks: Image, steps: NDArray[np.float32] | None = None) -> SwapOutput:
        """Other faces for crops uint8 (N, S, S, 3) with their face masks (N, S, S); each depends on its own only.

        `steps` (N, L) are added to their codes.
        """
        ...

    def redraw(self, crops: Image, masks: Image) -> FloatImage:
        """Faces of the person whose face `swap` makes, as it draws them: (N, R, R, 3) RGB -1..1, in the same tone."""
        ...

    def codes(self, crops: Image, masks: Image) -> NDArray[np.float32]:
        """The dense codes of faces, (N, L)."""
        ...


class NetworkSwapper:
    """The shared encoder and one decoder, compiled for one batch size; smaller batches are filled up.

    Networks are built when the first face is asked for: until then the seconds that loading a backend takes can be
    used for something else.
    """

    def __init__(
        self,
        recipe: Recipe,
        arrays: dict[str, NDArray],
        person: str,
        batch: int,
        tone: dict[str, list[float]] | None = None,
    ) -> None:
        """`person` is whose face comes out, `a` or `b`, in the `tone` that person usually has."""
        self._network, self._batch = recipe.network, batch
        self._arrays, self._person, self._tone = arrays, person, tone

    @cached_property
    def _networks(self) -> tuple[Any, Any, Any]:
        """Encoder, decoder and, of a run from base weights, `IdentityShift`."""
        from faceswap_pipeline.networks.autoencoder import IdentityShift, both_ways, build_decoder, build_encoder
        from faceswap_pipeline.networks.weights import set_arrays

        network, arrays, name = self._network, both_ways(self._arrays), f"decoder_{self._person}"
        encoder, decoder, shift = build_encoder(network), build_decoder(network, name), None
        set_arrays("encoder", encoder.variables, arrays)
        set_arrays(name, decoder.variables, arrays)
        if any(name.startswith("shift/") for name in arrays):
            shift = IdentityShift(network.latent, name="shift")
            set_arrays("shift", shift.variables, arrays)
        return encoder, decoder, shift

    @cached_property
    def _infer(self) -> Callable[..., NDArray[np.float32]]:
        """Pictures, face masks, how far to move their codes to the other person's, 0 or 1, and what else is added to
        them, to (B, R, R, 4).
        """
        from faceswap_pipeline.backend import compile_inference
        from faceswap_pipeline.networks.autoencoder import TOWARDS, moved_encoder, swap_faces
        from faceswap_pipeline.networks.tone import Tone

        encoder, decoder, shift = self._networks
        wanted = Tone.from_json(self._tone) if self._tone else None

        def draw(pictures, faces, way, steps):
            def move(codes):
                return steps + (codes if shift is None else shift(codes, towards=way * TOWARDS[self._person]))

            return swap_faces(moved_encoder(encoder, move), decoder, pictures, faces, self._network, wanted)

        state = [*encoder.variables, *decoder.variables, *([] if shift is None else shift.variables)]
        return compile_inference(draw, state)

    @cached_property
    def _encode(self) -> Callable[..., NDArray[np.float32]]:
        """Pictures and face masks to dense codes (B, L)."""
        from faceswap_pipeline.backend import compile_inference
        from faceswap_pipeline.networks.autoencoder import seen_faces, split_encoder

        to_code, _ = split_encoder(self._networks[0])

        def encode(pictures, faces):
            return to_code(seen_faces(pictures, faces, self._network)[0], training=False)

        return compile_inference(encode, self._networks[0].variables)

    @property
    def resolution(self) -> int:
        """R, side of the pictures it makes, px."""
        return self._network.resolution

    @property
    def view(self) -> View:
        """The part of a crop, about its centre, that it sees."""
        return self._network.view

    @property
    def _moved(self) -> bool:
        """Whether codes of the other person are moved before they are drawn as this one."""
        ways = self._arrays.get("shift/shift/shift", np.zeros(1))
        return bool(np.any(ways if ways.ndim == 1 else ways[int(self._person == "b")]))

    def swap(self, crops: Image, masks: Image, steps: NDArray[np.float32] | None = None) -> SwapOutput:
        """Other faces for crops uint8 (N, S, S, 3) with face masks (N, S, S), in as many batches as it takes; `steps`
        (N, L) are added to their codes.

        A moved code lies beside those that the decoder knows, and what it draws of one is smeared: the drawing is drawn
        once more, from the code that it has itself. Raises WeightsError when the weights are of another recipe.
        """
        pictures, faces = self._seen(crops, masks)
        made = self._draw(pictures, faces, 1.0, steps)
        image = self._draw(made[..., :3], faces, 0.0) if self._moved else made
        count = len(crops)
        return SwapOutput(image[:count, ..., :3], made[:count, ..., 3:], pictures[:count], faces[:count])

    def redraw(self, crops: Image, masks: Image) -> FloatImage:
        """The person's own faces by the same decoder, (N, R, R, 3) RGB -1..1, in the tone that `swap` gives."""
        return self._draw(*self._seen(crops, masks), 0.0)[: len(crops), ..., :3]

    def codes(self, crops: Image, masks: Image) -> NDArray[np.float32]:
        """The dense codes of faces, (N, L), not moved."""
        pictures, faces = self._seen(crops, masks)
        found = [self._encode(pictures[batch], faces[batch]) for batch in self._batches(len(pictures))]
        return np.concatenate(found)[: len(crops)] if found else np.zeros((0, self._network.latent), np.float32)

    def _seen(self, crops: Image, masks: Image) -> tuple[FloatImage, FloatImage]:
        """The network's view of crops and their masks, (M, R, R, 3) and (M, R, R, 1), filled up to whole batches."""
        size, view = self._network.resolution, self._network.view
        whole = -(-len(crops) // self._batch) * self._batch
        pictures, faces = (np.zeros((whole, size, size, channels), np.float32) for channels in (3, 1))
        for index, (crop, mask) in enumerate(zip(crops, masks, strict=True)):
            pictures[index] = to_float(network_view(crop, size, view))
            faces[index] = network_view(mask, size, view)[..., None] / np.float32(255)
        return pictures, faces

    def _draw(
        self, pictures: FloatImage, faces: FloatImage, way: float, steps: NDArray[np.float32] | None = None
    ) -> FloatImage:
        """(M, R, R, 4) of whole batches, codes moved all (1) or nothing (0) of the `way` to the other person's."""
        whole = np.zeros((len(pictures), self._network.latent), np.float32)
        if steps is not None:
            whole[: len(steps)] = steps
        batches = self._batches(len(pictures))
        made = [self._infer(pictures[batch], faces[batch], np.float32(way), whole[batch]) for batch in batches]
        return np.concatenate(made) if made else np.zeros((0, *pictures.shape[1:3], 4), np.float32)

    def _batches(self, count: int) -> list[slice]:
        return [slice(start, start + self._batch) for start in range(0, count, self._batch)]


def best_weights(run: TrainingRun) -> Checkpoint:
    """What a run converts with. Raises RunError when it has nothing to convert with yet."""
    best = run.load_best()
    if best is None:
        raise RunError(f"{run.path} holds no trained weights yet: run `swap train` until its first save")
    return best


def load_swapper(run: TrainingRun, weights: Checkpoint, person: str, batch: int) -> NetworkSwapper:
    """The network of a run that makes `person` (`a` or `b`), with one of its checkpoints."""
    recipe, tone = Recipe.from_json(run.manifest["recipe"]), run.manifest.get(person, {}).get("tone")
    return NetworkSwapper(recipe, dict(weights.arrays), person, batch, tone)
