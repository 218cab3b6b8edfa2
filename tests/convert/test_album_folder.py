"""The album that a run keeps: it is the one that was made, it is made anew when it must be, and it may be missing."""

from dataclasses import fields

import numpy as np
import pytest

from faceswap_pipeline.array_folder import Checkpoint
from faceswap_pipeline.convert import album_folder
from faceswap_pipeline.convert.album_folder import AlbumFolder, find_album, prepare_album
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun
from tests.notes import Notes


def weights(name: str) -> Checkpoint:
    return Checkpoint(7, {}, {}, name * 64)


def find(studio, folder: AlbumFolder, fingerprint: str):
    with FaceDataset.open(studio.faces) as dataset:
        return find_album(folder, dataset, fingerprint, studio.swapper, Progress())


def test_what_is_read_is_what_was_kept(studio):
    made = find(studio, AlbumFolder(studio.run, "b", weights("c")), "faces")
    kept = AlbumFolder(studio.run, "b", weights("c"))
    assert kept.pictures == "faces"
    read = kept.read()
    for field in fields(made):
        before, after = getattr(made, field.name), getattr(read, field.name)
        assert type(before) is type(after) and np.array_equal(before, after), field.name
        assert not isinstance(before, np.ndarray) or before.dtype == after.dtype


def test_of_other_weights_or_pictures_it_is_made_anew(studio):
    find(studio, AlbumFolder(studio.run, "b", weights("c")), "faces")
    assert AlbumFolder(studio.run, "b", weights("d")).pictures is None
    assert AlbumFolder(studio.run, "a", weights("c")).pictures is None
    find(studio, AlbumFolder(studio.run, "b", weights("c")), "other faces")
    assert AlbumFolder(studio.run, "b", weights("c")).pictures == "other faces"


def test_of_another_version_it_is_made_anew(studio, monkeypatch):
    find(studio, AlbumFolder(studio.run, "b", weights("c")), "faces")
    monkeypatch.setattr(album_folder, "VERSION", album_folder.VERSION + 1)
    assert AlbumFolder(studio.run, "b", weights("c")).pictures is None


def test_a_damaged_one_is_made_anew(studio):
    folder = AlbumFolder(studio.run, "b", weights("c"))
    find(studio, folder, "faces")
    arrays = folder.path / "arrays.npz"
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)
    assert AlbumFolder(studio.run, "b", weights("c")).pictures is None
    assert find(studio, AlbumFolder(studio.run, "b", weights("c")), "faces") is not None
    assert AlbumFolder(studio.run, "b", weights("c")).pictures == "faces"


def test_a_run_in_use_is_left_alone(studio):
    folder = AlbumFolder(studio.run, "b", weights("c"))
    with TrainingRun.open(studio.run, write=True):
        assert find(studio, folder, "faces") is not None
    assert not folder.path.exists()


def test_training_leaves_the_album_of_its_best_weights(studio, monkeypatch):
    monkeypatch.setattr(album_folder, "load_swapper", lambda *_: studio.swapper)
    with TrainingRun.open(studio.run, write=True) as run:
        prepare_album(run, "b", Progress())
        assert not (studio.run / "album_b").exists(), "there are no weights yet"
        run.save_best({"encoder/x": np.zeros(3, np.float32)}, {"step": 7})
    prepare_album(run, "b", Progress())
    best = run.load_best()
    assert best is not None
    with FaceDataset.open(studio.faces) as dataset:
        assert AlbumFolder(studio.run, "b", best).pictures == dataset.fingerprint()


@pytest.mark.parametrize("missing", ["faces_a", "faces_a/crops"])
def test_what_is_missing_is_only_warned_of(studio, monkeypatch, missing):
    monkeypatch.setattr(album_folder, "load_swapper", lambda *_: studio.swapper)
    with TrainingRun.open(studio.run, write=True) as run:
        run.save_best({"encoder/x": np.zeros(3, np.float32)}, {"step": 7})
    (studio.folder / missing).rename(studio.folder / "elsewhere")
    told = Notes()
    prepare_album(run, "b", told)
    assert not (studio.run / "album_b").exists()
    assert (missing == "faces_a") == bool(told.said), "without crops there are simply no pictures"
