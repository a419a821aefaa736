"""The terms of a Gaussian chain in float64, from a network that computes in anything less.

L_{t-1} is (SNR_{t-1} - SNR_t) / 2 times |x_0 - x0-hat|^2, and |x_0 - x0-hat| is about
1 / sqrt(SNR_t): at log SNR 25 it is 4e-6 of x_0, which leaves two of float32's seven digits. So x_t
is drawn in float64 and rounded once, to what the network gets; all that follows from the network's
output is formed in float64 at this very x_t. The noise that goes with it is
(x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t), which is that of the draw to the rounding of
x_t. Where x_t is rounded by no small part of its noise the bound is still that of the network
at this x_t, but x_t is not from q any more, which `rounded` says.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias, cast, final

import torch
from torch import Tensor

from nelbo.bound.arithmetic import Arithmetic, Plain
from nelbo.bound.chain import Chain, ReverseProcess, constant_time
from nelbo.bound.distribution import Distribution, StepDistribution
from nelbo.bound.noise import Noise
from nelbo.gaussian.along import Between
from nelbo.gaussian.continuous import ContinuousGaussian, LikelihoodDecoded
from nelbo.gaussian.decoder import DiscretizedGaussian
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.schedule import at
from nelbo.typed_json import Json
from nelbo.types import Batch, Nats, Time

__all__ = ["InFloat64", "InTheLimit", "state_dtype"]

NOTICED = 1e-3  # of the noise's deviation

Decoding: TypeAlias = GaussianReverse | LikelihoodDecoded
"""Every p_theta of the family."""


@final
class InFloat64(Arithmetic):
    """Of chains whose p_theta is a GaussianReverse, whatever decodes it."""

    def moment(self, t: Time, noise: Noise) -> Tensor:
        return t

    def state(self, chain: Chain[StepDistribution], x_0: Batch, t: Tensor, noise: Noise) -> Batch:
        """x_t in the dtype of the network, float32 at least, rounded once."""
        schedule, dtype = _reverse(chain.p).q.schedule, state_dtype(chain.p)
        eps = noise.normal(x_0.to(dtype))
        deviation = at(schedule.one_minus_alpha_bar, t, x_0).sqrt()
        return (at(schedule.alpha_bar, t, x_0).sqrt() * x_0 + deviation * eps).to(dtype)

    def decoder(self, chain: Chain[StepDistribution], x_1: Batch) -> Distribution:
        return cast(Decoding, chain.p).precise_decoder(x_1)

    def transition(
        self, chain: Chain[StepDistribution], x_0: Batch, x_t: Batch, t: Tensor
    ) -> tuple[Nats, Nats | None]:
        p = _reverse(chain.p)
        prediction = p.predict_precisely(x_t, t)
        error = x_0 - prediction.x_0
        kl = p.q.kl_of_error(error, prediction.log_var, t)
        return kl, error.square().flatten(1).sum(1)

    def misfit(self, decoder: Distribution, x_0: Batch) -> tuple[Nats, Nats]:
        """Of masses the variance is that of a bin, spacing^2 / 12, more."""
        if not isinstance(decoder, DiscretizedGaussian | Gaussian):
            return Plain().misfit(decoder, x_0)
        bin = decoder.grid.spacing**2 / 12 if isinstance(decoder, DiscretizedGaussian) else 0.0
        square = (x_0 - decoder.mean).square()
        return square.flatten(1).sum(1), (square / (decoder.log_var.exp() + bin)).flatten(1).sum(1)

    def rounded(
        self, chain: Chain[StepDistribution], dtype: torch.dtype, reach: float
    ) -> dict[str, Json]:
        """{dtype, steps, log_snr_above}: the t at which x_t is rounded by 1e-3 of its noise.

        The root mean square of the rounding of a number near `reach` to the dtype is its spacing
        there over sqrt(12); float32 and numbers up to 1: log SNR above 21.9.
        """
        spacing = 0.5 * torch.finfo(dtype).eps * reach
        least = (spacing / math.sqrt(12) / NOTICED) ** 2  # of 1 - alpha_bar
        steps = int((_reverse(chain.p).q.schedule.one_minus_alpha_bar[1:] < least).sum())
        if not steps:
            return {}
        above = math.log1p(-least) - math.log(least) if least < 1 else -math.inf
        return {
            "dtype": str(dtype).removeprefix("torch."),
            "steps": steps,
            "log_snr_above": round(max(above, -300.0), 2),
        }


@final
@dataclass(frozen=True, eq=False)
class InTheLimit(Arithmetic):
    """Of infinitely many steps in place of each of a chain's: L_{t-1} is the step's part of L_inf.

    That is the diffusion term at u uniform on the span of the step, over T - 1, with the step's own
    noise; those of t = 2..T add up to L_inf. At a whole t all is as in the chain.
    """

    model: ContinuousGaussian
    along: Between

    def moment(self, t: Time, noise: Noise) -> Tensor:
        place = noise.at(constant_time(0, t)).uniform(torch.empty(len(t), 1))[:, 0]
        return self.along.moment(t, place)

    def state(self, chain: Chain[StepDistribution], x_0: Batch, t: Tensor, noise: Noise) -> Batch:
        if not t.is_floating_point():
            return InFloat64().state(chain, x_0, t, noise)
        x_u = self.model.marginal(x_0, self.along.log_snr(t)).sample(noise)
        return x_u.to(state_dtype(chain.p))

    def decoder(self, chain: Chain[StepDistribution], x_1: Batch) -> Distribution:
        return InFloat64().decoder(chain, x_1)

    def transition(
        self, chain: Chain[StepDistribution], x_0: Batch, x_t: Batch, t: Tensor
    ) -> tuple[Nats, Nats | None]:
        """In x_0's dtype, at this x_t."""
        given = self.model.given(*chain.p.condition)
        error = x_0 - given.predict(x_t, self.along.log_snr(t), x_0.dtype).x_0
        square = error.square().flatten(1).sum(1).double()
        return self.along.weight(t).to(square.device) * square, square

    def misfit(self, decoder: Distribution, x_0: Batch) -> tuple[Nats, Nats]:
        return InFloat64().misfit(decoder, x_0)

    def rounded(
        self, chain: Chain[StepDistribution], dtype: torch.dtype, reach: float
    ) -> dict[str, Json]:
        return InFloat64().rounded(chain, dtype, reach)


def _reverse(p: ReverseProcess[StepDistribution]) -> GaussianReverse:
    """The steps of p_theta, given what it is given."""
    if isinstance(p, LikelihoodDecoded):
        return p.reverse.given(*p.condition)
    return cast(GaussianReverse, p)


def state_dtype(p: ReverseProcess[StepDistribution]) -> torch.dtype:
    """What x_t is rounded to in an evaluation: float64 where the network is, else float32."""
    return torch.float64 if _reverse(p).dtype(torch.float32) == torch.float64 else torch.float32
