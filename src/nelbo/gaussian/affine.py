"""Exact values where p_theta(x_{t-1} | x_t) = N(A_t x_t + B_t, V_t), V_t apart from x_t: any T.

All paths are then jointly Gaussian, and every factor of the derivation is a quadratic form of
two neighbours, whose expectation is known. A_t, B_t and V_t are read off the chain's own
conditionals by asking them at a few points, those of q in the same way, so what is valued is the
chain as it stands. Dimensions are independent: neither q nor p may mix them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.bound.chain import Chain, constant_time
from nelbo.derivation import (
    Exact,
    Factors,
    Point,
    Valuation,
    Variances,
    exact_valuation,
    one_time_variance,
)
from nelbo.errors import BadInput
from nelbo.gaussian.distribution import Gaussian
from nelbo.types import Time

__all__ = ["affine_valuation"]

Table = Float64[Tensor, "times D"]
POINTS = 4  # two that make the map, two to see whether it is affine
TOLERANCE = 1e-9


def affine_valuation(
    chain: Chain[Gaussian],
    x_0: Float64[Tensor, "1 D"],
    data: Gaussian,
    curve: Sequence[Point] = (),
) -> Valuation:
    """Every line at x_0, exactly, with the distribution that the false lines take the data from.

    Raises:
        BadInput: a conditional whose mean is not affine in each dimension, or whose variance is
            not constant.
    """
    paths = _Paths.of(chain, x_0)
    factors, evidence = _expected(chain, x_0, paths, data), _evidence(paths, x_0)
    exact = Exact(
        factors=factors,
        evidence=evidence,
        weighted=evidence,  # no density is 0, so q reaches every path
        gap_kl=_gap(paths),
        support=True,
        variances=_variances(paths, -float(factors.reverse[1]), factors.kl[2:, 0]),
    )
    return exact_valuation(exact, "closed form", curve)


@final
@dataclass(frozen=True, eq=False)
class _Affine:
    """y given x is N(slope x + offset, exp(log_var)): a row for each t, a column for each dim."""

    slope: Table
    offset: Table
    log_var: Table

    @property
    def var(self) -> Table:
        return self.log_var.exp()

    def at(self, mean: Table) -> Gaussian:
        """The distribution of y at x = mean."""
        return Gaussian(self.slope * mean + self.offset, self.log_var)

    def score(self, x: "_Moments", y: "_Moments", residual: Table) -> Float64[Tensor, " times"]:
        """E log N(y; slope x + offset, var); residual is the variance of y - slope x."""
        return self.at(x.mean).log_prob(y.mean) - 0.5 * (residual / self.var).sum(1)

    def kl(self, other: "_Affine", x: "_Moments") -> Float64[Tensor, " times"]:
        """E KL(y given x by this || by the other)."""
        at_mean = self.at(x.mean).kl(other.at(x.mean))
        return at_mean + 0.5 * ((self.slope - other.slope).square() * x.var / other.var).sum(1)


@final
@dataclass(frozen=True, eq=False)
class _Moments:
    mean: Table
    var: Table

    def __getitem__(self, rows: slice) -> "_Moments":
        return _Moments(self.mean[rows], self.var[rows])


@final
@dataclass(frozen=True, eq=False)
class _Paths:
    """The conditionals of both chains as affine maps, and the moments of x_t given x_0.

    Rows of `step` and `reverse` are t = 1..T, of `posterior` t = 2..T, of `x` t = 0..T;
    `end` is p(x_T).
    """

    step: _Affine
    reverse: _Affine
    posterior: _Affine
    x: _Moments
    end: _Moments

    @classmethod
    def of(cls, chain: Chain[Gaussian], x_0: Tensor) -> "_Paths":
        T = chain.q.T
        later = torch.arange(2, T + 1)
        first = _read(lambda x, t: _gaussian(chain.p.decoder(x)), torch.tensor([1]), x_0)
        others = _read(chain.p.step, later, x_0)
        step = _read(chain.q.step, torch.arange(1, T + 1), x_0)
        posterior = _read(lambda x, t: chain.q.posterior(x, x_0.expand_as(x), t), later, x_0)
        means, variances = [x_0[0]], [torch.zeros_like(x_0[0])]
        for slope, offset, var in zip(step.slope, step.offset, step.var, strict=True):
            means.append(slope * means[-1] + offset)
            variances.append(slope.square() * variances[-1] + var)
        reverse = _Affine(
            *(torch.cat([getattr(a, k) for a in (first, others)]) for k in _Affine.__annotations__)
        )
        x, prior = _Moments(torch.stack(means), torch.stack(variances)), chain.p.prior(x_0)
        end = _Moments(prior.mean, prior.log_var.exp().expand_as(x_0))
        return cls(step, reverse, posterior, x, end)


def _gaussian(distribution: object) -> Gaussian:
    if not isinstance(distribution, Gaussian):
        raise BadInput("exact values need a decoder that is a density; use Density")
    return distribution


def _read(conditional: Callable[[Tensor, Time], Gaussian], t: Time, like: Tensor) -> _Affine:
    """The conditional as an affine map, from its values at a few points.

    Raises:
        BadInput: it is none; the message names t.
    """
    shape = (len(t), like.shape[1])
    if not len(t):
        return _Affine(*(like.new_zeros(shape) for _ in range(3)))
    ones = torch.ones_like(like)
    alternating = 1 - 2 * (torch.arange(like.shape[1]) % 2)
    # Not all along one line: there a mean that mixes the dimensions would pass for affine in each.
    x = torch.cat([0 * ones, ones, -2 * ones, 0.75 * (alternating * ones)]).repeat_interleave(
        len(t), dim=0
    )
    at = conditional(x, t.repeat(POINTS))
    mean = at.mean.reshape(POINTS, *shape)
    log_var = at.log_var.expand_as(x).reshape(POINTS, *shape)
    x = x.reshape(POINTS, *shape)
    slope, offset = (mean[1] - mean[0]) / x[1], mean[0]
    off = (slope * x + offset - mean).abs() + (log_var - log_var[0]).abs()
    scale = 1 + offset.abs() + slope.abs()
    if not (off <= TOLERANCE * scale).all():
        number = int(t[int((~(off <= TOLERANCE * scale)).nonzero()[0, 1])])
        raise BadInput(f"a conditional at t = {number} is not affine with a constant variance")
    return _Affine(slope, offset, log_var[0])


def _expected(chain: Chain[Gaussian], x_0: Tensor, paths: _Paths, data: Gaussian) -> Factors:
    """The expectation of every factor under q(x_{1:T} | x_0)."""
    x, step, reverse, posterior = paths.x, paths.step, paths.reverse, paths.posterior
    before, after, T = x[:-1], x[1:], chain.q.T
    t = torch.arange(1, T + 1)
    marginal = _self_score(chain.q.marginal(x_0.expand(T, -1), t), after)
    # the spread of q(x_t | x_0) around the mean that x_0 has over the data
    slope = _read(lambda start, s: chain.q.marginal(start, s), t, x_0)
    law = Gaussian(
        slope.slope * data.mean + slope.offset,
        (slope.slope.square() * data.log_var.exp() + slope.var).log(),
    )
    # of x_{t-1} - slope x_t, where x_t = a x_{t-1} + noise
    back = (1 - reverse.slope * step.slope).square() * before.var
    back = back + reverse.slope.square() * step.var
    again = (1 - posterior.slope * step.slope[1:]).square() * before.var[1:]
    again = again + posterior.slope.square() * step.var[1:]
    prior = chain.p.prior(x_0)
    end = chain.q.marginal(x_0, constant_time(T, x_0))
    x_t = after[1:]
    return Factors(
        prior=_self_score(prior, x[-1:]),
        reverse=_table(reverse.score(after, before, back), 1),
        step=_table(step.score(before, after, step.var), 1),
        marginal=_table(marginal, 1),
        posterior=_table(posterior.score(x_t, before[1:], again), 2),
        data=data.log_prob(x_0),
        prior_kl=end.kl(prior),
        kl=_table(posterior.kl(reverse_later := _rows(reverse, 1), x_t), 2),
        swapped_prior_kl=prior.kl(end),
        swapped_kl=_table(reverse_later.kl(posterior, x_t), 2),
        population=_table(_self_score(law, after), 1),
        first_kl=_first_posterior(slope, data).kl(_rows(reverse, 0, 1), after[:1]),
    )


def _self_score(distribution: Gaussian, x: _Moments) -> Float64[Tensor, " times"]:
    """E log N(x) for an x that does not enter the distribution."""
    spread = (x.var / distribution.log_var.exp()).sum(1)
    return distribution.log_prob(x.mean) - 0.5 * spread


def _rows(affine: _Affine, *bounds: int) -> _Affine:
    rows = slice(*bounds) if len(bounds) > 1 else slice(bounds[0], None)
    return _Affine(affine.slope[rows], affine.offset[rows], affine.log_var[rows])


def _table(values: Float64[Tensor, " rows"], first: int) -> Float64[Tensor, "times 1"]:
    """A factor's table, whose first entry belongs to t = first."""
    missing = torch.full((first,), torch.nan, dtype=torch.float64)
    return torch.cat([missing, values])[:, None]


def _first_posterior(marginal: _Affine, data: Gaussian) -> _Affine:
    """q(x_0 | x_1) for the data's law, by Bayes' rule."""
    slope, var = marginal.slope[:1], marginal.var[:1]
    prior = data.log_var.exp().expand_as(slope)
    total = slope.square() * prior + var
    gain = prior * slope / total
    offset = data.mean - gain * (slope * data.mean + marginal.offset[:1])
    return _Affine(gain, offset, (prior * var / total).log())


def _evidence(paths: _Paths, x_0: Tensor) -> float:
    """-log p_theta(x_0), from the marginals of p."""
    p = _reverse_marginals(paths)
    return -float(Gaussian(p.mean[:1], p.var[:1].log()).log_prob(x_0))


def _reverse_marginals(paths: _Paths) -> _Moments:
    """Mean and variance of p_theta(x_t), t = 0..T."""
    mean, var = [paths.end.mean[0]], [paths.end.var[0]]
    reverse = paths.reverse
    rows = list(zip(reverse.slope, reverse.offset, reverse.var, strict=True))
    for slope, offset, noise in reversed(rows):
        mean.append(slope * mean[-1] + offset)
        var.append(slope.square() * var[-1] + noise)
    return _Moments(torch.stack(mean[::-1]), torch.stack(var[::-1]))


def _gap(paths: _Paths) -> float:
    """KL(q(x_{1:T} | x_0) || p_theta(x_{1:T} | x_0)), a sum over t of divergences >= 0.

    Both are Markov forwards in time too: p_theta(x_t | x_{t-1}) is Bayes' rule on p's marginals.
    """
    p, reverse = _reverse_marginals(paths), paths.reverse
    before, after = p[:-1], p[1:]
    gain = after.var * reverse.slope / before.var
    forward = _Affine(
        gain, after.mean - gain * before.mean, (after.var * reverse.var / before.var).log()
    )
    return float(paths.step.kl(forward, paths.x[:-1]).sum())


@final
@dataclass(frozen=True, eq=False)
class _Squares:
    """sum over r of weight_r (row_r x + offset_r)^2 / 2, where x is (x_1, ..., x_T)."""

    row: Float64[Tensor, "R T"]
    offset: Float64[Tensor, " R"]
    weight: Float64[Tensor, " R"]

    def variance(self, mean: Float64[Tensor, " T"], cov: Float64[Tensor, "T T"]) -> float:
        """Of this for x ~ N(mean, cov): tr((H cov)^2) / 2 + g' cov g, g the gradient at mean."""
        curvature = (self.row.mT * self.weight) @ self.row @ cov
        gradient = self.row.mT @ (self.weight * (self.row @ mean + self.offset))
        trace = (curvature * curvature.mT).sum()
        return float(0.5 * trace + gradient @ cov @ gradient)


def _variances(paths: _Paths, L_0: float, L_mid: Float64[Tensor, " later"]) -> Variances:
    """Of one draw of L, where every term is a quadratic form in the path."""
    path = shared = 0.0
    terms = torch.zeros(len(paths.step.slope), dtype=torch.float64)
    for d in range(paths.x.mean.shape[1]):
        cov = _covariance(paths, d)
        mean, own = paths.x.mean[1:, d], _terms(paths, d)
        path += _whole(paths, d).variance(mean, cov)
        shared += own.variance(mean, cov)
        u = own.row.diagonal() * mean + own.offset
        v = own.row.diagonal().square() * cov.diagonal()
        terms += own.weight.square() * (0.5 * v.square() + u.square() * v)
    means = torch.cat([torch.tensor([L_0], dtype=torch.float64), L_mid])
    return Variances(path, shared, float(terms.sum()), one_time_variance(means, terms))


def _covariance(paths: _Paths, d: int) -> Float64[Tensor, "T T"]:
    """Of x_1..x_T given x_0: x_t = slope_t x_{t-1} + noise."""
    T = len(paths.step.slope)
    cov = torch.zeros(T, T, dtype=torch.float64)
    row = torch.zeros(T, dtype=torch.float64)
    for t, slope in enumerate(paths.step.slope[:, d]):
        row = slope * row  # with x_1..x_{t-1}
        row[t] = paths.x.var[t + 1, d]
        cov[t, : t + 1] = cov[: t + 1, t] = row[: t + 1]
    return cov


def _whole(paths: _Paths, d: int) -> _Squares:
    """log q(x_{1:T} | x_0) - log p_theta(x_{0:T}), but for what does not depend on the path."""
    step, reverse = paths.step, paths.reverse
    T = len(step.slope)
    x, start = torch.eye(T, dtype=torch.float64), paths.x.mean[0, d]
    previous = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
    first = torch.cat([start[None], torch.zeros(T - 1, dtype=torch.float64)])
    forward = x - step.slope[:, d, None] * previous
    backward = previous - reverse.slope[:, d, None] * x
    return _Squares(
        torch.cat([forward, backward, x[-1:]]),
        torch.cat(
            [
                -step.slope[:, d] * first - step.offset[:, d],
                first - reverse.offset[:, d],
                -paths.end.mean[:, d],
            ]
        ),
        torch.cat([-1 / step.var[:, d], 1 / reverse.var[:, d], 1 / paths.end.var[:, d]]),
    )


def _terms(paths: _Paths, d: int) -> _Squares:
    """L_0 and each L_{t-1}, but for what does not depend on the path; row t is in x_t alone."""
    reverse, posterior = paths.reverse, paths.posterior
    none = torch.zeros(1, dtype=torch.float64)
    slope = torch.cat([none, posterior.slope[:, d]]) - reverse.slope[:, d]
    start = torch.cat([paths.x.mean[:1, d], posterior.offset[:, d]])
    return _Squares(torch.diag(slope), start - reverse.offset[:, d], 1 / reverse.var[:, d])
