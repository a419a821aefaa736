"""Which conventions fit a network: its errors by each of them at the same images and noise."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from nelbo.bound.statistics import Mean, mean_over_images
from nelbo.errors import BadInput
from nelbo.estimation.evaluator import out_of_memory
from nelbo.gaussian.yardstick import AffineFit
from nelbo.model import Denoiser, Model
from nelbo.networks.adapter import tensor_in
from nelbo.results.check import differing
from nelbo.typed_json import Json
from nelbo.types import Grid

__all__ = ["Candidate", "Draws", "Remembered"]

WINDOW = (6.0, -6.0)  # log SNR of data on [-1, 1], which every schedule and path has
ROWS = 64  # that the network is called with at once


@final
class Remembered(nn.Module):
    """A network that is evaluated once for equal inputs, whatever its output is taken for."""

    def __init__(self, network: Callable[..., object]) -> None:
        super().__init__()
        self.network = network
        self.evaluations = 0
        self.channels = 0  # of the last output
        self._outputs: dict[bytes, Tensor | Exception] = {}

    def forward(self, x_t: Tensor, time: Tensor, *given: Tensor, **arguments: Tensor) -> Tensor:
        digest = hashlib.sha256(repr((time.dtype, x_t.dtype)).encode())
        for tensor in (x_t, time):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        key = digest.digest()
        if key not in self._outputs:
            self.evaluations += len(x_t)
            try:
                output = tensor_in(self.network(x_t, time, *given, **arguments)).detach()
            except Exception as error:  # as it would fail again
                if _is_full(error):
                    raise
                self._outputs[key] = error
            else:
                self._outputs[key] = output
                self.channels = output.shape[1] if output.ndim > 1 else 0
        known = self._outputs[key]
        if isinstance(known, Exception):
            raise known
        return known

    def forget(self) -> None:
        """Between rounds, whose inputs differ."""
        self._outputs.clear()


@final
@dataclass(frozen=True)
class Draws:
    """Images and one noise for each of them and each log SNR, the same for every candidate."""

    levels: Tensor
    condition: tuple[Tensor, ...]
    eps: Float64[Tensor, "K N dims"]

    @classmethod
    def of(cls, levels: Tensor, condition: tuple[Tensor, ...], count: int, seed: int) -> "Draws":
        """At so many log SNRs."""
        generator = torch.Generator().manual_seed(seed)
        size = (count, len(levels), levels[0].numel())
        eps = torch.randn(size, generator=generator, dtype=torch.float64)
        return cls(levels, condition, eps)

    @property
    def log_snr(self) -> Float64[Tensor, " K"]:
        """Of data on [-1, 1]."""
        return torch.linspace(*WINDOW, len(self.eps), dtype=torch.float64)

    @property
    def share(self) -> Float64[Tensor, " K"]:
        """The weights of the trapezoidal rule over the log SNRs."""
        count = len(self.eps)
        share = torch.full((count,), (WINDOW[0] - WINDOW[1]) / (count - 1), dtype=torch.float64)
        share[[0, -1]] /= 2
        return share

    def part(self, model: Model) -> Float64[Tensor, " N"]:
        """1/2 of the integral of SNR |x_0 - x0-hat|^2 over log SNR, nats of each image.

        A chain is evaluated at its t that are nearest to the log SNRs. Infinite where the network
        fails, or gives no numbers.
        """
        table = _log_snr(model)
        times = 1 + (table[1:, None] - (self.log_snr - _shift(model))).abs().argmin(0)
        return self._integral(model, times, self.share)

    def first_steps(self, model: Model) -> Float64[Tensor, " N"]:
        """The rest of it, up to the log SNR of t = 1, by the midpoints of two halves.

        0 where a chain begins below.
        """
        table, lowest = _log_snr(model), WINDOW[0] - _shift(model)
        rise = (table[1] - lowest).clamp(min=0)
        wanted = lowest + rise * torch.tensor([0.25, 0.75], dtype=torch.float64)
        times = 1 + (table[1:, None] - wanted).abs().argmin(0)
        return self._integral(model, times, (rise / 2).expand(2))

    def _integral(self, model: Model, times: Tensor, share: Tensor) -> Float64[Tensor, " N"]:
        """By these t and the log SNR that each stands for."""
        assert isinstance(model, Denoiser)  # of a Gaussian family
        table = _log_snr(model)
        p = model.chain.p.given(*self.condition)
        noise_of = self.eps[: len(times)].flatten(0, 1)
        squares = torch.empty(len(noise_of), dtype=torch.float64)
        for rows in torch.arange(len(squares)).split(ROWS):
            image, t = rows % len(self.levels), times[rows // len(self.levels)]
            x_0 = model.x_0(self.levels[image], torch.float32)
            log_snr = table[t].reshape(-1, *(1,) * (x_0.ndim - 1))
            signal, noise = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
            x_t = (signal * x_0.double().cpu() + noise * noise_of[rows].reshape(x_0.shape)).to(x_0)
            x_0_hat = model.x_0_hat(p.rows(image), x_t, t)
            squares[rows] = (x_0 - x_0_hat).double().flatten(1).square().sum(1).cpu()
        weight = 0.5 * share * table[times].exp()
        total = weight @ squares.reshape(len(weight), -1)
        return total.where(total.isfinite(), math.inf)  # no number: the worst reading there is

    def ends(self, model: Model) -> None:
        """Evaluates the network for the first image at t = 1 and at t = T."""
        assert isinstance(model, Denoiser)
        first = torch.tensor([0, 0])
        p = model.chain.p.given(*self.condition).rows(first)
        model.x_0_hat(p, model.x_0(self.levels[first]), torch.tensor([1, model.T]))

    def affine(self, fit: AffineFit, x_0: Tensor) -> Float64[Tensor, " N"]:
        """The same of an affine function of x_t that was fitted to other images on [-1, 1]."""
        flat = x_0.flatten(1).double()
        total = torch.zeros(len(flat), dtype=torch.float64)
        for k, log_snr in enumerate(self.log_snr):
            root = (log_snr / 2).exp().expand(len(flat), 1)
            error = fit.error(flat, root * flat + self.eps[k], root)
            total += 0.5 * self.share[k] * log_snr.exp() * error
        return total


def _log_snr(model: Model) -> Float64[Tensor, " T+1"]:
    assert model.log_snr is not None  # of a Gaussian family
    return model.log_snr


def _shift(model: Model) -> float:
    """By how much log SNR is larger for data on [-1, 1] than for the model's."""
    support = model.support
    return 2 * math.log((support.hi - support.lo) / 2) if isinstance(support, Grid) else 0.0


@final
@dataclass(eq=False)
class Candidate:
    """Conventions, the model that they make of the network, and its part of the bound by image.

    first: of the first steps of its chain, where there is another reading to tell it from by them.
    failure: of the last measurement.
    """

    words: Mapping[str, Json]
    model: Model
    part: Float64[Tensor, " N"] = field(default_factory=lambda: torch.tensor([math.inf]))
    first: Float64[Tensor, " N"] | None = None
    failure: Exception | None = None

    def measure(self, draws: Draws) -> None:
        """At these images and noises.

        Raises:
            MemoryError, RuntimeError: out of memory, which says nothing of the conventions.
        """
        self.failure = None
        try:
            self.part = draws.part(self.model)
        except Exception as error:  # whatever a network does with inputs that are not its own
            self._fail(error, len(draws.levels))

    def begin(self, with_first: bool) -> None:
        """Of no images yet; with_first: the first steps of its chain are measured too."""
        none = torch.empty(0, dtype=torch.float64)
        self.part, self.first = none, none if with_first else None

    def extend(self, draws: Draws) -> None:
        """With these images after those that it has.

        Raises:
            MemoryError, RuntimeError: as `measure`.
        """
        part = self.part
        self.measure(draws)
        if self.first is not None and self.failure is None:
            try:
                self.first = torch.cat([self.first, draws.first_steps(self.model)])
            except Exception as error:
                self._fail(error, len(draws.levels))
        self.part = torch.cat([part, self.part])

    def above(self, other: "Candidate") -> Float64[Tensor, " N"]:
        """By how much it is larger than another, by image of both, with the first steps of both."""
        count = min(len(self.part), len(other.part))
        apart = self.part[:count] - other.part[:count]
        if self.first is None or other.first is None or not self.differs_by_time(other):
            return apart
        return apart + self.first[:count] - other.first[:count]

    def beside(self, other: "Candidate") -> Mean:
        """The mean of that, paired by image."""
        apart = self.above(other)
        return mean_over_images(apart, torch.zeros_like(apart), 1)[0]

    def differs_by_time(self, other: "Candidate") -> bool:
        """Whether both are one chain, but for the number that the network receives as its t."""
        if not ("schedule" in self.words and "schedule" in other.words):
            return False
        apart = {*differing(self.words, other.words), *differing(other.words, self.words)}
        ours, theirs = _log_snr(self.model), _log_snr(other.model)
        same = len(ours) == len(theirs) and torch.allclose(ours[1:], theirs[1:])
        return same and apart - {"variance"} == {"time_input"}

    def at_ends(self, draws: Draws) -> bool:
        """Whether the network takes the times of t = 1 and of t = T, at which nothing is measured.

        A table of the times 0..T-1 has no entry T.

        Raises:
            MemoryError, RuntimeError: as `measure`.
        """
        try:
            draws.ends(self.model)
        except Exception as error:
            self._fail(error, len(draws.levels))
        return self.failure is None

    def _fail(self, error: Exception, images: int) -> None:
        if _is_full(error):
            raise error
        self.part = torch.full((images,), math.inf, dtype=torch.float64)
        self.failure = error

    @property
    def is_finite(self) -> bool:
        """Whether it was measured, and gave numbers."""
        return math.isfinite(self.mean)

    @property
    def trouble(self) -> str:
        """Why it is not finite: what the network raised, in a line."""
        if self.failure is None:
            return "x0-hat is NaN or infinite"
        return (str(self.failure).strip().splitlines() or [type(self.failure).__name__])[0]

    def require_finite(self) -> None:
        """Refuses what could not be measured.

        Raises:
            BadInput: the network failed, or x0-hat was not finite; the message says which.
        """
        if not self.is_finite:
            raise BadInput(
                f"{self.model.name} cannot be evaluated as (x_t, time), images of shape "
                f"{self.model.shape}: {self.trouble}"
            ) from self.failure

    @property
    def mean(self) -> float:
        """Nats per image."""
        return float(self.part.mean())


def _is_full(error: Exception) -> bool:
    """Whether memory ended, which says nothing of conventions."""
    return isinstance(error, MemoryError) or out_of_memory(error)
