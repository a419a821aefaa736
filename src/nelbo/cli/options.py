"""What several commands ask for, and how they find it."""

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli.progress import bars
from nelbo.errors import BadInput

if TYPE_CHECKING:
    import torch

    from nelbo.data import Images, Points
    from nelbo.model import Model

__all__ = [
    "DataOption",
    "Device",
    "JsonOption",
    "ModelArgument",
    "Seed",
    "Spacing",
    "SpacingOption",
    "SplitOption",
    "Steps",
    "Weights",
    "WeightsOption",
    "check_folders",
    "check_new",
    "command",
    "find_data",
    "find_device",
    "find_model",
]


class Spacing(StrEnum):
    """Which steps a shorter chain keeps."""

    even = "even"
    quadratic = "quadratic"
    log_snr = "log-snr"
    optimal = "optimal"


class Weights(StrEnum):
    """Which weights of a checkpoint."""

    ema = "ema"
    raw = "raw"


ModelArgument = Annotated[str, typer.Argument(help="A run folder or a checkpoint file.")]
DataOption = Annotated[
    str | None,
    typer.Option(help="digits, mnist:DIR, a folder, .npy or .npz; default the run's own."),
]
SplitOption = Annotated[str | None, typer.Option(help="train or test.")]
JsonOption = Annotated[
    str | None, typer.Option(help="Write the result to this file; - for stdout.")
]
Seed = Annotated[int, typer.Option(min=0, help="Decides every random number.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
SpacingOption = Annotated[
    Spacing | None, typer.Option(help="How --steps are spread; default the model's own way.")
]
WeightsOption = Annotated[Weights, typer.Option(help="Moving average, or last step.")]
Steps = Annotated[int | None, typer.Option(help="Use a chain of this many of the model's steps.")]


def check_folders(*outputs: tuple[str, str | Path | None]) -> None:
    """Before hours of work: each output's folder is there."""
    for option, path in outputs:
        if path not in (None, "-") and not Path(path).absolute().parent.is_dir():
            raise BadInput(f"{option} {path}: its folder does not exist; make it first")


def check_new(folder: Path) -> None:
    """Before any work: nothing is there that would be in the way."""
    if folder.exists():
        raise BadInput(f"{folder} exists already: choose another folder, nothing is overwritten")


def find_model(
    path: str,
    weights: Weights,
    device: str,
    steps: int | None = None,
    spacing: Spacing | None = None,
    dtype: str = "float32",
) -> "Model":
    """The model at the path, its chain shortened and its network in the dtype asked for."""
    import torch

    from nelbo.pretrained import load

    if spacing is not None and steps is None:
        raise BadInput("--spacing needs --steps: say how many steps to spread")
    model = load(path, weights=weights.value, device=str(find_device(device)))
    model.network.to(getattr(torch, dtype))
    if steps is None:
        return model
    return _optimal(path, model, steps) if spacing == "optimal" else model.every(steps, spacing)


def _optimal(path: str, model: "Model", steps: int) -> "Model":
    """The sub-chain that is best on the data that the model was trained on."""
    from nelbo.data import load
    from nelbo.pretrained import recipe_of
    from nelbo.tasks.improve import optimal_steps

    images = load(recipe_of(path).data.train, levels=model.grid.n, grid=model.grid)
    with bars() as start:
        kept = optimal_steps(model, images, steps, progress=start("steps"))
    return model.keeping(kept)


def find_data(path: str, model: "Model", spec: str | None, split: str | None) -> "Images | Points":
    """The data asked for, or else those that the model's recipe tests on."""
    from nelbo.data import load, load_for
    from nelbo.pretrained import recipe_of

    if spec is not None:
        return load_for(model.support, spec, split=split)
    if split is not None:
        raise BadInput("--split needs --data: say of which data it is the split")
    data = recipe_of(path).data
    return load(data.test, levels=model.grid.n)


def find_device(name: str) -> "torch.device":
    """The device of that name; auto is this process's GPU, or the CPU where there is none."""
    import torch

    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun and accelerate: one GPU each,
        return torch.device(f"cuda:{local % torch.cuda.device_count()}")  # shared if there are less
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"no device {name}: {str(error).splitlines()[0]}") from None
    return device


def command() -> str:
    """What the user typed, for the report."""
    return shlex.join(["nelbo", *sys.argv[1:]])
