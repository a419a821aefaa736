"""The choices that make a run, as a tree of checked tables."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from nelbo.gaussian.path import FunctionPath
from nelbo.gaussian.schedule import Schedule
from nelbo.model.parts import (
    ALONG_PATHS,
    DECODERS,
    LIKELIHOODS,
    PARAMETRIZATIONS,
    PATHS,
    SCALED,
    SCALES,
    SCHEDULES,
    STATE_TIMES,
    TIME_INPUTS,
    TRANSITIONS,
    VARIANCES,
    path_of,
    schedule_of,
)
from nelbo.recipe.part import LIST, Growing, Part, one_of

__all__ = [
    "KINDS",
    "CategoricalChoice",
    "ContinuousChoice",
    "GaussianChoice",
    "LogSNRChoice",
    "MaskedChoice",
    "PathChoice",
    "Recipe",
    "ResNetChoice",
    "Training",
    "TransformerChoice",
    "UNetChoice",
]


class Data(Part):
    """What is modelled: two data specs, and the real interval that the levels span."""

    train: str
    test: str
    levels: int | None = None
    range: Annotated[tuple[float, float], LIST] = (-1.0, 1.0)


class ScheduleChoice(Part):
    """A schedule by name and the arguments that its function takes."""

    model_config = ConfigDict(extra="allow")
    name: Annotated[str, one_of(SCHEDULES)]

    def make(self) -> Schedule:
        """The schedule.

        Raises:
            BadInput: an argument that the schedule does not take, or a value it refuses.
        """
        arguments = dict(self.model_extra or {})
        return schedule_of(self.name, arguments, f"recipe: chain.schedule {self.name}")

    def betas(self) -> list[float]:
        """beta_1..beta_T.

        Raises:
            BadInput: as `make`.
        """
        betas: list[float] = self.make().beta[1:].tolist()
        return betas


class GaussianChoice(Part):
    """A DDPM chain: every choice that changes its bound."""

    family: Literal["gaussian"] = "gaussian"
    schedule: ScheduleChoice
    parametrization: Annotated[str, one_of(PARAMETRIZATIONS)]
    variance: Annotated[str, one_of(VARIANCES)]
    V_1: float | Literal["beta_1", "beta_tilde_2", "inverse_snr_1"]
    decoder: Annotated[str, one_of(DECODERS)]
    clip: bool


class LogSNRChoice(Part):
    """log SNR along u in [0, 1]: a straight line, or learned, its ends too, from one that is."""

    name: Literal["learned", "linear"]
    first: float = 9.2
    last: float = -9.0
    width: int = Field(128, ge=1, le=2**20)


class ContinuousChoice(Part):
    """A DDPM in continuous time (VDM); T steps of it are measured unless others are given."""

    family: Literal["continuous"]
    log_snr: LogSNRChoice
    T: int = Field(1000, ge=2, le=10**6)
    parametrization: Annotated[str, one_of(PARAMETRIZATIONS)]
    decoder: Annotated[str, one_of(DECODERS, LIKELIHOODS)]
    clip: bool


class AlongChoice(Part):
    """A path by name and the arguments that its function takes."""

    model_config = ConfigDict(extra="allow")
    name: Annotated[str, one_of(PATHS)]

    def make(self) -> FunctionPath:
        """The path.

        Raises:
            BadInput: an argument that the path does not take, or a value it refuses.
        """
        return path_of(self.name, dict(self.model_extra or {}), f"chain.path {self.name}")


class PathChoice(Part):
    """A network on a path z_t = a_t x_0 + s_t eps, measured in the limit of infinitely many steps.

    log_snr: the two ends of what is measured, at the decoder and at the prior. scale: the factor of
    z for the network. sigma_data: the deviation of the data in edm-F and c_in.
    """

    family: Literal["path"]
    path: AlongChoice
    log_snr: Annotated[tuple[float, float], LIST]
    parametrization: Annotated[str, one_of(PARAMETRIZATIONS, ALONG_PATHS, SCALED)]
    scale: Annotated[str, one_of(SCALES, ("c_in",))] = "none"
    sigma_data: float | None = Field(None, gt=0)
    decoder: Annotated[str, one_of(DECODERS, LIKELIHOODS)]
    clip: bool


class SurvivalChoice(Part):
    """abar_t = 1 - (t / T)^power: what is left of the data in x_t, nothing at t = T."""

    name: Literal["survival"]
    T: int = Field(ge=1, le=10**6)
    power: float = Field(1.0, gt=0)

    def betas(self) -> list[float]:
        """beta_t = 1 - abar_t / abar_{t-1}, t = 1..T."""
        left = [1 - (t / self.T) ** self.power for t in range(self.T + 1)]
        return [1 - after / before for before, after in pairwise(left)]


class StatesScheduleChoice(ScheduleChoice):
    """A schedule of betas, beside which a chain of states has one by survival."""

    name: Annotated[str, one_of(SCHEDULES, other=("survival",))]


def _kind_of_schedule(schedule: object) -> str:
    """The tag of what the user wrote, before any check, or of a checked choice."""
    name = schedule.get("name") if isinstance(schedule, dict) else getattr(schedule, "name", None)
    return "survival" if name == "survival" else "named"


class CategoricalChoice(Part):
    """A D3PM chain over the data's levels, by the kernel that its betas drive."""

    family: Literal["categorical"]
    schedule: Annotated[
        Annotated[StatesScheduleChoice, Tag("named")] | Annotated[SurvivalChoice, Tag("survival")],
        Discriminator(_kind_of_schedule),
    ]
    transition: Annotated[str, one_of(TRANSITIONS)]


class MaskedChoice(Growing):
    """A chain that masks exactly k = 1..D positions of an example, evenly chosen: any order.

    order: or that of one step, left-to-right, by a causal network: an autoregressive model.
    """

    family: Literal["masked"]
    order: Literal["any", "left-to-right"] = "any"
    later: ClassVar[Sequence[str]] = ("order",)


TimeInput = Annotated[str, one_of(TIME_INPUTS, STATE_TIMES)]


class ResNetChoice(Growing):
    """A compact residual net at full resolution, for small images.

    rank: where the output is logits over levels, so many channels of it and a table.
    classes: how many an image may be of; then the model is of p(x | class).
    embedding: where the chain's states go in, so many learned numbers for each, not K channels.
    """

    name: Literal["resnet"]
    time_input: TimeInput = "log-snr"
    width: int = Field(32, ge=8, le=2**14, multiple_of=8)
    blocks: int = Field(3, ge=1, le=1000)
    dropout: float = Field(0.1, ge=0, lt=1)
    rank: int | None = Field(None, ge=3)
    classes: int | None = Field(None, ge=2)
    embedding: int | None = Field(None, ge=2, le=2**14)
    later: ClassVar[Sequence[str]] = ("rank", "classes", "embedding")


class UNetChoice(Growing):
    """diffusers' UNet2DModel, for images of 16 pixels and more.

    patch: a square of so many pixels a side is one pixel of more channels inside.
    attention: the levels of `widths` with self-attention, 0 the finest.
    middle: whether the coarsest level, between the halves, has self-attention.
    rank: where the output is logits over levels, so many channels of it and a table.
    classes: how many an image may be of; then the model is of p(x | class).
    embedding: where the chain's states go in, so many learned numbers for each, not K channels.
    """

    name: Literal["unet"]
    time_input: TimeInput = "index"
    widths: Annotated[tuple[int, ...], LIST] = Field((32, 64, 64), max_length=16)
    layers: int = Field(1, ge=1, le=100)
    dropout: float = Field(0.0, ge=0, lt=1)
    patch: int = Field(1, ge=1)
    attention: Annotated[tuple[int, ...], LIST] = ()
    middle: bool = True
    rank: int | None = Field(None, ge=3)
    classes: int | None = Field(None, ge=2)
    embedding: int | None = Field(None, ge=2, le=2**14)
    later: ClassVar[Sequence[str]] = (
        "patch",
        "attention",
        "middle",
        "rank",
        "classes",
        "embedding",
    )


class TransformerChoice(Part):
    """A transformer over a sequence, for a masked chain, which need not tell it a time.

    pairs: learned numbers for each pair of states beside a place, of which there are as many as
    the square of the symbols: for bytes, not for large vocabularies; 0 for none.
    """

    name: Literal["transformer"]
    width: int = Field(128, ge=8, le=2**14)
    layers: int = Field(6, ge=1, le=1000)
    heads: int = Field(4, ge=1, le=2**10)
    pairs: int = Field(0, ge=0, le=2**10)
    dropout: float = Field(0.1, ge=0, lt=1)
    classes: ClassVar[None] = None

    @model_validator(mode="after")
    def _of_whole_heads(self) -> "TransformerChoice":
        if self.width % self.heads:
            raise ValueError(f"width is a multiple of heads, {self.heads}")
        return self


KINDS = {
    "gaussian": GaussianChoice,
    "continuous": ContinuousChoice,
    "path": PathChoice,
    "categorical": CategoricalChoice,
    "named": StatesScheduleChoice,
    "masked": MaskedChoice,
    "resnet": ResNetChoice,
    "unet": UNetChoice,
    "transformer": TransformerChoice,
}
"""The tables that a tag in a recipe chooses among."""


def _family(chain: object) -> object:
    """The tag of what the user wrote, before any check, or of a checked choice."""
    if isinstance(chain, dict):
        return chain.get("family", "gaussian")
    return getattr(chain, "family", None)


class Training(Growing):
    """How long, how fast and by which loss; `auxiliary` weighs the second part of hybrid.

    batch_size: images of one update, over all processes and all `accumulate` parts.
    log_sigma: on a path, the mean and deviation of a normal ln sigma at which L_simple is taken;
        without it the path's own time is uniform.
    times: how the t of a batch are chosen; importance by what the losses at each t have been.
    precision: what the network computes in; the loss is float32 whatever it is.
    checkpoint_every, keep: steps from one checkpoint to the next, and how many are kept.
    held_out: so many of the training images are not trained on, and the bound of the averaged
        weights on them is measured every `held_out_every` steps, by `held_out_budget` evaluations
        of each; the best weights by it are kept.
    patience: stop after so many measurements without a better one.
    samples_every: steps from one picture of samples to the next; 0 for none.
    """

    objective: Literal["bound", "simple", "hybrid"] = "bound"
    auxiliary: float = Field(0.01, ge=0)
    log_sigma: Annotated[tuple[float, float], LIST] | None = None
    steps: int = Field(ge=0)
    batch_size: int = Field(128, ge=1, le=10**6)
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**63)
    accumulate: int = Field(1, ge=1)
    times: Literal["low-discrepancy", "uniform", "importance"] = "low-discrepancy"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    channels_last: bool = False
    checkpoint_every: int = Field(1000, ge=1)
    keep: int = Field(2, ge=1)
    held_out: int = Field(0, ge=0)
    held_out_every: int = Field(500, ge=1)
    held_out_budget: int = Field(16, ge=4)
    patience: int | None = Field(None, ge=1)
    samples_every: int = Field(0, ge=0)

    later: ClassVar[Sequence[str]] = (
        "log_sigma",
        "accumulate",
        "times",
        "precision",
        "compile",
        "channels_last",
        "checkpoint_every",
        "keep",
        "held_out",
        "held_out_every",
        "held_out_budget",
        "patience",
        "samples_every",
    )


class Recipe(Part):
    """Data, chain, network and training of one run."""

    name: str
    data: Data
    chain: Annotated[
        Annotated[GaussianChoice, Tag("gaussian")]
        | Annotated[ContinuousChoice, Tag("continuous")]
        | Annotated[PathChoice, Tag("path")]
        | Annotated[CategoricalChoice, Tag("categorical")]
        | Annotated[MaskedChoice, Tag("masked")],
        Discriminator(_family),
    ]
    network: Annotated[ResNetChoice | UNetChoice | TransformerChoice, Field(discriminator="name")]
    training: Training
