"""What is written down of a run: log.jsonl, equal for equal runs, and speed.jsonl, which is not."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import final

from nelbo import files
from nelbo.errors import BadInput
from nelbo.training.tracking import Tracker
from nelbo.typed_json import Json, whole_at

__all__ = ["EVERY", "LOG", "SPEED", "Log"]

LOG = "log.jsonl"
SPEED = "speed.jsonl"
EVERY = 50  # steps
PLACES = ("step", "since_step", "seconds")  # say where in a run an entry is


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
        return files.read(self.path, 2**30, "log")


def _digest(content: bytes) -> dict[str, Json]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
