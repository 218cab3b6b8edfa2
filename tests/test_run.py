"""The run folder: no kill, no full disk and no damage loses more than the work since the last checkpoint."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline.errors import RunError, StorageError
from faceswap_pipeline.run import TrainingRun, newest, read_consent
from faceswap_pipeline.storage import sha256_file

MANIFEST = {
    "recipe": {"name": "lite64"},
    "seed": 7,
    "backend": "tensorflow",
    "a": {"path": "faces_a", "crop_size": 256, "sha256": "a" * 64},
    "b": {"path": "faces_b", "crop_size": 256, "sha256": "b" * 64},
}


def arrays_of(value: float) -> dict[str, np.ndarray]:
    return {
        "encoder/conv/kernel": np.full((3, 3, 4), value, np.float32),
        "optimizer/iterations": np.array(int(value), np.int64),
        "empty": np.zeros((0, 2), np.float16),
    }


def make_run(path: Path, steps: tuple[int, ...] = (10, 20), best: int | None = None) -> TrainingRun:
    with TrainingRun.create(path, MANIFEST) as run:
        for step in steps:
            run.log({"step": step, "seconds": step * 1.5, "loss": 0.1})
            run.save_checkpoint(step, arrays_of(step), {"plateau": step / 3})
        if best is not None:
            run.save_best(arrays_of(best), {"step": best, "l1": 0.0312})
    return run


def damage(folder: Path, name: str = "arrays.npz") -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


# -- what goes in comes out ------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_exactly(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=20)
    arrays = arrays_of(20) | {"nan": np.array([np.nan, -0.0, 1e-45], np.float32)}
    state = {"best": float("inf"), "rate": np.float32(0.5), "events": [1, "plateau"]}
    with TrainingRun.open(run.path, write=True) as run:
        run.save_checkpoint(30, arrays, state)
    checkpoint = TrainingRun.open(run.path).load_checkpoint()
    assert checkpoint is not None and checkpoint.step == 30
    assert checkpoint.state == {"step": 30, "best": float("inf"), "rate": 0.5, "events": [1, "plateau"]}
    assert list(checkpoint.arrays) == sorted(arrays)
    for name, array in arrays.items():
        assert checkpoint.arrays[name].dtype == array.dtype
        assert checkpoint.arrays[name].tobytes() == array.tobytes()
    best = run.load_best()
    assert best is not None and best.step == 20 and run.best_state() == best.state
    assert best.sha256 == sha256_file(run.path / "checkpoints" / "best" / "arrays.npz")


def test_the_same_arrays_give_the_same_file(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    make_run(tmp_path / "two")
    sums = {(tmp_path / n / "checkpoints/step_00000020/SHA256SUMS").read_text() for n in ("one", "two")}
    assert len(sums) == 1


def test_checkpoints_hold_plain_numbers_only(tmp_path: Path) -> None:
    with TrainingRun.create(tmp_path / "run", {}) as run, pytest.raises(ValueError, match="'odd' is of object"):
        run.save_checkpoint(1, {"odd": np.array([None])}, {})
    assert names(tmp_path / "run" / "checkpoints") == []


def test_the_newest_two_are_kept_and_a_roll_back_drops_those_above(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", (10, 20, 30)) as run:
        assert run.checkpoint_steps() == [20, 30]
    with TrainingRun.open(run.path, write=True) as run:
        earlier = run.load_checkpoint(before=30)
        assert earlier is not None and earlier.step == 20
        run.save_checkpoint(25, arrays_of(25), {})
        assert run.checkpoint_steps() == [20, 25]
        run.save_checkpoint(25, arrays_of(26), {})  # the same step again
        checkpoint = run.load_checkpoint()
        assert checkpoint is not None and checkpoint.arrays["optimizer/iterations"] == 26
        assert run.load_checkpoint(before=20) is None
    assert names(run.path / "checkpoints") == ["step_00000020", "step_00000025"]


def test_a_new_run_has_no_checkpoint_and_no_best(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ())
    assert run.load_checkpoint() is None and run.load_best() is None and run.read_log() == []


def test_the_manifest_is_kept_with_what_is_unknown_to_us(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with TrainingRun.open(run.path, write=True) as run:
        run.update_manifest(finished="plateau", extra={"x": 1})
    manifest = TrainingRun.open(run.path).manifest
    assert manifest["finished"] == "plateau" and manifest["extra"] == {"x": 1} and manifest["seed"] == 7
    assert (manifest["format"], manifest["version"]) == ("faceswap-run", 1)


# -- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_loses_a_torn_line_and_what_comes_after_a_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run.path / "log.jsonl").open("a") as file:
        file.write('{"step": 25}\n{"step": 3')
    assert [entry["step"] for entry in run.read_log()] == [10, 20, 25]
    with TrainingRun.open(run.path, write=True) as run:
        run.log({"step": 30, "loss": float("nan"), "figures": {"l1": np.float32(0.5)}})
        assert run.read_log()[-1] == {"step": 30, "loss": None, "figures": {"l1": 0.5}}
        run.truncate_log(20)
        run.log({"step": 21})
    assert [entry["step"] for entry in run.read_log()] == [10, 20, 21]


def test_a_damaged_line_of_the_log_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run.path / "log.jsonl").write_text('{"step": 1}\nno json\n{"step": 2}\n')
    with pytest.raises(RunError, match="line 2 is damaged"):
        run.read_log()


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arrays.npz", "state.json", "SHA256SUMS"])
def test_a_damaged_newest_checkpoint_is_skipped_and_kept(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    damage(run.path / "checkpoints" / "step_00000020", name)
    reader = TrainingRun.open(run.path)
    checkpoint = reader.load_checkpoint()
    assert checkpoint is not None and checkpoint.step == 10
    assert "step_00000020 is damaged" in reader.warnings[0] and "going on from step 10" in reader.warnings[0]
    assert names(run.path / "checkpoints") == ["step_00000010", "step_00000020"]  # a reader changes nothing
    with TrainingRun.open(run.path, write=True) as writer:
        assert writer.load_checkpoint() is not None
        writer.save_checkpoint(15, arrays_of(15), {})
        writer.save_checkpoint(20, arrays_of(21), {})
    assert names(run.path / "checkpoints") == ["step_00000015", "step_00000020", "step_00000020.damaged"]
    again = TrainingRun.open(run.path).load_checkpoint()
    assert again is not None and again.arrays["optimizer/iterations"] == 21


@pytest.mark.parametrize("name", ["arrays.npz", "state.json", "SHA256SUMS"])
def test_a_missing_file_of_a_checkpoint_is_damage(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    (run.path / "checkpoints" / "step_00000020" / name).unlink()
    checkpoint = run.load_checkpoint()
    assert checkpoint is not None and checkpoint.step == 10
    assert f"{name} is missing" in run.warnings[0]


def test_when_all_are_damaged_training_does_not_start_from_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for folder in (run.path / "checkpoints").iterdir():
        damage(folder)
    before = {path: path.read_bytes() for path in run.path.rglob("*.npz")}
    for _ in range(2):
        with TrainingRun.open(run.path, write=True) as writer, pytest.raises(RunError, match="no whole one is left"):
            writer.load_checkpoint()
    assert {path: path.read_bytes() for path in run.path.rglob("*.npz")} == before


def test_when_only_set_aside_ones_are_left_training_does_not_start_from_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    damage(run.path / "checkpoints" / "step_00000020")
    with TrainingRun.open(run.path, write=True) as writer:
        writer.load_checkpoint()
    shutil.rmtree(run.path / "checkpoints" / "step_00000010")
    with pytest.raises(RunError, match=r"step_00000020\.damaged"):
        run.load_checkpoint()


def test_damaged_best_weights_are_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=20)
    damage(run.path / "checkpoints" / "best")
    with pytest.raises(RunError, match=r"best is damaged .arrays\.npz is not what was written"):
        run.load_best()


# -- kills and full disks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["save_checkpoint", "save_best"])
def test_every_kill_in_a_save_leaves_the_old_or_the_new_whole(tmp_path: Path, scenario: str) -> None:
    make_run(tmp_path / "template", (5, 10, 20), best=20)
    script = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, str(script), scenario, str(tmp_path / "template"), str(tmp_path / "out")]
    subprocess.run(command, check=True)
    folders = sorted((tmp_path / "out").iterdir())
    assert len(folders) > 15
    reached = set()
    for folder in folders:
        for write in (False, True):
            with TrainingRun.open(folder, write=write) as run:
                checkpoint, best = run.load_checkpoint(), run.load_best()
                assert checkpoint is not None and best is not None and run.warnings == []
                reached.add((checkpoint.step, best.step))
                if checkpoint.step == 20:
                    assert checkpoint.arrays["optimizer/iterations"] == 20 and run.checkpoint_steps()[-2:] == [10, 20]
        leftovers = [name for name in names(folder / "checkpoints") if "." in name]
        assert leftovers == []
        with TrainingRun.open(folder, write=True) as run:
            run.save_checkpoint(40, arrays_of(40), {})
            run.save_best(arrays_of(40), {"step": 40})
            assert run.checkpoint_steps() == [checkpoint.step, 40]
    assert reached == ({(20, 20), (30, 20)} if scenario == "save_checkpoint" else {(20, 20), (20, 30)})


def test_a_kill_while_the_file_is_half_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=20)
    for name in ("step_00000030", "best"):
        half = run.path / "checkpoints" / f"{name}.new"
        half.mkdir()
        (half / "arrays.npz").write_bytes(b"half")
    best, checkpoint = run.load_best(), run.load_checkpoint()
    assert best is not None and best.step == 20 and checkpoint is not None and checkpoint.step == 20
    assert run.checkpoint_steps() == [10, 20]
    TrainingRun.open(run.path, write=True).close()
    assert names(run.path / "checkpoints") == ["best", "step_00000010", "step_00000020"]


def test_a_full_disk_stops_cleanly_with_the_old_checkpoints_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"weights": np.random.default_rng(0).normal(size=100_000)}
    with TrainingRun.open(run.path, write=True) as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            for save in (lambda: run.save_checkpoint(30, big, {}), lambda: run.save_best(big, {"step": 30})):
                with pytest.raises(StorageError, match="--out|disk"):
                    save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(run.path / "checkpoints") == ["best", "step_00000010", "step_00000020"]
    checkpoint, best = run.load_checkpoint(), run.load_best()
    assert checkpoint is not None and checkpoint.step == 20 and best is not None and best.step == 20


def test_ctrl_c_in_the_middle_of_a_save_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", best=20)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "best.new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with TrainingRun.open(run.path, write=True) as run, pytest.raises(KeyboardInterrupt):
        run.save_best(arrays_of(30), {"step": 30})
    best = run.load_best()
    assert best is not None and best.step == 20
    assert names(run.path / "checkpoints") == ["best", "step_00000010", "step_00000020"]


def test_two_trainings_cannot_write_one_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with TrainingRun.open(run.path, write=True):
        with pytest.raises(StorageError, match="another process"):
            TrainingRun.open(run.path, write=True)
        assert TrainingRun.open(run.path).checkpoint_steps() == [10, 20]
    for write in (lambda: run.log({}), lambda: run.save_checkpoint(1, {}, {}), lambda: run.update_manifest(x=1)):
        with pytest.raises(RunError, match="open for reading only"):
            write()


# -- what is refused --------------------------------------------------------------------------------------------------


def test_no_run_here(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run .*a-b: make one with `swap train"):
        TrainingRun.open(tmp_path / "a-b")
    with pytest.raises(RunError, match=r"holds no run\.json"):
        TrainingRun.open(tmp_path)
    make_run(tmp_path / "run")
    with pytest.raises(RunError, match="exists already"):
        TrainingRun.create(tmp_path / "run", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "faceswap-run", "version": 9}', "version 9, this software reads 1"),
        ('{"format": "x"}', "format 'x'"),
        ("[]", "format None"),
        ('{"form', "is damaged"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(tmp_path: Path, text: str, words: str) -> None:
    run = make_run(tmp_path / "run")
    (run.path / "run.json").write_text(text)
    with pytest.raises(RunError, match=words):
        TrainingRun.open(run.path)


def test_newest_is_the_run_that_was_trained_last(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run in .*swap train"):
        newest(tmp_path / "runs")
    for number, name in enumerate(("old", "new", "middle")):
        run = make_run(tmp_path / "runs" / name)
        for item in (run.path / "run.json", run.path / "log.jsonl", run.path / "checkpoints"):
            os.utime(item, (1000 + number, 1000 + number))
    os.utime(tmp_path / "runs" / "new" / "log.jsonl", (5000, 5000))
    (tmp_path / "runs" / "notes").mkdir()
    assert newest(tmp_path / "runs").path.name == "new"


# -- consent ----------------------------------------------------------------------------------------------------------


def test_consent_is_asked_for_by_a_form_that_may_be_filled_in_later(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert run.manifest["consent"] == {"recorded": False}
    form = run.path / "consent.toml"
    assert not read_consent(form).recorded
    form.write_text(form.read_text().replace('""', '"Ada, 2026"'))
    with TrainingRun.open(run.path, write=True) as run:
        assert run.record_consent().recorded
    recorded = TrainingRun.open(run.path).manifest["consent"]
    assert recorded["recorded"] and recorded["who"] == "Ada, 2026" and recorded["sha256"] == sha256_file(form)


def test_a_consent_file_is_taken_into_the_run(tmp_path: Path) -> None:
    file = tmp_path / "signed.toml"
    file.write_text('who = "A and B"\nwhat_for = "a test"\nwhen = 2026-05-01\nevidence = "page 3"\n')
    run = make_run(tmp_path / "run")
    with TrainingRun.open(run.path, write=True) as run:
        consent = run.record_consent(file)
    assert consent.recorded and consent.when == "2026-05-01"
    assert (run.path / "consent.toml").read_bytes() == file.read_bytes()
    assert run.manifest["consent"]["sha256"] == sha256_file(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('who = "A"\n', "missing or unknown: evidence, what_for, when"),
        ("who = ", "is no consent file"),
        ('who="A"\nwhat_for="B"\nwhen="C"\nevidence="D"\nwhom="E"\n', "unknown: whom"),
    ],
)
def test_a_wrong_consent_file_is_refused_and_the_old_one_kept(tmp_path: Path, text: str, words: str) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "wrong.toml").write_text(text)
    before = (run.path / "consent.toml").read_bytes()
    with TrainingRun.open(run.path, write=True) as run:
        with pytest.raises(RunError, match=words):
            run.record_consent(tmp_path / "wrong.toml")
        with pytest.raises(RunError, match="there is no consent file"):
            run.record_consent(tmp_path / "missing.toml")
    assert (run.path / "consent.toml").read_bytes() == before


# -- for people -------------------------------------------------------------------------------------------------------


def test_describe_says_what_matters_in_about_ten_lines(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=20)
    with TrainingRun.open(run.path, write=True) as run:
        run.update_manifest(finished="the validation stopped improving")
        run.write_artifact("curves.png", b"png")
        run.preview_path(20).write_bytes(b"jpg")
    lines = TrainingRun.open(run.path).describe()
    text = "\n".join(lines)
    assert 9 <= len(lines) <= 12
    for words in ("lite64", "seed 7", "faces_a", "faces_b", "20 steps", "0.5 min", "l1 0.0312", "stopped improving"):
        assert words in text
    assert "not recorded" in text
    assert "none yet" in "\n".join(make_run(tmp_path / "empty", ()).describe())


def test_files_for_people_cannot_take_the_place_of_ours(tmp_path: Path) -> None:
    with TrainingRun.create(tmp_path / "run", {}) as run:
        for name in ("run.json", "../x", ".hidden", ""):
            with pytest.raises(ValueError, match="is no file name"):
                run.write_artifact(name, b"")
    assert json.loads((run.path / "run.json").read_text())["format"] == "faceswap-run"
