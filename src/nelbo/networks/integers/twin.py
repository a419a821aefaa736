"""A network in whole numbers: equal inputs give equal bits on any machine, in any batch."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor, nn

from nelbo.errors import BadInput
from nelbo.networks.embedded import Embedded
from nelbo.networks.integers.arithmetic import LARGEST, Convolution, Table
from nelbo.networks.integers.filling import Filling
from nelbo.networks.integers.resnet import IntegerResNet
from nelbo.networks.integers.unet import IntegerUNet
from nelbo.networks.logits import LowRankLogits
from nelbo.networks.resnet import ResNet
from nelbo.networks.unet import UNet

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
        around = _Around(like)
        self.ids = around.ids is not None
        self.body = _body(around.inside, sizes["pixels"], sizes["times"])
        self.head = None if around.head is None else Convolution("table", around.head)
        states = torch.ones(1, 1) if around.ids is None else around.ids.table
        self.register_buffer("table", torch.ones(states.shape, dtype=torch.int16))
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
        whole = self._outputs(x_t, row)
        if self.head is None:
            return whole
        each = whole.reshape(-1, self.head.weight.shape[1], *whole.shape[2:])
        logits: Tensor = self.head(each, self.kind)
        return logits.reshape(len(whole), -1, *whole.shape[2:])

    def logits_at(
        self,
        x_t: Int64[Tensor, "B K H W"],
        row: Int64[Tensor, " B"],
        positions: Int64[Tensor, " g"],
    ) -> Int64[Tensor, "B g n"]:
        """The logits of these positions alone, which costs less where they come from a table."""
        pixels = self.sizes["pixels"]
        channels = self.sizes["positions"] // pixels
        whole = self._outputs(x_t, row)
        by_channel = whole.reshape(len(whole), channels, -1, pixels)
        some = by_channel[:, positions // pixels, :, positions % pixels].movedim(0, 1)
        if self.head is None:
            return some
        logits: Tensor = self.head(some.mT[..., None], self.kind)
        return logits[..., 0].mT

    def _outputs(
        self, x_t: Int64[Tensor, "B K H W"], row: Int64[Tensor, " B"]
    ) -> Int64[Tensor, "B R H W"]:
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

    def fill(
        self, like: nn.Module, ranges: Mapping[str, float], times: Tensor, weight_bits: int
    ) -> None:
        """Weights, scales and the tables of states, times and silu, of the network like this one.

        ranges: the largest magnitudes by layer, as `Filling` wants them; times: (T,).
        """
        around = _Around(like)
        self.times.copy_(bits_of(times))
        filling = Filling(self.silu, around.inside, ranges, times, weight_bits)
        entry = 1.0  # of ones and zeros
        if around.ids is not None:
            values = around.ids.table.double()
            entry = float(values.abs().max()) / LARGEST
            self.table.copy_((values / entry).round())
        out = 1 / PER_NAT if self.head is None else filling.step("")
        self.body.fill(filling, entry, self.most, out)
        if self.head is not None and around.head is not None:
            self.head.fill(around.head, weight_bits, out, 1 / PER_NAT)

    @property
    def most(self) -> int:
        """The largest magnitude of what the layers get: 1 where it is ones and zeros."""
        return int(self.table.long().abs().max())

    def check(self) -> None:
        """Holds every sum, product and root against its limit, by declared ranges.

        Raises:
            BadInput: a limit may be reached, or a table is none; the message names the layer.
        """
        most = self.body.check(self.most, self.silu)
        if self.head is not None:
            self.head.check(most)
        inside = (int(self.rows.min()) >= 0) and int(self.rows.max()) < len(self.times)
        if not (inside and int(self.exp.min()) >= 0 and int(self.exp[0]) > 0):
            raise BadInput("the tables of an integer twin are damaged: make it again")

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={size}" for name, size in self.sizes.items())


class _Around:
    """A network's parts: its table of states, what is inside, and the product that ends it."""

    def __init__(self, network: nn.Module) -> None:
        self.head = None
        if isinstance(network, LowRankLogits):
            self.head, network = _product(network.table), network.network
        self.ids = network if isinstance(network, Embedded) else None
        self.inside = network if self.ids is None else self.ids.network


def inside_of(network: nn.Module) -> nn.Module:
    """The network without a table of states before it and one of logits behind it."""
    return _Around(network).inside


def _product(table: Tensor) -> nn.Conv2d:
    """sum over r of c_r table[r, k], as a 1x1 convolution."""
    rank, n = table.shape
    made = nn.Conv2d(rank, n, 1, device="meta")  # where no random weights are drawn
    made.weight = nn.Parameter(table.detach().T[:, :, None, None])
    made.bias = nn.Parameter(table.new_zeros(n))
    return made


def bits_of(time: Shaped[Tensor, " B"]) -> Tensor:
    """The bits of a float32, as a whole number: equal where the times are."""
    return time.to(torch.float32).contiguous().view(torch.int32)


def _body(network: nn.Module, pixels: int, rows: int) -> IntegerResNet | IntegerUNet:
    """The empty twin of a network's layers.

    Raises:
        BadInput: a network, or a layer of it, that has no form in whole numbers.
    """
    if not isinstance(network, ResNet | UNet):
        raise BadInput(
            f"there is no integer twin of {type(network).__name__}: of the recipes' networks the "
            "resnet and the unet have one"
        )
    if network.classes is not None:
        raise BadInput(
            "there is no integer twin of the layer label: whoever decodes an image does not know "
            "its class; use a network without classes"
        )
    if isinstance(network, ResNet):
        return IntegerResNet(network, pixels, rows)
    return IntegerUNet(network, pixels, rows)
