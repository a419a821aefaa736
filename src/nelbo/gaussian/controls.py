"""Denoisers that cost nothing beside a network: control variates for every L_{t-1}.

With any x0-hat(x_t), KL(q(x_{t-1} | x_t, x_0) || the same at x0-hat) is
(SNR_{t-1} - SNR_t)/2 |x_0 - x0-hat|^2, and where a step is cut into ever more its integral over the
SNR. For the denoisers here its sum over t given x_0 is known in expectation. What a network's
terms have in common with it is then no longer left to chance. How good the denoisers are changes
how much they help and nothing else, so they may be made from the very images that are measured, and
may even look at x_0.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor

from nelbo.bound.control import Control
from nelbo.gaussian.along import Along, Moment, Steps
from nelbo.gaussian.decoder import LevelMasses
from nelbo.gaussian.schedule import Schedule
from nelbo.types import Batch, Grid, Nats, Support

__all__ = ["FINEST", "AffineControl", "LatticeControl", "controls", "frozen_logits"]

WIDEST = 4096  # dimensions beyond which the covariance of the data is too costly
FINEST = 64  # levels beyond which posteriors over them cost as much as a network
PILOT = 256  # images whose errors show where over t the points of a lattice rule should be
REGIONS = 64  # of t that such errors are kept for
PRIMES = (61, 191)  # points of the rule that finds this out, and of the two that count
CELLS = 2**17  # numbers in a batch of posteriors over levels that stay in the cache
NUMBERS = 2**21  # in the points of a rule that are made together


def controls(
    along: Along, grid: Support, data: Tensor, logits: Tensor | None = None
) -> list[Control]:
    """The controls that are worth their cost for these levels, or points (N, *dims).

    logits: (N, n, dims), a prior over the levels of each dimension of each image, such as a
    network's that reads the image itself; without them the histogram of each dimension.
    """
    flat = data.flatten(1).cpu()
    result: list[Control] = []
    if along.schedule.T > 1 and flat.shape[1] <= WIDEST:
        result.append(AffineControl.of(along, grid.values(flat, torch.float64)))
    if not isinstance(grid, Grid):
        return result
    if along.schedule.T > 1 and grid.n <= FINEST:
        prior = histogram(flat, grid.n) if logits is None else logits
        result.append(LatticeControl(along, grid, prior))
    return result


@final
@dataclass(frozen=True, eq=False)
class AffineControl(Control):
    """The error of E[x_0 | x_t] for Gaussian data: the best denoiser that is affine in x_t.

    In the principal axes of the data, with u = x_0 - mean, s^2 the variances and
    g = s^2 SNR / (1 + s^2 SNR), the error is (1 - g) u - g eps / sqrt(SNR), and its square has
    mean (1 - g)^2 u^2 + g^2 / SNR.
    """

    along: Along
    mean: Float64[Tensor, " dims"]
    axes: Float64[Tensor, "dims dims"]
    variance: Float64[Tensor, " dims"]
    name: str = "affine denoiser"

    @classmethod
    def of(cls, along: Along, x_0: Float64[Tensor, "N dims"]) -> "AffineControl":
        """With the mean and covariance of these examples."""
        variance, axes = torch.linalg.eigh(torch.cov(x_0.T).reshape(x_0.shape[1], -1))
        return cls(along, x_0.mean(0), axes, variance.clamp(min=0))

    def value(self, x_0: Batch, x_t: Batch, t: Moment, image: Int64[Tensor, " B"]) -> Nats:
        # In float64 where numbers of nearly the same size are subtracted: x_t and x_0 at high SNR,
        # and where the data do not vary.
        x, z = x_0.flatten(1).double(), scaled(self.along, x_t.double(), t)
        root = beside(self.along.log_snr(t), x).mul(0.5).exp()
        axes, variance = self.axes.to(x), self.variance.to(x)
        u, eps = (x - self.mean.to(x)) @ axes, (z - root * x).to(x_t.dtype) @ axes.to(x_t.dtype)
        left = 1 / (1 + variance * root.square())  # 1 - g; SNR = 0 does not hurt g / sqrt(SNR)
        error = left * u - variance * left * root * eps
        return beside(self.along.weight(t), x)[:, 0] * error.square().sum(1)

    def totals(
        self, x_0: Batch, group: Int64[Tensor, " transitions"], groups: int
    ) -> Float64[Tensor, "2 N groups"]:
        each = self.along.affine(self.variance)
        sure, random = (summed(rows, group, groups) for rows in each)
        u = (x_0.flatten(1).double().cpu() - self.mean) @ self.axes
        return (u.square() @ sure.T + random.sum(1)).expand(2, -1, -1)


@final
@dataclass(frozen=True, eq=False)
class LatticeControl(Control):
    """The error of E[x_0 | x_t] where dimensions are independent with known chances of levels.

    log_prior has a row for each image, or one for all; constants do not matter. A model whose
    parametrisation is `levels` is such a denoiser, but for its logits' dependence on x_t.
    """

    along: Along
    grid: Grid
    log_prior: Float[Tensor, "N n dims"]
    name: str = "lattice denoiser"

    def value(self, x_0: Batch, x_t: Batch, t: Moment, image: Int64[Tensor, " B"]) -> Nats:
        x, z = x_0.flatten(1).to(x_t.dtype), scaled(self.along, x_t, t)
        root = beside(self.along.log_snr(t), x).mul(0.5).exp()
        share = beside(self.along.weight(t), x)[:, 0]
        return share * self._error(x, z, root, image)

    def totals(
        self, x_0: Batch, group: Int64[Tensor, " transitions"], groups: int
    ) -> Float64[Tensor, "2 N groups"]:
        """By two randomly shifted rank-1 lattice rules over (t, eps) (Cranley, Patterson 1976).

        c is a sum over dimensions, each a function of one entry of eps, which such a rule
        integrates far better than independent draws. x_0 are the N images, in order. A rule of
        few points for some of them finds out where over t the error is.
        """
        generator = torch.Generator().manual_seed(0)
        importance = self.along.schedule.importance
        even = importance / importance.sum()
        regions = ((even.cumsum(0) - even / 2) * REGIONS).long().clamp(max=REGIONS - 1)
        some = torch.randperm(len(x_0), generator=generator)[:PILOT]
        pilot = self._rule(x_0[some], some, even, regions, REGIONS, PRIMES[0], generator)
        spread = even * pilot.square().mean(0).sqrt()[regions]
        spread = spread / spread.sum() if spread.sum() > 0 else even  # images without an error
        chance = 0.8 * spread + 0.2 * even
        image = torch.arange(len(x_0))
        rules = [
            self._rule(x_0, image, chance, group, groups, PRIMES[1], generator) for _ in range(2)
        ]
        return torch.stack(rules)

    def _rule(
        self,
        x_0: Batch,
        image: Int64[Tensor, " N"],
        chance: Float64[Tensor, " transitions"],
        group: Int64[Tensor, " transitions"],
        groups: int,
        points: int,
        generator: torch.Generator,
    ) -> Float64[Tensor, "N groups"]:
        x = x_0.flatten(1)
        size = (x.shape[1] + 1,)
        step = torch.randint(1, points, size, generator=generator)
        shift = torch.rand(len(x), *size, generator=generator, dtype=torch.float64)
        total = torch.zeros(len(x), groups, dtype=torch.float64)
        for some in torch.arange(points).split(max(1, NUMBERS // shift.numel())):
            u = ((some[:, None] * step).float()[:, None] / points + shift).flatten(0, 1) % 1
            row = torch.arange(len(x)).repeat(len(some))
            data = x[row]
            t, moment = self._times(u[:, 0].contiguous(), chance)
            eps = torch.special.ndtri(u[:, 1:].where(u[:, 1:] > 0, 0.5)).to(x)
            root = beside(self.along.log_snr(moment), data).mul(0.5).exp()
            error = self._error(data, root * data + eps, root, image[row]).double().cpu()
            weight = self.along.weight(moment) / (points * chance[t - 2])
            total.view(-1).index_add_(0, row * groups + group[t - 2], weight * error)
        return total

    def _times(
        self, u: Float64[Tensor, " N"], chance: Float64[Tensor, " transitions"]
    ) -> tuple[Int64[Tensor, " N"], Moment]:
        """t with these chances, and the moment within the step of t, of one uniform number each."""
        until = chance.cumsum(0)
        t = (2 + torch.searchsorted(until, u)).clamp(max=self.along.schedule.T)
        place = 1 - ((until[t - 2] - u) / chance[t - 2]).clamp(0, 1)
        return t, self.along.moment(t, place)

    def _error(self, x: Tensor, z: Tensor, root: Tensor, image: Tensor) -> Float[Tensor, " B"]:
        """|x_0 - E[x_0 | z]|^2, z = x_t / sqrt(1 - alpha_bar_t), root = sqrt(SNR_t)."""
        v = self.grid.values(torch.arange(self.grid.n, device=x.device), x.dtype)
        rows = max(1, CELLS // (x.shape[1] * self.grid.n))
        parts = zip(*(part.split(rows) for part in (x, z, root, image)), strict=True)
        return torch.cat([self._of_rows(v, *part) for part in parts])

    def _of_rows(
        self, v: Tensor, x: Tensor, z: Tensor, root: Tensor, image: Tensor
    ) -> Float[Tensor, " B"]:
        """The same of a batch whose posteriors over the levels v stay in the cache."""
        prior = self.log_prior if len(self.log_prior) == 1 else self.log_prior[image]
        distance = z[:, None, :] - (root * v)[:, :, None]
        logits = torch.addcmul(prior.to(x), distance, distance, value=-0.5)
        estimate = v @ torch.softmax(logits, dim=1)
        return (x - estimate).square().sum(1)


def frozen_logits(
    schedule: Schedule, grid: Grid, masses: LevelMasses, x_1: Batch
) -> Float[Tensor, "B n dims"]:
    """The network's logits at x_1, from the levels' posterior there by taking x_1 out of it."""
    t = torch.ones(len(x_1), dtype=torch.int64)
    z, v = (
        scaled(Steps(schedule), x_1, t),
        grid.values(torch.arange(grid.n, device=x_1.device), x_1.dtype),
    )
    root = beside(schedule.log_snr[t], z).mul(0.5).exp()
    distance = z[:, None, :] - (root * v)[:, :, None]
    return masses.log_masses.movedim(2, 1).flatten(2) + 0.5 * distance.square()


def histogram(levels: Integer[Tensor, "N dims"], n: int) -> Float[Tensor, "1 n dims"]:
    """The log chances of the levels in each dimension, smoothed by one image of all dimensions."""
    count, dims = levels.shape
    seen = torch.zeros(dims, n, dtype=torch.float64)
    seen.scatter_add_(1, levels.T.long(), torch.ones(dims, count, dtype=torch.float64))
    pooled = (seen.sum(0) + 1 / n) / (seen.sum() + 1)
    return ((seen + pooled) / (count + 1)).log().T[None].float()


def scaled(along: Along, x_t: Batch, t: Moment) -> Float[Tensor, "B dims"]:
    """x_t / sqrt(1 - alpha_bar_t) = sqrt(SNR_t) x_0 + eps."""
    z = x_t.flatten(1)
    return z / beside(along.deviation(t), z)


def beside(values: Float64[Tensor, " B"], x: Float[Tensor, "B dims"]) -> Float[Tensor, "B 1"]:
    """One value for each example, in x's dtype and device."""
    return values.to(x, non_blocking=True)[:, None]


def summed(
    rows: Float64[Tensor, "transitions C"], group: Int64[Tensor, " transitions"], groups: int
) -> Float64[Tensor, "groups C"]:
    """The sum of each group's rows."""
    return torch.zeros(groups, rows.shape[1], dtype=torch.float64).index_add_(0, group, rows)
