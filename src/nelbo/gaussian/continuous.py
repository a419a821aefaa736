"""VDM: the bound of infinitely many steps, along a log SNR that may be learned.

The latent x_u, u in [0, 1], has log SNR lambda(u), which falls from lambda_0 to lambda_1. As the
steps of a chain grow in number its transitions add up to an integral over the SNR, and x at u = 0
takes the place of x_1, x at u = 1 that of x_T. The integral knows only lambda's ends, so what lies
between may be chosen to make an estimate vary least. Kingma, Salimans, Poole, Ho 2021,
"Variational Diffusion Models".
"""

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nelbo.bound.chain import Chain, Conditional, ReverseProcess, constant_time
from nelbo.bound.distribution import Distribution
from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Decoder, Density, LevelMasses, Prediction
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.log_snr import Curve, LogSNR, Points
from nelbo.gaussian.on_path import OnPath
from nelbo.gaussian.parametrization import Levels, Output, Parametrization
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import Schedule, at
from nelbo.gaussian.variance import small
from nelbo.types import Batch, Grid, Nats, Time

__all__ = [
    "ContinuousGaussian",
    "LevelLikelihood",
    "LikelihoodDecoded",
    "low_discrepancy_u",
    "training_loss",
]


def low_discrepancy_u(count: int, offset: float) -> Points:
    """u_i = (i / count + offset) mod 1: each uniform on [0, 1), together spread evenly over it.

    offset is uniform on [0, 1) and shared by all (Kingma et al. 2021, appendix I.1).
    """
    return (torch.arange(count, dtype=torch.float64) / count + offset) % 1


@final
@dataclass(frozen=True)
class LevelLikelihood:
    """p(level k | x_1) proportional to N(x_1; sqrt(alpha_bar) v_k, 1 - alpha_bar): no network.

    Exact where the dimensions of the data are independent given x_1 and every level is as
    likely, and close to it for any data at high SNR (Kingma et al. 2021, section 3.3).
    """

    grid: Grid
    name: str = "level-likelihood"

    def __call__(
        self,
        x_1: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> LevelMasses:
        """p(x_0 | x_1); alpha_bar and 1 - alpha_bar are those of x_1, (B, 1, ..., 1)."""
        levels = Levels(self.grid)
        logits = x_1.new_zeros(len(x_1), levels.outputs * x_1.shape[1], *x_1.shape[2:])
        masses = levels.log_posterior_given(logits, x_1, alpha_bar, one_minus_alpha_bar)
        return LevelMasses(masses, self.grid)


@final
class LikelihoodDecoded(nn.Module, ReverseProcess[Gaussian]):
    """Another reverse process with p(x_0 | x_1) read off x_1 alone."""

    def __init__(self, reverse: GaussianReverse, likelihood: LevelLikelihood) -> None:
        super().__init__()
        self.reverse = reverse
        self.likelihood = likelihood

    def prior(self, x_0: Batch) -> Gaussian:
        return self.reverse.prior(x_0)

    def step(self, x_t: Batch, t: Time) -> Gaussian:
        return self.reverse.given(*self.condition).step(x_t, t)

    def x_0_hat(self, x_t: Batch, t: Time) -> Batch:
        """What the network expects of x_0."""
        return self.reverse.given(*self.condition).x_0_hat(x_t, t)

    def precise_decoder(self, x_1: Batch) -> LevelMasses:
        """p(x_0 | x_1) in float64."""
        return self.decoder(x_1.double())

    def decoder(self, x_1: Batch) -> LevelMasses:
        schedule, t = self.reverse.q.schedule, constant_time(1, x_1)
        alpha_bar = at(schedule.alpha_bar, t, x_1)
        return self.likelihood(x_1, alpha_bar, at(schedule.one_minus_alpha_bar, t, x_1))


@final
class ContinuousGaussian(nn.Module, Conditional):
    """L = L_T + L_inf + L_0, a network along a log SNR (Kingma et al. 2021, sections 3.5 and 5).

    The network maps (x_u, lambda(u), the condition if any) to `parametrization.outputs` channels
    for each channel: given lambda and not u, it is one model for every curve between the same ends.
    A `Decoder` gets the network's prediction at u = 0, with variance exp(-lambda_0), that of x_0
    as x_u / sqrt(alpha_bar) measures it. x0-hat is clipped to `clip` where given.
    """

    def __init__(
        self,
        network: nn.Module,
        log_snr: LogSNR,
        *,
        parametrization: Parametrization,
        decoder: Decoder | LevelLikelihood,
        clip: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.log_snr = log_snr
        self.parametrization = parametrization
        self.emission = decoder
        self.clip = clip

    def marginal(self, x_0: Batch, log_snr: Points) -> Gaussian:
        """q(x_u | x_0) = N(sqrt(alpha_bar) x_0, 1 - alpha_bar), alpha_bar = sigmoid(lambda(u))."""
        level = _beside(log_snr, x_0)
        return Gaussian(torch.sigmoid(level).sqrt() * x_0, nn.functional.logsigmoid(-level))

    def predict(self, x_u: Batch, log_snr: Points, dtype: torch.dtype | None = None) -> Prediction:
        """x0-hat and, if wanted, log p(level | x_u) at (x_u, lambda(u)): one call of the network.

        dtype: what x0-hat is formed in, where not in that of x_u, which the network gets.

        Raises:
            BadInput: the network's channels are not what the parametrisation needs, or its shape
                is not that of x_u.
        """
        output, x_u = self.output(x_u, log_snr), x_u.to(dtype or x_u.dtype)
        output = output if isinstance(self.parametrization, Levels) else output.to(x_u.dtype)
        level = _beside(log_snr, x_u)
        alpha_bar, one_minus_alpha_bar = torch.sigmoid(level), torch.sigmoid(-level)
        given = (output, x_u, alpha_bar, one_minus_alpha_bar)
        x_0 = self.parametrization.x_0_given(*given)
        x_0 = x_0 if self.clip is None else x_0.clamp(*self.clip)
        if not isinstance(self.parametrization, Levels):
            return Prediction(x_0, -level)
        return Prediction(x_0, -level, partial(self.parametrization.log_posterior_given, *given))

    def output(self, x_u: Batch, log_snr: Points) -> Output:
        """What the network gives at (x_u, lambda(u)), in x_u's dtype.

        Raises:
            BadInput: as `predict`.
        """
        # In the dtype of the network's weights, as GaussianReverse asks it.
        dtypes = (weight.dtype for weight in self.network.parameters())
        dtype = next((dtype for dtype in dtypes if dtype.is_floating_point), x_u.dtype)
        condition = self.condition_at(x_u)
        if isinstance(self.network, OnPath):  # which rounds what it makes of them
            output: Tensor = self.network(x_u, log_snr.to(x_u.device), *condition)
        else:
            output = self.network(x_u.to(dtype), log_snr.to(x_u.device, dtype), *condition)
        output = output.to(x_u.dtype)
        wanted = (len(x_u), self.parametrization.outputs * x_u.shape[1], *x_u.shape[2:])
        if output.shape != wanted:
            raise BadInput(
                f"the network must give {wanted} for input {tuple(x_u.shape)} with "
                f"parametrization {self.parametrization.name}; got {tuple(output.shape)}"
            )
        return output

    def decoder(self, x_1: Batch) -> Distribution:
        """p(x_0 | x_1), where x_1 is x at u = 0."""
        log_snr = self.log_snr.ends()[0].expand(len(x_1))
        if isinstance(self.emission, Decoder):
            return self.emission(self.predict(x_1, log_snr))
        level = _beside(log_snr, x_1)
        return self.emission(x_1, torch.sigmoid(level), torch.sigmoid(-level))

    def prior_term(self, x_0: Batch) -> Nats:
        """L_T = KL(q(x_u | x_0) || N(0, 1)) at u = 1."""
        end = self.marginal(x_0, self.log_snr.ends()[1].expand(len(x_0)))
        zero = torch.zeros_like(x_0)
        return end.kl(Gaussian(zero, zero.new_zeros((1,) * zero.ndim))).double()

    def diffusion_term(self, x_0: Batch, u: Points, noise: Noise) -> Nats:
        """-1/2 lambda'(u) exp(lambda(u)) |x_0 - x0-hat|^2 at x_u ~ q(x_u | x_0); float64.

        Its mean over u uniform on [0, 1] is L_inf, -1/2 times the integral of
        |x_0 - x0-hat|^2 dSNR (Kingma et al. 2021, section 5).
        """
        return self._diffusion(x_0, self.log_snr.at(u), noise.at(constant_time(2, x_0)))

    def _diffusion(self, x_0: Batch, curve: Curve, noise: Noise) -> Nats:
        log_snr = curve.log_snr
        x_u = self.marginal(x_0, log_snr).sample(noise)
        error = (x_0 - self.predict(x_u, log_snr).x_0).square().flatten(1).sum(1).double()
        return (-0.5 * curve.derivative * log_snr.exp()).to(error.device) * error

    def reconstruction_term(self, x_0: Batch, noise: Noise) -> Nats:
        """L_0 = -log p(x_0 | x_1) at x_1 ~ q(x_u | x_0), u = 0; with the noise of t = 1."""
        log_snr = self.log_snr.ends()[0].expand(len(x_0))
        x_1 = self.marginal(x_0, log_snr).sample(noise.at(constant_time(1, x_0)))
        return -self.decoder(x_1).log_prob(x_0).double()

    def bound(self, x_0: Batch, u: Points, noise: Noise) -> Nats:
        """L_T + the diffusion term at u + L_0: unbiased for L when u is uniform on [0, 1].

        Float64. Two calls of the network, one where the decoder is a LevelLikelihood.
        """
        ends = self.prior_term(x_0) + self.reconstruction_term(x_0, noise)
        return ends + self.diffusion_term(x_0, u, noise)

    def chain(self, T: int) -> Chain[Gaussian]:
        """The DDPM chain of T latents evenly spaced in u, its schedule no longer learned.

        Its network receives log SNR_t and is this one; V_t is beta-tilde_t. L of the chain falls
        to L as T grows where |x_0 - x0-hat|^2 rises with the noise.

        Raises:
            BadInput: as `LogSNR.schedule` and `GaussianReverse`.
        """
        return self.along(self.log_snr.schedule(T))

    def along(self, schedule: Schedule) -> Chain[Gaussian]:
        """As `chain`, of a schedule on the curve, such as a sub-chain of a chain's."""
        p, emission = self.reverse(schedule), self.emission
        if isinstance(emission, Decoder):
            return Chain(p.q, p)
        return Chain(p.q, LikelihoodDecoded(p, emission))

    def reverse(self, schedule: Schedule) -> GaussianReverse:
        """Its steps, and x0-hat."""
        emission = self.emission
        return GaussianReverse(
            self.network,
            GaussianForward(schedule),
            parametrization=self.parametrization,
            variance=small(schedule, "inverse_snr_1"),
            decoder=emission if isinstance(emission, Decoder) else Density(),
            time_input=TIME_INPUTS["log-snr"],
            clip=self.clip,
        )


def training_loss(
    model: ContinuousGaussian, x_0: Batch, u: Points, noise: Noise, variance_weight: float = 1.0
) -> Nats:
    """The value of `model.bound`, with a gradient of its own for the interior of a learned curve.

    Network and ends get the gradient of the bound. What moves lambda(u) between the ends cannot
    change L; its weights get variance_weight times the gradient of the squared diffusion term,
    2 l dl, and so make l vary least (Kingma et al. 2021, section 5.3 and appendix I.2). One
    backward pass gives all three. Squared nats are large beside nats: clip the two gradients
    apart, or choose variance_weight. Per example; any weighted sum of it has these gradients.
    """
    curve = model.log_snr.at(u)
    diffusion = model._diffusion(x_0, curve, noise.at(constant_time(2, x_0)))
    scale = 2 * variance_weight * diffusion.detach()
    for part in (curve.w, curve.w_slope):
        if part.requires_grad:  # the interior reaches the loss through these two alone
            part.register_hook(lambda gradient: scale.to(gradient.device) * gradient)
    return model.prior_term(x_0) + diffusion + model.reconstruction_term(x_0, noise)


def _beside(values: Points, x: Batch) -> Float[Tensor, "..."]:
    """One value per example, in x's dtype and device, to broadcast against x."""
    return values.to(x.device, x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
