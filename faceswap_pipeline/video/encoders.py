"""The video encoders that a film can be written with, and what quality means for each.

In: a name and a quality. Out: the options that FFmpeg's encoder of that name understands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from faceswap_pipeline.errors import OptionError

FALLBACK = "libx264"
"""The encoder that takes over where another cannot be opened."""


@dataclass(frozen=True)
class Encoder:
    """One encoder of FFmpeg."""

    codec: str
    """What it writes: h264, hevc or av1."""
    quality_option: str
    """The name under which the encoder takes the quality."""
    quality_range: tuple[float, float]
    """Best and worst."""
    quality_meaning: str
    default_preset: str
    presets: tuple[str, ...]
    """From fast to slow."""
    pixel_formats: tuple[str, ...] = ("yuv420p", "yuv422p", "yuv444p")
    odd_sizes: tuple[str, ...] = ("yuv444p",)
    """Those formats in which it takes an odd width or height."""
    options: Mapping[str, str] = field(default_factory=dict)
    mp4_tag: str | None = None
    """The sample description in mp4 and mov where FFmpeg's own choice does not play everywhere."""


_X26_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_NVENC_PRESETS = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
_NVENC_FORMATS = ("yuv420p", "yuv444p")

ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(
        codec="h264",
        quality_option="crf",
        quality_range=(0, 51),
        quality_meaning="constant rate factor: 0 lossless, 18 hard to tell from the source, 23 good; +6 halves it",
        default_preset="medium",
        presets=_X26_PRESETS,
        # Its AVX-512 code for how far a block is predicted from (mbtree) reads memory that was never written where the
        # width is no multiple of 128: the same pictures come out otherwise from call to call. Plain code costs nothing.
        options={"x264-params": "cpu-independent=1"},
    ),
    "libx265": Encoder(
        codec="hevc",
        quality_option="crf",
        quality_range=(0, 51),
        quality_meaning="constant rate factor of HEVC: 20 looks like libx264's 18 at about two thirds of the size",
        default_preset="medium",
        presets=_X26_PRESETS,
        options={"x265-params": "log-level=error:open-gop=0"},
        mp4_tag="hvc1",
    ),
    "libsvtav1": Encoder(
        codec="av1",
        quality_option="crf",
        quality_range=(1, 63),
        quality_meaning="constant rate factor of AV1: 24 looks like libx264's 18 at about half of the size",
        default_preset="8",
        presets=tuple(str(preset) for preset in range(13, -1, -1)),
        pixel_formats=("yuv420p",),
        odd_sizes=("yuv420p",),
    ),
    "h264_nvenc": Encoder(
        codec="h264",
        quality_option="cq",
        quality_range=(1, 51),
        quality_meaning="constant quality on NVIDIA hardware: like libx264's scale, larger files",
        default_preset="p5",
        presets=_NVENC_PRESETS,
        pixel_formats=_NVENC_FORMATS,
        options={"rc": "vbr"},
    ),
    "hevc_nvenc": Encoder(
        codec="hevc",
        quality_option="cq",
        quality_range=(1, 51),
        quality_meaning="constant quality on NVIDIA hardware: like libx265's scale, larger files",
        default_preset="p5",
        presets=_NVENC_PRESETS,
        pixel_formats=_NVENC_FORMATS,
        options={"rc": "vbr"},
        mp4_tag="hvc1",
    ),
    "av1_nvenc": Encoder(
        codec="av1",
        quality_option="cq",
        quality_range=(1, 63),
        quality_meaning="constant quality on NVIDIA hardware (RTX 40 and later): like libsvtav1's scale",
        default_preset="p5",
        presets=_NVENC_PRESETS,
        pixel_formats=("yuv420p",),
        options={"rc": "vbr"},
    ),
}


def find_encoder(name: str, quality: float, preset: str | None) -> Encoder:
    """The encoder of that name. Raises OptionError when the name, the quality or the preset is not one it knows."""
    encoder = ENCODERS.get(name)
    if encoder is None:
        raise OptionError(f"--encoder is '{name}': expected one of {', '.join(ENCODERS)}")
    low, high = encoder.quality_range
    if not low <= quality <= high:
        raise OptionError(f"--quality is {quality:g}: {name} expects {low:g} (best) to {high:g}")
    if preset is not None and preset not in encoder.presets:
        raise OptionError(f"--preset is '{preset}': {name} expects one of {', '.join(encoder.presets)}")
    return encoder


def encoder_options(encoder: Encoder, quality: float, preset: str | None) -> dict[str, str]:
    """The options with which FFmpeg opens the encoder."""
    return {
        **encoder.options,
        encoder.quality_option: f"{quality:g}",
        "preset": preset or encoder.default_preset,
    }


def choose_pixel_format(encoder: Encoder, planes_format: str, width: int, height: int) -> str | None:
    """In which format planes of one of the reader's five formats are encoded; None when the encoder has no way.

    Chroma keeps its resolution where the encoder can; gray and RGB become 4:2:0. Odd sizes, which 4:2:0 and 4:2:2 do
    not have in most encoders, become 4:4:4: neither a pixel is lost nor one invented.
    """
    wanted = planes_format if planes_format.startswith("yuv") else "yuv420p"
    if width % 2 or height % 2:
        return encoder.odd_sizes[0] if encoder.odd_sizes else None
    return wanted if wanted in encoder.pixel_formats else "yuv420p"
