"""A set of images as levels 0..n-1, numbered, named in messages, and with a digest."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Int, Int64, Integer
from numpy.typing import NDArray
from torch import Tensor

from nelbo import arguments
from nelbo.data.examples import Examples, tensor_of
from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = ["Images", "reason", "shown"]

MOST_LEVELS = 2**31  # what int32 storage can count
BLOCK = 1024  # images that are read at a time


def shown(path: str | os.PathLike[str]) -> str:
    """The path as one printable line, whatever bytes its name has."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def reason(error: Exception) -> str:
    """A foreign error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


# eq=False: two sets are the same data when their sha256 are; tensors have no boolean ==.
@final
@dataclass(frozen=True, eq=False, repr=False)
class Images(Examples):
    """N images of C x H x W pixels, each one of the levels 0..n-1.

    Any integer dtype is taken; it is stored on the CPU as uint8 where n <= 256, else as int32. A
    tensor that already has this form is shared, not copied: do not write to it.

    Arguments:
        name: what reports call the data.
        split: the part of a larger set that this is, None for all of it.
        levels: the pixels.
        n: how many levels there are, used or not.
        sources: a file name per image, or empty when they came as one array.
        kept: the ids of these images in the set they were taken from; None for 0..N-1.
        labels: the class of each, counted from 0, None where it is not known; stored as int64.
        origin, conditions: as in `Examples`.
        mapped: the levels are pages of a file, read when a row is used; bytes of 256 levels, which
            need no check.

    Raises:
        BadInput: not integers, integers that cannot count to n - 1, bools and n other than 2, not
            4 dimensions, no image, or a value outside 0..n-1; labels that are not one for each
            image, or no classes.
    """

    name: str
    split: str | None
    levels: Integer[Tensor, "N C H W"] = field(repr=False)
    n: int
    sources: tuple[str, ...] = field(default=(), repr=False)
    kept: Int[Tensor, " N"] | None = field(default=None, repr=False)
    labels: Int64[Tensor, " N"] | None = field(default=None, repr=False)
    origin: Mapping[str, Json] = field(default_factory=dict, repr=False)
    conditions: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    mapped: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", arguments.whole("the number of levels", self.n))
        object.__setattr__(self, "levels", tensor_of(self.name, "levels", self.levels))
        if self.kept is not None:
            object.__setattr__(self, "kept", tensor_of(self.name, "ids", self.kept).reshape(-1))
        if not 2 <= self.n <= MOST_LEVELS:
            raise BadInput(f"{self.name}: needs 2 to {MOST_LEVELS} levels; got {self.n}")
        if self.levels.is_floating_point() or self.levels.is_complex():
            raise BadInput(
                f"{self.name}: levels must be integers; got {self.levels.dtype}; "
                "use as_images(data, grid=Grid(n, lo, hi)) to read floats as levels"
            )
        if self.levels.ndim != 4 or self.levels.numel() == 0:
            raise BadInput(
                f"{self.name}: images must be (N, C, H, W) with at least one pixel; "
                f"got shape {tuple(self.levels.shape)}"
            )
        if len(self.sources) not in (0, len(self)) or len(self.ids) != len(self):
            raise BadInput(
                f"{self.name}: needs one source and one id for each of {len(self)} images; "
                f"got {len(self.sources)} and {len(self.ids)}"
            )
        if not self.mapped or self.levels.dtype != torch.uint8 or self.n != 256:
            self._store()
        self._settle()

    def _store(self) -> None:
        array = self.levels.detach().cpu().numpy()
        self._refuse_outside(array)
        self._refuse_narrow()
        storage = np.uint8 if self.n <= 256 else np.int32
        object.__setattr__(self, "levels", torch.from_numpy(np.ascontiguousarray(array, storage)))
        object.__setattr__(self, "mapped", False)

    def _refuse_narrow(self) -> None:
        dtype, bools = self.levels.dtype, self.levels.dtype == torch.bool
        held = 2 if bools else torch.iinfo(dtype).max + 1
        if held < self.n or (bools and self.n != 2):
            name = str(dtype).removeprefix("torch.")
            raise BadInput(
                f"{self.name}: {name} values are at most {held} levels; {self.n} were declared: "
                f"their scale is another; declare {held} (--levels {held}), or store the levels "
                "as wider integers"
            )

    def _refuse_outside(self, array: NDArray[np.generic]) -> None:
        if int(array.min()) >= 0 and int(array.max()) < self.n:
            return
        first = np.unravel_index(
            int(np.argmax(np.less(array, 0) | np.greater_equal(array, self.n))), array.shape
        )
        image, *pixel = (int(i) for i in first)
        raise BadInput(
            f"{self.source(image)}: value {int(array[first])} at (channel, row, column) "
            f"{tuple(pixel)} is not a level 0..{self.n - 1}; declare the number of levels that "
            f"the data have, or store levels counted from 0"
        )

    @property
    def values(self) -> Integer[Tensor, "N C H W"]:
        return self.levels

    @cached_property
    def sha256(self) -> str:
        """Hex digest of shape, n and pixels; names, ids, split and labels do not enter."""
        array = self.levels
        digest = hashlib.sha256(f"nelbo.images/1 {tuple(array.shape)} {self.n}\n".encode())
        for start in range(0, len(array), BLOCK):
            block = array[start : start + BLOCK].numpy()
            digest.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def _taken(self, where: Tensor, sources: tuple[str, ...]) -> "Images":
        return replace(
            self,
            levels=self.levels[where],
            sources=sources,
            kept=self.ids[where],
            origin={**self.origin, "taken_of": len(self)} if self.mapped else self.origin,
            mapped=False,
            **self._conditions_at(where),
        )
