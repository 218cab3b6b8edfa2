"""The training data of our own weights: cutting, mirroring, covering, filming, and that a step decides its batch.

In: a folder of drawn faces made here. Out: nothing.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_pipeline.detection.meanface import MeanFace, Pose, load_mean_face, project
from faceswap_pipeline.geometry import rotation_matrix
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.train import rendered as data

# The scripts import one another as neighbours, as when they are run.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "train_weights"))
batches, cover, film, hand = (import_module(name) for name in ("batches", "cover", "film", "hand"))
SIZE = 64


@pytest.fixture(scope="module")
def mean_face() -> MeanFace:
    return load_mean_face(weight_file("mean_face"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, mean_face: MeanFace):
    """Three drawn people, one of them a validation person: an oval face with a bright left and a dark right half."""
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    lines = [draw_face(folder, mean_face, person, yaw) for person, yaw in ((3, -20.0), (7, 15.0), (500, 0.0))]
    (folder / "faces.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return data.read_faces(folder)


def draw_face(folder: Path, mean_face: MeanFace, person: int, yaw: float) -> dict:
    pose = Pose(yaw, 0.0, 0.0, 140.0, 127.5, 127.5)
    oval, points = project(mean_face.oval, pose), project(mean_face.points, pose)
    label = np.zeros((256, 256), np.uint8)
    cv2.fillPoly(label, [np.rint(oval).astype(np.int32)], 1)
    cv2.fillPoly(label, [np.rint(points[48:60]).astype(np.int32)], 2)
    picture = np.random.default_rng(person).integers(60, 120, (256, 256, 3)).astype(np.uint8)
    picture[label > 0] = (90, 140, 200)
    picture[:, :128] += 40
    cv2.imwrite(str(folder / "images" / f"{person}.jpg"), picture)
    cv2.imwrite(str(folder / "labels" / f"{person}.png"), label)
    axes = np.diag([1, -1, -1])
    return {
        "image": f"images/{person}.jpg",
        "label": f"labels/{person}.png",
        "identity": person,
        "landmarks": (points + 0.5).tolist(),
        "visible": [1] * 68,
        "rotation": (axes @ rotation_matrix(yaw, 0, 0) @ axes).tolist(),
        "yaw": yaw,
        "pitch": 0.0,
        "roll": 0.0,
        "face_box": [70, 50, 180, 200],
        "face_share": 0.2,
    }


def test_truth_is_read_in_our_conventions_and_split_by_person(faces, mean_face: MeanFace) -> None:
    np.testing.assert_allclose(faces.rotations[0], rotation_matrix(-20, 0, 0), atol=1e-9)
    expected = project(mean_face.points, Pose(-20.0, 0.0, 0.0, 140.0, 127.5, 127.5))
    np.testing.assert_allclose(faces.landmarks[0], expected, atol=1e-9)
    training, validation = data.split_by_person(faces)
    assert training.people.tolist() == [3, 7] and validation.people.tolist() == [500]
    assert validation.picture(0).shape == (256, 256, 3) and set(np.unique(validation.label(0))) == {0, 1, 2}


def test_the_plain_cut_is_the_pipelines_crop(faces, mean_face: MeanFace) -> None:
    sample = batches.clean_sample(faces, 2, mean_face, SIZE)
    rows, columns = np.nonzero(sample.label)
    assert np.ptp(rows) + 1 == pytest.approx(SIZE / 1.56, abs=4)
    assert columns.mean() == pytest.approx((SIZE - 1) / 2, abs=1.5)
    lips = sample.landmarks[48:60]
    assert np.argwhere(sample.label == 2).mean(0)[::-1] == pytest.approx(lips.mean(0), abs=1.5)


def test_a_mirrored_sample_stays_consistent(faces, mean_face: MeanFace) -> None:
    sample = batches.clean_sample(faces, 1, mean_face, SIZE)
    seen = data.mirror(sample)
    assert seen.landmarks[36, 0] < seen.landmarks[45, 0], "the left eye is still at the left"
    lips = np.argwhere(seen.label == 2).mean(0)[::-1]
    assert lips == pytest.approx(seen.landmarks[48:60].mean(0), abs=1.5)
    again = data.mirror(seen)
    assert np.array_equal(again.picture, sample.picture)
    np.testing.assert_allclose(again.landmarks, sample.landmarks)


def test_shaken_cuts_stay_near_the_plain_one(faces, mean_face: MeanFace) -> None:
    from faceswap_pipeline.geometry import decompose_similarity

    landmarks = np.repeat(faces.landmarks[:1], 300, axis=0)
    plain = decompose_similarity(data.draw_matrices(mean_face, landmarks[:1], SIZE, None)[0])
    randoms = [np.random.default_rng(seed) for seed in range(300)]
    shaken = [decompose_similarity(matrix) for matrix in data.draw_matrices(mean_face, landmarks, SIZE, randoms)]
    ratios, angles = [each.scale / plain.scale for each in shaken], [each.angle - plain.angle for each in shaken]
    assert 0.03 < np.std(np.log(ratios)) < 0.15 and abs(np.mean(np.log(ratios))) < 0.03
    assert 2 < np.std(angles) < 9


def test_every_occluder_covers_something_and_hides_what_it_covers(faces, mean_face: MeanFace) -> None:
    sample = batches.clean_sample(faces, 2, mean_face, 128)
    for paint, _ in cover.OCCLUDERS:
        changed, hidden = 0, 0
        for seed in range(12):
            painted = paint(sample, np.random.default_rng(seed))
            assert painted.picture.shape == sample.picture.shape and painted.picture.dtype == np.uint8
            new = painted.label != sample.label
            assert set(np.unique(painted.label[new])) <= {cover.OCCLUDER, cover.HAIR}, paint.__name__
            assert not (painted.visible & ~sample.visible).any()
            place = np.rint(painted.landmarks).astype(int)
            gone = sample.visible & ~painted.visible
            assert np.isin(painted.label[place[gone, 1], place[gone, 0]], (cover.OCCLUDER, cover.HAIR)).all()
            changed, hidden = changed + int(new.sum()), hidden + int(gone.sum())
        assert changed > 100, paint.__name__
        assert hidden > 0 or paint in (cover.paint_text, cover.paint_strands, cover.paint_spectacles), paint.__name__


def test_what_grows_darkens_skin_alone_and_hides_no_landmark(faces, mean_face: MeanFace) -> None:
    sample = batches.clean_sample(faces, 2, mean_face, 128)
    brows = np.zeros_like(sample.label)
    for points in (sample.landmarks[17:22], sample.landmarks[22:27]):
        cv2.polylines(brows, [np.rint(points).astype(np.int32)], False, 1, 3)
    sample = sample._replace(label=np.where(brows > 0, np.uint8(cover.BROW), sample.label))
    skin = np.isin(sample.label, (*cover.SKIN, cover.BROW))
    jaw = np.arange(128)[:, None] > sample.landmarks[33, 1]
    for paint, _ in cover.GROWTH:
        change = np.zeros((128, 128))
        for seed in range(12):
            painted = paint(sample, np.random.default_rng(seed))
            new = painted.label != sample.label
            assert np.array_equal(painted.visible, sample.visible) and set(painted.label[new]) <= {cover.BROW}
            change += painted.picture.astype(int).sum(2) - sample.picture.sum(2, dtype=int)
        lips = cv2.dilate((sample.label == 2).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert change[~skin & ~lips].min() >= -60 * 12, paint.__name__
        assert (change < -1000)[jaw & skin if paint is cover.paint_beard else brows > 0].mean() > 0.1, paint.__name__


def test_a_hand_is_a_solid_with_light_and_fingers() -> None:
    for seed in range(8):
        random = np.random.default_rng(seed)
        seen = hand.draw_hand(random, 128, np.array([64.0, 64.0]), 0.5)
        assert seen.cover[62:67, 62:67].max() > 0.9, "some part of it is at its place"
        assert 0.03 < (seen.cover > 0.5).mean() < 0.7
        lit = seen.light[seen.cover > 0.9]
        assert 0.1 <= lit.min() and lit.max() <= 1.6 and lit.std() > 0.02


def test_another_backdrop_leaves_the_person_alone(faces, mean_face: MeanFace) -> None:
    sample = batches.clean_sample(faces, 2, mean_face, 128)
    person = cv2.erode((sample.label > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    behind = cv2.dilate((sample.label > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    for seed in range(5):
        changed = cover.replace_background(sample, np.random.default_rng(seed))
        difference = np.abs(changed.picture.astype(int) - sample.picture)
        assert difference[person].max() <= 2 and difference[behind].mean() > 10
        assert np.array_equal(changed.label, sample.label)


def test_film_changes_pixels_but_not_places(faces, mean_face: MeanFace) -> None:
    picture = batches.clean_sample(faces, 2, mean_face, 100).picture
    for change, _ in film.CAMERA:
        for seed in range(4):
            out = change(picture, np.random.default_rng(seed))
            assert out.shape == picture.shape and out.dtype == np.uint8, change.__name__
            assert np.array_equal(out, change(picture, np.random.default_rng(seed))), change.__name__
        assert not np.array_equal(out, picture), change.__name__


@pytest.mark.parametrize("name", ["blur_lens", "blur_motion", "lower_resolution", "compress_video", "compress_jpeg"])
def test_blur_and_compression_do_not_move_or_brighten_the_picture(name: str) -> None:
    picture = np.full((96, 96, 3), 30, np.uint8)
    picture[40:60, 30:70] = (200, 180, 160)
    shifts = []
    for seed in range(8):
        out = getattr(film, name)(picture, np.random.default_rng(seed)).astype(float)
        weight = np.clip(out.mean(2) - 30, 0, None)
        rows, columns = np.indices((96, 96))
        shifts.append(((rows * weight).sum() / weight.sum() - 49.5, (columns * weight).sum() / weight.sum() - 49.5))
        assert out.mean() == pytest.approx(picture.mean(), rel=0.06)
    assert np.abs(np.mean(shifts, 0)).max() < 0.5


def test_the_block_transform_is_its_own_inverse_at_a_fine_step() -> None:
    plane = np.random.default_rng(0).uniform(0, 255, (32, 48)).astype(np.float32)
    np.testing.assert_allclose(film.quantise_blocks(plane, 0.01), plane, atol=0.05)
    coarse = film.quantise_blocks(plane, 60)
    assert 5 < np.abs(coarse - plane).mean() < 60


def test_a_step_decides_its_batch_in_any_order(faces, mean_face: MeanFace) -> None:
    one, again = (batches.make_batch(faces, mean_face, SIZE, 4, seed=1, step=9) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    other = batches.make_batch(faces, mean_face, SIZE, 4, seed=1, step=10)
    assert not np.array_equal(one.picture, other.picture)
    ahead = list(batches.run_ahead(faces, mean_face, SIZE, 4, 1, range(8, 11)))
    assert np.array_equal(ahead[1].picture, one.picture) and np.array_equal(ahead[2].picture, other.picture)
    assert one.picture.shape == (4, SIZE, SIZE, 3) and -1 <= one.picture.min() and one.picture.max() <= 1
    assert one.landmarks.shape == (4, 68, 2) and np.abs(one.landmarks).max() < 0.8
    assert set(one.people.tolist()) <= {3, 7, 500}
