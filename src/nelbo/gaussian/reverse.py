"""p_theta of DDPM: one network, read through a parametrisation, a variance and a decoder."""

from collections.abc import Callable
from functools import partial
from typing import final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from nelbo.bound.chain import ReverseProcess, constant_time
from nelbo.bound.distribution import Distribution
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Decoder, LevelPosterior, Prediction
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.on_path import OnPath
from nelbo.gaussian.parametrization import Levels, Linear, Output, Parametrization
from nelbo.gaussian.schedule import Schedule, at
from nelbo.gaussian.variance import Variance
from nelbo.types import Batch, Time

__all__ = ["TIME_INPUTS", "GaussianReverse", "TimeInput", "fraction"]

TimeInput = Callable[[Schedule, Time], Tensor]


def _index(schedule: Schedule, t: Time) -> Tensor:
    return schedule.kept[t - 1] - 1


def _t(schedule: Schedule, t: Time) -> Tensor:
    return schedule.kept[t - 1]


def _log_snr(schedule: Schedule, t: Time) -> Tensor:
    return schedule.log_snr[t]


TIME_INPUTS: dict[str, TimeInput] = {"index": _index, "t": _t, "log-snr": _log_snr}
"""What a network receives about t: the 0-based or 1-based step of the chain that it was trained on
(also where steps are skipped), or log SNR_t."""


def fraction(schedule: Schedule, t: Time) -> Tensor:
    """t/T of the chain that the network was trained on, in (0, 1].

    Not among a recipe's choices: its networks are made for a time that spans about -9..9.
    """
    return schedule.kept[t - 1].double() / schedule.whole_T


@final
class GaussianReverse(nn.Module, ReverseProcess[Gaussian]):
    """p_theta(x_{t-1} | x_t) = N(posterior mean at x0-hat, V_t); p(x_T) = N(0, 1).

    x0-hat is clipped to `clip` where given: a part of the model, in its bound as in its samples.
    The network maps (x_t, what `time_input` says of t, the condition if any) to
    `parametrization.outputs + variance.outputs` channels for each channel of the data, the
    prediction's first.

    Raises:
        BadInput: a parametrisation that divides by alpha_bar_T = 0; the levels decoder
            without the levels parametrisation.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: GaussianForward,
        *,
        parametrization: Parametrization,
        variance: Variance,
        decoder: Decoder,
        time_input: TimeInput,
        clip: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        _check(forward.schedule, parametrization, decoder)
        self.network = network
        self.q = forward
        self.parametrization = parametrization
        self.variance = variance
        self.emission = decoder
        self.time_input = time_input
        self.clip = clip

    def along(self, schedule: Schedule, variance: Variance) -> "GaussianReverse":
        """The same network, read alike, along another schedule and with other variances."""
        return GaussianReverse(
            self.network,
            GaussianForward(schedule),
            parametrization=self.parametrization,
            variance=variance,
            decoder=self.emission,
            time_input=self.time_input,
            clip=self.clip,
        )

    def prior(self, x_0: Batch) -> Gaussian:
        """p(x_T) = N(0, 1)."""
        zero = torch.zeros_like(x_0)
        return Gaussian(zero, zero.new_zeros((1,) * zero.ndim))

    def step(self, x_t: Batch, t: Time) -> Gaussian:
        prediction = self.predict(x_t, t)
        return Gaussian(self.q.posterior_mean(x_t, prediction.x_0, t), prediction.log_var)

    def decoder(self, x_1: Batch) -> Distribution:
        return self.emission(self.predict(x_1, constant_time(1, x_1)))

    def x_0_hat(self, x_t: Batch, t: Time) -> Batch:
        """What the network expects of x_0."""
        return self.predict(x_t, t).x_0

    def precise_decoder(self, x_1: Batch) -> Distribution:
        """p_theta(x_0 | x_1) in float64, x_1 in whatever the network gets."""
        return self.emission(self.predict_precisely(x_1, constant_time(1, x_1)))

    def predict_precisely(self, x_t: Batch, t: Time) -> Prediction:
        """x0-hat and log V_t in float64, from the network's output at x_t in x_t's dtype.

        Chances of levels are in the output's dtype: there are n times as many.
        """
        output, variance = self.output(x_t, t)
        if not isinstance(self.parametrization, Levels):
            output = output.double()
        return self.read(output, variance.double(), x_t.double(), t)

    def output(self, x_t: Batch, t: Time) -> tuple[Output, Output]:
        """The network's output at (x_t, t), in x_t's dtype: (the prediction's, the variance's).

        The network is evaluated in the dtype of its weights, whatever the chain's arithmetic is in.

        Raises:
            BadInput: the network's channels are not what the choices need, or its shape is not
                that of x_t.
        """
        dtype = self.dtype(x_t.dtype)
        output = self.network_output(x_t, self.network_time(t, x_t.device, dtype), dtype)
        parts = (self.parametrization.outputs * x_t.shape[1], self.variance.outputs * x_t.shape[1])
        prediction, variance = output.split(parts, dim=1)
        return prediction, variance

    def dtype(self, default: torch.dtype) -> torch.dtype:
        """That of the network's first real weight; default where it has none."""
        dtypes = (parameter.dtype for parameter in self.network.parameters())
        return next((dtype for dtype in dtypes if dtype.is_floating_point), default)

    def network_time(
        self, t: Time, device: torch.device, dtype: torch.dtype
    ) -> Shaped[Tensor, " B"]:
        """What the network receives of t; real numbers in the dtype of its weights.

        A network on a path makes its time of the log SNR, which stays in float64.
        """
        time = self.time_input(self.q.schedule, t).to(device, non_blocking=True)
        whole = isinstance(self.network, OnPath) or not time.is_floating_point()
        return time if whole else time.to(dtype)

    def network_output(self, x_t: Batch, time: Shaped[Tensor, " B"], dtype: torch.dtype) -> Output:
        """All that the network gives, in x_t's dtype.

        Raises:
            BadInput: as `output`.
        """
        condition = self.condition_at(x_t)
        given = x_t if isinstance(self.network, OnPath) else x_t.to(dtype)
        output: Tensor = self.network(given, time, *condition).to(x_t.dtype)
        channels = (self.parametrization.outputs + self.variance.outputs) * x_t.shape[1]
        if output.shape != (len(x_t), channels, *x_t.shape[2:]):
            raise BadInput(
                f"the network must give {channels} channels for input {tuple(x_t.shape)} with "
                f"parametrization {self.parametrization.name} and variance {self.variance.name}; "
                f"got {tuple(output.shape)}"
            )
        return output

    def predict(self, x_t: Batch, t: Time) -> Prediction:
        """x0-hat, log V_t and log p(level | x_t), if wanted, at (x_t, t): one network call."""
        return self.read(*self.output(x_t, t), x_t, t)

    def read(self, output: Output, variance: Output, x_t: Batch, t: Time) -> Prediction:
        """What the network's output at (x_t, t) says."""
        schedule = self.q.schedule
        x_0 = self.clipped(self.parametrization.x_0(output, x_t, t, schedule))
        log_var = self.variance.log_var(variance, t, x_0)
        if not isinstance(self.parametrization, Levels):
            return Prediction(x_0, log_var)
        log_levels = partial(self.parametrization.log_posterior, output, x_t, t, schedule)
        return Prediction(x_0, log_var, log_levels)

    def error(self, x_0: Batch, eps: Batch, output: Output, t: Time) -> Batch:
        """x_0 - x0-hat at x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.

        From what the output should have been, in x_0's dtype, where the output is linear in x_0
        and eps: the difference of x_0 and x0-hat has few digits at high SNR.
        """
        schedule = self.q.schedule
        a = at(schedule.alpha_bar, t, x_0).sqrt()
        s = at(schedule.one_minus_alpha_bar, t, x_0).sqrt()
        if not isinstance(self.parametrization, Linear):
            x_t = a * x_0 + s * eps
            return x_0 - self.clipped(self.parametrization.x_0(output, x_t, t, schedule))
        error = self.parametrization.error(x_0, eps, output, a, s)
        return error if self.clip is None else error.clamp(x_0 - self.clip[1], x_0 - self.clip[0])

    def clipped(self, x_0: Batch) -> Batch:
        """x0-hat within the model's clip; a mean of levels is within their range as it is."""
        if self.clip is None or isinstance(self.parametrization, Levels):
            return x_0
        return x_0.clamp(*self.clip)


def _check(schedule: Schedule, parametrization: Parametrization, decoder: Decoder) -> None:
    if isinstance(decoder, LevelPosterior) and not isinstance(parametrization, Levels):
        raise BadInput("the levels decoder needs the levels parametrization")
    divides = isinstance(parametrization, Linear) and parametrization.divides
    if divides and float(schedule.alpha_bar[-1]) == 0:
        raise BadInput(
            f"{parametrization.name} prediction cannot give x_0 at zero terminal SNR "
            f"(alpha_bar[{schedule.T}] = 0): use v or x_0"
        )
