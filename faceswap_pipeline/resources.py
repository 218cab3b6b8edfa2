"""The files that come with the program: recipes, weights and the rendered pair of clips.

In: a name. Out: a path, in the installed package's `_data/` or, for an editable install, in the checkout.
Weights are compared with the SHA-256 of `weights/manifest.toml` at every look-up.
"""

import hashlib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from faceswap_pipeline.errors import OptionError, WeightsError


@dataclass(frozen=True)
class WeightEntry:
    """What `weights/manifest.toml` says of one file."""

    file: str
    """Name inside the weights folder."""
    sha256: str
    """Of the file's bytes, 64 hexadecimal digits."""
    bytes: int
    """Size of the file."""
    licence: str
    """SPDX identifier."""
    origin: str
    """Where the numbers come from."""
    made_by: str
    """The program or step that wrote the file."""
    used_by: str
    """The code that reads it."""
    figures: str
    """What was measured of it."""


def models_folder() -> Path:
    """The folder with one sub-folder per recipe."""
    return _folder("models")


def weights_folder() -> Path:
    """The folder with the manifest and the shipped weight files."""
    return _folder("weights")


def examples_pair() -> Path:
    """The folder with `video_a.mp4`, `video_b.mp4`, `truth.mp4` and `truth_mask.mp4`."""
    return _folder("examples/pair")


def recipe_names() -> list[str]:
    """Names of the recipes that come with the program, sorted."""
    return sorted(path.parent.name for path in models_folder().glob("*/recipe.toml"))


def recipe_file(name: str) -> Path:
    """The `recipe.toml` of a shipped recipe. Raises OptionError with the known names when there is none."""
    names = recipe_names()
    if name not in names:
        raise OptionError(f"--recipe is '{name}': expected one of {', '.join(names)}, or the path of a recipe.toml")
    return models_folder() / name / "recipe.toml"


def weight_entries(folder: Path | None = None) -> dict[str, WeightEntry]:
    """Every entry of the manifest in `folder` (default: the shipped one) by name.

    Raises WeightsError when the manifest is missing, cannot be read or lacks a field.
    """
    path = (folder or weights_folder()) / "manifest.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; install the program again") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is no TOML: {error}") from error
    expected = [field.name for field in fields(WeightEntry)]
    for name, table in tables.items():
        if not isinstance(table, dict) or sorted(table) != sorted(expected):
            raise WeightsError(f"{path}: entry '{name}' must have exactly {', '.join(expected)}")
    return {name: WeightEntry(**table) for name, table in tables.items()}


def weight_file(name: str, folder: Path | None = None) -> Path:
    """The weight file of the manifest's entry `name`, its SHA-256 verified now.

    Raises WeightsError when the name is unknown or the file is missing, damaged or not the one of the manifest.
    """
    folder = folder or weights_folder()
    entries = weight_entries(folder)
    if name not in entries:
        raise WeightsError(f"no weights named '{name}': the manifest has {', '.join(sorted(entries)) or 'none'}")
    path = folder / entries[name].file
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; install the program again") from error
    if found != entries[name].sha256:
        raise WeightsError(
            f"{path} is not the file of the manifest: SHA-256 {found[:12]}..., "
            f"expected {entries[name].sha256[:12]}...; install the program again"
        )
    return path


def _folder(name: str) -> Path:
    package = Path(__file__).parent
    for path in (package / "_data" / name, package.parent / name):
        if path.is_dir():
            return path
    raise WeightsError(f"the folder {name}/ is missing beside {package}: install the program again")
