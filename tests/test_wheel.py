"""The wheel is whole: built, installed into an empty environment outside the checkout, and used there."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, run

# What `swap --help` needs; the wheel is installed without its heavy dependencies.
LIGHT = ("cyclopts", "rich", "attrs", "docstring_parser", "rich_rst", "markdown_it", "mdurl", "pygments", "docutils")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and nothing else; the light libraries lie in a folder beside it."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet", wheel, cwd=folder)
    (folder / "light").mkdir()
    installed = Path(__import__("rich").__file__).parent.parent
    for name in (*LIGHT, "attr", "typing_extensions.py"):
        if (installed / name).exists():
            (folder / "light" / name).symlink_to(installed / name)
    return folder


def test_the_wheel_has_one_import_root_and_fits(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"faceswap_pipeline"}
    assert not [name for name in names if "/_data/" in name and name.endswith(".py")]
    assert wheel.stat().st_size < 60e6


def test_the_wheel_carries_every_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        carried = {name.removeprefix("faceswap_pipeline/_data/") for name in archive.namelist() if "/_data/" in name}
    tracked = run("git", "ls-files", "models", "weights", "examples/pair", cwd=ROOT).splitlines()
    assert tracked
    assert set(tracked) <= carried


def test_help_recipe_and_weight_work_outside_the_checkout(environment: Path) -> None:
    scripts = environment / "env" / ("Scripts" if os.name == "nt" else "bin")
    light = str(environment / "light")
    assert "swap COMMAND" in run(scripts / "swap", "--help", cwd=environment, PYTHONPATH=light)
    assert "--recipe" in run(scripts / "swap", "train", "--help", cwd=environment, PYTHONPATH=light)
    program = (
        "from faceswap_pipeline import resources as r\n"
        "print(r.recipe_file('lite64'), r.weight_file('mtcnn'), r.examples_pair(), sep='\\n')"
    )
    paths = [Path(line) for line in run(scripts / "python", "-c", program, cwd=environment).splitlines()]
    assert all(path.exists() and "_data" in path.parts and environment in path.parents for path in paths)
