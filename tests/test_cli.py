"""The command line as a person and a script meet it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nelbo import checkpoint
from test_checkpoint import Checkpoint


def tree(folder):
    """Every file under the folder with its digest."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def picture(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


GOLDEN = Path(__file__).parent / "golden" / "reference.json"
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def truncated(folder):
    path = picture(folder / "a.png", GREY)
    path.write_bytes(path.read_bytes()[:60])


def mixed(folder):
    picture(folder / "a.png", GREY)
    picture(folder / "b.png", GREY[:4])


@pytest.mark.parametrize("command", ["inspect", "card", "report", "sample"])
def test_a_name_that_nothing_can_have_is_bad_input(nelbo, tmp_path, command):
    """Kills: exit 1, as for a disk that fails; a link to nothing advised in its own place."""
    for path in (tmp_path / ("x" * 300), tmp_path / "loop", tmp_path / "nothing"):
        if path.name == "loop":
            path.symlink_to(path)
        if path.name == "nothing":
            path.symlink_to(tmp_path / "no such file")
        code, out, err = nelbo(command, path)
        assert (code, out, err.count("nelbo: ")) == (2, "", 1), err
        assert "did you mean" not in err


BAD_DATA = {
    "an unknown spec": (None, "digit", "did you mean digits"),
    "a missing folder": (None, "none/", "none"),
    "an empty folder": (lambda folder: folder.mkdir(), None, "empty|no images"),
    "mixed sizes": (mixed, None, r"a\.png.*8x8.*b\.png.*8x4|a\.png.*b\.png"),
    "a truncated PNG": (truncated, None, r"a\.png"),
    "a 16-bit PNG": (
        lambda folder: picture(folder / "a.png", GREY.astype(np.uint16) * 900),
        None,
        r"a\.png.*16",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_gives_one_line_and_exit_code_2(nelbo, recipe_file, tmp_path, case):
    make, spec, message = BAD_DATA[case]
    folder = tmp_path / "images"
    if make is not None:
        make(folder)
    path = recipe_file(**{"data.train": spec or str(folder)})
    check_refusal(nelbo, tmp_path, 2, message, "train", path, "-o", tmp_path / "run")


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused_by_evaluate_too(nelbo, run, tmp_path, case):
    make, spec, message = BAD_DATA[case]
    folder = tmp_path / "images"
    if make is not None:
        make(folder)
    check_refusal(nelbo, tmp_path, 2, message, "evaluate", run, "--data", spec or folder)


def check_refusal(nelbo, folder, expected, message, *arguments):
    before = tree(folder)
    code, out, err = nelbo(*arguments)
    assert code == expected, err
    assert out == ""
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert re.search(message, lines[0]), err
    assert lines[0].startswith("nelbo: ")
    assert tree(folder) == before


def test_floats_off_the_grid_are_refused_by_the_first_bad_value(nelbo, run, tmp_path):
    values = np.full((2, 1, 8, 8), 0.25, dtype=np.float32)
    values[1, 0, 2, 3] = 0.3
    np.save(tmp_path / "x.npy", values)
    arguments = ("evaluate", run, "--data", tmp_path / "x.npy")
    check_refusal(nelbo, tmp_path, 2, r"x\.npy.*0\.3", *arguments)


def test_a_misspelt_key_of_a_recipe_is_refused_with_a_suggestion(nelbo, recipe_file, tmp_path):
    path = recipe_file()
    path.write_text(path.read_text().replace("batch_size", "batchsize"))
    message = r"unknown key training\.batchsize: did you mean batch_size\?"
    check_refusal(nelbo, tmp_path, 2, message, "train", path, "-o", tmp_path / "run")


@pytest.mark.parametrize("damage", ["one flipped bit", "cut in half", "nothing", "a folder"])
def test_a_damaged_checkpoint_is_refused(nelbo, run, tmp_path, damage):
    content = bytearray((run / "model.safetensors").read_bytes())
    path = tmp_path / "model.safetensors"
    if damage == "one flipped bit":
        content[len(content) // 2] ^= 4
    path.write_bytes(content[: {"cut in half": len(content) // 2, "nothing": 0}.get(damage)])
    if damage == "a folder":
        path = tmp_path / "folder"
        path.mkdir()
    check_refusal(nelbo, tmp_path, 2, "damaged|is no run", "evaluate", path)


def test_a_folder_that_exists_is_not_trained_into(nelbo, recipe_file, tmp_path):
    (tmp_path / "run").mkdir()
    arguments = ("train", recipe_file(), "-o", tmp_path / "run")
    check_refusal(nelbo, tmp_path, 2, "run exists already", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], r"steps must lie in 1\.\.1000 for this model; got 0"),
        (["--steps", "1001"], r"steps must lie in 1\.\.1000 for this model; got 1001"),
        (["--precision", "0"], "precision must be positive"),
        (["--precision", "nan"], "precision must be a finite number; got nan"),
        (["--budget", "3"], "starts at 2000 evaluations; got 3"),
        (["--budget", "9999", "--exhaustive"], "exclude each other"),
        (["--max-images", "0"], "0"),
        (["--device", "tpu9"], "no device tpu9"),
        (["--json", "no/such/folder/r.json"], "its folder does not exist"),
        (["--split", "train"], "--split needs --data"),
        (["--seed", "-1"], "seed"),
        (["--weights", "best"], "best"),
        (["--bugdet", "3"], "--bugdet"),
    ],
)
def test_a_wrong_option_is_refused(nelbo, run, tmp_path, arguments, message):
    check_refusal(nelbo, tmp_path, 2, message, "evaluate", run, *arguments)


def test_a_missing_model_or_command_is_refused(nelbo, tmp_path):
    check_refusal(nelbo, tmp_path, 2, "no model at none", "evaluate", "none")
    check_refusal(nelbo, tmp_path, 2, "evalute", "evalute", "none")


def test_a_network_that_gives_nan_ends_in_exit_code_3(nelbo, run, tmp_path):
    stored = checkpoint.load(run / "model.safetensors")
    tensors = {name: x * torch.nan if "bias" in name else x for name, x in stored.tensors.items()}
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, Checkpoint(tensors, stored.description))
    check_refusal(nelbo, tmp_path, 3, r"not finite at t = .*images .*rank 0", "evaluate", path)
    output = tmp_path / "s.png"
    check_refusal(nelbo, tmp_path, 3, "not finite at t = 1000", "sample", path, "-o", output)
    message = r"x0-hat is not finite at t = .* for images .*digits.*rank 0"
    check_refusal(nelbo, tmp_path, 3, message, "improve", path, "-o", tmp_path / "better")


def test_a_failure_is_one_line_without_debug_and_a_traceback_with_it(nelbo, run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("nelbo.tasks.evaluate.evaluate", fail)
    code, _, err = nelbo("evaluate", run)
    assert code == 1
    assert "the disk is on fire" in err
    assert "Traceback" not in err
    with pytest.raises(RuntimeError):
        nelbo("evaluate", run, "--debug")


def test_evaluate_prints_the_result_and_writes_the_same_json(nelbo, run, tmp_path):
    path = tmp_path / "r.json"
    common = ("evaluate", run, "--max-images", "5", "--budget", "100")
    code, out, _ = nelbo(*common, "--json", path)
    assert code == 0
    tree = json.loads(path.read_text())
    assert out.splitlines()[0] == f"{tree['bits_per_dim']:.4f} bits/dim"
    assert out.splitlines()[-1] == str(path)
    assert tree["images"] == 5
    assert tree["data"]["name"].startswith("digits")
    assert tree["command"].startswith("nelbo evaluate")
    code, out, _ = nelbo(*common, "--json", "-")
    again = json.loads(out)
    for key in ("bits_per_dim", "ci95", "terms", "per_step", "model", "data"):
        assert again[key] == tree[key]


def test_evaluate_measures_the_ode_beside_the_bound(nelbo, run, tmp_path):
    """Kills: options that are taken and do nothing; an ODE's figure that is called a bound."""
    path = tmp_path / "ode.json"
    common = ("evaluate", run, "--max-images", "3", "--ode", "--steps", "6", "--precision", "9")
    code, out, _ = nelbo(*common, "--json", path)
    assert code == 0
    tree = json.loads(path.read_text())
    assert out.splitlines()[0] == f"{tree['bits_per_dim']:.4f} bits/dim, {tree['kind']}"
    assert tree["kind"].endswith("not a bound")
    assert [look["steps"] for look in tree["by_steps"]] == [6, 12]
    assert tree["images"] == 3
    code, out, err = nelbo("compare", "--ode-against-bound", *common[1:4], *common[5:])
    assert code == 0, err
    verdict, figure = out.splitlines()[:2]
    assert (verdict, figure.split()[0]) == (
        tree["ode_minus_bound"]["verdict"],
        f"{tree['bits_per_dim']:.4f}",
    )
    code, out, _ = nelbo(*common, "--dequantise", "uniform", "--json", "-")
    assert json.loads(out)["estimator"]["dequantise"] == "uniform"
    few = ("evaluate", run, "--max-images", "1", "--ode", "--precision", "9", "--no-check")
    code, out, _ = nelbo(*few, "--ode-solver", "rk45", "--json", "-")
    assert json.loads(out)["estimator"]["solver"] == "rk45"
    for arguments, message in (
        (("--ode", "--budget", "9"), "--budget is of the bound and not of the ODE"),
        (("--ode", "--plots", tmp_path / "p"), "--plots is of the bound"),
        (("--dequantise", "uniform"), "--dequantise is of the ODE: add --ode"),
        (("--ode-solver", "rk45"), "--ode-solver is of the ODE: add --ode"),
    ):
        check_refusal(nelbo, tmp_path, 2, message, "evaluate", run, *arguments)
    for arguments, message in (
        ((run,), "--ode-against-bound is of one model, and there are 2"),
        (("--budget", "9"), "--budget is not of the ODE against the bound"),
    ):
        arguments = (run, "--ode-against-bound", *arguments)
        check_refusal(nelbo, tmp_path, 2, message, "compare", *arguments)


def test_an_untrained_ddpm_gives_its_closed_form_through_the_command_line(nelbo, recipe_file):
    """Must hold whatever the images: L_mid of the zero network is 10.170492873789 nats per dim.

    Kills: a recipe, checkpoint or report that changes the model on its way (values: closed form,
    tests/golden/reference.json, zero_net linear1000/small).
    """
    from conftest import PLAIN

    path = recipe_file(**PLAIN, **{"network.blocks": 1})
    folder = path.parent / "run"
    assert nelbo("train", path, "-o", folder)[0] == 0
    few = ("--max-images", 100, "--budget", 20_000)
    code, out, _ = nelbo("evaluate", folder, *few, "--json", "-")
    assert code == 0
    tree = json.loads(out)
    golden = json.loads(GOLDEN.read_text())["values"]["extra"]["zero_net"]
    truth = golden["linear1000/small"]["L_mid"] / np.log(2)
    low, high = tree["ci95_monte_carlo"]
    error = (high - low) / 2 / 1.96
    assert abs(tree["terms"]["L_mid"]["bits_per_dim"] - truth) < 4 * error
    assert error < 0.02
    assert tree["model"]["parametrization"] == "eps"


def test_sample_writes_a_picture_and_inspect_says_what_the_model_is(nelbo, run, tmp_path):
    path = tmp_path / "s.png"
    code, out, _ = nelbo("sample", run, "-n", "3", "--steps", "2", "-o", path)
    assert (code, out.strip()) == (0, str(path))
    with Image.open(path) as picture:
        assert picture.size == (2 * 64 + 8, 2 * 64 + 8)
    code, out, _ = nelbo("inspect", run, "--json", "-")
    assert code == 0
    assert json.loads(out)["parametrization"] == "levels"


def test_demo_makes_every_file_that_it_names(nelbo, recipe_file, tmp_path):
    folder = tmp_path / "demo"
    code, out, _ = nelbo("demo", "--recipe", recipe_file(**{"chain.schedule.T": 20}), "-o", folder)
    assert code == 0
    made = {"model.safetensors", "log.jsonl", "speed.jsonl"}
    made |= {"result.json", "images.csv", "samples.png", "report.html"}
    assert {path.name for path in folder.iterdir()} == made
    assert all(str(folder / name) in out.splitlines() for name in made)
    assert "4.0875" in out  # log2 17
    assert "2.4244" in out  # the histogram of each pixel
    page = (folder / "report.html").read_text()
    assert not re.search(r'src="(?!data:)|href="(?!#|data:)|url\((?!#)', page)
    embedded = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert json.loads(embedded[1]) == json.loads((folder / "result.json").read_text())
    check_refusal(nelbo, tmp_path, 2, "exists already", "demo", "-o", folder)


def test_a_demo_that_was_stopped_goes_on(nelbo, recipe_file, tmp_path, monkeypatch):
    """In training, then when it draws. Kills: minutes of work that only `train --resume` knows."""
    from nelbo.tasks.evaluate import evaluate
    from nelbo.training.loop import Loop

    folder, step = tmp_path / "a demo", Loop._step
    path = recipe_file(**{"chain.schedule.T": 20, "training.steps": 6})
    typed = ("demo", "--recipe", path, "-o", folder)

    def stopped(self, number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number)

    def broken(*arguments, **options):
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr("nelbo.tasks.demo.evaluate", partial(evaluate, budget=2500))
    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", stopped)
        code, out, err = nelbo(*typed)
    assert (code, out) == (143, "")
    again = f"nelbo demo --recipe {path} -o '{folder}' --resume goes on"
    assert err.splitlines()[-1] == (
        f"nelbo: stopped by a signal after step 3, which is saved: {again}"
    )
    with monkeypatch.context() as patched:
        patched.setattr("nelbo.tasks.demo.report", broken)
        assert nelbo(*typed, "--resume")[0] == 1
    measured = json.loads((folder / "result.json").read_text())
    code, out, _ = nelbo(*typed, "--resume")
    assert code == 0
    assert str(folder / "report.html") in out.splitlines()
    assert {path.name for path in folder.iterdir()} >= {"samples.png", "model.safetensors"}
    result = json.loads((folder / "result.json").read_text())
    assert result["nats_per_image"] == measured["nats_per_image"]
    assert result["command"] == f"nelbo demo --recipe {path} -o '{folder}'"  # as of one not stopped
    check_refusal(nelbo, tmp_path, 2, "by --resume", *typed)


def test_help_does_not_wait_for_torch():
    """Kills: a heavy import at the head of the command line."""
    code = (
        "import sys; sys.argv = ['nelbo', '--help']\n"
        "from nelbo.__main__ import main\n"
        "main()\n"
        "assert not {'torch', 'numpy', 'diffusers', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_version_is_the_packages(nelbo):
    import nelbo as package

    assert nelbo("--version") == (0, package.__version__ + "\n", "")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_training_with_its_code(recipe_file, tmp_path, number, expected):
    path = recipe_file(**{"training.steps": 100_000})
    command = [sys.executable, "-m", "nelbo", "train", str(path), "-o", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        log = tmp_path / "run" / "log.jsonl"
        for _ in range(600):
            if log.exists() and log.stat().st_size:
                break
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(30) == expected
        assert b"Traceback" not in process.stderr.read()
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("command", ["evaluate", "compare", "derive", "inspect"])
def test_a_reader_that_goes_away_takes_no_file_with_it(nelbo, run, tmp_path, monkeypatch, command):
    """Kills: a result that is printed before it is written, and lost where `| head` has read it."""

    def gone(*message, file=None, **how):
        if file is None:
            raise BrokenPipeError

    path = tmp_path / "result.json"
    monkeypatch.setattr("nelbo.cli.terminal.print", gone, raising=False)
    monkeypatch.setattr("nelbo.report.derivation_table.Console.print", gone, raising=False)
    monkeypatch.setattr("nelbo.cli.streams.silence", lambda: None)
    arguments = {
        "evaluate": [run, "--max-images", 5, "--budget", 100],
        "compare": [run, run, "--max-images", 5, "--budget", 100],
        "derive": ["--html", tmp_path / "d.html"],
        "inspect": [run],
    }[command]
    assert nelbo(command, *arguments, "--json", path)[0] == 1
    assert json.loads(path.read_text())["schema"].startswith("nelbo.")
