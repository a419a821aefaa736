"""What a recipe will cost on this machine, measured by doing a little of it."""

import math
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from nelbo import formats
from nelbo.data import load
from nelbo.recipe import Recipe
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.train import train

__all__ = ["Cost", "cost", "duration"]

WARM_UP, TIMED = 2, 5  # steps of training
IMAGES, EACH = 16, 8  # that are evaluated, and how many times each
EVALUATIONS = 12  # of each image, which the default precision takes on the recipes of the package


@final
@dataclass(frozen=True)
class Cost:
    """Seconds of a training step and of an evaluation of one image at one t, and how many of each.

    measured: evaluations of held-out images during the training.
    """

    step: float
    evaluation: float
    steps: int
    measured: int
    images: int

    @property
    def training(self) -> float:
        """Seconds, with the held-out images that are measured on the way."""
        return self.steps * self.step + self.measured * self.evaluation

    @property
    def evaluating(self) -> float:
        """Seconds of `nelbo evaluate` with its default precision, as far as can be known."""
        return EVALUATIONS * self.images * self.evaluation

    def steps_in(self, seconds: float) -> int:
        """How many steps can be trained in that time, the held-out images included; at least 1."""
        left = seconds - self.measured * self.evaluation
        return max(1, math.floor(left / self.step))

    def with_steps(self, steps: int) -> "Cost":
        """Of so many steps of training."""
        return replace(self, steps=steps)

    def __str__(self) -> str:
        lines = [f"training    {self.steps:,} steps x {self.step:.2g} s"]
        if self.measured:
            lines[0] += f" + {self.measured:,} held-out evaluations x {self.evaluation:.2g} s"
        lines[0] += f" = {duration(self.training)}"
        lines.append(
            f"evaluation  {self.images:,} images x about {EVALUATIONS} network evaluations x "
            f"{self.evaluation:.2g} s = {duration(self.evaluating)}"
        )
        return "\n".join(lines)


def cost(recipe: Recipe, device: torch.device | str = "cpu") -> Cost:
    """The cost of training and evaluating the recipe here: a few steps of both are timed.

    Nothing of it is kept. The machine should be as busy as it will be.

    Raises:
        BadInput: as `train`.
    """
    choice = recipe.training
    short = {"steps": WARM_UP + TIMED, "held_out": 0, "warmup": 0, "samples_every": 0}
    small = recipe.model_copy(update={"training": choice.model_copy(update=short)})
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            small,
            Path(folder) / "run",
            device=device,
            warn=lambda text: None,
            progress=lambda done, expected, text: ends.append(time.perf_counter()),
        )
        steps = [b - a for a, b in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)]
        model = formats.load(run, device=str(device))
    test = load(recipe.data.test, levels=recipe.data.levels, labels=model.classes is not None)
    few = test.first(min(IMAGES, len(test)))
    result = evaluate(model, few, budget=EACH * len(few))
    times = choice.steps // choice.held_out_every
    return Cost(
        step=statistics.median(steps),
        evaluation=result.seconds / result.network_evaluations,
        steps=choice.steps,
        measured=times * choice.held_out * choice.held_out_budget,
        images=len(test),
    )


def duration(seconds: float) -> str:
    """40 s, 36 min, 2.1 h, 3.4 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
