"""The command that finds a better bound in the same weights: improve."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.integers import improve_integers
from nelbo.cli.options import (
    Budget,
    Check,
    Device,
    JsonOption,
    MaxImages,
    ModelArgument,
    Precision,
    Seed,
    check_new,
    command,
    find_model,
    find_training_data,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver_result
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.cli.terminal import artefacts
from nelbo.errors import BadInput

__all__ = ["improve"]


class Per(StrEnum):
    """Each interval of what the network predicts, each dimension, or nothing."""

    VALUE = "value"
    DIMENSION = "dimension"
    TIME = "time"


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
    per: Annotated[
        Per | None,
        typer.Option(help="What has a variance of its own at each t; default what serves best."),
    ] = None,
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
        if steps is not None or per is not None:
            raise BadInput("--steps and --per are of Gaussian chains: leave out --integers")
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
    loaded = find_model(model, reading, device)
    fitted, others = find_training_data(model, loaded, data, test, held_out, seed)
    if max_images is not None:
        others = others.first(max_images)
    say_assumed(loaded)
    Settings(precision=precision, budget=budget, seed=seed, batch_size=None, check=check)
    require_budget(budget, len(others), loaded.T, 2)
    with bars() as start:
        better = run(
            loaded,
            fitted,
            steps=steps,
            per=None if per is None else per.value,
            seed=seed,
            check=check,
            progress=start(f"improve {loaded.name}"),
        )
        folder = save(model, better, output)
        comparison = compare(
            better.model,
            loaded,
            others,
            precision=precision,
            budget=budget,
            seed=seed,
            check=check,
            command=command(),
            progress=start("before and after"),
        )
    result = BeforeAfter(better.plan, better.predicted, better.network_evaluations, comparison)
    deliver_result(result, json, also=artefacts(folder))
