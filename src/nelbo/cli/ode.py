"""`nelbo evaluate --ode`: the likelihood by the probability-flow ODE, beside the bound."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nelbo.cli.options import command
from nelbo.cli.outputs import deliver_result
from nelbo.cli.progress import bars
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from nelbo.data import Examples
    from nelbo.estimation import Processes
    from nelbo.model import Model

__all__ = ["Dequantise", "OdeSolver", "check_ode", "measure_ode"]


OF_THE_BOUND = (
    *("--budget", "--exhaustive", "--subset", "--spacing", "--continuous"),
    *("--order", "--calls", "--per-image", "--plots", "--part"),
)


class Dequantisation(StrEnum):
    """How levels become points that an ODE may start from."""

    model = "model"
    uniform = "uniform"


class Solver(StrEnum):
    """How the ODE is solved."""

    rk4 = "rk4"
    rk45 = "rk45"


Dequantise = Annotated[
    Dequantisation | None,
    typer.Option(help="With --ode: by the model's own q and decoder, or as is published."),
]
OdeSolver = Annotated[
    Solver | None,
    typer.Option(
        help="With --ode: even steps whose error is measured, or RK45 at 1e-5 with one probe "
        "kept, as is published, whose error is not known."
    ),
]


def check_ode(
    ode: bool,
    dequantise: Dequantisation | None,
    solver: Solver | None,
    of_the_bound: Sequence[object],
) -> None:
    """Refuses what was given and is only of the other of the two, the ODE and the bound.

    of_the_bound: the values of the options of `OF_THE_BOUND`, None or False where not given.

    Raises:
        BadInput: an option that the ODE, or that the bound does not have.
    """
    of_the_ode = (("--dequantise", dequantise), ("--ode-solver", solver))
    other = next((option for option, value in of_the_ode if value is not None), None)
    if other is not None and not ode:
        raise BadInput(f"{other} is of the ODE: add --ode, or leave it out")
    options = zip(OF_THE_BOUND, of_the_bound, strict=True)
    given = next((option for option, value in options if value not in (None, False)), None)
    if ode and given is not None:
        raise BadInput(f"{given} is of the bound and not of the ODE: leave out one of the two")


def measure_ode(
    model: "Model",
    images: "Examples",
    json: str | None,
    dequantise: Dequantisation | None = None,
    solver: Solver | None = None,
    *,
    processes: "Processes",
    record: Path | None,
    against_bound: bool = False,
    **settings: Any,  # noqa: ANN401
) -> None:
    """Measures, prints and writes it; settings: others of `nelbo.ode_likelihood`.

    against_bound: what is printed begins with what the paired difference says.
    """
    from nelbo.tasks.ode import ode_likelihood

    with bars(processes.first) as start:
        result = ode_likelihood(
            model,
            images,
            dequantise=(dequantise or Dequantisation.model).value,
            solver=(solver or Solver.rk4).value,
            record=record,
            processes=processes,
            command=command(),
            progress=start(f"ODE of {model.name}"),
            **settings,
        )
    if not processes.first:
        return
    lead = result.verdict.text if against_bound else ""
    deliver_result(result, json, record=record, lead=lead)
