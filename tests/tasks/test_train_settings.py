"""Settings of training beside the plain step: held-out bound, patience, precision, formats."""

import math
from types import SimpleNamespace

import pytest
import torch
from training import entries, recipe, tensors

from conftest import small_recipe
from nelbo import checkpoint, formats
from nelbo import recipe as recipes
from nelbo.data import load
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Sampling, measuring
from nelbo.recipe import Recipe
from nelbo.results import bits_per_dim
from nelbo.tasks.train import train
from nelbo.training.batches import apart
from nelbo.training.learner import Learner

HELD = {"training.held_out": 4, "training.held_out_every": 2, "training.held_out_budget": 4}


def test_held_out_images_are_never_trained_on_and_are_the_same_for_every_seed():
    """Kills: test images used to choose by, a split that depends on the run."""
    images = load("digits:train")
    training, held = apart(images, 100)
    again = apart(images, 100)[1]
    assert torch.equal(held.ids, again.ids)
    both = torch.cat([training.ids, held.ids]).sort().values
    assert torch.equal(both, images.ids)
    assert len(training) == 1197
    assert torch.equal(held.levels, images.levels[held.ids])
    assert apart(images, 0) == (images, None)
    with pytest.raises(BadInput, match="held_out = 1297 leaves nothing to train on"):
        apart(images, 1297)


def test_the_held_out_bound_is_the_one_that_evaluation_gives_of_the_averaged_weights(tmp_path):
    """Kills: raw weights, dropout on, images of the training part."""
    folder = train(recipe(**HELD), tmp_path / "run")
    entry = [entry for entry in entries(folder) if "held_out" in entry][-1]
    model = formats.load(folder, weights="ema")
    evaluator = Evaluator([model], apart(load("digits:train"), 4)[1])
    with measuring([model]):
        result = Sampling(evaluator)
        result.spend(16)
    mean = result.total().means()[1]
    assert entry["step"] == 12
    assert entry["held_out"] == bits_per_dim(mean.mean, 64)
    assert entry["ci95_half"] == bits_per_dim(mean.half_width(), 64)


def test_measuring_does_not_disturb_training(tmp_path):
    """Kills: an evaluation that draws from the generator that dropout draws from."""
    often = train(recipe(**HELD), tmp_path / "often")
    never = train(recipe(**(HELD | {"training.held_out_every": 100})), tmp_path / "never")
    a, b = (tensors(folder / "model.safetensors") for folder in (often, never))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_patience_ends_a_run_and_the_best_weights_are_kept(tmp_path, monkeypatch):
    """Kills: patience counted from the start, the last weights kept as the best."""
    bounds = iter([3.0, 2.0, 2.5, 1.9, 2.1, 2.0, 1.0])
    monkeypatch.setattr(
        "nelbo.training.held_out.HeldOut.measure",
        lambda self, weights, turn: (next(bounds), 0.1),
    )
    choices = recipe(**HELD, **{"training.steps": 100, "training.patience": 2})
    folder = train(choices, tmp_path / "run")
    assert entries(folder)[-1] == {
        "step": 12,
        "stopped": "no better held-out bound in 2 measurements",
    }
    assert checkpoint.load(folder / "checkpoints" / "best.safetensors").description["step"] == 8
    assert checkpoint.load(folder / "model.safetensors").description["step"] == 12


def test_settings_that_are_not_used_are_not_written_down():
    """Kills: recipes, and so checkpoints, that change with a new version."""
    dumped = recipes.read("digits").model_dump()["training"]
    assert set(dumped) == {
        "objective", "auxiliary", "steps", "batch_size", "learning_rate", "warmup",
        "weight_decay", "gradient_clip", "ema", "seed",
    }  # fmt: skip
    changed = small_recipe(**{"training.times": "importance", "training.patience": 3})
    assert Recipe.model_validate(changed.model_dump()) == changed
    assert changed.model_dump()["training"]["patience"] == 3


def network():
    torch.manual_seed(0)
    return torch.nn.Conv2d(1, 3, 3)


def of(module):
    """A model of it, as far as an optimiser is concerned."""
    return SimpleNamespace(network=module, called=module, apart=())


def test_bfloat16_is_for_the_network_alone():
    """Kills: weights, or the loss, in bfloat16."""
    choice = small_recipe(**{"training.precision": "bfloat16"}).training
    plain, learner = network(), Learner(of(network()), choice)
    x = torch.randn(2, 1, 5, 5)
    output, expected = learner.network(x), plain(x)
    assert output.dtype == torch.float32
    assert learner.network.weight.dtype == torch.float32
    error = (output - expected).abs().max()
    assert 0 < error < 2**-6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(output, plain(x).float())
    assert torch.equal(learner.average.network(x), expected)


def test_channels_last_changes_the_layout_alone(tmp_path):
    """Kills: moments restored in another layout than the fused optimiser reads."""
    choice = {"training.channels_last": True, "training.steps": 6, "network.dropout": 0.0}
    a = train(recipe(**choice), tmp_path / "a")
    b = train(recipe(**(choice | {"training.channels_last": False})), tmp_path / "b")
    x, y = (tensors(folder / "model.safetensors") for folder in (a, b))
    assert all((x[name] - y[name]).abs().max() < 1e-4 for name in x)
    (a / "model.safetensors").unlink()
    assert (a / "checkpoints" / "step-000004.safetensors").exists()
    again = train(recipe(**choice), a, resume=True)
    z = tensors(again / "model.safetensors")
    assert all(torch.equal(x[name], z[name]) for name in x)


def test_compile_is_used_only_where_the_recipe_does(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: calls.append(self))
    Learner(of(network()), small_recipe().training)
    assert calls == []
    learner = Learner(of(network()), small_recipe(**{"training.compile": True}).training)
    assert calls == [learner.network]


def test_the_rate_warms_up_and_falls_to_0_by_half_a_cosine():
    """Kills: a schedule that is a step off, or that counts from its own start after a resume."""
    choice = small_recipe(**{"training.steps": 1000, "training.warmup": 99}).training
    learner = Learner(of(network()), choice)
    top = choice.learning_rate
    assert learner.rate(0) == pytest.approx(top / 100)
    assert learner.rate(49) == pytest.approx(top / 2 * 0.5 * (1 + math.cos(math.pi * 0.049)))
    assert learner.rate(500) == pytest.approx(top / 2)
    assert learner.rate(1000) == pytest.approx(0, abs=1e-15)
    for p in learner.parameters.values():
        p.grad = torch.ones_like(p)
    learner.update(500)
    assert learner.optimizer.param_groups[0]["lr"] == learner.rate(500)
