"""A D3PM model of its parts, and of any of its sub-chains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.bound.chain import Chain
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.reverse import PRIORS, CategoricalReverse, Prior, TimeInput
from nelbo.categorical.transition import Transition
from nelbo.model.masked import has_positions, in_any_order
from nelbo.model.model import Model
from nelbo.types import Grid

__all__ = ["categorical_model", "with_network"]


def categorical_model(
    network: nn.Module,
    transition: Transition,
    *,
    prior: Callable[[Transition], Prior],
    time_input: TimeInput,
    grid: Grid,
    shape: tuple[int, ...],
    name: str,
    facts: Mapping[str, Any],
    by_logits: bool = False,
    ids: bool = False,
) -> Model:
    """The model whose chain is q of the transition and p_theta of the network, and its sub-chains.

    The data's n levels are the first n states. facts: `schedule`, `transition`, and what else a
    report says. by_logits: whether the decoder is the network's own distribution at t = 1. ids:
    whether the network gets states as they are, and not K channels for each.

    Raises:
        BadInput: parts that do not go together.
    """
    q = CategoricalForward(transition)
    p = CategoricalReverse(
        network,
        q,
        time_input=time_input,
        prior=prior(transition),
        levels=grid.n,
        by_logits=by_logits,
        ids=ids,
    )

    chain_of = partial(
        categorical_model,
        network,
        prior=prior,
        time_input=time_input,
        grid=grid,
        shape=shape,
        name=name,
        facts=facts,
        by_logits=by_logits,
        ids=ids,
    )
    described = {
        "family": "categorical",
        "schedule": facts["schedule"],
        "parametrization": "x_0-logits",
        "transition": facts["transition"],
        "variance": None,
        "V_1": None,
        "clip": False,
        "decoder": "levels",
    }
    made = Model(
        name=name,
        network=network,
        chain=Chain(q, p),
        respace=partial(_respaced, chain_of, transition),
        importance=torch.ones(transition.T - 1, dtype=torch.float64),
        shape=shape,
        support=grid,
        embed=_states,
        levels=_levels,
        x_0_hat=CategoricalReverse.x_0_hat,
        facts={**described, **facts},
    )
    return replace(made, limit=partial(in_any_order, made)) if has_positions(made) else made


def with_network(model: Model, network: nn.Module, facts: Mapping[str, Any]) -> Model:
    """The model of another network in the place of an absorbing chain's, with more facts of it."""
    p: Any = model.chain.p
    made = categorical_model(
        network,
        p.q.transition,
        prior=PRIORS["target"],
        time_input=p.time_input,
        grid=model.grid,
        shape=model.shape,
        name=model.name,
        facts={**model.facts, **facts},
        ids=p.ids,
    )
    return replace(made, weights=model.weights)


def _respaced(
    chain_of: Callable[[Transition], Model], transition: Transition, steps: Sequence[int]
) -> Model:
    return chain_of(transition.subchain(steps))


def _states(levels: Tensor, dtype: torch.dtype) -> Tensor:
    return levels.long()


def _levels(x_0: Tensor) -> Tensor:
    return x_0
