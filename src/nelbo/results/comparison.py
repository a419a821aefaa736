"""The difference of two models on the same images, as people and programs read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from nelbo.bound.statistics import Mean
from nelbo.errors import BadInput, printable
from nelbo.results.context import likelihood_of, unchecked
from nelbo.results.ranking import names_of
from nelbo.results.saved import sealed
from nelbo.results.shown import Shown
from nelbo.results.stored import InNats, check_parts, is_round, keeping_to, stating
from nelbo.results.unit import BITS, Unit
from nelbo.results.verdict import Verdict, verdict
from nelbo.typed_json import (
    Json,
    list_at,
    number_at,
    object_at,
    part_at,
    text_at,
    texts_at,
    whole_at,
)

__all__ = ["SCHEMA", "Bound", "Comparison", "Side"]

SCHEMA = "nelbo.comparison/1"
WRITTEN_BY = "nelbo compare A B --json FILE writes one"


@final
@dataclass(frozen=True)
class Side:
    """One of the two models: its bound, with both intervals, in nats."""

    total: Mean
    monte_carlo: Mean
    model: Mapping[str, Json]


@final
@dataclass(frozen=True)
class Bound:
    """One of the two models, under a name of its own, with its bound in the unit."""

    name: str
    value: float
    half: float | None
    half_monte_carlo: float | None
    model: Mapping[str, Json]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """A - B in nats per image, paired by image and, where both have the same t, by t and noise.

    Negative where A is better. `total` has the error of the sampling of images, `monte_carlo` its
    own; warnings name the model whose figure may be wrong.
    """

    total: Mean
    monte_carlo: Mean
    a: Side
    b: Side
    images: int
    dims: int
    network_evaluations: int
    seconds: float
    estimator: Mapping[str, Json]
    data: Mapping[str, Json]
    environment: Mapping[str, Json]
    command: str
    unit: Unit = BITS
    warnings: Sequence[str] = ()

    @classmethod
    def from_dict(cls, tree: Mapping[str, Json], source: str = "the comparison") -> "Comparison":
        """The comparison that a JSON object tells, which messages call `source`.

        Raises:
            BadInput: another schema, a part that is missing or of another kind, or an interval that
                is not round its difference.
        """
        if tree.get("schema") != SCHEMA:
            raise BadInput(f"{source} is of schema {tree.get('schema')}, this reads {SCHEMA}")
        with keeping_to(SCHEMA, source, WRITTEN_BY):
            check_parts(tree, ("data", "estimator"))
            list_at(object_at(tree, "estimator").get("paired", ()))
            read = InNats(tree)
            value = number_at(tree, read.unit.key)
            for name in ("ci95", "ci95_monte_carlo"):
                if not is_round(tree[name], value):
                    raise BadInput(
                        f"{source} is damaged or was edited: {name} is not round the difference"
                    )
            made = cls(
                total=read.of_images(tree),
                monte_carlo=read.monte_carlo(tree),
                a=_side(read, object_at(tree, "a")),
                b=_side(read, object_at(tree, "b")),
                images=read.images,
                dims=read.dims,
                network_evaluations=whole_at(tree, "network_evaluations"),
                seconds=number_at(tree, "seconds"),
                estimator=object_at(tree, "estimator"),
                data=object_at(tree, "data"),
                environment=part_at(tree, "environment"),
                command=text_at(tree.get("command", "")),
                unit=read.unit,
                warnings=texts_at(tree.get("warnings", [])),
            )
            return stating(made, tree=tree)

    @property
    def bounds(self) -> tuple[Bound, Bound]:
        """Of A and B; where two models share a name, with what tells them apart."""
        sides = self.a, self.b
        a, b = (
            Bound(
                name,
                self.unit.per_dim(side.total.mean, self.dims),
                self.half_width(side.total),
                self.half_width(side.monte_carlo),
                side.model,
            )
            for name, side in zip(names_of([side.model for side in sides]), sides, strict=True)
        )
        return a, b

    @property
    def variance_saved(self) -> float | None:
        """The share of the variance that two separate sets of images would have had."""
        errors = (self.a.total.se, self.b.total.se, self.total.se)
        if any(error is None for error in errors):
            return None
        a, b, paired = (error**2 for error in errors if error is not None)
        return 1 - paired / (a + b) if a + b > 0 else None

    @property
    def headline(self) -> str:
        """The verdict, and of which models."""
        a, b = names_of([self.a.model, self.b.model])
        return printable(f"{self.verdict.text}; A is {a}, B is {b}")

    @property
    def verdict(self) -> Verdict:
        """Which is better, A or B, and how sure that is."""
        return self.verdict_of("A", "B")

    def verdict_of(self, a: str, b: str) -> Verdict:
        """The same by other names of A and B."""
        halves, examples = (self.half, self.half_monte_carlo), self.unit.examples
        return verdict(self.per_dim, *halves, self.unit.name, (a, b), examples=examples)

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.comparison/1."""
        return dict(self.tree)

    @cached_property
    def tree(self) -> Mapping[str, Json]:
        """What `to_dict` gives, made once."""
        return sealed(
            {
                "schema": SCHEMA,
                **self.unit.headline(self.total.mean, self.dims),
                "ci95": self._interval(self.total),
                "ci95_monte_carlo": self._interval(self.monte_carlo),
                "verdict": self.verdict.text,
                "better": self.verdict.better,
                "variance_saved": self.variance_saved,
                "a": self._side(self.a),
                "b": self._side(self.b),
                "images": self.images,
                "dims": self.dims,
                "network_evaluations": self.network_evaluations,
                "seconds": self.seconds,
                "estimator": dict(self.estimator),
                "data": dict(self.data),
                "environment": dict(self.environment),
                "command": self.command,
                "warnings": list(self.warnings),
            }
        )

    def __str__(self) -> str:
        """The verdict, the difference with both intervals, the two bounds, what pairing gained."""
        names, examples = names_of([self.a.model, self.b.model]), self.unit.examples
        lines = [
            self.verdict.text,
            f"  A  {self._bound(self.a)}  {names[0]}",
            f"  B  {self._bound(self.b)}  {names[1]}",
            f"  A minus B          {self.per_dim:+.4f} {self.unit}",
            f"  {f'sampling of {examples}':<18} {self._plus_minus(self.total)} "
            f"(95 %, {self.images:,} {examples}, paired)",
            f"  Monte Carlo        {self._plus_minus(self.monte_carlo)} (95 %, this test set)",
            f"  {self.network_evaluations:,} network evaluations in {self.seconds:.1f} s, "
            f"seed {self.estimator['seed']}{self._narrower()}",
            *unchecked(self.estimator),
            *(f"  warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(map(printable, lines))

    def _narrower(self) -> str:
        """What pairing gained, where there is an interval left."""
        saved = self.variance_saved
        if saved is None or not 0 < saved < 1:
            return ""
        return f"; interval {(1 - saved) ** -0.5:.1f}x narrower by pairing"

    def _side(self, side: Side) -> dict[str, Json]:
        return {
            **self.unit.headline(side.total.mean, self.dims),
            "ci95": self._interval(side.total),
            "ci95_monte_carlo": self._interval(side.monte_carlo),
            "model": dict(side.model),
        }

    def _bound(self, side: Side) -> str:
        value = self.unit.per_dim(side.total.mean, self.dims)
        return f"{value:.4f} {self._plus_minus(side.total)}{likelihood_of(side.model)}"


def _side(read: InNats, part: Mapping[str, Json]) -> Side:
    text_at(part, "model", "name")
    return Side(read.of_images(part), read.monte_carlo(part), object_at(part, "model"))
