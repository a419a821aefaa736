"""The page of a ranking: the images in their order, the easiest, the hardest, the outliers."""

from collections.abc import Sequence

from nelbo.report.kind_curves import ranks
from nelbo.report.page.charted import charted
from nelbo.report.page.sheet import Section, Sheet, Table, data_named, groups, of_interval
from nelbo.results.context import likelihood_of
from nelbo.results.read_ranking import RankedImages
from nelbo.results.rounding import with_half
from nelbo.typed_json import number_at, object_at

__all__ = ["image_ranking_sheet"]

MOST_UNLIKE = 20  # images of the table; all are in the JSON


def image_ranking_sheet(result: RankedImages) -> Sheet:
    """Its headline is the range of the bounds."""
    tree, model = result.tree, object_at(result.tree, "model")
    data = data_named(object_at(tree, "data"))
    name = f"{model['name']}{likelihood_of(model)}"
    low, high = (number_at(result.rows[place], result.unit.key) for place in (0, -1))
    order = Section(
        "order", "The order", "Every image by its bound.", charts=charted(ranks(result), "ranks")
    )
    lists = (
        ("easiest", "The easiest", "What the model expects most.", result.easiest),
        ("hardest", "The hardest", "What surprises it most.", result.hardest),
    )
    return Sheet(
        title=f"{name}: {data} image by image",
        heading=f"{name} on each of {len(result.rows):,} of {data}",
        figure=f"{low:.4f} to {high:.4f}",
        unit=str(result.unit),
        lead=["From the easiest image to the hardest, and the mean of all."],
        intervals=[("mean of all images", f"{result.total.value:.4f}"), *of_interval(result.total)],
        warnings=result.warnings,
        sections=[
            order,
            *(
                Section(id, name, lead, tables=[_table(result, ids, name)])
                for id, name, lead, ids in lists
            ),
            *_unlike(result),
        ],
        settings=groups(tree),
        download="ranking",
    )


def _unlike(result: RankedImages) -> list[Section]:
    if result.fence is None:
        return []
    ends = f"{result.fence['low']:.4f} to {result.fence['high']:.4f} {result.unit.name}"
    lead = f"Outside {ends}, where normal images would all lie with 95 %: {len(result.unlike)}."
    some = result.unlike[:MOST_UNLIKE]
    tables = [_table(result, some, "Unlike the rest")] if some else []
    more = len(result.unlike) - len(some)
    note = f"{more} more are in the JSON." if more else ""
    return [Section("unlike", "Unlike the rest", lead, tables=tables, note=note)]


def _table(result: RankedImages, ids: Sequence[int], name: str) -> Table:
    key = result.unit.key
    rows = [
        (
            str(row.get("file", row["id"])),
            f"{row['rank']:,}",
            f"{row['rank_low']:,} to {row['rank_high']:,}",
            with_half(number_at(row, key), (number_at(row, "high") - number_at(row, "low")) / 2),
        )
        for row in result.listed(ids)
    ]
    columns = ["image", "rank", "ranks possible", f"{result.unit.name}, 95 % Monte Carlo"]
    return Table(name, columns, rows, {1, 2, 3})
