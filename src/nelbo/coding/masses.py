"""The probabilities that a coder uses: whole numbers out of 2^24, none of them zero."""

import math

import torch
from jaxtyping import Float64, Int32, Int64
from torch import Tensor

__all__ = ["TOTAL", "bits", "masses"]

TOTAL = 2**24
"""What the masses of a position add up to: the precision of constriction's models."""


def masses(
    logits: Int64[Tensor, "*dims n"], exp: Int32[Tensor, " size"]
) -> Int64[Tensor, "*dims n"]:
    """1 + floor(e_k (2^24 - n) / sum of e), where e_k = exp[max - logit_k], and 0 past its end.

    Whole logits in, whole masses out, at least 1 each; the first of the largest has what is left of
    2^24. They are the very distribution of the twin that the code is of: log2(2^24 / mass) bits.
    """
    below = logits.amax(-1, keepdim=True) - logits
    e = exp.long()[below.clamp(max=len(exp) - 1)]
    e = torch.where(below < len(exp), e, 0)
    n = logits.shape[-1]
    share = torch.div(e * (TOTAL - n), e.sum(-1, keepdim=True), rounding_mode="floor")
    rest = TOTAL - n - share.sum(-1, keepdim=True)
    return (share + 1).scatter_add(-1, e.argmax(-1, keepdim=True), rest)


def bits(
    table: Int64[Tensor, "*dims n"], levels: Int64[Tensor, "*dims"]
) -> Float64[Tensor, "*dims"]:
    """log2(2^24 / mass of the level): the ideal length of its code."""
    mass = table.gather(-1, levels.unsqueeze(-1)).squeeze(-1)
    return math.log2(TOTAL) - mass.double().log2()
