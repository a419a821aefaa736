"""What is estimated of each image, and of which models."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.bound.statistics import Mean, mean_over_images

__all__ = ["Sum", "columns_of"]


@final
@dataclass(frozen=True)
class Sum:
    """Estimates for each image, in nats, and the variance of each one's error."""

    values: Float64[Tensor, " N"]
    variance: Float64[Tensor, " N"]
    dof: int | float

    def means(self, sizes: Float64[Tensor, " N"] | None = None) -> tuple[Mean, Mean]:
        """(sampling of images, Monte Carlo); sizes: of texts."""
        return mean_over_images(self.values, self.variance, self.dof, sizes)

    def __add__(self, other: "Sum") -> "Sum":
        """Of independent parts."""
        variance = self.variance + other.variance
        parts = [(float(part.variance.sum()), part.dof) for part in (self, other)]
        square = sum(part**2 / dof for part, dof in parts if part > 0)
        whole = float(variance.sum()) ** 2
        dof = whole / square if square > 0 else max(self.dof, other.dof)
        return Sum(self.values + other.values, variance, dof)


def columns_of(models: int) -> Float64[Tensor, "columns models"]:
    """What is estimated of each value of the models: one, or both and their difference."""
    if models == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    return torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
