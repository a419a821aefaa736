"""What came back from the network so far, on disk, so that a killed evaluation goes on.

A folder holds plan.json, what is evaluated and how, and files of entries, one for each batch. A
process starts a file of its own and only ever appends to it; an entry carries its length and
checksum, so that one which was cut short by a kill is seen and evaluated again.
"""

import fcntl
import json
import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import IO, final

import psutil
import safetensors.torch
from torch import Tensor

from nelbo import files
from nelbo.errors import BadInput
from nelbo.estimation.processes import Processes
from nelbo.typed_json import Json, once

__all__ = ["Record"]

PLAN = "plan.json"
MOST = 2**26  # bytes of it
HEAD = struct.Struct("<4sIIQI")  # magic, stage, batch, length and checksum of the content
CHECK = struct.Struct("<I")  # of the head, so that a length is believed before it is used
MAGIC = b"nlbo"
NAMED = re.compile(r"values-[0-9]{5,9}-[0-9]{1,9}\.bin")

Entry = tuple[Tensor, ...]


@final
class Record:
    """The entries of an evaluation in a folder, by (stage, batch)."""

    def __init__(
        self, entries: dict[tuple[int, int], Entry], file: FileIO, opened: ExitStack
    ) -> None:
        self._entries = entries
        self._file = file
        self._opened = opened  # the file and, in the first process, the lock

    @classmethod
    def open(cls, folder: str | Path, plan: Mapping[str, Json], processes: Processes) -> "Record":
        """Begins a record, or goes on with one of the same plan.

        Raises:
            BadInput: the folder holds something else, another plan, or a damaged entry, or
                another evaluation is writing to it.
        """
        folder = Path(folder)
        with ExitStack() as opened:

            def begin() -> tuple[int, list[tuple[int, int]]]:
                opened.enter_context(_locked(folder, plan))
                number = 1 + max(map(_start, _files(folder)), default=0)
                return number, sorted(_entries(folder, number))

            # a process that outlived a kill may still be writing: the first decides what counts
            number, known = processes.once(begin)
            entries = _entries(folder, number)
            if not set(known) <= set(entries):
                raise BadInput(
                    f"rank {processes.rank} does not see all of {folder}: share its disk"
                )
            name = f"values-{number:05d}-{processes.rank}.bin"
            file = opened.enter_context(open(folder / name, "xb", buffering=0))
            return cls({key: entries[key] for key in known}, file, opened.pop_all())

    def close(self) -> None:
        """Ends the writing; another evaluation may go on from here."""
        self._opened.close()

    def get(self, stage: int, batch: int) -> Entry | None:
        """What an earlier start kept of this batch."""
        return self._entries.get((stage, batch))

    def put(self, stage: int, batch: int, entry: Sequence[Tensor]) -> None:
        """Appends a batch, handing it to the operating system before it returns."""
        content = safetensors.torch.save({str(i): x.contiguous() for i, x in enumerate(entry)})
        head = HEAD.pack(MAGIC, stage, batch, len(content), zlib.crc32(content))
        with files.naming(self._file.name, len(content)):
            rest = memoryview(head + CHECK.pack(zlib.crc32(head)) + content)
            while rest:
                rest = rest[self._file.write(rest) :]


def _locked(folder: Path, plan: Mapping[str, Json]) -> IO[bytes]:
    """The plan, which one evaluation at a time may hold open; made by whoever is the first.

    It is written under its own lock, so that nobody replaces what another holds.
    """
    if not folder.exists():
        files.new_folder(folder)
    if folder.is_dir() and all(path.name.startswith(f".{PLAN}.") for path in folder.iterdir()):
        (folder / PLAN).touch()  # empty, or a kill came before the plan
    if not (folder / PLAN).is_file():
        raise BadInput(f"{folder} is no record of an evaluation: it has no {PLAN}; choose another")
    lock = open(folder / PLAN, "r+b")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _agree(folder, plan, lock)
    except BlockingIOError:
        lock.close()
        raise BadInput(
            f"another evaluation is writing to {folder}: wait, or choose another"
        ) from None
    except BaseException:
        lock.close()
        raise
    return lock


def _agree(folder: Path, plan: Mapping[str, Json], lock: IO[bytes]) -> None:
    """Writes the plan, where a kill left none or a part of it, or holds it against ours."""
    text = json.dumps(plan, indent=1).encode()
    held = lock.read(MOST)
    if held != text and text.startswith(held):
        with files.naming(folder / PLAN, len(text)):
            lock.seek(0)
            lock.write(text)
            lock.flush()
            os.fsync(lock.fileno())
        return
    try:
        stored = dict(json.loads(held, object_pairs_hook=once))
    except (RecursionError, TypeError, ValueError):
        raise BadInput(f"{folder / PLAN} is damaged: choose another folder") from None
    wanted = json.loads(text)
    for key in dict.fromkeys([*wanted, *stored]):
        if stored.get(key) != wanted.get(key):
            raise BadInput(
                f"{folder} is the record of another evaluation: its {key} is {stored.get(key)}, "
                f"this one's is {wanted.get(key)}; choose another folder"
            )


def _files(folder: Path) -> list[Path]:
    """Those of starts; a copy under another name is the user's."""
    return sorted(path for path in folder.iterdir() if NAMED.fullmatch(path.name))


def _start(path: Path) -> int:
    """The number of the start that wrote the file."""
    return int(path.name.split("-")[1])


def _entries(folder: Path, number: int) -> dict[tuple[int, int], Entry]:
    """What starts before this one kept."""
    entries = {}
    for path in _files(folder):
        if _start(path) < number:
            entries.update(_read(path))
    return entries


def _read(path: Path) -> dict[tuple[int, int], Entry]:
    """The whole entries of a file; one cut short at its end is left out."""
    size = files.require_plain(path)
    if size > psutil.virtual_memory().available:
        raise BadInput(f"{path} takes {size:,} bytes to read, more than is free of the memory")
    content, place, entries = path.read_bytes(), 0, {}
    size = HEAD.size + CHECK.size
    while place + size <= len(content):
        head = content[place : place + HEAD.size]
        magic, stage, batch, length, check = HEAD.unpack(head)
        whole = CHECK.unpack_from(content, place + HEAD.size) == (zlib.crc32(head),)
        payload = content[place + size : place + size + length] if whole else b""
        if whole and len(payload) < length:
            break
        if not whole or magic != MAGIC or zlib.crc32(payload) != check:
            raise BadInput(
                f"{path} is damaged at byte {place}: remove the file, and its batches are "
                "evaluated again"
            )
        tensors = safetensors.torch.load(payload)
        entries[stage, batch] = tuple(tensors[str(i)] for i in range(len(tensors)))
        place += size + length
    return entries
