"""nelbo recipes: which there are, what one says, and one for data of your own."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import app
from nelbo.cli.options import Device, find_device
from nelbo.cli.outputs import Output, check_outputs, deliver
from nelbo.cli.terminal import note
from nelbo.errors import BadInput, printable

__all__ = ["group", "new", "show"]

group = typer.Typer(rich_markup_mode=None)
app.add_typer(group, name="recipes")


@group.callback(invoke_without_command=True)
def listed(context: typer.Context) -> None:
    """List the recipes, print one, or write a new one.

    \b
    nelbo recipes
    nelbo recipes show digits
    nelbo recipes new --data my-images/ -o my.toml
    """
    if context.invoked_subcommand is not None:
        return
    from nelbo.recipe import names, subject

    width = max(map(len, names()))
    for name in names():
        print(f"{name:<{width}}  {subject(name)}")
    note("nelbo recipes show NAME prints one; nelbo recipes new --data my-images/ writes your own")


@group.command()
def show(
    name: Annotated[str, typer.Argument(help="A recipe of the package.")],
) -> None:
    """Print a recipe of the package, as a file to start from.

    \b
    nelbo recipes show digits > mine.toml
    """
    from nelbo.recipe import text

    print(text(name), end="")


@group.command()
def new(
    data: Annotated[
        str,
        typer.Option(
            help="What to train on: a folder, .npy, .npz, .safetensors, .arrow, mnist:DIR.",
            autocompletion=completion.data,
        ),
    ],
    test_data: Annotated[
        str | None, typer.Option(help="What to measure on, where --data has no test split.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="A new .toml file.")] = Path(
        "my.toml"
    ),
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e6, help="Train for about so long here; it decides the steps."),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(help="Time a few steps here, and say what training and evaluation will cost."),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
    device: Device = "auto",
) -> None:
    """Write a recipe that fits the size, the channels, the levels and the number of your images.

    \b
    nelbo recipes new --data my-images/ -o my.toml
    nelbo recipes new --data train-images/ --test-data test-images/ --minutes 20
    """
    from nelbo import recipe as recipes
    from nelbo.tasks.cost import cost

    if minutes is not None and not estimate:
        raise BadInput("--minutes needs a step to be timed: leave out --no-estimate")
    if os.path.lexists(output) and not force:
        raise BadInput(f"{output} exists already: choose another name, or replace it by --force")
    check_outputs(Output("-o", output, "recipe", (".toml",)), force=True)
    train, test, images = recipes.own_data(data, test_data)
    text = recipes.fitted(output.stem, train, test, images)
    expected = None
    if estimate:
        note("timing a few steps of training and evaluation")
        expected = cost(recipes.parse(text, str(output)), find_device(device))
        if minutes is not None:
            expected = expected.within(60 * minutes)
            sizes = expected.steps, expected.times
            text = recipes.fitted(output.stem, train, test, images, *sizes)
    C, H, W = images.levels.shape[1:]

    def announce() -> None:
        print(printable(f"{len(images):,} training images, {C} x {H} x {W}, {images.n} levels"))
        if expected is not None:
            print(expected)

    deliver(announce, (output, text.encode))
    note(f"next: nelbo train {shlex.quote(str(output))}")
