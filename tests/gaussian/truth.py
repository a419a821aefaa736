"""Gaussian chains whose every term is known, and exact expectations over their noise.

The denoisers are affine (or the posterior mean of a mixture), with coefficients computed here from
the betas by numpy, apart from the library's tables. Expectations over x_t | x_0 are quadratures
that run through the public terms: `Nodes` is a Noise that returns the nodes of a rule.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nelbo.bound.chain import Chain
from nelbo.bound.noise import Noise
from nelbo.bound.terms import prior_term, reconstruction_term, transition_term
from nelbo.gaussian.decoder import Decoder, Density
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.parametrization import EPS, Parametrization
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import Schedule, from_betas, linear
from nelbo.gaussian.variance import Tabulated, Variance, large, small

torch.set_num_threads(1)

VARIANCES = ("small", "large", "large_beta1", "optimal")
SCHEDULES = {
    "T4": from_betas([0.1, 0.2, 0.3, 0.4]),
    "T10": linear(10, 0.02, 0.5),
    "T1000": linear(1000, 1e-4, 0.02),
}


@cache
def golden() -> dict[str, Any]:
    """The reference values."""
    path = Path(__file__).parent.parent / "golden" / "reference.json"
    return json.loads(path.read_text())["values"]


def assert_close(got: Any, want: Any, rel: float = 1e-10, absolute: float = 0.0) -> None:
    """|got - want| <= rel |want| + absolute, entry by entry."""
    got = torch.as_tensor(got, dtype=torch.float64).detach()
    want = torch.as_tensor(want, dtype=torch.float64)
    assert got.shape == want.shape, f"{tuple(got.shape)} is not {tuple(want.shape)}"
    excess = (got - want).abs() - rel * want.abs() - absolute
    worst = int(excess.argmax())
    assert float(excess.max()) <= 0, (
        f"{float(got.flatten()[worst])!r} is not {float(want.flatten()[worst])!r} "
        f"within {rel} relative + {absolute}"
    )


@dataclass(frozen=True)
class Rule:
    """E f(z) = sum over i of weight_i f(node_i) for z ~ N(0, 1) in D dimensions."""

    nodes: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.weights)


def hermite(count: int = 5, dims: int = 1) -> Rule:
    """Gauss-Hermite: exact for polynomials of degree 2 count - 1; a product rule over dims."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(count))
    weights = weights / weights.sum()
    grid = torch.cartesian_prod(*[nodes] * dims).reshape(-1, dims)
    product = torch.cartesian_prod(*[weights] * dims).reshape(-1, dims).prod(1)
    return Rule(grid, product)


def trapezoid(reach: float = 9.0, step: float = 0.05) -> Rule:
    """Evenly spaced nodes, in one dimension: exponentially accurate for analytic functions."""
    nodes = torch.arange(-round(reach / step), round(reach / step) + 1, dtype=torch.float64) * step
    weights = torch.exp(-0.5 * nodes.square())
    return Rule(nodes[:, None], weights / weights.sum())


class Nodes(Noise):
    """Noise that is not random: row b of a draw is row b of `nodes`, at every t."""

    def __init__(self, nodes: Tensor) -> None:
        self.nodes = nodes

    def normal(self, like: Tensor) -> Tensor:
        return self.nodes.reshape(like.shape).to(like.dtype)

    def uniform(self, like: Tensor) -> Tensor:
        return torch.special.ndtr(self.nodes).reshape(like.shape)

    def at(self, t: Tensor) -> "Nodes":
        return self

    def draws(self, count: int) -> "Nodes":
        return Nodes(self.nodes.repeat_interleave(count, dim=0))

    def rows(self, index: Tensor) -> "Nodes":
        return Nodes(self.nodes[index])


class Affine(nn.Module):
    """gain_t x + offset_t, a table entry per t, or per t and dimension; told the paper's t."""

    def __init__(self, gain: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.gain, self.offset = gain, offset

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        gain, offset = (
            table[t].reshape(len(x), *table.shape[1:] or (1,)).to(x.dtype)
            for table in (self.gain, self.offset)
        )
        return gain * x + offset


class Dense(nn.Module):
    """matrix_t x + offset_t."""

    def __init__(self, matrix: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.matrix, self.offset = matrix, offset

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return (self.matrix[t] @ x.unsqueeze(2)).squeeze(2) + self.offset[t]


class Constant(nn.Module):
    """The output of another network, then channels of one constant (for a learned variance)."""

    def __init__(self, network: nn.Module, value: float) -> None:
        super().__init__()
        self.network, self.value = network, value

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([self.network(x, t), torch.full_like(x, self.value)], dim=1)


@dataclass(frozen=True)
class Coefficients:
    """The tables of a chain by numpy, index t = 0..T, and its exact denoiser for N(m, s^2)."""

    b: np.ndarray
    a: np.ndarray
    abar: np.ndarray
    om: np.ndarray
    bt: np.ndarray
    c1: np.ndarray
    c2: np.ndarray

    @classmethod
    def of(cls, betas: list[float]) -> "Coefficients":
        b = np.array([0.0, *betas])
        log_abar = np.cumsum(np.log1p(-b))
        abar, om = np.exp(log_abar), -np.expm1(log_abar)
        before, now, after = slice(None, -1), slice(1, None), [0.0]
        bt = np.concatenate([after, b[now] * om[before] / om[now]])
        c1 = np.concatenate([after, b[now] * np.sqrt(abar[before]) / om[now]])
        c2 = np.concatenate([after, om[before] * np.sqrt(1 - b[now]) / om[now]])
        return cls(b, 1 - b, abar, om, bt, c1, c2)

    def denoiser(self, m: float, s: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(gain, offset) of E[x_0 | x_t], of E[eps | x_t] and of E[v | x_t]."""
        root, sigma = np.sqrt(self.abar), np.sqrt(self.om)
        v = self.abar * s**2 + self.om
        return {
            "x_0": (root * s**2 / v, m * self.om / v),
            "eps": (sigma / v, -sigma * root * m / v),
            "v": (root * sigma * (1 - s**2) / v, -sigma * m / v),
        }

    def variance(self, kind: str, s: float) -> np.ndarray:
        """V_t of the reverse chain, for data of standard deviation s."""
        if kind == "optimal":
            return self.bt + self.c1**2 * s**2 * self.om / (self.abar * s**2 + self.om)
        table = (self.bt if kind == "small" else self.b).copy()
        if kind != "large_beta1":
            table[1] = self.bt[2]
        return table


@dataclass(frozen=True)
class ClosedForm:
    """The terms of the bound at x_0 for Gaussian data and its exact denoiser, by formula."""

    L_T: float
    L_mid: np.ndarray
    L_0: float

    @property
    def nelbo(self) -> float:
        return self.L_T + float(self.L_mid.sum()) + self.L_0

    @classmethod
    def of(cls, betas: list[float], m: float, s: float, kind: str, x_0: float) -> "ClosedForm":
        k = Coefficients.of(betas)
        V, v = k.variance(kind, s), k.abar * s**2 + k.om
        square = (k.om / v * (x_0 - m)) ** 2 + k.abar * s**4 / v**2 * k.om
        L_T = 0.5 * (k.abar[-1] * (x_0**2 - 1) - np.log1p(-k.abar[-1]))
        r = k.bt[2:] / V[2:]
        L_mid = 0.5 * (r - 1 - np.log(r) + k.c1[2:] ** 2 * square[2:] / V[2:])
        L_0 = 0.5 * math.log(2 * math.pi * V[1]) + square[1] / (2 * V[1])
        return cls(float(L_T), L_mid, float(L_0))


def betas_of(schedule: Schedule) -> list[float]:
    return schedule.beta[1:].tolist()


def tabulated(schedule: Schedule, kind: str, s: float = 1.0) -> Variance:
    """The variance of this name, by the library's own constructor where it has one."""
    if kind == "optimal":
        table = Coefficients.of(betas_of(schedule)).variance("optimal", s)
        return Tabulated("optimal", torch.from_numpy(table))
    if kind == "small":
        return small(schedule, "beta_tilde_2")
    return large(schedule, "beta_1" if kind == "large_beta1" else "beta_tilde_2")


def exact_network(
    schedule: Schedule, m: float, s: float, parametrization: Parametrization
) -> Affine:
    """The best network for data N(m, s^2)."""
    tables = Coefficients.of(betas_of(schedule)).denoiser(m, s)[parametrization.name]
    return Affine(*(torch.from_numpy(table) for table in tables))


def chain_of(
    network: nn.Module,
    schedule: Schedule,
    variance: Variance,
    *,
    parametrization: Parametrization = EPS,
    decoder: Decoder | None = None,
) -> Chain:
    """q and p_theta with this network, which is told the paper's t."""
    q = GaussianForward(schedule)
    p = GaussianReverse(
        network,
        q,
        parametrization=parametrization,
        variance=variance,
        decoder=Density() if decoder is None else decoder,
        time_input=TIME_INPUTS["t"],
    )
    return Chain(q, p)


def gaussian_chain(
    schedule: Schedule,
    m: float,
    s: float,
    kind: str,
    *,
    parametrization: Parametrization = EPS,
    decoder: Decoder | None = None,
) -> Chain:
    """The chain of data N(m, s^2) with the exact denoiser."""
    network = exact_network(schedule, m, s, parametrization)
    variance = tabulated(schedule, kind, s)
    return chain_of(network, schedule, variance, parametrization=parametrization, decoder=decoder)


@dataclass(frozen=True)
class Terms:
    """The terms at N points x_0: each transition at every node of a rule, L_0 at those of first."""

    L_T: Tensor
    transitions: Tensor
    """N x (T - 1) x nodes, t = 2..T."""
    reconstruction: Tensor
    """N x nodes of first."""
    rule: Rule
    first: Rule

    @property
    def L_mid(self) -> Tensor:
        return self.transitions @ self.rule.weights

    @property
    def L_0(self) -> Tensor:
        return self.reconstruction @ self.first.weights

    @property
    def nelbo(self) -> Tensor:
        return self.L_T + self.L_mid.sum(1) + self.L_0

    @property
    def variance(self) -> Tensor:
        """The variance of one draw of the term of t, N x T, t = 1..T."""
        first = (self.reconstruction - self.L_0[:, None]).square() @ self.first.weights
        later = (self.transitions - self.L_mid[..., None]).square() @ self.rule.weights
        return torch.cat([first[:, None], later], dim=1)


def terms(chain: Chain, x_0: Tensor, rule: Rule | None = None, first: Rule | None = None) -> Terms:
    """prior_term, transition_term at every t and reconstruction_term at every node, in float64.

    The default rule is exact for what is quadratic in the noise; first is the rule for L_0.
    """
    rule = hermite(dims=x_0.shape[1]) if rule is None else rule
    first = rule if first is None else first
    count, later = len(x_0), chain.q.T - 1
    rows = x_0.repeat_interleave(len(first), dim=0)
    reconstruction = reconstruction_term(chain, rows, Nodes(first.nodes.repeat(count, 1)))
    transitions = torch.zeros(count, 0, len(rule), dtype=torch.float64)
    if later:
        rows = x_0.repeat_interleave(later * len(rule), dim=0)
        t = torch.arange(2, chain.q.T + 1).repeat_interleave(len(rule)).repeat(count)
        values = transition_term(chain, rows, t, Nodes(rule.nodes.repeat(count * later, 1)))
        transitions = values.reshape(count, later, len(rule)).double()
    reconstruction = reconstruction.reshape(count, len(first)).double()
    return Terms(prior_term(chain, x_0).double(), transitions, reconstruction, rule, first)


def column(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """N examples of one dimension."""
    return torch.tensor(values, dtype=dtype)[:, None]


def marginal(chain: Chain, dims: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and variance of p_theta(x_0) for an affine chain, from p.step and p.decoder alone.

    p_theta(x_{t-1} | x_t) = N(A x_t + B, V): B is its mean at 0, and A its mean at 1 less B.
    """
    T, p = chain.q.T, chain.p
    zero = torch.zeros(1, dims, dtype=torch.float64)
    at_0, at_1 = p.decoder(zero), p.decoder(zero + 1)
    means_0, means_1, variances = [at_0.mean], [at_1.mean], [at_0.log_var.expand(1, dims).exp()]
    if T > 1:
        t = torch.arange(2, T + 1)
        at_0, at_1 = p.step(zero.repeat(T - 1, 1), t), p.step(zero.repeat(T - 1, 1) + 1, t)
        means_0.append(at_0.mean)
        means_1.append(at_1.mean)
        variances.append(at_0.log_var.expand(T - 1, dims).exp())
    offset, V = torch.cat(means_0), torch.cat(variances)
    slope = torch.cat(means_1) - offset
    mean, var = zero[0], zero[0] + 1
    for t in reversed(range(T)):
        mean = slope[t] * mean + offset[t]
        var = slope[t].square() * var + V[t]
    return mean, var


def neg_log_p(chain: Chain, x_0: Tensor) -> Tensor:
    """-log p_theta(x_0) of an affine chain with a density as decoder."""
    mean, var = marginal(chain, x_0.shape[1])
    return -Gaussian(mean.expand(x_0.shape), var.log().expand(x_0.shape)).log_prob(x_0)
