"""Recipes: the text files under `models/` that say how a network is built and trained.

In: `models/<name>/recipe.toml` or the JSON of a run. Out: frozen dataclasses, checked when built.
"""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faceswap_pipeline import resources
from faceswap_pipeline.errors import OptionError


@dataclass(frozen=True)
class NetworkRecipe:
    """The shared encoder and the decoder of one person. Every map is square; widths are numbers of channels."""

    resolution: int
    """Side of the picture that goes in and comes out, px."""
    view: tuple[float, float]
    """Width and height of the part of a dataset crop, about its centre, that the network sees, shares of the crop's
    side. A face is higher than wide: a narrow part, squeezed into the square, leaves it more of the pixels."""
    down: tuple[int, ...]
    """Widths of the encoder's stride-2 convolutions; each halves the map."""
    latent: int
    """Size of the dense code between encoder and decoders."""
    shared_up: int
    """Width of the one upscaling step that both persons share."""
    up: tuple[int, ...]
    """Widths of the decoder's upscaling steps; each doubles the map."""
    stem: int = 0
    """Width of a stride-1 5x5 convolution before the first step down; 0: none."""
    down_kernel: int = 3
    """Side of the kernels on the way down, px."""
    slope: float = 0.2
    """Slope of the leaky rectifiers below zero."""
    normalise: bool = False
    """Normalise each picture's maps after the activations (group normalisation with one group)."""
    attention_encoder: tuple[int, ...] = ()
    """Map sides at which the encoder attends to itself."""
    attention_decoder: tuple[int, ...] = ()
    """Map sides at which a decoder attends to itself."""
    residual: int = 0
    """Residual blocks at the decoder's widest map."""
    shuffle_head: bool = False
    """Make the picture by one more doubling step instead of a 5x5 convolution at full size (cheaper)."""
    own_map: bool = False
    """A decoder adds a map of its own to the code: what its person looks like whatever the performance."""
    face_only: bool = False
    """The encoder sees grey outside the face mask, so that backdrop and hair tell it nothing about who it is."""
    tone_free: bool = False
    """Each face's mean colour and contrast are taken out before the encoder and given back after the decoder."""
    learned_mask: bool = True
    """Decoders give a mask (alpha) beside the colours; without one alpha is 1."""


@dataclass(frozen=True)
class DiscriminatorRecipe:
    """The conditional discriminator of one person; it sees a picture next to the distorted input."""

    down: tuple[int, ...] = ()
    """Widths of the 4x4 stride-2 convolutions; none: no adversarial training."""
    attention: tuple[int, ...] = ()
    """Map sides at which it attends to itself."""
    loss: Literal["hinge", "mixup"] = "hinge"
    """hinge judges real and made pictures apart; mixup must say by least squares how much of a mix is real."""


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the named loss terms; 0 leaves a term out."""

    reconstruction: float = 1.0
    """Mean absolute error of the colours, over the face."""
    structure: float = 0.5
    """1 - SSIM over the face (Wang et al. 2004)."""
    edge: float = 0.5
    """Mean absolute error of the first differences over the face."""
    eyes: float = 3.0
    """How much more an eye pixel counts than a face pixel."""
    mouth: float = 2.0
    """How much more a mouth pixel counts than a face pixel."""
    outside: float = 0.1
    """How much a pixel outside the face counts."""
    alpha: float = 0.5
    """Binary cross-entropy of the learned mask against the dataset's face mask."""
    alpha_variation: float = 0.05
    """Total variation of the learned mask."""
    adversarial: float = 0.1
    """Weight of the discriminator's verdict, once adversarial training has started."""
    performance: float = 1.0
    """Weight of how differently swaps perform from what they were made of, in a run from base weights, which know how
    to read expression, gaze and pose."""
    perceptual: float = 0.1
    """Weight of the perceptual loss, where `swap train --perceptual FILE` names a network for it."""


@dataclass(frozen=True)
class TrainRecipe:
    """How the networks of a recipe are trained."""

    batch: int = 16
    """Pictures of each person in a step."""
    learning_rate: float = 2e-4
    """Rate of Adam for encoder and decoders."""
    discriminator_rate: float = 4e-4
    """Rate of Adam for the discriminators (two time scales, Heusel et al. 2017)."""
    beta_1: float = 0.5
    """First moment's decay in Adam."""
    average: float = 0.999
    """Decay of the moving average of the weights that previews and conversion use."""
    encoder_rate: float = 1.0
    """The encoder's rate as a share of the decoders'; 0 leaves it as it is."""
    clip_norm: float = 10.0
    """Gradients with a larger norm are scaled down to it."""
    warm_up: int = 200
    """Steps over which the rate rises from 0."""
    adversarial_from: int = 0
    """First step with the adversarial loss; before it only reconstruction is learnt. 0: never."""
    warp: float = 0.05
    """Standard deviation of the random warp of the input, as a share of the network's view."""
    rotation: float = 8.0
    """Largest random rotation, degrees."""
    zoom: float = 0.06
    """Largest random change of size, share."""
    shift: float = 0.04
    """Largest random shift, share of the network's view."""
    flip: float = 0.5
    """Share of pictures that are mirrored."""
    color_transfer: float = 0.5
    """Share of pictures whose colours are pulled towards those of a random picture of either person."""
    color_jitter: float = 0.06
    """Standard deviation of random gain and offset of each channel."""
    degrade: float = 0.0
    """Share of inputs that are blurred, and of those made noisy, and of those compressed; targets stay clear."""
    blur: float = 0.02
    """Largest standard deviation of that blur, share of the view."""
    noise: float = 0.15
    """Largest standard deviation of that noise, on colours -1..1."""
    compression: float = 0.12
    """Coarsest quantiser step of that compression, on colours -1..1."""


@dataclass(frozen=True)
class Recipe:
    """Everything that says what is trained; it travels in `run.json`."""

    name: str
    network: NetworkRecipe
    discriminator: DiscriminatorRecipe
    loss: LossRecipe
    train: TrainRecipe
    from_base: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What `train` is instead in a run that starts from base weights, by field."""

    def __post_init__(self) -> None:
        n = self.network
        self.on_base()  # an unknown key must be found now
        if not (isinstance(n.view, tuple) and len(n.view) == 2 and all(0 < share <= 1 for share in n.view)):
            raise OptionError(
                f"recipe {self.name}: view is {n.view}, expected shares of a crop's width and height: [0.8, 0.8]"
            )
        if n.resolution >> len(n.down) << (1 + len(n.up) + n.shuffle_head) != n.resolution:
            raise OptionError(
                f"recipe {self.name}: {len(n.down)} steps down do not undo {1 + len(n.up) + n.shuffle_head} steps up"
            )

    @property
    def adversarial(self) -> bool:
        """Whether the recipe trains discriminators at all."""
        return bool(self.discriminator.down) and self.train.adversarial_from > 0 and self.loss.adversarial > 0

    def on_base(self) -> "Recipe":
        """The recipe of a run that starts from base weights. Raises OptionError on a key that no recipe has."""
        values = _build(TrainRecipe, "from_base", self.name, self.from_base)
        changed = {name: getattr(values, name) for name in self.from_base}
        train = dataclasses.replace(self.train, **changed)
        return dataclasses.replace(self, train=train, from_base={}) if changed else self

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """The recipe that `to_json` wrote, or a parsed TOML file with its `name` added.

        Raises OptionError on a table or key that no recipe has, or a missing one.
        """
        parts = {
            "network": NetworkRecipe,
            "discriminator": DiscriminatorRecipe,
            "loss": LossRecipe,
            "train": TrainRecipe,
        }
        name = values.get("name", "unnamed")
        known = [*parts, "from_base"]
        unknown = sorted(set(values) - set(known) - {"name"})
        if unknown:
            raise OptionError(f"recipe {name}: unknown table {', '.join(unknown)}: expected {', '.join(known)}")
        tables = {key: _build(kind, key, name, values.get(key, {})) for key, kind in parts.items()}
        return cls(name, **tables, from_base=values.get("from_base", {}))


def load_recipe(name: str) -> Recipe:
    """The recipe called `name` under `models/`, or the one in a TOML file at that path.

    Raises OptionError when there is none, or when it holds a key that no recipe has.
    """
    path = Path(name) if name.endswith(".toml") else resources.recipe_file(name)
    if not path.is_file():
        raise OptionError(f"no recipe file {path}: expected a TOML file with a [network] table")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"recipe {path} is not valid TOML: {error}") from error
    return Recipe.from_json({"name": path.parent.name if path.name == "recipe.toml" else path.stem, **values})


def _build(kind: type, table: str, recipe: str, values: dict[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    missing = sorted(
        name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in values
    )
    if unknown or missing:
        found = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
        raise OptionError(f"recipe {recipe}, [{table}]: {found}; it takes {', '.join(fields)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
