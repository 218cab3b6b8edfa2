"""The strip of pictures in README.md: source, the other person, swap and true swap, moments of the rendered pair.

    python examples/picture_strip.py FILM OUT.jpg [--frames 108 195 282 499] [--side 200]

FILM is the swap of `examples/pair/video_a.mp4`. Only rendered people are shown.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.imaging import resize
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.reader import read_frames

WIDE, TOP = 0.62, 0.02
"""Side of the square that is shown and where it begins, shares of the picture's height; the person is in the middle."""
TITLES = ("A's film", "person B", "swap", "true swap")


def main() -> None:
    """Write the strip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[108, 195, 282, 499])
    parser.add_argument("--side", type=int, default=200)
    arguments = parser.parse_args()
    pair = examples_pair()
    films = (pair / "video_a.mp4", pair / "video_b.mp4", arguments.film, pair / "truth.mp4")
    columns = [moments(film, arguments.frames, arguments.side) for film in films]
    picture = np.concatenate(
        [
            np.concatenate([titled(title, arguments.side), *column], 0)
            for title, column in zip(TITLES, columns, strict=True)
        ],
        1,
    )
    cv2.imwrite(str(arguments.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def moments(film: Path, frames: list[int], side: int) -> list[NDArray[np.uint8]]:
    """The head at these frames, (side, side, 3) each."""
    found = {}
    for frame in read_frames(film, stop=max(frames) + 1):
        if frame.index in frames:
            height, width = frame.rgb.shape[:2]
            wide, top = round(WIDE * height), round(TOP * height)
            left = (width - wide) // 2
            found[frame.index] = resize(frame.rgb[top : top + wide, left : left + wide], (side, side))
    return [found[index] for index in frames]


def titled(text: str, side: int) -> NDArray[np.uint8]:
    """A white line with a word, (24, side, 3)."""
    line = np.full((24, side, 3), 255, np.uint8)
    cv2.putText(line, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return line


if __name__ == "__main__":
    main()
