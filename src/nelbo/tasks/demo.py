"""The main job, end to end: train, evaluate, sample, and set the figure beside simple codes."""

import lzma
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from nelbo import files, formats, recipe
from nelbo.data import Images, load
from nelbo.recipe import Recipe
from nelbo.results import Evaluation, likelihood_of, per_image
from nelbo.sampling.pictures import picture_grid
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.report import IMAGES, RESULT, report
from nelbo.tasks.train import train
from nelbo.training.log import LOG, SPEED

__all__ = ["Demo", "Progress", "baselines", "demo"]

Progress = Callable[[str, str], Callable[[int, int | None, str], None]]
"""Given a label and a unit, starts a bar and returns what moves it."""

SAMPLES = 64


@final
@dataclass(frozen=True)
class Demo:
    """What the demo made: the model's bound, the table, and the files, named."""

    evaluation: Evaluation
    table: Sequence[tuple[str, str]]
    files: Sequence[Path]


def demo(
    folder: Path,
    *,
    choices: Recipe | None = None,
    control: bool = False,
    resume: bool = False,
    command: str = "",
    progress: Progress,
) -> Demo:
    """Trains on the digits, measures on the held-out ones, draws samples; all into `folder`.

    control: also train the plain DDPM, into `folder`/control. resume: go on with what a start that
    was stopped or killed has left there; what is measured and drawn is measured and drawn again.

    Raises:
        BadInput: the folder exists already or, with resume, holds another run.
        Stopped: SIGTERM or SIGINT came while it trained, and what has been done is saved.
    """
    choices = choices or recipe.read("digits")
    training, test = _splits(choices)
    result = _run(choices, folder, resume, test, command, progress)
    rows = [("of the held-out images", "bits/dim"), *baselines(training, test)]
    if control:
        other, place = recipe.read("digits-ddpm"), folder / "control"
        plain = _run(other, place, resume, test, command, progress)
        rows.append(("plain eps DDPM, T = 1000", _figure(plain)))
    label = f"{result.model['name']}, T = {result.model['T']}{likelihood_of(result.model)}"
    rows.append((label, _figure(result)))
    drawn: list[Tensor] = []
    draw = progress("sample", "steps")
    html = report(folder, table=rows, samples=SAMPLES, drawn=drawn.append, progress=draw)
    made = [
        folder / "model.safetensors",
        folder / LOG,
        folder / SPEED,
        folder / RESULT,
        folder / IMAGES,
        files.write(folder / "samples.png", picture_grid(drawn[0], test.n, scale=8)),
        files.write(folder / "report.html", html.encode()),
    ]
    return Demo(result, rows, made)


def _splits(choices: Recipe) -> tuple[Images, Images]:
    labels = choices.network.classes is not None
    training, test = (
        load(spec, levels=choices.data.levels, labels=labels)
        for spec in (choices.data.train, choices.data.test)
    )
    assert isinstance(training, Images)  # as the recipe of the demo has it
    assert isinstance(test, Images)
    return training, test


def _run(
    choices: Recipe, folder: Path, resume: bool, test: Images, command: str, progress: Progress
) -> Evaluation:
    """Trains into the folder, evaluates on the test images, writes the result."""
    moved = progress(f"train {choices.name}", "steps")
    train(choices, folder, resume=resume, progress=moved)
    model = formats.load(folder)
    result = evaluate(
        model,
        test,
        distortion=True,
        command=command,
        progress=progress(f"evaluate {choices.name}", "evaluations"),
    )
    files.write(folder / RESULT, result.to_json().encode())
    per_image.write(result.per_image, folder / IMAGES)
    return result


def _figure(result: Evaluation) -> str:
    half = result.half_width(result.total)
    return f"{result.bits_per_dim:.4f}" + ("" if half is None else f" ± {half:.4f}")


def baselines(training: Images, test: Images) -> list[tuple[str, str]]:
    """Codes that need no network: uniform, a histogram per pixel, and xz; bits/dim of the test set.

    The histogram counts the training images, a tenth of a count added to every level; xz takes
    the test images raw, by image or by pixel, whichever comes out smaller.
    """
    n = test.n
    counts = np.stack([(training.levels == level).sum(0).numpy() for level in range(n)]) + 0.1
    log_mass = np.log2(counts / counts.sum(0))
    levels = test.levels.numpy()
    histogram = -np.take_along_axis(log_mass, levels.astype(np.int64), axis=0).mean()
    flat = levels.reshape(len(levels), -1)
    preset = 9 | lzma.PRESET_EXTREME
    sizes = [len(lzma.compress(pixels.tobytes(), preset=preset)) for pixels in (flat, flat.T)]
    xz = 8 * min(sizes) / flat.size
    return [
        (f"uniform over {n} levels", f"{math.log2(n):.4f}"),
        ("histogram per pixel", f"{histogram:.4f}"),
        ("xz -9e, all images in one file", f"{xz:.4f}"),
    ]
