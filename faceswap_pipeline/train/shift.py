"""Who it is, found in the encoder's dense codes, so that a swap can leave it out.

In: both persons' faces, the networks, and what the base reads of codes. Out: the way from A's codes to B's.

An encoder trained on rendered people keeps something of real ones that it never met: a beard, brows, the camera. A
decoder knows its own person's codes only, and meets with the other's a place where it has never been. What of the code
does not depend on the performance is the same vector in all of a person's faces: the difference between two persons is
one step. The idea is that of domain-specific statistics (Chang et al. 2019, "Domain-Specific Batch
Normalization"), with the performance held still. The light is in the codes too and takes the same way, so no more
of the way is gone than leaves swaps one face.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.backend import compile_inference
from faceswap_pipeline.imaging import to_float
from faceswap_pipeline.networks.autoencoder import TOWARDS, encoder_input, seen_faces, split_encoder
from faceswap_pipeline.networks.recipe import NetworkRecipe

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way from one person's codes to the other's, one of these is gone, in each direction its own."""
LEARNT_AT, SHOWN_AT = 1.0, 1.3
"""How far off their codes swaps may be, over the least that any share gives, while a decoder learns from them, and in
films: the further, the more they are the other person. A decoder that learns from far ones gets used to them, and lids
go astray.
"""
EVERY = 4
"""Of the faces that the way is found by, every so many are swapped to see how much of it to go."""
RIDGE = 1.0
"""Added to the squares of what is read, so that what hardly varies explains nothing."""


def identity_shift(
    codes_a: NDArray[np.float32], codes_b: NDArray[np.float32], read_a: NDArray[np.float32], read_b: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What to add to A's codes (N, D) for a decoder that knows B's (M, D), as (D,).

    `read_a` (N, K) and `read_b` (M, K) tell what each face does. The codes are explained by that and by who it is,
    linearly (ridge regression); the answer is who it is. So a person who smiles all the time does not lose the smile.
    """
    read = np.concatenate([read_a, read_b]).astype(np.float64)
    who = np.repeat([0.0, 1.0], [len(read_a), len(read_b)])
    known = np.column_stack([read - read.mean(0), who, np.ones(len(who))])
    ridge = np.diag([RIDGE] * read.shape[1] + [0.0, 0.0])
    codes = np.concatenate([codes_a, codes_b]).astype(np.float64)
    explained = np.linalg.solve(known.T @ known + ridge, known.T @ codes)
    return explained[-2].astype(np.float32)


class Aligner:
    """Keeps the `IdentityShift` of one set of networks at the way between both persons' codes."""

    def __init__(self, networks: dict[str, Any], reader: keras.Model, recipe: NetworkRecipe, most_off: float):
        """`networks`: `encoder`, `decoder_a`, `decoder_b` and `shift`; `reader` reads a face's performance; swaps may
        be `most_off` times as far off their codes as they are at best.
        """
        self._shift, self._most_off = networks["shift"], most_off
        to_code, from_code = split_encoder(networks["encoder"])

        def look(pictures, face):
            code = to_code(seen_faces(pictures, face, recipe)[0], training=False)
            return code, reader(code)

        def lost(decoder, codes, face, way):
            moved = codes + way
            made = decoder(from_code(moved, training=False), training=False)
            again = to_code(encoder_input(made[..., :3], face, recipe), training=False)
            return ops.mean(ops.sqrt(ops.sum((again - moved) ** 2, axis=-1)))

        def compiled(function: Callable[..., Any], *parts: Any) -> Callable[..., Any]:
            state = [variable for part in (networks["encoder"], *parts) for variable in part.variables]
            return compile_inference(function, state)

        self._look = compiled(look, reader)
        decoders = {person: networks[f"decoder_{person}"] for person in TOWARDS}
        self._lost = {person: compiled(partial(lost, decoder), decoder) for person, decoder in decoders.items()}

    def align(self, views: dict[str, NDArray[np.uint8]]) -> None:
        """Find the way, and how much of it to go, from the views (N, R, R, 6) of `a` and of `b`.

        A swap that is one face is encoded to the code it was made from; one that shows two at once is not. In each
        direction the largest of `SHARES` is taken with which swaps are not further off than they may be, on every
        fourth face.
        """
        faces = {person: of[..., 3:4] / np.float32(255) for person, of in views.items()}
        found = {person: self._look(to_float(of[..., :3]), faces[person]) for person, of in views.items()}
        (codes_a, read_a), (codes_b, read_b) = found["a"], found["b"]
        way = identity_shift(codes_a, codes_b, read_a, read_b)
        few = slice(None, None, EVERY)

        def best(of: str, wanted: str) -> NDArray[np.float32]:
            ways = [np.float32(share * TOWARDS[wanted]) * way for share in SHARES]
            off = [float(self._lost[wanted](found[of][0][few], faces[of][few], each)) for each in ways]
            near = [each for each, lost in zip(ways, off, strict=True) if lost <= self._most_off * min(off)]
            return near[-1] if near else ways[0]  # none where networks are no longer numbers: the trainer goes back

        self._shift.shift.assign(np.stack([best("b", "a"), best("a", "b")]))
