"""Several processes train what one trains: the same batch, and the same curve to rounding."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from training import STEPS, entries, poison, recipe, same, start, together

from nelbo.errors import BadInput, NonFinite
from nelbo.tasks.train import train
from nelbo.training import log as logs
from nelbo.training.loop import Loop

CURVE = {
    "training.steps": 100,
    "training.batch_size": 33,
    "training.learning_rate": 1e-3,
    "training.warmup": 10,
    "network.dropout": 0.0,
}


def curve(folder):
    """The loss of each step, from the smoothed ones of the log."""
    smoothed = np.array([entry["loss"] for entry in entries(folder)])
    return np.append(smoothed[0], (smoothed[1:] - 0.98 * smoothed[:-1]) / 0.02)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The curve of one process, with the whole batch in one part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "EVERY", 1)
        return curve(train(recipe(**CURVE), tmp_path_factory.mktemp("one") / "run"))


def test_two_processes_have_the_curve_of_one(one, tmp_path):
    """33 images are 17 and 16: each counts the same, whichever process it is in.

    Kills: a mean of means, the same or other noise on all ranks (H34), a gradient that is divided
    twice, a learning rate that grows with the processes.
    """
    assert together(tmp_path / "run", recipe(**CURVE), log_every=1) == ["done", "done"]
    result = curve(tmp_path / "run")
    assert len(result) == 100
    assert one[0] - one[-10:].mean() > 0.5
    assert np.abs(result - one).max() < 1e-5


def test_accumulated_parts_have_the_curve_of_the_whole_batch(one, tmp_path, monkeypatch):
    """Kills: parts of other sizes weighed alike, an update for each part."""
    monkeypatch.setattr(logs, "EVERY", 1)
    folder = train(recipe(**CURVE, **{"training.accumulate": 4}), tmp_path / "run")
    assert np.abs(curve(folder) - one).max() < 1e-5


EVERYTHING = {
    "training.times": "importance",
    "chain.schedule.T": 4,
    "training.held_out": 3,
    "training.held_out_every": 3,
    "training.held_out_budget": 4,
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The run of two processes that nothing interrupts, with dropout."""
    folder = tmp_path_factory.mktemp("two") / "run"
    assert together(folder, recipe(**EVERYTHING)) == ["done", "done"]
    return folder


def test_a_signal_to_any_process_stops_all_after_the_same_step(two, tmp_path):
    """Kills: a generator saved of the first process only, ranks that disagree on the end."""
    outcomes = together(tmp_path / "run", recipe(**EVERYTHING), signalled=(1, 5))
    assert outcomes[0].startswith("Stopped: stopped by a signal after step 6,")
    assert outcomes[0] == outcomes[1]
    assert together(tmp_path / "run", recipe(**EVERYTHING), resume=True) == ["done", "done"]
    assert same(tmp_path / "run", two)


def test_the_state_of_two_processes_is_not_for_one(two, tmp_path):
    outcomes = together(tmp_path / "run", recipe(**EVERYTHING), signalled=(0, 5))
    assert outcomes[0].startswith("Stopped")
    with pytest.raises(BadInput, match="processes is 2, this run's is 1"):
        train(recipe(**EVERYTHING), tmp_path / "run", resume=True)


def test_processes_of_different_recipes_do_not_begin(tmp_path):
    """Kills: R12."""
    outcomes = together(tmp_path / "run", [recipe(), recipe(**{"training.seed": 1})])
    assert all(
        line.startswith("BadInput: rank 0 and rank 1 have different recipe") for line in outcomes
    )
    assert not (tmp_path / "run").exists()
    outcomes = together(tmp_path / "run", recipe(**{"training.batch_size": 1}))
    assert all("batch_size = 1" in line for line in outcomes)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize(("row", "rank"), [(1, 0), (6, 1)])
def test_what_is_not_finite_stops_all_and_is_named(tmp_path, kind, row, rank):
    """Kills: R10, H39; an update by a gradient that is NaN, a rank that waits for the others."""
    outcomes = together(tmp_path / "run", recipe(), poisoned=(kind, row))
    assert outcomes[0] == outcomes[1]
    what = "the loss" if kind == "loss" else r"the gradient of embed\.1\.weight"
    match = re.match(
        rf"NonFinite: {what} is not finite at step 2, t = \[(.*)\], images \[(.*)\] of digits.*"
        rf"\(rank {rank}\)$",
        outcomes[0],
    )
    assert match, outcomes
    assert len(match[1].split(",")) == len(match[2].split(",")) == (1 if kind == "loss" else 4)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_what_is_not_finite_stops_one_process_likewise(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Loop, "_step", Loop._step)
    monkeypatch.setattr(Loop, "_part", Loop._part)
    poison((kind, 3))
    what = "loss" if kind == "loss" else "gradient of embed"
    with pytest.raises(NonFinite, match=rf"{what}.*step 2, t = \[.*images.*digits.*rank 0"):
        train(recipe(), tmp_path / "run")


def test_a_killed_process_ends_all_and_the_run_goes_on(recipe_file, two, tmp_path):
    """torchrun, whose second process is killed -9; the run ends as the one that was left alone.

    Kills: R1, R12.
    """
    changes = {"training.steps": STEPS, "training.batch_size": 8, "training.checkpoint_every": 4}
    path = recipe_file(**EVERYTHING, **changes, **{"network.blocks": 1})
    folder = tmp_path / "run"
    with start("train", path, "-o", folder, processes=2) as launcher:
        while not list(folder.glob("checkpoints/step-000004*")):
            assert launcher.poll() is None, launcher.stderr.read()
            time.sleep(0.01)
        first = json.loads((folder / "owner.json").read_text())["pid"]
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        (second,) = {int(child) for child in children} - {first}
        os.kill(second, 9)
        assert launcher.wait(60) != 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert together(folder, recipe(**EVERYTHING), resume=True) == ["done", "done"]
    assert same(folder, two)
