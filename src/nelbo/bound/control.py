"""Control variates: cheap functions of (x_0, x_t, t) whose sum over t is known in expectation."""

from abc import ABC, abstractmethod

from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.types import Batch, Nats

__all__ = ["Control"]


class Control(ABC):
    """c(x_0, x_t, t), a relative of L_{t-1} for t >= 2, in nats, made for certain N images."""

    name: str

    @abstractmethod
    def value(self, x_0: Batch, x_t: Batch, t: Tensor, image: Int64[Tensor, " B"]) -> Nats:
        """c at these x_t, one for each example; image says which of the N images each is.

        t is what `Arithmetic.moment` makes of the times.
        """

    @abstractmethod
    def totals(
        self, x_0: Batch, group: Int64[Tensor, " transitions"], groups: int
    ) -> Float64[Tensor, "2 N groups"]:
        """E[c | x_0, t] summed over the t of each group, for the N images; twice.

        group[t - 2] is that of t = 2..T. The two are independent unbiased estimates, the same
        where the sum is known exactly.
        """
