"""The reverse step against DDPMScheduler.step where that is right, and the formula where not."""

import functools
import itertools
import math

import diffusers
import mpmath
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from diffusers_folders import dit, pipeline, schedule_only, unet

from nelbo.errors import BadInput
from nelbo.formats import foreign_folder, load
from nelbo.formats.diffusers.scheduler import VARIANCES, read_scheduler
from nelbo.formats.diffusers.scheduler_classes import kept_steps
from nelbo.formats.diffusers.schedules import schedule_of
from nelbo.model import Model

PREDICTIONS = ("epsilon", "sample", "v_prediction")
SPACINGS = ("all", "leading", "trailing", "linspace")
VARIANCE_NAMES = (
    "fixed_small",
    "fixed_small_log",
    "fixed_large",
    "fixed_large_log",
    "learned",
    "learned_range",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each architecture a plain network, and one whose variance half is near 0.7, so positive.

    By (architecture, whether its channels are doubled).
    """
    place = tmp_path_factory.mktemp("grid")
    convolutional, transformer = unet(outputs=2), dit(outputs=2)
    convolutional.conv_out.weight.data[1] *= 0.01
    convolutional.conv_out.bias.data[1] = 0.7
    last = transformer.proj_out_2  # its outputs are 2x2 pixels of 2 channels, channels last
    last.weight.data.view(4, 2, -1)[:, 1] *= 0.01
    last.bias.data.view(4, 2)[:, 1] = 0.7
    for name, network in (("plain-dit", dit(outputs=1)), ("doubled-dit", transformer)):
        network.save_pretrained(place / name)
    return {
        ("unet", False): pipeline(place / "plain"),
        ("unet", True): pipeline(place / "doubled", convolutional, variance_type="learned"),
        ("dit", False): place / "plain-dit",
        ("dit", True): place / "doubled-dit",
    }


@pytest.fixture(autouse=True)
def _read_once(monkeypatch):
    """The two networks are read from disk once: the grid is of schedulers."""
    monkeypatch.setattr(foreign_folder, "read_network", read_network_once)


read_network_once = functools.cache(foreign_folder.read_network)


def loaded(folders, tmp_path, architecture="unet", **config) -> Model:
    learned = config.get("variance_type", "").startswith("learned")
    scheduler = schedule_only(tmp_path / "scheduler", **config)
    return load(folders[architecture, learned], scheduler=scheduler, levels=17)


def theirs(monkeypatch, scheduler, output, index, x):
    """(mean, standard deviation) of DDPMScheduler.step, by its own noise at 0 and at 1."""
    values = []
    for number in (0.0, 1.0):
        monkeypatch.setattr(
            scheduling_ddpm, "randn_tensor", lambda shape, number=number, **k: torch.full(
                shape, number, dtype=torch.float64
            )
        )  # fmt: skip
        values.append(scheduler.step(output, index, x).prev_sample)
    return values[0], values[1] - values[0]


def calls_of(model, x, t):
    """Our reverse step from x at t, with the output and the index that the network had."""
    seen = []
    handle = model.network.call.register_forward_hook(lambda *call: seen.append(call[1:]))
    with torch.inference_mode():
        step = model.chain.p.step(x, torch.full((len(x),), t))
    handle.remove()
    (((_, index), output),) = seen
    return step, output.sample.double(), int(index[0])


def close(ours, expected):
    """Within 1e-4 of the expected, or of its scale where it is near 0."""
    ours = ours.expand_as(expected)
    return torch.allclose(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance_type", VARIANCE_NAMES)
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_reverse_step_is_that_of_ddpm_scheduler(
    folders, tmp_path, monkeypatch, prediction_type, variance_type, clip, spacing
):
    """Mean and variance within 1e-4 of `DDPMScheduler.step`, whose only wrong place is known.

    Kills: H12 (max_log from betas[t] where steps are skipped, variances mixed instead of logs),
    H13 (a name read as a variance, a deviation or a log), H14 (one-step KLs of the full chain),
    H15 (index and t mixed up), H17 (clip forgotten), a swapped prediction type.
    """
    kind = {"prediction_type": prediction_type, "variance_type": variance_type}
    check_step(folders, tmp_path, monkeypatch, "unet", spacing, kind | {"clip_sample": clip})


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance_type", VARIANCE_NAMES)
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_reverse_step_of_a_dit_is_that_of_ddpm_scheduler(
    folders, tmp_path, monkeypatch, prediction_type, variance_type, clip, spacing
):
    """As above. Kills: channels of a transformer read in another order, its time or label lost."""
    kind = {"prediction_type": prediction_type, "variance_type": variance_type}
    check_step(folders, tmp_path, monkeypatch, "dit", spacing, kind | {"clip_sample": clip})


def check_step(folders, tmp_path, monkeypatch, architecture, spacing, config):
    """At t = 2, T/2 and T of the chain of 1000 steps or of 50 of them."""
    config = config | {"timestep_spacing": "leading" if spacing == "all" else spacing}
    variance_type = config["variance_type"]
    model = loaded(folders, tmp_path, architecture, **config)
    scheduler = DDPMScheduler(**config)
    # what fixed_large_log means is the variance of fixed_large: diffusers itself gives NaN
    right = DDPMScheduler(**config | {"variance_type": variance_type.replace("large_log", "large")})
    if spacing != "all":
        model = model.every(50)
        scheduler.set_timesteps(50)
        right.set_timesteps(50)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    kept = model.chain.q.schedule.kept
    assert kept.flip(0).tolist() == (scheduler.timesteps + 1).tolist()
    for t in (2, model.T // 2, model.T):
        step, output, index = calls_of(model, x, t)
        assert index == kept[t - 1] - 1
        if variance_type == "fixed_large_log":
            assert theirs(monkeypatch, scheduler, output, index, x)[1].isnan().all()
        mean, deviation = theirs(monkeypatch, right, output, index, x)
        assert close(step.mean, mean)
        assert close(torch.exp(0.5 * step.log_var), deviation)


@pytest.mark.parametrize("name", VARIANCE_NAMES)
def test_each_variance_type_is_its_formula_at_every_t(name):
    """V_t from betas alone, with V_1 as iDDPM has it (posterior_variance[1] at index 0).

    Kills: H05 (V_1 clamped at 1e-20 or beta-tilde_1 = 0), H12, H13.
    """
    raw = {"_class_name": "DDPMScheduler", "num_train_timesteps": 20}
    schedule = read_scheduler(raw | {"variance_type": name}).schedule
    t, output = torch.arange(1, 21), torch.linspace(0.1, 0.9, 20, dtype=torch.float64)
    got = VARIANCES[name](schedule, "beta_tilde_2").log_var(output, t, output).exp().numpy()
    beta = np.linspace(1e-4, 0.02, 20)
    a_bar = np.cumprod(1 - beta)
    tilde = beta[1:] * (1 - a_bar[:-1]) / (1 - a_bar[1:])
    small, large = np.concatenate([tilde[:1], tilde]), np.concatenate([tilde[:1], beta[1:]])
    f = (output.numpy() + 1) / 2
    expected = {
        "fixed_small": small,
        "fixed_small_log": small,
        "fixed_large": large,
        "fixed_large_log": large,
        "learned": output.numpy(),
        "learned_range": beta**f * small ** (1 - f),
    }[name]
    assert got == pytest.approx(expected, rel=1e-12)


def test_the_places_where_diffusers_is_wrong_for_a_bound():
    """Not our formulas but the reasons for them: if one of these is repaired, the note may go.

    Kills: H13, H05 (reading the variances through `_get_variance`).
    """

    def variance(name, t):
        return float(DDPMScheduler(variance_type=name)._get_variance(t))

    truth = variance("fixed_small", 500)
    assert variance("fixed_small_log", 500) == pytest.approx(math.sqrt(truth))
    assert variance("fixed_large_log", 500) == pytest.approx(math.log(variance("fixed_large", 500)))
    assert variance("fixed_small", 0) == pytest.approx(1e-20)
    exact = schedule_of(DDPMScheduler().config)
    single = DDPMScheduler().alphas_cumprod[0]
    assert abs(float(1 - single) / float(exact.one_minus_alpha_bar[1]) - 1) > 1e-4


def test_the_decoder_has_x0_hat_and_the_variance_v_1(folders, tmp_path, monkeypatch):
    """Kills: H05, H18 (the last step's mean taken for its distribution)."""
    model = loaded(folders, tmp_path, variance_type="fixed_small")
    x = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    with torch.inference_mode():
        decoder = model.chain.p.decoder(x)
        output = model.chain.p.network(x.float(), torch.zeros(1, dtype=torch.int64)).double()
    assert close(decoder.mean, theirs(monkeypatch, DDPMScheduler(), output, 0, x)[0])
    tilde_2 = float(model.chain.q.schedule.posterior_variance[2])
    assert float(decoder.log_var.exp()) == pytest.approx(tilde_2, rel=1e-12)
    assert model.facts["V_1"] == tilde_2
    assert model.facts["sources"]["V_1"] == {
        "value": "beta_tilde_2", "source": "default", "changes_bound": True
    }  # fmt: skip


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_zero_terminal_snr_is_exact(folders, tmp_path, monkeypatch, prediction_type):
    """L_T = 0, and the step from T is finite and diffusers' own. Kills: H24."""
    config = {"prediction_type": prediction_type, "rescale_betas_zero_snr": True}
    model, scheduler = loaded(folders, tmp_path, **config), DDPMScheduler(**config)
    assert model.chain.q.schedule.alpha_bar[-1] == 0
    x_0 = torch.ones(1, 1, 4, 4)
    T = torch.tensor([model.T])
    assert float(model.chain.q.marginal(x_0, T).kl(model.chain.p.prior(x_0))) == 0
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (100, 500, 1000):  # its float32 rescaling is off by 1e-3 in the first betas
        step, output, index = calls_of(model, x, t)
        mean, deviation = theirs(monkeypatch, scheduler, output, index, x)
        assert close(step.mean, mean)
        assert close(torch.exp(0.5 * step.log_var), deviation)


@pytest.mark.parametrize(("ratio", "most"), [(0.9, 1.0), (0.8, 2.5)])
def test_dynamic_thresholding_is_part_of_the_step(tmp_path, monkeypatch, ratio, most):
    """Kills: thresholding ignored, or taken over the batch (H17)."""
    config = {
        "thresholding": True, "dynamic_thresholding_ratio": ratio, "sample_max_value": most,
        "prediction_type": "sample",
    }  # fmt: skip
    network = unet()
    network.conv_out.weight.data *= 5
    model = load(pipeline(tmp_path / "pipe", network, **config))
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    step, output, index = calls_of(model, x, 3)
    assert float(output.abs().quantile(ratio)) > 1, "nothing to threshold"
    assert close(step.mean, theirs(monkeypatch, DDPMScheduler(**config), output, index, x)[0])
    assert model.facts["clip"] == f"dynamic threshold {ratio:g}, at most {most:g}"


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize(
    "name", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]
)
def test_every_schedule_is_diffusers_own_in_float64(name, rescaled):
    """Within float32 of diffusers and within 1e-12 of the formula at 40 digits (T = 40).

    Kills: H22 (float32 tables), a schedule taken for another, the rescaling left out (H24).
    """
    config = DDPMScheduler(beta_schedule=name, rescale_betas_zero_snr=rescaled)
    got = schedule_of(config.config)
    assert torch.allclose(got.alpha_bar[1:], config.alphas_cumprod.double(), rtol=0, atol=1e-6)
    T = 40
    short = schedule_of(
        DDPMScheduler(T, beta_schedule=name, rescale_betas_zero_snr=rescaled).config
    )
    with mpmath.workdps(40):
        truth = [float(1 - a) for a in precise_alpha_bar(name, T, rescaled)]
    assert short.one_minus_alpha_bar[1:].numpy() == pytest.approx(truth, rel=1e-12)


def precise_alpha_bar(name, T, rescaled):
    """alpha_bar_1..T by the formulas of diffusers' documentation, in mpmath."""
    m = mpmath.mpf
    first, last = m("0.0001"), m("0.02")
    grid = [m(i) / (T - 1) for i in range(T)]

    def f(u):
        if name == "squaredcos_cap_v2":
            return mpmath.cos((u + m("0.008")) / m("1.008") * mpmath.pi / 2) ** 2
        sign = 1 if u <= m("0.5") else -1
        log_snr = -sign * mpmath.log(1 - 2 * abs(m("0.5") - u) + m("1e-6")) / 2
        snr = mpmath.e**log_snr
        return mpmath.sqrt(snr / (1 + snr))

    betas = {
        "linear": lambda: [first + (last - first) * u for u in grid],
        "scaled_linear": lambda: [
            (mpmath.sqrt(first) + (mpmath.sqrt(last) - mpmath.sqrt(first)) * u) ** 2 for u in grid
        ],
        "sigmoid": lambda: [first + (last - first) / (1 + mpmath.e ** (6 - 12 * u)) for u in grid],
    }.get(name, lambda: [min(1 - f(m(i + 1) / T) / f(m(i) / T), m("0.999")) for i in range(T)])()
    a_bar = list(itertools.accumulate((1 - beta for beta in betas), lambda a, b: a * b))
    if not rescaled:
        return a_bar
    root = [mpmath.sqrt(a) for a in a_bar]
    return [((r - root[-1]) * root[0] / (root[0] - root[-1])) ** 2 for r in root]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_kept_steps_are_the_timesteps_of_diffusers(spacing, offset):
    """Kills: H14, a spacing of our own, steps_offset forgotten."""
    for T, steps in [(1000, 50), (1000, 10), (1000, 7), (1000, 333), (77, 13), (50, 49), (20, 1)]:
        scheduler = DDPMScheduler(T, timestep_spacing=spacing, steps_offset=offset)
        scheduler.set_timesteps(steps)
        expected = (scheduler.timesteps.flip(0) + 1).tolist()
        if spacing == "trailing":
            expected = expected[-steps:]  # np.arange makes one too many where T/steps is rounded
        assert kept_steps(spacing, offset, T, steps) == expected
    assert max(kept_steps("leading", 0, 1000, 10)) == 901  # L_T is taken there, and is larger


def test_an_offset_beyond_the_chain_is_refused():
    with pytest.raises(BadInput, match=r"steps_offset 1 with 20 leading steps leads to t = 21"):
        kept_steps("leading", 1, 20, 20)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "EDMEulerScheduler"}, "no betas that are read here: .*family='edm'"),
        ({"_class_name": "FlowMatchLCMScheduler"}, "straight line: .*family='diffusers-flow'"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "path='ve' or 'edm'"),
        ({"_class_name": "UnCLIPScheduler"}, "not known to be that of DDPM"),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "flow sigmas"),
        ({}, "no _class_name"),
        ({"rescale_betas_zero_snr": True}, r"epsilon cannot give x_0 .*alpha_bar\[1000\] = 0"),
        ({"trained_betas": [0.1, 1.0], "num_train_timesteps": 2}, "epsilon cannot give x_0"),
        ({"beta_schedule": "jsd"}, "'jsd' is not one of linear"),
        ({"predict_epsilon": False}, "put prediction_type in its place"),
        ({"prediction_type": "flow_prediction"}, "flow"),
        ({"prediction_type": "score"}, "'score' is not one of epsilon"),
        ({"variance_type": "fixed"}, "'fixed' is not one of fixed_small"),
        ({"beta_end": 1.2}, r"beta must lie in \(0, 1\); got beta\[8\d\d\]"),
        ({"trained_betas": [0.1, -0.2], "num_train_timesteps": 2}, r"got beta\[2\] = -0.2"),
        ({"trained_betas": [0.1, 0.2]}, "2 trained_betas do not fit num_train_timesteps = 1000"),
        ({"timestep_spacing": "even"}, "'even' is not leading"),
        ({"rescale_betas_zero_snr": True, "num_train_timesteps": 1}, "at least 2 steps"),
    ],
)
def test_what_has_no_bound_is_refused_in_one_line(config, message):
    """Kills: H24 (Inf at the first step), H25 (beta outside (0, 1)), a silent number for EDM."""
    raw = {"_class_name": "DDPMScheduler"} | config if config else {}
    with pytest.raises(BadInput, match=message) as error:
        read_scheduler(raw).spacing(1000, 50)
    assert "\n" not in str(error.value)


def test_absent_keys_are_the_defaults_of_that_class():
    """Kills: another class's default for an absent key (Heun's beta_start is not DDPM's)."""
    heun = read_scheduler({"_class_name": "HeunDiscreteScheduler"})
    assert heun.settings["beta_start"].value == 0.00085
    assert float(heun.schedule.beta[1]) == 0.00085
    old = {
        "_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "num_train_timesteps": 1000,
        "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
        "variance_type": "fixed_large", "clip_sample": True,
    }  # fmt: skip
    read = read_scheduler(old)
    assert read.parametrization.name == "eps"
    assert read.clip == (-1.0, 1.0)
    assert (read.settings["variance_type"].source, read.settings["thresholding"].source) == (
        "config",
        "default",
    )


@pytest.mark.parametrize(
    "name",
    ["DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "PNDMScheduler"],
)
def test_a_sampler_on_the_same_q_is_read_as_its_ddpm(folders, tmp_path, name):
    """Its chain is DDPMScheduler.from_config's, and the facts say so.

    Kills: variance_type None of DPM-Solver taken at its word; a sampler's name passed off as DDPM.
    """
    scheduler = getattr(diffusers, name)(beta_end=0.03)
    scheduler.save_pretrained(tmp_path / "scheduler")
    model = load(folders["unet", False], scheduler=tmp_path / "scheduler", levels=17)
    expected = DDPMScheduler.from_config(scheduler.config)
    alpha_bar = model.chain.q.schedule.alpha_bar[1:]
    assert torch.allclose(alpha_bar, expected.alphas_cumprod.double(), rtol=0, atol=1e-6)
    assert model.facts["scheduler"] == f"{name}, its q with the reverse steps of DDPMScheduler"
    assert model.facts["variance"] == "small"
    assert model.facts["clip"] is (name == "DDIMScheduler")  # the others never clip
