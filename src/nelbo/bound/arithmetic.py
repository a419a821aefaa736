"""How an evaluation forms the terms of a chain from what its network says.

The conditionals of a chain define its terms, and where their own digits suffice they form them:
`Plain`. Of two Gaussians whose means are nearly the same they do not.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from nelbo.bound.chain import Chain
from nelbo.bound.distribution import Distribution, StepDistribution
from nelbo.bound.noise import Noise
from nelbo.typed_json import Json
from nelbo.types import Batch, Nats, Time

__all__ = ["Arithmetic", "Plain"]


class Arithmetic(ABC):
    """x_t, L_0 and L_{t-1} of one family; x_0 is given in float64 where it is real."""

    @abstractmethod
    def moment(self, t: Time, noise: Noise) -> Tensor:
        """When the term of t is formed: at t, or in a limit at a real number within (t - 1, t)."""

    @abstractmethod
    def state(self, chain: Chain[StepDistribution], x_0: Batch, t: Tensor, noise: Noise) -> Batch:
        """x_t ~ q(x_t | x_0), as the network gets it, at a moment or a whole t."""

    @abstractmethod
    def decoder(self, chain: Chain[StepDistribution], x_1: Batch) -> Distribution:
        """p_theta(x_0 | x_1)."""

    @abstractmethod
    def transition(
        self, chain: Chain[StepDistribution], x_0: Batch, x_t: Batch, t: Tensor
    ) -> tuple[Nats, Nats | None]:
        """(L_{t-1} at x_t, |x_0 - x0-hat(x_t)|^2 where the family has it), at moments of t >= 2."""

    @abstractmethod
    def misfit(self, decoder: Distribution, x_0: Batch) -> tuple[Nats, Nats]:
        """(|x_0 - x0-hat(x_1)|^2, the same in units of the decoder's variance); NaN without one."""

    @abstractmethod
    def rounded(
        self, chain: Chain[StepDistribution], dtype: torch.dtype, reach: float
    ) -> dict[str, Json]:
        """Where a network of this dtype gets an x_t rounded by a part of its noise; {} if nowhere.

        reach: the largest of the data's numbers.
        """


@final
class Plain(Arithmetic):
    """By the chain's own conditionals."""

    def moment(self, t: Time, noise: Noise) -> Tensor:
        return t

    def state(self, chain: Chain[StepDistribution], x_0: Batch, t: Tensor, noise: Noise) -> Batch:
        x_t: Batch = chain.q.marginal(x_0, t).sample(noise)
        return x_t

    def decoder(self, chain: Chain[StepDistribution], x_1: Batch) -> Distribution:
        return chain.p.decoder(x_1)

    def transition(
        self, chain: Chain[StepDistribution], x_0: Batch, x_t: Batch, t: Tensor
    ) -> tuple[Nats, Nats | None]:
        return chain.q.posterior(x_t, x_0, t).kl(chain.p.step(x_t, t)), None

    def misfit(self, decoder: Distribution, x_0: Batch) -> tuple[Nats, Nats]:
        unknown = torch.full((len(x_0),), torch.nan, dtype=torch.float64, device=x_0.device)
        return unknown, unknown

    def rounded(
        self, chain: Chain[StepDistribution], dtype: torch.dtype, reach: float
    ) -> dict[str, Json]:
        return {}
