"""What a run starts from: the base weights that come with the program, others, another run's networks, or nothing.

In: what `--base` says. Out: the entry that the run's manifest keeps, and networks that start from it.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.array_folder import Checkpoint
from faceswap_pipeline.errors import OptionError, RunError
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.networks.weights import get_arrays, set_arrays
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.resources import weight_entries, weight_file
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.storage import sha256_file
from faceswap_pipeline.train.batches import Faces
from faceswap_pipeline.train.general import describe_base, read_base
from faceswap_pipeline.train.model import PERSONS, SwapModel


def choose_base(base: str, recipe: Recipe) -> dict[str, Any] | None:
    """What the manifest says of the weights that a new run starts from; None: random ones.

    `auto` takes those that come with the program, where there are some of this recipe's networks. Raises OptionError
    when the named ones are of other networks, WeightsError or RunError when they cannot be read.
    """
    if base == "none":
        return None
    if base == "auto":
        name, shipped = f"base_{recipe.name}", weight_entries()
        if name not in shipped:
            return None
        found, performed = describe_base(weight_file(name))
        if found.network != recipe.network:
            return None
        known = {"recipe": recipe.name, "sha256": shipped[name].sha256, "performed": performed}
        return {"path": name, "kind": "shipped", **known}
    path = Path(base)
    if path.is_file():
        found, performed = describe_base(path)
        if found.network != recipe.network:
            raise OptionError(
                f"--base {base} is of another network than recipe {recipe.name}: make one with `swap pretrain`"
            )
        known = {"recipe": found.name, "sha256": sha256_file(path), "performed": performed}
        return {"path": base, "kind": "weights", **known}
    with TrainingRun.open(path) as run:
        checkpoint = _best_of(run)
        digest = hashlib.sha256()
        for name in sorted(checkpoint.arrays):
            digest.update(name.encode() + np.ascontiguousarray(checkpoint.arrays[name]).tobytes())
        return {"path": base, "kind": "run", "recipe": run.manifest["recipe"]["name"], "sha256": digest.hexdigest()}


def fit_to(entry: dict[str, Any] | None, recipe: Recipe) -> tuple[Recipe, int]:
    """The recipe for a start from what the entry of `choose_base` names, and how many numbers that reads of what a face
    does: the recipe's own values, and 0, but for weights that know many people.
    """
    if entry is None or entry.get("kind") == "run":
        return recipe, 0
    return recipe.on_base(), entry.get("performed", 0)


def start_from(
    entry: dict[str, Any] | None, model: SwapModel, faces: dict[str, Faces], seed: int, progress: Progress
) -> None:
    """Put what the entry of `choose_base` names into the networks."""
    if entry is None:
        progress.note("starting from random weights")
        return
    if entry["kind"] == "run":
        progress.note(f"starting from the networks of {entry['path']}")
        with TrainingRun.open(Path(entry["path"])) as run:
            arrays = _best_of(run).arrays
    else:
        path = weight_file(entry["path"]) if entry["kind"] == "shipped" else Path(entry["path"])
        progress.note(f"starting from the base weights {path.name}: looking for both persons in them (--base)")
        arrays = _arrays_from_weights(path, faces, seed)
    averages = [(name, model.average[name]) for name in model.generator]
    for name, network in [*model.generator.items(), *averages, *model.reader.items()]:
        set_arrays(name, network.variables, arrays)


def _arrays_from_weights(path: Path, faces: dict[str, Faces], seed: int) -> dict[str, NDArray]:
    """The encoder of base weights, and a decoder for each person that starts where they know such a face."""
    base = read_base(path)
    arrays = {**base.performance, **get_arrays("encoder", base.encoder.variables)}
    for person in PERSONS:
        name = f"decoder_{person}"
        code = base.find_code(faces[person].train, faces[person].statistics, seed)
        arrays |= get_arrays(name, base.persons_decoder(code, name).variables)
    return arrays


def _best_of(run: TrainingRun) -> Checkpoint:
    """A run's best weights. Raises RunError when it has none yet."""
    checkpoint = run.load_best()
    if checkpoint is None:
        raise RunError(f"{run.path} has no best weights yet: train it first, or leave --base out")
    return checkpoint
