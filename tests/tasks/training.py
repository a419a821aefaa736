"""What tests of training share: small runs, and what must be equal of two of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from conftest import small_recipe

STEPS = 12


def recipe(**changes):
    """A run of 12 steps with dropout, whose checkpoints are 4 steps apart."""
    changes = {"training.steps": STEPS, "training.checkpoint_every": 4} | changes
    return small_recipe(**{"training.batch_size": 8, "network.blocks": 1, **changes})


def same(a, b):
    """Weights, averages, optimiser, generators, position and log, byte for byte."""
    names = [f"checkpoints/step-{STEPS:06d}.safetensors", "model.safetensors", "log.jsonl"]
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in names)


def start(*arguments, processes=1, **environment):
    """A process that runs the command line, or several by torchrun."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "nelbo"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def entries(folder):
    """The lines of the log."""
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]


def tensors(path):
    """A checkpoint's, by another reader than ours."""
    return load_file(path)
