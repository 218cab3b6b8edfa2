"""`swap demo`: the rendered pair that comes with the program, swapped from beginning to end in one folder.

In: a new folder, or that of an earlier demonstration. Out: in it everything that the verbs leave, and what the swap is
worth in figures. The folder is an ordinary place of work afterwards: every verb goes on from there.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from faceswap_pipeline import resources, workflows
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.options import Duration, Options
from faceswap_pipeline.progress import Progress

if TYPE_CHECKING:
    from faceswap_pipeline.evaluate.stage import Evaluation

FIGURES = ("identity", "swapped", "mouth_follows", "eyes_follow", "flicker", "seam_colour")
"""What is said at the end, beside the figures against the true swap; all others are in the report."""


@dataclass(frozen=True)
class DemoOptions(Options):
    """How long the demonstration learns, and what."""

    time: Annotated[str, Duration()] = "6m"
    """Training time of this call, such as 6m or 2h; called again, it is added to what was learnt before."""
    recipe: str = "auto"
    """Name of a recipe or path of a recipe.toml; auto: the earlier demonstration's, else what fits the machine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.time:
            raise OptionError("--time is '': write a number and a unit, such as 6m or 2h")


@dataclass(frozen=True)
class Demo:
    """What a demonstration made."""

    film: Path
    comparison: Path
    truth: Path
    """The true swap."""
    steps: int
    """Training steps of the run in all."""
    seconds: float
    """Training time of the run in all."""
    recipe: str
    evaluation: "Evaluation"

    def lines(self) -> list[str]:
        """Where everything is, and the figures, one line each."""
        metrics = self.evaluation.record["metrics"]
        figures = [metrics[name] for name in FIGURES if name in metrics]
        scale = [f"{psnr:.1f} dB, SSIM {ssim:.3f} ({row})" for row, (psnr, ssim) in self._scale().items()]
        return [
            f"swapped film          {self.film}",
            f"source, swap, mask    {self.comparison}",
            f"true swap             {self.truth}",
            f"report                {self.evaluation.page}",
            "",
            f"trained               {self.steps} steps of {self.recipe} in {self.seconds / 60:.1f} minutes in all",
            *([f"against the true swap {', '.join(scale)}"] if scale else []),
            *(f"{entry['value']:>9.3g} {entry['unit']:<13} {entry['level']:<5} {entry['title']}" for entry in figures),
        ]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, with every figure of the evaluation."""
        paths = {"film": self.film, "compare": self.comparison, "truth": self.truth, "report": self.evaluation.page}
        return {
            **{name: str(path) for name, path in paths.items()},
            "trained": {"recipe": self.recipe, "steps": self.steps, "seconds": self.seconds},
            "metrics": self.evaluation.values,
        }

    def _scale(self) -> dict[str, tuple[float, float]]:
        """PSNR in dB and SSIM against the true swap, registered, of this swap and of the ends of the scale."""
        rows = self.evaluation.record["details"].get("truth", {}).get("scale", {})
        shown = {"result": "this swap", "no swap at all": "no swap at all"}
        return {
            shown[row]: (values["registered_psnr"], values["registered_ssim"])
            for row, values in rows.items()
            if row in shown and "registered_psnr" in values
        }


def run_demo(out: Path, options: DemoOptions, *, pair: Path | None = None, progress: Progress | None = None) -> Demo:
    """Swap the rendered pair (default: the one that comes with the program) in the folder `out`.

    Called again, what is extracted stays, training goes on for `options.time` more, and film and report are made anew
    (the older ones are kept under a number). Raises OptionError where `out` holds other clips of the same names, and
    what the stages raise.
    """
    from faceswap_pipeline.convert.options import ConvertOptions
    from faceswap_pipeline.evaluate.options import EvaluateOptions
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.networks.recipe import load_recipe
    from faceswap_pipeline.train.options import TrainOptions

    progress = progress or Progress()
    if options.recipe != "auto":
        load_recipe(options.recipe)  # a wrong one must not be found minutes later
    copy_pair(pair or resources.examples_pair(), out)
    progress.note(f"two rendered people talk in {out}/video_a.mp4 and {out}/video_b.mp4; nobody was filmed")
    progress.note("1 of 5: the faces of A")
    a = workflows.extract([out / "video_a.mp4"], out / "faces_a", ExtractOptions(), progress=progress)
    progress.note("2 of 5: the faces of B")
    b = workflows.extract([out / "video_b.mp4"], out / "faces_b", ExtractOptions(), progress=progress)
    progress.note(f"3 of 5: learning both faces, for {options.time}")
    training = TrainOptions(time=options.time, recipe=options.recipe)
    run = workflows.train(a.path, b.path, out / "runs" / "a-b", training, progress=progress)
    progress.note("4 of 5: A's film with B's face")
    made = workflows.convert(None, run.path, out, ConvertOptions(compare=True), progress=progress)
    progress.note("5 of 5: how good it is, against the true swap")
    truth, mask = out / "truth.mp4", out / "truth_mask.mp4"
    looked_at = EvaluateOptions(quick=True)
    found = workflows.evaluate(made.films[0], out, looked_at, truth=truth, mask=mask, progress=progress)
    trained = run.manifest
    return Demo(
        film=made.films[0],
        comparison=made.comparisons[0],
        truth=truth,
        steps=trained.get("steps", 0),
        seconds=trained.get("seconds", 0.0),
        recipe=trained["recipe"]["name"],
        evaluation=found,
    )


def copy_pair(pair: Path, out: Path) -> None:
    """The clips, and the page that states their origin and licence, in `out`; what is there already stays.

    Raises OptionError where a clip of that name is there and is another one, StorageError where it cannot be written.
    """
    from faceswap_pipeline.storage import make_folder, open_aside, sha256_file

    names = sorted(path.name for path in pair.iterdir() if path.is_file())
    for name in names:
        is_clip = name.endswith(".mp4")
        if is_clip and (out / name).exists() and sha256_file(out / name) != sha256_file(pair / name):
            raise OptionError(f"{out}/{name} is there and is not the demonstration's: name another folder with --out")
    make_folder(out)
    for name in names:
        if not (out / name).exists():
            with open(pair / name, "rb") as source, open_aside(out / name) as target:
                shutil.copyfileobj(source, target)
