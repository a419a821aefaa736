"""Training losses: the bound of a masked chain without its tables, and losses beside the bound."""

import torch

from nelbo.bound.chain import Chain
from nelbo.bound.noise import Noise
from nelbo.bound.terms import prior_term
from nelbo.categorical.masked import Changes, MaskedReverse, seen, survival
from nelbo.categorical.reverse import CategoricalReverse
from nelbo.types import Batch, Nats, Time

__all__ = ["hybrid_loss", "masked_bound", "simple_loss"]


def masked_bound(p: CategoricalReverse, x_0: Batch, t: Time, noise: Noise) -> Nats:
    """T (abar_{t-1} - abar_t) / (1 - abar_t) sum over masked i of -log p_theta(x_0^i | x_t).

    `one_time` of an absorbing chain, draw for draw: q reveals a masked position with that chance,
    and both q and p_theta leave every other one as it is, so nothing else differs between them and
    no distribution over all K states is formed. L_T is 0, since the chain ends in the mask. In
    nats per example. Source: Austin et al. 2021, appendix A.3.
    """
    left = torch.cat([torch.ones(1, dtype=torch.float64), survival(p)])
    before, after = left[t - 1], left[t]
    weight = (p.q.T * (before - after) / (1 - after)).to(x_0.device)
    after = after.to(x_0.device).reshape(-1, *(1,) * (x_0.ndim - 1))
    masked = noise.at(t).uniform(x_0) > after
    x_t = x_0.masked_fill(masked, p.q.transition.K - 1)
    own = -p.predicted(x_t, t).log_mass(x_0).masked_fill(~masked, 0)
    return weight.to(own.dtype) * own.flatten(1).sum(1)


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
    own = p.predicted(x_t, t).log_mass(seen(x_0))
    return -2 * own.masked_fill(x_t != p.mask, 0).flatten(1).sum(1)
