"""Colour methods: what they match, what they leave alone."""

import numpy as np
import pytest

from faceswap_pipeline.convert import color
from faceswap_pipeline.convert.options import ConvertOptions


@pytest.fixture
def skins():
    """Two pictures (64, 64, 3) of different tones and a weight that covers the middle."""
    random = np.random.default_rng(5)
    light = (random.normal(0, 0.08, (64, 64, 3)) + [0.5, 0.2, 0.1]).astype(np.float32)
    dark = (random.normal(0, 0.05, (64, 64, 1)) + [0.05, -0.25, -0.3]).astype(np.float32)
    weights = np.zeros((64, 64), np.float32)
    weights[12:52, 16:48] = 1
    return light, dark, weights


def from_linear(light):
    """Linear light 0..1 -> RGB -1..1 with sRGB's curve."""
    light = np.clip(light, 0, 1)
    curved = 1.055 * light ** (1 / 2.4) - 0.055
    return (np.where(light <= 0.0031308, 12.92 * light, curved) * 2 - 1).astype(np.float32)


def moments(image, weights):
    pixels = color.to_lab(image)[weights > 0]
    return pixels.mean(0), pixels.std(0), np.cov(pixels.T)


def recolored(method, own, wanted, weights):
    statistics = (color.measure_skin(method, image, weights) for image in (own, wanted))
    return color.match_color(method, own, *statistics)


def test_lab_round_trip(skins):
    assert np.abs(color.from_lab(color.to_lab(skins[0])) - skins[0]).max() < 1.5 / 255


@pytest.mark.parametrize("method", ["reinhard", "mkl", "histogram"])
def test_mean_is_matched_inside_the_weights(method, skins):
    own, wanted, weights = skins
    mean, deviation, _ = moments(recolored(method, own, wanted, weights), weights)
    expected, spread, _ = moments(wanted, weights)
    assert np.abs(mean - expected).max() < 0.5
    assert np.abs(deviation[0] - spread[0]) < 0.5


def test_mkl_matches_the_covariance_where_the_change_is_small(skins):
    own, _, weights = skins
    wanted = np.clip(own * [1.2, 0.9, 1.1] + [-0.1, 0.05, 0.0], -1, 1).astype(np.float32)
    _, _, got = moments(recolored("mkl", own, wanted, weights), weights)
    _, _, expected = moments(wanted, weights)
    assert np.abs(got - expected).max() < 0.08 * np.abs(expected).max()


def test_histogram_matches_the_distribution_not_only_its_moments():
    random = np.random.default_rng(1)
    own = np.repeat(random.uniform(-0.3, 0.3, (64, 64, 1)), 3, 2).astype(np.float32)
    two_humps = np.where(random.random((64, 64, 1)) < 0.5, -0.4, 0.2) + random.normal(0, 0.02, (64, 64, 1))
    wanted = np.repeat(two_humps, 3, 2).astype(np.float32)
    got = recolored("histogram", own, wanted, np.ones((64, 64), np.float32))
    shares = np.linspace(5, 95, 10)
    lightness = [np.percentile(color.to_lab(image)[..., 0], shares) for image in (got, wanted)]
    assert np.median(np.abs(lightness[0] - lightness[1])) < 1


@pytest.mark.parametrize("method", color.METHODS)
def test_same_tone_changes_nothing(method, skins):
    own, _, weights = skins
    assert np.abs(recolored(method, own, own, weights) - own).max() < 0.01


@pytest.mark.parametrize("method", color.METHODS)
def test_what_is_outside_the_weights_says_nothing(method, skins):
    own, wanted, weights = skins
    spoilt = own.copy()
    spoilt[weights == 0] = 0.9
    expected = color.measure_skin(method, own, weights)
    np.testing.assert_array_equal(color.measure_skin(method, spoilt, weights), expected)


@pytest.mark.parametrize("method", color.METHODS)
def test_too_little_skin_means_no_change(method, skins):
    own, wanted, weights = skins
    assert color.measure_skin(method, own, weights * 0) is None
    image = color.match_color(method, own, None, color.measure_skin(method, wanted, weights))
    np.testing.assert_array_equal(image, own)


def test_light_is_matched_place_by_place(skins):
    """A flat face takes the side light of the other one, and its own detail stays."""
    own, _, weights = skins
    side = np.linspace(-0.5, 0.5, 64, dtype=np.float32)[None, :, None]
    wanted = np.clip(own.mean((0, 1)) + side, -1, 1) * np.ones_like(own)
    got = recolored("light", own, wanted, np.ones_like(weights))
    left, right = (got[:, columns].mean((0, 1)) for columns in (slice(4, 12), slice(52, 60)))
    assert (right - left).min() > 0.2
    assert np.abs(got.mean((0, 1)) - wanted.mean((0, 1))).max() < 0.06
    details = [image[24:40, 24:40] - image[24:40, 24:40].mean((0, 1)) for image in (own, got)]
    assert np.corrcoef(details[0].ravel(), details[1].ravel())[0, 1] > 0.8


def test_a_chin_has_the_hue_of_the_old_one(skins):
    """A face with a greyish chin over one of even colour: what is matched is the tone of each place."""
    _, dark, weights = skins
    even = color._to_linear(dark)
    greyish = even * np.where(np.arange(64)[:, None, None] > 38, [0.75, 1.05, 1.1], [1.1, 0.95, 0.95])
    wanted = from_linear((even * np.array([1.5, 1.3, 1.1], np.float32)).astype(np.float32))
    got = recolored("light", from_linear(greyish.astype(np.float32)), wanted, weights)
    red_over_green = [
        (light[44:52, 18:46, 0].mean() / light[44:52, 18:46, 1].mean())
        for light in map(color._to_linear, (got, wanted))
    ]
    assert red_over_green[0] == pytest.approx(red_over_green[1], rel=0.08)


@pytest.mark.parametrize("factor", [0.4, 0.8, 1.5, 2.5])
def test_light_is_a_factor_on_linear_light(factor):
    """To two levels and a half of 255 in the darkest tones, where the curve is a line; elsewhere exactly."""
    shades = np.linspace(-1, 1, 64, dtype=np.float32)[:, None, None] * np.ones((1, 64, 3), np.float32)
    even = np.full((64, 64, 3), 0.1, np.float32)
    measured = color.measure_skin("light", even, np.ones((64, 64), np.float32))
    wanted = measured * factor + color._DARK * (factor - 1)
    got = color.match_color("light", shades, measured, wanted)
    expected = from_linear(color._to_linear(shades) * factor)
    assert np.abs(got - expected).max() < 2.5 / 127.5
    light = np.minimum(shades, expected) > 2 * color._CURVE_START - 1
    assert light.mean() > 0.9 and np.abs(got - expected)[light].max() < 1e-4


def test_light_keeps_what_is_dark_dark(skins):
    """A pupil in a face that is made brighter stays a pupil."""
    _, dark, weights = skins
    pupil = dark.copy()
    pupil[30:34, 30:34] = -0.96
    brighter = dark + 0.4
    got = {method: recolored(method, pupil, brighter, weights)[31, 31].max() for method in ("light", "reinhard")}
    assert got["light"] < -0.85 and got["light"] < got["reinhard"] - 0.2


def bearded(skin):
    """The picture with a dark beard, some skin in between, from row 34 on."""
    hair = np.array([0.06, 0.06, 0.05], np.float32) * np.random.default_rng(6).normal(1, 0.4, (64, 64, 1)).clip(0)
    light = color._to_linear(skin)
    light[34:] = 0.1 * light[34:] + 0.9 * hair[34:]
    return from_linear(light.astype(np.float32))


def chin_and_forehead(image):
    light = color._to_linear(image)
    return light[44:52, 18:46].mean(), light[14:26, 18:46].mean()


@pytest.mark.parametrize("whose", ["old face", "new face"])
def test_a_beard_is_no_shade(skins, whose):
    """A clean-shaven chin over a beard does not turn grey, nor does a beard turn a chin bright."""
    skin, _, weights = skins
    own, wanted = (skin, bearded(skin)) if whose == "old face" else (bearded(skin), skin)
    tones = {
        kept: color.match_color(
            "light", own, *(color.measure_skin("light", image, kept(image)) for image in (own, wanted))
        )
        for kept in (lambda image: weights, lambda image: color.without_beard(image, weights, 32.0))
    }
    (chin_before, brow_before), (chin, brow) = map(chin_and_forehead, tones.values())
    true_chin, true_brow = chin_and_forehead(own)
    assert abs(chin / true_chin - 1) < 0.1 and abs(brow / true_brow - 1) < 0.05
    assert abs(chin_before / true_chin - 1) > 0.2 and abs(brow_before / true_brow - 1) > 0.1, "it makes a difference"


def test_stubble_beside_a_beard_is_left_out_and_a_grey_cheek_without_one_is_not(skins):
    skin, _, weights = skins
    light, grey = color._to_linear(skin), skin.copy()
    flat = light.mean(-1, keepdims=True)
    grey[34:40] = from_linear(0.75 * light + 0.25 * flat)[34:40]  # as bright, less red
    bearded = grey.copy()
    bearded[44:] = from_linear(0.3 * flat)[44:]
    plain, kept = (color.without_beard(image, weights, 32.0) for image in (grey, bearded))
    cheek = weights[34:40] > 0.5
    assert plain[34:40][cheek].mean() > 0.97 > 0.5 > kept[34:40][cheek].mean()


def test_a_chin_in_the_shade_is_no_beard(skins):
    """Light from the side leaves chin and cheek of one half dark: all of it is skin."""
    skin, _, weights = skins
    side = np.linspace(0.15, 1, 64, dtype=np.float32)[None, :, None]
    shaded = from_linear(color._to_linear(skin) * side)
    kept = color.without_beard(shaded, weights, 32.0)
    assert kept.sum() > 0.97 * weights.sum() and (kept <= weights).all()


def test_a_face_without_skin_above_the_nose_is_left_as_it_is(skins):
    skin, _, weights = skins
    np.testing.assert_array_equal(color.without_beard(skin, weights, 0.0), weights)


def test_a_flat_swap_is_not_blown_up_into_noise(skins):
    own = np.full((64, 64, 3), 0.2, np.float32) + np.float32(0.001) * skins[0]
    for method in ("reinhard", "mkl"):
        _, deviation, _ = moments(recolored(method, own, skins[0], skins[2]), skins[2])
        assert deviation.max() < 0.5


def test_skin_leaves_out_features_rim_and_what_alpha_does_not_cover():
    face = np.zeros((64, 64), np.float32)
    face[10:54, 10:54] = 1
    features = np.zeros_like(face)
    features[20:26, 20:30] = 1
    alpha = np.ones_like(face)
    alpha[40:] = 0
    skin = color.skin_weights(face, features, alpha)
    assert skin[23, 25] == 0 and skin[10, 30] == 0 and skin[45, 30] == 0 and skin[35, 30] == 1
    whole = color.skin_weights(np.ones_like(face), None, np.ones_like(face))
    assert whole[0].max() == 0 and whole[:, -1].max() == 0 and whole[32, 32] == 1


def test_every_method_can_be_chosen():
    for method in color.METHODS:
        ConvertOptions(color=method)  # pyright: ignore[reportArgumentType]
