"""What z is of x_0 at one point of a path: a, s, and what a velocity needs of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

from jaxtyping import Float, Float64
from torch import Tensor

from nelbo.errors import BadInput

__all__ = ["Level", "Number", "Times"]

Number: TypeAlias = Float[Tensor, "..."] | float
Times: TypeAlias = Float64[Tensor, "..."]
"""Of a path, or a function of them, in float64."""


@final
@dataclass(frozen=True, eq=False)
class Level:
    """z = a x_0 + s eps, and the path's time there; a and s alone are a point of no known path."""

    a: Number
    s: Number
    time: Times | None = None
    slopes_of: Callable[[Times], tuple[Times, Times]] | None = None

    @property
    def slopes(self) -> tuple[Number, Number]:
        """(da/dt, ds/dt) by the path's own time, which a velocity is made of.

        Raises:
            BadInput: a point of no path, or of one whose derivatives are not known.
        """
        if self.time is None or self.slopes_of is None:
            raise BadInput(
                "a velocity is a derivative by the path's time, which is not known here: give "
                "path=, and with tables of a and s their derivatives a_slope and s_slope"
            )
        return self.slopes_of(self.time)

    @property
    def sigma(self) -> Number:
        """s/a."""
        return self.s / self.a

    @property
    def norm(self) -> Number:
        """sqrt(a^2 + s^2), by which z is larger than the x_t of a chain that keeps variance."""
        return (self.a * self.a + self.s * self.s) ** 0.5
