"""Copies in a storage folder: complete, harmless when repeated, whole after a kill, never over what is further."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from faceswap_pipeline import storage as storage_module
from faceswap_pipeline import sync
from faceswap_pipeline.cli import main
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import DatasetError, OptionError, RunError, StorageError
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun
from tests.notes import Notes
from tests.test_dataset import make_dataset
from tests.test_run import arrays_of, damage, make_run, names

RUN = Path("runs/a-b")


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of flushes to the disk are slow, and nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage folder; the current folder is an empty work folder."""
    (tmp_path / "storage").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "storage"


@pytest.fixture
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call it: the current folder is another, empty one."""

    def begin() -> None:
        folder = tmp_path / f"work_{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        monkeypatch.chdir(folder)

    return begin


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "/." not in f"/{path.relative_to(folder).as_posix()}"
    }


def more_steps(path: Path, step: int) -> None:
    with TrainingRun.open(path, write=True) as run:
        run.save_checkpoint(step, arrays_of(step), {})
        run.save_best(arrays_of(step), {"step": step})
        run.update_manifest(steps=step)


def push(*paths: Path | str, to: Path) -> list[str]:
    notes = Notes()
    sync.push([Path(path) for path in paths], to, notes)
    return notes.said


def pull(*paths: Path | str, of: Path) -> list[str]:
    notes = Notes()
    sync.pull([Path(path) for path in paths], of, notes)
    return notes.said


# -- there and back ---------------------------------------------------------------------------------------------------


def test_everything_goes_on_another_machine(storage: Path, new_machine) -> None:
    make_dataset(Path("faces_a"))
    make_run(RUN, (10, 20), best=20).preview_path(20).write_bytes(b"picture")
    Path("film.mp4").write_bytes(b"film")
    before = contents(Path())
    push("faces_a", RUN, "film.mp4", to=storage)
    assert names(storage) == ["faces_a.zip", "film.mp4", "runs"]
    new_machine()
    pull("faces_a", RUN, "film.mp4", of=storage)
    assert contents(Path()) == before
    assert not any(name.startswith(".") for name in names(Path()))
    assert FaceDataset.open(Path("faces_a")).fingerprint() == FaceDataset.open(storage / "faces_a.zip").fingerprint()


def test_a_second_time_nothing_is_written(storage: Path) -> None:
    make_dataset(Path("faces_a"))
    make_run(RUN, best=20)
    Path("film.mp4").write_bytes(b"film")
    everything = ("faces_a", RUN, "film.mp4")
    push(*everything, to=storage)
    here, there = contents(Path()), contents(storage)
    written = {path: path.stat().st_mtime_ns for path in storage.rglob("*") if path.is_file() and path.suffix}
    push(*everything, to=storage)
    pull(*everything, of=storage)
    assert (contents(Path()), contents(storage)) == (here, there)
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_what_is_not_stored_yet_is_only_said(storage: Path) -> None:
    assert pull("faces_a", RUN, of=storage) == [f"faces_a is not in {storage} yet", f"runs/a-b is not in {storage} yet"]
    assert names(Path()) == []


def test_a_drive_that_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    for copy in (sync.push, sync.pull):
        with pytest.raises(OptionError, match="mount its drive first"):
            copy([], tmp_path / "drive", Progress())
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["/faces_a", "../faces_a", "."])
def test_only_paths_below_the_current_folder(storage: Path, path: str) -> None:
    with pytest.raises(OptionError, match="as seen from the current folder"):
        push(path, to=storage)


def test_pushing_what_is_not_there_is_an_error(storage: Path) -> None:
    with pytest.raises(OptionError, match="faces_a is not there"):
        push("faces_a", to=storage)


def test_the_command_line_copies_there_and_back(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("film.mp4").write_bytes(b"film")
    assert main(["push", "film.mp4", "--storage", str(storage)]) == 0
    Path("film.mp4").unlink()
    capsys.readouterr()
    assert main(["pull", "film.mp4", "faces_a", "--storage", str(storage), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"storage": str(storage), "here": ["film.mp4"]}
    assert Path("film.mp4").read_bytes() == b"film"
    for line in (["push"], ["push", "--storage", str(storage)], ["pull", "film.mp4", "--storage", "drive"]):
        assert main(line) == 2
    assert "drive is no folder that is there" in capsys.readouterr().err


# -- datasets and files -----------------------------------------------------------------------------------------------


def test_an_unfinished_dataset_is_not_stored(storage: Path) -> None:
    make_dataset(Path("faces_a"), finish=False)
    with pytest.raises(DatasetError, match="not finished"):
        push("faces_a", to=storage)
    assert names(storage) == [] and names(Path()) == ["faces_a"]


def test_an_older_dataset_or_film_is_kept(storage: Path) -> None:
    make_dataset(Path("faces_a"), faces=4)
    Path("film.mp4").write_bytes(b"film")
    push("faces_a", "film.mp4", to=storage)
    old = contents(storage)
    shutil.rmtree("faces_a")
    make_dataset(Path("faces_a"), faces=5)
    Path("film.mp4").write_bytes(b"another")
    push("faces_a", "film.mp4", to=storage)
    new = contents(storage)
    assert sorted(new) == ["faces_a.1.zip", "faces_a.zip", "film.1.mp4", "film.mp4"]
    assert new["faces_a.1.zip"] == old["faces_a.zip"] and new["film.1.mp4"] == b"film"
    assert len(FaceDataset.open(storage / "faces_a.zip")) == 5


def test_a_damaged_archive_gives_no_half_dataset(storage: Path) -> None:
    make_dataset(Path("faces_a"))
    push("faces_a", to=storage)
    shutil.rmtree("faces_a")
    with zipfile.ZipFile(storage / "faces_a.zip") as archive:
        crop = archive.getinfo("faces_a/crops/" + names_of_crops(archive)[0])
    data = bytearray((storage / "faces_a.zip").read_bytes())
    data[crop.header_offset + 200] ^= 1
    (storage / "faces_a.zip").write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        pull("faces_a", of=storage)
    assert not Path("faces_a").exists()


def names_of_crops(archive: zipfile.ZipFile) -> list[str]:
    return [Path(name).name for name in archive.namelist() if "/crops/" in name]


def test_a_file_that_reads_back_otherwise_does_not_replace_the_old(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("film.mp4").write_bytes(b"new")
    (storage / "film.mp4").write_bytes(b"old film")
    monkeypatch.setattr(storage_module, "sha256_file", lambda path: "0" * 64)
    with pytest.raises(StorageError, match="other bytes than were written"):
        push("film.mp4", to=storage)
    assert contents(storage) == {"film.mp4": b"old film"} and names(storage) == ["film.mp4"]


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_in_the_storage(storage: Path) -> None:
    make_run(RUN, (10, 20), best=20)
    push(RUN, to=storage)
    more_steps(RUN, 30)
    push(RUN, to=storage)
    assert contents(storage / RUN) == contents(RUN)
    assert names(storage / RUN / "checkpoints") == ["best", "step_00000020", "step_00000030"]


def test_a_run_that_is_behind_is_brought_up_and_one_that_is_ahead_stays(storage: Path) -> None:
    make_run(RUN, (10, 20), best=20)
    push(RUN, to=storage)
    more_steps(RUN, 30)
    ahead = contents(Path())
    pull(RUN, of=storage)
    assert contents(Path()) == ahead
    push(RUN, to=storage)
    shutil.rmtree(RUN / "checkpoints/step_00000030")
    pull(RUN, of=storage)
    assert contents(Path()) == ahead


def test_a_damaged_checkpoint_here_is_mended_from_the_storage(storage: Path) -> None:
    make_run(RUN, (10, 20), best=20)
    push(RUN, to=storage)
    damage(RUN / "checkpoints/step_00000020")
    with TrainingRun.open(RUN, write=True) as run:
        assert run.load_checkpoint().step == 10
    pull(RUN, of=storage)
    assert TrainingRun.open(RUN).load_checkpoint().step == 20


def test_a_damaged_checkpoint_never_replaces_the_whole_one(storage: Path) -> None:
    make_run(RUN, (10, 20), best=20)
    push(RUN, to=storage)
    more_steps(RUN, 30)
    damage(RUN / "checkpoints/step_00000030")
    said = push(RUN, to=storage)
    assert any("left out" in line for line in said)
    stored = TrainingRun.open(storage / RUN)
    assert stored.load_checkpoint().step == 20 and stored.checkpoint_steps() == [10, 20]


def test_a_damaged_checkpoint_there_is_left_out_and_training_can_be_stored_again(storage: Path, new_machine) -> None:
    make_run(RUN, (10, 20), best=20)
    push(RUN, to=storage)
    damage(storage / RUN / "checkpoints/step_00000020")
    new_machine()
    said = pull(RUN, of=storage)
    assert any("step_00000020" in line and "left out" in line for line in said)
    assert TrainingRun.open(RUN).load_checkpoint().step == 10
    more_steps(RUN, 15)
    push(RUN, to=storage)
    assert TrainingRun.open(storage / RUN).load_checkpoint().step == 15
    assert "step_00000020.damaged" in names(storage / RUN / "checkpoints")


def test_a_run_that_was_trained_further_elsewhere_is_not_overwritten(storage: Path) -> None:
    make_run(RUN, (10, 20), best=20)
    push(RUN, to=storage)
    more_steps(storage / RUN, 30)
    before = contents(storage)
    with pytest.raises(RunError, match=r"trained further .step_00000030"):
        push(RUN, to=storage)
    assert contents(storage) == before


def test_another_run_of_the_same_name_is_neither_fetched_nor_overwritten(storage: Path) -> None:
    make_run(RUN)
    with TrainingRun.open(make_run(storage / RUN, (30,)).path, write=True) as other:
        other.update_manifest(created="2020-01-01T00:00:00+00:00")
    before = contents(Path()), contents(storage)
    for copy in (sync.push, sync.pull):
        with pytest.raises(RunError, match="another run"):
            copy([RUN], storage, Progress())
    assert (contents(Path()), contents(storage)) == before


def test_training_goes_on_when_the_storage_is_in_trouble_and_catches_up(storage: Path) -> None:
    run = make_run(RUN, (10, 20), best=20)
    notes = Notes()
    after_save = sync.after_each_save(storage, RUN, notes)
    storage.rename(storage.with_name("gone"))
    after_save(run)
    assert len(notes.said) == 1 and "training goes on" in notes.said[0] and "mount its drive" in notes.said[0]
    storage.with_name("gone").rename(storage)
    after_save(run)
    assert contents(storage / RUN) == contents(RUN)


# -- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
def test_every_kill_in_a_copy_leaves_the_storage_with_a_whole_checkpoint(tmp_path: Path, stored: bool) -> None:
    """Killed with SIGKILL before every opening, renaming, making and removing of a file."""
    template = tmp_path / "template"
    make_run(template / "here", (10, 20), best=20)
    if stored:
        sync.push_run(TrainingRun.open(template / "here"), template / "there", Progress())
    more_steps(template / "here", 30)
    script = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, str(script), "push_run", str(template), str(tmp_path / "out")]
    subprocess.run(command, check=True)
    folders = sorted((tmp_path / "out").iterdir())
    assert len(folders) > 60
    reached = set()
    for number, folder in enumerate(folders):
        there = folder / "there"
        if (there / "run.json").exists():
            for write in (False, True):
                with TrainingRun.open(there, write=write) as run:
                    checkpoint, best = run.load_checkpoint(), run.load_best()
                    assert checkpoint is not None and best is not None and run.warnings == []
                    reached.add((checkpoint.step, best.step))
        if number % 5 == 0 or folder == folders[-1]:  # the next call brings everything, with nothing left beside
            sync.push_run(TrainingRun.open(folder / "here"), there, Progress())
            assert contents(there) == contents(folder / "here")
            assert [path for path in there.rglob(".*.part")] == []
            assert names(there / "checkpoints") == ["best", "step_00000020", "step_00000030"]
    assert reached == ({(20, 20), (30, 20), (30, 30)} if stored else {(30, 30)})


def test_a_kill_while_the_archive_is_half_written(storage: Path, new_machine) -> None:
    make_dataset(Path("faces_a"))
    (storage / ".faces_a.zip.part").write_bytes(b"PK half")
    assert pull("faces_b", of=storage) == [f"faces_b is not in {storage} yet"]
    push("faces_a", to=storage)
    assert names(storage) == ["faces_a.zip"]
    new_machine()
    half = Path(".faces_a.part")
    half.mkdir()
    (half / "dataset.json").write_bytes(b"{")
    pull("faces_a", of=storage)
    assert names(Path()) == ["faces_a"] and len(FaceDataset.open(Path("faces_a"))) == 5
