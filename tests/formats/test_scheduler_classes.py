"""Each scheduler class by its own keys, defaults and times; a wrong type is refused by name."""

import json
import re
import warnings

import diffusers
import numpy as np
import pytest
from diffusers_folders import pipeline, unet
from latent_folders import latent_unet

from nelbo.errors import BadInput
from nelbo.formats import load
from nelbo.formats.diffusers.scheduler import SAME_Q, read_scheduler
from test_cli import check_refusal

CLIPS = {  # by diffusers' signatures: all others have no clip_sample
    "DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMInverseScheduler",
    "DDIMParallelScheduler",
}  # fmt: skip
HERE = [name for name in SAME_Q if name != "DPMSolverSDEScheduler"]


def edited(folder, **changes):
    """The folder with other keys in its scheduler's config; None takes a key out."""
    file = folder / "scheduler" / "scheduler_config.json"
    tree = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: x for key, x in tree.items() if x is not None}))
    return folder


@pytest.mark.parametrize("name", SAME_Q)
def test_x0_hat_is_clipped_where_the_class_itself_clips(name):
    """Kills: DDPM's clip_sample, True, filled into classes that never clip."""
    assert (read_scheduler({"_class_name": name}).clip is not None) == (name in CLIPS)
    assert read_scheduler({"_class_name": name}, clip=True).clip == (-1.0, 1.0)


@pytest.mark.parametrize("key", ["clip_sample", "thresholding"])
def test_a_key_that_the_class_does_not_read_does_nothing_and_is_named(tmp_path, nelbo, key):
    """As from_config of diffusers leaves one behind. Kills: another class's key at work."""
    folder = edited(pipeline(tmp_path / "pipe"), _class_name="PNDMScheduler", **{key: True})
    model = load(folder)
    assert model.facts["clip"] is False
    assert model.facts["sources"][key]["source"] == "class"
    code, out, err = nelbo("inspect", folder)
    assert code == 0, err
    assert key in " ".join(out.split("warning: the config says", 1)[1].split())


def test_a_density_is_clipped_only_where_somebody_says_it(tmp_path):
    """Kills: the range of pixels, a default, put on latents."""
    folder = pipeline(tmp_path / "pipe", latent_unet())
    assert load(folder).chain.p.clip == (-1.0, 1.0)  # save_pretrained wrote it down
    edited(folder, clip_sample=None)
    assert load(folder).chain.p.clip is None
    assert load(folder, clip=True).chain.p.clip == (-1.0, 1.0)
    pixels = edited(pipeline(tmp_path / "pixels", unet()), clip_sample=None)
    assert load(pixels).chain.p.clip == (-1.0, 1.0)


def test_a_class_that_is_not_here_has_its_own_defaults():
    """Kills: DDPM's betas for DPMSolverSDEScheduler, which is a dummy without torchsde."""
    read = read_scheduler({"_class_name": "DPMSolverSDEScheduler"})
    assert float(read.schedule.beta[1]) == 0.00085
    assert float(read.schedule.beta[-1]) == pytest.approx(0.012, rel=1e-12)
    assert read.spacing(1000, 10) == [int(t) + 1 for t in np.linspace(0, 999, 10)]
    karras = read_scheduler({"_class_name": "DPMSolverSDEScheduler", "use_karras_sigmas": True})
    with pytest.raises(BadInput, match="are not made here: give --spacing"):
        karras.spacing(1000, 10)


@pytest.mark.parametrize("steps", [10, 7, 50])
@pytest.mark.parametrize("name", HERE)
def test_a_shorter_chain_keeps_the_times_of_the_class(name, steps):
    """Every kept t is one of the class's own, and all its whole ones at first order.

    Kills: DDPM's list for DPM-Solver, DEIS, SA and UniPC, which spread N + 1 points.
    """
    for spacing in ("leading", "trailing", "linspace"):
        if (name, spacing) == ("DDIMInverseScheduler", "linspace"):
            continue
        raw = {"_class_name": name, "num_train_timesteps": 250, "timestep_spacing": spacing}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, in diffusers
            scheduler = getattr(diffusers, name).from_config(raw)
            scheduler.set_timesteps(steps)
        times = {t for t in np.round(scheduler.timesteps.double().numpy()).astype(int) if t >= 0}
        kept = read_scheduler(raw).spacing(250, steps)
        assert {t - 1 for t in kept} <= times
        assert len(kept) == steps
        assert kept == sorted(set(kept))
        if len(scheduler.timesteps) == steps:
            assert {t - 1 for t in kept} == times


WRONG = {
    "num_train_timesteps": ["1000", True, 0, 10.5, [1]],
    "beta_start": ["0.1", True, [0.1]],
    "beta_end": ["0.1", False],
    "beta_schedule": [1, True],
    "trained_betas": ["linear", 3, [0.1, "0.2"]],
    "rescale_betas_zero_snr": ["false", 0, 1],
    "prediction_type": [1, ["epsilon"]],
    "variance_type": [1, True],
    "clip_sample": ["false", 0, 1.0],
    "clip_sample_range": ["1", True],
    "thresholding": ["false", 0],
    "dynamic_thresholding_ratio": ["0.9"],
    "sample_max_value": ["1"],
    "timestep_spacing": [1],
    "steps_offset": ["1", 0.5, True],
    "use_karras_sigmas": ["false"],
}


@pytest.mark.parametrize("key", list(WRONG))
def test_a_value_of_another_type_is_refused_by_file_key_and_value(tmp_path, nelbo, key):
    """Kills: "false" taken for true, TypeError of a number that is text (exit 1)."""
    folder = pipeline(tmp_path / "pipe")
    for value in WRONG[key]:
        edited(folder, **{key: value})
        # of a list that is one itself, the entry
        listed = key == "trained_betas" and isinstance(value, list)
        wrong = value[-1] if listed else value
        message = f"scheduler_config.json: {key}: .*got {re.escape(repr(wrong))}"
        check_refusal(nelbo, folder, 2, message, "inspect", folder)


def test_a_whole_number_may_be_written_with_a_point(tmp_path):
    folder = edited(pipeline(tmp_path / "pipe"), num_train_timesteps=20.0)
    assert load(folder).T == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"clip_sample": true, "clip_sample": false}', "the key 'clip_sample' is there twice"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"\xff\xfe{\x00}\x00", "utf-8"),
        (b"[" * 200_000, "nested too deep"),
        (b"3", "holds no JSON object"),
        (b'{"beta_end": NaN, "_class_name": "DDPMScheduler"}', "beta_end: .*finite"),
    ],
)
def test_what_is_no_json_object_is_refused_in_one_line(tmp_path, content, message):
    """Kills: a key that is there twice, of which the last wins in silence."""
    folder = pipeline(tmp_path / "pipe")
    (folder / "scheduler" / "scheduler_config.json").write_bytes(content)
    with pytest.raises(BadInput, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)
