import json
import math

import pytest
import torch

from conftest import small_recipe
from nelbo import formats
from nelbo import recipe as recipes
from nelbo.errors import BadInput, NonFinite
from nelbo.model import loss
from nelbo.tasks.train import train
from nelbo.training.batches import Batches
from nelbo.training.learner import Average


def test_the_same_recipe_gives_the_same_bytes(run, tmp_path):
    """Kills: images, times, noise or dropout from an unseeded source."""
    torch.manual_seed(99)
    again = train(small_recipe(), tmp_path / "again")
    name = "model.safetensors"
    assert (again / name).read_bytes() == (run / name).read_bytes()


def test_training_leaves_torchs_generator_alone(tmp_path):
    before = torch.get_rng_state()
    train(small_recipe(), tmp_path / "r")
    assert torch.equal(torch.get_rng_state(), before)


def test_training_by_the_bound_lowers_it(tmp_path):
    """Kills: a loss with the wrong sign, no gradient, weights not saved."""
    changes = {"training.steps": 60, "training.batch_size": 64, "training.warmup": 5}
    folder = train(small_recipe(**changes), tmp_path / "r")
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [50, 60]
    assert log[-1]["unit"] == "bits/dim"
    start = torch.log2(torch.tensor(17.0))  # the zero network knows nothing of the digits
    assert log[-1]["loss"] < start - 0.5


def test_the_losses_of_the_quarters_of_the_chain_make_the_loss(tmp_path):
    """Four rows of sixteen in each quarter, spread evenly. Kills: nats told as bits, t from 0."""
    folder = train(small_recipe(**{"training.steps": 1}), tmp_path / "run")
    entry = json.loads((folder / "log.jsonl").read_text())
    assert len(set(entry["loss_by_quarter"])) == 4
    assert sum(entry["loss_by_quarter"]) / 4 == pytest.approx(entry["loss"], rel=1e-5)
    train(
        small_recipe(**{"training.steps": 1, "chain.schedule.T": 2}),
        tmp_path / "short",
    )
    entry = json.loads((tmp_path / "short" / "log.jsonl").read_text())
    assert [x is None for x in entry["loss_by_quarter"]] == [False, True, False, True]


def test_l_simple_trains_the_control(tmp_path):
    changes = {
        "chain.parametrization": "eps",
        "chain.decoder": "discretized-gaussian",
        "training.objective": "simple",
        "training.steps": 30,
    }
    folder = train(small_recipe(**changes), tmp_path / "r")
    log = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert log["unit"] == "L_simple"
    assert log["loss"] < 1.0  # the zero network's is E|eps|^2 = 1 per dimension


def test_l_simple_of_levels_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no target for levels"):
        train(small_recipe(**{"training.objective": "simple"}), tmp_path / "r")


def test_an_existing_folder_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "precious").write_text("x")
    with pytest.raises(BadInput, match="exists already"):
        train(small_recipe(), tmp_path / "r")
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["precious"]


def test_a_loss_that_is_not_finite_stops_the_run_before_a_checkpoint(tmp_path, monkeypatch):
    """Kills: H39; a checkpoint that holds NaN."""

    def broken(*arguments):
        return torch.full((16,), torch.nan, requires_grad=True)

    monkeypatch.setattr(recipes, "objective", lambda recipe, model: broken)
    with pytest.raises(NonFinite, match=r"step 1, t = \[.*images \[.*digits.*rank 0"):
        train(small_recipe(), tmp_path / "r")
    assert not (tmp_path / "r" / "model.safetensors").exists()


def test_an_epoch_shows_every_image_once_whatever_the_batch_size():
    """Kills: a batch dropped or repeated where epochs meet."""
    for size in (1, 7, 16, 50):
        batches = Batches(16, size, 5)
        stream = torch.cat([batches.at(step) for step in range(-(-48 // size))])
        for epoch in range(3):
            assert sorted(stream[16 * epoch : 16 * epoch + 16].tolist()) == list(range(16))
    whole, quarter = Batches(16, 48, 5).at(0), Batches(16, 12, 5)
    assert torch.equal(torch.cat([quarter.at(step) for step in range(4)]), whole)


def test_the_moving_average_is_warmed_up():
    """After n updates of a weight that counts 1, 2, ...: the recursion by hand.

    Kills: a fixed decay that keeps the first weights.
    """
    network = torch.nn.Linear(1, 1, bias=False)
    average = Average(network, 0.999)
    expected = None
    for n in range(5):
        network.weight.data.fill_(n + 1.0)
        average.update()
        d = min(0.999, (1 + n) / (10 + n))
        expected = n + 1.0 if expected is None else d * expected + (1 - d) * (n + 1.0)
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-6)


def test_loss_is_the_bound_in_expectation_and_has_a_gradient(run):
    """Kills: nelbo.loss in other units or with a biased choice of t."""
    from nelbo.data import load
    from nelbo.tasks.evaluate import evaluate

    model = formats.load(run).every(8)
    images = load("digits:test").first(4)
    truth = evaluate(model, images, budget=8000).monte_carlo
    generator = torch.Generator().manual_seed(0)
    levels = images.levels.repeat(8, 1, 1, 1)
    with torch.no_grad():
        draws = torch.stack([loss(model, levels, generator).mean() for _ in range(200)]).double()
    error = math.hypot(float(draws.std()) / 200**0.5, truth.se)
    assert abs(float(draws.mean()) - truth.mean) < 4 * error
    loss(model, levels).mean().backward()
    assert any(x.grad is not None and x.grad.any() for x in model.network.parameters())
