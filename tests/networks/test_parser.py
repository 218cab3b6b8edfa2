"""The parser's network: what its heads mean, and that folding the normalisation changes nothing."""

import keras
import numpy as np

from faceswap_pipeline.networks.parser import CLASSES, LANDMARKS, SIDE, HeatMean, build_parser, fold, unfold


def test_the_parser_fits_two_megabytes_and_gives_every_head():
    network = build_parser()
    assert network.count_params() * 2 <= 2_000_000
    logits, places, sight = network.output
    assert logits.shape == (None, SIDE, SIDE, len(CLASSES))
    assert places.shape == (None, LANDMARKS, 2) and sight.shape == (None, LANDMARKS)


def test_a_hot_place_is_read_in_shares_from_the_middle():
    heat = np.full((1, 28, 28, 3), -50, np.float32)
    sight = np.zeros((1, 28, 28, 3), np.float32)
    heat[0, 0, 0, 0] = heat[0, 27, 27, 1] = 50
    heat[0, 10, 13:15, 2] = 50
    sight[0, 10, 13, 2], sight[0, 10, 14, 2] = 4, 2
    places, seen = (keras.ops.convert_to_numpy(part)[0] for part in HeatMean()([heat, sight]))
    edge = 13.5 / 28
    np.testing.assert_allclose(places, [[-edge, -edge], [edge, edge], [0, -3.5 / 28]], atol=1e-5)
    np.testing.assert_allclose(seen, [0, 0, 3], atol=1e-4)


def normalised(random: np.random.Generator) -> keras.Model:
    """A parser whose normalisation does something."""
    network = build_parser(normalise=True)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
    return network


def assert_alike(made: list, expected: list, share: float) -> None:
    """All heads are as expected, within a share of their largest value."""
    for one, other in zip(made, expected, strict=True):
        one, other = keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        np.testing.assert_allclose(one, other, atol=share * np.abs(other).max())


def test_folding_the_normalisation_keeps_the_function():
    random = np.random.default_rng(0)
    trained, plain = normalised(random), build_parser()
    fold(trained, plain)
    picture = random.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    assert_alike(plain(picture), trained(picture, training=False), 2e-4)


def test_going_back_to_normalisation_keeps_the_function():
    random = np.random.default_rng(0)
    plain, trained = build_parser(), build_parser(normalise=True)
    fold(normalised(random), plain)
    pictures = random.uniform(-1, 1, (4, SIDE, SIDE, 3)).astype(np.float32)
    unfold(plain, trained, pictures)
    assert_alike(trained(pictures, training=False), plain(pictures), 1e-3)
    statistics = trained.get_layer("down_0_norm").get_weights()
    made = keras.ops.convert_to_numpy(keras.Model(trained.input, trained.get_layer("down_0").output)(pictures))
    np.testing.assert_allclose(statistics[2], made.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(statistics[3], made.var((0, 1, 2)), rtol=1e-3)
