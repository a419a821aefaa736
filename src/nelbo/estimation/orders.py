"""-log p of a masked model of any order from both sides, by K orders weighed together, twice.

p(x) is the mean over orders of p(x by one order), so one order's -log p bounds -log p(x) from above
in expectation, and that of a mean over K orders, p-hat, does more closely. From below, for any c
that is independent of p-hat,

    -log p >= 1 - log c - p / c = E [ 1 - log c - p-hat / c ]

since log u <= u - 1. With two independent means a and b of K orders each, c is first a and then b,
and the mean of both is 1/2 (-log a - log b) - (cosh(log a - log b) - 1): the weighted bound less
a gap. c is also multiplied by one number for each image, the mean of cosh over the other images,
which makes the gap as small as it can be where all images are alike.

Sources: Burda et al. 2016, "Importance weighted autoencoders"; arXiv 2605.24292 (TUBE).
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import trajectory
from nelbo.bound.statistics import Mean, mean_over_images, satterthwaite
from nelbo.estimation.evaluator import Evaluator

__all__ = ["TwoSides", "nats_of_orders", "two_sides"]

Pair = tuple[Mean, Mean]


@final
@dataclass(frozen=True)
class TwoSides:
    """What 2 K orders say of -log p of each image, in nats.

    nats: of one order, (half, order, image); weighted: -log of the mean over the K orders of each
    half, (half, image); gap: how far the tangent bound is below the mean of these; effective:
    (sum w)^2 / sum w^2 over the weights w = p / c of all orders and images.
    """

    nats: Float64[Tensor, "2 K N"]
    weighted: Float64[Tensor, "2 N"]
    gap: Float64[Tensor, " N"]
    effective: float

    def bound(self, sizes: Float64[Tensor, " N"] | None = None) -> Pair:
        """The mean over single orders, as (sampling of images, Monte Carlo)."""
        rows = self.nats.flatten(0, 1)
        variance = rows.var(0) / len(rows)
        return mean_over_images(
            rows.mean(0), variance, satterthwaite(variance, len(rows) - 1), sizes
        )

    def above(self, sizes: Float64[Tensor, " N"] | None = None) -> Pair:
        """The importance-weighted bound of K orders: not below -log p in expectation."""
        variance = self.weighted.var(0) / 2
        return mean_over_images(self.weighted.mean(0), variance, satterthwaite(variance, 1), sizes)

    def below(self, sizes: Float64[Tensor, " N"] | None = None) -> Pair:
        """The tangent bound: not above -log p in expectation.

        Its Monte Carlo error is at most the sum of two: that of the weighted bound, and of the gap,
        whose spread over images is not below that of its estimate.
        """
        count = len(self.gap)
        values = self.weighted.mean(0) - self.gap
        data, _ = mean_over_images(values, torch.zeros_like(values), 1, sizes)
        _, noise = self.above()
        if count < 2:
            return data, Mean(data.mean, None, 1)
        spread = float(self.gap.std()) / math.sqrt(count)
        return data, Mean(data.mean, (noise.se or 0.0) + spread, min(noise.dof, count - 1))


def two_sides(nats: Float64[Tensor, "2 K N"]) -> TwoSides:
    """Both sides of -log p of N images, of -log p of K orders each in two independent halves."""
    weighted = math.log(nats.shape[1]) - torch.logsumexp(-nats, 1)
    apart = weighted[0] - weighted[1]
    log_ratio = torch.logaddexp(apart, -apart) - math.log(2)  # of (b / a + a / b) / 2
    scale = _log_mean_of_others(log_ratio)
    gap = scale + (log_ratio - scale).exp() - 1
    log_weight = (weighted.flip(0)[:, None] - nats - scale).flatten()
    effective = 2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0)
    return TwoSides(nats, weighted, gap, float(effective.exp()))


def _log_mean_of_others(log_values: Float64[Tensor, " N"]) -> Float64[Tensor, " N"]:
    """log of the mean over all others of exp(log_values), each without itself; 0 of one alone."""
    count = len(log_values)
    if count == 1:
        return torch.zeros_like(log_values)
    nothing = log_values.new_full((1,), -math.inf)
    before = torch.cat([nothing, log_values.logcumsumexp(0)[:-1]])
    behind = torch.cat([log_values.flip(0).logcumsumexp(0)[:-1].flip(0), nothing])
    return torch.logaddexp(before, behind) - math.log(count - 1)


def nats_of_orders(evaluator: Evaluator, orders: int) -> Float64[Tensor, "2 K N"]:
    """-log p of every image by 2 K orders of its own, evenly chosen: one path of the chain each.

    Raises:
        NonFinite: one is NaN or infinite.
    """
    model, count = evaluator.models[0], len(evaluator.images)
    image = torch.arange(count).repeat(2 * orders)
    draw = torch.arange(2 * orders).repeat_interleave(count)

    def compute(row: Int64[Tensor, " B"]) -> list[Tensor]:
        which = image[row]
        x_0 = model.x_0(evaluator.images.values[which], torch.float64)
        noise = evaluator.key.rows(which).draw(draw[row])
        values = trajectory(evaluator.chains[0].rows(which), x_0, noise)
        t = torch.ones_like(which)
        return [evaluator.finite(values[:, None], t, which, "-log p of an order")]

    evaluator.cost = model.T
    evaluator.expected = len(image) * model.T
    return evaluator.ask(0, len(image), compute)[0][:, 0].reshape(2, orders, count)
