"""Training losses that are not the bound."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Prediction
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.parametrization import Linear, Output
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.schedule import at
from nelbo.types import Batch, Nats, Time

__all__ = ["hybrid_loss", "simple_loss"]


def simple_loss(p: GaussianReverse, x_0: Batch, t: Time, noise: Noise) -> Nats:
    """L_simple = |target - output|^2 at t, summed over dimensions (Ho et al. 2020, eq. 14).

    The bound with its weights dropped: not in nats, and no bound.

    Raises:
        BadInput: the parametrisation has no target (levels).
    """
    return _ask(p, x_0, t, noise).error


def hybrid_loss(
    p: GaussianReverse, x_0: Batch, t: Time, noise: Noise, weight: float = 0.001
) -> Nats:
    """L_simple + weight T (the term of t), whose second part trains the variance alone.

    The gradient of the second part stops at x0-hat, so the mean learns from L_simple and the
    variance from the bound. One call of the network gives both. Per example; for t uniform on
    1..T the mean is L_simple + weight (L - L_T). L_simple is summed over dimensions and the term
    is in nats; the authors' code averages the first and has bits/dim in the second, so that its
    0.001 is 0.001 / ln 2 here. Source: Nichol and Dhariwal 2021, section 3.1, eq. 16.

    Raises:
        BadInput: the parametrisation has no target (levels), or the variance is not learned.
    """
    if not p.variance.outputs:
        raise BadInput(f"the hybrid loss trains a learned variance; this one is {p.variance.name}")
    answer = _ask(p, x_0, t, noise)
    return answer.error + weight * p.q.T * _term_with_frozen_mean(p, x_0, t, answer)


@final
@dataclass(frozen=True, eq=False)
class _Answer:
    """The network's output at x_t ~ q(x_t | x_0), and its squared error."""

    x_t: Batch
    output: Output
    variance: Output
    error: Nats


def _ask(p: GaussianReverse, x_0: Batch, t: Time, noise: Noise) -> _Answer:
    parametrization, schedule = p.parametrization, p.q.schedule
    if not isinstance(parametrization, Linear):
        raise BadInput(f"L_simple has no target for {parametrization.name}: train by the bound")
    eps = noise.at(t).normal(x_0)
    a, s = at(schedule.alpha_bar, t, x_0).sqrt(), at(schedule.one_minus_alpha_bar, t, x_0).sqrt()
    x_t = a * x_0 + s * eps
    output, variance = p.output(x_t, t)
    error = (parametrization.target(x_0, eps, a, s) - output).square().flatten(1).sum(1)
    return _Answer(x_t, output, variance, error)


def _term_with_frozen_mean(p: GaussianReverse, x_0: Batch, t: Time, answer: _Answer) -> Nats:
    """The term of t, a function of the variance's output alone for the gradient."""
    x_t, q = answer.x_t, p.q
    mean = p.parametrization.x_0(answer.output.detach(), x_t, t, q.schedule)
    mean = mean if p.clip is None else mean.clamp(*p.clip)
    log_var = p.variance.log_var(answer.variance, t, x_t)

    def L_0(rows: Int64[Tensor, " R"]) -> Nats:
        return -p.emission(Prediction(mean[rows], log_var[rows])).log_prob(x_0[rows])

    def L_mid(rows: Int64[Tensor, " R"]) -> Nats:
        x, time = x_t[rows], t[rows]
        model = Gaussian(q.posterior_mean(x, mean[rows], time), log_var[rows])
        return q.posterior(x, x_0[rows], time).kl(model)

    start, later = (t == 1).nonzero()[:, 0], (t > 1).nonzero()[:, 0]
    parts = [term(rows) for term, rows in ((L_0, start), (L_mid, later)) if len(rows)]
    return torch.cat(parts)[torch.cat([start, later]).argsort()]
