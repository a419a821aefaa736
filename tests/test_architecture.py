"""What the tree promises: layers, sizes, names, and an import that changes nothing."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "nelbo").rglob("*.py"))
BANNED_NAMES = {"core", "common", "utils", "util", "helpers", "misc"}
IDS = [str(path.relative_to(ROOT / "src")) for path in SOURCES]
every_source = pytest.mark.parametrize("path", SOURCES, ids=IDS)


def run_python(code: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Everything that a well-meaning library has been seen to change for the whole program.
STATE = """
import hashlib, json, os, pkgutil, random, signal, sys, warnings
import numpy, torch
import rich.console  # its own import draws from python's random state

def digest(x):
    return hashlib.sha256(repr(x).encode()).hexdigest()

def state():
    backends = torch.backends
    return {
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "threads between operators": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "tf32": [backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32],
        "cudnn": [backends.cudnn.benchmark, backends.cudnn.deterministic, backends.cudnn.enabled],
        "autocast": [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")],
        "torch's random state": digest(torch.random.get_rng_state().tolist()),
        "numpy's random state": digest(numpy.random.get_state()),
        "python's random state": digest(random.getstate()),
        "validation": torch.distributions.Distribution._validate_args,
        "divergences": len(torch.distributions.kl._KL_REGISTRY),
        "numpy's errors": numpy.geterr(),
        "numpy's printing": digest(numpy.get_printoptions()),
        "torch's printing": digest(vars(torch._tensor_str.PRINT_OPTS)),
        "float flush": float(torch.tensor(2.0**-140) * 2.0**-5) == 0,
        "signals": [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
        "directory": os.getcwd(),
        "recursion limit": sys.getrecursionlimit(),
        "module methods": sorted(vars(torch.nn.Module)),
        "tensor methods": sorted(vars(torch.Tensor)),
    }

def modules():
    import nelbo
    names = [m.name for m in pkgutil.walk_packages(nelbo.__path__, "nelbo.")]
    return [name for name in names if not name.endswith("__main__")]
"""


@pytest.fixture(scope="module")
def imported() -> dict:
    """What its names and every module of nelbo changed when imported, and what they brought along.

    The names first: a module that is imported already could stand in for one.
    """
    code = f"""{STATE}
import importlib
from torch import distributions
import nelbo
before = state()
absent = [name for name in nelbo.__all__ if getattr(nelbo, name) is None]
absent += set(nelbo.__all__) - set(dir(nelbo))
try:
    nelbo.no_such_name
except AttributeError:
    absent.append("no_such_name")
for name in modules():
    importlib.import_module(name)
after = state()
changed = {{k: [str(before[k]), str(after[k])] for k in before if before[k] != after[k]}}
print(json.dumps({{"absent": absent, "changed": changed, "modules": sorted(sys.modules)}}))
"""
    return json.loads(run_python(code))


def test_importing_nelbo_changes_nothing_outside_it(imported):
    assert imported["changed"] == {}


def test_nothing_imports_torchvision_or_timm(imported):
    """torchvision has no CPU build beside this torch and fails at import."""
    assert "nelbo.cli" in imported["modules"]
    assert not {"torchvision", "timm"} & set(imported["modules"])


def test_import_nelbo_alone_does_not_import_torch():
    """So that `nelbo --help` answers at once."""
    heavy = ("torch", "numpy", "scipy", "matplotlib", "diffusers", "pydantic", "PIL")
    code = f"""
import sys
import nelbo
print([name for name in {heavy} if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_a_measurement_loads_nothing_that_draws_a_page_or_reads_a_command_line():
    """Kills: results that import a plot; a network built on the meta device, which loads sympy."""
    pages = ["matplotlib", "jinja2", "latex2mathml", "playwright"]
    names = [*pages, "typer", "rich", "sympy", "diffusers"]
    code = f"""
import sys
import torch
import nelbo
from nelbo.networks.resnet import ResNet
with torch.device("meta"):
    ResNet(1, 1)
choices = dict(schedule={{"name": "linear", "T": 4}}, predicts="eps", variance="small")
network = lambda x, t: torch.zeros_like(x)
model = nelbo.wrap(network, time_input="t", shape=(1, 2, 2), levels=4, **choices)
images = nelbo.data.Images("four", None, torch.randint(0, 4, (4, 1, 2, 2)), 4)
nelbo.evaluate(model, images, budget=40, seed=0)
print([name for name in {names} if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_every_public_name_can_be_imported_and_no_other(imported):
    assert imported["absent"] == ["no_such_name"]


@every_source
def test_a_file_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@every_source
def test_a_function_has_at_most_50_lines(path):
    """Signature and docstring apart; raising the limit is a decision record."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = node.body[1:] if ast.get_docstring(node) else node.body
            lines = code[-1].end_lineno - code[0].lineno + 1 if code else 0
            assert lines <= 50, f"{path.name}: {node.name} has {lines} lines"


@every_source
def test_a_module_says_what_it_is(path):
    """A docstring and, where it holds public code, `__all__`; no name that says nothing."""
    tree = ast.parse(path.read_text())
    assert path.stem not in BANNED_NAMES
    assert path.parent.name not in BANNED_NAMES
    definitions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    if not definitions:
        return
    assert ast.get_docstring(tree), "no module docstring"
    if any(not node.name.startswith("_") for node in definitions):
        assigned = [n for n in tree.body if isinstance(n, ast.Assign)]
        names = [t.id for n in assigned for t in n.targets if isinstance(t, ast.Name)]
        assert "__all__" in names


# Figure C3: a mass is never clamped away from 0, a NaN never averaged away.
HIDDEN_ERRORS = re.compile(
    r"(clamp|clip|maximum)\w*\(.*[\d.]e-\d|[+]\s*[\d.]+e-\d+\s*\)"
    r"|nan_to_num|nanmean|nansum|nanmedian"
)


@every_source
def test_nothing_clamps_a_mass_or_hides_a_nan(path):
    """Kills: bin probability clamped at 1e-12 before the log (H01)."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert not HIDDEN_ERRORS.search(line), f"{path.name}:{number}: {line.strip()}"


def test_the_gate_against_hidden_errors_sees_them():
    seen = ["x.clamp(min=1e-12).log()", "torch.clamp(x, min=1.0e-5)", "x.clamp_min(1e-20)"]
    seen += ["x.clamp(min=math.log(1e-12))", "x.clamp_(1e-9)", "x.clip(1e-9)"]
    seen += ["np.clip(x, 1e-9, 1)", "np.maximum(x, 1e-9)", "x.nan_to_num()", "np.nanmean(x)"]
    seen += ["torch.log(x + 1e-10)", "(x + 1e-10).log()"]
    for line in seen:
        assert HIDDEN_ERRORS.search(line), line
    for line in (
        "x.clamp(min=1)",
        "x.clamp(max=-0.5)",
        "x.clamp_(min=0.5)",
        "x.clamp(*clip)",
        "b <= a + 1e-12 * c",
    ):
        assert not HIDDEN_ERRORS.search(line)


def test_the_import_contracts_hold():
    """The tree states the theorem: `bound` may import no family. Layers in pyproject.toml."""
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
