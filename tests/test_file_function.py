"""file.py:function as a MODEL: what it runs, what it records, and what it refuses in a line."""

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

from nelbo import evaluate, load
from nelbo.errors import BadInput

CHOICES = 'predicts="eps", variance="small", time_input="index", shape=(1, 8, 8), levels=17'
GOOD = f"""
import torch
import nelbo
import neighbour

print("a word on stdout")


def model():
    schedule = {{"name": "linear", "T": 20, "beta_T": 0.3}}
    return nelbo.wrap(neighbour.network, schedule=schedule, {CHOICES})


def double():
    network = torch.nn.Conv2d(1, 1, 1).double()
    return nelbo.wrap(lambda x, t: network(x), schedule="linear", {CHOICES})


def from_a_run():
    return nelbo.load(RUN)


def needs(path, device="cpu"):
    return None


def fails():
    nothing = None
    return nothing.weights


def refused():
    return nelbo.wrap(torch.nn.Identity(), schedule="nonsense", {CHOICES})


def nothing():
    pass


def module():
    return torch.nn.Identity()


def leaves():
    raise SystemExit(0)


async def later():
    return model()


number = 3
"""


def network(factor):
    return f"def network(x_t, t):\n    return {factor} * x_t\n"


@pytest.fixture(autouse=True)
def own_imports(monkeypatch):
    """sys.path and sys.modules are as they were."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name == "neighbour" or name.startswith("nelbo_file_"):
            del sys.modules[name]


@pytest.fixture
def file(tmp_path, run):
    (tmp_path / "neighbour.py").write_text(network(0.5))
    path = tmp_path / "mine.py"
    path.write_text(f"RUN = {str(run)!r}\n{GOOD}")
    return path


def test_a_function_is_a_model_of_every_command(nelbo, file, tmp_path):
    """Its prints leave stdout alone. Kills: a MODEL that one of the commands does not take."""
    name, data = f"{file}:model", ("--data", "digits:test")
    result = tmp_path / "r.json"
    code, out, err = nelbo(
        "evaluate", name, *data, "--max-images", 4, "--budget", 60, "--steps", 5, "--json", "-"
    )
    assert code == 0, err
    tree = json.loads(out)
    assert "a word on stdout" in err
    assert (tree["model"]["name"], tree["model"]["steps"]) == ("mine.py:model", 5)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    about = {"file": "mine.py", "function": "model", "sha256": sha256}
    assert tree["model"]["python"] == about
    result.write_text(out)
    few = ("--max-images", 4, "--budget", 60)
    assert nelbo("compare", name, f"{file}:from_a_run", *data, *few)[0] == 0
    assert nelbo("sample", name, "-n", 2, "-o", tmp_path / "s.npy")[0] == 0
    assert np.load(tmp_path / "s.npy").shape[0] == 2
    assert nelbo("derive", name, *data, "--images", 1, "--paths", 2)[0] in (0, 3)
    code, out, _ = nelbo("inspect", name, "--json", "-")
    assert (code, json.loads(out)["python"]) == (0, about)
    assert nelbo("report", result, "-o", tmp_path / "r.html")[0] == 0
    assert sha256[:8] in (tmp_path / "r.html").read_text()


def test_improve_keeps_what_it_finds_and_a_function_takes_it(nelbo, file, tmp_path):
    """Kills: hours of work whose result is lost, or a folder that runs code."""
    out = tmp_path / "better"
    few = ("--budget", 60, "--max-images", 6, "--steps", 3, "--json", "-")
    code, text, err = nelbo("improve", f"{file}:model", "--data", "digits:test", "-o", out, *few)
    assert code == 0, err
    assert [path.name for path in out.iterdir()] == ["improved.safetensors"]
    for command in (("inspect", out), ("evaluate", out, "--data", "digits:test")):
        code, _, err = nelbo(*command)
        assert (code, err.count("\n")) == (2, 1)
        assert f"was found for {file}:model, and no folder runs code: return nelbo.load" in err
    model = load(out, of=load(f"{file}:model"))
    assert (model.T, model.name) == (3, "mine.py:model, improved")
    assert model.facts["python"]["function"] == "model"
    with file.open("a") as end:
        end.write(f"\n\ndef better():\n    return nelbo.load({str(out)!r}, of=model())\n")
    assert load(f"{file}:better").facts["improved"] == json.loads(text)["plan"]
    with pytest.raises(BadInput, match=r"other weights than those of mine.py:double"):
        load(out, of=load(f"{file}:double"))
    with pytest.raises(BadInput, match="no folder that nelbo improve made: leave of= out"):
        load(tmp_path, of=model)


def test_a_function_keeps_the_dtype_of_its_network(nelbo, file):
    """Kills: a network in float64 that the command line measures in float32."""
    few = ("--data", "digits:test", "--max-images", 2, "--budget", 20, "--json", "-")
    for options, dtype in (((), "float64"), (("--dtype", "float32"), "float32")):
        code, out, err = nelbo("evaluate", f"{file}:double", *few, *options)
        assert code == 0, err
        assert json.loads(out)["environment"]["dtype"] == dtype


def test_python_loads_it_too_and_it_is_the_wrapped_model(file):
    """Kills: another model than the function returns."""
    model = load(f"{file}:model")
    x = torch.full((1, 1, 8, 8), 2.0)
    assert torch.equal(model.network(x, torch.tensor([3])), 0.5 * x)
    assert model.every(4).name == "mine.py:model"
    assert model.every(4).facts["python"] == model.facts["python"]
    levels = torch.randint(17, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    assert evaluate(model, levels, budget=60).model["python"]["function"] == "model"


def test_modules_beside_two_files_are_each_files_own(file, tmp_path):
    """Kills: the first file's neighbour imported by the second, which has another of that name."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text(file.read_text())
    (other / "neighbour.py").write_text(network(0.25))
    x = torch.ones(1, 1, 8, 8)
    for path, factor in ((file, 0.5), (other / "mine.py", 0.25), (file, 0.5)):
        output = load(f"{path}:model").network(x, torch.tensor([3]))
        assert float(output.mean()) == factor


REFUSED = [
    ("none.py:model", "no Python file at .*none.py"),
    ("mine.py:modell", "has no function modell: did you mean .*mine.py:model?"),
    ("mine.py:", "has no function without a name: it has"),
    ("mine.py:unlike_any", "has no function unlike_any: it has model, double, "),
    ("mine.py:number", "number is a int and no function"),
    ("mine.py:needs", "called without arguments and needs some .*path"),
    ("mine.py:fails", r"mine.py, line 30: AttributeError: 'NoneType' object has no attribute"),
    ("mine.py:refused", r"mine.py, line 34: schedule is one of"),
    ("mine.py:nothing", r"nothing\(\) returns None and no Model: return nelbo.wrap"),
    ("mine.py:module", r"module\(\) returns a Identity and no Model"),
    ("mine.py:leaves", "mine.py, line 46: SystemExit: 0"),
    ("mine.py:later", "returns a coroutine and no Model"),
    ("syntax.py:model", "syntax.py, line 2: "),
    ("raises.py:model", "raises.py, line 1: ModuleNotFoundError: No module named 'absent_here'"),
]


@pytest.mark.parametrize(("name", "message"), REFUSED, ids=[name for name, _ in REFUSED])
@pytest.mark.filterwarnings("ignore:coroutine")
def test_what_is_no_model_is_refused_in_a_line(nelbo, file, name, message):
    """Kills: a traceback, or "no model at", for each thing that a first file gets wrong."""
    (file.parent / "syntax.py").write_text("x = 1\ndef model(:\n")
    (file.parent / "raises.py").write_text("import absent_here\n")
    with pytest.raises(BadInput, match=message):
        load(file.parent / name)
    code, out, err = nelbo("evaluate", file.parent / name, "--data", "digits")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("nelbo: ")
    assert "Traceback" not in err


def test_what_describes_checkpoints_is_refused_by_name(nelbo, file, run):
    """Kills: an option that is taken and changes nothing."""
    with pytest.raises(BadInput, match="itself: levels, weights is for checkpoints and folders"):
        load(f"{file}:model", levels=17, weights="ema")
    code, _, err = nelbo("evaluate", f"{file}:model", "--data", "digits", "--weights", "raw")
    assert code == 2
    assert "makes its model itself: weights is for" in err
    few = ("--data", "digits:test", "--max-images", 2, "--budget", 40)
    assert nelbo("compare", f"{file}:model", run, "--weights", "raw", *few)[0] == 0


def test_data_are_specified_by_the_user(nelbo, file):
    """Kills: a Python file that is read as a checkpoint for the data that it names."""
    code, _, err = nelbo("evaluate", f"{file}:model")
    assert code == 2
    assert "names no data: it was trained elsewhere, so say --data SPEC" in err


def test_a_file_of_that_very_name_and_names_of_the_hub_run_nothing(file, tmp_path):
    """Kills: code that anything but the user names."""
    odd = tmp_path / "odd.py:model"
    odd.write_bytes(b"")
    with pytest.raises(BadInput, match="is an empty file"):
        load(odd)
    with pytest.raises(BadInput, match=r"no Python file at hf:owner/name.py"):
        load("hf:owner/name.py:model")
