"""run.json and log.jsonl are what docs/schema says."""

from pathlib import Path

from faceswap_pipeline.train.options import TrainOptions
from faceswap_pipeline.train.stage import train_swap
from tests.schemas import file_problems


def test_a_run_is_as_described(faces: tuple[Path, Path], recipe: str, tmp_path: Path) -> None:
    train_swap(*faces, tmp_path / "run", TrainOptions(recipe=recipe, steps=2, report_steps=1))
    assert file_problems("run", tmp_path / "run" / "run.json") == []
    assert file_problems("log", tmp_path / "run" / "log.jsonl") == []
