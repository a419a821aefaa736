"""A V_t that depends on the prediction: one number for each t and each interval of x0-hat.

How far a network is from x_0 depends on what it predicts: hardly where x0-hat is the background of
a picture, much at its edges. With the network fixed, the mean squared error in each interval is all
that the best such V_t depends on, as in `optimal_variance` the mean over all of them is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.gaussian.optimal_variance import CrossValidation, cross_validated, towards_mean
from nelbo.gaussian.parametrization import Output
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Tabulated, Variance, first_variance
from nelbo.types import Batch, Time

__all__ = ["ByValue", "ErrorByValue", "optimal_by_value", "tables_of", "variance_of"]

INTERVALS = 32
NAME = "optimal-per-value"


@final
@dataclass(frozen=True, eq=False)
class ByValue(Variance):
    """V_t = table[t, i] where edges[t, i - 1] < x0-hat <= edges[t, i], for each dimension.

    The first interval has no lower end and the last no upper one; row 0 is not used.

    Raises:
        BadInput: tables that do not belong together, or edges that descend.
    """

    name: str
    table: Float64[Tensor, "steps intervals"]
    edges: Float64[Tensor, "steps ends"]
    outputs: int = 0

    def __post_init__(self) -> None:
        rows, columns = self.table.shape if self.table.ndim == 2 else (0, 0)
        if not columns or self.edges.shape != (rows, columns - 1):
            raise BadInput(
                f"a variance for each interval of x0-hat needs one more of them than ends between "
                f"them; got {tuple(self.table.shape)} and {tuple(self.edges.shape)}"
            )
        if not (self.edges.diff(dim=1) >= 0).all():
            raise BadInput("the ends of the intervals of x0-hat must ascend")

    @property
    def V_1(self) -> float:  # type: ignore[override]
        """The mean of the entries at t = 1."""
        return float(self.table[1].mean())

    def log_var(self, output: Output, t: Time, x_0_hat: Batch) -> Float[Tensor, "..."]:
        values = x_0_hat.detach().flatten(1).contiguous()
        interval = torch.searchsorted(self.edges[t].to(values), values)
        V = self.table[t].to(values).gather(1, interval)
        return V.log().reshape(x_0_hat.shape)


def tables_of(variance: Tabulated | ByValue) -> dict[str, Tensor]:
    """What a checkpoint keeps of it, beside its name."""
    edges = {"edges": variance.edges} if isinstance(variance, ByValue) else {}
    return {"variance": variance.table, **edges}


def variance_of(name: str, tables: Mapping[str, Tensor]) -> Tabulated | ByValue:
    """The variance that `tables_of` took apart.

    Raises:
        BadInput: as `ByValue`; tables of another variance than the name's, or no variances.
    """
    table = tables["variance"]
    if not table.is_floating_point() or not ((table[1:] > 0) & table[1:].isfinite()).all():
        raise BadInput(f"the table of variance {name} has an entry that is no positive number")
    if ("edges" in tables) != (name == NAME):
        raise BadInput(f"the tables {', '.join(tables)} are not those of variance {name}")
    if "edges" in tables:
        return ByValue(name, table, tables["edges"])
    return Tabulated(name, table)


@final
@dataclass(frozen=True, eq=False)
class ErrorByValue:
    """E[(x_0 - x0-hat)^2 | x0-hat in an interval], at the t it was measured at, in folds of images.

    Row r is that of t[r]: its edges as in `ByValue`, and for each fold and interval how many values
    there were, and the mean of their squared errors, 0 where there were none.
    """

    t: Int64[Tensor, " rows"]
    edges: Float64[Tensor, "rows ends"]
    count: Float64[Tensor, "folds rows intervals"]
    mean: Float64[Tensor, "folds rows intervals"]
    dims: int

    @classmethod
    def measured(
        cls,
        t: Int64[Tensor, " rows"],
        x_0: Float64[Tensor, "N D"],
        difference: Iterable[Float64[Tensor, "N D"]],
        folds: int,
    ) -> "ErrorByValue":
        """Of x0-hat - x_0 at each t; intervals that hold as many values each, image i in fold i.

        x0-hat is taken in float32: what a clip made equal stays equal in the sum.
        """
        fold = torch.arange(len(x_0)).remainder(folds)[:, None] * INTERVALS
        rows = [
            _intervals((x_0 + error).float().double(), error, fold, folds) for error in difference
        ]
        edges, count, mean = (torch.stack(part, -2) for part in zip(*rows, strict=True))
        return cls(t, edges, count, mean, x_0.shape[1])

    @classmethod
    def joined(cls, parts: Sequence["ErrorByValue"]) -> "ErrorByValue":
        """Those of the same images at t that follow each other."""
        return cls(
            torch.cat([e.t for e in parts]),
            torch.cat([e.edges for e in parts]),
            torch.cat([e.count for e in parts], 1),
            torch.cat([e.mean for e in parts], 1),
            parts[0].dims,
        )

    def subchain(self, steps: Sequence[int]) -> "ErrorByValue":
        """That of the chain `Schedule.subchain(steps)`, whose t are 1..N."""
        kept = torch.searchsorted(self.t, torch.tensor(steps, dtype=torch.int64))
        t = torch.arange(1, len(kept) + 1)
        return ErrorByValue(t, self.edges[kept], self.count[:, kept], self.mean[:, kept], self.dims)

    @cached_property
    def total(self) -> Float64[Tensor, "rows intervals"]:
        """How many values there were in each interval, over all folds."""
        return self.count.sum(0)

    @property
    def whole(self) -> Float64[Tensor, "rows intervals"]:
        """The mean over all folds."""
        return (self.count * self.mean).sum(0) / self.total.clamp(min=1)

    @property
    def share(self) -> Float64[Tensor, "rows intervals"]:
        """Of all values, those in each interval."""
        return self.total / self.total.sum(1, keepdim=True)

    def columns(self, t: Int64[Tensor, " rows"]) -> Float64[Tensor, "rows intervals"]:
        """The mean, smoothed over each t and its two neighbours, for the choice of steps.

        The least of many sums would else be that of the t whose errors came out low by chance. A
        geometric mean, as errors grow by a factor from t to t; shrunk as if one value more had been
        in each interval.
        """
        log = towards_mean(self.whole, self.total, torch.tensor(1.0)).log()
        padded = torch.cat([log[:1], log, log[-1:]])
        return ((padded[:-2] + padded[1:-1] + padded[2:]) / 3).exp()[torch.searchsorted(self.t, t)]

    def cross_validated(self, schedule: Schedule) -> CrossValidation:
        """How well V_t made from all folds but one do for that one; t = 1..T of this schedule."""
        return cross_validated(schedule, self.mean[:, 1:], self.count[:, 1:])


def optimal_by_value(schedule: Schedule, error: ErrorByValue, V_1: float | str) -> ByValue:
    """V_t = beta-tilde_t + c_t^2 E[(x_0 - x0-hat)^2 | interval of x0-hat], t = 2..T.

    As `optimal`, which has the closed form, within each interval; the errors are those of this
    schedule, shrunk towards their mean as far as makes the folds predict one another best. By the
    law of total expectation, no worse than one V_t for each t, at these errors.

    Raises:
        BadInput: as `first_variance`.
    """
    k = error.cross_validated(schedule).k
    table = torch.zeros(schedule.T + 1, error.total.shape[1], dtype=torch.float64)
    table[1] = first_variance(schedule, V_1)
    gain = schedule.posterior_x_0[2:, None].square()
    M = towards_mean(error.whole[1:], error.total[1:], k)
    table[2:] = schedule.posterior_variance[2:, None] + gain * M
    return ByValue(NAME, table, torch.cat([error.edges[:1], error.edges]))


def _intervals(
    values: Float64[Tensor, "N D"],
    error: Float64[Tensor, "N D"],
    fold: Int64[Tensor, "N 1"],
    folds: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(edges, count, mean square) of one t."""
    ordered = values.flatten().sort().values
    ends = torch.arange(1, INTERVALS) * len(ordered) // INTERVALS
    edges = (ordered[(ends - 1).clamp(min=0)] + ordered[ends]) / 2
    cell = (torch.searchsorted(edges, values) + fold).flatten()
    zero = torch.zeros(folds * INTERVALS, dtype=torch.float64)
    count = zero.index_add(0, cell, torch.ones_like(cell, dtype=torch.float64))
    total = zero.index_add(0, cell, error.square().flatten())
    shape = (folds, INTERVALS)
    return edges, count.reshape(shape), (total / count.clamp(min=1)).reshape(shape)
