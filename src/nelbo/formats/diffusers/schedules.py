"""diffusers' schedules as its configs name them, in float64.

diffusers computes them in float32, which is off by up to 1e-3 in 1 - alpha_bar: enough to see in
the bound, and not what the formulas say.
"""

import math
from collections.abc import Callable, Mapping

import torch

from nelbo.errors import BadInput
from nelbo.gaussian.schedule import (
    Schedule,
    cosine,
    from_betas,
    linear,
    scaled_linear,
    sigmoid,
)
from nelbo.typed_json import Json, list_at, number_at, number_of, whole_at

__all__ = ["laplace", "schedule_of", "zero_terminal_snr"]


def laplace(T: int, max_beta: float = 0.999) -> Schedule:
    """log SNR = -sign(1/2 - u) log(1.000001 - 2 |1/2 - u|) / 2 of alpha_bar^2, u = t/T.

    beta_t = min(1 - f(t)/f(t-1), max_beta) with f = sqrt(SNR / (1 + SNR)), as diffusers has it.
    """

    def log_f(u: float) -> float:
        log_snr = -0.5 * math.copysign(1, 0.5 - u) * math.log1p(1e-6 - 2 * abs(0.5 - u))
        return -0.5 * math.log1p(math.exp(-log_snr))

    least = math.log1p(-max_beta)
    log_alpha = [max(log_f((t + 1) / T) - log_f(t / T), least) for t in range(T)]
    return Schedule("laplace", torch.tensor(log_alpha, dtype=torch.float64))


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """sqrt(alpha_bar_t) shifted to end in 0 and scaled to begin as before.

    Source: Lin et al. 2023, algorithm 1 (rescale_betas_zero_snr).

    Raises:
        BadInput: T = 1, where nothing is left to scale.
    """
    if schedule.T == 1:
        raise BadInput("rescale_betas_zero_snr needs at least 2 steps; got num_train_timesteps = 1")
    half = 0.5 * schedule.log_alpha_bar[1:]
    # log(a_t - a_T) = log a_T + log(a_t / a_T - 1): the difference of near roots is never taken
    log_root = torch.expm1(half - half[-1]).log()
    log_alpha = 2 * torch.cat([half[:1], log_root.diff()])
    return Schedule(f"{schedule.name}-zero-snr", log_alpha)


def schedule_of(config: Mapping[str, Json]) -> Schedule:
    """The schedule of a scheduler's config, every key given.

    Raises:
        BadInput: a beta_schedule that diffusers' DDPM does not have, or betas outside (0, 1).
    """
    T = whole_at(config, "num_train_timesteps")
    ends = number_at(config, "beta_start"), number_at(config, "beta_end")
    name = str(config["beta_schedule"])
    makers: dict[str, Callable[[], Schedule]] = {
        "linear": lambda: linear(T, *ends),
        "scaled_linear": lambda: scaled_linear(T, *ends),
        "squaredcos_cap_v2": lambda: cosine(T),
        "sigmoid": lambda: sigmoid(T, *ends),
        "laplace": lambda: laplace(T),
    }
    if config["trained_betas"] is not None:
        betas = [float(number_of(beta)) for beta in list_at(config, "trained_betas")]
        schedule = from_betas(betas, "trained_betas")
        if schedule.T != T:
            raise BadInput(f"{schedule.T} trained_betas do not fit num_train_timesteps = {T}")
    elif name in makers:
        schedule = makers[name]()
    else:
        raise BadInput(
            f"beta_schedule {config['beta_schedule']!r} is not one of {', '.join(makers)}"
        )
    return zero_terminal_snr(schedule) if config["rescale_betas_zero_snr"] else schedule
