"""The processes that share the work: one, or those that torchrun or accelerate started."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, final

import psutil
import torch
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = ["Processes"]

Value = TypeVar("Value")

PATIENCE = 1.0  # seconds in which a process whose connections are closed has ended
LONGEST = "NELBO_RANK_TIMEOUT"  # seconds that a process waits for the others
SECONDS = 1800.0  # of it: the first process alone draws pictures and writes checkpoints


@final
class Processes:
    """This process's rank among `size`, and what they tell each other.

    Every process must make the same calls in the same order. One that ends in between ends the
    others too, at their next call; one that hangs does after half an hour, or NELBO_RANK_TIMEOUT
    seconds.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.places: list[tuple[str, int]] = []  # machine and number of each rank's process

    @classmethod
    def started(cls) -> "Processes":
        """Those of the launcher that started this process; itself alone without one.

        Raises:
            BadInput: the environment names no number of processes, or of seconds to wait for them.
            ConnectionError: not all of them came.
        """
        if _number("WORLD_SIZE", 1) == 1:
            return cls()
        seconds = _number(LONGEST, SECONDS)
        from accelerate import PartialState

        # gloo, whatever the networks are on: only Python objects are sent, several processes may
        # share a GPU, and the end of one is noticed
        try:
            state = PartialState(cpu=True, timeout=timedelta(seconds=seconds))
        except RuntimeError as error:
            raise ConnectionError(
                f"rank {os.environ.get('RANK')} stops because not every rank came within "
                f"{seconds:g} seconds"
            ) from error
        processes = cls(state.process_index, state.num_processes)
        processes.places = processes.gather((socket.gethostname(), os.getpid()))
        return processes

    @property
    def first(self) -> bool:
        """Whether this process is the one that speaks and writes."""
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """Every process's value, by rank.

        Raises:
            ConnectionError: another process has ended.
        """
        if self.size == 1:
            return [value]
        gathered = [value] * self.size
        with self._together():
            torch.distributed.all_gather_object(gathered, value)
        return gathered

    def add_up(self, numbers: Tensor) -> Tensor:
        """The sum over the processes, in place, the same bits in each of them.

        Raises:
            ConnectionError: another process has ended.
        """
        if self.size > 1:
            with self._together():
                torch.distributed.all_reduce(numbers)
        return numbers

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            hung = "imed out" in str(error)
            why = self._hung() if hung else f"{self._ended()} ended before the work was done"
            raise ConnectionError(f"rank {self.rank} stops because {why}") from error

    def require_same(self, plan: Mapping[str, Json]) -> None:
        """Refuses to begin where processes have different models, data or settings.

        Raises:
            BadInput: they differ; every process raises it, naming the first key in which they do.
        """
        own, *others = self.gather({key: str(value) for key, value in plan.items()})
        for rank, other in enumerate(others, 1):
            for key in dict.fromkeys([*own, *other]):
                if own.get(key) != other.get(key):
                    raise BadInput(
                        f"rank 0 and rank {rank} have different {key}: {own.get(key)} and "
                        f"{other.get(key)}; start every process on the same"
                    )

    def once(self, make: Callable[[], Value]) -> Value:
        """The value that the first process makes, in every process; its error likewise.

        Raises:
            BadInput: the first process's.
        """
        if self.size == 1:
            return make()
        value: Value | BadInput | None = None
        if self.first:
            try:
                value = make()
            except BadInput as error:
                value = error
        value = self.gather(value)[0]
        if isinstance(value, BadInput):
            raise value
        return value  # type: ignore[return-value]

    def _ended(self) -> str:
        """Which ranks have ended, of those on this machine, as soon as one has."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if ended := self._near(psutil.STATUS_ZOMBIE):
                return ended
            time.sleep(0.01)
        return "another process"

    def _hung(self) -> str:
        """Which ranks are stopped, of those on this machine, and how long they were awaited."""
        hung = self._near(psutil.STATUS_STOPPED) or "another process"
        return f"{hung} did not answer for {_number(LONGEST, SECONDS):g} seconds"

    def _near(self, status: str) -> str:
        """The ranks on this machine whose process has that status, by name; "" for none."""
        here = socket.gethostname()
        near = [rank for rank, (host, _) in enumerate(self.places) if host == here]
        ranks = [rank for rank in near if _status(self.places[rank][1]) == status]
        return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}" if ranks else ""


def _status(pid: int) -> str:
    """That of the process; one that was killed and awaits its parent is as one that is gone."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def _number(name: str, default: float) -> float:
    """The positive number that a variable of the environment holds.

    Raises:
        BadInput: it holds something else.
    """
    text = os.environ.get(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise BadInput(f"the environment's {name} is no positive number: {text}")
    return number
