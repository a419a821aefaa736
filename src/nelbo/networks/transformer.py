"""A small transformer over a sequence of states, for masked text."""

from typing import final

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn.functional import pad

__all__ = ["Transformer"]

REACH = 7  # places that a convolution sees
PAIRS = ((-1, 1), (-2, -1), (1, 2))  # the neighbours of a place whose states are looked up together
BEFORE = ((-1, 0), (-2, -1), (-3, -2))  # where none behind it is seen, and a place holds the last


@final
class Transformer(nn.Module):
    """Logits over n symbols at each of L places, by `layers` blocks that see all places.

    A place begins with its own state and, where `pairs` > 0, with so many learned numbers for each
    pair of states beside it: K^2 rows that cost no product, by which bytes are learned in minutes.
    A block is a convolution over a few places, then torch's encoder layer. x_t are states 0..K-1
    (B, L), K-1 the mask; the output is (B, L n), the n of a place together. The time is not looked
    at: the masks say it. causal: the logits of a place depend on the states before it alone, by the
    same parts with as many weights.
    """

    def __init__(
        self,
        K: int,
        n: int,
        length: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        pairs: int,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.K, self.beside, self.causal = K, BEFORE if causal else PAIRS, causal
        self.states = nn.Embedding(K, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        tables = [nn.Embedding(K * K, pairs) for _ in PAIRS if pairs]
        for table in tables:
            nn.init.normal_(table.weight, std=0.5)
        self.pairs = nn.ModuleList(tables)
        self.into = nn.Linear(len(PAIRS) * pairs, width) if pairs else None
        self.near = nn.ModuleList(
            nn.Conv1d(width, width, REACH, padding=REACH - 1 if causal else REACH // 2, bias=False)
            for _ in range(layers)
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
        mask = None
        if self.causal:
            x_t = pad(x_t[:, :-1], (1, 0), value=self.K - 1)
            mask = nn.Transformer.generate_square_subsequent_mask(x_t.shape[1], x_t.device)
        h = self.states(x_t) + self.places
        if self.into is not None:
            h = h + self.into(self._neighbours(x_t))
        for near, far in zip(self.near, self.far, strict=True):
            beside = near(h.transpose(1, 2))[..., : h.shape[1]].transpose(1, 2)
            h = far(h + beside, src_mask=mask, is_causal=self.causal)
        logits: Tensor = self.out(self.norm(h))
        return logits.flatten(1)

    def _neighbours(self, x_t: Int64[Tensor, "B L"]) -> Float[Tensor, "B L pairs"]:
        """The numbers of each pair of states beside a place; outside the window is the mask."""
        reach, length = max(abs(o) for pair in self.beside for o in pair), x_t.shape[1]
        wide = pad(x_t, (reach, reach), value=self.K - 1)
        at = {o: wide[:, reach + o : reach + o + length] for pair in self.beside for o in pair}
        rows = (at[a] * self.K + at[b] for a, b in self.beside)
        return torch.cat([t(row) for t, row in zip(self.pairs, rows, strict=True)], -1)
