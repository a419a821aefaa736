"""A compact residual convolution net for images of up to 16 pixels a side."""

import math
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nelbo.networks.labels import check_label

__all__ = ["ResNet"]


@final
class ResNet(nn.Module):
    """(x_t, log SNR) -> output: 3x3 convolutions at full resolution, no down-sampling.

    x_t: (B, in_channels, H, W); log SNR or any other scalar: (B,); with classes (B,) labels too;
    output (B, out_channels, H, W), zero at initialisation.

    Raises:
        BadInput: labels without classes, or classes without labels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 32,
        blocks: int = 3,
        dropout: float = 0.1,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        embedding = 2 * width
        self.embed = nn.Sequential(Fourier(embedding), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, embedding, dropout) for _ in range(blocks))
        self.leave = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1)
        )
        nn.init.zeros_(self.leave[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.leave[-1].bias)  # type: ignore[arg-type]
        self.classes = classes
        if classes is not None:  # last and zero, so that it begins as the network without classes
            self.label = nn.Embedding(classes, embedding)
            nn.init.zeros_(self.label.weight)

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        log_snr: Float[Tensor, " B"],
        label: Int64[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B out H W"]:
        check_label(self.classes, label)
        condition = self.embed(log_snr)
        if label is not None:
            condition = condition + self.label(label)
        h = self.enter(x_t)
        for block in self.blocks:
            h = block(h, condition)
        output: Tensor = self.leave(h)
        return output


@final
class Block(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h))) + condition)))."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.condition = nn.Linear(embedding, 2 * width)
        self.norm = nn.GroupNorm(8, width)
        self.second = nn.Sequential(
            nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        output: Tensor = h + self.second(self.norm(self.first(h)) * (1 + scale) + shift)
        return output


@final
class Fourier(nn.Module):
    """Sines and cosines of a scalar at frequencies evenly spaced in log from 1/32 to 4."""

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        # On the meta device, where sizes are looked up first, logspace would import sympy: 1 s.
        frequencies = torch.logspace(math.log2(1 / 32), 2, size // 2, base=2, device="cpu")
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, scalar: Float[Tensor, " B"]) -> Float[Tensor, "B size"]:
        angle = scalar[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)
