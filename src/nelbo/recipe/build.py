"""A recipe's choices as the model that they name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, final

import psutil
import torch
from torch import Tensor, nn

from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.log_snr import FixedLogSNR, LearnedLogSNR, LogSNR
from nelbo.gaussian.parametrization import Parametrization
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import VarianceRule
from nelbo.model import (
    Model,
    Settings,
    autoregressive_model,
    categorical_model,
    continuous_model,
    gaussian_model,
    masked_model,
    parts,
)
from nelbo.networks.embedded import Embedded
from nelbo.networks.logits import LowRankLogits
from nelbo.networks.mode import single_precision
from nelbo.networks.resnet import ResNet
from nelbo.networks.transformer import Transformer
from nelbo.networks.unet import UNet
from nelbo.recipe.choices import (
    CategoricalChoice,
    ContinuousChoice,
    GaussianChoice,
    LogSNRChoice,
    MaskedChoice,
    PathChoice,
    Recipe,
    ResNetChoice,
    TransformerChoice,
    UNetChoice,
)
from nelbo.recipe.on_path import path_model
from nelbo.types import Grid

__all__ = ["build"]


def build(
    recipe: Recipe, shape: tuple[int, ...], n: int, weights: Mapping[str, Tensor] | None = None
) -> Model:
    """The recipe's model for images of this shape with n levels, its network in float32.

    weights: the state of the model's network, which may decide its schedule; fresh ones from the
    seed without it.

    Raises:
        BadInput: choices that do not go together.
    """
    builder = _Builder(recipe, shape, Grid(n, *recipe.data.range), weights)
    with single_precision():
        made = _built(builder, recipe.chain, n)
    return replace(made, classes=recipe.network.classes)


def _built(
    builder: "_Builder",
    choice: GaussianChoice | ContinuousChoice | PathChoice | CategoricalChoice | MaskedChoice,
    n: int,
) -> Model:
    """The model of the chosen family.

    Raises:
        BadInput: a transformer and another chain than a masked one, which alone is of sequences.
    """
    if isinstance(choice, MaskedChoice):
        return builder.masked(choice, builder.network(n + 1, n))
    if isinstance(builder.recipe.network, TransformerChoice):
        raise BadInput(
            f"network.name transformer is for chain.family masked, not {choice.family}: use resnet "
            "or unet"
        )
    if isinstance(choice, PathChoice):
        return builder.on_path(choice)
    if isinstance(choice, ContinuousChoice):
        return builder.continuous(choice)
    if isinstance(choice, CategoricalChoice):
        transition = _transition(choice, n)
        return builder.categorical(choice, builder.network(transition.K, n), transition)
    schedule = choice.schedule.make()
    outputs = _parametrization(choice, builder.grid).outputs + _variance(choice)(schedule).outputs
    return builder.gaussian(choice, builder.network(1, outputs), schedule)


Input = TypeVar("Input")
Module = TypeVar("Module", bound=nn.Module)


@final
@dataclass(frozen=True)
class _Builder:
    """What every chain of one recipe shares, its sub-chains included."""

    recipe: Recipe
    shape: tuple[int, ...]
    grid: Grid
    weights: Mapping[str, Tensor] | None

    def network(self, inputs: int, outputs: int) -> nn.Module:
        """The network with its weights; so many channels per channel of the data."""
        return self._with_weights(self._fresh(inputs, outputs))

    @property
    def of_images(self) -> ResNetChoice | UNetChoice:
        """The choice of a network of images, which every chain but a masked one has."""
        assert not isinstance(self.recipe.network, TransformerChoice)  # `_built` refuses it
        return self.recipe.network

    def _fresh(self, inputs: int, outputs: int) -> nn.Module:
        with torch.device("meta"):
            _require_room(self._unseeded(inputs, outputs))
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would seed a GPU's generators too, amid a training on it
            torch.default_generator.manual_seed(self.recipe.training.seed)
            return self._unseeded(inputs, outputs)

    def _unseeded(self, inputs: int, outputs: int) -> nn.Module:
        choice, n, channels = self.recipe.network, self.grid.n, self.shape[0]
        if isinstance(choice, TransformerChoice):
            sizes = (choice.width, choice.layers, choice.heads, choice.dropout, choice.pairs)
            chain = self.recipe.chain
            causal = isinstance(chain, MaskedChoice) and chain.order == "left-to-right"
            return Transformer(inputs, outputs, channels, *sizes, causal=causal)
        states, inputs = inputs, choice.embedding or inputs
        if choice.embedding is not None and states == 1:
            raise BadInput(
                f"network.embedding is for the states of a categorical chain, and this one is "
                f"{self.recipe.chain.family}: leave it out"
            )
        if choice.rank is None:
            inside = _network(choice, self.shape, inputs * channels, outputs * channels)
            return Embedded(inside, states, inputs) if choice.embedding else inside
        if outputs != n:
            raise BadInput(
                f"network.rank is for logits over the {n} levels: the chain's network gives "
                f"{outputs} channels for each of the data; leave it out"
            )
        inside = _network(choice, self.shape, inputs * channels, choice.rank * channels)
        inside = Embedded(inside, states, inputs) if choice.embedding else inside
        return LowRankLogits(inside, choice.rank, n)

    def _with_weights(self, module: Module) -> Module:
        if self.weights is not None:
            own = module.state_dict()
            for name, x in self.weights.items():
                if name in own and own[name].dtype != x.dtype:
                    raise BadInput(f"the weights {name} are {x.dtype}, not {own[name].dtype}")
            module.load_state_dict(self.weights)
        return module

    def categorical(
        self, choice: CategoricalChoice, network: nn.Module, transition: Transition
    ) -> Model:
        """The D3PM model of this kernel, with this network."""
        prior = "target" if choice.transition == "absorbing" else "uniform"
        return categorical_model(
            network,
            transition,
            prior=parts.PRIORS[prior],
            time_input=self._time_input(parts.STATE_TIMES),
            grid=self.grid,
            shape=self.shape,
            name=self.recipe.name,
            settings=self._settings(choice).noting(transition=choice.transition),
            ids=self.of_images.embedding is not None,
        )

    def masked(self, choice: MaskedChoice, network: nn.Module) -> Model:
        """The model of sequences with this network: masked, in any order, or autoregressive."""
        make = masked_model if choice.order == "any" else autoregressive_model
        return make(
            network,
            levels=self.grid.n,
            shape=self.shape,
            name=self.recipe.name,
            settings=Settings(network=self.recipe.network.model_dump()),
        )

    def gaussian(self, choice: GaussianChoice, network: nn.Module, schedule: Schedule) -> Model:
        """The DDPM model of this schedule, with this network."""
        grid = self.grid
        return gaussian_model(
            network,
            schedule,
            parametrization=_parametrization(choice, grid),
            variance=_variance(choice),
            decoder=parts.decoder_of(choice.decoder, grid),
            time_input=self._time_input(parts.TIME_INPUTS),
            clip=(grid.lo, grid.hi) if choice.clip else None,
            grid=grid,
            shape=self.shape,
            name=self.recipe.name,
            settings=self._settings(choice),
        )

    def on_path(self, choice: PathChoice) -> Model:
        """The model on a path, its network fresh or with its weights."""
        self._require_log_snr()
        network, settings = self._fresh(1, 1), Settings(network=self.recipe.network.model_dump())
        made = path_model(choice, network, self.grid, self.shape, self.recipe.name, settings)
        self._with_weights(made.network)
        return made

    def _require_log_snr(self) -> None:
        time_input, family = self.of_images.time_input, self.recipe.chain.family
        if time_input != "log-snr":
            raise BadInput(
                f"network.time_input {time_input} is not for {family} chains: use log-snr, by "
                "which one network serves every number of steps"
            )

    def continuous(self, choice: ContinuousChoice) -> Model:
        """The VDM model, its network fresh or with its weights, which hold the curve too."""
        self._require_log_snr()
        grid = self.grid
        parametrization = _parametrization(choice, grid)
        trained = ContinuousGaussian(
            self._fresh(1, parametrization.outputs),
            _log_snr(choice.log_snr),
            parametrization=parametrization,
            decoder=parts.ending_of(choice.decoder, grid),
            clip=(grid.lo, grid.hi) if choice.clip else None,
        )
        return continuous_model(
            self._with_weights(trained),
            choice.T,
            grid=grid,
            shape=self.shape,
            name=self.recipe.name,
            settings=Settings(network=self.recipe.network.model_dump()),
        )

    def _settings(self, choice: GaussianChoice | CategoricalChoice) -> Settings:
        network = self.recipe.network
        return Settings(schedule=choice.schedule.model_dump(), network=network.model_dump())

    def _time_input(self, choices: Mapping[str, Input]) -> Input:
        name = self.of_images.time_input
        if name not in choices:
            raise BadInput(
                f"network.time_input {name} is not for {self.recipe.chain.family} chains: "
                f"use one of {', '.join(choices)}"
            )
        return choices[name]


def _require_room(network: nn.Module) -> None:
    """Raises BadInput, before there are any, where the weights would not fit into the memory."""
    size = sum(x.numel() * x.element_size() for x in network.parameters())
    if size > psutil.virtual_memory().available:
        raise BadInput(
            f"the network takes {size:,} bytes, more than is free of the memory: make it smaller"
        )


def _parametrization(choice: GaussianChoice | ContinuousChoice, grid: Grid) -> Parametrization:
    return parts.parametrization_of(choice.parametrization, grid)


def _variance(choice: GaussianChoice) -> VarianceRule:
    return partial(parts.VARIANCES[choice.variance], V_1=choice.V_1)


def _log_snr(choice: LogSNRChoice) -> LogSNR:
    if choice.name == "learned":
        return LearnedLogSNR(choice.first, choice.last, choice.width)
    return FixedLogSNR(choice.first, choice.last)


def _transition(choice: CategoricalChoice, n: int) -> Transition:
    betas = choice.schedule.betas()
    mask = choice.transition == "absorbing"  # one state more than the data has levels
    return parts.TRANSITIONS[choice.transition](betas, n + mask)


def _network(
    choice: ResNetChoice | UNetChoice, shape: tuple[int, ...], inputs: int, outputs: int
) -> nn.Module:
    _, height, width = shape
    if isinstance(choice, ResNetChoice):
        return ResNet(inputs, outputs, choice.width, choice.blocks, choice.dropout, choice.classes)
    factor = choice.patch * 2 ** (len(choice.widths) - 1)
    if height != width or height % factor:
        patches = "" if choice.patch == 1 else f" in patches of {choice.patch} pixels a side"
        raise BadInput(
            f"the unet halves square images {len(choice.widths) - 1} times{patches}; "
            f"got {height}x{width}: use sides that {factor} divides, or fewer widths"
        )
    if any(level not in range(len(choice.widths)) for level in choice.attention):
        raise BadInput(
            f"network.attention names levels 0..{len(choice.widths) - 1} of widths; "
            f"got {list(choice.attention)}"
        )
    sizes = (choice.widths, choice.layers, choice.dropout, choice.patch)
    arguments = (*sizes, choice.attention, choice.middle)
    return UNet(inputs, outputs, height, *arguments, choice.classes)
