"""Q_t = alpha_t I + beta_t 1 m^T: now and then a state is forgotten and redrawn from one law m."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.arguments import spans
from nelbo.categorical.transition import (
    ROW_SUM,
    LogMasses,
    States,
    Transition,
    check_betas,
    wrong_beta,
)
from nelbo.errors import BadInput
from nelbo.types import Time

__all__ = ["Resampling", "absorbing", "resampling", "uniform"]


@final
@dataclass(frozen=True, eq=False)
class Resampling(Transition):
    """Q_t = alpha_t I + (1 - alpha_t) 1 m^T: with probability beta_t the state is redrawn from m.

    So Qbar_t has the same form, with alpha_bar_t, and every operation costs O(K). `log_alpha`
    holds log(1 - beta_t), t = 1..T, from which alpha_bar and 1 - alpha_bar are both exact; `target`
    is m. See `resampling`, `uniform` and `absorbing`, which take betas.

    Raises:
        BadInput: a beta outside (0, 1), named with its t (beta_T = 1 is allowed: the chain then
            ends in m); a target that is no distribution.
    """

    log_alpha: Float64[Tensor, " T"]
    target: Float64[Tensor, " K"]
    dtype: torch.dtype = torch.float32
    kept: Int64[Tensor, " T"] = field(default=None)  # type: ignore[assignment]
    whole_T: int = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._settle()
        inside = (self.log_alpha < 0) & (self.log_alpha > -math.inf)
        inside[-1] |= self.log_alpha[-1] == -math.inf
        if not inside.all():
            t = int((~inside).nonzero()[0])
            raise wrong_beta(t + 1, float(-torch.expm1(self.log_alpha[t])))
        if not ((self.target >= 0).all() and abs(float(self.target.sum()) - 1) <= ROW_SUM):
            raise BadInput(
                "the target must be probabilities that add up to 1; "
                f"got {self.target.tolist()[:8]}, sum {float(self.target.sum())!r}"
            )

    @property
    def K(self) -> int:
        return len(self.target)

    @property
    def T(self) -> int:
        return len(self.log_alpha)

    @cached_property
    def log_target(self) -> Float64[Tensor, " K"]:
        """log m."""
        return self.target.log()

    @cached_property
    def _one(self) -> "_Redraw":
        zero = torch.zeros(1, dtype=torch.float64)
        return _Redraw(torch.cat([zero, self.log_alpha]), self.target)

    @cached_property
    def _bar(self) -> "_Redraw":
        terms = self.log_alpha.tolist()
        sums = [math.fsum(terms[:t]) for t in range(self.T + 1)]  # each one rounded once
        return _Redraw(torch.tensor(sums, dtype=torch.float64), self.target)

    def log_row(self, x: States, t: Time) -> LogMasses:
        return self._one.row(x, t, self.dtype)

    def log_column(self, x: States, t: Time) -> LogMasses:
        return self._one.column(x, t, self.dtype)

    def log_row_bar(self, x: States, t: Time) -> LogMasses:
        return self._bar.row(x, t, self.dtype)

    def log_column_bar(self, x: States, t: Time) -> LogMasses:
        return self._bar.column(x, t, self.dtype)

    def log_mix_bar(self, log_weights: LogMasses, t: Time) -> LogMasses:
        return self._bar.mix(log_weights.to(self.dtype), t)

    def subchain(self, steps: Sequence[int]) -> "Resampling":
        log_alpha = [math.fsum(self.log_alpha[s:t].tolist()) for s, t in spans(steps, self.T)]
        table = torch.tensor(log_alpha, dtype=torch.float64)
        return replace(self, log_alpha=table, kept=self.kept[torch.tensor(steps) - 1])


@final
@dataclass(frozen=True, eq=False)
class _Redraw:
    """A_t = a_t I + (1 - a_t) 1 m^T for t = 0..T, from log a_t and m."""

    log_a: Float64[Tensor, " steps"]
    target: Float64[Tensor, " K"]

    @cached_property
    def log_target(self) -> Float64[Tensor, " K"]:
        """log m."""
        return self.target.log()

    @cached_property
    def log_redraw(self) -> Float64[Tensor, " steps"]:
        """log(1 - a_t), accurate where a_t is near 1 and where it is near 0."""
        a = self.log_a.exp()
        return torch.where(a < 0.5, torch.log1p(-a), (-torch.expm1(self.log_a)).log())

    @cached_property
    def log_same(self) -> Float64[Tensor, "steps K"]:
        """log A_t[k, k], accurate where A_t[k, k] is near 1 and where it is near 0."""
        leave = self.log_redraw.exp()[:, None] * (1 - self.target)
        back = self.log_redraw[:, None] + self.log_target
        small = torch.logaddexp(self.log_a[:, None], back)
        return torch.where(leave < 0.5, torch.log1p(-leave), small)

    def row(self, x: States, t: Time, dtype: torch.dtype) -> LogMasses:
        redraw = _at(self.log_redraw, t, x.unsqueeze(-1))
        return self._with_same(redraw + self.log_target.to(x.device), x, t, dtype)

    def column(self, x: States, t: Time, dtype: torch.dtype) -> LogMasses:
        other = _at(self.log_redraw, t, x) + self.log_target.to(x.device)[x]
        return self._with_same(other.unsqueeze(-1), x, t, dtype)

    def _with_same(self, other: Tensor, x: States, t: Time, dtype: torch.dtype) -> LogMasses:
        """log A_t[x, x] at x, `other` at every other state."""
        same = self.log_same[t].to(x.device).gather(1, x.flatten(1)).reshape(x.shape)
        other = other.to(dtype).expand(*x.shape, len(self.target))
        return other.scatter(-1, x.unsqueeze(-1), same.to(dtype).unsqueeze(-1))

    def mix(self, log_weights: LogMasses, t: Time) -> LogMasses:
        redraw = _at(self.log_redraw, t, log_weights) + self.log_target.to(log_weights.device)
        redrawn = redraw.to(log_weights.dtype) + log_weights.logsumexp(-1, keepdim=True)
        stay = _at(self.log_a, t, log_weights).to(log_weights.dtype) + log_weights
        # logaddexp of two -inf is -inf, but its gradient is NaN.
        empty = torch.maximum(stay, redrawn) == -math.inf
        total = torch.logaddexp(stay.masked_fill(empty, 0), redrawn.masked_fill(empty, 0))
        return total.masked_fill(empty, -math.inf)


def resampling(
    betas: Sequence[float], target: Sequence[float], dtype: torch.dtype = torch.float32
) -> Resampling:
    """With probability beta_t the state is redrawn from the target, a probability per state.

    Raises:
        BadInput: as `Resampling`.
    """
    check_betas(betas)
    log_alpha = torch.log1p(-torch.tensor(list(betas), dtype=torch.float64))
    return Resampling(log_alpha, torch.tensor(list(target), dtype=torch.float64), dtype)


def uniform(betas: Sequence[float], K: int, dtype: torch.dtype = torch.float32) -> Resampling:
    """Redrawn evenly from all K states: doubly stochastic (Austin et al. 2021, appendix A.2.1).

    Raises:
        BadInput: as `Resampling`; K < 2.
    """
    return resampling(betas, [1 / max(K, 1)] * K, dtype)


def absorbing(betas: Sequence[float], K: int, dtype: torch.dtype = torch.float32) -> Resampling:
    """With probability beta_t masked, for good (Austin et al. 2021, appendix A.2.2).

    K counts the mask, which is the last state, K - 1: data have levels 0..K-2.

    Raises:
        BadInput: as `Resampling`; K < 2.
    """
    return resampling(betas, [0.0] * (K - 1) + [1.0], dtype)


def _at(table: Float64[Tensor, " steps"], t: Time, like: Tensor) -> Float64[Tensor, "..."]:
    """table[t], shaped to broadcast against `like`, on its device."""
    return table[t].to(like.device).reshape(-1, *(1,) * (like.ndim - 1))
