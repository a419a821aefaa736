"""What every line of the derivation is made of: the log-factors of the two chains along a path.

All lines but D11 are sums of the same five families of factors, those of p and of three ways to
condition q; D11 puts divergences in the place of log-ratios. A line is linear in them, so the
expectation of a line is the line of the expected factors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from nelbo.bound.chain import Chain, D, constant_time
from nelbo.bound.distribution import Distribution
from nelbo.types import Batch, Nats, Time

if TYPE_CHECKING:
    from nelbo.derivation.lines import Line

__all__ = ["Factors", "Mistake", "Points", "Table", "factors"]

Table = Float64[Tensor, "times P"]
"""A number for each t = 0..T and each of P paths; NaN at a t that the factor does not have."""

Points = Shaped[Tensor, "N *dims"]
"""The points that data are, or states: as many as there are, whatever the number of paths."""

ROWS = 512  # (t, path) pairs that a network is evaluated on at once


@final
@dataclass(frozen=True, eq=False)
class Factors:
    """Log-factors of P paths in float64, indexed by the paper's t; or their expectations, P = 1.

    Every density of q is given x_0. The fields from `prior_kl` on are for D11 and the false lines.
    """

    prior: Float64[Tensor, " P"]
    """log p(x_T)."""
    reverse: Table
    """log p_theta(x_{t-1} | x_t), t = 1..T."""
    step: Table
    """log q(x_t | x_{t-1}), t = 1..T."""
    marginal: Table
    """log q(x_t | x_0), t = 1..T."""
    posterior: Table
    """log q(x_{t-1} | x_t, x_0), t = 2..T."""
    data: Float64[Tensor, " P"]
    """log q(x_0), of data that are drawn evenly from the points given, unless it says otherwise."""
    prior_kl: Float64[Tensor, " P"]
    """KL(q(x_T | x_0) || p(x_T))."""
    kl: Table
    """KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)), t = 2..T."""
    swapped_prior_kl: Float64[Tensor, " P"]
    """KL(p(x_T) || q(x_T | x_0))."""
    swapped_kl: Table
    """KL(p_theta(x_{t-1} | x_t) || q(x_{t-1} | x_t, x_0)), t = 2..T."""
    population: Table
    """log q(x_t), the mean of q(x_t | x_0) over the data, t = 1..T."""
    first_kl: Float64[Tensor, " P"]
    """KL(q(x_0 | x_1) || p_theta(x_0 | x_1)) over the data."""
    misread: Mapping[str, Float64[Tensor, " P"]] = field(default_factory=dict)
    """log p_theta(x_0 | x_1) as a `Mistake` reads it, by the label of its line."""

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.reverse) - 1

    @property
    def log_p(self) -> Float64[Tensor, " P"]:
        """log p_theta(x_{0:T})."""
        return self.prior + total(self.reverse[1:])

    @property
    def log_q(self) -> Float64[Tensor, " P"]:
        """log q(x_{1:T} | x_0)."""
        return total(self.step[1:])

    def mean(self, weight: Float64[Tensor, " P"]) -> "Factors":
        """The expectations over the paths, which have these probabilities."""
        averaged = {
            f.name: (getattr(self, f.name) * weight).sum(-1, keepdim=True)
            for f in fields(self)
            if f.name != "misread"
        }
        misread = {k: (x * weight).sum(-1, keepdim=True) for k, x in self.misread.items()}
        return Factors(**averaged, misread=misread)


@final
@dataclass(frozen=True)
class Mistake:
    """A false line about the decoder, and log p_theta(x_0 | x_1) as it has it.

    `log_prob` returns None where the decoder is not of the kind that can be so misread.
    """

    line: "Line"
    log_prob: Callable[[Distribution, Batch], Nats | None]


def total(terms: Float64[Tensor, "n P"]) -> Float64[Tensor, " P"]:
    """The sum of the terms over n, by pairs, with what each addition rounds off added at the end.

    A line adds up thousands of factors that cancel almost wholly, and the lines must be told
    apart by what they say, not by the order of their sums.
    """
    lost = torch.zeros(terms.shape[1:], dtype=torch.float64)
    if len(terms) == 0:
        return lost
    while len(terms) > 1:
        if len(terms) % 2:
            terms = torch.cat([terms, torch.zeros_like(terms[:1])])
        a, b = terms[::2], terms[1::2]
        terms = a + b
        of_b = terms - a
        rounded = (a - (terms - of_b)) + (b - of_b)  # Knuth's two-sum: a + b = terms + rounded
        lost += torch.where(terms.isfinite(), rounded, 0).sum(0)
    return terms[0] + lost


def factors(
    chain: Chain[D],
    path: Sequence[Batch],
    data: Points,
    mistakes: Sequence[Mistake] = (),
    rows: int = ROWS,
) -> Factors:
    """The factors of the paths [x_0, x_1, ..., x_T], each P examples; p is called once for each t.

    data: the points that x_0 is one of; only false lines depend on them. p is computed in the
    dtype of the path, q in float64 whatever that is: Bayes' rule in float32 is off by 5e-5 of L
    at T = 1000, since the densities of narrow steps are large and cancel.
    """
    x_0, T, count = _wide(path[0]), chain.q.T, len(path[0])
    data = _wide(data)
    end = constant_time(T, x_0)
    after, prior = chain.q.marginal(x_0, end), chain.p.prior(path[0])
    decoder = chain.p.decoder(path[1])
    parts = [_first(chain, path, decoder, data)]
    for times in torch.arange(2, T + 1).split(max(1, rows // count)):
        if len(times):
            parts.append(_later(chain, path, times, data))
    missing = torch.full((1, count), torch.nan, dtype=torch.float64)
    tables = {name: torch.cat([missing, *(part[name] for part in parts)]) for name in parts[0]}
    misread = {mistake.line.label: mistake.log_prob(decoder, path[0]) for mistake in mistakes}
    return Factors(
        prior=_kept(prior.log_prob(path[-1])),
        data=torch.full((count,), -math.log(len(data)), dtype=torch.float64),
        prior_kl=_kept(after.kl(prior)),
        swapped_prior_kl=_kept(prior.kl(after)),
        first_kl=_first_kl(chain, decoder, path[1], data),
        misread={label: _kept(value) for label, value in misread.items() if value is not None},
        **tables,
    )


def _first(
    chain: Chain[D], path: Sequence[Batch], decoder: Distribution, data: Points
) -> dict[str, Table]:
    """The tables' rows at t = 1; no posterior, which is a point mass there."""
    x_0, x_1 = _wide(path[0]), _wide(path[1])
    t = constant_time(1, x_0)
    missing = torch.full((1, len(x_0)), torch.nan, dtype=torch.float64)
    return {
        "reverse": _kept(decoder.log_prob(path[0]))[None],
        "step": _kept(chain.q.step(x_0, t).log_prob(x_1))[None],
        "marginal": _kept(chain.q.marginal(x_0, t).log_prob(x_1))[None],
        "population": _by_data(chain, x_1, t, data).logsumexp(0)[None] - math.log(len(data)),
        "posterior": missing,
        "kl": missing,
        "swapped_kl": missing,
    }


def _later(chain: Chain[D], path: Sequence[Batch], times: Tensor, data: Points) -> dict[str, Table]:
    """The tables' rows at these t >= 2, all paths in one batch."""
    q, count = chain.q, len(path[0])
    t, row = times.repeat_interleave(count), torch.arange(count).repeat(len(times))
    x_0 = _wide(path[0]).repeat(len(times), *(1,) * (path[0].ndim - 1))
    first, last = int(times[0]), int(times[-1])
    x_prev, x_t = torch.cat(list(path[first - 1 : last])), torch.cat(list(path[first : last + 1]))
    step = chain.p.rows(row).step(x_t, t)
    reverse = step.log_prob(x_prev)
    x_prev, x_t = _wide(x_prev), _wide(x_t)
    posterior = q.posterior(x_t, x_0, t)
    rows = {
        "reverse": reverse,
        "step": q.step(x_prev, t).log_prob(x_t),
        "marginal": q.marginal(x_0, t).log_prob(x_t),
        "population": _by_data(chain, x_t, t, data).logsumexp(0) - math.log(len(data)),
        "posterior": posterior.log_prob(x_prev),
        "kl": posterior.kl(step),
        "swapped_kl": step.kl(posterior),
    }
    return {name: _kept(value).reshape(len(times), count) for name, value in rows.items()}


def _by_data(chain: Chain[D], x_t: Batch, t: Time, data: Points) -> Float64[Tensor, "N P"]:
    """log q(x_t | x_0) with each of the data in the place of x_0."""
    return torch.stack(
        [_kept(chain.q.marginal(point.expand_as(x_t), t).log_prob(x_t)) for point in data]
    )


def _first_kl(
    chain: Chain[D], decoder: Distribution, x_1: Batch, data: Points
) -> Float64[Tensor, " P"]:
    """KL(q(x_0 | x_1) || p_theta(x_0 | x_1)), where q(x_0 | x_1) is Bayes' rule over the data."""
    log_q = _by_data(chain, _wide(x_1), constant_time(1, x_1), data).log_softmax(0)
    points = [point.expand_as(x_1).to(x_1.dtype) for point in data]
    log_p = torch.stack([_kept(decoder.log_prob(point)) for point in points])
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0).sum(0)


def _wide(x: Batch) -> Batch:
    """x in float64, or as it is where it counts states."""
    return x.double() if x.is_floating_point() else x


def _kept(value: Nats) -> Float64[Tensor, " P"]:
    return value.detach().double().cpu()
