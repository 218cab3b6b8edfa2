"""What each figure is called, which way is better, where good ends, and what would help: data only, light to import.

In: nothing. Out: `METRICS` by name; docs/evaluation.md says how each is computed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from faceswap_pipeline.errors import OptionError

Better = Literal["more", "less", "one"]
"""More is better, less is better, or nearer to 1 is better."""


@dataclass(frozen=True)
class Metric:
    """One figure of a film."""

    group: str
    """Which group of metrics measures it."""
    title: str
    unit: str
    """Empty for plain ratios and shares."""
    better: Better
    good: float
    """Good up to here (from here, where more is better)."""
    fair: float
    """Fair up to here, poor beyond."""
    means: str = ""
    """What a poor value looks like to a viewer; empty where another figure of the group already says it."""
    helps: str = ""
    """What would help."""
    means_above: str = ""
    """The same for a value above 1 where nearer to 1 is better."""
    helps_above: str = ""

    def badness(self, value: float) -> float:
        """How far a value is from good: 0 at the best, 1 where good ends, 2 where fair ends, and on in a line."""
        value, good, fair = (1 / x if self.better == "one" and x < 1 else x for x in (value, self.good, self.fair))
        past = (value - good) / (fair - good)
        return max(0.0, 1 + past)

    def words(self, value: float) -> tuple[str, str]:
        """What a poor value looks like, and what would help."""
        above = self.better == "one" and value > 1
        return (self.means_above, self.helps_above) if above else (self.means, self.helps)

    def level(self, value: float) -> Literal["good", "fair", "poor"]:
        """The verdict on a value."""
        bad = self.badness(value)
        return "good" if bad <= 1 else "fair" if bad <= 2 else "poor"

    def worse(self, value: float, gate: float) -> bool:
        """Whether `value` is on the wrong side of `gate`."""
        if self.better == "more":
            return value < gate
        if self.better == "less":
            return value > gate
        return max(value, 1 / max(value, 1e-9)) > max(gate, 1 / max(gate, 1e-9))


_TRAIN = "train longer, or with more and better lit pictures of both people"

METRICS: dict[str, Metric] = {
    "swapped": Metric(
        "coverage",
        "faces replaced",
        "share",
        "more",
        0.995,
        0.95,
        "in some frames the old face shows",
        "look at the frames named below; extract again with a smaller --min-face, or lower --low-score",
    ),
    "identity": Metric(
        "identity",
        "taken for the new person",
        "probability",
        "more",
        0.9,
        0.6,
        "the face is not plainly the new person's",
        _TRAIN,
    ),
    "old_identity": Metric(
        "identity",
        "taken for the old person",
        "probability",
        "less",
        0.05,
        0.2,
        "the old person still shows through",
        "train longer; --cover both, or a larger --face-scale, where the old face shows at the rim",
    ),
    "no_identity": Metric("identity", "taken for neither", "probability", "less", 0.1, 0.4),
    "landmark_distance": Metric(
        "performance",
        "place of the features against the source's",
        "eye distances",
        "less",
        0.06,
        0.1,
        "features sit elsewhere than the actor's",
        "where they differ all along, another --face-scale; else train longer",
    ),
    "landmark_motion": Metric(
        "performance",
        "movement of the features against the source's",
        "eye distances",
        "less",
        0.018,
        0.03,
        "the face does not follow the actor",
        _TRAIN,
    ),
    "pose_difference": Metric(
        "performance",
        "head pose against the source's",
        "degrees",
        "less",
        3.0,
        6.0,
        "the face looks another way than the head",
        "give the run pictures of B in the poses that A takes",
    ),
    "mouth_follows": Metric(
        "performance",
        "mouth's movement kept",
        "share",
        "more",
        0.85,
        0.6,
        "the mouth does not say what is heard",
        _TRAIN,
    ),
    "eyes_follow": Metric(
        "performance",
        "eyes' movement kept",
        "share",
        "more",
        0.75,
        0.5,
        "blinks and looks are lost",
        _TRAIN,
    ),
    "mouth_opening": Metric(
        "opening",
        "mouth open when the source's is",
        "correlation",
        "more",
        0.85,
        0.65,
        "the mouth does not open and shut with the actor's",
        _TRAIN,
    ),
    "eye_opening": Metric(
        "opening",
        "eyes open when the source's are",
        "correlation",
        "more",
        0.85,
        0.6,
        "blinks are lost",
        _TRAIN,
    ),
    "jitter": Metric(
        "steadiness",
        "trembling of the features over the source's",
        "",
        "less",
        1.2,
        1.6,
        "features tremble",
        "train longer; a steadier, sharper source",
    ),
    "flicker": Metric(
        "steadiness",
        "flicker inside the face",
        "grey levels",
        "less",
        0.8,
        1.6,
        "the skin's brightness flickers",
        "raise --smooth-color, or train longer",
    ),
    "scale_wobble": Metric(
        "steadiness",
        "wobble of the face's size",
        "percent",
        "less",
        1.2,
        2.4,
        "the face pulses",
        _TRAIN,
    ),
    "seam_colour": Metric(
        "blending",
        "colour step at the mask's edge against the source's",
        "CIELAB units",
        "less",
        9.0,
        13.0,
        "the face has another tone than neck and forehead",
        "try another --color, or --mix poisson",
    ),
    "seam_gradient": Metric(
        "blending",
        "extra edge along the mask's rim",
        "grey levels",
        "less",
        10.0,
        16.0,
        "an outline shows around the face",
        "raise --feather, or --erode a little",
    ),
    "face_sharpness": Metric(
        "blending",
        "sharpness of the face over its surroundings, against the source",
        "",
        "one",
        0.8,
        0.6,
        "the face is softer than the rest of the picture",
        "train longer, or a recipe with more pixels",
        "the face is harsher than the rest of the picture",
        "lower --sharpen or --grain of `swap convert`",
    ),
    "outside_psnr": Metric(
        "untouched",
        "picture outside the mask against the source",
        "dB",
        "more",
        38.0,
        34.0,
        "the film differs from the source where nothing was to change",
        "lower --quality (less loss in encoding); --cover both keeps the swap inside the face",
    ),
    "untouched_psnr": Metric(
        "untouched",
        "frames without the face against the source",
        "dB",
        "more",
        40.0,
        36.0,
        "frames that should be untouched were changed",
        "lower --quality (less loss in encoding)",
    ),
    "truth_psnr": Metric("truth", "PSNR against the true swap, as it is", "dB", "more", 27.0, 23.0),
    "truth_ssim": Metric("truth", "SSIM against the true swap, as it is", "", "more", 0.9, 0.8),
    "truth_ms_ssim": Metric("truth", "multi-scale SSIM, as it is", "", "more", 0.95, 0.88),
    "truth_gradient": Metric("truth", "error of gradients, as it is", "grey levels/px", "less", 3.5, 6.0),
    "registered_psnr": Metric("truth", "PSNR against the true swap, registered", "dB", "more", 28.0, 24.5),
    "registered_ssim": Metric(
        "truth",
        "SSIM against the true swap, registered",
        "",
        "more",
        0.9,
        0.83,
        "inside the face the film is far from the true swap",
        _TRAIN,
    ),
    "registered_ms_ssim": Metric("truth", "multi-scale SSIM, registered", "", "more", 0.95, 0.9),
    "registered_gradient": Metric("truth", "error of gradients, registered", "grey levels/px", "less", 3.0, 5.0),
    "detected": Metric(
        "detectability",
        "real and swapped faces told apart by their texture",
        "share",
        "less",
        0.75,
        0.9,
        "a simple program tells the swap from a real face",
        "train longer; a recipe with more pixels; --grain near 1",
    ),
}
"""Every figure by name, in the order of the report."""


def read_gates(texts: Iterable[str]) -> dict[str, float]:
    """Limits by metric from texts such as `jitter=1.5`. Raises OptionError for an unknown metric or no number."""
    gates: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in METRICS:
            raise OptionError(f"--fail-below is '{text}': expected METRIC=NUMBER with one of {', '.join(METRICS)}")
        try:
            gates[name] = float(value)
        except ValueError:
            raise OptionError(f"--fail-below is '{text}': expected a number after '{name}='") from None
    return gates


def failed_gates(gates: Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """One line for every gate that is not reached; a figure that was not measured does not reach its gate."""
    lines = []
    for name, gate in gates.items():
        if name not in values:
            lines.append(f"{name} was not measured, asked for {gate:g}")
        elif METRICS[name].worse(values[name], gate):
            lines.append(f"{name} is {values[name]:.4g}, asked for {gate:g}")
    return lines
