"""How fast is each part here, beside a named rival in the same run? Prints one line a figure.

    python examples/benchmark.py help                  the time that `swap --help` takes
    python examples/benchmark.py extract CLIP          `swap extract` against the mtcnn package on the same clip
    python examples/benchmark.py train RECIPE          a training step against the networks' bare pass
    python examples/benchmark.py convert RUN           `swap convert` against a plain decode and encode of the same clip

Run it on an idle machine; every figure is the median of several takes or the rate over a whole clip.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SWAP = [sys.executable, "-m", "faceswap_pipeline.cli"]


def main() -> None:
    """Run the benchmark that the first argument names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for name, function, argument in (
        ("help", bench_help, None),
        ("extract", bench_extract, "clip"),
        ("train", bench_train, "recipe"),
        ("convert", bench_convert, "run"),
    ):
        verb = verbs.add_parser(name, help=function.__doc__)
        verb.set_defaults(function=function)
        if argument:
            verb.add_argument(argument)
    arguments = vars(parser.parse_args())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(f"cores {os.cpu_count()}, Python {sys.version.split()[0]}, {sys.platform}")
    arguments.pop("function")(**arguments)


def bench_help() -> None:
    """The time that `swap --help` takes."""
    times = [_timed(lambda: subprocess.run([*SWAP, "--help"], check=True, capture_output=True)) for _ in range(11)]
    print(f"swap --help: median {statistics.median(times):.2f} s, fastest {min(times):.2f} s (target 0.5 s)")


def bench_extract(clip: str) -> None:
    """`swap extract` end to end against the mtcnn package, frame by frame."""
    from mtcnn import MTCNN

    from faceswap_pipeline.video.reader import read_frames

    path = Path(clip).resolve()
    frames = 0
    start = time.perf_counter()
    for frame in read_frames(path):
        assert frame.rgb.size
        frames += 1
    decode = frames / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        command = [*SWAP, "extract", str(path), "--out", f"{folder}/faces"]
        seconds = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
    ours = frames / seconds
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    sample = [frame.rgb for frame in read_frames(path) if frame.index % max(1, frames // 40) == 0]
    detector = MTCNN()
    each = _rate(detector.detect_faces, sample)
    smallest = 0.05 * min(sample[0].shape[:2])
    prescaled = _rate(lambda picture: detector.detect_faces(_shrunk(picture, 20 / smallest)), sample)
    print(f"decode to RGB only        {decode:8.1f} frames/s")
    print(f"swap extract, end to end  {ours:8.1f} frames/s = {ours / decode:.2f} of decoding; peak {peak:.2f} GiB")
    print(f"mtcnn, every frame        {each:8.1f} frames/s; ours is {ours / each:.1f} times as fast (target 10)")
    print(
        f"mtcnn, frame pre-scaled   {prescaled:8.1f} frames/s; ours is {ours / prescaled:.1f} times as fast (target 3)"
    )


def bench_train(recipe: str) -> None:
    """Our whole step and the networks' bare forward and backward pass."""
    import keras
    import numpy as np

    from faceswap_pipeline.backend import backend_name, compile_step, find_device, resident
    from faceswap_pipeline.imaging import margin_size
    from faceswap_pipeline.networks.recipe import load_recipe
    from faceswap_pipeline.train import augment
    from faceswap_pipeline.train.gradients import gradients
    from faceswap_pipeline.train.model import PERSONS, SwapModel

    loaded = load_recipe(recipe)
    model, size, batch = SwapModel(loaded, 1), loaded.network.resolution, loaded.train.batch
    side = margin_size(size, loaded.network.view)
    random = np.random.default_rng(0)
    crops = {person: resident(random.integers(0, 256, (256, side, side, 6), dtype=np.uint8)) for person in PERSONS}
    plain = np.zeros((256, 3), np.float32)
    known = augment.Statistics(plain, plain + 1, np.full(256, 1 / 256))

    def step(number: int) -> Any:
        drawn = {p: augment.draw(1, number % 1000, p, known, known, loaded.train, size) for p in PERSONS}
        return float(model.step(crops, drawn, 1.0, number)["gradient_norm"])

    pictures = {person: random.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32) for person in PERSONS}

    def bare_loss() -> Any:
        code = model.generator["encoder"](keras.ops.concatenate([pictures[person] for person in PERSONS], 0))
        made = [model.generator[f"decoder_{p}"](code[i * batch : (i + 1) * batch]) for i, p in enumerate(PERSONS)]
        total = sum(keras.ops.mean(keras.ops.abs(m[..., :3] - pictures[p])) for m, p in zip(made, PERSONS, strict=True))
        return total, total

    def bare() -> Any:
        total, found = gradients(bare_loss, model.generator_weights, model.variables())
        return total + sum(keras.ops.sum(gradient) for gradient in found)

    bare_step = compile_step(bare, model.variables())
    rates = {"whole step": _images_a_second(lambda i: step(i), batch)}
    rates["bare forward and backward"] = _images_a_second(lambda i: float(bare_step()), batch)
    if loaded.adversarial:
        first = loaded.train.adversarial_from
        rates["whole step, adversarial"] = _images_a_second(lambda i: step(first + i), batch)
    print(f"{recipe}, {backend_name()} on {find_device().name}, {batch} faces of each person a step")
    for name, rate in rates.items():
        print(f"{name:28s}{rate:8.1f} images/s")
    ratio = rates["bare forward and backward"] / rates["whole step"]
    print(f"our step takes {ratio:.2f} times the bare pass (target 1.25)")


def bench_convert(run: str) -> None:
    """`swap convert` against decoding and encoding the same clip with the same library and settings."""
    from faceswap_pipeline.dataset import FaceDataset
    from faceswap_pipeline.run import TrainingRun
    from faceswap_pipeline.video.info import probe
    from faceswap_pipeline.video.reader import read_frames
    from faceswap_pipeline.video.writer import VideoWriter

    with TrainingRun.open(Path(run)) as opened:
        dataset = FaceDataset.open(Path(opened.manifest["a"]["path"]))
    source = Path(dataset.sources[0].path)
    with tempfile.TemporaryDirectory() as folder:

        def transcode() -> None:
            with VideoWriter(Path(folder) / "plain.mp4", probe(source), copy_from=source) as writer:
                for frame in read_frames(source):
                    writer.write(frame)

        plain = _timed(transcode)
        command = [*SWAP, "convert", str(source), "--run", run, "--out", f"{folder}/swapped.mp4"]
        ours = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
    frames = sum(1 for row in dataset.frame_rows() if row.source == 0)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"plain decode and encode   {frames / plain:8.1f} frames/s")
    print(f"swap convert, end to end  {frames / ours:8.1f} frames/s = {plain / ours:.2f} of it (target 0.5)")
    print(f"peak memory               {peak:8.2f} GiB")


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _rate(work: Callable[[Any], Any], items: Iterable[Any]) -> float:
    """Items a second, the first one (which compiles) left out."""
    first, *others = items
    work(first)
    return len(others) / _timed(lambda: [work(item) for item in others])


def _images_a_second(step: Callable[[int], Any], batch: int, takes: int = 25) -> float:
    """From the median time of a step, after three that compile and warm up."""
    times = [_timed(lambda i=i: step(i)) for i in range(takes)][3:]
    return 2 * batch / statistics.median(times)


def _shrunk(picture: Any, scale: float) -> Any:
    import cv2

    return cv2.resize(picture, None, fx=min(1.0, scale), fy=min(1.0, scale), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
