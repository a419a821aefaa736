"""The figure is that of the dtype which the result names, whatever the caller has set."""

from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch import nn

import nelbo
from conftest import VDM, changed, small_recipe
from formats.diffusers_folders import pipeline
from nelbo.recipe import build
from nelbo.sampling.ancestral import ancestral
from nelbo.tasks.derive import derive
from nelbo.tasks.improve import improve

SHAPE = (1, 4, 4)
IMAGES = torch.randint(0, 17, (9, *SHAPE), generator=torch.Generator().manual_seed(2))
DIGITS = torch.randint(0, 17, (9, 1, 8, 8), generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.inside = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t):
        return self.inside(x)


def wrapped(**choices):
    choices = {"predicts": "eps", "levels": 17, "time_input": "index"} | choices
    schedule = {"name": "cosine", "T": 6}
    return nelbo.wrap(Net(), schedule=schedule, variance="small", shape=SHAPE, **choices)


def fresh(name, changes):
    return build(changed(name, changes), (1, 8, 8), 17)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AROUND = {
    "default float64": lambda: default_dtype(torch.float64),
    "default float16": lambda: default_dtype(torch.float16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
}

MODELS = {
    "wrapped": lambda: (wrapped(), IMAGES),
    "log-snr": lambda: (wrapped(time_input="log-snr", predicts="v"), IMAGES),
    "density": lambda: (wrapped(decoder="density", levels=None), IMAGES.float() / 8 - 1),
    "digits": lambda: (build(small_recipe(**{"chain.schedule.T": 6}), (1, 8, 8), 17), DIGITS),
    "D3PM": lambda: (fresh("digits-d3pm", {"network.width": 8, "chain.schedule.T": 6}), DIGITS),
    "VDM": lambda: (fresh("digits-vdm", VDM), DIGITS),
    "the limit": lambda: (fresh("digits-vdm", VDM).in_the_limit(), DIGITS),
}


@cache
def evaluated(kind):
    model, data = MODELS[kind]()
    return model, data, nelbo.evaluate(model, data, budget=60, seed=4, distortion=True)


SOME = [
    *((kind, around) for kind in MODELS for around in ("default float64", "autocast")),
    *(("wrapped", around) for around in ("default float16", "inference mode")),
]


@pytest.mark.parametrize(("kind", "around"), SOME)
def test_an_evaluation_is_in_the_dtype_of_the_weights(kind, around):
    """Kills: bfloat16 products in a figure that is said to be float32's; tables in another dtype.

    Equal to the bit: the same operations on the same numbers.
    """
    model, data, plain = evaluated(kind)
    with AROUND[around]():
        loaded = nelbo.evaluate(model, data, budget=60, seed=4, distortion=True)
    assert loaded.environment["dtype"] == plain.environment["dtype"] == "float32"
    assert torch.equal(loaded.per_image.total, plain.per_image.total)


@pytest.mark.parametrize("around", ["default float64", "default float16"])
@pytest.mark.parametrize("kind", ["digits", "D3PM", "VDM"])
def test_a_model_of_ours_is_made_in_float32(kind, around):
    """Kills: a fresh network, or a table, in the dtype that happens to be torch's default."""
    *_, expected = evaluated(kind)
    with AROUND[around]():
        model, data = MODELS[kind]()
        model.every(3)
        loaded = nelbo.evaluate(model, data, budget=60, seed=4, distortion=True)
    assert loaded.environment["dtype"] == "float32"
    assert loaded.model["sha256"] == expected.model["sha256"]
    assert torch.equal(loaded.per_image.total, expected.per_image.total)


@pytest.mark.parametrize("around", ["default float64", "autocast"])
@pytest.mark.parametrize("kind", ["wrapped", "D3PM", "VDM"])
def test_a_sample_is_in_the_dtype_of_the_weights(kind, around):
    """Kills: a default dtype in the states of the reverse chain, which no result would name."""
    model, _ = MODELS[kind]()
    plain = nelbo.sample(model, 3, seed=1)
    with AROUND[around]():
        loaded = nelbo.sample(model, 3, seed=1)
        states = [x for _, x in ancestral(model, 3, seed=1)]
    assert torch.equal(loaded, plain)
    assert torch.float64 not in {x.dtype for x in states}


@pytest.mark.parametrize("around", ["default float64", "autocast"])
def test_an_improvement_and_a_derivation_too(around):
    """Kills: the same in the tables that improve fits, and in the lines of the derivation."""
    model, _ = MODELS["wrapped"]()
    images = nelbo.data.as_images(IMAGES, n=17)
    plain = improve(model, images, steps=3)
    with AROUND[around]():
        loaded = improve(model, images, steps=3)
    assert torch.equal(loaded.variance.table, plain.variance.table)
    assert loaded.predicted == plain.predicted
    lines = derive(model, images, images=1, paths=4).to_dict()
    with AROUND[around]():
        again = derive(model, images, images=1, paths=4).to_dict()
    assert again["chains"] == lines["chains"]


@pytest.mark.parametrize("around", ["default float64", "default float16"])
def test_a_folder_of_diffusers_is_read_in_float32(around, tmp_path):
    """Kills: the same for the networks of others."""
    folder = pipeline(tmp_path / "ddpm", num_train_timesteps=6)
    with AROUND[around]():
        loaded = nelbo.load(folder, levels=17)
    assert loaded.dtype == torch.float32
    bounds = [
        nelbo.evaluate(m, IMAGES, budget=100) for m in (loaded, nelbo.load(folder, levels=17))
    ]
    assert torch.equal(bounds[0].per_image.total, bounds[1].per_image.total)


@pytest.mark.parametrize("around", ["default float64", "default float16"])
def test_a_run_is_read_in_the_dtype_that_it_was_written_in(around, run, vdm_run):
    """Kills: a checkpoint whose digest is another under another default."""
    for folder in (run, vdm_run):
        plain = nelbo.load(folder)
        with AROUND[around]():
            loaded = nelbo.load(folder)
        assert loaded.dtype == torch.float32
        assert loaded.sha256() == plain.sha256()
