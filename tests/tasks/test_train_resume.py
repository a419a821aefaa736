"""A run that was stopped ends as if it had not been; restoring is everything or an error."""

import itertools
import math
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from training import STEPS, entries, recipe, same, tensors

from nelbo import checkpoint, files, formats
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput, NonFinite, Stopped
from nelbo.tasks.train import begun, train
from nelbo.training import lock, state

NEWEST = f"checkpoints/step-{STEPS:06d}.safetensors"
EVERYTHING = {
    "training.times": "importance",
    "chain.schedule.T": 4,
    "training.held_out": 3,
    "training.held_out_every": 3,
    "training.held_out_budget": 4,
    "training.accumulate": 2,
}
"""Every part of the state in use: importance-sampled times that have learnt, a best checkpoint."""


class Killed(BaseException):
    """Ends a run at a place, as a kill would, but in this process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupts."""
    return train(recipe(**EVERYTHING), tmp_path_factory.mktemp("whole") / "run")


def killed_after(step):
    def progress(done, expected, text):
        if done == step:
            raise Killed

    return progress


def interrupted(folder, step, **changes):
    with pytest.raises(Killed):
        train(recipe(**(EVERYTHING | changes)), folder, progress=killed_after(step))
    return folder


@pytest.mark.parametrize("step", [2, 4, 7, 11, 12])
def test_a_killed_run_goes_on_to_the_same_bytes(whole, tmp_path, step):
    """Kills: any part of the state that is not saved, or saved and not put back.

    The state that is compared holds weights, average, optimiser, times, generators, the digest of
    the log and the position. Dropout is on, so that a generator out of place shows in the weights.
    """
    folder = interrupted(tmp_path / "run", step)
    torch.manual_seed(step)
    torch.rand(step)
    train(recipe(**EVERYTHING), folder, resume=True)
    assert same(folder, whole)
    best = "checkpoints/best.safetensors"
    assert (folder / best).read_bytes() == (whole / best).read_bytes()


@pytest.mark.parametrize("step", [3, 12])
def test_a_run_that_a_signal_stopped_goes_on_to_the_same_bytes(whole, tmp_path, step):
    """Kills: a last checkpoint that a signal had written before its held-out measurement."""

    def progress(done, expected, text):
        if done == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    with pytest.raises(Stopped, match=f"after step {step}, which is saved"):
        train(recipe(**EVERYTHING), folder, progress=progress)
    train(recipe(**EVERYTHING), folder, resume=True)
    assert same(folder, whole)


def test_every_part_of_the_state_is_in_a_checkpoint(whole):
    """Kills: H37; a part left out that these few steps happen not to need."""
    result = tensors(whole / NEWEST)
    kinds = {name.split(".")[0] for name in result}
    assert kinds == {"network", "ema", "updates", "optimizer", "times", "generator"}
    weights = [name.removeprefix("network.") for name in result if name.startswith("network.")]
    for name in weights:
        assert not torch.equal(result[f"ema.{name}"], result[f"network.{name}"])
        for moment in ("exp_avg", "exp_avg_sq"):
            assert result[f"optimizer.{name}.{moment}"].any()
        assert result[f"optimizer.{name}.step"] == STEPS
    assert result["updates.ema"] == STEPS
    assert result["times.seen"].sum() == 8 * STEPS
    assert result["times.seen"].min() >= 10  # so that the last steps drew by importance
    kept = checkpoint.load(whole / NEWEST).description["state"]
    assert set(kept["tensors"]) == set(result)
    assert kept["sampler"] == {"epoch": 0, "place": 96, "images": 1294}


def altered(path, change):
    """Writes the checkpoint with a change, whole and with a valid digest of the file."""
    stored = checkpoint.load(path)
    tensors = {name: x.clone() for name, x in stored.tensors.items()}
    description = dict(stored.description)
    description["state"] = dict(description["state"])
    change(tensors, description)
    checkpoint.save(path, Checkpoint(tensors, description))


LOST = "left out"


def at(description, key, value):
    """The position with another value; its other parts as they were."""
    position = dict(description["state"]["position"])
    if value == LOST:
        del position[key]
    else:
        position[key] = value
    description["state"]["position"] = position


def resealed(tensors, description, name, value):
    """The tensor with another value and its right digest."""
    tensors[name].fill_(value)
    digests = dict(description["state"]["tensors"])
    description["state"]["tensors"] = digests | {name: state._sha256(tensors[name])}


FAULTS = {
    "weights": lambda x, d: x["network.enter.weight"].add_(1e-7),
    "average": lambda x, d: x["ema.enter.weight"].add_(1e-7),
    "number of averages": lambda x, d: x["updates.ema"].add_(1),
    "optimizer": lambda x, d: x["optimizer.enter.weight.exp_avg"].add_(1e-9),
    "optimizer lost": lambda x, d: x.pop("optimizer.enter.weight.exp_avg_sq"),
    "generator": lambda x, d: x["generator.cpu.0"].__setitem__(
        100, 255 - x["generator.cpu.0"][100]
    ),
    "generator lost": lambda x, d: x.pop("generator.cpu.0"),
    "times": lambda x, d: x["times.seen"].add_(1),
    "a tensor too many": lambda x, d: x.__setitem__("network.more", torch.zeros(1)),
    "another shape": lambda x, d: x.__setitem__("ema.enter.bias", torch.zeros(3)),
    "sampler": lambda x, d: d["state"].__setitem__("sampler", {"epoch": 0, "place": 95}),
    "schedule": lambda x, d: d["state"].__setitem__("schedule", {"step": 11}),
    "processes": lambda x, d: d["state"].__setitem__("processes", 2),
    "data": lambda x, d: d.__setitem__("data", {**d["data"], "sha256": "0"}),
    "log": lambda x, d: d["state"].__setitem__("log", {**d["state"]["log"], "sha256": "0"}),
    "log lost": lambda x, d: d["state"].pop("log"),
    "no state": lambda x, d: d.pop("state"),
    "weights that are none": lambda x, d: resealed(x, d, "network.enter.weight", math.nan),
    "updates": lambda x, d: resealed(x, d, "updates.ema", 0),
    "updates of the optimizer": lambda x, d: resealed(x, d, "optimizer.enter.weight.step", 0),
    "a negative square": lambda x, d: resealed(x, d, "optimizer.enter.weight.exp_avg_sq", -1),
    "times seen": lambda x, d: resealed(x, d, "times.seen", 10),
    "the step": lambda x, d: d.__setitem__("step", "twelve"),
    **{
        f"position {key} {value!r}": lambda x, d, key=key, value=value: at(d, key, value)
        for key, values in {
            "step": (None, LOST, 11, -1, "x"),
            "smoothed": (None, LOST, math.nan, "x"),
            "by_quarter": (None, LOST, [0.5], "xxxx", [0.5, "x", None, None]),
            "best": (None, LOST, [3], ["x", 1.0], [3, math.inf], "x"),
            "worse": (None, LOST, -1, "x", math.nan, 99),
            "measured": (None, LOST, -1, "x", 13, 0),
            "more": (1,),
        }.items()
        for value in values
    },
}
NAMED = {
    "log lost": "lacks the mark of its log",
    "weights that are none": "network.enter.weight is not finite",
    "updates": "updates.ema is not of step 12",
    "updates of the optimizer": r"optimizer.enter.weight.step is not of step 12",
    "a negative square": r"optimizer.enter.weight.exp_avg_sq is not of step 12",
    "times seen": "times.seen is not of step 12",
    "the step": "its position contradicts itself or its step",
    **{name: "its position" for name in FAULTS if name.startswith("position")},
    "weights": "network.enter.weight is not what was saved",
    "average": "ema.enter.weight is not what was saved",
    "number of averages": "updates.ema is not what was saved",
    "optimizer": "optimizer.enter.weight.exp_avg is not what was saved",
    "optimizer lost": "lacks optimizer.enter.weight.exp_avg_sq",
    "generator": "generator.cpu.0 is not what was saved",
    "generator lost": "lacks generator.cpu.0",
    "times": "times.seen is not what was saved",
    "a tensor too many": "holds network.more",
    "another shape": "ema.enter.bias is .* not",
    "sampler": "sampler.place is 95, this run's is 96",
    "schedule": "schedule.step is 11",
    "processes": "processes is 2, this run's is 1",
    "data": "data.sha256 is 0",
    "log": "log.jsonl is not the log",
    "no state": "holds weights alone",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_any_part_is_an_error_that_names_it(whole, tmp_path, fault):
    """Kills: H32, a part whose restoring may fail in silence; R14."""
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "model.safetensors").unlink()
    altered(folder / NEWEST, FAULTS[fault])
    with pytest.raises(BadInput, match=NAMED[fault]):
        train(recipe(**EVERYTHING), folder, resume=True)
    assert not (folder / "model.safetensors").exists()


def test_a_damaged_checkpoint_is_not_passed_over_in_silence(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "model.safetensors").unlink()
    content = bytearray((folder / NEWEST).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / NEWEST).write_bytes(content)
    with pytest.raises(BadInput, match=r"step-000012\.safetensors is damaged"):
        train(recipe(**EVERYTHING), folder, resume=True)


@pytest.mark.parametrize("finished", [True, False])
def test_another_recipe_does_not_go_on_with_a_run(whole, tmp_path, finished):
    folder = shutil.copytree(whole, tmp_path / "run")
    if not finished:
        (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"recipe\.training\.learning_rate is 0\.004, this run's is"):
        train(recipe(**EVERYTHING, **{"training.learning_rate": 1e-3}), folder, resume=True)


def test_a_finished_run_is_left_as_it_is(whole):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    assert train(recipe(**EVERYTHING), whole, resume=True) == whole
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_resume_begins_where_nothing_is_and_refuses_what_is_no_run(tmp_path):
    """Kills: a folder of something else that is trained into."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="holds no run"):
        train(recipe(), tmp_path / "mine", resume=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    assert (train(recipe(), tmp_path / "new", resume=True) / "model.safetensors").exists()


def test_the_last_checkpoints_and_the_best_are_kept_and_are_models(whole, tmp_path):
    """Kills: pruning the newest, a checkpoint that other commands cannot read."""
    names = {path.name for path in (whole / "checkpoints").iterdir()}
    assert names == {"step-000008.safetensors", "step-000012.safetensors", "best.safetensors"}
    last = formats.load(whole / NEWEST)
    assert last.sha256() == formats.load(whole).sha256()
    assert begun(whole) == recipe(**EVERYTHING)
    held_out = [entry for entry in entries(whole) if "held_out" in entry]
    assert [entry["step"] for entry in held_out] == [3, 6, 9, 12]
    best = min(held_out, key=lambda entry: entry["held_out"])
    kept = checkpoint.load(whole / "checkpoints" / "best.safetensors")
    assert kept.description["step"] == best["step"]
    folder = interrupted(tmp_path / "run", 7)
    with pytest.raises(BadInput, match=r"has not ended.*--resume"):
        formats.load(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_that_it_falls_in(whole, tmp_path, number):
    """Kills: a checkpoint of half a step, handlers that stay behind."""
    folder, before = tmp_path / "run", signal.getsignal(number)

    def progress(done, expected, text):
        if done == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match=f"after step 6.*--resume {folder}") as stopped:
        train(recipe(**EVERYTHING), folder, progress=progress)
    assert stopped.value.signal == number
    assert signal.getsignal(number) is before
    assert (folder / "checkpoints" / "step-000006.safetensors").exists()
    assert [entry["step"] for entry in entries(folder)] == [3]  # 6 is measured after the resume
    train(recipe(**EVERYTHING), folder, resume=True)
    assert same(folder, whole)


class FailingDisk:
    """os, whose n-th write, sync, open or rename fails."""

    def __init__(self, n):
        self.left = n

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in {"write", "pwrite", "fsync", "replace", "open", "ftruncate"}:
            return real

        def call(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                place = arguments[0] if name in {"open", "replace"} else None
                raise OSError(28, "No space left on device", place)
            return real(*arguments, **options)

        return call


def error_of(choices, folder):
    """What the disk refused a run that goes on, if anything."""
    try:
        train(choices, folder, resume=True)
    except OSError as error:
        return error
    return None


def test_whatever_write_fails_the_checkpoint_before_it_loads(tmp_path, monkeypatch):
    """Kills: R3; a file written in place, an error that does not name the file."""
    few = {"training.steps": 4, "training.checkpoint_every": 1, "training.held_out_every": 2}
    choices = recipe(**(EVERYTHING | few))
    whole = train(choices, tmp_path / "whole")
    with pytest.raises(Killed):
        train(choices, tmp_path / "begun", progress=killed_after(3))
    for n in itertools.count(1):
        folder = shutil.copytree(tmp_path / "begun", tmp_path / f"run-{n}")
        with monkeypatch.context() as patch:
            disk = FailingDisk(n)
            patch.setattr(files, "os", disk)
            patch.setattr(lock, "os", disk)
            failed = error_of(choices, folder)
        if failed is None:
            break
        assert str(folder) in str(failed.filename)
        assert "No space left" in failed.strerror
        kept = list((folder / "checkpoints").iterdir())
        assert {"step-000003.safetensors", "best.safetensors"} <= {path.name for path in kept}
        for path in kept:
            checkpoint.load(path)
        if n % 5 == 0:
            train(choices, folder, resume=True)
            assert files_of(folder) == files_of(whole)
    assert n > 20


def files_of(folder):
    """What lasts of a run, the clock's file apart."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "speed.jsonl")
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_the_command_line_says_which_file_in_one_line(nelbo, recipe_file, tmp_path, monkeypatch):
    path = recipe_file(**{"training.steps": 4, "training.checkpoint_every": 2})

    def fsync(handle):
        raise OSError(5, "I/O error")

    monkeypatch.setattr(files, "os", SimpleNamespace(**(vars(os) | {"fsync": fsync})))
    code, out, err = nelbo("train", path, "-o", tmp_path / "run")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert f"{tmp_path}/run/log.jsonl" in err
    assert "I/O error" in err


def test_what_a_killed_writer_left_is_swept_at_the_next_start(tmp_path):
    folder = interrupted(tmp_path / "run", 5)
    litter = files.partial(folder / "checkpoints" / "step-000008.safetensors")
    litter.write_bytes(b"half")
    train(recipe(**EVERYTHING), folder, resume=True)
    assert not litter.exists()


def test_no_checkpoint_holds_what_is_not_finite(tmp_path, monkeypatch):
    """Kills: H39 in weights that a finite gradient made infinite."""
    from nelbo.training.learner import Learner

    def update(self, step):
        self.parameters["enter.bias"].data[0] = torch.inf
        return 1.0

    monkeypatch.setattr(Learner, "update", update)
    monkeypatch.setattr(
        "nelbo.training.loop.Loop._step",
        lambda loop, step: (1.0, update(loop.state.learner, step), False),
    )
    with pytest.raises(NonFinite, match=r"network\.enter\.bias is not finite after step 4"):
        train(recipe(), tmp_path / "run")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_command_line_resumes_by_the_folder_alone(nelbo, recipe_file, tmp_path):
    """Kills: a resume that begins anew, or needs the recipe again."""
    code, _, err = nelbo("train")
    assert (code, err.count("\n")) == (2, 1)
    assert "give a recipe" in err
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "log.jsonl").touch()
    code, _, err = nelbo("train", "--resume", tmp_path / "early")
    assert code == 2
    assert "nelbo train RECIPE -o" in err
    path = recipe_file(**{"training.steps": 4, "training.checkpoint_every": 2})
    assert nelbo("train", path, "-o", tmp_path / "run", "--resume")[0] == 0
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "model.safetensors").unlink()
    code, out, _ = nelbo("train", "--resume", tmp_path / "run")
    assert (code, out.splitlines()[0]) == (0, str(tmp_path / "run"))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == model
