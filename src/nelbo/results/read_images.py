"""Classes and ranks of images as their JSON objects tell them, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.results.classification import SCHEMA as CLASSIFICATION
from nelbo.results.classification import Bin, wilson
from nelbo.results.image_ranking import SCHEMA as IMAGE_RANKING
from nelbo.results.stored import Interval, Stored, check_parts, ends_of, interval_of, keeping_to
from nelbo.results.unit import Unit, unit_of
from nelbo.typed_json import (
    Json,
    known_at,
    list_at,
    number_at,
    number_of,
    part_at,
    rows_at,
    whole_at,
    whole_of,
)

__all__ = [
    "CLASSIFICATION",
    "IMAGE_RANKING",
    "Classified",
    "RankedImages",
    "parse_classification",
    "parse_image_ranking",
]

CLASSIFIED_BY = "nelbo classify MODEL --json FILE writes one"
RANKED_BY = "nelbo rank MODEL --json FILE writes one"
Rows = Sequence[Mapping[str, Json]]


@final
@dataclass(frozen=True, repr=False)
class Classified(Stored):
    """p(class | x) of each image: accuracy with its interval and calibration, None without labels.

    rows: a mapping for each image: id, class, label where it has one, posterior, decided.
    """

    tree: Mapping[str, Json]
    accuracy: float | None
    interval: tuple[float, float] | None
    calibration_error: float | None
    log_loss: float | None
    reliability: Sequence[Bin]
    prior: Sequence[float]
    rows: Rows

    @property
    def confusion(self) -> list[list[int]] | None:
        """How many images of each class (row) were given each class (column)."""
        if self.accuracy is None:
            return None
        counts = [[0] * len(self.prior) for _ in self.prior]
        for row in self.rows:
            counts[whole_at(row, "label")][whole_at(row, "class")] += 1
        return counts


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


def parse_classification(tree: Mapping[str, Json], source: str = "the result") -> Classified:
    """The classification that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or an accuracy that is not that of the
            images.
    """
    with keeping_to(CLASSIFICATION, source, CLASSIFIED_BY):
        rows, accuracy = rows_at(tree, "per_image"), known_at(tree, "accuracy")
        _check_parts(tree, rows)
        for name in ("decided", "error", "evaluations_per_image"):
            number_at(tree, name)
        prior = [number_of(p) for p in list_at(tree, "prior")]
        classes = range(len(prior))
        for row in rows:
            given = [row["class"], *([] if accuracy is None else [row["label"]])]
            if not all(one in classes for one in given) or len(list_at(row, "posterior")) != len(
                classes
            ):
                raise ValueError(f"image {row['id']} has no class of {len(classes)}")
        if accuracy is not None:
            _check_accuracy(tree, accuracy, sum(row["class"] == row["label"] for row in rows))
        return Classified(
            tree=tree,
            accuracy=accuracy,
            interval=None if accuracy is None else ends_of(tree["accuracy_ci95"]),
            calibration_error=known_at(tree, "calibration_error"),
            log_loss=known_at(tree, "log_loss"),
            reliability=[_bin(row) for row in rows_at(tree, "reliability")],
            prior=prior,
            rows=rows,
        )


def parse_image_ranking(tree: Mapping[str, Json], source: str = "the result") -> RankedImages:
    """The ranking that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or ids that no image has.
    """
    with keeping_to(IMAGE_RANKING, source, RANKED_BY):
        unit, rows = unit_of(tree), rows_at(tree, "per_image")
        _check_parts(tree, rows)
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


def _check_accuracy(tree: Mapping[str, Json], accuracy: float, hits: int) -> None:
    """ValueError where the share, its interval or its calibration is not that of the images."""
    count = whole_at(tree, "images")
    if abs(accuracy * count - hits) > 1e-6:
        raise ValueError("accuracy is not that of per_image")
    ends = zip(ends_of(tree["accuracy_ci95"]) or (0.0, 0.0), wilson(hits, count), strict=True)
    if any(abs(stated - own) > 1e-9 for stated, own in ends):
        raise ValueError("accuracy_ci95 is not the interval of accuracy")
    number_at(tree, "calibration_error")
    if sum(whole_of(row["images"]) for row in rows_at(tree, "reliability")) != count:
        raise ValueError("reliability is not of all images")


def _check_parts(tree: Mapping[str, Json], rows: Rows) -> None:
    check_parts(tree)
    if len(rows) != tree["images"]:
        raise ValueError("images and per_image contradict each other")
    for row in rows:
        whole_of(row["id"])


def _bin(row: Mapping[str, Json]) -> Bin:
    low, high, confidence, accuracy = (
        number_at(row, name) for name in ("low", "high", "confidence", "accuracy")
    )
    return Bin(low, high, whole_at(row, "images"), confidence, accuracy)
