"""The terms of a chain at high SNR, from a network in float32, against float64 at the same x_t."""

import math
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from torch import nn
from truth import assert_close

import nelbo
from nelbo.bound.estimators import Rows
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.terms import prior_term
from nelbo.data import Images, Points
from nelbo.estimation import Evaluator, measuring
from nelbo.estimation.errors import measured_errors
from nelbo.gaussian.along import Steps
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.controls import AffineControl
from nelbo.gaussian.decoder import Discretized, log_mass
from nelbo.gaussian.log_snr import FixedLogSNR
from nelbo.gaussian.parametrization import PARAMETRIZATIONS
from nelbo.gaussian.schedule import log_snr_linear
from nelbo.model import Settings, continuous_model
from nelbo.report.page.checks import State, checks
from nelbo.types import Grid

torch.set_num_threads(1)

T, FIRST, LAST = 100_000, 30.0, -9.0


@dataclass(frozen=True)
class Line:
    """log SNR falls evenly from `first` to `last` at t = 1..T; what that gives, in float64."""

    T: int = T
    first: float = FIRST
    last: float = LAST

    @cached_property
    def schedule(self):
        return log_snr_linear(self.T, self.first, self.last)

    def log_snr(self, t):
        return self.first + (self.last - self.first) * (t - 1).double() / (self.T - 1)

    def half_fall(self, t):
        """(SNR_{t-1} - SNR_t) / 2."""
        gap = (self.first - self.last) / (self.T - 1)
        return 0.5 * self.log_snr(t).exp() * math.expm1(gap)

    def x_0_hat(self, name, x_t, output, t):
        """By the definitions."""
        level = self.log_snr(t).reshape(-1, 1, 1, 1)
        a, s = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
        x_t, output = x_t.double(), output.double()
        return {"eps": (x_t - s * output) / a, "v": a * x_t - s * output, "x_0": output}[name]


LINE = Line()
FINE = LINE.schedule
TIMES = torch.tensor([2, 3, 1_000, 12_000, 20_500, 40_000, 70_000, T])
GRID = Grid(65_536)
LAW = 1e-5
SHAPE = (1, 4, 4)


def pictures(count, n=65_536):
    """Levels of all sizes, both ends among them."""
    levels = torch.randint(n, (count, *SHAPE), generator=torch.Generator().manual_seed(1))
    levels[:, 0, 0, 0], levels[:, 0, 0, 1] = 0, n - 1
    return Images("pictures", None, levels, n)


class Nearly(nn.Module):
    """The output that is right for the one image, and a tenth of its noise more; it remembers."""

    def __init__(self, image, name, more=0, dtype=torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.1, dtype=dtype))
        self.x_0, self.name, self.more = GRID.values(image, torch.float64), name, more
        self.seen = []

    def forward(self, x_t, log_snr):
        level = log_snr.double().reshape(-1, 1, 1, 1)
        a, s = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
        eps = (x_t.double() - a * self.x_0) / s
        wave = self.weight.double() * torch.sin(9 * self.x_0 + eps)
        wave = s * wave if self.name == "x_0" else wave
        right = PARAMETRIZATIONS[self.name].target(self.x_0, eps, a, s)
        parts = [right + wave] + [0.3 * torch.cos(5 * self.x_0 + level)] * self.more
        output = torch.cat([part.expand(x_t.shape) for part in parts], 1).to(x_t.dtype)
        self.seen.append((x_t.clone(), output.detach().clone()))
        return output


def wrapped(network, predicts, variance="small", line=LINE, **choices):
    return nelbo.wrap(
        network, schedule=line.schedule, predicts=predicts, variance=variance, shape=SHAPE,
        time_input="log-snr", **{"levels": GRID.n, "V_1": math.exp(-line.first), **choices},
    )  # fmt: skip


def rows_at(t):
    """Each t once, of image 0."""
    return Rows(torch.zeros_like(t), t, torch.zeros_like(t), torch.ones(len(t)).double())


def furthest(values, wanted):
    """The largest relative difference."""
    return float(((values - wanted) / wanted).abs().max())


CASES = [(name, kind, clip) for name in ("eps", "v", "x_0") for kind, clip in (
    ("small", False), ("small", True), ("large", False), ("learned-range", True))]  # fmt: skip


def term_errors(name, kind, clip, dtype=torch.float32, line=LINE, t=TIMES):
    """(the largest relative error of L_{t-1}, and of |x_0 - x0-hat|^2) at the x_t that it got."""
    images = pictures(1)
    network = Nearly(images.levels[0], name, kind == "learned-range", dtype)
    evaluator = Evaluator([wrapped(network, name, kind, line, clip=clip)], images)
    with measuring(evaluator.models):
        values, _, errors = evaluator.later(0, rows_at(t), [[]], distortion=True)
    x_t, output = (torch.cat(parts) for parts in zip(*network.seen, strict=True))
    assert x_t.dtype == dtype
    assert torch.equal(x_t, x_t.float().to(dtype)) == (dtype == torch.float32)  # not rounded before
    guess = line.x_0_hat(name, x_t, output[:, :1], t)
    error = network.x_0 - (guess.clamp(-1, 1) if clip else guess)
    squares = error.square().flatten(1)
    schedule = line.schedule
    ratio = {
        "small": torch.ones(len(t), 1).double(),
        "large": (schedule.posterior_variance / schedule.beta)[t][:, None],
    }.get(kind)
    if ratio is None:
        fraction = (output[:, 1:].double().flatten(1) + 1) / 2
        whole = (schedule.beta / schedule.posterior_variance).log()[t]
        ratio = torch.exp(-fraction * whole[:, None])
    shape = (ratio - 1 - ratio.log()).expand_as(squares)
    wanted = (line.half_fall(t)[:, None] * ratio * squares + 0.5 * shape).sum(1)
    return furthest(values[:, 0], wanted), furthest(errors[:, 0], squares.sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "kind", "clip"), CASES)
def test_a_term_from_a_float32_network_is_that_of_float64_at_its_x_t(name, kind, clip, dtype):
    """Kills: means in float32; x0-hat in float32; x_t that the network did not get."""
    assert max(term_errors(name, kind, clip, dtype)) < LAW


@pytest.mark.parametrize("name", ["eps", "v", "x_0"])
@pytest.mark.parametrize("decoder", ["discretized-gaussian", "density"])
def test_L_0_of_16_bits_is_that_of_float64_at_its_x_1(name, decoder):
    """Kills: the decoder's mean in float32."""
    images = pictures(1)
    network = Nearly(images.levels[0], name)
    choices = {"levels": None, "decoder": decoder} if decoder == "density" else {}
    data = Points("x", None, network.x_0[None]) if decoder == "density" else images
    evaluator = Evaluator([wrapped(network, name, **choices)], data)
    with measuring(evaluator.models):
        values, _ = evaluator.first(range(1))
    ((x_1, output),) = network.seen
    mean = LINE.x_0_hat(name, x_1, output, torch.ones(1))
    if decoder == "density":
        wanted = 0.5 * ((network.x_0 - mean).square() * math.exp(FIRST) - FIRST)
        wanted = wanted + 0.5 * math.log(2 * math.pi)
    else:
        wanted = -log_mass(images.levels.long(), mean, torch.tensor(-FIRST).double(), GRID)
    assert_close(values[0, 0, 0], float(wanted.sum()), rel=LAW)


class Prior(nn.Module):
    """Logits over levels, the same everywhere."""

    def __init__(self, n):
        super().__init__()
        draws = torch.randn(n, generator=torch.Generator().manual_seed(3))
        self.weight = nn.Parameter(draws)
        self.seen = []

    def forward(self, x_t, log_snr):
        self.seen.append(x_t.clone())
        return self.weight[None, :, None, None].expand(len(x_t), -1, *x_t.shape[2:])


@pytest.mark.parametrize("first", [18.0, 30.0])
def test_a_lattice_is_read_in_float32_as_in_float64(first):
    """Kills: distances from levels in float32, and their mean; at 30 x_t is beside one level."""
    images, grid, network = pictures(1, 256), Grid(256), Prior(256)
    schedule = log_snr_linear(1_000, first, LAST)
    model = nelbo.wrap(network, schedule=schedule, predicts="levels", variance="small",
                       time_input="log-snr", shape=SHAPE, levels=256)  # fmt: skip
    t = torch.arange(2, 900, 7)
    evaluator = Evaluator([model], images)
    with measuring(evaluator.models):
        result = evaluator.later(0, rows_at(t), [[]])[0][:, 0]
        L_0 = evaluator.first(range(1))[0][0, 0, 0]
    x_t = torch.cat(network.seen).double()
    ends = torch.cat([t, torch.ones(1, dtype=t.dtype)])
    alpha_bar, left = schedule.alpha_bar[ends], schedule.one_minus_alpha_bar[ends]
    a, s = (x.sqrt().reshape(-1, 1, 1, 1) for x in (alpha_bar, left))
    values = grid.values(torch.arange(256), torch.float64).reshape(1, -1, 1, 1)
    logits = network.weight.detach().double().reshape(1, -1, 1, 1)
    logits = (logits - 0.5 * ((x_t - a * values) / s).square()).log_softmax(1)
    x_0 = grid.values(images.levels, torch.float64)
    gap = ((x_0 - values) * logits.exp()).sum(1).square().flatten(1).sum(1)
    snr = schedule.log_snr.exp()
    wanted = 0.5 * (snr[t - 1] - snr[t]) * gap[:-1]
    assert float((result - wanted).abs().max()) < LAW * float(wanted.max())
    seen = wanted > 1e-6
    assert furthest(result[seen], wanted[seen]) < 5 * LAW  # of probabilities in float32
    assert abs(float(L_0 + logits[-1].gather(0, images.levels[0].long()).sum())) < LAW


def test_the_limit_of_continuous_time_is_that_of_float64_at_its_x_u():
    """Kills: x_0 - x0-hat in float32 in place of float64."""
    images = pictures(1)
    network = Nearly(images.levels[0], "eps")
    trained = ContinuousGaussian(
        network,
        FixedLogSNR(FIRST, LAST),
        parametrization=PARAMETRIZATIONS["eps"],
        decoder=Discretized(GRID),
    )
    model = continuous_model(
        trained, T, grid=GRID, shape=SHAPE, name="x", settings=Settings()
    ).in_the_limit()
    evaluator, t = Evaluator([model], images), TIMES[:6]
    with measuring(evaluator.models):
        values = evaluator.later(0, rows_at(t), [[]])[0][:, 0]
    x_u, output = (torch.cat(parts) for parts in zip(*network.seen, strict=True))
    key = KeyedNoise.of(0, images.ids).draw(torch.tensor([0])).rows(torch.zeros_like(t))
    noise = key.draw(torch.zeros_like(t)).at(t).at(torch.zeros_like(t))
    u = (t - 2 + noise.uniform(torch.empty(len(t), 1))[:, 0]) / (T - 1)
    error = network.x_0 - LINE.x_0_hat("eps", x_u, output, 1 + u * (T - 1))
    level = FIRST + (LAST - FIRST) * u
    wanted = 0.5 * (FIRST - LAST) / (T - 1) * level.exp() * error.square().flatten(1).sum(1)
    assert furthest(values, wanted) < LAW


def test_squared_errors_that_variances_are_made_from_are_those_of_float64():
    """Kills: improve's x0-hat in float32."""
    images = pictures(1)
    images = Images("four", None, images.levels.repeat(4, 1, 1, 1), GRID.n)
    network = Nearly(images.levels[0], "eps")
    evaluator = Evaluator([wrapped(network, "eps")], images)
    t = torch.tensor([1, 1_000, 12_000])
    with measuring(evaluator.models):
        result = measured_errors(evaluator, t).whole.mean.flatten(1).mean(1)
    x_t, output = (torch.cat(parts) for parts in zip(*network.seen, strict=True))
    error = network.x_0 - LINE.x_0_hat("eps", x_t, output, t.repeat_interleave(4))
    assert furthest(result, error.square().reshape(3, -1).mean(1)) < LAW


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", ["eps", "v", "x_0"])
def test_training_in_float32_has_the_term_of_float64_for_the_noise_that_was_drawn(name, clip):
    """Kills: x_0 - x0-hat by difference in the loss; the clip left out of the error."""
    images = pictures(1)
    network = Nearly(images.levels[0], name)
    model = wrapped(network, name, clip=clip)
    rows = len(TIMES)
    x_0 = model.x_0(images.levels.repeat(rows, 1, 1, 1), torch.float32)
    noise = KeyedNoise.of(0, torch.arange(rows))
    L_T = prior_term(model.chain, x_0).double()
    result = (model.one_time(model.chain, x_0, TIMES, noise).detach().double() - L_T) / T
    eps, (_, output) = noise.at(TIMES).normal(x_0).double(), network.seen[0]
    a = FINE.alpha_bar[TIMES].sqrt().reshape(-1, 1, 1, 1)
    s = FINE.one_minus_alpha_bar[TIMES].sqrt().reshape(-1, 1, 1, 1)
    x_0 = x_0.double()
    error = x_0 - LINE.x_0_hat(name, a * x_0 + s * eps, output, TIMES)
    error = torch.minimum(torch.maximum(error, x_0 - 1), x_0 + 1) if clip else error
    wanted = LINE.half_fall(TIMES) * error.square().flatten(1).sum(1)
    least = 1e-2 if name == "x_0" else LAW  # an output that is x_0 itself has float32's digits
    seen = wanted > 1e-7  # what is beside L_T / T
    assert furthest(result[seen], wanted[seen]) < least


def test_the_affine_control_is_that_of_float64_at_its_x_t():
    """Kills: the noise in x_t, or 1 less a gain near 1, by a difference in float32."""
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn(64, 6, generator=generator, dtype=torch.float64)
    x_0[:, 5] = 0.3  # a dimension in which the data do not vary
    control = AffineControl.of(Steps(FINE), x_0)
    t = torch.arange(2, 30_000, 469)
    a, s = FINE.alpha_bar[t].sqrt()[:, None], FINE.one_minus_alpha_bar[t].sqrt()[:, None]
    x_t = (a * x_0 + s * torch.randn(64, 6, generator=generator, dtype=torch.float64)).float()
    values = control.value(x_0, x_t, t, torch.arange(64)).double()
    snr = FINE.log_snr[t].exp()[:, None]
    u, eps = (x_0 - control.mean) @ control.axes, ((x_t.double() - a * x_0) / s) @ control.axes
    left = 1 / (1 + control.variance * snr)
    error = left * u - control.variance * snr.sqrt() * left * eps
    wanted = LINE.half_fall(t) * error.square().sum(1)
    assert furthest(values, wanted) < LAW


@pytest.mark.parametrize(
    ("first", "dtype", "steps"),
    [(21.0, torch.float32, 0), (25.0, torch.float32, 79), (30.0, torch.float64, 0)],
)
def test_a_result_says_where_its_network_gets_a_rounded_x_t(first, dtype, steps):
    """Kills: a threshold that is not 1e-3 of the noise; float64 taken for float32."""
    images = pictures(2)
    network = Nearly(images.levels[0], "eps", dtype=dtype)
    schedule = log_snr_linear(1_000, first, -14.0)
    model = nelbo.wrap(network, schedule=schedule, predicts="eps", variance="small", shape=SHAPE,
                       time_input="log-snr", levels=GRID.n)  # fmt: skip
    result = nelbo.evaluate(model, images, budget=20)
    rounded = result.model.get("x_t_rounded")
    assert (rounded or {"steps": 0})["steps"] == steps
    assert ("the network gets x_t in float32" in str(result)) == (steps > 0)
    states = {check.name: check.state for check in checks(result)}
    assert states["Arithmetic"] is (State.warning if steps else State.passed)
    if steps:
        assert_close(rounded["log_snr_above"], 21.94, rel=1e-3)
        assert "A: the network gets x_t" in str(nelbo.compare(model, model, images, budget=40))
