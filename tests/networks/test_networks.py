"""The shipped recipes and the building blocks."""

import dataclasses
import re

import keras
import numpy as np
import pytest

from faceswap_pipeline import resources
from faceswap_pipeline.backend import value_of
from faceswap_pipeline.errors import OptionError, WeightsError
from faceswap_pipeline.networks.autoencoder import build_decoder, build_encoder, fold_identity, swap_faces
from faceswap_pipeline.networks.blocks import Icnr, PixelShuffle, SelfAttention, SpectralConv2D
from faceswap_pipeline.networks.discriminator import build_discriminator
from faceswap_pipeline.networks.recipe import Recipe, load_recipe
from faceswap_pipeline.networks.tone import SPREAD, Tone, face_tone, give_tone, take_tone
from faceswap_pipeline.networks.weights import get_arrays, set_arrays

GENERATOR_WEIGHTS = {"original64": 82_062_470, "gan64": 12_901_934, "lite64": 3_197_603} | {
    "gan128": 17_091_246,
    "gan256": 17_101_150,
}


@pytest.mark.parametrize("name", sorted(GENERATOR_WEIGHTS))
def test_recipe_has_the_weights_its_card_says(name):
    recipe = load_recipe(name)
    encoder, decoder = build_encoder(recipe.network), build_decoder(recipe.network, "decoder_a")
    count = encoder.count_params() + 2 * decoder.count_params()
    assert count == GENERATOR_WEIGHTS[name]
    card = (resources.models_folder() / name / "README.md").read_text("utf-8")
    assert f"{count:,}".replace(",", " ") in card
    assert decoder.output.shape == (None, recipe.network.resolution, recipe.network.resolution, 4)
    if recipe.adversarial:
        assert build_discriminator(recipe.discriminator, recipe.network.resolution, "d").output.shape == (None, 8, 8, 1)


def test_every_shipped_recipe_survives_json():
    for name in resources.recipe_names():
        recipe = load_recipe(name)
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_recipe_with_unknown_key_or_wrong_steps_names_it(tmp_path):
    text = (resources.recipe_file("lite64")).read_text("utf-8")
    (tmp_path / "wrong.toml").write_text(text.replace("latent =", "latnet ="))
    with pytest.raises(OptionError, match="latnet"):
        load_recipe(str(tmp_path / "wrong.toml"))
    (tmp_path / "steps.toml").write_text(text.replace("up = [64, 32]", "up = [64]"))
    with pytest.raises(OptionError, match="steps down"):
        load_recipe(str(tmp_path / "steps.toml"))
    for view in ("0.8", "[0.8]", "[0.8, 1.5]"):
        (tmp_path / "view.toml").write_text(re.sub("view = .*", f"view = {view}", text))
        with pytest.raises(OptionError, match="shares of a crop's width and height"):
            load_recipe(str(tmp_path / "view.toml"))
    with pytest.raises(OptionError, match="expected one of .*lite64"):
        load_recipe("lite65")


def test_what_holds_from_a_base_replaces_what_training_says_and_goes_round(tmp_path):
    (tmp_path / "mine.toml").write_text(
        "[network]\nresolution = 64\nview = [0.8, 0.8]\ndown = [8, 8]\nlatent = 8\nshared_up = 8\nup = [8]\n"
        "[train]\nwarp = 0.04\nbatch = 3\n[from_base]\nwarp = 0.01\n"
    )
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.train.warp == 0.04 and recipe.on_base().train == dataclasses.replace(recipe.train, warp=0.01)
    with pytest.raises(OptionError, match=r"\[from_base\]: unknown wrap"):
        Recipe.from_json({**recipe.to_json(), "from_base": {"wrap": 1}})


def test_original_has_an_alpha_of_one_and_colors_in_range():
    recipe = load_recipe("original64").network
    decoder = build_decoder(recipe, "decoder_a")
    made = keras.ops.convert_to_numpy(decoder(np.random.default_rng(0).normal(0, 5, (1, 8, 8, 512)).astype("float32")))
    assert (made[..., 3] == 1).all() and np.abs(made[..., :3]).max() <= 1


def test_pixel_shuffle_places_the_four_phases():
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)
    made = keras.ops.convert_to_numpy(PixelShuffle()(x))
    np.testing.assert_array_equal(made[0, :, :, 0], [[0, 2], [4, 6]])


def test_icnr_start_has_no_checkerboard():
    kernel = keras.ops.convert_to_numpy(Icnr()((3, 3, 4, 16)))
    for phase in range(1, 4):
        np.testing.assert_array_equal(kernel[..., :4], kernel[..., 4 * phase : 4 * phase + 4])


def test_attention_starts_as_identity_and_then_reaches_everywhere():
    layer = SelfAttention()
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 8)).astype(np.float32)
    np.testing.assert_array_equal(layer(x), x)
    layer.gain.assign(1.0)
    changed = x.copy()
    changed[0, 0, 0] += 3
    far = np.abs(np.asarray(layer(changed)) - np.asarray(layer(x)))[0, 8:, 8:]
    assert far.max() > 1e-4


def test_spectral_convolution_has_norm_one_and_leaves_its_kernel_alone():
    layer = SpectralConv2D(6, 3)
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 5)).astype(np.float32)
    for _ in range(300):  # the iteration is as slow as the two largest singular values are close
        layer(x, training=True)
    kernel = value_of(layer.kernel)
    largest = np.linalg.svd(kernel.reshape(-1, 6), compute_uv=False)[0]
    expected = keras.ops.convert_to_numpy(keras.ops.conv(x, kernel / largest, padding="same"))
    np.testing.assert_allclose(layer(x), expected, atol=1e-3)
    np.testing.assert_array_equal(kernel, value_of(layer.kernel))


def test_discriminator_judges_patches():
    recipe = load_recipe("lite64")
    network = build_discriminator(recipe.discriminator, 64, "discriminator_a")
    assert network.output.shape == (None, 8, 8, 1)


def test_weights_go_round_by_name_and_refuse_another_shape():
    recipe = load_recipe("lite64").network
    first, second = build_decoder(recipe, "decoder_a"), build_decoder(recipe, "decoder_a")
    arrays = get_arrays("decoder_b", first.variables)
    set_arrays("decoder_b", second.variables, arrays)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    with pytest.raises(WeightsError, match="found nothing"):
        set_arrays("decoder_a", second.variables, arrays)
    arrays["decoder_b/head/bias"] = np.zeros(3)
    with pytest.raises(WeightsError, match="decoder_b/head/bias.*expected shape"):
        set_arrays("decoder_b", second.variables, arrays)


def test_tone_is_taken_and_given_back():
    random = np.random.default_rng(0)
    pictures = random.uniform(-0.4, 0.6, (3, 16, 16, 3)).astype(np.float32) * np.array([1, 0.5, 0.8], np.float32)
    face = np.zeros((3, 16, 16, 1), np.float32)
    face[:, 3:13, 4:12] = 1
    tone = face_tone(pictures, face)
    plain = keras.ops.convert_to_numpy(take_tone(pictures, tone))
    inside = plain[:, 3:13, 4:12]
    np.testing.assert_allclose(inside.mean((1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(inside.std((1, 2)), SPREAD, rtol=0.05)
    back = keras.ops.convert_to_numpy(give_tone(plain, tone))
    np.testing.assert_allclose(back[:, 3:13, 4:12], pictures[:, 3:13, 4:12], atol=2e-3)


def test_another_tone_goes_through_a_tone_free_network_and_comes_out_again():
    recipe = dataclasses.replace(load_recipe("lite64").network, tone_free=True, face_only=True)
    encoder, decoder = build_encoder(recipe), build_decoder(recipe, "decoder_a")
    picture = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 64, 64, 3)).astype(np.float32)
    face = np.zeros((1, 64, 64, 1), np.float32)
    face[:, 10:54, 14:50] = 1
    one = keras.ops.convert_to_numpy(swap_faces(encoder, decoder, picture, face, recipe))
    gain, offset = np.array([0.6, 0.9, 1.1], np.float32), np.array([0.2, -0.1, 0.05], np.float32)
    other = keras.ops.convert_to_numpy(swap_faces(encoder, decoder, picture * gain + offset, face, recipe))
    np.testing.assert_allclose(other[..., :3], one[..., :3] * gain + offset, atol=0.02)
    np.testing.assert_allclose(other[..., 3], one[..., 3], atol=0.01)
    wanted = Tone.from_json({"mean": [0.1, 0.0, -0.1], "spread": [0.2, 0.15, 0.1]})
    assert Tone.from_json(wanted.to_json()).to_json() == wanted.to_json()
    first, second = (
        keras.ops.convert_to_numpy(swap_faces(encoder, decoder, each, face, recipe, wanted))
        for each in (picture, picture * gain + offset)
    )
    np.testing.assert_allclose(second, first, atol=0.02)
    assert np.abs(first[..., :3] - one[..., :3]).max() > 0.05


def test_a_persons_decoder_is_the_general_one_with_the_identity_folded_in():
    recipe = dataclasses.replace(load_recipe("lite64").network, own_map=True)
    general, own = build_decoder(recipe, "decoder", identity=6), build_decoder(recipe, "decoder_a")
    random = np.random.default_rng(0)
    for layer in general.layers:
        if layer.name.endswith("_modulation") or layer.name == "own_dense":
            layer.set_weights([random.normal(0, 0.2, value.shape) for value in layer.get_weights()])
    identity = random.normal(size=6).astype(np.float32)
    code = random.normal(size=(2, 8, 8, recipe.shared_up)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(general([code, np.tile(identity, (2, 1))]))
    fold_identity(general, identity, own)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(own(code)), expected, atol=1e-4)
    fold_identity(general, identity * 0, own)
    assert np.abs(keras.ops.convert_to_numpy(own(code)) - expected).max() > 0.01
