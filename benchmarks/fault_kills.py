"""kill -9 of training and of evaluations, in one process and in two, which go on each time.

A case is a run that is killed twice, once at a random moment and once inside a write where there
is one, and goes on to its end: with the bytes of one that was left alone. The helpers are those of
the tests.
"""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = map(str, (TESTS, TESTS / "tasks", TESTS / "estimation"))

import kill_evaluation  # noqa: E402
import kill_training  # noqa: E402
import training  # noqa: E402

__all__ = ["KILLS"]

STEPS = 60
KILLED = 2  # times, each run


def _trainings(processes: int, folder: Path) -> Callable[[int], str]:
    place = folder / f"killed-{processes}"
    choices = training.recipe(**kill_training.CHOICES, **{"training.steps": STEPS})
    whole = place / "whole"

    def case(number: int) -> str:
        run = place / f"run-{number}"
        try:
            if not whole.exists():  # here and not before: who starts processes has to wait for them
                _alone(training.together(whole, choices, processes) == ["done"] * processes)
            kill_training.survive(run, choices, KILLED, 1, processes, seed=number)
            same = training.same(run, whole, STEPS)
        except AssertionError as error:
            if "ended before it was killed" in str(error):  # on a machine that is slow to kill
                return "not killed"
            return f"does not go on for {error!r:.300}"
        shutil.rmtree(run)
        return "same" if same else "another end"

    return case


def _evaluations(mode: tuple[str, ...], folder: Path) -> Callable[[int], str]:
    place, start = folder / "evaluations", kill_evaluation.Forked
    arguments = ("evaluate", (folder / "run").absolute(), *mode, *kill_evaluation.OUTPUTS)

    whole = place / f"whole-{len(mode)}"

    def case(number: int) -> str:
        if not whole.exists():
            whole.mkdir(parents=True)
            _alone(kill_evaluation.attempt(start, whole, arguments) == (True, False))
        draw, part, kills, done = random.Random(number), place / f"part-{number}", 0, False
        part.mkdir()
        while not done:
            after = draw.uniform(0.05, 3) if kills < KILLED else None
            victims = draw.choice([(0,), (1,), (0, 1)])
            done, killed = kill_evaluation.attempt(start, part, arguments, after, victims)
            if not done and not killed:
                return f"does not go on for {(part / 'err-0').read_text()!r:.300}"
            kills += killed
        same = kill_evaluation.outcome(part) == kill_evaluation.outcome(whole)
        shutil.rmtree(part)
        return ("same" if kills else "not killed") if same else "another end"

    return case


def _alone(ended: bool) -> None:
    if not ended:
        raise AssertionError("what is left alone does not come to its end")


KILLS: dict[str, tuple[int, Callable[[Path], Callable[[int], str]]]] = {
    "trainings killed twice": (80, lambda folder: _trainings(1, folder)),
    "trainings of two killed twice": (20, lambda folder: _trainings(2, folder)),
    "evaluations of two killed twice": (
        50,
        lambda folder: _evaluations(kill_evaluation.SAMPLED, folder),
    ),
    "evaluations at every t killed twice": (
        50,
        lambda folder: _evaluations(kill_evaluation.EVERY_T, folder),
    ),
}
