"""What a picture file stores, and whether a reader gives just that: depths, channels, every pixel.

Pillow stretches narrow greys to 0..255, drops channels that it has no name for, and leaves pixels
as they were where a file's data end early. Each is seen here by what it decodes, or how.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nelbo.errors import BadInput

__all__ = ["Stored", "lossy", "narrow", "readable", "refuse_changed", "whole"]

Array: TypeAlias = NDArray[np.generic]
Stored: TypeAlias = Path | bytes
"""A picture's file, or its bytes where they lie in another."""

BITS = re.compile(r";(\d+)")  # of a raw mode such as L;4, BGR;15 or I;16B
NARROW = re.compile(r"(?:L;([24])|(1)(?=$|;))[IR]*$")  # greys that are stretched to 0..255
SAMPLES, DEPTHS, PHOTOMETRIC, COLORMAP = 277, 258, 262, 320  # tags of TIFF
Y_CB_CR = 6
# Not every compression: readers of faxes and of JPEG fill what is missing without a word.
COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma")
JUNK = bytes((37 * i * i + 91 * i + 17) % 251 for i in range(64))  # no 255, so no marker


def narrow(image: Image.Image) -> int | None:
    """The bits of a grey pixel that a reader stretches to 0..255: 1, 2 or 4; None for others.

    It is known before the pixels are loaded; of a picture that was, only that it is of 1 bit.
    """
    for raw, _ in _raw_modes(image):
        match = NARROW.match(raw)
        if match:
            return int(match[1] or match[2])
    return 1 if image.mode == "1" else None


def refuse_changed(image: Image.Image, where: str) -> None:
    """Refuses a picture, not loaded yet, whose numbers Pillow would change or leave out.

    Raises:
        BadInput: colours that are not of 8 bits, PPM maxima that are stretched, channels or
            palette bits that are dropped, or a compression whose reader fills what is missing.
    """
    deep = image.mode.startswith("I")
    for raw, rest in _raw_modes(image):
        maximum = rest[:1] if image.format == "PPM" and rest and raw[0] != "I" else ()
        stretched = maximum not in ((), (65535 if deep else 255,), (0,))
        bits = BITS.search(raw)
        wide = bits is not None and not deep and raw[0] != "P" and not NARROW.match(raw)
        if stretched or wide or (not deep and _deepest(image) > 8):
            stored = " ".join(str(part) for part in (raw, *maximum))
            raise BadInput(
                f"{where}: its pixels ({stored}) would be rescaled to mode {image.mode} on "
                "reading; store them as an integer .npy array and declare its levels"
            )
        if raw == "bmp_rle":
            raise BadInput(
                f"{where}: is a run-length BMP, which may leave pixels out; save it as PNG"
            )
    if image.format == "TIFF":
        _refuse_tiff(image, where)


def _raw_modes(image: Image.Image) -> list[tuple[str, tuple[object, ...]]]:
    """(the raw mode, what else its decoder needs) of each part; bmp_rle for run lengths."""
    modes: list[tuple[str, tuple[object, ...]]] = []
    for codec, _, _, args in getattr(image, "tile", ()):
        parts = args if isinstance(args, tuple) else (args,)
        if codec == "bmp_rle":
            modes.append((codec, ()))
        elif parts and isinstance(parts[0], str):
            rest = parts[1:] if codec.startswith("ppm") else ()
            modes.append((parts[0], rest))
    return modes


def _deepest(image: Image.Image) -> int:
    """The bits of a channel of a TIFF; 8 of others, whose raw mode says it."""
    tags = getattr(image, "tag_v2", {})
    return max(tags.get(DEPTHS, (8,))) if image.format == "TIFF" and image.mode != "F" else 8


def _refuse_tiff(image: Image.Image, where: str) -> None:
    tags = getattr(image, "tag_v2", {})
    compression = image.info.get("compression", "raw")
    if compression not in COMPRESSIONS:
        raise BadInput(
            f"{where}: is a TIFF compressed by {compression}, whose readers fill what is missing "
            "without a word; save it uncompressed"
        )
    if tags.get(SAMPLES, 1) > len(image.getbands()):
        raise BadInput(
            f"{where}: has {tags[SAMPLES]} channels, and mode {image.mode} would drop some; save "
            "it as grey or RGB"
        )
    dropped = [b for b in tags.get(COLORMAP, ()) if b % 257 and b % 256]
    if image.mode in ("P", "PA") and dropped:
        raise BadInput(
            f"{where}: has a palette of 16 bits, read as 8 bits; save it as RGB with 8 bits, or "
            "as a .npy array"
        )


def readable(stored: Stored) -> Path | io.BytesIO:
    """What Pillow opens: the path, or the bytes as a file."""
    return stored if isinstance(stored, Path) else io.BytesIO(stored)


def whole(stored: Stored, image: Image.Image, formats: tuple[str, ...]) -> bool:
    """Whether each pixel of a picture that is loaded came from the file.

    A PNG and a GIF are read again over white, which shows what is never written. A JPEG is read
    again with other data behind the end of each scan: they are used only where a scan ends early.
    """
    first = np.asarray(image)
    if image.format in ("PNG", "GIF"):
        with Image.open(readable(stored), formats=formats) as again:
            bands = len(again.getbands())
            again.im = Image.new(again.mode, again.size, 255 if bands == 1 else (255,) * bands).im
            again.load()
            return bool(np.array_equal(first, np.asarray(again)))
    if image.format == "JPEG":
        try:
            with Image.open(io.BytesIO(_continued(_bytes(stored))), formats=formats) as again:
                return bool(np.array_equal(first, np.asarray(again)))
        except (OSError, IndexError, ValueError):
            return False
    return True


def _bytes(stored: Stored) -> bytes:
    return stored.read_bytes() if isinstance(stored, Path) else stored


def _continued(data: bytes) -> bytes:
    """The JPEG with more entropy-coded data behind each scan and each of its restarts.

    Raises:
        IndexError, ValueError: no end, or no marker where there must be one.
    """
    out, place, restarts = bytearray(data[:2]), 2, False
    while data[place + 1] != 0xD9:
        if data[place] != 0xFF:
            raise ValueError("no marker")
        marker = data[place + 1]
        size = 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        out += data[place : place + size]
        place += size
        restarts = restarts or marker == 0xDD
        if marker == 0xDA:
            scan, place = _scan(data, place, restarts)
            out += scan
    return bytes(out + data[place:])


def _scan(data: bytes, place: int, restarts: bool) -> tuple[bytes, int]:
    """(the coded data from here to the next segment, continued; the place of that segment)."""
    out, count = bytearray(), 0
    while True:
        end = data.index(b"\xff", place)
        marker = data[end + 1]
        if marker == 0:
            out += data[place : end + 2]
            place = end + 2
            continue
        out += data[place:end] + JUNK
        if not 0xD0 <= marker <= 0xD7:
            # a restart that is missing is looked for, and then what would follow it
            more = b"".join(b"\xff" + bytes([0xD0 + (count + i) % 8]) + JUNK for i in range(8))
            return bytes(out + (more if restarts else b"")), end
        out += data[end : end + 2]
        place, count = end + 2, count + 1


def lossy(stored: Stored, form: str | None) -> str | None:
    """The format, JPEG or lossy WebP, whose pixels are a decoder's and not the file's."""
    if form == "JPEG":
        return form
    if form != "WEBP":
        return None
    with stored.open("rb") if isinstance(stored, Path) else io.BytesIO(stored) as file:
        file.seek(12)
        read: Callable[[int], bytes] = file.read
        while len(head := read(8)) == 8:
            if head[:4] == b"VP8 ":
                return "lossy WebP"
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return None
