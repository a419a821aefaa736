"""How a bound is measured, by values of the right types."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

from nelbo import arguments
from nelbo.errors import BadInput
from nelbo.measure.asking import Progress
from nelbo.measure.processes import Processes

__all__ = ["Settings"]


@final
@dataclass(frozen=True)
class Settings:
    """What `evaluate` and `compare` are called with, checked."""

    precision: float
    budget: int | None
    seed: int
    batch_size: int | None
    check: bool
    record: Path | None
    processes: Processes
    progress: Progress

    @classmethod
    def of(cls, *given: object) -> "Settings":
        """Those arguments of a call, in the order of the fields.

        Raises:
            BadInput: a value of another type, or a precision that is not positive.
        """
        whole, own = arguments.whole, _named(cls, given)
        known = {name: value for name, value in own.items() if value is not None}
        if "budget" in known:
            known["budget"] = whole("budget", known["budget"])
        if "batch_size" in known:
            known["batch_size"] = whole("batch_size", known["batch_size"])
        if "record" in known:
            known["record"] = arguments.path("record", known["record"])
        precision = arguments.number("precision", own["precision"])
        if not precision > 0:
            raise BadInput(f"precision must be positive; got {precision}")
        processes = known.get("processes", Processes())
        known |= {
            "precision": precision,
            "seed": whole("seed", own["seed"]),
            "check": arguments.flag("check", own["check"]),
            "processes": arguments.instance("processes", processes, Processes),
            "progress": arguments.function("progress", own["progress"]),
        }
        return cls(**{**own, **known})

    @property
    def mode(self) -> dict[str, Any]:
        """How long it goes on, for a record."""
        return {"budget": self.budget, "precision": self.precision}


def _named(kind: type[Settings], given: Sequence[object]) -> dict[str, Any]:
    return {field.name: x for field, x in zip(fields(kind), given, strict=True)}
