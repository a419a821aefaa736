"""A recipe's choices as objects: the one place where a string becomes one."""

from collections.abc import Callable, Mapping, Sequence
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
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.objective import hybrid_loss
from nelbo.categorical.resampling import absorbing, uniform
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput
from nelbo.gaussian import reverse as gaussian
from nelbo.gaussian.decoder import Decoder, Discretized, LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.objective import simple_loss
from nelbo.gaussian.parametrization import PARAMETRIZATIONS, Levels, Parametrization
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import LearnedRange, Variance, first_variance, large, small
from nelbo.model import Model
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
        q = CategoricalForward(transition)
        prior = "target" if choice.transition == "absorbing" else "uniform"
        p = CategoricalReverse(
            network,
            q,
            time_input=self._time_input(categorical.TIME_INPUTS),
            prior=categorical.PRIORS[prior](transition),
            levels=self.grid.n,
        )
        return self._model(
            network,
            Chain(q, p),
            importance=torch.ones(transition.T - 1, dtype=torch.float64),
            respace=lambda steps: self.categorical(choice, network, transition.subchain(steps)),
            embed=lambda levels, dtype: levels.long(),
            levels=lambda x_0: x_0,
            facts={
                "parametrization": "x_0-logits",
                "transition": choice.transition,
                "variance": None,
                "V_1": None,
                "clip": False,
                "decoder": "levels",
            },
        )

    def gaussian(self, choice: GaussianChoice, network: nn.Module, schedule: Schedule) -> Model:
        """The DDPM model of this schedule, with this network."""
        grid, q = self.grid, GaussianForward(schedule)
        variance = _variance(choice, schedule)
        levels = choice.decoder == "levels"
        decoder: Decoder = LevelPosterior(grid) if levels else Discretized(grid)
        p = GaussianReverse(
            network,
            q,
            parametrization=_parametrization(choice, grid),
            variance=variance,
            decoder=decoder,
            time_input=self._time_input(gaussian.TIME_INPUTS),
            clip=(grid.lo, grid.hi) if choice.clip else None,
        )
        return self._model(
            network,
            Chain(q, p),
            importance=schedule.importance,
            respace=lambda steps: self.gaussian(choice, network, schedule.subchain(steps)),
            embed=grid.values,
            levels=grid.levels,
            facts={
                "parametrization": choice.parametrization,
                "variance": choice.variance,
                "V_1": None if levels else variance.V_1,
                "clip": choice.clip,
                "decoder": choice.decoder,
            },
        )

    def _model(
        self,
        network: nn.Module,
        chain: Chain[Any],
        *,
        respace: Callable[[Sequence[int]], Model],
        facts: dict[str, Any],
        **parts: Any,  # noqa: ANN401
    ) -> Model:
        choice = self.recipe.chain
        common = {"family": choice.family, "schedule": choice.schedule.model_dump()}
        described = {**common, **facts, "network": self.recipe.network.model_dump()}
        return Model(
            name=self.recipe.name,
            network=network,
            chain=chain,
            respace=respace,
            shape=self.shape,
            grid=self.grid,
            facts=described,
            **parts,
        )

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
