"""The V_t and the V_1 that make the bound least, for a network as it stands.

With the network fixed, E L_{t-1} knows it by one moment alone, the mean squared error M_t of its
x0-hat, and everything about V_t is then in closed form: the best table, and the expected KL under
any table, with no further call of the network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from nelbo.errors import BadInput, NonFinite
from nelbo.gaussian.decoder import log_mass
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Tabulated, first_variance
from nelbo.types import Grid

__all__ = [
    "CrossValidation",
    "FirstVariance",
    "SquaredError",
    "cross_validated",
    "cross_validated_dimensions",
    "expected_kl",
    "optimal",
    "optimal_V_1",
    "shrunk",
    "towards_mean",
]

# How many images' worth of the mean dimension each dimension is mixed with. The most first, so that
# a tie is decided for it; never none.
PSEUDO_IMAGES = (math.inf, *(2.0**k for k in range(20, -5, -1)))
NARROWEST, WIDEST = 1e-3, 10.0  # sqrt(V_1) in spacings of the grid, and in ranges of it


@final
@dataclass(frozen=True, eq=False)
class SquaredError:
    """M_t = E (x_0 - x0hat(x_t))^2 over data and x_t ~ q(x_t | x_0), at the t it was measured at.

    Row r of `mean` is that of t[r]: one number, the mean over the data's `dims` dimensions, or
    one for each dimension, in the data's shape. x0-hat is the model's own, clipped where the
    model clips, and `images` is how many images the mean is over. Images that the network was not
    trained on are the better ones: on its training data an overfitted network errs too little.

    Raises:
        BadInput: t that does not increase from 1 or more, a shape without `dims` numbers, an
            error below 0.
        NonFinite: an error that is NaN or infinite, named with its t.
    """

    t: Int64[Tensor, " rows"]
    mean: Float64[Tensor, "rows *shape"]
    dims: int
    images: int

    def __post_init__(self) -> None:
        if (self.t.diff(prepend=self.t.new_zeros(1)) < 1).any():
            raise BadInput(
                f"squared errors need t that increase from 1 or more; got {self.t.tolist()[:8]}"
            )
        shape = tuple(self.mean.shape[1:])
        if self.dims < 1 or (shape and math.prod(shape) != self.dims):
            raise BadInput(f"squared errors of shape {shape} are not of {self.dims} dimensions")
        for wrong, error in ((~self.mean.isfinite(), NonFinite), (self.mean < 0, BadInput)):
            if wrong.any():
                place = wrong.nonzero()[0]
                value, t = float(self.mean[tuple(place)]), int(self.t[place[0]])
                raise error(f"squared errors must be finite and at least 0; got {value} at t = {t}")

    @classmethod
    def joined(cls, parts: Sequence["SquaredError"]) -> "SquaredError":
        """Those of the same images at t that follow each other."""
        t, mean = torch.cat([e.t for e in parts]), torch.cat([e.mean for e in parts])
        return cls(t, mean, parts[0].dims, parts[0].images)

    @property
    def per_time(self) -> "SquaredError":
        """The same with one number for each t, the mean over dimensions."""
        mean = self.mean if self.mean.ndim == 1 else self.mean.flatten(1).mean(1)
        return SquaredError(self.t, mean, self.dims, self.images)

    def at(self, t: Int64[Tensor, " steps"]) -> Float64[Tensor, "steps *shape"]:
        """M_t at these t.

        Raises:
            BadInput: one at which it was not measured; nothing is interpolated.
        """
        missing = ~torch.isin(t, self.t)
        if missing.any():
            raise BadInput(
                f"the squared error was not measured at t = {int(t[missing][0])}: "
                f"measure it there, or keep only steps among those measured"
            )
        return self.mean[torch.searchsorted(self.t, t)]

    def columns(self, t: Int64[Tensor, " steps"]) -> Float64[Tensor, "steps columns"]:
        """M_t at these t as a matrix, of one column or of D."""
        return self.at(t).reshape(len(t), math.prod(self.mean.shape[1:]))

    @property
    def share(self) -> Float64[Tensor, ""]:
        """Of all values, those in each column."""
        return torch.tensor(1 / math.prod(self.mean.shape[1:]), dtype=torch.float64)

    def subchain(self, steps: Sequence[int]) -> "SquaredError":
        """That of the chain `Schedule.subchain(steps)`, whose t are 1..N.

        Raises:
            BadInput: as `at`.
        """
        kept = torch.tensor(steps, dtype=torch.int64)
        return SquaredError(torch.arange(1, len(kept) + 1), self.at(kept), self.dims, self.images)


def optimal(schedule: Schedule, error: SquaredError, V_1: float | str) -> Tabulated:
    """V_t = beta-tilde_t + c_t^2 M_t, c_t the weight of x_0 in the posterior mean; t = 2..T.

    The table has an entry per t, or per t and dimension, as the errors have. For one dimension

        E L_{t-1} = (log V - log beta-tilde + (beta-tilde + c^2 M) / V - 1) / 2,

    convex in log V, is least there, with the value log(V / beta-tilde) / 2; a table per t has
    the mean of M over dimensions. That holds for any network, since M is its own error; for the
    exact denoiser M_t is E Var(x_0 | x_t). Bao et al. 2022a, "Analytic-DPM", theorem 1 (from the
    score), and 2022b, "Estimating the optimal covariance with imperfect mean in diffusion
    probabilistic models". V_1 as in `small`; with the Density decoder the mean of M_1 is best.

    Raises:
        BadInput: a t of 2..T at which the error was not measured; as `first_variance`.
    """
    M = error.at(_later(schedule))
    one_per_t = (-1, *(1,) * (M.ndim - 1))
    table = M.new_zeros(schedule.T + 1, *M.shape[1:])
    table[1] = first_variance(schedule, V_1)
    gain = schedule.posterior_x_0[2:].square().reshape(one_per_t)
    table[2:] = schedule.posterior_variance[2:].reshape(one_per_t) + gain * M
    return Tabulated("optimal" if M.ndim == 1 else "optimal-per-dimension", table)


def expected_kl(
    schedule: Schedule, variance: Tabulated, error: SquaredError
) -> Float64[Tensor, " transitions"]:
    """E L_{t-1}, t = 2..T, over data and x_t, in nats per image.

    Exact for any table: E KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) is the KL from
    N(c_t sqrt(M_t), beta-tilde_t) to N(0, V_t), summed over dimensions.

    Raises:
        BadInput: a table of another length than the schedule, or with dimensions where the
            errors are per t alone; a t of 2..T at which the error was not measured.
    """
    M = error.columns(_later(schedule))
    columns = math.prod(variance.table.shape[1:])
    if len(variance.table) != schedule.T + 1 or columns not in (1, M.shape[1]):
        raise BadInput(
            f"a variance table of shape {tuple(variance.table.shape)} does not belong to "
            f"{schedule.T} steps with squared errors in {M.shape[1]} dimensions"
        )
    offset = schedule.posterior_x_0[2:, None] * M.sqrt()
    posterior = Gaussian(offset, schedule.posterior_variance[2:, None].log())
    V = variance.table[2:].reshape(len(M), columns)
    return posterior.kl(Gaussian(torch.zeros_like(offset), V.log())) * (error.dims / M.shape[1])


def shrunk(schedule: Schedule, folds: Sequence[SquaredError]) -> SquaredError:
    """(n M_{t,d} + k mean_d M_t) / (n + k): errors per dimension, safe where images are few.

    As if each dimension had been seen in k more images with the error of the mean dimension;
    k in 1/16..2^20, or infinite, makes the expected KL least when V_t is made from all folds but
    one and is held to that one, summed over folds (each of other images) and t = 2..T. One k for
    all t: chosen for each, it is mostly noise. The mean over dimensions is kept.

    As k > 0, a dimension without any error so far, such as a pixel that was always black, keeps
    some variance: V_t made from this is above beta-tilde_t unless no dimension erred, and costs
    at most log(V_t / beta-tilde_t)/2 more than V_t = beta-tilde_t at any held-out error. The
    chain is the one that V_t is for, since what an error costs depends on its steps.

    Raises:
        BadInput: fewer than two folds, or folds of different shapes; a t of 2..T at which one
            was not measured.
    """
    if len(folds) < 2 or len({fold.mean.shape[1:] for fold in folds}) > 1:
        raise BadInput(
            f"shrinkage needs squared errors of one shape from two or more sets of images; "
            f"got {[tuple(fold.mean.shape[1:]) for fold in folds]}"
        )
    t, count = _later(schedule), _images(folds)
    parts = torch.stack([fold.columns(t) for fold in folds])
    total = count.sum()
    whole = (count / total * parts).sum(0)
    mean = towards_mean(whole, total, cross_validated(schedule, parts, count).k)
    shape = (len(t), *folds[0].mean.shape[1:])
    return SquaredError(t, mean.reshape(shape), folds[0].dims, int(total))


def cross_validated_dimensions(
    schedule: Schedule, folds: Sequence[SquaredError]
) -> "CrossValidation":
    """How well V_t per dimension, made from all folds but one, do for that one."""
    parts = torch.stack([fold.columns(_later(schedule)) for fold in folds])
    return cross_validated(schedule, parts, _images(folds))


def _images(folds: Sequence[SquaredError]) -> Float64[Tensor, "F 1 1"]:
    return torch.tensor([fold.images for fold in folds], dtype=torch.float64)[:, None, None]


@final
@dataclass(frozen=True)
class CrossValidation:
    """The best k, and by it log V + (beta-tilde + c^2 M) / V, the mean over values, summed over t.

    V is relative to beta-tilde and made from the other folds; smaller is better.
    """

    k: Tensor
    cost: float


def cross_validated(
    schedule: Schedule,
    mean: Float64[Tensor, "folds steps cells"],
    count: Float64[Tensor, "folds _ _"],
) -> CrossValidation:
    """The k under which the folds predict one another best, each cell of so many values.

    A cell is a dimension, or an interval of x0-hat: whatever has a V_t of its own.
    """
    others = 1 - torch.eye(len(mean), dtype=torch.float64)
    rest = torch.tensordot(others, count, 1)
    left = torch.tensordot(others, count * mean, 1) / rest.clamp(min=1)
    # beta-tilde (1 + fall M) is V, or the moment that V is held to
    fall = (schedule.posterior_x_0[2:].square() / schedule.posterior_variance[2:])[:, None]
    choices, costs = torch.tensor(PSEUDO_IMAGES, dtype=torch.float64), []
    for k in choices:
        V = 1 + fall * towards_mean(left, rest, k)
        costs.append((count * (V.log() + (1 + fall * mean) / V)).sum())
    values = count.expand_as(mean).sum() / max(1, mean.shape[1])
    return CrossValidation(choices[torch.stack(costs).argmin()], float(min(costs) / values))


def towards_mean(M: Float64[Tensor, "... D"], count: Tensor, k: Tensor) -> Tensor:
    """(count M + k mean M) / (count + k), the mean over cells where k is infinite."""
    own = count / (count + k)
    weight = count.expand_as(M)
    mean = (weight * M).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)
    return own * M + (1 - own) * mean


@final
@dataclass(frozen=True)
class FirstVariance:
    """V_1, and the mean of -log P(x_0 | x_1) under it, in nats per dimension of the data."""

    V_1: float
    nats: float


def optimal_V_1(
    level: Int[Tensor, "*sample"], mean: Float[Tensor, "*sample"], grid: Grid
) -> FirstVariance:
    """The V_1 that makes the mean of -log P(level; mean, V_1) least, for the discretised Gaussian.

    The sample is of levels of x_0 and x0-hat at t = 1, or at whichever step a sub-chain would
    end with. -log P is convex in 1 / sqrt(V_1) (the mass is the integral of a log-concave
    function over a set that is linear in it; Pratt 1981), so the one minimum on a line is the
    minimum: Brent's search over log V_1, from a deviation of a thousandth of a bin to one of
    ten times the grid.

    One value with a mean one level off is added to the search, not to the nats: where every mean
    is within its own bin, V_1 would go to 0 and one miss on other images cost without limit.

    Raises:
        BadInput: an empty sample.
        NonFinite: a mean that is NaN or infinite.
    """
    from scipy.optimize import minimize_scalar

    if not level.numel():
        raise BadInput("V_1 is tuned on a sample of levels and means; got an empty one")
    if not mean.isfinite().all():
        raise NonFinite(f"x0-hat is not finite; got {float(mean[~mean.isfinite()][0])}")
    levels = torch.cat([level.flatten().long(), level.new_zeros(1).long()])
    missed = grid.values(torch.ones_like(levels[-1:]), torch.float64)
    means = torch.cat([mean.flatten().double(), missed])

    def losses(log_V: float) -> Tensor:
        return -log_mass(levels, means, torch.tensor(log_V, dtype=torch.float64), grid)

    optimum = minimize_scalar(
        lambda log_V: float(losses(log_V).mean()),
        bounds=(
            2 * math.log(NARROWEST * grid.spacing),
            2 * math.log(WIDEST * (grid.hi - grid.lo)),
        ),
        method="bounded",
        options={"xatol": 1e-6},
    )
    log_V = float(optimum.x)
    return FirstVariance(math.exp(log_V), float(losses(log_V)[:-1].mean()))


def _later(schedule: Schedule) -> Int64[Tensor, " transitions"]:
    return torch.arange(2, schedule.T + 1)
