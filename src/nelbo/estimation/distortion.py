"""Rate, and distortion where known, along the reverse chain (Ho et al. 2020, section 4.3)."""

from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.results import Curve

__all__ = ["Distortion"]

POINTS = 64  # of a curve


@final
class Distortion:
    """Weighted sums by t of the terms and of |x_0 - x0-hat|^2."""

    def __init__(self, T: int) -> None:
        self.T = T
        self.sums = torch.zeros(T + 1, 3, dtype=torch.float64)
        self.known = True

    def update(
        self,
        t: Int64[Tensor, " R"],
        weight: Float64[Tensor, " R"],
        term: Float64[Tensor, " R"],
        squared_error: Float64[Tensor, " R"] | None,
    ) -> None:
        """Adds rows, whose weights over all updates sum to 1 per image and t in expectation."""
        self.known &= squared_error is not None
        error = torch.zeros_like(weight) if squared_error is None else squared_error
        columns = torch.stack([torch.ones_like(weight), term, error], dim=1)
        self.sums.index_add_(0, t, weight[:, None] * columns)

    def curve(self, prior: float, images: int) -> Curve:
        """From x_T, where the rate is L_T, to x_2; the rate is in nats per image.

        t are grouped evenly: the error is a group's mean, the rate that of its middle.
        """
        group = torch.arange(self.T - 1) * min(POINTS, self.T - 1) // max(self.T - 1, 1)
        sums = torch.zeros(int(group[-1]) + 1, 3, dtype=torch.float64)
        sums.index_add_(0, group, self.sums[2:])
        rate = (self.sums[:, 1] / images).flip(0).cumsum(0).flip(0)  # from t on
        rate = torch.cat([rate, torch.zeros(1, dtype=torch.float64)])
        places = torch.arange(len(sums))
        first = torch.searchsorted(group, places)
        last = torch.searchsorted(group, places, right=True) - 1
        middle = (first + last) // 2 + 2
        seen = sums[:, 0] > 0
        error = sums[seen, 2] / sums[seen, 0] if self.known else None
        return Curve(middle[seen], (prior + rate[middle + 1])[seen], error)
