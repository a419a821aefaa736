"""The toy chains of the reference: exact rationals by integer formulas, rounded to float64 once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from nelbo.bound.chain import Chain
from nelbo.categorical.dense import Dense
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.reverse import TabularReverse

torch.set_num_threads(1)

Matrix = list[list[Fraction]]
KINDS = ("uniform", "absorbing", "generic")
SIZES = ((2, 2), (3, 3), (4, 4))  # K, T


def row_stochastic(K: int, weight: Callable[[int, int], int]) -> Matrix:
    """The matrix of these weights with each row divided by its sum."""
    weights = [[weight(i, j) for j in range(K)] for i in range(K)]
    return [[Fraction(w, sum(row)) for w in row] for row in weights]


def numbers(values: list) -> Tensor:
    """Fractions, nested in lists, as float64."""
    if isinstance(values[0], list):
        return torch.stack([numbers(row) for row in values])
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


@dataclass(frozen=True)
class Toy:
    """K states and T steps; `kind` is that of q, while p's tables are always dense and positive."""

    kind: str
    K: int
    T: int

    def betas(self) -> list[Fraction]:
        return [Fraction(t, self.T + 2) for t in range(1, self.T + 1)]

    def forward_matrix(self, t: int) -> Matrix:
        K = self.K
        if self.kind == "generic":
            return row_stochastic(K, lambda i, j: 1 + (3 * i + 5 * j + 7 * t + 1) % 11)
        beta = self.betas()[t - 1]
        target = [Fraction(int(j == K - 1)) for j in range(K)]
        if self.kind == "uniform":
            target = [Fraction(1, K)] * K
        return [[(1 - beta) * (i == j) + beta * target[j] for j in range(K)] for i in range(K)]

    def reverse_matrix(self, t: int) -> Matrix:
        return row_stochastic(self.K, lambda i, j: 1 + (5 * i + 3 * j + 2 * t * t + 2 + i * j) % 13)

    def prior(self) -> list[Fraction]:
        return row_stochastic(self.K, lambda i, j: 2 + (4 * j + 1) % 5)[0]

    @cached_property
    def chain(self) -> Chain[Categorical]:
        times = range(1, self.T + 1)
        Q = numbers([self.forward_matrix(t) for t in times])
        R = numbers([self.reverse_matrix(t) for t in times])
        q = CategoricalForward(Dense(Q, torch.float64))
        return Chain(q, TabularReverse(R, numbers(self.prior())))

    def paths(self, x_0: int) -> list[Tensor]:
        """[x_0, x_1, ..., x_T] with a row for each of the K^T ways through the latents."""
        latents = torch.tensor(list(product(range(self.K), repeat=self.T)))
        return [torch.full_like(latents[:, :1], x_0), *latents.split(1, dim=1)]


@cache
def golden() -> dict[str, dict]:
    """The reference values, by the name of the chain and its x_0."""
    path = Path(__file__).parent.parent / "golden" / "reference.json"
    return json.loads(path.read_text())["values"]["toy_chains"]


CASES = {
    f"{kind}_K{K}_T{T}_x{x_0}": (Toy(kind, K, T), x_0)
    for kind in KINDS
    for K, T in SIZES
    for x_0 in range(K)
}
