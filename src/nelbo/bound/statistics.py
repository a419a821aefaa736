"""Means, standard errors and intervals, with the example as the unit.

Terms of one image at different t or draws are not independent observations of the data set:
an interval over (image, t, draw) triples covers a third of what it claims. So values are
summed to one number per image and replicate first, and two questions are kept apart: how far
is the estimate from the exact bound of this test set (Monte Carlo), and how far from
that of all images of this kind (sampling of images).
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

__all__ = [
    "Interval",
    "Mean",
    "Moments",
    "clustered_means",
    "mean_over_images",
    "satterthwaite",
    "smallest_chance",
]

LEAST_DOF = 2.5  # below which tails bring none: half the width of such an interval says nothing

Interval = tuple[float, float]


@final
class Moments:
    """Streaming count, mean and sum of squared deviations of `size` groups, in float64.

    Batches may come in any order and size and name a group many times (Chan, Golub and LeVeque
    1983); two streams merge by `merge`.
    """

    def __init__(self, size: int) -> None:
        self.count = torch.zeros(size, dtype=torch.float64)
        self.mean = torch.zeros(size, dtype=torch.float64)
        self.squares = torch.zeros(size, dtype=torch.float64)

    def update(self, group: Int64[Tensor, " R"], value: Float64[Tensor, " R"]) -> None:
        """Adds value[r] to group[r]."""
        new = Moments(len(self.count))
        new.count.index_add_(0, group, torch.ones_like(value))
        new.mean.index_add_(0, group, value)
        new.mean /= new.count.clamp(min=1)
        new.squares.index_add_(0, group, (value - new.mean[group]).square())
        self.merge(new)

    def merge(self, other: "Moments") -> None:
        """Adds another stream over the same groups."""
        count = self.count + other.count
        share = other.count / count.clamp(min=1)
        shift = other.mean - self.mean
        self.squares += other.squares + shift.square() * self.count * share
        self.mean += shift * share
        self.count = count

    def standard_error(self) -> Float64[Tensor, " size"]:
        """sd / sqrt(count) of each group; NaN where fewer than two values were seen."""
        return (
            (self.squares / (self.count - 1) / self.count).where(self.count > 1, torch.nan).sqrt()
        )


@final
@dataclass(frozen=True)
class Mean:
    """A mean with its standard error and the degrees of freedom behind that error.

    se is None where there is no way to know it: one image, or one replicate.
    """

    mean: float
    se: float | None
    dof: int | float

    @classmethod
    def of_half(cls, mean: float, half: float | None, dof: int | float) -> "Mean":
        """The mean whose 95 % interval has this half-width; None where it is not known."""
        quantile = cls(0.0, 1.0, dof).half_width()
        known = None if half is None or quantile is None else half / quantile
        return cls(mean, known, dof)

    def interval(self, level: float = 0.95) -> Interval | None:
        """Student's t interval; None where se is."""
        half = self.half_width(level)
        return None if half is None else (self.mean - half, self.mean + half)

    def half_width(self, level: float = 0.95) -> float | None:
        """Half the interval's width; None where se is."""
        if self.se is None:
            return None
        from scipy.special import stdtrit  # half a second, that only an interval should wait for

        return float(stdtrit(self.dof, 0.5 + level / 2)) * self.se


def mean_over_images(
    values: Float64[Tensor, " N"],
    noise_variance: Float64[Tensor, " N"],
    dof: int | float,
    sizes: Float64[Tensor, " N"] | None = None,
) -> tuple[Mean, Mean]:
    """(sampling of images, Monte Carlo), from an estimate for each of N images.

    The first takes the spread between images, which holds the noise too. The second takes
    noise_variance, that of each image's own error, known from `dof` degrees of freedom in all;
    NaN where an image's is not known. sizes: of texts, the bytes of each, by whose mean a unit
    divides: then the first has the error of the ratio of two sums, that of the values without what
    goes with the sizes (Cochran 1977, "Sampling techniques", section 6.3).
    """
    count = len(values)
    mean = float(values.mean())
    spread = values if sizes is None else values - mean * (sizes / sizes.mean() - 1)
    data_se = float(spread.std() / count**0.5) if count > 1 else None
    error = float(noise_variance.sum().sqrt() / count)
    return Mean(mean, data_se, count - 1), Mean(mean, None if error != error else error, dof)


def satterthwaite(
    variance: Float64[Tensor, " N"],
    each: int | float,
    tails: int | float = 0,
    square: int | float | None = None,
) -> float:
    """Degrees of freedom of the sum of variances that are known from `each` of them apiece.

    (sum v)^2 / sum v^2 / (each + 2), the mean of an estimate's square being that of what it
    estimates times 1 + 2 / each (Satterthwaite 1946). At most N times each / (1 + tails), where
    tails is half the excess kurtosis of what the variances are of: few values do not show it.
    square: the sum of v^2 / (each + 2), where the variances are sums themselves.
    """
    if square is None:
        square = float(variance.square().sum()) / (each + 2)
    most = len(variance) * each
    most = max(most / (1 + tails), min(most, LEAST_DOF))
    total = float(variance.sum()) ** 2
    known = square > 0 and math.isfinite(total)
    return float(max(min(total / square, most) if known else most, 1.0))


def smallest_chance(draws: int) -> float:
    """1 - 0.05^(1 / draws): the chance of an event that so many draws see with 95 % certainty."""
    return float(1 - 0.05 ** (1 / draws))


def clustered_means(
    group: Int64[Tensor, " R"], cluster: Int64[Tensor, " R"], value: Float64[Tensor, " R"]
) -> list[tuple[int, float, float | None]]:
    """(group, mean, standard error) over the clusters seen in each group, groups ascending.

    Values of one cluster (an image) in one group (a t) are averaged first: they are not
    independent. se is None where a group saw one cluster.
    """
    pairs, index = torch.unique(torch.stack([group, cluster]), dim=1, return_inverse=True)
    by_pair = Moments(pairs.shape[1])
    by_pair.update(index, value)
    groups, index = torch.unique(pairs[0], return_inverse=True)
    by_group = Moments(len(groups))
    by_group.update(index, by_pair.mean)
    errors = [None if se != se else se for se in by_group.standard_error().tolist()]
    return list(zip(groups.tolist(), by_group.mean.tolist(), errors, strict=True))
