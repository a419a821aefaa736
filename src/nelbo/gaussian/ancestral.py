"""x_{t-1} ~ p_theta(x_{t-1} | x_t) with one t for all examples, its coefficients as numbers."""

from typing import final

import torch
from torch import Tensor

from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.parametrization import Linear
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.gaussian.variance import by_t
from nelbo.types import Batch

__all__ = ["Ancestral"]


@final
class Ancestral:
    """`step(x_t, t).sample(noise)` in fewer operations, where coefficients depend on t alone.

    like: an example of the batches to come, by shape, dtype and device.

    Raises:
        BadInput: a variance that is learned, or that differs between dimensions; levels.
    """

    def __init__(self, p: GaussianReverse, like: Batch) -> None:
        if not by_t(p.variance) or not isinstance(p.parametrization, Linear):
            raise BadInput(f"{p.variance.name} {p.parametrization.name} is not linear in x_t")
        schedule, each = p.q.schedule, torch.arange(1, p.q.T + 1)
        self.p = p
        self.dtype = p.dtype(like.dtype)
        self.times = p.network_time(each, like.device, self.dtype).unbind()

        def numbers(table: Tensor) -> Tensor:
            return table[1:].to(like)

        a = numbers(schedule.alpha_bar).sqrt()
        s = numbers(schedule.one_minus_alpha_bar).sqrt()
        p_weight, r_weight = p.parametrization.coefficients(a, s)
        self.p_weight = p_weight.tolist()  # x0-hat = p x_t + r output
        self.r_weight = r_weight.tolist()
        self.x_0_weight = numbers(schedule.posterior_x_0).tolist()
        self.x_t_weight = numbers(schedule.posterior_x_t).tolist()
        self.deviation = torch.exp(0.5 * numbers(p.variance.table).log()).tolist()

    def __call__(self, x_t: Batch, t: int, noise: Noise) -> Batch:
        """x_{t-1}, t >= 2, drawn by the noise that belongs to t."""
        i = t - 1
        output = self.p.network_output(x_t, self.times[i].expand(len(x_t)), self.dtype)
        x_0 = self.p.clipped(self.p_weight[i] * x_t + self.r_weight[i] * output)
        x_prev: Batch = self.x_0_weight[i] * x_0
        return x_prev.add_(self.x_t_weight[i] * x_t).add_(self.deviation[i] * noise.normal(x_t))
