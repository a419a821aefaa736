"""What a bound is measured on: numbered examples, named in messages, and with a digest."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Self, TypedDict, TypeVar

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from nelbo import arguments
from nelbo.errors import BadInput, printable
from nelbo.typed_json import Json

__all__ = ["Examples", "for_each_class", "tensor_of", "with_conditions"]


Kind = TypeVar("Kind", bound="Examples")


class Conditions(TypedDict):
    """What examples may have beside their values."""

    labels: Tensor | None
    conditions: Mapping[str, Tensor]


def tensor_of(name: str, what: str, values: object) -> Tensor:
    """A tensor as it is, an array or a sequence as one.

    Raises:
        BadInput: what is no array of numbers.
    """
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, str | bytes | Mapping | float):
            raise TypeError
        array = np.asarray(values)
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise BadInput(
            f"{name}: {what} must be a tensor, an array or a sequence of numbers; "
            f"got {arguments.shown(values)}"
        ) from None


class Examples(ABC):
    """N examples of one shape; each keeps the id that it has in the set that it was taken from.

    `sources` has a file name per example, or is empty when they came as one array; `kept` is None
    where the ids are 0..N-1; `labels` are their classes, None where those are not known or were not
    asked for; `conditions` are other tensors by name, a row for each example, that a network may be
    given with it. `origin` is what a result says of where they are from, as JSON: `decoded`, the
    lossy format and the libraries whose pixels they are; `trained_on`, where a model was;
    `taken_of`, how many there are in the file of which these, and no others, were read.
    """

    name: str
    split: str | None
    sources: tuple[str, ...]
    kept: Int[Tensor, " N"] | None
    labels: Int64[Tensor, " N"] | None = None
    conditions: Mapping[str, Tensor] = MappingProxyType({})
    origin: Mapping[str, Json] = MappingProxyType({})

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

    def _settle(self) -> None:
        """Labels and conditions as tensors on the CPU, a row for each example.

        Raises:
            BadInput: others, or of another number of examples.
        """
        if self.labels is not None:
            labels = tensor_of(self.name, "labels", self.labels)
            object.__setattr__(self, "labels", self._classes(labels))
        if not isinstance(self.name, str):
            raise BadInput(f"the name of data is a text; got {arguments.shown(self.name)}")
        if not isinstance(self.conditions, Mapping):
            got = arguments.shown(self.conditions)
            raise BadInput(f"{self.name}: conditions are tensors by name; got {got}")
        conditions = {name: self._rows(name, rows) for name, rows in self.conditions.items()}
        object.__setattr__(self, "conditions", conditions)

    def _classes(self, labels: Tensor) -> Int64[Tensor, " N"]:
        whole = not (
            labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool
        )
        if not whole or tuple(labels.shape) != (len(self),) or int(labels.min()) < 0:
            raise BadInput(
                f"{self.name}: labels are one class for each of {len(self)} images, counted from "
                f"0; got {labels.dtype} {tuple(labels.shape)}"
                + (f" from {int(labels.min())}" if whole and labels.numel() else "")
            )
        return labels.detach().to("cpu", torch.int64)

    def _rows(self, name: object, values: object) -> Tensor:
        if not isinstance(name, str) or not name.isidentifier():
            raise BadInput(
                f"{self.name}: a condition has a keyword's name; got {arguments.shown(name)}"
            )
        rows = tensor_of(self.name, name, values).detach().cpu()
        if rows.ndim == 0 or len(rows) != len(self):
            raise BadInput(
                f"{self.name}: {name} needs a row for each of {len(self)} images; got shape "
                f"{tuple(rows.shape)}"
            )
        return rows

    def _conditions_at(self, where: Tensor) -> Conditions:
        """Labels and conditions of the examples at these positions."""
        labels = None if self.labels is None else self.labels[where]
        rows = {name: condition[where] for name, condition in self.conditions.items()}
        return {"labels": labels, "conditions": rows}

    def __repr__(self) -> str:
        whole = self.name if self.split is None else f"{self.name}:{self.split}"
        shape = " x ".join(map(str, self.values.shape[1:]))
        return printable(f"<{type(self).__name__} {whole}: {len(self):,} of {shape}>")

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
    def conditions_sha256(self) -> dict[str, str]:
        """Hex digest of each condition's rows, by name."""
        digests = {}
        for name, rows in self.conditions.items():
            digest = hashlib.sha256(
                f"nelbo.condition/1 {rows.dtype} {tuple(rows.shape)}\n".encode()
            )
            digest.update(rows.contiguous().view(-1).view(torch.uint8).numpy().data)
            digests[name] = digest.hexdigest()
        return digests

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
        k = arguments.whole("the number of images", k)
        if not 1 <= k <= len(self):
            raise BadInput(f"{self.name}: has {len(self)} images; asked for the first {k}")
        return self.subset(torch.arange(k))

    def subset(self, index: Sequence[int] | Tensor) -> Self:
        """The examples at these positions, in this order, ids kept.

        Raises:
            BadInput: a position is not an integer 0..N-1, or occurs twice.
        """
        where = tensor_of(self.name, "positions", index)
        whole = where.ndim == 1 and where.numel() > 0 and where.dtype in (torch.int64, torch.int32)
        if not whole or int(where.min()) < 0 or int(where.max()) >= len(self):
            raise BadInput(f"{self.name}: a subset needs integer positions 0..{len(self) - 1}")
        if len(set(where.tolist())) != len(where):
            raise BadInput(f"{self.name}: a subset takes each image once")
        sources = tuple(self.sources[i] for i in where.tolist()) if self.sources else ()
        return self._taken(where, sources)


def for_each_class(examples: Kind, classes: int) -> Kind:
    """Each example so many times in a row with the labels 0, 1, ..., and its own id, so noise."""
    where = torch.arange(len(examples)).repeat_interleave(classes)
    labels = torch.arange(classes).repeat(len(examples))
    return with_conditions(examples._taken(where, ()), labels, None)


def with_conditions(
    examples: Kind, labels: object, conditions: Mapping[str, object] | None
) -> Kind:
    """The examples with these labels and conditions, where some are given, in place of theirs.

    Raises:
        BadInput: not one for each example.
    """
    given = {"labels": labels, "conditions": conditions}
    given = {name: value for name, value in given.items() if value is not None}
    return replace(examples, **given) if given else examples  # type: ignore[type-var]
