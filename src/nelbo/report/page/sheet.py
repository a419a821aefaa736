"""A page as data: a headline, and sections of intervals, tables and charts, for any kind."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.report.page.assembly import attached, environment
from nelbo.report.page.charts import Chart
from nelbo.report.page.headline import plus_minus
from nelbo.report.page.provenance import Row, rows
from nelbo.results.context import likelihood_of
from nelbo.results.rounding import with_half
from nelbo.results.stored import Interval
from nelbo.typed_json import Json, object_at, whole_at

__all__ = [
    "Line",
    "Section",
    "Sheet",
    "Table",
    "data_named",
    "groups",
    "laid",
    "lines",
    "of_interval",
    "subject",
]


@final
@dataclass(frozen=True)
class Line:
    """A figure on a scale: its name and value, and where it begins, its width, its middle, in %."""

    name: str
    says: str
    value: str
    strip: tuple[float, float, float]


@final
@dataclass(frozen=True)
class Table:
    """Rows under their columns, of which `numeric` are set to the right."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Collection[int] = ()


@final
@dataclass(frozen=True)
class Section:
    """A part of a page; zero: where 0 is on the scale of its lines, None where it is not shown."""

    id: str
    title: str
    lead: str
    lines: Sequence[Line] = ()
    zero: float | None = None
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    note: str = ""


@final
@dataclass(frozen=True)
class Sheet:
    """All of a page but its JSON; intervals: (what it is, its text) under the figure."""

    title: str
    heading: str
    figure: str
    unit: str
    lead: Sequence[str]
    intervals: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    sections: Sequence[Section]
    settings: Sequence[tuple[str, Sequence[Row]]]
    download: str


def laid(sheet: Sheet, tree: Mapping[str, Json]) -> str:
    """The page of a result; equal inputs give equal bytes. It refers to nothing outside itself."""
    return (
        environment()
        .get_template("sheet.html")
        .render(
            sheet=sheet,
            schema=tree["schema"],
            command=str(tree.get("command") or ""),
            **attached(tree),
        )
    )


def lines(
    figures: Sequence[tuple[str, str, float, float | None]],
    unit: str,
    *,
    signed: bool = False,
) -> tuple[list[Line], float | None]:
    """(the figures on one scale, where 0 is on it); each is (name, says, value, half).

    signed: they are differences, so that 0 is on the scale and values have a sign.
    """
    values = [value for _, _, value, _ in figures] + ([0.0] if signed else [])
    wide = max(half or 0.0 for *_, half in figures)
    low, high = min(values) - wide, max(values) + wide
    percent = 100 / ((high - low) or 1.0)
    made = [
        Line(
            name,
            says,
            f"{with_half(value, half, '+' if signed else '')} {unit}".strip(),
            (
                percent * (value - (half or 0.0) - low),
                percent * 2 * (half or 0.0),
                percent * (value - low),
            ),
        )
        for name, says, value, half in figures
    ]
    return made, -percent * low if signed else None


def groups(tree: Mapping[str, Json]) -> list[tuple[str, list[Row]]]:
    """What decided the figures of a result of one model: settings by where they are from."""
    model = {k: v for k, v in object_at(tree, "model").items() if k not in ("sources", "options")}
    parts = (
        ("Model", model, "the model"),
        ("Data", object_at(tree, "data"), "the data"),
        ("Estimator", object_at(tree, "estimator"), "the evaluation"),
        ("Environment", object_at(tree, "environment"), "the machine"),
    )
    return [(title, rows(part, source)) for title, part, source in parts]


def data_named(data: Mapping[str, Json]) -> str:
    """As a data spec names it."""
    split = data.get("split")
    return f"{data['name']}:{split}" if split else str(data["name"])


def subject(tree: Mapping[str, Json]) -> tuple[str, str]:
    """(the model, with what its likelihood is of; the data, with how many images of it)."""
    model, data = object_at(tree, "model"), data_named(object_at(tree, "data"))
    return f"{model['name']}{likelihood_of(model)}", f"{data}, {whole_at(tree, 'images'):,} images"


def of_interval(figure: Interval) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two intervals of a figure, as they stand under it."""
    return (
        ("sampling of images (95 %)", plus_minus(figure.half)),
        ("Monte Carlo (95 %)", plus_minus(figure.half_monte_carlo)),
    )
