"""A small transformer over a sequence of states, for masked text."""

from typing import final

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

__all__ = ["Transformer"]

REACH = 7  # places that a convolution sees


@final
class Transformer(nn.Module):
    """Logits over n symbols at each of L places, by `layers` blocks that see all places.

    A block is a convolution over a few places, then torch's encoder layer: neighbours, which say
    most of a byte, are seen from the first step of a training on. x_t are states 0..K-1 (B, L); the
    output is (B, L n), the n of a place together. The time is not looked at: the masks say it.
    """

    def __init__(
        self, K: int, n: int, length: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.states = nn.Embedding(K, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.near = nn.ModuleList(
            nn.Conv1d(width, width, REACH, padding=REACH // 2, bias=False) for _ in range(layers)
        )
        self.far = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, n)
        nn.init.zeros_(self.out.weight)

    def forward(
        self, x_t: Int64[Tensor, "B L"], time: Shaped[Tensor, " B"]
    ) -> Float[Tensor, "B symbols"]:
        h = self.states(x_t) + self.places
        for near, far in zip(self.near, self.far, strict=True):
            h = far(h + near(h.transpose(1, 2)).transpose(1, 2))
        logits: Tensor = self.out(self.norm(h))
        return logits.flatten(1)
