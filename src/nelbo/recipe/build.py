"""A recipe's choices as objects: the one place where a string becomes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, final

import torch
from torch import nn

from nelbo.bound.chain import Chain
from nelbo.bound.estimators import one_time
from nelbo.bound.noise import Noise
from nelbo.categorical import reverse as categorical
from nelbo.categorical.dense import discretized_gaussian
from nelbo.categorical.objective import hybrid_loss
from nelbo.categorical.resampling import absorbing, uniform
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput
from nelbo.gaussian import reverse as gaussian
from nelbo.gaussian.decoder import Decoder, Discretized, LevelPosterior
from nelbo.gaussian.objective import simple_loss
from nelbo.gaussian.parametrization import PARAMETRIZATIONS, Levels, Parametrization
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import LearnedRange, Variance, first_variance, large, small
from nelbo.model import Model, categorical_model, gaussian_model
from nelbo.networks.resnet import ResNet
from nelbo.networks.unet import UNet
from nelbo.recipe.choices import (
    CategoricalChoice,
    GaussianChoice,
    Recipe,
    ResNetChoice,
    UNetChoice,
)
from nelbo.types import Batch, Grid, Nats, Time

__all__ = ["build", "objective"]


def build(recipe: Recipe, shape: tuple[int, ...], n: int) -> Model:
    """The recipe's model for images of this shape with n levels, its weights fresh from the seed.

    Raises:
        BadInput: choices that do not go together.
    """
    builder = _Builder(recipe, shape, Grid(n, *recipe.data.range))
    choice, schedule = recipe.chain, recipe.chain.schedule.make()
    if isinstance(choice, CategoricalChoice):
        transition = _transition(choice, schedule, n)
        return builder.categorical(choice, builder.network(transition.K, n), transition)
    outputs = _parametrization(choice, builder.grid).outputs + _variance(choice, schedule).outputs
    return builder.gaussian(choice, builder.network(1, outputs), schedule)


def objective(recipe: Recipe, chain: Chain[Any]) -> Callable[[Batch, Time, Noise], Nats]:
    """The recipe's training loss as a function of (x_0, t, noise), per example.

    Raises:
        BadInput: an objective that the chain's family does not have.
    """
    p, kind = chain.p, recipe.training.objective
    if kind == "bound":
        return partial(one_time, chain)
    if kind == "simple" and isinstance(p, GaussianReverse):
        return partial(simple_loss, p)
    if kind == "hybrid" and isinstance(p, CategoricalReverse):
        return partial(hybrid_loss, p, weight=recipe.training.auxiliary)
    raise BadInput(f"training.objective {kind} is not for {recipe.chain.family} chains")


Input = TypeVar("Input")


@final
@dataclass(frozen=True)
class _Builder:
    """What every chain of one recipe shares, its sub-chains included."""

    recipe: Recipe
    shape: tuple[int, ...]
    grid: Grid

    def network(self, inputs: int, outputs: int) -> nn.Module:
        """The network, fresh from the seed; so many channels per channel of the data."""
        channels = self.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.training.seed)
            choice = self.recipe.network
            return _network(choice, self.shape, inputs * channels, outputs * channels)

    def categorical(
        self, choice: CategoricalChoice, network: nn.Module, transition: Transition
    ) -> Model:
        """The D3PM model of this kernel, with this network."""
        prior = "target" if choice.transition == "absorbing" else "uniform"
        return categorical_model(
            network,
            transition,
            prior=categorical.PRIORS[prior],
            time_input=self._time_input(categorical.TIME_INPUTS),
            grid=self.grid,
            shape=self.shape,
            name=self.recipe.name,
            facts={**self._facts(), "transition": choice.transition},
        )

    def gaussian(self, choice: GaussianChoice, network: nn.Module, schedule: Schedule) -> Model:
        """The DDPM model of this schedule, with this network."""
        grid = self.grid
        decoder: Decoder = LevelPosterior(grid) if choice.decoder == "levels" else Discretized(grid)
        return gaussian_model(
            network,
            schedule,
            parametrization=_parametrization(choice, grid),
            variance=partial(_variance, choice),
            decoder=decoder,
            time_input=self._time_input(gaussian.TIME_INPUTS),
            clip=(grid.lo, grid.hi) if choice.clip else None,
            grid=grid,
            shape=self.shape,
            name=self.recipe.name,
            facts=self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        schedule, network = self.recipe.chain.schedule, self.recipe.network
        return {"schedule": schedule.model_dump(), "network": network.model_dump()}

    def _time_input(self, choices: Mapping[str, Input]) -> Input:
        name = self.recipe.network.time_input
        if name not in choices:
            raise BadInput(
                f"network.time_input {name} is not for {self.recipe.chain.family} chains: "
                f"use one of {', '.join(choices)}"
            )
        return choices[name]


def _parametrization(choice: GaussianChoice, grid: Grid) -> Parametrization:
    return PARAMETRIZATIONS.get(choice.parametrization) or Levels(grid)


def _variance(choice: GaussianChoice, schedule: Schedule) -> Variance:
    if choice.variance == "learned-range":
        return LearnedRange(schedule, first_variance(schedule, choice.V_1))
    return {"small": small, "large": large}[choice.variance](schedule, choice.V_1)


def _transition(choice: CategoricalChoice, schedule: Schedule, n: int) -> Transition:
    betas = schedule.beta[1:].tolist()
    if choice.transition == "absorbing":
        return absorbing(betas, n + 1)  # one state more than the data has levels: the mask
    kernels = {"uniform": uniform, "discretized-gaussian": discretized_gaussian}
    return kernels[choice.transition](betas, n)


def _network(
    choice: ResNetChoice | UNetChoice, shape: tuple[int, ...], inputs: int, outputs: int
) -> nn.Module:
    _, height, width = shape
    if isinstance(choice, ResNetChoice):
        return ResNet(inputs, outputs, choice.width, choice.blocks, choice.dropout)
    factor = 2 ** (len(choice.widths) - 1)
    if height != width or height % factor:
        raise BadInput(
            f"the unet halves square images {len(choice.widths) - 1} times; "
            f"got {height}x{width}: use sides that {factor} divides, or fewer widths"
        )
    return UNet(inputs, outputs, height, choice.widths, choice.layers, choice.dropout)
