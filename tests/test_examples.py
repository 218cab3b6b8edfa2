"""The example programs do what their first lines say."""

import importlib.util
import runpy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceswap_pipeline.backend import value_of
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.imaging import margin_size, resize
from faceswap_pipeline.networks.recipe import Recipe, load_recipe
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.train.augment import Batch
from faceswap_pipeline.train.model import PERSONS, SwapModel
from faceswap_pipeline.video.reader import read_frames
from tests.evaluate.conftest import write_clip
from tests.train.conftest import TINY_RECIPE, make_dataset, tiny_recipe

EXAMPLES = Path(__file__).parent.parent / "examples"


def program(name: str) -> dict[str, Any]:
    """The functions of an example."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def module(name: str) -> Any:
    """An example that others import, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def cut(name: str, to: Path, count: int) -> Path:
    """The first frames of a clip of the rendered pair, small."""
    frames = islice(read_frames(examples_pair() / f"video_{name}.mp4"), count)
    return write_clip(to / f"video_{name}.mp4", [resize(frame.rgb, (320, 180)) for frame in frames])


def test_extract_and_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = program("extract_and_look")["main"](cut("a", tmp_path, 8), tmp_path / "faces_a")
    assert capsys.readouterr().out.startswith("8 faces, ")
    assert cv2.imread(str(picture)).shape == (256, 8 * 256, 3)


def test_poses_go_from_left_to_right(tmp_path: Path) -> None:
    faces = FaceDataset.open(make_dataset(tmp_path / "faces_a", 1, (220, 180, 150), count=12))
    row = program("extract_and_look")["row_of_poses"](faces, 3)
    order = np.argsort(faces.column("yaw"))
    for place, index in enumerate((order[0], order[-1])):
        shown = row[:, 2 * place * faces.crop_size :][:, : faces.crop_size]
        assert np.array_equal(shown, faces.crop(faces.records[index]))


def test_add_mask_kind(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "faces_a", 1, (220, 180, 150), count=3)
    main = program("add_mask_kind")["main"]
    assert main(folder) == 3
    assert main(folder) == 0
    assert FaceDataset.open(folder).mask_kinds() == ["eyes", "face", "mouth", "nose"]


def test_the_nose_is_where_the_landmarks_say(tmp_path: Path) -> None:
    faces = FaceDataset.open(make_dataset(tmp_path / "faces_a", 1, (220, 180, 150), count=1))
    record = replace(faces.records[0], landmarks=np.array([[16.0, 18], [32, 18], [24, 28], [18, 38], [30, 38]]))
    rows, columns = np.nonzero(program("add_mask_kind")["nose_mask"](record, 48))
    assert abs(columns.mean() - 24) < 1 and 18 <= rows.min() < rows.max() <= 33


@pytest.mark.slow
def test_train_and_convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY_RECIPE.replace("adversarial_from = 6", "adversarial_from = 0"))
    videos = [str(cut(name, tmp_path, 36)) for name in ("a", "b")]
    found = program("train_and_convert")["main"](*videos, "1s", "tiny.toml")
    assert Path("film.mp4").is_file() and Path("report/evaluation.html").is_file()
    assert "swapped" in found.values and set(found.values) <= set(METRICS)


def test_the_table_of_qualities_is_drawn_with_a_line_for_each_start_of_the_pair(tmp_path: Path) -> None:
    quality = module("quality")
    figures = ["22.1 / 0.83", "25.1 / 0.84", "-", "0.5", "0.6", "-", "-"]
    rows = [
        quality.row([clips, "lite64", start, seed, minutes, "9", *figures, "0.1.0", "today"])
        for clips, start, seed in (("pair", "base", "1"), ("pair", "random weights", "1"), ("filmed", "base", "2"))
        for minutes in ("10", "2")
    ]
    page = tmp_path / "results.md"
    page.write_text("\n".join([quality.row(quality.HEADER), "| --- |", *rows, "", "After it."]))
    drawn = quality.draw_table(page).read_text()
    assert "base, seed 1" in drawn and "random weights, seed 1" in drawn and "seed 2" not in drawn


def test_a_quality_row_joins_the_table_it_belongs_to(tmp_path: Path) -> None:
    quality = module("quality")
    page = tmp_path / "results.md"
    page.write_text(f"# Results\n\n{quality.row(quality.HEADER)}\n| --- |\n| old |\n\nAfter it.\n")
    cells = quality.figures({"registered_psnr": 24.512, "registered_ssim": 0.8449, "mouth_follows": 0.5})
    assert cells == ["-", "24.5 / 0.845", "-", "0.500", "-", "-", "-"]
    quality.add_row(page, quality.row(cells))
    assert page.read_text().splitlines()[4:] == ["| old |", quality.row(cells), "", "After it."]
    page.write_text("# Results\n")
    with pytest.raises(ValueError, match="no table"):
        quality.add_row(page, "| new |")


@pytest.mark.slow
def test_quality_reaches_each_mark_and_goes_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cut(name, tmp_path, 36)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY_RECIPE.replace("adversarial_from = 6", "adversarial_from = 0"))
    run_quality = module("quality").run_quality
    rows = [list(run_quality(tmp_path, tmp_path / "work", str(recipe), [0.1, 0.2], 1.0, base="none")) for _ in range(2)]
    assert rows[0] == rows[1]
    assert [[cell.strip() for cell in line.split("|")][5:7] for line in rows[0]] == [["0.1", "6"], ["0.2", "12"]]


def test_twice_stepped_networks_learn() -> None:
    """The published update, which the ablation table compares with ours, moves all that one step of ours moves."""
    recipe = Recipe.from_json(tiny_recipe())
    random = np.random.default_rng(0)
    size = recipe.network.resolution
    share = lambda channels: random.uniform(0, 1, (recipe.train.batch, size, size, channels)).astype(np.float32)  # noqa: E731
    batches = {p: Batch(share(3), share(3), *(share(1) for _ in range(3)), share(1)[:, :1, :1]) for p in PERSONS}
    moved = []
    for kind in (SwapModel, program("ablate")["TwiceSteppedModel"]):
        model = kind(recipe, 1)
        before = [value_of(weight) for weight in model.generator_weights]
        losses = model.update(batches, 1.0, adversarial=False)
        assert {"reconstruction_a", "reconstruction_b", "gradient_norm"} <= set(losses)
        moved.append([(old != value_of(new)).any() for old, new in zip(before, model.generator_weights, strict=True)])
    # What attention opens in its first step moves in its second.
    assert all(theirs or not ours for ours, theirs in zip(*moved, strict=True)) and np.mean(moved[0]) > 0.7


def test_the_rival_is_fed_what_a_step_is_fed(tmp_path: Path) -> None:
    """Without any change drawn, input and target are the crop's middle, all but the face grey in the input."""
    recipe_file = tmp_path / "tiny.toml"
    recipe_file.write_text(TINY_RECIPE)
    recipe = load_recipe(str(recipe_file))
    still = dict.fromkeys(("warp", "rotation", "zoom", "shift", "flip", "color_jitter"), 0.0)
    recipe = replace(recipe, train=replace(recipe.train, **still))
    recipe = replace(recipe, network=replace(recipe.network, face_only=True, tone_free=False))
    size = recipe.network.resolution
    width, height = margin_size(size, recipe.network.view)
    crop = np.random.default_rng(0).integers(0, 256, (height, width, 6), dtype=np.uint8)
    crop[..., 3] = 255
    crop[:, : width // 2, 3] = 0
    seen, wanted = module("training_speed").augmented(crop, np.random.default_rng(0), recipe)
    top, left = (height - size) // 2, (width - size) // 2
    middle = crop[top : top + size, left : left + size].astype(np.float32)
    np.testing.assert_allclose(wanted[..., :3], middle[..., :3] / 127.5 - 1, atol=1e-5)
    np.testing.assert_allclose(wanted[..., 3:], middle[..., 3:] / 255, atol=1e-5)
    np.testing.assert_allclose(seen, (middle[..., :3] / 127.5 - 1) * middle[..., 3:4] / 255, atol=1e-5)
