"""A likelihood by the ODE as its JSON object tells it, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from nelbo.results.ode import SCHEMA as ODE
from nelbo.results.result import number_of, unit_of
from nelbo.results.stored import Interval, Stored, interval_of, keeping_to
from nelbo.results.unit import Unit

__all__ = ["ODE", "OdeRead", "parse_ode"]

WRITTEN_BY = "nelbo evaluate MODEL --ode --json FILE writes one"
PARTS = ("solver", "trace", "dequantisation")


@final
@dataclass(frozen=True, repr=False)
class OdeRead(Stored):
    """The figure of the ODE, the bound beside it and their paired difference, in `unit`.

    shares: half of the Monte Carlo interval that each source of error would leave alone, None where
    it is not known. by_steps:
    (steps of the solver, the figure on the images where these were compared).
    """

    tree: Mapping[str, Any]
    unit: Unit
    figure: Interval
    bound: Interval
    difference: Interval
    shares: Mapping[str, float | None]
    by_steps: Sequence[tuple[int, float]]


def parse_ode(tree: Mapping[str, Any], source: str = "the result") -> OdeRead:
    """The likelihood that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or figures that contradict each other.
    """
    with keeping_to(ODE, source, WRITTEN_BY):
        unit = unit_of(tree)
        for part in ("model", "data", "estimator", "environment"):
            if not isinstance(tree[part], dict):
                raise ValueError(f"{part} is no object")
        for name in ("images", "dims", "network_evaluations", "seconds"):
            number_of(tree[name])
        shares = {
            str(name): None if half is None else number_of(half)
            for name, half in tree["half_widths"].items()
        }
        if set(shares) != set(PARTS):
            raise ValueError(f"half_widths are of {', '.join(PARTS)}")
        for text in (tree["kind"], tree["model"]["name"], tree["data"]["name"]):
            if not isinstance(text, str):
                raise ValueError(f"{text!r} is no text")
        return OdeRead(
            tree=tree,
            unit=unit,
            figure=interval_of(tree, unit.key),
            bound=interval_of(tree["bound"], unit.key),
            difference=interval_of(tree["ode_minus_bound"], unit.key),
            shares=shares,
            by_steps=[
                (int(number_of(row["steps"])), number_of(row[unit.key])) for row in tree["by_steps"]
            ],
        )
