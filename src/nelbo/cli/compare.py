"""The command that measures which of two models or more is better: compare."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.ode import measure_ode
from nelbo.cli.options import (
    BatchSize,
    Budget,
    Check,
    DataOption,
    Device,
    DtypeOption,
    EveryT,
    JsonOption,
    MaxImages,
    Precision,
    RecordOption,
    Seed,
    Spacing,
    SpacingOption,
    SplitOption,
    Steps,
    check_mode,
    command,
    find_data,
    find_models,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver_result
from nelbo.cli.parts import PartOption, PartOutput, written_part
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, Weights, reads_models
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from nelbo.data import Examples
    from nelbo.model import Model
    from nelbo.results.comparison import Comparison
    from nelbo.results.comparisons import Comparisons

__all__ = ["compare"]

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="A B [C]...",
        help="Models (one with --ode-against-bound), each a run folder, a checkpoint file, a "
        "diffusers folder, hf:OWNER/NAME, or file.py:function.",
        autocompletion=completion.models,
    ),
]


@app.command(cls=Command)
@reads_models
def compare(
    context: typer.Context,
    models: Models,
    reading: Reading,
    data: DataOption = None,
    split: SplitOption = None,
    precision: Precision = 0.01,
    budget: Budget = None,
    exhaustive: EveryT = False,
    steps: Steps = None,
    spacing: SpacingOption = None,
    max_images: MaxImages = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    check: Check = True,
    record: RecordOption = None,
    part: PartOption = None,
    output: PartOutput = None,
    ode_against_bound: Annotated[
        bool,
        typer.Option(
            "--ode-against-bound",
            help="Of one model: its likelihood by the probability-flow ODE minus its bound; "
            "--steps are then the solver's.",
        ),
    ] = False,
    weights_b: Annotated[
        Weights | None, typer.Option(help="Of B, where not as of A; of two models.")
    ] = None,
    dtype: DtypeOption = None,
    device: Device = "auto",
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Measure which of two models or more is better, paired.

    \b
    nelbo compare runs/a runs/b
    nelbo compare runs/a runs/b runs/c --json differences.json
    nelbo compare runs/a runs/b --data my-images/ --precision 0.002
    nelbo compare runs/a runs/a --weights ema --weights-b raw
    nelbo compare runs/a --ode-against-bound
    nelbo compare runs/a runs/b --exhaustive --part 3/64 -o part3.json

    Both are evaluated at the same images, times and noise, so that little error is left. Of three
    or more, each is compared with the first.
    """
    from nelbo.estimation import Processes
    from nelbo.results.part import Part
    from nelbo.tasks.compare import compare as of_two
    from nelbo.tasks.compare_all import compare_all

    if ode_against_bound:
        _check_one(models, budget, exhaustive, part, spacing, weights_b)
    else:
        _check_number(models, weights_b, part)
    check_mode(budget is not None, exhaustive)
    several = len(models) > 2
    kind = "ode" if ode_against_bound else "comparisons" if several else "comparison"
    check_outputs(Output("--json", json, kind, stdout=True), force=force)
    own = written_part(part, output, record, json is not None, force, "compare")
    processes = Processes.started()
    second = dataclasses.replace(reading, weights=weights_b or reading.weights)
    readings = [reading, *([second] * (len(models) - 1))]
    of_chain = None if ode_against_bound else steps
    loaded = find_models(models, readings, device, of_chain, spacing, dtype)
    images = find_data(models[0], loaded[0], data, split, *loaded[1:], most=max_images)
    if processes.first:
        say_assumed(*loaded)
    how: dict[str, Any] = {"precision": precision, "seed": seed, "batch_size": batch_size}
    how |= {"check": check, "record": record if own is None else own.record}
    how["processes"] = processes
    if ode_against_bound:
        return measure_ode(loaded[0], images, json, steps=steps, against_bound=True, **how)
    how |= {"budget": budget, "exhaustive": exhaustive, "command": command()}
    result: Comparison | Comparisons | Part
    with bars(processes.first) as start:
        if several:
            result = compare_all(loaded, images, **how, progress=start)
        else:
            a, b = loaded
            pairs = _pairs(models, loaded, images, data, split, max_images)
            if context.obj is not None:  # what `nelbo merge` compares in place of the networks
                return deliver_result(context.obj.comparison(a, b, pairs), json)
            of = None if own is None else own.pair
            result = of_two(a, b, pairs, **how, part=of, progress=start("compare"))
    if not processes.first:
        return None
    if isinstance(result, Part):
        return None if own is None else own.deliver(result, record)
    return deliver_result(result, json, record=record)


def _pairs(
    names: Sequence[str],
    models: Sequence["Model"],
    first: "Examples",
    data: str | None,
    split: str | None,
    most: int | None,
) -> "Examples | tuple[Examples, Examples]":
    """The data of the first of two models; of texts that both cut in other ways, as each does.

    Raises:
        BadInput: as `find_data`; a number of windows, of which documents may have many.
    """
    from nelbo.data import Tokens
    from nelbo.tasks.paired import cut_alike

    if not isinstance(first, Tokens) or len(models[1].shape) != 1:
        return first
    if cut_alike(*models) and (data is not None or models[1].settings.foreign):
        return first
    second = find_data(names[1], models[1], data, split, most=most)
    if cut_alike(*models) and second.sha256 == first.sha256:
        return first  # the text that both were trained for, in the same symbols
    if most is not None:
        raise BadInput(
            "--max-images counts windows, and models that cut texts into other windows are paired "
            "by document: leave it out"
        )
    return first, second


def _check_one(
    models: list[str],
    budget: int | None,
    exhaustive: bool,
    part: str | None,
    spacing: Spacing | None,
    weights_b: Weights | None,
) -> None:
    """Refuses what is of two models, or of a chain's steps."""
    if len(models) > 1:
        raise BadInput(f"--ode-against-bound is of one model, and there are {len(models)}")
    options = (
        *(("--budget", budget), ("--exhaustive", exhaustive or None), ("--part", part)),
        *(("--spacing", spacing), ("--weights-b", weights_b)),
    )
    given = next((option for option, value in options if value is not None), None)
    if given is not None:
        raise BadInput(f"{given} is not of the ODE against the bound: leave out one of the two")


def _check_number(models: list[str], weights_b: Weights | None, part: str | None) -> None:
    if len(models) < 2:
        raise BadInput(f"nelbo compare takes two models or more; got {models[0]} alone")
    if weights_b is not None and len(models) > 2:
        raise BadInput(f"--weights-b is of two models, and there are {len(models)}")
    if part is not None and len(models) > 2:
        raise BadInput(f"--part is of two models, and there are {len(models)}")
