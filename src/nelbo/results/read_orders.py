"""Both sides of -log p of any order as a JSON object tells them, read back and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from nelbo.results.order_bounds import FEWEST, KIND
from nelbo.results.order_bounds import SCHEMA as ORDER_BOUNDS
from nelbo.results.stored import Interval, Stored, check_parts, interval_of, keeping_to
from nelbo.results.unit import Unit, unit_of
from nelbo.typed_json import Json, number_at, object_at, part_at, whole_at

__all__ = ["ORDER_BOUNDS", "OrdersRead", "parse_orders"]

WRITTEN_BY = "nelbo evaluate MODEL --orders K --json FILE writes one"


@final
@dataclass(frozen=True, repr=False)
class OrdersRead(Stored):
    """The bound of single orders, and both sides of -log p of any order, in `unit`.

    below: None where its effective sample size, `effective`, was too small.
    """

    tree: Mapping[str, Json]
    unit: Unit
    single: Interval
    above: Interval
    below: Interval | None
    effective: float

    @property
    def between(self) -> str:
        """Where -log p lies, as far as it is known."""
        above = f"{self.above.value:.4f} {self.unit.name}"
        if self.below is None:
            return f"at most {above}"
        return f"between {self.below.value:.4f} and {above}"


def parse_orders(tree: Mapping[str, Json], source: str = "the result") -> OrdersRead:
    """Both sides that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: a part that is missing or of another kind, or figures that contradict each other.
    """
    with keeping_to(ORDER_BOUNDS, source, WRITTEN_BY):
        unit, effective = unit_of(tree), number_at(tree, "effective_sample_size")
        check_parts(tree)
        number_at(tree, "dims")
        if tree["kind"] != KIND:
            raise ValueError(f"kind is no {KIND}")
        if min(whole_at(tree, "orders"), whole_at(tree, "calls")) < 1:
            raise ValueError("orders and calls are whole numbers from 1")
        above = interval_of(object_at(tree, "from_above"), unit.key)
        if interval_of(tree, unit.key) != above:
            raise ValueError("the figure is not that from above")
        below = interval_of(part_at(tree, "from_below"), unit.key) if tree["from_below"] else None
        if (below is None) != (effective < FEWEST):
            raise ValueError("from_below contradicts effective_sample_size")
        single = interval_of(object_at(tree, "single_orders"), unit.key)
        return OrdersRead(tree, unit, single, above, below, effective)
