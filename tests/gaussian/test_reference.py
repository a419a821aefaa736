"""Every term of a Gaussian chain against its closed form, through the public objects alone.

Golden values agree in several independent ways to 2e-15; here they are reproduced in float64 to
1e-10 relative, and in float32 to 1e-5. A gap is a difference of two values of size up to 10 and as
small as 2e-7, so it is held to 1e-12 absolute besides: sixteen digits less the cancellation.
"""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from truth import (
    SCHEDULES,
    VARIANCES,
    Affine,
    ClosedForm,
    Coefficients,
    Constant,
    Dense,
    Nodes,
    assert_close,
    betas_of,
    chain_of,
    column,
    exact_network,
    gaussian_chain,
    golden,
    hermite,
    marginal,
    neg_log_p,
    tabulated,
    terms,
    trapezoid,
)

from nelbo.bound.chain import Chain, constant_time
from nelbo.bound.estimators import exhaustive
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Discretized, log_mass
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.parametrization import EPS, PARAMETRIZATIONS, X_0, Linear
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import Schedule, cosine, from_betas, linear
from nelbo.gaussian.variance import LearnedRange, Tabulated, first_variance
from nelbo.types import Grid

GRID = Grid(256)
GAP = 1e-12
PIXELS = (0, 1, 64, 128, 254, 255)

every_chain = pytest.mark.parametrize("name", SCHEDULES)
every_variance = pytest.mark.parametrize("kind", VARIANCES)


def reference(name: str, kind: str) -> tuple[float, float, dict]:
    """(m, s, the values) of a golden Gaussian chain."""
    case = golden()["gaussian"][name]
    return case["m"], case["s"], case["ref"][kind]


def points(values: dict, key: str) -> list[float]:
    return [point[key] for point in values["points"]]


def pixel(*levels: int) -> Tensor:
    return GRID.values(torch.tensor(levels)[:, None], torch.float64)


def linspace(text: str) -> list[float]:
    """The betas that a golden entry names."""
    first, last, count = (float(part) for part in text.removeprefix("linspace(")[:-1].split(","))
    return betas_of(linear(int(count), first, last))


@every_chain
def test_the_schedules_are_those_of_the_reference(name: str):
    """Kills: a changed schedule here that would make the comparison be about another chain."""
    betas = golden()["gaussian"][name]["betas"]
    betas = linspace(betas) if isinstance(betas, str) else betas
    assert_close(SCHEDULES[name].beta[1:], betas, rel=1e-15)


@every_variance
@every_chain
def test_each_term_of_the_exact_denoiser_is_its_closed_form(name: str, kind: str):
    """Kills: H10 (model variance in place of beta-tilde), H05 (V_1), H11 (a term missing), H15.

    L_T, every L_{t-1}, L_0, their sum and the variance of one draw of each term.
    """
    m, s, values = reference(name, kind)
    got = terms(gaussian_chain(SCHEDULES[name], m, s, kind), column(*points(values, "x0")))
    assert_close(got.L_T, points(values, "L_T"))
    assert_close(got.L_mid.sum(1), points(values, "L_mid_sum"))
    assert_close(got.L_0, points(values, "L_0"))
    assert_close(got.nelbo, points(values, "nelbo"))
    assert_close(got.variance.sum(1), points(values, "var_one_sample_sum"))
    if "L_mid" in values["points"][0]:
        assert_close(got.L_mid, points(values, "L_mid"))
        assert_close(got.variance, points(values, "var_one_sample"))


@every_variance
@every_chain
def test_the_marginal_and_the_gap_are_their_closed_forms(name: str, kind: str):
    """Kills: H08 (a missing part of the bound shows as a gap that is not the KL), H18."""
    m, s, values = reference(name, kind)
    chain = gaussian_chain(SCHEDULES[name], m, s, kind)
    mean, var = marginal(chain)
    assert_close(mean[0], values["marginal_mean"])
    assert_close(var[0], values["marginal_var"])
    x_0 = column(*points(values, "x0"))
    surprise = neg_log_p(chain, x_0)
    assert_close(surprise, points(values, "neg_log_p"))
    assert_close(terms(chain, x_0).nelbo - surprise, points(values, "gap"), absolute=GAP)


@every_variance
@every_chain
def test_averages_over_the_data_are_their_closed_forms(name: str, kind: str):
    """Kills: H09 (mean for sum), a wrong variance: only the optimal one attains entropy + KL."""
    m, s, values = reference(name, kind)
    chain = gaussian_chain(SCHEDULES[name], m, s, kind)
    rule = hermite()
    x_0 = m + s * rule.nodes
    nelbo = rule.weights @ terms(chain, x_0).nelbo
    surprise = rule.weights @ neg_log_p(chain, x_0)
    assert_close(nelbo, values["E_nelbo"])
    assert_close(surprise, values["E_neg_log_p"])
    assert_close(nelbo - surprise, values["E_gap"], absolute=GAP)
    floor = values["H_plus_KL"]
    assert_close(floor, values["H_data"] + values["KL_qT_prior"])
    if kind == "optimal":
        assert_close(nelbo, floor)
    else:
        assert nelbo > floor


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS.values(), ids=lambda p: p.name)
@every_variance
@every_chain
def test_the_bound_does_not_depend_on_what_the_network_predicts(
    name: str, kind: str, parametrization: Linear
):
    """Kills: a sign or a factor in x0-hat from eps, x_0 or v."""
    m, s, values = reference(name, kind)
    chain = gaussian_chain(SCHEDULES[name], m, s, kind, parametrization=parametrization)
    assert_close(terms(chain, column(*points(values, "x0"))).nelbo, points(values, "nelbo"))


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS.values(), ids=lambda p: p.name)
@every_variance
@every_chain
def test_float32_keeps_five_digits_of_the_bound(name: str, kind: str, parametrization: Linear):
    """Kills: H22 and H27 (tables or sums in low precision)."""
    m, s, values = reference(name, kind)
    chain = gaussian_chain(SCHEDULES[name], m, s, kind, parametrization=parametrization)
    x_0 = column(*points(values, "x0"), dtype=torch.float32)
    # Rounding x_t is random from node to node: more nodes than exactness needs average it.
    got = terms(chain, x_0, hermite(20))
    # L_0 is of a density and may cancel the others: the digits are of the sizes that are added up.
    size = (got.L_T.abs() + got.L_mid.abs().sum(1) + got.L_0.abs()).double()
    want = torch.tensor(points(values, "nelbo"), dtype=torch.float64)
    assert_close(got.nelbo / size, want / size, rel=0, absolute=1e-5)


@pytest.mark.parametrize("case", range(4))
def test_one_step_is_a_chain(case: int):
    """Kills: H05 (T = 1 has no beta-tilde_2 and no transition)."""
    want = golden()["gaussian_T1"][case]
    chain = gaussian_chain(from_betas(want["betas"]), want["m"], want["s"], want["variance"])
    x_0 = column(want["x0"])
    got, surprise = terms(chain, x_0), neg_log_p(chain, x_0)
    assert got.L_mid.shape == (1, 0)
    assert_close(got.L_T[0], want["L_T"])
    assert_close(got.L_0[0], want["L_0"])
    assert_close(got.nelbo[0], want["nelbo"])
    assert_close(surprise[0], want["neg_log_p"])
    assert_close((got.nelbo - surprise)[0], want["gap"])


@pytest.mark.parametrize("key", list(golden()["extra"]["linear_net_T4"]))
def test_any_linear_network_has_its_closed_form(key: str):
    """Kills: an error that the best denoiser hides, being stationary there."""
    kind, x_0 = key.split("/")
    want = golden()["extra"]["linear_net_T4"][key]
    t = torch.arange(5, dtype=torch.float64)
    chain = chain_of(
        Affine(0.1 + 0.05 * t, 0.02 * t), SCHEDULES["T4"], tabulated(SCHEDULES["T4"], kind)
    )
    x_0 = column(float(x_0))
    got = terms(chain, x_0)
    assert_close(got.L_T[0], want["L_T"])
    assert_close(got.L_mid[0], want["L_mid"])
    assert_close(got.L_0[0], want["L_0"])
    assert_close(got.nelbo[0], want["nelbo"])
    assert_close(neg_log_p(chain, x_0)[0], want["neg_log_p"])


ZERO_NET = {
    "linear1000": linear(1000),
    "cosine1000": cosine(1000),
    "linear100 (0.001..0.2)": linear(100, 0.001, 0.2),
    "T4": SCHEDULES["T4"],
}


def zero_chain(key: str, **choices):
    name, kind = key.split("/")
    schedule = ZERO_NET[name]
    zero = torch.zeros(schedule.T + 1, dtype=torch.float64)
    return chain_of(Affine(zero, zero), schedule, tabulated(schedule, kind), **choices)


@pytest.mark.parametrize("key", list(golden()["extra"]["zero_net"]))
def test_the_zero_network_has_its_closed_form_at_every_x_0(key: str):
    """Kills: H22 in L_T of a schedule that ends near pure noise; H10.

    A network whose last layer starts at 0 predicts eps = 0: L_{t-1} and L_0 are then numbers.
    """
    want = golden()["extra"]["zero_net"][key]
    got = terms(zero_chain(key), column(0.0, -1.0, 0.37))
    assert_close(got.L_T[0], want["L_T_at_0"])
    assert_close(got.L_mid.sum(1), [want["L_mid"]] * 3)
    assert_close(got.L_0, [want["L_0_continuous"]] * 3)


@pytest.mark.parametrize("key", list(golden()["extra"]["zero_net"]))
def test_the_zero_network_has_its_closed_form_under_the_pixel_decoder(key: str):
    """Kills: H01, H02 (approximate bins), H03 (edges by comparing numbers)."""
    want = golden()["extra"]["zero_net"][key]["L_0_disc"]
    levels = [int(level) for level, value in want.items() if value is not None]
    got = terms(zero_chain(key, decoder=Discretized(GRID)), pixel(*levels), first=trapezoid())
    assert_close(got.L_0, [want[str(level)] for level in levels])


@pytest.mark.parametrize("kind", ["small", "large", "optimal"])
@pytest.mark.parametrize("name", ["T4", "linear1000"])
def test_the_pixel_decoder_has_its_exact_discrete_likelihood(name: str, kind: str):
    """Kills: H01, H02, H03, H16 (the decoder of the loss is that of the marginal)."""
    want = [golden()["extra"]["disc"][f"{name}/{kind}/{level}"] for level in PIXELS]
    schedule = SCHEDULES["T4" if name == "T4" else "T1000"]
    chain = gaussian_chain(schedule, 0.1, 0.5, kind, decoder=Discretized(GRID))
    x_0 = pixel(*PIXELS)
    assert_close(x_0[:, 0], [case["x0"] for case in want], absolute=1e-16)
    got = terms(chain, x_0, first=trapezoid())
    mean, var = marginal(chain)
    levels = torch.tensor(PIXELS)[:, None]
    surprise = -log_mass(levels, mean.expand(levels.shape), var.log()[None], GRID)[:, 0]
    assert_close(got.L_T, [case["L_T"] for case in want])
    assert_close(got.L_mid.sum(1), [case["L_mid"] for case in want])
    assert_close(got.L_0, [case["L_0"] for case in want])
    assert_close(got.nelbo, [case["nelbo"] for case in want])
    assert_close(surprise, [case["neg_log_p"] for case in want])
    assert_close(got.nelbo - surprise, [case["gap"] for case in want], absolute=GAP)


COVARIANCE = torch.tensor([[0.25, 0.10], [0.10, 0.16]], dtype=torch.float64)
CENTRE = torch.tensor([0.1, -0.2], dtype=torch.float64)
POINT = torch.tensor([[0.4, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("kind", ["small", "large", "optimal"])
def test_correlated_data_in_their_eigenbasis_add_up(kind: str, parametrization: Linear):
    """Kills: a variance table of (steps, D) broadcast along the wrong axis; H09 (mean for sum)."""
    want = golden()["extra"]["corr2d"][kind]
    eigenvalues, basis = torch.linalg.eigh(COVARIANCE)
    schedule, k = SCHEDULES["T4"], Coefficients.of(betas_of(SCHEDULES["T4"]))
    m, s = (CENTRE @ basis).tolist(), eigenvalues.sqrt().tolist()
    pairs = [k.denoiser(*each)[parametrization.name] for each in zip(m, s, strict=True)]
    gain, offset = (
        torch.from_numpy(np.stack(tables, axis=1)) for tables in zip(*pairs, strict=True)
    )
    variance = tabulated(schedule, kind)
    if kind == "optimal":
        tables = [torch.from_numpy(k.variance("optimal", each)) for each in s]
        variance = Tabulated("optimal", torch.stack(tables, dim=1))
    chain = chain_of(Affine(gain, offset), schedule, variance, parametrization=parametrization)
    x_0 = POINT @ basis
    assert_close(terms(chain, x_0).nelbo[0], want["nelbo"])
    assert_close(neg_log_p(chain, x_0)[0], want["neg_log_p"])


@pytest.mark.parametrize("kind", ["small", "large"])
def test_an_orthogonal_change_of_basis_changes_nothing_for_an_isotropic_variance(kind: str):
    """Kills: dimensions mixed up within an example."""
    k, eye = Coefficients.of(betas_of(SCHEDULES["T4"])), torch.eye(2, dtype=torch.float64)
    gains = [
        math.sqrt(abar) * COVARIANCE @ torch.linalg.inv(abar * COVARIANCE + om * eye)
        for abar, om in zip(k.abar, k.om, strict=True)
    ]
    roots = torch.from_numpy(np.sqrt(k.abar))
    matrix = torch.stack(gains)
    offset = CENTRE - roots[:, None] * (matrix @ CENTRE)
    variance = tabulated(SCHEDULES["T4"], kind)
    chain = chain_of(Dense(matrix, offset), SCHEDULES["T4"], variance, parametrization=X_0)
    want = golden()["extra"]["corr2d"][kind]["nelbo"]
    assert_close(terms(chain, POINT).nelbo[0], want)


class MixtureMean(nn.Module):
    """E[x_0 | x_t] for the data 0.3 N(-0.6, 0.15^2) + 0.7 N(0.4, 0.25^2), told the paper's t."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.k = Coefficients.of(betas_of(schedule))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        weight, mean, sd = torch.tensor(
            [[0.3, 0.7], [-0.6, 0.4], [0.15, 0.25]], dtype=torch.float64
        )
        abar, om = (torch.from_numpy(table)[t][:, None] for table in (self.k.abar, self.k.om))
        var, miss = abar * sd.square() + om, x - abar.sqrt() * mean
        posterior = torch.softmax(weight.log() - 0.5 * (var.log() + miss.square() / var), dim=1)
        estimate = mean + abar.sqrt() * sd.square() / var * miss
        return (posterior * estimate).sum(1, keepdim=True)


@pytest.mark.parametrize("kind", ["small", "large"])
def test_a_mixture_with_its_nonlinear_denoiser_has_its_terms(kind: str):
    """Kills: anything exact for linear networks only; H15."""
    want = golden()["extra"]["gmm"][kind]
    schedule = SCHEDULES["T4"]
    network, variance = MixtureMean(schedule), tabulated(schedule, kind)
    chain = chain_of(network, schedule, variance, parametrization=X_0)
    x_0 = column(*points(want, "x0"))
    got = terms(chain, x_0, trapezoid())
    assert_close(got.L_T, points(want, "L_T"))
    assert_close(got.L_mid, points(want, "L_mid"))
    assert_close(got.L_0, points(want, "L_0"))
    assert_close(got.nelbo, points(want, "nelbo"))
    surprise = mixture_neg_log_p(chain, x_0)
    assert_close(surprise, points(want, "neg_log_p"))
    assert_close(got.nelbo - surprise, points(want, "gap"), absolute=GAP)


def mixture_neg_log_p(chain: Chain, x_0: Tensor, reach: float = 9.0, step: float = 0.05) -> Tensor:
    """-log p_theta(x_0): p(x_{t-1}) = integral of p(x_{t-1} | x_t) p(x_t), on an even grid."""
    side = round(reach / step)
    x = column(*(step * i for i in range(-side, side + 1)))
    count = len(x)
    log_p = chain.p.prior(x).log_prob(x)
    for t in range(chain.q.T, 1, -1):
        given = x.repeat(count, 1)
        kernel = chain.p.step(given, constant_time(t, given))
        score = kernel.log_prob(x.repeat_interleave(count, dim=0)).reshape(count, count)
        log_p = torch.logsumexp(score + log_p, dim=1) + math.log(step)
    score = chain.p.decoder(x.repeat(len(x_0), 1)).log_prob(x_0.repeat_interleave(count, dim=0))
    return -torch.logsumexp(score.reshape(len(x_0), count) + log_p, dim=1) - math.log(step)


@pytest.mark.parametrize("case", range(len(golden()["bins_bits"])))
def test_the_mass_of_a_bin_is_its_reference(case: int):
    """Kills: H01 (a clamped mass), H02 (tanh for the normal distribution function)."""
    want = golden()["bins_bits"][case]
    mean = column(want["mu"])
    log_var = column(2 * math.log(want["sigma"]))
    mass = log_mass(torch.tensor([[want["k"]]]), mean, log_var, GRID)
    assert_close(-mass[0, 0] / math.log(2), want["bits"], rel=1e-12)


def test_the_variance_of_an_image_s_total_is_its_reference():
    """Kills: a wrong variance of one draw, on which every interval of an evaluation rests."""
    want = golden()["intervals"]
    chain = gaussian_chain(SCHEDULES["T10"], -0.2, 0.3, "optimal")
    rule = hermite(9)
    got = terms(chain, -0.2 + 0.3 * rule.nodes)
    mean = rule.weights @ got.nelbo
    assert_close(mean, want["E"])
    assert_close(rule.weights @ (got.nelbo - mean).square(), want["between"])
    assert_close(rule.weights @ got.variance.sum(1), want["within"])


LONG = {
    "linear4000": linear(4000),
    "cosine4000": cosine(4000),
    "cosine1000": cosine(1000),
    "linear1": linear(1, 0.3, 0.3),
}


CASES = [
    (name, kind)
    for name, schedule in LONG.items()
    for kind in (VARIANCES if schedule.T > 1 else ("large_beta1", "optimal"))
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_closed_form_holds_for_other_chains_up_to_4000_steps(name: str, kind: str):
    """Kills: H22 (an error that grows with T), H05 at T = 1."""
    schedule = LONG[name]
    chain = gaussian_chain(schedule, -0.3, 0.2, kind)
    got = terms(chain, column(0.6, -0.3))
    want = [ClosedForm.of(betas_of(schedule), -0.3, 0.2, kind, x_0) for x_0 in (0.6, -0.3)]
    assert_close(got.L_T, [each.L_T for each in want])
    assert_close(got.L_0, [each.L_0 for each in want])
    assert_close(got.nelbo, [each.nelbo for each in want])
    assert bool((got.nelbo >= neg_log_p(chain, column(0.6, -0.3)) - 1e-9).all())


@pytest.mark.parametrize("output", [-1.0, -0.4, 0.0, 1.0])
def test_a_learned_variance_interpolates_logarithms(output: float):
    """Kills: H12 (interpolating variances), V_1 forgotten at t = 1.

    A constant output f gives V_t = beta_t^w beta-tilde_t^(1 - w), w = (f + 1) / 2.
    """
    schedule, m, s = SCHEDULES["T10"], -0.2, 0.3
    V_1 = first_variance(schedule, "beta_tilde_2")
    network = Constant(exact_network(schedule, m, s, EPS), output)
    chain = chain_of(network, schedule, LearnedRange(schedule, V_1))
    k, share = Coefficients.of(betas_of(schedule)), (output + 1) / 2
    low = np.concatenate([k.bt[:1], k.bt[2:3], k.bt[2:]])
    table = torch.from_numpy(k.b**share * low ** (1 - share))
    fixed = chain_of(exact_network(schedule, m, s, EPS), schedule, Tabulated("fixed", table))
    x_0 = column(0.5, -1.0)
    assert_close(terms(chain, x_0).L_mid, terms(fixed, x_0).L_mid)
    assert_close(terms(chain, x_0).L_0, terms(fixed, x_0).L_0)


@pytest.mark.parametrize(("time_input", "first"), [("t", 1), ("index", 0)])
def test_the_network_receives_each_time_once(time_input: str, first: int):
    """Kills: H15 (t off by one, or a step missing)."""
    seen = []

    class Recorder(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.extend(t.tolist())
            return torch.zeros_like(x)

    schedule = SCHEDULES["T10"]
    q = GaussianForward(schedule)
    variance, decoder = tabulated(schedule, "small"), Discretized(GRID)
    p = GaussianReverse(
        Recorder(),
        q,
        parametrization=EPS,
        variance=variance,
        decoder=decoder,
        time_input=TIME_INPUTS[time_input],
    )
    exhaustive(Chain(q, p), column(0.0), KeyedNoise.of(0, torch.arange(1)))
    assert seen == list(range(first, first + 10))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_network_may_receive_log_snr(dtype: torch.dtype):
    """Kills: log SNR of another t, of another base, or in another dtype than x_t."""
    seen = []

    class Recorder(nn.Module):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            seen.append(time)
            return torch.zeros_like(x)

    schedule = SCHEDULES["T4"]
    p = GaussianReverse(
        Recorder(),
        GaussianForward(schedule),
        parametrization=EPS,
        variance=tabulated(schedule, "small"),
        decoder=Discretized(GRID),
        time_input=TIME_INPUTS["log-snr"],
    )
    p.step(column(0.1, 0.2, 0.3, dtype=dtype), torch.tensor([2, 3, 4]))
    p.decoder(column(0.1, dtype=dtype))
    want = [math.log(a / (1 - a)) for a in Coefficients.of(betas_of(schedule)).abar[1:]]
    assert all(each.dtype == dtype for each in seen)
    assert_close(seen[0], want[1:], rel=1e-6)
    assert_close(seen[1], want[:1], rel=1e-6)


def test_a_network_of_the_wrong_width_is_refused():
    """Kills: a broadcast of one channel over three, a learned variance read from nothing (H12)."""
    schedule = SCHEDULES["T4"]
    network = exact_network(schedule, 0.0, 1.0, EPS)
    chain = chain_of(network, schedule, LearnedRange(schedule, 0.1))
    with pytest.raises(BadInput, match=r"must give 2 channels .* got \(3, 1\)"):
        chain.p.step(column(0.1, 0.2, 0.3), torch.tensor([2, 3, 4]))


def test_a_row_of_the_exhaustive_estimate_is_the_terms_in_order():
    """Kills: H11 (a term missing), H26 (L_0 and L_{t-1} swapped or mixed)."""
    chain = gaussian_chain(SCHEDULES["T10"], -0.2, 0.3, "small")
    rule = hermite(3)
    x_0 = column(0.4).repeat(3, 1)
    row = rule.weights @ exhaustive(chain, x_0, Nodes(rule.nodes))
    got = terms(chain, column(0.4))
    assert_close(row, torch.cat([got.L_0, got.L_mid[0], got.L_T]))


@pytest.mark.parametrize("seed", range(10))
def test_monte_carlo_agrees_with_the_closed_form(seed: int):
    """Kills: noise that is not standard normal, or shared between times; |z| < 4, 20 settings."""
    draw = random.Random(seed)
    for _ in range(20):
        T = draw.choice([1, 2, 3, 5, 8])
        betas = [draw.uniform(0.02, 0.7) for _ in range(T)]
        kind = draw.choice(VARIANCES if T > 1 else ("large_beta1", "optimal"))
        m, s, x = draw.uniform(-0.5, 0.5), draw.uniform(0.1, 1.0), draw.uniform(-1, 1)
        chain = gaussian_chain(from_betas(betas), m, s, kind)
        ids = torch.arange(2000)
        values = exhaustive(chain, column(x).repeat(2000, 1), KeyedNoise.of(seed, ids)).sum(1)
        want = ClosedForm.of(betas, m, s, kind, x).nelbo
        z = (float(values.mean()) - want) / (float(values.std()) / math.sqrt(len(values)))
        assert abs(z) < 4, f"z = {z} for betas {betas}, {kind}, m {m}, s {s}, x_0 {x}"


@pytest.mark.parametrize("kind", ["small", "optimal"])
def test_the_terms_of_one_pass_have_noise_of_their_own(kind: str):
    """Kills: H35 (one noise for all t): correlated terms, a variance that is not the sum.

    |z| < 4 for the correlation of each pair of terms, and for the variance of the total.
    """
    m, s, values = reference("T10", kind)
    point, count = values["points"][0], 20_000
    chain, noise = (
        gaussian_chain(SCHEDULES["T10"], m, s, kind),
        KeyedNoise.of(1, torch.arange(count)),
    )
    row = exhaustive(chain, column(point["x0"]).repeat(count, 1), noise)
    correlation = torch.corrcoef(row[:, :-1].T) - torch.eye(10, dtype=torch.float64)
    assert float(correlation.abs().max()) * math.sqrt(count) < 4
    total = row.sum(1)
    squares = (total - total.mean()).square()
    error = float(squares.std()) / math.sqrt(count)
    assert abs(float(squares.mean()) - point["var_one_sample_sum"]) < 4 * error


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    betas=st.lists(st.floats(1e-4, 0.99), min_size=1, max_size=12),
    gain=st.floats(-1.5, 1.5),
    offset=st.floats(-1, 1),
    x=st.floats(-2, 2),
)
def test_the_bound_is_a_bound_for_any_linear_network(
    betas: list[float], gain: float, offset: float, x: float
):
    """Kills: H08, H10, H11: NELBO >= -log p_theta(x_0) for every network, good or bad."""
    schedule = from_betas(betas)
    tables = (torch.full((len(betas) + 1,), value, dtype=torch.float64) for value in (gain, offset))
    chain = chain_of(
        Affine(*tables), schedule, tabulated(schedule, "large_beta1"), parametrization=X_0
    )
    x_0 = column(x)
    nelbo, surprise = terms(chain, x_0).nelbo, neg_log_p(chain, x_0)
    assert float(nelbo) >= float(surprise) - 1e-9 * (1 + abs(float(surprise)))


@pytest.mark.parametrize("count", [4, 10, 50])
@every_variance
def test_a_chain_of_kept_steps_is_a_chain_of_its_own(kind: str, count: int):
    """Kills: H14 (one-step terms of the long chain summed over the kept steps), H15.

    The network is the long chain's, told the long chain's t: it is exact because the marginals
    are the same.
    """
    whole, m, s = SCHEDULES["T1000"], 0.1, 0.5
    steps = [1000 * i // count for i in range(1, count + 1)]
    part = whole.subchain(steps)
    chain = chain_of(exact_network(whole, m, s, EPS), part, tabulated(part, kind, s))
    got = terms(chain, column(-0.7, 1.0))
    abar = np.exp(np.cumsum(np.log1p(-np.array([0.0, *betas_of(whole)]))))
    kept = abar[[0, *steps]]
    betas = [float(beta) for beta in 1 - kept[1:] / kept[:-1]]
    want = [ClosedForm.of(betas, m, s, kind, x_0) for x_0 in (-0.7, 1.0)]
    assert_close(got.L_T, [each.L_T for each in want])
    assert_close(got.L_mid, np.stack([each.L_mid for each in want]))
    assert_close(got.L_0, [each.L_0 for each in want])
    assert bool((got.nelbo >= neg_log_p(chain, column(-0.7, 1.0))).all())
