"""What `nelbo` alone answers: what is in this folder, and what to do next."""

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

from nelbo import files
from nelbo.errors import printable

if TYPE_CHECKING:
    from nelbo.typed_json import Json

__all__ = ["Run", "next_steps", "runs"]

MODEL, CHECKPOINTS, RESULT = "model.safetensors", "checkpoints", "result.json"
FOLDERS = 1000  # that are looked at
MOST = 2**26  # bytes of a result
Step = tuple[str, str]  # a command, and what it is for


@final
@dataclass(frozen=True)
class Run:
    """A run folder, as far as can be seen without opening its checkpoints."""

    path: Path

    @property
    def ended(self) -> bool:
        """Whether it holds a trained model."""
        return (self.path / MODEL).is_file()

    @property
    def begun(self) -> bool:
        """Whether there is something to go on from."""
        return any((self.path / CHECKPOINTS).glob("step-*.safetensors"))

    @cached_property
    def figure(self) -> str | None:
        """What was measured of it, if result.json says so."""
        try:
            result: Mapping[str, Json] = json.loads(files.read(self.path / RESULT, MOST))
            key = next(key for key in ("bits_per_dim", "nats_per_dim") if key in result)
            return f"{result[key]:.4f} {key.replace('_per_', '/')}"
        except (RecursionError, OverflowError, ValueError, TypeError, StopIteration):
            return None

    @property
    def name(self) -> str:
        """As a shell takes it."""
        return shlex.quote(printable(self.path))


def runs(folder: Path) -> list[Run]:
    """The run folders here and in runs/, the newest first."""
    listed = [Run(path) for path in _folders(folder)]
    listed = [run for run in listed if run.ended or run.begun]
    return sorted(listed, key=lambda run: run.path.stat().st_mtime, reverse=True)


def _folders(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "runs"):
        if place.is_dir():
            for _, path in zip(range(FOLDERS), sorted(place.iterdir()), strict=False):
                if path.is_dir():
                    yield path


def next_steps(folder: Path, commands: Collection[str]) -> str:
    """A few lines: what is here, and commands that make sense now, of those there are."""
    here = Run(folder)
    listed = [here] if here.ended or here.begun else runs(folder)
    summary = "\n".join(_seen(listed)) if listed else "No run folder is here yet."
    steps = _going_on(listed) if listed else _beginning()
    steps = [step for step in steps if step[0].split()[1] in commands]
    width = max(len(command) for command, _ in steps)
    lines = [f"  {command:<{width}}  {what}" for command, what in steps]
    return "\n".join([summary, "", "Next:", *lines, "", "Every command: nelbo --help"])


def _seen(listed: Sequence[Run]) -> list[str]:
    shown = [f"  {printable(run.path)}  {_state(run)}" for run in listed[:3]]
    more = [f"  and {len(listed) - 3} more"] if len(listed) > 3 else []
    return [f"Here {'is a run' if len(listed) == 1 else f'are {len(listed)} runs'}:", *shown, *more]


def _state(run: Run) -> str:
    if not run.ended:
        return "training has not ended"
    return run.figure or "trained, not measured"


def _beginning() -> list[Step]:
    return [
        ("nelbo demo", "train, measure, sample: 4 minutes"),
        ("nelbo train digits", "train a recipe, yours or ours"),
        ("nelbo evaluate ./my-ddpm --data my-images/", "measure what diffusers saved"),
        ("nelbo derive", "the derivation, line by line"),
    ]


def _going_on(listed: Sequence[Run]) -> list[Step]:
    """For the newest run of each state."""
    ended = [run for run in listed if run.ended]
    begun = next((run for run in listed if not run.ended), None)
    measured = next((run for run in ended if run.figure), None)
    other = next((run for run in ended if not run.figure), None)
    steps = []
    if begun:
        steps.append((f"nelbo train --resume {begun.name}", "go on with the training"))
    if other:
        result = shlex.quote(printable(other.path / RESULT))
        steps.append((f"nelbo evaluate {other.name} --json {result}", "measure it: bits/dim"))
    if measured:
        steps.append((f"nelbo report {measured.name}", "its page"))
    if len(ended) > 1:
        a, b = (run.name for run in ended[:2])
        steps.append((f"nelbo compare {a} {b}", "which is better, paired"))
    if ended:
        steps.append((f"nelbo sample {ended[0].name} -o samples.png", "draw 64 samples"))
    return steps or _beginning()
