"""The command that trains: train."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    Device,
    check_folder,
    find_device,
)
from nelbo.cli.progress import bars
from nelbo.cli.terminal import artefacts, name_made, note
from nelbo.errors import BadInput, printable

__all__ = ["train"]


class Track(StrEnum):
    """What may show a training's log as it is written."""

    tensorboard = "tensorboard"
    wandb = "wandb"


@app.command(cls=Command)
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name, or a .toml file; or the run to resume.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new folder; default runs/NAME.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder, if it is there.")
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="Other data than the recipe's: mnist:DIR, ...")
    ] = None,
    test_data: Annotated[
        str | None, typer.Option(help="What to measure on, where --data has no test split.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another value of a key of the recipe: training.steps=100. Repeatable.",
        ),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="4 steps of 8 images: does everything run?")
    ] = False,
    track: Annotated[
        list[Track] | None,
        typer.Option(help="Show the log there too; needs pip install 'nelbo[NAME]'. Repeatable."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a recipe into a run folder, or go on with one.

    \b
    nelbo train digits -o runs/digits
    nelbo train my-recipe.toml --set network.width=64 --set training.steps=100
    nelbo train mnist --data mnist:my-folder -o runs/mnist
    nelbo train cifar10 --data cifar10:my-folder --smoke
    nelbo train digits --track tensorboard
    nelbo train --resume runs/digits
    torchrun --nproc-per-node 2 -m nelbo train digits -o runs/digits --resume

    Stopped or killed, it goes on from its last checkpoint and ends with the same bytes.
    """
    from nelbo import recipe as recipes
    from nelbo.estimation import Processes
    from nelbo.tasks.train import begun
    from nelbo.tasks.train import train as run

    if recipe is None:
        raise BadInput("nothing to train: give a recipe, or --resume and a run folder")
    processes = Processes.started()  # before what may fail in one of them alone
    if resume and output is None and Path(recipe).is_dir():
        if data or test_data or smoke or changes:
            raise BadInput(
                f"{recipe} is a run with a recipe of its own: leave out --data, --set and --smoke"
            )
        output, choices = Path(recipe), begun(recipe)
    else:
        choices = recipes.read(recipe, changes or ())
        if test_data is not None and data is None:
            raise BadInput("--test-data goes with --data")
        if data is not None:
            choices = recipes.on_data(choices, data, test_data)
        if smoke:
            choices = recipes.smoke(choices)
    folder = output or _own_folder(choices.name)
    check_folder(folder)
    with bars(processes.first) as start:
        made = run(
            choices,
            folder,
            device=find_device(device),
            resume=resume,
            processes=processes,
            track=[one.value for one in track or ()],
            warn=lambda text: print(printable(text), file=sys.stderr),
            progress=start(f"train {choices.name}", "steps"),
        )
    if processes.first:
        name_made(artefacts(made))
        note(f"next: nelbo evaluate {shlex.quote(str(made))}")


def _own_folder(name: str) -> Path:
    """runs/NAME, which is in runs/.

    Raises:
        BadInput: the name leads elsewhere.
    """
    if name in ("", ".", "..") or Path(name).name != name or printable(name) != name:
        raise BadInput(
            f"the recipe's name {printable(name)!r} is none of a folder in runs/: say where by -o"
        )
    return Path("runs") / name
