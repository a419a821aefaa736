"""Exact values of every line on linear-Gaussian chains, and a decoder that is computed wrongly."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from truth import (
    SCHEDULES,
    VARIANCES,
    Affine,
    Dense,
    assert_close,
    chain_of,
    column,
    gaussian_chain,
    golden,
    hermite,
    neg_log_p,
    terms,
)

from nelbo.bound.noise import KeyedNoise
from nelbo.derivation import FALSE_LINES, LINES, Status, factors, sampled
from nelbo.errors import BadInput
from nelbo.gaussian.affine import affine_valuation
from nelbo.gaussian.decoder import Discretized, DiscretizedGaussian
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.mistakes import CLAMPED, clamped_log_prob
from nelbo.gaussian.parametrization import X_0
from nelbo.gaussian.schedule import from_betas
from nelbo.gaussian.variance import Tabulated
from nelbo.types import Grid

torch.set_num_threads(1)

# A gap is a difference of values of size up to 10, and so is the reference's.
GAP = 4e-15


def law(mean, deviation, like):
    return Gaussian(torch.full_like(like, mean), torch.full_like(like, 2 * math.log(deviation)))


def value(case, kind, x_0):
    reference = golden()["gaussian"][case]
    x = column(x_0)
    chain = gaussian_chain(SCHEDULES[case], reference["m"], reference["s"], kind)
    return affine_valuation(chain, x, law(reference["m"], reference["s"], x))


@pytest.mark.parametrize("kind", VARIANCES)
@pytest.mark.parametrize("case", SCHEDULES)
def test_every_line_has_its_value_of_the_reference(case, kind):
    """Kills: a moment of the joint law of neighbours, a factor's residual, an index of a table."""
    for point in golden()["gaussian"][case]["ref"][kind]["points"]:
        v = value(case, kind, point["x0"])
        assert v.holds
        for label in ("(1)", "(2)", "(3)"):
            assert_close(v[label].value, point["neg_log_p"])
        for row in v.rows[3:]:
            assert_close(row.value, point["nelbo"])
        assert_close(v.L_T, point["L_T"])
        assert_close(v.L_0, point["L_0"])
        assert_close(sum(v.L_mid), point["L_mid_sum"])
        if "L_mid" in point:
            assert_close(v.L_mid, point["L_mid"])
        assert_close(v.gap, point["gap"], absolute=4 * GAP)
        assert_close(v.gap_kl, point["gap"], absolute=GAP)
        assert_close(v.variances.independent, point["var_one_sample_sum"])


@pytest.mark.parametrize("kind", VARIANCES)
def test_each_transition_of_a_thousand_is_its_quadrature(kind):
    """Kills: L_{t-1} shifted by one t at T = 1000."""
    reference = golden()["gaussian"]["T1000"]
    chain = gaussian_chain(SCHEDULES["T1000"], reference["m"], reference["s"], kind)
    quadrature = terms(chain, column(-0.7), hermite())
    v = value("T1000", kind, -0.7)
    assert_close(v.L_mid, quadrature.L_mid[0], rel=1e-10)
    variances = quadrature.variance[0]
    assert_close(v.variances.independent, variances.sum())
    mean = torch.cat([quadrature.L_0, quadrature.L_mid[0]])
    one_time = 1000 * (variances + mean.square()).sum() - mean.sum().square()
    assert_close(v.variances.one_time, one_time)


def random_chain(generator, T, dims):
    """An affine chain that fits no data."""

    def uniform(low, high, *shape):
        draw = torch.rand(shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * draw

    schedule = from_betas(uniform(0.02, 0.7, T).tolist())
    network = Affine(uniform(-0.5, 0.9, T + 1, dims), uniform(-0.5, 0.5, T + 1, dims))
    table = uniform(0.05, 1.0, T + 1, dims)
    chain = chain_of(network, schedule, Tabulated("random", table), parametrization=X_0)
    return chain, uniform(-1.5, 1.5, 1, dims)


@pytest.mark.parametrize("T", [2, 3, 5, 9])
def test_on_random_affine_chains_true_lines_agree_and_false_ones_do_not(T):
    """240 chains. Kills: a line right only for the exact denoiser; a gap below 0."""
    generator = torch.Generator().manual_seed(T)
    for number in range(60):
        chain, x_0 = random_chain(generator, T, 1 + number % 3)
        v = affine_valuation(chain, x_0, law(0.3, 0.8, x_0))
        values = [row.value for row in v.rows[3:]]
        assert v.holds
        assert max(values) - min(values) <= 1e-11 * max(1, abs(values[0]))
        assert v["(4)"].value >= v["(2)"].value
        assert abs(v.gap - v.gap_kl) <= 1e-11 * max(1, v.gap)
        assert all(abs(row.difference) > 1e-9 for row in v.false)


def test_dimensions_add_up():
    """Kills: a variance, a KL or a determinant of the wrong dimension."""
    chain, x_0 = random_chain(torch.Generator().manual_seed(0), 4, 3)
    whole = affine_valuation(chain, x_0, law(0.3, 0.8, x_0))
    network, table = chain.p.network, chain.p.variance.table
    parts = []
    for d in range(3):
        one = chain_of(
            Affine(network.gain[:, d, None], network.offset[:, d, None]),
            chain.q.schedule,
            Tabulated("random", table[:, d, None]),
            parametrization=X_0,
        )
        x = x_0[:, d, None]
        parts.append(affine_valuation(one, x, law(0.3, 0.8, x)))
    for row in (*whole.rows, *whole.false):
        assert_close(row.value, sum(part[row.line.label].value for part in parts), rel=1e-12)
    for name in ("path", "shared", "independent"):
        want = sum(getattr(part.variances, name) for part in parts)
        assert_close(getattr(whole.variances, name), want, rel=1e-11)
    assert_close(neg_log_p(chain, x_0)[0], whole["(2)"].value, rel=1e-12)


def test_the_expected_factors_are_means_over_paths():
    """Kills: an expected factor, or a variance, that only its own line would show."""
    chain, x_0 = random_chain(torch.Generator().manual_seed(5), 3, 2)
    count = 200_000
    rows = x_0.expand(count, -1)
    path = chain.q.path(rows, KeyedNoise.of(1, torch.arange(count)))
    data = 0.3 + 0.8 * torch.randn(1, 2, generator=torch.Generator().manual_seed(2)).double()
    f = factors(chain, path, data, rows=10**6)
    v = affine_valuation(chain, x_0, law(0.3, 0.8, x_0))
    by_label = {line.label: line for line in (*LINES, *FALSE_LINES)}
    for label in ("(7)", "D6", "D10", "D11", "F3", "F5"):
        values = by_label[label].inside(f)
        z = (values.mean() - v[label].value) / (values.std() / count**0.5)
        assert abs(z) < 4, label
    for label, name in (("D10", "path"), ("D11", "shared")):
        assert float(by_label[label].inside(f).var()) == pytest.approx(
            getattr(v.variances, name), rel=0.03
        )


def test_the_false_lines_about_the_data_are_integrals_over_it():
    """Kills: q(x_t) with the spread of q(x_t | x_0) alone; Bayes' rule without a prior."""
    m, s, x_0 = 0.1, 0.5, column(-0.7)
    chain = gaussian_chain(SCHEDULES["T4"], m, s, "small")
    v = affine_valuation(chain, x_0, law(m, s, x_0))
    q, rule = chain.q.schedule, hermite(7)

    def moments(t):
        a, n = float(q.alpha_bar[t]), float(q.one_minus_alpha_bar[t])
        return math.sqrt(a), n, math.sqrt(a) * -0.7 + math.sqrt(n) * rule.nodes[:, 0].numpy()

    def mean(values):
        return float((rule.weights.numpy() * values).sum())

    def ratio(t):
        a, n, x = moments(t)
        own = -0.5 * ((x + 0.7 * a) ** 2 / n + math.log(n))
        spread = a * a * s * s + n
        return mean(own + 0.5 * ((x - a * m) ** 2 / spread + math.log(spread)))

    assert_close(v["F1"].difference, ratio(4) - ratio(1), rel=1e-12)
    assert_close(v["F2"].difference, ratio(1) - ratio(4), rel=1e-12)
    a, n, x = moments(1)
    var = 1 / (1 / s**2 + a * a / n)
    posterior = var * (m / s**2 + a * x / n)
    decoder = chain.p.decoder(torch.from_numpy(x)[:, None])
    V = float(decoder.log_var.flatten()[0].exp())
    gap = (posterior - decoder.mean[:, 0].numpy()) ** 2
    first = mean(0.5 * (var / V - 1 - math.log(var / V) + gap / V))
    assert_close(v["F4"].value, v["D11"].value - v.L_0 + first, rel=1e-12)


def test_a_chain_that_is_not_affine_is_refused():
    """Kills: a chain with clipping or mixed dimensions valued as if it had none."""
    schedule, x_0 = SCHEDULES["T4"], torch.zeros(1, 2, dtype=torch.float64)
    variance = Tabulated("flat", torch.full((5,), 0.3, dtype=torch.float64))
    data = law(0, 1, x_0)

    class Curved(nn.Module):
        def forward(self, x, t):
            return x.square()

    mixing = Dense(
        torch.tensor([[0.5, 0.2], [0.1, 0.4]]).double().repeat(5, 1, 1), x_0.repeat(5, 1)
    )
    for network in (Curved(), mixing):
        with pytest.raises(BadInput, match="not affine"):
            affine_valuation(chain_of(network, schedule, variance, parametrization=X_0), x_0, data)
    plain = Affine(torch.full((5,), 0.5).double(), torch.zeros(5).double())
    rounded = chain_of(
        plain, schedule, variance, parametrization=X_0, decoder=Discretized(Grid(256))
    )
    with pytest.raises(BadInput, match="density"):
        affine_valuation(rounded, x_0, data)


def test_swapped_arguments_agree_where_the_variances_are_equal():
    """Kills: a false line called false where it happens to be right."""
    v = value("T1000", "small", 0.1)
    assert v["F3"].status is Status.AGREES
    assert "agrees here" in v["F3"].verdict
    assert v["F5"].status is Status.FALSE
    assert v["F5"].verdict.startswith("false, though hardly")


def test_the_clamped_decoder_is_near_in_the_middle_and_wrong_in_the_tails():
    """Kills: the clamp left out, an edge bin closed."""
    grid, levels = Grid(256), torch.arange(256)[:, None]
    x = grid.values(levels, torch.float64)
    decoder = DiscretizedGaussian(torch.zeros_like(x), torch.full_like(x, 2 * math.log(0.1)), grid)
    exact, clamped = decoder.log_prob(x), clamped_log_prob(decoder, x)
    middle = slice(100, 156)
    assert float((exact - clamped)[middle].abs().max()) < 0.01
    assert float(clamped.min()) == pytest.approx(math.log(1e-12))
    assert float(exact.min()) < -45
    z = math.sqrt(2 / math.pi)
    upper, lower = ((0.5 + side) * grid.spacing / 0.1 for side in (0.5, -0.5))
    tanh = [0.5 * (1 + math.tanh(z * (u + 0.044715 * u**3))) for u in (upper, lower)]
    assert float(clamped[128]) == pytest.approx(math.log(tanh[0] - tanh[1]), rel=1e-9)
    wide = DiscretizedGaussian(torch.zeros_like(x), torch.full_like(x, 4.0), grid)
    masses = clamped_log_prob(wide, x).exp()
    assert float(masses.sum()) == pytest.approx(1, abs=1e-9)  # the open ends take the rest
    assert clamped_log_prob(Gaussian(x, x), x) is None


def test_the_clamped_decoder_is_a_false_line_of_chains_that_have_one():
    grid = Grid(17)
    variance = Tabulated("narrow", torch.full((5,), 0.02, dtype=torch.float64))
    plain = Affine(torch.full((5,), 0.3).double(), torch.zeros(5).double())
    x_0, noise = (
        grid.values(torch.tensor([[3], [14]]), torch.float64),
        KeyedNoise.of(0, torch.arange(2)),
    )
    rounded = chain_of(
        plain, SCHEDULES["T4"], variance, parametrization=X_0, decoder=Discretized(grid)
    )
    v = sampled(rounded, x_0, noise, 256, mistakes=[CLAMPED])
    assert v.holds
    assert v["F6"].status is Status.FALSE
    density = chain_of(plain, SCHEDULES["T4"], variance, parametrization=X_0)
    v = sampled(density, x_0, noise, 16, mistakes=[CLAMPED])
    assert [row.line.label for row in v.false] == ["F1", "F2", "F3", "F4", "F5"]


def test_a_network_is_evaluated_in_the_dtype_of_its_weights():
    """Kills: float64 states given to a float32 network; an output that is left in float32."""
    seen = []

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.4))

        def forward(self, x, t):
            seen.append(x.dtype)
            return self.weight * x

    variance = Tabulated("flat", torch.full((5,), 0.3, dtype=torch.float64))
    chain = chain_of(Small(), SCHEDULES["T4"], variance, parametrization=X_0)
    x_0 = torch.tensor([[0.3], [-0.9]], dtype=torch.float64)
    with torch.no_grad():
        step = chain.p.step(x_0, torch.tensor([2, 3]))
        v = sampled(chain, x_0, KeyedNoise.of(0, torch.arange(2)), 64)
        single = sampled(chain, x_0.float(), KeyedNoise.of(0, torch.arange(2)), 64)
    assert set(seen) == {torch.float32}
    assert step.mean.dtype is torch.float64
    assert v.holds
    assert v.spread.relative <= 1e-13
    assert single.holds
    assert single.spread.relative <= 1e-6
    assert np.isclose(single["D10"].value, v["D10"].value, rtol=1e-5)
