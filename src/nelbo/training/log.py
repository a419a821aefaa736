"""What is written down of a run: log.jsonl, equal for equal runs, and speed.jsonl, which is not."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, final

from pydantic import Field

from nelbo import files
from nelbo.errors import BadInput
from nelbo.training.tracking import Tracker
from nelbo.typed_json import Finite, Json, Typed, Whole, as_typed, parse_object, whole_at

__all__ = ["EVERY", "LOG", "SPEED", "Log", "read_log"]

LOG = "log.jsonl"
SPEED = "speed.jsonl"
EVERY = 50  # steps
PLACES = ("step", "since_step", "seconds")  # say where in a run an entry is
NEEDED = (("loss", "unit"), ("held_out", "unit"), ("held_out", "ci95_half"))
MOST = 2**30  # bytes


def read_log(path: Path) -> list[dict[str, Json]]:
    """The entries of a training's log, as they were written; none where there is no log.

    Raises:
        BadInput: a line that is no JSON object, or no entry of a log.
    """
    if not path.is_file():
        return []
    entries = []
    for number, line in enumerate(files.read(path, MOST, "log").splitlines(), 1):
        place = f"{path} is no log of a training: line {number}"
        entries.append(entry := parse_object(line, place))
        as_typed(_Entry, entry, place)
        for key, other in NEEDED:
            if key in entry and other not in entry:
                raise BadInput(f"{place} has {key} without {other}")
    return entries


class _Entry(Typed):
    """What a line may hold; a default stands for a key that is not there, and null is no number."""

    step: Annotated[Whole, Field(ge=0, lt=2**53)]
    unit: str = ""
    loss: Finite = 0.0
    loss_by_quarter: Annotated[Sequence[Finite | None], Field(min_length=4, max_length=4)] = ()
    gradient_norm: Finite = 0.0
    learning_rate: Finite = 0.0
    held_out: Finite = 0.0
    ci95_half: Finite = 0.0


@final
class Log:
    """The log of a run folder, as JSON lines; what the clock says goes to a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.speed = folder / SPEED
        self.trackers: list[Tracker] = []  # that show every figure too
        self._started = time.perf_counter()
        self._first = 0

    def begin(self, step: int, mark: Mapping[str, Json] | None) -> None:
        """Starts an empty log at step 0, or cuts one to what it was at the mark.

        Raises:
            BadInput: the log does not begin with what it held then.
            OSError: the disk refuses.
        """
        content = b""
        if mark is not None:
            content = self._content()[: whole_at(mark, "bytes")]
            if _digest(content) != mark:
                raise BadInput(
                    f"{self.path} is not the log that the checkpoint of step {step} continues: "
                    "restore a copy"
                )
        files.write(self.path, content)
        self._started, self._first = time.perf_counter(), step

    def mark(self) -> dict[str, Json]:
        """What the log holds now, on the disk before this returns.

        Raises:
            OSError: the disk refuses.
        """
        files.sync(self.path)
        return _digest(self._content())

    def write(self, entry: Mapping[str, Json]) -> None:
        """Adds a line.

        Raises:
            OSError: the disk refuses.
        """
        files.append(self.path, json.dumps(entry).encode() + b"\n")
        self._track(entry)

    def write_speed(self, step: int, batch_size: int) -> None:
        """Adds a line on how fast this start of the run is.

        Raises:
            OSError: the disk refuses.
        """
        seconds = time.perf_counter() - self._started
        entry = {
            "step": step,
            "since_step": self._first,
            "seconds": round(seconds, 3),
            "steps_per_second": round(self.rate(step), 3),
            "images_per_second": round(self.rate(step) * batch_size, 1),
        }
        files.append(self.speed, json.dumps(entry).encode() + b"\n")
        self._track(entry)

    def rate(self, step: int) -> float:
        """Steps per second since this start of the run."""
        return (step - self._first) / max(time.perf_counter() - self._started, 1e-9)

    def _track(self, entry: Mapping[str, Json]) -> None:
        figures: dict[str, Json] = {
            k: v for k, v in entry.items() if k not in PLACES and isinstance(v, int | float)
        }
        if figures:
            for tracker in self.trackers:
                tracker.log(figures, step=whole_at(entry, "step"))

    def _content(self) -> bytes:
        if not self.path.exists():
            raise BadInput(f"{self.path} is missing: restore a copy")
        return files.read(self.path, MOST, "log")


def _digest(content: bytes) -> dict[str, Json]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
