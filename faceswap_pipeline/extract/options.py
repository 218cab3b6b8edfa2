"""The options of `swap extract`; light, so that the command line starts at once."""

from dataclasses import dataclass
from typing import Annotated, Literal

from faceswap_pipeline.options import Between, Duration, Options


@dataclass(frozen=True)
class ExtractOptions(Options):
    """What `swap extract` looks for and how it cuts it out."""

    person: str = "main"
    """Whose face: `main` (most screen time), `all`, a number from people.jpg, or a photo of the person."""
    size: Annotated[int, Between(64, 1024)] = 256
    """Side of the square crops in pixels; 384 is advised for recipes of 256 pixels."""
    min_face: Annotated[float, Between(0.01, 0.5)] = 0.05
    """Smallest face looked for, as a share of the frame's short side."""
    every: Annotated[int, Between(1, 1000)] = 1
    """Take every n-th frame; for training data only, such a dataset cannot be converted."""
    start: Annotated[str, Duration()] = ""
    """Skip what lies before this time (90s, 2m); from the beginning when empty."""
    end: Annotated[str, Duration()] = ""
    """Skip what lies after this time; to the end when empty."""
    detector: Literal["cascade", "mtcnn"] = "cascade"
    """`mtcnn` runs the mtcnn package on every frame instead: slower, for comparison."""
    blurred: Annotated[float, Between(0, 1)] = 0.25
    """A crop less sharp than this share of its person's usual sharpness is marked blurred and not trained on."""
    tiny: Annotated[float, Between(0, 1)] = 0.25
    """A face with fewer pixels a side than this share of its crop is marked tiny and not trained on."""
    clipped: Annotated[float, Between(0, 1)] = 0.15
    """A face with more than this share of its area outside the frame is marked clipped and not trained on."""
    low_score: Annotated[float, Between(0, 1)] = 0.8
    """A face the detector is less sure of than this is marked low_score and not trained on."""
    duplicate: Annotated[float, Between(0, 64)] = 2.0
    """A crop no part of which differs from the one kept before by more grey levels is a duplicate, not trained on."""
