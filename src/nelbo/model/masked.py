"""Models of states, and of a masked chain: in any order, its limit included, and in one order."""

import hashlib
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.arguments import spans, whole_numbers
from nelbo.bound.chain import Chain
from nelbo.bound.control import Control
from nelbo.categorical.controls import HistogramControl
from nelbo.categorical.masked import (
    AnyOrder,
    InOrder,
    MaskedForward,
    MaskedReverse,
    Plan,
    mask_of,
    nearest_times,
    survival,
)
from nelbo.categorical.orders import Order, read_order
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.errors import BadInput
from nelbo.model.model import Model
from nelbo.typed_json import Json
from nelbo.types import Batch

__all__ = [
    "AnyOrderModel",
    "InOrderModel",
    "OfStates",
    "has_positions",
    "in_any_order",
    "in_order",
    "revealing",
]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OfStates(Model, ABC):
    """A model whose x_t are states, the first of which are the levels of the data."""

    family = "categorical"

    def embed(self, levels: Tensor, dtype: torch.dtype) -> Batch:
        return levels.long()

    def levels(self, x_0: Batch) -> Tensor:
        return x_0

    def choices(self) -> dict[str, Json]:
        by_logits = _reverse_of_states(self).by_logits
        return {
            "parametrization": "x_0-logits",
            "transition": self.settings.notes.get("transition"),
            "variance": None,
            "V_1": None,
            "clip": False,
            "decoder": "logits" if by_logits else "levels",
        }


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _Masked(OfStates, ABC):
    """A model whose step hides positions by a plan, and whose reverse reveals them."""

    plan: Plan

    @property
    def importance(self) -> Float64[Tensor, " transitions"]:
        return self.plan.sizes()[1:].double()

    def in_the_limit(self) -> "AnyOrderModel":
        return in_any_order(self)


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AnyOrderModel(_Masked):
    """The model whose x_t has exactly m_t positions masked, evenly chosen."""

    plan: AnyOrder

    def choices(self) -> dict[str, Json]:
        calls = len(self.plan.counts)
        return super().choices() | {"masks": "exactly m_t positions, evenly chosen", "calls": calls}

    def subchain(self, steps: Sequence[int]) -> "AnyOrderModel":
        counts = self.plan.counts.tolist()
        return in_any_order(self, [counts[t - 1] for _, t in spans(steps, len(counts))])

    def controls(self, levels: Tensor, context: Tensor | None) -> list[Control]:
        """What is known without a network, where there is more than one step."""
        mask = mask_of(_reverse_of(self))
        return [HistogramControl.of(self.plan, mask, levels)] if self.T > 1 else []


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class InOrderModel(_Masked):
    """The model that reveals equal groups of positions in one order: its bound is -log p(x_0)."""

    exact = True
    plan: InOrder

    def choices(self) -> dict[str, Json]:
        order, calls = self.plan.order, self.plan.calls
        positions = hashlib.sha256(order.positions.numpy().astype("<i8").tobytes()).hexdigest()
        about: dict[str, Json] = {"name": order.name, "calls": calls, "sha256": positions}
        return super().choices() | {"order": about}

    def subchain(self, steps: Sequence[int]) -> Model:
        raise BadInput("an order in groups has no steps to leave out: give another number of calls")


def has_positions(model: Model) -> bool:
    """Whether the chain hides and reveals positions, so that it has an order."""
    try:
        _reverse_of(model)
    except BadInput:
        return False
    return True


def in_any_order(model: Model, counts: Sequence[int] | None = None) -> AnyOrderModel:
    """The model whose x_t has exactly counts[t - 1] positions masked, evenly chosen.

    By default 1, 2, ..., D: the limit of infinitely many steps of its absorbing chain. Its steps
    are kept as counts are, so `every(G)` reveals equal groups.

    Raises:
        BadInput: a chain without masked positions, as `mask_of` has it; counts that do not increase
            or do not end with all positions.
    """
    counts = whole_numbers("counts", range(1, model.dims + 1) if counts is None else counts)
    plan = AnyOrder(torch.tensor(counts))
    if counts[-1] != model.dims:
        raise BadInput(
            f"a masked chain ends with all {model.dims} positions masked; got {counts[-1]}"
        )
    return AnyOrderModel(**_along(model, plan), plan=plan)


def in_order(model: Model, order: Order, calls: int) -> InOrderModel:
    """The model that reveals equal groups of positions in this order: its bound is -log p(x_0).

    Raises:
        BadInput: a chain without masked positions; an order of examples of another shape; calls
            outside 1..D.
    """
    if order.shape != model.shape:
        raise BadInput(
            f"the order {order.name} is of examples of shape {list(order.shape)}, and "
            f"{model.name} has {list(model.shape)}"
        )
    plan = InOrder(order, calls)
    return InOrderModel(**_along(model, plan), plan=plan)


def revealing(model: Model, order: str | None, calls: int | None) -> Model:
    """The masked model in an order, or in any, by so many calls; itself where neither is given.

    order: as `read_order` takes it, such as raster, or a file of positions.

    Raises:
        BadInput: an order without calls, or as `in_any_order` and `in_order`.
    """
    if order is not None and calls is None:
        raise BadInput("--order needs --calls: say in how many groups the positions are revealed")
    if calls is None:
        return model
    if order is None:
        return in_any_order(model).every(calls)
    return in_order(model, read_order(order, model.shape), calls)


def _along(model: Model, plan: Plan) -> dict[str, Any]:
    """What every model has, of this one with its absorbing chain in the steps of the plan."""
    p = _reverse_of(model)
    times = nearest_times(survival(p), plan.counts.tolist(), model.dims)
    own = {each.name: getattr(model, each.name) for each in fields(Model)}
    return own | {"chain": Chain(MaskedForward(plan, mask_of(p)), MaskedReverse(p, plan, times))}


def _reverse_of(model: Model) -> CategoricalReverse:
    """p_theta of the absorbing chain that the model has, or that its masked chain is of.

    Raises:
        BadInput: it is no absorbing chain, as `mask_of` has it.
    """
    reads = model.chain.p.p if isinstance(model.chain.p, MaskedReverse) else model.chain.p
    if not isinstance(model, OfStates) or not isinstance(reads, CategoricalReverse):
        raise BadInput(
            f"{model.name} is no masked model: only an absorbing chain has positions to reveal"
        )
    p = _reverse_of_states(model)
    mask_of(p)
    return p


def _reverse_of_states(model: OfStates) -> CategoricalReverse:
    p = model.chain.p
    p = p.p if isinstance(p, MaskedReverse) else p
    assert isinstance(p, CategoricalReverse)
    return p
