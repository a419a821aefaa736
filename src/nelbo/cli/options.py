"""What several commands ask for, and how they find it."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading
from nelbo.cli.terminal import detail, note
from nelbo.errors import BadInput, printable

if TYPE_CHECKING:
    import torch

    from nelbo.data import Images, Points, Tokens
    from nelbo.model import Model

__all__ = [
    "BatchSize",
    "Budget",
    "Calls",
    "Check",
    "DataOption",
    "Device",
    "Dtype",
    "DtypeOption",
    "JsonOption",
    "MaxImages",
    "ModelArgument",
    "ModelOrPlan",
    "OrderOption",
    "Precision",
    "RecordOption",
    "Seed",
    "Spacing",
    "SpacingOption",
    "SplitOption",
    "Steps",
    "check_folder",
    "check_new",
    "command",
    "find_data",
    "find_device",
    "find_model",
    "find_models",
    "find_training_data",
    "say_assumed",
]


class Dtype(StrEnum):
    """What the network computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Spacing(StrEnum):
    """Which steps a shorter chain keeps."""

    even = "even"
    quadratic = "quadratic"
    log_snr = "log-snr"
    optimal = "optimal"


_MODEL = typer.Argument(
    help="A run folder, a checkpoint, a folder of diffusers or transformers, hf:OWNER/NAME, or "
    "file.py:function.",
    autocompletion=completion.models,
)
ModelArgument = Annotated[str, _MODEL]
ModelOrPlan = Annotated[str | None, _MODEL]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="digits, mnist:DIR, a folder, .npy, .npz, .safetensors, .arrow; default: the run's.",
        autocompletion=completion.data,
    ),
]
SplitOption = Annotated[
    str | None, typer.Option(help="train or test.", autocompletion=completion.splits)
]
JsonOption = Annotated[
    str | None, typer.Option(help="Write the result to this file; - for stdout.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Decides every random number.")]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N.", autocompletion=completion.devices)
]
SpacingOption = Annotated[
    Spacing | None, typer.Option(help="How --steps are spread; default the model's own way.")
]
EveryT = Annotated[
    bool,
    typer.Option(
        "--exhaustive", help="Evaluate every t of every image: nothing along t is missed."
    ),
]
Precision = Annotated[
    float,
    typer.Option(
        help="A pilot plans for this 95 % Monte Carlo half-width, in bits/dim. "
        "What sits in one t that was not evaluated is not seen."
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        help="Spend at most this many network evaluations instead. "
        "What sits in one t that was not evaluated is not seen."
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="First see that no image's output depends on other images or on chance.",
    ),
]
MaxImages = Annotated[int | None, typer.Option(help="Use the first so many images.")]
BatchSize = Annotated[int | None, typer.Option(help="Rows in a batch; default by size.")]
RecordOption = Annotated[
    Path | None,
    typer.Option(help="Keep what comes back in this folder; the same command goes on from it."),
]
DtypeOption = Annotated[
    Dtype | None, typer.Option(help="Of the network alone; sums are float64. Default its own.")
]
Steps = Annotated[
    int | None,
    typer.Option(help="Use a chain of this many of the model's steps; any, in continuous time."),
]


OrderOption = Annotated[
    str | None,
    typer.Option(
        help="The exact -log p of a masked model in this order: raster, dispersed, left-to-right, "
        "random:SEED or a file of positions."
    ),
]
Calls = Annotated[
    int | None,
    typer.Option(
        help="Reveal a masked model's positions in so many equal groups; in any order, a bound, "
        "without --order."
    ),
]


def check_folder(folder: Path) -> None:
    """Refuses "-", which is stdout elsewhere and not a name that anybody means."""
    if str(folder) == "-":
        raise BadInput("-o - is no folder: name a new one")


def check_new(folder: Path) -> None:
    """Before any work: nothing is there that would be in the way."""
    check_folder(folder)
    if os.path.lexists(folder):
        raise BadInput(f"{folder} exists already: choose another folder, nothing is overwritten")


def find_model(
    path: str,
    reading: Reading,
    device: str,
    steps: int | None = None,
    spacing: Spacing | None = None,
    dtype: str | None = None,
) -> "Model":
    """The model at the path, its chain shortened and its network in the requested dtype.

    dtype: None for that of its weights, float32 in runs and in diffusers folders.
    """
    import torch

    from nelbo.formats import load

    if spacing is not None and steps is None:
        raise BadInput("--spacing needs --steps: say how many steps to spread")
    model = load(path, device=str(find_device(device)), **reading.options)
    if dtype is not None:
        model.network.to(getattr(torch, dtype))
    arithmetic = str(model.dtype).removeprefix("torch.")
    detail(f"{path}: T = {model.T}, {model.weights} weights, {arithmetic}, on {model.device}")
    if steps is None:
        return model
    return _optimal(path, model, steps) if spacing == "optimal" else model.every(steps, spacing)


def find_models(
    paths: Sequence[str],
    readings: Sequence[Reading],
    device: str,
    steps: int | None,
    spacing: Spacing | None,
    dtype: str | None,
) -> list["Model"]:
    """A model for each path and reading; options of diffusers folders apply to those alone.

    Raises:
        BadInput: options of diffusers folders, and there is none.
    """
    from nelbo.formats import is_function, says_all

    whole = [says_all(path) for path in paths]
    made = [is_function(path) for path in paths]
    each = []
    for own, runs, reading in zip(whole, made, readings, strict=True):
        if runs and not all(made):
            each.append(Reading())
        elif own and not all(whole):
            each.append(Reading(weights=reading.weights))
        else:
            each.append(reading)
    pairs = zip(paths, each, strict=True)
    return [find_model(path, how, device, steps, spacing, dtype) for path, how in pairs]


def _optimal(path: str, model: "Model", steps: int) -> "Model":
    """The sub-chain that is best on the data that the model was trained on.

    Raises:
        BadInput: a model of another library, which names no data.
    """
    from nelbo.formats import recipe_of
    from nelbo.tasks.improve import optimal_steps

    if model.settings.foreign:
        raise BadInput(
            f"--spacing optimal needs training data, and {path} names none: give them to "
            "nelbo improve, which makes a model of the best steps"
        )

    images = _images(model, recipe_of(path).data.train, None, model.classes is not None)
    with bars() as start:
        kept = optimal_steps(model, images, steps, progress=start("find steps"))
    return model.keeping(kept)


def check_mode(budget: bool, exhaustive: bool) -> None:
    """Refuses two options of which each says how much is evaluated."""
    if budget and exhaustive:
        raise BadInput("--budget and --exhaustive exclude each other: give one")


def find_data(
    path: str,
    model: "Model",
    spec: str | None,
    split: str | None,
    *others: "Model",
    most: int | None = None,
) -> "Images | Points | Tokens":
    """The requested data, or else those that the model's recipe tests on: all, or the first.

    Their labels too where this model, or one of the others, has classes. Of a file that stays on
    the disk only the first are read, so that nothing is known of whether a model was trained on it.

    Raises:
        BadInput: no data, or data that are not of the model's shape and levels.
    """
    from nelbo.data import load_for
    from nelbo.formats import recipe_of
    from nelbo.types import Grid

    if spec is None and split is not None:
        raise BadInput("--split needs --data: say of which data it is the split")
    spec = spec or recipe_of(path).data.test
    if isinstance(model.support, Grid):
        labels = any(each.classes is not None for each in (model, *others))
        images = _warn_if_trained_on(path, model, _images(model, spec, split, labels, most))
        return images if most is None else images.first(most)
    points = load_for(model.support, spec, split=split)
    return points if most is None else points.first(most)


def _warn_if_trained_on(path: str, model: "Model", images: "Images | Tokens") -> "Images | Tokens":
    """The images; with a text, and a word in the result, where the model was trained on them."""
    from nelbo.formats import trained_on

    if model.settings.foreign or trained_on(path) != images.sha256:
        return images
    text = f"{images.name}: {path} was trained on these very images: the bound on them is too good"
    print(printable(text), file=sys.stderr)
    return replace(images, origin={**images.origin, "trained_on": True})


def find_training_data(
    path: str, model: "Model", spec: str | None, test: str | None, share: float, seed: int
) -> tuple["Images", "Images"]:
    """(what may be fitted to, what it is measured on), by default the run's own of each.

    Where neither the user nor the model names the second, a share of the first is held out.

    Raises:
        BadInput: as `find_data`; a share that leaves nothing on one side.
    """
    from nelbo.formats import recipe_of
    from nelbo.tasks.improve import held_out

    labels = model.classes is not None
    images = _only_images(_images(model, spec or recipe_of(path).data.train, None, labels))
    if test is None and not model.settings.foreign:
        test = recipe_of(path).data.test
    if test is None:
        return held_out(images, share, seed)
    others = _only_images(_images(model, test, None, labels))
    if others.sha256 == images.sha256:
        raise BadInput(f"{test} is what the model would be fitted to: measure on other images")
    return images, others


def _only_images(data: "Images | Tokens") -> "Images":
    """Refuses text, which this does not take."""
    from nelbo.data import Images

    if not isinstance(data, Images):
        raise BadInput(f"{data.name} is text: this takes a model of images")
    return data


def _images(
    model: "Model", spec: str, split: str | None, labels: bool, most: int | None = None
) -> "Images | Tokens":
    """The images of a spec as the model takes them; of those on the disk, the first."""
    from nelbo.data import Images, Points, Tokens, load_for

    try:
        shape, alphabet = model.shape, model.alphabet
        images = load_for(
            model.support, spec, split=split, labels=labels, shape=shape, alphabet=alphabet
        )
    except BadInput as error:
        usual = model.settings.assumed.get("levels")
        if usual is None or "levels" not in str(error):
            raise
        raise BadInput(f"{error}; {usual} is the default: --levels says another") from None
    assert not isinstance(images, Points)  # of a model with a grid
    model.x_0(images.levels[:1])
    if most is not None and isinstance(images, Images) and images.mapped:
        images = images.first(most)
    if "decoded" in images.origin:
        decoded = images.origin["decoded"]
        note(f"{images.name}: pixels of {decoded}; another decoder may give others")
    what = "windows" if isinstance(images, Tokens) else "images"
    detail(f"{images.name}: {len(images):,} {what} of {images.n} levels, sha256 {images.sha256}")
    return images


def say_assumed(*models: "Model") -> None:
    """On stderr, for each model of another library: its weights, and what no file of it says."""
    for model in models:
        assumed = [f"{name} {value}" for name, value in model.settings.assumed.items()]
        folder = (model.settings.network or {}).get("folder")
        if folder is not None:
            note(f"{model.name}: weights {model.weights}, of {folder}/")
        if "distilled" in model.settings.notes:
            note(f"{model.name}: {model.settings.notes['distilled']}")
        if assumed:
            text = f"{model.name}: no file says {', '.join(assumed)}; these are defaults "
            hint = "(nelbo inspect shows all, --help how to say otherwise)"
            print(printable(text + hint), file=sys.stderr)


def find_device(name: str) -> "torch.device":
    """The device of that name; auto is this process's GPU, or the CPU where there is none."""
    import torch

    from nelbo.arguments import device_of

    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun and accelerate: one GPU each,
        return torch.device(f"cuda:{local % torch.cuda.device_count()}")  # shared if there are less
    return device_of(name)


def command() -> str:
    """What the user typed, for the report."""
    return shlex.join(["nelbo", *sys.argv[1:]])
