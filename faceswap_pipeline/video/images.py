"""Single pictures on disk: read, write, list.

In and out: `uint8 (H, W, 3)` RGB (also `(H, W)` masks and `(H, W, 4)` RGBA for writing) and paths.
"""

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.storage import atomic_write_bytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Endings of the files that count as pictures."""

Image = NDArray[np.uint8]


def is_image(path: Path) -> bool:
    """Whether a file's ending says that it is a single picture."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_images(path: Path) -> list[Path] | None:
    """The pictures behind a path: of a folder in the order of their names (2 before 10), of a picture itself.

    None when `path` is neither a picture nor a folder that holds one.
    """
    if path.is_dir():
        return sorted((item for item in path.iterdir() if is_image(item) and item.is_file()), key=_natural) or None
    return [path] if is_image(path) and path.is_file() else None


def read_image(path: Path) -> Image:
    """A picture as uint8 (H, W, 3) RGB, upright as its EXIF orientation says; alpha is dropped, 16 bits become 8.

    Raises VideoError when it is missing or no picture.
    """
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file. Check the name and the folder") from error
    except (OSError, cv2.error) as error:
        raise VideoError(f"{path}: this picture cannot be read ({error})") from error
    if image is None:
        raise VideoError(f"{path} is not a picture, or is damaged: expected PNG, JPEG, BMP, TIFF or WebP")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write_png(path: Path, image: Image, *, sync: bool = True) -> None:
    """Write uint8 (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) as PNG, whole or not at all. Raises StorageError."""
    atomic_write_bytes(path, _encoded(".png", image, []), sync=sync)


def write_jpeg(path: Path, image: Image, quality: int = 92, *, sync: bool = True) -> None:
    """Write uint8 (H, W, 3) RGB or (H, W) as JPEG of `quality` 1..100, whole or not at all. Raises StorageError."""
    atomic_write_bytes(path, _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality]), sync=sync)


def _encoded(suffix: str, image: Image, options: list[int]) -> bytes:
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"expected uint8 (H, W[, 3 or 4]), got {image.dtype} {image.shape}")
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR))
    return cv2.imencode(suffix, image, options)[1].tobytes()


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that reads runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
