"""-log p of a masked model of any order from both sides, as people and programs read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

from nelbo.bound.statistics import Mean
from nelbo.errors import printable
from nelbo.results.context import likelihood_of, unchecked
from nelbo.results.saved import sealed
from nelbo.results.shown import Measured
from nelbo.results.stored import (
    InNats,
    Interval,
    check_parts,
    interval_of,
    keeping_to,
    provenance_at,
    stating,
)
from nelbo.typed_json import Json, number_at, object_at, whole_at

__all__ = ["FEWEST", "SCHEMA", "OrderBounds"]

SCHEMA = "nelbo.order_bounds/1"
WRITTEN_BY = "nelbo evaluate MODEL --orders K --json FILE writes one"
KIND = "two sides of -log p of any order, each a bound in expectation"
FEWEST = 50  # of an effective sample size, below which a mean of weights says nothing

Pair = tuple[Mean, Mean]


@final
@dataclass(frozen=True, eq=False, repr=False)
class OrderBounds(Measured):
    """-log p of a data set by a masked model of any order, from above and from below.

    Means are nats per image; of each pair the first has the error of the sampling of images, the
    second that of Monte Carlo. total and monte_carlo: the importance-weighted bound, above -log p.
    bound: of single orders, above that. below: the tangent bound, None where its effective sample
    size, `effective`, is below 50.
    """

    bound: Pair
    below: Pair | None
    effective: float
    orders: int
    calls: int
    images: int

    @classmethod
    def from_dict(cls, tree: Mapping[str, Json], source: str = "the result") -> "OrderBounds":
        """Both sides that a JSON object tells, which messages call `source`.

        Raises:
            BadInput: a part that is missing or of another kind, or figures that contradict each
                other.
        """
        with keeping_to(SCHEMA, source, WRITTEN_BY):
            check_parts(tree)
            read = _Read(tree)
            below = None if tree["from_below"] is None else read.pair("from_below")
            made = cls(
                total=read.of_images(tree),
                monte_carlo=read.monte_carlo(tree),
                bound=read.pair("single_orders"),
                below=below,
                effective=number_at(tree, "effective_sample_size"),
                orders=whole_at(tree, "orders"),
                calls=whole_at(tree, "calls"),
                images=read.images,
                dims=read.dims,
                unit=read.unit,
                **provenance_at(tree),
            )
            stating(made, tree=tree)._check()
            return made

    @property
    def sides(self) -> tuple[Interval, Interval, Interval | None]:
        """The bound of single orders, what is above -log p, and what is below."""
        below = None if self.below is None else self.figure(*self.below)
        return self.figure(*self.bound), self.figure(self.total, self.monte_carlo), below

    @property
    def between(self) -> str:
        """Where -log p lies, as far as it is known."""
        above = f"{self.per_dim:.4f} {self.unit.name}"
        if self.below is None:
            return f"at most {above}"
        return f"between {self._value(self.below[0]):.4f} and {above}"

    @property
    def headline(self) -> str:
        """Both sides, what they are of, and on what, in one line."""
        of = f"{self.model['name']}{likelihood_of(self.model)} on {self.images:,} of "
        return printable(f"{self._between()}, {of}{self.data['name']}")

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.order_bounds/1."""
        return dict(self.tree)

    @cached_property
    def tree(self) -> Mapping[str, Json]:
        """What `to_dict` gives, made once."""
        return sealed(
            {
                "schema": SCHEMA,
                "kind": KIND,
                **self.unit.headline(self.total.mean, self.dims),
                "ci95": self._interval(self.total),
                "ci95_monte_carlo": self._interval(self.monte_carlo),
                "nats_per_image": self.total.mean,
                "single_orders": self._figures(self.bound),
                "from_above": self._figures((self.total, self.monte_carlo)),
                "from_below": None if self.below is None else self._figures(self.below),
                "effective_sample_size": self.effective,
                "orders": self.orders,
                "calls": self.calls,
                "images": self.images,
                "dims": self.dims,
                **self._provenance(),
            }
        )

    def __str__(self) -> str:
        """Both sides, then each with its intervals and what it took."""
        examples, images = self.unit.examples, f"{self.images:,}"
        together = f"{self.orders:,} orders weighed together, twice"
        lines = [
            f"{self._between()}{likelihood_of(self.model)}",
            self._line("one order", self.bound, "the bound"),
            self._line("from above", (self.total, self.monte_carlo), together),
            self._from_below(),
            f"  ± sampling of {examples} (95 %, {images} {examples}), then Monte Carlo (95 %, this "
            "test set)",
            f"  {self.calls:,} calls an order, {self.network_evaluations:,} network evaluations in "
            f"{self.seconds:.1f} s, seed {self.estimator['seed']}",
            *unchecked(self.estimator),
            *(f"  warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(map(printable, lines))

    def _between(self) -> str:
        above = f"{self.per_dim:.4f} {self.unit}"
        if self.below is None:
            return f"-log p of any order is at most {above}, and nothing is known from below"
        low = self._value(self.below[0])
        return f"-log p of any order is between {low:.4f} and {above}"

    def _from_below(self) -> str:
        effective = f"effective sample size {self.effective:,.0f}"
        if self.below is None:
            return (
                f"  from below         refused: {effective} of "
                f"{2 * self.orders * self.images:,} is below {FEWEST}; more --orders, or more "
                f"{self.unit.examples}"
            )
        return self._line("from below", self.below, f"tangent, {effective}")

    def _line(self, name: str, pair: Pair, how: str) -> str:
        data, noise = (self._plus_minus(mean) for mean in pair)
        return f"  {name:<17}  {self._value(pair[0]):.4f} {data}, {noise}  ({how})"

    def _figures(self, pair: Pair) -> dict[str, Json]:
        data, noise = pair
        return {
            self.unit.key: self._value(data),
            "ci95": self._interval(data),
            "ci95_monte_carlo": self._interval(noise),
        }

    def _value(self, mean: Mean) -> float:
        return self.unit.per_dim(mean.mean, self.dims)

    def _check(self) -> None:
        """ValueError where the file contradicts itself."""
        tree, key = self.tree, self.unit.key
        if tree["kind"] != KIND:
            raise ValueError(f"kind is no {KIND}")
        if min(self.orders, self.calls) < 1:
            raise ValueError("orders and calls are whole numbers from 1")
        if interval_of(tree, key) != interval_of(object_at(tree, "from_above"), key):
            raise ValueError("the figure is not that from above")
        if (self.below is None) != (self.effective < FEWEST):
            raise ValueError("from_below contradicts effective_sample_size")


@final
class _Read(InNats):
    def pair(self, name: str) -> Pair:
        """A figure with both of its errors."""
        part = object_at(self.tree, name)
        interval_of(part, self.unit.key)
        return self.of_images(part), self.monte_carlo(part)
