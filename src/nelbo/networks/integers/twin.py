"""A network in whole numbers: equal inputs give equal bits on any machine, in any batch."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor, nn

from nelbo.errors import BadInput
from nelbo.networks.embedded import Embedded
from nelbo.networks.integers.arithmetic import Table
from nelbo.networks.integers.resnet import IntegerResNet
from nelbo.networks.resnet import ResNet

__all__ = ["PER_NAT", "Sizes", "Twin", "bits_of", "inside_of", "sizes_of"]

PER_NAT = 256
"""A logit is a whole number of 1/256 nats."""


Sizes = dict[str, int]
"""`pixels` of an image, and the lengths of a twin's tables: `times`, `positions`, `silu`, `exp`."""

TABLES = {"times": "times", "silu": "silu.values", "exp": "exp"}


def sizes_of(state: Mapping[str, Tensor], shape: Sequence[int]) -> Sizes:
    """The sizes of the twin that has this state, of images of this shape."""
    tables = {size: len(state[name]) for size, name in TABLES.items()}
    return {"pixels": math.prod(shape[1:]), "positions": math.prod(shape), **tables}


@final
class Twin(nn.Module):
    """(x_t, time) -> logits, as the network that it was made of.

    x_t: (B, C K, H, W) of zeros and ones, or the states (B, C, H, W) where that network embeds
    them, `ids`; time: (B,), one of the numbers that the chain says of its t; logits:
    (B, n, H, W), float32, whole multiples of 1/256. Nothing in it is a weight to train: all are
    whole numbers, read from its file, tables of silu and exp included.

    Raises:
        BadInput: a time that is none of the chain's.
    """

    table: Tensor
    times: Tensor
    rows: Tensor
    exp: Tensor

    def __init__(self, like: nn.Module, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.kind = torch.float64
        self.ids = isinstance(like, Embedded)
        self.body = _body(inside_of(like), sizes["pixels"], sizes["times"])
        table = like.table if isinstance(like, Embedded) else torch.ones(1, 1)
        self.register_buffer("table", torch.ones(table.shape, dtype=torch.int16))
        self.silu = Table(sizes["silu"])
        for name, size in (("times", "times"), ("rows", "positions"), ("exp", "exp")):
            self.register_buffer(name, torch.zeros(sizes[size], dtype=torch.int32))
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda module, keys: module.check()
        )

    def forward(
        self, x_t: Shaped[Tensor, "B K H W"], time: Shaped[Tensor, " B"]
    ) -> Float32[Tensor, "B n H W"]:
        return self.logits(x_t.long(), self.row(time)).float() / PER_NAT

    def logits(
        self, x_t: Int64[Tensor, "B K H W"], row: Int64[Tensor, " B"]
    ) -> Int64[Tensor, "B n H W"]:
        """The logits in 1/256 nats at the t = row + 1."""
        inputs = self.table[x_t].long().movedim(-1, 2).flatten(1, 2) if self.ids else x_t
        whole: Tensor = self.body(inputs, row, self.silu, self.kind)
        return whole

    def row(self, time: Shaped[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """t - 1 of what the network receives of t.

        Raises:
            BadInput: nothing of the chain's has this time.
        """
        same = bits_of(time)[:, None] == self.times
        if not bool(same.any(1).all()):
            raise BadInput("an integer twin has tables of its own chain's times alone")
        return same.int().argmax(1)

    @property
    def most(self) -> int:
        """The largest magnitude of what the layers get: 1 where it is ones and zeros."""
        return int(self.table.long().abs().max())

    def check(self) -> None:
        """Holds every sum, product and root against its limit, by declared ranges.

        Raises:
            BadInput: a limit may be reached, or a table is none; the message names the layer.
        """
        self.body.check(self.most, self.silu)
        inside = (int(self.rows.min()) >= 0) and int(self.rows.max()) < len(self.times)
        if not (inside and int(self.exp.min()) >= 0 and int(self.exp[0]) > 0):
            raise BadInput("the tables of an integer twin are damaged: make it again")

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={size}" for name, size in self.sizes.items())


def inside_of(network: nn.Module) -> nn.Module:
    """The network that gets the embedded states, where they are embedded; else itself."""
    return network.network if isinstance(network, Embedded) else network


def bits_of(time: Shaped[Tensor, " B"]) -> Tensor:
    """The bits of a float32, as a whole number: equal where the times are."""
    return time.to(torch.float32).contiguous().view(torch.int32)


def _body(network: nn.Module, pixels: int, rows: int) -> IntegerResNet:
    """The empty twin of a network's layers.

    Raises:
        BadInput: a network, or a layer of it, that has no form in whole numbers.
    """
    if not isinstance(network, ResNet):
        raise BadInput(
            f"there is no integer twin of {type(network).__name__}: of the recipes' networks the "
            "resnet has one"
        )
    if network.classes is not None:
        raise BadInput(
            "there is no integer twin of the layer label: whoever decodes an image does not know "
            "its class; use a network without classes"
        )
    return IntegerResNet(network, pixels, rows)
