"""diffusers' U-Net of convolutions alone in whole numbers."""

from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from nelbo.errors import BadInput
from nelbo.networks.integers.arithmetic import Convolution, Norm, Table, part
from nelbo.networks.integers.block import IntegerBlock, Names
from nelbo.networks.integers.filling import Filling
from nelbo.networks.unet import UNet

__all__ = ["IntegerUNet"]

KINDS = (
    *("UNet", "UNet2DModel", "DownBlock2D", "UNetMidBlock2D", "UpBlock2D", "ResnetBlock2D"),
    *("Downsample2D", "Upsample2D", "Timesteps", "TimestepEmbedding", "Linear"),
    *("Conv2d", "GroupNorm", "SiLU", "Dropout", "ModuleList"),
)
"""Of the layers that have a form in whole numbers, or a row for each t."""

SETTINGS = {
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "resnet_time_scale_shift": "default",
    "center_input_sample": False,
}


@final
class IntegerUNet(nn.Module):
    """(whole x_t, row of t) -> whole outputs: `UNet`, a row of shifts in place of its time.

    All that its blocks and samplers hand on has one step, so that a skip and what comes from below
    are channels of one tensor as they are.

    Raises:
        BadInput: a layer or a setting that has no form in whole numbers.
    """

    def __init__(self, like: UNet, pixels: int, rows: int) -> None:
        super().__init__()
        _require_plain(like)
        self.patch = like.patch
        finest, last = pixels // like.patch**2, len(like.unet.down_blocks) - 1
        self.enter = Convolution("unet.conv_in", like.unet.conv_in)
        self.down = nn.ModuleList(
            Stage(like, f"unet.down_blocks.{i}", finest >> 2 * i, rows) for i in range(last + 1)
        )
        self.middle = Stage(like, "unet.mid_block", finest >> 2 * last, rows)
        self.up = nn.ModuleList(
            Stage(like, f"unet.up_blocks.{i}", finest >> 2 * (last - i), rows)
            for i in range(last + 1)
        )
        self.norm = Norm("unet.conv_norm_out", like.unet.conv_norm_out, finest, 1)
        self.leave = Convolution("unet.conv_out", like.unet.conv_out)

    def forward(
        self,
        x_t: Int64[Tensor, "B C H W"],
        row: Int64[Tensor, " B"],
        silu: Table,
        kind: torch.dtype,
    ) -> Int64[Tensor, "B out H W"]:
        h = self.enter(pixel_unshuffle(x_t, self.patch), kind)
        skips = [h]
        for stage in _stages(self.down):
            for block in stage.blocks:
                h = block(h, row, silu, kind)
                skips.append(h)
            if stage.sampler is not None:
                h = stage.sampler(h, kind)
                skips.append(h)
        for block in self.middle.blocks:
            h = block(h, row, silu, kind)
        for stage in _stages(self.up):
            for block in stage.blocks:
                h = block(torch.cat([h, skips.pop()], 1), row, silu, kind)
            if stage.sampler is not None:
                h = stage.sampler(h.repeat_interleave(2, 2).repeat_interleave(2, 3), kind)
        return pixel_shuffle(self.leave(silu(self.norm(h, row)), kind), self.patch)

    @property
    def stages(self) -> list["Stage"]:
        """From the input to the output."""
        return [*_stages(self.down), self.middle, *_stages(self.up)]

    def fill(self, filling: Filling, entry: float, most: int, out: float) -> None:
        """entry: the step of x_t, which is at most `most`; out: that of the outputs."""
        unet = part(UNet, filling.network).unet
        step = filling.step(
            self.enter.layer, *(name for stage in self.stages for name in stage.outputs)
        )
        filling.convolution(self.enter, entry, step, most)
        times = filling.times.float().to(unet.conv_in.weight.device)
        condition = silu(unet.time_embedding(unet.time_proj(times)))
        for stage in self.stages:
            stage.fill(filling, step, condition)
        filling.norm(self.norm, step)
        filling.convolution(self.leave, filling.silu, out)

    def check(self, most: int, silu: Table) -> int:
        """The largest magnitude of the result where |x_t| <= most; every layer within its limits.

        Raises:
            BadInput: a declared range lets a number pass one; the message names the layer.
        """
        most = self.enter.check(most)
        for stage in self.stages:
            most = stage.check(most, silu)
        self.norm.check(most)
        return self.leave.check(silu.most)


@final
class Stage(nn.Module):
    """The blocks of one size, and the convolution that halves or comes after doubling it."""

    def __init__(self, network: nn.Module, layer: str, pixels: int, rows: int) -> None:
        super().__init__()
        resnets = part(nn.ModuleList, network.get_submodule(f"{layer}.resnets"))
        self.layers = [f"{layer}.resnets.{i}" for i in range(len(resnets))]
        self.blocks = nn.ModuleList(
            IntegerBlock(network, _names(network, name), pixels, rows, shifted=True)
            for name in self.layers
        )
        self.sampler = None
        for kind in ("downsamplers", "upsamplers"):
            if getattr(network.get_submodule(layer), kind, None) is not None:
                name = f"{layer}.{kind}.0.conv"
                self.sampler = Convolution(name, part(nn.Conv2d, network.get_submodule(name)))

    @property
    def outputs(self) -> list[str]:
        """The layers of the network whose outputs have its one step."""
        blocks = [part(IntegerBlock, block) for block in self.blocks]
        inside = (x for block in blocks for x in (block.second, block.shortcut, self.sampler))
        return [*self.layers, *(x.layer for x in inside if x is not None)]

    def fill(self, filling: Filling, step: float, condition: Tensor) -> None:
        """condition: (T, size), of which each block makes shifts of its channels."""
        for name, block in zip(self.layers, self.blocks, strict=True):
            time = part(nn.Linear, filling.network.get_submodule(f"{name}.time_emb_proj"))
            part(IntegerBlock, block).fill(filling, step, shift=time(condition))
        if self.sampler is not None:
            filling.convolution(self.sampler, step, step)

    def check(self, most: int, silu: Table) -> int:
        """The largest magnitude of the result where |h| <= most.

        Raises:
            BadInput: as `Convolution.check` and `Norm.check`.
        """
        for block in self.blocks:
            most = part(IntegerBlock, block).check(most, silu)
        return most if self.sampler is None else self.sampler.check(most)


def _stages(modules: nn.ModuleList) -> list[Stage]:
    return [part(Stage, module) for module in modules]


def _names(network: nn.Module, layer: str) -> Names:
    inside = [f"{layer}.{name}" for name in ("norm1", "conv1", "norm2", "conv2", "conv_shortcut")]
    has_shortcut = network.get_submodule(layer).conv_shortcut is not None
    return Names(*inside) if has_shortcut else Names(*inside[:-1])


def _require_plain(network: UNet) -> None:
    for name, module in network.named_modules():
        kind = type(module).__name__
        if kind not in KINDS:
            raise BadInput(
                f"there is no integer twin of the layer {name}, which is {kind}: a unet without "
                "attention has one, with network.middle = false and no network.attention"
            )
    for name, wanted in SETTINGS.items():
        value = network.unet.config[name]
        if value != wanted:
            raise BadInput(
                f"there is no integer twin of a unet whose {name} is {value}: that of the recipes, "
                f"whose {name} is {wanted}, has one"
            )
