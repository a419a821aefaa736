"""NaN and infinities out of the network, at each t and batch: exit code 3, named, nothing written.

Of two ranks this is in the tests (tests/estimation/test_processes.py, tests/tasks).
"""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from fault_disk import RECIPE, TINY
from fault_lines import ended

import nelbo.formats
import nelbo.recipe
from nelbo.model import Model
from nelbo.tasks.train import train

__all__ = ["VALUES"]

OF_IMAGES = ("--max-images", "6", "--batch-size", "2", "--no-check")
COMMANDS = {
    "evaluate": ["evaluate", "run", *OF_IMAGES, "--exhaustive", "--json", "new.json",
                 "--per-image", "new.csv"],
    "evaluate by default": ["evaluate", "run", *OF_IMAGES, "--json", "new.json"],
    "compare": ["compare", "run", "run", *OF_IMAGES, "--weights", "raw", "--json", "new.json"],
    "sample": ["sample", "run", "-n", "3", "--no-check", "-o", "new.png"],
    "derive": ["derive", "run", "--paths", "2", "--images", "3", "--html", "new.html"],
    "improve": ["improve", "run", "--max-images", "6", "--no-check", "--data", "data.npy",
                "-o", "new"],
    "report": ["report", "run", "--samples", "2", "-o", "new.html"],
    "evaluate --part": ["evaluate", "run", *OF_IMAGES, "--exhaustive", "--part", "1/1",
                        "-o", "new.json"],
    "rank": ["rank", "run", *OF_IMAGES, "--first", "16", "--again", "16", "--json", "new.json",
             "--csv", "new.csv"],
    "evaluate --ode": ["evaluate", "run", *OF_IMAGES, "--ode", "--json", "new.json"],
    "train": ["train", "digits", *TINY, "-o", "new"],
}  # fmt: skip
T = 4
KEPT_OF_TRAINING = ("log.jsonl", "speed.jsonl")


class Values:
    """case(number): a command whose network breaks once. len(): how many there are."""

    def __init__(self, folder: Path) -> None:
        self.source, self.place = folder, folder / "values"
        self.run = folder / "values of"
        train(nelbo.recipe.read("digits", list(RECIPE)), self.run)
        measured = ["evaluate", str(self.run), *OF_IMAGES, "--json", str(self.run / "result.json")]
        code, _, err = ended(folder, measured)
        if code != 0:
            raise AssertionError(err)
        values = (float("nan"), float("inf"), float("-inf"))
        self.cases = list(itertools.product(COMMANDS, range(1, T + 1), range(3), values))

    def __len__(self) -> int:
        return len(self.cases)

    def __call__(self, number: int) -> str:
        name, t, which, value = self.cases[number]
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.run, self.place / "run")
        shutil.copyfile(self.source / "data.npy", self.place / "data.npy")
        with broken(t, which, value) as hits:
            code, out, err = ended(self.place, COMMANDS[name])
        case = f"for {name}, t = {t}, call {which}, {value}: {(out + err)[-200:]!r}"
        left = [path.name for path in self.place.rglob("new*") if path.is_file()]
        left += [p.name for p in self.place.glob("new/**/*") if p.name not in KEPT_OF_TRAINING]
        left = [name for name in left if name != "checkpoints"]
        if not hits:
            return "exit 0" if code == 0 else f"exit {code} {case}"
        messages = [line for line in err.splitlines() if line.startswith("nelbo: ")]
        if code != 3 or len(messages) != 1:
            return f"exit {code} {case}"
        if name != "derive" and f"t = {t}" not in messages[0] and f"{t}" not in messages[0]:
            return f"not named {case}"
        if left and name not in ("train", "improve"):  # what was whole before it is kept
            return f"left {left[0]} {case}"
        return "exit 3"


@contextlib.contextmanager
def broken(t: int, which: int, value: float) -> Iterator[list[int]]:
    """Networks give the value for the rows of t, in the which-th call that has some."""
    hits: list[int] = []
    seen = [0]

    def breaks(model: Model) -> Model:
        forward = model.network.forward
        wanted = model.chain.q.schedule.log_snr[t].float()

        def gives(x_t: torch.Tensor, time: torch.Tensor, *more: Any) -> torch.Tensor:
            output = forward(x_t, time, *more)
            rows = (time.float() == wanted).view(-1, *[1] * (output.ndim - 1))
            if not bool(rows.any()):
                return output
            seen[0] += 1
            if seen[0] != which + 1:
                return output
            hits.append(t)
            return torch.where(rows, value, output)

        model.network.forward = gives  # type: ignore[method-assign]
        return model

    load, build = nelbo.formats.load, nelbo.recipe.build

    def loaded(*arguments: Any, **named: Any) -> Model:
        return breaks(load(*arguments, **named))

    def built(*arguments: Any, **named: Any) -> Model:
        return breaks(build(*arguments, **named))

    with (
        mock.patch.object(nelbo.formats, "load", loaded),
        mock.patch("nelbo.tasks.train.recipes.build", built),
    ):
        yield hits


VALUES: dict[str, tuple[int, Callable[[Path], Callable[[int], str]]]] = {
    "networks that give NaN": (0, Values)
}
"""As FILES; how many cases there are, the commands decide."""
