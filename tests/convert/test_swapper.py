"""The network behind convert: fixed batches, the same view as training, errors for weights that do not fit."""

import dataclasses

import numpy as np
import pytest

from faceswap_pipeline.convert.swapper import NetworkSwapper, best_weights, load_swapper
from faceswap_pipeline.errors import RunError, WeightsError
from faceswap_pipeline.imaging import network_view, to_float
from faceswap_pipeline.networks.autoencoder import build_decoder, build_encoder, split_encoder
from faceswap_pipeline.networks.recipe import DiscriminatorRecipe, LossRecipe, NetworkRecipe, Recipe, TrainRecipe
from faceswap_pipeline.networks.weights import get_arrays
from faceswap_pipeline.run import TrainingRun

NETWORK = NetworkRecipe(resolution=16, view=(0.6, 0.8), down=(8, 8), latent=16, shared_up=8, up=(8,))
RECIPE = Recipe("tiny", NETWORK, DiscriminatorRecipe(), LossRecipe(), TrainRecipe())


@pytest.fixture(scope="module")
def networks():
    return {
        "encoder": build_encoder(NETWORK),
        "decoder_a": build_decoder(NETWORK, "decoder_a"),
        "decoder_b": build_decoder(NETWORK, "decoder_b"),
    }


@pytest.fixture(scope="module")
def arrays(networks):
    return {name: value for key, model in networks.items() for name, value in get_arrays(key, model.variables).items()}


@pytest.fixture
def crops():
    return np.random.default_rng(3).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)


@pytest.fixture
def masks():
    return np.random.default_rng(4).integers(0, 2, (5, 40, 40), dtype=np.uint8) * 255


@pytest.mark.parametrize("person", ["a", "b"])
def test_it_is_the_encoder_and_the_decoder_of_the_wanted_person(networks, arrays, crops, masks, person):
    made = NetworkSwapper(RECIPE, arrays, person, 8).swap(crops, masks)
    seen = np.stack([to_float(network_view(crop, 16, (0.6, 0.8))) for crop in crops])
    expected = np.asarray(networks[f"decoder_{person}"](networks["encoder"](seen)))
    np.testing.assert_allclose(made.image, expected[..., :3], atol=1e-4)
    np.testing.assert_allclose(made.alpha, expected[..., 3:], atol=1e-4)
    assert made.image.dtype == np.float32 and made.alpha.shape == (5, 16, 16, 1)


def test_the_encoder_sees_the_face_only_where_the_recipe_says_so(arrays, crops, masks):
    recipe = dataclasses.replace(RECIPE, network=dataclasses.replace(RECIPE.network, face_only=True))
    masks[:] = 0
    masks[:, 5:35, 14:26] = 255
    hidden = crops.copy()
    hidden[:, :, :11] = 7
    hidden[:, :3] = 200
    for each, same in ((recipe, True), (RECIPE, False)):
        swapper = NetworkSwapper(each, arrays, "b", 5)
        assert np.allclose(swapper.swap(crops, masks).image, swapper.swap(hidden, masks).image, atol=1e-6) == same


def test_steps_are_added_to_the_codes_of_their_own_faces(networks, arrays, crops, masks):
    swapper = NetworkSwapper(RECIPE, arrays, "b", 2)
    to_code, from_code = split_encoder(networks["encoder"])
    codes = swapper.codes(crops, masks)
    seen = np.stack([to_float(network_view(crop, 16, (0.6, 0.8))) for crop in crops])
    np.testing.assert_allclose(codes, np.asarray(to_code(seen)), atol=1e-4)
    steps = np.zeros((5, NETWORK.latent), np.float32)
    steps[3] = np.linspace(-4, 4, NETWORK.latent)
    made, plain = swapper.swap(crops, masks, steps).image, swapper.swap(crops, masks).image
    expected = np.asarray(networks["decoder_b"](from_code(codes + steps)))[..., :3]
    np.testing.assert_allclose(made, expected, atol=1e-4)
    changed = np.abs(made - plain).max((1, 2, 3))
    assert changed[3] > 1e-2 and np.delete(changed, 3).max() == 0


def test_a_face_does_not_depend_on_its_batch(arrays, crops, masks):
    swapper = NetworkSwapper(RECIPE, arrays, "b", 2)
    together = swapper.swap(crops, masks).image
    pairs = zip(crops, masks, strict=True)
    alone = np.concatenate([swapper.swap(crop[None], mask[None]).image for crop, mask in pairs])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert swapper.swap(crops[:0], masks[:0]).image.shape == (0, 16, 16, 3)


def test_the_wanted_persons_own_faces_do_not_take_the_way_from_the_others_codes(networks, arrays, crops, masks):
    way = {**arrays, "shift/shift/shift": np.full((2, RECIPE.network.latent), 3.0, np.float32)}
    plain, moved = (NetworkSwapper(RECIPE, each, "b", 8) for each in (arrays, way))
    np.testing.assert_array_equal(moved.redraw(crops, masks), plain.swap(crops, masks).image)
    assert np.abs(moved.swap(crops, masks).image - plain.swap(crops, masks).image).max() > 1e-3


def test_what_is_drawn_of_a_moved_code_is_drawn_once_more(networks, arrays, crops, masks):
    """It is moved one way only: the other direction's swap is drawn once."""
    ways = np.stack([np.zeros(16, np.float32), np.full(16, 3.0, np.float32)])
    moved = {**arrays, "shift/shift/shift": ways}
    to_code, from_code = split_encoder(networks["encoder"])
    seen = np.stack([to_float(network_view(crop, 16, (0.6, 0.8))) for crop in crops])
    once = np.asarray(networks["decoder_b"](from_code(np.asarray(to_code(seen)) + ways[1])))
    twice = np.asarray(networks["decoder_b"](networks["encoder"](once[..., :3])))
    made = NetworkSwapper(RECIPE, moved, "b", 2).swap(crops, masks)
    np.testing.assert_allclose(made.image, twice[..., :3], atol=1e-4)
    np.testing.assert_allclose(made.alpha, once[..., 3:], atol=1e-4, err_msg="where it covers the film stays")
    assert np.abs(once - twice).max() > 1e-3
    back, plain = (NetworkSwapper(RECIPE, each, "a", 2).swap(crops, masks) for each in (moved, arrays))
    np.testing.assert_array_equal(back.image, plain.image)


def test_weights_of_another_recipe_are_refused(arrays, crops, masks):
    smaller = {name: value[..., :-1] for name, value in arrays.items()}
    with pytest.raises(WeightsError, match="expected shape"):
        NetworkSwapper(RECIPE, smaller, "b", 2).swap(crops, masks)


def test_the_best_weights_of_a_run_are_taken(tmp_path, arrays, crops, masks):
    with TrainingRun.create(tmp_path / "run", {"recipe": RECIPE.to_json()}) as run:
        with pytest.raises(RunError, match="no trained weights"):
            best_weights(run)
        run.save_best(arrays, {"step": 12})
    opened = TrainingRun.open(tmp_path / "run")
    checkpoint = best_weights(opened)
    swapper = load_swapper(opened, checkpoint, "b", 4)
    assert checkpoint.step == 12 and (swapper.resolution, swapper.view) == (16, (0.6, 0.8))
    expected = NetworkSwapper(RECIPE, arrays, "b", 4).swap(crops, masks).image
    np.testing.assert_array_equal(swapper.swap(crops, masks).image, expected)
