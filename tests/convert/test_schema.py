"""The sidecar and the lines of the layers are what docs/schema says."""

from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.stage import convert_video
from tests.schemas import file_problems

from .conftest import Studio


def test_a_sidecar_is_as_described(studio: Studio) -> None:
    options = ConvertOptions(preset="ultrafast", compare=True)
    convert_video(studio.run, studio.folder, options, frames=studio.folder / "layers")
    assert file_problems("conversion", studio.folder / "video_a_swapped.json") == []
    assert file_problems("layer", studio.folder / "layers" / "frames.jsonl") == []
