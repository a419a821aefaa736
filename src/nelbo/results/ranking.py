"""Several results beside each other: which is lower, by how much, and how sure that is."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.statistics import Interval, Mean
from nelbo.errors import BadInput, printable
from nelbo.results.evaluation import Evaluation
from nelbo.results.saved import Saved, sealed
from nelbo.results.unit import Unit
from nelbo.typed_json import Json

__all__ = ["Difference", "Entry", "Ranking", "difference", "names_of", "rank"]

SCHEMA = "nelbo.ranking/1"
LEVEL = 0.95
HOW_TO_PAIR = "nelbo evaluate MODEL --json FILE --per-image FILE.csv"


@final
@dataclass(frozen=True, eq=False)
class Entry:
    """A result under a name of its own; images: the columns of its per-image table, or None."""

    name: str
    result: Evaluation
    images: Mapping[str, Tensor] | None = None

    @property
    def mean(self) -> Mean:
        """The bound per dimension, for sampling of images."""
        return Mean.of_half(self.result.per_dim, self.result.half, self.result.total.dof)


@final
@dataclass(frozen=True, eq=False)
class Difference:
    """a - b per dimension, negative where a is better, for sampling of images.

    values: that of each image where it is paired; else why_not says why it is not, and the interval
    is that of two separate sets of images. half_monte_carlo is that of Monte Carlo, not known
    where they are others; of two results with one seed, whose noise is in part the same, it is the
    sum of both or half of the other interval, whichever is less: at most so much. together: how
    many differences are looked at beside each other.
    """

    a: str
    b: str
    mean: Mean
    half_monte_carlo: float | None
    at_most: bool
    values: Float64[Tensor, " N"] | None
    why_not: str | None
    together: int

    @property
    def paired(self) -> bool:
        """By image."""
        return self.values is not None

    @property
    def interval(self) -> Interval | None:
        """95 % for this difference alone."""
        return self.mean.interval(LEVEL)

    @property
    def told_apart(self) -> bool | None:
        """Whether 0 is outside of all intervals at once, at 95 % together (Bonferroni)."""
        interval = self.mean.interval(1 - (1 - LEVEL) / self.together)
        return None if interval is None else not interval[0] <= 0 <= interval[1]

    def to_dict(self, unit: Unit) -> dict[str, Json]:
        """As the ranking's JSON has it."""
        half = self.half_monte_carlo
        exactly = None if half is None else [self.mean.mean - half, self.mean.mean + half]
        return {
            "a": self.a,
            "b": self.b,
            unit.key: self.mean.mean,
            "ci95": None if self.interval is None else list(self.interval),
            "ci95_monte_carlo": exactly,
            "paired": self.paired,
            "why_not_paired": self.why_not,
            "told_apart": self.told_apart,
        }


@final
@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Saved):
    """Results from the lowest bound to the highest, and every difference, the better one first.

    warnings: what makes the figures less comparable than they look.
    """

    entries: Sequence[Entry]
    differences: Sequence[Difference]
    warnings: Sequence[str]

    def __repr__(self) -> str:
        return printable(f"<Ranking, the lowest first: {', '.join(e.name for e in self.entries)}>")

    @property
    def unit(self) -> Unit:
        """Of every figure."""
        return self.entries[0].result.unit

    @property
    def best(self) -> Entry:
        """The one with the lowest bound."""
        return self.entries[0]

    def between(self, a: Entry, b: Entry) -> Difference:
        """a - b, in the order of the ranking."""
        return next(d for d in self.differences if (d.a, d.b) == (a.name, b.name))

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.ranking/1: the results as they are, and the differences."""
        return sealed(
            {
                "schema": SCHEMA,
                "unit": str(self.unit),
                "models": [{"name": e.name, "result": dict(e.result.tree)} for e in self.entries],
                "differences": [d.to_dict(self.unit) for d in self.differences],
                "warnings": list(self.warnings),
            }
        )


def rank(results: Sequence[tuple[Evaluation, Mapping[str, Tensor] | None]]) -> Ranking:
    """The results, each with the columns of its per-image table, in the order of their bounds.

    Raises:
        BadInput: fewer than two, different units, dimensions, levels, latents, kinds or data sets.
    """
    if len(results) < 2:
        raise BadInput(f"a comparison is of two results or more; got {len(results)}")
    first = results[0][0]
    for other, _ in results[1:]:
        _check_comparable(first, other)
    ordered = sorted(results, key=lambda one: (one[0].per_dim, json.dumps(one[0].tree)))
    names = names_of([result.model for result, _ in ordered])
    entries = [Entry(name, *result) for name, result in zip(names, ordered, strict=True)]
    pairs = list(itertools.combinations(entries, 2))
    return Ranking(
        entries=entries,
        differences=[difference(a, b, len(pairs)) for a, b in pairs],
        warnings=_warnings(entries),
    )


def _check_comparable(a: Evaluation, b: Evaluation) -> None:
    """Raises BadInput where the two figures are not of the same thing."""
    names = f"{a.model['name']} and {b.model['name']}"
    if a.unit != b.unit:
        raise BadInput(
            f"{names} are measured in {a.unit} and in {b.unit}: these have no difference"
        )
    for what, of_a, of_b in (
        ("dimensions", a.tree["dims"], b.tree["dims"]),
        ("levels", a.levels, b.levels),
        ("latents", a.data.get("encoded"), b.data.get("encoded")),
    ):
        if of_a != of_b:
            raise BadInput(
                f"{names} are of data with other {what}, {of_a} and {of_b}: compare none"
            )
    kinds = {result.tree.get("kind", "bound") for result in (a, b)}
    if len(kinds) > 1:
        raise BadInput(
            f"{names} are a bound and the exact likelihood of one order: a bound may lie on either "
            "side of it, so put only figures of one kind into a comparison"
        )
    if _digest(a) != _digest(b) and a.data["name"] != b.data["name"]:
        raise BadInput(
            f"{names} are measured on other data, {a.data['name']} and {b.data['name']}: "
            "evaluate both on the same"
        )


def names_of(models: Sequence[Mapping[str, Json]]) -> list[str]:
    """Each model's own name; where two share one, what tells them apart."""
    names = [str(model["name"]) for model in models]
    for detail in (_steps, _weights, _sha256):
        twice = {name for name in names if names.count(name) > 1}
        if not twice:
            break
        words = [detail(model) for model in models]
        for name in twice:
            places = [place for place, other in enumerate(names) if other == name]
            if len({words[place] for place in places}) > 1:
                for place in places:
                    names[place] = f"{name}, {words[place]}"
    return [
        name if names.count(name) == 1 else f"{name}, no. {names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _steps(model: Mapping[str, Json]) -> str:
    return f"{model.get('steps')} steps"


def _weights(model: Mapping[str, Json]) -> str:
    return f"{model.get('weights')} weights"


def _sha256(model: Mapping[str, Json]) -> str:
    return _text(model.get("sha256"))[:8]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _digest(result: Evaluation) -> object:
    return result.data.get("sha256")


def difference(a: Entry, b: Entry, together: int = 1) -> Difference:
    """a - b, paired by image where it can be; together: as `Difference` has it."""
    why_not, values = _why_not(a, b), None
    if why_not is None:
        values = _values(a) - _values(b)
        mean = _mean(values)
    else:
        mean = _welch(a.mean, b.mean)
    at_most = a.result.estimator.get("seed") == b.result.estimator.get("seed")
    half = _monte_carlo(a.result, b.result, mean, at_most)
    return Difference(a.name, b.name, mean, half, at_most, values, why_not, together)


def _monte_carlo(a: Evaluation, b: Evaluation, mean: Mean, at_most: bool) -> float | None:
    """Half of the Monte Carlo interval, if they are the same for both.

    The interval of the sampling of images holds this error too, and so is a bound of it.
    """
    halves = a.half_monte_carlo, b.half_monte_carlo
    if _digest(a) is None or _digest(a) != _digest(b) or None in halves:
        return None
    if a.tree == b.tree:
        return 0.0  # one and the same estimate, whose error cancels
    known = [half for half in halves if half is not None]
    if not at_most:
        return math.hypot(*known)
    like_these = mean.half_width(LEVEL)
    return sum(known) if like_these is None else min(sum(known), like_these)


def _why_not(a: Entry, b: Entry) -> str | None:
    """What keeps two results from being paired by image; None where nothing does."""
    if _digest(a.result) is None or _digest(a.result) != _digest(b.result):
        return "they were measured on different images"
    lacking = [entry.name for entry in (a, b) if entry.images is None]
    if lacking:
        who = " and ".join(lacking)
        return f"there is no per-image table of {who}: {HOW_TO_PAIR}"
    if not torch.equal(_ids(a), _ids(b)):
        return "their per-image tables are of different images"
    return None


def _ids(entry: Entry) -> Int64[Tensor, " N"]:
    assert entry.images is not None
    return entry.images["id"].sort().values


def _values(entry: Entry) -> Float64[Tensor, " N"]:
    """In the order of id."""
    assert entry.images is not None
    return entry.images[entry.result.unit.key][entry.images["id"].argsort()]


def _mean(values: Float64[Tensor, " N"]) -> Mean:
    """Over images; their spread holds the Monte Carlo error too."""
    count = len(values)
    se = float(values.std() / count**0.5) if count > 1 else None
    return Mean(float(values.mean()), se, count - 1)


def _welch(a: Mean, b: Mean) -> Mean:
    """Of two separate sets of images (Welch 1947), the degrees of freedom rounded down."""
    mean = a.mean - b.mean
    if a.se is None or b.se is None:
        return Mean(mean, None, 0)
    parts = a.se**2, b.se**2
    spread = sum(part**2 / dof for part, dof in zip(parts, (a.dof, b.dof), strict=True))
    dof = math.floor(sum(parts) ** 2 / spread) if spread > 0 else a.dof + b.dof
    return Mean(mean, math.sqrt(sum(parts)), dof)


def _warnings(entries: Sequence[Entry]) -> list[str]:
    warnings = []
    if len({_text(_digest(entry.result)) for entry in entries}) > 1:
        counts = ", ".join(f"{entry.name}: {entry.result.images:,}" for entry in entries)
        warnings.append(
            "Not all were measured on the same images, so a part of the differences may be that of "
            f"the images ({counts})."
        )
    return warnings
