"""The mixture prior over levels: its posterior by quadrature, by its levels, in the limits."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor
from truth import assert_close, column

from nelbo.gaussian.mixture import Mixture
from nelbo.gaussian.schedule import from_betas, log_snr_linear
from nelbo.types import Grid

GRID = Grid(256)
MIXTURE = Mixture(GRID, 3)


def numbers(seed: int, pixels: int = 1) -> Tensor:
    """An output for so many pixels, one channel each."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(pixels, MIXTURE.outputs, generator=generator, dtype=torch.float64)


def parts(output: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights with the atoms' first, means, deviations) of one pixel, written anew."""
    row = output.numpy()
    weights = np.exp(row[:5]) / np.exp(row[:5]).sum()
    means = np.array([-2 / 3, 0, 2 / 3]) + row[5:8]
    deviations = np.sqrt((2 / 255) ** 2 / 12 + (np.exp(row[8:]) / 3) ** 2)
    return weights, means, deviations


@pytest.mark.parametrize("t", [1, 2, 3])
@pytest.mark.parametrize("x", [-1.2, -0.9, 0.4])
def test_the_estimate_is_the_posterior_mean_by_quadrature(t: int, x: float):
    """Kills: an atom left out, a normaliser of a component dropped, alpha_bar for its root."""
    schedule, output = from_betas([0.02, 0.3, 0.6]), numbers(t)
    a, s = math.sqrt(schedule.alpha_bar[t]), math.sqrt(schedule.one_minus_alpha_bar[t])
    weights, means, deviations = parts(output[0])

    def joint(v: float) -> float:
        return (weights[2:] * norm.pdf(v, means, deviations)).sum() * norm.pdf(x, a * v, s)

    ends = np.array([-1.0, 1.0])
    atoms = weights[:2] * norm.pdf(x, a * ends, s)
    near = [x / a, *means]
    mass = quad(joint, -12, 12, points=near, epsabs=1e-13, limit=500)[0] + atoms.sum()
    first = quad(lambda v: v * joint(v), -12, 12, points=near, epsabs=1e-13, limit=500)[0]
    got = MIXTURE.x_0(output, column(x), torch.tensor([t]), schedule)
    assert_close(got[0, 0], (first + atoms @ ends) / mass, rel=1e-8)


def test_on_a_fine_grid_the_levels_posterior_has_the_estimate_as_its_mean():
    """Kills: a mass without its spacing beside the atoms, levels off by one, atoms swapped.

    A sum over fine levels is the trapezoid rule, which is exact for densities that end inside.
    """
    fine, schedule = Mixture(Grid(4001), 2), from_betas([0.2, 0.3])
    output = torch.tensor([[0.3, -0.2, 0.8, 0.1, 0.1, -0.1, -2.3, -2.6]], dtype=torch.float64)
    for t in (1, 2):
        for x in (-0.9, 0.1, 0.8):
            given = output, column(x), torch.tensor([t]), schedule
            mass = fine.log_posterior(*given)[0, 0].exp()
            assert_close(mass.sum(), 1.0, rel=1e-12)
            mean = mass @ Grid(4001).values(torch.arange(4001), torch.float64)
            assert_close(fine.x_0(*given)[0, 0], mean, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_at_a_high_signal_an_end_level_is_known_exactly_and_others_are_read_off(
    dtype: torch.dtype,
):
    """Kills: atoms with a width, a residual left unscaled, an overflow at high SNR."""
    schedule, t = log_snr_linear(10, first=16.0), torch.ones(3, dtype=torch.int64)
    x_0 = torch.tensor([[-1.0], [1.0], [0.3137]], dtype=dtype)
    x_1 = x_0 * float(schedule.alpha_bar[1].sqrt())
    output = numbers(1, 3).to(dtype)
    got = MIXTURE.x_0(output, x_1, t, schedule)
    assert_close(got[:2], x_0[:2], absolute=1e-6)
    assert_close(got[2:], x_0[2:], absolute=1e-4)
    masses = MIXTURE.log_posterior(output, x_1, t, schedule)
    assert masses[:, 0].argmax(1).tolist() == [0, 255, 167]


def test_at_no_signal_the_estimate_is_the_mean_of_the_prior():
    """Kills: weights of the evidence alone."""
    output = numbers(3)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    weights, means, _ = parts(output[0])
    want = weights[2:] @ means + weights[1] - weights[0]
    assert_close(MIXTURE.x_0_given(output, column(0.7), zero, one)[0, 0], want, rel=1e-12)


def test_pixels_and_channels_are_read_apart():
    """Kills: channels and components swapped in (B, C (3 K + 2), H, W)."""
    schedule, t = from_betas([0.2, 0.3]), torch.tensor([1, 2])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 2, 2, generator=generator)
    output = torch.randn(2, 33, 2, 2, generator=generator)
    whole = MIXTURE.x_0(output, x, t, schedule)
    masses = MIXTURE.log_posterior(output, x, t, schedule)
    assert masses.shape == (2, 3, 256, 2, 2)
    assert_close(masses.exp().sum(2), torch.ones(2, 3, 2, 2), rel=1e-5)
    for c in range(3):
        for i in range(2):
            part = output[:, 11 * c : 11 * c + 11, i, i]
            one = MIXTURE.x_0(part, x[:, c : c + 1, i, i], t, schedule)
            assert_close(one[:, 0], whole[:, c, i, i], rel=1e-5, absolute=1e-6)


@pytest.mark.parametrize("log_snr", [-9.0, 0.0, 13.3])
def test_gradients_are_finite_wherever_x_t_is(log_snr: float):
    """Kills: a logarithm or root of an atom's variance of 0."""
    x = torch.linspace(-6, 6, 97)[:, None]
    output = numbers(5, len(x)).float().requires_grad_()
    level = torch.full_like(x, log_snr)
    x_0 = MIXTURE.x_0_given(output, x, torch.sigmoid(level), torch.sigmoid(-level))
    masses = MIXTURE.log_posterior_given(output, x, torch.sigmoid(level), torch.sigmoid(-level))
    (x_0.square().sum() + masses[:, 0, 0].sum()).backward()
    assert x_0.isfinite().all()
    assert masses.isfinite().all()
    assert output.grad.isfinite().all()
