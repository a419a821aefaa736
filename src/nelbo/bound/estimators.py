"""Ways to estimate L = L_T + sum over t > 1 of L_{t-1} + L_0, each unbiased unless it says so.

`one_time` is also the training objective: training on the bound runs the function that measures
it, or one that a law holds equal to it. `Rows` say which (image, t, draw) an evaluation asks the
network for, and with which weight; asking, in batches that mix images and times, is the work of
`measure`.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.bound.chain import Chain, D, constant_time
from nelbo.bound.noise import KeyedNoise, Noise
from nelbo.bound.terms import prior_term, reconstruction_term, transition_term
from nelbo.errors import BadInput
from nelbo.types import Batch, Nats, Time

__all__ = [
    "Rows",
    "every_time",
    "exhaustive",
    "importance_weighted",
    "low_discrepancy_times",
    "one_time",
    "spread_offsets",
    "stratified",
    "term",
    "trajectory",
]


def term(chain: Chain[D], x_0: Batch, t: Time, noise: Noise) -> Nats:
    """L_0 where t = 1 and L_{t-1} where t > 1, each example at its own t.

    The two kinds are evaluated apart: neither is computed where the other is wanted.
    """
    first = t == 1
    if not first.any():
        return transition_term(chain, x_0, t, noise)
    if first.all():
        return reconstruction_term(chain, x_0, noise)
    start, later = first.nonzero()[:, 0], (~first).nonzero()[:, 0]
    parts = [
        reconstruction_term(chain.rows(start), x_0[start], noise.rows(start)),
        transition_term(chain.rows(later), x_0[later], t[later], noise.rows(later)),
    ]
    order = torch.cat([start, later]).argsort()
    return torch.cat(parts)[order]


def exhaustive(chain: Chain[D], x_0: Batch, noise: Noise) -> Float64[Tensor, "B terms"]:
    """[L_0, L_1, ..., L_{T-1}, L_T] for each example, independent noise per t; L is the row sum."""
    times = range(1, chain.q.T + 1)
    terms = [term(chain, x_0, constant_time(t, x_0), noise) for t in times]
    return torch.stack([*terms, prior_term(chain, x_0)], dim=1).double()


def low_discrepancy_times(
    T: int, count: int, offset: float | Float64[Tensor, "rows 1"]
) -> Int64[Tensor, "*rows B"]:
    """count times that are each uniform on 1..T and together spread evenly over it.

    offset is uniform on [0, 1) and shared by all (Kingma et al. 2021, VDM, appendix I.1); several
    of them make a row of times each.
    """
    # Modulo 1, so that every place in the batch sees every t: without it place 0 would only ever
    # be asked for the smallest t.
    position = (torch.arange(count, dtype=torch.float64) / count + offset) % 1
    return 1 + (T * position).long().clamp(max=T - 1)


def one_time(chain: Chain[D], x_0: Batch, t: Time, noise: Noise) -> Nats:
    """L_T + T * (the term of t): unbiased for L when t is uniform on 1..T."""
    return prior_term(chain, x_0) + chain.q.T * term(chain, x_0, t, noise)


def trajectory(chain: Chain[D], x_0: Batch, noise: Noise) -> Nats:
    """D10 along one path x_{1:T} ~ q(x_{1:T} | x_0), in float64.

    log q(x_T | x_0)/p(x_T) + sum over t > 1 of log q(x_{t-1} | x_t, x_0)/p_theta(x_{t-1} | x_t)
    - log p_theta(x_0 | x_1). A perfect model has the same value on every path.
    """
    q, p = chain.q, chain.p
    t = constant_time(1, x_0)
    x_prev = q.step(x_0, t).sample(noise.at(t))
    total = -p.decoder(x_prev).log_prob(x_0).double()
    for number in range(2, q.T + 1):
        t = constant_time(number, x_0)
        x_t = q.step(x_prev, t).sample(noise.at(t))
        total += q.posterior(x_t, x_0, t).log_prob(x_prev) - p.step(x_t, t).log_prob(x_prev)
        x_prev = x_t
    t = constant_time(q.T, x_0)
    return total + q.marginal(x_0, t).log_prob(x_prev) - p.prior(x_0).log_prob(x_prev)


def importance_weighted(chain: Chain[D], x_0: Batch, noise: Noise, paths: int) -> Nats:
    """-log mean over K paths of exp(-D10), between L (K = 1) and -log p_theta(x_0) (K to infinity).

    A bound for every K, tighter in expectation as K grows (Burda et al. 2016); float64.
    It stays above -log p_theta(x_0) where q gives no mass to paths that p_theta uses.
    """
    row = torch.arange(len(x_0)).repeat_interleave(paths)
    values = trajectory(chain.rows(row), x_0[row], noise.draws(paths))
    return math.log(paths) - torch.logsumexp(-values.reshape(len(x_0), paths), dim=1)


@final
@dataclass(frozen=True)
class Rows:
    """What to ask the network: row r is L_{t-1} of t[r] >= 2 for image[r], with weight[r].

    The sum of weight * term over the rows of an image is unbiased for its sum over t > 1. Rows
    that share image and t differ in draw. Rows are in the order of t, so that batches are of one
    noise level, nearly.

    opposite: where it is given, rows of one image and draw share their noise whatever their t, and
    those that are opposite have it with the other sign. The sum is still unbiased, and rows that
    share noise are one draw together.
    """

    image: Int64[Tensor, " R"]
    t: Int64[Tensor, " R"]
    draw: Int64[Tensor, " R"]
    weight: Float64[Tensor, " R"]
    opposite: Bool[Tensor, " R"] | None = None

    def __len__(self) -> int:
        return len(self.t)

    def some(self, row: Tensor) -> "Rows":
        """These rows alone."""
        return Rows(*(None if x is None else x[row] for x in vars(self).values()))  # type: ignore[arg-type]

    def noise(self, key: KeyedNoise, row: Int64[Tensor, " B"]) -> KeyedNoise:
        """Of these rows, from the key of each image."""
        noise = key.rows(self.image[row]).draw(self.draw[row])
        if self.opposite is None:
            return noise.at(self.t[row])
        return noise.opposite(self.opposite[row])


def every_time(T: int, images: int, start: int = 0) -> Rows:
    """Every t = 2..T once for each of so many images, counted from `start`."""
    t = torch.arange(2, T + 1).repeat_interleave(images)
    image = torch.arange(start, start + images).repeat(T - 1)
    return Rows(image, t, torch.zeros_like(t), torch.ones(len(t), dtype=torch.float64))


def stratified(
    chance: Float64[Tensor, " transitions"], strata: int, offsets: Float64[Tensor, "*strata N"]
) -> Rows:
    """`strata` draws of t = 2..T for each image, with chances proportional to `chance`.

    Stratum s of image i takes the t that holds the quantile (s + offsets[s, i]) / strata, so an
    image's times spread over what matters. A t of chance p has weight 1 / (strata p): the sum is
    unbiased for offsets that are uniform on (0, 1), however they depend on each other. One offset
    for all strata of an image is a systematic draw, whose error no difference between rows shows.

    Raises:
        BadInput: strata < 1, or a chance that is not positive: a part of the bound would never
            be asked for.
    """
    if strata < 1:
        raise BadInput(f"strata must be at least 1; got {strata}")
    if not (chance > 0).all():
        t = int((~(chance > 0)).nonzero()[0]) + 2
        raise BadInput(f"chances must be positive; got {chance[t - 2]} at t = {t}")
    chance = chance / chance.sum()
    position = (torch.arange(strata, dtype=torch.float64)[:, None] + offsets) / strata
    place = torch.searchsorted(chance.cumsum(0), position.flatten(), right=True)
    place = place.clamp(max=len(chance) - 1)
    order = place.argsort(stable=True)
    return Rows(
        image=torch.arange(offsets.shape[-1]).repeat(strata)[order],
        t=place[order] + 2,
        draw=torch.arange(strata).repeat_interleave(offsets.shape[-1])[order],
        weight=1 / (strata * chance[place[order]]),
    )


def spread_offsets(noise: KeyedNoise) -> Float64[Tensor, " N"]:
    """Uniform on (0, 1) each, and together evenly spaced: image at rank r gets (r + u) / N.

    Ranks are a random order of the rows of the noise, u is one number for all of them.
    """
    mixed = noise.uniform(torch.empty(len(noise.key), 2))
    rank = mixed[:, 0].argsort().argsort().double()
    return (rank + mixed[:, 1].sum() % 1) / len(rank)
