"""The best V_t, V_1 and sub-chain for a network as it stands: closed forms, enumeration, minima."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from truth import (
    SCHEDULES,
    Affine,
    Coefficients,
    assert_close,
    betas_of,
    chain_of,
    exact_network,
    golden,
    hermite,
    tabulated,
    terms,
    trapezoid,
)

from nelbo.errors import BadInput, NonFinite
from nelbo.gaussian.optimal_subchain import (
    expected_prior_kl,
    optimal_jumps,
    optimal_subchains,
    small_jumps,
)
from nelbo.gaussian.optimal_variance import (
    SquaredError,
    expected_kl,
    optimal,
    optimal_V_1,
    shrunk,
)
from nelbo.gaussian.parametrization import X_0
from nelbo.gaussian.schedule import from_betas, linear, log_snr_linear
from nelbo.gaussian.variance import Tabulated, large, small
from nelbo.types import Grid

M, S = 0.1, 0.5  # of the Gaussian data
INF = math.inf


def everywhere(mean, dims=1, images=1):
    """Errors at t = 1..T."""
    return SquaredError(torch.arange(1, len(mean) + 1), mean, dims, images)


def random_errors(T, *shape, dims=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.rand(T, *shape, generator=generator, dtype=torch.float64).square()
    return everywhere(mean, math.prod(shape) if dims is None else dims)


def gaussian_errors(schedule, dims=1):
    """E Var(x_0 | x_t), the error of the exact denoiser."""
    k = Coefficients.of(betas_of(schedule))
    return everywhere(torch.from_numpy(S**2 * k.om / (k.abar * S**2 + k.om))[1:], dims)


def over_data(values):
    """The mean over x_0 ~ N(M, S^2) of what is quadratic in x_0, given at its nodes."""
    return hermite().weights @ values


def nodes(dims=1):
    return (M + S * hermite().nodes).repeat(1, dims)


@pytest.mark.parametrize("case", SCHEDULES)
def test_on_gaussian_data_it_is_the_closed_form(case):
    """Kills: c for c^2, beta for beta-tilde, a table shifted by one t."""
    schedule = SCHEDULES[case]
    got = optimal(schedule, gaussian_errors(schedule), 0.3)
    want = Coefficients.of(betas_of(schedule)).variance("optimal", S)
    assert_close(got.table[2:], want[2:], rel=1e-12)
    assert float(got.table[1]) == got.V_1 == 0.3
    assert got.name == "optimal"


@pytest.mark.parametrize("kind", ["small", "large", "optimal"])
@pytest.mark.parametrize("case", ["T4", "T10"])
def test_the_three_terms_add_up_to_the_expected_bound_of_the_reference(case, kind):
    """Kills: an expectation of the wrong term, L_T without its log, a KL for t = 1."""
    schedule, reference = SCHEDULES[case], golden()["gaussian"][case]
    m, s = reference["m"], reference["s"]
    k = Coefficients.of(betas_of(schedule))
    error = everywhere(torch.from_numpy(s**2 * k.om / (k.abar * s**2 + k.om))[1:])
    M_1 = float(error.mean[0])
    variance = optimal(schedule, error, M_1) if kind == "optimal" else tabulated(schedule, kind)
    L_0 = 0.5 * (math.log(2 * math.pi * variance.V_1) + M_1 / variance.V_1)
    L_T = expected_prior_kl(schedule, m**2 + s**2, 1)[-1]
    total = L_0 + expected_kl(schedule, variance, error).sum() + L_T
    assert_close(total, reference["ref"][kind]["E_nelbo"], rel=1e-12)


def imperfect(T, dims, seed=3):
    """An affine denoiser that fits no data, per dimension."""
    generator = torch.Generator().manual_seed(seed)
    gain, offset = (torch.rand(T + 1, dims, generator=generator).double() - 0.3 for _ in range(2))
    return Affine(gain, offset)


def errors_of(network, schedule):
    """E (x_0 - gain x_t - offset)^2 for data N(M, S^2) in every dimension, by formula."""
    a, n = schedule.alpha_bar[1:, None], schedule.one_minus_alpha_bar[1:, None]
    gain, offset = network.gain[1:], network.offset[1:]
    left = 1 - gain * a.sqrt()
    mean = (left * M - offset).square() + left.square() * S**2 + gain.square() * n
    return everywhere(mean, mean.shape[1])


@pytest.mark.parametrize("kind", ["small", "large", "optimal", "per time"])
def test_the_expected_kl_is_the_mean_of_the_public_term(kind):
    """An imperfect network in two dimensions, by quadrature over data and noise.

    Kills: the error of the exact denoiser in place of the network's, a sum over dimensions that
    is a mean, a table per dimension read as one per t.
    """
    schedule = from_betas([0.05, 0.2, 0.4, 0.3, 0.6])
    network = imperfect(5, 2)
    error = errors_of(network, schedule)
    variance = {
        "small": small(schedule, 0.2),
        "large": large(schedule, 0.2),
        "optimal": optimal(schedule, error, 0.2),
        "per time": optimal(schedule, error.per_time, 0.2),
    }[kind]
    chain = chain_of(network, schedule, variance, parametrization=X_0)
    want = over_data(terms(chain, nodes(2)).L_mid)
    assert_close(expected_kl(schedule, variance, error), want, rel=1e-12)
    if kind != "optimal":
        assert_close(expected_kl(schedule, variance, error.per_time), want, rel=1e-12)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_the_optimal_variance_is_a_minimum(shape):
    """A factor f on V costs D (log f + 1/f - 1)/2. Kills: a minimum of another function."""
    schedule, error = linear(40, 1e-3, 0.3), random_errors(40, *shape, dims=6)
    best = optimal(schedule, error, 0.1)
    least = expected_kl(schedule, best, error)
    for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0):
        other = expected_kl(schedule, Tabulated("other", factor * best.table), error)
        assert (other > least).all()
        more = 3 * (math.log(factor) + 1 / factor - 1)
        assert_close(other - least, [more] * 39, rel=1e-6)
    beta_tilde = schedule.posterior_variance[2:].reshape(39, *(1 for _ in shape))
    ratio = best.table[2:] / beta_tilde
    want = 0.5 * ratio.log().reshape(39, -1).sum(1) * (1 if shape else 6)
    assert_close(least, want, rel=1e-10, absolute=1e-13)


def test_it_is_never_worse_than_small_or_large_and_per_dimension_never_worse_than_per_time():
    """On the moments it was made from, at every t. Kills: V not the minimum, Jensen reversed."""
    for seed in range(20):
        schedule = linear(30, 1e-3, 0.4)
        error = random_errors(30, 5, seed=seed)
        error.mean[:, seed % 5] = 0
        least = expected_kl(schedule, optimal(schedule, error, 0.1), error)
        per_time = expected_kl(schedule, optimal(schedule, error.per_time, 0.1), error)
        others = [expected_kl(schedule, make(schedule, 0.1), error) for make in (small, large)]
        assert (least <= per_time).all()
        assert (per_time <= torch.minimum(*others)).all()


def test_without_error_it_is_beta_tilde_and_costs_nothing():
    """Kills: a variance below beta-tilde, log 0, a NaN of 0 / 0."""
    schedule = SCHEDULES["T10"]
    error = everywhere(torch.zeros(10, 3, dtype=torch.float64), 3)
    variance = optimal(schedule, error, 0.1)
    assert torch.equal(variance.table[2:], schedule.posterior_variance[2:, None].expand(-1, 3))
    assert (expected_kl(schedule, variance, error) == 0).all()
    held_out = random_errors(10, 3)
    assert_close(
        expected_kl(schedule, variance, held_out),
        expected_kl(schedule, small(schedule, 0.1), held_out),
    )


@pytest.mark.parametrize("last", [0.6, 1.0])
def test_a_jump_costs_what_the_sub_chain_of_it_does(last):
    """Also at zero terminal SNR.

    Kills: the SNR of the wrong end, M of the wrong end, a sum over dimensions left out in one of
    two forms, inf - inf.
    """
    schedule = from_betas([0.02, 0.1, 0.2, 0.3, 0.4, last])
    error = random_errors(6, 2, 2)
    optimal_cost, small_cost = optimal_jumps(schedule, error), small_jumps(schedule, error)
    per_time_cost = optimal_jumps(schedule, error.per_time)
    assert (optimal_cost <= per_time_cost).all()
    assert (per_time_cost.tril(-1) <= small_cost.tril(-1)).all()
    for r, s in itertools.combinations(range(6), 2):
        sub, own = schedule.subchain([r + 1, s + 1]), error.subchain([r + 1, s + 1])
        for cost, variance in (
            (optimal_cost, optimal(sub, own, 0.1)),
            (per_time_cost, optimal(sub, own.per_time, 0.1)),
            (small_cost, small(sub, 0.1)),
        ):
            assert_close(cost[s, r], expected_kl(sub, variance, own)[0], rel=1e-11)
            assert cost[r, s] == cost[r, r] == cost[s, s] == INF


def test_jumps_of_many_dimensions_are_summed_in_parts():
    """Kills: a part of the dimensions that takes the place of those before."""
    schedule, error = SCHEDULES["T4"], random_errors(4, 10_000)
    snr = schedule.log_snr.exp()
    want = 0.5 * torch.log1p((snr[2] - snr[4]) * error.mean[3]).sum()
    assert_close(optimal_jumps(schedule, error)[3, 1], want, rel=1e-12)


def test_unit_jumps_add_up_to_the_chain():
    """Kills: a jump's KL that is not a share of the integral over SNR."""
    schedule, error = SCHEDULES["T1000"], random_errors(1000, dims=64)
    unit = small_jumps(schedule, error).diagonal(-1)
    assert_close(unit, expected_kl(schedule, small(schedule, 0.1), error), rel=1e-8)
    level = everywhere(torch.ones(1000, dtype=torch.float64))  # the same everywhere: no jump saves
    jumps = small_jumps(schedule, level)
    assert_close(jumps[999, 0], jumps.diagonal(-1).sum(), rel=1e-12)


def problem(count, seed=0):
    """Jumps, decoder's costs and prior's costs, of a chain where every choice is plausible."""
    schedule = log_snr_linear(2 * count + 1, 4.0, -6.0)
    generator = torch.Generator().manual_seed(seed)
    t = 1 + torch.randperm(2 * count + 1, generator=generator)[:count].sort().values
    mean = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    error = SquaredError(t, mean * torch.linspace(0.1, 1.0, count).double()[:, None], 3, 1)
    decoder = 4 * torch.rand(count, generator=generator, dtype=torch.float64)
    prior = expected_prior_kl(schedule, 0.4, 3)[t - 1]
    return schedule, error, decoder + torch.linspace(0, 3, count).double(), prior


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [small_jumps, optimal_jumps])
@pytest.mark.parametrize("ends_at_last", [False, True])
def test_it_is_the_best_of_all_sub_chains(seed, make, ends_at_last):
    """Every subset of 8 candidates.

    Kills: a greedy choice, a wrong back pointer, an end left out.
    """
    schedule, error, decoder, prior = problem(8, seed)
    jumps = make(schedule, error)
    decoder[seed] = INF
    subchains = optimal_subchains(
        error.t, jumps, decoder, prior, longest=8, ends_at_last=ends_at_last
    )
    for n in range(1, 8):
        costs = {
            kept: float(
                decoder[kept[0]]
                + sum(jumps[s, r] for r, s in itertools.pairwise(kept))
                + prior[kept[-1]]
            )
            for kept in itertools.combinations(range(8), n)
            if not ends_at_last or kept[-1] == 7
        }
        best = min(costs, key=costs.__getitem__)
        assert_close(subchains.bounds[n - 1], costs[best], rel=1e-12)
        assert subchains.steps(n) == error.t[list(best)].tolist()
    lengths = subchains.bounds[:5].tolist()
    assert subchains.best(5) == lengths.index(min(lengths)) + 1
    if seed == 0:  # the first candidate may not be the first step, so 8 steps there are not
        assert subchains.bounds[7] == INF
        with pytest.raises(BadInput, match="8 steps"):
            subchains.steps(8)


def test_the_predicted_bound_is_that_of_the_chain_that_was_kept():
    """The kept chain with the optimal variance, by quadrature of the public terms.

    Kills: the sub-chain's betas taken from the original, the network told another t, an error
    from another row, a term counted twice.
    """
    schedule, dims = linear(30, 1e-3, 0.4), 2
    network = exact_network(schedule, M, S, X_0)
    error = gaussian_errors(schedule, dims)
    # a network that is good at some t only, so that it matters which are kept
    worse = torch.linspace(0, 0.5, 31, dtype=torch.float64) * (torch.arange(31) % 3)
    network.offset += worse
    error = everywhere(error.mean + worse[1:].square(), dims)
    decoder = 0.5 * dims * (1 + (2 * math.pi * error.mean).log())
    prior = expected_prior_kl(schedule, M**2 + S**2, dims)
    subchains = optimal_subchains(
        error.t, optimal_jumps(schedule, error), decoder, prior, longest=12
    )
    for n in (1, 2, 5, 12):
        kept = subchains.steps(n)
        sub, own = schedule.subchain(kept), error.subchain(kept)
        variance = optimal(sub, own, float(own.mean[0]))
        chain = chain_of(network, sub, variance, parametrization=X_0)
        assert_close(
            subchains.bounds[n - 1], over_data(terms(chain, nodes(1)).nelbo) * dims, rel=1e-11
        )
        if n > 2:
            assert not any(t % 3 == 2 for t in kept)


def test_keeping_every_step_is_the_chain_itself():
    """Kills: an off-by-one in the length of the path."""
    schedule, error = SCHEDULES["T10"], random_errors(10, dims=4)
    costs = torch.linspace(1, 2, 10, dtype=torch.float64)
    subchains = optimal_subchains(error.t, small_jumps(schedule, error), costs, costs, longest=10)
    assert subchains.steps(10) == list(range(1, 11))
    whole = 3 + expected_kl(schedule, small(schedule, 0.1), error).sum()
    assert_close(subchains.bounds[9], whole, rel=1e-12)
    only = optimal_subchains(
        error.t, small_jumps(schedule, error), costs, costs, longest=1, ends_at_last=True
    )
    assert only.steps(1) == [10]
    assert float(only.bounds[0]) == 4


def two_point_errors(schedule):
    """1 - E tanh(SNR + sqrt(SNR) eps), the least error for data that are -1 or 1."""
    snr, rule = schedule.log_snr[1:, None].exp(), trapezoid()
    x = snr + snr.sqrt() * rule.nodes[:, 0]
    return everywhere((2 / (1 + torch.exp(2 * x))) @ rule.weights)


def test_with_an_exact_denoiser_a_step_in_between_never_costs():
    """1/M_t - SNR_t does not rise, and then neither does the bound with steps.

    For Gaussian data every chain between two ends costs the same. Kills: a jump's log of the
    wrong ratio.
    """
    schedule = log_snr_linear(40, 3.0, -5.0)
    error = two_point_errors(schedule)
    assert ((1 / error.mean - schedule.log_snr[1:].exp()).diff() <= 1e-12).all()
    one_end = torch.full((40,), INF, dtype=torch.float64)
    one_end[0] = 0
    zero = torch.zeros_like(one_end)
    for make in (optimal_jumps, small_jumps):
        jumps = make(schedule, error)
        subchains = optimal_subchains(error.t, jumps, one_end, zero, longest=40, ends_at_last=True)
        assert (subchains.bounds[1:].diff() < 0).all()
    jumps = optimal_jumps(schedule, gaussian_errors(schedule))
    subchains = optimal_subchains(error.t, jumps, one_end, zero, longest=40, ends_at_last=True)
    assert_close(subchains.bounds[1:], subchains.bounds[1].expand(39), rel=1e-12)


def test_with_other_networks_more_steps_may_cost_and_best_says_so():
    """A network that learns nothing from x_t. Kills: `best` that takes the longest chain."""
    schedule = log_snr_linear(12, 3.0, -5.0)
    error = everywhere(torch.ones(12, dtype=torch.float64))
    one_end = torch.full((12,), INF, dtype=torch.float64)
    one_end[0] = 0
    jumps, zero = optimal_jumps(schedule, error), torch.zeros(12, dtype=torch.float64)
    subchains = optimal_subchains(error.t, jumps, one_end, zero, longest=12, ends_at_last=True)
    assert (subchains.bounds[1:].diff() > 0).all()
    assert subchains.best(12) == 2
    assert subchains.best(1) == 1
    assert subchains.bounds[0] == INF
    assert subchains.steps(2) == [1, 12]


def test_the_prior_kl_is_that_of_the_public_term():
    """Kills: the mean over images squared, D counted once, a log of 0 at zero terminal SNR."""
    schedule = from_betas([0.1, 0.2, 1.0])
    x_0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = expected_prior_kl(schedule, float(x_0.square().mean()), 3)
    for t in (1, 2, 3):
        sub = schedule.subchain([t])
        network = Affine(torch.zeros(4).double(), torch.zeros(4).double())
        chain = chain_of(network, sub, small(sub, 0.1), parametrization=X_0)
        want = terms(chain, x_0).L_T.mean()
        assert_close(got[t - 1], want, rel=1e-12, absolute=1e-15)


def folds_of(truth, images, folds, seed, draw):
    """Independent folds, each a mean of draw(truth) over images / folds images."""
    generator = torch.Generator().manual_seed(seed)
    each = images // folds
    return [everywhere(draw(truth, each, generator), truth.shape[1], each) for _ in range(folds)]


def chi_squared(truth, images, generator):
    z = torch.randn(images, *truth.shape, generator=generator, dtype=torch.float64)
    return truth * z.square().mean(0)


def rare(truth, images, generator):
    """Errors of size 1 that are seen in an image with chance truth."""
    u = torch.rand(images, *truth.shape, generator=generator, dtype=torch.float64)
    return (u < truth).double().mean(0)


def pooled(folds):
    total = sum(fold.images for fold in folds)
    mean = sum(fold.images / total * fold.mean for fold in folds)
    return everywhere(mean, folds[0].dims, total)


def excess(schedule, truth, images, draw):
    """Over the least expected KL, in nats: one V per t, one per dimension, and the shrunk one."""
    held_out = everywhere(truth, 32)
    costs = torch.zeros(3, dtype=torch.float64)
    for seed in range(4):
        folds = folds_of(truth, images, 4, seed, draw)
        whole = pooled(folds)
        for row, error in enumerate((whole.per_time, whole, shrunk(schedule, folds))):
            variance = optimal(schedule, error, 0.1)
            costs[row] += expected_kl(schedule, variance, held_out).sum() / 4
    least = expected_kl(schedule, optimal(schedule, held_out, 0.1), held_out).sum()
    return (costs - least).tolist()


def spread_truth(T, spread):
    """Moments of 32 dimensions, e^spread apart."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.randn(32, generator=generator, dtype=torch.float64)
    levels = levels + 0.3 * torch.randn(T, 32, generator=generator, dtype=torch.float64)
    return (0.05 * torch.exp(spread * levels)).clamp(max=0.9)


@pytest.mark.parametrize("draw", [chi_squared, rare])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("images", [12, 100, 1000])
def test_shrunk_errors_serve_other_images_like_the_better_of_both_tables(draw, spread, images):
    """Against the true moments. Kills: k that is chosen by the fit itself."""
    truth = spread_truth(20, spread)
    per_time, per_dimension, chosen = excess(log_snr_linear(20, 8.0, -3.0), truth, images, draw)
    assert chosen <= 1.1 * min(per_time, per_dimension) + 0.1


def test_the_mixing_is_the_one_under_which_folds_predict_one_another_best():
    """By the public table and its public cost.

    Kills: another cost, folds of equal weight, shrinkage the wrong way round.
    """
    schedule, truth = log_snr_linear(20, 2.0, -5.0), spread_truth(20, 0.4)
    generator = torch.Generator().manual_seed(4)
    sizes = (10, 15, 30)
    folds = [everywhere(chi_squared(truth, n, generator), 32, n) for n in sizes]

    def mixed(some, k):
        whole = pooled(some)
        own = whole.images / (whole.images + k)
        mean = own * whole.mean + (1 - own) * whole.mean.mean(1, keepdim=True)
        return everywhere(mean, 32, whole.images)

    def cost(k):
        total = 0.0
        for fold in folds:
            fit = mixed([other for other in folds if other is not fold], k)
            kl = expected_kl(schedule, optimal(schedule, fit, 0.1), fold)
            total += fold.images * float(kl.sum())
        return total

    best = min((INF, *(2.0**k for k in range(-4, 21))), key=cost)
    assert 1 <= best <= 1000  # neither end of the range
    assert_close(shrunk(schedule, folds).mean, mixed(folds, best).mean[1:], rel=1e-12)


def test_in_between_they_serve_better_than_both():
    """Kills: a choice between the two tables that never mixes them."""
    schedule = log_snr_linear(20, 8.0, -3.0)
    for draw, spread, images in ((rare, 1.0, 100), (rare, 2.0, 100), (chi_squared, 0.3, 12)):
        per_time, per_dimension, chosen = excess(schedule, spread_truth(20, spread), images, draw)
        assert chosen < 0.8 * min(per_time, per_dimension)


def test_a_dimension_without_errors_is_safe_on_other_images():
    """Kills: V = beta-tilde where nothing was seen yet; a mean over dimensions that is not kept."""
    schedule = log_snr_linear(12, 8.0, -3.0)
    truth = torch.rand(12, 16, generator=torch.Generator().manual_seed(2)).double()
    truth[:, :4] = 0
    folds = folds_of(truth, 400, 4, 0, chi_squared)
    safe = shrunk(schedule, folds)
    assert safe.t.tolist() == list(range(2, 13))
    assert safe.images == 400
    whole = pooled(folds).mean[1:]
    assert (whole[:, :4] == 0).all()
    assert (safe.mean >= whole.mean(1, keepdim=True) / (16 * 401)).all()
    assert_close(safe.mean.mean(1), whole.mean(1), rel=1e-12)
    variance, lowest = optimal(schedule, safe, 0.1), small(schedule, 0.1)
    assert (variance.table[2:] > schedule.posterior_variance[2:, None]).all()
    for size in (0.0, 0.5, 2.0):
        surprise = everywhere(torch.full((12, 16), size, dtype=torch.float64), 16)
        more = expected_kl(schedule, variance, surprise) - expected_kl(schedule, lowest, surprise)
        worst = 0.5 * (variance.table[2:] / schedule.posterior_variance[2:, None]).log().sum(1)
        assert (more <= worst).all()


def test_shrinkage_is_for_the_chain_that_is_kept_and_for_any_order_of_folds():
    """Kills: rows of the full chain read for the sub-chain; folds weighted by their place."""
    schedule, generator = log_snr_linear(20, 5.0, -4.0), torch.Generator().manual_seed(0)
    truth = torch.rand(20, 2, 3, generator=generator).double()
    folds = [
        SquaredError(torch.arange(1, 21), chi_squared(truth, n, generator), 6, n)
        for n in (10, 30, 20)
    ]
    kept = [2, 3, 11, 20]
    sub = schedule.subchain(kept)
    got = shrunk(sub, [fold.subchain(kept) for fold in folds])
    again = shrunk(sub, [fold.subchain(kept) for fold in reversed(folds)])
    assert got.mean.shape == (3, 2, 3)
    assert_close(got.mean, again.mean, rel=1e-12)
    weights = [fold.images / 60 for fold in folds]
    whole = sum(w * fold.mean for w, fold in zip(weights, folds, strict=True))[[2, 10, 19]]
    low, high = whole.flatten(1).min(1).values, whole.flatten(1).max(1).values
    flat = got.mean.flatten(1)
    assert (flat >= low[:, None]).all()
    assert (flat <= high[:, None]).all()
    per_time = shrunk(sub, [fold.subchain(kept).per_time for fold in folds])
    assert_close(per_time.mean, whole.flatten(1).mean(1), rel=1e-12)
    alone = schedule.subchain([4])  # T = 1 has no V_t but V_1
    assert len(shrunk(alone, [fold.subchain([4]) for fold in folds]).t) == 0
    assert optimal(alone, folds[0].subchain([4]), 0.2).table.shape == (2, 2, 3)


def decoder_sample(grid, deviation, count=4000, seed=0):
    generator = np.random.default_rng(seed)
    mean = generator.uniform(grid.lo, grid.hi, count)
    level = grid.levels(torch.from_numpy(mean + deviation * generator.standard_normal(count)))
    return level, torch.from_numpy(mean)


def mean_loss(level, mean, grid, V):
    """-log of the masses by scipy, none so far in a tail that it would cancel."""
    centre = grid.lo + level.numpy() * grid.spacing
    scale = math.sqrt(V)
    high = np.where(level == grid.n - 1, np.inf, centre + grid.spacing / 2 - mean.numpy()) / scale
    low = np.where(level == 0, -np.inf, centre - grid.spacing / 2 - mean.numpy()) / scale
    flip = low > 0
    high, low = np.where(flip, -low, high), np.where(flip, -high, low)
    return -float(np.log(norm.cdf(high) - norm.cdf(low)).mean())


@pytest.mark.parametrize("deviation", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("n", [2, 17, 256])
def test_no_other_V_1_is_better(n, deviation):
    """By a grid of V and another implementation.

    Kills: too narrow a search, V for its root, a local stop, the mass of another bin.
    """
    grid = Grid(n)
    level, mean = decoder_sample(grid, deviation * grid.spacing)
    optimum = optimal_V_1(level.reshape(40, 100), mean.reshape(40, 100), grid)
    assert_close(optimum.nats, mean_loss(level, mean, grid, optimum.V_1), rel=1e-8)
    around = optimum.V_1 * np.exp(np.linspace(-0.5, 1.5, 81))
    assert optimum.nats <= min(mean_loss(level, mean, grid, V) for V in around) + 1e-4
    # with the one miss that the search adds, the minimum is exact
    level = torch.cat([level, torch.tensor([0])])
    mean = torch.cat([mean, torch.tensor([grid.lo + grid.spacing]).double()])
    least = mean_loss(level, mean, grid, optimum.V_1)
    assert least <= min(mean_loss(level, mean, grid, V) for V in around) + 1e-9
    assert least < mean_loss(level, mean, grid, 1.02 * optimum.V_1)
    assert least < mean_loss(level, mean, grid, 0.98 * optimum.V_1)
    if n == 256:
        assert pytest.approx((deviation * grid.spacing) ** 2, rel=0.1) == optimum.V_1


def test_the_loss_is_convex_in_the_inverse_deviation():
    """What makes a search on a line find the minimum. Kills: a claim that is false."""
    generator = np.random.default_rng(5)
    tau = np.linspace(0.3, 20, 400)
    for n in (2, 5, 17):
        grid = Grid(n)
        level = torch.from_numpy(generator.integers(0, n, 6))
        mean = torch.from_numpy(
            grid.values(level, torch.float64).numpy() + generator.normal(0, 0.3, 6)
        )
        values = np.array([mean_loss(level, mean, grid, 1 / x**2) for x in tau])
        assert (np.diff(values, 2) > -1e-9).all()


def test_means_that_are_all_right_leave_V_1_above_0_and_a_miss_affordable():
    """Kills: V_1 that falls to the end of the search, so that one miss costs 10^5 nats."""
    grid = Grid(17)
    level = torch.arange(17).repeat(1000)
    exact = grid.values(level, torch.float64)
    optimum = optimal_V_1(level, exact, grid)
    assert optimum.nats < 1e-3
    missed = mean_loss(torch.tensor([5]), exact[6:7], grid, optimum.V_1)
    assert missed < 2 * math.log(len(level))
    far = optimal_V_1(torch.zeros(50, dtype=torch.int64), torch.full((50,), 0.9).double(), grid)
    assert far.nats < 0.8  # an even guess about the open bin, log 2, is the best there is


def test_what_was_not_measured_is_refused():
    """Kills: an error interpolated, or taken from a neighbour, in silence."""
    schedule = SCHEDULES["T10"]
    error = SquaredError(torch.tensor([2, 5, 9]), torch.ones(3).double(), 4, 1)
    with pytest.raises(BadInput, match="not measured at t = 3"):
        optimal(schedule, error, 0.1)
    with pytest.raises(BadInput, match="not measured at t = 3"):
        expected_kl(schedule, small(schedule, 0.1), error)
    with pytest.raises(BadInput, match="not measured at t = 6"):
        error.subchain([2, 6])
    with pytest.raises(BadInput, match="t = 9"):
        optimal_jumps(SCHEDULES["T4"], error)
    kept = error.subchain([2, 9])
    assert kept.t.tolist() == [1, 2]
    assert expected_kl(schedule.subchain([2, 9]), small(schedule.subchain([2, 9]), 0.1), kept) > 0


def test_what_is_no_squared_error_is_refused():
    """Kills: a NaN that argmin would take, tables of another shape broadcast."""
    ones = torch.ones(2, 3, dtype=torch.float64)
    t = torch.tensor([1, 2])
    for times in ([2, 1], [0, 1], [1, 1]):
        with pytest.raises(BadInput, match="increase"):
            SquaredError(torch.tensor(times), ones, 3, 1)
    with pytest.raises(BadInput, match="4 dimensions"):
        SquaredError(t, ones, 4, 1)
    with pytest.raises(NonFinite, match="t = 2"):
        SquaredError(t, ones * torch.tensor([[1], [math.nan]]), 3, 1)
    with pytest.raises(BadInput, match="-1"):
        SquaredError(t, ones * torch.tensor([[1], [-1]]), 3, 1)
    schedule, error = from_betas([0.1, 0.2]), SquaredError(t, ones, 3, 1)
    for table in (torch.ones(4).double(), torch.ones(3, 2).double()):
        with pytest.raises(BadInput, match="does not belong"):
            expected_kl(schedule, Tabulated("other", table), error)
    with pytest.raises(BadInput, match="does not belong"):
        expected_kl(schedule, optimal(schedule, error, 0.1), error.per_time)
    for folds in ([error], [error, error.per_time]):
        with pytest.raises(BadInput, match="two or more"):
            shrunk(schedule, folds)


def test_what_is_no_problem_is_refused():
    """Kills: NaN costs, which min would pick or skip; more steps than candidates."""
    schedule, error, decoder, prior = problem(4)
    jumps = optimal_jumps(schedule, error)
    for longest in (0, 5):
        with pytest.raises(BadInput, match=r"1\.\.4 steps"):
            optimal_subchains(error.t, jumps, decoder, prior, longest=longest)
    with pytest.raises(NonFinite, match="decoder"):
        optimal_subchains(error.t, jumps, decoder * math.nan, prior, longest=2)
    subchains = optimal_subchains(error.t, jumps, decoder, prior, longest=2)
    for n in (0, 3):
        with pytest.raises(BadInput, match=r"1\.\.2"):
            subchains.steps(n)
        with pytest.raises(BadInput, match=r"1\.\.2"):
            subchains.best(n)
    grid, none = Grid(17), torch.zeros(0)
    with pytest.raises(BadInput, match="empty"):
        optimal_V_1(none.long(), none.double(), grid)
    with pytest.raises(NonFinite, match="nan"):
        optimal_V_1(torch.zeros(2).long(), torch.tensor([0.0, math.nan]), grid)
