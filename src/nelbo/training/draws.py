"""What the steps of a run see, as functions of the step: images, times and noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.noise import Block, KeyedNoise, Part
from nelbo.training.batches import Batches
from nelbo.training.times import Times
from nelbo.types import Time

__all__ = ["Draw", "Draws"]


@final
@dataclass(frozen=True)
class Draw:
    """A step's images by place, their times and the weights of these, None for 1.

    parts: for each part of this process's share its rows of the batch, and their noise.
    """

    index: Int64[Tensor, " B"]
    t: Time
    weight: Float64[Tensor, " B"] | None
    parts: Sequence[tuple[slice, Part]]


@final
class Draws:
    """Draws of several steps at once, where what they see does not depend on the losses.

    The same work for each step by itself would take a small network's step again as long.
    parts: the rows of the batch that this process computes, in consecutive slices.
    """

    def __init__(
        self,
        batches: Batches,
        times: Times,
        noise: KeyedNoise,
        seed: int,
        steps: int,
        parts: Sequence[slice],
        dims: int,
    ) -> None:
        self.batches = batches
        self.times = times
        self.noise = noise
        self.seed = seed
        self.steps = steps
        self.parts = parts
        self.share = slice(parts[0].start, parts[-1].stop)
        self.rows = self.share.stop - self.share.start
        self.length = 1 if times.learns else Block.length(self.rows * dims)
        self._first = 0
        self._made: list[Draw] = []

    def at(self, step: int) -> Draw:
        """The draw of a step, counted from 0."""
        if not 0 <= step - self._first < len(self._made):
            self._first, self._made = step, self._make(step)
        return self._made[step - self._first]

    def _make(self, first: int) -> list[Draw]:
        steps = torch.arange(first, min(first + self.length, self.steps))
        index = torch.stack([self.batches.at(step) for step in steps.tolist()])
        t, weight = self.times.draw(KeyedNoise.of(self.seed, steps), self.batches.size)
        noise = self.noise.rows(index[:, self.share].flatten())
        number = steps.repeat_interleave(self.rows)
        block = Block(noise.draw(number), t[:, self.share].flatten())
        return [
            Draw(index[k], t[k], None if weight is None else weight[k], self._parts(block, k))
            for k in range(len(steps))
        ]

    def _parts(self, block: Block, k: int) -> list[tuple[slice, Part]]:
        start = k * self.rows - self.share.start
        return [
            (part, block.part(slice(start + part.start, start + part.stop))) for part in self.parts
        ]
