"""Results as the table of a paper: LaTeX with booktabs, Markdown, or CSV, one line for each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from nelbo.errors import BadInput, closest, printable
from nelbo.report.rows import Cell, Heading, Rows, escaped, marked, number
from nelbo.results.context import likelihood_of
from nelbo.results.evaluation import Evaluation
from nelbo.results.plan import PlanResults
from nelbo.results.ranking import names_of
from nelbo.results.rounding import with_half
from nelbo.typed_json import Json, at, whole_at

__all__ = ["COLUMNS", "DEFAULT", "csv", "latex", "markdown", "plans", "table"]


@final
@dataclass(frozen=True)
class Column:
    """Its heading as LaTeX and as Markdown, the cell of a named result, whether it is of numbers.

    {unit} in a heading is the unit of the results.
    """

    tex: str
    plain: str
    cell: Callable[[str, Evaluation], Cell]
    numeric: bool = True


def table(
    results: Sequence[Evaluation],
    suffix: str,
    columns: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The table as .tex, .md or .csv has it.

    columns: names of COLUMNS; the default is DEFAULT, with `data` where the results differ in it,
    and all in CSV, which begins with the model. names: of the rows; by default those of the models.
    notes: what a reader has to know besides.

    Raises:
        BadInput: no result, results in different units, an unknown column or one named twice.
    """
    if suffix == ".csv":
        wanted = COLUMNS if columns is None else columns
        columns = ["model", *(name for name in wanted if name != "model")]
    chosen = _chosen(results, columns)
    rows = _rows(results, chosen, _names(results) if names is None else names)
    return replace(rows, notes=[*rows.notes, *map(printable, notes)]).written(suffix)


def plans(plans: Sequence[PlanResults], suffix: str, columns: Sequence[str] | None = None) -> str:
    """One table of the results of plans, under their names there; what failed is a note.

    Raises:
        BadInput: as `table`; every pair failed.
    """
    measured = [pair for plan in plans for pair in plan.measured]
    if not measured:
        raise BadInput("every pair of the plan failed, so that there is nothing in its table")
    notes = [f"Failed, {entry.name}: {entry.error}" for plan in plans for entry in plan.failed]
    names = [entry.model for entry, _ in measured]
    return table([result for _, result in measured], suffix, columns, names, notes)


def latex(results: Sequence[Evaluation], columns: Sequence[str] | None = None) -> str:
    """A `tabular` of booktabs, for \\input; what a reader has to know follows as comments.

    Raises:
        BadInput: as `table`.
    """
    return table(results, ".tex", columns)


def markdown(results: Sequence[Evaluation], columns: Sequence[str] | None = None) -> str:
    """A table of Markdown, and under it what its numbers are.

    Raises:
        BadInput: as `table`.
    """
    return table(results, ".md", columns)


def csv(results: Sequence[Evaluation], columns: Sequence[str] | None = None) -> str:
    """The numbers as they are, unrounded; the names of models first, the version of nelbo last.

    Raises:
        BadInput: as `table`.
    """
    return table(results, ".csv", columns)


def _rows(results: Sequence[Evaluation], chosen: Sequence[Column], names: Sequence[str]) -> Rows:
    unit = results[0].unit.name
    return Rows(
        [
            Heading(
                column.tex.replace("{unit}", escaped(unit)),
                column.plain.replace("{unit}", unit),
                column.numeric,
            )
            for column in chosen
        ],
        [
            [column.cell(name, result) for column in chosen]
            for name, result in zip(names, results, strict=True)
        ],
        _notes(results, chosen, names),
        [{"nelbo": result.environment.get("nelbo")} for result in results],
    )


def _model(name: str, result: Evaluation) -> Cell:
    given = likelihood_of(result.model)
    tex = escaped(name + (f" ({given.strip()})" if given else ""))
    return Cell(tex, marked(name + (f" ({given.strip()})" if given else "")), {"model": name})


def _data(name: str, result: Evaluation) -> Cell:
    split = result.data.get("split")
    spec = f"{result.data['name']}:{split}" if split else str(result.data["name"])
    return Cell(escaped(spec), marked(spec), {"data": spec, "data_sha256": _digest(result)})


def _digest(result: Evaluation) -> Json:
    return result.data.get("sha256")


def _bound(name: str, result: Evaluation) -> Cell:
    value, half = result.per_dim, result.half
    plain = with_half(value, half)
    numbers = {result.unit.key: value, "sampling_of_images_half_width": half}
    tex = plain.replace("±", "\\pm").replace("unknown", "\\mathrm{unknown}")
    return Cell(f"${tex}$", plain, numbers)


def _monte_carlo(name: str, result: Evaluation) -> Cell:
    half = result.half_monte_carlo
    numbers = {"monte_carlo_half_width": half}
    if half is None:
        return Cell("unknown", "unknown", numbers)
    return Cell(*number(half, half), numbers)


def _term(place: int) -> Callable[[str, Evaluation], Cell]:
    def cell(name: str, result: Evaluation) -> Cell:
        term = result.figures[place]
        return Cell(*number(term.value), {term.name: term.value})

    return cell


def _steps(name: str, result: Evaluation) -> Cell:
    if _is_continuous(result):
        return Cell(r"$\infty$", "∞", {"steps": "infinite"})
    return _count(result.model.get("steps"), "steps")


def _is_continuous(result: Evaluation) -> bool:
    return result.model.get("time") == "continuous"


def _count(value: Json, key: str) -> Cell:
    text = f"{value:,}" if isinstance(value, int) else "unknown"
    return Cell(text, text, {key: value})


def _of_tree(key: str) -> Callable[[str, Evaluation], Cell]:
    return lambda name, result: _count(whole_at(result.tree, key), key)


def _seconds(name: str, result: Evaluation) -> Cell:
    return Cell(f"{result.seconds:.1f}", f"{result.seconds:.1f}", {"seconds": result.seconds})


def _setting(key: str) -> Callable[[str, Evaluation], Cell]:
    def cell(name: str, result: Evaluation) -> Cell:
        value = result.model.get(key)
        text = "none" if value is None else f"{value:.6g}" if isinstance(value, float) else value
        return Cell(escaped(str(text)), marked(str(text)), {key: value})

    return cell


def _seed(name: str, result: Evaluation) -> Cell:
    seed = result.estimator.get("seed")
    return Cell(str(seed), str(seed), {"seed": seed})


COLUMNS: Mapping[str, Column] = {
    "model": Column("Model", "Model", _model, numeric=False),
    "data": Column("Data", "Data", _data, numeric=False),
    "weights": Column("Weights", "Weights", _setting("weights"), numeric=False),
    "steps": Column("$T$", "T", _steps),
    "bound": Column("{unit}", "{unit}", _bound),
    "monte-carlo": Column(r"Monte Carlo $\pm$", "Monte Carlo ±", _monte_carlo),
    "L_T": Column("$L_T$", "L_T", _term(0)),
    "L_mid": Column(r"$\sum L_{t-1}$", "Σ L_(t−1)", _term(1)),
    "L_0": Column("$L_0$", "L_0", _term(2)),
    "evaluations": Column("Evaluations", "Evaluations", _of_tree("network_evaluations")),
    "images": Column("Images", "Images", _of_tree("images")),
    "seconds": Column("Seconds", "Seconds", _seconds),
    "seed": Column("Seed", "Seed", _seed),
    "decoder": Column("Decoder", "Decoder", _setting("decoder"), numeric=False),
    "variance": Column("Variance", "Variance", _setting("variance"), numeric=False),
    "V_1": Column("$V_1$", "V_1", _setting("V_1")),
}
"""What a table may have in it, by the word for it."""

DEFAULT = ("model", "steps", "bound", "monte-carlo", "L_T", "L_mid", "L_0", "evaluations")


def _chosen(results: Sequence[Evaluation], columns: Sequence[str] | None) -> list[Column]:
    if not results:
        raise BadInput("a table is of one result or more; got none")
    units = dict.fromkeys(str(result.unit) for result in results)
    if len(units) > 1:
        raise BadInput(f"results in {' and in '.join(units)} fit in no one table: make two")
    if columns is None:
        several = len({_spec(result) for result in results}) > 1
        columns = (DEFAULT[0], *(["data"] if several else []), *DEFAULT[1:])
    for name in columns:
        if name not in COLUMNS:
            meant = closest(name, COLUMNS)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(COLUMNS)}"
            raise BadInput(f"no column {name}: {hint}")
    if not columns or len(set(columns)) < len(columns):
        raise BadInput(f"columns are one or more, each named once; got {', '.join(columns)}")
    return [COLUMNS[name] for name in columns]


def _names(results: Sequence[Evaluation]) -> list[str]:
    return names_of([result.model for result in results])


def _spec(result: Evaluation) -> tuple[str, object]:
    return _data("", result).plain, str(_digest(result))


def _notes(
    results: Sequence[Evaluation], chosen: Sequence[Column], names: Sequence[str]
) -> list[str]:
    """What a reader has to know of the numbers; what the results warn of."""
    subjects: dict[str, list[str]] = {}
    for name, result in zip(names, results, strict=True):
        subjects.setdefault(_subject(result), []).append(name)
    if len(subjects) == 1:
        (what,) = subjects
        what = what[0].upper() + what[1:]
    else:
        what = "; ".join(f"{', '.join(names)}: {text}" for text, names in subjects.items())
    data = dict.fromkeys(
        f"{result.images:,} examples of {_data('', result).numbers['data']}" for result in results
    )
    lines = [f"{what}, per dimension: {' and '.join(data)}."]
    if COLUMNS["bound"] in chosen:
        examples = results[0].unit.examples
        lines.append(f"± is half of a 95 % interval for new {examples} of this kind.")
    if COLUMNS["monte-carlo"] in chosen:
        lines.append(
            "Monte Carlo is half of a 95 % interval for this test set: "
            "the error of not evaluating every step."
        )
    if COLUMNS["L_mid"] in chosen and any(_is_continuous(result) for result in results):
        lines.append("With infinitely many steps, the sum of L_(t−1) is its limit, an integral.")
    if COLUMNS["evaluations"] in chosen:
        lines.append("One evaluation is one call of the network for one image at one step.")
    for name, result in zip(names, results, strict=True):
        lines += [f"Warning, {name}: {text}" for text in result.warnings]
    return [printable(line) for line in lines]


def _subject(result: Evaluation) -> str:
    """What the figure is: a bound, or exact; of p(x), or of x given something."""
    likelihood = result.model.get("likelihood", "p(x)")
    density = result.unit.density_of
    of = f"−log₂ {likelihood}" if density is None else f"−log {likelihood}, a density of {density}"
    if "order" in result.model:
        return f"exact {of} in the order {at(result.model, 'order', 'name')}"
    return f"upper bounds on {of}"
