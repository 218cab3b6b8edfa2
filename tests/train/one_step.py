"""One training step from given weights and batch, as a program of its own, so that each backend can run it.

    one_step.py INPUT.npz OUTPUT.npz

INPUT holds `weights/...` (what `SwapModel.arrays` gave) and `a/...`, `b/...` (the fields of each person's `Batch`).
"""

import sys

import keras
import numpy as np

from faceswap_pipeline.backend import compile_step, value_of
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.train.augment import Batch
from faceswap_pipeline.train.model import SwapModel
from tests.train.conftest import PERFORMED, tiny_recipe


def main(source: str, target: str) -> None:
    """Run the step and write losses and new weights."""
    recipe = Recipe.from_json(tiny_recipe())
    model = SwapModel(recipe, 1, PERFORMED)
    with np.load(source) as given:
        model.restore({name[8:]: given[name] for name in given.files if name.startswith("weights/")})
        batches = {p: {field: given[f"{p}/{field}"] for field in Batch._fields} for p in ("a", "b")}
    step = compile_step(
        lambda batches: model.update({p: Batch(**fields) for p, fields in batches.items()}, 1.0, True),
        model.variables(),
    )
    losses = {f"losses/{name}": keras.ops.convert_to_numpy(value) for name, value in step(batches).items()}
    weights = {f"weights/{i:03d}": value_of(variable) for i, variable in enumerate(model.variables())}
    np.savez(target, **losses, **weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
