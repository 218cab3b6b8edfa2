"""The options of `swap evaluate`, light enough for the command line to import."""

from dataclasses import dataclass

from faceswap_pipeline.evaluate.definitions import read_gates
from faceswap_pipeline.options import Options


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """How closely a film is looked at, and what is asked of it."""

    quick: bool = False
    """Look at about 60 places of the film only, three frames each; else at every frame."""
    face_embedding: str = ""
    """ONNX file of a face recogniser of your own that tells who it is; needs the extra `recogniser`."""
    fail_below: tuple[str, ...] = ()
    """METRIC=NUMBER: end with status 1 where the film is worse than that, whichever way is better for this figure."""

    def __post_init__(self) -> None:
        super().__post_init__()
        read_gates(self.fail_below)

    @property
    def gates(self) -> dict[str, float]:
        """The limits by metric."""
        return read_gates(self.fail_below)
