"""A model as the tasks see it: a chain, what its data are, and all that changes its bound."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from nelbo.bound.chain import Chain
from nelbo.bound.estimators import low_discrepancy_times, one_time
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.types import Batch, Grid, Nats

__all__ = ["Model", "loss"]


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A chain over images of a declared shape and grid, with what a report must say of it.

    `chain` carries the network; `respace` makes the chain of the kept steps of the original one;
    `embed` turns levels into what the chain calls data, in a given dtype, and `levels` turns back;
    `importance` is proportional to the share of the bound expected in each t = 2..T, from which
    an evaluation may draw its times; `facts` is JSON: schedule, parametrisation, variance, V_1,
    clip, decoder.
    """

    name: str
    network: nn.Module
    chain: Chain[Any]
    respace: Callable[[Sequence[int]], "Model"]
    importance: Float64[Tensor, " transitions"]
    shape: tuple[int, ...]
    grid: Grid
    embed: Callable[[Tensor, torch.dtype], Batch]
    levels: Callable[[Batch], Tensor]
    facts: Mapping[str, Any]
    weights: str = "raw"

    @property
    def dims(self) -> int:
        """The number of dimensions of an image."""
        return int(torch.Size(self.shape).numel())

    @property
    def T(self) -> int:
        """The number of steps of the chain."""
        return int(self.chain.q.T)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        parameter = next(self.network.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def sha256(self) -> str:
        """The digest of the weights in use, names and bytes, in the order of their names."""
        digest = hashlib.sha256()
        for name, x in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {x.dtype} {tuple(x.shape)}\n".encode())
            digest.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def x_0(self, levels: Tensor, dtype: torch.dtype = torch.float32) -> Batch:
        """The levels as the chain sees them, on the model's device; dtype where they are real.

        Raises:
            BadInput: the images do not have the model's shape.
        """
        if tuple(levels.shape[1:]) != self.shape:
            raise BadInput(
                f"the model takes images of shape {self.shape}; got {tuple(levels.shape[1:])}"
            )
        return self.embed(levels.to(self.device), dtype)

    def every(self, steps: int) -> "Model":
        """The chain of `steps` steps spread evenly over this one's, always with t = T.

        Raises:
            BadInput: steps outside 1..T.
        """
        if not 1 <= steps <= self.T:
            raise BadInput(f"steps must lie in 1..{self.T} for this model; got {steps}")
        if steps == self.T:
            return self
        kept = [-(-self.T * (i + 1) // steps) for i in range(steps)]
        return replace(self.respace(kept), weights=self.weights)


def loss(model: Model, levels: Tensor, generator: torch.Generator | None = None) -> Nats:
    """An unbiased estimate of L for each image, one network evaluation each, to train by.

    levels: (B, C, H, W) integers; nats per image, with a gradient. Times are spread evenly over
    the batch; randomness comes from the generator, or torch's own.
    """
    x_0 = model.x_0(levels)
    seed = int(torch.randint(2**62, (), generator=generator))
    offset = float(torch.rand((), generator=generator, dtype=torch.float64))
    t = low_discrepancy_times(model.T, len(x_0), offset)
    return one_time(model.chain, x_0, t, KeyedNoise.of(seed, torch.arange(len(x_0))))
