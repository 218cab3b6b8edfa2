"""Who a swapped face is taken for: on the rendered pair with people told apart by the colour of their skin.

In: the clips and datasets of the rendered pair. Out: nothing.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest

from faceswap_pipeline.detection.alignment import COVERAGE
from faceswap_pipeline.detection.cascade import FaceDetector
from faceswap_pipeline.detection.meanface import Pose, load_mean_face, project
from faceswap_pipeline.errors import WeightsError
from faceswap_pipeline.evaluate.groups import Findings, Subject
from faceswap_pipeline.evaluate.identity import NAMES, Identity
from faceswap_pipeline.evaluate.pairs import FramePair, read_faces
from faceswap_pipeline.evaluate.recogniser import FIVE, SIDE, OnnxEmbedder
from faceswap_pipeline.geometry import transform_points
from faceswap_pipeline.identity import FaceEmbedder
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.resources import weight_file

from .conftest import Clips

SEEN = 16
"""Frames that are looked at."""


class ByColour:
    """Tells people apart by the mean colour inside the mask; `known` is taken off first."""

    def __init__(self, known: np.ndarray, noise: float = 0.0):
        self.known, self.random, self.noise = known, np.random.default_rng(0), noise

    def embed(self, crops: Sequence[Image], masks: Sequence[Image]) -> np.ndarray:
        colours = np.array([crop[mask > 127].mean(0) for crop, mask in zip(crops, masks, strict=True)])
        vectors = colours - self.known + self.random.normal(0, self.noise, colours.shape)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def strangers(self) -> np.ndarray:
        vectors = np.random.default_rng(1).normal(size=(200, 3))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def looks(clips: Clips) -> dict[str, np.ndarray]:
    """The mean colour of each person's face."""
    datasets = {"old": clips.faces, "new": clips.other}
    return {
        name: np.mean([data.crop(r)[data.mask(r, "face") > 127].mean(0) for r in data.records[:8]], 0)
        for name, data in datasets.items()
    }


def find(clips: Clips, film: Sequence[Image], subject: Subject, detector: FaceDetector) -> Findings:
    """What the group finds in the first frames of a film."""
    group, by_frame = Identity(subject), clips.faces.by_frame(0)
    frames = [FramePair(i, Fraction(i, 25), True, by_frame[i], clips.source[i], film[i], {}) for i in range(SEEN)]
    read_faces(iter(frames), clips.faces, detector, group.see_frame, group.see_face)
    return group.finish()


def test_the_true_swap_is_taken_for_b_and_the_source_for_a(clips: Clips, detector: FaceDetector) -> None:
    subject = dataclasses.replace(clips.subject, embedder=FaceEmbedder())
    swapped = find(clips, clips.truth, subject, detector)
    assert swapped.details["trustworthy"] and swapped.missing == {}
    assert swapped.values["identity"] > 0.5 > swapped.values["old_identity"]
    assert sum(swapped.values.values()) == pytest.approx(1)
    assert swapped.series["identity"].frames == list(range(SEEN))
    left = find(clips, clips.source, subject, detector)
    assert left.values["old_identity"] > 0.8 and left.values["identity"] < 0.1


def test_a_probe_that_fails_its_own_check_is_not_believed(clips: Clips, detector: FaceDetector) -> None:
    mean = looks(clips)
    blind = ByColour((mean["old"] + mean["new"]) / 2, noise=200.0)
    found = find(clips, clips.source, dataclasses.replace(clips.subject, embedder=blind), detector)
    assert set(found.missing) == set(NAMES) and found.values == {}
    assert all("not trustworthy" in why for why in found.missing.values())
    assert not found.details["trustworthy"] and set(found.details["untrusted"]) == set(NAMES)


def test_without_the_other_dataset_nothing_is_said(clips: Clips, detector: FaceDetector) -> None:
    subject = dataclasses.replace(clips.subject, other=None, other_missing="gone", embedder=ByColour(np.zeros(3)))
    assert all("gone" in why for why in find(clips, clips.source, subject, detector).missing.values())


def write_recogniser(path: Path, shape: Sequence[int | str]) -> Path:
    """A recogniser whose vector is the picture's mean colours."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    node = onnx.helper.make_node("ReduceMean", ["picture"], ["vector"], axes=axes, keepdims=0)
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "recogniser",
        [onnx.helper.make_tensor_value_info("picture", kind, shape)],
        [onnx.helper.make_tensor_value_info("vector", kind, ["N", 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("shape", [("N", 3, SIDE, SIDE), ("N", SIDE, SIDE, 3)])
def test_a_recogniser_of_ones_own_sees_the_face_where_it_expects_it(tmp_path: Path, shape) -> None:
    embedder = OnnxEmbedder(write_recogniser(tmp_path / "own.onnx", shape))
    red, blue = (np.full((192, 192, 3), colour, np.uint8) for colour in ((255, 127, 127), (127, 127, 255)))
    vectors = embedder.embed([red, blue], [red[..., 0]] * 2)
    np.testing.assert_allclose(vectors, [[1, 0, 0], [0, 0, 1]], atol=0.01)
    assert embedder.strangers().size == 0
    face, middle = load_mean_face(weight_file("mean_face")), 95.5
    ahead = project(face.five, Pose(0.0, 0.0, 0.0, 192 / COVERAGE, middle, middle))
    assert np.abs(transform_points(embedder._place(192), ahead) - FIVE).max() < 5, (
        "eyes and mouth where it expects them"
    )


def test_a_file_that_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such file"):
        OnnxEmbedder(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match="not an ONNX file"):
        OnnxEmbedder(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match="expected one input of"):
        OnnxEmbedder(write_recogniser(tmp_path / "other.onnx", ("N", 3, 64, 64)))
