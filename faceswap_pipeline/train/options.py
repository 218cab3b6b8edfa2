"""The options of `swap train` and `swap pretrain`."""

from dataclasses import dataclass
from typing import Annotated

from faceswap_pipeline.options import Between, Duration, Options, seconds


@dataclass(frozen=True)
class LearnOptions(Options):
    """What to train, for how long, and how often to save and report."""

    recipe: str = "auto"
    """Name of a recipe (lite64, gan64, gan128, gan256, original64) or path of a recipe.toml; auto: lite64 on a CPU,
    gan64 on a GPU."""
    time: Annotated[str, Duration()] = ""
    """Stop after this much time in this call, such as 90s, 20m or 11h, saved before it is over."""
    steps: Annotated[int | None, Between(1, 100_000_000)] = None
    """Stop when the run has this many steps in all."""
    continue_: bool = False
    """Go on with a run that had stopped by itself."""
    seed: Annotated[int, Between(0, 2**31 - 1)] = 1
    """Seed of the first weights and of every draw."""
    save_minutes: Annotated[float, Between(0.01, 1440)] = 5.0
    """Minutes between two checkpoints."""
    report_steps: Annotated[int, Between(1, 100_000)] = 250
    """Steps between two reports on held-out faces."""
    preview_steps: Annotated[int, Between(1, 1_000_000)] = 1000
    """Steps between two preview pictures."""
    patience: Annotated[int, Between(2, 1000)] = 16
    """Reports without progress on held-out faces before the rate is halved, and after the third time training ends."""

    @property
    def time_seconds(self) -> float | None:
        """The time limit of this call in seconds, or None."""
        return seconds(self.time) if self.time else None


@dataclass(frozen=True)
class TrainOptions(LearnOptions):
    """What to train between two persons, from what, for how long, and how often to save and report."""

    base: str = "auto"
    """What a new run starts from: base weights (a file of `swap pretrain`), the networks of a run folder, none, or
    auto: the base weights that come with the program, where there are some for the recipe."""
    perceptual: str = ""
    """Weights of a VGG-type network of your own, such as Keras' vgg16 file without top (.h5, or .npz): faces are
    compared also by what it sees. None comes with the program, none is fetched."""


@dataclass(frozen=True)
class PretrainOptions(LearnOptions):
    """What base weights are made for, for how long, and of what."""

    recipe: str = "lite64"
    """Name of a recipe, or path of a recipe.toml."""
    paired: Annotated[float, Between(0, 1)] = 0.5
    """Share of examples that show one person and want another in the same performance."""
    keep_back: Annotated[int, Between(0, 1_000_000)] = 480
    """Rendered people with this number and above are never trained on."""
    degrade: Annotated[float, Between(0, 1)] = 0.25
    """Share of inputs that are blurred, of those made noisy, and of those compressed."""
    preview_steps: Annotated[int, Between(1, 1_000_000)] = 2000
    """Steps between two preview pictures."""
    report_steps: Annotated[int, Between(1, 100_000)] = 500
    """Steps between two reports on performances held back."""
