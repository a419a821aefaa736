"""The command that measures a model: evaluate."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.ode import Dequantise, OdeSolver, check_ode, measure_ode
from nelbo.cli.options import (
    BatchSize,
    Budget,
    Calls,
    Check,
    DataOption,
    Device,
    DtypeOption,
    EveryT,
    JsonOption,
    MaxImages,
    ModelOrPlan,
    OrderOption,
    Precision,
    RecordOption,
    Seed,
    SpacingOption,
    SplitOption,
    Steps,
    check_mode,
    command,
    find_data,
    find_model,
    say_assumed,
)
from nelbo.cli.orders import Orders, check_orders, measure_orders
from nelbo.cli.outputs import (
    Baselines,
    Force,
    Output,
    PerImage,
    Plots,
    check_outputs,
    deliver_result,
)
from nelbo.cli.parts import PartOption, PartOutput, written_part
from nelbo.cli.plan import PlanOption, measure_plan, model_or_plan
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from nelbo.results import Evaluation

__all__ = ["evaluate"]


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
    context: typer.Context,
    reading: Reading,
    model: ModelOrPlan = None,
    plan: PlanOption = None,
    data: DataOption = None,
    split: SplitOption = None,
    precision: Precision = 0.01,
    budget: Budget = None,
    exhaustive: EveryT = False,
    steps: Steps = None,
    spacing: SpacingOption = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="The bound of infinitely many steps.")
    ] = False,
    order: OrderOption = None,
    calls: Calls = None,
    orders: Orders = None,
    ode: Annotated[
        bool,
        typer.Option(
            "--ode",
            help="The likelihood by the probability-flow ODE, beside the bound; --steps are then "
            "the solver's.",
        ),
    ] = False,
    dequantise: Dequantise = None,
    ode_solver: OdeSolver = None,
    max_images: MaxImages = None,
    subset: Annotated[
        bool,
        typer.Option(
            "--subset", help="Only as many images, drawn at random, as --precision takes."
        ),
    ] = False,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    check: Check = True,
    baselines: Baselines = False,
    record: RecordOption = None,
    part: PartOption = None,
    output: PartOutput = None,
    dtype: DtypeOption = None,
    device: Device = "auto",
    json: JsonOption = None,
    per_image: PerImage = None,
    plots: Plots = None,
    force: Force = False,
) -> None:
    """Measure the bound: bits/dim, by term, with two intervals.

    \b
    nelbo evaluate runs/digits
    nelbo evaluate runs/digits --data my-images/ --precision 0.005 --plots plots/
    nelbo evaluate runs/mnist --precision 0.02 --subset
    nelbo evaluate runs/digits --steps 50 --json result.json --per-image images.csv
    nelbo evaluate ./ddpm-cifar10 --data my-images/ --json -
    nelbo evaluate runs/digits-absorbing --order dispersed --calls 16
    nelbo evaluate runs/digits-absorbing --orders 16 --calls 16
    nelbo evaluate runs/digits --ode --precision 0.005
    nelbo evaluate runs/digits --ode --ode-solver rk45 --dequantise uniform
    nelbo evaluate runs/digits --exhaustive --part 3/64 -o part3.json
    nelbo evaluate --plan plan.toml --json all.json
    torchrun --nproc-per-node 2 -m nelbo evaluate runs/digits --record runs/digits/record
    """
    from nelbo.estimation import Processes
    from nelbo.model import revealing
    from nelbo.results import Evaluation
    from nelbo.tasks.evaluate import evaluate as run

    path = model_or_plan(context, model, plan)
    if isinstance(path, Path):
        return measure_plan(path, json, device, force)
    of_the_bound = (
        *(budget, exhaustive, subset, spacing, continuous),
        *(order, calls, per_image, plots, part),
    )
    check_ode(ode, dequantise, ode_solver, of_the_bound)
    check_orders(context, orders)
    _check_mode(budget is not None, exhaustive, order is not None)
    _check_steps(continuous, steps is not None, spacing is not None, (order, calls) != (None, None))
    _check_outputs(_kind_of(ode, orders), json, per_image, plots, force)
    own = written_part(part, output, record, any((json, per_image, plots, baselines)), force)
    processes = Processes.started()  # before what may fail in one of them alone
    loaded = find_model(path, reading, device, None if ode else steps, spacing, dtype)
    loaded = revealing(loaded.in_the_limit() if continuous else loaded, order, calls)
    images = find_data(path, loaded, data, split, most=max_images)
    if processes.first:
        say_assumed(loaded)
    how: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "check": check}
    how |= {"record": record if own is None else own.record, "processes": processes}
    if orders is not None:
        return measure_orders(loaded, images, json, orders, **how)
    how["precision"] = precision
    if ode:
        return measure_ode(loaded, images, json, dequantise, ode_solver, steps=steps, **how)
    if context.obj is not None:  # what `nelbo merge` evaluates in place of the network
        result = context.obj.evaluation(loaded, images, baselines)
        return _deliver(result, json, per_image, plots, record)
    how |= {"budget": budget, "exhaustive": exhaustive, "subset": subset, "distortion": True}
    with bars(processes.first) as start:
        made = run(
            loaded,
            images,
            baselines=baselines and processes.first,
            part=None if own is None else own.pair,
            command=command(),
            progress=start(f"evaluate {loaded.name}"),
            **how,
        )
    if not processes.first:
        return None
    if isinstance(made, Evaluation):
        return _deliver(made, json, per_image, plots, record)
    return None if own is None else own.deliver(made, record)


def _kind_of(ode: bool, orders: int | None) -> str:
    """Which result the command makes."""
    return "ode" if ode else "evaluation" if orders is None else "order_bounds"


def _check_outputs(
    kind: str, json: str | None, per_image: Path | None, plots: Path | None, force: bool
) -> None:
    """Refuses files that cannot be written; kind: of the JSON object."""
    from nelbo.results import per_image as table

    check_outputs(
        Output("--json", json, kind, stdout=True),
        Output("--per-image", per_image, "table", (".csv", ".parquet")),
        *_plot_files(plots),
        force=force,
    )
    if per_image is not None:
        table.check_path(per_image)


def _deliver(
    result: "Evaluation",
    json: str | None,
    per_image: Path | None,
    plots: Path | None,
    record: Path | None,
) -> None:
    """Prints the result and writes what was wanted of it."""
    from nelbo.results import per_image as table

    deliver_result(
        result,
        json,
        (per_image, lambda: table.content(result.per_image, str(per_image))),
        *([] if plots is None else _plots_of(result, plots)),
        record=record,
    )


def _check_mode(budget: bool, exhaustive: bool, order: bool) -> None:
    """Refuses options of which one says how much is evaluated, and another something else."""
    check_mode(budget, exhaustive)
    if order and (budget or exhaustive):
        other = "--budget" if budget else "--exhaustive"
        raise BadInput(f"--order evaluates every call of every image: leave {other} out")


def _check_steps(continuous: bool, steps: bool, spacing: bool, revealing: bool) -> None:
    """Refuses options of which one says which steps there are, and another something else."""
    if continuous and spacing:
        raise BadInput(
            "--continuous and --spacing exclude each other: there are no steps to spread"
        )
    if revealing and (continuous or steps):
        raise BadInput(
            "--order and --calls say which steps there are: leave --steps and --continuous out"
        )


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

    plots = plots_of(result, result.per_image.columns())
    place = make_folder(folder)
    return [(place / name, partial(bytes, content)) for name, content in drawn(plots)]
