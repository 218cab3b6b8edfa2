"""Knowing when it is good: figures on held-out faces, the plateau rule, and what is best so far.

In: the averaged networks and held-out faces. Out: figures for the log; decisions that depend on steps only.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.backend import compile_inference
from faceswap_pipeline.identity import FaceEmbedder, Faces, cut_to, probe_between
from faceswap_pipeline.imaging import View, to_float, to_uint8, whole_crop
from faceswap_pipeline.train import losses
from faceswap_pipeline.train.augment import planes
from faceswap_pipeline.train.model import PERSONS, SwapModel

BATCH = 16
MOST_LEARNT = 200
"""Faces of a person that the identity probe is fitted to, evenly spread."""
MOST_HELD_OUT = 64
"""Held-out faces of a person that a report looks at, evenly spread."""
LEAST_PROGRESS = 0.005
"""Share by which the score must fall to count as progress."""
MOST_DROPS = 3
"""Halvings of the rate before training ends."""

Decision = Literal["go on", "halve the rate", "stop"]


@dataclass(frozen=True)
class Plateau:
    """The plateau rule's memory; it travels in the checkpoint.

    A report makes progress when its score is at least 0.5 % below the best one of this stage. After `patience`
    reports without progress the rate is halved and the count starts anew; when that has happened three times and
    the patience runs out again, training stops. A new stage starts with an empty memory and the full rate. With an
    adversarial stage ahead the rule never stops the first stage, it only halves the rate.
    """

    stage: str = ""
    best: float = float("inf")
    waited: int = 0
    drops: int = 0

    def judge(self, stage: str, score: float, patience: int, last_stage: bool) -> tuple["Plateau", Decision]:
        """The memory after a report with this score, and what to do."""
        if stage != self.stage:
            return Plateau(stage, score), "go on"
        if score < self.best * (1 - LEAST_PROGRESS):
            return dataclasses.replace(self, best=score, waited=0), "go on"
        if self.waited + 1 < patience:
            return dataclasses.replace(self, waited=self.waited + 1), "go on"
        if self.drops < MOST_DROPS:
            return dataclasses.replace(self, waited=0, drops=self.drops + 1), "halve the rate"
        return dataclasses.replace(self, waited=0), "stop" if last_stage else "go on"

    @property
    def rate(self) -> float:
        """What the halvings leave of the learning rate."""
        return 0.5**self.drops

    def to_json(self) -> dict[str, Any]:
        """The memory as JSON values; an infinite score becomes null."""
        return {**dataclasses.asdict(self), "best": self.best if np.isfinite(self.best) else None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Plateau":
        """What `to_json` gave."""
        return cls(**{**values, "best": float("inf") if values["best"] is None else values["best"]})


class Validation:
    """Reconstruction of held-out faces by the averaged networks."""

    def __init__(self, model: SwapModel, held_out: dict[str, NDArray[np.uint8]], likeness: "SwapLikeness | None"):
        """`held_out`: each person's views, uint8 (V, R, R, 6)."""
        self._model, self._likeness = model, likeness
        self._faces = {person: _spread(held_out[person], MOST_HELD_OUT) for person in PERSONS}
        self._errors = compile_inference(picture_errors)

    def figures(self) -> dict[str, float]:
        """`l1_a`, `ssim_a`, `l1_b`, `ssim_b` inside the face (l1 on the scale 0..1), and `score`, lower is better.

        `identity` besides, where the probe can be trusted: how surely A's swapped faces are taken for B's, 0..1.
        """
        found: dict[str, float] = {}
        for person in PERSONS:
            found[f"l1_{person}"], found[f"ssim_{person}"] = self._person(person)
        score = np.mean([found[f"l1_{person}"] * 4 + 1 - found[f"ssim_{person}"] for person in PERSONS])
        if self._likeness is not None and self._likeness.probe.trustworthy:
            found["identity"] = self._likeness.of(self._made("a", "b"), self._faces["a"][..., 3])
        return {**found, "score": float(score)}

    def _person(self, person: str) -> tuple[float, float]:
        """Mean error and mean SSIM of a person's faces made again."""
        faces = self._faces[person]
        made = self._made(person, person)
        rows = []
        for start in range(0, len(faces), BATCH):
            batch, again = (_filled(part[start : start + BATCH]) for part in (faces, made))
            pictures, face = to_float(batch[..., :3]), batch[..., 3:4].astype(np.float32) / 255
            rows.append(np.stack(self._errors(again, pictures, face), -1)[: len(faces) - start])
        l1, structure = np.concatenate(rows).mean(0)
        return float(l1) / 2, 1 - float(structure)

    def _made(self, of: str, person: str) -> NDArray[np.float32]:
        """The held-out faces `of` one person as `person`, (V, R, R, 3) -1..1."""
        faces, parts = self._faces[of], []
        for start in range(0, len(faces), BATCH):
            batch = faces[start : start + BATCH]
            parts.append(self._model.swap(_filled(batch), of, person)[: len(batch), ..., :3])
        return np.concatenate(parts)


class SwapLikeness:
    """How surely swapped faces are taken for B's, by a probe fitted to both persons' faces."""

    def __init__(self, embedder: FaceEmbedder, faces: dict[str, NDArray[np.uint8]], view: View):
        """`faces`: each person's views to learn from, uint8 (N, R, R, 6), in the order of time, and what part of a crop
        they show.
        """
        self._embedder, self._view = embedder, view
        few = {person: _spread(faces[person], MOST_LEARNT) for person in PERSONS}
        a, self._b = (self._whole(few[person][..., :3], few[person][..., 3]) for person in PERSONS)
        self.probe = probe_between(embedder, a, self._b)

    def of(self, pictures: NDArray[np.float32], face: NDArray[np.uint8]) -> float:
        """The mean chance 0..1 of B for pictures (V, R, R, 3) -1..1 with face masks (V, R, R)."""
        shown = cut_to(self._whole(to_uint8(pictures), face), self._b)
        embedded = self._embedder.embed([crop for crop, _ in shown], [mask for _, mask in shown])
        return float(self.probe.chances(embedded)[:, PERSONS.index("b")].mean())

    def _whole(self, pictures: NDArray[np.uint8], face: NDArray[np.uint8]) -> Faces:
        return [
            (whole_crop(picture, self._view), whole_crop(mask, self._view))
            for picture, mask in zip(pictures, face, strict=True)
        ]


def picture_errors(made, target, face):
    """Each picture's mean absolute error and 1 - SSIM inside the face, (B,) and (B,)."""
    border = losses.WINDOW // 2
    made, target, face = map(planes, (made, target, face))
    inner = face[:, :, border:-border, border:-border]
    error = ops.sum(ops.abs(made - target) * face, axis=(1, 2, 3)) / (3 * ops.sum(face, axis=(1, 2, 3)) + 1e-6)
    structure = ops.sum((1 - losses.similarity_map(made, target, 2.0)) * inner, axis=(1, 2, 3))
    return error, structure / (3 * ops.sum(inner, axis=(1, 2, 3)) + 1e-6)


def _filled(rows: NDArray) -> NDArray:
    """Rows repeated at the end to a whole batch."""
    return np.concatenate([rows, np.repeat(rows[-1:], BATCH - len(rows), 0)])


def _spread(rows: NDArray, most: int) -> NDArray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
