"""-log2 p(x) = sum over groups of -log2 p(group | what is revealed), as the bytes of each image.

The path of the masks does not depend on the image, so an ordered chain is an arithmetic code by
itself: no initial bits, one code for each image, and any first part of it is a preview.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from nelbo.categorical.orders import Order, groups
from nelbo.coding.entropy import Decoder, encoded
from nelbo.coding.masses import bits, masses
from nelbo.coding.twin import require_codable
from nelbo.model import Model
from nelbo.networks.integers import PER_NAT
from nelbo.networks.mode import without_gradients

__all__ = ["Coded", "OrderedCode", "Progress"]

ROOM = 2**26  # bytes of the masses of a batch
BATCH = 64  # images, from where larger batches are not faster

Progress = Callable[[int, int, str], None]
"""Called with (images done, images in all, "")."""


@final
@dataclass(frozen=True)
class Coded:
    """The bytes of each image, and how many bits they should be.

    ideal: log2(2^24 / mass) of its levels, summed; likelihood: -log2 p(x), by the softmax of the
    logits that the masses are rounded from.
    """

    contents: list[bytes]
    ideal: Float64[Tensor, " N"]
    likelihood: Float64[Tensor, " N"]

    @property
    def bits(self) -> Int64[Tensor, " N"]:
        """8 times the bytes of each image, without headers."""
        return torch.tensor([8 * len(content) for content in self.contents])


@final
@dataclass(frozen=True, eq=False)
class OrderedCode:
    """The code of a model whose network is an integer twin, by an order in so many calls.

    Raises:
        BadInput: another model; calls outside 1..D.
    """

    model: Model
    order: Order
    calls: int
    batch_size: int | None = None

    def __post_init__(self) -> None:
        require_codable(self.model)
        _ = self.groups

    @cached_property
    def groups(self) -> list[Int64[Tensor, " g"]]:
        """The positions that each call reveals."""
        return groups(self.order, self.calls)

    @property
    def n(self) -> int:
        """The number of levels."""
        return self.model.grid.n

    @property
    def batch(self) -> int:
        """How many images are coded together."""
        return self.batch_size or max(1, min(BATCH, ROOM // (8 * self.model.dims * self.n)))

    def encode(
        self,
        levels: Int64[Tensor, "N C H W"],
        progress: Progress = lambda done, expected, text: None,
    ) -> Coded:
        """The code of each image."""
        contents: list[bytes] = []
        ideal, likelihood = [], []
        for part in levels.long().split(self.batch):
            flat, hidden = part.flatten(1), torch.full_like(part.flatten(1), self.n)
            parts = []
            for positions in self.groups:
                parts.append(self._logits(hidden, positions))
                hidden[:, positions] = flat[:, positions]
            logits, wanted = torch.cat(parts, 1), flat[:, torch.cat(self.groups)]
            whole = masses(logits, self._exp)
            ideal.append(bits(whole, wanted).sum(1))
            log_p = torch.log_softmax(logits.double() / PER_NAT, -1)
            likelihood.append(-log_p.gather(-1, wanted[..., None]).sum((1, 2)) / math.log(2))
            contents += [encoded(x, mass) for x, mass in zip(wanted, whole, strict=True)]
            progress(len(contents), len(levels), "")
        return Coded(contents, torch.cat(ideal), torch.cat(likelihood))

    def decode(
        self,
        contents: Sequence[bytes],
        *,
        first: int | None = None,
        progress: Progress = lambda done, expected, text: None,
    ) -> Int64[Tensor, "N C H W"]:
        """The images of these codes.

        first: read so many groups alone, and guess the rest: the likeliest level of each position
        given what those revealed.

        Raises:
            BadInput: bytes that are no code of an image.
        """
        images = []
        for start in range(0, len(contents), self.batch):
            part = contents[start : start + self.batch]
            images.append(self._decoded(part, self.calls if first is None else first))
            progress(start + len(part), len(contents), "")
        return torch.cat(images).reshape(-1, *self.model.shape)

    def _decoded(self, contents: Sequence[bytes], first: int) -> Int64[Tensor, "B D"]:
        decoders = [Decoder(content) for content in contents]
        x = torch.full((len(contents), self.model.dims), self.n)
        for positions in self.groups[:first]:
            table = masses(self._logits(x, positions), self._exp)
            read = [d.next(mass) for d, mass in zip(decoders, table, strict=True)]
            x[:, positions] = torch.stack([torch.from_numpy(levels).long() for levels in read])
        if rest := self.groups[first:]:
            positions = torch.cat(rest)
            x[:, positions] = self._logits(x, positions).argmax(-1)
        return x

    @property
    def _exp(self) -> Tensor:
        return require_codable(self.model).exp.cpu()

    def _logits(
        self, x: Int64[Tensor, "B D"], positions: Int64[Tensor, " g"]
    ) -> Int64[Tensor, "B g n"]:
        """The whole logits of these positions given what x reveals; n stands for what it hides."""
        twin = require_codable(self.model)
        hidden = int((x[0] == self.n).sum())
        row = twin.rows[hidden - 1].long().expand(len(x))
        images = x.reshape(-1, *self.model.shape)
        states = images if twin.ids else one_hot(images, self.n + 1).movedim(-1, 2).flatten(1, 2)
        with without_gradients(self.model.device):
            return twin.logits_at(states.to(self.model.device), row, positions).cpu()
