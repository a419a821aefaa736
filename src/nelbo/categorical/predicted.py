"""p_theta(x_0 | x_t) of each position as a network's logits, without a table of all states."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch.nn.functional import cross_entropy, pad

from nelbo.categorical.transition import LogMasses, States

__all__ = ["Predicted"]


@final
@dataclass(frozen=True, eq=False)
class Predicted:
    """P_i(k) = softmax of the logits of position i over the levels; the other K states have none.

    logits: (B, C, levels, ...), for data of C channels.
    """

    logits: Float[torch.Tensor, "B C levels *rest"]
    K: int

    @property
    def log_probs(self) -> LogMasses:
        """log P_i(k) of all K states, (B, C, ..., K)."""
        log_p = torch.log_softmax(self.logits.movedim(2, -1), dim=-1)
        return pad(log_p, (0, self.K - self.logits.shape[2]), value=-math.inf)

    def log_mass(self, x: States) -> Float[torch.Tensor, "B C *rest"]:
        """log P_i(x_i) of every position, which takes no table: -inf where x_i is no level."""
        is_level = x < self.logits.shape[2]
        known = torch.where(is_level, x, 0).flatten(0, 1)
        own = -cross_entropy(self.logits.flatten(0, 1), known, reduction="none")
        return own.reshape(x.shape).masked_fill(~is_level, -math.inf)
