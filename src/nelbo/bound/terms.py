"""L = E_q[ L_T + sum over t > 1 of L_{t-1} + L_0 ], term by term (memo D11; Ho et al. 2020, eq. 5).

Each function is one draw of its term, exact in expectation. L_T takes no noise, since nothing
random is left in it. The three are three functions: L_0 is a likelihood and never a KL.
"""

from nelbo.bound.chain import Chain, D, constant_time
from nelbo.bound.noise import Noise
from nelbo.types import Batch, Nats, Time

__all__ = ["prior_term", "reconstruction_term", "transition_term"]


def prior_term(chain: Chain[D], x_0: Batch) -> Nats:
    """L_T = KL(q(x_T | x_0) || p(x_T)), in nats per example."""
    return chain.q.marginal(x_0, constant_time(chain.q.T, x_0)).kl(chain.p.prior(x_0))


def transition_term(chain: Chain[D], x_0: Batch, t: Time, noise: Noise) -> Nats:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) at x_t ~ q(x_t | x_0), t >= 2.

    Each example has its own t. Nats per example.
    """
    x_t = chain.q.marginal(x_0, t).sample(noise.at(t))
    return chain.q.posterior(x_t, x_0, t).kl(chain.p.step(x_t, t))


def reconstruction_term(chain: Chain[D], x_0: Batch, noise: Noise) -> Nats:
    """L_0 = -log p_theta(x_0 | x_1) at x_1 ~ q(x_1 | x_0), in nats per example."""
    t = constant_time(1, x_0)
    x_1 = chain.q.marginal(x_0, t).sample(noise.at(t))
    return -chain.p.decoder(x_1).log_prob(x_0)
