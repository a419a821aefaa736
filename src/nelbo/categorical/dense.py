"""Q_t as tables: any matrices, and Gaussian noise rounded to the states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import psutil
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.arguments import spans
from nelbo.categorical.transition import ROW_SUM, LogMasses, States, Transition, check_betas
from nelbo.errors import BadInput
from nelbo.types import Time

__all__ = ["Dense", "discretized_gaussian"]


@final
@dataclass(frozen=True, eq=False)
class Dense(Transition):
    """Any matrices: `tables[t - 1]` is Q_t. Products and mixtures are made in float64.

    Products of numbers that are not negative, so every entry of Qbar_t keeps its digits however
    small it is. Mixtures cost O(K^2) per dimension, and the tables 16 T K^2 bytes.

    Raises:
        BadInput: a row that has a negative entry or does not add up to 1, named with its t.
    """

    tables: Float64[Tensor, "T K K"]
    dtype: torch.dtype = torch.float32
    kept: Int64[Tensor, " T"] = field(default=None)  # type: ignore[assignment]
    whole_T: int = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        shape = self.tables.shape
        if len(shape) != 3 or shape[1] != shape[2] or self.tables.dtype != torch.float64:
            raise BadInput(
                f"tables must be (T, K, K) in float64; got {tuple(shape)} in {self.tables.dtype}"
            )
        self._settle()
        _check_rows(self.tables, torch.diff(self.kept, prepend=torch.zeros_like(self.kept[:1])))

    @property
    def K(self) -> int:
        return self.tables.shape[-1]

    @property
    def T(self) -> int:
        return len(self.tables)

    @cached_property
    def products(self) -> Float64[Tensor, "steps K K"]:
        """Qbar_t, t = 0..T."""
        products = self.tables.new_empty(self.T + 1, self.K, self.K)
        products[0] = torch.eye(self.K)
        for t in range(self.T):
            torch.matmul(products[t], self.tables[t], out=products[t + 1])
        return products

    def log_row(self, x: States, t: Time) -> LogMasses:
        return self._rows(self.tables[t - 1].to(x.device), x)

    def log_column(self, x: States, t: Time) -> LogMasses:
        return self._rows(self.tables[t - 1].to(x.device).mT, x)

    def log_row_bar(self, x: States, t: Time) -> LogMasses:
        return self._rows(self.products[t].to(x.device), x)

    def log_column_bar(self, x: States, t: Time) -> LogMasses:
        return self._rows(self.products[t].to(x.device).mT, x)

    def _rows(self, matrix: Float64[Tensor, "B K K"], x: States) -> LogMasses:
        index = x.flatten(1).unsqueeze(-1).expand(-1, -1, self.K)
        return matrix.gather(1, index).reshape(*x.shape, self.K).log().to(self.dtype)

    def log_mix_bar(self, log_weights: LogMasses, t: Time) -> LogMasses:
        log_w = log_weights.double().flatten(1, -2)
        top = log_w.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).min)
        mixed = (log_w - top).exp() @ self.products[t].to(log_w.device)
        # The logarithm of 0 is -inf, but its gradient is NaN.
        empty = mixed == 0
        total = (mixed.masked_fill(empty, 1).log() + top).masked_fill(empty, -math.inf)
        return total.reshape(log_weights.shape).to(self.dtype)

    def subchain(self, steps: Sequence[int]) -> "Dense":
        tables = torch.stack([_product(self.tables[s:t]) for s, t in spans(steps, self.T)])
        return replace(self, tables=tables, kept=self.kept[torch.tensor(steps) - 1])


def discretized_gaussian(
    betas: Sequence[float], K: int, dtype: torch.dtype = torch.float32
) -> Dense:
    """Q_t[i, j] = exp(-4 |i - j|^2 / ((K-1)^2 beta_t)) / Z_t off the diagonal; doubly stochastic.

    Z_t = sum over n from -(K-1) to K-1 of exp(-4 n^2 / ((K-1)^2 beta_t)), and the diagonal is
    what is left of 1: near states are likelier than far ones (Austin et al. 2021, appendix A.2.3).

    Raises:
        BadInput: a beta outside (0, 1], K < 2, tables that are larger than the memory.
    """
    check_betas(betas)
    size = 3 * 8 * len(betas) * K * K
    if size > psutil.virtual_memory().available:
        raise BadInput(
            f"the tables of {len(betas):,} steps over {K:,} states take {size:,} bytes, more than "
            "is free of the memory: take fewer of one of them"
        )
    beta = torch.tensor(list(betas), dtype=torch.float64)
    distance = torch.arange(K, dtype=torch.float64)
    mass = torch.exp(-4 * distance.square() / ((K - 1) ** 2 * beta[:, None]))
    mass = mass / (1 + 2 * mass[:, 1:].sum(1, keepdim=True))
    mass[:, :1] = 0
    tables = mass[:, (distance[:, None] - distance).abs().long()]
    tables.diagonal(dim1=1, dim2=2).copy_(1 - tables.sum(2))
    return Dense(tables, dtype)


def _product(matrices: Float64[Tensor, "n K K"]) -> Float64[Tensor, "K K"]:
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return product


def _check_rows(tables: Float64[Tensor, "T K K"], steps: Int64[Tensor, " T"]) -> None:
    """Every row is a distribution, to ROW_SUM for each of the steps that it is a product of."""
    wrong = ~((tables.sum(2) - 1).abs() <= ROW_SUM * steps[:, None].double())
    wrong |= ~(tables >= 0).all(2)
    if wrong.any():
        t, i = wrong.nonzero()[0].tolist()
        row = tables[t, i]
        raise BadInput(
            f"rows must be probabilities that add up to 1; got row {i} of Q_t at t = {t + 1}: "
            f"sum {float(row.sum())!r}, least entry {float(row.min())}"
        )
