"""p_theta(x_0 | x_1): masses of bins to the last digit, samples that follow them, and levels.

Every mass is compared with 50-digit mpmath at the float inputs as given. "Relative" is of the
logarithm, the length of the code, from 1e-230 to 1e5 bits.
"""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import Tensor, nn
from truth import Nodes, Rule, assert_close, column, terms

from nelbo.bound.chain import Chain
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import (
    Density,
    Discretized,
    DiscretizedGaussian,
    LevelMasses,
    LevelPosterior,
    Prediction,
    log_mass,
)
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.parametrization import EPS, Levels
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import from_betas, linear, log_snr_linear
from nelbo.gaussian.variance import small
from nelbo.types import Grid

RANGES = [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (100.0, 101.0), (-3.7, 0.2)]
BITS = range(1, 17)

every_range = pytest.mark.parametrize(("lo", "hi"), RANGES)


def exact_log_mass(level: int, mean: float | mpf, log_var: float | mpf, grid: Grid) -> mpf:
    """log(Phi(b) - Phi(a)) at 50 digits and more, where a and b need it."""
    lo, spacing = mpf(grid.lo), (mpf(grid.hi) - mpf(grid.lo)) / (grid.n - 1)
    deviation = mp.exp(mpf(log_var) / 2)
    a, b = (
        (lo + (level + side) * spacing - mpf(mean)) / deviation / mp.sqrt(2)
        for side in (-mpf(1) / 2, mpf(1) / 2)
    )
    left = mpf(0) if level == 0 else mp.erfc(-a) / 2
    right = mpf(0) if level == grid.n - 1 else mp.erfc(b) / 2
    if left + right < 0.5:
        return mp.log1p(-left - right)
    if a > 0:  # mirrored: both ends in the left tail
        a, b = -b, -a
        left, right = right, left
    high = mpf(1) if right == 0 else mp.erfc(-b) / 2
    return mp.log(high - left)


def cases(bits: int, dtype: torch.dtype, count: int = 40) -> tuple[Grid, Tensor, Tensor, Tensor]:
    """Levels, means and log-variances: at, near and far from a bin, narrow and wide."""
    draw = random.Random(bits)
    grid = Grid(2**bits, *draw.choice(RANGES))
    rows = []
    for _ in range(count):
        deviation = 10 ** draw.uniform(-4.5, 0.5) * (grid.hi - grid.lo)
        level = draw.choice([0, grid.n - 1, draw.randrange(grid.n), draw.randrange(grid.n)])
        centre = grid.lo + level * grid.spacing
        near = centre + draw.choice([0, 0.5, 1, 8]) * draw.gauss(0, 1) * deviation
        mean = draw.choice([centre, near, near, draw.uniform(grid.lo, grid.hi)])
        rows.append((level, mean, 2 * math.log(deviation)))
    levels, means, log_vars = zip(*rows, strict=True)
    return (
        grid,
        torch.tensor(levels)[:, None],
        column(*means, dtype=dtype),
        column(*log_vars, dtype=dtype),
    )


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("bits", BITS)
def test_a_mass_keeps_its_digits_from_0_to_100000_bits(bits: int, dtype: torch.dtype, rel: float):
    """Kills: H01 (clamp), H02 (tanh), H03 (8-bit edges), edges subtracted in float32."""
    grid, level, mean, log_var = cases(bits, dtype)
    got = log_mass(level, mean, log_var, grid).double()
    assert got.dtype == torch.float64
    compared = 0
    with mp.workdps(50):
        for k, m, v, value in zip(level, mean, log_var, got, strict=True):
            want = exact_log_mass(int(k), float(m), float(v), grid)
            # Below float32's smallest number a mass of nearly 1 has no logarithm but 0.
            if -1e5 * math.log(2) < want < -1e-37:
                compared += 1
                assert abs(float(value) - want) <= rel * abs(want), (k, m, v, float(value), want)
    assert compared >= 10


@every_range
@pytest.mark.parametrize("bits", BITS)
def test_the_masses_of_a_grid_add_up_to_1(bits: int, lo: float, hi: float):
    """Kills: H03 (closed ends or fixed thresholds), H04 (a grid other than [-1, 1])."""
    grid = Grid(2**bits, lo, hi)
    levels = torch.arange(grid.n)[None]
    for where, width in ((0.3, 0.1), (0.0, 1e-3), (1.4, 3.0), (0.5, 2e-5)):
        mean = torch.full(levels.shape, lo + where * (hi - lo), dtype=torch.float64)
        log_var = column(2 * math.log(width * (hi - lo)))
        mass = log_mass(levels, mean, log_var, grid).exp()
        assert abs(float(mass.sum()) - 1) <= 1e-12


def test_the_end_bins_are_open_because_of_their_level():
    """Kills: H03 (an end decided by comparing x with +-0.999)."""
    for n in (2, 256, 65536):
        grid = Grid(n)
        ends = torch.tensor([[0], [n - 1]])
        beyond = log_mass(ends, column(-50.0, 50.0), column(0.0, 0.0), grid)
        assert_close(beyond, column(0.0, 0.0), absolute=1e-300)
        second = log_mass(torch.tensor([[min(1, n - 2)]]), column(-50.0), column(0.0), grid)
        assert n == 2 or float(second) < -1000


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_does_not_vanish_at_40_deviations(dtype: torch.dtype):
    """Kills: H01 (the gradient of a clamp is 0)."""
    grid = Grid(256)
    mean = column(1.0 - 40 * 0.01, 1.0 - 40 * 0.01, -0.5 + 40 * 0.01, dtype=dtype)
    log_var = column(*[2 * math.log(0.01)] * 3, dtype=dtype)
    mean.requires_grad_()
    log_var.requires_grad_()
    mass = log_mass(torch.tensor([[255], [254], [64]]), mean, log_var, grid)
    mass.sum().backward()
    # About (x - mean) / variance, towards the level.
    assert float(mean.grad[0]) > 3000
    assert float(mean.grad[1]) > 3000
    assert float(mean.grad[2]) < -3000
    assert bool((log_var.grad > 100).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sigma", [1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])
def test_gradients_are_finite_at_every_level_and_width(sigma: float, dtype: torch.dtype):
    """Kills: H26 (NaN or inf through the branch of where that is not taken)."""
    grid = Grid(256)
    means = torch.tensor([-1.5, -1.0, -0.3, 0.0, grid.spacing / 2, 0.7, 1.0, 1.5], dtype=dtype)
    mean = means[:, None].repeat(1, 256).requires_grad_()
    log_var = torch.full((8, 1), 2 * math.log(sigma), dtype=dtype, requires_grad=True)
    mass = log_mass(torch.arange(256).repeat(8, 1), mean, log_var, grid)
    mass.sum().backward()
    assert bool(mass.isfinite().all())
    assert bool(mean.grad.isfinite().all())
    assert bool(log_var.grad.isfinite().all())
    assert bool((mass <= 0).all())


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
@pytest.mark.parametrize("level", [0, 1, 100, 255])
@pytest.mark.parametrize("deviations", [1.0, 40.0, 1e3, 1e5, 1e7, 1e9])
def test_the_gradient_keeps_its_digits_at_any_distance(
    deviations: float, level: int, dtype: torch.dtype, rel: float
):
    """Kills: torch's log_ndtr, whose gradient is off by 3% at 1e3 in float32, by all at 1e9."""
    grid = Grid(256)
    mean = column(-0.2, dtype=dtype).requires_grad_()
    deviation = abs(-0.8 + 2 * level / 255) / deviations
    log_var = column(2 * math.log(deviation), dtype=dtype).requires_grad_()
    log_mass(torch.tensor([[level]]), mean, log_var, grid).backward()
    with mp.workdps(50):
        mu, v = mpf(mean.item()), mpf(log_var.item())
        step = mp.exp(v / 2) / 10**12
        by_mean = mp.diff(lambda m: exact_log_mass(level, m, v, grid), mu, h=step)
        by_log_var = mp.diff(lambda w: exact_log_mass(level, mu, w, grid), v, h=mpf(10) ** -15)
        assert abs(mean.grad.item() - by_mean) <= rel * abs(by_mean)
        assert abs(log_var.grad.item() - by_log_var) <= rel * abs(by_log_var)


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.1, 1.0, 10.0])
def test_the_gradient_is_the_derivative(sigma: float):
    """Kills: a mirrored bin whose gradient keeps its sign, a detached part."""
    grid = Grid(256)
    level, step = torch.tensor([[0], [3], [128], [128], [250], [255]]), 1e-6 * sigma
    # The outer three stay within the range where finite differences keep their digits.
    mean = grid.values(level, torch.float64) + sigma * column(0.5, -1.2, 0.3, 2.5, 1.2, -0.5)
    log_var = torch.full_like(mean, 2 * math.log(sigma))
    mean.requires_grad_()
    log_var.requires_grad_()
    log_mass(level, mean, log_var, grid).sum().backward()
    with torch.no_grad():
        up = log_mass(level, mean + step, log_var, grid)
        down = log_mass(level, mean - step, log_var, grid)
        wide = log_mass(level, mean, log_var + 1e-6, grid)
        thin = log_mass(level, mean, log_var - 1e-6, grid)
    scale = 1 + ((up - down) / (2 * step)).abs().max()
    assert_close(mean.grad, (up - down) / (2 * step), rel=1e-6, absolute=float(scale) * 1e-8)
    assert_close(log_var.grad, (wide - thin) / 2e-6, rel=1e-6, absolute=1e-7)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    bits=st.integers(1, 16),
    mean=st.floats(-1e3, 1e3),
    log_var=st.floats(-46, 20),
    share=st.floats(0, 1),
)
def test_a_mass_is_a_logarithm_of_a_probability(
    bits: int, mean: float, log_var: float, share: float
):
    """Kills: NaN, +inf or a positive log mass for any network output."""
    grid = Grid(2**bits)
    level = torch.tensor([[round(share * (grid.n - 1))]])
    mean, log_var = column(mean).requires_grad_(), column(log_var).requires_grad_()
    mass = log_mass(level, mean, log_var, grid)
    mass.backward()
    assert -math.inf < mass.item() <= 0
    assert math.isfinite(float(mean.grad))
    assert math.isfinite(float(log_var.grad))


def test_an_absurd_mean_is_a_large_loss_and_not_nan():
    """Kills: a difference of logarithms that rounds to 0 far from the data."""
    for far in (1e8, 1e12, -1e12):
        mean = column(far).requires_grad_()
        mass = log_mass(torch.tensor([[77]]), mean, column(-2.0), Grid(65536))
        mass.backward()
        assert_close(mass, -0.5 * far**2 * math.exp(2.0) * torch.ones(1, 1), rel=1e-6)
        assert math.isfinite(float(mean.grad))


def test_one_log_variance_serves_an_image():
    """Kills: a broadcast of log_var against the wrong axis."""
    grid = Grid(16)
    levels = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4) % 16
    mean = grid.values(levels, torch.float64) + 0.05
    log_var = torch.tensor([-3.0, -5.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    whole = DiscretizedGaussian(mean, log_var, grid).log_prob(grid.values(levels, torch.float64))
    full = log_mass(levels, mean, log_var.expand(mean.shape).contiguous(), grid)
    assert whole.shape == (2,)
    assert_close(whole, full.flatten(1).sum(1), rel=1e-14)


@every_range
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_levels_of_values_are_the_levels(lo: float, hi: float, dtype: torch.dtype):
    """Kills: H04 (levels read off another range), a level lost in float32."""
    for bits in (1, 8, 12):
        grid = Grid(2**bits, lo, hi)
        levels = torch.arange(grid.n)
        assert torch.equal(grid.levels(grid.values(levels, dtype)), levels)


def frequencies(samples: Tensor, grid: Grid) -> Tensor:
    return torch.bincount(grid.levels(samples).flatten(), minlength=grid.n).double()


def assert_frequencies(counts: Tensor, mass: Tensor):
    """|z| < 4 for each level that is expected 5 times, and for the rest together."""
    total = float(counts.sum())
    often = mass * total >= 5
    counts = torch.cat([counts[often], counts[~often].sum()[None]])
    mass = torch.cat([mass[often], mass[~often].sum()[None]])
    seen = mass * total > 1
    deviation = (total * mass * (1 - mass)).sqrt()
    assert float(((counts - total * mass) / deviation)[seen].abs().max()) < 4


@pytest.mark.parametrize(("mean", "sigma"), [(0.1, 0.3), (-0.9, 0.5), (0.99, 0.02), (3.0, 1.0)])
def test_samples_of_the_discretised_gaussian_have_its_masses(mean: float, sigma: float):
    """Kills: H16 (sampler and likelihood of two models), H18 (a noiseless last step)."""
    grid, count = Grid(32), 100_000
    decoder = DiscretizedGaussian(
        column(*[mean] * count), torch.full((1, 1), 2 * math.log(sigma), dtype=torch.float64), grid
    )
    samples = decoder.sample(KeyedNoise.of(3, torch.arange(count)))
    assert samples.shape == (count, 1)
    levels = torch.arange(32)[:, None]
    log_var = torch.full((32, 1), 2 * math.log(sigma), dtype=torch.float64)
    mass = log_mass(levels, column(*[mean] * 32), log_var, grid).exp()[:, 0]
    assert_frequencies(frequencies(samples, grid), mass)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_samples_of_level_masses_have_those_masses(dtype: torch.dtype):
    """Kills: an inverse distribution function that is off by one level."""
    grid, count = Grid(6), 100_000
    mass = torch.tensor([0.05, 0.4, 0.0, 0.25, 0.299, 0.001], dtype=torch.float64)
    log_masses = mass.log().to(dtype).reshape(1, 1, 6).repeat(count, 2, 1)
    samples = LevelMasses(log_masses, grid).sample(KeyedNoise.of(4, torch.arange(count)))
    assert samples.shape == (count, 2)
    assert samples.dtype == dtype
    for channel in (0, 1):
        counts = frequencies(samples[:, channel], grid)
        assert float(counts[2]) == 0
        assert_frequencies(counts, mass)
    levels = grid.levels(samples)
    same = float((levels[:, 0] == levels[:, 1]).double().mean())
    expected = float(mass.square().sum())
    assert abs(same - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


def test_the_likelihood_of_level_masses_is_theirs():
    """Kills: a gather along the wrong axis, dimensions averaged in place of summed (H09)."""
    grid = Grid(5, 0.0, 4.0)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 2, 5, 4, 4, generator=generator, dtype=torch.float64)
    log_masses = torch.log_softmax(scores, dim=2)
    levels = torch.randint(0, 5, (3, 2, 4, 4), generator=generator)
    got = LevelMasses(log_masses, grid).log_prob(grid.values(levels, torch.float64))
    for b in range(3):
        want = sum(
            float(log_masses[b, c, levels[b, c, i, j], i, j])
            for c in range(2)
            for i in range(4)
            for j in range(4)
        )
        assert_close(got[b], want, rel=1e-13)


class Uniforms(Nodes):
    """Noise with these uniforms."""

    def uniform(self, like: Tensor) -> Tensor:
        return self.nodes.reshape(like.shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rare", [0, 1, 2])
def test_an_event_of_probability_1e_9_is_reached_where_it_lies(rare: int, dtype: torch.dtype):
    """Kills: H29 (draws too coarse to reach the tail).

    The uniforms on either side of its interval choose its neighbours, those inside choose it.
    """
    mass = torch.full((3,), 0.5, dtype=torch.float64)
    mass[rare] = 1e-9
    mass = mass / mass.sum()
    log_masses = mass.log().to(dtype)
    cumulative = log_masses.double().exp().cumsum(0)
    total, end = float(cumulative[-1]), float(cumulative[rare])
    start = float(cumulative[rare - 1]) if rare else 0.0
    inside = [start + share * (end - start) for share in (0.001, 0.5, 0.999)]
    outside = [start * (1 - 1e-12), end * (1 + 1e-12)]
    uniforms = torch.tensor([*inside, *outside], dtype=torch.float64) / total
    grid = Grid(3)
    decoder = LevelMasses(log_masses.repeat(5, 1, 1).reshape(5, 1, 3), grid)
    levels = grid.levels(decoder.sample(Uniforms(uniforms)))[:, 0].tolist()
    assert levels[:3] == [rare] * 3
    assert levels[3] == max(rare - 1, 0)
    assert levels[4] == min(rare + 1, 2)


def test_a_density_is_in_nats_and_is_the_gaussian():
    """Kills: H06 (bits or bins for continuous data), V_1 read as a deviation (H43)."""
    prediction = Prediction(column(0.2), column(math.log(0.04)))
    decoder = Density()(prediction)
    assert isinstance(decoder, Gaussian)
    want = 0.5 * math.log(2 * math.pi * 0.04) + (0.5 - 0.2) ** 2 / (2 * 0.04)
    assert_close(-decoder.log_prob(column(0.5))[0], want, rel=1e-14)


def test_each_decoder_names_itself():
    """Kills: a report that cannot tell the decoders apart (C11)."""
    grid = Grid(4)
    names = [Density().name, Discretized(grid).name, LevelPosterior(grid).name]
    assert len(set(names)) == 3


def test_the_levels_decoder_needs_levels():
    """Kills: a decoder that makes up masses."""
    grid = Grid(4)
    with pytest.raises(BadInput, match="needs the levels parametrization"):
        LevelPosterior(grid)(Prediction(column(0.2), column(-2.0)))
    schedule = linear(3)
    with pytest.raises(BadInput, match="needs the levels parametrization"):
        levels_chain(nn.Identity(), schedule, grid, parametrization=EPS)


def levels_chain(network: nn.Module, schedule, grid: Grid, parametrization=None) -> Chain:
    q = GaussianForward(schedule)
    p = GaussianReverse(
        network,
        q,
        parametrization=parametrization or Levels(grid),
        variance=small(schedule, "beta_1"),
        decoder=LevelPosterior(grid),
        time_input=TIME_INPUTS["t"],
    )
    return Chain(q, p)


class Prior(nn.Module):
    """The same logits for every x_t: the true prior of independent data."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shape = (1, x.shape[1] * len(self.logits), *(1,) * (x.ndim - 2))
        logits = self.logits.repeat(x.shape[1]).reshape(shape)
        return logits.expand(len(x), -1, *x.shape[2:]).to(x.dtype)


PRIOR = torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)
FOUR = Grid(4)


@pytest.mark.parametrize("t", [1, 2, 3])
def test_the_posterior_over_levels_is_bayes_by_hand(t: int):
    """Kills: a likelihood without its 1/2, a prior left out, alpha_bar for its root."""
    schedule, x = from_betas([0.2, 0.3, 0.6]), 0.37
    logits = torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64)
    levels = Levels(FOUR)
    posterior = levels.log_posterior(logits[None], column(x), torch.tensor([t]), schedule)
    assert posterior.shape == (1, 1, 4)
    a, var = float(schedule.alpha_bar[t]), float(schedule.one_minus_alpha_bar[t])
    values = [-1 + 2 * k / 3 for k in range(4)]
    weights = [
        math.exp(float(logit)) * math.exp(-((x - math.sqrt(a) * v) ** 2) / (2 * var))
        for logit, v in zip(logits, values, strict=True)
    ]
    want = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    assert_close(posterior[0, 0].exp(), want, rel=1e-13)
    mean = levels.x_0(logits[None], column(x), torch.tensor([t]), schedule)
    assert_close(
        mean[0, 0], sum(float(w) * v for w, v in zip(want, values, strict=True)), rel=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_levels_of_an_image_are_read_channel_by_channel(dtype: torch.dtype):
    """Kills: channels and levels swapped in (B, C n, H, W)."""
    schedule, levels, t = from_betas([0.2, 0.3]), Levels(FOUR), torch.tensor([1, 2])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 2, 2, generator=generator).to(dtype)
    output = torch.randn(2, 12, 2, 2, generator=generator).to(dtype)
    whole = levels.log_posterior(output, x, t, schedule)
    assert whole.shape == (2, 3, 4, 2, 2)
    for c in range(3):
        part = output[:, 4 * c : 4 * c + 4]
        one = levels.log_posterior(part, x[:, c : c + 1], t, schedule)
        assert torch.equal(one[:, 0], whole[:, c])
    assert_close(whole.exp().sum(2), torch.ones(2, 3, 2, 2), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_at_a_high_signal_the_lattice_is_known_whatever_the_network_says(dtype: torch.dtype):
    """Kills: x0-hat from the logits alone, overflow of the likelihood at high SNR."""
    schedule, levels = log_snr_linear(10, first=14.0), Levels(FOUR)
    x_0 = FOUR.values(torch.arange(4)[:, None], dtype)
    x_1 = x_0 * float(schedule.alpha_bar[1].sqrt())
    logits = torch.tensor([[5.0, -3.0, 0.0, 2.0]], dtype=dtype).repeat(4, 1)
    t = torch.ones(4, dtype=torch.int64)
    posterior = levels.log_posterior(logits, x_1, t, schedule)
    assert torch.equal(posterior[:, 0].argmax(1), torch.arange(4))
    assert float(posterior[:, 0].diagonal().abs().max()) == 0
    assert torch.equal(levels.x_0(logits, x_1, t, schedule), x_0)


def lattice_nelbo(T: int) -> float:
    """E over independent data from PRIOR of the bound of the model that knows PRIOR."""
    chain = levels_chain(Prior(PRIOR.log()), log_snr_linear(T), FOUR)
    step = 0.1
    nodes = torch.arange(-80, 81, dtype=torch.float64) * step
    weights = torch.exp(-0.5 * nodes.square())
    rule = Rule(nodes[:, None], weights / weights.sum())
    x_0 = FOUR.values(torch.arange(4)[:, None], torch.float64)
    got = terms(chain, x_0, rule)
    return float(PRIOR @ (got.nelbo - got.L_T))


def test_knowing_the_prior_the_bound_falls_to_the_entropy_as_steps_grow():
    """Kills: a posterior over levels that is not Bayes's, L_0 or a KL counted twice or left out.

    The excess of a chain whose denoiser is exact falls as 1 / T.
    """
    entropy = -float(PRIOR @ PRIOR.log())
    excess = {T: lattice_nelbo(T) - entropy for T in (20, 80, 320, 1280)}
    assert all(value > 0 for value in excess.values())
    assert list(excess.values()) == sorted(excess.values(), reverse=True)
    assert excess[1280] < 0.01
    assert abs(excess[320] / excess[1280] - 4) < 0.1
