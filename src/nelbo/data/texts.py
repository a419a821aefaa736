"""Documents as the bytes that they are: of text files, folders of them, JSON lines and Parquet."""

import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import final

from nelbo.data.images import reason, shown
from nelbo.errors import BadInput, printable
from nelbo.files import MiB, read

__all__ = ["Document", "documents_at"]

LARGEST = 4096 * MiB  # of a file
FIELD, SPLIT = "text", "split"


@final
@dataclass(frozen=True)
class Document:
    """A text of its own, its name in messages, and the split that its line says, if any."""

    content: bytes
    source: str
    split: str | None = None


def documents_at(path: Path, split: str | None) -> list[Document]:
    """What a file or a folder holds, in the order of names and lines; nothing is left out.

    A .jsonl file holds a document a line, {"text": ..., "split": ...}, a .parquet file one a row of
    its column text; any other file is a document, byte for byte. split: of a folder the folder or
    file of that name; of lines those that say so.

    Raises:
        BadInput: nothing there, no text in it, no such split, or a line or row of another kind.
    """
    if not os.path.exists(path):
        raise BadInput(f"{shown(path)}: no such file or folder of text")
    if path.is_dir():
        documents = [one for each in _files(path, split) for one in _of_file(each, path)]
    else:
        documents = list(_of_file(path, path.parent))
        if split is not None:
            there = sorted({one.split for one in documents if one.split is not None})
            documents = [one for one in documents if one.split == split]
            if not documents:
                known = f"it has {', '.join(map(printable, there))}" if there else "leave it out"
                raise BadInput(f"{shown(path)}: has no split {printable(split)}; {known}")
    if not any(one.content for one in documents):
        raise BadInput(f"{shown(path)}: holds no text")
    return documents


def _files(folder: Path, split: str | None) -> list[Path]:
    inside = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    if split is not None:
        named = [one for one in inside if split in (one.name, one.stem)]
        if len(named) != 1:
            count = "none" if not named else "more than one"
            raise BadInput(
                f"{shown(folder)}: holds {count} named {printable(split)}: a folder or a file"
            )
        inside = named
    files = []
    for one in inside:
        files += _files(one, None) if one.is_dir() else [one]
    return files


def _of_file(path: Path, root: Path) -> Iterator[Document]:
    content, name = read(path, LARGEST, "text"), shown(path.relative_to(root).as_posix())
    if path.suffix == ".jsonl":
        yield from _lines(content, name)
    elif path.suffix == ".parquet":
        yield from _rows(content, name)
    else:
        yield Document(content, name)


def _lines(content: bytes, name: str) -> Iterator[Document]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            where = f"{name}, line {number}"
            try:
                tree = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{where}: is no JSON ({reason(error)})") from None
            yield _document(tree, where)


def _rows(content: bytes, name: str) -> Iterator[Document]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise BadInput(
            f"{name}: a .parquet file needs pyarrow: pip install 'nelbo[parquet]'"
        ) from None
    try:
        rows: list[object] = parquet.read_table(BytesIO(content)).to_pylist()
    except Exception as error:  # pyarrow's have no common base
        raise BadInput(f"{name}: is no Parquet file ({reason(error):.200})") from error
    for number, row in enumerate(rows):
        yield _document(row, f"{name}, row {number}")


def _document(tree: object, where: str) -> Document:
    """Of an object with a text, and perhaps the name of its split.

    Raises:
        BadInput: another, or characters that are none (half of a surrogate pair).
    """
    text = tree.get(FIELD) if isinstance(tree, dict) else None
    split = tree.get(SPLIT) if isinstance(tree, dict) else None
    if not isinstance(text, str) or not isinstance(split, str | None):
        raise BadInput(f'{where}: must have a text under "{FIELD}"')
    try:
        return Document(text.encode(), where, split)
    except UnicodeEncodeError as error:
        raise BadInput(f"{where}: has half a character at {error.start}") from None
