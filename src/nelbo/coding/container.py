"""The bytes of a .nlb file: twelve of a head, then one image's code, or an archive of many.

    0   2  magic, 8D 4E
    2   1  version (high half), and kind (low half): 1 one image, 2 an archive
    3   4  the first bytes of the twin's SHA-256
    7   1  order (two high bits: 0 raster, 1 dispersed), and calls (0 for one call a position)
    8   4  CRC32 of the other bytes: of all of them, in an archive of those before the codes
    12     one image: its code

An archive has, in place of the code: the number of images and the length of the table of names,
each as a varint; for each image the length of its code, a varint, and the code's CRC32; the table,
zlib of a JSON list, or empty; then the codes. A varint has seven bits a byte, the lowest first.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import final

from nelbo.errors import BadInput, printable

__all__ = ["MAGIC", "VERSION", "Archive", "read", "settings", "written"]

MAGIC = b"\x8dN"
VERSION = 1
HEAD = 12  # bytes
CRC = slice(8, HEAD)
ONE, MANY = 1, 2
ORDERS = ("raster", "dispersed")
MOST_CALLS = 63  # that a byte has room for beside the order; more are one for each position
LONGEST = 4096  # bytes of a name in JSON, on average: two of 255 characters have 3,065 at most


@final
@dataclass(frozen=True)
class Archive:
    """What a file holds: coded images, and how they are to be decoded.

    digest: the first four bytes of the twin's. calls: 0 for one call for each position. codes: of
    each image, its length not stored elsewhere. names: relative paths, or none; `checks` are the
    CRC32 that an archive has of each code.
    """

    digest: bytes
    order: str
    calls: int
    codes: Sequence[bytes] = field(repr=False)
    names: tuple[str, ...] = ()
    single: bool = False
    checks: tuple[int, ...] = field(default=(), repr=False)

    def code(self, i: int) -> bytes:
        """The code of image i, as it was written.

        Raises:
            BadInput: it is damaged.
        """
        if self.checks and zlib.crc32(self.codes[i]) != self.checks[i]:
            name = self.names[i] if self.names else f"image {i}"
            raise BadInput(f"the code of {printable(name)} is damaged: restore a copy of the file")
        return self.codes[i]


def written(archive: Archive) -> tuple[bytes, int]:
    """The bytes of the file, and how many of them are the table of names.

    Raises:
        BadInput: an order or a number of calls that the head has no room for.
    """
    kind = ONE if archive.single else MANY
    head = (
        MAGIC
        + bytes([VERSION << 4 | kind])
        + archive.digest
        + bytes([settings(archive.order, archive.calls)])
    )
    if archive.single:
        (code,) = archive.codes
        return head + zlib.crc32(head + code).to_bytes(4, "big") + code, 0
    names = zlib.compress(json.dumps(archive.names).encode(), 9) if archive.names else b""
    index = [_varint(len(archive.codes)), _varint(len(names))]
    for code in archive.codes:
        index += [_varint(len(code)), zlib.crc32(code).to_bytes(4, "big")]
    inside = b"".join(index) + names
    check = zlib.crc32(head + inside).to_bytes(4, "big")
    return head + check + inside + b"".join(archive.codes), len(names)


def read(content: bytes, where: str) -> Archive:
    """What a file holds; `where` is its name in messages.

    Raises:
        BadInput: another kind of file, a newer version, a changed bit, an end that is missing.
    """
    if content[:2] != MAGIC:
        raise BadInput(f"{where} is no file that nelbo compress made")
    if len(content) < HEAD:
        raise _damaged(where)
    version, kind = content[2] >> 4, content[2] & 15
    if version != VERSION:
        raise BadInput(
            f"{where} has version {version} of the format, this nelbo reads {VERSION}: update it"
            if version > VERSION
            else f"{where} is damaged: there is no version {version} of the format"
        )
    order, calls = content[7] >> 6, content[7] & 63
    if order >= len(ORDERS) or kind not in (ONE, MANY):
        raise _damaged(where)
    archive = partial(Archive, digest=content[3:7], order=ORDERS[order], calls=calls)
    if kind == ONE:
        _check(content, len(content), where)
        return archive(codes=[content[HEAD:]], single=True)
    return _archive(content, where, archive)


def _archive(content: bytes, where: str, archive: partial[Archive]) -> Archive:
    reader = _Reader(content, where)
    count, length = reader.varint(), reader.varint()
    if count < 1 or 5 * count > len(content):  # of each image at least a length and a CRC32
        raise _damaged(where)
    entries = [(reader.varint(), int.from_bytes(reader.take(4), "big")) for _ in range(count)]
    table = reader.take(length)
    _check(content, reader.at, where)
    if reader.at + sum(size for size, _ in entries) != len(content):
        raise _damaged(where)
    codes = [reader.take(size) for size, _ in entries]
    names = _names(table, count, where)
    return archive(codes=codes, names=names, checks=tuple(check for _, check in entries))


def _names(table: bytes, count: int, where: str) -> tuple[str, ...]:
    """The names in the table, one for each image; none of an empty one."""
    if not table:
        return ()
    try:
        names = json.loads(zlib.decompressobj().decompress(table, LONGEST * (count + 1)))
    except (zlib.error, ValueError, RecursionError):
        raise _damaged(where) from None
    if not isinstance(names, list) or len(names) != count:
        raise _damaged(where)
    if not all(isinstance(name, str) for name in names):
        raise _damaged(where)
    return tuple(names)


def settings(order: str, calls: int) -> int:
    """The byte of the head that says both.

    Raises:
        BadInput: an order or a number of calls that it has no room for.
    """
    if order not in ORDERS:
        raise BadInput(
            f"a file says its order by name, and {printable(order)} is none of {', '.join(ORDERS)}"
        )
    if not 0 <= calls <= MOST_CALLS:
        raise BadInput(
            f"a file has room for 1..{MOST_CALLS} calls, or as many as an image has positions; "
            f"got {calls}"
        )
    return ORDERS.index(order) << 6 | calls


def _check(content: bytes, end: int, where: str) -> None:
    if zlib.crc32(content[:8] + content[HEAD:end]) != int.from_bytes(content[CRC], "big"):
        raise _damaged(where)


def _damaged(where: str) -> BadInput:
    return BadInput(
        f"{where} is damaged: its bytes are not those that were written; restore a copy"
    )


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


class _Reader:
    """Takes bytes in turn, and refuses where the file ends."""

    def __init__(self, content: bytes, where: str) -> None:
        self.content, self.where, self.at = content, where, HEAD

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.content):
            raise _damaged(self.where)
        return self.content[self.at - count : self.at]

    def varint(self) -> int:
        number = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise _damaged(self.where)
