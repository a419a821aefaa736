"""Training losses that are not the bound."""

from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.parametrization import Linear
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.schedule import at
from nelbo.types import Batch, Nats, Time

__all__ = ["simple_loss"]


def simple_loss(p: GaussianReverse, x_0: Batch, t: Time, noise: Noise) -> Nats:
    """L_simple = |target - output|^2 at t, summed over dimensions (Ho et al. 2020, eq. 14).

    The bound with its weights dropped: not in nats, and no bound.

    Raises:
        BadInput: the parametrisation has no target (levels).
    """
    parametrization, schedule = p.parametrization, p.q.schedule
    if not isinstance(parametrization, Linear):
        raise BadInput(f"L_simple has no target for {parametrization.name}: train by the bound")
    eps = noise.at(t).normal(x_0)
    a, s = at(schedule.alpha_bar, t, x_0).sqrt(), at(schedule.one_minus_alpha_bar, t, x_0).sqrt()
    output, _ = p.output(a * x_0 + s * eps, t)
    return (parametrization.target(x_0, eps, a, s) - output).square().flatten(1).sum(1)
