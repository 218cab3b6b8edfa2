"""Memory stays flat however long the film is."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import av
import pytest

from faceswap_pipeline import resources

SECONDS = float(os.environ.get("SWAP_LONG_SECONDS", "3600"))
"""Length of the film; an hour takes about as long to extract on two cores."""
LIMIT = 1.5e9
"""Bytes that extraction may hold at once."""


def loop_film(path: Path, seconds: float) -> int:
    """The rendered film of A again and again for `seconds`, packets as they are; returns how many frames it has."""
    count = 0
    with av.open(str(path), "w") as out:
        stream, shift = None, 0
        while stream is None or float(shift * stream.time_base) < seconds:
            with av.open(str(resources.examples_pair() / "video_a.mp4")) as source:
                film = source.streams.video[0]
                stream = stream or out.add_stream_from_template(film)
                for packet in source.demux(film):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.time_base = film.time_base
                    packet.stream = stream
                    out.mux(packet)
                    count += 1
                shift += film.duration
    return count


@pytest.mark.slow
def test_extraction_of_a_long_film_stays_below_its_memory(tmp_path):
    film = tmp_path / "long.mp4"
    frames = loop_film(film, SECONDS)
    command = [sys.executable, "-m", "faceswap_pipeline.cli", "extract", str(film), "--size", "64", "--out", "faces"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "faces" / "frames.csv").read_text().splitlines()) == frames + 1
    # Linux counts in KiB. The largest child so far: nothing else that this process starts comes near it.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{frames} frames, peak {peak / 2**30:.2f} GiB")
    assert peak < LIMIT, f"{peak / 1e9:.2f} GB for {frames} frames"
