"""The four lines of the README on two short clips, under each backend, and as a user without one of his own runs them;
under JAX, and for the film of the last, with TensorFlow out of reach.

In: the rendered pair. Out: films that are verified. Minutes, since every network is compiled anew.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faceswap_pipeline.machine import has_nvidia_card
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import VideoWriter

FRAMES = 48
WITHOUT_TENSORFLOW = "import sys; sys.modules['tensorflow'] = None; "
RUN = "import faceswap_pipeline.cli as cli, sys; sys.exit(cli.main(sys.argv[1:]))"


def cut_short(source: Path, target: Path) -> None:
    info = probe(source)
    with VideoWriter(target, info, preset="ultrafast") as writer:
        for frame in read_frames(source, stop=FRAMES):
            writer.write(frame)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", ""])
def test_two_videos_become_one(backend: str, tmp_path: Path) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    for name in ("video_a.mp4", "video_b.mp4"):
        cut_short(examples_pair() / name, tmp_path / name)
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "KERAS_HOME": str(tmp_path)}
    if not backend:
        del environment["KERAS_BACKEND"]

    def swap(line: str, tensorflow: bool = backend != "jax") -> str:
        code = ("" if tensorflow else WITHOUT_TENSORFLOW) + RUN
        command = [sys.executable, "-c", code, *line.split()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"swap {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    swap("extract video_a.mp4")
    swap("extract video_b.mp4")
    swap("train --a faces_a --b faces_b --steps 3")
    swap("convert", tensorflow=backend == "tensorflow" or has_nvidia_card())
    swap("verify video_a_swapped.mp4")  # status 0: both marks are found
    film, source = (list(read_frames(tmp_path / name)) for name in ("video_a_swapped.mp4", "video_a.mp4"))
    assert [frame.pts for frame in film] == [frame.pts for frame in source]
    sidecar = json.loads((tmp_path / "video_a_swapped.json").read_text())
    assert sidecar["frames"]["swapped"] == FRAMES
    run = json.loads((tmp_path / "runs/a-b/run.json").read_text())
    assert run["backend"] == (backend or "tensorflow") and run["recipe"]["name"] == "lite64"
