"""The page of several models against the first of them: the differences, then the bounds."""

from nelbo.report.page.headline import plus_minus
from nelbo.report.page.provenance import rows
from nelbo.report.page.sheet import Section, Sheet, Table, data_named, lines
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.neighbours import WORDS
from nelbo.results.rounding import plain_number, with_half

__all__ = ["comparisons_sheet"]


def comparisons_sheet(result: Comparisons) -> Sheet:
    """Its headline is the lowest difference from the first."""
    unit, first = result.unit.name, result.names[0]
    pair, name = min(_named(result), key=lambda each: each[0].per_dim)
    data, images = result.comparisons[0].data, f"{result.comparisons[0].images:,}"
    names = f"{', '.join(result.names[1:])} against {first}"
    sign = "+" if pair.per_dim >= 0 else "\N{MINUS SIGN}"
    return Sheet(
        title=f"{names} on {data_named(data)}",
        heading=f"{names} on {data_named(data)}, {images} images",
        figure=f"{sign}{plain_number(abs(pair.per_dim), pair.half or 0.0)}",
        unit=f"{unit}, {name} minus {first}: the lowest difference",
        lead=[
            f"{name}: {verdict.text}."
            for name, verdict in zip(result.names[1:], result.verdicts, strict=True)
        ],
        intervals=(),
        warnings=result.warnings,
        sections=[_differences(result), _bounds(result)],
        settings=[
            (f"Estimator of {name}", rows(pair.estimator, "the evaluation"))
            for pair, name in _named(result)
        ],
        download="comparisons",
    )


def _differences(result: Comparisons) -> Section:
    unit, first, pairs = result.unit.name, result.names[0], _named(result)
    laid, zero = lines([(name, "", p.per_dim, p.half) for p, name in pairs], unit, signed=True)
    table = [
        (
            name,
            with_half(pair.per_dim, pair.half, "+"),
            plus_minus(pair.half_monte_carlo),
            WORDS[apart],
        )
        for (pair, name), apart in zip(pairs, result.told_apart, strict=True)
    ]
    columns = ["model", f"minus {first}, {unit}", "Monte Carlo", "together"]
    return Section(
        "differences",
        "Differences",
        f"Each model minus {first}: to the left of the line at 0 it is better. Each interval is "
        "95 % for new images of this kind, paired image by image.",
        laid,
        zero,
        [Table("Differences", columns, table, {1, 2})],
        note=f"Together: for new images, all {len(table)} differences at once (Bonferroni); a "
        "verdict is of one alone.",
    )


def _bounds(result: Comparisons) -> Section:
    first = result.comparisons[0].bounds[1]
    others = [(pair.bounds[0], name) for pair, name in _named(result)]
    bounds = [
        (result.names[0], "the first", first.value, first.half),
        *((name, "", a.value, a.half) for a, name in others),
    ]
    lead = (
        "Lower is better. Whether these intervals overlap says little: those of the differences "
        "are above."
    )
    return Section("bounds", "The bounds", lead, lines(bounds, result.unit.name)[0])


def _named(result: Comparisons) -> list[tuple[Comparison, str]]:
    return list(zip(result.comparisons, result.names[1:], strict=True))
