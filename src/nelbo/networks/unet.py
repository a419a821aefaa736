"""diffusers' UNet2DModel for images of 16 pixels a side and more."""

from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

__all__ = ["UNet"]


@final
class UNet(nn.Module):
    """(x_t, time) -> output, by diffusers' UNet2DModel.

    x_t: (B, in_channels, size, size); time: (B,), an index or any other scalar; output:
    (B, out_channels, size, size), zero at initialisation. The network sees `patch` x `patch`
    pixels as the channels of one, a quarter of the work for 2, and has self-attention at the
    levels of `widths` named by `attention`, 0 the finest, and always in its middle.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        widths: tuple[int, ...] = (32, 64, 64),
        layers: int = 1,
        dropout: float = 0.0,
        patch: int = 1,
        attention: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        from diffusers import UNet2DModel  # a second of imports that other networks do not need

        kinds = ["Attn" if level in attention else "" for level in range(len(widths))]
        self.unet = UNet2DModel(
            sample_size=size // patch,
            in_channels=in_channels * patch**2,
            out_channels=out_channels * patch**2,
            block_out_channels=widths,
            layers_per_block=layers,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            norm_num_groups=8,
            dropout=dropout,
        )
        self.patch = patch
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(
        self, x_t: Float[Tensor, "B C H W"], time: Shaped[Tensor, " B"]
    ) -> Float[Tensor, "B out H W"]:
        output: Tensor = self.unet(pixel_unshuffle(x_t, self.patch), time, return_dict=False)[0]
        return pixel_shuffle(output, self.patch)
