"""TensorFlow and JAX take the same step from the same weights and batch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.train.augment import Batch
from faceswap_pipeline.train.model import SwapModel
from tests.train.conftest import PERFORMED, tiny_recipe

pytest.importorskip("jax")


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """Weights a few steps old (so that attention takes part), as of a run from base weights, and a batch."""
    random = np.random.default_rng(0)
    recipe = Recipe.from_json(tiny_recipe())
    size, count = recipe.network.resolution, recipe.train.batch
    arrays = SwapModel(recipe, 3, PERFORMED).arrays()
    arrays = {name: value + 0.1 if name.endswith(("gain", "shift")) else value for name, value in arrays.items()}
    batches = {}
    for person in ("a", "b"):
        pictures = {name: random.uniform(-1, 1, (count, size, size, 3)) for name in ("warped", "target")}
        masks = {name: random.random((count, size, size, 1)) > 0.5 for name in ("face", "eyes", "mouth")}
        masks["mix"] = random.random((count, 1, 1, 1))
        batches |= {f"{person}/{name}": value.astype(np.float32) for name, value in {**pictures, **masks}.items()}
    path = tmp_path_factory.mktemp("step") / "given.npz"
    np.savez(path, **{f"weights/{name}": value for name, value in arrays.items()}, **batches)
    assert all(f"a/{name}" in batches for name in Batch._fields)
    return path


def step(backend: str, given: Path) -> dict[str, np.ndarray]:
    target = given.with_name(f"{backend}.npz")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.train.one_step", str(given), str(target)]
    subprocess.run(command, check=True, env=environment, cwd=root)
    with np.load(target) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.slow
def test_both_backends_take_the_same_step(given):
    first, second = step("tensorflow", given), step("jax", given)
    assert first.keys() == second.keys() and {"losses/discriminator", "losses/performance_a"} <= first.keys()
    with np.load(given) as start:
        rate = 2 * max(Recipe.from_json(tiny_recipe()).train.learning_rate, 4e-4)
        assert start.files
    for name, value in first.items():
        other = second[name]
        if name.startswith("losses/"):
            np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-4, err_msg=name)
        elif np.abs(value).max() > 4 * rate:
            assert np.linalg.norm(other - value) <= 1e-3 * np.linalg.norm(value) + 1e-6, name
        else:
            np.testing.assert_allclose(other, value, atol=rate, err_msg=name)
