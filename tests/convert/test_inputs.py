"""Datasets of a part of a film: what is converted of them, and what is refused."""

import shlex

import pytest

from faceswap_pipeline import cli
from faceswap_pipeline.convert.inputs import film_paths
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.stage import convert_video
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import DatasetError, VideoError
from tests.convert.conftest import NO_FACE

FAST = ConvertOptions(encoder="libx264", preset="ultrafast")


def record_options(studio, **options) -> None:
    with FaceDataset.open(studio.faces, write=True) as dataset:
        dataset.set_options("extract", options)


def test_every_nth_frame_is_refused_with_the_line_that_mends_it(studio):
    record_options(studio, every=3, person="my photo.jpg", size=96, start="", end="9s", blurred=0.25)
    with pytest.raises(DatasetError, match="one frame in 3 only") as error:
        convert_video(studio.run, studio.folder, FAST)
    line = shlex.split(str(error.value).splitlines()[1])
    assert line[:3] == ["swap", "extract", str(studio.video)]
    verb, bound, _ = cli.build_app().parse_args(line[1:], exit_on_error=False, print_error=False)
    assert bound.kwargs["redo"] and bound.kwargs["out"] == studio.faces
    assert not list(studio.folder.glob("*swapped*"))
    record_options(studio, every=1)
    convert_video(studio.run, studio.folder, FAST)


def test_frames_outside_start_and_end_pass_through_with_their_reason(studio):
    path = studio.faces / "frames.csv"
    path.write_text(path.read_text().replace("no face", "before --start"))
    result = convert_video(studio.run, studio.folder, FAST)
    assert result.counts[0].untouched == {"before --start": len(NO_FACE)}


@pytest.mark.parametrize("name", ["film.mkv", "new/film.AVI", "face.jpg"])
def test_a_film_of_another_kind_is_not_taken_for_a_folder(name, tmp_path):
    with pytest.raises(VideoError, match=r"\.mp4 or \.mov"):
        film_paths(["video_a"], [".mp4"], tmp_path / name)


def test_a_folder_may_be_called_like_a_film(tmp_path):
    (tmp_path / "old.mkv").mkdir()
    assert film_paths(["video_a"], [".mp4"], tmp_path / "old.mkv") == [tmp_path / "old.mkv" / "video_a_swapped.mp4"]
    assert film_paths(["video_a"], [".mp4"], tmp_path / "v1.2") == [tmp_path / "v1.2" / "video_a_swapped.mp4"]
