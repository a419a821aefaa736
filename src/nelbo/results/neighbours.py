"""Neighbours in a table of models: how far two bounds of one data set are apart."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.results.evaluation import Evaluation
from nelbo.results.ranking import Entry, difference
from nelbo.results.stored import Interval, apart_at, interval_of
from nelbo.results.unit import Unit
from nelbo.results.verdict import Verdict, verdict
from nelbo.typed_json import Json, text_at

__all__ = ["WORDS", "Neighbours", "neighbours", "parse_neighbours"]

WORDS = {True: "told apart", False: "not told apart", None: "not known"}


@final
@dataclass(frozen=True)
class Neighbours:
    """a - b per dimension, of two bounds that follow each other; a is the lower one.

    tree: as the JSON object of the plan has it. why_not: why they are not paired by image, None
    where they are. apart: whether they differ for new images, all neighbours of the data set at
    once with 95 % (Bonferroni); None where that is not known.
    """

    tree: Mapping[str, Json]
    data: str
    a: str
    b: str
    unit: Unit
    figure: Interval
    why_not: str | None
    apart: bool | None

    @property
    def verdict(self) -> Verdict:
        """Which is better, by the names of the rows."""
        own = self.figure
        return verdict(
            own.value,
            own.half,
            own.half_monte_carlo,
            self.unit.name,
            (self.a, self.b),
            examples=self.unit.examples,
        )

    @property
    def together(self) -> str:
        """Of all neighbours of the data set at once, in words."""
        return WORDS[self.apart]

    def __str__(self) -> str:
        paired = "paired by image" if self.why_not is None else f"not paired: {self.why_not}"
        return f"{self.data}: {self.a} minus {self.b}: {self.verdict.text} ({paired})"


def neighbours(data: str, entries: Sequence[Entry]) -> list[Neighbours]:
    """Of those that compare, of one unit, kind and data digest, in the order of their bounds.

    entries: under the names of their rows, each with its table of images where there is one.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_comparable(entry.result), []).append(entry)
    made = []
    for group in groups.values():
        ordered = sorted(group, key=lambda entry: entry.result.per_dim)
        for a, b in itertools.pairwise(ordered):
            own = difference(a, b, together=len(ordered) - 1)
            tree = {"data": data, **own.to_dict(a.result.unit)}
            made.append(parse_neighbours(tree, a.result.unit))
    return made


def parse_neighbours(tree: Mapping[str, Json], unit: Unit) -> Neighbours:
    """Two neighbours as their JSON object has them, in that unit.

    Raises:
        KeyError: a part is missing.
        ValueError: a part is of another kind, or an interval is not round its difference.
    """
    data, a, b = (text_at(tree, name) for name in ("data", "a", "b"))
    why_not = None if tree["why_not_paired"] is None else text_at(tree, "why_not_paired")
    figure, apart = interval_of(tree, unit.key), apart_at(tree, "told_apart")
    return Neighbours(tree, data, a, b, unit, figure, why_not, apart)


def _comparable(result: Evaluation) -> str:
    """What two results have to share, so that their difference is one of models."""
    tree = result.tree
    facts = [str(result.unit), tree["dims"], tree.get("kind", "bound"), result.levels]
    return json.dumps([*facts, result.data.get("encoded"), result.data.get("sha256")])
