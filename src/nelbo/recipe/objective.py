"""A recipe's training loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from nelbo.bound.chain import Chain, Conditional, constant_time
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Noise
from nelbo.categorical import objective as categorical
from nelbo.categorical.masked import MaskedReverse
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.errors import BadInput
from nelbo.gaussian import objective as gaussian
from nelbo.gaussian.continuous import ContinuousGaussian, training_loss
from nelbo.gaussian.log_snr import Points
from nelbo.gaussian.parametrization import Linear
from nelbo.gaussian.regression import NoiseLevels, output_error
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.model import Model
from nelbo.recipe.choices import PathChoice, Recipe
from nelbo.recipe.on_path import noise_levels
from nelbo.types import Batch, Nats, Time

__all__ = ["Objective", "objective"]

Losses = Callable[[Any, Batch, Time, Noise], Nats]


@final
@dataclass(frozen=True)
class Objective:
    """A loss per example as a function of (x_0, t, noise), t uniform on 1..T.

    of: whose losses they are, which is given the condition where there is one.
    unit: what a log calls its mean over examples and dimensions; in nats, unless no part of it is.
    """

    losses: Losses
    of: Chain[StepDistribution] | Conditional
    unit: str
    nats: bool = True

    def __call__(self, x_0: Batch, t: Time, noise: Noise, condition: Sequence[Tensor] = ()) -> Nats:
        return self.losses(self.of.given(*condition), x_0, t, noise)


def objective(recipe: Recipe, model: Model) -> Objective:
    """The recipe's training loss for this model.

    Raises:
        BadInput: an objective that the chain's family, parametrisation or variance does not have.
    """
    p, kind, weight = model.chain.p, recipe.training.objective, recipe.training.auxiliary
    chain, network = recipe.chain, model.network
    on_path = isinstance(chain, PathChoice) and kind == "simple"
    if recipe.training.log_sigma is not None and not on_path:
        raise BadInput(
            "training.log_sigma is where L_simple is taken on a path: leave it out, or use "
            "chain.family path and training.objective simple"
        )
    if kind == "bound":
        if isinstance(network, ContinuousGaussian):
            return Objective(partial(_in_continuous_time, T=model.T), network, "bits/dim")
        return Objective(model.one_time, model.chain, "bits/dim")
    if isinstance(chain, PathChoice) and on_path and isinstance(network, ContinuousGaussian):
        losses = partial(_on_path, T=model.T, levels=noise_levels(chain, recipe.training))
        return Objective(losses, network, "L_simple", nats=False)
    if chain.family == "gaussian" and isinstance(p, GaussianReverse):
        return _gaussian(p, kind, weight)
    if kind == "hybrid" and isinstance(p, CategoricalReverse):
        loss = partial(categorical.hybrid_loss, weight=weight)
        return Objective(loss, p, "bits/dim with auxiliary")
    if kind == "simple" and isinstance(p, MaskedReverse):
        return Objective(categorical.simple_loss, model.chain, "bits/dim, all masked alike")
    raise BadInput(f"training.objective {kind} is not for {chain.family} chains")


def _gaussian(p: GaussianReverse, kind: str, weight: float) -> Objective:
    if not isinstance(p.parametrization, Linear):
        raise BadInput(f"L_simple has no target for {p.parametrization.name}: train by the bound")
    if kind == "simple":
        return Objective(gaussian.simple_loss, p, "L_simple", nats=False)
    if not p.variance.outputs:
        raise BadInput(
            f"training.objective hybrid trains a learned variance: {p.variance.name} is none, "
            "use learned-range"
        )
    loss = partial(gaussian.hybrid_loss, weight=weight)
    return Objective(loss, p, "L_simple with variance", nats=False)


def _in_continuous_time(
    model: ContinuousGaussian, x_0: Batch, t: Time, noise: Noise, T: int
) -> Nats:
    """`training_loss` at u uniform on the t-th of T parts of [0, 1].

    The curve's interior gets the gradient of the squared term in nats per dimension, as the rest
    gets that of the bound; it is clipped apart.
    """
    return training_loss(model, x_0, _within(t, T, noise), noise, 1 / x_0[0].numel())


def _on_path(
    model: ContinuousGaussian, x_0: Batch, t: Time, noise: Noise, T: int, levels: NoiseLevels
) -> Nats:
    """`output_error` at the noise of u uniform on the t-th of T parts of [0, 1]."""
    return output_error(model, x_0, levels(_within(t, T, noise)), noise.at(t))


def _within(t: Time, T: int, noise: Noise) -> Points:
    """u uniform on the t-th of T parts of [0, 1]."""
    place = noise.at(constant_time(0, t)).uniform(torch.empty(len(t), 1))[:, 0]
    return (t - 1 + place) / T
