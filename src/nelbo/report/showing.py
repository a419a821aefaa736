"""A result in Python as a table, a figure, a notebook's cell, or a file by its suffix."""

import html
from collections.abc import Callable, Mapping, Sequence
from functools import partial, singledispatch
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from torch import Tensor

from nelbo import files
from nelbo.errors import BadInput, printable
from nelbo.report import figures, tables
from nelbo.report.kind_figures import kind_figure
from nelbo.report.kind_tables import kind_rows
from nelbo.report.page import Reported, page, page_of
from nelbo.results import per_image
from nelbo.results.classification import Classification
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.evaluation import Evaluation
from nelbo.results.image_ranking import ImageRanking
from nelbo.results.loading import as_read
from nelbo.results.ode import OdeLikelihood
from nelbo.results.order_bounds import OrderBounds
from nelbo.results.plan import PlanResults
from nelbo.results.ranking import Entry
from nelbo.results.read_ode import OdeRead
from nelbo.results.read_ranking import RankedImages
from nelbo.results.rounding import plain_number, with_half
from nelbo.results.saved import Saved
from nelbo.typed_json import number_at

__all__ = ["cell", "dataframe", "plot", "save", "table"]

TERMS = {"L_T": "L_T", "L_mid": "Σ L_(t−1)", "L_0": "L_0"}
TABLES = (".csv", ".parquet")  # of single images
NEEDS_A_MODEL = ("reconstructions", "extremes", "samples", "training")
WHY_NOT = dict.fromkeys(
    NEEDS_A_MODEL, "This takes the model: nelbo report RUN makes a page of a run folder with it."
)


def table(result: Evaluation, suffix: str, columns: Sequence[str] | None) -> str:
    """The result as a table of one line."""
    return tables.table([result], suffix, columns)


def plot(result: Evaluation, ax: Axes | None, figure: str) -> Axes:
    """Draws on the axes in the user's own style, or on new ones of pyplot in ours."""
    entry = _entry(result)
    if ax is None:
        from matplotlib import pyplot

        with figures.paper_style():
            _, ax = pyplot.subplots()
            figures.draw(ax, figure, [entry])
        return ax
    figures.draw(ax, figure, [entry])
    return ax


def dataframe(result: Evaluation) -> Any:  # noqa: ANN401
    """A row for each image, indexed by id; pandas is no dependency."""
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise BadInput("to_dataframe needs pandas: pip install pandas") from None
    columns = {name: values.numpy() for name, values in result.per_image.columns().items()}
    return pandas.DataFrame(columns | result.per_image.files()).set_index("id")


def save(result: Saved, path: str | Path) -> Path:
    """Writes what the suffix names.

    Raises:
        BadInput: a suffix that is not made of this kind of result.
    """
    made, suffix = _made(result), Path(path).suffix.lower()
    if suffix not in made:
        raise BadInput(f"{path}: this is written as {' or '.join(made)}; got {suffix or 'none'}")
    return files.write(Path(path), made[suffix]())


@singledispatch
def _made(result: Saved) -> dict[str, Callable[[], bytes]]:
    """What makes the bytes of each suffix; of a kind without a way of its own the JSON."""
    return {".json": lambda: result.to_json().encode()}


@_made.register
def _(result: Evaluation) -> dict[str, Callable[[], bytes]]:
    def of_table(suffix: str) -> Callable[[], bytes]:
        return lambda: table(result, suffix, None).encode()

    def of_images(suffix: str) -> Callable[[], bytes]:
        return lambda: per_image.content(result.per_image, f"x{suffix}")

    def of_figure(suffix: str) -> Callable[[], bytes]:
        return lambda: figures.file(figures.figure("steps", [_entry(result)]), suffix)

    def of_page() -> bytes:
        return page(Reported(result, _columns(result), why_not=WHY_NOT)).encode()

    return {
        ".json": lambda: result.to_json().encode(),
        ".html": of_page,
        **{suffix: of_images(suffix) for suffix in TABLES if result.rows is not None},
        **{suffix: of_table(suffix) for suffix in (".tex", ".md")},
        **{suffix: of_figure(suffix) for suffix in (".pdf", ".svg", ".png")},
    }


@_made.register(Comparison | Comparisons | OdeLikelihood | OrderBounds)
@_made.register(Classification | ImageRanking)
@_made.register(OdeRead | RankedImages)
def _(result: Saved) -> dict[str, Callable[[], bytes]]:
    return {
        ".json": lambda: result.to_json().encode(),
        ".html": lambda: page_of(as_read(result.to_dict(), "the result")).encode(),
        **{suffix: partial(_table_of, result, suffix) for suffix in (".tex", ".md", ".csv")},
        **_pictures(lambda: as_read(result.to_dict(), "the result")),
        **({".csv": lambda: result.to_csv().encode()} if isinstance(result, ImageRanking) else {}),
    }


def _pictures(read: Callable[[], Saved]) -> dict[str, Callable[[], bytes]]:
    """The one figure of the kind, by its suffix."""

    def of_figure(suffix: str) -> Callable[[], bytes]:
        return lambda: figures.file(kind_figure(None, [read()], figures.COLUMN), suffix)

    return {suffix: of_figure(suffix) for suffix in (".pdf", ".svg", ".png")}


def _table_of(result: Saved, suffix: str) -> bytes:
    return kind_rows([as_read(result.to_dict(), "the result")]).written(suffix).encode()


@_made.register
def _(result: PlanResults) -> dict[str, Callable[[], bytes]]:
    def of_table(suffix: str) -> Callable[[], bytes]:
        return lambda: tables.plans([result], suffix).encode()

    return {
        ".json": lambda: result.to_json().encode(),
        ".html": lambda: page_of(result).encode(),
        **_pictures(lambda: result),
        **{suffix: of_table(suffix) for suffix in (".tex", ".md", ".csv")},
    }


def _entry(result: Evaluation) -> Entry:
    return Entry(str(result.model["name"]), result, _columns(result))


def _columns(result: Evaluation) -> Mapping[str, Tensor] | None:
    """Those of its table of images, which one that was read from JSON has not."""
    return None if result.rows is None else result.rows.columns()


@singledispatch
def cell(result: Saved) -> str:
    """A few lines of HTML, which a notebook shows in its own style; else the text of the result."""
    return f"<pre>{html.escape(str(result))}</pre>"


@cell.register
def _(result: Evaluation) -> str:
    rows = [
        ("sampling of images (95 %)", f"± {_half(result.half)}"),
        ("Monte Carlo (95 %)", f"± {_half(result.half_monte_carlo)}"),
        *((TERMS[term.name], plain_number(term.value)) for term in result.figures),
        ("network evaluations", f"{result.network_evaluations:,}"),
    ]
    return _cell(f"{result.per_dim:.4f} {result.unit}", result.headline, rows, result.warnings)


@cell.register
def _(result: Comparison) -> str:
    a, b = result.bounds
    rows = [
        *((bound.name, with_half(bound.value, bound.half)) for bound in (a, b)),
        (
            "first minus second, sampling of images (95 %)",
            with_half(result.per_dim, result.half, "+"),
        ),
        ("the same, Monte Carlo (95 %)", with_half(result.per_dim, result.half_monte_carlo, "+")),
        ("network evaluations", f"{result.network_evaluations:,}"),
    ]
    return _cell(result.verdict_of(a.name, b.name).text, "", rows, result.warnings)


@cell.register
def _(result: ImageRanking) -> str:
    key = result.unit.key
    listed = [("easiest", row) for row in result.listed(result.easiest)[:5]]
    listed += [("hardest", row) for row in result.listed(result.hardest)[:-6:-1]]
    lines = [
        (
            f"{end}: {row.get('file', row['id'])}",
            with_half(number_at(row, key), (number_at(row, "high") - number_at(row, "low")) / 2),
        )
        for end, row in listed
    ]
    unlike = ("unlike the rest", f"{int(result.unlike.sum()):,}")
    return _cell(result.headline, "", [*lines, unlike], result.warnings)


def _half(half: float | None) -> str:
    return "unknown" if half is None else plain_number(half, half)


def _cell(heading: str, line: str, rows: Sequence[tuple[str, str]], warnings: Sequence[str]) -> str:
    lines = [
        f"<tr><th style='text-align:left'>{_text(name)}</th>"
        f"<td style='text-align:right'>{_text(value)}</td></tr>"
        for name, value in rows
    ]
    return "\n".join(
        [
            f"<div><strong style='font-size:1.3em'>{_text(heading)}</strong>",
            *([f"<p>{_text(line)}</p>"] if line else []),
            "<table>",
            *lines,
            "</table>",
            *(f"<p><b>Warning:</b> {_text(warning)}</p>" for warning in warnings),
            "</div>",
        ]
    )


def _text(text: str) -> str:
    return html.escape(printable(text))
