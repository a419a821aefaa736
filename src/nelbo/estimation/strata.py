"""sum over t > 1 of L_{t-1} from a few terms of each image, by strata of t and control variates.

In every phase each image is evaluated at some t, one from each stratum, with known chances and
weighted by their inverse, so the weighted sum is unbiased whatever the chances. Two things make
few rows enough. Controls c(x_0, x_t, t), whose sums over t are known, stand in for what they
predict: sum over rows of w (L - b c) + b (total of c) is unbiased for any b that was not fitted to
these rows, and b is fitted to the other half of them. And what is left over decides the chances of
the phases to come (Neyman 1934), never those of phases that are in.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import Rows
from nelbo.estimation.spread import FEWEST, TINY, Spread, variance_of_sum

__all__ = ["Combined", "ControlTest", "Layout"]

BINS = 16  # of t with equal expected shares, each with coefficients of its own
LEAN = 1.0  # rows by which a bin's coefficients lean on those of all bins
POOLED = 1.0  # rows by which the latter lean on 0, where they explain nothing; less as they do
FAINT = 0.05  # of the square that is left over: a smaller control counts as so large when fitted
DEFENSIVE = 0.05  # the part of the chances that stays with the expected shares
EVEN = 0.05  # the part of them that goes evenly over all t, whatever is expected
GUESS = 4.0  # of a term over its expected share, the squared variation where nothing is known yet
UNSEEN = 1.0  # rows by which the rms of a bin leans on that of all bins
SUSPICIOUS = 5.0  # |z| beyond which what is stated of a control is not believed
ROUNDING = 1e-6  # the part of a control's total by which its sums may differ without suspicion
LATER = 2.0  # the weight of an evaluation of a later phase, whose chances are better founded


@final
@dataclass(frozen=True)
class Layout:
    """t = 2..T in bins, and the expected share of each t; entry t - 2 is that of t.

    Shares are positive, of any scale; bins are numbered along t.
    """

    share: Float64[Tensor, " transitions"]
    bin: Int64[Tensor, " transitions"]

    @classmethod
    def even(cls, share: Float64[Tensor, " transitions"], bins: int = BINS) -> "Layout":
        """Bins of equal shares, as nearly as whole t allow."""
        middle = (share.cumsum(0) - 0.5 * share) / share.sum()
        return cls(share, _numbered((middle * min(bins, len(share))).long()))

    @property
    def count(self) -> int:
        """The number of bins."""
        return int(self.bin[-1]) + 1 if len(self.bin) else 0

    @property
    def first(self) -> Int64[Tensor, " bins"]:
        """The place of each bin's first t."""
        return torch.searchsorted(self.bin, torch.arange(self.count))

    def totals(self) -> Float64[Tensor, " bins"]:
        """The sum of the shares in each bin."""
        return torch.zeros(self.count, dtype=torch.float64).index_add_(0, self.bin, self.share)

    def merged(self, share: Float64[Tensor, " transitions"], bins: int = BINS) -> "Layout":
        """Fewer bins, unions of these, of equal amounts of another share."""
        whole = Layout(share, self.bin)
        return Layout(share, Layout.even(whole.totals(), bins).bin[self.bin])


def _numbered(bin: Int64[Tensor, " transitions"]) -> Int64[Tensor, " transitions"]:
    """The same bins without gaps in their numbers."""
    numbered: Tensor = torch.unique(bin, return_inverse=True)[1]
    return numbered


@final
@dataclass(frozen=True)
class ControlTest:
    """How far a control's weighted sums are from what they are stated to be, in standard errors."""

    name: str
    z: float

    @property
    def passed(self) -> bool:
        """Whether chance explains the difference."""
        return abs(self.z) < SUSPICIOUS


@final
@dataclass(frozen=True)
class _Phase:
    """What came back: `strata` rows of each image, one entry per row; bin and fold of each."""

    rows: Rows
    strata: int
    values: Float64[Tensor, " R"]
    predictors: Float64[Tensor, "R k"]
    bin: Int64[Tensor, " R"]
    fold: Int64[Tensor, " R"]
    weight: float


@final
class Combined:
    """The phases so far, and the estimates that follow from them; values are nats.

    N images and k controls; totals are the sums of each control's mean over the t of each bin,
    as two independent estimates. The expected share of each t is one predictor more.
    """

    def __init__(
        self,
        layout: Layout,
        images: int,
        names: tuple[str, ...] = (),
        totals: Float64[Tensor, "2 N bins k"] | None = None,
    ) -> None:
        self.layout = layout
        self.images = images
        self.names = names
        shares = layout.totals().expand(2, images, -1)[..., None]
        self.totals = shares if totals is None else torch.cat([shares, totals], dim=3)
        self.pilot: list[_Phase] = []
        self.phases: list[_Phase] = []

    @property
    def strata(self) -> int:
        """Rows per image in all phases."""
        return sum(phase.strata for phase in self.phases)

    def add(
        self, rows: Rows, values: Float64[Tensor, " R"], predictors: Float64[Tensor, "R k"]
    ) -> None:
        """Takes in the replies to a stratified draw, the same number of rows for each image.

        values are the terms, predictors the controls at the same (x_t, t).
        """
        number = len(self.phases)
        fold, weight = (rows.image + number) % 2, LATER if number else 1.0
        strata = len(rows) // self.images
        self.phases.append(self._phase(rows, strata, values, predictors, fold, weight))

    def try_out(
        self,
        rows: Rows,
        strata: int,
        values: Float64[Tensor, " R"],
        predictors: Float64[Tensor, "R k"],
    ) -> None:
        """Takes in rows of some images that decide chances and coefficients and nothing else."""
        place = torch.unique(rows.image, return_inverse=True)[1]
        self.pilot.append(self._phase(rows, strata, values, predictors, place % 2, 0.0))

    def _phase(
        self,
        rows: Rows,
        strata: int,
        values: Float64[Tensor, " R"],
        predictors: Float64[Tensor, "R k"],
        fold: Int64[Tensor, " R"],
        weight: float,
    ) -> _Phase:
        place = rows.t - 2
        both = torch.cat([self.layout.share[place][:, None], predictors], dim=1)
        return _Phase(rows, strata, values, both, self.layout.bin[place], fold, weight)

    def tests(self) -> list[ControlTest]:
        """A z-test of each control's stated totals, with the image as the unit.

        Of the pilot where nothing else is there yet. None where the images are too few, or before
        the first rows: controls are not used then.
        """
        phases = self.phases or self.pilot
        if not self.names or self.images < FEWEST or not phases:
            return []
        images = torch.unique(torch.cat([phase.rows.image for phase in phases]))
        mean = torch.zeros(self.images, self.totals.shape[3], dtype=torch.float64)
        for phase in phases:
            weighted = phase.rows.weight[:, None] * phase.predictors
            mean.index_add_(0, phase.rows.image, weighted / len(phases))
        stated = self.totals.mean(0).sum(1)[images, 1:]
        deviation = mean[images, 1:] - stated
        least = (ROUNDING * stated.abs().mean(0)).clamp(min=TINY)
        z = deviation.mean(0) / torch.maximum(deviation.std(0) / math.sqrt(len(images)), least)
        return [ControlTest(name, float(x)) for name, x in zip(self.names, z, strict=True)]

    def estimate(self) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]:
        """(sum over t > 1 of L_{t-1}, the variance of its error) for each image."""
        mean, spread = self.estimate_and_spread()
        return mean, spread.variance

    def estimate_and_spread(self) -> tuple[Float64[Tensor, " N"], Spread]:
        """(sum over t > 1 of L_{t-1} for each image, the variances of its error).

        A control that fails its test is left out. An image's variance is seen in the differences
        of neighbouring rows, which hold the noise and what varies along t on top of it; with few
        rows it is far from sure, but its mean over the images is not.
        """
        fit = self._tried()
        total = sum(phase.strata * phase.weight for phase in self.phases)
        mean = torch.zeros(self.images, dtype=torch.float64)
        variance, doubt = torch.zeros_like(mean), torch.zeros_like(mean)
        information = most = 0.0
        for number, phase in enumerate(self.phases):
            fit_before = bool(fit.rows.any())
            fit.update(phase)
            b = fit.coefficients().flip(0)
            fold = (torch.arange(self.images) + number) % 2
            known = torch.einsum("hnbk,nbk->hn", self.totals, b[fold])
            weighted = _by_image(phase, phase.rows.weight * _leftover(phase, b))
            part = phase.strata * phase.weight / total
            mean += part * (known.mean(0) + weighted.sum(1))
            doubt += part * (known[0] - known[1]) / 2
            spread = variance_of_sum(weighted)
            if not fit_before and self.images < FEWEST:  # the shares alone chose the t
                whole = float((known.mean(0) + weighted.sum(1)).mean())
                spread = spread.at_least(GUESS * whole**2 / (phase.strata * self.images))
            variance += part**2 * spread.variance
            information += part**4 * spread.information
            most += spread.most
        return mean, Spread(variance + doubt.square(), information, most)

    def rate(self) -> tuple[Float64[Tensor, " n"], Spread]:
        """(sum over t > 1, the variance of one row of it) of each image of the pilot's last phase.

        The variance is what a row of a phase to come will leave, whose chances are better founded.
        A square counts by the geometric mean of its weight under the pilot's chances and under
        those to come. By the first alone a single row where little was expected asks for many times
        the evaluations that are needed (65 times, of one in 94 pilots on digits); by the second
        alone, which knows the very rows that it weighs, for too few (16 flat images: 0.6 times).
        """
        fit = self._tried()
        b, phase = fit.coefficients().flip(0), self.pilot[-1]
        images = torch.unique(phase.rows.image)
        fold = torch.arange(len(images)) % 2
        known = torch.einsum("nbk,nbk->n", self.totals.mean(0)[images], b[fold])
        n, left = phase.strata, _leftover(phase, b)
        weighted = _by_image(phase, phase.rows.weight * left)
        between = (phase.rows.weight / (n * self.chances()[phase.rows.t - 2])).sqrt()
        spread = variance_of_sum(_by_image(phase, (phase.rows.weight * between).sqrt() * left))
        one = Spread(n * spread.variance, n**2 * spread.information, spread.most)
        return known + weighted.sum(1), one

    def chances(self) -> Float64[Tensor, " transitions"]:
        """Each bin's in proportion to the rms of what the controls leave.

        A twentieth follows the expected shares and a twentieth is even over all t, whatever was
        seen. Where nothing was seen, little data leave a bin the rms of all bins.
        """
        share = self.layout.share / self.layout.share.sum()
        even = torch.full_like(share, 1 / len(share))
        fit = self._tried()
        for phase in self.phases:
            fit.update(phase)
        chances = share * fit.rms()[self.layout.bin]
        chances = chances / chances.sum() if chances.sum() > 0 else share
        return (1 - DEFENSIVE - EVEN) * chances + DEFENSIVE * share + EVEN * even

    def _tried(self) -> "_Fit":
        """A fit that knows the pilot."""
        fit = _Fit(self.layout, self._kept())
        for phase in self.pilot:
            fit.update(phase)
        return fit

    def _kept(self) -> Bool[Tensor, " k"]:
        """Which predictors are used: the share always."""
        passed = [test.passed for test in self.tests()] or [False] * len(self.names)
        return torch.tensor([True, *passed])


def _leftover(phase: _Phase, b: Float64[Tensor, "2 bins k"]) -> Float64[Tensor, " R"]:
    """What the coefficients leave of each row."""
    return phase.values - (phase.predictors * b[phase.fold, phase.bin]).sum(1)


def _by_image(phase: _Phase, values: Float64[Tensor, " R"]) -> Float64[Tensor, "N strata"]:
    """The rows of each image in the order of their t."""
    order = (phase.rows.image * (int(phase.rows.t.max()) + 1) + phase.rows.t).argsort(stable=True)
    return values[order].reshape(-1, phase.strata)


@final
class _Fit:
    """Least squares of values on predictors, per half and bin, from sums of products.

    Rows weigh w / share, so that the sums estimate those over t of products / share, whatever
    chances the rows were drawn with.
    """

    def __init__(self, layout: Layout, keep: Bool[Tensor, " k"]) -> None:
        self.layout = layout
        self.keep = keep
        size = len(keep) + 1
        self.products = torch.zeros(2, layout.count, size, size, dtype=torch.float64)
        self.rows = torch.zeros(2, layout.count, dtype=torch.float64)

    def update(self, phase: _Phase) -> None:
        """Adds a phase's rows."""
        both = torch.cat([phase.predictors * self.keep, phase.values[:, None]], dim=1)
        weight = phase.strata * phase.rows.weight / self.layout.share[phase.rows.t - 2]
        outer = (weight[:, None] * both)[:, :, None] * both[:, None, :]
        index = (phase.fold, phase.bin)
        self.products.index_put_(index, outer, accumulate=True)
        self.rows.index_put_(index, torch.ones_like(weight), accumulate=True)

    def coefficients(self) -> Float64[Tensor, "2 bins k"]:
        """By half and bin; a bin with few rows leans on all bins together."""
        products, rows = self.products.sum(1), self.rows.sum(1)
        plain = _solve(products[..., :-1, :-1], products[..., :-1, -1])
        total = products[..., -1, -1]
        unexplained = _left(products, plain) / total.where(total > 0, 1.0)
        pooled = _leaning(products, rows, torch.zeros_like(plain), POOLED * unexplained)
        pooled = pooled[:, None].expand(-1, self.layout.count, -1)
        return _leaning(self.products, self.rows, pooled, LEAN) * self.keep

    def rms(self) -> Float64[Tensor, " bins"]:
        """The root mean square over each bin of what is left, per share.

        It leans on that of all bins: a bin without rows is unknown, and not without noise.
        """
        b = self.coefficients().flip(0)
        left = _left(self.products, b).sum(0)
        shares = self.products[..., 0, 0].sum(0)  # of the rows: the bin's total, times a count
        square = left / shares.where(shares > 0, torch.inf)
        pooled = left.sum() / shares.sum().clamp(min=TINY)
        rows = self.rows.sum(0)
        return ((rows * square + UNSEEN * pooled) / (rows + UNSEEN)).sqrt()


def _left(products: Tensor, b: Tensor) -> Tensor:
    """The sum of squares that the coefficients leave."""
    full = torch.cat([-b, torch.ones_like(b[..., :1])], dim=-1)
    left: Tensor = torch.einsum("...i,...ij,...j->...", full, products, full)
    return left.clamp(min=0)


def _leaning(products: Tensor, rows: Tensor, toward: Tensor, strength: float | Tensor) -> Tensor:
    """The least-squares solution, with `strength` rows more that say `toward`.

    A control that is faint in some rows must not explain what is left there: its coefficient
    would be huge, and where the control is not faint so would be its product.
    """
    xx, xy = products[..., :-1, :-1], products[..., :-1, -1]
    size = torch.diagonal(xx, dim1=-2, dim2=-1).clone()
    least = FAINT * _left(products, toward)[..., None]
    size[..., 1:] = torch.maximum(size[..., 1:], least)  # the share is never faint
    lean = size * (strength / rows.clamp(min=1))[..., None]
    lean = torch.where(rows[..., None] > 0, lean, 1.0)
    return _solve(xx + torch.diag_embed(lean), xy + lean * toward)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """The least-squares solution of symmetric systems, 0 along directions without data."""
    scale = torch.diagonal(matrix, dim1=-2, dim2=-1).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    correlation = matrix / (scale[..., :, None] * scale[..., None, :])
    inverse = torch.linalg.pinv(correlation, rtol=1e-9, hermitian=True)
    solution: Tensor = (inverse @ (right / scale)[..., None])[..., 0] / scale
    return solution
