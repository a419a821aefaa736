"""What a likelihood by the ODE is of, and how it is solved."""

from dataclasses import dataclass
from typing import final

from nelbo.errors import BadInput

__all__ = ["DEQUANTISATIONS", "SOLVERS", "Convention"]

DEQUANTISATIONS = ("model", "uniform")
SOLVERS = ("rk4", "rk45")


@final
@dataclass(frozen=True)
class Convention:
    """What the figure is: it changes with `dequantise` and `importance`, its error with the others.

    dequantise: model, points of q and the bound's decoder, or uniform, x_0 plus uniform noise on
    its bin. importance: K points for each draw. probes: directions at each point of the path, None
    for the exact trace. solver: rk4, even steps and fresh probes, or rk45, the published adaptive
    one, along which probes are kept.

    Raises:
        BadInput: an unknown dequantisation or solver, or a number below 1.
    """

    dequantise: str = "model"
    importance: int = 1
    probes: int | None = 1
    solver: str = "rk4"

    @property
    def adaptive(self) -> bool:
        """Whether the solver chooses its steps, so that their error is not known."""
        return self.solver == "rk45"

    def __post_init__(self) -> None:
        if self.dequantise not in DEQUANTISATIONS:
            raise BadInput(f"dequantise is model or uniform; got {self.dequantise!r:.40}")
        if self.solver not in SOLVERS:
            raise BadInput(f"solver is rk4 or rk45; got {self.solver!r:.40}")
        for name in ("importance", "probes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"{name} must be at least 1; got {value}")
