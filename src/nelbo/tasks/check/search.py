"""Which conventions fit a network: errors at the same images and noise, by successive halving."""

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from nelbo.errors import BadInput
from nelbo.estimation.evaluator import out_of_memory
from nelbo.gaussian.yardstick import AffineFit
from nelbo.model import Denoiser, Model
from nelbo.networks.adapter import tensor_in
from nelbo.typed_json import Json
from nelbo.types import Grid

__all__ = ["Candidate", "Draws", "Remembered", "halved"]

WINDOW = (6.0, -6.0)  # log SNR of data on [-1, 1]: outside it no network differs from another
ROUNDS = ((6, 6, 12), (16, 8, 4), (64, 12, 4))  # images, log SNRs, candidates that are left
ROWS = 64  # that the network is called with at once


@final
class Remembered(nn.Module):
    """A network that is evaluated once for equal inputs, whatever its output is taken for."""

    def __init__(self, network: Callable[..., object]) -> None:
        super().__init__()
        self.network = network
        self.evaluations = 0
        self.channels = 0  # of the last output
        self._outputs: dict[bytes, Tensor] = {}

    def forward(self, x_t: Tensor, time: Tensor, *given: Tensor, **arguments: Tensor) -> Tensor:
        digest = hashlib.sha256(repr((time.dtype, x_t.dtype)).encode())
        for tensor in (x_t, time):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        key = digest.digest()
        if key not in self._outputs:
            self.evaluations += len(x_t)
            output = tensor_in(self.network(x_t, time, *given, **arguments)).detach()
            self._outputs[key], self.channels = output, output.shape[1] if output.ndim > 1 else 0
        return self._outputs[key]

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
        reach = (model.support.hi - model.support.lo) / 2 if isinstance(model.support, Grid) else 1
        wanted = self.log_snr - 2 * math.log(reach)
        table = model.log_snr
        assert table is not None
        assert isinstance(model, Denoiser)  # of a Gaussian family
        times = 1 + (table[1:, None] - wanted).abs().argmin(0)
        p = model.chain.p.given(*self.condition)
        squares = torch.empty(self.eps.shape[:2].numel(), dtype=torch.float64)
        for rows in torch.arange(len(squares)).split(ROWS):
            image, t = rows % len(self.levels), times[rows // len(self.levels)]
            x_0 = model.x_0(self.levels[image], torch.float32)
            log_snr = table[t].reshape(-1, *(1,) * (x_0.ndim - 1))
            signal, noise = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
            eps = self.eps.flatten(0, 1)[rows].reshape(x_0.shape)
            x_t = (signal * x_0.double().cpu() + noise * eps).to(x_0)
            x_0_hat = model.x_0_hat(p.rows(image), x_t, t)
            squares[rows] = (x_0 - x_0_hat).double().flatten(1).square().sum(1).cpu()
        weight = 0.5 * self.share * table[times].exp()
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


@final
@dataclass(eq=False)
class Candidate:
    """Conventions, the model that they make of the network, and its part of the bound by image.

    evaluations: of the model, remembered or not; failure: of the last measurement.
    """

    words: Mapping[str, Json]
    model: Model
    part: Float64[Tensor, " N"] = field(default_factory=lambda: torch.tensor([math.inf]))
    evaluations: int = 0
    failure: Exception | None = None

    def measure(self, draws: Draws) -> None:
        """At these images and noises.

        Raises:
            MemoryError, RuntimeError: out of memory, which says nothing of the conventions.
        """
        self.evaluations += draws.eps[..., 0].numel()
        self.failure = None
        try:
            self.part = draws.part(self.model)
        except Exception as error:  # whatever a network does with inputs that are not its own
            self._fail(error, len(draws.levels))

    def at_ends(self, draws: Draws) -> bool:
        """Whether the network takes the times of t = 1 and of t = T, at which nothing is measured.

        A table of the times 0..T-1 has no entry T.

        Raises:
            MemoryError, RuntimeError: as `measure`.
        """
        self.evaluations += 2
        try:
            draws.ends(self.model)
        except Exception as error:
            self._fail(error, len(draws.levels))
        return self.failure is None

    def _fail(self, error: Exception, images: int) -> None:
        if isinstance(error, MemoryError) or out_of_memory(error):
            raise error
        self.part = torch.full((images,), math.inf, dtype=torch.float64)
        self.failure = error

    def require_finite(self) -> None:
        """Refuses what could not be measured.

        Raises:
            BadInput: the network failed, or x0-hat was not finite; the message says which.
        """
        if not math.isfinite(self.mean):
            why = "x0-hat is NaN or infinite"
            if self.failure is not None:
                why = (str(self.failure).strip().splitlines() or [type(self.failure).__name__])[0]
            raise BadInput(
                f"{self.model.name} cannot be evaluated as (x_t, time), images of shape "
                f"{self.model.shape}: {why}"
            ) from self.failure

    @property
    def mean(self) -> float:
        """Nats per image."""
        return float(self.part.mean())


def halved(
    candidates: Sequence[Candidate],
    draws_of: Callable[[int, int], Draws],
    remembered: Remembered,
    stated: Candidate | None,
    progress: Callable[[int, int, str], None],
) -> list[Candidate]:
    """The best, measured last at the same images; the stated one is measured with them."""
    left = list(candidates)
    for number, (images, count, keep) in enumerate(ROUNDS):
        draws = draws_of(images, count)
        for done, candidate in enumerate(left):
            candidate.measure(draws)
            progress(done + 1, len(left), f"round {number + 1} of {len(ROUNDS)}")
        if stated is not None:
            stated.measure(draws)
        ranked = sorted((one for one in left if math.isfinite(one.mean)), key=lambda one: one.mean)
        left = list(itertools.islice((one for one in ranked if one.at_ends(draws)), keep))
        remembered.forget()
    return left
