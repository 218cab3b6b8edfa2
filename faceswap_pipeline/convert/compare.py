"""The comparison: source, swap and mask side by side with their names, as a film as long as the film itself.

In: painted frames. Out: segments of a film, frame by frame at the times of the source. moviepy composes the pictures;
reading and writing stay with the video layer, which keeps variable frame times, colour tags and audio as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.segments import Painted
from faceswap_pipeline.convert.text import draw_text, moviepy
from faceswap_pipeline.imaging import Image, resize
from faceswap_pipeline.video.info import ColorTags, VideoInfo
from faceswap_pipeline.video.reader import Frame, picture_frame
from faceswap_pipeline.video.writer import VideoWriter

NAMES = ("source", "swap", "mask")
_LARGEST = 960
"""Longest side of a column, px; larger films are reduced to it."""
_LETTERS = 1 / 18
"""Height of the letters, share of a column's shorter side."""


class Composition:
    """Three pictures beside each other, each below its name."""

    def __init__(self, width: int, height: int) -> None:
        """For pictures of `width` x `height` px, which are reduced where they are very large."""
        scale = min(1.0, _LARGEST / max(width, height))
        self._column = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
        self._shown: list[Image] = [np.zeros((self._column[1], self._column[0], 3), np.uint8)] * len(NAMES)
        library = moviepy()
        drawn = [draw_text(name, max(8, round(_LETTERS * min(self._column))), self._column[0])[0] for name in NAMES]
        top = max(picture.shape[0] for picture in drawn) // 2 * 2 + 2
        clips = [
            clip.with_position((number * self._column[0], y))
            for number, name in enumerate(drawn)
            for clip, y in ((library.ImageClip(name), 0), (self._column_clip(library, number), top))
        ]
        self.size = (len(NAMES) * self._column[0], self._column[1] + top)
        """Width and height of the whole, px; both even."""
        self._whole = library.CompositeVideoClip(clips, size=self.size, bg_color=(0, 0, 0))

    def _column_clip(self, library: Any, number: int) -> Any:
        clip = library.VideoClip(lambda t: self._shown[number])
        clip.size = self._column
        return clip

    def __call__(self, source: Image, swap: Image, mask: NDArray) -> Image:
        """RGB uint8 (H, W, 3) of two pictures uint8 (h, w, 3) and a mask (h, w) 0..1."""
        grey = np.rint(mask * 255).astype(np.uint8)
        self._shown = [resize(picture, self._column) for picture in (source, swap, np.dstack([grey] * 3))]
        return np.asarray(self._whole.get_frame(0), np.uint8)


class Comparison:
    """Writes the comparison of each segment of a film into a folder."""

    def __init__(self, folder: Path, info: VideoInfo, options: ConvertOptions, mark: Callable[[Frame], Frame]) -> None:
        """`info` is the source's; `mark` puts the watermark into the frames in which a face was replaced."""
        self._folder, self._options, self._mark = folder, options, mark
        self._compose = Composition(info.width, info.height)
        width, height = self._compose.size
        self.info = replace(info, width=width, height=height, color=ColorTags(0, 1, 13, True), pixel_format="gbrp")
        """Of the comparison."""

    def path(self, index: int) -> Path:
        """Where the comparison of segment `index` is, or will be."""
        return self._folder / f"{index:06d}_compare.mp4"

    @contextmanager
    def segment(self, index: int) -> Iterator[Callable[[Painted], None]]:
        """Takes the frames of a segment, in order."""
        options = self._options
        with VideoWriter(
            self.path(index), self.info, encoder=options.encoder, quality=options.quality, preset=options.preset
        ) as writer:
            yield lambda painted: writer.write(self._composed(painted))

    def _composed(self, painted: Painted) -> Frame:
        mask = np.zeros((painted.frame.height, painted.frame.width), np.float32)
        for patch in painted.patches:
            shown = patch.region.of(mask)
            np.maximum(shown, patch.covered, out=shown)
        picture = self._compose(painted.source.rgb, painted.frame.rgb, mask)
        made = picture_frame(picture, painted.frame.index, painted.frame.pts, painted.frame.duration)
        return self._mark(made) if painted.patches else made
