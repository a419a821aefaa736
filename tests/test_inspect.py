"""What `nelbo inspect` says: every setting with its source, and warnings that are true."""

import json
import math

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from rich.console import Console

import nelbo
from conftest import PLAIN, small_recipe
from nelbo import recipe
from nelbo.bound.terms import prior_term
from nelbo.formats import load
from nelbo.tasks.inspect import inspect


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training folder of accelerate without a moving average, its channels doubled."""
    place = tmp_path_factory.mktemp("inspect")
    UNet2DModel(
        sample_size=4,
        in_channels=1,
        out_channels=2,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
        add_attention=False,
    ).save_pretrained(place / "unet")
    DDPMScheduler(beta_end=0.005).save_pretrained(place / "scheduler")
    return place


def zero(x_t, t):
    return torch.zeros_like(x_t)


def wrapped(**changes):
    choices = {
        "schedule": "linear", "predicts": "v", "variance": "small", "time_input": "t",
        "shape": (1, 2, 2), "levels": 5,
    }  # fmt: skip
    return nelbo.wrap(zero, **(choices | changes))


def words(inspection):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(inspection.table())
    console.file.close()
    return console.export_text()


def test_every_setting_has_its_value_and_source(folder):
    """Kills: a default passed off as the config's word, an option not told."""
    result = inspect(load(folder, variance="drop", levels=17))
    rows = {line.split()[0]: line.split()[1:] for line in words(result).splitlines()[1:] if line}
    assert rows["beta_end"] == ["0.005", "config", "yes"]
    assert rows["variance_type"] == ["fixed_small", "config", "yes"]
    assert rows["levels"] == ["17", "option", "yes"]
    assert rows["range"] == ["[-1.0,", "1.0]", "default", "yes"]
    assert rows["V_1"] == ["beta_tilde_2", "default", "yes"]
    assert rows["scheduler"] == ["DDPMScheduler", "config", "no"]


def test_the_json_is_one_object_with_settings_and_warnings(folder):
    model = load(folder, variance="drop")
    tree = json.loads(inspect(model).to_json())
    assert tree["schema"] == "nelbo.inspection/1"
    assert tree["sha256"] == model.sha256()
    assert tree["parametrization"] == "eps"
    assert tree["settings"]["clip_sample"] == {
        "value": True, "source": "config", "changes_bound": True
    }  # fmt: skip
    assert "sources" not in tree
    assert tree["warnings"]


def test_each_warning_of_a_diffusers_folder(folder):
    """Kills: L_T not small, clip, dropped channels, a missing EMA or guesses left unsaid."""
    warnings = "\n".join(inspect(load(folder, variance="drop")).warnings)
    for text in (
        "L_T may be as large as",
        "x0-hat is clipped",
        "a learned variance, are dropped",
        "no moving average",
        "no file says levels, range, V_1",
    ):
        assert text in warnings
    options = {"levels": 256, "range": (-1.0, 1.0), "V_1": "beta_1", "clip": False}
    quiet = inspect(load(folder, variance="learned-range", **options)).warnings
    assert [text for text in quiet if "L_T" not in text and "moving" not in text] == []


def test_a_shorter_chain_warns_of_its_own_l_t(folder):
    """10 leading steps end at t = 901. Kills: H14's prior term at the wrong step."""
    model = load(folder, variance="drop")
    assert inspect(model.every(10)).L_T > 1.3 * inspect(model).L_T


@pytest.mark.parametrize("lo", [-1.0, 0.0, -3.0])
def test_the_largest_l_t_is_its_closed_form_and_is_reached(lo):
    """1/2 (alpha_bar_T max x_0^2 + om - 1 - ln om) / ln 2 per dim. Kills: a mean, or nats."""
    model = wrapped(range=(lo, 1.0), schedule={"name": "linear", "T": 100})
    schedule = model.chain.q.schedule
    alpha_bar, rest = float(schedule.alpha_bar[-1]), float(schedule.one_minus_alpha_bar[-1])
    most = max(abs(lo), 1.0)
    truth = 0.5 * (alpha_bar * most**2 + rest - 1 - math.log(rest)) / math.log(2)
    L_T = inspect(model).L_T
    assert pytest.approx(truth, rel=1e-5) == L_T
    levels = torch.randint(5, (50, 1, 2, 2))
    terms = prior_term(model.chain, model.x_0(levels)) / (4 * math.log(2))
    assert (terms <= L_T * (1 + 1e-5)).all()


def test_a_wrapped_callable_and_zero_terminal_snr_are_reported():
    warnings = inspect(wrapped(schedule=[0.5, 1.0], V_1=0.1, range=(-1.0, 1.0))).warnings
    assert warnings == (
        "zero terminal SNR: alpha_bar_T = 0, so L_T is 0 exactly",
        "the network is a plain callable: its weights are in no digest",
    )


@pytest.mark.parametrize("name", recipe.names())
def test_a_model_of_our_own_has_its_recipe_for_a_source(name):
    """Kills: a family whose settings or prior term are forgotten; a V_1 or a range of states."""
    of_text = name == "text"
    shape, n = ((8,), 257) if of_text else ((1, 8, 8), 17)
    result = inspect(recipe.build(recipe.read(name), shape, n))
    assert {setting.source for setting in result.settings.values()} == {"recipe"}
    assert {"schedule", "parametrization", "decoder", "levels"} <= set(result.settings)
    assert not result.settings["network.dropout"].changes_bound
    masks = "absorbing" in name or of_text  # whose prior is all masks, as x_T is: L_T is exactly 0
    assert result.L_T == 0 if masks else 0 < result.L_T < 0.01
    family = "categorical" if masks or "d3pm" in name else "gaussian"
    assert json.loads(result.to_json())["family"] == family
    of_numbers = {"variance", "V_1", "clip", "range"}  # which states have none of
    assert of_numbers & set(result.settings) == (of_numbers if family == "gaussian" else set())


def test_a_clipped_model_of_our_own_is_reported_so():
    model = recipe.build(small_recipe(**PLAIN, **{"chain.clip": True}), (1, 8, 8), 17)
    assert any("x0-hat is clipped" in text for text in inspect(model).warnings)
