"""`nelbo evaluate --orders`: -log p of a masked model of any order, from both sides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli.app import is_typed
from nelbo.cli.options import command
from nelbo.cli.outputs import deliver_result
from nelbo.cli.progress import bars
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from nelbo.data import Examples
    from nelbo.estimation import Processes
    from nelbo.model import Model

__all__ = ["Orders", "check_orders", "measure_orders"]

OTHERS = (
    *("precision", "budget", "exhaustive", "steps", "spacing", "continuous", "order", "ode"),
    *("subset", "baselines", "part", "output", "per_image", "plots"),
)
Orders = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="-log p of a masked model of any order, from above and from below, by so many random "
        "orders weighed together, twice.",
    ),
]


def check_orders(context: typer.Context, orders: int | None) -> None:
    """Refuses an option that says how something else than random orders is measured.

    Raises:
        BadInput: one was given with --orders.
    """
    given = [] if orders is None else [name for name in OTHERS if is_typed(context, name)]
    if given:
        raise BadInput(
            "--orders evaluates every call of so many random orders, and there is no "
            f"--{given[0].replace('_', '-')}: leave out one of the two"
        )


def measure_orders(
    model: "Model",
    images: "Examples",
    json: str | None,
    orders: int,
    *,
    seed: int,
    batch_size: int | None,
    check: bool,
    record: Path | None,
    processes: "Processes",
) -> None:
    """Measures, prints and writes it."""
    from nelbo.tasks.order_bounds import order_bounds

    with bars(processes.first) as start:
        result = order_bounds(
            model,
            images,
            orders=orders,
            seed=seed,
            batch_size=batch_size,
            check=check,
            record=record,
            processes=processes,
            command=command(),
            progress=start(f"orders of {model.name}"),
        )
    if not processes.first:
        return
    deliver_result(result, json, record=record)
