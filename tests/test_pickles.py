"""A model goes to another process, or to disk, and comes back the same; pickles of code do not."""

import io
import pickle
import pickletools
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

import nelbo
from conftest import VDM, changed, small_recipe
from formats.diffusers_folders import pipeline
from nelbo import BadInput, load
from nelbo.recipe import build
from nelbo.tasks.improve import improve
from test_cli import check_refusal

SHAPE = (1, 4, 4)


class Net(nn.Module):
    def __init__(self, outputs=1):
        super().__init__()
        torch.manual_seed(1)
        self.inside = nn.Conv2d(1, outputs, 3, padding=1)

    def forward(self, x, t):
        eps, *variance = self.inside(x).chunk(self.inside.out_channels, dim=1)
        return torch.cat([eps, *(0.01 + v.square() for v in variance)], dim=1)


def wrapped(**choices):
    choices = {
        "predicts": "eps",
        "variance": "small",
        "levels": 17,
        "time_input": "index",
    } | choices
    outputs = 2 if "learned" in choices["variance"] else 1
    schedule = {"name": "linear", "T": 6}
    return nelbo.wrap(Net(outputs), schedule=schedule, shape=SHAPE, **choices)


def fresh(name, changes):
    return build(changed(name, changes), (1, 8, 8), 17)


def images(model):
    return torch.randint(0, 17, (9, *model.shape), generator=torch.Generator().manual_seed(2))


MODELS = {
    "eps": lambda folder: wrapped(),
    "x_0": lambda folder: wrapped(predicts="x_0", variance="large"),
    "v": lambda folder: wrapped(predicts="v", time_input="log-snr", steps=[1, 3, 4, 6]),
    "learned-range": lambda folder: wrapped(variance="learned-range", time_input="t"),
    "learned": lambda folder: wrapped(variance="learned", time_input="fraction"),
    "density": lambda folder: wrapped(decoder="density", levels=None),
    "sub-chain": lambda folder: wrapped().every(3),
    "digits": lambda folder: build(small_recipe(**{"chain.schedule.T": 6}), (1, 8, 8), 17),
    "D3PM": lambda folder: fresh("digits-d3pm", {"network.width": 8, "chain.schedule.T": 6}),
    "VDM": lambda folder: fresh("digits-vdm", VDM),
    "VDM in the limit": lambda folder: fresh("digits-vdm", VDM).in_the_limit(),
    "improved": lambda folder: (
        improve(wrapped(), nelbo.data.as_images(images(wrapped()), n=17), steps=4).model
    ),
    "a diffusers folder": lambda folder: nelbo.load(
        pipeline(folder / "ddpm", num_train_timesteps=6), levels=17
    ),
}


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_torch(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


WAYS = [*((kind, by_pickle) for kind in MODELS), ("eps", by_torch), ("VDM", by_torch)]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_a_model_comes_back_from_a_pickle_and_measures_the_same(kind, way, tmp_path):
    """Kills: a lambda in a model, which no process pool and no torch.save takes."""
    model = MODELS[kind](tmp_path)
    data = images(model) if kind != "density" else images(model).float() / 8 - 1
    again = way(model)
    first, second = (nelbo.evaluate(m, data, budget=60, seed=4) for m in (model, again))
    assert torch.equal(first.per_image.total, second.per_image.total)
    assert again.described() == model.described()
    if kind == "improved":
        with pytest.raises(nelbo.BadInput, match="made for its 4 steps"):
            again.every(2)
    elif "limit" not in kind and model.T > 3:
        assert again.every(3).T == model.every(3).T == 3


SOURCE = "open('ran', 'w').close()"


class Persistent:
    """A network as torch_utils.persistence pickles it: a function of its own, and its source."""

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": "EDMPrecond",
            "state": {"img_resolution": 8, "sigma_data": 0.5},
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """network-snapshot.pkl, whose function is not to be imported any more when it is there."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the pickle was run")

    module = ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    path = tmp_path / "network-snapshot.pkl"
    with monkeypatch.context() as inside:
        inside.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
        inside.setitem(sys.modules, module.__name__, module)
        path.write_bytes(pickle.dumps({"ema": Persistent(), "augment_pipe": None}))
    words = [argument for _, argument, _ in pickletools.genops(path.read_bytes())]
    assert {"torch_utils.persistence", "_reconstruct_persistent_obj", SOURCE} <= {*map(str, words)}
    return path


@pytest.mark.parametrize(
    "command", ["evaluate", "inspect", "check", "compare", "improve", "sample"]
)
def test_a_persistence_pickle_is_refused_at_every_door_of_a_model(
    nelbo, snapshot, run, tmp_path, monkeypatch, command
):
    """For what it is: it holds the code of its network, and runs when it is read.

    Kills: a snapshot that is unpickled to see what it is; "damaged" of a whole file.
    """
    monkeypatch.chdir(tmp_path)
    more = {
        "inspect": [],
        "compare": [run, "--data", "digits:test"],
        "improve": ["--data", "digits:test", "-o", tmp_path / "better"],
        "sample": ["-o", tmp_path / "samples.png"],
    }
    why = (
        r"snapshot\.pkl is a pickle of a network snapshot of EDM or StyleGAN with its source code "
        r"with more in it than tensors \(torch_utils\.persistence\._reconstruct_persistent_obj\), "
        r"which is not loaded since it could run code, .* returns nelbo\.wrap"
    )
    rest = more.get(command, ["--data", "digits:test"])
    check_refusal(nelbo, tmp_path, 2, why, command, snapshot, *rest)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(BadInput, match="network snapshot of EDM"):
        load(snapshot)
