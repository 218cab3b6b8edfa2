"""`swap doctor`: what is there is said, what is missing comes with its remedy and status 1."""

import shutil
from pathlib import Path

import cv2
import pytest

from faceswap_pipeline import cli, doctor
from faceswap_pipeline.doctor import Finding, examine, examine_video, trial
from faceswap_pipeline.resources import examples_pair
from tests.train.conftest import TINY_RECIPE


def test_a_whole_install_lacks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    findings = list(examine())
    assert [finding.name for finding in findings if finding.remedy] == []
    assert {"Python", "packages", "OpenCV", "backend", "encoders", "weights", "memory", "disk"} == {
        finding.name for finding in findings
    }
    assert cli.main(["doctor"]) == 0
    assert all(line.startswith("ok ") for line in capsys.readouterr().out.splitlines())


def test_a_full_disk_is_missing_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert cli.main(["doctor"]) == 1
    assert "missing disk" in capsys.readouterr().out


def test_an_emptied_opencv_and_an_old_package_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "warpAffine")
    found = doctor._opencv()
    assert "empty" in found.text and "pip uninstall -y opencv-python" in found.remedy
    versions = {"keras": "2.1"}
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: versions.get(name) or real(name))
    assert "keras 2.1 (expected" in doctor._packages().text and doctor._packages().remedy


def test_a_file_that_is_no_video_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("nothing")
    (finding,) = examine_video(tmp_path / "no.mp4")
    assert finding.remedy and "->" in finding.line()


def test_a_trial_step_measures_this_process(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    peak, seconds, images = trial(str(tmp_path / "tiny.toml"), 40)
    assert 1e8 < peak < 1e11 and 0 < seconds < 60 and images > 1


@pytest.mark.slow
def test_a_video_is_examined_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "RECIPES", {"cpu": ("lite64",), "gpu": ("lite64",)})
    findings = {finding.name: finding for finding in examine_video(examples_pair() / "video_a.mp4")}
    assert list(findings) == ["video", "extraction", "dataset", "lite64"]
    assert "960x540" in findings["video"].text and "images/s" in findings["lite64"].text
    assert not any(finding.remedy for finding in findings.values()) and list(tmp_path.iterdir()) == []


def test_a_finding_is_one_line_and_its_remedy_another() -> None:
    assert Finding("disk", "1 GB").line() == "ok      disk       1 GB"
    assert Finding("disk", "1 GB", "free some").line().splitlines()[1].strip() == "-> free some"
