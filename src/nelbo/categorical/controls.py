"""A control variate of a masked chain in any order: what needs no network.

A function that adds up over the masked positions has a mean over the evenly chosen masks that is
known exactly. How good it is changes how much it helps and nothing else, so it may be made from the
very examples that are measured.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.control import Control
from nelbo.categorical.masked import AnyOrder, seen
from nelbo.categorical.transition import States
from nelbo.types import Batch, Nats, Time

__all__ = ["HistogramControl"]

LARGEST = 2**24  # numbers in the histograms of all positions; more, and there is one for all


@final
@dataclass(frozen=True, eq=False)
class HistogramControl(Control):
    """(m_t - m_{t-1}) / m_t times the sum over masked i of h_i(x_i), -log of a histogram.

    It is that of position i. The mean over masks is (m_t - m_{t-1}) / D times the sum over all i,
    D being the number of those that are not shown. `cost` holds h_i, or one h for all positions.
    """

    plan: AnyOrder
    mask: int
    cost: Float64[Tensor, "places mask"]
    name: str = "histograms"

    @classmethod
    def of(cls, plan: AnyOrder, mask: int, data: Tensor) -> "HistogramControl":
        """With the histograms of these examples, (N, *dims), and one more, of all levels."""
        flat = data.flatten(1).cpu().long()
        flat = flat if flat.shape[1] * mask <= LARGEST else flat.reshape(-1, 1)
        counts = torch.full((flat.shape[1], mask), 1 / mask, dtype=torch.float64)
        counts.scatter_add_(1, seen(flat).T, (flat.T >= 0).double())
        return cls(plan, mask, -(counts / counts.sum(1, keepdim=True)).log())

    def value(self, x_0: Batch, x_t: Batch, t: Time, image: Int64[Tensor, " B"]) -> Nats:
        cost = self._costs(x_0.flatten(1)).masked_fill(x_t.flatten(1) != self.mask, 0)
        masked = (x_t == self.mask).flatten(1).sum(1)
        moved = self.plan.moves((x_0 >= 0).flatten(1).sum(1), t)
        return moved / masked.clamp(min=1).double() * cost.sum(1)

    def totals(
        self, x_0: Batch, group: Int64[Tensor, " transitions"], groups: int
    ) -> Float64[Tensor, "2 N groups"]:
        total = self._costs(x_0.flatten(1)).sum(1).cpu()
        free, which = (x_0 >= 0).flatten(1).sum(1).cpu().unique(return_inverse=True)
        share = torch.zeros(len(free), groups, dtype=torch.float64)
        for row, n in zip(share, free, strict=True):  # of most data all n are one
            t = torch.arange(2, len(self.plan.counts) + 1)
            row.index_add_(0, group, self.plan.moves(n.expand(len(t)), t) / n.clamp(min=1).double())
        return (total[:, None] * share[which]).expand(2, -1, -1)

    def _costs(self, flat: States) -> Float64[Tensor, "B dims"]:
        place = torch.arange(flat.shape[1], device=flat.device) % len(self.cost)
        return self.cost.to(flat.device)[place, seen(flat)].masked_fill(flat < 0, 0)
