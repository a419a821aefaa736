"""Commands that make things: demo, train, sample, improve."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nelbo.cli.app import app
from nelbo.cli.options import (
    Device,
    ModelArgument,
    Seed,
    Steps,
    Weights,
    WeightsOption,
    check_new,
    command,
    find_device,
    find_model,
)
from nelbo.cli.progress import bars

__all__ = ["demo", "improve", "sample", "train"]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")] = Path(
        "runs/demo"
    ),
    with_control: Annotated[
        bool, typer.Option(help="Also train the plain eps DDPM, as a control.")
    ] = False,
    recipe: Annotated[str, typer.Option(help="Another recipe: a name or a .toml file.")] = "digits",
) -> None:
    """Train on 8x8 digits, measure on 500 held-out ones, draw 64 samples: about four minutes."""
    from nelbo.recipe import read
    from nelbo.tasks.demo import demo as run

    with bars() as start:
        result = run(
            output,
            choices=read(recipe),
            control=with_control,
            command=command(),
            progress=start,
        )
    heading, *rows = result.table
    _print_table(heading, rows)
    print(result.evaluation)
    for path in result.files:
        print(path)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a .toml file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new folder; default runs/NAME.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a recipe into a new run folder.

    \b
    nelbo train digits -o runs/digits
    nelbo train my-recipe.toml
    """
    from nelbo.recipe import read
    from nelbo.tasks.train import train as run

    choices = read(recipe)
    folder = output or Path("runs") / choices.name
    with bars() as start:
        progress = start(f"train {choices.name}")
        made = run(choices, folder, device=find_device(device), progress=progress)
    print(made)


@app.command()
def sample(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png or .npy file.")] = Path(
        "samples.png"
    ),
    count: Annotated[int, typer.Option("-n", "--count", help="How many.")] = 64,
    steps: Steps = None,
    seed: Seed = 0,
    weights: WeightsOption = Weights.ema,
    device: Device = "auto",
) -> None:
    """Draw exact ancestral samples: a picture of all, or an array of levels.

    \b
    nelbo sample runs/digits -n 64 -o samples.png
    nelbo sample runs/digits -n 1000 -o samples.npy
    """
    from nelbo import files
    from nelbo.tasks.sample import encoder
    from nelbo.tasks.sample import sample as run

    encode = encoder(output)
    found = find_model(model, weights, device, steps)
    n = found.grid.n  # before hours of work
    with bars() as start:
        levels = run(found, count, seed=seed, progress=start(f"sample {found.name}"))
    print(files.write(output, encode(levels, n)))


@app.command()
def improve(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    data: Annotated[
        str | None, typer.Option(help="Training data; default what the run was trained on.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the new chain; default as many as help.")
    ] = None,
    per_time: Annotated[
        bool, typer.Option("--per-time", help="One variance for each t, not for each dimension.")
    ] = False,
    seed: Seed = 0,
    weights: WeightsOption = Weights.ema,
    device: Device = "auto",
) -> None:
    """Better bounds from the same weights: optimal variances, decoder and steps; no training.

    \b
    nelbo improve runs/digits -o runs/digits-20 --steps 20
    nelbo compare runs/digits runs/digits-20
    """
    from nelbo import data as specs
    from nelbo.pretrained import recipe_of
    from nelbo.tasks.improve import improve as run
    from nelbo.tasks.improve import save

    check_new(output)
    found = find_model(model, weights, device)
    spec = data or recipe_of(model).data.train
    images = specs.load(spec, levels=found.grid.n, grid=found.grid)
    with bars() as start:
        better = run(
            found,
            images,
            steps=steps,
            per_dimension=not per_time,
            seed=seed,
            progress=start(f"improve {found.name}"),
        )
    folder = save(model, better, output)
    print(
        f"{len(better.plan['steps'])} steps, {better.predicted:.4f} bits/dim predicted on the "
        f"{better.plan['images']} images of {better.plan['data']} that it was fitted to; "
        "measure it on others"
    )
    print(folder)


def _print_table(heading: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    table = Table(*heading, box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
