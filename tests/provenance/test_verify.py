"""`swap verify` on every combination of marks."""

import json
import shutil
from pathlib import Path

import pytest

from faceswap_pipeline.cli import main
from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.provenance.credentials import own_identity, sign_file
from faceswap_pipeline.provenance.marking import payload_of
from faceswap_pipeline.provenance.verify import verify_file
from faceswap_pipeline.video.images import write_png
from tests.provenance.conftest import coded

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


def test_watermark_only(films, tmp_path, capsys):
    film = without_manifest(signed(films / "marked.mp4", tmp_path / "film.mp4"), tmp_path / "renamed.bin.mp4")
    assert main(["verify", "--json", str(film)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["manifest"]["state"] == "none" and found["watermark"]["present"] and found["status"] == 0


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
