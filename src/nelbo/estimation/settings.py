"""How a bound is measured, by values of the right types."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, final

from nelbo import arguments
from nelbo.errors import BadInput
from nelbo.estimation.evaluator import Progress
from nelbo.estimation.processes import Processes
from nelbo.typed_json import Json

__all__ = ["Settings", "SharedOptions"]

LEAST = 1e-100  # a precision, whose square is a number


class SharedOptions(TypedDict, total=False):
    """The options that `evaluate` and `compare` share, for those who check types."""

    precision: float
    budget: int | None
    exhaustive: bool
    seed: int
    batch_size: int | None
    check: bool
    record: str | Path | None
    processes: Processes | None
    command: str
    progress: Progress


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `evaluate` and `compare` are called with; scalars of numpy and torch become Python's.

    precision: a half-width in the model's unit; budget: network evaluations in all; batch_size in
    rows.

    Raises:
        BadInput: a value of another type, or a precision that is not positive.
    """

    precision: float
    budget: int | None
    seed: int
    batch_size: int | None
    check: bool
    record: str | Path | None = None
    processes: Processes = field(default_factory=Processes)
    progress: Progress = lambda done, expected, text: None

    def __post_init__(self) -> None:
        kinds: dict[str, Callable[[str, object], object]] = {
            "precision": arguments.number,
            "budget": arguments.whole,
            "seed": lambda name, x: arguments.seed_of(x),
            "batch_size": arguments.rows,
            "check": arguments.flag,
            "record": arguments.path,
            "processes": lambda name, x: arguments.instance(name, x, Processes),
            "progress": arguments.function,
        }
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None or name not in ("budget", "batch_size", "record"):
                object.__setattr__(self, name, kind(name, value))
        if not self.precision > 0:
            raise BadInput(f"precision must be positive; got {self.precision}")
        if not LEAST <= self.precision <= 1 / LEAST:
            raise BadInput(f"precision is from {LEAST:g} to {1 / LEAST:g}; got {self.precision}")

    def require_one(self, exhaustive: bool) -> None:
        """Raises BadInput where a budget and every t are both wanted."""
        if exhaustive and self.budget is not None:
            raise BadInput("budget and exhaustive exclude each other: give one")

    @property
    def mode(self) -> dict[str, Json]:
        """How long it goes on, for a record."""
        return {"budget": self.budget, "precision": self.precision}
