"""Augmentation, losses, splits and the plateau rule, each on small made arrays."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from faceswap_pipeline import backend
from faceswap_pipeline.backend import compile_step
from faceswap_pipeline.networks.recipe import LossRecipe, NetworkRecipe, TrainRecipe
from faceswap_pipeline.train import augment, losses
from faceswap_pipeline.train.augment import Statistics
from faceswap_pipeline.train.batches import chances, split
from faceswap_pipeline.train.degrade import compress, degrade, draw_degradation
from faceswap_pipeline.train.gradients import Adam, clipped
from faceswap_pipeline.train.model import FOOL, JUDGE
from faceswap_pipeline.train.monitor import Plateau

R, M = 32, 40


def network(face_only: bool = False) -> NetworkRecipe:
    return NetworkRecipe(R, (0.8, 0.8), down=(8, 8), latent=8, shared_up=8, up=(8,), face_only=face_only)


def statistics(count: int = 6) -> Statistics:
    random = np.random.default_rng(0)
    mean = random.uniform(-0.5, 0.5, (count, 3)).astype(np.float32)
    return Statistics(mean, np.full((count, 3), 0.2, np.float32), np.full(count, 1 / count))


def test_draw_is_a_function_of_seed_step_and_side():
    one = augment.draw(3, 7, "a", statistics(), statistics(), TrainRecipe(), network())
    again = augment.draw(3, 7, "a", statistics(), statistics(), TrainRecipe(), network())
    for other in (augment.draw(3, 8, "a", statistics(), statistics(), TrainRecipe(), network()),
                  augment.draw(4, 7, "a", statistics(), statistics(), TrainRecipe(), network()),
                  augment.draw(3, 7, "b", statistics(), statistics(), TrainRecipe(), network())):  # fmt: skip
        assert not np.array_equal(one["displacement"], other["displacement"])
    assert all(np.array_equal(one[name], again[name]) for name in one)


def still(batch: int) -> dict[str, np.ndarray]:
    """A draw that changes nothing."""
    return {
        "index": np.arange(batch, dtype=np.int32),
        "matrix": np.tile(np.eye(2, 3, dtype=np.float32), (batch, 1, 1)),
        "displacement": np.zeros((batch, 5, 5, 2), np.float32),
        "gain": np.ones((batch, 3), np.float32),
        "offset": np.zeros((batch, 3), np.float32),
        "mix": np.ones(batch, np.float32),
    }


def test_without_changes_a_batch_is_the_centre_of_the_crops():
    crops = np.random.default_rng(1).integers(0, 256, (2, M, M, 6), dtype=np.uint8)
    batch = augment.apply(crops, still(2), network())
    centre = crops[:, 4:36, 4:36].astype(np.float32)
    np.testing.assert_allclose(batch.target, centre[..., :3] / 127.5 - 1, atol=1e-3)
    np.testing.assert_allclose(batch.warped, batch.target, atol=1e-5)
    np.testing.assert_allclose(batch.eyes[..., 0], centre[..., 4] / 255, atol=1e-3)


def test_the_encoder_sees_the_warped_face_alone_where_the_recipe_says_so():
    crops = np.zeros((1, M, M, 6), np.uint8)
    crops[..., :3] = 255
    crops[0, 10:30, 10:30, 3] = 255
    drawn = still(1)
    drawn["displacement"][:] = (3, 0)
    batch = augment.apply(crops, drawn, network(face_only=True))
    seen = np.asarray(batch.warped)[0, ..., 0]
    expected = np.zeros((R, R))
    expected[6:26, 3:23] = 1
    np.testing.assert_allclose(seen, expected, atol=0.02)
    assert (np.asarray(batch.target) > 0.99).all()


def test_mirror_and_shift_move_pictures_and_masks_alike():
    crops = np.random.default_rng(1).integers(0, 256, (1, M, M, 6), dtype=np.uint8)
    drawn = still(1)
    drawn["matrix"][0] = [[-1, 0, 2], [0, 1, 0]]
    batch = augment.apply(crops, drawn, network())
    expected = crops[0, 4:36, 6:38][:, ::-1].astype(np.float32)
    np.testing.assert_allclose(batch.target[0], expected[..., :3] / 127.5 - 1, atol=1e-3)
    np.testing.assert_allclose(batch.face[0, ..., 0], expected[..., 3] / 255, atol=1e-3)


def test_a_face_is_turned_as_it_is_not_as_it_is_squeezed():
    """A round spot beside the centre stays at its distance from it in the crop's own proportions."""
    squeezed = replace(network(), view=(0.5, 0.8))
    recipe = TrainRecipe(batch=16, rotation=40, zoom=0, shift=0, flip=0.5)
    matrices = augment.draw_view(np.random.default_rng(0), 16, recipe, squeezed)
    proportions = np.array([0.5, 0.8])
    for spot in ((9.0, 0.0), (0.0, 9.0), (5.0, -7.0)):
        moved = matrices[:, :, :2] @ np.array(spot) * proportions
        np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(spot * proportions), rtol=1e-5)
    angles = np.degrees(np.arctan2(matrices[:, 1, 1] * 0.8, matrices[:, 0, 1] * 0.5))
    assert np.ptp(angles) > 30


def test_what_lies_beside_the_middle_of_a_crop_is_higher_than_wide():
    crops = np.random.default_rng(1).integers(0, 256, (2, 40, 52, 6), dtype=np.uint8)
    batch = augment.apply(crops, still(2), replace(network(), view=(0.62, 0.8)))
    np.testing.assert_allclose(batch.target, crops[:, 4:36, 10:42, :3] / np.float32(127.5) - 1, atol=1e-3)
    crops[:] = 0
    crops[0, -1, -1, :3] = 255
    far = {**still(1), "displacement": np.full((1, 5, 5, 2), 100, np.float32)}
    corner = augment.apply(crops[:1], far, replace(network(), view=(0.62, 0.8))).warped
    assert float(np.asarray(corner).min()) > 0.98, "beyond the border its last pixel is repeated, on both axes"


def test_warp_moves_the_input_only_and_has_no_similarity_left():
    drawn = augment.draw(0, 0, "a", statistics(), statistics(), TrainRecipe(batch=32, warp=0.1), network())
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), -1)
    field = drawn["displacement"]
    np.testing.assert_allclose(field.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose((field * grid).sum((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose((field[..., 1] * grid[..., 0] - field[..., 0] * grid[..., 1]).sum((1, 2)), 0, atol=1e-4)
    assert field.std() > 0.05 * R
    crops = np.random.default_rng(1).integers(0, 256, (1, M, M, 6), dtype=np.uint8)
    moved = {**still(1), "displacement": field[:1]}
    batch, plain = augment.apply(crops, moved, network()), augment.apply(crops, still(1), network())
    np.testing.assert_array_equal(batch.target, plain.target)
    assert np.abs(np.asarray(batch.warped) - np.asarray(plain.warped)).mean() > 0.05


def test_degraded_inputs_are_blurred_noisy_and_compressed_but_not_moved_or_brightened():
    random = np.random.default_rng(0)
    pictures = np.full((64, R, R, 3), -0.6, np.float32)
    pictures[:, 10:22, 12:18] = 0.5
    recipe = TrainRecipe(degrade=1.0)
    drawn = draw_degradation(random, 64, recipe, R)
    out = np.asarray(degrade(pictures, drawn))
    assert out.shape == pictures.shape and np.abs(out - pictures).mean() > 0.02
    assert out.mean() == pytest.approx(pictures.mean(), abs=0.01)
    weight = out.mean((0, 3)) + 0.6
    rows, columns = np.indices((R, R))
    assert (rows * weight).sum() / weight.sum() == pytest.approx(15.5, abs=0.3)
    assert (columns * weight).sum() / weight.sum() == pytest.approx(14.5, abs=0.3)
    untouched = np.asarray(degrade(pictures, draw_degradation(random, 64, TrainRecipe(degrade=1e-9), R)))
    np.testing.assert_allclose(untouched, pictures, atol=0.01)


def test_compression_makes_blocks():
    ramp = np.tile(np.linspace(-1, 1, R, dtype=np.float32)[:, None], (1, 1, R, 3)).reshape(1, R, R, 3)
    ramp = ramp + np.random.default_rng(0).normal(0, 0.1, ramp.shape).astype(np.float32)
    coarse = np.asarray(compress(ramp, np.array([[0.5]], np.float32)))
    jumps = np.abs(np.diff(coarse, axis=1)).mean((0, 2, 3))
    assert jumps[7::8].mean() > 3 * np.delete(jumps, np.arange(7, R - 1, 8)).mean()


def test_only_the_input_is_degraded_and_the_step_decides_how():
    crops = np.random.default_rng(1).integers(0, 256, (6, M, M, 6), dtype=np.uint8)
    recipe = TrainRecipe(batch=4, degrade=1.0, color_transfer=0, color_jitter=0, warp=0)
    drawn = augment.draw(1, 5, "a", statistics(), statistics(), recipe, network())
    again = augment.draw(1, 5, "a", statistics(), statistics(), recipe, network())
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)
    plain = {name: drawn[name] for name in still(1)}
    one, other = augment.apply(crops, drawn, network()), augment.apply(crops, plain, network())
    np.testing.assert_array_equal(one.target, other.target)
    assert np.abs(np.asarray(one.warped) - np.asarray(other.warped)).mean() > 0.05


def test_color_transfer_reaches_the_other_persons_statistics():
    own, other = (
        statistics(),
        Statistics(np.full((4, 3), 0.3, np.float32), np.full((4, 3), 0.1, np.float32), np.full(4, 0.25)),
    )
    recipe = TrainRecipe(batch=64, color_transfer=1, color_jitter=0)
    drawn = augment.draw(0, 0, "a", own, other, recipe, network())
    moved = own.means[drawn["index"]] * drawn["gain"] + drawn["offset"]
    low, high = own.means.min() - 1e-3, max(own.means.max(), 0.3) + 1e-3
    assert (moved > low).all() and (moved < high).all()
    assert np.abs(moved - own.means[drawn["index"]]).mean() > 0.05


def test_mixup_wants_the_share_of_the_true_picture():
    mix = np.array([0.0, 0.25, 1.0], np.float32)[:, None, None, None]
    real, fake = np.ones((3, 4, 4, 3), np.float32), np.zeros((3, 4, 4, 3), np.float32)
    share_of = lambda pictures: keras.ops.mean(pictures, axis=-1, keepdims=True)  # noqa: E731
    assert float(JUDGE["mixup"](share_of, real, fake, mix)) == pytest.approx(0, abs=1e-7)
    assert float(JUDGE["mixup"](lambda pictures: share_of(pictures) * 0, real, fake, mix)) > 0.3
    assert float(FOOL["mixup"](np.ones((3, 2, 2, 1)))) == 0 < float(FOOL["mixup"](np.zeros((3, 2, 2, 1))))


def test_similarity_map_equals_tensorflows():
    random = np.random.default_rng(2)
    first = random.random((3, 24, 24, 3)).astype(np.float32)
    second = np.clip(first + random.normal(0, 0.1, first.shape), 0, 1).astype(np.float32)
    ours = losses.similarity_map(augment.planes(first), augment.planes(second), 1.0)
    ours = keras.ops.convert_to_numpy(ours).mean((1, 2, 3))
    np.testing.assert_allclose(ours, tf.image.ssim(first, second, 1.0).numpy(), atol=2e-4)


def test_what_the_structure_loss_skips_here_it_sees_one_pixel_further():
    """Over all places of its windows it is the loss of every window."""
    random = np.random.default_rng(4)
    truth = random.uniform(-1, 1, (2, 3, 41, 41)).astype(np.float32)
    drawn = np.clip(truth + random.normal(0, 0.3, truth.shape), -1, 1).astype(np.float32)
    weights = np.ones((2, 1, 41, 41), np.float32)
    places = [(slice(y, 40 + y), slice(x, 40 + x)) for y in (0, 1) for x in (0, 1)]
    found = [float(losses.structure_error(*(part[..., y, x] for part in (drawn, truth, weights)))) for y, x in places]
    assert np.ptp(found) > 1e-5, "they are different windows"
    whole = 1 - keras.ops.convert_to_numpy(losses.similarity_map(drawn, truth, 2.0))[..., :30, :30].mean()
    assert np.mean(found) == pytest.approx(float(whole), rel=0.02)


def test_adam_does_what_keras_does_and_keeps_the_same():
    random = np.random.default_rng(5)
    start = [random.normal(0, 1, shape).astype(np.float32) for shape in ((5, 7), (3,))]
    ours, theirs = ([keras.Variable(value) for value in start] for _ in range(2))
    optimizer, rival = Adam(ours, 1e-2, 0.5), keras.optimizers.Adam(1e-2, 0.5)
    rival.build(theirs)
    for step in range(5):
        found = [random.normal(0, 10.0 ** (step - 3), value.shape).astype(np.float32) for value in start]
        optimizer.learning_rate.assign(1e-2 / (1 + step))
        rival.learning_rate.assign(1e-2 / (1 + step))
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in found])
        rival.apply([keras.ops.convert_to_tensor(gradient) for gradient in found], theirs)
    for mine, known in zip([*ours, *optimizer.variables], [*theirs, *rival.variables], strict=True):
        assert mine.dtype == known.dtype
        # 1 - 0.999 as float32 is 5e-5 off, and Keras takes it before rounding.
        np.testing.assert_allclose(mine.numpy(), known.numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("xla", [True, False])
def test_a_compiled_batch_is_the_same_batch(monkeypatch, xla):
    monkeypatch.setattr(backend, "_has_xla", lambda: xla)
    crops = np.random.default_rng(2).integers(0, 256, (6, M, M, 6), dtype=np.uint8)
    looks = replace(network(face_only=True), tone_free=True)
    drawn = augment.draw(3, 7, "a", statistics(), statistics(), TrainRecipe(batch=3, warp=0.05), looks)
    drawn |= {"target": np.int32([1, 4, 2])}
    compiled = compile_step(lambda drawn: tuple(augment.apply(crops, drawn, looks)), [])
    for one, other in zip(compiled(drawn), augment.apply(crops, drawn, looks), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_weight_with_a_share_of_the_rate_moves_by_that_share():
    start = np.linspace(-1, 1, 6, dtype=np.float32)
    whole, slow = keras.Variable(start), keras.Variable(start)
    optimizer = Adam([whole, slow], 1e-2, shares=[1.0, 0.1])
    optimizer.apply([keras.ops.convert_to_tensor(start**3 + 2)] * 2)
    np.testing.assert_allclose(slow.numpy() - start, 0.1 * (whole.numpy() - start), atol=1e-6)
    assert np.abs(whole.numpy() - start).min() > 5e-3


def test_long_gradients_are_scaled_down_together():
    found = [keras.ops.convert_to_tensor(np.full(4, 3.0, np.float32)), keras.ops.convert_to_tensor(np.float32([8.0]))]
    short, norm = clipped(found, 100.0)
    assert float(norm) == pytest.approx(10) and [part.numpy().tolist() for part in short] == [[3.0] * 4, [8.0]]
    long, _ = clipped(found, 5.0)
    np.testing.assert_allclose(np.concatenate(long), [1.5, 1.5, 1.5, 1.5, 4.0], rtol=1e-6)


def test_losses_are_zero_for_the_truth_and_weigh_eyes_more():
    random = np.random.default_rng(3)
    truth = random.uniform(-1, 1, (2, 3, 24, 24)).astype(np.float32)
    face = np.ones((2, 1, 24, 24), np.float32)
    eyes = np.zeros_like(face)
    eyes[:, :, 4:12] = 1
    weights = losses.pixel_weights(face, eyes, 0 * face, LossRecipe(eyes=3))
    for loss in (losses.weighted_error, losses.edge_error, losses.structure_error):
        assert float(loss(truth, truth, weights)) == pytest.approx(0, abs=1e-5)
    wrong_eyes, wrong_chin = truth.copy(), truth.copy()
    wrong_eyes[:, :, 4:12] += 0.2
    wrong_chin[:, :, 14:22] += 0.2
    ratio = float(losses.weighted_error(wrong_eyes, truth, weights)) / float(
        losses.weighted_error(wrong_chin, truth, weights)
    )
    assert ratio == pytest.approx(4, rel=1e-3)


def records(times, tracks, yaw=None):
    return [
        SimpleNamespace(pts=Fraction(time), track=track, yaw=0.0 if yaw is None else yaw[i], pitch=0.0)
        for i, (time, track) in enumerate(zip(times, tracks, strict=True))
    ]


def test_split_holds_back_a_block_with_a_gap():
    train, held = split(records([Fraction(i, 25) for i in range(1000)], [0] * 1000))
    assert 80 <= len(held) <= 120 and np.all(np.diff(held) == 1)
    distance = np.abs(train[:, None] - held[None]).min()
    assert distance >= 25


def test_split_holds_back_whole_shots():
    tracks = np.repeat(np.arange(10), 40)
    train, held = split(records(range(400), tracks.tolist()))
    assert not set(tracks[train]) & set(tracks[held]) and 20 <= len(held) <= 80
    assert len(train) + len(held) == 400


def test_split_of_pictures_without_time_is_every_tenth():
    train, held = split(records([0] * 50, [0] * 50))
    assert len(held) == 5 and not set(train) & set(held)


def faces_with_mouths(heights):
    """Faces 20 px high, each with a mouth of a height in px."""
    faces = np.zeros((len(heights), 30, 24, 6), np.uint8)
    faces[:, 5:25, 4:20, 3] = 255
    for face, height in zip(faces, heights, strict=True):
        face[15 : 15 + height, 8:16, 5] = 255
    return faces


def test_rare_poses_are_drawn_more_often():
    turned = records(range(10), [0] * 10, [0.0] * 9 + [40.0])
    likely = chances(turned, faces_with_mouths([4] * 10))  # type: ignore[arg-type]
    assert likely[-1] == pytest.approx(3 * likely[0]) and likely.sum() == pytest.approx(1)


def test_rare_mouths_are_drawn_more_often_whatever_the_pose():
    faces = faces_with_mouths([4] * 8 + [8, 8])
    likely = chances(records(range(10), [0] * 10, [0.0, 40.0] * 5), faces)  # type: ignore[arg-type]
    assert likely[-1] == pytest.approx(2 * likely[0]) and likely[-2] == pytest.approx(likely[-1])


def test_plateau_halves_three_times_then_stops():
    memory, decisions = Plateau(), []
    for score in [1.0, 0.9, *[0.899] * 12]:
        memory, decision = memory.judge("adversarial", score, 3, True)
        decisions.append(decision)
    assert decisions[:2] == ["go on", "go on"]
    assert [i for i, d in enumerate(decisions) if d == "halve the rate"] == [4, 7, 10]
    assert decisions[13] == "stop" and memory.rate == 0.125


def test_plateau_starts_anew_in_a_new_stage_and_never_ends_the_first():
    memory = Plateau()
    for _ in range(40):
        memory, decision = memory.judge("reconstruction", 1.0, 2, False)
        assert decision != "stop"
    assert memory.rate == 0.125
    memory, _ = memory.judge("adversarial", 5.0, 2, True)
    assert memory.rate == 1 and memory.best == 5.0
    assert Plateau.from_json(memory.to_json()) == memory and Plateau.from_json(Plateau().to_json()) == Plateau()
