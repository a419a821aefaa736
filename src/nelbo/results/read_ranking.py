"""Ranks of images as their JSON object tells them, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.results.image_ranking import SCHEMA as IMAGE_RANKING
from nelbo.results.stored import Interval, Stored, check_parts, interval_of, keeping_to
from nelbo.results.unit import Unit, unit_of
from nelbo.typed_json import (
    Json,
    list_at,
    number_at,
    number_of,
    part_at,
    rows_at,
    whole_at,
    whole_of,
)

__all__ = [
    "IMAGE_RANKING",
    "RankedImages",
    "parse_image_ranking",
]

RANKED_BY = "nelbo rank MODEL --json FILE writes one"
Rows = Sequence[Mapping[str, Json]]


@final
@dataclass(frozen=True, repr=False)
class RankedImages(Stored):
    """Images from the lowest bound to the highest, each with its interval and possible ranks.

    total: of all images together. rows: a mapping for each image, as the JSON has it. easiest,
    hardest and unlike are ids.
    """

    tree: Mapping[str, Json]
    unit: Unit
    total: Interval
    easiest: Sequence[int]
    hardest: Sequence[int]
    unlike: Sequence[int]
    fence: Mapping[str, float] | None
    rows: Rows

    def listed(self, ids: Sequence[int]) -> list[Mapping[str, Json]]:
        """The rows of these images, in the order of the ids."""
        by_id = {whole_at(row, "id"): row for row in self.rows}
        return [by_id[id] for id in ids]


def parse_image_ranking(tree: Mapping[str, Json], source: str = "the result") -> RankedImages:
    """The ranking that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or ids that no image has.
    """
    with keeping_to(IMAGE_RANKING, source, RANKED_BY):
        unit, rows = unit_of(tree), rows_at(tree, "per_image")
        check_parts(tree)
        if len(rows) != tree["images"]:
            raise ValueError("images and per_image contradict each other")
        values = [number_at(row, unit.key) for row in rows]
        for row in rows:
            for name in ("low", "high"):
                number_at(row, name)
            for name in ("rank", "rank_low", "rank_high"):
                whole_of(row[name])
        for end in () if tree["fence"] is None else ("low", "high"):
            number_at(tree, "fence", end)
        if values != sorted(values):
            raise ValueError("per_image is not in the order of the bounds")
        ids = {whole_at(row, "id") for row in rows}
        names = ("easiest", "hardest", "unlike")
        lists = [[int(number_of(id)) for id in list_at(tree, name)] for name in names]
        if not set().union(*lists) <= ids:
            raise ValueError("a list has an image that per_image lacks")
        easiest, hardest, unlike = lists
        total = interval_of(tree, unit.key)
        fence = {name: number_of(end) for name, end in part_at(tree, "fence").items()} or None
        return RankedImages(tree, unit, total, easiest, hardest, unlike, fence, rows)
