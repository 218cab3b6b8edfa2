"""Two videos in, one video out: person A's performance with person B's face.

The stages as functions, imported when first used: `extract_faces`, `make_masks`, `train_swap`, `convert_video`,
`evaluate_swap`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceswap_pipeline.convert.stage import convert_video
    from faceswap_pipeline.evaluate.stage import evaluate_swap
    from faceswap_pipeline.extract.stage import extract_faces
    from faceswap_pipeline.masks.stage import make_masks
    from faceswap_pipeline.train.stage import train_swap

__version__ = "0.1.0"
__all__ = ["__version__", "convert_video", "evaluate_swap", "extract_faces", "make_masks", "train_swap"]

_STAGES = {
    "extract_faces": "extract",
    "make_masks": "masks",
    "train_swap": "train",
    "convert_video": "convert",
    "evaluate_swap": "evaluate",
}


def __getattr__(name: str) -> Any:
    if name not in _STAGES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_STAGES[name]}.stage"), name)
