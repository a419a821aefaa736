"""A likelihood by the ODE as its JSON object tells it, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.results.ode import DEQUANTISED, KIND
from nelbo.results.ode import SCHEMA as ODE
from nelbo.results.stored import Interval, Stored, check_parts, interval_of, keeping_to
from nelbo.results.unit import Unit, unit_of
from nelbo.typed_json import Json, at, known_of, number_at, object_at, rows_at, whole_of

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

    tree: Mapping[str, Json]
    unit: Unit
    figure: Interval
    bound: Interval
    difference: Interval
    shares: Mapping[str, float | None]
    by_steps: Sequence[tuple[int, float]]


def parse_ode(tree: Mapping[str, Json], source: str = "the result") -> OdeRead:
    """The likelihood that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or figures that contradict each other.
    """
    with keeping_to(ODE, source, WRITTEN_BY):
        unit = unit_of(tree)
        check_parts(tree)
        number_at(tree, "dims")
        _check_solver(object_at(tree, "estimator"))
        shares = {
            str(name): known_of(half) for name, half in object_at(tree, "half_widths").items()
        }
        if set(shares) != set(PARTS):
            raise ValueError(f"half_widths are of {', '.join(PARTS)}")
        if tree["kind"] != KIND:
            raise ValueError(f"kind is no {KIND}")
        return OdeRead(
            tree=tree,
            unit=unit,
            figure=interval_of(tree, unit.key),
            bound=interval_of(object_at(tree, "bound"), unit.key),
            difference=interval_of(object_at(tree, "ode_minus_bound"), unit.key),
            shares=shares,
            by_steps=[
                (whole_of(row["steps"]), number_at(row, unit.key))
                for row in rows_at(tree, "by_steps")
            ],
        )


def _check_solver(how: Mapping[str, Json]) -> None:
    """ValueError or KeyError where the page could not say how the three errors came about."""
    adaptive = how.get("solver") == "rk45"
    steps = at(how, "ode_evaluations", "most") if adaptive else how["steps"]
    if min(whole_of(steps), whole_of(how["draws"])) < 1:
        raise ValueError("estimator.steps and estimator.draws are whole numbers from 1")
    if adaptive:
        number_at(how, "ode_evaluations", "mean")
        number_at(how, "tolerance")
    if str(how["dequantise"]) not in DEQUANTISED or how["probes"] in (None, ""):
        raise ValueError("estimator does not say how it dequantised, or its probes")
