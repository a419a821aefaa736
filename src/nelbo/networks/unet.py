"""diffusers' UNet2DModel for images of 16 pixels a side and more."""

from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

__all__ = ["UNet"]


@final
class UNet(nn.Module):
    """(x_t, time) -> output, by diffusers' UNet2DModel.

    x_t: (B, in_channels, size, size); time: (B,), an index or any other scalar; output:
    (B, out_channels, size, size), zero at initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        widths: tuple[int, ...] = (32, 64, 64),
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        from diffusers import UNet2DModel  # a second of imports that other networks do not need

        self.unet = UNet2DModel(
            sample_size=size,
            in_channels=in_channels,
            out_channels=out_channels,
            block_out_channels=widths,
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=8,
            dropout=dropout,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(
        self, x_t: Float[Tensor, "B C H W"], time: Shaped[Tensor, " B"]
    ) -> Float[Tensor, "B out H W"]:
        output: Tensor = self.unet(x_t, time, return_dict=False)[0]
        return output
