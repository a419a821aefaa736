"""The probability-flow ODE of data whose flow is a formula: one Gaussian dimension, one mixture.

In each dimension alone the flow moves quantiles to quantiles, x_T = F_T^-1(F_1(x)), so the density
that it gives is N(x_T; 0, 1) p_1(x) / p_T(x_T), by the marginals' own formulas in numpy; at the
noise's end they are not N(0, 1) yet, which the formula knows.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from test_path import FORMULAS, MADE, PREDICTIONS, by_hand, every_path, every_prediction
from torch import nn
from truth import assert_close

from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Density
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.ode import ExactTrace, Hutchinson, ProbabilityFlow, quadrature
from nelbo.gaussian.on_path import SCALES, TIMES, OnPath
from nelbo.gaussian.parametrization import EPS, X_0
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import from_log_snr
from nelbo.gaussian.variance import small

torch.set_num_threads(1)
FIRST, LAST = 5.0, -4.0
DATA = (  # (share, mean, deviation) of the parts of each dimension
    ((1.0, 0.2, 0.6),),
    ((0.3, -0.7, 0.25), (0.7, 0.5, 0.35)),
)
POINTS = torch.tensor([[-0.9, -0.8], [0.1, -0.2], [0.4, 0.1], [1.1, 0.7], [0.0, 0.45]]).double()


def parts(dimension, a, s):
    """(share, mean, deviation) of each part of z = a x_0 + s eps."""
    return [(share, a * m, math.hypot(a * d, s)) for share, m, d in DATA[dimension]]


def expected(z, a, s):
    """E[x_0 | z], in torch."""
    columns = []
    for dimension, column in enumerate(z.flatten(1).unbind(1)):
        logs, means = [], []
        for (share, m, d), (_, mean, deviation) in zip(
            DATA[dimension], parts(dimension, a, s), strict=True
        ):
            logs.append(math.log(share / deviation) - 0.5 * ((column - mean) / deviation) ** 2)
            means.append(m + a * d * d / deviation**2 * (column - mean))
        weights = torch.softmax(torch.stack(logs), 0)
        columns.append((weights * torch.stack(means)).sum(0))
    return torch.stack(columns, 1).reshape(z.shape)


class Exact(nn.Module):
    """The best network on a path, which receives z and the path's own time."""

    def __init__(self, path, prediction):
        super().__init__()
        self.path, self.prediction = path, prediction

    def forward(self, z, t):
        with np.errstate(all="ignore"):
            level = [float(f(t.numpy()[0])) for f in FORMULAS[self.path]]
        a, s = level[:2]
        x_0 = expected(z, a, s)
        return by_hand(self.prediction, x_0, (z - a * x_0) / s, *level)


def flow_of(network, parametrization=EPS, first=FIRST, last=LAST):
    reverse = GaussianReverse(
        network,
        GaussianForward(schedule := from_log_snr(np.linspace(first, last, 12).tolist(), "even")),
        parametrization=parametrization,
        variance=small(schedule, "inverse_snr_1"),
        decoder=Density(),
        time_input=TIME_INPUTS["log-snr"],
    )
    return ProbabilityFlow.of(reverse, "the model")


def flow_on(path, prediction):
    network = OnPath(Exact(path, prediction), MADE[path], time=TIMES["t"], scale=SCALES["none"])
    return flow_of(network, PREDICTIONS[prediction](MADE[path]))


class Plain(nn.Module):
    """The best network of a chain that keeps variance, which receives log SNR."""

    def forward(self, x, log_snr):
        return expected(x, *marginal(float(log_snr[0])))


def marginal(log_snr):
    a = math.sqrt(1 / (1 + math.exp(-log_snr)))
    return a, math.sqrt(1 / (1 + math.exp(log_snr)))


def cdf(dimension, x, log_snr):
    return sum(w * ndtr((x - m) / d) for w, m, d in parts(dimension, *marginal(log_snr)))


def pdf(dimension, x, log_snr):
    density = 0
    for w, m, d in parts(dimension, *marginal(log_snr)):
        density = density + w * np.exp(-0.5 * ((x - m) / d) ** 2) / (d * math.sqrt(2 * math.pi))
    return density


def closed_form(x, first=FIRST, last=LAST):
    """log p at the data's end."""
    total = 0
    for dimension, column in enumerate(x.numpy().T):
        place, low, high = cdf(dimension, column, first), column * 0 - 12, column * 0 + 12
        for _ in range(80):
            middle = (low + high) / 2
            early = cdf(dimension, middle, last) < place
            low, high = np.where(early, middle, low), np.where(early, high, middle)
        density = pdf(dimension, column, first) / pdf(dimension, middle, last)
        total = total + np.log(density) - 0.5 * (middle**2 + math.log(2 * math.pi))
    return torch.from_numpy(total)


def plain(first=FIRST, last=LAST):
    return flow_of(Plain(), X_0, first, last)


def of_each(x):
    return x.reshape(-1, 1, 1, 2)


def test_the_density_is_that_of_the_closed_form():
    """To 1e-8, with the exact trace. Kills: the divergence's sign; a drift without alpha; a log
    density with the prior's at the data's end.
    """
    log_p = plain().log_density(of_each(POINTS), 192, ExactTrace())
    assert_close(log_p, closed_form(POINTS), 0, 1e-8)


@every_prediction
@every_path
def test_a_network_on_a_path_has_the_same_ode(path, prediction):
    """Whatever it receives and says, step by step: so each has that closed form. Kills: a drift
    by the path's own a and s; a time rounded to a network's float32.
    """
    log_p = flow_on(path, prediction).log_density(of_each(POINTS), 5, ExactTrace())
    assert_close(log_p, plain().log_density(of_each(POINTS), 5, ExactTrace()), 1e-9, 1e-9)


def test_the_error_falls_with_the_fourth_power_of_the_step():
    """Kills: a step of another order (k_3 at the start), a trapezoid rule at ends that are not
    flat.
    """
    truth = closed_form(POINTS)
    flow = plain()
    errors = [
        float((flow.log_density(of_each(POINTS), n, ExactTrace()) - truth).abs().max())
        for n in (24, 48, 96)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert 3.5 < math.log2(coarse / fine) < 5, errors


def test_the_quadrature_is_exact_for_cubics_and_within_any_power_for_what_is_flat():
    """Kills: Gregory's weights with one wrong."""
    x = torch.linspace(0, 1, 13, dtype=torch.float64)
    weights = quadrature(12) / 12
    for power in range(4):
        assert_close((weights * x**power).sum(), 1 / (power + 1), 1e-14)
    wide = torch.linspace(-10, 10, 37, dtype=torch.float64)
    total = (quadrature(36) * 20 / 36 * torch.exp(-0.5 * wide.square())).sum()
    assert_close(total, math.sqrt(2 * math.pi), 1e-12)
    with pytest.raises(BadInput, match="at least 5 steps"):
        quadrature(4)


class Coupled(nn.Module):
    """x0-hat = A x with A no diagonal, whose trace signs alone do not give."""

    matrix = torch.tensor([[0.3, 0.9], [-0.5, 0.1]], dtype=torch.float64)

    def forward(self, x, log_snr):
        return x @ self.matrix.T


def test_signs_give_the_divergence_without_bias():
    """The mean over 2,000 draws, z below 4, and the spread that the formula has. Kills: v . v for
    v . J v; a count of probes that does not divide.
    """
    flow, x = flow_of(Coupled(), X_0), torch.zeros(2000, 1, 1, 2, dtype=torch.float64)
    alpha = marginal(1.0)[0]
    truth = 0.5 * alpha * (0.4 - alpha * 2)
    spread = 0.5 * alpha * 0.4  # v_1 v_2 (A_12 + A_21)
    _, exact = flow.with_divergence(x[:1], 1.0, ExactTrace().directions(0, x[:1]))
    assert_close(exact, [truth], 1e-12)
    for count in (1, 3):
        trace = Hutchinson(KeyedNoise.of(5, torch.arange(2000)), count)
        _, divergence = flow.with_divergence(x, 1.0, trace.directions(0, x))
        se = float(divergence.std()) / math.sqrt(len(x))
        assert abs(float(divergence.mean()) - truth) < 4 * se
        assert float(divergence.std()) == pytest.approx(spread / math.sqrt(count), rel=0.05)


def test_probes_are_fresh_at_each_point_and_the_same_for_any_company():
    """Kept ones leave the whole spread of one, fresh ones the root of the sum of squares. Kills: a
    probe reused along the path; noise that depends on the batch; probes of another row of a group.
    """
    flow, steps = flow_of(Coupled(), X_0), 12
    ids = torch.arange(1500)
    x = torch.zeros(len(ids), 1, 1, 2, dtype=torch.float64)
    truth = flow.log_density(x[:1], steps, ExactTrace())
    h = (LAST - FIRST) / steps
    alphas = [marginal(FIRST + i * h)[0] for i in range(steps + 1)]
    terms = quadrature(steps) * h * torch.tensor(alphas).double() * 0.2
    spreads = {True: float(terms.square().sum().sqrt()), False: float(terms.sum().abs())}
    for fresh, spread in spreads.items():
        noise = KeyedNoise.of(3, ids)
        log_p = flow.log_density(x, steps, Hutchinson(noise, fresh=fresh))
        assert float((log_p - truth).std()) == pytest.approx(spread, rel=0.06)
        some = ids[[7, 400]]
        alone = flow.log_density(x[:2], steps, Hutchinson(noise.rows(some), fresh=fresh))
        assert_close(alone, log_p[some], 1e-12)
    grouped = Hutchinson(KeyedNoise.of(3, ids[:2]), 2, each=3).directions(1, x[:6])
    single = Hutchinson(KeyedNoise.of(3, ids[:2]), 2).directions(1, x[:2])
    assert torch.equal(grouped, single[:, [0, 0, 0, 1, 1, 1]])


class Deaf(nn.Module):
    """A network that keeps its gradients to itself."""

    def forward(self, x, log_snr):
        return x.detach()


def test_what_has_no_ode_is_refused_with_its_reason():
    """Kills: a gradient that is silently none of the network's."""
    with pytest.raises(BadInput, match="cannot be differentiated"):
        flow_of(Deaf(), X_0).log_density(of_each(POINTS), 5, ExactTrace())
    with pytest.raises(BadInput, match="is no Gaussian chain"):
        ProbabilityFlow.of(object(), "it")
