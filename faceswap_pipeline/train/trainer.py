"""The training loop: steps, reports, saves, stops, and the way back from losses that are not numbers.

In: a run, a `Lesson`, where it had got to. Out: the run with everything saved.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.backend import value_of
from faceswap_pipeline.errors import TrainingDiverged
from faceswap_pipeline.networks.recipe import Recipe
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun
from faceswap_pipeline.storage import storage_errors
from faceswap_pipeline.train.monitor import Plateau
from faceswap_pipeline.train.options import LearnOptions
from faceswap_pipeline.train.previews import curves
from faceswap_pipeline.video.images import write_jpeg

CHECK_STEPS = 25
"""Steps between two looks at whether the losses are still numbers."""
MOST_ROLLBACKS = 3
"""Returns to the last good checkpoint without a report in between before training gives up."""


class Learner(Protocol):
    """The networks of a lesson."""

    generator_weights: list[Any]

    def is_adversarial(self, step: int) -> bool:
        """Whether the discriminators take part in this step."""
        ...

    def arrays(self) -> dict[str, NDArray]:
        """Everything that an exact resume needs, by name."""
        ...

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Take what `arrays` gave."""
        ...

    def inference_arrays(self) -> dict[str, NDArray]:
        """The averaged networks, as they are used later."""
        ...


class Lesson(Protocol):
    """What is learnt from what: networks, faces, and how it is judged."""

    recipe: Recipe

    @property
    def model(self) -> Learner:
        """The networks."""
        ...

    @property
    def faces_a_step(self) -> int:
        """Faces that a step sees."""
        ...

    def step(self, step: int, rate: float) -> dict[str, Any]:
        """One update, drawn from (seed, step) alone; `rate` multiplies the learning rates. Returns named losses."""
        ...

    def figures(self) -> dict[str, float]:
        """Measures on held-out faces by name; `score` among them, lower is better."""
        ...

    def sentence(self, figures: dict[str, float]) -> str:
        """The figures in half a line."""
        ...

    def preview(self) -> NDArray[np.uint8]:
        """A picture of how far it is, (H, W, 3) RGB."""
        ...


@dataclass
class Journey:
    """Where a run is; the part that is not weights. It travels in the checkpoint's state."""

    step: int = 0
    seconds: float = 0.0
    plateau: Plateau = field(default_factory=Plateau)
    rollback_rate: float = 1.0
    """What the rollbacks have left of the learning rate."""
    best: dict[str, Any] = field(default_factory=dict)
    """Stage, score and step of the best weights so far."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "plateau": self.plateau.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Journey":
        """What `to_json` gave."""
        return cls(**{**values, "plateau": Plateau.from_json(values["plateau"])})


def resume(run: TrainingRun, model: Learner, progress: Progress) -> Journey | None:
    """Put the newest whole checkpoint into the networks and say how far it had got; None when there is none."""
    checkpoint = run.load_checkpoint()
    for warning in run.warnings:
        progress.warn(warning)
    if checkpoint is None:
        return None
    model.restore(checkpoint.arrays)
    journey = Journey.from_json(checkpoint.state)
    run.truncate_log(journey.step)
    progress.note(f"going on with {run.path} at step {journey.step}")
    return journey


class Trainer:
    """The loop: steps, reports, saves and stops."""

    def __init__(
        self,
        run: TrainingRun,
        lesson: Lesson,
        journey: Journey,
        options: LearnOptions,
        progress: Progress,
        after_save: Callable[[TrainingRun], None] = lambda run: None,
    ):
        self.run, self.lesson, self.journey, self.options, self.progress = run, lesson, journey, options, progress
        self.after_save = after_save
        self.recipe = lesson.recipe
        self.pending_best: dict[str, NDArray] | None = None
        self.board: Any = None
        self.rollbacks = 0
        self.save_seconds = 1.0
        self.start = time.monotonic()
        self.start_seconds, self.start_step = journey.seconds, journey.step
        self.last_save = self.start
        self.clock_step, self.clock = journey.step, self.start

    def train(self) -> None:
        """Step until something ends it; save in any case, except when what there is cannot be trusted."""
        try:
            self._learn()
        finally:
            if self.board is not None:
                self.board.close()

    def _learn(self) -> None:
        self.run.update_manifest(finished=None)
        if self.journey.step == 0:
            self._save()  # what there is to come back to, and the disk's first trial
        total, unit, measure = self._extent()
        reason = None
        try:
            with self.progress.phase("training", total, unit) as advance:
                done = measure()
                while reason is None:
                    losses = self._step()
                    reason = self._after(losses)
                    advance(measure() - done)
                    done = measure()
        except TrainingDiverged:
            raise
        except BaseException:
            self._finish("interrupted", closing_report=False)
            raise
        self._finish(reason, closing_report=True)

    def _extent(self) -> tuple[float | None, str, Callable[[], float]]:
        """How much there is to do in this call, its unit, and how to measure what is done."""
        if self.options.time_seconds is not None and self.options.steps is None:
            return self.options.time_seconds, "s", lambda: time.monotonic() - self.start
        left = None if self.options.steps is None else max(0, self.options.steps - self.journey.step)
        return left, "steps", lambda: self.journey.step - self.start_step

    def _step(self) -> dict[str, Any]:
        """One training step."""
        journey = self.journey
        warm = min(1.0, (journey.step + 1) / max(1, self.recipe.train.warm_up))
        losses = self.lesson.step(journey.step, warm * journey.plateau.rate * journey.rollback_rate)
        journey.step += 1
        journey.seconds = self.start_seconds + time.monotonic() - self.start
        return losses

    def _after(self, losses: dict[str, Any]) -> str | None:
        """What follows a step: checks, reports, saves. Returns why training ends, or None."""
        step, options = self.journey.step, self.options
        if step % CHECK_STEPS == 0 and not _finite(losses):
            self._roll_back()
            return None
        reason = None
        if step % options.report_steps == 0:
            reason = self._report(losses, judge=True)
        if step % options.preview_steps == 0:
            self._preview()
        if options.steps is not None and step >= options.steps:
            return f"reached {options.steps} steps"
        elapsed = time.monotonic() - self.start
        if options.time_seconds is not None and elapsed >= options.time_seconds - 2 * self.save_seconds:
            return f"the time limit of {options.time} was reached"
        if reason is None and time.monotonic() - self.last_save >= options.save_minutes * 60 and _finite(losses):
            self._save()
        return reason

    def _report(self, losses: dict[str, Any], judge: bool) -> str | None:
        """Measure held-out faces, log, keep the best; with `judge` let the plateau rule decide."""
        journey, stage = self.journey, self._stage()
        figures = self.lesson.figures()
        now = time.monotonic()
        speed = (journey.step - self.clock_step) * self.lesson.faces_a_step / max(1e-9, now - self.clock)
        self.clock_step, self.clock = journey.step, now
        if journey.best.get("stage") != stage or figures["score"] < journey.best["score"]:
            journey.best = {"stage": stage, "score": figures["score"], "step": journey.step}
            self.pending_best = self.lesson.model.inference_arrays()
        reason = None
        if judge:
            last = stage == "adversarial" or not self.recipe.adversarial
            journey.plateau, decision = journey.plateau.judge(stage, figures["score"], self.options.patience, last)
            if decision == "halve the rate":
                self.progress.note(f"step {journey.step}: no progress on held-out faces, the rate is halved")
            if decision == "stop":
                reason = f"held-out faces stopped improving (best at step {journey.best['step']})"
            self.rollbacks = 0
        named = {name: round(float(value), 5) for name, value in losses.items()}
        held = {name: round(value, 5) for name, value in figures.items()}
        self.run.log(
            {
                "step": journey.step,
                "seconds": round(journey.seconds, 2),
                "images_per_second": round(speed, 1),
                "rate": journey.plateau.rate * journey.rollback_rate,
                "stage": stage,
                "losses": named,
                "held_out": held,
            }
        )
        self._show(named, held, speed)
        self.progress.note(f"step {journey.step}: {self.lesson.sentence(figures)}, {speed:.0f} images/s")
        return reason

    def _show(self, losses: dict[str, float], held: dict[str, float], speed: float) -> None:
        """The report's figures for TensorBoard, all of a call in one file."""
        from tensorboard.summary import Writer

        folder = self.run.tensorboard_folder()
        with storage_errors(folder):
            if self.board is None:
                self.board = Writer(str(folder))
            for group, values in (("losses", losses), ("held_out", held), ("speed", {"images_per_second": speed})):
                for name, value in values.items():
                    self.board.add_scalar(f"{group}/{name}", value, self.journey.step)
            self.board.flush()

    def _stage(self) -> str:
        """The stage that the last step belonged to."""
        return "adversarial" if self.lesson.model.is_adversarial(self.journey.step - 1) else "reconstruction"

    def _preview(self) -> None:
        write_jpeg(self.run.preview_path(self.journey.step), self.lesson.preview())
        self.run.write_artifact("curves.png", curves(self.run.read_log()))

    def _save(self) -> None:
        """Checkpoint and, when it is newer, the best weights; then whoever wants to copy them."""
        began = time.monotonic()
        self.run.save_checkpoint(self.journey.step, self.lesson.model.arrays(), self.journey.to_json())
        if self.pending_best is not None:
            self.run.save_best(self.pending_best, {"recipe": self.recipe.name, **self.journey.best})
            self.pending_best = None
        self.run.update_manifest(steps=self.journey.step, seconds=round(self.journey.seconds, 1))
        self.after_save(self.run)
        self.last_save = time.monotonic()
        self.save_seconds = self.last_save - began

    def _finish(self, reason: str | None, closing_report: bool) -> None:
        """Leave everything saved; after a regular end also report, preview and record why."""
        if self.journey.step == self.start_step:
            self.run.update_manifest(finished=reason if closing_report else None)
            return
        if not self._weights_are_numbers():
            self.progress.warn(
                "the newest weights hold values that are not numbers: the last checkpoint is kept instead"
            )
            return
        if closing_report and self.journey.step % self.options.report_steps:
            self._report({}, judge=False)
        if closing_report:
            self._preview()
        if self.pending_best is None and not self.journey.best:
            self.journey.best = {"stage": self._stage(), "score": float("1e9"), "step": self.journey.step}
            self.pending_best = self.lesson.model.inference_arrays()
        self._save()
        self.run.update_manifest(finished=reason if closing_report else None)
        self.progress.note(f"saved {self.run.path} at step {self.journey.step}: {reason}")

    def _weights_are_numbers(self) -> bool:
        return all(bool(np.isfinite(value_of(value)).all()) for value in self.lesson.model.generator_weights)

    def _roll_back(self) -> None:
        """Return to the last good checkpoint with half the rate. Raises TrainingDiverged when that keeps failing."""
        self.rollbacks += 1
        if self.rollbacks > MOST_ROLLBACKS:
            raise TrainingDiverged(
                f"training of {self.run.path} diverged {self.rollbacks} times in a row near step {self.journey.step}: "
                f"the last good checkpoint is kept; try a lower learning_rate in the recipe, with --out OTHER"
            )
        rate = self.journey.rollback_rate / 2
        checkpoint, found = self.run.load_checkpoint(), self.journey.step
        assert checkpoint is not None  # there is one since step 0
        self.lesson.model.restore(checkpoint.arrays)
        self.journey = Journey.from_json(checkpoint.state)
        self.journey.rollback_rate = rate
        self.run.truncate_log(self.journey.step)
        self.progress.warn(
            f"step {found}: the losses were not numbers; back to step {self.journey.step} with {rate:g} of the rate"
        )


def _finite(losses: dict[str, Any]) -> bool:
    return all(np.isfinite(float(value)) for value in losses.values())
