"""An autoregressive p(x) = prod over i of p(x_i | x_1..x_(i-1)) as a chain of one step.

x_1 is all masks, so q holds nothing of the data and L_T is 0; the decoder is the whole model, and
L_0 = -log p(x) exactly, by one call of a causal network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from nelbo.bound.chain import ReverseProcess, constant_time
from nelbo.bound.distribution import Distribution
from nelbo.bound.noise import Noise
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.masked import Changes, all_masked, seen
from nelbo.categorical.transition import LogMasses, States
from nelbo.errors import BadInput
from nelbo.types import Batch, Nats, Time

__all__ = ["Autoregressive", "InSequence"]


@final
@dataclass(frozen=True, eq=False)
class InSequence(Distribution):
    """p(x | x_1) = prod over the masked i of x_1 of p(x_i | those before i), left to right.

    log_probs: states (B, L) to log p(x_i | those before i), (B, L, n). What x_1 shows is kept:
    where it is a prompt, this is p(continuation | prompt).
    """

    log_probs: Callable[[States], LogMasses]
    x_1: States
    mask: int

    def sample(self, noise: Noise) -> Batch:
        """One call of the network for each place; a place has numbers of its own."""
        x, free = seen(self.x_1), self.x_1 == self.mask
        for place in range(x.shape[1]):
            drawn = Categorical(self.log_probs(x)).sample(noise)[:, place]
            x = x.index_copy(
                1,
                torch.tensor([place], device=x.device),
                torch.where(free[:, place], drawn, x[:, place])[:, None],
            )
        return torch.where(free, x, self.x_1)

    def log_prob(self, x: Batch) -> Nats:
        values = seen(x)
        own = self.log_probs(values).gather(-1, values.unsqueeze(-1)).squeeze(-1)
        return torch.where(self.x_1 == self.mask, own, 0).sum(1, dtype=torch.float64)


@final
class Autoregressive(ReverseProcess[Changes]):
    """p_theta of one step by a causal network: (states (B, L), time) -> logits (B, L n).

    The logits of a place depend on the states before it alone. The mask is the state n.
    """

    def __init__(self, network: nn.Module, n: int) -> None:
        self.network = network
        self.n = n

    def prior(self, x_0: Batch) -> Changes:
        return all_masked(x_0, self.n)

    def step(self, x_t: Batch, t: Time) -> Changes:
        raise BadInput("an autoregressive model has one step, and its decoder is all of it")

    def decoder(self, x_1: Batch) -> InSequence:
        return InSequence(self._log_probs, x_1, self.n)

    def _log_probs(self, x: States) -> LogMasses:
        logits: Tensor = self.network(x, constant_time(1, x).to(x.device))
        return torch.log_softmax(logits.reshape(*x.shape, self.n), -1)
