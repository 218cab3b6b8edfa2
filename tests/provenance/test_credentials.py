"""Keys of an installation, signing as the last write, and what a manifest says of a file."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.provenance import credentials
from faceswap_pipeline.provenance.credentials import (
    FileSigner,
    can_sign,
    open_identity,
    own_identity,
    read_manifest,
    sign_file,
)
from faceswap_pipeline.video.images import write_jpeg, write_png

STATEMENT = {"run": "ab" * 32, "consent": "not recorded"}


def picture(path: Path, level: int = 90) -> Path:
    image = np.full((40, 60, 3), level, np.uint8)
    (write_jpeg if path.suffix == ".jpg" else write_png)(path, image)
    return path


def test_a_key_is_made_once_and_only_its_owner_reads_it(settings_folder):
    first = own_identity()
    assert own_identity() == first and first.algorithm == "es256"
    key = settings_folder / "identity" / "key.pem"
    if sys.platform != "win32":
        assert key.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in settings_folder.iterdir()] == ["identity"]
    assert own_identity(settings_folder / "other").serial != first.serial


def test_an_identity_that_does_not_hold_together_is_refused(tmp_path):
    with pytest.raises(OptionError, match="expected key.pem and certificate.pem"):
        open_identity(tmp_path)
    for name in ("a", "b"):
        own_identity(tmp_path / name)
    mixed = tmp_path / "a" / "identity"
    (mixed / "key.pem").write_bytes((tmp_path / "b" / "identity" / "key.pem").read_bytes())
    with pytest.raises(OptionError, match="does not belong"):
        open_identity(mixed)
    (mixed / "key.pem").write_text("no key")
    with pytest.raises(OptionError, match="no unencrypted PEM"):
        open_identity(mixed)


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_signed_picture_says_what_was_done(tmp_path, ending):
    source, unsigned = picture(tmp_path / "source.png"), picture(tmp_path / f"unsigned{ending}", 100)
    signed = sign_file(unsigned, tmp_path / f"film{ending}", source, STATEMENT, own_identity())
    found = read_manifest(tmp_path / f"film{ending}")
    assert found.state == "matches" and found.ours and found.label == signed["manifest"]
    assert found.statement == STATEMENT and found.serial == own_identity().serial
    assert read_manifest(source).state == "none"
    assert not list(tmp_path.glob(".*")), "nothing is left beside"
    assert (tmp_path / f"film{ending}").stat().st_size < unsigned.stat().st_size + 20_000, "no thumbnails"


def test_the_manifest_of_the_source_is_kept(tmp_path):
    source = tmp_path / "source.png"
    first = sign_file(picture(tmp_path / "a.png"), source, picture(tmp_path / "b.png"), STATEMENT, own_identity())
    sign_file(picture(tmp_path / "c.png", 7), tmp_path / "film.png", source, {"run": "2"}, own_identity())
    assert first["manifest"].encode() in (tmp_path / "film.png").read_bytes()
    assert read_manifest(tmp_path / "film.png").statement == {"run": "2"}


def test_one_signer_signs_many_files_of_one_source(tmp_path, monkeypatch):
    source, read = picture(tmp_path / "source.png"), []
    original = credentials._read_parent
    monkeypatch.setattr(credentials, "_read_parent", lambda *given: read.append(given) or original(*given))
    sign = FileSigner(source, STATEMENT, own_identity())
    labels = {
        sign(picture(tmp_path / f"{level}.png", level), tmp_path / f"{level} signed.png")["manifest"]
        for level in (10, 20)
    }
    assert len(labels) == 2 and len(read) == 1, "a manifest each, and the source was read once"
    for level in (10, 20):
        found = read_manifest(tmp_path / f"{level} signed.png")
        assert found.state == "matches" and found.ours and found.statement == STATEMENT
        assert b"source.png" in (tmp_path / f"{level} signed.png").read_bytes()


def test_a_source_that_carries_no_manifest_is_named(tmp_path):
    source = tmp_path / "source.mkv"
    source.write_bytes(b"no matter what")
    sign_file(picture(tmp_path / "a.png"), tmp_path / "film.png", source, STATEMENT, own_identity())
    assert read_manifest(tmp_path / "film.png").state == "matches"
    assert b"source.mkv" in (tmp_path / "film.png").read_bytes()


def test_a_failure_leaves_no_file(tmp_path):
    authority = own_identity(time_authority="http://127.0.0.1:9/")
    with pytest.raises(OptionError, match="127.0.0.1"):
        sign_file(picture(tmp_path / "a.png"), tmp_path / "film.png", tmp_path / "a.png", STATEMENT, authority)
    assert sorted(os.listdir(tmp_path)) == ["a.png"]


def test_endings():
    assert all(can_sign(Path(f"x{ending}")) for ending in (".mp4", ".MOV", ".png", ".jpg"))
    assert not can_sign(Path("x.mkv"))


def test_damage_to_the_manifest_is_no_absence(tmp_path):
    film = tmp_path / "film.png"
    sign_file(picture(tmp_path / "a.png"), film, tmp_path / "a.png", STATEMENT, own_identity())
    data = bytearray(film.read_bytes())
    data[data.index(credentials.STATEMENT.encode()) + 3] ^= 1
    film.write_bytes(data)
    assert read_manifest(film).state == "differs"
