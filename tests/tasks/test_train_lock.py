"""One owner per run folder, whatever starts at once and whoever has died."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from training import start

from nelbo.errors import BadInput
from nelbo.training import lock
from nelbo.training.lock import OWNER, claimed, made

TRIALS = 50

# A worker of the race: waits for a line, tries to own the folder, says what became of it, and holds
# on until its stdin ends. It loads the module alone, since torch would take seconds of each.
RACER = f"""
import importlib.util, sys
from pathlib import Path
from nelbo.errors import BadInput
spec = importlib.util.spec_from_file_location("lock", {lock.__file__!r})
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
for line in sys.stdin:
    kind, folder = line.split()
    try:
        with getattr(lock, kind)(Path(folder)):
            print("owner", flush=True)
            sys.stdin.readline()
    except BadInput as error:
        print(error, flush=True)
        sys.stdin.readline()
    print("over", flush=True)
"""


@pytest.fixture(scope="module")
def racers():
    command = [sys.executable, "-c", RACER]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(8)]
    yield processes
    for racer in processes:
        racer.stdin.close()
        racer.wait(20)
        racer.stdout.close()


def race(racers, kind, folder):
    """What each says while the owner still holds on."""
    for racer in racers:
        racer.stdin.write(f"{kind} {folder}\n")
        racer.stdin.flush()
    outcomes = [racer.stdout.readline().strip() for racer in racers]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
        assert racer.stdout.readline().strip() == "over"
    return outcomes


@pytest.mark.parametrize("kind", ["made", "claimed"])
def test_of_eight_starts_at_once_exactly_one_owns_the_folder(racers, tmp_path, kind):
    """Kills: R11; a check before the claim, an owner file that is there before its lock."""
    for trial in range(TRIALS):
        folder = tmp_path / f"{kind}-{trial}"
        if kind == "claimed":  # the file of an owner that died
            folder.mkdir()
            (folder / OWNER).write_text(json.dumps({"pid": 2**22 + 1, "host": "elsewhere"}))
        outcomes = race(racers, kind, folder)
        (owner,) = [i for i, line in enumerate(outcomes) if line == "owner"]
        name = f"process {racers[owner].pid} on {socket.gethostname()}:"
        assert all(name in line for i, line in enumerate(outcomes) if i != owner), outcomes
        assert list(folder.iterdir()) == []
    assert not list(tmp_path.glob(".*"))


def test_an_owner_in_this_process_counts_too(tmp_path):
    with made(tmp_path / "run"):
        for way in (made, claimed):
            with (
                pytest.raises(BadInput, match=f"by process {os.getpid()} on"),
                way(tmp_path / "run"),
            ):
                raise AssertionError
        assert (tmp_path / "run" / OWNER).exists()
    with claimed(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / OWNER).exists()


def test_a_file_that_an_ending_owner_removes_is_no_lock(tmp_path, monkeypatch):
    """Opened before it was removed, locked after: nobody else would ever see that lock.

    Kills: a lock that is taken without a look at what lies at the path.
    """
    real, ends = lock.fcntl.flock, iter([True])

    def flock(handle, how):
        if next(ends, False):
            (tmp_path / OWNER).unlink()
        real(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with claimed(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
        with pytest.raises(BadInput, match="is being trained into"), claimed(tmp_path):
            raise AssertionError


def wait_for(condition, process):
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_a_second_start_names_the_owner_whose_death_frees_the_folder(recipe_file, tmp_path):
    """The story of a run: refused beside a living owner, killed, resumed, stopped by a signal.

    Kills: R2, a lock that outlives its owner, a signal that waits for the next checkpoint.
    """
    changes = {"training.steps": 100_000, "network.blocks": 1, "training.checkpoint_every": 50}
    arguments = ("train", recipe_file(**changes), "-o", tmp_path / "run")
    with start(*arguments) as first:
        wait_for(lambda: list((tmp_path / "run").glob("checkpoints/step*")), first)
        with start(*arguments, "--resume") as second:
            assert second.wait(60) == 2
            owner = f"process {first.pid} on {socket.gethostname()}"
            assert owner in second.stderr.read()
        first.kill()
    size = (tmp_path / "run" / "log.jsonl").stat().st_size
    with start("train", "--resume", tmp_path / "run") as third:
        wait_for(lambda: (tmp_path / "run" / "log.jsonl").stat().st_size > size, third)
        begun = time.monotonic()
        third.send_signal(signal.SIGTERM)
        assert third.wait(30) == 143
        assert time.monotonic() - begun < 30
        (line,) = third.stderr.read().splitlines()[-1:]
        assert re.search(r"stopped by a signal after step (\d+), which is saved", line), line
    step = int(re.search(r"after step (\d+)", line)[1])
    assert (tmp_path / "run" / "checkpoints" / f"step-{step:06d}.safetensors").exists()
    assert not (tmp_path / "run" / OWNER).exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_second_signal_ends_at_once(tmp_path):
    """Kills: a handler that only counts; a launcher's echo of the first signal taken for one."""
    code = """
import os, signal, time
from nelbo.training.signals import listening
with listening() as asked:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    assert asked.number == signal.SIGINT
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 143
