"""Folders of flow matching, EDM and VE, written by diffusers and read against its classes."""

import itertools
import json
import math
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    LCMScheduler,
    ScoreSdeVeScheduler,
    TCDScheduler,
)
from diffusers.utils import is_torchsde_available
from diffusers_folders import unet
from scipy.stats import norm

import nelbo
from nelbo.errors import BadInput
from nelbo.formats.diffusers.path_scheduler import read_path_scheduler
from nelbo.formats.diffusers.scheduler_classes import defaults_of

V = {"prediction_type": "v_prediction"}
GOLDEN = Path(__file__).parent.parent / "golden" / "cosine-dpm"


class Cosine:
    """CosineDPMSolverMultistepScheduler, of diffusers with torchsde: what it wrote and gave."""

    def save_pretrained(self, place):
        shutil.copy(GOLDEN / "scheduler_config.json", place)

    def at(self, place):
        """sigma, time, c_in, c_skip and c_out at a step of its own."""
        tree = json.loads((GOLDEN / "values.json").read_text())
        return [tree[key][place] for key in ("sigma", "time", "c_in", "c_skip", "c_out")]


CLASSES = {
    "flow": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow by Heun": lambda: FlowMatchHeunDiscreteScheduler(num_train_timesteps=500),
    "EDM": lambda: EDMEulerScheduler(),
    "EDM, v": lambda: EDMEulerScheduler(**V, sigma_data=0.7, sigma_max=60.0),
    "EDM by DPM-Solver": lambda: EDMDPMSolverMultistepScheduler(),
    "cosine": Cosine,
    "continuous Euler": lambda: EulerDiscreteScheduler(
        timestep_type="continuous", **V, sigma_min=0.002, sigma_max=700.0, use_karras_sigmas=True
    ),
    "VE": lambda: ScoreSdeVeScheduler(),
}
LIVE = dict(CLASSES)
if is_torchsde_available():
    LIVE["cosine by the class itself"] = diffusers.CosineDPMSolverMultistepScheduler


def folder(place, scheduler, network=None):
    (unet() if network is None else network).save_pretrained(place)
    scheduler.save_pretrained(place)
    return place


def received(model, x_0, eps, log_snr):
    """(z, time, output, x0-hat) of the network in a model, at this log SNR."""
    seen = {}
    network = model.network.network.network.call  # of the bound, of the path, of the adapter
    hook = network.register_forward_hook(
        lambda module, given, output: seen.update(given=given, output=output[0])
    )
    level = torch.tensor([log_snr], dtype=torch.float64)
    x_t = torch.sigmoid(level).sqrt() * x_0 + torch.sigmoid(-level).sqrt() * eps
    with torch.no_grad():
        x_0_hat = model.network.predict(x_t.float(), level, torch.float64).x_0
    hook.remove()
    return *seen["given"][:2], seen["output"], x_0_hat


def by_the_class(scheduler, x_0, eps, place, output):
    """(what a pipeline of the class gives its network, log SNR, x0-hat) at a step of its own."""
    if isinstance(scheduler, Cosine):
        sigma, time, c_in, c_skip, c_out = scheduler.at(place)
        z = x_0 + sigma * eps
        return (c_in * z, time), -2 * math.log(sigma), c_skip * z + c_out * output
    if isinstance(scheduler, ScoreSdeVeScheduler):
        scheduler.set_timesteps(20)
        scheduler.set_sigmas(20)
        sigma = float(scheduler.sigmas[place])
        z = x_0 + sigma * eps
        return (scheduler.scale_model_input(z), sigma), -2 * math.log(sigma), z + sigma**2 * output
    scheduler.set_timesteps(20)
    sigma, time = scheduler.sigmas[place].double(), scheduler.timesteps[place]
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler | FlowMatchHeunDiscreteScheduler):
        z = (1 - sigma) * x_0 + sigma * eps
        return (z, float(time)), 2 * math.log((1 - sigma) / sigma), z - sigma * output
    z = x_0 + sigma * eps
    given = scheduler.scale_model_input(z, time)
    if isinstance(scheduler, EulerDiscreteScheduler):
        stepped = scheduler.step(output.float(), time, z.float())
        return (given, float(time)), -2 * math.log(sigma), stepped.pred_original_sample
    x_0_hat = scheduler.precondition_outputs(z, output, sigma)
    return (given, float(time)), -2 * math.log(sigma), x_0_hat


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # within diffusers
@pytest.mark.parametrize("name", LIVE)
def test_a_network_receives_and_says_what_its_class_says(tmp_path, name):
    """Against scale_model_input, precondition_inputs, timesteps and the class's own x0-hat, at the
    times of its own grid. Kills: shift taken for another time; the sign of EDM's v; sigma_data of
    another class; VE's time for its sigma.
    """
    model = nelbo.load(folder(tmp_path, LIVE[name]()), levels=16)
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 1, 1, 4, 4, generator=generator, dtype=torch.float64)
    for step in range(1, 20):  # the first of a flow has no signal
        scheduler = LIVE[name]()
        _, log_snr, _ = by_the_class(scheduler, x_0, eps, step, torch.zeros_like(x_0))
        z, time, output, x_0_hat = received(model, x_0, eps, log_snr)
        given, _, wanted = by_the_class(LIVE[name](), x_0, eps, step, output.double())
        check_close(z, given[0])
        assert float(time) == pytest.approx(given[1], rel=1e-6)
        check_close(x_0_hat, wanted)


def check_close(values, wanted):
    """To 1e-6 of the largest."""
    values, wanted = values.double(), wanted.double()
    torch.testing.assert_close(values, wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))


def test_a_config_by_the_class_itself_is_read_as_that_of_its_defaults():
    """Kills: a default of a class that is not here which is another than its own."""
    config = json.loads((GOLDEN / "scheduler_config.json").read_text())
    name = config["_class_name"]
    assert name == "CosineDPMSolverMultistepScheduler"
    stated, default = read_path_scheduler(config), read_path_scheduler({"_class_name": name})
    values = [{key: each.value for key, each in r.settings.items()} for r in (stated, default)]
    assert values[0] == values[1]
    own = defaults_of(name)
    assert own == {key: config[key] for key in own}
    for key in ("sigma_min", "sigma_max", "sigma_data", "prediction_type"):
        assert (stated.settings[key].source, default.settings[key].source) == ("config", "default")


READINGS = {  # x0-hat = p z + r b of a network that always says b, by hand: (a, s, p, r) of sigma
    "flow": lambda g: (1 / (1 + g), g / (1 + g), 1.0, -g / (1 + g)),
    "EDM": lambda g: (1.0, g, 0.25 / (g * g + 0.25), 0.5 * g / np.sqrt(g * g + 0.25)),
    "EDM, v": lambda g: (1.0, g, 0.49 / (g * g + 0.49), -0.7 * g / np.sqrt(g * g + 0.49)),
    "continuous Euler": lambda g: (1.0, g, 1 / (g * g + 1), -g / np.sqrt(g * g + 1)),
    "cosine": lambda g: (1.0, g, 1 / (g * g + 1), -g / np.sqrt(g * g + 1)),
    "VE": lambda g: (1.0, g, 1.0, g * g),
}
READINGS["flow by Heun"] = READINGS["flow"]
READINGS["EDM by DPM-Solver"] = READINGS["EDM"]
ENDS = {  # of sigma, where they are not the default
    "EDM": (0.002, 80),
    "EDM by DPM-Solver": (0.002, 80),
    "EDM, v": (0.002, 60),
    "continuous Euler": (0.002, 700),
    "cosine": (0.3, 500),
    "VE": (0.01, 1348),
}


def bound(name, x_0, log_snr, spacing):
    """The chain's bound in bits/dim by numpy: closed forms for L_T and L_(t-1), the mean of L_0 by
    a rule over eps, for a network that always says 0.1, averaged over numbers x_0.
    """
    snr = np.exp(log_snr)
    alpha_bar = snr[-1] / (1 + snr[-1])
    total = 0.5 * (alpha_bar * x_0**2 - alpha_bar - np.log1p(-alpha_bar))
    for before, now in itertools.pairwise(snr):
        a, s, p, r = READINGS[name](now**-0.5)
        error = ((1 - p * a) * x_0 - r * 0.1) ** 2 + (p * s) ** 2
        total = total + 0.5 * (before - now) * error
    a, s, p, r = READINGS[name](snr[0] ** -0.5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    mean = p * (a * x_0[:, None] + s * nodes) + r * 0.1
    lower = np.where(x_0 <= x_0.min(), -np.inf, x_0 - spacing / 2)[:, None]
    upper = np.where(x_0 >= x_0.max(), np.inf, x_0 + spacing / 2)[:, None]
    deviation = snr[0] ** -0.5
    high, low = (upper - mean) / deviation, (lower - mean) / deviation
    flip = low > 0  # both edges into the left tail, where a difference has its digits
    high, low = np.where(flip, -low, high), np.where(flip, -high, low)
    mass = norm.logcdf(high) + np.log1p(-np.exp(norm.logcdf(low) - norm.logcdf(high)))
    return float((total - mass @ weights / weights.sum()).mean() / math.log(2))


@pytest.mark.parametrize("name", READINGS)
def test_the_bound_of_a_folder_is_that_of_numpy(tmp_path, name):
    """A chain of 12 steps of a network that always says 0.1. Kills: the range of another class;
    ends other than those of the config; a decoder of another variance.
    """
    model = nelbo.load(folder(tmp_path, CLASSES[name](), unet(1, [0.1])), levels=16)
    lo, hi = (0.0, 1.0) if name == "VE" else (-1.0, 1.0)
    assert (model.grid.lo, model.grid.hi) == (lo, hi)
    levels = torch.arange(16).reshape(1, 1, 4, 4).repeat(8, 1, 1, 1)
    first, last = (model.facts["sources"][f"log SNR {end}"]["value"] for end in ("first", "last"))
    ends = [-2 * math.log(end) for end in ENDS[name]] if name in ENDS else (2 * math.log(30), -9)
    assert (first, last) == pytest.approx(ends)
    log_snr = np.linspace(first, last, 12)
    want = bound(name, np.linspace(lo, hi, 16), log_snr, (hi - lo) / 15)
    result = nelbo.evaluate(model.every(12), levels, budget=3_000)
    assert abs(result.monte_carlo.mean / 16 / math.log(2) - want) < 4 * (
        result.monte_carlo.se / 16 / math.log(2)
    )
    assert result.monte_carlo.se < 0.02 * result.monte_carlo.mean


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # within diffusers
def test_a_continuous_euler_without_sigmas_has_those_of_its_own_betas():
    """Against the class, whose sigmas are float32. Kills: the betas of the class's defaults."""
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = EulerDiscreteScheduler(timestep_type="continuous", **V, **betas)
    scheduler.set_timesteps(1000)
    read = read_path_scheduler({**scheduler.config, "_class_name": "EulerDiscreteScheduler"})
    for key, place in (("sigma_min", -2), ("sigma_max", 0)):
        assert read.settings[key].source == "config"
        assert read.settings[key].value == pytest.approx(float(scheduler.sigmas[place]), rel=1e-3)


@pytest.mark.parametrize("make", [LCMScheduler, TCDScheduler])
def test_distilled_samplers_have_the_chain_of_ddpm(tmp_path, make):
    """Kills: a refusal of a network whose q is that of DDPM."""
    model = nelbo.load(folder(tmp_path, make(num_train_timesteps=20)), levels=16, clip=False)
    assert model.T == 20
    assert model.facts["scheduler"].startswith(make.__name__)


def edited(place, **change):
    path = place / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return place


REFUSED = {
    "inverted": (FlowMatchEulerDiscreteScheduler, {"invert_sigmas": True}, {}, "invert_sigmas"),
    "sample": (EDMEulerScheduler, {"prediction_type": "sample"}, {}, "one of epsilon, v_pred"),
    "threshold": (EDMDPMSolverMultistepScheduler, {"thresholding": True}, {}, "thresholding"),
    "a text": (EDMEulerScheduler, {"sigma_min": "low"}, {}, "sigma_min"),
    "V_1": (EDMEulerScheduler, {}, {"V_1": 0.1}, "V_1 is of chains of betas"),
    "a clip of real numbers": (
        FlowMatchEulerDiscreteScheduler,
        {},
        {"decoder": "density", "clip": True, "log_snr": (8, -8)},
        "no range to clip x0-hat to",
    ),
    "latents": (
        FlowMatchEulerDiscreteScheduler,
        {},
        {"decoder": "density"},
        "say where the bound does, by log_snr=",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_folder_leaves_open_is_refused_by_name(tmp_path, what):
    """Kills: a figure of a network that is read the wrong way round."""
    make, change, options, says = REFUSED[what]
    with pytest.raises(BadInput, match=says):
        nelbo.load(edited(folder(tmp_path, make()), **change), **options)


def test_a_folder_of_a_flow_says_where_each_setting_is_from(tmp_path):
    """Kills: a time without its source; the number of times forgotten."""
    place = folder(tmp_path, FlowMatchHeunDiscreteScheduler(num_train_timesteps=500))
    settings = nelbo.inspect(nelbo.load(place, log_snr=(8, -8))).settings
    assert settings["time_input"].value == "500 t"
    assert settings["num_train_timesteps"].source == "config"
    assert settings["log SNR first"].source == "option"
    assert settings["scheduler"].value == "FlowMatchHeunDiscreteScheduler"
