"""From two videos to a film and its figures, without the command line.

In: two videos, and optionally a training time and a recipe. Out: in the current folder, what the verbs would leave.
Called again, it goes on like they do.

    python examples/train_and_convert.py video_a.mp4 video_b.mp4 20m
"""

import sys
from pathlib import Path

from faceswap_pipeline import convert_video, evaluate_swap, extract_faces, make_masks, train_swap
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.evaluate.options import EvaluateOptions
from faceswap_pipeline.evaluate.stage import Evaluation
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.masks.options import MaskOptions
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.train.options import TrainOptions


class Printed(Progress):
    """Prints what the stages have to say; a program with a window would show it there."""

    def note(self, text: str) -> None:
        """One plain line."""
        print(text)

    def warn(self, text: str) -> None:
        """One line about something that was survived."""
        print(f"warning: {text}")


def main(video_a: str, video_b: str, time: str = "20m", recipe: str = "auto") -> Evaluation:
    """Make the film and return what it is worth."""
    progress = Printed()
    folders = Path("faces_a"), Path("faces_b")
    for video, folder in zip((video_a, video_b), folders, strict=True):
        extract_faces([Path(video)], folder, ExtractOptions(), progress=progress)
        make_masks(folder, MaskOptions(), progress=progress)
    run = train_swap(*folders, Path("runs/a-b"), TrainOptions(time=time, recipe=recipe), progress=progress)
    made = convert_video(run.path, Path("film.mp4"), ConvertOptions(color="reinhard"), progress=progress)
    return evaluate_swap(made.films[0], Path("report"), EvaluateOptions(quick=True), progress=progress)


if __name__ == "__main__":
    for name, value in main(*sys.argv[1:]).values.items():
        print(f"{name:<20} {value:.4g}")
