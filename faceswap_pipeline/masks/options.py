"""The options of `swap masks`; light, so that the command line starts at once."""

from dataclasses import dataclass
from typing import Annotated, Literal

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.options import Between, Options

Kind = Literal["face", "eyes", "mouth", "head", "skin", "hair"]
KINDS: tuple[Kind, ...] = ("face", "eyes", "mouth")
"""The kinds that training and conversion need, made by default."""
PARSED_KINDS: tuple[Kind, ...] = ("head", "skin", "hair")
"""Kinds that only the parser can make."""
Method = Literal["auto", "parser", "landmarks"]


@dataclass(frozen=True)
class MaskOptions(Options):
    """Which masks are made of each face, from what, and how generous they are."""

    kind: tuple[Kind, ...] = KINDS
    """Which masks to make: face (the inner face), eyes, mouth, head (all facial skin), skin, hair."""
    method: Method = "auto"
    """parser looks at the picture and leaves out what is before the face; landmarks draws the mean face's shape; auto
    takes the parser where it is sure enough."""
    least_confidence: Annotated[float, Between(0, 1)] = 0.75
    """With auto, the parser's masks of a face are used where it is at least this sure, 0..1."""
    face_padding: Annotated[float, Between(-0.1, 0.2)] = 0.0
    """How far the face mask (also head, skin, hair) reaches beyond its border, share of the face's height; below 0:
    drawn in."""
    eye_padding: Annotated[float, Between(0, 0.1)] = 0.03
    """How far the eye masks reach beyond the lids, share of the face's height."""
    mouth_padding: Annotated[float, Between(0, 0.1)] = 0.03
    """How far the mouth mask reaches beyond the lips, share of the face's height."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*KINDS, *PARSED_KINDS)
        unknown = [kind for kind in self.kind if kind not in known]
        if unknown or not self.kind:
            raise OptionError(f"--kind is '{', '.join(unknown)}': expected one or more of {', '.join(known)}")
        beyond = [kind for kind in self.kind if kind in PARSED_KINDS]
        if beyond and self.method == "landmarks":
            raise OptionError(f"--kind is '{', '.join(beyond)}' with --method landmarks: only the parser makes those")

    def padding(self, kind: Kind) -> float:
        """The padding that belongs to a kind, share of the face's height."""
        return {"eyes": self.eye_padding, "mouth": self.mouth_padding}.get(kind, self.face_padding)
