"""Words as pictures: what a comparison's columns are called, and a notice that is burnt into a film.

In: text, a height in pixels. Out: `uint8 (h, w, 3)` RGB and `float32 (h, w)` 0..1, how much of each pixel it covers.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.imaging import FloatImage, Image

_BOX = 0.65
"""How much of what lies below the box around a text it covers, share."""


def moviepy() -> Any:
    """The library, imported without the settings that it takes from any `.env` file above its folder.

    We use no ffmpeg of its own: a bad one named there or in the environment must not stop us.
    """
    kept = dict(os.environ)
    os.environ.update(PYTHON_DOTENV_DISABLED="1", FFMPEG_BINARY="ffmpeg-imageio", FFPLAY_BINARY="auto-detect")
    try:
        import moviepy
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return moviepy


def plain_font() -> str:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and more."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def check_text(text: str, font: str) -> None:
    """Raise OptionError when `font` (a file; empty: `plain_font()`) cannot be read or lacks a letter of `text`."""
    from PIL import ImageFont

    try:
        loaded = ImageFont.truetype(font or plain_font(), 32)
    except OSError as error:
        raise OptionError(f"--label-font is '{font}': this is no font file ({error})") from error
    absent = bytes(loaded.getmask("\uffff"))
    missing = "".join(dict.fromkeys(c for c in text if c.strip() and bytes(loaded.getmask(c)) == absent))
    if missing:
        raise OptionError(f"--label holds '{missing}', which its font lacks: name another font file with --label-font")


def draw_text(text: str, height: int, width: int, font: str = "") -> tuple[Image, FloatImage]:
    """`text`, white in a dark box, letters about `height` px high, in lines of at most `width` px.

    `font` is a file, empty for `plain_font()`. Returns RGB (h, w, 3) 0..255 and what it covers, (h, w) 0..1.
    """
    library = moviepy()
    # The library cuts letters off that reach below the line unless there is a margin.
    margin = max(2, height // 2)
    options = {
        "text": text,
        "font": font or plain_font(),
        "font_size": height,
        "color": "white",
        "margin": (margin, margin),
    }
    clip = library.TextClip(**options)
    if clip.size[0] > width:
        clip = library.TextClip(**options, method="caption", size=(width - 2 * margin, None), text_align="center")
    letters = np.asarray(clip.mask.get_frame(0), np.float32)
    return np.asarray(clip.get_frame(0), np.uint8) * (letters > 0)[..., None], np.maximum(letters, np.float32(_BOX))


def laid_over(image: Image, text: tuple[Image, NDArray]) -> Image:
    """`image` (h, w, 3) with what `draw_text` returned, of the same size, over it."""
    drawn, covers = text
    mixed = image + covers[..., None] * (drawn.astype(np.float32) - image)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
