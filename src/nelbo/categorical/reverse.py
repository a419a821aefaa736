"""p_theta of D3PM: a network that says which data are likely, or tables for a chain of toys."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nelbo.bound.chain import ReverseProcess, constant_time
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.predicted import Predicted
from nelbo.categorical.resampling import Resampling
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput
from nelbo.types import Batch, Time

__all__ = [
    "PRIORS",
    "TIME_INPUTS",
    "CategoricalReverse",
    "Prior",
    "PriorRule",
    "TabularReverse",
    "TimeInput",
]

TimeInput = Callable[[Transition, Time], Tensor]


def _index(transition: Transition, t: Time) -> Tensor:
    return transition.kept[t - 1] - 1


def _t(transition: Transition, t: Time) -> Tensor:
    return transition.kept[t - 1]


def _fraction(transition: Transition, t: Time) -> Tensor:
    return 18 * transition.kept[t - 1].float() / transition.whole_T - 9


TIME_INPUTS: dict[str, TimeInput] = {"index": _index, "t": _t, "fraction": _fraction}
"""What a network receives about t: the 0-based or 1-based step of the chain that it was trained on
(also where steps are skipped), or that step as a fraction of the chain, spread over -9..9."""

Prior = Float64[Tensor, "*dims K"]
"""log p(x_T), for every dimension alike or for each."""


def _target(transition: Transition) -> Prior:
    if not isinstance(transition, Resampling):
        raise BadInput(
            "only a resampling transition has a target: use the uniform prior or a table"
        )
    return transition.log_target


def _uniform(transition: Transition) -> Prior:
    return torch.full((transition.K,), -math.log(transition.K), dtype=torch.float64)


PriorRule: TypeAlias = Callable[[Transition], Prior]
"""log p(x_T) of any chain, such as a sub-chain."""

PRIORS: dict[str, PriorRule] = {"uniform": _uniform, "target": _target}
"""The p(x_T) that chains end in: uniform for a doubly stochastic one, the target of a resampling
one. For an absorbing chain that is the mask alone, right if beta_T is 1 and refused if not."""


@final
class CategoricalReverse(nn.Module, ReverseProcess[Categorical]):
    """p_theta(x_{t-1} | x_t) = sum over x_0 of q(x_{t-1} | x_t, x_0) p_theta(x_0 | x_t).

    The network gives pi(x_0 | x_t), a prior over the data's levels in each dimension, and the
    likelihood of x_t under each level is known exactly: p_theta(x_0 | x_t) is proportional to
    pi(x_0 | x_t) q(x_t | x_0). The sum is then Q_t[x_{t-1}, x_t] (pi Qbar_{t-1})[x_{t-1}],
    normalised; at t = 1 it is p_theta(x_0 | x_1) itself, the decoder. Source: the x_0
    parametrisation of Austin et al. 2021, section 3.3, with the averaging made exact.

    The network maps (x_t as K float channels of 0 and 1 for each channel of the data, what
    `time_input` says of t, the condition if any) to logits, `levels` channels for each:
    (B, C K, ...) to (B, C levels, ...). `levels` is K where it is not given; data with fewer
    levels than the chain has states are the states 0..levels-1, and the others, such as the mask,
    are never data. ids: the network gets the states 0..K-1 of x_t themselves, (B, C, ...), which an
    embedding takes. by_logits: p_theta(x_0 | x_1) is pi itself,
    without what x_1 says, as in D3PM's published code.

    Raises:
        BadInput: levels outside 1..K; a prior that is no distribution over K states, or that has no
            mass where q(x_T | x_0) has some (L_T would be infinite), or the other way round (a
            sample that begins there would have no next step).
    """

    def __init__(
        self,
        network: nn.Module,
        forward: CategoricalForward,
        *,
        time_input: TimeInput,
        prior: Prior,
        levels: int | None = None,
        by_logits: bool = False,
        ids: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.q = forward
        self.time_input = time_input
        self.log_prior = prior
        self.by_logits = by_logits
        self.ids = ids
        self.levels = forward.transition.K if levels is None else levels
        _check(forward.transition, prior, self.levels)

    def along(self, transition: Transition, prior: Prior) -> "CategoricalReverse":
        """The same network, read alike, along another chain with another p(x_T)."""
        return CategoricalReverse(
            self.network,
            CategoricalForward(transition),
            time_input=self.time_input,
            prior=prior,
            levels=self.levels,
            by_logits=self.by_logits,
            ids=self.ids,
        )

    def prior(self, x_0: Batch) -> Categorical:
        log_probs = self.log_prior.to(x_0.device, self.q.transition.dtype)
        return Categorical(log_probs.expand(*x_0.shape, -1))

    def step(self, x_t: Batch, t: Time) -> Categorical:
        return self.averaged(self.log_pi(x_t, t), x_t, t)

    def decoder(self, x_1: Batch) -> Categorical:
        t = constant_time(1, x_1)
        log_pi = self.log_pi(x_1, t)
        return Categorical(log_pi) if self.by_logits else self.x_0(log_pi, x_1, t)

    def log_pi(self, x_t: Batch, t: Time) -> Float[Tensor, "B *dims K"]:
        """log pi(x_0 | x_t), -inf for states that are no levels: one call of the network.

        Raises:
            BadInput: as `predicted`.
        """
        return self.predicted(x_t, t).log_probs

    def predicted(self, x_t: Batch, t: Time) -> Predicted:
        """pi(x_0 | x_t) of each position: one call of the network.

        Raises:
            BadInput: the network's output is not `levels` channels for each of the data's.
        """
        transition, states = self.q.transition, x_t
        if not self.ids:
            states = one_hot(x_t, transition.K).movedim(-1, 2).flatten(1, 2).to(transition.dtype)
        time = self.time_input(transition, t).to(x_t.device, non_blocking=True)
        if time.is_floating_point():
            time = time.to(transition.dtype)
        logits: Tensor = self.network(states, time, *self.condition_at(x_t)).to(transition.dtype)
        if logits.shape != (len(x_t), self.levels * x_t.shape[1], *x_t.shape[2:]):
            raise BadInput(
                f"the network must give {self.levels * x_t.shape[1]} channels, {self.levels} "
                f"levels for each of the data's {x_t.shape[1]}, for input {tuple(states.shape)}; "
                f"got {tuple(logits.shape)}"
            )
        return Predicted(logits.reshape(*x_t.shape[:2], self.levels, *x_t.shape[2:]), transition.K)

    def x_0_hat(self, x_t: Batch, t: Time) -> Float[Tensor, "B *dims"]:
        """The mean level under p_theta(x_0 | x_t)."""
        log_probs = self.x_0(self.log_pi(x_t, t), x_t, t).log_probs[..., : self.levels]
        levels = torch.arange(self.levels, device=x_t.device, dtype=log_probs.dtype)
        return log_probs.exp() @ levels

    def averaged(self, log_pi: Float[Tensor, "B *dims K"], x_t: Batch, t: Time) -> Categorical:
        """p_theta(x_{t-1} | x_t) for this pi, t >= 2."""
        before = self.q.transition.log_mix_bar(log_pi, t - 1)
        log_joint = self.q.transition.log_column(x_t, t) + before
        return Categorical(torch.log_softmax(log_joint, dim=-1))

    def x_0(self, log_pi: Float[Tensor, "B *dims K"], x_t: Batch, t: Time) -> Categorical:
        """p_theta(x_0 | x_t) for this pi, t >= 1."""
        log_joint = log_pi + self.q.transition.log_column_bar(x_t, t)
        return Categorical(torch.log_softmax(log_joint, dim=-1))


@final
@dataclass(frozen=True, eq=False)
class TabularReverse(ReverseProcess[Categorical]):
    """p_theta as tables, alike in every dimension: R[t-1, i, j] = p(x_{t-1} = j | x_t = i).

    pi is p(x_T). For chains small enough to be written down; exact in float64.
    """

    R: Float64[Tensor, "T K K"]
    pi: Float64[Tensor, " K"]

    def prior(self, x_0: Batch) -> Categorical:
        return Categorical(self.pi.log().expand(*x_0.shape, -1))

    def step(self, x_t: Batch, t: Time) -> Categorical:
        row = t.reshape(-1, *(1,) * (x_t.ndim - 1)) - 1
        return Categorical(self.R[row, x_t].log())

    def decoder(self, x_1: Batch) -> Categorical:
        return Categorical(self.R[0, x_1].log())


def _check(transition: Transition, log_prior: Prior, levels: int) -> None:
    K = transition.K
    if not 1 <= levels <= K:
        raise BadInput(f"the data's levels must lie in 1..{K}, the chain's states; got {levels}")
    if log_prior.shape[-1:] != (K,) or not (log_prior.logsumexp(-1).abs() <= 1e-9).all():
        raise BadInput(
            f"p(x_T) must be log probabilities of {K} states, the last axis, that add up to 1; "
            f"got shape {tuple(log_prior.shape)}"
        )
    reached = _reached(transition, levels)
    mass = log_prior.reshape(-1, K) > -math.inf
    if (reached & ~mass).any():
        raise BadInput(
            f"p(x_T) gives no mass to state {_first(reached & ~mass)}, which q(x_T | x_0) reaches: "
            "L_T would be infinite. Let beta_T be 1, or give every state some mass"
        )
    if (mass & ~reached).any():
        raise BadInput(
            f"p(x_T) gives mass to state {_first(mass & ~reached)}, which q(x_T | x_0) never "
            "reaches: no step leads from there. Give it none; a chain with beta_T = 1 ends in its "
            "target"
        )


def _reached(transition: Transition, levels: int) -> Bool[Tensor, " K"]:
    """Which states q(x_T | x_0) gives a mass, of any level x_0; K^2 numbers only where it must."""
    if isinstance(transition, Resampling):
        log_alpha = float(transition.log_alpha.sum())
        stays = (torch.arange(transition.K) < levels) & (log_alpha > -math.inf)
        return stays | (transition.target > 0) & (log_alpha < 0)
    every = torch.arange(levels)[None]
    return (transition.log_row_bar(every, torch.tensor([transition.T])) > -math.inf)[0].any(0)


def _first(states: Bool[Tensor, "dims K"]) -> int:
    return int(states.any(0).nonzero()[0])
