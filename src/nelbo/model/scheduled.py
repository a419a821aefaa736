"""What models have in common whose latents are Gaussian, along a schedule."""

from abc import ABC
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.bound.arithmetic import Arithmetic
from nelbo.bound.chain import ReverseProcess
from nelbo.bound.control import Control
from nelbo.bound.distribution import StepDistribution
from nelbo.gaussian.along import Along, Steps
from nelbo.gaussian.controls import FINEST, controls, frozen_logits
from nelbo.gaussian.decoder import LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.precise import InFloat64
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.yardstick import Yardstick
from nelbo.model.model import Context, Denoiser, Model
from nelbo.types import Batch, Grid, Support, Time

__all__ = ["Scheduled", "described_clip"]


class Scheduled(Model, Denoiser, ABC):
    """A model whose x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps."""

    family = "gaussian"

    @property
    def schedule(self) -> Schedule:
        """That of q."""
        q = self.chain.q
        assert isinstance(q, GaussianForward)
        return q.schedule

    @property
    def terms(self) -> Along:
        """Where along log SNR the terms of t = 2..T are."""
        return Steps(self.schedule)

    def embed(self, levels: Tensor, dtype: torch.dtype) -> Batch:
        return self.support.values(levels, dtype)

    def levels(self, x_0: Batch) -> Tensor:
        return self.support.levels(x_0)

    def x_0_hat(self, p: ReverseProcess[StepDistribution], x_t: Batch, t: Time) -> Batch:
        x_0: Batch = p.x_0_hat(x_t, t)  # type: ignore[attr-defined]
        return x_0

    @property
    def log_snr(self) -> Float64[Tensor, " steps"]:
        return self.schedule.log_snr

    @property
    def importance(self) -> Float64[Tensor, " transitions"]:
        return self.schedule.importance

    @property
    def arithmetic(self) -> Arithmetic:
        return InFloat64()

    def context(self) -> Context | None:
        emission = getattr(self.chain.p, "emission", None)
        grid = self.support
        if not isinstance(grid, Grid) or not isinstance(emission, LevelPosterior):
            return None
        return partial(frozen_logits, self.schedule, grid) if grid.n <= FINEST else None

    def controls(self, levels: Tensor, context: Tensor | None) -> list[Control]:
        return controls(self.terms, self.support, levels, context)

    def yardstick(self, data: Tensor) -> Yardstick | None:
        return Yardstick.of(self.terms, self.support, data)


def described_clip(clip: tuple[float, float] | None, support: Support) -> bool | list[float]:
    """Whether x0-hat is clipped, where it is to the data's own range; else the range."""
    if clip is None:
        return False
    whole = isinstance(support, Grid) and clip == (support.lo, support.hi)
    return True if whole else list(clip)
