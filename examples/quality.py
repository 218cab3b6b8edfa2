"""How good a swap do so many minutes of training make? The four lines and `swap evaluate`, a table row for each mark.

In: a folder that holds `video_a.mp4` and `video_b.mp4`, and `truth.mp4` and `truth_mask.mp4` where the true swap is
known; a recipe and steps a second on an idle machine. Out: a folder with everything that the verbs leave, and rows.

N CPU minutes are the steps that N minutes do when nothing else runs, so a row does not depend on what ran beside it.
"""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import keras

from faceswap_pipeline import __version__, workflows
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.evaluate.options import EvaluateOptions
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.train.options import TrainOptions

COLUMNS = {
    "raw": ("truth_psnr", "truth_ssim"),
    "registered": ("registered_psnr", "registered_ssim"),
    "taken for B": ("identity",),
    "mouth follows": ("mouth_follows",),
    "eyes follow": ("eyes_follow",),
    "mouth opens": ("mouth_opening",),
    "eyes open": ("eye_opening",),
}
"""Column -> the evaluation's metrics in it."""
HEADER = ["clips", "recipe", "from", "seed", "minutes", "steps", *COLUMNS, "version", "day"]
TABLE = "| recipe | from |"
"""What the table's heading holds, in the page that rows are added to."""


def run_quality(
    clips: Path,
    work: Path,
    recipe: str,
    minutes: Sequence[float],
    steps_a_second: float,
    *,
    base: str = "auto",
    seed: int = 1,
) -> Iterator[str]:
    """Train to each mark of `minutes`, make and measure a film there, and yield its table row.

    Extraction, run and films stay in `work`; called again, what is there is gone on with.
    """
    progress = Progress()
    faces = {
        person: workflows.extract(
            [clips / f"video_{person}.mp4"], work / f"faces_{person}", ExtractOptions(), progress=progress
        ).path
        for person in "ab"
    }
    run = work / "runs" / f"{recipe}-{Path(base).stem}-{seed}"
    for mark in sorted(minutes):
        steps = round(60 * mark * steps_a_second)
        options = TrainOptions(recipe=recipe, steps=steps, seed=seed, base=base, patience=1000)
        out = work / f"{run.name}-{steps}"
        if not (out / "evaluation.json").is_file():
            trained = workflows.train(faces["a"], faces["b"], run, options, progress=progress)
            if trained.manifest["steps"] > steps:
                raise SystemExit(f"{run} is beyond step {steps}, of which {out} holds no film: name another --work")
            _evaluated(clips, trained.path, out, progress)
        metrics = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
        values = {name: entry["value"] for name, entry in metrics.items()}
        start = "random weights" if base == "none" else "base"
        yield row([clips.name, recipe, start, str(seed), f"{mark:g}", str(steps), *figures(values), *made_by()])


def _evaluated(clips: Path, run: Path, out: Path, progress: Progress) -> None:
    """The film of a run as it is now, looked at, in a new folder `out`."""
    shutil.rmtree(out, ignore_errors=True)  # of the same steps: an interrupted call
    film = workflows.convert(None, run, out, ConvertOptions(), progress=progress).films[0]
    truth, mask = clips / "truth.mp4", clips / "truth_mask.mp4"
    workflows.evaluate(
        film,
        out,
        EvaluateOptions(quick=True),
        truth=truth if truth.is_file() else None,
        mask=mask if mask.is_file() else None,
        progress=progress,
    )


def figures(values: dict[str, float]) -> list[str]:
    """The evaluation's figures, one cell a column; `-` for what was not measured."""
    shown = lambda name: f"{values[name]:.1f}" if name.endswith("psnr") else f"{values[name]:.3f}"  # noqa: E731
    return [
        " / ".join(shown(name) for name in names) if all(name in values for name in names) else "-"
        for names in COLUMNS.values()
    ]


def made_by() -> list[str]:
    """Version with the commit, where there is one, and the day."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    commit = f" {found.stdout.strip()}" if found.returncode == 0 else ""
    return [f"{__version__}{commit}", time.strftime("%Y-%m-%d")]


def draw_table(page: Path) -> Path:
    """A plot of the page's table, `quality.svg` beside it: what of the pair's swap grows with the minutes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = page.read_text(encoding="utf-8").splitlines()
    start, end = _table(page, lines)
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[start + 2 : end]]
    table = [dict(zip(HEADER, row, strict=True)) for row in rows]
    figure = Figure(figsize=(9.5, 3.2), facecolor="white", layout="constrained")
    shown = {"registered": "SSIM, registered", "raw": "SSIM, as it is", "eyes follow": "eyes' movement kept"}
    for axes, (column, title) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        curves: dict[str, list[tuple[float, float]]] = {}
        for each in table:
            if each["clips"] == "pair":
                name = f"{each['recipe']}, {each['from']}, seed {each['seed']}"
                curves.setdefault(name, []).append((float(each["minutes"]), float(each[column].split("/")[-1])))
        for name, points in sorted(curves.items()):
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axes.set(title=title, xlabel="CPU minutes of training", xscale="log", xticks=[2, 5, 10, 30])
        axes.set_xticklabels(["2", "5", "10", "30"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[-1].legend(fontsize=8)
    drawn = page.with_name("quality.svg")
    with rc_context({"svg.hashsalt": "quality"}):  # the same table gives the same file
        figure.savefig(drawn, metadata={"Date": None})
    return drawn


def _table(page: Path, lines: Sequence[str]) -> tuple[int, int]:
    """The first line of the page's table of qualities and the first after it. Raises ValueError where it has none."""
    start = next((number for number, text in enumerate(lines) if TABLE in text), None)
    if start is None:
        raise ValueError(f"{page} has no table whose heading holds {TABLE!r}")
    return start, start + sum(1 for _ in takewhile(lambda line: line.startswith("|"), lines[start:]))


def machine() -> str:
    """What the figures were made on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    backend = f"keras {keras.__version__} on {keras.backend.backend()}"
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {memory:.0f} GiB, Python {platform.python_version()}, {backend}"
    )


def row(cells: Sequence[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def add_row(page: Path, line: str) -> None:
    """Put a row at the end of the page's table of qualities. Raises ValueError where the page has none."""
    lines = page.read_text(encoding="utf-8").splitlines()
    _, end = _table(page, lines)
    page.write_text("\n".join([*lines[:end], line, *lines[end:]]) + "\n", encoding="utf-8")
