"""Commands that make things: train, sample, report, improve."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.coding import improve_integers
from nelbo.cli.manner import artefacts, name_made, note, print_result
from nelbo.cli.options import (
    Budget,
    Check,
    Device,
    JsonOption,
    MaxImages,
    ModelArgument,
    Precision,
    Seed,
    Steps,
    check_folder,
    check_new,
    command,
    find_device,
    find_model,
    find_training_data,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.paper import FOR_PAPERS, Columns, FigureOption, Paper, Width, kind_made
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.errors import BadInput, printable

__all__ = ["improve", "report", "sample", "train"]


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


@app.command(cls=Command)
@reads_models
def sample(
    model: ModelArgument,
    reading: Reading,
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png or .npy file.")] = Path(
        "samples.png"
    ),
    count: Annotated[int, typer.Option("-n", "--count", help="How many.")] = 64,
    of_class: Annotated[
        int | None, typer.Option("--class", help="All of this class; default each in turn.")
    ] = None,
    steps: Steps = None,
    seed: Seed = 0,
    check: Check = True,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Draw exact ancestral samples: a picture, or an array.

    \b
    nelbo sample runs/digits -n 64 -o samples.png
    nelbo sample runs/digits -n 1000 -o samples.npy
    nelbo sample runs/digits-classes --class 3
    """
    from nelbo.sampling.pictures import encoder
    from nelbo.tasks.sample import sample as run

    check_outputs(Output("-o", output, "picture", (".png", ".npy")), force=force)
    encode = encoder(output)
    found = find_model(model, reading, device, steps)
    n = found.grid.n  # before hours of work
    say_assumed(found)
    if found.classes is not None and of_class is None:
        note(f"classes 0..{found.classes - 1} in turn, row by row")
    with bars() as start:
        moved = start(f"sample {found.name}", "steps")
        levels = run(found, count, seed=seed, label=of_class, check=check, progress=moved)
    deliver(lambda: None, (output, lambda: encode(levels, n)))


@app.command(cls=Command)
def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|RESULT.json...",
            help="A run folder with a result.json, or a result alone, of evaluate or of compare; "
            "several are compared.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A page (.html; default report.html, or comparison.html), a table (.tex, .md, "
            ".csv) or a figure (.pdf, .svg, .png).",
        ),
    ] = None,
    columns: Columns = None,
    figure: FigureOption = None,
    width: Width = None,
    per_image: Annotated[
        Path | None, typer.Option(help="The result's table of images; default RUN/images.csv.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="How many to draw; default 64, fewer of large images.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Write a result, or several to compare, as a page, or as a table or figure of a paper.

    \b
    nelbo report runs/digits -o report.html
    nelbo report result.json --per-image images.csv -o report.html
    nelbo report runs/digits runs/digits-ddpm -o comparison.html
    nelbo report difference.json -o difference.html
    nelbo report runs/digits runs/digits-ddpm -o table.tex
    nelbo report a.json b.json -o table.md --columns model,bound,evaluations
    nelbo report runs/digits -o steps.pdf --figure steps --width 8.5cm

    The page loads nothing from the network. Several results are paired by image where each has
    its table of images beside it.
    """
    from nelbo.tasks.report import comparison
    from nelbo.tasks.report import report as run

    several = len(sources) > 1
    output = output or Path("comparison.html" if several else "report.html")
    paper = Paper(columns, figure, width)
    paper.check(output)
    check_outputs(Output("-o", output, *kind_made(output)), force=force)
    if output.suffix.lower() in FOR_PAPERS:
        if samples:
            raise BadInput("--samples is of a page: a table and a figure show none")
        content = paper.content(sources, output, per_image)
        deliver(lambda: None, (output, lambda: content))
        return
    if several:
        if per_image is not None or samples:
            raise BadInput(
                "--per-image and --samples are of one result: of several, put each table beside "
                "its result, as result.csv beside result.json"
            )
        page = comparison(sources, note)
        deliver(lambda: None, (output, page.encode))
        return
    with bars() as start:
        page = run(
            sources[0],
            images=per_image,
            samples=samples,
            seed=seed,
            device=str(find_device(device)),
            progress=start("samples", "steps"),
            say=note,
        )
    deliver(lambda: None, (output, page.encode))


@app.command(cls=Command)
@reads_models
def improve(
    model: ModelArgument,
    reading: Reading,
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Training data; default what the run was trained on.",
            autocompletion=completion.data,
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Data to measure on; default the run's own test data, if it has any.",
            autocompletion=completion.data,
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Else the share of the data that is kept to measure on.")
    ] = 0.25,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the new chain; default as many as help.")
    ] = None,
    integers: Annotated[
        bool,
        typer.Option("--integers", help="An integer twin in place of this, for nelbo compress."),
    ] = False,
    per_time: Annotated[
        bool, typer.Option("--per-time", help="One variance for each t, not for each dimension.")
    ] = False,
    precision: Precision = 0.01,
    budget: Budget = None,
    max_images: MaxImages = None,
    seed: Seed = 0,
    check: Check = True,
    device: Device = "auto",
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Find a better bound in the same weights, without training.

    \b
    nelbo improve runs/digits -o runs/digits-20 --steps 20
    nelbo improve ./ddpm-cifar10 --data my-images/ -o ddpm-100 --steps 100
    nelbo improve runs/digits-absorbing --integers -o runs/twin

    Optimal variances, decoder and steps; then measures what they are worth, before and after, on
    images that were not used for them.
    """
    if integers:
        if steps is not None or per_time:
            raise BadInput("--steps and --per-time are of Gaussian chains: leave out --integers")
        measured = (precision, budget, max_images, seed, check, device, json, force)
        improve_integers(model, reading, output, data, test, held_out, *measured)
        return
    from nelbo.estimation import Settings, require_budget
    from nelbo.results import BeforeAfter
    from nelbo.tasks.compare import compare
    from nelbo.tasks.improve import improve as run
    from nelbo.tasks.improve import save

    check_new(output)
    check_outputs(Output("--json", json, "improvement", stdout=True), force=force)
    found = find_model(model, reading, device)
    fitted, others = find_training_data(model, found, data, test, held_out, seed)
    if max_images is not None:
        others = others.first(max_images)
    say_assumed(found)
    Settings(precision=precision, budget=budget, seed=seed, batch_size=None, check=check)
    require_budget(budget, len(others), found.T, 2)
    with bars() as start:
        better = run(
            found,
            fitted,
            steps=steps,
            per_dimension=not per_time,
            seed=seed,
            check=check,
            progress=start(f"improve {found.name}"),
        )
        folder = save(model, better, output)
        comparison = compare(
            better.model,
            found,
            others,
            precision=precision,
            budget=budget,
            seed=seed,
            check=check,
            command=command(),
            progress=start("before and after"),
        )
    result = BeforeAfter(better.plan, better.predicted, better.network_evaluations, comparison)
    deliver(
        lambda: print_result(result, json),
        (json, result.to_json().encode),
        also=artefacts(folder),
        stdout=json != "-",
    )


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
