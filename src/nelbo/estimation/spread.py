"""How far the sum of a few rows of each image is from what it estimates, and how sure that is."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.bound.statistics import satterthwaite

__all__ = ["FEWEST", "Spread", "variance_of_sum"]

FEWEST = 8  # images below which controls cannot be tested, nor pairs be scaled by what images share
LEAST = 0.85  # of the variance in pairs of neighbours, whatever else is estimated
TINY = 1e-300


@final
@dataclass(frozen=True)
class Spread:
    """The variance of each image's error, and how well the sum of them is known.

    information is the estimated variance of the sum's estimate, halved; most is the degrees of
    freedom if all that went in were of one size.
    """

    variance: Float64[Tensor, " N"]
    information: int | float
    most: int | float

    def at_least(self, variance: int | float) -> "Spread":
        """No image's is smaller, and none is thereby better known."""
        wider = self.variance.clamp(min=variance)
        ratio = float(wider.sum() / self.variance.sum().clamp(min=TINY))
        # not by its square, which is beyond a float where nothing varied
        return Spread(wider, self.information * ratio * ratio, self.most)

    def dof(self, tails: int | float = 0) -> float:
        """Of the sum of the variances; tails as in `satterthwaite`."""
        each = self.most / len(self.variance)
        return satterthwaite(self.variance, each, tails, self.information)


def variance_of_sum(values: Float64[Tensor, "N strata"]) -> Spread:
    """Of the sum of each image's rows, by collapsed strata (Cochran 1977, section 5A.12).

    Every row is in one pair of neighbours, or in the last three of an odd number, so its noise
    counts once, wherever along t there is most of it. By how much neighbours differ in the mean
    over the images is no error, and is taken off. Where an image has one row, the spread between
    the images stands for it, and is too wide.

    Pairs also count by how much the mean of an image changes from stratum to stratum. What rows of
    one image have in common at distances of one and two strata says how much of their spread is
    no noise at distance 0, by a parabola, which a stationary trend exceeds; where there are images
    enough to tell, the pairs are scaled to what then is left.

    The degrees of freedom are those of the pairs themselves: a few that are far larger than the
    others say less than as many that are alike.
    """
    count, strata = values.shape
    free = (count - 1) / count if count > 1 else 1.0
    if count > 1:
        values = (values - values.mean(0)) / math.sqrt(free)
    if strata == 1:
        spread = values.square().mean() if count > 1 else values.new_tensor(math.nan)
        return Spread(spread.expand(count), 0.0, max(count - 1.0, 1.0))
    odd = strata % 2
    pairs = values[:, : strata - 3 * odd].reshape(count, -1, 2).diff(dim=2).square()[..., 0]
    last = 3 * values[:, -3:].var(1) if odd else torch.zeros(count, dtype=torch.float64)
    variance = pairs.sum(1) + last
    information = float((pairs.square() / 3).sum() + (last.square() / 4).sum()) / free
    most = free * count * (pairs.shape[1] + 2 * odd)
    if strata == 2 or count < FEWEST or not variance.any():
        return Spread(variance, information, most)
    size = values.square().mean(0)
    alike = values / size.sqrt().where(size > 0, 1.0)
    near, far = ((alike[:, :-lag] * alike[:, lag:]).mean() for lag in (1, 2))
    left = size.sum() * (1 - (4 * near - far) / 3)
    scale = float((left / variance.mean()).clamp(min=LEAST))
    return Spread(scale * variance, scale**2 * information, most)
