"""The page of several models against the first of them: the differences, then the bounds."""

from nelbo.report.page.headline import plus_minus
from nelbo.report.page.provenance import rows
from nelbo.report.page.sheet import Section, Sheet, Table, data_named, lines
from nelbo.results.compared import Compared, ComparedAll
from nelbo.results.neighbours import WORDS
from nelbo.results.rounding import plain_number, with_half
from nelbo.typed_json import object_at, whole_at

__all__ = ["comparisons_sheet"]


def comparisons_sheet(result: ComparedAll) -> Sheet:
    """Its headline is the lowest difference from the first."""
    unit, first = result.unit.name, result.names[0]
    pair, name = min(_named(result), key=lambda each: each[0].value)
    tree = result.pairs[0].tree
    data, images = object_at(tree, "data"), f"{whole_at(tree, 'images'):,}"
    names = f"{', '.join(result.names[1:])} against {first}"
    sign = "+" if pair.value >= 0 else "\N{MINUS SIGN}"
    return Sheet(
        title=f"{names} on {data_named(data)}",
        heading=f"{names} on {data_named(data)}, {images} images",
        figure=f"{sign}{plain_number(abs(pair.value), pair.half or 0.0)}",
        unit=f"{unit}, {name} minus {first}: the lowest difference",
        lead=[
            f"{name}: {verdict.text}."
            for name, verdict in zip(result.names[1:], result.verdicts, strict=True)
        ],
        intervals=(),
        warnings=result.warnings,
        sections=[_differences(result), _bounds(result)],
        settings=[
            (f"Estimator of {name}", rows(object_at(pair.tree, "estimator"), "the evaluation"))
            for pair, name in _named(result)
        ],
        download="comparisons",
    )


def _differences(result: ComparedAll) -> Section:
    unit, first, pairs = result.unit.name, result.names[0], _named(result)
    laid, zero = lines([(name, "", p.value, p.half) for p, name in pairs], unit, signed=True)
    table = [
        (
            name,
            with_half(pair.value, pair.half, "+"),
            plus_minus(pair.half_monte_carlo),
            WORDS[apart],
        )
        for (pair, name), apart in zip(pairs, result.apart, strict=True)
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


def _bounds(result: ComparedAll) -> Section:
    first = result.pairs[0].b
    bounds = [
        (result.names[0], "the first", first.value, first.half),
        *((name, "", pair.a.value, pair.a.half) for pair, name in _named(result)),
    ]
    lead = (
        "Lower is better. Whether these intervals overlap says little: those of the differences "
        "are above."
    )
    return Section("bounds", "The bounds", lead, lines(bounds, result.unit.name)[0])


def _named(result: ComparedAll) -> list[tuple[Compared, str]]:
    return list(zip(result.pairs, result.names[1:], strict=True))
