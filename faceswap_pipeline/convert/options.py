"""The options of `swap convert`, light enough for the command line to import."""

from dataclasses import dataclass
from typing import Annotated, Literal

from faceswap_pipeline.options import Between, Options


@dataclass(frozen=True)
class ConvertOptions(Options):
    """How a swap is put into its film."""

    direction: Literal["a-to-b", "b-to-a"] = "a-to-b"
    """Whose film is changed and whose face it gets: A's film with B's face, or the other way round."""
    color: Literal["light", "mkl", "reinhard", "histogram", "none"] = "light"
    """How the swap takes the tone of the skin it replaces: light matches light and tone place by place, the others the
    face as a whole."""
    mix: Literal["feather", "poisson"] = "feather"
    """How the swap joins the frame: through a soft mask, or solved from the seam inwards first."""
    cover: Literal["both", "learned", "dataset"] = "both"
    """What bounds the swap: the network's own mask, the dataset's face mask, or the product of both."""
    blend: Annotated[float, Between(0, 1)] = 1.0
    """How much of the swap is shown, share."""
    erode: Annotated[float, Between(0, 0.3)] = 0.0
    """How far the mask is drawn in from the face's contour, share of the face's height."""
    feather: Annotated[float, Between(0, 0.3)] = 0.05
    """Width of the mask's soft rim, inside its contour, share of the face's height."""
    smooth_mask: Annotated[float, Between(0, 1)] = 0.12
    """Time to each side over which masks and sharpness are averaged, seconds."""
    smooth_color: Annotated[float, Between(0, 2)] = 0.4
    """Time to each side over which colour statistics are averaged, seconds."""
    detail: Annotated[float, Between(0, 1)] = 1.0
    """How much of what is finer than the network draws comes from those of the person's own pictures that are most like
    the swap, share; 0: none."""
    open_mouth: Annotated[float, Between(0, 2)] = 0.5
    """How much further mouths are opened than the network draws them, as a share of how far the replaced one is open;
    0: as it draws them. Like detail, it takes the person's own pictures."""
    sharpen: Annotated[float, Between(0, 3)] = 1.0
    """How far the swap's finest detail is brought to the level of the replaced face; 0: not at all, 1: fully."""
    grain: Annotated[float, Between(0, 2)] = 1.0
    """How much of the source's noise the swap gets; 0: none, 1: as much as the skin it replaces."""
    face_scale: Annotated[float, Between(0.7, 1.4)] = 1.0
    """Size at which the new face is laid over the old one, factor."""
    compare: bool = False
    """Also make NAME_compare.mp4: source, swap and mask side by side."""
    label: str = ""
    """Text of a visible notice that is burnt in at the film's start and again at intervals; empty: none."""
    label_seconds: Annotated[float, Between(1, 3600)] = 5.0
    """How long the notice is shown each time, seconds."""
    label_every: Annotated[float, Between(0, 86400)] = 60.0
    """Time from one showing of the notice to the next, seconds; 0: at the start only."""
    label_font: str = ""
    """Font file for the notice; empty: DejaVu Sans."""
    encoder: str = "libx264"
    """Encoder of the film: libx264, libx265, libsvtav1, h264_nvenc, hevc_nvenc or av1_nvenc."""
    quality: Annotated[float, Between(0, 63)] = 18.0
    """Constant quality of the encoder (CRF, CQ); lower is better and larger."""
    preset: str | None = None
    """Speed of the encoder, in its own words, such as medium or slow; none: the encoder's usual one."""
    batch: Annotated[int, Between(1, 256)] = 8
    """Faces that go through the network at once."""
    segment_seconds: Annotated[float, Between(0.5, 60)] = 4.0
    """Length of the pieces that are finished one by one, seconds; an interrupted one loses little more than one."""
