"""The processes that share the work: one, or those that torchrun or accelerate started."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from nelbo.errors import BadInput

__all__ = ["Processes"]

Value = TypeVar("Value")


@final
class Processes:
    """This process's rank among `size`, and what they tell each other.

    Every process must make the same calls in the same order. One that ends in between ends the
    others too, at their next call.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def started(cls) -> "Processes":
        """Those of the launcher that started this process; itself alone without one."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        # gloo, whatever the networks are on: only Python objects are told, several processes may
        # share a GPU, and the end of one is noticed
        state = PartialState(cpu=True)
        return cls(state.process_index, state.num_processes)

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
        gathered: list[Any] = [None] * self.size
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
            raise ConnectionError(
                f"rank {self.rank} stops: another process of this run has ended, see its own "
                f"message ({str(error).splitlines()[0]})"
            ) from error

    def require_same(self, what: str, value: str) -> None:
        """Refuses to begin where processes have different models, data or settings.

        Raises:
            BadInput: they differ; every process raises it.
        """
        values = self.gather(value)
        if len(set(values)) > 1:
            other = next(rank for rank, found in enumerate(values) if found != values[0])
            raise BadInput(
                f"rank 0 and rank {other} have different {what}: {values[0]} and {values[other]}"
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
