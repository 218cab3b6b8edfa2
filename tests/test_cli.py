"""The command line: exit statuses, one line for what the user can mend, and a start without the heavy imports."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceswap_pipeline import __version__, workflows
from faceswap_pipeline.cli import VERBS, main
from faceswap_pipeline.errors import DatasetError
from faceswap_pipeline.resources import examples_pair

HEAVY = ("tensorflow", "keras", "jax", "cv2", "av", "numpy", "matplotlib", "scipy")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line and gives its status, output and error output."""

    def run(*tokens: str) -> tuple[int, str, str]:
        status = main(list(tokens))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def describe(folder: Path) -> Any:
        raise error

    monkeypatch.setattr(workflows, "describe", describe)


# -- what the user can mend: status 2 and one line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("extract missing.mp4", ["missing.mp4", "no such file"]),
        ("extract folder", ["folder", "without pictures"]),
        ("extract text.mp4", ["text.mp4", "not a video"]),
        ("extract", ["at least one"]),
        ("extract one.mp4 two.mp4", ["2 inputs", "--out"]),
        ("extract clip.mp4 --min-faze 1", ["--min-faze", "--min-face"]),
        ("extract clip.mp4 --size 5000", ["--size", "5000", "64 to 1024"]),
        ("extract clip.mp4 --size big", ["--size", "'big'", "whole number", "64 to 1024"]),
        ("extract clip.mp4 --detector yolo", ["--detector", "'yolo'", "cascade, mtcnn"]),
        ("masks faces_a", ["faces_a", "no dataset"]),
        ("masks folder --kind nose", ["--kind", "'nose'", "face, eyes, mouth"]),
        ("pack faces_a", ["faces_a", "no dataset"]),
        ("train", ["--a"]),
        ("train --a faces_a", ["--b"]),
        ("train --a faces_a --b faces_b", ["faces_a", "no dataset", "swap extract"]),
        ("train --a faces_a --b faces_b --steps 0", ["--steps", "0", "1 to 100000000"]),
        ("train --a faces_a --b faces_b --time soon", ["--time", "'soon'", "90s"]),
        ("extract clip.mp4 --start 1:30", ["--start", "'1:30'", "90s"]),
        ("convert", ["no run", "swap train"]),
        ("convert --run runs/a-b", ["runs/a-b", "no run"]),
        ("convert missing.mp4", ["missing.mp4", "no such file"]),
        ("convert --quality 99", ["--quality", "99", "0 to 63"]),
        ("evaluate missing.mp4", ["missing.mp4", "no such file"]),
        ("evaluate text.mp4", ["text.mp4", "not a video"]),
        ("evaluate text.mp4 --fail-below speed=1", ["--fail-below", "'speed=1'", "jitter"]),
        ("info nowhere", ["nowhere", "no dataset"]),
        ("info folder", ["folder", "dataset.json"]),
        ("info .", [". holds neither", "dataset.json", "run.json"]),
        ("masks .", [". is no dataset"]),
        ("train --a . --b .", [". is no dataset"]),
        ("masks text.mp4", ["text.mp4", "neither", "swap extract text.mp4"]),
        ("extract https://example.com/x.mp4", ["address", "download"]),
        ("train --a faces_a --b faces_b --time 20 minutes", ["'minutes'", "quotes", "swap train --help"]),
        ("convert one two", ["'two'", "swap convert --help"]),
        ("train faces_a faces_b", ["--a", "swap train --help"]),
        ("demo --recipe huge512", ["--recipe", "huge512", "lite64"]),
        ("demo --time soon", ["--time", "'soon'"]),
        ("demo --out text.mp4", ["text.mp4", "file"]),
        ("text.mp4", ["no verb", "swap extract text.mp4"]),
        ("vidoe.mp4", ["'vidoe.mp4' is no verb", "swap --help"]),
        ("convrt", ["convrt", "did you mean convert"]),
        ("--nonsense", ["--nonsense"]),
        ("train --config missing.toml", ["--config", "missing.toml"]),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_2(
    line: str, parts: list[str], answer: Callable[..., tuple[int, str, str]], empty_folder: Path
) -> None:
    (empty_folder / "folder").mkdir()
    (empty_folder / "text.mp4").write_text("this is no film")
    status, out, err = answer(*line.split())
    assert status == 2
    assert out == ""
    assert err.startswith("swap: ")
    assert err.count("\n") == 1
    assert [part for part in parts if part not in err] == [], err


def test_nothing_is_left_behind_by_a_refused_line(answer: Callable[..., Any], empty_folder: Path) -> None:
    answer("extract", "missing.mp4")
    answer("train", "--a", "faces_a", "--b", "faces_b")
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_troubles_of_the_disk_are_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    fail_with(monkeypatch, OSError(number, os.strerror(number), "faces_a/crops/x.png"))
    status, _, err = answer("info", "faces_a")
    assert status == 2
    assert "faces_a/crops/x.png" in err
    assert "Traceback" not in err


def test_an_error_of_ours_on_purpose_shows_its_text_only(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    fail_with(monkeypatch, DatasetError("faces_a is damaged: extract it again"))
    assert answer("info", "faces_a") == (2, "", "swap: faces_a is damaged: extract it again\n")


# -- bugs and interruptions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("odd"), FileNotFoundError(errno.ENOENT, "gone", "x")])
def test_a_bug_shows_its_traceback_and_where_to_report_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    fail_with(monkeypatch, error)
    status, _, err = answer("info", "faces_a")
    assert status == 70
    assert "Traceback" in err
    assert __version__ in err
    assert "report" in err


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    status, _, err = answer("info", "my faces")
    assert status == 130
    assert "everything finished is kept" in err
    assert err.endswith("    swap info 'my faces'\n")


def test_the_line_that_goes_on_does_not_begin_anew(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflows, "check_inputs", interrupted)
    assert answer("extract", "video_a.mp4", "--redo")[2].endswith("    swap extract video_a.mp4\n")


def test_sigterm_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    def describe(folder: Path) -> list[str]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        return []

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(workflows, "describe", describe)
    assert answer("info", "faces_a")[0] == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_closed_pipe_is_no_error() -> None:
    program = (
        "import sys; from faceswap_pipeline import cli, workflows; "
        "workflows.describe = lambda folder: ['line'] * 100000; sys.exit(cli.main(['info', 'x']))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (0, b"")


# -- for programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["info nowhere", "train --a faces_a", "extract missing.mp4", "evaluate x.mp4 --sped 1"]
)
def test_an_error_is_one_json_object_too(line: str, answer: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = answer(*line.split(), "--json")
    found = json.loads(out)["error"]
    assert (status, found["status"]) == (2, 2)
    assert err == f"swap: {found['message']}\n"
    assert found["kind"].endswith("Error")


@pytest.mark.parametrize(
    ("error", "kind", "expected"),
    [(ValueError("odd"), "ValueError", 70), (KeyboardInterrupt(), "Interrupted", 130)],
)
def test_bugs_and_interruptions_are_json_too(
    error: BaseException,
    kind: str,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[..., tuple[int, str, str]],
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(workflows, "verify", fail)
    status, out, _ = answer("verify", "x.mp4", "--json")
    assert status == expected
    assert json.loads(out)["error"] | {"message": ""} == {"kind": kind, "message": "", "status": expected}


def test_verbose_shows_where_an_error_was_raised(answer: Callable[..., tuple[int, str, str]]) -> None:
    status, _, err = answer("info", "nowhere", "--verbose")
    assert status == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("swap: there is no dataset nowhere")


def test_quiet_and_verbose_contradict_each_other(answer: Callable[..., tuple[int, str, str]]) -> None:
    status, _, err = answer("info", "nowhere", "--verbose", "--quiet")
    assert status == 2
    assert "--quiet and --verbose" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_flags(shell: str, answer: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = answer("completion", shell)
    assert status == 0
    assert [word for word in (*VERBS, "save-minutes") if word not in out] == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_completion(answer: Callable[..., tuple[int, str, str]]) -> None:
    ask = "COMP_WORDS=(swap ex); COMP_CWORD=1; _swap; echo ${COMPREPLY[@]}"
    script = answer("completion", "bash")[1]
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "extract"


# -- help -------------------------------------------------------------------------------------------------------------


def test_no_arguments_show_the_help(answer: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = answer()
    assert (status, err) == (0, "")
    assert out == answer("--help")[1]
    for verb in VERBS:
        assert f"│ {verb} " in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_without_doubled_switches(verb: str, answer: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = answer(verb, "--help")
    assert status == 0
    assert "--no-" not in out
    assert "--empty-" not in out
    assert "[default: False]" not in out
    assert ("--json" in out) is (verb != "completion")


@pytest.mark.parametrize(("line", "same"), [("help", "--help"), ("help train", "train --help")])
def test_help_may_be_asked_for_as_a_verb(line: str, same: str, answer: Callable[..., tuple[int, str, str]]) -> None:
    assert answer(*line.split()) == answer(*same.split())


def test_version(answer: Callable[..., tuple[int, str, str]]) -> None:
    assert answer("--version")[:2] == (0, f"swap {__version__}\n")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from faceswap_pipeline.cli import main; main(['--help']); main(['train', '--help']); "
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("LOADED")[2].split()
    assert "cyclopts" in loaded
    assert not [name for name in HEAVY if name in loaded]


@pytest.mark.skipif(os.name == "nt", reason="measures processor time the Unix way")
def test_help_answers_in_half_a_second() -> None:
    """Of processor time, the best of three: what else the machine does is not our doing."""
    import resource

    def seconds() -> float:
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "faceswap_pipeline.cli", "--help"], capture_output=True, check=True)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


# -- the real thing, small --------------------------------------------------------------------------------------------


def test_a_dataset_against_itself_and_a_short_clip(
    answer: Callable[..., tuple[int, str, str]], empty_folder: Path
) -> None:
    """Extract a second of film, say what it holds, do nothing when asked again, refuse what cannot be trained."""
    film = str(examples_pair() / "video_a.mp4")
    line = ("extract", film, "--start", "1s", "--end", "1.4s")
    status, out, err = answer(*line)
    assert (status, err) == (0, "")
    assert "10 faces" in out
    assert "\r" not in out
    status, out, _ = answer("info", "faces_a")
    assert status == 0
    assert "face 10" in out
    held = json.loads(answer("info", "faces_a", "--json")[1])
    assert (held["dataset"], held["state"], held["faces"], held["masks"]["face"]) == ("faces_a", "done", 10, 10)
    assert held["reasons"] == {"before --start": 25, "after --end": held["frames"] - 35}

    before = {path: path.stat().st_mtime_ns for path in empty_folder.rglob("*.*") if path.is_file()}
    status, out, _ = answer(*line)
    assert status == 0
    assert "finished already" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before

    status, _, err = answer("extract", film, "--start", "1s", "--end", "1.2s")
    assert status == 2
    assert "--end" in err
    assert "--redo" in err
    status, _, err = answer("train", "--a", "faces_a", "--b", "faces_a")
    assert status == 2
    assert "two persons" in err
    assert answer("extract", *line[1:], "--quiet")[:2] == (0, "")
    status, out, _ = answer("extract", *line[1:], "--json")
    assert (status, json.loads(out)) == (0, held)
    status, out, _ = answer("pack", "faces_a", "--json")
    assert (status, json.loads(out)) == (0, {"file": "faces_a.zip"})
    assert (empty_folder / "faces_a.zip").is_file()
    assert answer("pack", "faces_a.zip")[0] == 2
    (empty_folder / "faces_a.zip").unlink()

    assert answer(*line[:-1], "1.2s", "--redo")[0] == 0
    assert (empty_folder / "faces_a.1" / "dataset.json").is_file()


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["info", "nowhere"], 2)])
def test_a_command_that_is_done_ends_at_once_with_its_status_and_all_its_words(words, status):
    program = (
        "import atexit, sys; from faceswap_pipeline.cli import run; "
        f"atexit.register(print, 'taken down'); sys.argv = ['swap', *{words}]; run()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == status and "taken down" not in done.stdout
    assert "nowhere" in done.stderr if status else done.stdout.split() == ["swap", __version__]


def test_keras_is_imported_without_matplotlib_which_is_there_afterwards() -> None:
    code = (
        "import sys; from faceswap_pipeline.keras_loading import import_keras; import_keras(); "
        "assert 'keras' in sys.modules and 'matplotlib' not in sys.modules; import matplotlib.figure"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
