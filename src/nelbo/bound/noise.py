"""Noise as a pure function of (seed, image id, t, draw).

A draw must not depend on the batch it was made in, on how many processes share the work or on
what was drawn before. So there is no generator state: every row of a batch carries a 64-bit key,
made from what the row is, and its numbers are SplitMix64's stream from that key (Steele, Lea,
Flood 2014, "Fast splittable pseudorandom number generators"). Integer arithmetic alone decides
the bits, the same on every device.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.types import Batch, Time

__all__ = ["Block", "KeyedNoise", "Noise", "Part"]

# SplitMix64's increment and multipliers, as the signed integers that torch's int64 wraps to.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)

MOST = 2**63  # a seed is a key of 64 bits with a sign
TOGETHER = 65_536  # normals that fit into a cache while they are made


class Noise(ABC):
    """Where a distribution gets its randomness from, one row per example."""

    @abstractmethod
    def normal(self, like: Batch) -> Batch:
        """Independent N(0, 1), of like's shape, dtype and device."""

    @abstractmethod
    def uniform(self, like: Batch) -> Float64[Tensor, "B *dims"]:
        """Independent, uniform on (0, 1), of like's shape and device, with 53 random bits."""

    @abstractmethod
    def at(self, t: Time) -> "Noise":
        """The noise that belongs to time t of each example."""

    @abstractmethod
    def draws(self, count: int) -> "Noise":
        """`count` independent draws per example: rows (example 0, draw 0), (0, 1), ..."""

    @abstractmethod
    def rows(self, index: Int64[Tensor, " R"]) -> "Noise":
        """The noise of the given examples."""


@final
class KeyedNoise(Noise):
    """Noise whose row b is determined by the 64-bit key of row b, whatever its neighbours are.

    Shapes: key is (B,), int64, on the CPU; numbers are made on the device of `like`. `made` gives
    the normals where they are there already.
    """

    def __init__(
        self,
        key: Int64[Tensor, " B"],
        made: Callable[[Batch], Batch] | None = None,
        opposite: Bool[Tensor, " B"] | None = None,
    ) -> None:
        self.key = key
        self.made = made
        self._opposite = opposite

    @classmethod
    def of(cls, seed: int, ids: Int64[Tensor, " B"]) -> "KeyedNoise":
        """The noise of the images with these ids under this seed.

        Raises:
            BadInput: the seed is no integer of 63 bits.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or not -MOST <= seed < MOST:
            raise BadInput(f"a seed is an integer from 0 to 2**63 - 1; got {seed!r:.40}")
        # Folded in one after the other: a symmetric mixture would give image 5 under seed 3 the
        # noise of image 3 under seed 5.
        return cls(torch.tensor(seed, dtype=torch.int64).expand(len(ids)))._fold(ids)

    def at(self, t: Time) -> "KeyedNoise":
        return self._fold(2 * t + 1)

    def draw(self, number: Int64[Tensor, " B"]) -> "KeyedNoise":
        """The given draw of each row; draws of different numbers are independent."""
        return self._fold(2 * number)

    def draws(self, count: int) -> "KeyedNoise":
        number = torch.arange(count).repeat(len(self.key))
        return KeyedNoise(self.key.repeat_interleave(count)).draw(number)

    def rows(self, index: Int64[Tensor, " R"]) -> "KeyedNoise":
        opposite = self._opposite
        return KeyedNoise(self.key[index], opposite=None if opposite is None else opposite[index])

    def opposite(self, where: Bool[Tensor, " B"]) -> "KeyedNoise":
        """Of these rows every normal has the other sign, and every uniform u is 1 - u.

        Either is of the same law as before, so nothing that is drawn by it is of another. What
        grows where one falls cancels in the mean of the two (Hammersley and Morton 1956).
        """
        return KeyedNoise(self.key, opposite=where)

    def _fold(self, number: Tensor) -> "KeyedNoise":
        key = _mix(_mix(self.key + GOLDEN) + number * GOLDEN)
        return KeyedNoise(key, opposite=self._opposite)

    def normal(self, like: Batch) -> Batch:
        if self.made is not None:
            return self.made(like)
        # Box and Muller 1958: 64 bits make two normals; 2^-33 is the smallest radius variable,
        # so tails reach 6.7 standard deviations.
        size = like[0].numel()
        bits = self._bits(-(-size // 2), like.device)
        # float64 for the angle and the logarithm: float32 has no room for 32 random bits.
        radius = ((bits >> 32) & 0xFFFFFFFF).double().add_(0.5).mul_(2.0**-32)
        radius = radius.log_().mul_(-2).sqrt_().to(like.dtype)
        angle = (bits & 0xFFFFFFFF).double().mul_(2 * math.pi * 2.0**-32).to(like.dtype)
        if self._opposite is not None:
            radius = torch.where(self._opposite.to(radius.device)[:, None], -radius, radius)
        pair = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return pair[:, :size].reshape(like.shape)

    def uniform(self, like: Batch) -> Float64[Tensor, "B *dims"]:
        bits = self._bits(like[0].numel(), like.device)
        if self._opposite is not None:  # the same 2^53 numbers, from the other end
            bits = torch.where(self._opposite.to(bits.device)[:, None], ~bits, bits)
        top = (bits >> 11) & (2**53 - 1)
        # Multiples of 2^-53 are exact, half-multiples would round, to 1 at the end; 0 moves inside.
        return top.double().clamp_(min=0.5).mul_(2.0**-53).reshape(like.shape)

    def _bits(self, count: int, device: torch.device) -> Int64[Tensor, "B count"]:
        counter = torch.arange(1, count + 1, device=device)
        return _mix(self.key.to(device, non_blocking=True)[:, None] + counter * GOLDEN)


@final
class Block:
    """Rows whose normals are needed at times known beforehand: all are made at once.

    A row's numbers are its own, whoever makes them; but an operation on a few thousand numbers
    costs as much as one on a few, and a normal is thirty of them.
    """

    def __init__(self, noise: KeyedNoise, t: Time) -> None:
        self.noise = noise
        self.t = t
        self._normals: Batch | None = None

    @staticmethod
    def length(numbers: int) -> int:
        """How many times so many normals are worth making at once, at least 1."""
        return max(1, TOGETHER // max(numbers, 1))

    def part(self, rows: slice) -> "Part":
        """The noise of some of the rows."""
        return Part(self, rows)

    @cached_property
    def at_times(self) -> KeyedNoise:
        """The noise at the times."""
        return self.noise.at(self.t)

    def normals(self, rows: slice, like: Batch) -> Batch:
        """Those of the rows at their times."""
        made = self._normals
        if made is None or made.shape[1:] != like.shape[1:] or made.dtype != like.dtype:
            everywhere = like.new_empty(()).expand(len(self.t), *like.shape[1:])
            self._normals = made = self.at_times.normal(everywhere)
        return made[rows]


@final
class Part(Noise):
    """Some rows of a block; `t` holds the times that they will be needed at, if any."""

    def __init__(self, block: Block, rows: slice) -> None:
        self._block = block
        self._rows = rows
        self.t = block.t[rows]

    @property
    def _own(self) -> KeyedNoise:
        return KeyedNoise(self._block.noise.key[self._rows])

    def at(self, t: Time) -> "Noise":
        if t is not self.t:  # equal ones get the same numbers, made for these rows alone
            return self._own.at(t)
        block, rows = self._block, self._rows
        return KeyedNoise(block.at_times.key[rows], partial(block.normals, rows))

    def normal(self, like: Batch) -> Batch:
        return self._own.normal(like)

    def uniform(self, like: Batch) -> Float64[Tensor, "B *dims"]:
        return self._own.uniform(like)

    def draws(self, count: int) -> "Noise":
        return self._own.draws(count)

    def rows(self, index: Int64[Tensor, " R"]) -> "Noise":
        return self._own.rows(index)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's output function; the masks turn torch's arithmetic shifts into logical ones."""
    first, second = MULTIPLIERS
    z = (z ^ ((z >> 30) & (2**34 - 1))) * first
    z = (z ^ ((z >> 27) & (2**37 - 1))) * second
    return z ^ ((z >> 31) & (2**33 - 1))
