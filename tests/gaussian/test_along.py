"""Controls of the limit: their sums over every step against quadrature, and what they leave."""

import math

import numpy as np
import pytest
import torch

import nelbo
from nelbo.gaussian.along import Between, Steps
from nelbo.gaussian.controls import AffineControl, LatticeControl
from nelbo.gaussian.log_snr import FixedLogSNR, LearnedLogSNR
from nelbo.types import Grid

torch.set_num_threads(1)
NODES, WEIGHTS = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(40))
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # of a place within a step
GRID = Grid(5)


def bent():
    """A learned curve with weights of chance."""
    curve = LearnedLogSNR(6.0, -5.0, 6)
    generator = torch.Generator().manual_seed(0)
    for weight in (curve.a, curve.b, curve.c):
        weight.data += 2 * torch.randn(6, generator=generator)
    return curve.double().requires_grad_(False)


CURVES = {"straight": lambda: FixedLogSNR(6.0, -5.0), "bent": bent}
every_curve = pytest.mark.parametrize("curve", CURVES)


def between(curve, T=7):
    made = CURVES[curve]()
    return Between(made.schedule(T), made)


def data(count, dims):
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    return torch.randn(count, dims, generator=generator, dtype=torch.float64) @ mixed / 2


def moments(along):
    """(t, moment, the weight of each node) at every node of every step."""
    t = torch.arange(2, along.schedule.T + 1).repeat_interleave(len(NODES))
    return t, along.moment(t, NODES.repeat(along.schedule.T - 1)), WEIGHTS.repeat(len(t))[: len(t)]


def at(along, moment, x_0, eps):
    """x_t there, by this file's own formulas."""
    alpha_bar = torch.sigmoid(along.log_snr(moment))[:, None]
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps


@every_curve
def test_the_affine_totals_of_the_limit_are_the_integrals_over_each_step(curve):
    """c is quadratic in eps: its mean is c(0) and half its second differences; over the place of
    each step 40 nodes of Gauss and Legendre. Kills: the sum over the ends of a step for the
    integral between them; another weight at a moment than in its integral.
    """
    along, x_0 = between(curve), data(5, 2)
    control = AffineControl.of(along, x_0)
    t, moment, weight = moments(along)
    wanted = torch.zeros(5, along.schedule.T - 1, dtype=torch.float64)
    directions = torch.tensor([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    for image in range(5):
        own = x_0[image].expand(len(t), 2)
        values = [
            control.value(own, at(along, moment, own, eps), moment, torch.full_like(t, image))
            for eps in directions
        ]
        mean = values[0] + sum(values[k] - values[0] for k in range(1, 5)) / 2
        wanted[image].index_add_(0, t - 2, weight * mean)
    totals = control.totals(x_0, torch.arange(along.schedule.T - 1), along.schedule.T - 1)
    torch.testing.assert_close(totals[0], wanted, rtol=1e-10, atol=0)
    assert torch.equal(totals[0], totals[1])


@every_curve
def test_the_lattice_totals_of_the_limit_are_unbiased_for_the_integrals(curve):
    """Over places by Gauss and Legendre and over eps by Gauss and Hermite, 400 copies, z < 4.

    Kills: every point of a rule at the end of its step; a place that is not uniform.
    """
    along, copies = between(curve, 4), 400
    generator = torch.Generator().manual_seed(1)
    prior = torch.log_softmax(torch.randn(1, 5, 1, generator=generator), 1)
    levels = torch.tensor([[1], [4]])
    x_0 = GRID.values(levels, torch.float64)
    eps, chance = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(80))
    chance = chance / math.sqrt(2 * math.pi)
    t, moment, weight = moments(along)
    rows = torch.arange(len(t)).repeat_interleave(len(eps))
    control = LatticeControl(along, GRID, prior)
    wanted = torch.zeros(2, 3, dtype=torch.float64)
    for image in range(2):
        own = x_0[image].expand(len(rows), 1)
        x_t = at(along, moment[rows], own, eps.repeat(len(t))[:, None])
        value = control.value(own, x_t, moment[rows], torch.full_like(rows, image)).double()
        both = weight[rows] * chance.repeat(len(t)) * value
        wanted[image].index_add_(0, t[rows] - 2, both)
    many = LatticeControl(along, GRID, prior)
    totals = many.totals(x_0.repeat(copies, 1).reshape(-1, 1), torch.arange(3), 3)
    error = totals.reshape(2, copies, 2, 3) - wanted
    for mean, spread in (
        (error.mean(1), error.std(1)),
        (error.sum(3).mean(1), error.sum(3).std(1)),
    ):
        assert (mean.abs() < 4 * spread / math.sqrt(copies)).all()


@every_curve
def test_chains_of_ever_more_steps_fall_to_the_limit(curve):
    """Of an exact denoiser of N(0, v): ever closer from above, ten times as close at ten times as
    many steps. Kills: a limit that is that of a chain; a chain between other ends.
    """
    variance, above = torch.tensor([0.04, 0.25, 1.0], dtype=torch.float64), []
    for steps in (100, 1000, 10_000):
        along = between(curve, steps)
        whole, limit = (
            sum(float((variance * sure + random).sum()) for sure, random in [part.affine(variance)])
            for part in (Steps(along.schedule), along)
        )
        above.append(whole - limit)
    assert above[0] > above[1] > above[2] > 0
    assert above[1] == pytest.approx(above[0] / 10, rel=0.05)
    assert above[2] == pytest.approx(above[1] / 10, rel=0.005)


def exact(z, log_snr):
    """The eps of data N(0, 1/4), which no network of the limit can beat."""
    alpha_bar = torch.sigmoid(log_snr).reshape(-1, 1, 1, 1)
    return (1 - alpha_bar).sqrt() * z / (1 - 0.75 * alpha_bar)


ENDS = (8.0, -7.0)


def wrapped(predicts):
    """The exact network, read by one word or another."""
    conventions = {"path": "cosine", "time_input": "log-snr", "scale": "unit", "log_snr": ENDS}
    return nelbo.wrap(exact, predicts=predicts, **conventions, decoder="density", shape=(1, 2, 2))


def normal(count):
    generator = torch.Generator().manual_seed(5)
    return 0.5 * torch.randn(count, 1, 2, 2, generator=generator)


def test_a_network_read_by_the_word_of_another_is_doubted_in_the_limit():
    """Kills: a limit that is printed in the same tone, whatever the network is."""
    doubts = {
        predicts: [
            line
            for line in nelbo.evaluate(wrapped(predicts), normal(40), budget=800).warnings
            if "worse than an affine function" in line
        ]
        for predicts in ("eps", "v", "x_0")
    }
    assert [len(lines) for lines in doubts.values()] == [0, 1, 1]


def test_an_exact_gaussian_network_leaves_its_limit_almost_no_noise():
    """The control of the data's own covariance has the same errors, whatever is drawn.

    The closed form of L_inf, 8,000 draws, is within 4 standard errors, and these are below a
    thousandth of it. Kills: a limit without controls, whose errors are ten times as large.
    """
    x_0 = normal(200)
    result = nelbo.evaluate(wrapped("eps"), x_0, budget=8000, seed=1)
    snr = torch.tensor(ENDS, dtype=torch.float64).exp()
    sure = (1 / (1 + 0.25 * snr)).diff() / 0.25 * 0.5
    random = 0.5 * ((1 + 0.25 * snr).log() + 1 / (1 + 0.25 * snr)).diff()
    square = x_0.double().square().flatten(1).sum(1)
    expected = float((square * sure - 4 * random).mean())
    mean = result.terms["L_mid"][1]
    assert abs(mean.mean - expected) < 4 * mean.se
    assert mean.se < 1e-3 * expected
    assert [test["passed"] for test in result.estimator["controls"]] == [True]
