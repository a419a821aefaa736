"""diffusers' UNet2DModel for images of 16 pixels a side and more."""

from typing import final

from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from nelbo.networks.labels import check_label

__all__ = ["UNet"]


@final
class UNet(nn.Module):
    """(x_t, time) -> output, by diffusers' UNet2DModel.

    x_t: (B, in_channels, size, size); time: (B,), an index or any other scalar; with classes (B,)
    labels too; output: (B, out_channels, size, size), zero at initialisation. The network sees
    `patch` x `patch` pixels as the channels of one, a quarter of the work for 2, and has
    self-attention at the levels of `widths` named by `attention`, 0 the finest, and in its middle
    where `middle` is true.

    Raises:
        BadInput: labels without classes, or classes without labels.
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
        middle: bool = True,
        classes: int | None = None,
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
            add_attention=middle,
            num_class_embeds=classes,
        )
        self.patch = patch
        self.classes = classes
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)
        if classes is not None:
            nn.init.zeros_(self.unet.class_embedding.weight)

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        time: Shaped[Tensor, " B"],
        label: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B out H W"]:
        check_label(self.classes, label)
        x = pixel_unshuffle(x_t, self.patch)
        output: Tensor = self.unet(x, time, class_labels=label, return_dict=False)[0]
        return pixel_shuffle(output, self.patch)
