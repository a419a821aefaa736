"""Every line of the memo: its value on chains that can be enumerated, and what makes it fail."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "categorical"))

from toy import CASES, Toy, golden

from nelbo.bound.chain import Chain, ForwardProcess
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical.dense import Dense
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.forward import CategoricalForward
from nelbo.categorical.reverse import TabularReverse
from nelbo.derivation import (
    FALSE_LINES,
    LINES,
    Status,
    enumerated,
    factors,
    sampled,
    weighting_curve,
)
from nelbo.derivation.factors import total
from nelbo.errors import BadInput, NonFinite

torch.set_num_threads(1)

every_case = pytest.mark.parametrize("name", CASES)
NELBO = [line.label for line in LINES[3:]]


def exactly(chain, x_0):
    K = len(chain.p.pi)
    return enumerated(chain, torch.tensor([[x_0]]), torch.arange(K)[:, None])


def value_of(name):
    toy, x_0 = CASES[name]
    return exactly(toy.chain, x_0), golden()[name]


def close(got, want, tolerance=1e-12):
    assert abs(got - want) <= tolerance, f"{got!r} is not {want!r}"


def test_the_lines_are_those_of_the_memo_in_its_order():
    labels = [f"({n})" for n in range(1, 9)] + [f"D{n}" for n in range(1, 12)]
    assert [line.label for line in LINES] == labels
    assert all(line.true and line.formula and line.latex and line.because for line in LINES)
    assert not any(line.true for line in FALSE_LINES)


@every_case
def test_every_line_has_its_value_of_the_reference(name):
    """Kills: a sign, an index or a factor wrong in any line."""
    v, want = value_of(name)
    close(v["(1)"].value, want["line1_neglogp"])
    close(v["(2)"].value, want["line1_neglogp"])
    close(v["(3)"].value, want["line2_neglog_Eq_ratio"])
    for label in NELBO:
        close(v[label].value, want["line3_Eq_neglog_ratio"])
    assert v.holds


@every_case
def test_the_gap_is_the_divergence_of_the_posteriors_over_paths(name):
    """Kills: the gap taken to line (3), KL arguments swapped."""
    v, want = value_of(name)
    close(v.gap, want["gap_KL"])
    close(v.gap_kl, want["gap_KL"])
    assert v["(4)"].status is Status.HOLDS


@every_case
def test_the_terms_and_the_variances_are_those_of_the_reference(name):
    """Kills: the variance of one random t without the factor T; L_0 and L_1 mixed up."""
    v, want = value_of(name)
    close(v.L_T, want["L_T"])
    close(v.L_0, want["L_0"])
    assert np.allclose(v.L_mid, want["L_mid"], rtol=0, atol=1e-12)
    close(v.variances.path, want["var_full_trajectory"])
    close(v.variances.independent, want["var_terms_independent_t"])
    close(v.variances.one_time, want["var_single_random_t"])


@every_case
def test_line_3_is_an_equality_where_q_reaches_every_path_and_not_elsewhere(name):
    """Kills: an absorbing chain's line (3) shown as an equality."""
    v, want = value_of(name)
    assert v.support == want["support_full"]
    if v.support:
        assert v["(3)"].status is Status.HOLDS
    else:
        assert v["(3)"].status is Status.CONDITION
        assert v["(3)"].value > v["(2)"].value + 1e-3


@every_case
def test_bayes_without_x_0_is_false_by_its_number(name):
    """Kills: the population replaced by the marginal of x_0."""
    v, want = value_of(name)
    close(v["F1"].value, want["FALSE_bayes_without_x0"])
    assert v["F1"].status is Status.FALSE
    # The two mistakes miss the telescope's ends from opposite sides.
    close(v["F2"].difference, -v["F1"].difference)


def plain_false_lines(toy, x_0):
    """F2 to F5 with loops over tables, apart from the library."""
    K, T = toy.K, toy.T
    Q, R = (np.array([[[float(v) for v in row] for row in f(t)] for t in range(1, T + 1)])
            for f in (toy.forward_matrix, toy.reverse_matrix))  # fmt: skip
    pi = np.array([float(v) for v in toy.prior()])
    bars = [np.eye(K)]
    for table in Q:
        bars.append(bars[-1] @ table)
    m = [bar[x_0] for bar in bars]
    u = [bar.mean(0) for bar in bars]

    def kl(a, b):
        return sum(x * math.log(x / y) if y else math.inf for x, y in zip(a, b, strict=True) if x)

    def mean(p, f):
        return sum(x * f(i) for i, x in enumerate(p) if x)

    L_0 = mean(m[1], lambda i: -math.log(R[0][i, x_0]))
    terms, swapped = [], []
    for t in range(2, T + 1):

        def posterior(i, t=t):
            weight = m[t - 1] * Q[t - 1][:, i]
            return weight / weight.sum()

        terms.append(mean(m[t], lambda i, t=t: kl(posterior(i), R[t - 1][i])))
        swapped.append(mean(m[t], lambda i, t=t: kl(R[t - 1][i], posterior(i))))
    L = kl(m[T], pi) + sum(terms) + L_0
    ends = mean(m[1], lambda i: math.log(m[1][i] / u[1][i]))
    ends -= mean(m[T], lambda i: math.log(m[T][i] / u[T][i]))
    first = mean(m[1], lambda i: kl(Q[0][:, i] / Q[0][:, i].sum(), R[0][i]))
    return {
        "F2": L + ends,
        "F3": kl(pi, m[T]) + sum(swapped) + L_0,
        "F4": L - L_0 + first,
        "F5": L - kl(m[T], pi),
    }


@every_case
def test_the_other_false_lines_have_the_values_of_a_plain_computation(name):
    """Kills: only one of two KLs swapped, L_0's KL over x_0 alone, L_T left in."""
    toy, x_0 = CASES[name]
    v = exactly(toy.chain, x_0)
    for label, want in plain_false_lines(toy, x_0).items():
        got = v[label].value
        assert got == want or abs(got - want) <= 1e-12, label
        assert v[label].status is Status.FALSE


def random_table(generator, shape, zeros):
    table = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.01
    if zeros:
        table = table * (torch.rand(shape, generator=generator) > 0.35)
        table += torch.eye(shape[-1], dtype=torch.float64) * 0.3
    return table / table.sum(-1, keepdim=True)


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("T", [2, 3])
def test_on_random_discrete_chains_true_lines_agree_and_false_ones_do_not(K, T, zeros):
    """360 chains. Kills: any line that holds by symmetry of the toys; a bound below -log p."""
    generator = torch.Generator().manual_seed(100 * K + 10 * T + zeros)
    agreeing = 0
    for _ in range(30):
        Q = random_table(generator, (T, K, K), zeros)
        R, pi = random_table(generator, (T, K, K), False), random_table(generator, (K,), False)
        v = exactly(Chain(CategoricalForward(Dense(Q, torch.float64)), TabularReverse(R, pi)), 0)
        assert v.holds
        values = [v[label].value for label in NELBO]
        assert max(values) - min(values) <= 1e-11
        assert v["(4)"].value >= v["(3)"].value - 1e-12
        assert v["(3)"].value >= v["(2)"].value - 1e-12
        assert abs(v.gap - v.gap_kl) <= 1e-11
        agreeing += sum(abs(row.difference) <= 1e-9 for row in v.false)
    # With zeros, x_1 or x_T may tell x_0, and then some false lines do agree.
    assert agreeing <= (0.2 * 30 * len(FALSE_LINES) if zeros else 0)


class Wrong(ForwardProcess[Categorical]):
    """A forward chain with one of its conditionals taken from another."""

    def __init__(self, q, other, name):
        self.q, self.other, self.name = q, other, name

    @property
    def T(self):
        return self.q.T

    def marginal(self, x_0, t):
        return (self.other if self.name == "marginal" else self.q).marginal(x_0, t)

    def step(self, x_prev, t):
        return (self.other if self.name == "step" else self.q).step(x_prev, t)

    def posterior(self, x_t, x_0, t):
        return (self.other if self.name == "posterior" else self.q).posterior(x_t, x_0, t)


@pytest.mark.parametrize("name", ["marginal", "step", "posterior"])
def test_a_wrong_conditional_of_q_makes_a_line_fail(name):
    """Kills: a line that puts in what it should find (D5 and D6 evaluated by the same factors)."""
    right, other = Toy("generic", 3, 3).chain, Toy("uniform", 3, 3).chain
    v = exactly(Chain(Wrong(right.q, other.q, name), right.p), 1)
    assert not v.holds
    failed = [row.line.label for row in v.rows if row.status is Status.FAILS]
    assert failed[0] == "D6"
    assert "not equal" in v["D6"].verdict
    x_0, noise = torch.tensor([[1]]), KeyedNoise.of(0, torch.arange(1))
    drawn = sampled(Chain(Wrong(right.q, other.q, name), right.p), x_0, noise, 64)
    assert drawn["D6"].status is Status.FAILS


def test_lines_agree_on_each_path_and_not_only_on_average():
    """Kills: a line that adds something of mean zero."""
    toy = Toy("uniform", 4, 4)
    v = exactly(toy.chain, 2)
    assert v.spread.absolute <= 1e-13
    path = toy.paths(2)
    f = factors(toy.chain, path, torch.arange(4)[:, None])
    d10, d11 = (line.inside(f) for line in LINES[-2:])
    assert float((d10 - d11).abs().max()) > 0.1  # D11 is equal on average only


def test_factors_at_times_that_do_not_exist_are_not_numbers():
    """Kills: a posterior at t = 1 that slips into a sum."""
    toy = Toy("uniform", 3, 3)
    f = factors(toy.chain, toy.paths(0), torch.arange(3)[:, None])
    assert f.posterior[:2].isnan().all()
    assert f.reverse[0].isnan().all()
    assert f.posterior[2:].isfinite().all()


def test_factors_do_not_depend_on_how_many_are_drawn_at_once():
    """Kills: rows of a batch put to the wrong t."""
    toy = Toy("generic", 4, 4)
    whole, single = (
        factors(toy.chain, toy.paths(3), torch.arange(4)[:, None], rows=rows) for rows in (10**6, 1)
    )
    for line in (*LINES[3:], *FALSE_LINES):
        assert torch.equal(line.inside(whole), line.inside(single)), line.label


@pytest.fixture(scope="module")
def drawn():
    """Monte Carlo and the truth on the same chain."""
    chain = Toy("uniform", 3, 3).chain
    x_0 = torch.arange(3)[:, None]
    v = sampled(chain, x_0, KeyedNoise.of(3, torch.arange(3)), 4096)
    return v, [exactly(chain, k) for k in range(3)]


def test_monte_carlo_is_right_within_its_errors(drawn):
    """Kills: an error of the mean that is not one; paths that are not q's."""
    v, exact = drawn
    for row in (*v.rows[3:], *v.false):
        truth = sum(e[row.line.label].value for e in exact) / 3
        assert abs(row.value - truth) < 4 * row.se, row.line.label
    assert v.holds
    assert abs(v.z) < 4
    truth = sum(e["(2)"].value for e in exact) / 3
    assert abs(v["(2)"].value - truth) < 0.1
    assert v["(1)"].status is Status.ESTIMATE
    assert "not exact" in v["(1)"].verdict


def test_monte_carlo_variances_are_those_of_the_enumeration(drawn):
    """Kills: D10's variance printed as D11's, a variance over images and paths together."""
    v, exact = drawn
    for name in ("path", "shared", "independent", "one_time"):
        truth = sum(getattr(e.variances, name) for e in exact) / 3
        assert getattr(v.variances, name) == pytest.approx(truth, rel=0.12), name


def test_monte_carlo_marginals_are_the_expected_factors(drawn):
    v, exact = drawn
    truth = np.mean([e.marginals for e in exact], axis=0)
    assert np.allclose(v.marginals, truth, atol=0.05)


def test_more_paths_never_raise_the_weighted_bound(drawn):
    """Kills: a sign in the exponent; a mean without its 1/K."""
    v, _ = drawn
    values = [point.value for point in v.curve]
    assert [point.paths for point in v.curve] == [2**n for n in range(9)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(v["D10"].value, abs=1e-12)
    assert v.curve[0].se == pytest.approx(v["D10"].se, rel=1e-9)


def test_the_weighted_mean_of_equal_values_is_that_value():
    points = weighting_curve(torch.full((2, 5), 3.0, dtype=torch.float64))
    assert [point.paths for point in points] == [1, 2, 4]
    for point in points:
        assert point.value == pytest.approx(3.0, abs=1e-15)
    assert points[-1].se is None


def test_a_path_does_not_depend_on_its_neighbours():
    """Kills: noise drawn by place in the batch."""
    chain = Toy("uniform", 3, 3).chain
    x_0 = torch.arange(3)[:, None]
    both = sampled(chain, x_0[[0, 2]], KeyedNoise.of(1, torch.tensor([0, 2])), 32)
    other = sampled(chain, x_0[[2, 0]], KeyedNoise.of(1, torch.tensor([2, 0])), 32, rows=5)
    assert both["D10"].value == pytest.approx(other["D10"].value, abs=1e-12)
    assert both["D11"].value == pytest.approx(other["D11"].value, abs=1e-12)


def test_a_chain_of_one_step_has_every_line():
    """Kills: an empty sum or telescope that is an error; false lines called false at T = 1."""
    generator = torch.Generator().manual_seed(0)
    Q, R = (random_table(generator, (1, 3, 3), False) for _ in range(2))
    chain = Chain(
        CategoricalForward(Dense(Q, torch.float64)),
        TabularReverse(R, random_table(generator, (3,), False)),
    )
    v = exactly(chain, 1)
    assert v.holds
    assert v["F1"].status is v["F2"].status is Status.AGREES
    assert v["F1"].verdict.startswith("agrees here")
    assert sampled(chain, torch.tensor([[1]]), KeyedNoise.of(0, torch.arange(1)), 8).holds


def test_sums_of_cancelling_terms_are_exact():
    """Kills: an uncompensated sum, off by 1e-11 at T = 1000."""
    generator = torch.Generator().manual_seed(2)
    terms = torch.randn(1001, 3, generator=generator, dtype=torch.float64) * 1e6
    terms = torch.cat([terms, -terms[:, :], torch.full((1, 3), 1e-7, dtype=torch.float64)])
    want = [math.fsum(column) for column in terms.T.tolist()]
    assert total(terms).tolist() == pytest.approx(want, rel=1e-9)
    assert total(terms[:0]).tolist() == [0, 0, 0]
    assert total(torch.tensor([[math.inf], [1.0], [2.0]]).double()).tolist() == [math.inf]


def test_what_cannot_be_valued_is_refused():
    chain = Toy("uniform", 3, 3).chain
    with pytest.raises(BadInput, match="at least 2 paths"):
        sampled(chain, torch.tensor([[0]]), KeyedNoise.of(0, torch.arange(1)), 1)
    with pytest.raises(BadInput, match="at most"):
        enumerated(chain, torch.tensor([[0]]), torch.arange(200)[:, None])
    broken = Chain(chain.q, TabularReverse(chain.p.R * math.nan, chain.p.pi))
    with pytest.raises(NonFinite, match="not finite"):
        sampled(broken, torch.tensor([[0]]), KeyedNoise.of(0, torch.arange(1)), 4)
