"""A training run as a file: TOML to a checked tree of choices, and the tree to a model.

The one place where a string becomes an object.
"""

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from nelbo.bound.chain import Chain
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Decoder, Discretized, LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.parametrization import PARAMETRIZATIONS, Levels, Parametrization
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import SCHEDULES, Schedule
from nelbo.gaussian.variance import LearnedRange, Variance, first_variance, large, small
from nelbo.model import Model
from nelbo.networks.resnet import ResNet
from nelbo.networks.unet import UNet
from nelbo.types import Grid

__all__ = ["Recipe", "build", "names", "read"]


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Part):
    """What is modelled: two data specs, and the real interval that the levels span."""

    train: str
    test: str
    levels: int | None = None
    range: tuple[float, float] = (-1.0, 1.0)


class ScheduleChoice(Part):
    """A schedule by name and the arguments that its function takes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Literal["linear", "scaled-linear", "cosine", "sigmoid", "log-snr-linear", "betas"]

    def make(self) -> Schedule:
        """The schedule.

        Raises:
            BadInput: an argument that the schedule does not take, or a value it refuses.
        """
        arguments = dict(self.model_extra or {})
        try:
            return SCHEDULES[self.name](**arguments)
        except TypeError as error:
            raise BadInput(f"recipe: chain.schedule {self.name}: {error}") from None


class GaussianChoice(Part):
    """A DDPM chain: every choice that changes its bound."""

    family: Literal["gaussian"] = "gaussian"
    schedule: ScheduleChoice
    parametrization: Literal["eps", "x_0", "v", "levels"]
    variance: Literal["small", "large", "learned-range"]
    V_1: float | Literal["beta_1", "beta_tilde_2"]
    decoder: Literal["discretized-gaussian", "levels"]
    clip: bool


class ResNetChoice(Part):
    """A compact residual net at full resolution, for small images."""

    name: Literal["resnet"]
    time_input: Literal["index", "t", "log-snr"] = "log-snr"
    width: int = Field(32, ge=8, multiple_of=8)
    blocks: int = Field(3, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class UNetChoice(Part):
    """diffusers' UNet2DModel without attention, for images of 16 pixels and more."""

    name: Literal["unet"]
    time_input: Literal["index", "t", "log-snr"] = "index"
    widths: tuple[int, ...] = (32, 64, 64)
    layers: int = Field(1, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


NETWORKS = {"resnet": ResNetChoice, "unet": UNetChoice}


class Training(Part):
    """How long, how fast and by which loss."""

    objective: Literal["bound", "simple"] = "bound"
    steps: int = Field(ge=0)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = Field(0, ge=0)


class Recipe(Part):
    """Data, chain, network and training of one run."""

    name: str
    data: Data
    chain: GaussianChoice
    network: Annotated[ResNetChoice | UNetChoice, Field(discriminator="name")]
    training: Training


def names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("nelbo") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def read(source: str | Path) -> Recipe:
    """The recipe in a TOML file, or the one of that name that comes with the package.

    Raises:
        BadInput: no such recipe, no TOML, or a key or value that a recipe does not have.
    """
    if str(source) in names():
        text = (resources.files("nelbo") / "recipes" / f"{source}.toml").read_text("utf-8")
    else:
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadInput(
                f"no recipe {source}: give a .toml file or one of {', '.join(names())}"
            ) from None
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source} is no TOML: {error}") from None
    except ValidationError as error:
        raise BadInput(f"{source}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings in one line, with a suggestion for a misspelt key."""
    problem = error.errors(include_url=False)[0]
    where = [str(part) for part in problem["loc"] if part not in NETWORKS]
    if problem["type"] != "extra_forbidden":
        got = "" if problem["type"] == "missing" else f"; got {problem['input']!r}"
        return f"{'.'.join(where)}: {problem['msg'][:1].lower()}{problem['msg'][1:]}{got}"
    table: Any = Recipe
    for part in problem["loc"][:-1]:
        table = NETWORKS.get(str(part)) or table.model_fields[part].annotation
    keys = list(table.model_fields)
    close = difflib.get_close_matches(where[-1], keys, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(keys)}"
    return f"unknown key {'.'.join(where)}: {hint}"


def build(recipe: Recipe, shape: tuple[int, ...], n: int) -> Model:
    """The recipe's model for images of this shape with n levels, its weights fresh from the seed.

    Raises:
        BadInput: choices that do not go together.
    """
    grid = Grid(n, *recipe.data.range)
    schedule = recipe.chain.schedule.make()
    parametrization = _parametrization(recipe.chain, grid)
    outputs = parametrization.outputs + _variance(recipe.chain, schedule).outputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        network = _network(recipe.network, shape, outputs * shape[0])
    return _assemble(recipe, network, schedule, shape, grid)


def _assemble(
    recipe: Recipe, network: nn.Module, schedule: Schedule, shape: tuple[int, ...], grid: Grid
) -> Model:
    choice = recipe.chain
    q = GaussianForward(schedule)
    variance = _variance(choice, schedule)
    levels = choice.decoder == "levels"
    decoder: Decoder = LevelPosterior(grid) if levels else Discretized(grid)
    p = GaussianReverse(
        network,
        q,
        parametrization=_parametrization(choice, grid),
        variance=variance,
        decoder=decoder,
        time_input=TIME_INPUTS[recipe.network.time_input],
        clip=(grid.lo, grid.hi) if choice.clip else None,
    )
    facts = {
        "schedule": choice.schedule.model_dump(),
        "parametrization": choice.parametrization,
        "variance": choice.variance,
        "V_1": None if levels else variance.V_1,
        "clip": choice.clip,
        "decoder": choice.decoder,
        "network": recipe.network.model_dump(),
    }
    return Model(
        name=recipe.name,
        network=network,
        chain=Chain(q, p),
        respace=lambda steps: _assemble(recipe, network, schedule.subchain(steps), shape, grid),
        importance=schedule.importance,
        shape=shape,
        grid=grid,
        embed=grid.values,
        levels=grid.levels,
        facts=facts,
    )


def _parametrization(choice: GaussianChoice, grid: Grid) -> Parametrization:
    return PARAMETRIZATIONS.get(choice.parametrization) or Levels(grid)


def _variance(choice: GaussianChoice, schedule: Schedule) -> Variance:
    if choice.variance == "learned-range":
        return LearnedRange(schedule, first_variance(schedule, choice.V_1))
    return {"small": small, "large": large}[choice.variance](schedule, choice.V_1)


def _network(
    choice: ResNetChoice | UNetChoice, shape: tuple[int, ...], out_channels: int
) -> nn.Module:
    channels, height, width = shape
    if isinstance(choice, ResNetChoice):
        return ResNet(channels, out_channels, choice.width, choice.blocks, choice.dropout)
    factor = 2 ** (len(choice.widths) - 1)
    if height != width or height % factor:
        raise BadInput(
            f"the unet halves square images {len(choice.widths) - 1} times; "
            f"got {height}x{width}: use sides that {factor} divides, or fewer widths"
        )
    return UNet(channels, out_channels, height, choice.widths, choice.layers, choice.dropout)
