"""The page of -log p of a masked model of any order: one order, and both sides."""

from nelbo.report.page.headline import plus_minus
from nelbo.report.page.sheet import Section, Sheet, Table, groups, lines, of_interval, subject
from nelbo.results.order_bounds import FEWEST, OrderBounds
from nelbo.results.stored import Interval

__all__ = ["orders_sheet"]


def orders_sheet(result: OrderBounds) -> Sheet:
    """Its headline is the figure from above, and between what the likelihood is known to lie."""
    name, data = subject(result.tree)
    value = f"{result.per_dim:.4f}"
    return Sheet(
        title=f"{value} {result.unit.name} from above, {name}, any order",
        heading=f"{name} on {data}",
        figure=value,
        unit=f"{result.unit}, from above",
        lead=[f"In expectation \N{MINUS SIGN}log p of any order is {result.between}."],
        intervals=of_interval(result.sides[1]),
        warnings=result.warnings,
        sections=[_sides(result)],
        settings=groups(result.tree),
        download="orders",
    )


def _sides(result: OrderBounds) -> Section:
    orders, calls = result.orders, result.calls
    single, above, below = result.sides
    figures = [
        ("one order", "the bound", single),
        ("from above", f"{orders:,} orders weighed together, twice", above),
    ]
    if below is not None:
        figures.append(("from below", "the tangent bound", below))
    laid, _ = lines(
        [(name, says, own.value, own.half_monte_carlo) for name, says, own in figures],
        result.unit.name,
    )
    return Section(
        "sides",
        "Both sides",
        f"Of the same images and orders; calls of an order: {calls:,}. \N{PLUS-MINUS SIGN} on the "
        "scale is half of a 95 % interval for this test set (Monte Carlo).",
        laid,
        tables=[_table(figures, result.unit.name)],
        note=_weights(result),
    )


def _table(figures: list[tuple[str, str, Interval]], unit: str) -> Table:
    columns = ["figure", unit, "sampling of images", "Monte Carlo"]
    rows = [
        [name, f"{own.value:.4f}", plus_minus(own.half), plus_minus(own.half_monte_carlo)]
        for name, _, own in figures
    ]
    return Table("Figures", columns, rows, {1, 2, 3})


def _weights(result: OrderBounds) -> str:
    count = 2 * result.orders * result.images
    text = f"The effective sample size of the tangent bound is {result.effective:,.0f} of {count:,}"
    if result.below is None:
        return f"{text}, below {FEWEST}: too few for a figure from below. More orders help."
    return f"{text}: its weights have a heavy tail."
