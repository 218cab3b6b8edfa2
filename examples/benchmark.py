"""How fast is each part here, beside a named rival in the same run? Prints one line a figure.

    python examples/benchmark.py help                  the time that `swap --help` takes
    python examples/benchmark.py extract CLIP          `swap extract` against the mtcnn package on the same clip
    python examples/benchmark.py train RECIPE          a training step against the bare pass and against keras fit
    python examples/benchmark.py quality [RECIPE]      the swap's figures after 2, 5, 10 and 30 CPU minutes of training
    python examples/benchmark.py convert RUN           `swap convert` against a plain decode and encode of the same clip
    python examples/benchmark.py watermark CLIP        what of the watermark is read after what happens to films
    python examples/benchmark.py alarms FOLDER         how often the clips of a folder, unmarked, are taken for marked

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
from fractions import Fraction
from pathlib import Path
from typing import Any

SWAP = [sys.executable, "-m", "faceswap_pipeline.cli"]
QUALITY: dict[str, dict[str, Any]] = {
    "recipe": {"nargs": "?", "default": "lite64"},
    "--minutes": {"type": float, "nargs": "+", "default": [2, 5, 10, 30], "help": "CPU minutes at which to look"},
    "--base": {"default": "auto", "help": "what training starts from, as in swap train"},
    "--seed": {"type": int, "default": 1},
    "--rate": {"type": float, "default": 0.0, "help": "steps/s of an idle machine; 0: measured first"},
    "--clips": {
        "default": "",
        "help": "folder of video_a.mp4, video_b.mp4, truth.mp4, truth_mask.mp4; the shipped pair",
    },
    "--work": {"default": "quality", "help": "folder of what is made; called again, it is gone on with"},
    "--page": {"default": "", "help": "page whose table gets the rows, such as docs/results.md"},
}
"""The arguments of `quality`."""


def main() -> None:
    """Run the benchmark that the first argument names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for name, function, given in (
        ("help", bench_help, {}),
        ("extract", bench_extract, {"clip": {}}),
        ("train", bench_train, {"recipe": {}}),
        ("quality", bench_quality, QUALITY),
        ("convert", bench_convert, {"run": {}}),
        ("watermark", bench_watermark, {"clip": {}}),
        ("alarms", bench_alarms, {"folder": {}}),
    ):
        verb = verbs.add_parser(name, help=function.__doc__)
        verb.set_defaults(function=function)
        for argument, details in given.items():
            verb.add_argument(argument, **details)
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
    """A training step against the networks' bare pass and against plain `keras fit`."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from training_speed import bare_pass, images_a_second, our_step, plain_fit

    from faceswap_pipeline.backend import backend_name, find_device, share_cores
    from faceswap_pipeline.networks.recipe import load_recipe

    loaded = load_recipe(recipe)
    with ProcessPoolExecutor(1, get_context("spawn")) as rival:  # threads as TensorFlow has them by itself
        fit = rival.submit(plain_fit, loaded).result()
    share_cores()
    print(f"{recipe}, {backend_name()} on {find_device().name}, {loaded.train.batch} faces of each person a step")
    ours, bare = images_a_second([our_step(loaded), bare_pass(loaded)], loaded)
    print(f"whole step                  {ours:8.1f} images/s")
    if loaded.adversarial:
        (adversarial,) = images_a_second([our_step(loaded, adversarial=True)], loaded)
        print(f"whole step, adversarial     {adversarial:8.1f} images/s")
    print(
        f"bare forward and backward   {bare:8.1f} images/s; our step takes {bare / ours:.2f} times that (target 1.25)"
    )
    print(f"keras fit, augmented on CPU {fit:8.1f} images/s; ours is {ours / fit:.2f} times as fast (target 1)")


def bench_quality(
    recipe: str, minutes: list[float], base: str, seed: int, rate: float, clips: str, work: str, page: str
) -> None:
    """The swap's figures after so many CPU minutes of training, as rows of a table."""
    from quality import HEADER, add_row, draw_table, machine, row, run_quality

    from faceswap_pipeline.backend import share_cores
    from faceswap_pipeline.networks.recipe import load_recipe
    from faceswap_pipeline.resources import examples_pair

    share_cores()
    if not rate:
        from training_speed import images_a_second, our_step

        from faceswap_pipeline.train.base import choose_base, fit_to

        loaded = load_recipe(recipe)
        loaded, performed = fit_to(choose_base(base, loaded), loaded)
        (images,) = images_a_second([our_step(loaded, performed=performed)], loaded)
        rate = images / (2 * loaded.train.batch)
    print(f"{machine()}; {recipe} at {rate:.2f} steps/s")
    print(row(HEADER))
    folder = Path(clips) if clips else examples_pair()
    for line in run_quality(folder, Path(work), recipe, minutes, rate, base=base, seed=seed):
        print(line, flush=True)
        if page:
            add_row(Path(page), line)
            draw_table(Path(page))


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
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        steps = _conversion_steps(Path(run), source, Path(folder) / "again.mp4")
    frames = sum(1 for row in dataset.frame_rows() if row.source == 0)
    print(f"plain decode and encode   {frames / plain:8.1f} frames/s")
    print(f"swap convert, end to end  {frames / ours:8.1f} frames/s = {plain / ours:.2f} of it (target 0.5)")
    print(f"peak memory               {peak:8.2f} GiB")
    whole = steps.pop("whole")
    for name, seconds in steps.items():
        print(f"{name:<26}{seconds:8.1f} s = {seconds / whole:.0%} of {whole:.1f} s")


def _conversion_steps(run: Path, video: Path, film: Path) -> dict[str, float]:
    """Seconds that `swap convert` spends in each step, whatever thread it is on: they run beside each other."""
    from faceswap_pipeline import workflows
    from faceswap_pipeline.keras_loading import choose_for_inference

    choose_for_inference()
    from faceswap_pipeline.convert import faces, segments, stage
    from faceswap_pipeline.convert.options import ConvertOptions
    from faceswap_pipeline.convert.swapper import NetworkSwapper
    from faceswap_pipeline.progress import Progress
    from faceswap_pipeline.provenance.marking import Marker

    places: dict[str, tuple[Any, str]] = {
        "network loaded": (stage, "load_swapper"),
        "pictures for detail": (stage, "find_album"),
        "faces cut out": (faces.FaceMixer, "cut"),
        "network": (NetworkSwapper, "swap"),
        "network, detail, measures": (faces.FaceMixer, "look"),
        "faces laid over": (faces.FaceMixer, "paint"),
        "watermark": (Marker, "__call__"),
        "encoding": (segments.VideoWriter, "write"),
        "joined": (stage, "join_segments"),
        "signed": (stage, "sign_file"),
        "whole": (workflows, "convert"),
    }
    spent = dict.fromkeys(places, 0.0)

    def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent[step] += time.perf_counter() - begin

        return call

    for step, (owner, name) in places.items():
        setattr(owner, name, timed(step, getattr(owner, name)))
    workflows.convert(video, run, film, ConvertOptions(), progress=Progress())
    return spent


def bench_watermark(clip: str) -> None:
    """The mark of a film read back after compression, rescaling, a crop and all of them; what it costs."""
    import numpy as np

    from faceswap_pipeline.provenance import watermark
    from faceswap_pipeline.provenance.marking import Marker, luma_of
    from faceswap_pipeline.video.info import probe
    from faceswap_pipeline.video.reader import read_frames

    source, payload = Path(clip), 0xC0DE5
    info, marker = probe(source), Marker(payload)
    with tempfile.TemporaryDirectory() as folder:
        plain, film = Path(folder) / "plain.mp4", Path(folder) / "film.mp4"
        _recode(source, plain, 18, lambda frame: frame)
        _recode(source, film, 18, marker)
        marking = statistics.median(_timed(lambda f=frame: marker(f)) for frame in read_frames(source, stop=50))
        mark = watermark.pattern(info.height, info.width, payload).astype(float)
        growth = film.stat().st_size / plain.stat().st_size - 1
        print(f"{source.name}, {info.width}x{info.height}; PSNR of the mark {_psnr(mark):.1f} dB")
        print(f"film at CRF 18: {growth:+.1%} larger; marking takes {1000 * marking:.1f} ms a frame")
        attacks = {
            "as it is": (18, lambda frame: frame),
            "H.264 CRF 28": (28, lambda frame: frame),
            "half size": (18, _halved),
            "crop of 5 %": (18, _cropped),
            "crop, half size, CRF 28": (28, lambda frame: _halved(_cropped(frame))),
        }
        for name, (quality, change) in attacks.items():
            attacked = Path(folder) / "attacked.mp4"
            _recode(film, attacked, quality, change)
            _report_readings(name, list(_windows(attacked)), payload)
        stills = [_as_jpeg(luma_of(frame)) for frame in read_frames(film) if frame.index % 10 == 0]
        _report_readings(
            "stills as JPEG of quality 75", [watermark.read([np.asarray(still)]) for still in stills], payload
        )


def bench_alarms(folder: str) -> None:
    """Unmarked films and their stills, read like marked ones: how many are taken for marked."""
    from faceswap_pipeline.errors import VideoError
    from faceswap_pipeline.provenance import watermark
    from faceswap_pipeline.provenance.marking import luma_of
    from faceswap_pipeline.video.reader import read_frames

    windows: list[Any] = []
    stills: list[Any] = []
    for path in sorted(Path(folder).iterdir()):
        try:
            windows += _windows(path)
            stills += [watermark.read([luma_of(frame)]) for frame in read_frames(path) if frame.index % 50 == 0]
        except VideoError:
            continue
        alarms = sum(reading.present for reading in windows + stills)
        print(f"{path.name}: {len(windows)} windows and {len(stills)} stills so far, {alarms} alarms", flush=True)
    for name, readings in (("windows of two seconds", windows), ("stills", stills)):
        alarms = sum(reading.present for reading in readings)
        nearest = min((reading.log10_chance for reading in readings), default=0.0)
        print(f"{name}: {alarms} of {len(readings)} unmarked taken for marked; the nearest stated 10^{nearest:.1f}")


def _recode(source: Path, target: Path, quality: float, change: Callable[[Any], Any]) -> None:
    """A film of changed frames without sound, H.264; what it may differ in is the frames' size."""
    from dataclasses import replace

    from faceswap_pipeline.video.info import probe
    from faceswap_pipeline.video.reader import read_frames
    from faceswap_pipeline.video.writer import VideoWriter

    frames = (change(frame) for frame in read_frames(source))
    first = next(frames)
    info = replace(probe(source), width=first.width, height=first.height)
    with VideoWriter(target, info, quality=quality) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)


def _windows(path: Path) -> Iterable[Any]:
    """A reading of each whole two seconds of a film; of a shorter one a reading of all of it."""
    from itertools import groupby

    from faceswap_pipeline.provenance import watermark
    from faceswap_pipeline.provenance.marking import luma_of
    from faceswap_pipeline.provenance.verify import WINDOW
    from faceswap_pipeline.video.reader import read_frames

    for number, stretch in groupby(read_frames(path), key=lambda frame: int(frame.pts / WINDOW)):
        planes = [(frame.pts + frame.duration, luma_of(frame)) for frame in stretch]
        if number == 0 or planes[-1][0] >= WINDOW * (number + 1) - Fraction(1, 10):
            yield watermark.read(plane for _, plane in planes)


def _report_readings(name: str, readings: list[Any], payload: int) -> None:
    present = sum(reading.present for reading in readings)
    right = sum(reading.present and reading.payload == payload for reading in readings)
    chances = statistics.median(reading.log10_chance for reading in readings)
    print(
        f"{name:30s}{present:4d} of {len(readings):3d} read = {present / len(readings):4.0%}, {right} with the number; "
        f"median chance 10^{chances:.0f}",
        flush=True,
    )


def _halved(frame: Any) -> Any:
    from dataclasses import replace

    planes = frame.planes
    small = planes.reformat(width=planes.width // 4 * 2, height=planes.height // 4 * 2, interpolation="AREA")
    return replace(frame, planes=small)


def _cropped(frame: Any) -> Any:
    """The frame without 5 % of its width and height, more of it from the bottom and the right."""
    from dataclasses import replace

    from faceswap_pipeline.video.planes import empty_like, plane_views

    planes = frame.planes
    left, top = round(0.01 * planes.width) * 2, round(0.01 * planes.height) * 2
    width, height = round(0.475 * planes.width) * 2, round(0.475 * planes.height) * 2
    part = empty_like(planes, width, height, planes.format.name)
    for source, target in zip(plane_views(planes), plane_views(part), strict=True):
        x, y = left * source.shape[1] // planes.width, top * source.shape[0] // planes.height
        target[:] = source[y : y + target.shape[0], x : x + target.shape[1]]
    return replace(frame, planes=part)


def _as_jpeg(plane: Any) -> Any:
    import cv2

    return cv2.imdecode(cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_GRAYSCALE)


def _psnr(difference: Any) -> float:
    import numpy as np

    return float(10 * np.log10(255**2 / np.mean(np.square(difference))))


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _rate(work: Callable[[Any], Any], items: Iterable[Any]) -> float:
    """Items a second, the first one (which compiles) left out."""
    first, *others = items
    work(first)
    return len(others) / _timed(lambda: [work(item) for item in others])


def _shrunk(picture: Any, scale: float) -> Any:
    import cv2

    return cv2.resize(picture, None, fx=min(1.0, scale), fy=min(1.0, scale), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
