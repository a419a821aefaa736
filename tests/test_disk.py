"""What is on disk: foreign files beside ours are left alone, and what is read is believed late."""

import json
import os
import re
import resource
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from conftest import small_recipe
from nelbo import checkpoint, files, formats
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput
from nelbo.estimation import Processes, Record
from nelbo.tasks.train import train


@pytest.fixture(scope="module")
def begun_run(tmp_path_factory):
    """A run of four steps with a checkpoint of each of the last two, as if it were killed then."""
    choices = small_recipe(
        **{"training.steps": 4, "training.checkpoint_every": 2, "training.keep": 2}
    )
    folder = train(choices, tmp_path_factory.mktemp("begun") / "run")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture
def begun(begun_run, tmp_path):
    return Path(shutil.copytree(begun_run, tmp_path / "run"))


def test_a_resume_leaves_what_is_not_ours(nelbo, begun):
    """Kills: every dot file swept, a hidden folder that stops it; our own litter goes."""
    mine = [".gitignore", ".mynotes", "checkpoints/.gitignore", ".log.jsonl.mine"]
    for name in mine:
        (begun / name).write_text("mine")
    (begun / "checkpoints" / ".hidden").mkdir()
    litter = files.partial(begun / "checkpoints" / "step-000004.safetensors")
    litter.write_bytes(b"half")
    code, _, err = nelbo("train", "--resume", begun)
    assert code == 0, err
    assert all((begun / name).read_text() == "mine" for name in mine)
    assert (begun / "checkpoints" / ".hidden").is_dir()
    assert not litter.exists()
    assert (begun / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["step-000002-good", "step-999999", "step-4", "step-00000x"])
def test_a_copy_beside_the_checkpoints_is_not_one_of_them(nelbo, begun, name):
    """Kills: a resume that ends at a name, or goes on from a copy as from the newest."""
    place = begun / "checkpoints"
    copy = place / f"{name}.safetensors"
    shutil.copyfile(place / "step-000002.safetensors", copy)
    code, _, err = nelbo("train", "--resume", begun)
    assert code == 0, err
    assert copy.exists()
    assert {path.name for path in place.iterdir()} >= {copy.name, "step-000004.safetensors"}


def test_where_the_newest_is_damaged_the_whole_one_before_it_is_named(nelbo, begun):
    newest = begun / "checkpoints" / "step-000004.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    code, _, err = nelbo("train", "--resume", begun)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "step-000002.safetensors is whole: move step-000004.safetensors away" in err
    newest.unlink()
    assert nelbo("train", "--resume", begun)[0] == 0


DESCRIPTIONS = {
    "a newer key": lambda d: d["recipe"]["training"].update(colour="red"),
    "no recipe": lambda d: d.pop("recipe"),
    "a recipe that is none": lambda d: d.update(recipe=[1]),
    "a shape of words": lambda d: d.update(shape=["a"]),
    "no shape": lambda d: d.update(shape=[]),
    "a huge shape": lambda d: d.update(shape=[1, 10**9, 10**9]),
    "one level": lambda d: d.update(levels=1),
    "levels of words": lambda d: d.update(levels="many"),
    "another network": lambda d: d["recipe"]["network"].update(width=16),
    "an endless network": lambda d: d["recipe"]["network"].update(blocks=10**9),
    "an improvement that is none": lambda d: d.update(improved={"weights": "ema"}),
    "escapes": lambda d: d["recipe"].update({"\x1b[2J\nnelbo: fine": 1}),
}


@pytest.mark.parametrize("change", DESCRIPTIONS)
def test_a_crafted_description_is_one_plain_line(nelbo, run, tmp_path, change):
    """With a valid digest. Kills: a traceback, four lines, exit 1."""
    stored = checkpoint.load(run / "model.safetensors")
    about = json.loads(json.dumps(stored.description))
    DESCRIPTIONS[change](about)
    path = checkpoint.save(tmp_path / "x.safetensors", Checkpoint(stored.tensors, about))
    code, out, err = nelbo("inspect", path)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert "\x1b" not in err


@pytest.mark.parametrize("description", [[], "x", None, {"a": "\ud800"}])
def test_a_crafted_head_is_refused(nelbo, tmp_path, description):
    path = checkpoint.save(tmp_path / "x.safetensors", Checkpoint({}, description))
    code, out, err = nelbo("inspect", path)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err


def test_a_file_longer_than_its_head_says_is_not_read(run, tmp_path, monkeypatch):
    """Kills: 30 GB of zeros read before they are refused."""
    path = tmp_path / "x.safetensors"
    path.write_bytes((run / "model.safetensors").read_bytes())
    os.truncate(path, 30 * 2**30)

    def read(self):
        raise AssertionError("all of it was read")

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(BadInput, match="damaged"):
        checkpoint.load(path)


def test_two_evaluations_do_not_own_one_record(tmp_path, monkeypatch):
    """Kills: a plan replaced under the lock of the evaluation that was there first."""
    folder, others = tmp_path / "record", []
    folder.mkdir()
    looked = Path.iterdir

    def look(self):
        names = list(looked(self))
        if self == folder and not others:  # another begins between our look and our plan
            others.append(None)
            others[0] = Record.open(folder, {"seed": 1}, Processes())
        return iter(names)

    monkeypatch.setattr(Path, "iterdir", look)
    with pytest.raises(BadInput, match="another evaluation is writing"):
        Record.open(folder, {"seed": 0}, Processes())
    assert json.loads((folder / "plan.json").read_text()) == {"seed": 1}
    others[0].close()


def test_a_record_on_a_full_disk_names_its_file_and_the_bytes(tmp_path):
    class Full:
        name = str(tmp_path / "values-00001-0.bin")

        def write(self, content):
            raise OSError(28, "No space left on device")

    record = Record({}, Full(), None)
    with pytest.raises(OSError, match=r"No space .*\(\d+ bytes\).*values-00001-0\.bin"):
        record.put(0, 0, (torch.zeros(3),))


def test_a_compressed_pickle_of_weights_is_refused(tmp_path):
    """Kills: one reader's tensors checked and another's bytes measured."""
    from nelbo.formats.diffusers.networks import _refuse_code

    plain, packed = tmp_path / "plain.bin", tmp_path / "packed.bin"
    torch.save({"x": torch.zeros(1000)}, plain)
    _refuse_code(plain)
    with zipfile.ZipFile(plain) as a, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as b:
        for member in a.infolist():
            b.writestr(member.filename, a.read(member))
    with pytest.raises(BadInput, match="is compressed"):
        _refuse_code(packed)


@pytest.mark.parametrize("name", ["../../x", "/abs", "..", "", "a\nb", "a\x1b[2J"])
def test_the_name_of_a_recipe_does_not_lead_out_of_runs(nelbo, tmp_path, monkeypatch, name):
    from conftest import toml

    place = tmp_path / "deep" / "here"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    text = toml(small_recipe().model_dump()).replace(
        'name = "digits"', f"name = {json.dumps(name)}", 1
    )
    (place / "r.toml").write_text(text)
    code, out, err = nelbo("train", "r.toml")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert "\x1b" not in err
    assert [path.name for path in place.iterdir()] == ["r.toml"]


@pytest.mark.parametrize("command", [["train", "digits"], ["demo"], ["improve", "x"]])
def test_a_dash_is_no_folder(nelbo, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = nelbo(*command, "-o", "-")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u202eb"])
def test_names_reach_the_terminal_as_text(nelbo, run, tmp_path, monkeypatch, name):
    """Of folders, models, data: in errors, in `nelbo` alone, in inspect and compare."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / name)
    commands = [
        (),
        ("inspect", name),
        ("inspect", f"{name}x"),
        ("compare", name, name, "--max-images", "3", "--budget", "60"),
        ("evaluate", name, "--data", f"{name}y"),
        ("train", f"{name}z"),
        ("cite", f"{name}w"),
    ]
    for command in commands:
        _, out, err = nelbo(*command)
        for character in ("\x1b", "\u202e", "a\nb"):
            assert character not in out + err, command


@pytest.fixture
def pipeline(tmp_path):
    """A diffusers folder, and images for it."""
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    network = UNet2DModel(4, 1, 1, block_out_channels=(8,), norm_num_groups=4, **blocks)
    DDPMPipeline(network, DDPMScheduler(20, beta_end=0.3)).save_pretrained(tmp_path / "ddpm")
    pixels = np.random.default_rng(0).integers(256, size=(12, 1, 4, 4))
    np.save(tmp_path / "data.npy", pixels.astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("full", ["unet weights", "the scheduler", "ours"])
def test_improve_leaves_no_half_folder_on_a_full_disk(nelbo, pipeline, monkeypatch, full):
    """And the same command works when there is room. Kills: a half folder in its way."""
    monkeypatch.chdir(pipeline)
    before = sorted(path.name for path in pipeline.iterdir())
    command = ["improve", "ddpm", "--data", "data.npy", "--held-out", "0.5", "--steps", "2"]
    command += ["--budget", "60", "-o", "better"]
    copy, put = shutil.copyfile, files._put
    ends = {"unet weights": ".safetensors", "the scheduler": "scheduler_config.json"}

    def copyfile(source, target):
        if str(target).endswith(ends.get(full, "nothing")):
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return copy(source, target)

    def full_disk(handle, content):
        if full == "ours":
            raise OSError(28, "No space left on device")
        put(handle, content)

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", copyfile)
        patched.setattr("nelbo.files._put", full_disk)
        code, out, err = nelbo("-q", *command)
    (line,) = (line for line in err.splitlines() if line.startswith("nelbo: "))
    assert (code, out) == (1, "")
    assert "No space left on device (" in line
    assert " bytes): 'better/" in line
    assert sorted(path.name for path in pipeline.iterdir()) == before
    if full == "ours":
        assert nelbo("-q", *command)[0] == 0


WRONG = [("--budget", "47"), ("--precision", "0"), ("--steps", "1001"), ("--seed", "-1")]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", ["evaluate", "compare", "improve"])
def test_what_is_refused_has_written_nothing(nelbo, run, tmp_path, monkeypatch, command, wrong):
    """Nor measured. Kills: a budget that is looked at when half of the work is done and written."""
    monkeypatch.chdir(tmp_path)
    network = type(formats.load(run).network)
    monkeypatch.setattr(network, "forward", lambda *arguments: pytest.fail("it was evaluated"))
    models = [run, run] if command == "compare" else [run]
    more = ["-o", "better"] if command == "improve" else ["--record", "record"]
    images = ("--max-images", "12" if command == "evaluate" else "6")
    code, out, err = nelbo(command, *models, *images, "--json", "x.json", *more, *wrong)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_wrote_nothing_is_not_in_the_way(nelbo, recipe_file, tmp_path, monkeypatch):
    """Kills: an empty folder that neither the same command nor --resume takes."""
    command = ["train", recipe_file(), "-o", tmp_path / "run"]

    def full(handle, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("nelbo.files._put", full)
        assert nelbo(*command)[0] == 1
    assert not (tmp_path / "run").exists()
    assert nelbo(*command)[0] == 0


def test_a_record_on_a_full_disk_is_named_and_goes_on_when_there_is_room(nelbo, run, tmp_path):
    """Kills: a second failure, of closing the file, that hides the first and its name."""
    record = tmp_path / "record"
    command = ["evaluate", run, "--max-images", "8", "--budget", "80", "--record", record]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        code, out, err = nelbo("-q", *command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = err.splitlines()
    assert (code, out) == (1, "")
    assert re.search(r"File too large \([\d,]+ bytes\): '.*(values-00001-0\.bin|plan\.json)'", line)
    assert nelbo("-q", *command)[0] == 0
