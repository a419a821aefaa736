"""Paths: levels, predictions and the bound of each by formulas of its own, in numpy.

Every path is followed by conditionals that this file computes from its a_t and s_t alone; the
package only knows the chain of its log SNRs.
"""

import itertools
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from truth import assert_close

from nelbo.bound.chain import Chain
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Density
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.level import Level
from nelbo.gaussian.parametrization import EPS, SCORE, X_0, V, edm_F, velocity
from nelbo.gaussian.path import (
    PATHS,
    FunctionPath,
    TablePath,
    cosine_path,
    edm,
    flow,
    sub_vp,
    ve,
    vp_sde,
)
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import from_log_snr
from nelbo.gaussian.variance import small
from nelbo.testing import check_chain

torch.set_num_threads(1)


def _B(t):
    return 0.1 * t + 0.5 * 19.9 * t**2


SIGMAS = math.log(50 / 0.01)
FORMULAS = {  # (a, s, a', s') by hand
    "vp-sde": (
        lambda t: np.exp(-_B(t) / 2),
        lambda t: np.sqrt(-np.expm1(-_B(t))),
        lambda t: -0.5 * (0.1 + 19.9 * t) * np.exp(-_B(t) / 2),
        lambda t: 0.5 * (0.1 + 19.9 * t) * np.exp(-_B(t)) / np.sqrt(-np.expm1(-_B(t))),
    ),
    "sub-vp": (
        lambda t: np.exp(-_B(t) / 2),
        lambda t: -np.expm1(-_B(t)),
        lambda t: -0.5 * (0.1 + 19.9 * t) * np.exp(-_B(t) / 2),
        lambda t: (0.1 + 19.9 * t) * np.exp(-_B(t)),
    ),
    "ve": (
        lambda t: 1 + 0 * t,
        lambda t: 0.01 * np.exp(SIGMAS * t),
        lambda t: 0 * t,
        lambda t: 0.01 * SIGMAS * np.exp(SIGMAS * t),
    ),
    "edm": (lambda t: 1 + 0 * t, lambda t: t, lambda t: 0 * t, lambda t: 1 + 0 * t),
    "flow": (lambda t: 1 - t, lambda t: t, lambda t: -1 + 0 * t, lambda t: 1 + 0 * t),
    "cosine": (
        lambda t: np.cos(np.pi * t / 2),
        lambda t: np.sin(np.pi * t / 2),
        lambda t: -np.pi / 2 * np.sin(np.pi * t / 2),
        lambda t: np.pi / 2 * np.cos(np.pi * t / 2),
    ),
    "flow from the data's end": (
        lambda t: t,
        lambda t: 1 - t,
        lambda t: 1 + 0 * t,
        lambda t: -1 + 0 * t,
    ),
}
MADE = {
    "vp-sde": vp_sde(),
    "sub-vp": sub_vp(),
    "ve": ve(),
    "edm": edm(),
    "flow": flow(),
    "cosine": cosine_path(),
    "flow from the data's end": flow(data_at=1),
}
PREDICTIONS = {
    "eps": lambda path: EPS.along(path),
    "x_0": lambda path: X_0.along(path),
    "v": lambda path: V.along(path),
    "score": lambda path: SCORE.along(path),
    "flow-velocity": velocity,
    "edm-F": lambda path: edm_F(0.5).along(path),
}


def by_hand(name, x_0, eps, a, s, a_slope, s_slope):
    """The exact output, as the sources define it and not as the package does."""
    z = a * x_0 + s * eps
    y, g, d = z / a, s / a, 0.5
    return {
        "eps": eps,
        "x_0": x_0,
        "v": a * eps - s * x_0,
        "score": (a * x_0 - z) / s**2,
        "flow-velocity": a_slope * x_0 + s_slope * eps,
        "edm-F": (x_0 - d**2 / (g**2 + d**2) * y) / (g * d / np.sqrt(g**2 + d**2)),
    }[name]


every_path = pytest.mark.parametrize("path", MADE)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
LOG_SNR = np.linspace(8.0, -7.5, 32)


def levels(path):
    """(t, a, s, a', s') of each of LOG_SNR, the time found by bisection of the formulas."""
    a, s, a_slope, s_slope = FORMULAS[path]
    data, noise = MADE[path].data, MADE[path].noise
    before, after = np.full_like(LOG_SNR, data), np.full_like(LOG_SNR, noise)
    with np.errstate(divide="ignore"):
        for _ in range(100):
            middle = (before + after) / 2
            early = 2 * np.log(a(middle) / s(middle)) > LOG_SNR
            before, after = np.where(early, middle, before), np.where(early, after, middle)
    t = (before + after) / 2
    return t, a(t), s(t), a_slope(t), s_slope(t)


def variance_preserving(log_snr):
    level = torch.from_numpy(log_snr)
    return torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()


@every_path
def test_a_level_is_the_point_of_the_path_with_that_log_snr(path):
    """a, s, time and both derivatives. Kills: sub-VP's s as VP's; a derivative by log SNR; VE's
    time from the wrong end; a reversed path whose derivatives keep their sign.
    """
    level = MADE[path].at(torch.from_numpy(LOG_SNR))
    got = (level.time, level.a, level.s, *level.slopes)
    for value, want in zip(got, levels(path), strict=True):
        assert_close(value, want, rel=2e-12, absolute=1e-13)
    assert_close(2 * (level.a / level.s).log(), LOG_SNR, absolute=1e-12)


@every_path
@every_prediction
def test_a_prediction_gives_the_data_back_on_every_path(path, prediction):
    """From an output made by the source's own definition. Kills: v where a^2 + s^2 is not 1; a
    score of x_t for that of z; a velocity by another time; sigma for s.
    """
    x_0 = np.linspace(-1.0, 1.0, len(LOG_SNR))
    eps = np.cos(7 * np.arange(len(LOG_SNR)))
    _, a, s, a_slope, s_slope = levels(path)
    output = torch.from_numpy(by_hand(prediction, x_0, eps, a, s, a_slope, s_slope))
    z, reading = torch.from_numpy(a * x_0 + s * eps), PREDICTIONS[prediction](MADE[path])
    x_t, of_x_t = z / torch.from_numpy(np.hypot(a, s)), variance_preserving(LOG_SNR)
    back = reading.estimate(x_t, output, *of_x_t)
    scale = 1 + np.exp(-LOG_SNR / 2)  # by which rounding of z is larger in x0-hat
    assert float(((back - torch.from_numpy(x_0)).abs() / torch.from_numpy(scale)).max()) < 1e-12
    wanted = reading.target(torch.from_numpy(x_0), torch.from_numpy(eps), *of_x_t)
    assert_close(wanted, output, rel=1e-12, absolute=1e-12 * float(output.abs().max()))
    error = reading.error(torch.from_numpy(x_0), torch.from_numpy(eps), output + 0.3, *of_x_t)
    assert_close(error, -0.3 * reading.coefficients(*of_x_t)[1], rel=1e-9, absolute=1e-12)


class Wrong(torch.nn.Module):
    """An output that is exact for an x0-hat that is wrong, at x_t of these log SNRs."""

    def __init__(self, reading):
        super().__init__()
        self.reading = reading

    def forward(self, x_t, log_snr):
        a, s = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        a, s = (part.reshape(-1, *(1,) * (x_t.ndim - 1)) for part in (a, s))
        x_0 = torch.tanh(x_t) + 0.1
        return self.reading.target(x_0, (x_t - a * x_0) / s, a, s)


def chain_of(path, prediction, log_snr=LOG_SNR):
    reading = PREDICTIONS[prediction](MADE[path])
    q = GaussianForward(from_log_snr(list(log_snr), path))
    p = GaussianReverse(
        Wrong(reading),
        q,
        parametrization=reading,
        variance=small(q.schedule, "inverse_snr_1"),
        decoder=Density(),
        time_input=TIME_INPUTS["log-snr"],
    )
    return Chain(q, p)


@every_path
@every_prediction
def test_the_kls_of_a_path_by_its_own_conditionals_are_the_chains(path, prediction):
    """A wrong denoiser, in one dimension, by numpy on z. Kills: an SNR that is not a^2/s^2."""
    _, a, s, *_ = levels(path)
    x_0, eps = 0.7, np.sin(3 * np.arange(len(LOG_SNR)))
    z = a * x_0 + s * eps
    x_0_hat = np.tanh(z / np.hypot(a, s)) + 0.1
    # q(z_t | z_u) = N(k z_u, c^2) and q(z_u | x_0): the posterior of z_u, and p's at x0-hat.
    k, c2 = a[1:] / a[:-1], s[1:] ** 2 - (a[1:] / a[:-1]) ** 2 * s[:-1] ** 2
    precision = 1 / s[:-1] ** 2 + k**2 / c2
    means = [
        (a[:-1] * guess / s[:-1] ** 2 + k * z[1:] / c2) / precision for guess in (x_0, x_0_hat[1:])
    ]
    own = 0.5 * precision * (means[0] - means[1]) ** 2

    chain = chain_of(path, prediction)
    t = torch.arange(2, len(LOG_SNR) + 1)
    rows = torch.full((len(t), 1), x_0, dtype=torch.float64)
    x_t = torch.from_numpy(z / np.hypot(a, s))[1:, None]
    ours = chain.q.posterior(x_t, rows, t).kl(chain.p.step(x_t, t))
    snr = np.exp(LOG_SNR)
    form = 0.5 * (snr[:-1] - snr[1:]) * (x_0 - x_0_hat[1:]) ** 2
    assert own.sum() == pytest.approx(form.sum(), rel=1e-12)
    assert_close(ours.sum(), own.sum(), rel=1e-12)
    assert_close(ours, own, rel=1e-9)


@pytest.mark.parametrize(("path", "prediction"), zip(MADE, itertools.cycle(PREDICTIONS)))
def test_a_chain_along_a_path_obeys_every_law(path, prediction):
    """Kills: whatever breaks the public laws on a path alone."""
    x_0 = torch.tensor([[0.3, -0.9], [-1.0, 1.0]], dtype=torch.float64)
    check_chain(chain_of(path, prediction, [3.0, 1.0, -1.0, -4.0]), x_0)


def test_time_is_computed_where_no_inverse_is_given():
    """Of the functions of every path, and on either direction. Kills: a half of the range lost."""
    for known in MADE.values():
        given = FunctionPath("given", known.a, known.s, known.data, known.noise)
        log_snr = torch.from_numpy(LOG_SNR)
        assert_close(given.time_of(log_snr), known.time_of(log_snr), rel=1e-10, absolute=1e-13)


def test_the_ends_of_a_path_are_those_of_its_log_snr():
    """Kills: ends swapped in a reversed path."""
    assert MADE["edm"].ends == pytest.approx((-2 * math.log(0.002), -2 * math.log(80)))
    assert MADE["ve"].ends == pytest.approx((-2 * math.log(0.01), -2 * math.log(50)))
    assert MADE["flow"].ends == MADE["flow from the data's end"].ends == (math.inf, -math.inf)
    assert MADE["vp-sde"].ends[0] == math.inf
    assert MADE["vp-sde"].ends[1] == pytest.approx(-math.log(math.expm1(10.05)))


def table(**more):
    """The steps of a flow that a network knows as 10, 20, 30."""
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    return TablePath("table", 1 - t, t, torch.tensor([10.0, 20.0, 30.0]).double(), **more)


def test_a_table_is_the_path_at_its_steps():
    """Also a little beside them, as rounding leaves it. Kills: the step before."""
    log_snr = table().log_snr + torch.tensor([1e-7, -1e-7, 1e-7], dtype=torch.float64)
    level = table().at(log_snr[:, None])
    assert level.time[:, 0].tolist() == [10.0, 20.0, 30.0]
    assert_close(level.s[:, 0], [0.2, 0.5, 0.8], rel=1e-15)


def test_a_velocity_of_tables_needs_their_derivatives():
    """Kills: a difference of neighbours in their place."""
    with pytest.raises(BadInput, match="a velocity is a derivative"):
        velocity(table())
    with pytest.raises(BadInput, match="a velocity is a derivative"):
        Level(0.6, 0.8).slopes  # noqa: B018
    slope = torch.full((3,), 0.1, dtype=torch.float64)  # by a time in tens
    reading = velocity(table(a_slope=-slope, s_slope=slope))
    a, s = (x / (0.5**0.5) for x in (torch.tensor(0.5).double(), torch.tensor(0.5).double()))
    assert_close(reading.target(torch.tensor(1.0), torch.tensor(0.0), a, s), -0.1, rel=1e-12)


REFUSED = {
    "the direction of time": (
        lambda: FunctionPath("mine", lambda t: 1 - t, lambda t: t, 1.0, 0.0),
        "must fall from the data at t = 1 to the noise at t = 0",
    ),
    "one time": (lambda: FunctionPath("mine", torch.cos, torch.sin, 1.0, 1.0), "two different"),
    "a number": (lambda: FunctionPath("mine", lambda t: 1.0, torch.sin, 0, 1), "alpha must be a"),
    "a negative": (
        lambda: FunctionPath("mine", torch.cos, lambda t: -t, 0.0, 1.0),
        "sigma must be a function",
    ),
    "float32": (
        lambda: FunctionPath("mine", lambda t: (1 - t).float(), lambda t: t, 0.0, 1.0),
        "in float64 too",
    ),
    "betas": (lambda: vp_sde(20.0, 0.1), "0 < beta_min <= beta_max; got 20.0 and 0.1"),
    "sigmas": (lambda: edm(80.0, 0.002), "0 < sigma_min < sigma_max; got 80.0 and 0.002"),
    "no end": (lambda: flow(data_at=2), "data_at is 0 or 1, the time of the data; got 2"),
    "sigma_data": (lambda: edm_F(0.0), "sigma_data must be positive; got 0.0"),
    "a rising table": (
        lambda: TablePath("mine", *torch.tensor([[0.1, 0.9], [0.9, 0.1], [0.0, 1.0]]).double()),
        "must fall along the tables",
    ),
    "a short table": (
        lambda: TablePath("mine", torch.ones(2), torch.ones(3), torch.ones(2)),
        "one number for each step",
    ),
    "zeros": (
        lambda: TablePath("mine", *torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).double()),
        "two positive numbers",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_path_is_refused_by_name(what):
    """Kills: a path that runs the other way, which would only show as a bad bound."""
    make, says = REFUSED[what]
    with pytest.raises(BadInput, match=says):
        make()


def test_paths_can_be_pickled():
    """As models are, for other processes. Kills: a lambda in a path of the field."""
    log_snr = torch.from_numpy(LOG_SNR)
    for name, make in PATHS.items():
        again = pickle.loads(pickle.dumps(make()))
        assert again.name == name
        assert_close(again.at(log_snr).a, make().at(log_snr).a, rel=0)
    assert pickle.loads(pickle.dumps(edm_F(0.5))).name == "edm-F"
    assert isinstance(partial(flow, data_at=1)().reversed(), FunctionPath)
