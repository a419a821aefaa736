"""Commands that measure models: evaluate, compare, derive, inspect; and cite."""

import dataclasses
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.coding import inspect_file, is_compressed
from nelbo.cli.manner import console, print_result
from nelbo.cli.options import (
    BatchSize,
    Budget,
    Calls,
    Check,
    DataOption,
    Device,
    DtypeOption,
    JsonOption,
    MaxImages,
    ModelArgument,
    OrderOption,
    Precision,
    RecordOption,
    Seed,
    SpacingOption,
    SplitOption,
    Steps,
    command,
    find_data,
    find_model,
    find_models,
    revealing,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, Weights, reads_models
from nelbo.errors import BadInput, printable

if TYPE_CHECKING:
    from nelbo.data import Images, Points
    from nelbo.results import Evaluation

__all__ = ["cite", "compare", "derive", "evaluate", "inspect"]


PLOTS = (
    "bits_per_step",
    "cumulative_rate",
    "rate_distortion",
    "per_image_histogram",
    "running_estimate",
)


@app.command(cls=Command)
@reads_models
def evaluate(
    model: ModelArgument,
    reading: Reading,
    data: DataOption = None,
    split: SplitOption = None,
    precision: Precision = 0.01,
    budget: Budget = None,
    exhaustive: Annotated[
        bool, typer.Option(help="Evaluate every t of every image: nothing along t is missed.")
    ] = False,
    steps: Steps = None,
    spacing: SpacingOption = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="The bound of infinitely many steps.")
    ] = False,
    order: OrderOption = None,
    calls: Calls = None,
    max_images: MaxImages = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    check: Check = True,
    record: RecordOption = None,
    dtype: DtypeOption = None,
    device: Device = "auto",
    json: JsonOption = None,
    per_image: Annotated[
        Path | None, typer.Option(help="Write each image's bits/dim here: .csv or .parquet.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Write plots into this folder, .png and .svg.")
    ] = None,
    force: Force = False,
) -> None:
    """Measure the bound: bits/dim, by term, with two intervals.

    \b
    nelbo evaluate runs/digits
    nelbo evaluate runs/digits --data my-images/ --precision 0.005 --plots plots/
    nelbo evaluate runs/digits --steps 50 --json result.json --per-image images.csv
    nelbo evaluate ./ddpm-cifar10 --data my-images/ --json -
    nelbo evaluate runs/digits-absorbing --order dispersed --calls 16
    torchrun --nproc-per-node 2 -m nelbo evaluate runs/digits --record runs/digits/record
    """
    from nelbo.estimation import Processes
    from nelbo.results import per_image as table
    from nelbo.tasks.evaluate import evaluate as run

    if budget is not None and exhaustive:
        raise BadInput("--budget and --exhaustive exclude each other: give one")
    if continuous and spacing is not None:
        raise BadInput(
            "--continuous and --spacing exclude each other: there are no steps to spread"
        )
    if (order, calls) != (None, None) and (continuous or steps is not None):
        raise BadInput(
            "--order and --calls say which steps there are: leave --steps and --continuous out"
        )
    if order is not None and (budget is not None or exhaustive):
        raise BadInput("--order evaluates every call of every image: leave --budget out")
    check_outputs(
        Output("--json", json, "evaluation", stdout=True),
        Output("--per-image", per_image, "table", (".csv", ".parquet")),
        *_plot_files(plots),
        force=force,
    )
    if per_image is not None:
        table.check_path(per_image)
    processes = Processes.started()  # before what may fail in one of them alone
    found = find_model(model, reading, device, steps, spacing, dtype)
    found = revealing(found.in_the_limit() if continuous else found, order, calls)
    images = _first(find_data(model, found, data, split), max_images)
    if processes.first:
        say_assumed(found)
    with bars(processes.first) as start:
        result = run(
            found,
            images,
            precision=precision,
            budget=budget,
            exhaustive=exhaustive,
            seed=seed,
            batch_size=batch_size,
            check=check,
            distortion=True,
            record=record,
            processes=processes,
            command=command(),
            progress=start(f"evaluate {found.name}"),
        )
    if not processes.first:
        return
    deliver(
        lambda: print_result(result, json),
        (json, result.to_json().encode),
        (per_image, lambda: table.content(result.per_image, str(per_image))),
        *([] if plots is None else _plots_of(result, plots)),
        also=[] if record is None else [record],
        stdout=json != "-",
    )


@app.command(cls=Command)
@reads_models
def compare(
    a: ModelArgument,
    b: ModelArgument,
    reading: Reading,
    data: DataOption = None,
    split: SplitOption = None,
    precision: Precision = 0.01,
    budget: Budget = None,
    steps: Steps = None,
    spacing: SpacingOption = None,
    max_images: MaxImages = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    check: Check = True,
    record: RecordOption = None,
    weights_b: Annotated[Weights | None, typer.Option(help="Of B, where not as of A.")] = None,
    dtype: DtypeOption = None,
    device: Device = "auto",
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Measure which of two models is better, paired.

    \b
    nelbo compare runs/a runs/b
    nelbo compare runs/a runs/b --data my-images/ --precision 0.002
    nelbo compare runs/a runs/a --weights ema --weights-b raw

    Both are asked on the same images, times and noise, so that little error is left.
    """
    from nelbo.estimation import Processes
    from nelbo.tasks.compare import compare as run

    check_outputs(Output("--json", json, "comparison", stdout=True), force=force)
    processes = Processes.started()
    second = dataclasses.replace(reading, weights=weights_b or reading.weights)
    of_a, of_b = find_models((a, b), (reading, second), device, steps, spacing, dtype)
    images = _first(find_data(a, of_a, data, split, of_b), max_images)
    if processes.first:
        say_assumed(of_a, of_b)
    with bars(processes.first) as start:
        result = run(
            of_a,
            of_b,
            images,
            precision=precision,
            budget=budget,
            seed=seed,
            batch_size=batch_size,
            check=check,
            record=record,
            processes=processes,
            command=command(),
            progress=start("compare"),
        )
    if not processes.first:
        return
    deliver(
        lambda: print_result(result, json),
        (json, result.to_json().encode),
        also=[] if record is None else [record],
        stdout=json != "-",
    )


@app.command(cls=Command)
@reads_models
def derive(
    reading: Reading,
    model: Annotated[
        str | None,
        typer.Argument(help="Without one, three exact chains.", autocompletion=completion.models),
    ] = None,
    data: DataOption = None,
    split: SplitOption = None,
    images: Annotated[int, typer.Option(min=1, help="Use the first so many images.")] = 2,
    paths: Annotated[int, typer.Option(min=2, help="Paths of each image.")] = 256,
    steps: Steps = None,
    seed: Seed = 0,
    dtype: Annotated[str, typer.Option(help="Of states and p: float64 or float32.")] = "float64",
    device: Device = "auto",
    json: JsonOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures here.")] = None,
    force: Force = False,
) -> None:
    """Run the derivation, line by line, true ones and false ones.

    \b
    nelbo derive
    nelbo derive runs/digits --steps 50 --html derivation.html

    From log p(x_0) to the three terms; without a model, exactly, on three small chains. Exits with
    3 if a line that must hold does not.
    """
    from nelbo.report.derivation_table import print_derivation
    from nelbo.tasks.derive import derive as run

    check_outputs(
        Output("--json", json, "derivation", stdout=True),
        Output("--html", html, "derivation page", (".html", ".htm")),
        force=force,
    )
    if model is None and ((data, split, steps) != (None, None, None) or reading != Reading()):
        raise BadInput("--data, --split, --steps and how it is read are of a model: name one")
    found, chosen = None, None
    if model is not None:
        found = find_model(model, reading, device, steps)
        chosen = find_data(model, found, data, split)
        say_assumed(found)
    with bars() as start:
        result = run(
            found,
            chosen,
            images=images,
            paths=paths,
            seed=seed,
            dtype=dtype,
            command=command(),
            progress=start("derive"),
        )

    def show() -> None:
        if json == "-":
            print(result.to_json(), end="")
        else:
            print_derivation(result, console())

    def page() -> bytes:
        from nelbo.report.derivation_page import derivation_page

        return derivation_page(result).encode()

    deliver(
        show,
        (json, result.to_json().encode),
        (html, page),
        stdout=json != "-",
    )
    if not result.holds:
        print(printable(f"nelbo: {result.failures()[0]}"), file=sys.stderr)
        raise typer.Exit(3)  # a check that was asked for


@app.command(cls=Command)
@reads_models
def inspect(
    model: ModelArgument,
    reading: Reading,
    steps: Steps = None,
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Say what a model is: every setting, and where it is from.

    \b
    nelbo inspect runs/digits
    nelbo inspect ./ddpm-cifar10 --json -
    nelbo inspect my-images.nlb
    """
    from nelbo.tasks.inspect import inspect as run

    check_outputs(Output("--json", json, "inspection", stdout=True), force=force)
    if is_compressed(model):
        inspect_file(model, json)
        return
    found = run(find_model(model, reading, "cpu", steps))

    def show() -> None:
        if json == "-":
            print(found.to_json(), end="")
            return
        screen = console()
        screen.print(printable(found.heading), markup=False, soft_wrap=True)
        screen.print(found.table())
        for warning in found.warnings:
            screen.print(printable(f"warning: {warning}"), markup=False, soft_wrap=True)

    deliver(show, (json, found.to_json().encode), stdout=json != "-")


@app.command(cls=Command)
def cite(
    result: Annotated[str, typer.Argument(help="What --json wrote, or a run folder.")],
) -> None:
    """Print BibTeX of what a result or a run is made of.

    \b
    nelbo cite result.json
    nelbo cite runs/digits

    Each entry has the reason for it in a comment.
    """
    from nelbo.formats import recipe_of
    from nelbo.results.citation import bibtex, read_result

    path = Path(result)
    if not path.is_dir() and path.suffix != ".safetensors":
        print(bibtex(read_result(path)), end="")
        return
    model = find_model(result, Reading(), "cpu")
    about: dict[str, object] = {"model": model.described()}
    if "sources" not in model.facts:
        recipe = recipe_of(result)
        about |= {"data": {"name": recipe.data.train}, "training": recipe.training.model_dump()}
    print(bibtex(about), end="")


def _plot_files(folder: Path | None) -> list[Output]:
    """The files that --plots may write.

    Raises:
        BadInput: the name is that of a file, or a file is there.
    """
    if folder is None:
        return []
    if folder.suffix.lower() in (".pdf", ".png", ".svg", ".html") and not folder.is_dir():
        raise BadInput(
            f"--plots {folder}: plots go into a folder, as .png and .svg; name one without "
            f"{folder.suffix}"
        )
    if os.path.lexists(folder) and not folder.is_dir():
        raise BadInput(f"--plots {folder} is no folder: name one, plots are several files")
    if not folder.exists():
        return [Output("--plots", folder, "folder")]
    return [
        Output("--plots", folder / f"{name}{kind}", "plot")
        for name in PLOTS
        for kind in (".png", ".svg")
    ]


def _plots_of(result: "Evaluation", folder: Path) -> list[tuple[Path, Callable[[], bytes]]]:
    """(path, content) of each plot; the folder is there then."""
    from nelbo.report.evaluation_plots import plots_of
    from nelbo.report.plots import drawn, make_folder
    from nelbo.results.result import parse

    plots = plots_of(parse(result.to_dict()), result.per_image.columns())
    place = make_folder(folder)
    return [(place / name, partial(bytes, content)) for name, content in drawn(plots)]


def _first(data: "Images | Points", count: int | None) -> "Images | Points":
    return data if count is None else data.first(count)
