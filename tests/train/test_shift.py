"""The way between two persons' codes: found whatever they do, taken by swaps, kept by runs."""

from functools import partial

import numpy as np
import pytest

from faceswap_pipeline.backend import value_of
from faceswap_pipeline.networks.autoencoder import (
    IdentityShift,
    build_encoder,
    moved_encoder,
    split_encoder,
)
from faceswap_pipeline.networks.recipe import load_recipe
from faceswap_pipeline.train.model import SwapModel
from faceswap_pipeline.train.shift import SHARES, identity_shift

WIDTH, READ = 12, 3


def codes(random: np.random.Generator, performed: np.ndarray, who: np.ndarray) -> np.ndarray:
    spread = np.random.default_rng(0).normal(0, 1, (READ, WIDTH))
    return (performed @ spread + who + random.normal(0, 0.01, (len(performed), WIDTH))).astype(np.float32)


def test_the_shift_is_who_it_is_and_not_what_they_do():
    random = np.random.default_rng(1)
    smiling, solemn = (random.normal(mean, 1, (200, READ)).astype(np.float32) for mean in (1.5, -1.5))
    who_a, who_b = random.normal(0, 1, (2, WIDTH))
    found = identity_shift(codes(random, smiling, who_a), codes(random, solemn, who_b), smiling, solemn)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, who_b - who_a, atol=0.06)
    means = codes(random, solemn, who_b).mean(0) - codes(random, smiling, who_a).mean(0)
    assert np.abs(means - (who_b - who_a)).max() > 1, "the plain means would take the smile away"


def test_what_hardly_varies_explains_nothing():
    """A direction in which nobody moves must not blow the answer up."""
    random = np.random.default_rng(2)
    still = np.zeros((50, READ), np.float32)
    who_a, who_b = random.normal(0, 1, (2, WIDTH))
    found = identity_shift(codes(random, still, who_a), codes(random, still, who_b), still, still + 1e-6)
    np.testing.assert_allclose(found, who_b - who_a, atol=0.02)


def test_a_moved_encoder_moves_the_dense_code_and_back_again():
    recipe = load_recipe("lite64").network
    encoder, shift = build_encoder(recipe), IdentityShift(recipe.latent, name="shift")
    pictures = np.random.default_rng(3).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    plain = np.asarray(encoder(pictures))
    np.testing.assert_allclose(
        moved_encoder(encoder, partial(shift, towards=1.0))(pictures, training=False), plain, atol=1e-5
    )
    ways = np.random.default_rng(4).normal(0, 1, (2, recipe.latent)).astype(np.float32)
    shift.shift.assign(ways)
    to_code, from_code = split_encoder(encoder)
    for towards, way in zip((-1.0, 1.0), ways, strict=True):
        moved = moved_encoder(encoder, partial(shift, towards=towards))(pictures, training=False)
        np.testing.assert_allclose(moved, from_code(np.asarray(to_code(pictures)) + way), atol=1e-4)
        assert np.abs(np.asarray(moved) - plain).max() > 0.1


@pytest.fixture(scope="module")
def model() -> SwapModel:
    return SwapModel(load_recipe("lite64"), 1, performed=5)


def views(seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).integers(0, 256, (4, 64, 64, 6), dtype=np.uint8)
    made[..., 3] = 255
    return made


def test_only_swaps_are_shifted_and_what_a_film_needs_travels(model: SwapModel):
    faces = {"a": views(1), "b": views(2) // 2 + 100}
    before = {way: model.swap(faces["a"], "a", way) for way in "ab"}
    model.align(faces)
    kept, shipped = model.arrays(), model.inference_arrays()
    (name,) = [name for name in shipped if name.startswith("shift/")]
    assert np.array_equal(shipped[name], kept[f"average/{name}"])
    way = np.random.default_rng(5).normal(0, 1, shipped[name].shape).astype(np.float32)
    model.restore({**kept, f"average/{name}": way})
    kept = model.arrays()
    after = {way: model.swap(faces["a"], "a", way) for way in "ab"}
    assert np.array_equal(before["a"], after["a"]) and not np.allclose(before["b"], after["b"])

    pictures, face = faces["a"][..., :3] / np.float32(127.5) - 1, faces["a"][..., 3:4] / np.float32(255)
    once = model._drawer("a", "b", None)(pictures, face)
    again = model._drawer("b", "b", None)(once[..., :3], face)
    expected = np.concatenate([again[..., :3], once[..., 3:]], -1)
    np.testing.assert_allclose(after["b"], expected, atol=1e-5, err_msg="as in films, a moved code is drawn twice")

    other = SwapModel(load_recipe("lite64"), 2, performed=5)
    other.restore(kept)
    assert np.array_equal(other.swap(faces["a"], "a", "b"), after["b"])


def test_a_run_from_before_goes_there_and_back_by_the_same_way(model: SwapModel):
    kept = model.arrays()
    (name,) = [name for name in kept if name.startswith("average/shift/")]
    way = np.random.default_rng(6).normal(0, 1, kept[name].shape[1]).astype(np.float32)
    swaps = []
    for value in (np.stack([-way, way]), way):
        model.restore({**kept, name: value})
        swaps.append([model.swap(views(1), "a", "b"), model.swap(views(1), "b", "a")])
    assert np.array_equal(swaps[0], swaps[1])


@pytest.mark.parametrize(("films", "shares"), [(True, (0.75, 1.0)), (False, (0.0, 0.5))])
def test_as_much_of_the_way_is_gone_as_leaves_swaps_one_face(monkeypatch: pytest.MonkeyPatch, films, shares):
    """Decoders that make a face of another code, off by what `off` says of each share: films go further."""
    model = SwapModel(load_recipe("lite64"), 1, performed=5)
    aligner = model._aligners[films]
    whole = 3.0 * np.ones(256, np.float32)
    monkeypatch.setattr("faceswap_pipeline.train.shift.identity_shift", lambda *codes: whole)

    def losing(off, sign):
        def lost(codes, face, way):
            assert len(codes) == len(face) == 1, "every fourth of four faces"
            return off[SHARES.index(sign * float(way[0]) / 3.0)]

        return lost

    aligner._lost = {"a": losing([1.0, 1.1, 1.4, 1.2, 1.4], -1), "b": losing([2.0, 1.1, 1.0, 1.1, 1.2], 1)}
    aligner.align({"a": views(1), "b": views(2)})
    to_a, to_b = value_of(aligner._shift.shift)
    np.testing.assert_allclose(to_a, -shares[0] * whole)
    np.testing.assert_allclose(to_b, shares[1] * whole)
    aligner._lost = dict.fromkeys("ab", lambda codes, face, way: float("nan"))
    aligner.align({"a": views(1), "b": views(2)})
    assert not value_of(aligner._shift.shift).any(), "of networks that broke nothing can be said"


def test_without_a_base_nothing_is_shifted():
    model = SwapModel(load_recipe("lite64"), 1)
    model.align({"a": views(1), "b": views(2)})
    assert not [name for name in model.arrays() if "shift" in name or "performance" in name]
