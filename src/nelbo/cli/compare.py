"""The command that measures which of two models is better: compare."""

import dataclasses
from typing import Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.manner import print_result
from nelbo.cli.options import (
    BatchSize,
    Budget,
    Check,
    DataOption,
    Device,
    DtypeOption,
    JsonOption,
    MaxImages,
    ModelArgument,
    Precision,
    RecordOption,
    Seed,
    SpacingOption,
    SplitOption,
    Steps,
    command,
    find_data,
    find_models,
    first_of,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, Weights, reads_models

__all__ = ["compare"]


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

    Both are evaluated at the same images, times and noise, so that little error is left.
    """
    from nelbo.estimation import Processes
    from nelbo.tasks.compare import compare as run

    check_outputs(Output("--json", json, "comparison", stdout=True), force=force)
    processes = Processes.started()
    second = dataclasses.replace(reading, weights=weights_b or reading.weights)
    of_a, of_b = find_models((a, b), (reading, second), device, steps, spacing, dtype)
    images = first_of(find_data(a, of_a, data, split, of_b), max_images)
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
