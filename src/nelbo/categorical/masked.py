"""Masked chains: a step hides positions of the data and its reverse reveals them.

x_t has exactly m_t positions masked, 0 = m_0 < m_1 < ... < m_T = D, so a chain is a plan of which.
`AnyOrder` hides positions that are evenly chosen; with one position a step its bound is the limit
of infinitely many steps of an absorbing chain, whatever its survival (Hoogeboom et al. 2022,
"Autoregressive diffusion models"; Ou et al. 2025). `InOrder` hides those of an order: nothing is
random, so the bound is -log p_theta(x_0) itself.

A position that is shown, such as one of a prompt, is never masked: the bound is that of the others
given those. Its value v stands in x as -1 - v (`shown`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.bound.chain import ForwardProcess, ReverseProcess, constant_time
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Noise
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.orders import Order, groups
from nelbo.categorical.predicted import Predicted
from nelbo.categorical.resampling import Resampling
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.categorical.transition import States
from nelbo.errors import BadInput
from nelbo.types import Batch, Nats, Time

__all__ = [
    "AnyOrder",
    "Changes",
    "InOrder",
    "MaskedForward",
    "MaskedReverse",
    "Plan",
    "all_masked",
    "count_weights",
    "mask_of",
    "nearest_times",
    "seen",
    "shown",
    "survival",
]

SAME = 1e-9  # of two shares of the positions, which rounding may tell apart

Positions: TypeAlias = Bool[Tensor, "B *dims"]


def shown(values: States) -> States:
    """-1 - v: values that are given, which the chain neither masks nor counts."""
    return -1 - values


def seen(x: States) -> States:
    """The values themselves, shown ones too: what a network sees."""
    return torch.where(x < 0, -1 - x, x)


@final
@dataclass(frozen=True, eq=False)
class Changes(StepDistribution):
    """`count` of the n free positions of x, evenly chosen, take a new value.

    P(y) = 1 / C(n, count) times the product over the changed i of P_i(y_i). A new value is known,
    `values`, or is as `predicted` says; it differs from the old one, so y says which
    positions changed. count holds one for each example.
    """

    x: States
    free: Positions
    count: Int64[Tensor, " B"]
    values: States | None = None
    predicted: Predicted | None = None

    def sample(self, noise: Noise) -> Batch:
        place = noise.uniform(self.x).masked_fill(~self.free, 2)
        rank = place.flatten(1).argsort(1).argsort(1)
        chosen = (rank < self._count(rank)).reshape(self.x.shape)
        new = self.values
        if self.predicted is not None:
            new = Categorical(self.predicted.log_probs).sample(noise.at(constant_time(0, self.x)))
        assert new is not None
        return torch.where(chosen, new, self.x)

    def log_prob(self, x: Batch) -> Nats:
        changed = x != self.x
        n = self.free.flatten(1).sum(1)
        wrong = (changed & ~self.free).flatten(1).any(1)
        wrong |= changed.flatten(1).sum(1) != self.count.to(x.device)
        subsets = _log_binomial(n, self.count.to(x.device))
        values = torch.where(changed, self._log_mass(x), 0).flatten(1).sum(1)
        return (values - subsets).masked_fill(wrong, -math.inf)

    def kl(self, other: "Changes") -> Nats:
        """Of two with the same x, free positions and counts: count / n of all n positions' KL.

        Those of the free positions alone, since which change is as likely in both. Infinite where
        the other's values are known and these are not.
        """
        if self.values is not None:
            each = torch.where(self.free, -other._log_mass(self.values), 0).flatten(1).sum(1)
        elif other.values is not None:
            wrong = self.free & (self._log_mass(other.values) < 0)
            each = torch.where(wrong.flatten(1).any(1), math.inf, 0.0).double()
        else:
            assert self.predicted is not None
            assert other.predicted is not None
            log_p, log_q = self.predicted.log_probs, other.predicted.log_probs
            own = Categorical(torch.where(self.free.unsqueeze(-1), log_p, log_q))
            each = own.kl(Categorical(log_q))
        n = self.free.flatten(1).sum(1).clamp(min=1)  # where none is free, nothing changes
        count = self.count.to(each.device).double()
        return torch.where(count > 0, count / n * each, 0)

    def _count(self, like: Tensor) -> Tensor:
        return self.count.to(like.device)[:, None]

    def _log_mass(self, x: States) -> Tensor:
        """log P_i(x_i) at every position."""
        if self.predicted is not None:
            return self.predicted.log_mass(seen(x))
        assert self.values is not None
        same = torch.zeros_like(x, dtype=torch.float64)
        return same.masked_fill(x != self.values, -math.inf)


class Plan(ABC):
    """Which positions are masked in x_t, t = 1..T, and which of them the reverse step reveals.

    `counts` holds m_1..m_T, the numbers of masked positions.
    """

    counts: Int64[Tensor, " T"]

    @abstractmethod
    def masked(self, x: States, t: Time) -> Positions:
        """Where x_t may be masked, x being data: m_t of these are, or all where they are fewer."""

    @abstractmethod
    def revealed(self, is_masked: Positions, t: Time) -> Positions:
        """Where x_{t-1} may differ from x_t."""

    @abstractmethod
    def hidden(self, is_masked: Positions, t: Time) -> Positions:
        """Where x_t may differ from x_{t-1}."""

    @abstractmethod
    def moved(self, x: States, moving: Positions, t: Time) -> Int64[Tensor, " B"]:
        """How many of `moving`, where x_{t-1} and x_t differ, do so; x is either of them."""

    def sizes(self) -> Int64[Tensor, " T"]:
        """m_t - m_{t-1}."""
        return self.counts.diff(prepend=self.counts.new_zeros(1))


@final
@dataclass(frozen=True, eq=False)
class AnyOrder(Plan):
    """m_t positions, evenly chosen: each step reveals m_t - m_{t-1} of the masked ones.

    Raises:
        BadInput: counts that do not increase from 1 on.
    """

    counts: Int64[Tensor, " T"]

    def __post_init__(self) -> None:
        if not len(self.counts) or not (self.sizes() > 0).all():
            raise BadInput(
                "the numbers of masked positions must increase from 1 on; got "
                f"{self.counts.tolist()[:8]}"
            )

    def masked(self, x: States, t: Time) -> Positions:
        return x >= 0

    def revealed(self, is_masked: Positions, t: Time) -> Positions:
        return is_masked

    def hidden(self, is_masked: Positions, t: Time) -> Positions:
        return ~is_masked

    def moved(self, x: States, moving: Positions, t: Time) -> Int64[Tensor, " B"]:
        return self.moves((x >= 0).flatten(1).sum(1), t)

    def moves(self, n: Int64[Tensor, " R"], t: Int64[Tensor, " R"]) -> Int64[Tensor, " R"]:
        """min(m_t, n) - min(m_{t-1}, n): of n positions that are not shown, those of step t."""
        now, before = self.counts, self.counts - self.sizes()
        return torch.minimum(now[t - 1].to(n.device), n) - torch.minimum(
            before[t - 1].to(n.device), n
        )


@final
@dataclass(frozen=True, eq=False)
class InOrder(Plan):
    """The positions in an order, in equal groups: call g = 1..T of the network is step T - g + 1.

    `step` says which step reveals each position.

    Raises:
        BadInput: calls outside 1..D.
    """

    order: Order
    calls: int

    step: Int64[Tensor, "*dims"] = field(init=False)
    counts: Int64[Tensor, " T"] = field(init=False)

    def __post_init__(self) -> None:
        step = torch.empty(len(self.order.positions), dtype=torch.int64)
        for call, part in enumerate(groups(self.order, self.calls)):
            step[part] = self.calls - call
        object.__setattr__(self, "step", step.reshape(self.order.shape))
        object.__setattr__(self, "counts", step.bincount(minlength=self.calls + 1)[1:].cumsum(0))

    def masked(self, x: States, t: Time) -> Positions:
        return (self.step.to(x.device) <= _beside(t, x)) & (x >= 0)

    def revealed(self, is_masked: Positions, t: Time) -> Positions:
        return self.step.to(is_masked.device) == _beside(t, is_masked)

    def hidden(self, is_masked: Positions, t: Time) -> Positions:
        return self.revealed(is_masked, t)

    def moved(self, x: States, moving: Positions, t: Time) -> Int64[Tensor, " B"]:
        return moving.flatten(1).sum(1)


@final
@dataclass(frozen=True, eq=False)
class MaskedForward(ForwardProcess[Changes]):
    """q: the positions that the plan says become the state `mask`, which is never data."""

    plan: Plan
    mask: int

    @property
    def T(self) -> int:
        return len(self.plan.counts)

    def marginal(self, x_0: Batch, t: Time) -> Changes:
        """q(x_t | x_0): m_t positions of x_0 are masked, or all that are not shown."""
        free = self.plan.masked(x_0, t)
        count = torch.minimum(self.plan.counts[t - 1].to(free.device), free.flatten(1).sum(1))
        return self._mask(x_0, free, count)

    def step(self, x_prev: Batch, t: Time) -> Changes:
        """q(x_t | x_{t-1}): m_t - m_{t-1} more of them."""
        hidden = self.plan.hidden(x_prev == self.mask, t) & (x_prev >= 0)
        return self._mask(x_prev, hidden, self.plan.moved(x_prev, hidden, t))

    def posterior(self, x_t: Batch, x_0: Batch, t: Time) -> Changes:
        """q(x_{t-1} | x_t, x_0): m_t - m_{t-1} masked positions take their values in x_0, t >= 2.

        Raises:
            BadInput: some t < 2, where it is a point mass.
        """
        if int(t.min()) < 2:
            raise BadInput(f"q(x_(t-1) | x_t, x_0) is a point mass at t = 1; got t = {t.tolist()}")
        revealed = self.plan.revealed(x_t == self.mask, t) & (x_t >= 0)
        return Changes(x_t, revealed, self.plan.moved(x_t, revealed, t), values=x_0)

    def _mask(self, x: States, free: Positions, count: Int64[Tensor, " B"]) -> Changes:
        return Changes(x, free, count, values=torch.full_like(x, self.mask))


@final
class MaskedReverse(ReverseProcess[Changes]):
    """p_theta: the revealed positions take values by p_theta(x_0 | x_t), each by itself.

    L_{t-1} is then (m_t - m_{t-1}) / m_t times the sum of -log p_theta(x_0^i | x_t) over the masked
    i where the order is any, and the sum over the revealed i where it is given. `p` is that of an
    absorbing chain, whose network receives times[t - 1] of its own steps at x_t.
    """

    def __init__(self, p: CategoricalReverse, plan: Plan, times: Int64[Tensor, " T"]) -> None:
        self.p = p
        self.plan = plan
        self.times = times
        self.mask = mask_of(p)

    def prior(self, x_0: Batch) -> Changes:
        return all_masked(x_0, self.mask)

    def step(self, x_t: Batch, t: Time) -> Changes:
        revealed = self.plan.revealed(x_t == self.mask, t) & (x_t >= 0)
        count = self.plan.moved(x_t, revealed, t)
        return Changes(x_t, revealed, count, predicted=self.predicted(x_t, t))

    def decoder(self, x_1: Batch) -> Changes:
        return self.step(x_1, constant_time(1, x_1))

    def predicted(self, x_t: Batch, t: Time) -> Predicted:
        """p_theta(x_0^i | x_t) of each position that is masked: one call of the network."""
        return self.p.given(*self.condition).predicted(seen(x_t), self.times[t - 1])


def all_masked(x_0: Batch, mask: int) -> Changes:
    """All positions are masked but those that are shown; of x_0 no more than that counts."""
    x_0 = torch.zeros_like(x_0, dtype=torch.int64) if x_0.is_floating_point() else x_0
    free = x_0 >= 0
    return Changes(x_0, free, free.flatten(1).sum(1), values=torch.full_like(x_0, mask))


def mask_of(p: CategoricalReverse) -> int:
    """The state that hides a position: all others end in it, and it is the last and no level.

    Raises:
        BadInput: the chain has no such state, or some of the data are never masked.
    """
    left = float(survival(p)[-1])
    if p.by_logits:
        raise BadInput(
            "a decoder that is the network's logits says anew what x_1 shows already: positions "
            "are revealed by the decoder posterior"
        )
    if left > 0:
        raise BadInput(
            "some of the data is left at the end of the chain, with a chance of "
            f"{left:g}: the strict L_T is infinite. Let beta_T be 1"
        )
    return p.q.transition.K - 1


def survival(p: CategoricalReverse) -> Float64[Tensor, " T"]:
    """abar_t = prod over s <= t of (1 - beta_s): a position's chance not to be masked in x_t.

    Raises:
        BadInput: the chain has no mask, or one that is a level of the data.
    """
    transition = p.q.transition
    mask = transition.K - 1
    if (
        not isinstance(transition, Resampling)
        or float(transition.target[mask]) != 1
        or p.levels > mask
    ):
        raise BadInput(
            "only an absorbing chain, whose mask is no level of the data, has positions to reveal"
        )
    return transition.log_alpha.cumsum(0).exp()


def count_weights(survival: Float64[Tensor, " T"], D: int) -> Float64[Tensor, "D T"]:
    """(abar_{t-1} - abar_t) / (1 - abar_t) C(D, k) (1 - abar_t)^k abar_t^(D - k), k = 1..D.

    The sum of a row is w_k: L of the absorbing chain is the sum over k of w_k times the mean over
    subsets S of k positions of the sum over i in S of -log p(x_0^i | x outside S). Where the
    network receives t, a row holds the chances of t given k, times w_k. In the limit of infinitely
    many steps w_k = 1 / k. w_k k adds up to D (1 - abar_T).
    """
    k = torch.arange(1, D + 1, dtype=torch.float64)[:, None]
    before = torch.cat([survival.new_ones(1), survival[:-1]])
    rate = (before - survival) / (1 - survival)
    subsets = _log_binomial(torch.full_like(k, D), k)
    chance = torch.xlogy(k, 1 - survival) + torch.xlogy(D - k, survival)
    return rate * (subsets + chance).exp()


def nearest_times(survival: Float64[Tensor, " T"], counts: Sequence[int], D: int) -> Tensor:
    """For each count the t whose expected number of masked positions is nearest to it.

    Of two that are as near the earlier: what the network of an absorbing chain receives where
    exactly so many positions are masked.
    """
    wanted, masked = torch.tensor(list(counts), dtype=torch.float64) / D, 1 - survival
    after = torch.searchsorted(masked, wanted).clamp(max=len(masked) - 1)
    before = (after - 1).clamp(min=0)
    away = torch.minimum((masked[after] - wanted).abs(), (masked[before] - wanted).abs())
    return torch.searchsorted(masked, wanted - away - SAME) + 1


def _log_binomial(n: Tensor, k: Tensor) -> Tensor:
    n, k = n.double(), k.double()
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def _beside(t: Time, x: Tensor) -> Tensor:
    return t.to(x.device).reshape(-1, *(1,) * (x.ndim - 1))
