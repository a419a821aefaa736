"""A denoiser that every network should beat: affine in x_t, fitted to other images.

Where a network's x0-hat is worse than it over a part of the bound that counts, the network is
read by conventions that are not its own.
"""

from typing import final

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from nelbo.gaussian.along import Along, Moment
from nelbo.gaussian.controls import beside, scaled
from nelbo.types import Batch, Nats, Support

__all__ = ["FEWEST", "AffineFit", "Yardstick"]

FEWEST = 8  # images, of whom half fit the denoiser of the other half
FITTED = 512  # images of a half that are used
WIDEST = 2**16  # dimensions beyond which the axes cost too much


@final
class Yardstick:
    """The error of E[x_0 | x_t] for Gaussian data with the moments of the other half of the images.

    The covariance is S (1 - r) + r (tr S / D), r by Chen et al. 2010 (OAS), so it is one for few
    images too. An image takes no part in the denoiser that it is measured by: such a denoiser has
    no advantage over a network that has learned the data. support: where x_0 are levels, the
    numbers that they stand for.
    """

    def __init__(
        self, along: Along, x_0: Shaped[Tensor, "N *dims"], support: Support | None = None
    ) -> None:
        self.along = along
        mixed = torch.randperm(len(x_0), generator=torch.Generator().manual_seed(0))
        self.half = torch.zeros(len(x_0), dtype=torch.int64)
        self.half[mixed[len(x_0) // 2 :]] = 1

        def fit(side: int) -> AffineFit:
            rows = (self.half != side).nonzero()[:FITTED, 0]  # no others are read
            flat = x_0[rows].flatten(1).cpu()  # a copy, as rows are chosen by number
            return AffineFit(flat if support is None else support.values(flat, torch.float64))

        self.fits = [fit(side) for side in (0, 1)]

    @classmethod
    def of(cls, along: Along, support: Support, data: Tensor) -> "Yardstick | None":
        """That of these levels or points; None where they are too few, or too wide."""
        count, dims = len(data), data[:1].numel()
        if along.schedule.T < 2 or count < FEWEST or dims > WIDEST:
            return None
        return cls(along, data, support)

    def excess(
        self, x_0: Batch, x_t: Batch, t: Moment, image: Int64[Tensor, " B"], squared_error: Nats
    ) -> Nats:
        """The weight of t times how much squared_error exceeds the denoiser's, in nats."""
        x, z = x_0.flatten(1), scaled(self.along, x_t, t)
        root = beside(self.along.log_snr(t), x).mul(0.5).exp()
        error = torch.empty_like(squared_error)
        for side, fit in enumerate(self.fits):
            rows = (self.half[image] == side).nonzero()[:, 0].to(x.device)
            if len(rows):
                error[rows] = fit.error(x[rows], z[rows], root[rows]).to(error)
        return beside(self.along.weight(t), x)[:, 0].to(error) * (squared_error - error)


@final
class AffineFit:
    """Mean, the axes that the images span with their variances, and that of all other axes.

    x_0 is centred in place: of large images it is most of what an evaluation holds.
    """

    def __init__(self, x_0: Float64[Tensor, "n dims"]) -> None:
        count, dims = x_0.shape
        self.mean = x_0.mean(0)
        squared, self.axes = _principal(x_0.sub_(self.mean))
        variance = squared / max(count - 1, 1)
        trace, squares = float(variance.sum()), float(variance.square().sum())
        above = (1 - 2 / dims) * squares + trace**2
        below = (count + 1 - 2 / dims) * (squares - trace**2 / dims)
        shrunk = min(1.0, above / below) if below > 0 else 1.0
        self.rest = shrunk * trace / dims
        self.variance = (1 - shrunk) * variance + self.rest

    def error(self, x: Tensor, z: Tensor, root: Tensor) -> Nats:
        """|x_0 - E[x_0 | z]|^2, z = root x_0 + eps."""
        axes, variance, mean = self.axes.to(x), self.variance.to(x), self.mean.to(x)
        snr = root.square()
        gain = variance / (1 + variance * snr)
        rest = self.rest / (1 + self.rest * snr)
        u, v = x - mean, root * (z - root * mean)  # v = SNR (x_0 - mean) + sqrt(SNR) eps
        left = u - rest * v
        along = (gain - rest) * (v @ axes.T)
        error: Nats = (left - along @ axes).square().sum(1)
        return error


def _principal(
    x: Float64[Tensor, "n dims"],
) -> tuple[Float64[Tensor, " k"], Float64[Tensor, "k dims"]]:
    """(squared singular values, right singular vectors); of few wide rows by x x^T.

    There a singular value of 0 has no vector but zeros, and none is needed: it is as all other
    axes are.
    """
    count, dims = x.shape
    if count >= dims:
        _, size, axes = torch.linalg.svd(x, full_matrices=False)
        return size.square(), axes
    squares, left = torch.linalg.eigh(x @ x.T)
    squares = squares.clamp(min=0)
    known = squares > torch.finfo(x.dtype).eps * squares[-1]
    squares = torch.where(known, squares, 0)
    size = torch.where(known, squares.sqrt(), torch.inf)
    return squares, (left / size).T @ x
