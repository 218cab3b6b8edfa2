"""A whole evaluation of a made film: what is written, what is printed, what is refused, and what is done again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceswap_pipeline import cli
from faceswap_pipeline.errors import DatasetError, OptionError, VideoError
from faceswap_pipeline.evaluate import stage
from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.evaluate.identity import NAMES
from faceswap_pipeline.evaluate.inputs import open_inputs
from faceswap_pipeline.evaluate.options import EvaluateOptions
from faceswap_pipeline.evaluate.stage import Evaluation, evaluate_swap

from .conftest import FRAMES, LEFT_OUT, Clips, write_clip


@pytest.fixture
def elsewhere(studio: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the film and its sidecar that a test may spoil, beside the rest."""
    for item in studio.iterdir():
        if item.name != "report":
            (tmp_path / item.name).symlink_to(item)
    for name in ("video_a_swapped.json", "video_a_swapped.mp4"):
        (tmp_path / name).unlink()
        shutil.copy(studio / name, tmp_path / name)
    yield tmp_path


def spoil(folder: Path, **values) -> Path:
    """The film in `folder`, with other values in its sidecar; without those that are None."""
    path = folder / "video_a_swapped.json"
    sidecar = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in sidecar.items() if value is not None}))
    return folder / "video_a_swapped.mp4"


def test_every_figure_is_there_or_says_why_not(report: Evaluation) -> None:
    record = json.loads((report.page.parent / "evaluation.json").read_text("utf-8"))
    assert record == report.record
    assert (record["format"], record["version"]) == ("faceswap-evaluation", 1)
    assert set(record["metrics"]) | set(record["not_measured"]) == set(METRICS)
    assert set(record["not_measured"]) - set(NAMES) == {"untouched_psnr"}
    for name, entry in record["metrics"].items():
        assert entry["level"] == METRICS[name].level(entry["value"])
    assert set(record["sha256"]) == {"film", "source", "faces", "other", "truth", "mask"}
    assert record["frames"] == {"film": FRAMES, "looked_at": FRAMES, "every": 1}


def test_the_frame_with_the_old_face_is_found(report: Evaluation) -> None:
    coverage = report.record["details"]["coverage"]
    assert coverage["frames_with_the_old_face"] == [LEFT_OUT]
    assert coverage["frames_swapped"] == FRAMES - 1
    assert report.values["swapped"] == pytest.approx(1 - 1 / FRAMES)
    assert LEFT_OUT in {entry["frame"] for entry in report.record["worst"] if entry["metric"] == "swapped"}


def test_the_scale_against_the_truth_is_readable(report: Evaluation) -> None:
    scale = report.record["details"]["truth"]["scale"]
    none, best = scale["no swap at all"], scale["true swap, encoded again"]
    assert none["registered_ssim"] < 0.85 < 0.95 < best["registered_ssim"]
    assert none["truth_psnr"] < 25 < 33 < report.values["truth_psnr"]


def test_page_holds_verdicts_plots_and_pictures(report: Evaluation) -> None:
    page = report.page.read_text("utf-8")
    assert page.count("<svg") == 6
    assert report.record["worst"] and page.count("data:image/jpeg") == 5 + len(report.record["worst"])
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert f"frame {LEFT_OUT}" in page and "What would help" in page


def test_the_table_is_text_for_people(report: Evaluation) -> None:
    lines = report.lines()
    assert lines[-1].endswith("evaluation.html")
    missing = [line for line in lines if line.startswith("not measured")]
    unsaid = {name for line in missing for name in line.rpartition(": ")[2].split(", ")}
    assert unsaid - set(NAMES) == {"untouched_psnr"}
    assert [line.split()[0] for line in lines[: -1 - len(missing)]] == [name for name in METRICS if name not in unsaid]


def test_the_same_again_does_nothing(report: Evaluation, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(stage, "_measure")
    truth, mask = studio / "truth.mp4", studio / "truth_mask.mp4"
    limits = EvaluateOptions(fail_below=("swapped=1",))
    again = evaluate_swap(studio / "video_a_swapped.mp4", studio / "report", limits, truth=truth, mask=mask)
    assert again.record == report.record and again.status == 1
    assert not list((studio / "report").glob("*.1.*"))


def test_another_one_keeps_the_old_and_limits_decide_the_status(
    report: Evaluation, studio: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(elsewhere)
    for name in ("evaluation.json", "evaluation.html"):
        shutil.copy(studio / "report" / name, name)
    assert cli.main(["evaluate", "video_a_swapped.mp4", "--json", "--fail-below", "outside_psnr=99"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"]["jitter"] == report.record["metrics"]["jitter"]
    assert "truth_psnr" in printed["not_measured"]
    assert json.loads(Path("evaluation.1.json").read_text()) == report.record
    assert Path("evaluation.1.html").read_bytes() == report.page.read_bytes()
    assert cli.main(["evaluate", "video_a_swapped.mp4", "--fail-below", "outside_psnr=20"]) == 0
    out = capsys.readouterr().out
    assert "there already" in out and "not reached" not in out


def test_a_film_without_a_face_says_why_nothing_was_measured(clips: Clips) -> None:
    for name, make in stage.GROUPS.items():
        found = make(clips.subject).finish()
        assert found.values == {} and found.series == {}
        assert set(found.missing) == {metric for metric in METRICS if METRICS[metric].group == name}


# -- what is refused, and what is only said --------------------------------------------------------------------------


def test_a_film_without_its_sidecar_is_refused(studio: Path) -> None:
    with pytest.raises(VideoError, match="sidecar"):
        open_inputs(studio / "truth.mp4")


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"version": 99}, VideoError, "99"),
        ({"options": None}, VideoError, "'options' is missing"),
        ({"input": "gone.mp4"}, VideoError, "--source"),
        ({"input": "truth.mp4"}, VideoError, "its content differs"),
        ({"faces": "nowhere"}, VideoError, "the dataset"),
        ({"faces": "faces_b"}, DatasetError, "not the dataset of"),
    ],
)
def test_what_does_not_belong_to_the_film_is_refused(elsewhere: Path, values, error, words: str) -> None:
    with pytest.raises(error, match=words):
        open_inputs(spoil(elsewhere, **values))


def test_a_film_of_the_version_before_is_still_read(elsewhere: Path) -> None:
    film = spoil(elsewhere, version=2)
    assert open_inputs(film).film == film


def test_a_mask_needs_a_true_swap(studio: Path) -> None:
    with pytest.raises(OptionError, match="--truth"):
        open_inputs(studio / "video_a_swapped.mp4", mask=studio / "truth_mask.mp4")


def test_a_source_that_has_moved_is_named(elsewhere: Path) -> None:
    (elsewhere / "video_a.mp4").rename(elsewhere / "moved.mp4")
    found = open_inputs(spoil(elsewhere), elsewhere / "moved.mp4")
    assert found.source.name == "moved.mp4" and found.notes == ()


def test_a_packed_dataset_is_read_in_its_place(elsewhere: Path, clips: Clips) -> None:
    (elsewhere / "faces_a").unlink()
    clips.faces.pack(elsewhere / "faces_a.zip")
    found = open_inputs(spoil(elsewhere))
    assert found.faces.path == elsewhere / "faces_a.zip" and found.notes == ()


def test_what_changed_since_is_said(elsewhere: Path) -> None:
    found = open_inputs(spoil(elsewhere, dataset="0" * 64, signed={"film_sha256": "1" * 64}))
    assert len(found.notes) == 2


def test_without_the_other_person_all_else_is_measured(elsewhere: Path) -> None:
    found = open_inputs(spoil(elsewhere, run={"path": "runs/gone", "recipe": "made", "step": 7}))
    assert found.other is None and "runs/gone" in found.other_missing


def test_films_of_different_length_are_refused(elsewhere: Path, clips: Clips) -> None:
    write_clip(elsewhere / "short.mp4", clips.truth[:-3])
    with pytest.raises(VideoError, match=f"short.mp4 ends at frame {FRAMES - 3}"):
        evaluate_swap(spoil(elsewhere), elsewhere, EvaluateOptions(), truth=elsewhere / "short.mp4")
    assert not list(elsewhere.glob("evaluation*"))
