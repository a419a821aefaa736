"""The t of a batch, and the weights that make its mean unbiased for t uniform on 1..T."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import final

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import low_discrepancy_times
from nelbo.bound.noise import KeyedNoise
from nelbo.types import Time

__all__ = ["TIMES", "Importance", "LowDiscrepancy", "Times", "Uniform"]

Rows = Int64[Tensor, "*rows B"]
Weights = Float64[Tensor, "*rows B"]

MEMORY = 10  # losses that are remembered of each t
FLOOR = 0.001  # share of the draws that are uniform whatever the losses


class Times(ABC):
    """Times for the rows of a batch: mean(weight * loss) is unbiased for the mean loss over t."""

    learns = False

    def __init__(self, T: int) -> None:
        self.T = T

    @abstractmethod
    def draw(self, noise: KeyedNoise, count: int) -> tuple[Rows, Weights | None]:
        """(times, weights or None for 1), a row of them for each row of the noise."""

    def update(self, t: Time, losses: Tensor) -> None:  # noqa: B027
        """Learns from the losses that came of these times."""

    def tensors(self) -> Mapping[str, Tensor]:
        """What it has learnt, not copied."""
        return {}


@final
class LowDiscrepancy(Times):
    """Each uniform, and together spread evenly."""

    def draw(self, noise: KeyedNoise, count: int) -> tuple[Rows, None]:
        return low_discrepancy_times(self.T, count, _offset(noise)), None


@final
class Uniform(Times):
    """Uniform and independent."""

    def draw(self, noise: KeyedNoise, count: int) -> tuple[Rows, None]:
        place = noise.uniform(torch.empty(len(noise.key), count))
        return 1 + (self.T * place).long().clamp(max=self.T - 1), None


@final
class Importance(Times):
    """p(t) proportional to the root mean square of the last 10 losses at t.

    Low-discrepancy times, of weight 1, until each t has been seen 10 times; after that one draw
    in 1000 stays uniform, which keeps weights below 1000, and the rows of a batch spread evenly
    over the quantiles of p. Source: Nichol and Dhariwal 2021, section 3.3.
    """

    learns = True

    def __init__(self, T: int) -> None:
        super().__init__(T)
        self.memory = torch.zeros(T, MEMORY, dtype=torch.float64)
        self.seen = torch.zeros(T, dtype=torch.int64)

    def draw(self, noise: KeyedNoise, count: int) -> tuple[Rows, Weights | None]:
        chance = self.chances()
        if chance is None:
            return low_discrepancy_times(self.T, count, _offset(noise)), None
        place = (torch.arange(count, dtype=torch.float64) / count + _offset(noise)) % 1
        index = torch.searchsorted(chance.cumsum(0), place, right=True).clamp(max=self.T - 1)
        return index + 1, 1 / (self.T * chance[index])

    def chances(self) -> Float64[Tensor, " T"] | None:
        """p(1..T), or None while a t was seen too seldom, or no t has a loss."""
        if int(self.seen.min()) < MEMORY:
            return None
        size = self.memory.square().mean(1).sqrt()
        if not size.any():
            return None
        return (1 - FLOOR) * size / size.sum() + FLOOR / self.T

    def update(self, t: Time, losses: Tensor) -> None:
        # the n-th row of a t in this batch goes n places on; where rows share a place the later
        # one stays, which numpy promises and torch does not
        order = t.argsort(stable=True).numpy()
        index = t.numpy()[order] - 1
        first = np.searchsorted(index, index)
        seen, memory = self.seen.numpy(), self.memory.numpy()
        slot = (seen[index] + np.arange(len(index)) - first) % MEMORY
        memory[index, slot] = losses.double().numpy()[order]
        np.add.at(seen, index, 1)

    def tensors(self) -> Mapping[str, Tensor]:
        return {"memory": self.memory, "seen": self.seen}


TIMES: Mapping[str, Callable[[int], Times]] = {
    "low-discrepancy": LowDiscrepancy,
    "uniform": Uniform,
    "importance": Importance,
}


def _offset(noise: KeyedNoise) -> Float64[Tensor, "rows 1"]:
    return noise.uniform(torch.empty(len(noise.key), 1))
