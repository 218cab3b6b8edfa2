"""Who it is: the embedding of a face, and the probe that tells A from B from everybody else.

In: crops `uint8 (N, S, S, 3)` of a dataset and their face masks. Out: unit vectors `float32 (N, 128)`; the cosine of
two says how alike the persons are, whatever the light, the pose and the hair. A `Probe` is fitted to two persons.

The network was trained on rendered people only (`examples/train_weights/train_embedding.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from faceswap_pipeline import resources
from faceswap_pipeline.imaging import FloatImage, Image, blur, network_view, to_float
from faceswap_pipeline.networks.embedding import DIMENSIONS, SIDE, VIEW

Faces = Sequence[tuple[Image, Image]]
"""Of one person, in the order of time: crops uint8 (S, S, 3) with their face masks (S, S) 0..255."""

BATCH = 16
"""Faces in one pass; smaller batches are filled up."""
PERSONS = ("a", "b", "neither")
HELD_SHARE = 0.2
"""Share of each person's faces, one block in their order, that the probe is checked on and never learns from."""
GAP_SHARE = 0.05
"""Share on each side of that block that is left out altogether: neighbours look alike."""
STRENGTH = 1e-2
"""Weight of the squared coefficients."""
LEAST_AGREEMENT = 0.9
"""Share of held-out faces of each person that a trustworthy probe names rightly."""
LIGHT = 0.1
"""Standard deviation of the blur of a crop that leaves light, share of its side."""
GAMMA = 2.2
"""Power that turns values into light, near enough."""
DARK = 0.01
"""Added to light 0..1 before a ratio."""


class Embedder(Protocol):
    """What turns faces into directions that say who it is."""

    def embed(self, crops: Sequence[Image] | Image, masks: Sequence[Image] | Image) -> NDArray[np.float32]:
        """Unit vectors (N, D) of crops, each uint8 (S, S, 3), with their face masks, each (S, S) 0..255."""
        ...

    def strangers(self) -> NDArray[np.float32]:
        """Unit vectors (N, D) of many people who are neither A nor B; (0, D) where there are none."""
        ...


class FaceEmbedder:
    """The network with its shipped weights, compiled for one batch size."""

    def __init__(self) -> None:
        """Raises WeightsError when the weights are missing or not the ones of the manifest."""
        from keras import ops

        from faceswap_pipeline.array_folder import read_arrays
        from faceswap_pipeline.backend import compile_inference
        from faceswap_pipeline.networks.embedding import bare_faces, build_embedding
        from faceswap_pipeline.networks.weights import set_arrays

        network = build_embedding()
        set_arrays("embedding", network.variables, read_arrays(resources.weight_file("embedding")))

        def both_ways(pictures: Any, faces: Any) -> Any:
            seen = bare_faces(pictures, faces)
            return ops.normalize(network(seen, training=False) + network(ops.flip(seen, axis=2), training=False))

        self._infer: Callable[..., Any] = compile_inference(both_ways, network.variables)

    def embed(self, crops: Sequence[Image] | Image, masks: Sequence[Image] | Image) -> NDArray[np.float32]:
        """Unit vectors (N, 128) of crops, each uint8 (S, S, 3), with their face masks, each (S, S) 0..255.

        A face and its mirror image are the same person: the mean of both is taken.
        """
        count, view = len(crops), (VIEW, VIEW)
        whole = -(-count // BATCH) * BATCH
        pictures, faces = (np.zeros((whole, SIDE, SIDE, channels), np.float32) for channels in (3, 1))
        for index, (crop, mask) in enumerate(zip(crops, masks, strict=True)):
            pictures[index] = to_float(network_view(crop, SIDE, view))
            faces[index] = network_view(mask, SIDE, view)[..., None] / np.float32(255)
        batches = [slice(start, start + BATCH) for start in range(0, whole, BATCH)]
        parts = [self._infer(pictures[batch], faces[batch]) for batch in batches]
        return np.concatenate(parts)[:count] if parts else np.zeros((0, DIMENSIONS), np.float32)

    def strangers(self) -> NDArray[np.float32]:
        """Of the rendered people that the network was trained on."""
        from faceswap_pipeline.array_folder import read_arrays

        return read_arrays(resources.weight_file("strangers"))["embeddings"].astype(np.float32)


def shipped_embedder() -> FaceEmbedder | None:
    """The embedding that comes with the program; None in a version that has none."""
    known = resources.weight_entries()
    return FaceEmbedder() if {"embedding", "strangers"} <= set(known) else None


@dataclass(frozen=True)
class Probe:
    """Tells two persons apart from each other and from everybody else, by their embeddings."""

    weights: NDArray[np.float64]
    """(D, 3), columns as in `PERSONS`."""
    offset: NDArray[np.float64]
    """(3,)."""
    agreement: dict[str, float]
    """Share of held-out faces of `a` and of `b` that are named rightly, 0..1."""

    @property
    def trustworthy(self) -> bool:
        """Whether both persons' held-out faces are named rightly often enough to believe what it says of others."""
        return min(self.agreement.values()) >= LEAST_AGREEMENT

    @property
    def doubt(self) -> str:
        """Why it is not to be trusted; empty when it is."""
        if self.trustworthy:
            return ""
        shares = " and ".join(f"{share:.0%} of {name.upper()}'s" for name, share in self.agreement.items())
        return f"not trustworthy: of faces held out it names {shares} rightly, {LEAST_AGREEMENT:.0%} are needed"

    def chances(self, embeddings: NDArray) -> NDArray[np.float64]:
        """(N, 3): how surely each embedding (N, D) is A, B or neither; rows sum to 1."""
        logits = embeddings @ self.weights + self.offset
        logits = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(logits / logits.sum(1, keepdims=True), np.float64)


def probe_between(embedder: Embedder, a: Faces, b: Faces) -> Probe:
    """A probe from faces of both persons, each cut to the other's and shown in its own light and in the other's.

    Two clips differ in light and outline more than two people do, and a swap has A's: a probe that was shown each
    person in one light only, and in the outline of the own head, takes the true swap for A. Ask it about faces cut to
    those of B (`cut_to`).
    """

    def shown(own: Faces, other: Faces) -> NDArray[np.float32]:
        pairs = zip(own, cut_to(own, other), cycle(other))
        both = [face for (crop, mask), (_, cut), of in pairs for face in ((crop, cut), (relit(crop, mask, *of), cut))]
        return embedder.embed([crop for crop, _ in both], [mask for _, mask in both])

    return fit_probe(shown(a, b), shown(b, a), embedder.strangers())


def cut_to(faces: Faces, others: Faces) -> Faces:
    """The faces with masks that end where those of `others`, in turn, end too: an outline must not tell who it is."""
    return [(crop, np.minimum(mask, other)) for (crop, mask), (_, other) in zip(faces, cycle(others))]


def relit(crop: Image, mask: Image, other: Image, other_mask: Image) -> Image:
    """A face (S, S, 3) with mask (S, S) in the light of another: multiplied, place by place, by what that has more of.

    Ratio images as of Liu, Shan and Zhang, "Expressive expression mapping with ratio images", 2001, of blurred faces.
    """
    ratio = _light(other, other_mask) / _light(crop, mask)
    return np.rint(255 * np.clip(crop / np.float32(255) * ratio ** (1 / GAMMA), 0, 1)).astype(np.uint8)


def _light(crop: Image, mask: Image) -> FloatImage:
    """The face's mean light around each place, (S, S, 3)."""
    inside, reach = mask[..., None] / np.float32(255), LIGHT * len(crop)
    light = blur((crop / np.float32(255)) ** np.float32(GAMMA) * inside, reach)
    near = blur(inside, reach).reshape(*mask.shape, 1)
    return np.asarray(light / (near + 1e-3) + DARK, np.float32)


def fit_probe(a: NDArray, b: NDArray, others: NDArray) -> Probe:
    """A probe from embeddings (N, D) of both persons, in the order of time, and of many other people.

    Multinomial logistic regression, each class weighing the same, fitted without a block of A's and B's faces, on
    which it is then calibrated (one temperature, Guo et al. 2017) and checked.
    """
    held = {name: _middle_block(len(faces)) for name, faces in (("a", a), ("b", b))}
    known = {"a": a[held["a"] == 0], "b": b[held["b"] == 0], "neither": others.reshape(-1, a.shape[1])}
    x = np.concatenate(list(known.values())).astype(np.float64)
    y = np.repeat(np.arange(3), [len(part) for part in known.values()])
    trust = np.concatenate([np.full(len(part), 1 / max(len(part), 1)) for part in known.values()]) / 3
    size = x.shape[1]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, offset = values[: size * 3].reshape(size, 3), values[size * 3 :]
        logits = x @ weights + offset
        chances = scipy.special.log_softmax(logits, axis=1)
        error = np.exp(chances)
        error[np.arange(len(y)), y] -= 1
        error *= trust[:, None]
        total = -(trust * chances[np.arange(len(y)), y]).sum() + STRENGTH * (weights**2).sum()
        slope = np.concatenate([(x.T @ error + 2 * STRENGTH * weights).ravel(), error.sum(0)])
        return float(total), slope

    found = scipy.optimize.minimize(loss, np.zeros(size * 3 + 3), jac=True, method="L-BFGS-B").x
    probe = Probe(found[: size * 3].reshape(size, 3), found[size * 3 :], {"a": 0.0, "b": 0.0})
    unseen = {"a": a[held["a"] == 1], "b": b[held["b"] == 1]}
    heat = _temperature(probe, unseen)
    agreement = {
        name: float((probe.chances(part).argmax(1) == PERSONS.index(name)).mean()) if len(part) else 0.0
        for name, part in unseen.items()
    }
    return Probe(probe.weights / heat, probe.offset / heat, agreement)


def _middle_block(count: int) -> NDArray[np.int8]:
    """(N,): 0 learnt from, 1 held out, 2 neither."""
    place = np.linspace(0, 1, count) if count else np.zeros(0)
    away = np.abs(place - 0.5) - HELD_SHARE / 2
    return np.where(away <= 0, 1, np.where(away <= GAP_SHARE, 2, 0)).astype(np.int8)


def _temperature(probe: Probe, unseen: dict[str, NDArray]) -> float:
    """By how much the probe's logits must shrink for its chances to be right on faces it did not learn from."""

    def cost(log_heat: float) -> float:
        heat = np.exp(log_heat)
        softer = Probe(probe.weights / heat, probe.offset / heat, {})
        costs = [
            -np.log(softer.chances(part)[:, PERSONS.index(name)] + 1e-9).mean()
            for name, part in unseen.items()
            if len(part)
        ]
        return float(np.mean(costs)) if costs else 0.0

    return float(np.exp(scipy.optimize.minimize_scalar(cost, bounds=(-2, 3), method="bounded").x))
