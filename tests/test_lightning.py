"""NELBOCallback: what a fit logs is what `nelbo.evaluate` says, and the fit does not notice it."""

import json
import math
import os
import subprocess
import sys
import weakref
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nelbo
from nelbo.errors import BadInput
from nelbo.lightning import NELBOCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
]

IMAGES = nelbo.data.load("digits:test").first(12)
TRAINING = nelbo.data.load("digits:train").first(64).levels
LOGGED = {"bits_per_dim", "L_T", "L_mid", "L_0", "half_width", "half_width_monte_carlo"}
BUDGET = 120


class Network(nn.Module):
    """A perceptron with two dropouts, of which one stays off in training."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(65, 32), nn.Linear(32, 64)
        self.drop, self.off = nn.Dropout(0.5), nn.Dropout(0.5).eval()

    def forward(self, x, fraction):
        time = torch.cat([x.flatten(1), fraction[:, None]], dim=1)
        return self.last(self.off(self.drop(self.first(time).relu()))).reshape(x.shape)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = Network()
        self.weights = []

    def training_step(self, batch):
        modes = [part.training for part in (self, self.network, self.network.drop)]
        assert [*modes, self.network.off.training] == [True, True, True, False]
        return nelbo.loss(model_of(self), batch[0]).mean() / 64

    def validation_step(self, batch):
        self.log("val/own", torch.rand(()))

    def on_train_epoch_end(self):
        self.weights.append({k: x.clone() for k, x in self.network.state_dict().items()})

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)

    def train_dataloader(self):
        return DataLoader(TensorDataset(TRAINING), 16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(TensorDataset(TRAINING), 32)


def model_of(module, network=None, **kind):
    return nelbo.wrap(
        network or module.network,
        schedule={"name": "linear", "T": 20, "beta_T": 0.4},
        predicts="eps",
        variance="large",
        time_input="fraction",
        **(kind or {"data": IMAGES}),
    )


def density_of(module):
    return model_of(module, decoder="density", shape=(1, 8, 8))


def hidden(module):
    """The model of a network behind a weak reference, by which evaluate sees no mode to set."""
    behind = weakref.ref(module)
    return model_of(module, lambda x_t, fraction: behind().network(x_t, fraction))


class Memory(Logger):
    """Keeps what is logged, by epoch."""

    name, version = "memory", 0

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(metrics["epoch"], {}).update(metrics)

    def log_hyperparams(self, params):
        pass


def trainer(folder, *callbacks, **settings):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"max_epochs": 2, "enable_checkpointing": False, "logger": Memory()}
    return pl.Trainer(default_root_dir=folder, callbacks=list(callbacks), **(quiet | settings))


def fitted(folder, *callbacks, validated=False, **settings):
    """(module, trainer) after a fit whose every random number comes from one seed."""
    torch.manual_seed(1)
    settings["limit_val_batches"] = 1.0 if validated else 0
    module, training = Module(), trainer(folder, *callbacks, **settings)
    training.fit(module)
    return module, training


def truth(module, weights):
    """What a fit should log with these weights."""
    module.network.load_state_dict(weights)
    result = nelbo.evaluate(model_of(module), IMAGES, budget=BUDGET, seed=3)
    expected = {name: term["bits_per_dim"] for name, term in result.to_dict()["terms"].items()}
    return expected | {
        "bits_per_dim": result.bits_per_dim,
        "half_width": result.half_width(result.total),
        "half_width_monte_carlo": result.half_width(result.monte_carlo),
    }


def logged(training):
    """By epoch, what the callback logged; as Lightning keeps it, in float32."""
    return {
        epoch: {name[4:]: x for name, x in row.items() if name[4:] in LOGGED}
        for epoch, row in training.logger.rows.items()
    }


@pytest.mark.parametrize(
    ("model", "validated"), [(model_of, False), (model_of, True), (hidden, False)]
)
def test_a_fit_logs_what_evaluate_says_and_does_not_notice_it(model, validated, tmp_path):
    """Same weights, bit for bit, with the callback and without it.

    Kills: a draw from the random state of the training, dropout on in the measurement or off (or
    on where it was off) after it, gradients left behind, an epoch measured by the weights of
    another, one that is measured twice.
    """
    calls = []

    def counted(module):
        calls.append(module)
        return model(module)

    callback = NELBOCallback(counted, IMAGES, budget=BUDGET, seed=3)
    alone, _ = fitted(tmp_path, validated=validated)
    module, training = fitted(tmp_path, callback, validated=validated)
    assert len(module.weights) == len(alone.weights) == 2
    for with_it, without in zip(module.weights, alone.weights, strict=True):
        assert all(torch.equal(with_it[name], without[name]) for name in without)
    assert callback.latest.images == len(IMAGES)
    assert len(calls) == 1 + 2  # at the start, and after each epoch
    rows = logged(training)
    assert list(rows) == [0, 1]
    for epoch, weights in enumerate(module.weights):
        assert set(rows[epoch]) == LOGGED
        assert rows[epoch] == pytest.approx(truth(module, weights), rel=1e-6)
    assert training.callback_metrics["val/bits_per_dim"].item() == rows[1]["bits_per_dim"]


def test_every_n_epochs_means_that_and_validate_always_measures(tmp_path):
    callback = NELBOCallback(model_of, IMAGES, every_n_epochs=2, budget=BUDGET, prefix="test")
    module, training = fitted(tmp_path, callback, validated=True, max_epochs=3)
    rows = training.logger.rows
    assert [epoch for epoch, row in rows.items() if "test/L_0" in row] == [1]
    last = callback.latest
    training.validate(module, verbose=False)
    assert callback.latest is not last


@pytest.mark.parametrize("validated", [False, True])
def test_the_best_epoch_is_kept_by_its_bound(validated, tmp_path):
    """Kills: a figure that is logged after the checkpoint which watches it has been chosen."""
    best = ModelCheckpoint(tmp_path / "best", monitor="val/bits_per_dim", mode="min")
    callback = NELBOCallback(model_of, IMAGES, budget=BUDGET)
    settings = {"validated": validated, "enable_checkpointing": True}
    module, training = fitted(tmp_path, best, callback, **settings)
    bounds = [row["bits_per_dim"] for row in logged(training).values()]
    kept = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    expected = module.weights[bounds.index(min(bounds))]
    assert all(torch.equal(kept[f"network.{name}"], x) for name, x in expected.items())
    assert best.best_model_score.item() == min(bounds)


def test_a_mistake_is_reported_before_the_first_epoch(tmp_path):
    """Kills: a training that ends after an epoch with what was wrong from the start."""
    with pytest.raises(BadInput, match="every_n_epochs must be at least 1; got 0"):
        NELBOCallback(model_of, IMAGES, every_n_epochs=0)
    shape = torch.zeros(4, 1, 4, 4, dtype=torch.long)
    for callback, message in (
        (NELBOCallback(lambda module: module.network, IMAGES), "gives a nelbo model.* a Network"),
        (NELBOCallback(model_of, shape), r"takes images of shape \(1, 8, 8\); got \(1, 4, 4\)"),
        (NELBOCallback(model_of, nelbo.data.as_images(shape, n=9)), "has 9 levels; 17 were"),
        (NELBOCallback(density_of, IMAGES), "has a density of data, .* in nats/dim"),
    ):
        module = Module()
        with pytest.raises(BadInput, match=message):
            trainer(tmp_path, callback).fit(module)
        assert module.weights == []


def test_the_model_is_measured_where_the_module_is():
    """Kills: a class label left on another device; a plain function measured on the CPU."""
    module = Module()
    module.to("meta")
    labels = {"arguments": {"labels": torch.tensor(3)}}
    choices = {"schedule": "linear", "predicts": "eps", "variance": "small", "time_input": "t"}
    own = NELBOCallback(lambda it: nelbo.wrap(it.network, **choices, data=IMAGES, **labels), IMAGES)
    assert own._model(module).network.argument_labels.device.type == "meta"
    through = NELBOCallback(
        lambda it: nelbo.wrap(lambda x, t: it.network(x, t), **choices, data=IMAGES), IMAGES
    )
    assert through._model(module).device.type == "meta"
    other = NELBOCallback(lambda it: nelbo.wrap(lambda x, t: x, **choices, data=IMAGES), IMAGES)
    with pytest.raises(BadInput, match="is on meta and its model on cpu: wrap the network itself"):
        other._model(module)


TWO_PROCESSES = """
import json, os, pathlib, warnings
import torch
import nelbo.estimation.evaluator
torch.set_num_threads(1)
from test_lightning import BUDGET, IMAGES, Module, NELBOCallback, model_of, trainer
module, calls = Module(), []
def count(network, inputs, output):
    if not network.training:
        calls.append(len(output))
module.network.register_forward_hook(count)
nelbo.estimation.evaluator.CELLS = 8 * 64  # so that there are many parts of the work to share
callback = NELBOCallback(model_of, IMAGES, budget=BUDGET, seed=3)
fit = trainer(".", callback, strategy="ddp", devices=2, max_epochs=1, limit_val_batches=0)
fit.fit(module)
logged = {name: x.item() for name, x in fit.callback_metrics.items()}
weights = {name: x.tolist() for name, x in module.weights[0].items()}
pathlib.Path(f"{fit.global_rank}.json").write_text(json.dumps([logged, sum(calls), weights]))
"""


def test_two_processes_share_the_work_and_log_the_same(tmp_path):
    """Kills: each process doing all of it, or logging its own part."""
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), *sys.path])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "two.py"], cwd=tmp_path, env=env, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result, calls, weights), (other, others, _) = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)
    )
    assert result == other
    assert min(calls, others) > 0.3 * (calls + others)
    module = Module()
    expected = truth(module, {name: torch.tensor(x) for name, x in weights.items()})
    terms = {name[4:]: x for name, x in result.items()}
    assert terms == pytest.approx(expected, rel=1e-5)
    checked = 4 * 4  # four images together, again, and each alone: of no budget
    assert math.isclose(calls + others - checked, BUDGET, rel_tol=0.05)
