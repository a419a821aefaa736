"""A tensor of a .safetensors file as an array that stays on the disk until it is used."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from nelbo.typed_json import list_at, number_of, object_at, parse_object, text_at

__all__ = ["tensor"]

TYPES = {
    "BOOL": "bool",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
LENGTH = struct.Struct("<Q")  # of the header, which is JSON and stands before the bytes


def tensor(
    path: Path, choose: Callable[[Path, list[str]], str | None]
) -> NDArray[np.generic] | None:
    """The tensor that is chosen by name of those there are, mapped; None where none is chosen.

    Raises:
        BadInput: a header that is no JSON object.
        ValueError: a tensor of numbers that numpy has not, such as bfloat16.
        SafetensorError: the file is damaged: its header and its length contradict each other.
    """
    with safe_open(path, framework="np") as file:  # which checks every length and offset
        name = choose(path, sorted(file.keys()))
    if name is None:
        return None
    with path.open("rb") as stream:
        (length,) = LENGTH.unpack(stream.read(LENGTH.size))
        entry = object_at(parse_object(stream.read(length), str(path)), name)
    word, shape = text_at(entry, "dtype"), [int(number_of(n)) for n in list_at(entry, "shape")]
    if word not in TYPES:
        raise ValueError(f"{name} is {word}, which numpy has not: store it as F32")
    if 0 in shape:
        return np.empty(shape, TYPES[word])  # of which nothing can be mapped
    start = LENGTH.size + length + int(number_of(list_at(entry, "data_offsets")[0]))
    return np.memmap(path, TYPES[word], "r", start, tuple(shape))
