"""What a recipe will cost on this machine, measured by doing a little of it."""

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from nelbo import formats
from nelbo.data import Examples, Images, load
from nelbo.data.packed import baselines
from nelbo.estimation.adaptive import MOST_EACH
from nelbo.recipe import Recipe
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.train import train

__all__ = ["Cost", "cost", "duration"]

WARM_UP, TIMED = 2, 5  # steps of training
MEASURING = 0.25  # of a training of given length, at most, goes to held-out images
IMAGES, EACH = 16, 8  # that are evaluated, and how many times each
PRECISIONS = (0.01, 0.05)  # bits/dim: the default of an evaluation, and what is known much sooner
RELATIVE = 0.2  # deviation of an evaluation over the bound: 0.11 to 0.21 on trained recipes
FEWEST = 4  # evaluations of an image
COMPRESSED = 100  # images, by which it is guessed what bound a trained model will have


@final
@dataclass(frozen=True)
class Seconds:
    """Of a training step; of what a measurement does once; of each of its evaluations.

    An evaluation is of one image at one t.
    """

    step: float
    start: float
    evaluation: float

    def measuring(self, evaluations: int) -> float:
        """So many evaluations, and what is done once."""
        return self.start + evaluations * self.evaluation


@final
@dataclass(frozen=True)
class Cost:
    """Seconds of a training step and of an evaluation, and how many there will be of each.

    clock: of a machine as busy as it is now. cpu: of all threads, which depends less on how busy
    the machine is; None where another device does the work. times: how often the held-out images
    are measured during the training, by `held_out` evaluations each time. bits: per dimension of
    the test images, by the best of the usual formats.
    """

    clock: Seconds
    cpu: Seconds | None
    steps: int
    times: int
    held_out: int
    images: int
    bits: float

    def training(self, each: Seconds) -> float:
        """Seconds, with the held-out images that are measured on the way."""
        return self.steps * each.step + self.times * each.measuring(self.held_out)

    def evaluations(self, precision: float) -> int:
        """What `evaluate --precision` takes of a model as good as the formats, about."""
        wanted = (1.96 * RELATIVE * self.bits / precision) ** 2
        return round(min(max(wanted, FEWEST * self.images), MOST_EACH * self.images))

    def evaluating(self, each: Seconds, precision: float = PRECISIONS[0]) -> float:
        """Seconds of `nelbo evaluate --precision`, as far as can be known."""
        return each.measuring(self.evaluations(precision))

    def within(self, seconds: float) -> "Cost":
        """With as many steps as the clock leaves time for, at least 1.

        Held-out images are measured as often as planned, or as a quarter of the time allows.
        """
        each = self.clock.measuring(self.held_out)
        times = min(self.times, math.floor(MEASURING * seconds / each)) if self.times else 0
        steps = math.floor((seconds - times * each) / self.clock.step)
        return replace(self, steps=max(1, steps), times=times)

    def __str__(self) -> str:
        clock, cpu = self.clock, self.cpu
        lines = [f"training    {self.steps:,} steps x {clock.step:.2g} s"]
        if self.times:
            each = duration(clock.measuring(self.held_out))
            ending = "" if self.times == 1 else "s"
            lines[0] += f" + {self.times:,} measurement{ending} of held-out images x {each}"
        lines[0] += f" = {duration(self.training(clock))}"
        for precision, name in zip(PRECISIONS, ("evaluation", ""), strict=True):
            share = self.evaluations(precision) / self.images
            lines.append(
                f"{name:10}  ± {precision} bits/dim: {duration(clock.start)} + {self.images:,} "
                f"images x about {share:,.0f} network evaluations x {clock.evaluation:.2g} s = "
                f"{duration(self.evaluating(clock, precision))}"
            )
        if cpu is not None:
            lines.append(
                f"CPU time    training {duration(self.training(cpu))}, evaluation "
                + " or ".join(duration(self.evaluating(cpu, x)) for x in PRECISIONS)
            )
        return "\n".join(lines)


def cost(recipe: Recipe, device: torch.device | str = "cpu") -> Cost:
    """The cost of training and evaluating the recipe here: a few steps of both are timed.

    Nothing of it is kept. What the clock says holds while the machine stays as busy as it is.

    Raises:
        BadInput: as `train`.
    """
    choice = recipe.training
    short = {"steps": WARM_UP + TIMED, "held_out": 0, "warmup": 0, "samples_every": 0}
    small = recipe.model_copy(update={"training": choice.model_copy(update=short)})
    ends: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            small,
            Path(folder) / "run",
            device=device,
            warn=lambda text: None,
            progress=lambda done, expected, text: ends.append(_now()),
        )
        model = formats.load(run, device=str(device))
    test = load(recipe.data.test, levels=recipe.data.levels, labels=model.classes is not None)
    few = test.first(min(IMAGES, len(test)))
    calls = [(0, _now())]
    evaluate(
        model,
        few,
        budget=EACH * len(few),
        check=False,
        progress=lambda done, expected, text: calls.append((done, _now())),
    )
    clock, cpu = (_seconds(ends, calls, which) for which in (0, 1))
    return Cost(
        clock=clock,
        cpu=cpu if model.device.type == "cpu" else None,
        steps=choice.steps,
        times=choice.steps // choice.held_out_every if choice.held_out else 0,
        held_out=choice.held_out * choice.held_out_budget,
        images=len(test),
        bits=_bits(test.first(min(COMPRESSED, len(test))), model.grid.n),
    )


def _bits(examples: Examples, n: int) -> float:
    """Of a dimension, by the best of the usual formats; of a symbol of text, as many as it can."""
    if isinstance(examples, Images):
        return min(baselines(examples).values())
    return math.log2(n)


def _now() -> tuple[float, float]:
    """(the clock, the CPU time of this process and all its threads), in seconds."""
    return time.perf_counter(), time.process_time()


def _seconds(
    steps: Sequence[tuple[float, float]],
    calls: Sequence[tuple[int, tuple[float, float]]],
    which: int,
) -> Seconds:
    """By the clock or by CPU time: of ends of steps, and of (evaluations done, when)."""
    times = [end[which] for end in steps[WARM_UP - 1 :]]
    each = [
        (later[which] - now[which]) / (more - done)
        for (done, now), (more, later) in itertools.pairwise(calls)
    ]
    evaluation = statistics.median(each)  # what is fitted between two calls is no part of it
    whole = calls[-1][1][which] - calls[0][1][which]
    return Seconds(
        step=statistics.median(b - a for a, b in itertools.pairwise(times)),
        start=max(0.0, whole - calls[-1][0] * evaluation),
        evaluation=evaluation,
    )


def duration(seconds: float) -> str:
    """40 s, 36 min, 2.1 h, 3.4 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
