"""The schemas are schemas, are linked, notice damage, and describe what a dataset folder holds."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.schemas import FOLDER, file_problems, problems
from tests.train.conftest import make_dataset

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_and_linked(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))
    assert f"(schema/{name}.json)" in (FOLDER.parent / "formats.md").read_text("utf-8")


def test_a_dataset_is_as_described(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "faces_a", 1, (220, 180, 150), count=3)
    assert file_problems("dataset", folder / "dataset.json") == []
    assert file_problems("face", folder / "faces.jsonl") == []
    for kind in ("face", "eyes", "mouth"):
        assert file_problems("mask", folder / "masks" / kind / "made.jsonl") == []


@pytest.mark.parametrize(
    ("change", "part"),
    [({"state": "finished"}, "$.state"), ({"crop_size": 0}, "$.crop_size"), ({"colour": 1}, "$.colour")],
)
def test_damage_and_undescribed_keys_are_noticed(change: dict, part: str, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "faces_a", 1, (220, 180, 150), count=1)
    header = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert [line.split(":")[0] for line in problems("dataset", header | change)] == [part]
    assert problems("dataset", {name: value for name, value in header.items() if name != "template"})
