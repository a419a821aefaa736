"""kill -9 at random moments of an evaluation by two processes, which goes on each time.

    python tests/estimation/kill_evaluation.py RUN [--kills 20] [--torchrun]
        [--exhaustive] [--seed 0]

Ends with an assertion if a table or a result differs in one byte from that of an uninterrupted
evaluation, or if a process outlives another by more than a minute. In the test suite this happens
with fewer kills and without torchrun's own process around it.
"""

import argparse
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import ranks

OUTPUTS = ("--json", "result.json", "--per-image", "images.csv", "--record", "record")
SAMPLED = ("--max-images", "60", "--budget", "1800", "--batch-size", "16")
WAIT = 10.0  # seconds after which a survivor is waiting for a rank that never came
EVERY_T = ("--max-images", "30", "--exhaustive", "--steps", "60", "--batch-size", "16")


class Torchrun:
    """Two ranks and the agent that torchrun puts above them; of one thread, as the tests are."""

    def __init__(self, folder, *arguments):
        launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "nelbo")
        command = [sys.executable, "-m", *launcher, *map(str, arguments)]
        self.log = open(folder / "log", "w")  # noqa: SIM115
        self.agent = subprocess.Popen(
            command,
            cwd=folder,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def kill(self, victims):
        """A rank, or all ranks and the agent."""
        children = psutil.Process(self.agent.pid).children()
        if len(victims) > 1 or len(children) < 2:
            os.killpg(self.agent.pid, signal.SIGKILL)
        else:
            children[victims[0]].kill()

    def running(self):
        return self.agent.poll() is None

    def done(self):
        """Whether all ended well."""
        code = self.agent.wait(ranks.LIMIT)
        self.log.close()
        return code == 0


class Forked:
    """Two ranks, and what any launcher does when one of them has gone: the other is told to end."""

    def __init__(self, folder, *arguments):
        target = functools.partial(ranks.nelbo, folder=folder)
        self.ranks = ranks.Ranks(folder, target, *arguments)

    def kill(self, victims):
        """The victims; then, as torchrun's agent would, whom they had not met yet and who waits."""
        for victim in victims:
            self.ranks.kill(victim)
        for rank, process in enumerate(self.ranks.processes):
            process.join(WAIT)
            self.ranks.kill(rank)

    def running(self):
        return any(process.is_alive() for process in self.ranks.processes)

    def done(self):
        """Whether the process that writes ended well."""
        self.ranks.end_together()
        return self.ranks.ended()[0].code == 0


@dataclass
class Counts:
    """How many evaluations were killed so often, and were compared at their ends."""

    kills: int = 0
    evaluations: int = 0


def attempt(start, folder, arguments, kill_after=None, victims=()):
    """(whether it came to its end, whether it was killed)."""
    running, begun = start(folder, *arguments), time.monotonic()
    killed = False
    while kill_after is not None and running.running() and not killed:
        time.sleep(0.005)
        if time.monotonic() - begun >= kill_after:
            running.kill(victims)
            killed = True
    return running.done(), killed


def outcome(folder):
    """The two outputs, without the seconds that it took."""
    tree = json.loads((folder / "result.json").read_text())
    tree.pop("seconds")
    tree.pop("content_sha256")  # of the seconds too
    return json.dumps(tree), (folder / "images.csv").read_bytes()


def study(folder, model, mode, kills, seed=0, start=Forked):
    """Evaluations, one after the other, until so many kills have been gone on from."""
    arguments = ("evaluate", Path(model).absolute(), *mode, *OUTPUTS)
    draw, counts = random.Random(seed), Counts()
    whole = folder / "whole"
    whole.mkdir()
    begun = time.monotonic()
    assert attempt(start, whole, arguments) == (True, False)
    duration, expected = time.monotonic() - begun, outcome(whole)
    while counts.kills < kills:
        part = folder / f"part-{counts.evaluations}"
        part.mkdir()
        done = False
        while not done:
            after = draw.uniform(0, duration / 2) if counts.kills < kills else None
            victims = draw.choice([(0,), (1,), (0, 1)])
            done, killed = attempt(start, part, arguments, after, victims)
            assert done or killed, (part / "err-0").read_text()
            counts.kills += killed
        counts.evaluations += 1
        assert outcome(part) == expected
        shutil.rmtree(part)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--torchrun", action="store_true")
    parser.add_argument("--exhaustive", action="store_true")
    given = parser.parse_args()
    start, mode = Torchrun if given.torchrun else Forked, EVERY_T if given.exhaustive else SAMPLED
    with tempfile.TemporaryDirectory() as folder:
        print(study(Path(folder), given.model, mode, given.kills, given.seed, start))


if __name__ == "__main__":
    main()
