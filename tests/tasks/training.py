"""What tests of training share: small runs, and what must be equal of two of them."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from conftest import small_recipe
from nelbo import files
from nelbo.estimation import Processes
from nelbo.tasks.train import train
from nelbo.training import log as logs
from nelbo.training.loop import Loop

STEPS = 12


def recipe(**changes):
    """A run of 12 steps with dropout, whose checkpoints are 4 steps apart."""
    changes = {"training.steps": STEPS, "training.checkpoint_every": 4} | changes
    return small_recipe(**{"training.batch_size": 8, "network.blocks": 1, **changes})


def same(a, b, steps=STEPS):
    """Weights, averages, optimiser, generators, position and log, byte for byte."""
    names = [f"checkpoints/step-{steps:06d}.safetensors", "model.safetensors", "log.jsonl"]
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


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch.distributed", "nelbo.tasks.train"])


def together(folder, recipes, count=2, **options):
    """What train returned or raised in each of so many processes, started without a launcher."""
    queue = CONTEXT.Queue()
    tasks = members(folder, recipes, count, queue=queue, **options)
    message = dict(queue.get(timeout=200) for _ in tasks)
    for task in tasks:
        task.join(60)
    return [message[rank] for rank in range(count)]


def members(folder, recipes, count, queue=None, **options):
    """The processes of a run, started."""
    store = tempfile.mktemp()
    tasks = [
        CONTEXT.Process(target=_member, args=(rank, count, store, folder, chosen, options, queue))
        for rank, chosen in enumerate(recipes if isinstance(recipes, list) else [recipes] * count)
    ]
    for task in tasks:
        task.start()
    return tasks


def _member(rank, count, store, folder, chosen, options, queue):
    torch.set_num_threads(1)
    if count > 1:
        method = f"file://{store}"
        torch.distributed.init_process_group("gloo", method, rank=rank, world_size=count)
    logs.EVERY = options.get("log_every", logs.EVERY)
    if "poisoned" in options:
        poison(options["poisoned"])
    if "dies_in_write" in options:
        files.os = DyingDisk(options["dies_in_write"])

    def progress(done, expected, text):
        if options.get("signalled") == (rank, done):
            os.kill(os.getpid(), signal.SIGTERM)

    message, code = "done", 0
    try:
        resume = options.get("resume", False)
        train(chosen, folder, resume=resume, processes=Processes(rank, count), progress=progress)
    except Exception as error:
        message, code = f"{type(error).__name__}: {error}", 1
    if queue is not None:
        queue.put((rank, message))
        queue.close()
        queue.join_thread()
    os._exit(code)


class DyingDisk:
    """os, whose process dies in the n-th call that writes or renames a checkpoint."""

    def __init__(self, n):
        self.left = n

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, handle, content):
        if len(content) > 10_000 and self._last():  # no line of a log is so long
            os.write(handle, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.write(handle, content)

    def replace(self, source, target):
        if str(target).endswith(".safetensors") and self._last():
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace(source, target)

    def _last(self):
        self.left -= 1
        return self.left == 0


def poison(place):
    """The gradient or the loss of the second step's row at this place becomes NaN."""
    kind, row = place
    ask, part = Loop._step, Loop._part

    def step(loop, number):
        loop.poison = loop.state.batches.at(number)[row] if number == 1 else -1
        return ask(loop, number)

    def poisoned(loop, draw, rows, noise):
        losses, index = part(loop, draw, rows, noise), draw.index[rows]
        if (index == loop.poison).any():
            if kind == "loss":
                losses = losses.where(index != loop.poison, torch.nan)
            next(iter(loop.state.learner.parameters.values())).grad.view(-1)[0] = torch.nan
        return losses

    Loop._step, Loop._part = step, poisoned
