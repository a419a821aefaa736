"""A path as a person states it."""

import inspect
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.arguments import function, number, shown
from nelbo.errors import BadInput, closest
from nelbo.gaussian.path import FunctionPath, Path, TablePath
from nelbo.model.parts import PATHS
from nelbo.typed_json import Json

__all__ = ["path_of"]

TABLES = ("alpha", "sigma", "time", "alpha_slope", "sigma_slope")


def path_of(given: object) -> tuple[Path, Json]:
    """The path, and what a report says of it.

    Raises:
        BadInput: an unknown name or key, or numbers and functions that make no path.
    """
    if isinstance(given, Path):
        return given, given.name
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping):
        raise BadInput(f"path is one of {', '.join(PATHS)}, or a table; got {shown(given)}")
    if "alpha" in table or "sigma" in table:
        return _own(table)
    arguments = dict(table)
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in PATHS:
        meant = closest(str(name), PATHS)
        hint = f"; did you mean {meant}?" if meant else ""
        raise BadInput(
            f"path is one of {', '.join(PATHS)}, or a table with alpha and sigma; got "
            f"{shown(name)}{hint}"
        )
    known = inspect.signature(PATHS[name]).parameters
    for key, value in arguments.items():
        if key not in known:
            raise BadInput(f"path {name}: unknown key {key}: it takes {', '.join(known)}")
        arguments[key] = number(f"path {name}: {key}", value)
    return PATHS[name](**arguments), {"name": name, **arguments} if arguments else name


def _own(table: Mapping[str, object]) -> tuple[Path, Json]:
    """A path by its own alpha and sigma, functions of time or tables of steps."""
    for key in table:
        if key not in (*TABLES, "name"):
            raise BadInput(f"path: unknown key {key}: it takes name, {', '.join(TABLES)}")
    missing = next((key for key in ("alpha", "sigma") if key not in table), None)
    if missing is not None:
        raise BadInput(f"path: {missing} is missing: z_t = alpha x_0 + sigma eps takes both")
    name = str(table.get("name", "own"))
    if callable(table["alpha"]) or callable(table["sigma"]):
        return _of_functions(name, table), name
    made = {key: _column(f"path: {key}", table[key]) for key in TABLES if key in table}
    made.setdefault("time", torch.arange(len(made["alpha"]), dtype=torch.float64))
    alpha, sigma = made.pop("alpha"), made.pop("sigma")
    given = {"a_slope": made.get("alpha_slope"), "s_slope": made.get("sigma_slope")}
    return TablePath(name, alpha, sigma, made["time"], **given), f"{name}, {len(alpha)} steps"


def _of_functions(name: str, table: Mapping[str, object]) -> FunctionPath:
    for key in ("alpha_slope", "sigma_slope"):
        if key in table:
            raise BadInput(f"path: {key} is for tables; of functions it is torch's own derivative")
    span = table.get("time")
    if not isinstance(span, Sequence) or len(span) != 2:
        raise BadInput(
            "path: time is a pair, the network's time at the data and at the noise, such as (0, 1) "
            f"or (1, 0); got {shown(span)}"
        )
    data, noise = (number("path: time", end) for end in span)
    a, s = (function(f"path: {key}", table[key]) for key in ("alpha", "sigma"))
    return FunctionPath(name, a, s, data, noise)  # type: ignore[arg-type]


def _column(name: str, values: object) -> Float64[Tensor, " steps"]:
    try:
        column: Tensor = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        column = torch.empty(0, 0)
    if column.ndim != 1 or not column.isfinite().all():
        raise BadInput(f"{name} must be one finite number for each step; got {shown(values)}")
    return column
