"""`swap demo`: nothing of the user's is touched, and the whole way on a second of the rendered pair."""

import json
from itertools import islice
from pathlib import Path

import av
import pytest

from faceswap_pipeline import cli, demo
from faceswap_pipeline.demo import Demo, DemoOptions, copy_pair, run_demo
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.evaluate.stage import Evaluation
from faceswap_pipeline.imaging import resize
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.reader import read_frames
from tests.notes import Notes
from tests.train.conftest import TINY_RECIPE

FRAMES, SIZE = 36, (320, 180)


@pytest.fixture
def small_pair(tmp_path: Path) -> Path:
    """The rendered pair, the first second and a half at a third of its size."""
    folder = tmp_path / "pair"
    folder.mkdir()
    for path in sorted(examples_pair().glob("*.mp4")):
        with av.open(str(folder / path.name), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for frame in islice(read_frames(path), FRAMES):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(resize(frame.rgb, SIZE), "rgb24")))
            container.mux(stream.encode())
    (folder / "README.md").write_text("nobody was filmed")
    return folder


@pytest.mark.slow
def test_the_whole_way_and_once_more(small_pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY_RECIPE.replace("adversarial_from = 6", "adversarial_from = 0"))
    options = DemoOptions(time="1s", recipe="tiny.toml")
    first = run_demo(Path("demo"), options, pair=small_pair)
    for path in (first.film, first.comparison, first.truth, first.evaluation.page, Path("demo/README.md")):
        assert path.is_file(), path
    assert first.steps > 0
    assert first.evaluation.record["quick"] is True
    assert {"registered_psnr", "swapped"} <= set(first.evaluation.values)
    assert any("no swap at all" in line for line in first.lines())
    json.dumps(first.to_json(), allow_nan=False)

    crops = {path: path.stat().st_mtime_ns for path in Path("demo").glob("faces_*/crops/*.png")}
    progress = Notes()
    second = run_demo(Path("demo"), DemoOptions(time="8s"), pair=small_pair, progress=progress)  # averages move
    assert sum("is finished already" in note for note in progress.said) == 2
    assert {path: path.stat().st_mtime_ns for path in crops} == crops
    assert second.steps > first.steps and second.recipe == first.recipe
    assert Path("demo/video_a_swapped.1.mp4").is_file() and Path("demo/evaluation.1.html").is_file()


def test_clips_of_the_user_are_not_written_over(tmp_path: Path) -> None:
    pair, out = tmp_path / "pair", tmp_path / "mine"
    for folder in (pair, out):
        folder.mkdir()
    (pair / "video_a.mp4").write_bytes(b"rendered")
    (out / "video_a.mp4").write_bytes(b"my holidays")
    with pytest.raises(OptionError, match=r"video_a\.mp4 is there .* --out"):
        copy_pair(pair, out)
    assert (out / "video_a.mp4").read_bytes() == b"my holidays"


def test_clips_that_are_there_are_left_alone(tmp_path: Path) -> None:
    pair, out = tmp_path / "pair", tmp_path / "new" / "demo"
    pair.mkdir()
    (pair / "video_a.mp4").write_bytes(b"rendered")
    (pair / "README.md").write_text("CC0")
    copy_pair(pair, out)
    before = (out / "video_a.mp4").stat().st_mtime_ns
    (out / "README.md").write_text("my notes")
    copy_pair(pair, out)
    assert (out / "video_a.mp4").stat().st_mtime_ns == before
    assert (out / "README.md").read_text() == "my notes"


def made_demo(details: dict) -> Demo:
    step = {"value": 4.05, "level": "good", "title": "colour step", "unit": METRICS["seam_colour"].unit}
    metrics = {"swapped": {"value": 0.99, "level": "fair", "title": "faces replaced", "unit": "share"}} | {
        "seam_colour": step
    }
    evaluation = Evaluation({"metrics": metrics, "details": details}, Path("demo/evaluation.html"), {})
    paths = {name: Path(f"demo/{name}.mp4") for name in ("film", "comparison", "truth")}
    return Demo(**paths, steps=120, seconds=90.0, recipe="lite64", evaluation=evaluation)


def test_the_end_names_the_files_and_the_figures() -> None:
    row = {"registered_psnr": 24.04, "registered_ssim": 0.8204}
    lines = made_demo({"truth": {"scale": {"result": row, "no swap at all": row}}}).lines()
    assert [line.split()[-1] for line in lines[:4]] == [
        "demo/film.mp4",
        "demo/comparison.mp4",
        "demo/truth.mp4",
        "demo/evaluation.html",
    ]
    assert "120 steps of lite64 in 1.5 minutes" in lines[5]
    assert lines[6] == "against the true swap 24.0 dB, SSIM 0.820 (this swap), 24.0 dB, SSIM 0.820 (no swap at all)"
    assert lines[-2].split() == ["0.99", "share", "fair", "faces", "replaced"]
    assert lines[-1].split() == ["4.05", "CIELAB", "units", "good", "colour", "step"]


def test_figures_that_were_not_measured_are_left_out() -> None:
    assert not any("dB" in line for line in made_demo({}).lines())


def test_the_verb_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def run(out: Path, options: DemoOptions, *, progress: Progress) -> Demo:
        asked.append((out, options))
        return made_demo({})

    monkeypatch.setattr(demo, "run_demo", run)
    assert cli.main(["demo", "--time", "30m", "--json"]) == 0
    assert asked == [(Path("demo"), DemoOptions(time="30m"))]
    assert json.loads(capsys.readouterr().out)["trained"] == {"recipe": "lite64", "steps": 120, "seconds": 90.0}
    assert cli.main(["demo", "--time", ""]) == 2
    assert "--time" in capsys.readouterr().err
