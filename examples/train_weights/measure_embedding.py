"""How well the shipped embedding tells people apart that it never saw: equal error rates, and a plot of the trade-off.

    python examples/train_weights/measure_embedding.py --faces FACES PAIRS [--plot docs/identity_roc.svg]

FACES and PAIRS are folders of rendered faces; people 0480 to 0539, whom no network was trained on, are compared with
themselves and each other.
"""

import argparse
from pathlib import Path

import numpy as np
from batches import Batch, clean_sample, run_ahead, stack
from numpy.typing import NDArray
from train_embedding import equal_error

from faceswap_pipeline.detection.meanface import load_mean_face
from faceswap_pipeline.identity import FaceEmbedder
from faceswap_pipeline.imaging import to_uint8
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.train.rendered import INNER_FACE, read_faces, split_by_person

SIDE = 128
"""Side of the crops, px."""
FILMED = 720
"""Faces drawn with cover and film; the same at each call."""


def main() -> None:
    """Measure, print, and draw where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, nargs="+", required=True)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    _, faces = split_by_person(read_faces(*arguments.faces))
    mean_face, embedder = load_mean_face(weight_file("mean_face")), FaceEmbedder()
    plain = stack([clean_sample(faces, index, mean_face, SIDE) for index in range(len(faces))], faces.people)
    (filmed,) = run_ahead(faces, mean_face, SIDE, FILMED, 12345, range(1))
    curves = {"plain": compared(embedder, plain), "covered, blurred, compressed": compared(embedder, filmed)}
    for name, (values, truth) in curves.items():
        print(
            f"{name}: equal error {equal_error(values, truth):.3f}, {truth.sum()} pairs of one, {(~truth).sum()} of two"
        )
    if arguments.plot:
        draw(curves, arguments.plot)


def compared(embedder: FaceEmbedder, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Every pair of faces (P,): how alike they are, and whether they are one person."""
    masks = np.isin(batch.label, INNER_FACE).astype(np.uint8) * 255
    vectors = embedder.embed(to_uint8(batch.picture), masks)
    first, second = np.triu_indices(len(vectors), 1)
    return (vectors @ vectors.T)[first, second].astype(np.float64), batch.people[first] == batch.people[second]


def draw(curves: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]], target: Path) -> None:
    """The receiver operating characteristic of each curve, as an SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for name, (likeness, same) in curves.items():
        order = np.argsort(-likeness, kind="stable")
        found, mixed = (np.cumsum(hit[order]) / hit.sum() for hit in (same, ~same))
        picks = np.unique(np.geomspace(1, len(order), 200).astype(int) - 1)
        axes.plot(mixed[picks], found[picks], label=f"{name}: {equal_error(likeness, same):.1%}")
    chance = np.geomspace(1e-3, 1, 50)
    axes.plot(chance, chance, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log", xlim=(1e-3, 1), ylim=(0, 1), xlabel="of two people, taken for one", ylabel="of one person, found"
    )
    axes.grid(alpha=0.3)
    axes.legend(title="equal error rate", fontsize=8, title_fontsize=8)
    with rc_context({"svg.hashsalt": "identity"}):  # the same figures give the same file
        figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
