"""The command that holds a model against its network: check."""

from typing import Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    DataOption,
    Device,
    JsonOption,
    ModelArgument,
    Seed,
    SplitOption,
    Steps,
    find_data,
    find_model,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver_result
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models

__all__ = ["check"]


@app.command(cls=Command)
@reads_models
def check(
    model: ModelArgument,
    reading: Reading,
    data: DataOption = None,
    split: SplitOption = None,
    steps: Steps = None,
    search: Annotated[
        bool, typer.Option(help="Also try other readings of the network, some 200.")
    ] = True,
    seed: Seed = 0,
    device: Device = "auto",
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Hold what is stated of a model against its network.

    \b
    nelbo check ./ddpm-cifar10 --data my-images/
    nelbo check file.py:my_model --data digits:test --no-search

    Predictions, schedules, paths, times, scales and ranges are compared at the same images and
    noise. Exits with 3 where another reading is better, none is a denoiser, or a warning stands.
    """
    from nelbo.tasks.check import check as run

    check_outputs(Output("--json", json, "check", stdout=True), force=force)
    loaded = find_model(model, reading, device, steps)
    images = find_data(model, loaded, data, split)
    with bars() as start:
        result = run(loaded, images, search=search, seed=seed, progress=start("check"))
    deliver_result(result, json)
    if not result.passes:
        raise typer.Exit(3)  # a check that was asked for
