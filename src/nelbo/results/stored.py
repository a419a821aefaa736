"""A result as its file has it: what every kind of result that is read back has in common."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict, TypeVar, final

from nelbo.bound.statistics import Mean
from nelbo.errors import BadInput, printable
from nelbo.results.saved import Saved
from nelbo.results.unit import unit_of
from nelbo.typed_json import (
    Json,
    list_at,
    number_at,
    number_of,
    object_at,
    text_at,
    texts_at,
    whole_at,
    whole_of,
)

__all__ = [
    "InNats",
    "Interval",
    "Other",
    "Stored",
    "apart_at",
    "check_parts",
    "ends_of",
    "half_of",
    "interval_of",
    "is_round",
    "keeping_to",
    "provenance_at",
    "stating",
]

PARTS = ("model", "data", "estimator", "environment")
SAME = 1e-9  # relative, of the middle of an interval and of what it is the interval of


class Stored(Saved):
    """`tree` is all that the file says; the other attributes are read from it and checked."""

    tree: Mapping[str, Json]

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, as it was read."""
        return dict(self.tree)

    def __repr__(self) -> str:
        return printable(f"<{type(self).__name__}, schema {self.tree['schema']}>")

    @property
    def warnings(self) -> list[str]:
        """What the result warns of."""
        return [str(warning) for warning in list_at(self.tree.get("warnings", ()))]


@final
@dataclass(frozen=True, repr=False)
class Other(Stored):
    """A result of a kind whose file is kept as it is, such as a derivation or an inspection."""

    tree: Mapping[str, Json]


@final
@dataclass(frozen=True)
class Interval:
    """A figure per dimension, with half of its 95 % intervals: sampling of images, Monte Carlo."""

    value: float
    half: float | None
    half_monte_carlo: float | None


def ends_of(interval: Json) -> tuple[float, float] | None:
    """Its two numbers, None of null; ValueError where it is none."""
    if interval is None:
        return None
    low, high = map(number_of, list_at(interval))
    return low, high


def half_of(interval: Json) -> float | None:
    """Half of the width; ValueError where it is none."""
    ends = ends_of(interval)
    return None if ends is None else (ends[1] - ends[0]) / 2


def is_round(interval: Json, value: float) -> bool:
    """Whether the value is in its middle; also where it is null."""
    ends = ends_of(interval) or (value, value)
    return abs(sum(ends) / 2 - value) <= SAME * max(1e-3, *map(abs, ends))


def interval_of(part: Mapping[str, Json], key: str) -> Interval:
    """The figure of that key with its two intervals.

    Raises:
        ValueError: a value that is no number, or an interval that is not round it.
    """
    value = number_at(part, key)
    for name in ("ci95", "ci95_monte_carlo"):
        if not is_round(part[name], value):
            raise ValueError(f"{name} is not round {key}")
    return Interval(value, half_of(part["ci95"]), half_of(part["ci95_monte_carlo"]))


class Origin(TypedDict):
    """How something was measured, as `Provenance` has it."""

    network_evaluations: int
    seconds: float
    estimator: Mapping[str, Json]
    model: Mapping[str, Json]
    data: Mapping[str, Json]
    environment: Mapping[str, Json]
    command: str
    warnings: Sequence[str]


Result = TypeVar("Result", bound=Saved)


def stating(result: Result, **known: object) -> Result:
    """The result, which says what its file says: `tree`, and others, are not computed again.

    They are not of its fields, so that a copy with other ones says those.
    """
    vars(result).update(known)
    return result


class InNats:
    """Figures of a JSON object as nats of an example again.

    Of a Monte Carlo error a file has the interval, and not how many degrees of freedom are behind
    it: its 95 % interval is kept, as if there were infinitely many.

    Raises:
        KeyError: a part is missing.
        ValueError: a part that is of another kind, or too large.
    """

    def __init__(self, tree: Mapping[str, Json]) -> None:
        self.tree = tree
        self.images, self.dims = whole_at(tree, "images"), whole_at(tree, "dims")
        if min(self.images, self.dims) < 1:
            raise ValueError("images and dims are whole numbers from 1")
        self.unit = unit_of(tree)
        if not self.unit.nats > 0:
            raise ValueError("its text has no length")

    def nats(self, per_dim: float) -> float:
        """Of what is in the unit."""
        nats = per_dim * self.unit.of_image(self.dims)
        if not math.isfinite(nats):
            raise ValueError(f"{per_dim:g} is too large for a figure")
        return nats

    def half(self, interval: Json) -> float | None:
        """Half of the width; None of null."""
        half = half_of(interval)
        return None if half is None else self.nats(half)

    def of_images(self, part: Mapping[str, Json]) -> Mean:
        """The figure with the error of the sampling of images."""
        half = self.half(part["ci95"])
        if half is not None and self.images < 2:
            raise ValueError("ci95 of one image is null")
        return Mean.of_half(self.mean(part), half, self.images - 1)

    def monte_carlo(self, part: Mapping[str, Json]) -> Mean:
        """The same with that of Monte Carlo."""
        return Mean.of_half(self.mean(part), self.half(part["ci95_monte_carlo"]), math.inf)

    def mean(self, part: Mapping[str, Json]) -> float:
        """As it is stated, where that is in nats too."""
        nats = self.nats(number_at(part, self.unit.key))
        return number_of(part.get("nats_per_image", nats))


def check_parts(tree: Mapping[str, Json], parts: Sequence[str] = PARTS) -> None:
    """That what a page and a table show of any kind is there, and of its own type.

    Raises:
        KeyError: a part is missing.
        ValueError: a part that is no object, a name or warning that is no text, or counts that are
            no whole numbers.
    """
    for part in parts:
        object_at(tree, part)
        if part in ("model", "data"):
            text_at(tree, part, "name")
    if not all(texts_at(tree.get("warnings", []))):
        raise ValueError("a warning is empty")
    number_at(tree, "seconds")
    if whole_of(tree["images"]) < 1 or whole_of(tree["network_evaluations"]) < 0:
        raise ValueError("images are at least 1 and network_evaluations 0")


def provenance_at(tree: Mapping[str, Json]) -> Origin:
    """The last keys of every result, by the names of `Provenance`.

    Raises:
        KeyError: a part is missing.
        ValueError: a part that is of another kind.
    """
    return Origin(
        network_evaluations=whole_at(tree, "network_evaluations"),
        seconds=number_at(tree, "seconds"),
        estimator=object_at(tree, "estimator"),
        model=object_at(tree, "model"),
        data=object_at(tree, "data"),
        environment=object_at(tree, "environment"),
        command=text_at(tree.get("command", "")),
        warnings=texts_at(tree.get("warnings", [])),
    )


@contextmanager
def keeping_to(schema: str, source: str, written_by: str) -> Iterator[None]:
    """Makes one line of what a file lacks, or has of another kind.

    Raises:
        BadInput: a part is missing or of another kind.
    """
    try:
        yield
    except BadInput:
        raise
    except KeyError as error:
        raise BadInput(f"{source} lacks {error} of {schema}; {written_by}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{source} does not keep to {schema}: {error}; {written_by}") from None


def apart_at(tree: Mapping[str, Json], key: str) -> bool | None:
    """Whether two figures differ; None where it is not known.

    Raises:
        ValueError: another value.
    """
    value = tree[key]
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key} is neither true, false nor null: {value!r}")
    return value
