"""The results of a plan, several models on several data sets, as people and programs read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final, get_args

from nelbo.errors import printable
from nelbo.results.evaluation import likelihood_of
from nelbo.results.result import Result
from nelbo.results.rounding import with_half
from nelbo.results.saved import Saved, sealed
from nelbo.typed_json import Json, list_at, whole_at

__all__ = ["PlanEntry", "PlanResults", "Status", "status_of"]

SCHEMA = "nelbo.plan/1"


Status: TypeAlias = Literal["measured", "kept", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


def status_of(value: Json) -> Status:
    """The word; ValueError where it is none."""
    for status in STATUSES:
        if value == status:
            return status
    raise ValueError(f"{value!r} is no status of an entry")


@final
@dataclass(frozen=True)
class PlanEntry:
    """One model on one data set.

    status: measured; kept, where the file held the result of the same settings; or failed, and then
    `error` says why and there is no result. file: where the result is.
    """

    model: str
    data: str
    status: Status
    file: Path
    result: Result | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """Of which model and data it is."""
        return f"{self.model} on {self.data}"

    def to_dict(self) -> dict[str, Json]:
        """As the JSON object of the plan has it."""
        return {
            "model": self.model,
            "data": self.data,
            "status": self.status,
            "file": str(self.file),
            "error": self.error,
            "result": None if self.result is None else dict(self.result.tree),
        }


@final
@dataclass(frozen=True, repr=False)
class PlanResults(Saved):
    """Every model of a plan on every data set, in the order of the plan."""

    entries: Sequence[PlanEntry]
    settings: Mapping[str, Json]
    command: str = ""

    @property
    def results(self) -> list[Result]:
        """Of the pairs that did not fail."""
        return [entry.result for entry in self.entries if entry.result is not None]

    @property
    def failed(self) -> list[PlanEntry]:
        """The pairs that have no result."""
        return [entry for entry in self.entries if entry.result is None]

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.plan/1; each result is a nelbo.evaluation/1."""
        return sealed(
            {
                "schema": SCHEMA,
                "entries": [entry.to_dict() for entry in self.entries],
                "failed": [entry.name for entry in self.failed],
                "settings": dict(self.settings),
                "command": self.command,
            }
        )

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<PlanResults: {len(self.results)} results{failed}>"

    def __str__(self) -> str:
        """A row for each pair: the bound with both intervals, and what it took; then warnings."""
        heading = ("model", "data", "bound", "Monte Carlo", "unit", "images", "evaluations", "")
        rows = [heading, *map(_row, self.entries)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join(map(printable, [*lines, *self._notes()]))

    def _notes(self) -> Iterator[str]:
        yield "± is sampling of images, 95 %; Monte Carlo, 95 %, is of this test set"
        for entry in self.entries:
            if entry.result is not None:
                for warning in list_at(entry.result.tree.get("warnings", ())):
                    yield f"warning: {entry.name}: {warning}"
        yield from (f"failed: {entry.name}: {entry.error}" for entry in self.failed)


def _row(entry: PlanEntry) -> tuple[str, ...]:
    result = entry.result
    if result is None:
        return entry.model, entry.data, "failed", "", "", "", "", ""
    noise = "unknown" if result.half_monte_carlo is None else f"± {result.half_monte_carlo:.2g}"
    return (
        entry.model,
        entry.data,
        with_half(result.value, result.half),
        noise,
        f"{result.unit.name}{likelihood_of(result.model)}",
        f"{result.images:,}",
        f"{whole_at(result.tree, 'network_evaluations'):,}",
        entry.status if entry.status == "kept" else "",
    )
