"""Pictures of how far training is: a grid of held-out faces and the curves of the log.

In: the averaged networks and held-out views; log entries. Out: `uint8 (H, W, 3)` RGB and PNG bytes.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.imaging import to_uint8, unsqueezed
from faceswap_pipeline.networks.tone import Tone
from faceswap_pipeline.train.model import SwapModel

COLUMNS = 6
SHOWN_SIDE = 128
"""Side of a face in the preview, px, where the network's own is smaller."""


def preview(model: SwapModel, held_out: dict[str, NDArray[np.uint8]], tones: dict[str, Tone]) -> NDArray[np.uint8]:
    """Eight rows: A, A->A, A->B, its mask; B, B->B, B->A, its mask.

    `held_out`: views uint8 (V, R, R, 6); `tones`: what each person usually looks like.
    """
    rows = []
    for own, other in (("a", "b"), ("b", "a")):
        faces = held_out[own][np.linspace(0, len(held_out[own]) - 1, COLUMNS).astype(int)]
        itself, swapped = model.swap(faces, own, own), model.swap(faces, own, other, tones[other])
        masks = np.repeat(swapped[..., 3:] * 2 - 1, 3, axis=-1)
        rows += [faces[..., :3], to_uint8(itself[..., :3]), to_uint8(swapped[..., :3]), to_uint8(masks)]
    shown, view = max(SHOWN_SIDE, rows[0].shape[1]), model.recipe.network.view
    return np.concatenate([np.concatenate([unsqueezed(face, shown, view) for face in row], 1) for row in rows], 0)


def curves(log: Sequence[dict[str, Any]]) -> bytes:
    """The log's losses and held-out figures over the steps, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    reports = [entry for entry in log if "losses" in entry]
    for name in sorted({name for entry in reports for name in entry["losses"] if name != "gradient_norm"}):
        points = [(entry["step"], entry["losses"][name]) for entry in reports if name in entry["losses"]]
        top.plot(*zip(*points, strict=True), label=name, linewidth=1)
    held = [entry for entry in log if "held_out" in entry]
    for name in sorted({name for entry in held for name in entry["held_out"]} - {"score"}):
        points = [(entry["step"], entry["held_out"][name]) for entry in held if name in entry["held_out"]]
        bottom.plot(*zip(*points, strict=True), label=name, linewidth=1.5)
    top.set_yscale("symlog", linthresh=0.01)
    top.set_ylabel("weighted training losses")
    bottom.set_ylabel("held-out faces")
    bottom.set_xlabel("step")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7, ncols=4)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=100)
    return target.getvalue()
