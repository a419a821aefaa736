"""The theorem in a second family: chains over K states, small enough to sum over all K^T paths.

Nothing in `bound` says Gaussian; this holds it to that, and shows what a new family needs: a
distribution of 20 lines, the two processes, `testing.check_chain`. Tables and values are those of
hazards 2.3: exact rationals and 50-digit logarithms.
"""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nelbo import testing
from nelbo.bound.chain import Chain, ForwardProcess, ReverseProcess
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.estimators import exhaustive, importance_weighted, trajectory
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput

torch.set_num_threads(1)

GOLDEN = Path(__file__).parent.parent / "golden" / "reference.json"
VALUES = json.loads(GOLDEN.read_text())["values"]["toy_chains"]
every_chain = pytest.mark.parametrize("case", list(VALUES))


@dataclass(frozen=True)
class Categorical(StepDistribution):
    """Over states 0..K-1 of one dimension, (B, 1); the masses are (B, K)."""

    mass: Tensor

    def sample(self, noise):
        uniform = noise.uniform(self.mass[:, :1])
        return (self.mass.cumsum(1) < uniform * self.mass.sum(1, keepdim=True)).sum(1)[:, None]

    def log_prob(self, x):
        return self.mass.gather(1, x)[:, 0].log()

    def kl(self, other):
        ratio = (self.mass / other.mass).log()
        return torch.where(self.mass > 0, self.mass * ratio, 0).sum(1)


class TableForward(ForwardProcess[Categorical]):
    """q(x_t = j | x_{t-1} = i) = Q[t - 1, i, j]."""

    def __init__(self, Q: Tensor) -> None:
        self.Q = Q
        self.to_t = [torch.eye(Q.shape[1]).double()]  # q(x_t | x_0), by matrix products
        for step in Q:
            self.to_t.append(self.to_t[-1] @ step)
        self.to_t = torch.stack(self.to_t)

    @property
    def T(self) -> int:
        return len(self.Q)

    def marginal(self, x_0, t):
        return Categorical(self.to_t[t, x_0[:, 0]])

    def step(self, x_prev, t):
        return Categorical(self.Q[t - 1, x_prev[:, 0]])

    def posterior(self, x_t, x_0, t):
        if int(t.min()) < 2:
            raise BadInput("a point mass at t = 1")
        joint = self.Q[t - 1, :, x_t[:, 0]] * self.to_t[t - 1, x_0[:, 0]]
        return Categorical(joint / joint.sum(1, keepdim=True))


class TableReverse(ReverseProcess[Categorical]):
    """p(x_{t-1} = j | x_t = i) = R[t - 1, i, j]."""

    def __init__(self, R: Tensor, end: Tensor) -> None:
        self.R, self.end = R, end

    def prior(self, x_0):
        return Categorical(self.end.expand(len(x_0), -1))

    def step(self, x_t, t):
        return Categorical(self.R[t - 1, x_t[:, 0]])

    def decoder(self, x_1):
        return Categorical(self.R[0, x_1[:, 0]])


def rows(K: int, weight) -> Tensor:
    table = torch.tensor([[weight(i, j) for j in range(K)] for i in range(K)]).double()
    return table / table.sum(1, keepdim=True)


def chain_of(case: str) -> tuple[Chain, Tensor]:
    """The chain and x_0 of a name such as "absorbing_K3_T3_x0"."""
    kind, states, steps, start = case.split("_")
    K, T = int(states[1:]), int(steps[1:])
    Q = []
    for t in range(1, T + 1):
        beta, eye = t / (T + 2), torch.eye(K).double()
        absorbed = eye[K - 1].expand(K, K)
        Q.append(
            {
                "uniform": (1 - beta) * eye + beta / K,
                "absorbing": (1 - beta) * eye + beta * absorbed,
                "generic": rows(K, lambda i, j, t=t: 1 + (3 * i + 5 * j + 7 * t + 1) % 11),
            }[kind]
        )
    R = [
        rows(K, lambda i, j, t=t: 1 + (5 * i + 3 * j + 2 * t * t + 2 + i * j) % 13)
        for t in range(1, T + 1)
    ]
    end = torch.tensor([2 + (4 * j + 1) % 5 for j in range(K)]).double()
    p = TableReverse(torch.stack(R), end / end.sum())
    return Chain(TableForward(torch.stack(Q)), p), torch.tensor([[int(start[1:])]])


def every_path(chain: Chain, x_0: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """All K^T paths, log q and log p of each."""
    K = chain.p.end.shape[0]
    states = torch.tensor(list(itertools.product(range(K), repeat=chain.q.T)))
    path = [x_0.expand(len(states), 1), *(x[:, None] for x in states.T)]
    return path, chain.q.log_prob(path), chain.p.log_prob(path)


def expected(log_q: Tensor, value: Tensor) -> float:
    """E_q, over the paths that q can take."""
    taken = log_q > -math.inf
    return float((log_q[taken].exp() * value[taken]).sum())


@every_chain
def test_both_chains_are_normalised_over_all_paths(case):
    """Kills: a conditional at the wrong t."""
    chain, _ = chain_of(case)
    K, total = len(chain.p.end), 0.0
    for start in range(K):
        _, log_q, log_p = every_path(chain, torch.tensor([[start]]))
        assert abs(float(log_q.exp().sum()) - 1) < 1e-12
        total += float(log_p.exp().sum())
    assert abs(total - 1) < 1e-12


@every_chain
def test_the_lines_of_part_one_have_their_exact_values(case):
    """Memo (1) to (8): the marginal, Jensen's gap, and line (3) where q lacks support (H19)."""
    chain, x_0 = chain_of(case)
    want = VALUES[case]
    _, log_q, log_p = every_path(chain, x_0)
    taken = log_q > -math.inf
    assert abs(-float(log_p.logsumexp(0)) - want["line1_neglogp"]) < 1e-12
    assert abs(-float(log_p[taken].logsumexp(0)) - want["line2_neglog_Eq_ratio"]) < 1e-12
    assert abs(expected(log_q, log_q - log_p) - want["line3_Eq_neglog_ratio"]) < 1e-12
    assert want["line3_Eq_neglog_ratio"] >= want["line1_neglogp"]
    assert bool(taken.all()) == want["support_full"]


@every_chain
def test_the_lines_of_part_two_are_one_number_on_every_path(case):
    """D1 = D10 path by path, D11 in expectation, each term by itself.

    Kills: log p of a path with t off by one, KL arguments swapped.
    """
    chain, x_0 = chain_of(case)
    q, p, want, T = chain.q, chain.p, VALUES[case], chain.q.T
    path, log_q, log_p = every_path(chain, x_0)
    taken = log_q > -math.inf
    path, log_q, log_p = [x[taken] for x in path], log_q[taken], log_p[taken]
    data = path[0]

    def time(t):
        return torch.full((len(data),), t)

    d_10 = q.marginal(data, time(T)).log_prob(path[T]) - p.prior(data).log_prob(path[T])
    d_10 = d_10 - p.decoder(path[1]).log_prob(data)
    terms = [-expected(log_q, p.decoder(path[1]).log_prob(data))]
    for t in range(2, T + 1):
        posterior, step = q.posterior(path[t], data, time(t)), p.step(path[t], time(t))
        d_10 = d_10 + posterior.log_prob(path[t - 1]) - step.log_prob(path[t - 1])
        terms.append(expected(log_q, posterior.kl(step)))
    assert float((d_10 - (log_q - log_p)).abs().max()) < 1e-12
    assert abs(terms[0] - want["L_0"]) < 1e-12
    assert max(abs(a - b) for a, b in zip(terms[1:], want["L_mid"], strict=True)) < 1e-12


@every_chain
def test_the_terms_and_estimators_have_the_exact_expectations(case):
    """By z-score: each column of `exhaustive`, `trajectory`, and the weights of its paths.

    Kills: L_T or L_0 dropped, KL arguments swapped, importance-weighted without log K.
    """
    chain, x_0 = chain_of(case)
    want, count = VALUES[case], 4000
    x_0 = x_0.expand(count, 1)

    def z(values: Tensor, exact: float) -> float:
        error = float(values.std()) / math.sqrt(count)
        return (
            0.0
            if abs(float(values.mean()) - exact) < 1e-12
            else (float(values.mean()) - exact) / max(error, 1e-12)
        )

    noise = KeyedNoise.of(0, torch.arange(count))
    table = exhaustive(chain, x_0, noise)
    exact = [want["L_0"], *want["L_mid"], want["L_T"]]
    assert max(abs(z(column, value)) for column, value in zip(table.T, exact, strict=True)) < 4
    paths = trajectory(chain, x_0, noise)
    assert abs(z(paths, want["line8_terms_sum"])) < 4
    assert abs(z((-paths).exp(), math.exp(-want["line2_neglog_Eq_ratio"]))) < 4
    weighted = importance_weighted(chain, x_0, noise, 3)
    assert abs(z((-weighted).exp(), math.exp(-want["line2_neglog_Eq_ratio"]))) < 4


@pytest.mark.parametrize("case", [case for case in VALUES if "K3_T3" in case])
def test_the_public_laws_hold_for_a_family_that_nelbo_does_not_know(case):
    """Kills: noise that ignores t or draw, a law that assumes a density."""
    testing.check_chain(*chain_of(case))


def test_importance_weighting_stays_above_the_likelihood_where_q_lacks_support():
    """H19: an absorbing chain never takes the paths that p gives most of its mass to."""
    chain, x_0 = chain_of("absorbing_K3_T3_x0")
    value = importance_weighted(chain, x_0, KeyedNoise.of(0, torch.arange(1)), 20_000)
    want = VALUES["absorbing_K3_T3_x0"]
    assert abs(float(value) - want["line2_neglog_Eq_ratio"]) < 0.05
    assert float(value) > want["line1_neglogp"] + 1
