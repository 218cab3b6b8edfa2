"""The loop that trains the parser and the embedding: it learns, and stopping and going on changes nothing."""

import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "train_weights"))
loop = import_module("loop")


def run(out: Path, steps: int, last: int) -> tuple[dict[str, float], list[np.ndarray]]:
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), layers.Dense(1, name="dense")], name="line")

    def loss(batch):
        error = ops.mean((network(batch["x"], training=True) - batch["y"]) ** 2)
        return error, {"error": error}

    def batches(wanted: range):
        for step in wanted:
            x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
            yield {"x": x, "y": x @ np.array([[1.0], [-2.0], [0.5]], np.float32)}
            if step + 1 == last:
                return

    seen: dict[str, float] = {}

    def judge() -> dict[str, float]:
        seen["error"] = float(np.abs(network.get_weights()[0].ravel() - [1, -2, 0.5]).max())
        return seen

    plan = loop.Plan(steps, 0.1, warm_up=5, report=20)
    if last < steps:
        plan = loop.Plan(steps, 0.1, warm_up=5, report=last)
        try:
            loop.train(out, network, loss, batches, plan, judge)
        except ValueError:  # the batches ended early, as a kill ends them
            pass
    else:
        loop.train(out, network, loss, batches, plan, judge)
    return seen, network.get_weights()


def test_training_learns_and_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    seen, whole = run(tmp_path / "whole", 120, 120)
    assert seen["error"] < 0.05
    run(tmp_path / "parts", 120, 60)
    _, joined = run(tmp_path / "parts", 120, 120)
    for one, other in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len((tmp_path / "whole" / "log.jsonl").read_text().splitlines()) == 6
