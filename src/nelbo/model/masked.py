"""Models of a masked chain: in any order, its limit included, and in one order, exactly."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
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
from nelbo.categorical.orders import Order
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.errors import BadInput
from nelbo.model.model import Model, no_controls
from nelbo.model.spacing import evenly

__all__ = ["has_positions", "in_any_order", "in_order"]

PLANNED = ("order", "masks", "calls")  # the facts of a plan, which another takes the place of


def has_positions(model: Model) -> bool:
    """Whether the chain hides and reveals positions, so that it has an order."""
    try:
        _reverse_of(model)
    except BadInput:
        return False
    return True


def in_any_order(model: Model, counts: Sequence[int] | None = None) -> Model:
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
    facts = {"masks": "exactly m_t positions, evenly chosen", "calls": len(plan.counts)}
    made = _along(model, plan, facts)
    controls = partial(_controls, plan, mask_of(_reverse_of(model)))
    return replace(made, controls=controls, respace=partial(_keeping, model, counts))


def in_order(model: Model, order: Order, calls: int) -> Model:
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
    positions = hashlib.sha256(order.positions.numpy().astype("<i8").tobytes()).hexdigest()
    facts = {"order": {"name": order.name, "calls": calls, "sha256": positions}}
    return replace(_along(model, InOrder(order, calls), facts), respace=_no_steps, exact=True)


def _along(model: Model, plan: Plan, facts: Mapping[str, Any]) -> Model:
    p = _reverse_of(model)
    counts = plan.counts.tolist()
    times = nearest_times(survival(p), counts, model.dims)
    kept = {key: value for key, value in model.facts.items() if key not in PLANNED}
    return replace(
        model,
        chain=Chain(MaskedForward(plan, mask_of(p)), MaskedReverse(p, plan, times)),
        importance=plan.sizes()[1:].double(),
        spacing=evenly,
        log_snr=None,
        x_0_hat=None,
        controls=no_controls,
        facts={**kept, **facts},
    )


def _reverse_of(model: Model) -> CategoricalReverse:
    """p_theta of the absorbing chain that the model has, or that its masked chain is of.

    Raises:
        BadInput: it is no absorbing chain, as `mask_of` has it.
    """
    p = model.chain.p
    p = p.p if isinstance(p, MaskedReverse) else p
    if not isinstance(p, CategoricalReverse):
        raise BadInput(
            f"{model.name} is no masked model: only an absorbing chain has positions to reveal"
        )
    mask_of(p)
    return p


def _keeping(model: Model, counts: Sequence[int], steps: Sequence[int]) -> Model:
    return in_any_order(model, [counts[t - 1] for _, t in spans(steps, len(counts))])


def _controls(plan: AnyOrder, mask: int, levels: Tensor, context: Tensor | None) -> list[Control]:
    """What is known without a network, where there is more than one step."""
    return [HistogramControl.of(plan, mask, levels)] if len(plan.counts) > 1 else []


def _no_steps(steps: Sequence[int]) -> Model:
    raise BadInput("an order in groups has no steps to leave out: give another number of calls")
