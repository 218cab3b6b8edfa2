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


def test_folding_the_normalisation_keeps_the_function():
    trained, plain = build_parser(normalise=True), build_parser()
    random = np.random.default_rng(0)
    for layer in trained.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
    fold(trained, plain)
    picture = random.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    for one, other in zip(trained(picture, training=False), plain(picture), strict=True):
        one, other = keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        np.testing.assert_allclose(other, one, atol=2e-4 * np.abs(one).max())


def test_going_back_to_normalisation_keeps_the_function():
    first, plain, trained = build_parser(normalise=True), build_parser(), build_parser(normalise=True)
    random = np.random.default_rng(0)
    for layer in first.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
    fold(first, plain)
    pictures = random.uniform(-1, 1, (4, SIDE, SIDE, 3)).astype(np.float32)
    unfold(plain, trained, pictures)
    for one, other in zip(plain(pictures), trained(pictures, training=False), strict=True):
        one, other = keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        np.testing.assert_allclose(other, one, atol=1e-3 * np.abs(one).max())
    statistics = trained.get_layer("down_0_norm").get_weights()
    made = keras.ops.convert_to_numpy(keras.Model(trained.input, trained.get_layer("down_0").output)(pictures))
    np.testing.assert_allclose(statistics[2], made.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(statistics[3], made.var((0, 1, 2)), rtol=1e-3)
