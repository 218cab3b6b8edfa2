"""Default names, and what is chained to what."""

import os
from pathlib import Path

import pytest

from faceswap_pipeline import workflows
from faceswap_pipeline.errors import DatasetError, OptionError


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("video_a.mp4", "faces_a"),
        ("somewhere/video_b.mp4", "faces_b"),
        ("video_.mp4", "faces_video_"),
        ("holiday.2024.mov", "faces_holiday.2024"),
        ("my clip.mkv", "faces_my clip"),
    ],
)
def test_dataset_is_named_after_its_source(source: str, name: str) -> None:
    assert workflows.dataset_name(Path(source)) == name


def test_dataset_of_a_folder_is_named_after_the_whole_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos.best"
    folder.mkdir()
    assert workflows.dataset_name(folder) == "faces_photos.best"
    monkeypatch.chdir(folder)
    assert workflows.dataset_name(Path(".")) == "faces_photos.best"


def test_several_inputs_need_a_name() -> None:
    two = [Path("a.mp4"), Path("b.mp4")]
    with pytest.raises(OptionError, match="--out"):
        workflows.dataset_folder(two, None)
    assert workflows.dataset_folder(two, Path("both")) == Path("both")
    assert workflows.dataset_folder(two[:1], None) == Path("faces_a")


def test_the_current_folder_is_recorded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert workflows.dataset_folder([Path("a.mp4")], Path(".")) == tmp_path
    assert workflows.named(Path("faces_a")) == Path("faces_a")


@pytest.mark.parametrize(
    ("a", "b", "run"),
    [
        ("faces_a", "faces_b", "runs/a-b"),
        ("../x/faces_a/", "faces_b.zip", "runs/a-b"),
        ("anna", "faces_my clip", "runs/anna-my clip"),
    ],
)
def test_run_is_named_after_its_datasets(a: str, b: str, run: str) -> None:
    assert workflows.run_folder(Path(a), Path(b)) == Path(run)


def test_describe_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=os.path.basename(tmp_path)):
        workflows.describe(tmp_path)
