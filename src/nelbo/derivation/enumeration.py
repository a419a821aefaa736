"""Exact values by enumeration: every path of a small discrete chain, with its probability."""

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from nelbo.bound.chain import Chain, D
from nelbo.derivation.factors import Factors, Points, factors
from nelbo.derivation.lines import LINES, PATHWISE
from nelbo.derivation.valuation import (
    TOLERANCE,
    Exact,
    Spread,
    Valuation,
    Variances,
    exact_valuation,
    moments_of_terms,
    one_time_variance,
)
from nelbo.errors import BadInput
from nelbo.types import Batch

__all__ = ["enumerated"]

One = Shaped[Tensor, "1 *dims"]
MOST_PATHS = 2**20


def enumerated(
    chain: Chain[D], x_0: One, states: Points, data: Shaped[Tensor, "M *dims"] | None = None
) -> Valuation:
    """Every line at x_0, which is one example, exactly, from all K^T paths over the K states.

    `data` are the points that the false lines take x_0 to be drawn from; by default all states.

    Raises:
        BadInput: more than 2^20 paths.
    """
    T, K = chain.q.T, len(states)
    if K**T > MOST_PATHS:
        raise BadInput(f"enumeration takes at most {MOST_PATHS} paths; got {K}^{T}")
    path = _all_paths(x_0, states, T)
    log_q, log_p = chain.q.log_prob(path), chain.p.log_prob(path)
    reached = log_q.isfinite()
    f = factors(chain, [x[reached] for x in path], states if data is None else data)
    exact = Exact(
        factors=f.mean(log_q[reached].exp()),
        evidence=-float(log_p.logsumexp(0)),
        weighted=-float((log_q + (log_p - log_q))[reached].logsumexp(0)),
        gap_kl=_divergence(log_q[reached], log_p.log_softmax(0)[reached]),
        support=not bool((log_p.isfinite() & ~reached).any()),
        variances=_variances(f, log_q[reached].exp()),
    )
    return exact_valuation(exact, "enumeration", spread=spread(f, TOLERANCE))


def _all_paths(x_0: One, states: Points, T: int) -> list[Batch]:
    """[x_0, x_1, ..., x_T] with a row for each of the K^T paths."""
    numbers: Int64[Tensor, "P T"] = torch.cartesian_prod(*[torch.arange(len(states))] * T)
    numbers = numbers.reshape(-1, T)
    start = x_0.expand(len(numbers), *x_0.shape[1:])
    return [start, *(states[number] for number in numbers.T)]


def _divergence(log_q: Float64[Tensor, " P"], log_p: Float64[Tensor, " P"]) -> float:
    """KL(q || p) of two distributions over paths, from their logs where q is not 0."""
    return float((log_q.exp() * (log_q - log_p)).sum())


def spread(f: Factors, tolerance: float) -> Spread:
    """The largest difference between D1..D10 on a path."""
    values = torch.stack([line.inside(f) for line in PATHWISE if line.inside is not None])
    absolute = values.amax(0) - values.amin(0)
    relative = absolute / values[-1].abs().clamp(min=1)
    return Spread(float(absolute.max()), float(relative.max()), tolerance)


def _variances(f: Factors, weight: Float64[Tensor, " P"]) -> Variances:
    mean, variance = moments_of_terms(f, weight)
    path, shared = (
        (x - x @ weight).square() @ weight
        for x in (line.inside(f) for line in LINES[-2:] if line.inside is not None)
    )
    return Variances(
        float(path), float(shared), float(variance.sum()), one_time_variance(mean, variance)
    )
