"""Training losses that are not the bound."""

from nelbo.bound.chain import Chain
from nelbo.bound.noise import Noise
from nelbo.bound.terms import prior_term
from nelbo.categorical.masked import Changes, MaskedReverse, seen
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.types import Batch, Nats, Time

__all__ = ["hybrid_loss", "simple_loss"]


def hybrid_loss(p: CategoricalReverse, x_0: Batch, t: Time, noise: Noise, weight: float) -> Nats:
    """L_T + T (the term of t) - weight log p_theta(x_0 | x_t): the bound and D3PM's auxiliary loss.

    Unbiased for L + weight (mean over t of E[-log p_theta(x_0 | x_t)]) when t is uniform on 1..T
    (Austin et al. 2021, eq. 5). Above the bound by the second part, in nats per example.
    The authors' code weighs each term of t by 1, not T: their lambda is weight / T here.
    One call of the network gives both parts, and with weight 0 it is `one_time`.
    """
    q = p.q
    x_t = q.marginal(x_0, t).sample(noise.at(t))
    log_pi = p.log_pi(x_t, t)
    cross_entropy = -p.x_0(log_pi, x_t, t).log_prob(x_0)
    term = cross_entropy  # at t = 1 this is L_0
    later = (t > 1).nonzero()[:, 0]
    if len(later):
        t_later, x_later = t[later], x_t[later]
        model = p.averaged(log_pi[later], x_later, t_later)
        kl = q.posterior(x_later, x_0[later], t_later).kl(model)
        term = cross_entropy.index_copy(0, later.to(kl.device), kl)
    return prior_term(Chain(q, p), x_0) + q.T * term + weight * cross_entropy


def simple_loss(chain: Chain[Changes], x_0: Batch, t: Time, noise: Noise) -> Nats:
    """2 times the sum over masked i of -log p_theta(x_0^i | x_t), in nats per example.

    Every masked position weighs the same, where the bound weighs it by D/k if k are masked: its
    gradient is mostly that of the few positions of rows with few masks. Both have one minimum,
    each p_theta(x_0^i | x_t) being right.
    """
    p = chain.p
    assert isinstance(p, MaskedReverse)
    x_t = chain.q.marginal(x_0, t).sample(noise.at(t))
    own = p.log_probs(x_t, t).gather(-1, seen(x_0).unsqueeze(-1)).squeeze(-1)
    return -2 * own.masked_fill(x_t != p.mask, 0).flatten(1).sum(1)
