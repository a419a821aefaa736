"""Classes and ranks of images as their JSON objects tell them, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from nelbo.results.classification import SCHEMA as CLASSIFICATION
from nelbo.results.classification import Bin, wilson
from nelbo.results.image_ranking import SCHEMA as IMAGE_RANKING
from nelbo.results.result import number_of, unit_of
from nelbo.results.stored import Interval, Stored, check_parts, interval_of, keeping_to, whole_of
from nelbo.results.unit import Unit

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
Rows = Sequence[Mapping[str, Any]]


@final
@dataclass(frozen=True, repr=False)
class Classified(Stored):
    """p(class | x) of each image: accuracy with its interval and calibration, None without labels.

    rows: a mapping for each image: id, class, label where it has one, posterior, decided.
    """

    tree: Mapping[str, Any]
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
            counts[row["label"]][row["class"]] += 1
        return counts


@final
@dataclass(frozen=True, repr=False)
class RankedImages(Stored):
    """Images from the lowest bound to the highest, each with its interval and possible ranks.

    total: of all images together. rows: a mapping for each image, as the JSON has it. easiest,
    hardest and unlike are ids.
    """

    tree: Mapping[str, Any]
    unit: Unit
    total: Interval
    easiest: Sequence[int]
    hardest: Sequence[int]
    unlike: Sequence[int]
    fence: Mapping[str, float] | None
    rows: Rows

    def listed(self, ids: Sequence[int]) -> list[Mapping[str, Any]]:
        """The rows of these images, in the order of the ids."""
        by_id = {row["id"]: row for row in self.rows}
        return [by_id[id] for id in ids]


def parse_classification(tree: Mapping[str, Any], source: str = "the result") -> Classified:
    """The classification that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or an accuracy that is not that of the
            images.
    """
    with keeping_to(CLASSIFICATION, source, CLASSIFIED_BY):
        rows, accuracy = tree["per_image"], _known(tree["accuracy"])
        _check_parts(tree, rows)
        for name in ("decided", "error", "evaluations_per_image"):
            number_of(tree[name])
        classes = range(len(tree["prior"]))
        for row in rows:
            given = [row["class"], *([] if accuracy is None else [row["label"]])]
            if not {*given} <= {*classes} or len(row["posterior"]) != len(classes):
                raise ValueError(f"image {row['id']} has no class of {len(classes)}")
        if accuracy is not None:
            _check_accuracy(tree, accuracy, sum(row["class"] == row["label"] for row in rows))
        return Classified(
            tree=tree,
            accuracy=accuracy,
            interval=None if accuracy is None else _pair(tree["accuracy_ci95"]),
            calibration_error=_known(tree["calibration_error"]),
            log_loss=_known(tree["log_loss"]),
            reliability=[_bin(row) for row in tree["reliability"]],
            prior=[number_of(p) for p in tree["prior"]],
            rows=rows,
        )


def parse_image_ranking(tree: Mapping[str, Any], source: str = "the result") -> RankedImages:
    """The ranking that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or ids that no image has.
    """
    with keeping_to(IMAGE_RANKING, source, RANKED_BY):
        unit, rows = unit_of(tree), tree["per_image"]
        _check_parts(tree, rows)
        values = [number_of(row[unit.key]) for row in rows]
        for row in rows:
            for name in ("low", "high"):
                number_of(row[name])
            for name in ("rank", "rank_low", "rank_high"):
                whole_of(row[name])
        for name in ("low", "high") if tree["fence"] is not None else ():
            number_of(tree["fence"][name])
        if values != sorted(values):
            raise ValueError("per_image is not in the order of the bounds")
        ids = {row["id"] for row in rows}
        lists = [list(tree[name]) for name in ("easiest", "hardest", "unlike")]
        if not set().union(*lists) <= ids:
            raise ValueError("a list has an image that per_image lacks")
        easiest, hardest, unlike = lists
        total = interval_of(tree, unit.key)
        return RankedImages(tree, unit, total, easiest, hardest, unlike, tree["fence"], rows)


def _check_accuracy(tree: Mapping[str, Any], accuracy: float, hits: int) -> None:
    """ValueError where the share, its interval or its calibration is not that of the images."""
    count = tree["images"]
    if abs(accuracy * count - hits) > 1e-6:
        raise ValueError("accuracy is not that of per_image")
    ends = zip(_pair(tree["accuracy_ci95"]), wilson(hits, count), strict=True)
    if any(abs(stated - own) > 1e-9 for stated, own in ends):
        raise ValueError("accuracy_ci95 is not the interval of accuracy")
    number_of(tree["calibration_error"])
    if sum(bin["images"] for bin in tree["reliability"]) != count:
        raise ValueError("reliability is not of all images")


def _bin(row: Mapping[str, Any]) -> Bin:
    ends = {name: number_of(row[name]) for name in ("low", "high", "confidence", "accuracy")}
    return Bin(images=whole_of(row["images"]), **ends)


def _check_parts(tree: Mapping[str, Any], rows: Rows) -> None:
    check_parts(tree)
    if len(rows) != tree["images"] or not all(isinstance(row, dict) for row in rows):
        raise ValueError("images and per_image contradict each other")
    for row in rows:
        whole_of(row["id"])


def _known(value: object) -> float | None:
    return None if value is None else number_of(value)


def _pair(ends: Sequence[Any]) -> tuple[float, float]:
    low, high = map(number_of, ends)
    return low, high
