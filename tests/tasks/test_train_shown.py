"""What is shown of a run while it trains: samples at intervals, trackers; the run is the same."""

import importlib.machinery
import sys
import types

import numpy as np
import pytest
import torch
from training import STEPS, entries, recipe, same, tensors

from nelbo import files, formats
from nelbo.errors import BadInput, Stopped
from nelbo.sampling.pictures import picture_grid
from nelbo.tasks.sample import sample
from nelbo.tasks.train import train
from nelbo.training import log as logs
from nelbo.training.pictures import COUNT, Pictures

DRAWN = {
    "chain.schedule.T": 4,
    "training.samples_every": 3,
    "training.held_out": 3,
    "training.held_out_every": 3,
    "training.held_out_budget": 4,
    "training.checkpoint_every": 3,
    "training.keep": 4,
    "training.learning_rate": 0.05,
    "training.warmup": 0,
}
"""Every step with samples is also one with a checkpoint, and steps that move the weights."""
PICTURES = [f"step-{step:06d}.png" for step in (3, 6, 9, 12)]


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "samples").iterdir())}


class Killed(BaseException):
    """Ends a run at a place, as a kill would, but in this process."""


def killed_after(step):
    def progress(done, expected, text):
        if done == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run that draws samples, and nothing interrupts."""
    return train(recipe(**DRAWN), tmp_path_factory.mktemp("drawn") / "run")


# ---- samples


def test_drawing_samples_does_not_disturb_training(drawn, tmp_path):
    """Dropout is on, so that one draw out of place shows. Kills: samples by training's generator,
    a network left in the mode of evaluation.
    """
    never = train(recipe(**(DRAWN | {"training.samples_every": 0})), tmp_path / "never")
    a, b = (
        tensors(folder / f"checkpoints/step-{STEPS:06d}.safetensors") for folder in (drawn, never)
    )
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (drawn / "log.jsonl").read_bytes() == (never / "log.jsonl").read_bytes()
    assert list(pictures(drawn)) == PICTURES
    assert not (never / "samples").exists()


@pytest.mark.parametrize("step", [3, 6, 9, 12])
def test_samples_are_those_of_the_averaged_weights_by_the_same_noise_each_time(drawn, step):
    """Kills: raw weights, those of another step, a seed that moves with the step."""
    path = drawn / "checkpoints" / f"step-{step:06d}.safetensors"
    by = {
        weights: picture_grid(sample(formats.load(path, weights=weights), COUNT), 17, scale=8)
        for weights in ("ema", "raw")
    }
    assert pictures(drawn)[f"step-{step:06d}.png"] == by["ema"] != by["raw"]


@pytest.mark.parametrize("step", [3, 5, 12])
def test_a_killed_run_ends_with_the_same_pictures(drawn, tmp_path, step):
    """Kills: a picture that is left out after a resume, or that moves a generator there."""
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        train(recipe(**DRAWN), folder, progress=killed_after(step))
    files.partial(folder / "samples" / "step-000006.png").write_bytes(b"half")
    train(recipe(**DRAWN), folder, resume=True)
    assert same(folder, drawn)
    assert pictures(folder) == pictures(drawn)


def test_a_signal_while_samples_are_drawn_saves_and_the_picture_is_drawn_later(
    drawn, tmp_path, monkeypatch
):
    """Kills: minutes of sampling after SIGTERM, a picture that a signal leaves out for ever."""
    folder, draw = tmp_path / "run", Pictures.draw

    def signalled(self, weights, path, turn):
        turn.__self__.signals.number = 15
        draw(self, weights, path, turn)

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "draw", signalled)
        with pytest.raises(Stopped, match="after step 3"):
            train(recipe(**DRAWN), folder)
    assert not list((folder / "samples").iterdir())
    train(recipe(**DRAWN), folder, resume=True)
    assert same(folder, drawn)
    assert pictures(folder) == pictures(drawn)


def test_only_the_first_process_draws(tmp_path):
    """And the others wait for it. Kills: two writers of one picture."""
    from training import together

    choices = recipe(**DRAWN, **{"network.dropout": 0.0})
    assert together(tmp_path / "run", choices) == ["done", "done"]
    assert list(pictures(tmp_path / "run")) == PICTURES


# ---- trackers


class Memory:
    """A tracker of the user's own."""

    def __init__(self):
        self.seen, self.finished = [], False

    def log(self, values, step=None):
        self.seen.append((step, values))

    def finish(self):
        self.finished = True


def figures(folder):
    """(step, name): figure, of log.jsonl."""
    results = {}
    for entry in entries(folder):
        step = entry.pop("step")
        results |= {(step, k): v for k, v in entry.items() if isinstance(v, int | float)}
    return results


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(logs, "EVERY", 2)


def test_a_tracker_receives_what_the_log_holds_and_changes_nothing(often, drawn, tmp_path):
    """Kills: a figure rounded or renamed, a tracker of the user that is ended for them."""
    memory = Memory()
    folder = train(recipe(**DRAWN), tmp_path / "run", track=[memory])
    logged = {(step, k): v for step, values in memory.seen for k, v in values.items()}
    speed = {k: v for k, v in logged.items() if k[1].endswith("_per_second")}
    assert {k: v for k, v in logged.items() if k not in speed} == figures(folder)
    assert {name for _, name in logged} == {
        "loss", "gradient_norm", "learning_rate", "held_out", "ci95_half", "best_step",
        "steps_per_second", "images_per_second",
    }  # fmt: skip
    assert {step for step, _ in speed} == {2, 4, 6, 8, 10, 12}
    assert not memory.finished
    model = "model.safetensors"
    assert (folder / model).read_bytes() == (drawn / model).read_bytes()


def events(folder):
    """(step, name): figure, of TensorBoard's files, by its own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    scalars = {tag: reader.Scalars(tag) for tag in reader.Tags()["scalars"]}
    for shown in scalars.values():
        steps = [event.step for event in shown]
        assert steps == sorted(set(steps))
    return {(event.step, tag): event.value for tag, all_ in scalars.items() for event in all_}


def test_tensorboard_shows_what_the_log_holds_after_a_kill_too(often, tmp_path):
    """Kills: steps counted otherwise, what a killed start showed of steps that were done again."""
    choices = recipe(**(DRAWN | {"training.samples_every": 0}))
    folder = tmp_path / "run"
    with pytest.raises(Killed):  # after a line of the log, before the checkpoint that has it
        train(choices, folder, track=["tensorboard"], progress=killed_after(8))
    train(choices, folder, track=["tensorboard"], resume=True)
    shown = events(folder / "tensorboard")
    expected = {key: float(np.float32(value)) for key, value in figures(folder).items()}
    assert {k: v for k, v in shown.items() if not k[1].endswith("_per_second")} == expected
    plain = train(choices, tmp_path / "plain")
    assert same(folder, plain)


def package(monkeypatch, name, **content):
    """A stand-in for a package that is not installed."""
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)


def test_wandb_receives_the_run_and_the_figures(often, tmp_path, monkeypatch):
    """Its own WANDB_MODE decides whether it is online. Kills: a mode or project forced on it."""
    started, memory = [], Memory()

    def init(**options):
        started.append(options)
        return memory

    package(monkeypatch, "wandb", init=init)
    folder = train(recipe(**DRAWN), tmp_path / "my-run", track=["wandb"])
    assert len(started) == 1
    config = started[0].pop("config")
    assert config["training"]["steps"] == STEPS
    assert started[0] == {
        "project": "nelbo", "name": "my-run", "group": "my-run", "dir": str(folder),
    }  # fmt: skip
    logged = {(step, k) for step, values in memory.seen for k in values}
    assert set(figures(folder)) <= logged
    assert memory.finished


def test_a_tracker_that_is_missing_is_refused_before_any_work(
    nelbo, recipe_file, tmp_path, monkeypatch
):
    """Kills: an import error after hours, an extra of another name than pyproject's."""
    monkeypatch.setattr("nelbo.training.tracking.find_spec", lambda name: None)
    arguments = ("train", recipe_file(), "-o", tmp_path / "run")
    for name in ("tensorboard", "wandb"):
        code, out, err = nelbo(*arguments, "--track", name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"needs the package {name}: pip install 'nelbo[{name}]'" in err
    assert not (tmp_path / "run").exists()
    assert nelbo(*arguments, "--track", "tensorbord")[0] == 2
    with pytest.raises(BadInput, match="no tracker wandbb: did you mean wandb"):
        train(recipe(), tmp_path / "run", track=["wandbb"])


def test_the_command_line_tracks_and_names_what_it_wrote(nelbo, recipe_file, tmp_path):
    arguments = ("train", recipe_file(), "-o", tmp_path / "run")
    code, out, _ = nelbo(*arguments, "--track", "tensorboard")
    assert code == 0
    assert f"{tmp_path / 'run' / 'tensorboard'}/" in out.splitlines()
    assert set(events(tmp_path / "run" / "tensorboard")) >= {(2, "loss"), (2, "learning_rate")}
