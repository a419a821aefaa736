"""One file per model: a safetensors file that knows its own SHA-256.

The header's metadata holds a JSON description and the digest of the whole file, taken with the
digest's own 64 characters set to 0. Any other safetensors reader opens the file too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import psutil
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from nelbo import files
from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = ["FORMAT", "NAME", "Checkpoint", "described", "load", "save"]

FORMAT = "nelbo.checkpoint/1"
NAME = "model.safetensors"  # in a run folder
BLANK = "0" * 64
LONGEST = 100_000_000  # bytes of a head, as safetensors has it
DIGEST = re.compile(rb'\\"file_sha256\\":\\"([0-9a-f]{64})\\"')  # JSON inside a JSON string


@final
@dataclass(frozen=True)
class Checkpoint:
    """Named tensors and the JSON object that says what they are."""

    tensors: Mapping[str, Tensor]
    description: Mapping[str, Json]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors named `prefix.*`, by the rest of their names."""
        start = f"{prefix}."
        named = self.tensors.items()
        return {name.removeprefix(start): x for name, x in named if name.startswith(start)}


def save(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Writes the checkpoint whole or not at all; equal checkpoints make equal bytes."""
    tensors = {name: x.detach().cpu().contiguous() for name, x in checkpoint.tensors.items()}
    about = {"format": FORMAT, "description": checkpoint.description, "file_sha256": BLANK}
    # One entry: safetensors writes several in no fixed order.
    metadata = {"nelbo": json.dumps(about, sort_keys=True, separators=(",", ":"))}
    blank = serialise(tensors, metadata)
    digest = hashlib.sha256(blank).hexdigest()
    start = DIGEST.search(blank).start(1)  # type: ignore[union-attr]
    return files.write(path, blank[:start] + digest.encode() + blank[start + len(BLANK) :])


def load(path: str | Path) -> Checkpoint:
    """Reads a checkpoint and holds every byte of it against its digest.

    Raises:
        BadInput: the file is missing, is no checkpoint of ours, is of a newer format, or is not
            byte for byte what was saved.
    """
    path = Path(path)
    try:
        _require_room(path)
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the checkpoint {path}: {error.strerror}") from None
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    digests = DIGEST.findall(header)
    if len(digests) != 1:
        raise BadInput(f"{path} is damaged or no nelbo checkpoint: it holds no digest of itself")
    start = 8 + header.index(digests[0])
    blank = content[:start] + BLANK.encode() + content[start + len(BLANK) :]
    if hashlib.sha256(blank).hexdigest().encode() != digests[0]:
        raise BadInput(
            f"{path} is damaged: its SHA-256 is not the one it was saved with; restore a copy"
        )
    description = _description(path, header)
    try:
        return Checkpoint(parse(content), description)
    except SafetensorError as error:
        raise BadInput(f"{path} is damaged or no nelbo checkpoint: {error}") from None


def described(path: str | Path) -> Mapping[str, Json]:
    """What a checkpoint says that it is, from its head alone; its digest is not looked at.

    Raises:
        BadInput: it cannot be read, or its head is none.
    """
    path = Path(path)
    try:
        _require_room(path)
        with path.open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
    except OSError as error:
        raise BadInput(f"cannot read the checkpoint {path}: {error.strerror}") from None
    return _description(path, header)


def _require_room(path: Path) -> None:
    """Refuses, before it is read, a file that is not as long as its head says, or too long.

    Raises:
        BadInput: it is no plain file, damaged, or larger than the memory that is free.
        OSError: it cannot be looked at.
    """
    size = files.require_plain(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(size - 8, LONGEST):
            raise BadInput(
                f"{path} is damaged or no nelbo checkpoint: it holds no digest of itself"
            )
        header = file.read(length)
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name[:2] != "__"]
        whole = size == 8 + length + max(ends, default=0)
    except (RecursionError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        whole = False
    if not whole:
        raise BadInput(
            f"{path} is damaged: it is not as long as its head says, or has none; restore a copy"
        )
    if 2 * size > psutil.virtual_memory().available:
        raise BadInput(f"{path} takes {2 * size:,} bytes to read, more than is free of the memory")


def _description(path: Path, header: bytes) -> Mapping[str, Json]:
    """The JSON object in a header.

    Raises:
        BadInput: there is none, or it is of a newer format.
    """
    try:
        about = json.loads(json.loads(header)["__metadata__"]["nelbo"])
        kind, content = str(about["format"]), about["description"]
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except (RecursionError, ValueError, TypeError, KeyError):
        raise BadInput(
            f"{path} is damaged or no nelbo checkpoint: its head says not what it is"
        ) from None
    if kind != FORMAT:
        raise BadInput(f"{path} has format {kind}, this nelbo reads {FORMAT}: update it")
    if not isinstance(content, dict):
        raise BadInput(f"{path} is damaged or no nelbo checkpoint: its head says not what it is")
    return content
