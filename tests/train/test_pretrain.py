"""`pretrain_base`: pairs of one performance, base weights that a swap starts from, resume, and errors."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_pipeline.array_folder import read_arrays
from faceswap_pipeline.detection.meanface import MeanFace, Pose, load_mean_face, project
from faceswap_pipeline.errors import DatasetError, OptionError, RunError, WeightsError
from faceswap_pipeline.geometry import rotation_matrix
from faceswap_pipeline.networks.recipe import NetworkRecipe, TrainRecipe, load_recipe
from faceswap_pipeline.networks.weights import get_arrays
from faceswap_pipeline.resources import weight_file
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.train import rendered
from faceswap_pipeline.train.augment import generator
from faceswap_pipeline.train.base import choose_base, fit_to
from faceswap_pipeline.train.general import read_base
from faceswap_pipeline.train.options import PretrainOptions, TrainOptions
from faceswap_pipeline.train.people import People, draw_people, find_partners
from faceswap_pipeline.train.pretrain import pretrain_base
from faceswap_pipeline.train.stage import train_swap

PEOPLE, PERFORMANCES = 9, 4
NETWORK = NetworkRecipe(8, (1.0, 1.0), down=(8,), latent=8, shared_up=8, up=())


def draw_face(folder: Path, face: MeanFace, person: int, performance: int) -> dict:
    """A flat face in the person's colour whose mouth is as open as the performance says."""
    pose = Pose(8.0 * performance - 12, 0.0, 0.0, 140.0, 127.5, 127.5)
    points = project(face.points, pose)
    label = np.zeros((256, 256), np.uint8)
    cv2.fillPoly(label, [np.rint(project(face.oval, pose)).astype(np.int32)], 1)
    mouth = np.rint(points[48:60] + np.array([0, 3.0 * performance]) * (np.arange(12) > 6)[:, None]).astype(np.int32)
    cv2.fillPoly(label, [mouth], 2)
    random = np.random.default_rng(person)
    colors = random.integers(60, 250, (2, 3))
    picture = np.full((256, 256, 3), 30, np.uint8)
    picture[label == 1], picture[label == 2] = colors
    for points_of_eye in (points[36:42], points[42:48]):
        cv2.circle(picture, np.rint(points_of_eye.mean(0)).astype(int).tolist(), 4 + person, (20, 20, 20), -1)
    name = f"{person:04d}_p{performance:03d}"
    cv2.imwrite(str(folder / f"images/{name}.jpg"), picture)
    cv2.imwrite(str(folder / f"labels/{name}.png"), label)
    axes = np.diag([1, -1, -1])
    return {
        "image": f"images/{name}.jpg",
        "label": f"labels/{name}.png",
        "identity": person,
        "performance": performance,
        "landmarks": (points + 0.5).tolist(),
        "visible": [1] * 68,
        "rotation": (axes @ rotation_matrix(float(pose.yaw), 0, 0) @ axes).tolist(),
        "yaw": float(pose.yaw),
        "pitch": 0.0,
        "roll": 0.0,
        "expression": {"mouth-open": 0.3 * performance, "eye-left-closure": 0.5},
        "gaze_deg": [[1.0, 6.0], [1.0, 6.0]],
        "face_box": [70, 50, 180, 200],
        "face_share": 0.2,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine drawn people in four shared performances, and one who is to be kept back."""
    made, face = tmp_path_factory.mktemp("people"), load_mean_face(weight_file("mean_face"))
    (made / "images").mkdir()
    (made / "labels").mkdir()
    people = [*range(PEOPLE), 500]
    lines = [draw_face(made, face, person, number) for person in people for number in range(PERFORMANCES)]
    (made / "faces.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return made


def test_inputs_are_other_people_in_the_performance_of_the_target() -> None:
    crops = np.zeros((12, 8, 8, 6), np.uint8)
    performed = np.arange(24, dtype=np.float32).reshape(12, 2, 1)
    performed[0] = np.nan
    people = People(crops, np.arange(12, dtype=np.int32) % 4, np.arange(12, dtype=np.int32) // 4 - 1, performed, 4)
    partners = find_partners(people)
    assert partners.number.tolist() == [0] * 4 + [3] * 8
    drawn = draw_people(generator(1, 3, 0), people, partners, 1.0, TrainRecipe(batch=64), NETWORK)
    twin = drawn["twin"]
    assert np.array_equal(twin[twin], np.arange(64)) and np.array_equal(drawn["index"][twin], drawn["target"])
    assert np.array_equal(drawn["matrix"][twin], drawn["matrix"]), "one performance in one view"
    index, target = drawn["index"], drawn["target"]
    assert (people.performance[index] == people.performance[target]).all() and (target >= 4).all()
    assert (people.person[index] != people.person[target]).all()
    assert np.array_equal(drawn["person"], people.person[target])
    alone = draw_people(generator(1, 3, 0), people, partners, 0.0, TrainRecipe(batch=64), NETWORK)
    assert (
        np.array_equal(alone["twin"], np.arange(64))
        and np.array_equal(alone["index"], alone["target"])
        and alone["target"].min() < 4
    )
    mirrored = np.linalg.det(drawn["matrix"][:, :, :2]) < 0
    assert 0 < mirrored.mean() < 1 and np.array_equal(drawn["performed"][:, 0], 2 * index + mirrored)
    assert np.array_equal(alone["known"][:, 0], alone["index"] != 0) and np.isfinite(alone["performed"]).all()


def test_a_mirror_shows_the_other_eye_shut_and_the_gaze_and_the_head_turned_the_other_way() -> None:
    row = {
        "expression": {"eye-left-closure": 0.5, "mouth-open": 1.0},
        "gaze_deg": [[3, 6], [3, 6]],
        "pitch": 5,
        "yaw": 10,
    }
    ((seen, mirror),) = rendered.read_performed([row])
    left, right, mouth = np.array([0.5, 0, 1]) / rendered.UNIT
    tail = np.array([3 / rendered.GAZE, 6 / rendered.GAZE, 5 / rendered.TURN, 10 / rendered.TURN])
    assert seen == pytest.approx([left, right, mouth, *tail])
    assert mirror == pytest.approx([right, left, mouth, *(tail * [1, -1, 1, -1])])


def same_encoder(run: TrainingRun, base: Path) -> bool:
    """Whether a run's encoder is still that of the base weights."""
    with TrainingRun.open(run.path) as opened:
        checkpoint = opened.load_checkpoint()
    assert checkpoint is not None
    known = read_base(base).encoder
    found = [value for name, value in sorted(checkpoint.arrays.items()) if name.startswith("encoder/")]
    return all(np.array_equal(one, other) for one, other in zip(found, sorted_arrays(known), strict=True))


def sorted_arrays(network) -> list[np.ndarray]:
    arrays = get_arrays("encoder", network.variables)
    return [arrays[name] for name in sorted(arrays)]


def test_a_base_is_made_gone_on_with_and_started_from(folder, recipe, faces, tmp_path) -> None:
    out = tmp_path / "base.npz"
    options = {"recipe": recipe, "report_steps": 4, "preview_steps": 8}
    pretrain_base([folder], out, PretrainOptions(**options, steps=6))
    first = out.read_bytes()
    pretrain_base([folder], out, PretrainOptions(**options, steps=9))
    log = [json.loads(line) for line in (tmp_path / "base_run/log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [4, 6, 8, 9] and first != out.read_bytes()
    assert (tmp_path / "base_run/previews").is_dir()
    assert read_base(out).middle.shape == (64,)
    manifest = json.loads((tmp_path / "base_run/run.json").read_text())
    assert manifest["people"] == PEOPLE, "those kept back never take part"
    run = train_swap(*faces, tmp_path / "run", TrainOptions(recipe=recipe, steps=2, base=str(out)))
    assert run.manifest["base"]["sha256"] and run.manifest["steps"] == 2
    assert not same_encoder(run, out)
    kept = tmp_path / "keeps.toml"
    kept.write_text(Path(recipe).read_text() + "\n[from_base]\nencoder_rate = 0\n")
    run = train_swap(*faces, tmp_path / "kept", TrainOptions(recipe=str(kept), steps=2, base=str(out)))
    assert same_encoder(run, out)
    run = train_swap(*faces, tmp_path / "kept", TrainOptions(recipe=str(kept), steps=3, report_steps=1))
    assert same_encoder(run, out) and run.manifest["steps"] == 3, "a run keeps to what it started from"
    read, known = (found["performance/performed/kernel"] for found in (run.load_checkpoint().arrays, read_arrays(out)))
    assert run.manifest["base"]["performed"] == read.shape[1] == 3 + 4, "units with what a mirror shows, gaze and turn"
    assert "shift/shift/shift" in run.load_best().arrays, "films need the way from A's codes to B's"
    assert np.array_equal(read, known.astype(np.float32)), "what reads a face's performance is not taught here"
    (losses,) = [json.loads(line)["losses"] for line in (run.path / "log.jsonl").read_text().splitlines()][-1:]
    assert all(losses[f"performance_{person}"] > 0 for person in "ab")
    with pytest.raises(OptionError, match="another network than recipe lite64"):
        train_swap(*faces, tmp_path / "other", TrainOptions(recipe="lite64", steps=2, base=str(out)))
    with pytest.raises(RunError, match="another seed"):
        pretrain_base([folder], out, PretrainOptions(**options, steps=9, seed=5))


def test_the_shipped_base_fits_the_recipe_that_starts_from_it() -> None:
    recipe = load_recipe("lite64")
    entry = choose_base("auto", recipe)
    assert entry is not None and entry["kind"] == "shipped"
    taught, performed = fit_to(entry, recipe)
    assert 0 < taught.train.encoder_rate < 1 and performed > 30 and fit_to(None, recipe) == (recipe, 0)
    assert fit_to({**entry, "kind": "run"}, recipe) == (recipe, 0), "another run's encoder knows two persons only"
    assert read_base(weight_file(entry["path"])).recipe.network == recipe.network
    other = dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, latent=128))
    assert choose_base("auto", other) is None and choose_base("none", recipe) is None


def test_too_few_people_and_files_that_are_no_base_are_refused(folder, recipe, faces, tmp_path) -> None:
    with pytest.raises(DatasetError, match="hold 3 people, expected at least 8"):
        pretrain_base([folder], tmp_path / "base.npz", PretrainOptions(recipe=recipe, steps=1, keep_back=3))
    with pytest.raises(DatasetError, match="holds no people"):
        pretrain_base([tmp_path], tmp_path / "base.npz", PretrainOptions(recipe=recipe, steps=1))
    (tmp_path / "no.npz").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="holds no base weights"):
        train_swap(*faces, tmp_path / "run", TrainOptions(recipe=recipe, steps=2, base=str(tmp_path / "no.npz")))
