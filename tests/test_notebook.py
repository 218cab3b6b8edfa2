"""examples/swap.ipynb: its form, and a run of every cell in two sessions that share nothing but the storage folder."""

import ast
import copy
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.storage import sha256_file
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import read_frames
from faceswap_pipeline.video.writer import VideoWriter
from tests.train.conftest import TINY_RECIPE

NOTEBOOK = Path(__file__).parent.parent / "examples" / "swap.ipynb"
FRAMES = 32


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_valid_and_holds_no_output(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    for cell in code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None and cell.metadata == {}


def test_every_step_has_words_a_title_and_code_that_compiles(notebook: Any) -> None:
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds == ["markdown", *["markdown", "code"] * len(code_cells(notebook))]
    for cell in code_cells(notebook):
        ast.parse(cell.source)  # plain Python: no magics, so that it works the same everywhere
        assert cell.source.startswith("# @title ")


def test_every_field_says_what_it_wants(notebook: Any) -> None:
    fields = 0
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        for before, line in zip(lines, lines[1:], strict=False):
            if "@param" not in line:
                continue
            fields += 1
            name, _, rest = line.partition(" = ")
            value, _, form = rest.partition("  # @param ")
            assert name.isupper() and before.startswith("#")
            default = ast.literal_eval(value)
            if form.startswith("["):
                assert default in json.loads(form)
            else:
                assert form in ('{type: "string"}', '{type: "number"}', '{type: "boolean"}')
    assert fields >= 12


def test_it_says_first_where_it_may_not_run_and_does_not_look_where_it_is(notebook: Any) -> None:
    assert "Google Colab's FAQ lists creating deepfakes" in notebook.cells[0].source
    assert "consent" in notebook.cells[0].source
    assert not re.search("colab", "".join(cell.source for cell in code_cells(notebook)), re.IGNORECASE)


def test_it_names_no_path_of_any_machine(notebook: Any) -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"""["' (](/[a-z]|[A-Z]:\\|~/)""", text)


INTERRUPTED = """#!{python}
import os, signal, sys, time
print("training", *sys.argv[1:], flush=True)
try:
    time.sleep(0.3)
    os.kill(os.getppid(), signal.SIGINT)  # the cell is stopped
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(0.2)
    print("saved", flush=True)
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="stopping a line needs process groups")
def test_stopping_a_cell_lets_the_line_save_and_stops_the_cells_after_it(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "")  # the cell sets it; it is put back after the test
    names: dict[str, Any] = {"work": tmp_path}
    exec(next(cell.source for cell in notebook.cells if cell.id == "install"), names)
    program = tmp_path / "python"
    program.write_text(INTERRUPTED.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    # What runs in the background of a shell is started with Ctrl-C ignored, and hands that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(RuntimeError, match="swap train ended with status 130"):
            names["swap"]("train", "--time", "20m")
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out.splitlines() == ["training -m faceswap_pipeline.cli train --time 20m", "saved"]


# -- two sessions -----------------------------------------------------------------------------------------------------


def with_fields(notebook: Any, **values: Any) -> Any:
    """The notebook with its fields filled in."""
    notebook = copy.deepcopy(notebook)
    for cell in code_cells(notebook):
        for name in [name for name in values if re.search(rf"^{name} = ", cell.source, re.MULTILINE)]:
            line = f"{name} = {values.pop(name)!r}"
            cell.source = re.sub(rf"^{name} = .*$", lambda _, line=line: line, cell.source, flags=re.MULTILINE)
    assert values == {}
    return notebook


def run_all(notebook: Any, folder: Path) -> dict[str, str]:
    """Execute every cell with `folder` as the notebook's; what each printed or showed, by its id."""
    from nbclient import NotebookClient

    folder.mkdir()
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return {
        cell.id: "".join(
            output.text if output.output_type == "stream" else f"<{' '.join(output.data)}>" for output in cell.outputs
        )
        for cell in code_cells(notebook)
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the notebook's own machinery
@pytest.mark.skipif(sys.platform == "win32", reason="stopping a line needs process groups")
def test_a_dead_session_is_continued_from_the_storage(notebook: Any, tmp_path: Path) -> None:
    storage = tmp_path / "drive"
    storage.mkdir()
    for name in ("video_a.mp4", "video_b.mp4"):
        source = examples_pair() / name
        with VideoWriter(storage / name, probe(source), preset="ultrafast") as writer:
            for frame in read_frames(source, stop=FRAMES):
                writer.write(frame)
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    fields = {"STORAGE": str(storage), "RECIPE": str(tmp_path / "tiny.toml"), "SAVE_MINUTES": 0.02, "TIME": "5s"}
    consent = {"WHO": 'Nobody: "rendered"', "WHAT_FOR": "a test", "WHEN": "2026-01-01", "EVIDENCE": "none needed"}

    first = run_all(with_fields(notebook, **fields, **consent), tmp_path / "first")
    assert "video_a.mp4 is copied" in first["resume"] and "faces_a is not in" in first["resume"]
    assert "<" in first["look"] and "image/jpeg" in first["look"] and "image/png" in first["look"]
    assert "video_a_swapped.mp4" in first["convert"]
    assert "text/html" in first["film"]
    assert {"faces_a.zip", "faces_b.zip", "runs", "video_a_swapped.mp4", "evaluation.html"} <= {
        path.name for path in storage.iterdir()
    }
    stored = TrainingRun.open(storage / "runs/a-b")
    steps = stored.manifest["steps"]
    assert steps > 0 and stored.load_checkpoint().step == steps and stored.load_best() is not None
    assert stored.manifest["consent"]["who"] == 'Nobody: "rendered"'
    film = sha256_file(storage / "video_a_swapped.mp4")

    # Another machine: nothing is left but the storage. The consent is not typed in again; step 3 is run twice.
    again = with_fields(notebook, **fields)
    resume = next(index for index, cell in enumerate(again.cells) if cell.id == "resume")
    again.cells.insert(resume + 1, nbformat.from_dict({**copy.deepcopy(again.cells[resume]), "id": "resume-again"}))
    second = run_all(again, tmp_path / "second")
    assert "is unpacked as faces_a" in second["resume"] and f"step_{steps:08d}" in second["resume"]
    assert second["resume-again"].count("here already") == 8
    assert "rendered" in second["consent"]
    assert f"going on with runs/a-b at step {steps}" in second["train"]
    stored = TrainingRun.open(storage / "runs/a-b")
    assert stored.manifest["steps"] > steps and stored.load_checkpoint().step == stored.manifest["steps"]
    assert stored.manifest["consent"]["recorded"]
    assert sha256_file(storage / "video_a_swapped.1.mp4") == film  # the older film is kept
    assert sha256_file(storage / "video_a_swapped.mp4") == sha256_file(
        tmp_path / "second/swap_work/video_a_swapped.mp4"
    )
