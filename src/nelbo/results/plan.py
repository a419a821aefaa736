"""The results of a plan, several models on several data sets, as people and programs read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final, get_args

from nelbo.errors import printable
from nelbo.results.context import likelihood_of
from nelbo.results.evaluation import Evaluation
from nelbo.results.neighbours import Neighbours
from nelbo.results.rounding import with_half
from nelbo.results.saved import Saved, sealed
from nelbo.typed_json import Json

__all__ = ["HEADING", "NOTE", "PlanEntry", "PlanResults", "Status", "status_of"]

SCHEMA = "nelbo.plan/1"
HEADING = ("model", "data", "bound", "Monte Carlo", "unit", "images", "evaluations", "")
NOTE = "± is sampling of images, 95 %; Monte Carlo, 95 %, is of this test set"


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
    result: Evaluation | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """Of which model and data it is."""
        return f"{self.model} on {self.data}"

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of a table, under `HEADING`."""
        result = self.result
        if result is None:
            return self.model, self.data, "failed", "", "", "", "", ""
        noise = "unknown" if result.half_monte_carlo is None else f"± {result.half_monte_carlo:.2g}"
        return (
            self.model,
            self.data,
            with_half(result.per_dim, result.half),
            noise,
            f"{result.unit.name}{likelihood_of(result.model)}",
            f"{result.images:,}",
            f"{result.network_evaluations:,}",
            self.status if self.status == "kept" else "",
        )

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
    """Every model of a plan on every data set, in the order of the plan.

    neighbours: of each data set the bounds that follow each other, with their difference.
    """

    entries: Sequence[PlanEntry]
    settings: Mapping[str, Json]
    command: str = ""
    neighbours: Sequence[Neighbours] = ()

    @property
    def measured(self) -> list[tuple[PlanEntry, Evaluation]]:
        """The pairs that did not fail, with their results."""
        return [(entry, entry.result) for entry in self.entries if entry.result is not None]

    @property
    def results(self) -> list[Evaluation]:
        """Of the pairs that did not fail."""
        return [result for _, result in self.measured]

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
                "neighbours": [dict(two.tree) for two in self.neighbours],
                "settings": dict(self.settings),
                "command": self.command,
            }
        )

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<PlanResults: {len(self.results)} results{failed}>"

    def __str__(self) -> str:
        """A row for each pair: the bound with both intervals, and what it took; then warnings."""
        rows = [HEADING, *(entry.cells for entry in self.entries)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        notes = [NOTE, *map(str, self.neighbours), *(f"warning: {x}" for x in self.warnings)]
        notes += [f"failed: {entry.name}: {entry.error}" for entry in self.failed]
        return "\n".join(map(printable, [*lines, *notes]))

    @property
    def warnings(self) -> list[str]:
        """Those of every result, by the name of its pair."""
        return [
            f"{entry.name}: {warning}"
            for entry, result in self.measured
            for warning in result.warnings
        ]
