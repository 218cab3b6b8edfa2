"""`swap verify` on every combination of marks."""

import json
import shutil
from pathlib import Path

import pytest

from faceswap_pipeline.cli import main
from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.provenance.credentials import own_identity, sign_file
from faceswap_pipeline.provenance.marking import luma_of, payload_of
from faceswap_pipeline.provenance.verify import verify_file
from faceswap_pipeline.video.images import write_png
from faceswap_pipeline.video.reader import read_frames
from tests.provenance.conftest import PAYLOAD, coded

STATEMENT = {"run": "ab" * 32, "consent": "not recorded"}
C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


@pytest.fixture(scope="module")
def films(clean, marked, tmp_path_factory) -> Path:
    """A folder of films of half a second: marked.mp4 and clean.mp4, not signed."""
    folder = tmp_path_factory.mktemp("films")
    coded(marked[:12], 20, folder / "marked.mp4")
    coded(clean[:12], 20, folder / "clean.mp4")
    return folder


def signed(film: Path, to: Path) -> Path:
    sign_file(film, to, film, STATEMENT, own_identity())
    return to


def without_manifest(film: Path, to: Path) -> Path:
    """The packets of a film in a new file: a remux, as every upload does it."""
    import av

    with av.open(str(film)) as source, av.open(str(to), "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return to


def manifest_box(film: Path) -> bytes:
    data = film.read_bytes()
    start = data.index(C2PA_BOX) - 8
    return data[start : start + int.from_bytes(data[start : start + 4], "big")]


def test_manifest_and_watermark(films, tmp_path, capsys):
    film = signed(films / "marked.mp4", tmp_path / "film.mp4")
    assert main(["verify", str(film)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "was swapped" in lines[0] and "valid" in lines[1] and "present" in lines[2] and "none beside" in lines[3]


def re_encoded(film: Path, to: Path) -> Path:
    """The pictures of a film compressed harder: what a platform makes of an upload."""
    coded([luma_of(frame) for frame in read_frames(film)], 28, to)
    return to


@pytest.mark.parametrize("attack", [without_manifest, re_encoded], ids=["remux", "re-encoded"])
def test_watermark_only(attack, films, tmp_path, capsys):
    film = attack(signed(films / "marked.mp4", tmp_path / "film.mp4"), tmp_path / "holiday 2019.m4v")
    assert main(["verify", "--json", str(film)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["manifest"]["state"] == "none" and found["watermark"]["present"] and found["status"] == 0
    assert found["watermark"]["reading"]["payload"] == PAYLOAD


def test_both_marks_without_a_name_that_tells_the_kind(films, tmp_path):
    film = signed(films / "marked.mp4", tmp_path / "film.mp4").rename(tmp_path / "film.dat")
    found = verify_file(film)
    assert found.status == 0 and found.manifest.state == "matches" and found.mark.reading.present


def test_manifest_only(films, tmp_path):
    found = verify_file(signed(films / "clean.mp4", tmp_path / "film.mp4"))
    assert found.status == 0 and found.manifest.ours and not found.mark.reading.present


def test_neither(films, capsys):
    assert main(["verify", str(films / "clean.mp4")]) == 1
    assert "does not prove that it is genuine" in capsys.readouterr().out


def test_the_manifest_of_another_file(films, tmp_path, capsys):
    box = manifest_box(signed(films / "marked.mp4", tmp_path / "film.mp4"))
    stolen = tmp_path / "stolen.mp4"
    stolen.write_bytes((films / "clean.mp4").read_bytes() + box)
    assert main(["verify", str(stolen)]) == 3
    assert "does not match" in capsys.readouterr().out


def test_one_byte_flipped_in_the_middle(films, tmp_path):
    film = signed(films / "marked.mp4", tmp_path / "film.mp4")
    data = bytearray(film.read_bytes())
    data[len(data) // 2] ^= 0x10
    film.write_bytes(data)
    assert verify_file(film).status == 3


def chunk_of(picture: bytes) -> bytes:
    """The chunk of a PNG that holds its manifest."""
    start = picture.index(b"caBX") - 4
    return picture[start : start + 12 + int.from_bytes(picture[start : start + 4], "big")]


@pytest.mark.parametrize("kind", ["both", "watermark", "manifest", "neither", "another's", "flipped"])
def test_pictures_too(kind, tmp_path, clean, marked, capsys):
    plain, picture = tmp_path / "plain.png", tmp_path / "picture.png"
    write_png(plain, (clean if kind in ("manifest", "neither", "another's") else marked)[0])
    picture.write_bytes(plain.read_bytes())
    if kind in ("both", "manifest", "flipped"):
        sign_file(plain, picture, plain, STATEMENT, own_identity())
    elif kind == "another's":
        other = tmp_path / "other.png"
        write_png(other, marked[1])
        sign_file(other, other, other, STATEMENT, own_identity())
        data = plain.read_bytes()
        picture.write_bytes(data[:33] + chunk_of(other.read_bytes()) + data[33:])
    if kind == "flipped":
        data = bytearray(picture.read_bytes())
        data[len(data) // 2] ^= 0x10
        picture.write_bytes(data)
    expected = {"both": 0, "watermark": 0, "manifest": 0, "neither": 1, "another's": 3, "flipped": 3}[kind]
    assert main(["verify", str(picture)]) == expected
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_foreign_manifest_is_only_reported(films, tmp_path, monkeypatch):
    with monkeypatch.context() as other:
        other.setattr("faceswap_pipeline.provenance.credentials.GENERATOR", "some camera")
        film = signed(films / "clean.mp4", tmp_path / "film.mp4")
    found = verify_file(film)
    assert found.status == 1 and found.manifest.state == "matches" and "some camera" in found.words()[1]


def test_the_sidecar_never_decides(films, tmp_path):
    film = tmp_path / "film.mp4"
    shutil.copy(films / "clean.mp4", film)
    sidecar = {"format": "faceswap-conversion", "checkpoint": "ab" * 32, "signed": {"film_sha256": "0"}}
    film.with_suffix(".json").write_text(json.dumps(sidecar))
    found = verify_file(film)
    assert found.status == 1 and found.sidecar is not None and not found.sidecar.belongs
    film.with_suffix(".json").write_text("[]")
    assert verify_file(film).sidecar is None


def test_a_picture(tmp_path, marked):
    still = tmp_path / "still.png"
    write_png(still, marked[0])
    found = verify_file(still)
    assert found.status == 0 and found.mark.windows == 1


def test_what_is_no_film_is_refused(tmp_path, capsys):
    with pytest.raises(VideoError, match="folder"):
        verify_file(tmp_path)
    (tmp_path / "text.mp4").write_text("no film")
    assert main(["verify", str(tmp_path / "text.mp4")]) == 2
    assert main(["verify", str(tmp_path / "missing.mp4")]) == 2


def test_the_number_is_the_begin_of_the_hash():
    assert payload_of("ab12c" + "0" * 59) == 0xAB12C
