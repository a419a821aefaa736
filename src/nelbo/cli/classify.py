"""The command that says which class images have: classify."""

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
from nelbo.errors import BadInput

__all__ = ["classify"]


@app.command(cls=Command)
@reads_models
def classify(
    model: ModelArgument,
    reading: Reading,
    data: DataOption = None,
    split: SplitOption = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="P0,P1,...", help="A frequency for each class; default the same for all."
        ),
    ] = None,
    error: Annotated[
        float,
        typer.Option(
            help="The most chance in each image that the class of the lowest bound is dropped."
        ),
    ] = 0.05,
    most: Annotated[
        int, typer.Option(help="Network evaluations of an image and class, at most.")
    ] = 256,
    steps: Steps = None,
    spacing: SpacingOption = None,
    max_images: MaxImages = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    check: Check = True,
    dtype: DtypeOption = None,
    device: Device = "auto",
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Classify images by a model of p(x | class).

    \b
    nelbo classify runs/digits-classes
    nelbo classify runs/digits-classes --prior 2,1,1,1,1,1,1,1,1,1 --json classes.json
    nelbo classify file.py:my_model --data my-images/ --error 0.01

    The classes of an image are evaluated at the same times and noise, and drop out as they fall
    behind. Accuracy and calibration are printed where the data have labels.
    """
    from nelbo.tasks.classify import classify as run

    check_outputs(Output("--json", json, "classification", stdout=True), force=force)
    shares = None if prior is None else _frequencies(prior)
    loaded = find_model(model, reading, device, steps, spacing, dtype)
    images = find_data(model, loaded, data, split, most=max_images)
    say_assumed(loaded)
    with bars() as start:
        result = run(
            loaded,
            images,
            prior=shares,
            error=error,
            most=most,
            seed=seed,
            batch_size=batch_size,
            check=check,
            command=command(),
            progress=start(f"classify {images.name}"),
        )
    deliver_result(result, json)


def _frequencies(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--prior is numbers with commas between, 0.2,0.8; got {text}") from None
