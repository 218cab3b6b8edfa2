"""The training loop of the parser and the embedding: steps on made batches, a report now and then, exact resume.

In: a network, a loss, batches that follow from (seed, step). Out: a folder with the newest checkpoint and log.jsonl.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.array_folder import damage, read_arrays, read_folder, settled, write_arrays, write_folder
from faceswap_pipeline.backend import compile_step, value_of
from faceswap_pipeline.networks.parser import fold, unfold
from faceswap_pipeline.networks.weights import get_arrays, set_arrays
from faceswap_pipeline.train.gradients import Adam, clipped, gradients

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How long and how fast."""

    steps: int
    """Steps in all; the rate falls to 0 along a half cosine until then."""
    rate: float
    """Highest rate of Adam."""
    warm_up: int = 300
    """Steps over which the rate rises from 0."""
    clip_norm: float = 5.0
    """Gradients with a larger norm are scaled down to it."""
    report: int = 500
    """Steps between two reports, each followed by a checkpoint."""

    def rate_at(self, step: int) -> float:
        """The rate of a step."""
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * fall


def train(
    out: Path,
    network: keras.Model,
    loss: Callable[[Tensors], tuple[Any, Tensors]],
    batches: Callable[[range], Iterator[dict[str, NDArray]]],
    plan: Plan,
    judge: Callable[[], dict[str, float]],
) -> None:
    """Train `network` until `plan.steps`, going on from what `out` holds; `judge` measures what a report shows."""
    out.mkdir(parents=True, exist_ok=True)
    optimizer = Adam(network.trainable_variables, plan.rate)
    variables = [*network.variables, *optimizer.variables]

    def update(batch: Tensors, rate: Any) -> Tensors:
        terms, found = gradients(lambda: loss(batch), network.trainable_variables, variables)
        found, norm = clipped(found, plan.clip_norm)
        optimizer.learning_rate.assign(rate)
        optimizer.apply(found)
        return {**terms, "gradient_norm": norm}

    step_once = compile_step(update, variables)
    first = resume(out, network, optimizer)
    began, mean = time.monotonic(), {}
    for step, batch in zip(range(first, plan.steps), batches(range(first, plan.steps)), strict=True):
        terms = step_once(batch, np.float32(plan.rate_at(step)))
        for name, value in terms.items():
            mean[name] = mean.get(name, 0.0) + float(value)
        if (step + 1) % plan.report == 0 or step + 1 == plan.steps:
            done = (step - first) % plan.report + 1
            speed = (step + 1 - first) / (time.monotonic() - began)
            entry = {name: round(value / done, 4) for name, value in mean.items()}
            mean = {}
            _report(out, {"step": step + 1, "steps_per_second": round(speed, 2), **entry, **judge()})
            _save(out, network, optimizer, step + 1)


def read_arguments(description: str | None, batch: int, rate: float) -> argparse.Namespace:
    """The flags of a training script: `out`, `faces`, `steps`, `batch`, `rate`, `seed` and `export`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--faces", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="exported weights to start from, instead of random ones")
    parser.add_argument("--export", type=Path)
    return parser.parse_args()


def start(plain: keras.Model, trained: keras.Model, source: Path, pictures: NDArray[np.float32]) -> None:
    """Give `trained` the exported weights in `source`; its normalisation is measured on network inputs `pictures`.

    Layers that `source` lacks keep what they were made with.
    """
    set_arrays(plain.name, plain.variables, get_arrays(plain.name, plain.variables) | read_arrays(source))
    unfold(plain, trained, pictures)


def export(plain: keras.Model, trained: keras.Model, target: Path, step: int) -> None:
    """Fold the normalisation of `trained` into `plain` and store that as half-precision arrays by name."""
    fold(trained, plain)
    arrays = {name: value.astype(np.float16) for name, value in get_arrays(plain.name, plain.variables).items()}
    write_arrays(target, arrays)
    print(f"{target}: {sum(value.size for value in arrays.values())} weights of step {step}")


def _report(out: Path, entry: dict[str, Any]) -> None:
    rounded = {name: round(float(value), 4) for name, value in entry.items()}
    print(" ".join(f"{name} {value:g}" for name, value in rounded.items()), flush=True)
    with open(out / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(rounded) + "\n")


def _save(out: Path, network: keras.Model, optimizer: Adam, step: int) -> None:
    arrays = get_arrays("network", network.variables)
    arrays |= {f"optimizer/{i:04d}": value_of(value) for i, value in enumerate(optimizer.variables)}
    write_folder(out / "checkpoint", arrays, {"step": step})


def resume(out: Path, network: keras.Model, optimizer: Adam | None = None) -> int:
    """Put the checkpoint, if there is one, into network and optimizer; the step to go on with."""
    folder = settled(out / "checkpoint")
    if folder is None:
        return 0
    if damage(folder):
        raise SystemExit(f"{folder}: {damage(folder)}; remove it to start anew")
    checkpoint = read_folder(folder)
    set_arrays("network", network.variables, checkpoint.arrays)
    for i, variable in enumerate(optimizer.variables if optimizer else ()):
        variable.assign(checkpoint.arrays[f"optimizer/{i:04d}"].astype(variable.dtype))
    return int(checkpoint.state["step"])
