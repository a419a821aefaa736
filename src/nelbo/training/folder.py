"""A run folder: its owner, its checkpoints, and which of them are kept."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from torch import Tensor

from nelbo import checkpoint, files
from nelbo.errors import BadInput
from nelbo.training.lock import OWNER, claimed, made
from nelbo.training.log import LOG
from nelbo.training.state import State

__all__ = ["RunFolder"]

CHECKPOINTS, SAMPLES = "checkpoints", "samples"
NAMED = re.compile(r"step-[0-9]{6,}\.safetensors")


@final
class RunFolder:
    """Where a run's files are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / checkpoint.NAME

    @contextmanager
    def owned(self, resume: bool) -> Iterator[None]:
        """Makes the folder, or takes over what an earlier start left; nobody else writes to it.

        Raises:
            BadInput: another process owns it, it holds no run to go on with, or there is something
                already where a new run should go.
        """
        if not resume or not self.path.exists():
            with made(self.path):
                yield
            return
        if not any((self.path / name).exists() for name in (OWNER, LOG, CHECKPOINTS)):
            raise BadInput(f"{self.path} holds no run that --resume could go on with")
        with claimed(self.path):
            for name in (checkpoint.NAME, LOG):
                files.sweep(self.path, name)
            for name in (CHECKPOINTS, SAMPLES):
                files.sweep(self.path / name)
            yield

    def at(self, step: int) -> Path:
        """The checkpoint of a step; its folder is there."""
        return self._file(CHECKPOINTS, f"step-{step:06d}.safetensors")

    def picture(self, step: int) -> Path:
        """The samples of a step; its folder is there."""
        return self._file(SAMPLES, f"step-{step:06d}.png")

    def best(self) -> Path:
        """The checkpoint of the best weights; its folder is there."""
        return self._file(CHECKPOINTS, "best.safetensors")

    def newest(self) -> Path | None:
        """The checkpoint to go on from."""
        return max(self._checkpoints(), key=_step, default=None)

    def earlier(self, path: Path) -> str:
        """What to do where the newest checkpoint is damaged: the whole one before it, named."""
        for other in sorted(self._checkpoints(), key=_step, reverse=True):
            if _step(other) < _step(path):
                try:
                    checkpoint.load(other)
                except BadInput:
                    continue
                return f"; {other} is whole: move {path.name} away, and --resume goes on from there"
        return ""

    def prune(self, keep: int) -> None:
        """Removes all but the last so many checkpoints; the best weights stay."""
        for path in sorted(self._checkpoints(), key=_step)[:-keep]:
            path.unlink()

    def weights(self, state: State) -> dict[str, Tensor]:
        """What a model is made of: both sets of weights, without what only training needs."""
        tensors = state.learner.tensors()
        return {n: x for n, x in tensors.items() if n.startswith(("network.", "ema."))}

    def _file(self, folder: str, name: str) -> Path:
        (self.path / folder).mkdir(exist_ok=True)
        return self.path / folder / name

    def _checkpoints(self) -> list[Path]:
        """Those of the run: a copy under another name, or another step's, is the user's."""
        paths = (self.path / CHECKPOINTS).glob("step-*.safetensors")
        return [path for path in paths if NAMED.fullmatch(path.name) and _is_of(path)]


def _is_of(path: Path) -> bool:
    """Whether the checkpoint is not of another step; a damaged one says nothing against it."""
    try:
        step = checkpoint.described(path).get("step")
    except BadInput:
        return True
    return not isinstance(step, int) or step == _step(path)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
