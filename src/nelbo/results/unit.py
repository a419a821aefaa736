"""What a result is told in: bits per dimension of levels, or nats per dimension of a density."""

import math
from dataclasses import dataclass, replace
from typing import Any, final

from nelbo.errors import BadInput
from nelbo.types import Grid, Support

__all__ = ["BITS", "NATS", "Unit", "bits_per_dim"]


def bits_per_dim(nats: float, dims: int) -> float:
    """nats / (dims ln 2)."""
    return nats / (dims * math.log(2))


@final
@dataclass(frozen=True)
class Unit:
    """The name of a unit per dimension, its key in JSON and files, and how many nats it is.

    `density_of` names the data where they are real numbers: then the unit is nats, whose zero
    depends on the scale of the data, and no other.
    """

    name: str
    key: str
    nats: float
    density_of: str | None = None

    @staticmethod
    def of(support: Support) -> "Unit":
        """Bits for data with levels, nats for a density."""
        return BITS if isinstance(support, Grid) else replace(NATS, density_of=support.name)

    def __str__(self) -> str:
        subject = "" if self.density_of is None else f", density of {self.density_of}"
        return self.name + subject

    def per_dim(self, nats: float, dims: int) -> float:
        """Nats per image in this unit."""
        return nats / (dims * self.nats)

    def headline(self, nats: float, dims: int) -> dict[str, Any]:
        """A result's first keys: bits_per_dim, or null there, a density's own key and its unit."""
        value = self.per_dim(nats, dims)
        if self.density_of is None:
            return {self.key: value}
        return {BITS.key: None, self.key: value, "unit": str(self)}

    def require_bits(self) -> None:
        """Raises BadInput for a density, which has no bits of levels."""
        if self.density_of is not None:
            raise BadInput(f"a density of {self.density_of} has no bits/dim: its unit is nats/dim")


BITS = Unit("bits/dim", "bits_per_dim", math.log(2))
NATS = Unit("nats/dim", "nats_per_dim", 1.0, density_of="data")
