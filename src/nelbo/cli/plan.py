"""`nelbo evaluate --plan`: several models on several data sets, with one table at the end."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.app import check_alone, is_typed
from nelbo.cli.options import command, find_device
from nelbo.cli.outputs import Output, check_outputs, deliver_result
from nelbo.cli.progress import bars
from nelbo.cli.terminal import note
from nelbo.errors import BadInput, printable

__all__ = ["PlanOption", "measure_plan", "model_or_plan"]

PlanOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Measure every model of this file on every data set of it, in place of MODEL; what is "
        "measured already is kept.",
    ),
]
BESIDE = ("plan", "json", "device", "force")


def model_or_plan(context: typer.Context, model: str | None, plan: Path | None) -> str | Path:
    """What is to be measured: the one model, as it was typed, or else the path of a plan.

    Raises:
        BadInput: neither or both; with a plan, an option that the plan itself has to say.
    """
    if plan is None:
        if model is None:
            raise BadInput("nelbo evaluate takes a MODEL, or --plan FILE.toml of several")
        return model
    given = [name for name in context.params if name not in BESIDE and is_typed(context, name)]
    if given:
        name = "MODEL" if given[0] == "model" else f"--{given[0].replace('_', '-')}"
        raise BadInput(f"{name} is of one evaluation, and --plan of several: write it in {plan}")
    return plan


def measure_plan(plan: Path, json: str | None, device: str, force: bool) -> None:
    """Measures what is not there, prints the table and ends with 1 where a pair failed."""
    from nelbo.recipe.plan import read_plan
    from nelbo.tasks.plan import evaluate_plan

    check_alone("evaluate --plan")
    check_outputs(Output("--json", json, "plan", stdout=True), force=force)
    choice = read_plan(plan)
    folder = Path(choice.results)
    if folder.exists():
        outputs = [
            Output("results", file.with_suffix(suffix), kind)
            for file in choice.files()
            for suffix, kind in ((".json", "evaluation"), (".csv", "table"))
        ]
        check_outputs(*outputs, force=force)
    with bars() as start:
        result = evaluate_plan(
            choice,
            device=str(find_device(device)),
            command=command(),
            progress=start,
            say=note,
        )
    deliver_result(result, json, also=[folder])
    if result.failed:
        names = ", ".join(entry.name for entry in result.failed)
        text = f"nelbo: {len(result.failed)} of {len(result.entries)} failed: {names}"
        print(printable(text), file=sys.stderr)
        raise typer.Exit(1)
