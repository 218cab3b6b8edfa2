"""Layers for compositors: each frame's swapped faces over transparency as PNGs, and where they lie as lines of JSON.

In: painted frames. Out: one RGBA picture a frame, and one line a frame with the matrices of its faces.

Colours are straight (not multiplied by alpha): over the decoded source they give the film before encoding. Where a face
was replaced the picture is marked like the film: the watermark covers all of it, on grey where it is transparent.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_pipeline.convert.faces import Patch
from faceswap_pipeline.convert.segments import Painted
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.storage import atomic_write_text
from faceswap_pipeline.video.images import write_png
from faceswap_pipeline.video.reader import Frame, picture_frame

LINES = "frames.jsonl"
"""Name of the file with one line a frame."""
_GREY = 128.0


def draw_layer(painted: Painted, mark: Callable[[Frame], Frame]) -> Image:
    """The swapped faces of a frame, uint8 (H, W, 4) RGBA with straight colours, marked; all nought without any."""
    frame = painted.frame
    if not painted.patches:
        return np.zeros((frame.height, frame.width, 4), np.uint8)
    color = np.full((frame.height, frame.width, 3), _GREY, np.float32)
    alpha = np.zeros((frame.height, frame.width), np.float32)
    for patch in painted.patches:
        _lay_over(patch.region.of(color), patch.region.of(alpha), patch)
    drawn = np.clip(np.rint(color), 0, 255).astype(np.uint8)
    marked = mark(picture_frame(drawn, frame.index, frame.pts, frame.duration)).rgb
    return np.dstack([marked, np.rint(alpha * 255).astype(np.uint8)])


def _lay_over(color: Any, alpha: Any, patch: Patch) -> None:
    """A patch over what is there already, in place (Porter and Duff, "Compositing digital images", 1984)."""
    below = alpha * (1 - patch.covered)
    total = patch.covered + below
    inside = total > 0
    face = np.clip((patch.face + 1) * np.float32(127.5), 0, 255)
    mixed = (patch.covered[..., None] * face + below[..., None] * color)[inside] / total[inside][:, None]
    color[inside] = mixed
    alpha[:] = total


def describe_frame(painted: Painted, name: str, crop_size: int) -> dict[str, Any]:
    """The line of one frame; `name` is its picture's."""
    return {
        "frame": painted.frame.index,
        "pts": str(painted.frame.pts),
        "file": name,
        "faces": [
            {
                "track": patch.record.track,
                "region": [patch.region.x, patch.region.y, patch.region.width, patch.region.height],
                "crop_size": crop_size,
                "matrix": np.asarray(patch.record.matrix).tolist(),
            }
            for patch in painted.patches
        ],
    }


class Layers:
    """Writes the layers of each segment of a film into a folder, not signed yet."""

    def __init__(self, folder: Path, crop_size: int, mark: Callable[[Frame], Frame]) -> None:
        """`crop_size` is the side that the records' matrices lead to; `mark` puts the watermark in."""
        self._folder, self._crop_size, self._mark = folder, crop_size, mark

    def lines(self, index: int) -> Path:
        """Where the lines of segment `index` are, or will be."""
        return self._folder / f"{index:06d}.jsonl"

    @contextmanager
    def segment(self, index: int) -> Iterator[Callable[[Painted], None]]:
        """Takes the frames of a segment, in order."""
        lines: list[str] = []

        def take(painted: Painted) -> None:
            name = f"{painted.frame.index:06d}.png"
            write_png(self._folder / name, draw_layer(painted, self._mark))
            lines.append(json.dumps(describe_frame(painted, name, self._crop_size)))

        yield take
        atomic_write_text(self.lines(index), "".join(f"{line}\n" for line in lines))
