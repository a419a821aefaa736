"""The command that puts images in the order of their bounds: rank."""

from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    BatchSize,
    Check,
    DataOption,
    Device,
    DtypeOption,
    JsonOption,
    MaxImages,
    ModelArgument,
    Seed,
    SpacingOption,
    SplitOption,
    Steps,
    command,
    find_data,
    find_model,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver_result
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models

__all__ = ["rank"]


@app.command(cls=Command)
@reads_models
def rank(
    model: ModelArgument,
    reading: Reading,
    data: DataOption = None,
    split: SplitOption = None,
    top: Annotated[int, typer.Option(help="List so many of each end.")] = 8,
    first: Annotated[int, typer.Option(help="Network evaluations of every image.")] = 32,
    again: Annotated[
        int, typer.Option(help="Then so many of each image near an end; 0 for none.")
    ] = 128,
    steps: Steps = None,
    spacing: SpacingOption = None,
    max_images: MaxImages = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    check: Check = True,
    dtype: DtypeOption = None,
    device: Device = "auto",
    json: JsonOption = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write a line for each image here.")
    ] = None,
    force: Force = False,
) -> None:
    """List the easiest images, the hardest, and those unlike others.

    \b
    nelbo rank runs/digits
    nelbo rank runs/digits --data my-images/ --top 20 --csv ranked.csv
    nelbo rank ./ddpm-cifar10 --data my-images/ --json -

    Images near an end are measured again with fresh noise, so that none is there by chance; each
    has the ranks that are possible. Files are listed by name.
    """
    from nelbo.tasks.rank import rank as run

    check_outputs(
        Output("--json", json, "image_ranking", stdout=True),
        Output("--csv", csv, "table of ranks", (".csv",)),
        force=force,
    )
    loaded = find_model(model, reading, device, steps, spacing, dtype)
    images = find_data(model, loaded, data, split, most=max_images)
    say_assumed(loaded)
    with bars() as start:
        result = run(
            loaded,
            images,
            count=top,
            first=first,
            again=again,
            seed=seed,
            batch_size=batch_size,
            check=check,
            command=command(),
            progress=start(f"rank {images.name}"),
        )
    deliver_result(result, json, (csv, result.to_csv().encode))
