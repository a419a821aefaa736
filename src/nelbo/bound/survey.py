"""A survey of sum over t > 1 of L_{t-1}: a few terms per image, and all that is known beforehand.

In every phase each image is asked for some t, one from each stratum, with known chances and
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

__all__ = ["ControlTest", "Layout", "Survey"]

BINS = 16  # of t with equal expected shares, each with coefficients of its own
LEAN = 1.0  # rows by which a bin's coefficients lean on those of all bins
POOLED = 1.0  # rows by which the latter lean on 0, where they explain nothing; less as they do
FAINT = 0.05  # of the square that is left over: a smaller control counts as so large when fitted
DEFENSIVE = 0.1  # the part of the chances that no finding may take away
SUSPICIOUS = 5.0  # |z| beyond which what is stated of a control is not believed
FEWEST = 8  # images below which that cannot be tested, and controls are not used
ROUNDING = 1e-6  # the part of a control's total by which its sums may differ without suspicion
LEAST = 0.85  # of the variance in pairs of neighbours, whatever else is said of it
TINY = 1e-300
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
class Survey:
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
        place = rows.t - 2
        share = self.layout.share[place][:, None]
        number = len(self.phases)
        self.phases.append(
            _Phase(
                rows,
                len(rows) // self.images,
                values,
                torch.cat([share, predictors], dim=1),
                self.layout.bin[place],
                (rows.image + number) % 2,
                LATER if number else 1.0,
            )
        )

    def tests(self) -> list[ControlTest]:
        """A z-test of each control's stated totals, with the image as the unit.

        None where the images are too few: controls are not used then.
        """
        if not self.names or self.images < FEWEST:
            return []
        mean = torch.zeros(self.images, self.totals.shape[3], dtype=torch.float64)
        for phase in self.phases:
            weighted = phase.rows.weight[:, None] * phase.predictors
            mean.index_add_(0, phase.rows.image, weighted / len(self.phases))
        stated = self.totals.mean(0).sum(1)[:, 1:]
        deviation = mean[:, 1:] - stated
        least = (ROUNDING * stated.abs().mean(0)).clamp(min=TINY)
        z = deviation.mean(0) / torch.maximum(deviation.std(0) / math.sqrt(self.images), least)
        return [ControlTest(name, float(x)) for name, x in zip(self.names, z, strict=True)]

    def estimate(self) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]:
        """(sum over t > 1 of L_{t-1}, the variance of its error) for each image.

        A control that fails its test is left out. An image's variance is seen in the differences
        of neighbouring rows, which hold the noise and what varies along t on top of it; with few
        rows it is far from sure, but its mean over the images is not.
        """
        fit = _Fit(self.layout, self._kept())
        total = sum(phase.strata * phase.weight for phase in self.phases)
        mean = torch.zeros(self.images, dtype=torch.float64)
        variance = torch.zeros_like(mean)
        doubt = torch.zeros_like(mean)
        for number, phase in enumerate(self.phases):
            fit.update(phase)
            b = fit.coefficients().flip(0)
            fold = (torch.arange(self.images) + number) % 2
            known = torch.einsum("hnbk,nbk->hn", self.totals, b[fold])
            left = phase.values - (phase.predictors * b[phase.fold, phase.bin]).sum(1)
            weighted = _by_image(phase, phase.rows.weight * left)
            part = phase.strata * phase.weight / total
            mean += part * (known.mean(0) + weighted.sum(1))
            doubt += part * (known[0] - known[1]) / 2
            variance += part**2 * _variance_of_sum(weighted)
        return mean, variance + doubt.square()

    def chances(self) -> Float64[Tensor, " transitions"]:
        """Each bin's in proportion to the rms of what the controls leave, not below a tenth."""
        fit = _Fit(self.layout, self._kept())
        for phase in self.phases:
            fit.update(phase)
        share = self.layout.share / self.layout.share.sum()
        found = share * fit.rms()[self.layout.bin]
        if not found.sum() > 0:
            return share
        return (1 - DEFENSIVE) * found / found.sum() + DEFENSIVE * share

    def _kept(self) -> Bool[Tensor, " k"]:
        """Which predictors are used: the share always."""
        passed = [test.passed for test in self.tests()] or [False] * len(self.names)
        return torch.tensor([True, *passed])


def _by_image(phase: _Phase, values: Float64[Tensor, " R"]) -> Float64[Tensor, "N strata"]:
    """The rows of each image in the order of their t."""
    order = (phase.rows.image * (int(phase.rows.t.max()) + 1) + phase.rows.t).argsort(stable=True)
    return values[order].reshape(-1, phase.strata)


def _variance_of_sum(values: Float64[Tensor, "N strata"]) -> Float64[Tensor, " N"]:
    """Of the sum of each image's rows, by collapsed strata (Cochran 1977, section 5A.12).

    Every row is in one pair of neighbours, or in the last three of an odd number, so its noise
    counts once, wherever along t there is most of it. By how much neighbours differ in the mean
    over the images is no error, and is taken off. Where an image has one row, the spread between
    the images stands for it, and is too wide.

    Pairs also count by how much the mean of an image changes from stratum to stratum. What rows of
    one image have in common at distances of one and two strata says how much of their spread is
    no noise at distance 0, by a parabola, which a stationary trend exceeds; where there are images
    enough to tell, the pairs are scaled to what then is left.
    """
    count, strata = values.shape
    if count > 1:
        values = (values - values.mean(0)) * math.sqrt(count / (count - 1))
    if strata == 1:
        spread = values.square().mean() if count > 1 else values.new_tensor(math.nan)
        return spread.expand(count)
    odd = strata % 2
    pairs = values[:, : strata - 3 * odd].reshape(count, -1, 2).diff(dim=2)
    variance = pairs.square().sum((1, 2))
    variance = variance + 3 * values[:, -3:].var(1) if odd else variance
    if strata == 2 or count < FEWEST or not variance.any():
        return variance
    size = values.square().mean(0)
    alike = values / size.sqrt().where(size > 0, 1.0)
    near, far = ((alike[:, :-lag] * alike[:, lag:]).mean() for lag in (1, 2))
    left = size.sum() * (1 - (4 * near - far) / 3)
    return variance * (left / variance.mean()).clamp(min=LEAST)


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
        """The root mean square over each bin of what is left, per share."""
        b = self.coefficients().flip(0)
        left = _left(self.products, b).sum(0)
        shares = self.products[..., 0, 0].sum(0)  # of the rows: the bin's total, times a count
        return (left / shares.where(shares > 0, torch.inf)).sqrt()


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
