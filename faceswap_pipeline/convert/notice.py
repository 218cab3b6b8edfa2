"""The visible notice: a text burnt into a film at its start and at intervals, so that viewers are told.

In and out: `Frame`s of one size. Where no notice is due the very same frame comes back.
"""

import math
from fractions import Fraction

from faceswap_pipeline.convert.text import draw_text, laid_over
from faceswap_pipeline.video.reader import Frame

_LETTERS = 1 / 24
"""Height of the letters, share of the frame's shorter side."""

_EDGE = 1 / 30
"""Distance to the frame's left and upper border, share of its shorter side."""


class Notice:
    """Draws its text once and lays it over the frames in which it is due."""

    def __init__(
        self,
        text: str,
        size: tuple[int, int],
        *,
        font: str = "",
        seconds: float = math.inf,
        every: float = 0.0,
        start: Fraction = Fraction(0),
    ) -> None:
        """For frames of `size` (width, height): `text` for `seconds` from `start` on and again `every` so many.

        Without `every` it is shown at the start only. An empty text is never shown.
        """
        self._seconds, self._start = seconds, start
        self._every = Fraction(str(every))  # 1.6 is meant, not the float next to it
        shorter = min(size)
        edge = round(_EDGE * shorter) // 2 * 2
        self._text = draw_text(text, max(8, round(_LETTERS * shorter)), size[0] - 2 * edge, font) if text else None
        self._edge = edge

    def is_due(self, pts: Fraction) -> bool:
        """Whether the notice is shown at a time of the source, seconds."""
        since = pts - self._start
        return since < self._seconds or (self._every > 0 and since % self._every < self._seconds)

    def __call__(self, frame: Frame) -> Frame:
        """The frame with the notice, or the frame itself."""
        if self._text is None or not self.is_due(frame.pts):
            return frame
        edge, (height, width) = self._edge, self._text[1].shape
        height, width = min(height, frame.height - edge), min(width, frame.width - edge)
        text = self._text[0][:height, :width], self._text[1][:height, :width]
        return frame.changed(laid_over(frame.rgb[edge : edge + height, edge : edge + width], text), edge, edge)
