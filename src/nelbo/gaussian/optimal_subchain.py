"""Which N steps of a chain to keep: the sub-chain whose bound is least, by dynamic programming.

The bound of a sub-chain s_1 < ... < s_N is what ending at s_1 costs the decoder, a KL for each
jump from s_i to s_{i-1}, and L_T at s_N. A jump's KL, in expectation and at its best variance,
depends on its two ends alone, so the least sum over all sub-chains is found exactly (Watson et al.
2021, "Learning to efficiently sample from diffusion probabilistic models"; the ends included here).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.errors import BadInput, NonFinite
from nelbo.gaussian.by_value import ErrorByValue
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.optimal_variance import SquaredError
from nelbo.gaussian.schedule import Schedule

__all__ = [
    "Subchains",
    "expected_prior_kl",
    "optimal_jumps",
    "optimal_subchains",
    "small_jumps",
]

BLOCK = 4096  # dimensions at a time: what a row of jumps takes of memory


def small_jumps(schedule: Schedule, error: SquaredError) -> Float64[Tensor, "C C"]:
    """(SNR_r - SNR_s)/2 E|x_0 - x0hat(x_s)|^2: the expected KL of a jump with V = beta-tilde.

    Row and column are s and r among the t at which the error was measured, the candidates; +inf
    where not r < s. Nats per image.

    Raises:
        BadInput: an error measured beyond the schedule's T.
    """
    squares = error.per_time.mean * error.dims
    return _downwards(0.5 * squares[:, None] * _falls(schedule, error))


def optimal_jumps(schedule: Schedule, error: SquaredError | ErrorByValue) -> Float64[Tensor, "C C"]:
    """Sum over d of log(1 + (SNR_r - SNR_s) M_{s,d})/2: as `small_jumps`, with the optimal V.

    V is per t and dimension, or interval of x0-hat, where the errors are, else per t (`optimal` for
    the sub-chain): the fall of the SNR is c^2 / beta-tilde of the jump, so this is
    log(V / beta-tilde)/2.

    Raises:
        BadInput: an error measured beyond the schedule's T.
    """
    falls, M = _falls(schedule, error), error.columns(error.t)
    share = error.share.expand_as(M)
    jumps = torch.zeros_like(falls)
    for s in range(1, len(M)):
        for part, weight in zip(M[s].split(BLOCK), share[s].split(BLOCK), strict=True):
            jumps[s, :s] += torch.log1p(falls[s, :s, None] * part) @ weight
    return _downwards(0.5 * error.dims * jumps)


def _falls(schedule: Schedule, error: SquaredError | ErrorByValue) -> Float64[Tensor, "C C"]:
    """SNR_r - SNR_s, in row s and column r; of no meaning where not r < s."""
    if (error.t > schedule.T).any():
        raise BadInput(
            f"squared errors at t = {int(error.t[-1])} are of no chain of {schedule.T} steps"
        )
    log_snr = schedule.log_snr[error.t]
    # Relative to the larger one, so that SNR_T may be 0.
    return -torch.expm1(log_snr[:, None] - log_snr) * log_snr.exp()


def _downwards(jumps: Float64[Tensor, "C C"]) -> Float64[Tensor, "C C"]:
    down: Bool[Tensor, "C C"] = torch.ones_like(jumps, dtype=torch.bool).tril(-1)
    return torch.where(down, jumps, torch.inf)


def expected_prior_kl(
    schedule: Schedule, mean_square: float, dims: int
) -> Float64[Tensor, " steps"]:
    """E KL(q(x_t | x_0) || N(0, 1)), t = 1..T: what L_T is where a chain ends at t, nats per image.

    mean_square is E x_0^2, the mean over images and their `dims` dimensions.
    """
    mean = (schedule.alpha_bar[1:, None] * mean_square).sqrt()
    end = Gaussian(mean, schedule.log_one_minus_alpha_bar[1:, None])
    return dims * end.kl(Gaussian(torch.zeros_like(mean), torch.zeros_like(mean)))


@final
@dataclass(frozen=True, eq=False)
class Subchains:
    """The best sub-chain of each length n = 1..N and its predicted bound, in nats per image.

    A longer chain is not always better. A step m put between r and s lowers the cost of
    `optimal_jumps` where 1/M_m - 1/M_s >= SNR_m - SNR_s, which every exact denoiser satisfies
    (its M falls with the SNR by E tr Cov(x_0 | x_t)^2 / D >= M^2; Guo et al. 2011, "Estimation in
    Gaussian noise"), with equality for Gaussian data, and not every network; that of
    `small_jumps` where M_m <= M_s. So there is `best`.

    `bounds[n - 1]` is +inf where no chain of n steps has a finite cost.
    """

    candidates: Int64[Tensor, " C"]
    bounds: Float64[Tensor, " N"]
    last: Int64[Tensor, " N"]
    before: Int64[Tensor, "N C"]
    """before[n - 1, s]: the candidate below s on the best way of n steps to s."""

    def steps(self, n: int) -> list[int]:
        """The t that the best sub-chain of n steps keeps.

        Raises:
            BadInput: n outside 1..N, or of infinite cost.
        """
        if not 1 <= n <= len(self.bounds) or not self.bounds[n - 1].isfinite():
            raise BadInput(f"there is no best sub-chain of {n} steps among 1..{len(self.bounds)}")
        path = [int(self.last[n - 1])]
        for length in range(n, 1, -1):
            path.append(int(self.before[length - 1, path[-1]]))
        return [int(self.candidates[place]) for place in reversed(path)]

    def best(self, at_most: int) -> int:
        """The number of steps, up to at_most, whose bound is least; the smallest where they tie.

        Raises:
            BadInput: at_most outside 1..N.
        """
        if not 1 <= at_most <= len(self.bounds):
            raise BadInput(f"best takes 1..{len(self.bounds)} steps; got {at_most}")
        return int(self.bounds[:at_most].argmin()) + 1


def optimal_subchains(
    candidates: Int64[Tensor, " C"],
    jumps: Float64[Tensor, "C C"],
    decoder: Float64[Tensor, " C"],
    prior: Float64[Tensor, " C"],
    *,
    longest: int,
    ends_at_last: bool = False,
) -> Subchains:
    """min over s_1 < ... < s_n of decoder(s_1) + sum of jumps(s_i, s_{i-1}) + prior(s_n), n = 1..N.

    All in nats per image: decoder is E -log p_theta(x_0 | x_s) where s is the first step kept,
    prior L_T where s is the last. +inf rules a candidate out for that part; `ends_at_last` lets
    only the last candidate be the last step. Takes longest * C^2 additions.

    Raises:
        BadInput: longest outside 1..C.
        NonFinite: NaN among the costs.
    """
    count = len(candidates)
    if not 1 <= longest <= count:
        raise BadInput(f"a sub-chain of {count} candidates has 1..{count} steps; got {longest}")
    for name, cost in {"jumps": jumps, "decoder": decoder, "prior": prior}.items():
        if cost.isnan().any():
            raise NonFinite(f"{name} costs must not be NaN; +inf rules a candidate out")
    if ends_at_last:
        prior = torch.where(torch.arange(count) == count - 1, prior, torch.inf)
    reach, before = decoder, [torch.zeros(count, dtype=torch.int64)]
    totals = [reach + prior]
    for _ in range(longest - 1):
        reach, below = (jumps + reach).min(1)
        before.append(below)
        totals.append(reach + prior)
    bounds, last = torch.stack(totals).min(1)
    return Subchains(candidates, bounds, last, torch.stack(before))
