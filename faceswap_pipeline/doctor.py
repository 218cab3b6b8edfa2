"""`swap doctor`: what this machine, this install and, where one is given, this video can do.

In: nothing, or a video. Out: findings in the order of looking, each with what would mend it where something is missing.
"""

import importlib.metadata
import multiprocessing
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from faceswap_pipeline import resources
from faceswap_pipeline.errors import SwapError
from faceswap_pipeline.machine import cores, memory_bytes

PACKAGE = "faceswap-pipeline"
LEAST_MEMORY, LEAST_DISK = 4e9, 2e9
"""Bytes below which even a short clip is likely to fail."""
SAMPLE_SECONDS = 3
"""Length of the piece of a video that is really extracted."""
TRIAL_STEPS = 4
"""Training steps of a trial; the first compiles."""
RECIPES = {"cpu": ("lite64", "gan64", "original64"), "gpu": ("lite64", "gan64", "gan128", "gan256", "original64")}
"""What is tried on which device; the larger recipes would take months on a CPU."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    text: str
    """What was found."""
    remedy: str = ""
    """What to do; empty when nothing is missing."""

    def line(self) -> str:
        """For the screen."""
        mark = "missing" if self.remedy else "ok"
        return f"{mark:8s}{self.name:11s}{self.text}" + (f"\n{'':19s}-> {self.remedy}" if self.remedy else "")


def examine() -> Iterator[Finding]:
    """The machine and the install."""
    for check in (_python, _packages, _opencv, _backend, _codecs, _weights, _memory, _disk):
        yield check()


def examine_video(path: Path) -> Iterator[Finding]:
    """One video: whether it can be read, and what time, disk and memory it will take here."""
    from faceswap_pipeline.video.info import probe

    try:
        info = probe(path)
    except SwapError as error:
        yield Finding("video", str(path), str(error))
        return
    frames = info.frames or round(float(info.duration * info.rate))
    sound = [stream.codec for stream in info.streams if stream.kind == "audio"]
    size = f"{info.width}x{info.height}, {float(info.rate):.4g} frames/s, {float(info.duration):.1f} s, {frames} frames"
    yield Finding("video", f"{path}: {size}, {info.pixel_format}, {'sound ' + sound[0] if sound else 'no sound'}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        yield from _sample(path, frames, float(info.rate), Path(folder))
    yield from _training_memory(frames)


def _python() -> Finding:
    version = platform.python_version()
    known = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", f"{version} on {sys.platform}", "" if known else "install Python 3.11, 3.12 or 3.13")


def _packages() -> Finding:
    from packaging.requirements import Requirement

    wrong = []
    for text in importlib.metadata.requires(PACKAGE) or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        if found == "not installed" or not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found} (expected {wanted.specifier})")
    remedy = f"pip install --upgrade {PACKAGE}" if wrong else ""
    return Finding("packages", "; ".join(wrong) or "all in the versions that were tried", remedy)


def _opencv() -> Finding:
    """Two OpenCV wheels share one folder: removing either leaves an empty module that still imports."""
    import cv2

    names = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    both = sorted(name for name in names if name and name.lower().startswith("opencv"))
    repair = f"pip uninstall -y {' '.join(both)}; pip install opencv-python"
    if not hasattr(cv2, "warpAffine"):
        return Finding("OpenCV", "the package is empty: another OpenCV was installed over it and removed", repair)
    remedy = repair if len(both) > 1 else ""
    return Finding("OpenCV", f"{cv2.__version__}{' from ' + ' and '.join(both) if remedy else ''}", remedy)


def _backend() -> Finding:
    from faceswap_pipeline.backend import backend_name, find_device
    from faceswap_pipeline.keras_loading import openvino_serves

    try:
        device = find_device()
    except ImportError as error:
        other = "jax" if "tensorflow" in str(error) else "tensorflow"
        return Finding("backend", str(error), f"pip install '{PACKAGE}', or set KERAS_BACKEND={other}")
    name = backend_name()
    version = importlib.metadata.version(name)
    if name == "openvino":
        return Finding("backend", f"openvino {version}, which only infers", "unset KERAS_BACKEND to train")
    advice = "; training uses lite64" if device.kind == "cpu" else f"; training uses {RECIPES['gpu'][1]}"
    if openvino_serves():
        advice += f"; verbs that only infer run on openvino {importlib.metadata.version('openvino')}"
    return Finding("backend", f"{name} {version}, Keras {importlib.metadata.version('keras')}, {device.name}{advice}")


def _codecs() -> Finding:
    import av

    from faceswap_pipeline.video.encoders import ENCODERS, FALLBACK

    there = [name for name in ENCODERS if name in av.codecs_available]
    remedy = "" if FALLBACK in there else "pip install --force-reinstall --no-cache-dir av"
    return Finding("encoders", f"{', '.join(there) or 'none'} (PyAV {av.__version__})", remedy)


def _weights() -> Finding:
    try:
        names = sorted(resources.weight_entries())
        for name in names:
            resources.weight_file(name)
    except SwapError as error:
        return Finding("weights", str(error), f"pip install --force-reinstall {PACKAGE}")
    return Finding("weights", f"{', '.join(names)}: as they were shipped")


def _memory() -> Finding:
    found = memory_bytes()
    remedy = "" if found >= LEAST_MEMORY else f"close other programs; {LEAST_MEMORY / 1e9:.0f} GB are advised"
    return Finding("memory", f"{found / 1e9:.1f} GB, {cores()} cores", remedy)


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    remedy = "" if free >= LEAST_DISK else "free some, or work on another disk"
    return Finding("disk", f"{free / 1e9:.1f} GB free in {Path.cwd()}", remedy)


def _sample(path: Path, frames: int, rate: float, folder: Path) -> Iterator[Finding]:
    """Time and disk from a piece of the video that is really extracted."""
    from faceswap_pipeline import workflows
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.storage import folder_bytes

    def extract(seconds: float, name: str) -> tuple[float, int]:
        start = time.perf_counter()
        dataset = workflows.extract([path], folder / name, ExtractOptions(end=f"{seconds:.2f}s"))
        return time.perf_counter() - start, len(dataset.records)

    try:
        extract(2 / rate, "first")  # compiles the networks
        seconds, faces = extract(SAMPLE_SECONDS, "second")
    except SwapError as error:
        yield Finding("extraction", f"the first {SAMPLE_SECONDS} seconds: {error}", "try a video that shows a face")
        return
    sampled = max(1, min(frames, round(SAMPLE_SECONDS * rate)))
    whole = seconds * frames / sampled
    yield Finding("extraction", f"about {_minutes(whole)} ({sampled / seconds:.1f} frames/s)")
    needed = folder_bytes(folder / "second") * frames / sampled
    free = shutil.disk_usage(".").free
    remedy = "" if needed < free * 0.9 else "free some, work on another disk, or take --every 5 (for training only)"
    yield Finding("dataset", f"about {faces * frames / sampled:.0f} faces, {needed / 1e9:.2f} GB", remedy)


def _training_memory(frames: int) -> Iterator[Finding]:
    """What a step of each recipe takes here, measured in a process of its own, and the faces beside it."""
    from faceswap_pipeline.backend import find_device

    limit = memory_bytes()
    for name in RECIPES[find_device().kind]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                peak, seconds, images = pool.submit(trial, name, frames).result()
            except Exception as error:  # killed for memory, or a GPU that is too small: it does not fit
                yield Finding(name, f"does not run here ({type(error).__name__})", "take a smaller recipe")
                continue
        fits = "" if peak < 0.8 * limit else "take a smaller recipe, or close other programs"
        yield Finding(
            name, f"{peak / 1e9:.1f} GB of {limit / 1e9:.1f}, {images / seconds:.0f} images/s in training", fits
        )


def trial(name: str, frames: int) -> tuple[float, float, int]:
    """Peak bytes of this process after real training steps of a recipe, seconds of a step, and faces in it."""
    import resource  # not on Windows

    import numpy as np

    from faceswap_pipeline.backend import resident, share_cores
    from faceswap_pipeline.imaging import margin_size
    from faceswap_pipeline.networks.recipe import load_recipe
    from faceswap_pipeline.train import augment
    from faceswap_pipeline.train.model import PERSONS, SwapModel

    share_cores()
    recipe = load_recipe(name)
    model, (width, height) = SwapModel(recipe, 1), margin_size(recipe.network.resolution, recipe.network.view)
    random = np.random.default_rng(0)
    crops = {p: resident(random.integers(0, 256, (max(frames, 32), height, width, 6), dtype=np.uint8)) for p in PERSONS}
    plain = np.zeros((max(frames, 32), 3), np.float32)
    known = augment.Statistics(plain, plain + 0.2, np.full(len(plain), 1 / len(plain)))
    step: Callable[[int], float] = lambda number: float(  # noqa: E731
        model.step(
            crops,
            {p: augment.draw(1, number, p, known, known, recipe.train, recipe.network) for p in PERSONS},
            1.0,
            number,
        )["gradient_norm"]
    )
    first = recipe.train.adversarial_from
    step(first)
    start = time.perf_counter()
    for number in range(1, TRIAL_STEPS):
        step(first + number)
    seconds = (time.perf_counter() - start) / (TRIAL_STEPS - 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0, seconds, 2 * recipe.train.batch


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
