"""The figures of the log in TensorBoard or W&B too, by accelerate's trackers.

A tracker shows a run and is no part of it: recipe, checkpoints and log are the same without one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nelbo.errors import BadInput, closest
from nelbo.typed_json import Json

__all__ = ["TRACKERS", "Tracker", "check_trackers", "tracking"]


class Tracker(Protocol):
    """What is used of one of accelerate's `GeneralTracker`s."""

    def log(self, values: dict[str, Json], step: int | None) -> None:
        """Shows the values of a step."""

    def finish(self) -> None:
        """Nothing comes after this."""


def _tensorboard(folder: Path, step: int, config: Mapping[str, Json]) -> Any:  # noqa: ANN401
    from accelerate.tracking import TensorBoardTracker

    # what a killed start has shown of later steps is no more
    purged = {"purge_step": step + 1} if step else {}
    return TensorBoardTracker("tensorboard", folder, **purged)


def _wandb(folder: Path, step: int, config: Mapping[str, Json]) -> Any:  # noqa: ANN401
    from accelerate.tracking import WandBTracker

    name = folder.resolve().name
    return WandBTracker("nelbo", name=name, group=name, dir=str(folder), config=dict(config))


TRACKERS: Mapping[str, Callable[[Path, int, Mapping[str, Json]], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}
"""By the name of the package, which is also the extra that brings it."""


def check_trackers(requested: Sequence[str | Tracker]) -> None:
    """Before any work: each has a name that is known and a package that is there.

    Raises:
        BadInput: one has not.
    """
    for name in requested:
        if not isinstance(name, str):
            continue
        if name not in TRACKERS:
            meant = closest(name, TRACKERS)
            hint = f"did you mean {meant}?" if meant else f"there are {' and '.join(TRACKERS)}"
            raise BadInput(f"no tracker {name}: {hint}")
        if find_spec(name) is None:
            raise BadInput(f"--track {name} needs the package {name}: pip install 'nelbo[{name}]'")


@contextmanager
def tracking(
    requested: Sequence[str | Tracker], folder: Path, step: int, config: Mapping[str, Json]
) -> Iterator[list[Tracker]]:
    """The requested ones, ready for what comes after the step; ends those that it has started."""
    with ExitStack() as started:
        trackers: list[Tracker] = []
        for one in requested:
            if isinstance(one, str):
                trackers.append(_started(TRACKERS[one](folder, step, config)))
                started.callback(trackers[-1].finish)
            else:
                trackers.append(one)
        yield trackers


def _started(tracker: Any) -> Tracker:  # noqa: ANN401
    from accelerate import PartialState

    PartialState(cpu=True)  # without a state accelerate's logging fails
    tracker.start()
    started: Tracker = tracker
    return started
