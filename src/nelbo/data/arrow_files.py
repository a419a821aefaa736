"""Arrow files as their record batches where they lie on the disk, and which column has the images.

pyarrow's own mapping asks the system to read all that it hands out; a numpy map does not.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from nelbo.data.images import reason, shown
from nelbo.errors import BadInput, closest
from nelbo.files import require_plain

__all__ = [
    "ENDING",
    "Batch",
    "File",
    "guarded",
    "has_pictures",
    "image_column",
    "label_column",
    "opened",
    "pyarrow",
]

ENDING = ".arrow"
IMAGES = ("images", "image", "img", "imgs", "pixels", "pixel_values", "x")
LABELS = ("labels", "label")
MAGIC = b"ARROW1"  # of the file format; a stream begins with its schema
END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream


@final
class Batch(NamedTuple):
    """Some rows of a file, and the position of the first among all rows of the file."""

    columns: Any  # pyarrow.RecordBatch
    start: int


@final
class File(NamedTuple):
    """An Arrow file: its schema, its batches that have rows, and the bytes that they lie in."""

    path: Path
    schema: Any  # pyarrow.Schema
    batches: list[Batch]
    body: Any  # pyarrow.Buffer

    def column(self, batch: Batch, name: str) -> Any:  # noqa: ANN401
        """A column of the batch, all of whose buffers lie in the file.

        Raises:
            BadInput: the batch is compressed, or of a machine with another order of bytes.
        """
        array = batch.columns.column(name)
        array.validate()
        first, last = self.body.address, self.body.address + self.body.size
        for buffer in array.buffers():
            if buffer is None or buffer.size == 0:
                continue
            if not first <= buffer.address <= buffer.address + buffer.size <= last:
                raise BadInput(
                    f"{shown(self.path)}: is compressed, or of another order of bytes, and cannot "
                    "stay on the disk; write it uncompressed (pyarrow.feather.write_feather(table, "
                    "path, compression='uncompressed'))"
                )
        return array


def pyarrow(path: Path) -> ModuleType:
    """The module that reads the file.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise BadInput(
            f"{shown(path)}: a .arrow file needs pyarrow: pip install 'nelbo[parquet]'"
        ) from None


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """What reads the file may raise anything: it is one line.

    Raises:
        BadInput: something was raised.
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # pyarrow's have no common base
        raise BadInput(
            f"{shown(path)}: cannot be read as an Arrow file ({reason(error)}); write it with "
            "pyarrow, or save_to_disk of datasets"
        ) from error


def opened(path: Path) -> File:
    """The batches of an Arrow file, in the file format or the stream format, with nothing read.

    Raises:
        BadInput: damaged, cut, or no pyarrow to read it with.
    """
    arrow = pyarrow(path)
    importlib.import_module("pyarrow.ipc")
    with guarded(path):
        require_plain(path)
        content = np.memmap(path, np.uint8, "r")
        body = arrow.py_buffer(content)
        source = arrow.BufferReader(body)
        if content[: len(MAGIC)].tobytes() == MAGIC:
            reader = arrow.ipc.open_file(source)
            read = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        else:
            reader = arrow.ipc.open_stream(source)
            read = list(reader)
            _require_end(content, source.tell())
        schema = reader.schema
    starts = np.cumsum([0, *(len(batch) for batch in read)]).tolist()
    batches = [Batch(batch, start) for batch, start in zip(read, starts, strict=False) if batch]
    return File(path, schema, batches, body)


def _require_end(content: NDArray[np.uint8], place: int) -> None:
    """Refuses a stream that was cut between two batches, or that has more behind its end.

    Raises:
        ValueError: it is one.
    """
    if content[place - len(END) : place].tobytes() != END:
        raise ValueError("its end is missing, so it was cut")
    if place != len(content):
        raise ValueError(f"{len(content) - place:,} bytes follow its end")


def _storage(kind: Any) -> Any:  # noqa: ANN401
    """A type as it is stored: of an extension, such as Array3D of datasets, what it extends."""
    return getattr(kind, "storage_type", kind)


def _has_numbers(arrow: ModuleType, kind: Any) -> bool:  # noqa: ANN401
    """Whether a type is of lists, or lists of lists, of numbers."""
    kind, depth, is_ = _storage(kind), 0, arrow.types
    while is_.is_fixed_size_list(kind) or is_.is_list(kind) or is_.is_large_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth > 0 and (is_.is_integer(kind) or is_.is_floating(kind) or is_.is_boolean(kind))


def has_pictures(file: File, name: str) -> bool:
    """Whether a column is of bytes, or of structs with bytes, as Image of datasets is."""
    arrow, kind = pyarrow(file.path), _storage(file.schema.field(name).type)
    if arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))


def image_column(file: File, column: str | None) -> str:
    """The column with the images: the one that is named, or the only one there can be.

    Raises:
        BadInput: none, or several.
    """
    arrow, schema, where = pyarrow(file.path), file.schema, shown(file.path)
    can_be = [
        name
        for name in schema.names
        if schema.names.count(name) == 1
        and (_has_numbers(arrow, schema.field(name).type) or has_pictures(file, name))
    ]
    usual = [name for name in IMAGES if name in can_be]
    if column is not None:
        name = _named(file, column, "column")
        if name not in can_be:
            raise BadInput(
                f"{where}: column {shown(name)} is {shown(str(schema.field(name).type))}; images "
                "are lists of numbers, or the bytes of pictures"
            )
    elif not can_be:
        raise BadInput(
            f"{where}: has no column of images, which are lists of numbers or the bytes of "
            f"pictures; its columns: {_listed(schema.names)}"
        )
    elif len(can_be) > 1 and len(usual) != 1:
        raise BadInput(
            f"{where}: several columns can be the images: {_listed(can_be)}; say which, as "
            f"{where},column={shown(can_be[0])}"
        )
    else:
        name = can_be[0] if len(can_be) == 1 else usual[0]
    return _named(file, name, "column")


def label_column(file: File, column: str | None) -> str | None:
    """The column with the labels: the one that is named, or label or labels; None for none.

    Raises:
        BadInput: both are there, or not the one that is named.
    """
    if column is not None:
        return _named(file, column, "labels")
    usual = [name for name in LABELS if name in file.schema.names]
    if len(usual) > 1:
        raise BadInput(
            f"{shown(file.path)}: has columns labels and label; say which, as "
            f"{shown(file.path)},labels=labels"
        )
    return _named(file, usual[0], "labels") if usual else None


def _named(file: File, name: str, option: str) -> str:
    """The name of one column there is."""
    count, where = file.schema.names.count(name), shown(file.path)
    if count > 1:
        raise BadInput(f"{where}: has {count} columns named {shown(name)}; give each its own name")
    if count == 0:
        near = closest(name, file.schema.names)
        hint = f"did you mean {shown(near)}?" if near else f"there are {_listed(file.schema.names)}"
        raise BadInput(f"{where}: {option}={shown(name)} is none of its columns: {hint}")
    return name


def _listed(names: list[str]) -> str:
    return shown(", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "none"
