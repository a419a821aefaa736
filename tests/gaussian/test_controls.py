"""Control variates: their values by brute force, what is known of them by other formulas."""

import math

import numpy as np
import pytest
import torch
from truth import Nodes, tabulated, trapezoid

from nelbo.bound.chain import Chain
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.terms import transition_term
from nelbo.gaussian import controls as rooms
from nelbo.gaussian.along import Steps
from nelbo.gaussian.controls import AffineControl, LatticeControl, controls, frozen_logits
from nelbo.gaussian.decoder import LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.parametrization import Levels
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import cosine, from_betas, linear, log_snr_linear
from nelbo.types import Grid

torch.set_num_threads(1)

ZERO_SNR = from_betas([0.2, 0.4, 0.6, 1.0])
SCHEDULES = {
    "linear": linear(1000),
    "cosine": cosine(50),
    "log-snr-linear": log_snr_linear(20),
    "zero-snr": ZERO_SNR,
    "two": from_betas([0.1, 0.5]),
}
every_schedule = pytest.mark.parametrize("name", list(SCHEDULES))
GRID = Grid(5)


def some_t(T, count=40):
    """t = 2..T, all or some, with both ends."""
    return torch.linspace(2, T, min(T - 1, count)).round().long()


def numpy_tables(schedule):
    """(sqrt(alpha_bar), 1 - alpha_bar, the weight c_1^2 / (2 tilde beta)), t = 0..T, from betas."""
    log_bar = np.concatenate([[0.0], np.cumsum(schedule.log_alpha.numpy())])
    bar, om = np.exp(log_bar), -np.expm1(log_bar)
    beta = -np.expm1(schedule.log_alpha.numpy())
    c_1 = np.sqrt(bar[:-1]) * beta / om[1:]
    tilde = beta * om[:-1] / om[1:]
    weight = np.zeros(len(bar))
    weight[2:] = c_1[1:] ** 2 / (2 * tilde[1:])
    return np.sqrt(bar), om, weight


def correlated(count, dims, seed=0):
    """Examples whose covariance is no multiple of the identity, and has no axis along another."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(dims, dims, generator=draw, dtype=torch.float64)
    z = torch.randn(count, dims, generator=draw, dtype=torch.float64)
    return 0.3 * z @ mix + torch.linspace(-0.4, 0.6, dims, dtype=torch.float64)


@every_schedule
def test_the_weight_is_that_of_the_kl_between_posteriors(name):
    """The affine control of data that are all the same is KL(q(x_{t-1}|x_t,x_0) || .. x0-hat).

    Kills: a weight of t - 1 or t + 1, SNR_t alone, no half.
    """
    schedule = SCHEDULES[name]
    t, q = some_t(schedule.T), GaussianForward(schedule)
    mean = torch.tensor([0.3, -0.2], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    control = AffineControl(Steps(schedule), mean, torch.eye(2, dtype=torch.float64), zero)
    x_0 = torch.linspace(-1, 1, 2 * len(t), dtype=torch.float64).reshape(-1, 2)
    x_t = q.marginal(x_0, t).sample(KeyedNoise.of(0, torch.arange(len(t))))
    kl = q.posterior(x_t, x_0, t).kl(q.posterior(x_t, mean.expand(len(t), 2), t))
    value = control.value(x_0, x_t, t, torch.arange(len(t)))
    assert torch.allclose(value, kl, rtol=1e-9, atol=1e-15)


@every_schedule
def test_the_affine_control_is_the_error_of_the_best_affine_denoiser(name):
    """By one dense solve for each t. Kills: gain / SNR for gain, axes transposed, eps unscaled."""
    schedule = SCHEDULES[name]
    root, om, weight = numpy_tables(schedule)
    data = correlated(30, 3)
    control, t = AffineControl.of(Steps(schedule), data), some_t(schedule.T)
    x_0 = data[torch.arange(len(t)) % 30]
    noise = KeyedNoise.of(1, torch.arange(len(t)))
    x_t = GaussianForward(schedule).marginal(x_0, t).sample(noise)
    got = control.value(x_0.reshape(-1, 3, 1, 1), x_t.reshape(-1, 3, 1, 1), t, t)
    mean, covariance = data.numpy().mean(0), np.cov(data.numpy().T)
    for row, step in enumerate(t.tolist()):
        seen = root[step] ** 2 * covariance + om[step] * np.eye(3)
        centred = x_t[row].numpy() - root[step] * mean
        x_hat = mean + root[step] * covariance @ np.linalg.solve(seen, centred)
        wanted = weight[step] * ((x_0[row].numpy() - x_hat) ** 2).sum()
        assert float(got[row]) == pytest.approx(wanted, rel=1e-8)


@every_schedule
def test_the_affine_totals_are_exact(name):
    """tr and quadratic form by numpy, t by t, summed by group; both halves the same.

    Kills: E eps^2 left out, the mean of the images for each image, groups shifted by one t.
    """
    schedule = SCHEDULES[name]
    root, om, weight = numpy_tables(schedule)
    data = correlated(12, 3, seed=4)
    control = AffineControl.of(Steps(schedule), data)
    group = torch.arange(schedule.T - 1) * 3 // (schedule.T - 1)
    totals = control.totals(data.reshape(-1, 1, 3, 1), group, 4)
    covariance, u = np.cov(data.numpy().T), data.numpy() - data.numpy().mean(0)
    wanted = np.zeros((12, 4))
    for t in range(2, schedule.T + 1):
        seen = root[t] ** 2 * covariance + om[t] * np.eye(3)
        gain = root[t] * np.linalg.solve(seen, covariance).T
        left = np.eye(3) - root[t] * gain
        error = ((u @ left.T) ** 2).sum(1) + om[t] * np.trace(gain @ gain.T)
        wanted[:, int(group[t - 2])] += weight[t] * error
    assert torch.equal(totals[0], totals[1])
    np.testing.assert_allclose(totals[0].numpy(), wanted, rtol=1e-8)


def test_the_affine_totals_are_the_mean_of_its_values():
    """c is quadratic in eps: its mean is c(0) + half its second differences, exactly."""
    schedule, data = SCHEDULES["cosine"], correlated(5, 2)
    control, q = AffineControl.of(Steps(schedule), data), GaussianForward(schedule)
    totals = control.totals(data, torch.arange(schedule.T - 1), schedule.T - 1)[0]
    nodes = torch.tensor([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    shares = torch.tensor([-1.0, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    for t in some_t(schedule.T).tolist():
        rows, times = data.repeat_interleave(5, 0), torch.full((25,), t)
        x_t = q.marginal(rows, times).sample(Nodes(nodes.repeat(5, 1)))
        values = control.value(rows, x_t, times, torch.zeros_like(times)).reshape(5, 5)
        assert torch.allclose(values @ shares, totals[:, t - 2], rtol=1e-10)


def test_a_constant_dimension_and_a_lone_one_have_a_covariance():
    """Kills: a variance below 0 from rounding, a covariance of one number."""
    data = correlated(9, 3)
    data[:, 1] = 0.25
    for x_0 in (data, data[:, :1]):
        control = AffineControl.of(Steps(SCHEDULES["two"]), x_0)
        assert (control.variance >= 0).all()
        assert control.totals(x_0, torch.zeros(1, dtype=torch.int64), 1).isfinite().all()


# The lattice.


def priors(count, n, dims, seed=2):
    """Log chances up to a constant in each dimension, other ones for each image."""
    draw = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(count, n, dims, generator=draw, dtype=torch.float64)
    return logits + torch.randn(count, 1, dims, generator=draw, dtype=torch.float64)


def posterior_mean(prior, x_t, root, om, values):
    """E[x_0 | x_t] of one dimension at points x_t, from Bayes' rule and nothing else."""
    density = np.exp(-((x_t[:, None] - root * values) ** 2) / (2 * om))
    joint = np.exp(prior - prior.max()) * density
    return joint @ values / joint.sum(1)


@every_schedule
@pytest.mark.parametrize("one", [True, False])
def test_the_lattice_control_is_the_error_of_the_posterior_mean(name, one, monkeypatch):
    """By Bayes' rule, level by level, pixel by pixel; batches of a few rows.

    Kills: the prior of another image, likelihoods at SNR_{t-1}, parts put back in another order.
    """
    monkeypatch.setattr(rooms, "CELLS", 3 * 2 * GRID.n)
    schedule = SCHEDULES[name]
    root, om, weight = numpy_tables(schedule)
    t, prior = some_t(schedule.T, 20), priors(1 if one else 4, GRID.n, 2)
    image = torch.arange(len(t)).flip(0) % 4
    levels = (torch.arange(2 * len(t)) % GRID.n).reshape(-1, 2)
    x_0 = GRID.values(levels, torch.float64)
    noise = KeyedNoise.of(1, torch.arange(len(t)))
    x_t = GaussianForward(schedule).marginal(x_0, t).sample(noise)
    control = LatticeControl(Steps(schedule), GRID, prior)
    got = control.value(x_0.reshape(-1, 1, 1, 2), x_t.reshape(-1, 1, 1, 2), t, image)
    values = np.linspace(-1, 1, GRID.n)
    for row, step in enumerate(t.tolist()):
        own = prior[0 if one else int(image[row])].numpy()
        x_hat = np.array([
            posterior_mean(own[:, d], x_t[row, d : d + 1].numpy(), root[step], om[step], values)[0]
            for d in range(2)
        ])  # fmt: skip
        wanted = weight[step] * ((x_0[row].numpy() - x_hat) ** 2).sum()
        assert float(got[row]) == pytest.approx(wanted, rel=1e-7, abs=1e-12 * weight[step])


def lattice_means(schedule, grid, prior, levels):
    """(N, T - 1): the mean of the control for each image and t, one integral per dimension."""
    root, om, weight = numpy_tables(schedule)
    rule, values = trapezoid(step=0.02), np.linspace(-1, 1, grid.n)
    eps, share = rule.nodes[:, 0].numpy(), rule.weights.numpy()
    means = np.zeros((len(levels), schedule.T - 1))
    for t in range(2, schedule.T + 1):
        for image, pixels in enumerate(levels.tolist()):
            for d, level in enumerate(pixels):
                x_t = root[t] * values[level] + math.sqrt(om[t]) * eps
                own = prior[image % len(prior), :, d].numpy()
                x_hat = posterior_mean(own, x_t, root[t], om[t], values)
                means[image, t - 2] += weight[t] * share @ (values[level] - x_hat) ** 2
    return means


LATTICES = {
    "one step": (from_betas([0.3, 0.6]), 5, [0]),
    "two steps": (from_betas([0.05, 0.3, 0.6]), 5, [0, 1]),
    "zero-snr": (ZERO_SNR, 5, [0, 0, 1]),
    # where the lattice is about to be known, and a table interpolated along t would be wrong
    "linear": (linear(1000).subchain([*range(1, 13), 50, 200, 1000]), 33, [0, 0, 0, *[1] * 11]),
    "coarse": (linear(10, 1e-3, 0.6), 5, [0, 0, 1, 1, 2, 2, 3, 3, 3]),
}


@pytest.mark.parametrize("name", list(LATTICES))
def test_the_lattice_totals_are_unbiased_for_the_integrals(name):
    """Copies of an image have shifts of their own: their mean is within chance of 1-d integrals.

    In both halves, which are independent. Kills: t off by one in a rule, chances left out of the
    weights, the same rule twice, totals of another image, z without its mean.
    """
    schedule, n, groups = LATTICES[name]
    group, count, copies = torch.tensor(groups), max(groups) + 1, 600
    levels, grid, prior = torch.tensor([[0, 2], [4, 1]]), Grid(n), priors(2, n, 2)
    means = torch.from_numpy(lattice_means(schedule, grid, prior, levels))
    wanted = torch.zeros(2, count, dtype=torch.float64).index_add_(1, group, means)
    x_0 = grid.values(levels, torch.float64).repeat(copies, 1).reshape(-1, 1, 2, 1)
    control = LatticeControl(Steps(schedule), grid, prior.repeat(copies, 1, 1))
    totals = control.totals(x_0, group, count).reshape(2, copies, 2, count)
    error = totals - wanted
    standard_error = error.std(1) / math.sqrt(copies)
    assert float((error.mean(1) / standard_error).abs().max()) < 4
    assert float((standard_error / wanted).max()) < 0.02, "few copies to tell"
    pair = (error[0] * error[1]).mean(0) / (error[0].std(0) * error[1].std(0))
    assert float(pair.abs().max()) < 4 / math.sqrt(copies)


# From a network's own logits.


class Logits(torch.nn.Module):
    """The same logits for each image, whatever x_t is."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x, time):
        return self.logits[: len(x)]


def levels_chain(schedule, logits):
    """A chain whose x0-hat is the lattice's posterior mean, with variances tilde beta."""
    q = GaussianForward(schedule)
    p = GaussianReverse(
        Logits(logits),
        q,
        parametrization=Levels(GRID),
        variance=tabulated(schedule, "small"),
        decoder=LevelPosterior(GRID),
        time_input=TIME_INPUTS["t"],
    )
    return Chain(q, p)


def test_frozen_logits_are_those_of_the_network_and_make_its_terms():
    """A network that ignores x_t is its own control: c = L_{t-1} at every x_t, exactly.

    Kills: the likelihood of x_1 left in the prior, or taken out twice; levels and pixels swapped.
    """
    schedule = linear(12, 0.01, 0.5)
    draw = torch.Generator().manual_seed(6)
    network = torch.randn(6, GRID.n, 2, 3, generator=draw, dtype=torch.float64)
    chain = levels_chain(schedule, network)
    levels = torch.randint(GRID.n, (6, 1, 2, 3), generator=draw)
    x_0, noise = GRID.values(levels, torch.float64), KeyedNoise.of(5, torch.arange(6))
    x_1 = chain.q.marginal(x_0, torch.ones(6, dtype=torch.int64)).sample(noise)
    prior = frozen_logits(schedule, GRID, chain.p.decoder(x_1), x_1)
    apart = prior - network.reshape(6, GRID.n, 6)
    assert torch.allclose(apart, apart.mean(1, keepdim=True).expand_as(apart), atol=1e-8)
    control = LatticeControl(Steps(schedule), GRID, prior)
    for t in range(2, 13):
        times = torch.full((6,), t)
        x_t = chain.q.marginal(x_0, times).sample(noise.at(times))
        value = control.value(x_0, x_t, times, torch.arange(6))
        term = transition_term(chain, x_0, times, noise)
        assert torch.allclose(value, term, rtol=1e-7, atol=1e-12)


# Which there are.


def test_controls_are_made_where_they_are_worth_it():
    """Kills: controls of T = 1, a posterior over 256 levels, a covariance of a large image."""
    levels = torch.randint(17, (9, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    schedule = linear(10)
    names = lambda *a, **k: [c.name for c in controls(Steps(a[0]), *a[1:], **k)]  # noqa: E731
    assert names(schedule, Grid(17), levels) == ["affine denoiser", "lattice denoiser"]
    assert names(schedule, Grid(256), levels) == ["affine denoiser"]
    assert names(from_betas([0.5]), Grid(17), levels) == []
    wide = levels.reshape(9, 4).repeat(1, 1025)
    assert names(schedule, Grid(17), wide) == ["lattice denoiser"]


def test_without_logits_the_prior_is_a_smoothed_histogram():
    """(count + pooled chance) / (N + 1), with pooled chances that are never 0.

    Kills: an unseen level of chance 0, dimensions mixed, a histogram for the network's own logits.
    """
    levels = torch.tensor([[0, 3], [0, 2], [1, 3]])
    lattice = controls(Steps(linear(10)), Grid(5), levels.reshape(3, 1, 1, 2))[1]
    got = lattice.log_prior[0].double().exp().numpy()
    pooled = (np.bincount(levels.numpy().reshape(-1), minlength=5) + 0.2) / 7
    for d in range(2):
        wanted = (np.bincount(levels[:, d].numpy(), minlength=5) + pooled) / 4
        np.testing.assert_allclose(got[:, d], wanted, rtol=1e-6)
    own = priors(3, 5, 2)
    assert torch.equal(controls(Steps(linear(10)), Grid(5), levels, own)[1].log_prior, own)
