"""Run folders and result files as a table or a figure of a paper."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nelbo.errors import BadInput
from nelbo.report import figures, tables
from nelbo.report.kind_figures import kind_figure
from nelbo.report.kind_tables import kind_rows
from nelbo.results.evaluation import Evaluation
from nelbo.results.loading import AnyResult
from nelbo.results.loading import load as load_result
from nelbo.results.plan import PlanResults
from nelbo.results.ranking import Entry, names_of
from nelbo.results.saved import Saved
from nelbo.tasks.report.report import columns_of, measured
from nelbo.training.log import LOG, read_log

__all__ = ["paper_figure", "paper_table"]

Say = Callable[[str], None]
Source = str | Path


def paper_table(
    sources: Sequence[Source],
    suffix: str,
    columns: Sequence[str] | None = None,
    say: Say = lambda text: None,
) -> str:
    """The results as a table, in the order in which they are given: .tex, .md or .csv.

    Raises:
        BadInput: no result, results of different kinds or in different units, or a column that
            there is none of.
    """
    results = [
        measured(source, say)[0] if Path(source).is_dir() else load_result(source, say)
        for source in sources
    ]
    if all(isinstance(result, PlanResults) for result in results):
        return tables.plans([r for r in results if isinstance(r, PlanResults)], suffix, columns)
    results = [one for read in results for one in _each(read)]
    if all(isinstance(result, Evaluation) for result in results):
        return tables.table([r for r in results if isinstance(r, Evaluation)], suffix, columns)
    rows = kind_rows(results)
    if columns is not None:
        raise BadInput("columns are of a table of evaluations: leave them out (--columns)")
    return rows.written(suffix)


def _each(result: AnyResult) -> Sequence[AnyResult]:
    """A plan beside results of its own kind as the results of its pairs; another as it is."""
    return result.results if isinstance(result, PlanResults) else [result]


def paper_figure(
    sources: Sequence[Source],
    kind: str | None,
    suffix: str,
    *,
    width: float = figures.COLUMN,
    per_image: Source | None = None,
    say: Say = lambda text: None,
) -> bytes:
    """The results as one figure, a .pdf, .svg or .png of this many inches.

    kind: one of `figures.FIGURES`; by default steps of evaluations, of another kind of result its
    own. per_image: the table of single images of the one result, where it is not beside it.

    Raises:
        BadInput: no such figure, or a result without what it shows.
    """
    if kind is not None and kind not in figures.FIGURES:
        raise BadInput(f"a figure is one of {', '.join(figures.FIGURES)}; got {kind}")
    if kind == "training":
        logs = {str(source): read_log(Path(source) / LOG) for source in sources}
        return figures.file(figures.training(logs, width), suffix)
    others = _no_evaluations(sources)
    if others:
        if len(others) < len(sources):
            raise BadInput("evaluations and other results fit in no one figure: make one of each")
        if per_image is not None:
            raise BadInput("--per-image is of one evaluation: leave it out")
        return figures.file(kind_figure(kind, others, width), suffix)
    results = [measured(source, say) for source in sources]
    if per_image is not None:
        if len(results) != 1:
            raise BadInput("--per-image is of one result: of several, put each table beside it")
        results = [(results[0][0], columns_of(Path(per_image), results[0][0], say))]
    names = names_of([result.model for result, _ in results])
    entries = [Entry(name, *one) for name, one in zip(names, results, strict=True)]
    return figures.file(figures.figure(kind or "steps", entries, width), suffix)


def _no_evaluations(sources: Sequence[Source]) -> list[Saved]:
    """The results of other kinds among the files."""
    results = [load_result(source) for source in sources if not Path(source).is_dir()]
    return [result for result in results if not isinstance(result, Evaluation)]
