"""kill -9 of training, many times over: PYTHONPATH=tests python tests/tasks/kill_training.py

Five runs are killed ten times each, five times at a random moment and five times inside the write
of a checkpoint, the last run with two processes of which either may be the one that is killed.
After each kill every checkpoint must load, and each run must end with the bytes of one that was
left alone. The suite runs a short version.
"""

import random
import tempfile
import time
from pathlib import Path

import training

from nelbo import checkpoint

CHOICES = {
    "training.checkpoint_every": 2,
    "training.times": "importance",
    "chain.schedule.T": 4,
    "training.held_out": 3,
    "training.held_out_every": 5,
    "training.held_out_budget": 4,
}


def survive(folder, choices, kills, inside, processes, seed):
    """Kills a run so many times, `inside` of them in a write, and lets it end."""
    chance = random.Random(seed)
    kinds = [True] * inside + [False] * (kills - inside)
    chance.shuffle(kinds)
    for in_write in kinds:
        if in_write:
            _kill_in_write(folder, choices, processes, chance.randint(1, 6))
        else:
            _kill(folder, choices, processes, chance)
        for path in (folder / "checkpoints").glob("[!.]*.safetensors"):
            checkpoint.load(path)
        place = "in a write" if in_write else "at a random moment"
        print(f"{folder.name}: killed {place} after step {_newest(folder)}", flush=True)
    assert training.together(folder, choices, processes, resume=True) == ["done"] * processes


def _kill_in_write(folder, choices, processes, call):
    """The writer dies in one of the calls of its writes, with half of the bytes written."""
    tasks = training.members(folder, choices, processes, resume=True, dies_in_write=call)
    _end(tasks)
    assert any((folder / "checkpoints").glob(".*.safetensors.*"))


def _kill(folder, choices, processes, chance):
    """One of the processes dies within 0.3 s of the first checkpoint of its life."""
    before = _newest(folder)
    tasks = training.members(folder, choices, processes, resume=True)
    while _newest(folder) == before and tasks[0].is_alive():
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.3))
    tasks[chance.randrange(processes)].kill()
    _end(tasks)


def _end(tasks):
    for task in tasks:
        task.join(60)
        assert task.exitcode not in (None, 0), "it ended before it was killed: give it more steps"


def _newest(folder):
    steps = [int(path.stem[5:]) for path in (folder / "checkpoints").glob("step-*.safetensors")]
    return max(steps, default=0)


def main():
    place = Path(tempfile.mkdtemp())
    for processes, runs in ((1, 4), (2, 1)):
        choices = training.recipe(**CHOICES, **{"training.steps": 400})
        whole = place / f"whole-{processes}"
        assert training.together(whole, choices, processes) == ["done"] * processes
        for number in range(runs):
            folder = place / f"run-{processes}-{number}"
            survive(folder, choices, 10, 5, processes, seed=number)
            assert training.same(folder, whole, 400), folder
            print(f"{folder.name}: ends as the run that was left alone", flush=True)
    print("50 kills, 25 of them inside a write, 10 of them of two processes: nothing lost")


if __name__ == "__main__":
    main()
