"""Rows that lie in several places of files as one tensor: read when they are used, and no sooner.

An Arrow file keeps its rows in batches, with other bytes between them, so that no strides reach
all of them from one address.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map_only

__all__ = ["Part", "Rows", "joined"]

OF_THE_WHOLE = frozenset(  # what a tensor answers without its numbers
    {
        *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "layout")),
        *(getattr(Tensor, name) for name in ("is_floating_point", "is_complex", "numel", "dim")),
        *(Tensor.size, Tensor.__len__, Tensor.requires_grad.__get__),  # type: ignore[attr-defined]
    }
)


@final
@dataclass(frozen=True, eq=False)
class Part:
    """Neighbouring rows in one place, and a check of those at given positions, which may refuse."""

    rows: Tensor
    check: Callable[[NDArray[np.int64]], None] | None = None

    def taken(self, where: slice | NDArray[np.int64]) -> Tensor:
        """The rows there, checked: a view of a slice, a copy of rows in any order."""
        if self.check is not None:
            self.check(np.arange(len(self.rows))[where])
        return self.rows[where if isinstance(where, slice) else torch.from_numpy(where)]


class Rows(Tensor):
    """The rows of several parts as one tensor; an index or a slice of rows reads those alone.

    Any other operation reads all of them first, and is then that of the tensor that they make.
    """

    parts: Sequence[Part]
    starts: NDArray[np.int64]

    @staticmethod
    def __new__(cls: type["Rows"], parts: Sequence[Part]) -> "Rows":
        counts = [len(part.rows) for part in parts]
        first = parts[0].rows
        self: Rows = Tensor._make_wrapper_subclass(
            cls, (sum(counts), *first.shape[1:]), dtype=first.dtype
        )
        self.parts, self.starts = tuple(parts), np.cumsum([0, *counts])
        return self

    def whole(self) -> Tensor:
        """All rows in memory."""
        return torch.cat([part.taken(slice(None)) for part in self.parts])

    def __getitem__(self, index: Any) -> Tensor:  # noqa: ANN401
        if isinstance(index, int) and -len(self) <= index < len(self):
            start = index % len(self)
            return self._between(start, start + 1)[0]
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            return self._between(start, max(start, stop))
        if isinstance(index, Tensor) and index.ndim == 1 and index.dtype == torch.int64:
            return self._at(index.cpu().numpy())
        return self.whole()[index]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def _between(self, start: int, stop: int) -> Tensor:
        if start == stop:
            return self.parts[0].rows[:0]
        parts = []
        first, last = np.searchsorted(self.starts, (start, stop - 1), side="right") - 1
        for number in range(int(first), int(last) + 1):
            begin = int(self.starts[number])
            here = slice(max(start - begin, 0), stop - begin)
            parts.append(Part(self.parts[number].taken(here)))
        return joined(parts)

    def _at(self, where: NDArray[np.int64]) -> Tensor:
        count = len(self)
        if len(where) and not -count <= where.min() <= where.max() < count:
            raise IndexError(f"a position is none of the {count} rows")
        where = np.where(where < 0, where + count, where)
        part_of = np.searchsorted(self.starts, where, side="right") - 1
        out = torch.empty((len(where), *self.shape[1:]), dtype=self.dtype)
        for number in np.unique(part_of).tolist():
            chosen = np.flatnonzero(part_of == number)
            local = where[chosen] - self.starts[number]
            out[torch.from_numpy(chosen)] = self.parts[number].taken(local)
        return out

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func in OF_THE_WHOLE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func is Tensor.split and len(args) == 2 and kwargs.get("dim", 0) == 0:
            rows, size = args
            if isinstance(size, int) and size > 0:
                return tuple(rows[i : i + size] for i in range(0, len(rows), size))
        return func(*_read(args), **_read(kwargs))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # which torch declares without a class
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return func(*_read(args), **_read(kwargs or {}))


def _read(arguments: Any) -> Any:  # noqa: ANN401
    return tree_map_only(Rows, Rows.whole, arguments)


def joined(parts: Sequence[Part]) -> Tensor:
    """The rows of the parts, as they are where they lie in one place and need no check."""
    return parts[0].rows if len(parts) == 1 and parts[0].check is None else Rows(parts)
