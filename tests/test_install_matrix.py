"""The wheel installs and works beside the oldest and the newest TensorFlow and Keras that it allows.

In: the wheel, and every Python that is found. Out: environments of gigabytes, filled from the package index; each
takes minutes.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from faceswap_pipeline.resources import examples_pair
from tests.conftest import run
from tests.test_four_lines import cut_short

PYTHONS = ("3.11", "3.12", "3.13")
PAIRS = {
    "oldest": ["tensorflow==2.20.0", "keras==3.13.2", "numpy==2.1.3"],  # Colab's
    "newest": [],
}


def find_python(version: str) -> str | None:
    """A Python of this version: on the path, or one of pyenv's."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        if candidate is None:
            continue
        done = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.startswith(f"Python {version}."):
            return candidate
    return None


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("pair", PAIRS)
def test_an_install_works_from_clip_to_film(wheel: Path, tmp_path: Path, version: str, pair: str) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} was found")
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(python, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    (tmp_path / "constraints.txt").write_text("\n".join(PAIRS[pair]))
    run(scripts / "python", "-m", "pip", "install", "--quiet", wheel, "-c", "constraints.txt", cwd=tmp_path)
    run(scripts / "python", "-m", "pip", "check", cwd=tmp_path)
    for name in ("video_a.mp4", "video_b.mp4"):
        cut_short(examples_pair() / name, tmp_path / name)
    settings = {"XDG_CONFIG_HOME": str(tmp_path / "settings"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    lines = ("extract video_a.mp4", "extract video_b.mp4", "train --a faces_a --b faces_b --steps 2", "convert")
    for line in (*lines, "verify video_a_swapped.mp4", "evaluate video_a_swapped.mp4 --quick", "doctor"):
        run(scripts / "swap", *line.split(), cwd=tmp_path, **settings)
    assert (tmp_path / "evaluation.html").is_file()
    shutil.rmtree(tmp_path / "env")  # three gigabytes each
