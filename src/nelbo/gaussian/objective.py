"""Training losses: the bound by one call of the network, and two that are not the bound."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Prediction
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.parametrization import Linear, Output
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.schedule import at
from nelbo.gaussian.variance import by_t
from nelbo.types import Batch, Nats, Time

__all__ = ["OneTime", "hybrid_loss", "simple_loss"]


@final
class OneTime:
    """L_T + T (the term of t), `one_time` of the chain, where V_t is a number for each t.

    L_{t-1} = weight_t |x_0 - x0-hat|^2 + rest_t for each dimension, both known from the schedule,
    and L_T likewise. So a batch costs one call of the network whether or not some t are 1, and
    a few operations on one number per example where two Gaussians would take a hundred.

    Raises:
        BadInput: a variance that is learned, or that differs between dimensions.
    """

    def __init__(self, p: GaussianReverse) -> None:
        if not by_t(p.variance):
            raise BadInput(f"the variance {p.variance.name} is not a number for each t")
        schedule, V = p.q.schedule, p.variance.table[2:]
        self.weight = _from_2(schedule.posterior_x_0[2:].square() / (2 * V))
        self.rest = _from_2(_equal_means(schedule.posterior_variance[2:], V))
        self.prior_weight = 0.5 * float(schedule.alpha_bar[-1])
        last = schedule.one_minus_alpha_bar[-1:]
        self.prior_rest = float(_equal_means(last, torch.ones_like(last)))

    def __call__(self, p: GaussianReverse, x_0: Batch, t: Time, noise: Noise) -> Nats:
        """p: what it was made of, given the condition of the batch where there is one."""
        schedule, dims = p.q.schedule, x_0[0].numel()
        alpha_bar = at(schedule.alpha_bar, t, x_0)
        one_minus_alpha_bar = at(schedule.one_minus_alpha_bar, t, x_0)
        eps = noise.at(t).normal(x_0)
        x_t = alpha_bar.sqrt() * x_0 + one_minus_alpha_bar.sqrt() * eps
        output, variance = p.output(x_t, t)
        error = p.error(x_0, eps, output, t).flatten(1).square().sum(1)
        terms = at(self.weight, t, error) * error + dims * at(self.rest, t, error)
        first = t == 1
        if first.any():
            rows = first.nonzero()[:, 0]
            prediction = p.read(output[rows], variance[rows], x_t[rows], t[rows])
            L_0 = -p.emission(prediction).log_prob(x_0[rows])
            terms = terms.index_copy(0, rows.to(x_0.device), L_0)
        size = x_0.flatten(1).square().sum(1)
        return self.prior_weight * size + dims * self.prior_rest + p.q.T * terms


def _equal_means(q: Float64[Tensor, " t"], p: Float64[Tensor, " t"]) -> Float64[Tensor, " t"]:
    """KL(N(0, q) || N(0, p))."""
    zero = torch.zeros(len(q), 1, dtype=torch.float64)
    return Gaussian(zero, q.log()[:, None]).kl(Gaussian(zero, p.log()[:, None]))


def _from_2(values: Float64[Tensor, " t"]) -> Float64[Tensor, " steps"]:
    """A table over t = 0..T of values for t = 2..T."""
    return torch.cat([values.new_zeros(2), values])


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
    eps: Batch
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
    return _Answer(x_t, eps, output, variance, error)


def _term_with_frozen_mean(p: GaussianReverse, x_0: Batch, t: Time, answer: _Answer) -> Nats:
    """The term of t, a function of the variance's output alone for the gradient."""
    x_t, q = answer.x_t, p.q
    output = answer.output.detach()
    mean = p.clipped(p.parametrization.x_0(output, x_t, t, q.schedule))
    error = p.error(x_0, answer.eps, output, t)
    log_var = p.variance.log_var(answer.variance, t, mean)

    def L_0(rows: Int64[Tensor, " R"]) -> Nats:
        return -p.emission(Prediction(mean[rows], log_var[rows])).log_prob(x_0[rows])

    def L_mid(rows: Int64[Tensor, " R"]) -> Nats:
        return q.kl_of_error(error[rows], log_var[rows], t[rows])

    start, later = (t == 1).nonzero()[:, 0], (t > 1).nonzero()[:, 0]
    parts = [term(rows) for term, rows in ((L_0, start), (L_mid, later)) if len(rows)]
    return torch.cat(parts)[torch.cat([start, later]).argsort()]
