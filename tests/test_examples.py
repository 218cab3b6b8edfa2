"""The example programs do what their first lines say."""

import runpy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.imaging import resize
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.reader import read_frames
from tests.evaluate.conftest import write_clip
from tests.train.conftest import TINY_RECIPE, make_dataset

EXAMPLES = Path(__file__).parent.parent / "examples"


def program(name: str) -> dict[str, Any]:
    """The functions of an example."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


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
