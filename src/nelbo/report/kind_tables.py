"""Results that are no evaluation as tables of a paper: comparisons, likelihoods, classes, ranks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nelbo.errors import BadInput
from nelbo.report.bill import bill_rows
from nelbo.report.rows import Cell, Heading, Rows, escaped, marked, number
from nelbo.results.classification import Classification
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.compression import Compression
from nelbo.results.context import likelihood_of
from nelbo.results.order_bounds import FEWEST, OrderBounds
from nelbo.results.read_ode import OdeRead
from nelbo.results.read_ranking import RankedImages
from nelbo.results.rounding import with_half
from nelbo.results.saved import Saved
from nelbo.typed_json import Json, known_of, number_at, object_at, part_at, whole_at

__all__ = ["kind_rows"]

PLUS_MINUS = "± is half of a 95 % interval for new {} of this kind."
MONTE_CARLO = "Monte Carlo is half of a 95 % interval for this test set."


def kind_rows(results: Sequence[Saved]) -> Rows:
    """A row for each model of comparisons, each result of one model, or each listed image.

    Raises:
        BadInput: results of different kinds or units, of a kind that no table is made of, or
            several of a kind of which one fills a table.
    """
    first = results[0]
    if any(type(result) is not type(first) for result in results):
        raise BadInput("results of different kinds fit in no one table: make one of each kind")
    if isinstance(first, Comparison | Comparisons | RankedImages) and len(results) > 1:
        raise BadInput("a table of comparisons or of ranks is of one result: make one of each")
    if isinstance(first, Comparison):
        a, b = first.bounds
        return _comparisons([(a.name, first)], b.name)
    if isinstance(first, Comparisons):
        pairs = list(zip(first.names[1:], first.comparisons, strict=True))
        return _comparisons(pairs, first.names[0])
    if isinstance(first, RankedImages):
        return _ranks(first)
    of_many = OF_MANY.get(type(first))
    if of_many is not None:
        return of_many(results)
    schema = first.to_dict()["schema"]
    raise BadInput(f"no table is made of a result of schema {schema}: .html and .json are")


def _comparisons(pairs: Sequence[tuple[str, Comparison]], first: str) -> Rows:
    unit = pairs[0][1].unit.name
    base = pairs[0][1].bounds[1]
    rows = [
        [
            _text(first, "model"),
            _value(base.value, base.half, "bound"),
            Cell("", "", {"difference": None, "difference_half_width": None}),
            Cell("", "", {"monte_carlo_half_width": None}),
        ]
    ]
    rows += [
        [
            _text(name, "model"),
            _value(pair.bounds[0].value, pair.bounds[0].half, "bound"),
            _value(pair.per_dim, pair.half, "difference", "+"),
            _half(pair.half_monte_carlo, "monte_carlo_half_width"),
        ]
        for name, pair in pairs
    ]
    headings = [
        Heading("Model", "Model", numeric=False),
        Heading(escaped(unit), unit),
        Heading(f"minus {escaped(first)}", f"minus {marked(first)}"),
        Heading(r"Monte Carlo $\pm$", "Monte Carlo ±"),
    ]
    images = f"{pairs[0][1].images:,}"
    examples = pairs[0][1].unit.examples
    paired = f"Paired on {images} {examples} of {_data(pairs[0][1].tree)}."
    notes = [paired, PLUS_MINUS.format(examples), MONTE_CARLO]
    return Rows(headings, rows, notes, [_version(pairs[0][1].tree)] * len(rows))


def _odes(results: Sequence[OdeRead]) -> Rows:
    unit = _unit(results)
    rows = [
        [
            _text(_name(result.tree), "model"),
            _value(result.figure.value, result.figure.half, "ode"),
            _half(result.figure.half_monte_carlo, "monte_carlo_half_width"),
            *(_half(result.shares[name], name) for name in ("solver", "trace", "dequantisation")),
            _value(result.bound.value, result.bound.half, "bound"),
            _value(result.difference.value, result.difference.half, "ode_minus_bound", "+"),
        ]
        for result in results
    ]
    plain = ["Monte Carlo ±", "solver ±", "trace ±", "dequantisation ±"]
    headings = [
        Heading("Model", "Model", numeric=False),
        Heading(f"ODE, {escaped(unit)}", f"ODE, {unit}"),
        *(Heading(name.replace("±", r"$\pm$"), name) for name in plain),
        Heading("Bound", "Bound"),
        Heading("ODE minus bound", "ODE minus bound"),
    ]
    notes = [
        f"ODE: the likelihood of the probability-flow ODE, not a bound: {_images(results)}.",
        PLUS_MINUS.format("images"),
        f"{MONTE_CARLO} Solver, trace and dequantisation are what each source would leave alone.",
    ]
    return Rows(headings, rows, notes, [_version(result.tree) for result in results])


def _orders(results: Sequence[OrderBounds]) -> Rows:
    unit = _unit(results)
    rows = []
    for result in results:
        single, above, below = result.sides
        rows.append(
            [
                _text(_name(result.tree), "model"),
                _count(result.tree, "calls"),
                _count(result.tree, "orders"),
                _value(single.value, single.half_monte_carlo, "single_orders"),
                _value(above.value, above.half_monte_carlo, "from_above"),
                Cell("refused", "refused", {"from_below": None, "from_below_half_width": None})
                if below is None
                else _value(below.value, below.half_monte_carlo, "from_below"),
                _half(above.half, "sampling_half_width"),
                _effective(result.effective),
            ]
        )
    headings = [
        Heading("Model", "Model", numeric=False),
        Heading("Calls", "Calls"),
        Heading("Orders", "Orders"),
        Heading(f"One order, {escaped(unit)}", f"One order, {unit}"),
        Heading("From above", "From above"),
        Heading("From below", "From below"),
        Heading(r"New images $\pm$", "New images ±"),
        Heading("Effective sample size", "Effective sample size"),
    ]
    notes = [
        f"-log p of any order lies between what is above and what is below: {_images(results)}.",
        "± behind a figure is half of a 95 % interval for this test set; new images ± is half of "
        "that for new images of this kind, from above.",
        f"From below: refused where the effective sample size is below {FEWEST}.",
    ]
    return Rows(headings, rows, notes, [_version(result.tree) for result in results])


def _classes(results: Sequence[Classification]) -> Rows:
    rows = []
    for result in results:
        if result.accuracy is None or result.interval is None:
            raise BadInput(f"{_name(result.tree)}: the data have no labels, so no accuracy")
        low, high = (100 * end for end in result.interval)
        share = 100 * result.accuracy
        each = result.each
        ends = {"accuracy": result.accuracy, "low": result.interval[0], "high": result.interval[1]}
        span = f"{low:.2f} to {high:.2f}"
        rows.append(
            [
                _text(_name(result.tree), "model"),
                Cell(f"${share:.2f}$", f"{share:.2f}", {"accuracy": ends["accuracy"]}),
                Cell(span, span, {key: ends[key] for key in ("low", "high")}),
                _known(result.calibration_error, "calibration_error"),
                _known(known_of(result.tree["log_loss"]), "log_loss"),
                Cell(f"${each:.1f}$", f"{each:.1f}", {"evaluations_per_image": each}),
            ]
        )
    headings = [
        Heading("Model", "Model", numeric=False),
        Heading(r"Accuracy, \%", "Accuracy, %"),
        Heading(r"95 \% interval", "95 % interval"),
        Heading("Calibration error", "Calibration error"),
        Heading("Log loss, nats", "Log loss, nats"),
        Heading("Evaluations an image", "Evaluations an image"),
    ]
    data = dict.fromkeys(f"{len(r.ids):,} images of {_data(r.tree)}" for r in results)
    notes = [f"By the bounds of p(x | class): {' and '.join(data)}.", "The interval is Wilson's."]
    return Rows(headings, rows, notes, [_version(result.tree) for result in results])


def _ranks(result: RankedImages) -> Rows:
    key = result.unit.key
    listed = [*result.listed(result.easiest), *result.listed(result.hardest)[::-1]]
    unique = {row["id"]: row for row in listed}
    rows = [
        [
            _image(result, row),
            Cell(f"{row['rank']:,}", f"{row['rank']:,}", {"rank": row["rank"]}),
            _value(number_at(row, key), (number_at(row, "high") - number_at(row, "low")) / 2, key),
            _ends(row),
        ]
        for row in sorted(unique.values(), key=lambda row: whole_at(row, "rank"))
    ]
    headings = [
        Heading("Image", "Image", numeric=False),
        Heading("Rank", "Rank"),
        Heading(escaped(result.unit.name), result.unit.name),
        Heading("Ranks possible", "Ranks possible"),
    ]
    notes = [
        f"The easiest and the hardest of {len(result.rows):,} images of {_data(result.tree)}.",
        "± is half of a 95 % Monte Carlo interval of one image; ranks hold for all at once.",
    ]
    return Rows(headings, rows, notes, [_version(result.tree)] * len(rows))


def _image(result: RankedImages, row: Mapping[str, Json]) -> Cell:
    name = str(row.get("file", row["id"]))
    return Cell(escaped(name), marked(name), {"model": _name(result.tree), "image": name})


def _unit(results: Sequence[OdeRead] | Sequence[OrderBounds]) -> str:
    """The unit that they have in common."""
    units = dict.fromkeys(str(result.unit) for result in results)
    if len(units) > 1:
        raise BadInput(f"results in {' and in '.join(units)} fit in no one table: make two")
    return results[0].unit.name


def _images(results: Sequence[OdeRead] | Sequence[OrderBounds]) -> str:
    """How many images of which data."""
    data = dict.fromkeys(
        f"{whole_at(result.tree, 'images'):,} images of {_data(result.tree)}" for result in results
    )
    return " and ".join(data)


def _version(tree: Mapping[str, Json]) -> dict[str, Json]:
    return {"nelbo": part_at(tree, "environment").get("nelbo")}


def _ends(row: Mapping[str, Json]) -> Cell:
    text = f"{row['rank_low']:,} to {row['rank_high']:,}"
    return Cell(text, text, {name: row[name] for name in ("rank_low", "rank_high")})


def _text(text: str, key: str) -> Cell:
    return Cell(escaped(text), marked(text), {key: text})


def _value(value: float, half: float | None, key: str, sign: str = "") -> Cell:
    plain = with_half(value, half, sign)
    tex = plain.replace("±", r"\pm").replace("unknown", r"\mathrm{unknown}")
    return Cell(f"${tex}$", plain, {key: value, f"{key}_half_width": half})


def _half(half: float | None, key: str) -> Cell:
    if half is None:
        return Cell("unknown", "unknown", {key: None})
    return Cell(*number(half, half), {key: half})


def _effective(size: float) -> Cell:
    text = f"{size:,.0f}"
    return Cell(text, text, {"effective_sample_size": size})


def _count(tree: Mapping[str, Json], key: str) -> Cell:
    count = whole_at(tree, key)
    return Cell(f"{count:,}", f"{count:,}", {key: count})


def _number(value: float, key: str) -> Cell:
    return Cell(*number(value), {key: value})


def _known(value: float | None, key: str) -> Cell:
    return Cell("unknown", "unknown", {key: None}) if value is None else _number(value, key)


def _name(tree: Mapping[str, Json]) -> str:
    model = object_at(tree, "model")
    return f"{model['name']}{likelihood_of(model)}"


def _data(tree: Mapping[str, Json]) -> str:
    data = object_at(tree, "data")
    return f"{data['name']}:{data['split']}" if data.get("split") else str(data["name"])


OF_MANY: Mapping[type, Callable[[Sequence[Any]], Rows]] = {
    OdeRead: _odes,
    OrderBounds: _orders,
    Classification: _classes,
    Compression: bill_rows,
}
"""The kinds of which a table has a row for each result."""
