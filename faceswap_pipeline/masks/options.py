"""The options of `swap masks`; light, so that the command line starts at once."""

from dataclasses import dataclass
from typing import Annotated, Literal

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.options import Between, Options

Kind = Literal["face", "eyes", "mouth"]
KINDS: tuple[Kind, ...] = ("face", "eyes", "mouth")


@dataclass(frozen=True)
class MaskOptions(Options):
    """Which masks are made of each face, and how generous they are."""

    kind: tuple[Kind, ...] = KINDS
    """Which masks to make: face (the inner face), eyes, mouth."""
    face_padding: Annotated[float, Between(-0.1, 0.2)] = -0.015
    """How far the face mask reaches beyond the mean face's border, share of the face's height; below 0: drawn in."""
    eye_padding: Annotated[float, Between(0, 0.1)] = 0.03
    """How far the eye masks reach beyond lids and lower brows, share of the face's height."""
    mouth_padding: Annotated[float, Between(0, 0.1)] = 0.03
    """How far the mouth mask reaches beyond the lips, share of the face's height."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [kind for kind in self.kind if kind not in KINDS]
        if unknown or not self.kind:
            raise OptionError(f"--kind is '{', '.join(unknown)}': expected one or more of {', '.join(KINDS)}")

    def padding(self, kind: Kind) -> float:
        """The padding that belongs to a kind, share of the face's height."""
        return {"face": self.face_padding, "eyes": self.eye_padding, "mouth": self.mouth_padding}[kind]
