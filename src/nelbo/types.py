"""What a tensor means: its shape and its unit as a type, and the numbers that data may be."""

from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Int, Integer, Shaped
from torch import Tensor

from nelbo import arguments
from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = ["Batch", "Grid", "Nats", "Reals", "Support", "Time"]

Batch: TypeAlias = Shaped[Tensor, "B *dims"]
"""B examples, or B states of a chain, each of shape dims."""

Time: TypeAlias = Int[Tensor, " B"]
"""The paper's t for each example, 1..T."""

Nats: TypeAlias = Float[Tensor, " B"]
"""One number per example, in nats, summed over its dimensions."""


@final
@dataclass(frozen=True)
class Grid:
    """Level k of 0..n-1 stands for lo + k (hi - lo) / (n - 1).

    The data are integers; this grid declares the real numbers that a Gaussian chain sees in
    their place. Bin k reaches half a spacing to either side, the first and last bins are open.

    Raises:
        BadInput: n < 2, or not lo < hi.
    """

    n: int
    lo: float = -1.0
    hi: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", arguments.whole("the levels of a grid", self.n))
        for end in ("lo", "hi"):
            object.__setattr__(
                self, end, arguments.number(f"the {end} of a grid", getattr(self, end))
            )
        if self.n < 2:
            raise BadInput(f"a grid needs at least 2 levels; got {self.n}")
        if not self.lo < self.hi:
            raise BadInput(f"a grid needs lo < hi; got [{self.lo}, {self.hi}]")

    @property
    def spacing(self) -> float:
        """(hi - lo) / (n - 1), the width of an inner bin."""
        return (self.hi - self.lo) / (self.n - 1)

    @property
    def facts(self) -> dict[str, Json]:
        """What a report says of the data."""
        return {"levels": self.n, "grid": [self.lo, self.hi]}

    def values(
        self, levels: Integer[Tensor, "*dims"], dtype: torch.dtype
    ) -> Float[Tensor, "*dims"]:
        """The real number of each level; computed in float64 and rounded once."""
        return (self.lo + levels.to(torch.float64) * self.spacing).to(dtype)

    def levels(self, values: Float[Tensor, "*dims"]) -> Int[Tensor, "*dims"]:
        """The level nearest to each value, the inverse of `values`."""
        nearest = ((values.to(torch.float64) - self.lo) / self.spacing).round()
        return nearest.to(torch.int64).clamp(0, self.n - 1)


@final
@dataclass(frozen=True)
class Reals:
    """Data that are real numbers as they are: no levels, so a density, in nats and never in bits.

    name: what reports call the data, whose density it is.
    """

    name: str = field(default="data", compare=False)

    @property
    def facts(self) -> dict[str, Json]:
        """What a report says of the data."""
        return {"levels": None, "grid": None}

    def values(self, values: Float[Tensor, "*dims"], dtype: torch.dtype) -> Float[Tensor, "*dims"]:
        """The numbers themselves."""
        return values.to(dtype)

    def levels(self, values: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
        """The numbers themselves, which is what the data hold in place of levels."""
        return values


Support: TypeAlias = Grid | Reals
"""What the data are: integers that stand for numbers on a grid, or the numbers themselves."""
