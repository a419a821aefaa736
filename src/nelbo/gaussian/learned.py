"""The variance V_t as the network says it, apart from any schedule."""

import math
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from nelbo.gaussian.parametrization import Output
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Variance
from nelbo.types import Batch, Time

__all__ = ["Learned", "learned"]


@final
@dataclass(frozen=True)
class Learned(Variance):
    """V_t = output, at t = 1 too, so V_1 is no number of its own.

    An output that is not positive is no variance: its logarithm is NaN, and what is measured with
    it stops with the t and the images. Source: diffusers' variance_type "learned".
    """

    V_1: float = math.nan
    name: str = "learned"
    outputs: int = 1

    def log_var(self, output: Output, t: Time, x_0_hat: Batch) -> Float[Tensor, "..."]:
        return output.log()


def learned(schedule: Schedule, V_1: float | str) -> Learned:
    """V_t as the network says it, of every schedule alike."""
    return Learned()
