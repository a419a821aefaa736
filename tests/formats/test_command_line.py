"""Models of other libraries as a person and a script meet them: one line in, one of refusal."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
import typer
from diffusers import DDPMScheduler
from diffusers_folders import bare, dit, pipeline, schedule_only, training_folder, unet
from PIL import Image

from nelbo.cli import app
from test_cli import check_refusal, tree

COMMANDS = ("evaluate", "compare", "sample", "derive", "improve", "inspect")
SHORT = {"num_train_timesteps": 20, "beta_end": 0.3}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 12 grey pictures of 4x4 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    values = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    for number, pixels in enumerate(values):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    """A pipeline with random weights, not to be written to."""
    return pipeline(tmp_path_factory.mktemp("plain") / "pipe", **SHORT)


def measured(nelbo, model, data, *options):
    code, out, err = nelbo("evaluate", model, "--data", data, "--json", "-", *options)
    assert code == 0, err
    return json.loads(out, parse_constant=pytest.fail), err


def settings(nelbo, model, *options):
    """{name: (value, source)} by `nelbo inspect`."""
    code, out, err = nelbo("inspect", model, "--json", "-", *options)
    assert (code, err) == (0, ""), err
    stated = json.loads(out)["settings"]
    return {name: (entry["value"], entry["source"]) for name, entry in stated.items()}


def test_one_line_measures_a_folder_a_run_and_a_training_folder(
    nelbo, pipe, pictures, run, tmp_path
):
    """And says on stderr what no file says. Kills: a default taken in silence (conventions 2.2).

    The weights that are used are told in the JSON, the moving average where there is one (H37).
    """
    result, err = measured(nelbo, pipe, pictures, "--budget", 200)
    assert (result["model"]["weights"], result["images"], result["dims"]) == ("as saved", 12, 16)
    assert "no file says levels 256, range [-1.0, 1.0], V_1 beta_tilde_2" in err
    result, err = measured(nelbo, training_folder(tmp_path), pictures, "--budget", 100)
    assert result["model"]["weights"] == result["model"]["sources"]["weights"]["value"] == "ema"
    assert "checkpoint-500: weights ema, of unet_ema/" in err
    options = ("--weights", "raw", "--budget", 100)
    raw, err = measured(nelbo, tmp_path / "checkpoint-500", pictures, *options)
    assert (raw["model"]["weights"], "weights raw, of unet/" in err) == ("raw", True)
    assert raw["bits_per_dim"] != result["bits_per_dim"]
    result, err = measured(nelbo, run, "digits:test", "--budget", 2000)
    assert (result["model"]["weights"], "no file says" in err) == ("ema", False)


def test_every_command_that_takes_a_model_takes_what_its_files_do_not_say():
    """Kills: an option that one of the commands forgot."""
    commands = typer.main.get_command(app).commands
    options = {
        "levels",
        "range",
        "variance",
        "clip",
        "V_1",
        "label",
        "size",
        "scheduler",
        "weights",
    }
    for name in COMMANDS:
        assert options <= {parameter.name for parameter in commands[name].params}, name


def test_each_option_arrives_and_is_reported_as_the_users_word(nelbo, pipe, tmp_path):
    """Kills: an option that is read and dropped, or a config's value passed off as the user's."""
    stated = settings(nelbo, pipe, "--levels", 17, "--range", -1, 2, "--V-1", "1e-3", "--no-clip")
    assert stated["levels"] == (17, "option")
    assert stated["range"] == ([-1.0, 2.0], "option")
    assert stated["V_1"] == (0.001, "option")
    assert stated["clip_sample"] == (False, "option")
    assert stated["prediction_type"] == ("epsilon", "config")
    assert settings(nelbo, pipe, "--V-1", "beta_1", "--clip")["V_1"] == ("beta_1", "option")
    assert settings(nelbo, pipe, "--size", "8")["image_shape"] == ([1, 8, 8], "option")
    assert settings(nelbo, pipe, "--size", "8x12")["image_shape"] == ([1, 8, 12], "option")
    other = schedule_only(tmp_path / "other", num_train_timesteps=7, beta_end=0.5)
    stated = settings(nelbo, pipe, "--scheduler", other)
    assert stated["num_train_timesteps"] == (7, "config")
    doubled = bare(tmp_path / "dit", dit(2), **SHORT)
    options = ("--variance", "learned-range", "--label", 2)
    stated = settings(nelbo, doubled, *options)
    assert stated["variance_type"] == ("learned_range", "option")
    assert stated["label"] == (2, "option")


def test_inspect_prints_a_row_for_each_setting_and_the_warnings(nelbo, pipe, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = nelbo("inspect", pipe, "--steps", 5)
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert out.startswith("pipe (")
    assert rows["levels"] == ["256", "default", "yes"]
    assert rows["variance_type"] == ["fixed_small", "config", "yes"]
    assert "warning: x0-hat is clipped" in out
    assert "warning: no file says levels, range, V_1" in out
    code, out, _ = nelbo("inspect", pipe, "--json", tmp_path / "i.json")
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "i.json"))
    assert json.loads((tmp_path / "i.json").read_text())["schema"] == "nelbo.inspection/1"


def test_the_other_commands_take_a_folder_too_and_leave_it_as_it_is(
    nelbo, pipe, pictures, tmp_path
):
    """Kills: a file written beside the user's checkpoint (conventions 2.7)."""
    before = tree(pipe)
    output = tmp_path / "samples.npy"
    assert nelbo("sample", pipe, "-n", 2, "-o", output)[0] == 0
    assert np.load(output).shape == (2, 1, 4, 4)
    result = nelbo("derive", pipe, "--data", pictures, "--images", 1, "--paths", 8, "--json", "-")
    assert result[0] == 0, result[2]
    result = nelbo("compare", pipe, pipe, "--data", pictures, "--budget", 200, "--json", "-")
    assert json.loads(result[1])["bits_per_dim"] == 0
    assert tree(pipe) == before


def test_a_folder_is_compared_with_a_run_of_ours(nelbo, zero_run, tmp_path):
    """What is said of diffusers folders is said of those alone; with none it is refused."""
    folder = pipeline(tmp_path / "pipe", unet(sample_size=8), **SHORT)
    options = ("--levels", 17, "--data", "digits:test", "--budget", 400, "--max-images", 20)
    code, out, err = nelbo("compare", folder, zero_run, *options, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["b"]["model"]["name"] == "zero"
    message = "stores its own settings: levels is for diffusers folders"
    check_refusal(nelbo, tmp_path, 2, message, "compare", zero_run, zero_run, *options)


def test_levels_that_are_a_default_are_named_where_the_data_have_others(nelbo, tmp_path):
    folder = pipeline(tmp_path / "pipe", unet(sample_size=8), **SHORT)
    message = "has 17 levels; 256 were declared; 256 is the default: --levels says another"
    check_refusal(nelbo, tmp_path, 2, message, "evaluate", folder, "--data", "digits:test")


def edit(name, **changes):
    def change(folder):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def pointer(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_text(text)


def replaced(outputs, **config):
    def change(folder):
        shutil.rmtree(folder / "unet")
        unet(outputs, **config).save_pretrained(folder / "unet")

    return change


NET, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
REFUSED = {
    "a sampler of flows": (
        edit(SCHEDULER, _class_name="FlowMatchLCMScheduler"), "family='diffusers-flow'", ()
    ),
    "zero SNR with eps": (
        edit(SCHEDULER, rescale_betas_zero_snr=True), "epsilon cannot give x_0 at zero", ()
    ),
    "no data range": (edit(NET, center_input_sample=True), r"give their range .*--range", ()),
    "a clip range that is not the usual": (
        edit(SCHEDULER, clip_sample_range=3.0), r"give their range .*--range", ()
    ),
    "a git-lfs pointer": (pointer, "is a git-lfs pointer", ()),
    "a network that sees more": (replaced(1, channels=3), "takes 3 channels and gives 1", ()),
    "data of other channels": (
        replaced(3, channels=3), r"takes images of shape \(3, 4, 4\); got \(1, 4, 4\)", ()
    ),
    "an undecided second half": (replaced(2), r"learned-range.*drop.*--variance", ()),
    "an undecided class": (replaced(1, num_class_embeds=5), "--label", ()),
    "an undecided size": (edit(NET, sample_size=None), "--size", ()),
    "a class out of range": (replaced(1, num_class_embeds=5), "0..4; got 7", ("--label", 7)),
    "no such size": (None, "N or HxW", ("--size", "4x")),
    "no such V_1": (None, "number or one of beta_1", ("--V-1", "beta")),
    "a negative V_1": (None, "must be positive", ("--V-1", -1.0)),
    "an empty range": (None, "range|lo", ("--range", 1, -1)),
    "half a range": (None, "--range", ("--range", 1)),
    "one level": (None, "level", ("--levels", 1)),
    "a missing average": (None, "does not say that they are ema", ("--weights", "ema")),
    "a missing scheduler": (None, "no scheduler_config.json", ("--scheduler", "none")),
    "an unknown choice": (None, "variance", ("--variance", "large")),
    "steps by data that it does not name": (
        None, "training data.*nelbo improve", ("--steps", 5, "--spacing", "optimal")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_bound_or_is_not_specified_is_one_line_and_exit_code_2(
    nelbo, pipe, pictures, tmp_path, case
):
    """Kills: a traceback, a silent number, or a guess (H05, H24, H25; conventions 2.2 and 2.3)."""
    change, message, options = REFUSED[case]
    folder = tmp_path / "pipe"
    shutil.copytree(pipe, folder)
    if change is not None:
        change(folder)
    check_refusal(nelbo, tmp_path, 2, message, "evaluate", folder, "--data", pictures, *options)


def test_a_folder_without_data_needs_them_specified(nelbo, pipe, tmp_path):
    check_refusal(nelbo, tmp_path, 2, "names no data.*--data SPEC", "evaluate", pipe)
    arguments = ("improve", pipe, "-o", tmp_path / "new")
    check_refusal(nelbo, tmp_path, 2, "names no data.*--data SPEC", *arguments)


class Attack:
    """Unpickled in full, it makes a file."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


STEM = "diffusion_pytorch_model"


def zip_of_code(unet, attack, ran):
    torch.save({"conv_in.weight": attack}, unet / f"{STEM}.bin")


def bare_pickle(unet, attack, ran):
    (unet / f"{STEM}.bin").write_bytes(pickle.dumps({"conv_in.weight": attack}, protocol=2))


def old_format(unet, attack, ran):
    torch.save({"x": attack}, unet / f"{STEM}.bin", _use_new_zipfile_serialization=False)


def under_another_name(unet, attack, ran):
    torch.save({"conv_in.weight": attack}, unet / f"{STEM}.safetensors")


def in_a_shard(unet, attack, ran):
    torch.save({"conv_in.weight": attack}, unet / "shard.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": {"conv_in.weight": "shard.bin"}}
    (unet / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))


def in_a_module(unet, attack, ran):
    """Code beside the weights, which a config names as the class of the network."""
    for folder in (unet, unet.parent):
        code = f"open({str(ran)!r}, 'w')\nclass UNet2DModel: pass\n"
        (folder / "evil.py").write_text(code)
    for name in (unet / "config.json", unet.parent / "scheduler" / "scheduler_config.json"):
        config = json.loads(name.read_text())
        config |= {"_class_name": ["evil", "UNet2DModel"], "auto_map": {"AutoModel": "evil.X"}}
        name.write_text(json.dumps(config))
    index = unet.parent / "model_index.json"
    config = json.loads(index.read_text()) | {"unet": ["evil", "UNet2DModel"]}
    index.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "place", [zip_of_code, bare_pickle, old_format, under_another_name, in_a_shard, in_a_module]
)
@pytest.mark.parametrize("call", ["open", "eval", "system"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(
    nelbo, pipe, pictures, tmp_path, place, call
):
    """Kills: full unpickling, or a module of the folder imported (figure R8)."""
    folder, ran = tmp_path / "pipe", tmp_path / "ran"
    shutil.copytree(pipe, folder)
    attack = {
        "open": Attack(open, str(ran), "w"),
        "eval": Attack(eval, f"open({str(ran)!r}, 'w')"),
        "system": Attack(os.system, f"touch {ran}"),
    }[call]
    (folder / "unet" / f"{STEM}.safetensors").unlink()
    place(folder / "unet", attack, ran)
    check_refusal(nelbo, tmp_path, 2, "", "evaluate", folder, "--data", pictures)
    assert not ran.exists()


def test_a_pickle_in_place_of_a_checkpoint_or_of_data_is_refused_and_runs_nothing(
    nelbo, pipe, tmp_path
):
    """Kills: torch.load or numpy's allow_pickle on what a user names."""
    ran, file = tmp_path / "ran", tmp_path / "model.ckpt"
    attack = Attack(open, str(ran), "w")
    torch.save({"state_dict": attack}, file)
    check_refusal(nelbo, tmp_path, 2, "could run code", "evaluate", file)
    np.save(tmp_path / "x.npy", np.array([attack], dtype=object), allow_pickle=True)
    arguments = ("evaluate", pipe, "--data", tmp_path / "x.npy")
    check_refusal(nelbo, tmp_path, 2, r"x\.npy", *arguments)
    assert not ran.exists()


def test_the_scheduler_of_the_folder_is_not_taken_for_that_of_another(nelbo, pipe, tmp_path):
    """A scheduler named on the command line counts, whatever lies in the folder."""
    DDPMScheduler(9, beta_end=0.3).save_pretrained(tmp_path / "scheduler")
    stated = settings(nelbo, pipe, "--scheduler", tmp_path)
    assert stated["num_train_timesteps"] == (9, "config")
