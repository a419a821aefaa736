"""One of K states for each dimension, independent over dimensions, carried as log probabilities."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Noise
from nelbo.types import Batch, Nats

__all__ = ["Categorical"]


@final
@dataclass(frozen=True)
class Categorical(StepDistribution):
    """P(x = k) = exp(log_probs[..., k]) for states 0..K-1 in int64; -inf is a state without mass.

    That the probabilities add up to 1 is the caller's promise: they are not normalised here, and
    the divergence of two that are not is none.
    """

    log_probs: Float[Tensor, "B *dims K"]

    def sample(self, noise: Noise) -> Batch:
        """The state whose share of [0, 1] holds the uniform number; never one without mass."""
        # float64, for 53 random bits; scaled to the last sum, which rounding keeps from 1.
        cumulative = self.log_probs.detach().double().exp().cumsum(-1)
        position = noise.uniform(cumulative[..., -1]) * cumulative[..., -1]
        return (cumulative < position.unsqueeze(-1)).sum(-1)

    def log_prob(self, x: Batch) -> Nats:
        return _sum(self.log_probs.gather(-1, x.unsqueeze(-1)).squeeze(-1))

    def kl(self, other: "Categorical") -> Nats:
        """sum of p (log p - log q), with 0 log 0 = 0; +inf where p has mass and q has none."""
        # Every branch is finite before it is chosen: a NaN not taken would still have a gradient.
        ratio = torch.where(self.log_probs > -math.inf, self.log_probs - other.log_probs, 0)
        beyond = ratio == math.inf
        terms = self.log_probs.exp() * ratio.masked_fill(beyond, 0)
        return _sum(torch.where(beyond, ratio, terms).sum(-1))


def _sum(x: Tensor) -> Nats:
    return x.flatten(1).sum(1)
