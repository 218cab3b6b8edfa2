"""Run a write again and again, killed with SIGKILL before its first, second, third ... step; a program, no test.

In: `python kill_points.py SCENARIO TEMPLATE OUT`. Out: OUT/000, OUT/001 ... are copies of the folder TEMPLATE, each as
one kill left it; the last one was not killed. A step is any opening, renaming, making or removing of a file, and any
fetch of an array.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from faceswap_pipeline import sync
from faceswap_pipeline.dataset import FaceDataset, FaceRecord
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun

STEPS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "test.array"}


class Watched(Mapping):
    """Arrays whose every fetch is a step."""

    def __init__(self, value: float) -> None:
        self.arrays = {name: np.full(50_000, value, np.float32) for name in ("encoder/a", "decoder_a/b", "c")}

    def __getitem__(self, name: str) -> np.ndarray:
        sys.audit("test.array")
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def save_checkpoint(folder: Path) -> None:
    with TrainingRun.open(folder, write=True) as run:
        run.save_checkpoint(30, Watched(30), {"step": 30})


def save_best(folder: Path) -> None:
    with TrainingRun.open(folder, write=True) as run:
        run.save_best(Watched(30), {"step": 30})


def append_face(folder: Path) -> None:
    with FaceDataset.open(folder, write=True) as dataset:
        five = np.arange(10.0).reshape(5, 2)
        numbers = dict.fromkeys(("source", "track", "person", "yaw", "pitch", "roll"), 0)
        record = FaceRecord(
            **numbers,
            frame=9,
            pts=Fraction(9, 25),
            filled=False,
            box=np.arange(4.0),
            landmarks_raw=five,
            landmarks=five,
            score=1,
            sharpness=5,
            marks=(),
            use_for_training=True,
            matrix=np.eye(2, 3),
        )
        dataset.append(record, np.full((32, 32, 3), 99, np.uint8))


def push_run(folder: Path) -> None:
    sync.push_run(TrainingRun.open(folder / "here"), folder / "there", Progress())


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "save_checkpoint": save_checkpoint,
    "save_best": save_best,
    "append_face": append_face,
    "push_run": push_run,
}


def killed_at(step: int, write: Callable[[Path], None], folder: Path) -> bool:
    """Do `write` in a child that dies before its step number `step`; True when it died."""
    child = os.fork()
    if child == 0:
        left = [step]

        def hook(event: str, _: object) -> None:
            if event in STEPS:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1

        sys.addaudithook(hook)
        write(folder)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the child failed with status {status}"
    return status != 0


if __name__ == "__main__":
    scenario, template, out = SCENARIOS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    os.fsync = lambda descriptor: (
        None
    )  # a kill loses nothing that the system was given, and thousands of these are slow
    step = 0
    while True:
        folder = out / f"{step:03d}"
        shutil.copytree(template, folder)
        if not killed_at(step, scenario, folder):
            break
        step += 1
