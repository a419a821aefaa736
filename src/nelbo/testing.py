"""Laws that every chain obeys, whatever its family: for the tests of a new one.

    check_chain(Chain(q, p), x_0)        # x_0: a few examples, (B, *dims); small T, small dims

A law raises AssertionError and says which line does not hold, where and by how much. Exact laws
compare numbers, so run them in float64. Statistical laws ask for |z| < 4 under a fixed seed: no
tolerance to tune, and the same answer at every run; they repeat each example `draws` times.
"""

import math
from itertools import count
from typing import TypeVar

import torch
from torch import Tensor

from nelbo.bound.chain import Chain, D, ForwardProcess, constant_time
from nelbo.bound.distribution import Distribution, StepDistribution
from nelbo.bound.estimators import (
    Rows,
    every_time,
    exhaustive,
    importance_weighted,
    one_time,
    stratified,
    term,
    trajectory,
)
from nelbo.bound.noise import KeyedNoise, Noise
from nelbo.bound.terms import prior_term, reconstruction_term
from nelbo.types import Batch, Nats

__all__ = [
    "check_batch_invariance",
    "check_chain",
    "check_distribution",
    "check_estimators",
    "check_forward",
    "check_reverse",
    "check_sampling",
]

Z_LIMIT = 4.0

S = TypeVar("S", bound=StepDistribution)


def check_chain(chain: Chain[D], x_0: Batch, seed: int = 0) -> None:
    """Every law below, on one chain.

    Raises:
        AssertionError: a law does not hold; the message names it.
    """
    check_forward(chain.q, x_0, seed)
    check_reverse(chain, x_0, seed)
    check_estimators(chain, x_0, seed)
    check_batch_invariance(chain, x_0, seed)


def check_forward(
    q: ForwardProcess[D], x_0: Batch, seed: int = 0, draws: int = 1024, tolerance: float = 1e-9
) -> None:
    """log q(x_t|x_{t-1}) + log q(x_{t-1}|x_0) = log q(x_{t-1}|x_t,x_0) + log q(x_t|x_0), any point.

    So marginal, step and posterior are conditionals of one joint law (memo, D5 and D6). Also:
    q(x_1 | x_0) is both step and marginal; x_t drawn through x_{t-1} is distributed as x_t drawn
    at once (Chapman-Kolmogorov: mean, mean square and mean log-probability); the posterior
    refuses t = 1, where it is a point mass.

    Raises:
        AssertionError: a law does not hold; `tolerance` is relative to the largest of the four.
    """
    x_0, noise = _repeat(x_0, seed, draws)
    one = constant_time(1, x_0)
    x_prev = q.marginal(x_0, one).sample(noise.at(one))
    direct, stepped = q.marginal(x_0, one).log_prob(x_prev), q.step(x_0, one).log_prob(x_prev)
    _equal([direct], [stepped], tolerance, "step and marginal are one at t = 1")
    _require(_refuses_first(q, x_prev, x_0), "posterior must raise ValueError at t = 1")
    for number in range(2, q.T + 1):
        t = constant_time(number, x_0)
        before, after = q.marginal(x_0, t - 1), q.marginal(x_0, t)
        x_t = after.sample(noise.at(t))  # not on a path with x_prev: the identity needs none
        left = [q.step(x_prev, t).log_prob(x_t), before.log_prob(x_prev)]
        right = [q.posterior(x_t, x_0, t).log_prob(x_prev), after.log_prob(x_t)]
        _equal(left, right, tolerance, f"Bayes' identity at t = {number}")
        through = q.step(x_prev, t).sample(noise.at(t + q.T))
        law = f"Chapman-Kolmogorov at t = {number}"
        _equal_means(_moment(through, 1), _moment(x_t, 1), f"{law}, mean")
        _equal_means(_moment(through, 2), _moment(x_t, 2), f"{law}, mean square")
        _equal_means(after.log_prob(through), after.log_prob(x_t), f"{law}, mean log-probability")
        x_prev = x_t


def check_reverse(chain: Chain[D], x_0: Batch, seed: int = 0, draws: int = 1024) -> None:
    """p's prior, steps and decoder are distributions: what they draw is what they score.

    Each is held against its partner in q (`check_distribution`), the decoder, which has none,
    against itself at another x_1 (`check_sampling`). log p of a path of q is finite.

    Raises:
        AssertionError: a law does not hold; the message names it and t.
    """
    q, p = chain.q, chain.p
    x_0, noise = _repeat(x_0, seed, draws)
    end, one = constant_time(q.T, x_0), constant_time(1, x_0)
    check_distribution(q.marginal(x_0, end), p.prior(x_0), noise, "q(x_T | x_0) against p(x_T)")
    for number in range(2, q.T + 1):
        t = constant_time(number, x_0)
        x_t = q.marginal(x_0, t).sample(noise.at(t))
        law = f"q(x_(t-1) | x_t, x_0) against p(x_(t-1) | x_t) at t = {number}"
        check_distribution(q.posterior(x_t, x_0, t), p.step(x_t, t), noise.at(t + q.T), law)
    x_1, another = (q.marginal(x_0, one).sample(noise.at(one + n)) for n in (0, q.T))
    check_sampling(p.decoder(x_1), p.decoder(another), noise.at(one + 2 * q.T), "p(x_0 | x_1)")
    score = p.log_prob(q.path(x_0, noise))
    _require(bool(score.isfinite().all()), "log p(x_0:T) must be finite on paths of q")


def check_distribution(d: S, other: S, noise: Noise, name: str = "d against other") -> None:
    """KL(d || d) = 0, KL(d || other) = E_d[log d - log other] >= 0, and `check_sampling`.

    Shapes: d, other and noise hold the same number of rows, some hundreds; each is one draw.

    Raises:
        AssertionError: a law does not hold.
    """
    kl, x = d.kl(other), d.sample(noise)
    _equal([d.kl(d)], [torch.zeros_like(kl)], 1e-9, f"{name}: KL(d || d) = 0")
    _require(bool((kl >= -1e-9).all()), f"{name}: KL is negative")
    finite = kl.isfinite()  # infinite where d reaches what other does not
    ratio = (d.log_prob(x) - other.log_prob(x))[finite]
    _equal_means(ratio, kl[finite], f"{name}: KL(d || other) = E_d[log d - log other]")
    check_sampling(d, other, noise, name)


def check_sampling(d: Distribution, other: Distribution, noise: Noise, name: str = "d") -> None:
    """E_d[other / (w d + other)] = E_other[d / (w d + other)]: sample and log_prob mean one law.

    Both sides are the integral of d other / (w d + other), bounded and true whatever d and other
    are; w = 1 alone sees nothing where they are alike. Best where they overlap in part.

    Raises:
        AssertionError: the law does not hold, or the same noise gave two draws.
    """
    x, y = d.sample(noise), other.sample(noise)
    _require(torch.equal(x, d.sample(noise)), f"{name}: the same noise gave another draw")
    at_x, at_y = (other.log_prob(z) - d.log_prob(z) for z in (x, y))
    for log_w in (-2.0, 0.0, 2.0):
        left, right = torch.sigmoid(at_x - log_w), torch.sigmoid(log_w - at_y)
        _equal_means(left, right * math.exp(-log_w), f"{name}: E_d[o/(w d+o)] = E_o[d/(w d+o)]")


def check_estimators(chain: Chain[D], x_0: Batch, seed: int = 0, draws: int = 1024) -> None:
    """E[trajectory] = E[one_time] = E[rows] = E[sum of exhaustive] >= E[IW_2] >= E[IW_8].

    Rows are every t once and T/2 stratified draws, each with L_T and a draw of L_0. They estimate
    one number, each here from noise of its own; importance weighting only tightens the bound
    (memo, (4) and D11; Burda et al. 2016).

    Raises:
        AssertionError: two estimators disagree; the message names them.
    """
    T = chain.q.T
    x_0, noise = _repeat(x_0, seed, draws)
    fresh = (noise.draw(torch.full((len(x_0),), number)) for number in count())
    exact = exhaustive(chain, x_0, next(fresh)).sum(1)
    path = trajectory(chain, x_0, next(fresh))
    _equal_means(path, exact, "trajectory = exhaustive")
    offsets = next(fresh).uniform(torch.empty(len(x_0), 1))[:, 0]
    t = 1 + (T * offsets).long().clamp(max=T - 1)
    _equal_means(one_time(chain, x_0, t, next(fresh)), exact, "one_time = exhaustive")
    for name, rows in _rows(T, offsets).items():
        total = _total(rows, chain, x_0, next(fresh))
        _equal_means(total, exact, f"{name} = exhaustive")
    for paths in (2, 8):
        tighter = importance_weighted(chain, x_0, next(fresh), paths)
        _require(_z(tighter, path) < Z_LIMIT, f"IW of {paths} paths must not lie above fewer")
        path = tighter


def check_batch_invariance(
    chain: Chain[D], x_0: Batch, seed: int = 0, tolerance: float = 1e-9
) -> None:
    """The same seed and image give the same value, whatever the batch and its order.

    Raises:
        AssertionError: a value depends on its neighbours by more than `tolerance`, relative.
    """
    ids = torch.arange(len(x_0))

    def values(index: Tensor) -> Tensor:
        x, noise = x_0[index], KeyedNoise.of(seed, index)
        single = [trajectory(chain, x, noise), importance_weighted(chain, x, noise, 2)]
        single += [term(chain, x, 1 + index % chain.q.T, noise).double()]
        return torch.cat([exhaustive(chain, x, noise), torch.stack(single, 1)], dim=1)

    whole = values(ids)
    alone = torch.cat([values(index) for index in torch.split(ids, 1)])
    _equal([alone], [whole], tolerance, "one image at a time = the whole batch")
    _equal([values(ids.flip(0)).flip(0)], [whole], tolerance, "reversed order = given order")


def _rows(T: int, offsets: Tensor) -> dict[str, Rows]:
    """What to ask for, by the name of the function that says so; no stratified draw where T = 1."""
    rows = {"every_time": every_time(T, len(offsets))}
    if T > 1:
        uneven = torch.arange(T, 2 * T - 1, dtype=torch.float64)
        rows["stratified"] = stratified(uneven, T // 2, offsets)
    return rows


def _total(rows: Rows, chain: Chain[D], x_0: Batch, noise: KeyedNoise) -> Nats:
    """L_T + one draw of L_0 + the weighted terms of the rows, for each example."""
    start = prior_term(chain, x_0).double() + reconstruction_term(chain, x_0, noise)
    if not len(rows):
        return start
    noise = noise.rows(rows.image).draw(rows.draw)
    values = rows.weight * term(chain, x_0[rows.image], rows.t, noise)
    return start.index_add(0, rows.image, values)


def _repeat(x_0: Batch, seed: int, draws: int) -> tuple[Batch, KeyedNoise]:
    return x_0.repeat_interleave(draws, 0), KeyedNoise.of(seed, torch.arange(draws * len(x_0)))


def _refuses_first(q: ForwardProcess[D], x_1: Batch, x_0: Batch) -> bool:
    try:
        q.posterior(x_1, x_0, constant_time(1, x_0))
    except ValueError:
        return True
    return False


def _moment(x: Batch, power: int) -> Tensor:
    return x.double().pow(power).flatten(1).mean(1)


def _equal(left: list[Tensor], right: list[Tensor], tolerance: float, law: str) -> None:
    """The sums agree to `tolerance` relative to their largest summand; equal infinities agree."""
    a, b = torch.stack(left).sum(0), torch.stack(right).sum(0)
    scale = torch.stack([*left, *right]).abs().amax(0).clamp(min=1)
    error = ((a - b).abs() / scale).masked_fill(a == b, 0).max().detach()
    _require(bool(error <= tolerance), f"{law}: differs by {float(error):.3g}, relative")


def _equal_means(left: Tensor, right: Tensor, law: str) -> None:
    """The rows' expectations agree: their mean difference lies within Z_LIMIT standard errors."""
    z, a, b = _z(left, right), left.detach().mean(), right.detach().mean()
    _require(abs(z) < Z_LIMIT, f"{law}: {float(a):.6g} against {float(b):.6g}, z = {z:.1f}")


def _z(left: Tensor, right: Tensor) -> float:
    """Mean difference of independent rows in standard errors; 0 where rounding explains it."""
    difference = (left - right).detach().double()
    mean, error = float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
    if abs(mean) <= 64 * torch.finfo(left.dtype).eps * (1 + float(left.detach().abs().max())):
        return 0.0
    return mean / max(error, torch.finfo(torch.float64).tiny)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
