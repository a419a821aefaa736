"""VDM: curves of log SNR, the continuous bound against closed forms, and gradients of both kinds.

Data N(m, s^2) with an affine denoiser make everything a formula: with y = 1 + SNR s^2 and
d = x_0 - m the mean of |x_0 - x0-hat|^2 is (d^2 + s^2 (y - 1)) / y^2, whose integral over the SNR
is (d^2/s^2 - 1) (1/y_1 - 1/y_0) + log(y_0/y_1), at any x_0 and for any m and s that the denoiser
believes in.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from truth import Nodes, assert_close, column, hermite, terms

from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.terms import prior_term, reconstruction_term
from nelbo.errors import BadInput
from nelbo.gaussian.along import Between
from nelbo.gaussian.continuous import (
    ContinuousGaussian,
    LevelLikelihood,
    low_discrepancy_u,
    training_loss,
)
from nelbo.gaussian.decoder import Density, Discretized, LevelPosterior
from nelbo.gaussian.log_snr import FixedLogSNR, LearnedLogSNR
from nelbo.gaussian.parametrization import EPS, PARAMETRIZATIONS, X_0, Levels, V
from nelbo.gaussian.precise import InTheLimit
from nelbo.gaussian.schedule import from_log_snr, log_snr_linear
from nelbo.testing import check_chain
from nelbo.types import Grid

torch.set_num_threads(1)

GRID = Grid(5)
M, S = 0.2, 0.6
BELIEFS = {"optimal": (M, S), "imperfect": (-0.1, 0.9)}
FIRST, LAST = 5.0, -4.0


def bent(seed=0, width=6, scale=2.0, first=FIRST, last=LAST):
    """A learned curve in float64 with random weights and the given ends."""
    curve = LearnedLogSNR(first, last, width).double()
    generator = torch.Generator().manual_seed(seed)
    for weight in (curve.a, curve.b, curve.c):
        weight.data += scale * torch.randn(width, generator=generator, dtype=torch.float64)
    for end in (curve.above, curve.below):  # float64 digits, which float32 did not have
        end.data.fill_(math.log(math.expm1((first - last) / 2)))
    return curve


CURVES = {
    "even": lambda: FixedLogSNR(FIRST, LAST),
    "started": lambda: bent(scale=0.0),
    "bent": bent,
    "bent otherwise": lambda: bent(seed=3, scale=3.0),
}
every_curve = pytest.mark.parametrize("curve", CURVES)


def test_each_step_of_the_limit_is_at_u_of_its_own_part():
    """Between the log SNRs of its two ends, and everywhere there.

    Kills: parts of another width, by which an end of [0, 1] is left out.
    """
    parts, curve = 12, FixedLogSNR(FIRST, LAST)
    model = ContinuousGaussian(Denoiser(M, S, "eps"), curve, parametrization=EPS, decoder=Density())
    along = Between(curve.schedule(parts), curve)
    t = torch.arange(2, parts + 1).repeat(20)
    moment = InTheLimit(model, along).moment(t, KeyedNoise.of(0, torch.arange(len(t))))
    levels = along.schedule.log_snr
    place = (levels[t - 1] - along.log_snr(moment)) / (levels[t - 1] - levels[t])
    assert float(place.min()) >= 0
    assert 0.9 < float(place.max()) <= 1


class Denoiser(nn.Module):
    """The best network for data N(m, s^2), told log SNR."""

    def __init__(self, m, s, name):
        super().__init__()
        self.m, self.s, self.name = m, s, name

    def forward(self, x, log_snr):
        log_snr = log_snr.reshape(-1, 1)
        a, noise = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        gain = a * self.s**2 / (a.square() * self.s**2 + noise.square())
        x_0 = self.m + gain * (x - a * self.m)
        return PARAMETRIZATIONS[self.name].target(x_0, (x - a * x_0) / noise, a, noise)


class Small(nn.Module):
    """tanh layers over each dimension and log SNR, `outputs` for each dimension of (B, D)."""

    def __init__(self, outputs, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def weights(*shape):
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))

        self.enter, self.shift, self.leave = weights(2, 6), weights(6), weights(6, outputs)

    def forward(self, x, log_snr):
        inputs = torch.stack([x, (0.3 * log_snr)[:, None].expand_as(x)], dim=-1)
        return (torch.tanh(inputs @ self.enter + self.shift) @ self.leave).flatten(1)


def affine_model(curve, belief="optimal", name="eps"):
    network = Denoiser(*BELIEFS[belief], name)
    parametrization = PARAMETRIZATIONS[name]
    return ContinuousGaussian(network, curve, parametrization=parametrization, decoder=Density())


def small_model(curve, kind):
    """A model of levels with a network that fits nothing."""
    parametrization, decoder = {
        "eps": (EPS, LevelLikelihood(GRID)),
        "v": (V, Discretized(GRID)),
        "levels": (Levels(GRID), LevelPosterior(GRID)),
        "levels, likelihood": (Levels(GRID), LevelLikelihood(GRID)),
    }[kind]
    network = Small(parametrization.outputs)
    return ContinuousGaussian(network, curve, parametrization=parametrization, decoder=decoder)


KINDS = ("eps", "v", "levels", "levels, likelihood")
every_kind = pytest.mark.parametrize("kind", KINDS)


def data(rows, dims=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(GRID.n, (rows, dims), generator=generator)
    return GRID.values(levels, torch.float64), KeyedNoise.of(seed, torch.arange(rows))


def legendre(count):
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def expected_diffusion(model, x_0, count=80, rule=None):
    """The mean of the diffusion term over u and noise at each row of x_0, by a product rule."""
    u, weights = legendre(count)
    rule = rule or hermite(dims=x_0.shape[1])
    rows = x_0.repeat_interleave(count * len(rule), dim=0)
    nodes = rule.nodes.repeat(len(x_0) * count, 1)
    times = u.repeat_interleave(len(rule)).repeat(len(x_0))
    with torch.no_grad():
        values = model.diffusion_term(rows, times, Nodes(nodes))
    return values.reshape(len(x_0), count, len(rule)) @ rule.weights @ weights


def squared_error(snr, x_0, belief):
    m, s = BELIEFS[belief]
    y = 1 + snr * s**2
    return ((x_0[:, 0] - m).square() + s**2 * (y - 1)) / y**2


def closed_diffusion(x_0, belief):
    m, s = BELIEFS[belief]
    y_0, y_1 = (1 + math.exp(end) * s**2 for end in (FIRST, LAST))
    excess = (x_0[:, 0] - m).square() / s**2 - 1
    return 0.5 * (excess * (1 / y_1 - 1 / y_0) + math.log(y_0 / y_1))


# Curves.


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("seed", range(5))
def test_log_snr_falls_for_any_weights(seed, scale):
    """Kills: a weight left free in sign; ends that may cross; an end that is not its own."""
    curve = LearnedLogSNR(2.0, -1.0, width=16)
    generator = torch.Generator().manual_seed(seed)
    for weight in curve.parameters():
        weight.data = scale * torch.randn(weight.shape, generator=generator)
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    with torch.no_grad():
        log_snr, derivative, ends = curve(u), curve.derivative(u), curve.ends()
    assert (log_snr.diff() < 0).all()
    assert (derivative < 0).all()
    assert_close(log_snr[[0, -1]], ends, rel=1e-14, absolute=1e-14)


@every_curve
def test_the_derivative_is_exact(curve):
    """Against autograd and differences. Kills: a factor a, c or 1 / rise left out."""
    curve = CURVES[curve]()
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(curve(u).sum(), u)
    assert_close(curve.derivative(u), slope, rel=1e-12)
    h = 1e-6
    with torch.no_grad():
        assert_close(curve.derivative(u), (curve(u + h) - curve(u - h)) / (2 * h), rel=1e-6)


def test_a_learned_curve_starts_nearly_even_between_the_given_ends():
    """Kills: ends swapped; a start so bent that some SNRs are hardly ever seen."""
    curve = LearnedLogSNR(9.2, -9.0)
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    with torch.no_grad():
        assert_close(curve.ends(), [9.2, -9.0], rel=1e-6)
        assert_close(curve(u), FixedLogSNR(9.2, -9.0)(u), absolute=0.75)
    assert curve(u).dtype == torch.float64


@pytest.mark.parametrize("count", [1, 7, 64])
@pytest.mark.parametrize("offset", [0.0, 0.37, 0.999])
def test_low_discrepancy_u_puts_one_in_every_part(count, offset):
    """Kills: no offset; u of place 0 never large."""
    u = low_discrepancy_u(count, offset)
    assert ((u >= 0) & (u < 1)).all()
    assert float(u[0]) == offset
    parts = ((u - offset / count) % 1 * count + 1e-9).long()
    assert sorted(parts.tolist()) == list(range(count))


# Schedules.


@every_curve
@pytest.mark.parametrize("T", [2, 5, 100, 1000])
def test_a_schedule_has_the_log_snr_of_the_curve(curve, T):
    """Also its ends at t = 1 and T. Kills: u = t / T."""
    curve = CURVES[curve]()
    schedule = curve.schedule(T)
    u = torch.arange(T, dtype=torch.float64) / (T - 1)
    with torch.no_grad():
        assert_close(schedule.log_snr[1:], curve(u), rel=1e-12, absolute=1e-12)
    assert_close(schedule.log_snr[[1, T]], [FIRST, LAST], rel=1e-12)
    assert schedule.name == curve.name


@pytest.mark.parametrize("T", [2, 10, 1000])
def test_an_even_curve_is_the_log_snr_linear_schedule(T):
    """Kills: a schedule from log SNR that is another chain than the one made directly."""
    ours, known = FixedLogSNR(9.2, -9.0).schedule(T), log_snr_linear(T)
    assert_close(ours.log_alpha, known.log_alpha, rel=1e-12)
    assert_close(ours.posterior_variance, known.posterior_variance, rel=1e-12)


def test_from_log_snr_keeps_every_value():
    """Steep, flat and single steps. Kills: a gap taken from the wrong neighbour."""
    for values in ([300.0, 299.0, -2.0, -300.0], [0.1, 0.1 - 1e-9], [3.0], [-20.0]):
        schedule = from_log_snr(values)
        assert len(schedule.log_alpha) == len(values)
        assert_close(schedule.log_snr[1:], values, rel=1e-12)


@pytest.mark.parametrize(
    "values", [[1.0, 1.0], [1.0, 2.0], [301.0], [1.0, -301.0], [math.nan], [1.0, math.nan], []]
)
def test_a_log_snr_that_does_not_fall_is_refused(values):
    """Kills: a check of the ends alone."""
    with pytest.raises(BadInput, match=r"log SNR must fall|at least one step"):
        from_log_snr(values)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (-1.0, 1.0), (301.0, 0.0), (0.0, math.nan)])
@pytest.mark.parametrize("kind", [FixedLogSNR, LearnedLogSNR])
def test_ends_that_no_schedule_could_hold_are_refused(kind, ends):
    """Kills: an error only at the first evaluation."""
    with pytest.raises(BadInput, match="log SNR must fall"):
        kind(*ends)


def test_one_latent_is_no_discretization():
    """Kills: 0 / 0 at T = 1."""
    with pytest.raises(BadInput, match="at least 2 steps; got T = 1"):
        FixedLogSNR().schedule(1)


# The bound.


@every_curve
@pytest.mark.parametrize("belief", BELIEFS)
@pytest.mark.parametrize("name", sorted(PARAMETRIZATIONS))
def test_the_diffusion_term_is_its_closed_form_along_every_curve(curve, belief, name):
    """It knows only the ends. Kills: no SNR in the weight; a half; the slope of w for lambda's."""
    x_0 = column(-0.7, 0.2, 1.3)
    model = affine_model(CURVES[curve](), belief, name)
    got = expected_diffusion(model, x_0, count=120)
    assert_close(got, closed_diffusion(x_0, belief), rel=1e-8)


@every_kind
def test_the_diffusion_term_of_any_network_does_not_depend_on_the_curve(kind):
    """By quadrature. Kills: a network told u; x_u at another SNR than the weight's."""
    x_0, _ = data(3, dims=1)
    rule = hermite(60)
    values = [
        expected_diffusion(small_model(CURVES[curve](), kind), x_0, 100, rule) for curve in CURVES
    ]
    for other in values[1:]:
        assert_close(other, values[0], rel=1e-5)


@every_kind
def test_monte_carlo_agrees_between_two_curves(kind):
    """|z| < 4 with noise and u of their own. Kills: a term right only at quadrature nodes."""
    rows = 40_000
    x_0 = data(4)[0].repeat(rows // 4, 1)
    means, variances = [], []
    for seed, curve in enumerate(("even", "bent otherwise")):
        noise = KeyedNoise.of(seed, torch.arange(rows))
        u = noise.draw(torch.ones(rows, dtype=torch.int64)).uniform(torch.empty(rows, 1))[:, 0]
        with torch.no_grad():
            values = small_model(CURVES[curve](), kind).diffusion_term(x_0, u, noise)
        means.append(float(values.mean()))
        variances.append(float(values.var()) / rows)
    assert abs(means[0] - means[1]) / math.sqrt(sum(variances)) < 4


@pytest.mark.parametrize("belief", BELIEFS)
def test_the_whole_bound_is_its_closed_form(belief):
    """L_0 by a density of variance 1/SNR_0. Kills: the ends of L_T and L_0 swapped."""
    x_0 = column(-0.7, 1.3)
    rule, (u, weights) = hermite(), legendre(80)
    model = affine_model(bent(), belief)
    rows = x_0.repeat_interleave(len(u) * len(rule), dim=0)
    times = u.repeat_interleave(len(rule)).repeat(len(x_0))
    with torch.no_grad():
        values = model.bound(rows, times, Nodes(rule.nodes.repeat(len(x_0) * len(u), 1)))
    got = values.reshape(len(x_0), len(u), len(rule)) @ rule.weights @ weights
    alpha_bar = 1 / (1 + math.exp(-LAST))
    L_T = 0.5 * (alpha_bar * (x_0[:, 0].square() - 1) - math.log1p(-alpha_bar))
    snr = math.exp(FIRST)
    L_0 = 0.5 * (math.log(2 * math.pi / snr) + snr * squared_error(snr, x_0, belief))
    assert_close(got, L_T + closed_diffusion(x_0, belief) + L_0, rel=1e-9)


def test_the_two_calls_of_the_network_see_noise_of_their_own():
    """At u = 0 they differ in nothing else. Kills: one draw for L_inf and L_0."""
    model = small_model(bent(), "v")
    x_0, noise = data(3)
    seen = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.bound(x_0, torch.zeros(3, dtype=torch.float64), noise)
    assert len(seen) == 2
    assert (seen[0] != seen[1]).all()


@every_curve
@pytest.mark.parametrize("belief", BELIEFS)
def test_the_bound_of_t_steps_falls_to_the_continuous_one(curve, belief):
    """Averaged over the data, by halves as T - 1 doubles; L_T and L_0 are the same at every T.

    Kills: a schedule that is shifted by a step; the error at the wrong end of a step.
    """
    model = affine_model(CURVES[curve](), belief)
    x_0 = column(M - S, M + S)  # their mean is the mean over the data of what is quadratic in x_0
    limit = float(closed_diffusion(x_0, belief).mean())
    excess = []
    for steps in (32, 64, 128, 256):
        whole = terms(model.chain(steps + 1), x_0)
        excess.append(float(whole.L_mid.sum(1).mean()) - limit)
        assert_close(whole.L_T, model.prior_term(x_0).detach(), rel=1e-10)
    assert all(value > 0 for value in excess)
    ratios = [before / after for before, after in pairwise(excess)]
    assert all(1.8 < ratio < 2.3 for ratio in ratios), ratios
    assert ratios[-1] == pytest.approx(2, abs=0.05)


@every_kind
@pytest.mark.parametrize("curve", ["even", "bent"])
def test_a_chain_has_the_prior_term_the_decoder_and_the_samples_of_the_model(curve, kind):
    """Kills: a decoder at another SNR; a V_1 other than 1/SNR_0; L_T at u = 0."""
    model = small_model(CURVES[curve](), kind)
    x_0, noise = data(6)
    chain = model.chain(9)
    with torch.no_grad():
        assert_close(prior_term(chain, x_0), model.prior_term(x_0), rel=1e-12)
        L_0 = reconstruction_term(chain, x_0, noise)
        assert_close(L_0, model.reconstruction_term(x_0, noise), rel=1e-10)
        x_t = chain.q.marginal(x_0, constant_time(9, x_0)).sample(noise)
        assert chain.p.step(x_t, constant_time(9, x_0)).sample(noise).shape == x_0.shape
        ours, theirs = (p.decoder(x_0).sample(noise) for p in (model, chain.p))
        assert torch.equal(ours, theirs)


def test_a_chain_decoded_by_the_likelihood_is_a_chain():
    """Every law of every chain. Kills: masses that do not add up to 1; samples of another law."""
    torch.manual_seed(0)
    with torch.no_grad():
        check_chain(small_model(bent(first=2.0, last=-2.0), "eps").chain(3), data(2)[0])


def test_the_level_likelihood_is_bayes_rule_over_even_levels():
    """Kills: no sqrt(alpha_bar); alpha_bar for 1 - alpha_bar."""
    x_1 = torch.tensor([[[0.3, -1.2]], [[0.0, 0.9]]], dtype=torch.float64)
    alpha_bar = torch.tensor([0.9, 0.2], dtype=torch.float64)[:, None, None]
    masses = LevelLikelihood(GRID)(x_1, alpha_bar, 1 - alpha_bar).log_masses
    levels = GRID.values(torch.arange(GRID.n), torch.float64)[:, None]
    for b in range(2):
        law = torch.distributions.Normal(
            alpha_bar[b, 0, 0].sqrt() * levels, (1 - alpha_bar[b, 0, 0]).sqrt()
        )
        density = law.log_prob(x_1[b]).exp()
        assert_close(masses[b, 0].exp(), density / density.sum(0), rel=1e-12)


# Gradients.


def gradient_of(loss, parameters):
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def slope_along(loss, parameters, direction, h=1e-4):
    """Central differences of fourth order of loss() along a direction in weight space."""
    start = [p.detach().clone() for p in parameters]
    value = {}
    with torch.no_grad():
        for step in (-2, -1, 1, 2):
            for p, x, d in zip(parameters, start, direction, strict=True):
                p.copy_(x + step * h * d)
            value[step] = float(loss())
        for p, x in zip(parameters, start, strict=True):
            p.copy_(x)
    return (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * h)


def directions(parameters, count=3):
    """Random directions, and each weight alone where there are few."""
    generator = torch.Generator().manual_seed(9)
    if sum(p.numel() for p in parameters) <= 2:
        return [[torch.ones_like(p) * (p is own) for p in parameters] for own in parameters]
    return [
        [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        for _ in range(count)
    ]


def parts_of(model):
    """The network's weights, the curve's ends and its interior."""
    curve = model.log_snr
    ends = [curve.above, curve.below]
    return list(model.network.parameters()), ends, [curve.a, curve.b, curve.c]


@every_kind
def test_each_gradient_is_a_finite_difference(kind):
    """The bound's for network and ends, the squared term's for the interior, at the same noise.

    Kills: the interior trained by the bound; 2 l without the l; the ends' gradient scaled too; a
    path from lambda to the loss, through x_u, the weight or the network's input, cut.
    """
    model = small_model(bent(scale=0.5), kind)
    x_0, noise = data(6)
    u = low_discrepancy_u(6, 0.3)
    weights = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)
    network, ends, interior = parts_of(model)

    def bound():
        return (weights * model.bound(x_0, u, noise)).sum()

    def squared():
        return (weights * model.diffusion_term(x_0, u, noise).square()).sum()

    loss = (weights * training_loss(model, x_0, u, noise)).sum()
    got = gradient_of(loss, [*network, *ends, *interior])
    cut = len(network), len(network) + len(ends)
    gradients = got[: cut[0]], got[cut[0] : cut[1]], got[cut[1] :]
    targets = ((network, bound), (ends, bound), (interior, squared))
    for gradient, (part, target) in zip(gradients, targets, strict=True):
        for direction in directions(part):
            along = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
            assert along == pytest.approx(slope_along(target, part, direction), rel=1e-5)


@every_kind
def test_the_value_is_the_bound_and_the_weight_scales_the_interior_alone(kind):
    """Kills: variance_weight in the value, or in the gradient of network and ends."""
    model = small_model(bent(), kind)
    x_0, noise = data(5)
    u = low_discrepancy_u(5, 0.6)
    network, ends, interior = parts_of(model)
    weights = [*network, *ends, *interior]
    once, thrice = (training_loss(model, x_0, u, noise, variance_weight=c) for c in (1.0, 3.0))
    for loss in (once, thrice):
        assert_close(loss, model.bound(x_0, u, noise).detach(), rel=1e-14)
    unit, scaled = (gradient_of(loss.sum(), weights) for loss in (once, thrice))
    factors = [1] * len([*network, *ends]) + [3] * len(interior)
    for a, b, factor in zip(unit, scaled, factors, strict=True):
        assert_close(b, factor * a, rel=1e-12, absolute=1e-14)


def test_training_the_interior_lowers_the_variance_and_leaves_the_bound():
    """Exact gradients by quadrature. Kills: the sign of the interior's gradient."""
    model = affine_model(bent(scale=0.0, width=16))
    rule, (u, weights) = hermite(), legendre(48)
    x_0 = column(M - S, M + S)
    rows = x_0.repeat_interleave(len(u) * len(rule), dim=0)
    times = u.repeat_interleave(len(rule)).repeat(2)
    weight = (weights[:, None] * rule.weights).flatten().repeat(2) / 2
    noise = Nodes(rule.nodes.repeat(2 * len(u), 1))
    interior = parts_of(model)[2]
    optimizer = torch.optim.Adam(interior, lr=0.1)

    def moments():
        with torch.no_grad():
            value = model.diffusion_term(rows, times, noise)
        return float(weight @ value), float(weight @ value.square())

    mean, square = moments()
    for _ in range(60):
        optimizer.zero_grad()
        (weight @ training_loss(model, rows, times, noise)).backward()
        optimizer.step()
    after, least = moments()
    assert after == pytest.approx(mean, rel=1e-4)
    assert least - mean**2 < 0.8 * (square - mean**2)


def test_a_fixed_curve_is_trained_by_the_bound_alone():
    """Kills: a hook on what has no gradient."""
    model = small_model(FixedLogSNR(FIRST, LAST), "levels")
    x_0, noise = data(4)
    u = low_discrepancy_u(4, 0.1)
    network = list(model.network.parameters())
    ours = gradient_of(training_loss(model, x_0, u, noise).sum(), network)
    bound = gradient_of(model.bound(x_0, u, noise).sum(), network)
    for a, b in zip(ours, bound, strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert_close(training_loss(model, x_0, u, noise), model.bound(x_0, u, noise), rel=1e-14)


# Shapes, precision and what is refused.


class Images(nn.Module):
    """A convolution told log SNR."""

    def __init__(self, outputs):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(1, outputs, 3, padding=1)

    def forward(self, x, log_snr):
        return self.convolution(x) * torch.tanh(log_snr / 4)[:, None, None, None]


@pytest.mark.parametrize("parametrization", [V, X_0, Levels(GRID)], ids=lambda p: p.name)
def test_images_in_float32_give_the_bound_in_float64(parametrization):
    """Alone as in a batch, clipped or not. Kills: a curve in float32; an example's neighbours."""
    levels = torch.randint(GRID.n, (6, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    noise, u = KeyedNoise.of(0, torch.arange(6)), low_discrepancy_u(6, 0.2)
    model = ContinuousGaussian(
        Images(parametrization.outputs),
        LearnedLogSNR(),
        parametrization=parametrization,
        decoder=LevelLikelihood(GRID),
        clip=(-0.9, 0.9),
    )
    values = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            x_0 = GRID.values(levels, dtype)
            values[dtype] = model.bound(x_0, u, noise)
        one = [
            model.bound(x_0[i : i + 1], u[i : i + 1], noise.rows(torch.tensor([i])))
            for i in range(6)
        ]
    assert values[torch.float32].dtype == torch.float64
    assert_close(torch.cat(one), values[torch.float64], rel=1e-6)
    assert_close(values[torch.float32], values[torch.float64], rel=1e-3)


def test_the_clip_is_a_part_of_the_model():
    """Kills: a clip that the chain has and the continuous bound has not."""
    free, clipped = (
        ContinuousGaussian(
            Small(1), bent(), parametrization=V, decoder=Discretized(GRID), clip=clip
        )
        for clip in (None, (-0.1, 0.1))
    )
    x, log_snr = data(4)[0], torch.zeros(4, dtype=torch.float64)
    want = free.predict(x, log_snr).x_0.clamp(-0.1, 0.1)
    assert torch.equal(clipped.predict(x, log_snr).x_0, want)
    t = torch.full((4,), 5)
    chain = clipped.chain(9)
    prediction = chain.p.predict(x, t)
    time = chain.q.schedule.log_snr[t]
    assert_close(prediction.x_0, clipped.predict(x, time).x_0.detach(), rel=1e-12, absolute=1e-14)


def test_a_network_of_the_wrong_shape_is_refused():
    """Kills: channels that broadcast."""
    model = ContinuousGaussian(Small(2), bent(), parametrization=EPS, decoder=LevelLikelihood(GRID))
    x_0, noise = data(3)
    message = r"must give \(3, 2\) for input \(3, 2\) with parametrization eps; got \(3, 4\)"
    with pytest.raises(BadInput, match=message):
        model.bound(x_0, low_discrepancy_u(3, 0.0), noise)


def test_the_levels_decoder_needs_the_levels_parametrization():
    """Kills: a posterior over levels from a network that has none."""
    model = ContinuousGaussian(Small(1), bent(), parametrization=V, decoder=LevelPosterior(GRID))
    with pytest.raises(BadInput, match="levels parametrization"):
        model.reconstruction_term(*data(3))
