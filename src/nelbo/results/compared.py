"""A comparison as its JSON object tells it, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.errors import BadInput
from nelbo.results.comparison import SCHEMA
from nelbo.results.comparisons import SCHEMA as SEVERAL
from nelbo.results.ranking import names_of
from nelbo.results.stored import SAME, Stored, apart_at, check_parts, ends_of, half_of, keeping_to
from nelbo.results.unit import Unit, unit_of
from nelbo.results.verdict import Verdict, verdict
from nelbo.typed_json import Json, list_at, number_at, object_at, rows_at, text_at

__all__ = [
    "Bound",
    "Compared",
    "ComparedAll",
    "parse_comparison",
    "parse_comparisons",
]

WRITTEN_BY = "nelbo compare A B --json FILE writes one"
WRITTEN_BY_SEVERAL = "nelbo compare A B C --json FILE writes one"


@final
@dataclass(frozen=True)
class Bound:
    """One of the two models, under a name of its own, with its bound per dimension."""

    name: str
    value: float
    half: float | None
    half_monte_carlo: float | None
    model: Mapping[str, Json]


@final
@dataclass(frozen=True, repr=False)
class Compared(Stored):
    """A - B per dimension in `unit`, negative where A is better; `tree` is all that was written.

    half is for new images of this kind, half_monte_carlo for Monte Carlo.
    """

    tree: Mapping[str, Json]
    unit: Unit
    value: float
    half: float | None
    half_monte_carlo: float | None
    a: Bound
    b: Bound

    @property
    def verdict(self) -> Verdict:
        """Which is better, by the names of the models."""
        names = self.a.name, self.b.name
        return verdict(
            self.value,
            self.half,
            self.half_monte_carlo,
            self.unit.name,
            names,
            examples=self.unit.examples,
        )


@final
@dataclass(frozen=True, repr=False)
class ComparedAll(Stored):
    """Models against the first of them: each pair as two are compared, A the other, B the first.

    names: of the first and of the others. apart: whether each differs for new images, all at once
    with 95 %; None where it is not known.
    """

    tree: Mapping[str, Json]
    names: Sequence[str]
    pairs: Sequence[Compared]
    apart: Sequence[bool | None]

    @property
    def unit(self) -> Unit:
        """Of every figure."""
        return self.pairs[0].unit

    @property
    def verdicts(self) -> list[Verdict]:
        """Of each of the others and the first."""
        return [
            verdict(
                pair.value,
                pair.half,
                pair.half_monte_carlo,
                pair.unit.name,
                (name, self.names[0]),
                examples=pair.unit.examples,
            )
            for pair, name in zip(self.pairs, self.names[1:], strict=True)
        ]


def parse_comparison(tree: Mapping[str, Json], source: str = "the comparison") -> Compared:
    """The comparison that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: another schema, a part that is missing or of another kind, or an interval that is
            not round its difference.
    """
    if tree.get("schema") != SCHEMA:
        raise BadInput(f"{source} is of schema {tree.get('schema')}, this reads {SCHEMA}")
    try:
        comparison = _parsed(tree)
    except KeyError as error:
        raise BadInput(f"{source} lacks {error} of {SCHEMA}; {WRITTEN_BY}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{source} does not keep to {SCHEMA}: {error}; {WRITTEN_BY}") from None
    for name in ("ci95", "ci95_monte_carlo"):
        ends = ends_of(tree[name]) or (comparison.value, comparison.value)
        if abs(sum(ends) / 2 - comparison.value) > SAME * max(1e-3, *map(abs, ends)):
            raise BadInput(f"{source} is damaged or was edited: {name} is not round the difference")
    return comparison


def _parsed(tree: Mapping[str, Json]) -> Compared:
    unit, sides = unit_of(tree), (object_at(tree, "a"), object_at(tree, "b"))
    models = [object_at(side, "model") for side in sides]
    check_parts(tree, ("data", "estimator"))
    for model in models:
        text_at(model, "name")
    list_at(object_at(tree, "estimator").get("paired", ()))
    bounds = [
        Bound(
            name,
            number_at(side, unit.key),
            half_of(side["ci95"]),
            half_of(side["ci95_monte_carlo"]),
            model,
        )
        for name, side, model in zip(names_of(models), sides, models, strict=True)
    ]
    return Compared(
        tree=tree,
        unit=unit,
        value=number_at(tree, unit.key),
        half=half_of(tree["ci95"]),
        half_monte_carlo=half_of(tree["ci95_monte_carlo"]),
        a=bounds[0],
        b=bounds[1],
    )


def parse_comparisons(tree: Mapping[str, Json], source: str = "the comparison") -> ComparedAll:
    """The comparisons that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: as `parse_comparison` of each pair; pairs of different data, or none.
    """
    with keeping_to(SEVERAL, source, WRITTEN_BY_SEVERAL):
        rows = rows_at(tree, "against_the_first")
        pairs = [parse_comparison(object_at(row, "comparison"), source) for row in rows]
        if len({(str(p.unit), object_at(p.tree, "data").get("sha256")) for p in pairs}) != 1:
            raise ValueError("its pairs are not of one data set")
        names = [text_at(tree, "first"), *(text_at(row, "name") for row in rows)]
        return ComparedAll(
            tree, names, pairs, [apart_at(row, "told_apart_together") for row in rows]
        )
