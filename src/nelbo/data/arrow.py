"""A column of Arrow files as images or points: numbers stay where they lie, pictures are decoded.

The numbers are lists of fixed size, lists in which every row has the same sizes, or tensors; their
shape, levels and grid are those of the same numbers as a .npy array.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from nelbo.data.arrays import as_images, mapped, stays
from nelbo.data.arrow_files import (
    Batch,
    File,
    guarded,
    has_pictures,
    image_column,
    label_column,
    opened,
    pyarrow,
)
from nelbo.data.images import Images, shown
from nelbo.data.points import Points
from nelbo.errors import BadInput
from nelbo.types import Grid

__all__ = ["Table", "read"]

Array: TypeAlias = NDArray[Any]
Check: TypeAlias = Callable[[NDArray[np.int64]], None]


@final
class Block(NamedTuple):
    """The rows of a batch as an array of their shape; check refuses rows of other sizes."""

    rows: Array
    check: Check | None

    def checked(self) -> Array:
        """All rows."""
        if self.check is not None:
            self.check(np.arange(len(self.rows)))
        return self.rows


@final
class Table(NamedTuple):
    """A column of images in one or more Arrow files, and their labels where they are asked for."""

    where: str
    files: tuple[File, ...]
    column: str
    blocks: tuple[Block, ...]  # none where the column has pictures
    labels: Tensor | None

    def images(self, name: str, split: str | None, n: int | None, grid: Grid | None) -> Images:
        """The rows as images; bytes of 256 levels stay on the disk where they are many.

        Raises:
            BadInput: what `as_images` or a folder of pictures refuses.
        """
        if not self.blocks:
            return self._decoded(name, split, n or 256)
        kind, size = self.blocks[0].rows.dtype, sum(block.rows.nbytes for block in self.blocks)
        if stays(kind, size, n):
            return mapped(name, split, self.where, self.blocks, self.labels)
        images = as_images(self._whole(), n=n, grid=grid, name=self.where)
        return Images(name, split, images.levels, images.n, labels=self.labels)

    @property
    def is_real(self) -> bool:
        """Whether the numbers are floats."""
        return bool(self.blocks) and self.blocks[0].rows.dtype.kind == "f"

    def points(self, name: str, split: str | None) -> Points:
        """The rows as real numbers.

        Raises:
            BadInput: what `Points` refuses.
        """
        return Points(name, split, torch.from_numpy(self._whole()))

    def _whole(self) -> Array:
        size = sum(block.rows.nbytes for block in self.blocks)
        if size > psutil.virtual_memory().available:
            raise BadInput(
                f"{self.where}: takes {size:,} bytes to read, more than is free of the memory; "
                "only bytes of 256 levels (uint8) stay on the disk"
            )
        return np.concatenate([block.checked() for block in self.blocks])

    def _decoded(self, name: str, split: str | None, n: int) -> Images:
        from nelbo.data.pictures import decoded  # here, so that numbers cost no Pillow

        count = sum(len(batch.columns) for file in self.files for batch in file.batches)
        array, how = decoded(_pictures(self.files, self.column), count, n, self.where)
        origin = {} if how is None else {"decoded": how}
        levels = torch.from_numpy(array)
        return Images(name, split, levels, n, labels=self.labels, origin=origin)


def read(
    paths: Sequence[Path],
    where: str,
    *,
    column: str | None = None,
    labels: bool = False,
    label: str | None = None,
) -> Table:
    """The rows of these files, one after the other; where: what messages call them.

    column, label: the names of the columns, where they have to be said; labels: read them too.

    Raises:
        BadInput: damaged files, files of other columns or no rows, rows with nulls or of several
            shapes, a column that is not there, or one of several that is not named.
    """
    files = tuple(opened(path) for path in paths)
    with guarded(paths[0]):  # also the names of columns may be damaged
        name = image_column(files[0], column)
        classes = label_column(files[0], label) if labels or label is not None else None
    for file in files:
        with guarded(file.path):
            _require_same(files[0], file, [each for each in (name, classes) if each is not None])
    if not any(file.batches for file in files):
        raise BadInput(f"{where}: holds no rows; give a file with images")
    blocks: list[Block] = []
    if not has_pictures(files[0], name):
        for file in files:
            with guarded(file.path):
                blocks += [_block(file, batch, name) for batch in file.batches]
        _require_one_shape(where, blocks)
    numbers = _labels(files, classes) if labels and classes is not None else None
    return Table(where, files, name, tuple(blocks), numbers)


def _require_same(first: File, file: File, names: list[str]) -> None:
    for name in names:
        at = file.schema.get_all_field_indices(name)
        kinds = [str(each.schema.field(name).type) for each in (first, file) if at]
        if len(at) != 1 or kinds[0] != kinds[1]:
            raise BadInput(
                f"{shown(file.path)}: column {shown(name)} is {shown(kinds[1]) if at else 'none'}, "
                f"and another in {shown(first.path)}; give files of one set"
            )


def _block(file: File, batch: Batch, name: str) -> Block:
    """The rows of a batch where they lie.

    Raises:
        BadInput: nulls, lists of several sizes, or sizes that contradict each other.
    """
    arrow, column = pyarrow(file.path), file.column(batch, name)
    lists = _Lists(file, batch, name)
    array, sizes, checks = getattr(column, "storage", column), list[int](), list[Check]()
    _require_no_nulls(file, batch, array, name)
    while not arrow.types.is_primitive(array.type):
        per_row = math.prod(sizes)
        array, size, check = lists.inside(array, len(column) * per_row, per_row)
        sizes.append(size)
        checks += [] if check is None else [check]
        _require_no_nulls(file, batch, array, name)
    numbers = array.to_numpy(zero_copy_only=not arrow.types.is_boolean(array.type))
    if isinstance(column.type, arrow.FixedShapeTensorType):
        _require_plain_axes(file, name, column.type)
        return Block(numbers.reshape(len(column), *column.type.shape), None)

    def of_each_level(where: NDArray[np.int64]) -> None:
        for check in checks:
            check(where)

    return Block(numbers.reshape(len(column), *sizes), of_each_level if checks else None)


def _require_plain_axes(file: File, name: str, kind: Any) -> None:  # noqa: ANN401
    """Refuses a tensor whose axes lie in another order: pyarrow's own reading of some fails.

    Raises:
        BadInput: it is one.
    """
    axes = kind.permutation
    if axes is not None and list(axes) != sorted(axes):
        raise BadInput(
            f"{shown(file.path)}: column {shown(name)} has tensors whose axes are permuted, {axes}"
            "; store them in the order that is meant"
        )


@final
class _Lists(NamedTuple):
    """The lists of a column in a batch."""

    file: File
    batch: Batch
    name: str

    def inside(self, array: Any, count: int, per_row: int) -> tuple[Any, int, Check | None]:  # noqa: ANN401
        """What so many lists hold, one after the other, the size of each, and a check of rows."""
        if pyarrow(self.file.path).types.is_fixed_size_list(array.type):
            size = array.type.list_size
            return array.values.slice(array.offset * size, count * size), size, None
        offsets = array.offsets.to_numpy()
        start, size = int(offsets[0]), int(offsets[1] - offsets[0]) if count else 0

        def check(where: NDArray[np.int64]) -> None:
            lists = where[:, None] * per_row + np.arange(per_row + 1)
            wrong = (offsets[lists] != start + lists * size).any(1)
            if wrong.any():
                self.refuse(int(where[int(wrong.argmax())]))

        if int(offsets[count]) != start + count * size:
            check(np.arange(count // per_row))
        return array.values.slice(start, count * size), size, check

    def refuse(self, row: int) -> None:
        """Raises BadInput: the row's lists are not of the size of the first's."""
        raise BadInput(
            f"{shown(self.file.path)}, row {self.batch.start + row}: column {shown(self.name)} has "
            "lists of other sizes than its first row; all images must have one shape; keep those "
            "of one"
        )


def _require_no_nulls(file: File, batch: Batch, array: Any, name: str) -> None:  # noqa: ANN401
    if array.null_count:
        raise BadInput(
            f"{shown(file.path)}, rows {batch.start} to {batch.start + len(batch.columns) - 1}: "
            f"column {shown(name)} has {array.null_count} nulls; an image or a label is there for "
            "each row; leave the others out"
        )


def _require_one_shape(where: str, blocks: list[Block]) -> None:
    shapes = sorted({block.rows.shape[1:] for block in blocks})
    if len(shapes) > 1:
        raise BadInput(
            f"{where}: has rows of shape {shapes[0]} and of {shapes[1]}; all images must have one "
            "shape; keep those of one"
        )


def _labels(files: Sequence[File], name: str) -> Tensor:
    """The classes of all rows.

    Raises:
        BadInput: nulls, or no integers.
    """
    parts = []
    for file in files:
        kind = file.schema.field(name).type
        if not pyarrow(file.path).types.is_integer(kind):
            raise BadInput(
                f"{shown(file.path)}: its labels are {kind}; a class is an integer from 0"
            )
        with guarded(file.path):
            for batch in file.batches:
                array = file.column(batch, name)
                _require_no_nulls(file, batch, array, name)
                parts.append(array.to_numpy().astype(np.int64))
    return torch.from_numpy(np.concatenate(parts))


def _pictures(files: Sequence[File], name: str) -> Iterator[tuple[str, bytes]]:
    """The bytes of each row's picture, and what messages call it.

    Raises:
        BadInput: nulls: a row with a path alone, or none.
    """
    for file in files:
        for batch in file.batches:
            with guarded(file.path):
                array = file.column(batch, name)
                array = getattr(array, "storage", array)
                _require_no_nulls(file, batch, array, name)
                if pyarrow(file.path).types.is_struct(array.type):
                    array = array.field("bytes")
                    _require_no_nulls(file, batch, array, name)
                array.validate(full=True)
            for row, value in enumerate(array):
                yield f"{shown(file.path)}, row {batch.start + row}", value.as_py()
