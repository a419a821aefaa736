"""digits-iddpm through the whole pipeline: a variance that is learned beside L_simple (H12).

The untrained network is 0: eps-hat = 0, and f = 1/2 puts log V_t half-way between log beta-tilde_t
and log beta_t, so its bound is a formula.
"""

import json

import pytest
import torch

from conftest import changed
from linear_bound import Betas, closed_form, reading, through_the_model
from nelbo import data, formats, recipe
from nelbo.bound.estimators import low_discrepancy_times
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.gaussian.schedule import cosine, linear
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.train import train

TINY = {
    "chain.clip": False,
    "network.width": 8,
    "network.blocks": 1,
    "training.steps": 0,
    "training.batch_size": 16,
    "training.warmup": 0,
}


def iddpm(**changes):
    return changed("digits-iddpm", TINY | changes)


def built(choices):
    return recipe.build(choices, (1, 8, 8), 17)


@pytest.mark.parametrize("steps", [None, 50])
@pytest.mark.parametrize("schedule", [linear, cosine])
def test_the_untrained_bound_is_the_closed_form_of_a_variance_half_way(schedule, steps, tmp_path):
    """All three terms, from a run folder. Kills: H12 (a mixture of variances, not of logs; betas
    of the whole chain on a sub-chain; f = output)."""
    name = schedule.__name__
    choices = iddpm(**{"chain.schedule": {"name": name, "T": 200}})
    model = formats.load(train(choices, tmp_path / "r"))
    model = model if steps is None else model.every(steps)
    levels = data.load("digits:test").levels[1]
    chain = Betas.kept(schedule(200).beta[1:].numpy(), model.chain.q.schedule.kept.numpy())
    V = chain.variance("learned-range", 0.5)
    want = closed_form(chain, V, *reading("eps", chain, 0, 0), levels, 17)
    assert through_the_model(model, levels) == pytest.approx(want, rel=1e-6)


def test_evaluation_finds_the_closed_form(tmp_path):
    """|z| < 4 over the images that are measured. Kills: the doubled channels dropped."""
    choices = iddpm(**{"chain.schedule": {"name": "linear", "T": 100}})
    model = formats.load(train(choices, tmp_path / "r"))
    assert model.facts["variance"] == "learned-range"
    images = data.load("digits:test").first(8)
    chain = Betas.kept(linear(100).beta[1:].numpy())
    parts = chain, chain.variance("learned-range", 0.5), *reading("eps", chain, 0, 0)
    want = sum(sum(closed_form(*parts, levels, 17)) for levels in images.levels) / len(images)
    result = evaluate(model, images, budget=4000).monte_carlo
    assert abs(result.mean - want) < 4 * result.se


def test_the_bound_does_not_reach_the_channel_of_the_mean():
    """Of the last layer, whose channels are the mean's and the variance's, at two weights.

    Kills: no stop of the gradient; auxiliary not passed on; the channels swapped.
    """
    gradients = []
    for weight in (0.001, 0.1):
        choices = iddpm(**{"training.auxiliary": weight, "network.dropout": 0.0})
        model = built(choices)
        levels = torch.randint(17, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0))
        noise, t = KeyedNoise.of(0, torch.arange(16)), low_discrepancy_times(model.T, 16, 0.0)
        network = model.network.double()
        x_0 = model.x_0(levels, torch.float64)
        recipe.objective(choices, model)(x_0, t, noise).sum().backward()
        gradients.append(network.leave[-1].weight.grad)
    mean, variance = zip(*(g.unbind(0) for g in gradients), strict=True)
    assert torch.equal(mean[0], mean[1])
    assert mean[0].any()
    torch.testing.assert_close(variance[1], 100 * variance[0], rtol=1e-9, atol=0)


def test_training_learns_the_variance_and_says_what_it_logs(tmp_path):
    """Kills: a loss that is no number of bits logged as one; a variance channel that stays 0."""
    folder = train(iddpm(**{"training.steps": 2}), tmp_path / "r")
    entry = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert entry["unit"] == "L_simple with variance"
    model = formats.load(folder, weights="raw")
    assert model.network.leave[-1].weight[1].any()
    fresh = built(iddpm())
    t = torch.tensor([3, 500])
    x = model.x_0(data.load("digits:test").levels[:2])
    with torch.inference_mode():
        moved, start = (m.chain.p.predict(x, t).log_var for m in (model, fresh))
    assert not torch.equal(moved, start)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_a_variance_that_is_not_learned_is_refused(variance):
    """Before anything is written. Kills: hybrid that trains nothing."""
    choices = iddpm(**{"chain.variance": variance})
    with pytest.raises(BadInput, match=f"trains a learned variance: {variance} is none"):
        recipe.objective(choices, built(choices))
