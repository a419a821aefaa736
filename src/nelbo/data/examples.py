"""What a bound is measured on: numbered examples, named in messages, and with a digest."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import torch
from jaxtyping import Int, Int64
from torch import Tensor

from nelbo.errors import BadInput

__all__ = ["Examples"]


class Examples(ABC):
    """N examples of one shape; each keeps the id that it has in the set that it was taken from.

    `sources` has a file name per example, or is empty when they came as one array; `kept` is None
    where the ids are 0..N-1; `labels` are their classes, None where those are not known or were not
    asked for. `origin` is what a result says of where they are from, as JSON: `decoded`, the lossy
    format and the libraries whose pixels they are; `trained_on`, where a model was.
    """

    name: str
    split: str | None
    sources: tuple[str, ...]
    kept: Int[Tensor, " N"] | None
    labels: Int64[Tensor, " N"] | None = None
    origin: Mapping[str, Any] = MappingProxyType({})

    @property
    @abstractmethod
    def values(self) -> Tensor:
        """The examples themselves (N, *dims), on the CPU."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Hex digest of what they are, whatever they are called."""

    @abstractmethod
    def _taken(self, where: Tensor, sources: tuple[str, ...]) -> Self:
        """The examples at these positions."""

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def ids(self) -> Int[Tensor, " N"]:
        """The number of each example in the full set; noise is a function of it."""
        return torch.arange(len(self)) if self.kept is None else self.kept

    @property
    def labels_sha256(self) -> str | None:
        """Hex digest of the labels, in the order of the examples."""
        if self.labels is None:
            return None
        array = self.labels.numpy()
        digest = hashlib.sha256(f"nelbo.labels/1 {array.shape}\n".encode())
        digest.update(array.astype("<i8", copy=False).data)
        return digest.hexdigest()

    @property
    def dims(self) -> int:
        """The dimensions of one example, C H W of an image, that a unit per dim divides by."""
        return int(self.values[0].numel())

    def source(self, i: int) -> str:
        """What a message calls the example at position i of this set."""
        if self.sources:
            return f"{self.name}/{self.sources[i]}"
        return f"{self.name}, image {int(self.ids[i])}"

    def first(self, k: int) -> Self:
        """The first k examples, ids kept.

        Raises:
            BadInput: k < 1, or there are not so many.
        """
        if not 1 <= k <= len(self):
            raise BadInput(f"{self.name}: has {len(self)} images; asked for the first {k}")
        return self.subset(torch.arange(k))

    def subset(self, index: Sequence[int] | Tensor) -> Self:
        """The examples at these positions, in this order, ids kept.

        Raises:
            BadInput: a position is not an integer 0..N-1, or occurs twice.
        """
        where = torch.as_tensor(index)
        whole = where.ndim == 1 and where.numel() > 0 and where.dtype in (torch.int64, torch.int32)
        if not whole or int(where.min()) < 0 or int(where.max()) >= len(self):
            raise BadInput(f"{self.name}: a subset needs integer positions 0..{len(self) - 1}")
        if len(set(where.tolist())) != len(where):
            raise BadInput(f"{self.name}: a subset takes each image once")
        sources = tuple(self.sources[i] for i in where.tolist()) if self.sources else ()
        return self._taken(where, sources)
