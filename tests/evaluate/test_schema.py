"""evaluation.json is what docs/schema says."""

from faceswap_pipeline.evaluate.stage import Evaluation
from tests.schemas import file_problems


def test_an_evaluation_is_as_described(report: Evaluation) -> None:
    assert file_problems("evaluation", report.page.with_name("evaluation.json")) == []
