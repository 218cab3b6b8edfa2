"""`train_swap`: what a run folder holds afterwards, exact resume, re-run rules, and errors a user can mend."""

import json
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import DatasetError, NoFaceError, OptionError, RunError
from faceswap_pipeline.imaging import network_view
from faceswap_pipeline.networks.recipe import load_recipe
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.train.batches import load_faces
from faceswap_pipeline.train.model import SwapModel
from faceswap_pipeline.train.options import TrainOptions
from faceswap_pipeline.train.stage import central_views, train_swap
from tests.notes import Notes
from tests.train.conftest import make_dataset


def options(recipe: str, **values) -> TrainOptions:
    return TrainOptions(recipe=recipe, **{"report_steps": 4, "preview_steps": 8, **values})


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    with TrainingRun.open(run) as opened:
        checkpoint = opened.load_checkpoint()
    assert checkpoint is not None
    return checkpoint.arrays


def test_resumed_run_equals_uninterrupted_one_bit_for_bit(faces, adversarial_recipe, tmp_path):
    train_swap(*faces, tmp_path / "whole", options(adversarial_recipe, steps=10))
    train_swap(*faces, tmp_path / "parts", options(adversarial_recipe, steps=5))
    train_swap(*faces, tmp_path / "parts", options(adversarial_recipe, steps=10))
    whole, parts = arrays_of(tmp_path / "whole"), arrays_of(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not np.array_equal(whole[name], parts[name])] == []


def test_training_writes_everything_conversion_and_people_need(faces, adversarial_recipe, tmp_path):
    notes, saved = Notes(), []

    def after_save(run: TrainingRun) -> None:
        saved.append((run.load_checkpoint().step, run.load_best() is not None, run.manifest["steps"]))

    asked = options(adversarial_recipe, steps=9)
    run = train_swap(*faces, tmp_path / "run", asked, after_save=after_save, progress=notes)
    assert run.manifest["finished"] == "reached 9 steps"
    assert saved[-1] == (9, True, 9)  # called when all of a save is on the disk
    best = run.load_best()
    assert best is not None and {name.split("/")[0] for name in best.arrays} == {"encoder", "decoder_a", "decoder_b"}
    log = run.read_log()
    assert [entry["step"] for entry in log] == [4, 8, 9]
    assert "adversarial_a" in log[1]["losses"] and "adversarial_a" not in log[0]["losses"]
    assert {"l1_a", "ssim_b", "score"} <= set(log[-1]["held_out"])
    assert run.preview_path(9).is_file() and (run.path / "curves.png").is_file()
    assert run.manifest["a"]["template"] == "mean-face-1"
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [event.step for event in events.Tensors("held_out/score")] == [4, 8, 9]
    assert any("consent" in line for line in notes.said)


def test_training_judges_by_the_view_that_conversion_sees(faces, recipe):
    """Crops with a margin are wider than high: their middle must be found along both axes."""
    loaded = load_recipe(recipe)
    assert loaded.network.view[0] != loaded.network.view[1]
    with FaceDataset.open(faces[0]) as dataset:
        resident = load_faces(dataset, loaded.network, 1e9, Progress())
        records = dataset.training_records()
        seen = [network_view(dataset.crop(r), loaded.network.resolution, loaded.network.view) for r in records]
    found = central_views(np.concatenate([resident.train, resident.held_out]), loaded)[..., :3]
    assert {view.tobytes() for view in found} <= {view.tobytes() for view in seen}


def test_finished_run_says_why_and_needs_to_be_asked_for_more(faces, recipe, tmp_path):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=4))
    notes = Notes()
    run = train_swap(*faces, tmp_path / "run", options(recipe, steps=4), progress=notes)
    assert any("reached 4 steps" in line for line in notes.said) and run.manifest["steps"] == 4
    run = train_swap(*faces, tmp_path / "run", options(recipe, time="0s"), progress=notes)
    assert run.manifest["steps"] == 5


def test_another_recipe_or_seed_on_an_existing_run_is_refused(faces, recipe, tmp_path):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=2))
    with pytest.raises(RunError, match="seed 1 .*asked for: 2.*--out OTHER"):
        train_swap(*faces, tmp_path / "run", options(recipe, steps=4, seed=2))
    with pytest.raises(RunError, match="recipe tiny .*lite64"):
        train_swap(*faces, tmp_path / "run", options("lite64", steps=4))


def test_a_run_is_not_gone_on_with_when_the_persons_changed_places(faces, recipe, tmp_path):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=2))
    with pytest.raises(RunError, match="the other way round.*b-to-a"):
        train_swap(*faces[::-1], tmp_path / "run", options(recipe, steps=3))


def test_too_few_faces_of_b_leave_no_run_behind(faces, recipe, tmp_path):
    few = sorted((faces[1] / "crops").iterdir())[20:]
    for crop in few:
        crop.unlink()
    with pytest.raises(NoFaceError, match="20 faces to train on.*--redo"):
        train_swap(*faces, tmp_path / "run", options(recipe, steps=2))
    assert not (tmp_path / "run").exists()


def test_auto_recipe_goes_on_with_the_runs_own(faces, recipe, tmp_path):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=2))
    run = train_swap(*faces, tmp_path / "run", options("auto", steps=3))
    assert run.manifest["recipe"]["name"] == "tiny" and run.manifest["steps"] == 3


def test_changed_dataset_is_said_and_recorded(faces, recipe, tmp_path):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=2))
    next((faces[0] / "crops").iterdir()).unlink()
    notes = Notes()
    before = json.loads((tmp_path / "run/run.json").read_text())["a"]["sha256"]
    run = train_swap(*faces, tmp_path / "run", options(recipe, steps=3), progress=notes)
    assert any("faces_a has changed" in line for line in notes.said)
    assert run.manifest["a"]["sha256"] != before


def test_interrupt_keeps_every_step(faces, recipe, tmp_path, monkeypatch):
    steps = SwapModel.step

    def interrupted(self, crops, drawn, rate, step):
        if step == 3:
            raise KeyboardInterrupt
        return steps(self, crops, drawn, rate, step)

    monkeypatch.setattr(SwapModel, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_swap(*faces, tmp_path / "run", options(recipe, steps=10))
    with TrainingRun.open(tmp_path / "run") as run:
        checkpoint = run.load_checkpoint()
        assert checkpoint is not None and checkpoint.step == 3
        assert run.load_best() is not None
        assert run.manifest["finished"] is None


def test_losses_that_are_not_numbers_roll_back_and_lower_the_rate(faces, recipe, tmp_path, monkeypatch):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=20))
    steps, broken = SwapModel.step, [25]

    def poisoned(self, crops, drawn, rate, step):
        losses = steps(self, crops, drawn, rate, step)
        if broken and step == 24:
            broken.pop()
            return {**losses, "edge_a": np.float32(np.nan)}
        return losses

    monkeypatch.setattr(SwapModel, "step", poisoned)
    notes = Notes()
    run = train_swap(*faces, tmp_path / "run", options(recipe, steps=30), progress=notes)
    assert any("step 25: the losses were not numbers; back to step 20" in line for line in notes.said)
    log = run.read_log()
    assert [entry["step"] for entry in log] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert log[-1]["rate"] == 0.5


def test_new_person_starts_from_a_trained_run(faces, recipe, tmp_path):
    base = train_swap(*faces, tmp_path / "base", options(recipe, steps=4))
    best = base.load_best()
    assert best is not None
    other = make_dataset(tmp_path / "faces_c", 5, (200, 120, 120))
    started = options(recipe, steps=1, base=str(tmp_path / "base"), seed=9)
    run = train_swap(other, faces[1], tmp_path / "next", started)
    assert run.manifest["base"]["path"] == str(tmp_path / "base")
    moved = arrays_of(tmp_path / "next")["encoder/code/kernel"] - best.arrays["encoder/code/kernel"]
    assert np.abs(moved).max() < 0.01


def test_same_person_twice_is_refused(faces, recipe, tmp_path):
    with pytest.raises(OptionError, match="two persons"):
        train_swap(faces[0], faces[0], tmp_path / "run", options(recipe))


def test_too_few_faces_says_how_many(faces, recipe, tmp_path):
    few = make_dataset(tmp_path / "faces_few", 3, (90, 90, 200), count=7)
    with pytest.raises(NoFaceError, match="has 7 faces to train on, expected at least 32"):
        train_swap(few, faces[1], tmp_path / "run", options(recipe))


def test_dataset_without_masks_names_the_remedy(faces, recipe, tmp_path):
    bare = make_dataset(tmp_path / "faces_bare", 3, (90, 90, 200), masks=False)
    with pytest.raises(DatasetError, match="swap masks"):
        train_swap(bare, faces[1], tmp_path / "run", options(recipe))


def test_a_bad_consent_file_leaves_no_run_behind(faces, recipe, tmp_path):
    (tmp_path / "consent.toml").write_text("who = 5")
    with pytest.raises(RunError):
        train_swap(*faces, tmp_path / "run", options(recipe), consent=tmp_path / "consent.toml")
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_older_version_goes_on_and_learns_the_persons_tones(faces, recipe, tmp_path):
    train_swap(*faces, tmp_path / "run", options(recipe, steps=2))
    path = tmp_path / "run/run.json"
    manifest = json.loads(path.read_text())
    del manifest["recipe"]["network"]["tone_free"], manifest["recipe"]["train"]["degrade"], manifest["b"]["tone"]
    path.write_text(json.dumps(manifest))
    run = train_swap(*faces, tmp_path / "run", options(recipe, steps=3))
    tone = run.manifest["b"]["tone"]
    assert run.manifest["steps"] == 3 and len(tone["mean"]) == len(tone["spread"]) == 3
    assert tone["mean"][0] < run.manifest["a"]["tone"]["mean"][0], "b's skin is darker"
    again = train_swap(*faces, tmp_path / "run", options(recipe, steps=3))
    assert again.manifest["b"]["tone"] == tone
