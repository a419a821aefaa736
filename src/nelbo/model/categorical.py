"""A D3PM model of its parts, and of any of its sub-chains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from torch import nn

from nelbo.bound.chain import Chain, ReverseProcess
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Noise
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.objective import masked_bound
from nelbo.categorical.reverse import PRIORS, CategoricalReverse, PriorRule, TimeInput
from nelbo.categorical.transition import Transition
from nelbo.model.masked import AnyOrderModel, OfStates, has_positions, in_any_order
from nelbo.model.model import Denoiser, Model
from nelbo.model.settings import Settings
from nelbo.typed_json import Json
from nelbo.types import Batch, Grid, Nats, Time

__all__ = ["CategoricalModel", "categorical_model", "with_network"]


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CategoricalModel(OfStates, Denoiser):
    """The model whose chain is q of a transition and p_theta of a network.

    prior: log p(x_T) of a transition, its sub-chains' too.
    """

    prior: PriorRule

    @property
    def p(self) -> CategoricalReverse:
        """p_theta of its chain."""
        p = self.chain.p
        assert isinstance(p, CategoricalReverse)
        return p

    def subchain(self, steps: Sequence[int]) -> "CategoricalModel":
        transition = self.p.q.transition.subchain(steps)
        return replace(self, chain=_chain(self.p.along(transition, self.prior(transition))))

    def in_the_limit(self) -> "Model | AnyOrderModel":
        return in_any_order(self) if has_positions(self) else super().in_the_limit()

    @cached_property
    def _masks(self) -> bool:
        return has_positions(self)

    def one_time(self, chain: Chain[StepDistribution], x_0: Batch, t: Time, noise: Noise) -> Nats:
        if self._masks and isinstance(chain.p, CategoricalReverse):
            return masked_bound(chain.p, x_0, t, noise)
        return super().one_time(chain, x_0, t, noise)

    def x_0_hat(self, p: ReverseProcess[StepDistribution], x_t: Batch, t: Time) -> Batch:
        x_0: Batch = p.x_0_hat(x_t, t)  # type: ignore[attr-defined]
        return x_0


def _chain(p: CategoricalReverse) -> Chain[Categorical]:
    return Chain(p.q, p)


def categorical_model(
    network: nn.Module,
    transition: Transition,
    *,
    prior: PriorRule,
    time_input: TimeInput,
    grid: Grid,
    shape: tuple[int, ...],
    name: str,
    settings: Settings,
    by_logits: bool = False,
    ids: bool = False,
) -> CategoricalModel:
    """The model whose chain is q of the transition and p_theta of the network, and its sub-chains.

    The data's n levels are the first n states. settings: the schedule, the note `transition`, and
    what else a report says. by_logits: whether the decoder is the network's own distribution at
    t = 1. ids: whether the network gets states as they are, and not K channels for each.

    Raises:
        BadInput: parts that do not go together.
    """
    p = CategoricalReverse(
        network,
        CategoricalForward(transition),
        time_input=time_input,
        prior=prior(transition),
        levels=grid.n,
        by_logits=by_logits,
        ids=ids,
    )
    return CategoricalModel(
        name=name,
        network=network,
        chain=_chain(p),
        shape=shape,
        support=grid,
        settings=settings,
        prior=prior,
    )


def with_network(model: Model, network: nn.Module, **notes: Json) -> CategoricalModel:
    """The model of another network in the place of an absorbing chain's, with more notes of it."""
    p = model.chain.p
    assert isinstance(p, CategoricalReverse)
    return replace(
        categorical_model(
            network,
            p.q.transition,
            prior=PRIORS["target"],
            time_input=p.time_input,
            grid=model.grid,
            shape=model.shape,
            name=model.name,
            settings=model.settings.noting(**notes),
            ids=p.ids,
        ),
        weights=model.weights,
    )
