"""Shipped files: found, and refused when they are not the ones of the manifest."""

import hashlib
from pathlib import Path

import pytest

from faceswap_pipeline import resources
from faceswap_pipeline.errors import OptionError, WeightsError


def write_manifest(folder: Path, sha256: str, more: str = "") -> None:
    (folder / "manifest.toml").write_text(
        f'[tiny]\nfile = "tiny.npz"\nsha256 = "{sha256}"\nbytes = 4\nlicence = "MIT"\n'
        f'origin = "a test"\nmade_by = "a test"\nused_by = "nothing"\nfigures = "none"\n{more}'
    )


def test_a_whole_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "tiny.npz").write_bytes(b"good")
    write_manifest(tmp_path, hashlib.sha256(b"good").hexdigest())
    assert resources.weight_file("tiny", tmp_path) == tmp_path / "tiny.npz"


def test_a_changed_file_is_refused_even_after_it_was_found_once(tmp_path: Path) -> None:
    (tmp_path / "tiny.npz").write_bytes(b"good")
    write_manifest(tmp_path, hashlib.sha256(b"good").hexdigest())
    resources.weight_file("tiny", tmp_path)
    (tmp_path / "tiny.npz").write_bytes(b"evil")
    with pytest.raises(WeightsError, match="not the file of the manifest"):
        resources.weight_file("tiny", tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_manifest(tmp_path, "0" * 64)
    with pytest.raises(WeightsError, match=r"cannot read .*tiny\.npz"):
        resources.weight_file("tiny", tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    write_manifest(tmp_path, "0" * 64)
    with pytest.raises(WeightsError, match="no weights named 'huge': the manifest has tiny"):
        resources.weight_file("huge", tmp_path)


@pytest.mark.parametrize("text", ['[tiny]\nfile = "x"\n', "[tiny", "tiny = 3\n"])
def test_a_bad_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(WeightsError, match="manifest"):
        resources.weight_entries(tmp_path)


def test_every_shipped_weight_is_the_one_of_the_manifest() -> None:
    for name, entry in resources.weight_entries().items():
        assert resources.weight_file(name).stat().st_size == entry.bytes, name


def test_no_weight_file_is_shipped_without_an_entry() -> None:
    listed = {entry.file for entry in resources.weight_entries().values()}
    shipped = {path.name for path in resources.weights_folder().iterdir() if path.suffix not in (".toml", ".md")}
    assert shipped == listed


def test_every_recipe_has_a_card() -> None:
    names = resources.recipe_names()
    assert names
    for name in names:
        assert (resources.recipe_file(name).parent / "README.md").is_file(), name


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="expected one of .*lite64"):
        resources.recipe_file("huge512")


def test_the_rendered_pair_is_complete() -> None:
    names = {path.name for path in resources.examples_pair().iterdir()}
    assert {"video_a.mp4", "video_b.mp4", "truth.mp4", "truth_mask.mp4", "README.md"} <= names
