"""N(mean, exp(log_var)) against torch.distributions, which it replaces, and against mpmath."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from truth import assert_close, column

from nelbo.bound.noise import KeyedNoise
from nelbo.gaussian.distribution import Gaussian

SHAPES = [(4, 1), (3, 2), (2, 3, 4, 4)]


def gaussian(shape: tuple[int, ...], seed: int, *, spread: bool) -> Gaussian:
    """A Gaussian with one log-variance for each dimension, or for each example."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    broadcast = shape if spread else (shape[0], *(1,) * (len(shape) - 1))
    return Gaussian(mean, 2 * torch.randn(broadcast, generator=generator, dtype=torch.float64) - 1)


def oracle(p: Gaussian) -> Independent:
    deviation = (0.5 * p.log_var).exp().expand(p.mean.shape)
    return Independent(Normal(p.mean, deviation), p.mean.ndim - 1)


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_that_of_torch(shape: tuple[int, ...], spread: bool):
    """Kills: a mean over dimensions (H09), a log-variance counted once where it is shared."""
    p = gaussian(shape, 0, spread=spread)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = p.log_prob(x)
    assert got.shape == shape[:1]
    assert_close(got, oracle(p).log_prob(x), rel=1e-13)


@pytest.mark.parametrize("spreads", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("shape", SHAPES)
def test_kl_is_that_of_torch(shape: tuple[int, ...], spreads: tuple[bool, bool]):
    """Kills: the two sides swapped; a shared log-variance not counted for every dimension."""
    p, q = (gaussian(shape, seed, spread=each) for seed, each in zip((2, 3), spreads, strict=True))
    got = p.kl(q)
    assert got.shape == shape[:1]
    assert_close(got, kl_divergence(oracle(p), oracle(q)), rel=1e-12)
    assert float((got - q.kl(p)).abs().min()) > 1e-3


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(mean=st.floats(-1e6, 1e6), log_var=st.floats(-60, 60))
def test_kl_from_itself_is_exactly_0(mean: float, log_var: float):
    """Kills: a ratio of exponentials in place of a difference of logarithms."""
    for dtype in (torch.float64, torch.float32):
        p = Gaussian(column(mean, dtype=dtype), column(log_var, dtype=dtype))
        assert float(p.kl(p)) == 0


def exact_kl(shift: mpf, log_ratio: mpf, log_var: mpf) -> mpf:
    return (mp.exp(log_ratio) - 1 - log_ratio + shift**2 * mp.exp(-log_var)) / 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "difference",
    [sign * 10.0**-k for k in range(12) for sign in (1, -1)] + [0.2499, 0.2501, -0.25, 5.0, -40.0],
)
def test_kl_keeps_its_digits_for_nearly_equal_variances(difference: float, dtype: torch.dtype):
    """Kills: r - 1 - log r by subtraction, which has no digits left at 1e-8."""
    p = Gaussian(column(0.3, dtype=dtype), column(difference, dtype=dtype))
    q = Gaussian(column(0.3, dtype=dtype), column(0.0, dtype=dtype))
    with mp.workdps(50):
        want = exact_kl(mpf(0), mpf(float(p.log_var)), mpf(0))
        error = abs(float(p.kl(q)) - want) / want
    assert error < (4e-15 if dtype == torch.float64 else 2e-6)


@pytest.mark.parametrize("log_var", [-20.0, -5.0, 3.0])
def test_kl_between_log_variances_1e_8_apart_is_that_of_the_numbers_given(log_var: float):
    """Kills: variances in place of log-variances: their ratio would lose what is compared."""
    p = Gaussian(column(0.1), column(log_var + 1e-8))
    q = Gaussian(column(0.1), column(log_var))
    with mp.workdps(50):
        want = exact_kl(mpf(0), mpf(float(p.log_var)) - mpf(log_var), mpf(log_var))
        assert abs(float(p.kl(q)) - want) / want < 4e-15


def test_kl_of_a_mean_shift_is_half_its_square():
    """Kills: the variance of p where that of q belongs."""
    p = Gaussian(column(0.5), column(0.0))
    q = Gaussian(column(0.2), column(math.log(4.0)))
    want = 0.5 * (0.25 - 1 - math.log(0.25)) + 0.5 * 0.3**2 / 4
    assert_close(p.kl(q)[0], want, rel=1e-14)


@pytest.mark.parametrize("difference", [0.0, 1e-8, 1e-3, 0.2, 0.3, 3.0, -3.0])
def test_the_gradient_of_kl_is_exp_less_1(difference: float):
    """Kills: H26 (NaN from the branch not taken); d/dx (exp(x) - 1 - x)/2 = (exp(x) - 1)/2."""
    log_var = column(difference).requires_grad_()
    Gaussian(column(0.0), log_var).kl(Gaussian(column(0.0), column(0.0))).sum().backward()
    assert_close(log_var.grad[0, 0], math.expm1(difference) / 2, rel=1e-13)


@pytest.mark.parametrize("log_var", [-100.0, -40.0, 80.0])
def test_extreme_variances_give_finite_numbers_and_gradients(log_var: float):
    """Kills: H26 in the density and in the KL."""
    inputs = [column(value).requires_grad_() for value in (0.1, log_var, 0.2)]
    mean, spread, other = inputs
    p = Gaussian(mean, spread)
    value = p.log_prob(other) + p.kl(Gaussian(other, spread.detach() + 1))
    value.sum().backward()
    assert bool(value.isfinite().all())
    assert all(bool(each.grad.isfinite().all()) for each in inputs)


def moments(samples: Tensor, mean: float, var: float) -> tuple[float, float]:
    """z-scores of the sample mean and variance."""
    count = samples.numel()
    z_mean = (float(samples.mean()) - mean) / math.sqrt(var / count)
    z_var = (float((samples - mean).square().mean()) - var) / (var * math.sqrt(2 / count))
    return z_mean, z_var


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("mean", "log_var"), [(0.0, 0.0), (-3.0, 2.0), (0.7, -8.0)])
def test_samples_have_the_mean_and_the_variance(mean: float, log_var: float, dtype: torch.dtype):
    """Kills: the variance used as a deviation (H43), noise of another scale."""
    count = 50_000
    p = Gaussian(torch.full((count, 2), mean, dtype=dtype), torch.full((1, 1), log_var).to(dtype))
    samples = p.sample(KeyedNoise.of(5, torch.arange(count)))
    assert samples.dtype == dtype
    assert samples.shape == (count, 2)
    assert all(abs(z) < 4 for z in moments(samples.double(), mean, math.exp(log_var)))


def test_a_sample_follows_its_density():
    """Kills: sample and log_prob of two distributions: E[-log p(x)] is the entropy."""
    count, log_var = 50_000, -1.3
    p = Gaussian(torch.full((count, 1), 0.4, dtype=torch.float64), column(log_var))
    surprise = -p.log_prob(p.sample(KeyedNoise.of(6, torch.arange(count))))
    entropy = 0.5 * (math.log(2 * math.pi) + log_var + 1)
    z = (float(surprise.mean()) - entropy) / (float(surprise.std()) / math.sqrt(count))
    assert abs(z) < 4
