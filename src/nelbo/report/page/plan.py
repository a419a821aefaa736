"""The page of a plan: every model on every data set, and how far neighbours are apart."""

from collections.abc import Sequence

from nelbo.report.page.headline import plus_minus
from nelbo.report.page.provenance import rows
from nelbo.report.page.sheet import Section, Sheet, Table, data_named, groups, lines
from nelbo.results.context import likelihood_of
from nelbo.results.evaluation import Evaluation
from nelbo.results.plan import HEADING, NOTE, PlanEntry, PlanResults
from nelbo.results.rounding import with_half

__all__ = ["plan_sheet"]

NUMERIC = {2, 3, 5, 6}  # of HEADING, without its last
Measured = tuple[PlanEntry, Evaluation]


def plan_sheet(result: PlanResults) -> Sheet:
    """Its headline is the lowest bound where there is one data set, else how many results."""
    models = list(dict.fromkeys(entry.model for entry in result.entries))
    data = list(dict.fromkeys(entry.data for entry in result.entries))
    figure, unit = _headline(result)
    return Sheet(
        title=f"{', '.join(models)} on {', '.join(data)}",
        heading=f"{_counted(len(models), 'model')} on {_counted(len(data), 'data set')}",
        figure=figure,
        unit=unit,
        lead=[f"{two.data}, {two.a} and {two.b}: {two.verdict.text}." for two in result.neighbours],
        intervals=(),
        warnings=[
            *(f"{entry.name} failed: {entry.error}" for entry in result.failed),
            *result.warnings,
        ],
        sections=[_all(result), *_by_data(result)],
        settings=[
            ("The plan", rows(result.settings, "the plan")),
            *(
                (entry.name, [row for _, part in groups(own.tree) for row in part])
                for entry, own in result.measured
            ),
        ],
        download="plan",
    )


def _headline(result: PlanResults) -> tuple[str, str]:
    if len({(entry.data, str(own.unit)) for entry, own in result.measured}) != 1:
        return str(len(result.measured)), f"of {len(result.entries)} are measured"
    best, own = min(result.measured, key=lambda one: one[1].per_dim)
    return f"{own.per_dim:.4f}", f"{own.unit.name}, {best.model}: the lowest"


def _all(result: PlanResults) -> Section:
    cells = [entry.cells[:-1] for entry in result.entries]
    table = Table("Results", HEADING[:-1], cells, NUMERIC)
    return Section("results", "Every result", f"{NOTE}.", tables=[table])


def _by_data(result: PlanResults) -> list[Section]:
    """A section for each data set and unit."""
    parts: dict[tuple[str, str], list[Measured]] = {}
    for entry, own in result.measured:
        parts.setdefault((entry.data, str(own.unit)), []).append((entry, own))
    return [
        _on_one(result, f"data-{number}", sorted(part, key=lambda one: one[1].per_dim))
        for number, part in enumerate(parts.values())
    ]


def _on_one(result: PlanResults, id: str, group: Sequence[Measured]) -> Section:
    """The bounds on one scale, and how far those that follow each other are apart."""
    entry, first = group[0]
    bounds = [
        (one.model, likelihood_of(own.model).strip(), own.per_dim, own.half) for one, own in group
    ]
    links = [
        (
            f"{two.a} minus {two.b}",
            with_half(two.figure.value, two.figure.half, "+"),
            plus_minus(two.figure.half_monte_carlo),
            two.together,
            "yes" if two.why_not is None else f"no: {two.why_not}",
        )
        for two in result.neighbours
        if two.data == entry.data and two.unit == first.unit
    ]
    columns = ["neighbours", first.unit.name, "Monte Carlo", "together", "paired by image"]
    return Section(
        id,
        f"{entry.data}: the bounds",
        f"{first.unit} of {data_named(first.data)}, the lowest first. Each interval is 95 % for "
        "new images of this kind.",
        lines(bounds, first.unit.name)[0],
        tables=[Table(f"Neighbours on {entry.data}", columns, links, {1, 2})] if links else [],
        note="Whether two intervals overlap says little: the difference of neighbours is below "
        "them. Together: for new images, all of this table at once (Bonferroni)."
        if links
        else "",
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
