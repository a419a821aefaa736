"""A model as the tasks see it: a chain, what its data are, and all that changes its bound."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from nelbo.arguments import shown, whole, whole_numbers
from nelbo.bound.arithmetic import Arithmetic, Plain
from nelbo.bound.chain import Chain, ReverseProcess, constant_time
from nelbo.bound.control import Control
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.estimators import one_time
from nelbo.bound.noise import Noise
from nelbo.data import Examples, Images, Points
from nelbo.data.symbols import Alphabet
from nelbo.errors import BadInput, printable
from nelbo.gaussian.yardstick import Yardstick
from nelbo.model.condition import NOTHING, labels_in, missing_condition
from nelbo.model.digest import digest
from nelbo.model.settings import Settings
from nelbo.model.spacing import SPACINGS, evenly, evenly_in
from nelbo.typed_json import Json, object_at, whole_at
from nelbo.types import Batch, Grid, Nats, Support, Time

__all__ = ["Context", "Denoiser", "Encoder", "Model", "Step"]


Step = Callable[[Batch, int, Noise], Batch]
"""x_{t-1} of (x_t, t, noise at t)."""

Context = Callable[[Any, Batch], Tensor]
"""What the network says of the images at t = 1, of (p_theta(x_0 | x_1), x_1)."""


class Encoder(ABC):
    """What makes the points that a model of latents has in place of images."""

    @abstractmethod
    def encode(self, images: Images, seed: int, device: torch.device) -> Points:
        """The latents of these images; the seed is of their noise."""


class Denoiser(ABC):
    """A model that expects something of x_0."""

    @abstractmethod
    def x_0_hat(self, p: ReverseProcess[StepDistribution], x_t: Batch, t: Time) -> Batch:
        """E[x_0 | x_t] by the network, as the chain sees data; the level where states are levels.

        p: this model's p_theta, given the condition of the batch where there is one.
        """


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Model(ABC):
    """A chain over data of a declared shape and kind, with what a report must say of it.

    A family says how data become what its chain calls data (`embed`, `levels`) and what its
    `choices` are; all else has a default. What only some models have is a class of its own:
    `Denoiser`, `Encoder`.

    name: in reports. network: the module that holds all weights. chain: q and p_theta, by that
    network. shape, support: of one example, and what its numbers are: integers on a grid, or real
    numbers. settings: what else was chosen, as a report says it. weights: raw or ema. classes: how
    many there are where p_theta is that of an image given its class; conditions: the names of what
    else of each image it is given. encoder: of a model of latents, where images can be had as such.
    alphabet: what the symbols of a model of text are, where it says so.
    """

    name: str
    network: nn.Module
    chain: Chain[StepDistribution]
    shape: tuple[int, ...]
    support: Support
    settings: Settings
    weights: str = "raw"
    classes: int | None = None
    conditions: tuple[str, ...] = ()
    encoder: Encoder | None = None
    alphabet: Alphabet | None = None

    family: ClassVar[str]
    infinite: ClassVar[bool] = False
    """Whether each of its steps stands for infinitely many, the limit of continuous time."""

    exact: ClassVar[bool] = False
    """Whether x_1..x_T follow from x_0, so that the bound is -log p(x_0), without Monte Carlo."""

    @abstractmethod
    def embed(self, levels: Tensor, dtype: torch.dtype) -> Batch:
        """Levels, or points, as the chain sees them, in a real dtype where they are real."""

    @abstractmethod
    def levels(self, x_0: Batch) -> Tensor:
        """The levels, or points, of what the chain calls data."""

    def choices(self) -> dict[str, Json]:
        """What the parts of the chain say of themselves, as JSON."""
        return {}

    def subchain(self, steps: Sequence[int]) -> "Model":
        """The chain of these of its steps, which are checked by `keeping`.

        Raises:
            BadInput: a family whose steps cannot be left out.
        """
        raise BadInput(f"{self.name} has no shorter chains")

    def spread(self, steps: int) -> Sequence[int]:
        """Which t a shorter chain of so many steps keeps, where no spacing is given."""
        return evenly(self.T, steps)

    @property
    def log_snr(self) -> Float64[Tensor, " steps"] | None:
        """log SNR at t = 0..T, where the family has one."""
        return None

    @property
    def importance(self) -> Float64[Tensor, " transitions"]:
        """Proportional to the share of the bound that is expected in each t = 2..T."""
        return torch.ones(self.T - 1, dtype=torch.float64)

    @property
    def arithmetic(self) -> Arithmetic:
        """Forms the terms from what the network says, with as many digits as they need."""
        return Plain()

    def context(self) -> Context | None:
        """What `controls` need of the network, which the evaluation of L_0 gives."""
        return None

    def controls(self, levels: Tensor, context: Tensor | None) -> list[Control]:
        """Control variates for these images, with their `context` where there is one."""
        return []

    def yardstick(self, data: Tensor) -> Yardstick | None:
        """A denoiser that a network of these data should beat."""
        return None

    @property
    def called(self) -> nn.Module:
        """The part of the network that is called with (x_t, time)."""
        return self.network

    @property
    def apart(self) -> tuple[tuple[nn.Parameter, ...], ...]:
        """Groups of weights whose gradients are of a kind of their own, as of a learned curve."""
        return ()

    @property
    def grid(self) -> Grid:
        """The grid of the data.

        Raises:
            BadInput: there is none, so what needs levels is not for this model.
        """
        if not isinstance(self.support, Grid):
            raise BadInput(
                f"{self.name} has a density of {self.support.name}, which have no levels: evaluate "
                "and compare take it, in nats/dim; this needs levels"
            )
        return self.support

    @property
    def dims(self) -> int:
        """The number of dimensions of an image."""
        return int(torch.Size(self.shape).numel())

    @property
    def T(self) -> int:
        """The number of steps of the chain."""
        return int(self.chain.q.T)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        own = next(itertools.chain(self.network.parameters(), self.network.buffers()), None)
        return torch.device("cpu") if own is None else own.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the network's first real weight; sums are float64 whatever it is."""
        dtypes = (parameter.dtype for parameter in self.network.parameters())
        return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)

    @property
    def facts(self) -> dict[str, Json]:
        """The choices of the chain and the settings, as JSON."""
        schedule = self.settings.schedule
        own = {"family": self.family, "schedule": schedule, **self.choices()}
        return {**own, **self.settings.to_dict()}

    @property
    def whole_T(self) -> int:
        """The number of steps that the schedule says, of which a sub-chain keeps some."""
        schedule = object_at(self.facts, "schedule")
        return whole_at(schedule, "T") if "T" in schedule else self.T

    def described(self) -> dict[str, Json]:
        """What a report says of it: every choice that changes the bound, as JSON."""
        grid = self.support
        reach = max(abs(grid.lo), abs(grid.hi)) if isinstance(grid, Grid) else 1.0
        rounded = self.arithmetic.rounded(self.chain, self.dtype, reach)
        return {
            "name": self.name,
            "sha256": self.sha256(),
            "weights": self.weights,
            "T": self.whole_T,
            "steps": self.T,
            **({"likelihood": f"p(x | {given})"} if (given := ", ".join(self.given)) else {}),
            **self.facts,
            **({"x_t_rounded": rounded} if rounded else {}),
        }

    def __repr__(self) -> str:
        T = "infinitely many" if self.infinite else f"{self.T:,}"
        shape = " x ".join(map(str, self.shape))
        of = f"{self.support.n} levels" if isinstance(self.support, Grid) else "real numbers"
        return printable(
            f"<Model {self.name}: {self.family}, {T} steps, {shape} of {of}, "
            f"{self.weights} weights>"
        )

    def sha256(self) -> str:
        """The digest of the weights in use."""
        return digest(self.network)

    def x_0(self, levels: Tensor, dtype: torch.dtype = torch.float32) -> Batch:
        """The levels, or points, as the chain sees them, on the model's device, in a real dtype.

        Raises:
            BadInput: the images do not have the model's shape.
        """
        if tuple(levels.shape[1:]) != self.shape:
            raise BadInput(
                f"the model takes images of shape {self.shape}; got {tuple(levels.shape[1:])}"
            )
        return self.embed(levels.to(self.device).contiguous(), dtype)

    def one_time(self, chain: Chain[StepDistribution], x_0: Batch, t: Time, noise: Noise) -> Nats:
        """L_T + T * (the term of t): unbiased for L when t is uniform on 1..T.

        chain: this model's, given the condition of the batch where there is one.
        """
        return one_time(chain, x_0, t, noise)

    def step(self, p: ReverseProcess[StepDistribution], like: Batch) -> Step:
        """x_{t-1} ~ p(x_{t-1} | x_t) of (x_t, t >= 2, noise at t), for batches like this one.

        p: this model's p_theta, given the condition of the batch where there is one.
        """
        step = p.step
        return lambda x_t, t, noise: step(x_t, constant_time(t, x_t)).sample(noise)

    @property
    def given(self) -> list[str]:
        """What p_theta is given of each image."""
        return ["class"] * (self.classes is not None) + list(self.conditions)

    def condition_of(self, examples: Examples) -> tuple[Tensor, ...]:
        """What p_theta is given with these examples.

        Raises:
            BadInput: as `condition`.
        """
        return self.condition(examples.labels, examples.name, examples.conditions)

    def condition(
        self, labels: Tensor | None, name: str, conditions: Mapping[str, Tensor] = NOTHING
    ) -> tuple[Tensor, ...]:
        """What p_theta is given with these labels, of the images of that name; of p(x) nothing.

        Raises:
            BadInput: there are classes and no labels, or a label that is none of them; a condition
                that the images do not have.
        """
        missing = next((one for one in self.conditions if one not in conditions), None)
        if missing is not None:
            raise missing_condition(self.name, ", ".join(self.given), missing, name)
        own = [] if self.classes is None else [labels_in(self.name, self.classes, labels, name)]
        return (*own, *(conditions[one] for one in self.conditions))

    def every(self, steps: int, spacing: str | None = None) -> "Model":
        """The chain of `steps` of this one's steps, or of any number in continuous time.

        spacing: even, quadratic (dense at small t) or log-snr (even in log SNR); None for the
        model's own, or even along the curve of a model in continuous time.

        Raises:
            BadInput: steps outside 1..T, an unknown spacing, or log-snr of a chain without one;
                steps below 2 in continuous time.
        """
        steps = whole("steps", steps)
        if not 1 <= steps <= self.T:
            raise BadInput(f"steps must lie in 1..{self.T} for this model; got {steps}")
        if steps == self.T:
            return self
        return self.keeping(self._kept(steps, spacing))

    def _kept(self, steps: int, spacing: str | None) -> Sequence[int]:
        if spacing is None:
            return self.spread(steps)
        if isinstance(spacing, str) and spacing in SPACINGS:
            return SPACINGS[spacing](self.T, steps)
        if not isinstance(spacing, str) or spacing != "log-snr":
            raise BadInput(f"spacing is even, quadratic or log-snr; got {shown(spacing)}")
        if self.log_snr is None:
            raise BadInput(f"{self.name} has no log SNR to spread its steps over: use even")
        return evenly_in(self.log_snr[1:], steps)

    def keeping(self, steps: Sequence[int]) -> "Model":
        """The chain of these of this one's steps, increasing within 1..T.

        Raises:
            BadInput: others, or none.
        """
        return self.subchain(whole_numbers("steps", steps))

    def in_the_limit(self) -> "Model":
        """Infinitely many steps in place of each of the chain's: the bound of continuous time.

        Raises:
            BadInput: a chain that has no steps between its steps.
        """
        raise BadInput(f"{self.name} is no model in continuous time: its bound is its chain's")

    def encode(self, images: Images, seed: int) -> Points:
        """The points that a model of latents has in place of images; seed: of the noise.

        Raises:
            BadInput: there is no encoder.
        """
        if self.encoder is None:
            raise BadInput(
                f"{self.name} has a density of real numbers, and {images.name} has integers, the "
                f"levels 0..{images.n - 1}, whose bits/dim it does not have: give floats, such as "
                "latents in a .npy file"
            )
        return self.encoder.encode(images, seed, self.device)
