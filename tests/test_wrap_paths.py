"""Networks on paths, each as its users have it: what it receives, and the bound it must have."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import nelbo
from nelbo.bound.noise import Noise
from nelbo.cli import app
from nelbo.errors import BadInput
from nelbo.gaussian.level import Level
from nelbo.gaussian.on_path import TIMES
from nelbo.gaussian.parametrization import EPS, SCORE, X_0, V, edm_F, velocity
from nelbo.gaussian.path import PATHS, flow
from nelbo.model import ContinuousModel, LimitModel

torch.set_num_threads(1)
SHAPE, ENDS = (1, 4, 4), (8.0, -7.0)
OF_IMAGES = {"shape": SHAPE, "levels": 16, "log_snr": ENDS}


class Base(nn.Module):
    """A network of (x_t, log SNR) with weights that fit nothing; it says eps."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first, self.second = (nn.Linear(17, 24), nn.Linear(24, 16))
        for weight in self.parameters():
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)

    def forward(self, x_t, log_snr):
        given = torch.cat([x_t.flatten(1), log_snr[:, None] / 5], 1)
        noise = torch.sigmoid(-log_snr).sqrt().reshape(-1, 1, 1, 1)
        return noise * x_t + 0.1 * self.second(torch.tanh(self.first(given))).reshape(x_t.shape)


class Dressed(nn.Module):
    """Base, receiving z and a time as others have them, and saying what others say.

    level: of the time, by this file's own formulas (a, s, a', s'); says: of (x_0, eps, level).
    """

    def __init__(self, base, level, says):
        super().__init__()
        self.base, self.level, self.says = base, level, says

    def forward(self, z, time):
        a, s, *slopes = (part.reshape(-1, 1, 1, 1) for part in self.level(time))
        x_t = z / (a * a + s * s).sqrt()
        eps = self.base(x_t, 2 * (a / s).log().flatten())
        return self.says((z - s * eps) / a, eps, a, s, *slopes)


def _c_in(base, level, says):
    """EDM's input is c_in z: the network under it takes that away again."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Dressed(base, level, says)

        def forward(self, scaled, time):
            _, s = level(time)[:2]
            return self.inner(scaled * (s.square() + 0.25).sqrt().reshape(-1, 1, 1, 1), time)

    return Scaled()


def _vp(t):
    B = 0.1 * t + 9.95 * t * t
    return (-B / 2).exp(), (-torch.expm1(-B)).sqrt()


def _edm(time):
    sigma = (4 * time).exp()
    return torch.ones_like(sigma), sigma


def _F(x_0, eps, a, s):
    y, d = x_0 + s * eps, 0.5
    return (x_0 - d**2 / (s**2 + d**2) * y) * (s**2 + d**2).sqrt() / (s * d)


DRESSES = {
    "vp": (
        {"path": "vp-sde", "predicts": "v", "time_input": "999 t"},
        lambda base: Dressed(
            base, lambda time: _vp(time / 999), lambda x_0, eps, a, s: a * eps - s * x_0
        ),
    ),
    "ve": (
        {"family": "ncsnpp", "range": (-1, 1)},
        lambda base: Dressed(
            base, lambda s: (torch.ones_like(s), s), lambda x_0, eps, a, s: -eps / s
        ),
    ),
    "edm": ({"family": "edm"}, lambda base: _c_in(base, _edm, _F)),
    "flow": (
        {"family": "diffusers-flow"},
        lambda base: Dressed(
            base,
            lambda time: (1 - time / 1000, time / 1000),
            lambda x_0, eps, a, s: eps - x_0,
        ),
    ),
    "flow, reversed": (
        {"family": "flow-matching"},
        lambda base: Dressed(base, lambda t: (t, 1 - t), lambda x_0, eps, a, s: x_0 - eps),
    ),
}


def dressed(name, base=None):
    """The model of that dress, between the same log SNRs."""
    conventions, dress = DRESSES[name]
    return nelbo.wrap(dress(base or Base()), **conventions, **OF_IMAGES)


def images(count=6):
    levels = torch.randint(16, (count, *SHAPE), generator=torch.Generator().manual_seed(0))
    return nelbo.data.as_images(levels, n=16)


def test_one_network_has_one_bound_in_every_dress():
    """VP, VE, EDM and flows of both directions in float32, of a chain and in the limit, image by
    image. Kills: a velocity of the wrong direction; sigma for log sigma / 4; z without c_in; a
    score of x_t; v of z where a^2 + s^2 is not 1.
    """
    base = Base()
    for steps in ("chain", "limit"):
        results = {}
        for name in DRESSES:
            model = dressed(name, base).every(30)
            model = model if steps == "chain" else model.in_the_limit()
            results[name] = nelbo.evaluate(model, images(), exhaustive=True).per_image.total
        for total in results.values():
            assert float((total - results["vp"]).abs().max()) < 1e-4, steps
        assert float(results["vp"].min()) > 20


class Recorder(nn.Module):
    """Keeps what it is given, and says 0."""

    def forward(self, z, time):
        self.z, self.time = z, time
        return torch.zeros_like(z)


RECEIVED = {  # of log SNR 3: what a network receives as (factor of x_0, factor of eps, time)
    "edm": lambda g: (1 / math.hypot(g, 0.5), g / math.hypot(g, 0.5), math.log(g) / 4),
    "edm-denoiser": lambda g: (1, g, g),
    "ncsnpp": lambda g: (1, g, g),
    "flow-matching": lambda g: (1 / (1 + g), g / (1 + g), 1 / (1 + g)),
    "diffusers-flow": lambda g: (1 / (1 + g), g / (1 + g), 1000 * g / (1 + g)),
    "sit": lambda g: (1 / (1 + g), g / (1 + g), 1 / (1 + g)),
}


class Known(Noise):
    """eps that is known."""

    def __init__(self, eps):
        self.eps = eps

    def normal(self, like):
        return self.eps.to(like.dtype)

    def uniform(self, like):
        return torch.full_like(like, 0.5)

    def at(self, t):
        return self

    def draws(self, count):
        return Known(self.eps.repeat_interleave(count, 0))

    def rows(self, index):
        return Known(self.eps[index])


@pytest.mark.parametrize("family", RECEIVED)
def test_a_network_receives_what_its_family_gives_it(family):
    """In float32, to 1e-6. Kills: the time of another family; a path from the wrong end."""
    network, says = Recorder(), {"predicts": "velocity"} if family == "sit" else {}
    model = nelbo.wrap(network, family=family, **says, **OF_IMAGES)
    x_0 = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, *SHAPE)
    eps = torch.cos(5 * torch.arange(16.0, dtype=torch.float64)).reshape(x_0.shape)
    chain = model.every(23).chain  # whose t = 9 has log SNR 8 - 15 * 8/22
    x_t = chain.q.marginal(x_0, torch.tensor([9])).sample(Known(eps))
    chain.p.step(x_t.float(), torch.tensor([9]))
    a, s, time = RECEIVED[family](math.exp(-0.5 * (8 - 15 * 8 / 22)))
    torch.testing.assert_close(network.z.double(), a * x_0 + s * eps, rtol=1e-6, atol=1e-6)
    assert float(network.time) == pytest.approx(time, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("t", 0.2),
        ("1000 t", 200.0),
        ("999 t", 199.8),
        ("1 - t", 0.8),
        ("sigma", 0.25),
        ("log(sigma)", math.log(0.25)),
        ("log(sigma)/4", math.log(0.25) / 4),
        ("log(sigma/2)", math.log(0.125)),
        ("log-snr", -2 * math.log(0.25)),
    ],
)
def test_each_word_for_a_time_is_what_it_says(name, want):
    """On a flow at t = 0.2. Kills: s for s/a; a natural log of another argument."""
    level = flow().at(torch.tensor(-2 * math.log(0.25), dtype=torch.float64))
    assert float(TIMES[name](level)) == pytest.approx(want, rel=1e-12)


def test_half_precision_is_of_the_network_alone():
    """Its z and time are rounded once, from float32 and float64. Kills: a log SNR in bfloat16, of
    which sigma is off by a hundredth.
    """
    network = Recorder()
    network.weight = nn.Parameter(torch.zeros((), dtype=torch.bfloat16))
    model = nelbo.wrap(network, family="diffusers-flow", **OF_IMAGES)
    t, x_t = torch.tensor([3]), torch.linspace(-1, 1, 16).reshape(1, *SHAPE)
    log_snr = 8 - 15 * 2 / 22  # 6.636, which bfloat16 takes for 6.625
    chain, g = model.every(23).chain, math.exp(-0.5 * log_snr)
    want = (x_t.double() * math.hypot(1, g) / (1 + g), torch.tensor([1000 * g / (1 + g)]).double())
    chain.p.step(x_t, t)
    for _ in range(2):  # of the chain, then of the limit
        for got, exact_value in zip((network.z, network.time), want, strict=True):
            assert got.dtype == torch.bfloat16
            assert ((got.double() - exact_value).abs() <= 2**-8 * exact_value.abs()).all()
        model.network.predict(x_t, torch.tensor([log_snr], dtype=torch.float64))


# Exact networks.


def mixture(name):
    """(weights, means, deviations) of independent numbers."""
    return {
        "gaussian": ([1.0], [0.2], [0.6]),
        "mixture": ([0.3, 0.7], [-1.0, 0.6], [0.4, 0.7]),
    }[name]


class Exact(nn.Module):
    """The denoiser of data that are a mixture, at z and the path's own time, saying `reading`."""

    def __init__(self, data, path, reading):
        super().__init__()
        self.parts = [torch.tensor(part, dtype=torch.float64) for part in mixture(data)]
        self.path, self.reading = path, reading
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))  # float64 throughout

    def forward(self, z, t):
        a, s = (f(t).reshape(-1, *(1,) * (z.ndim - 1)) for f in (self.path.a, self.path.s))
        weights, means, deviations = self.parts
        variance = (a.unsqueeze(-1) * deviations).square() + s.unsqueeze(-1).square()
        apart = z.unsqueeze(-1) - a.unsqueeze(-1) * means
        log = weights.log() - 0.5 * (variance.log() + apart.square() / variance)
        x_0 = means + a.unsqueeze(-1) * deviations.square() / variance * apart
        x_0 = (torch.softmax(log, -1) * x_0).sum(-1)
        k, m = self.reading.weights(Level(a, s, t.reshape(a.shape), self.path.slopes))
        return k * x_0 + m * (z - a * x_0) / s


EXACT = {
    "velocity of a flow": ("flow", velocity(flow()), "flow-velocity"),
    "score of VE": ("ve", SCORE, "score"),
    "denoiser of EDM": ("edm", X_0, "x_0"),
    "F of EDM": ("edm", edm_F(0.5), "edm-F"),
    "v of sub-VP": ("sub-vp", V, "v"),
    "eps of a VP SDE": ("vp-sde", EPS, "eps"),
}


def exact(data, name, dims=1, ends=(5.0, -6.0)):
    path, reading, predicts = EXACT[name]
    made = PATHS[path]()
    return nelbo.wrap(
        Exact(data, made, reading),
        path=made,
        predicts=predicts,
        time_input="t",
        decoder="density",
        shape=(dims,),
        log_snr=ends,
    )


def squared_error(data, x_0, log_snr):
    """E |x_0 - E[x_0 | x_t]|^2 at each log SNR for one x_0, by numpy on y = x_0 + g eps."""
    weights, means, deviations = (np.array(part) for part in mixture(data))
    g = np.exp(-np.asarray(log_snr, dtype=float) / 2)[..., None, None]
    eps = np.arange(-8, 8.01, 0.1)
    y = x_0 + g * eps[:, None]
    variance = deviations**2 + g * g
    log = np.log(weights) - 0.5 * (np.log(variance) + (y - means) ** 2 / variance)
    chance = np.exp(log - log.max(-1, keepdims=True))
    chance /= chance.sum(-1, keepdims=True)
    mean = (chance * (means + deviations**2 / variance * (y - means))).sum(-1)
    density = np.exp(-0.5 * eps**2)
    return ((x_0 - mean) ** 2 * density).sum(-1) / density.sum()


def closed(data, x_0, first=5.0, last=-6.0):
    """L_T, the limit of the sum of L_(t-1), and L_0 with V_1 = 1/SNR_1, for one number x_0."""
    alpha_bar = 1 / (1 + math.exp(-last))
    L_T = 0.5 * (alpha_bar * x_0**2 - alpha_bar - math.log1p(-alpha_bar))
    nodes, weights = np.polynomial.legendre.leggauss(90)
    level = (first + last) / 2 + (first - last) / 2 * nodes
    integrand = 0.5 * np.exp(level) * squared_error(data, x_0, level)
    area = float(integrand @ weights) * (first - last) / 2
    V_1 = math.exp(-first)
    error = float(squared_error(data, x_0, first))
    return L_T, area, 0.5 * math.log(2 * math.pi * V_1) + error / (2 * V_1)


@pytest.mark.parametrize("data", ["gaussian", "mixture"])
@pytest.mark.parametrize("name", EXACT)
def test_an_exact_network_has_the_bound_of_its_closed_form(data, name):
    """By quadrature over noise and log SNR, to 1e-10, with the default V_1. Kills: a term of
    another SNR; a decoder of another variance; L_T left out.
    """
    model = exact(data, name).network
    u, weights = np.polynomial.legendre.leggauss(60)
    u, weights = (torch.from_numpy(x) / 2 for x in (u + 1, weights))
    eps = torch.arange(-8, 8.01, 0.125, dtype=torch.float64)
    chance = torch.exp(-0.5 * eps.square())
    chance = chance / chance.sum()
    for x_0 in (-0.8, 0.7):
        rows = torch.full((len(u) * len(eps), 1), x_0, dtype=torch.float64)
        nodes = Known(eps.repeat(len(u))[:, None])
        with torch.no_grad():
            middle = model.diffusion_term(rows, u.repeat_interleave(len(eps)), nodes)
            end = model.reconstruction_term(rows[: len(eps)], Known(eps[:, None]))
            prior = model.prior_term(rows[:1])
        L_T, area, L_0 = closed(data, x_0)
        assert float(prior) == pytest.approx(L_T, abs=1e-10)
        assert float(middle.reshape(len(u), -1) @ chance @ weights) == pytest.approx(
            area, abs=1e-10
        )
        assert float(end @ chance) == pytest.approx(L_0, abs=1e-10)


def test_an_evaluation_of_an_exact_network_is_within_its_interval():
    """Of the limit, by Monte Carlo, with a standard error below 0.5 %, at low SNR, where that takes
    few evaluations. Kills: strata of other widths; a limit whose mean is that of the chain's terms.
    """
    generator, ends = torch.Generator().manual_seed(3), (-1.0, -5.0)
    _, (mean,), (deviation,) = mixture("gaussian")
    points = mean + deviation * torch.randn(64, generator=generator).double()
    want = 16 * sum(sum(closed("gaussian", float(x), *ends)) for x in points)
    model = exact("gaussian", "velocity of a flow", dims=1024, ends=ends)
    result = nelbo.evaluate(model, points.repeat(2, 16), budget=4_000)
    assert result.monte_carlo.se < 5e-3 * want
    assert abs(result.monte_carlo.mean - want) < 4 * result.monte_carlo.se


# What else a model on a path does, and what is said of it.


def test_every_verb_takes_a_model_on_a_path(tmp_path):
    """Kills: a limit that cannot be sampled, improved or derived as its chain is."""
    model = dressed("flow")
    assert model.facts["time"] == "continuous"
    assert model.every(7).T == 7
    assert "time" not in model.every(7).facts
    assert model.every(9, "even").T == 9
    assert nelbo.sample(model.every(3), 2).shape == (2, *SHAPE)
    better = nelbo.improve(model, images(40), steps=5).model
    assert better.T == 5
    assert "time" not in better.described()
    assert nelbo.evaluate(better, images(), budget=200).network_evaluations <= 200
    compared = nelbo.compare(model, dressed("edm"), images(), budget=600)
    assert abs(compared.total.mean) < 1e-3
    assert compared.estimator["paired"] == ["images", "times", "noise"]
    derived = nelbo.derive(model.every(3), images(), images=1, paths=4)
    assert derived.model["path"] == {"name": "flow", "data_at": 0}
    value = nelbo.loss(model, images().levels).mean()
    value.backward()
    assert all(weight.grad.isfinite().all() for weight in model.network.parameters())


def test_a_model_on_a_path_is_measured_on_the_command_line(tmp_path):
    """By file.py:function. Kills: a limit that --steps cannot leave; settings without sources."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import nelbo\n"
        "def model():\n"
        "    return nelbo.wrap(lambda x, t: -x, family='edm', data='digits:test')\n"
    )
    run = CliRunner().invoke(app, ["inspect", f"{file}:model", "--json", "-"])
    assert run.exit_code == 0, run.output
    settings = json.loads(run.stdout)["settings"]
    assert settings["path"] == {"value": "edm", "source": "family", "changes_bound": True}
    assert settings["log SNR first"]["value"] == pytest.approx(-2 * math.log(0.002))
    assert settings["sigma_data"]["source"] == "default"
    common = ["--max-images", "4", "--budget", "400", "--json", "-"]
    for more, name in (([], "L_inf"), (["--steps", "10"], "L_mid")):
        run = CliRunner().invoke(
            app, ["evaluate", f"{file}:model", "--data", "digits:test", *common, *more]
        )
        assert run.exit_code == 0, run.output
        assert (json.loads(run.stdout)["model"].get("time") == "continuous") == (name == "L_inf")


def test_the_top_of_an_endless_path_is_a_quarter_of_a_spacing():
    """Of 256 levels about EDM's own. Kills: the spacing for its quarter; the sign of the end."""
    model = nelbo.wrap(Recorder(), family="diffusers-flow", shape=SHAPE, levels=256)
    first = model.facts["sources"]["log SNR first"]
    assert first["value"] == pytest.approx(2 * math.log(4 * 255 / 2))
    assert first["source"] == "default"
    assert model.facts["sources"]["log SNR last"]["value"] == -9.0
    assert model.facts["V_1"] == pytest.approx(math.exp(-first["value"]))


def test_the_steps_of_tables_are_a_chain_of_these():
    """The same chain as by functions, whose network receives the times of the tables. Kills: a
    limit between steps that no network knows.
    """
    network, t = Recorder(), torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)
    table = {"alpha": 1 - t, "sigma": t, "time": [7, 8, 9]}
    of_images = {"shape": SHAPE, "levels": 16}
    model = nelbo.wrap(network, path=table, predicts="eps", time_input="t", **of_images)
    assert model.T == 3
    assert not isinstance(model, ContinuousModel | LimitModel)
    model.chain.p.step(torch.zeros(1, *SHAPE), torch.tensor([2]))
    assert network.time.tolist() == [8.0]
    own = {"alpha": lambda t: 1 - t, "sigma": lambda t: 1 * t, "time": (0, 1)}
    by_functions = nelbo.wrap(network, path=own, predicts="velocity", time_input="t", **of_images)
    assert by_functions.facts["path"] == "own"
    by_functions.every(4).chain.p.step(torch.zeros(1, *SHAPE), torch.tensor([2]))


ALL = {"shape": SHAPE, "levels": 16}
REFUSALS = {
    "a family": ({"family": "edn"}, "family is one of edm,.*; did you mean edm"),
    "sit without": ({"family": "sit"}, "wrap needs predicts="),
    "no time": ({"path": "flow", "predicts": "eps"}, "wrap needs time_input="),
    "a path": (
        {"path": "vpsde", "predicts": "eps", "time_input": "t"},
        "path is one of vp-sde.*; did you mean vp-sde",
    ),
    "a key": ({"family": "edm", "path": {"name": "edm", "sigma": 1}}, "alpha is missing"),
    "another key": ({"family": "edm", "path": {"name": "edm", "low": 1}}, "unknown key low"),
    "a schedule": ({"family": "edm", "schedule": "linear"}, "schedule is of a chain of betas"),
    "a variance": ({"family": "edm", "variance": "small"}, "variance is of a chain of betas"),
    "V_1": ({"family": "edm", "V_1": 0.1}, "V_1 = 0.1 is not for a path"),
    "beyond": ({"family": "edm", "log_snr": (20, -5)}, "log_snr 20..-5 leaves the path edm"),
    "a time": ({"family": "edm", "time_input": "index"}, "time_input is one of t, 1000 t"),
    "a scale": ({"family": "edm", "scale": "c_out"}, "scale is one of none, unit, c_in"),
    "in vain": ({"family": "ncsnpp", "sigma_data": 1}, "sigma_data would change nothing"),
    "a clip": (
        {"path": "flow", "predicts": "levels", "time_input": "t", "clip": True},
        "clip would change nothing",
    ),
    "a velocity of betas": (
        {"schedule": "linear", "predicts": "velocity", "variance": "small", "time_input": "t"},
        "velocity is a derivative along a path",
    ),
    "a scale of betas": (
        {
            "schedule": "linear",
            "predicts": "eps",
            "variance": "small",
            "time_input": "t",
            "scale": "unit",
        },
        "scale is of a path",
    ),
}


def test_the_ends_of_log_snr_are_a_pair_of_any_kind():
    """Kills: an array refused that is taken for every other pair."""
    for ends in (np.array([9, -8]), torch.tensor([9.0, -8.0]), [9, -8]):
        model = nelbo.wrap(Base(), family="sit", predicts="eps", **OF_IMAGES | {"log_snr": ends})
        schedule = model.facts["schedule"]
        assert (schedule["first"], schedule["last"]) == (9.0, -8.0)


def test_a_clip_to_another_range_is_described_in_the_limit_as_of_a_chain():
    """Kills: a report of the limit that says of every clip that it is to the data's range."""
    for clip, stated in ((True, True), ((-2, 2), [-2, 2]), (None, False)):
        limit = nelbo.wrap(Base(), family="flow-matching", **OF_IMAGES, clip=clip)
        assert limit.facts["clip"] == stated
        assert limit.every(10).facts["clip"] == stated


@pytest.mark.parametrize("what", REFUSALS)
def test_what_does_not_go_together_is_refused_by_name(what):
    """Kills: a choice that is recorded and changes nothing."""
    choices, says = REFUSALS[what]
    with pytest.raises(BadInput, match=says):
        nelbo.wrap(Recorder(), **choices, **ALL)


def test_real_numbers_need_a_top_where_the_path_has_none():
    """Their scale is not known. Kills: a default for images taken for them."""
    choices = {"family": "flow-matching", "shape": (2,), "decoder": "density"}
    with pytest.raises(BadInput, match="say where the bound does, by log_snr="):
        nelbo.wrap(Recorder(), **choices)
    assert nelbo.wrap(Recorder(), **choices, log_snr=(9, -9)).facts["V_1"] == math.exp(-9)
