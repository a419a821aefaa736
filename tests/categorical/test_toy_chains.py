"""Chains small enough to sum over every path: each number of the reference, to 1e-12.

The paths run through the public objects alone: `CategoricalForward`, `Dense`, `TabularReverse` and
the terms of `bound`. The reference was computed in exact rationals and 50-digit logarithms.
"""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import CASES, Toy, golden, numbers

from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.terms import prior_term
from nelbo.categorical.dense import Dense
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.reverse import TabularReverse

torch.set_num_threads(1)

every_case = pytest.mark.parametrize("name", CASES)


class Enumerated:
    """log q and log p of every path of latents from x_0 to x_T."""

    def __init__(self, chain: Chain, paths: list[Tensor]) -> None:
        self.chain, self.paths, self.x_0 = chain, paths, paths[0][:1]
        self.log_q, self.log_p = chain.q.log_prob(paths), chain.p.log_prob(paths)
        self.walked = self.log_q > -math.inf
        self.q = self.log_q.exp()

    def mean(self, values: Tensor) -> Tensor:
        """E_q: the mean over paths, where those that q never takes count for nothing."""
        return (self.q * values)[self.walked].sum()

    @property
    def neg_log_p(self) -> Tensor:
        return -self.log_p.logsumexp(0)

    @property
    def nelbo(self) -> Tensor:
        return self.mean(self.log_q - self.log_p)

    @property
    def gap(self) -> Tensor:
        """KL(q(x_{1:T} | x_0) || p(x_{1:T} | x_0))."""
        return self.mean(self.log_q - (self.log_p + self.neg_log_p))

    def telescoped(self) -> Tensor:
        """D10 on every path."""
        q, p, paths = self.chain.q, self.chain.p, self.paths
        x_0, end = paths[0], constant_time(q.T, paths[0])
        total = q.marginal(x_0, end).log_prob(paths[-1]) - p.prior(x_0).log_prob(paths[-1])
        for number in range(2, q.T + 1):
            t, x_prev, x_t = constant_time(number, x_0), paths[number - 1], paths[number]
            total += q.posterior(x_t, x_0, t).log_prob(x_prev) - p.step(x_t, t).log_prob(x_prev)
        return total - p.decoder(paths[1]).log_prob(x_0)

    def terms(self) -> tuple[float, list[float], float]:
        """L_T, [L_1, ..., L_{T-1}] and L_0, each an exact expectation over its own x_t."""
        q, p, T = self.chain.q, self.chain.p, self.chain.q.T
        L_mid = []
        for number in range(2, T + 1):
            weight, x_t, x_0, t = self._latents(number)
            kl = q.posterior(x_t, x_0, t).kl(p.step(x_t, t))
            L_mid.append(float(weight @ kl))
        weight, x_1, x_0, _ = self._latents(1)
        L_0 = -weight @ p.decoder(x_1).log_prob(x_0)
        return float(prior_term(self.chain, self.x_0)), L_mid, float(L_0)

    def _latents(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q(x_t | x_0) and x_t, for each state that it can be in."""
        weight = self.chain.q.marginal(self.x_0, torch.tensor([number])).log_probs[0, 0].exp()
        x_t = weight.nonzero()
        return weight[x_t[:, 0]], x_t, self.x_0.expand(len(x_t), 1), constant_time(number, x_t)


def enumerated(name: str) -> Enumerated:
    toy, x_0 = CASES[name]
    return Enumerated(toy.chain, toy.paths(x_0))


def assert_close(got: Tensor | float, want: Tensor | float, tolerance: float = 1e-12) -> None:
    error = (torch.as_tensor(got, dtype=torch.float64) - want).abs().max()
    assert float(error) <= tolerance, f"{got} is not {want}: off by {float(error):.3g}"


def test_the_toy_chains_are_all_of_the_reference():
    assert set(CASES) == set(golden())
    assert len(CASES) == 27


@every_case
def test_the_bound_the_likelihood_and_the_gap_are_those_of_the_reference(name: str):
    """Lines (2), (4) and (5). Kills: Q transposed, steps of q in another order."""
    want, paths = golden()[name], enumerated(name)
    assert_close(paths.q[paths.walked].sum(), 1.0)
    assert_close(paths.neg_log_p, want["line1_neglogp"])
    assert_close(paths.nelbo, want["line3_Eq_neglog_ratio"])
    assert_close(paths.gap, want["gap_KL"])
    assert_close(paths.gap, paths.nelbo - paths.neg_log_p)


@every_case
def test_importance_weighting_falls_short_where_q_does_not_walk(name: str):
    """Line (3) is no equality on absorbing chains. Kills: a little mass where q has none."""
    want, paths = golden()[name], enumerated(name)
    reached = -paths.log_p[paths.walked].logsumexp(0)
    assert_close(reached, want["line2_neglog_Eq_ratio"])
    assert bool(paths.walked.all()) == want["support_full"]
    assert (float(reached - paths.neg_log_p) > 1e-3) == (not want["support_full"])


@every_case
def test_each_of_the_three_terms_is_that_of_the_reference(name: str):
    """Kills: KL arguments swapped, posterior with Q_{t-1} for Q_t, posterior with Qbar_t."""
    want, (L_T, L_mid, L_0) = golden()[name], enumerated(name).terms()
    assert_close(L_T, want["L_T"])
    assert_close(torch.tensor(L_mid).double(), torch.tensor(want["L_mid"]).double())
    assert_close(L_0, want["L_0"])
    assert_close(L_T + sum(L_mid) + L_0, want["line8_terms_sum"])


@every_case
def test_d1_is_d10_on_every_path(name: str):
    """Not in the mean: path by path. Kills: a posterior that is not normalised."""
    paths = enumerated(name)
    ratio = (paths.log_q - paths.log_p)[paths.walked]
    assert_close(paths.telescoped()[paths.walked], ratio)
    assert_close(
        paths.mean((paths.log_q - paths.log_p - paths.nelbo).square()),
        golden()[name]["var_full_trajectory"],
    )


weights = st.integers(0, 9)


def stochastic(draw, K: int, low: int) -> list[list[Fraction]]:
    rows = [draw(st.lists(st.integers(low, 9), min_size=K, max_size=K)) for _ in range(K)]
    for i, row in enumerate(rows):
        row[i] += not any(row)
    return [[Fraction(w, sum(row)) for w in row] for row in rows]


@st.composite
def chains(draw) -> tuple[Toy, Chain, int]:
    """Any forward tables, many with holes, and positive reverse tables."""
    toy = Toy("any", draw(st.integers(2, 3)), draw(st.integers(1, 4)))
    Q = numbers([stochastic(draw, toy.K, 0) for _ in range(toy.T)])
    R = numbers([stochastic(draw, toy.K, 1) for _ in range(toy.T)])
    pi = numbers(stochastic(draw, toy.K, 1)[0])
    chain = Chain(CategoricalForward(Dense(Q, torch.float64)), TabularReverse(R, pi))
    return toy, chain, draw(st.integers(0, toy.K - 1))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(case=chains())
def test_any_chain_obeys_the_theorem(case: tuple[Toy, Chain, int]):
    """Kills: NaN or a clamp where Q has a 0, K or T built in."""
    toy, chain, x_0 = case
    paths = Enumerated(chain, toy.paths(x_0))
    ratio = (paths.log_q - paths.log_p)[paths.walked]
    assert_close(paths.telescoped()[paths.walked], ratio, 1e-11)
    L_T, L_mid, L_0 = paths.terms()
    assert_close(L_T + sum(L_mid) + L_0, paths.nelbo, 1e-11)
    assert_close(paths.gap, paths.nelbo - paths.neg_log_p, 1e-11)
    assert float(paths.gap) >= -1e-11
