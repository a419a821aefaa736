"""The parts of an evaluation's result, and each of them as its JSON object has it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.statistics import Mean
from nelbo.results.stored import InNats
from nelbo.typed_json import (
    Json,
    known_at,
    known_of,
    list_at,
    number_at,
    number_of,
    object_at,
    rows_at,
    text_at,
    whole_at,
)

__all__ = ["Curve", "Look", "Point", "Read", "Step", "Term", "level_of"]

TERMS = ("L_T", "L_mid", "L_0")
MOST = 2**31  # of a t


@final
@dataclass(frozen=True)
class Step:
    """The term of t over the images evaluated there: L_0 at t = 1, L_{t-1} after; nats."""

    t: int
    mean: float
    se: float | None


@final
@dataclass(frozen=True)
class Look:
    """The estimate when so many evaluations were done, with its Monte Carlo error; nats."""

    evaluations: int
    mean: Mean


@final
@dataclass(frozen=True)
class Curve:
    """The rate: cumulative bits before x_t is known, and how far x0-hat(x_t) then is from x_0.

    rate is L_T + the sum of L_{s-1} over s > t, squared_error |x_0 - x0-hat|^2, None where it was
    not computed or the chain has no x0-hat; both per image.
    """

    t: Int64[Tensor, " points"]
    rate: Float64[Tensor, " points"]
    squared_error: Float64[Tensor, " points"] | None


@final
@dataclass(frozen=True)
class Point:
    """A point of the curve: the rate in the unit, and the error in levels where it is known."""

    t: int
    rate: float
    rmse: float | None


@final
@dataclass(frozen=True)
class Term:
    """One of the three terms in the unit; half of its 95 % interval (sampling of images)."""

    name: str
    value: float
    half: float | None


def level_of(data: Mapping[str, Json]) -> float:
    """The distance of two levels; 1 of real numbers, which have none."""
    if data["levels"] is None:
        return 1.0
    lo, hi = map(number_of, list_at(data, "grid"))
    if not lo < hi or whole_at(data, "levels") < 2:
        raise ValueError("grid is no range of two levels or more")
    return (hi - lo) / (whole_at(data, "levels") - 1)


def t_of(row: Mapping[str, Json]) -> int:
    """The t of a row; ValueError where it is none of a chain."""
    t = whole_at(row, "t")
    if not 1 <= t < MOST:
        raise ValueError(f"no chain has t = {t}")
    return t


@final
class Read(InNats):
    """The parts of an evaluation by its JSON object."""

    def terms(self) -> dict[str, tuple[Mean, Mean]]:
        """All three, each with both errors."""
        return {name: self._term(object_at(self.tree, "terms", name)) for name in TERMS}

    def steps(self) -> list[Step]:
        """Those that were evaluated."""
        key = self.unit.key
        return [
            Step(t_of(row), self.nats(number_at(row, key)), self._known(row, "se"))
            for row in rows_at(self.tree, "per_step")
        ]

    def looks(self) -> list[Look]:
        """None of an older nelbo."""
        return [self._look(row) for row in rows_at(self.tree.get("looks", ()))]

    def named(self, part: str) -> Mapping[str, Json]:
        """An object that has a name."""
        text_at(self.tree, part, "name")
        return object_at(self.tree, part)

    def curve(self) -> Curve | None:
        """None where it was not computed."""
        rows = rows_at(self.tree.get("rate_distortion") or ())
        if not rows:
            return None
        t = [t_of(row) for row in rows]
        rates = [self.nats(number_at(row, self.unit.key)) for row in rows]
        errors = [known_at(row, "rmse") for row in rows]
        squared = None
        if None not in errors:
            level = level_of(object_at(self.tree, "data"))
            squared = (torch.tensor(errors, dtype=torch.float64) * level).square() * self.dims
        return Curve(torch.tensor(t), torch.tensor(rates, dtype=torch.float64), squared)

    def log_snr(self) -> dict[int, float] | None:
        """Of the steps that were evaluated, where the chain has one."""
        rows = rows_at(self.tree, "per_step")
        values = {whole_at(row, "t"): known_of(row.get("log_snr")) for row in rows}
        known = {t: value for t, value in values.items() if value is not None}
        return known or None

    def warnings(self) -> list[str]:
        """None of an older nelbo."""
        warnings = self.tree.get("warnings", [])
        if not isinstance(warnings, list) or not all(isinstance(x, str) and x for x in warnings):
            raise ValueError("warnings are no list of texts")
        return warnings

    def baselines(self) -> dict[str, float] | None:
        """None where they were not computed."""
        if "baselines" not in self.tree:
            return None
        return {name: number_of(bits) for name, bits in object_at(self.tree, "baselines").items()}

    def _known(self, row: Mapping[str, Json], key: str) -> float | None:
        value = known_at(row, key)
        return None if value is None else self.nats(value)

    def _term(self, stated: Mapping[str, Json]) -> tuple[Mean, Mean]:
        mean, of_images = self.nats(number_at(stated, self.unit.key)), self._known(stated, "se")
        noise = self._known({"se": stated.get("se_monte_carlo")}, "se")
        return Mean(mean, of_images, self.images - 1), Mean(mean, noise, math.inf)

    def _look(self, look: Mapping[str, Json]) -> Look:
        evaluations = whole_at(look, "network_evaluations")
        if not 0 <= evaluations < 2**63:
            raise ValueError(f"there are no {evaluations} evaluations")
        return Look(evaluations, self.monte_carlo(look))
