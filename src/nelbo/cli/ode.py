"""`nelbo evaluate --ode`: the likelihood by the probability-flow ODE, beside the bound."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nelbo.cli.manner import print_result
from nelbo.cli.options import command
from nelbo.cli.outputs import deliver
from nelbo.cli.progress import bars
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from nelbo.data import Examples
    from nelbo.estimation import Processes
    from nelbo.model import Model

__all__ = ["Dequantisation", "check_ode", "measure_ode"]


class Dequantisation(StrEnum):
    """How levels become points that an ODE may start from."""

    model = "model"
    uniform = "uniform"


def check_ode(ode: bool, dequantise: bool, of_the_bound: Mapping[str, bool]) -> None:
    """Refuses what is only for the other of the two, the ODE and the bound.

    dequantise, and each option of the bound: whether it was given.
    """
    if dequantise and not ode:
        raise BadInput("--dequantise is of the ODE: add --ode, or leave it out")
    given = next((option for option, is_given in of_the_bound.items() if is_given), None)
    if ode and given is not None:
        raise BadInput(f"{given} is of the bound and not of the ODE: leave out one of the two")


def measure_ode(
    model: "Model",
    images: "Examples",
    json: str | None,
    dequantise: Dequantisation | None,
    *,
    processes: "Processes",
    record: Path | None,
    **settings: Any,  # noqa: ANN401
) -> None:
    """Measures, prints and writes it; settings: others of `nelbo.ode_likelihood`."""
    from nelbo.tasks.ode import ode_likelihood

    with bars(processes.first) as start:
        result = ode_likelihood(
            model,
            images,
            dequantise=(dequantise or Dequantisation.model).value,
            record=record,
            processes=processes,
            command=command(),
            progress=start(f"ODE of {model.name}"),
            **settings,
        )
    if not processes.first:
        return
    deliver(
        lambda: print_result(result, json),
        (json, result.to_json().encode),
        also=[] if record is None else [record],
        stdout=json != "-",
    )
