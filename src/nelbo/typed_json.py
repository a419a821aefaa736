"""JSON and its parts by type: file, key and value in one line where they are of another.

A wrong type in a config changes a number in silence: `"clip_sample": "false"` is true in Python.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt
from pydantic import ValidationError as Invalid

from nelbo.errors import BadInput
from nelbo.files import require_plain

__all__ = [
    "Count",
    "Finite",
    "Json",
    "Typed",
    "Whole",
    "as_typed",
    "at",
    "first_problem",
    "known_at",
    "known_of",
    "list_at",
    "number_at",
    "number_of",
    "object_at",
    "once",
    "parse_object",
    "part_at",
    "read_object",
    "rows_at",
    "text_at",
    "texts_at",
    "whole_at",
    "whole_of",
]

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
"""What JSON can hold; a tuple is written as a list."""

MOST = 2**26  # bytes of a file
LONGEST = 60  # characters of a wrong value that a message shows

Kind = TypeVar("Kind", bound="Typed")


class Typed(BaseModel):
    """Keys that are read, with their types; a key that is not read may be anything."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


def _integral(value: object) -> object:
    """1000.0 as 1000: what writers without integers make of one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[StrictInt, BeforeValidator(_integral)]
Count = Annotated[StrictInt, BeforeValidator(_integral), Field(ge=1, le=2**31 - 1)]
Finite = Annotated[StrictFloat, Field(allow_inf_nan=False)]


def read_object(path: str | Path) -> dict[str, Json]:
    """The JSON object in a file.

    Raises:
        BadInput: it cannot be read, or as `parse_object`.
    """
    try:
        if require_plain(path) > MOST:
            raise BadInput(f"{path} cannot be read as JSON: it has more than {MOST:,} bytes")
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read as JSON: {error.strerror}") from None
    return parse_object(content, str(path))


def parse_object(content: bytes | str, name: str) -> dict[str, Json]:
    """The JSON object in bytes or text, which messages call `name`.

    Raises:
        BadInput: no UTF-8, no JSON, a key twice in one object, or something else than an object.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        tree = json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise BadInput(f"{name} cannot be read as JSON: it is nested too deep") from None
    except ValueError as error:
        raise BadInput(f"{name} cannot be read as JSON: {error}") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{name} holds no JSON object")
    return tree


def as_typed(kind: type[Kind], tree: Mapping[str, object], name: str = "") -> Kind:
    """The object's keys by their types; name: what messages call the file, where it is one.

    Raises:
        BadInput: a key with a value of another type or out of its range.
    """
    try:
        return kind.model_validate(dict(tree))
    except Invalid as error:
        problem = first_problem(error)
        raise BadInput(f"{name}: {problem}" if name else problem) from None


def first_problem(error: Invalid) -> str:
    """The first of pydantic's findings in one line: key, rule and value."""
    problem = error.errors(include_url=False)[0]
    key = str(problem["loc"][0])
    shown = repr(problem["input"])
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}; got {shown}"


def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """The object of these pairs.

    Raises:
        ValueError: a key twice, of which readers take the last in silence.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return result


def at(tree: Json, *path: str) -> Json:
    """What stands under these keys, each inside the one before it.

    Raises:
        KeyError: a key that is not there.
        ValueError: a part on the way that is no object.
    """
    for depth, key in enumerate(path):
        if not isinstance(tree, Mapping):
            raise ValueError(f"{_named(path[:depth])} is no object")
        tree = tree[key]
    return tree


def object_at(tree: Json, *path: str) -> Mapping[str, Json]:
    """The object under these keys; raises as `at`, as every reader here, and where it is none."""
    value = at(tree, *path)
    if not isinstance(value, Mapping):
        raise ValueError(f"{_named(path)} is no object")
    return value


def part_at(tree: Json, *path: str) -> Mapping[str, Json]:
    """The object under these keys; an empty one where they, or the object, are not there."""
    for depth, key in enumerate(path):
        tree = object_at(tree).get(key)
        if tree is None:
            return {}
        if not isinstance(tree, Mapping):
            raise ValueError(f"{_named(path[: depth + 1])} is no object")
    return object_at(tree)


def list_at(tree: Json, *path: str) -> Sequence[Json]:
    """The list under these keys."""
    value = at(tree, *path)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{_named(path)} is no list")
    return value


def rows_at(tree: Json, *path: str) -> list[Mapping[str, Json]]:
    """The list of objects under these keys."""
    return [object_at(row) for row in list_at(tree, *path)]


def texts_at(tree: Json, *path: str) -> list[str]:
    """The list of texts under these keys."""
    return [text_at(text) for text in list_at(tree, *path)]


def text_at(tree: Json, *path: str) -> str:
    """The text under these keys."""
    value = at(tree, *path)
    if not isinstance(value, str):
        raise ValueError(f"{_named(path)} is no text")
    return value


def number_at(tree: Json, *path: str) -> float:
    """The finite number under these keys, a whole one as it is."""
    return number_of(at(tree, *path))


def known_at(tree: Json, *path: str) -> float | None:
    """The finite number under these keys; None where it is null."""
    return known_of(at(tree, *path))


def whole_at(tree: Json, *path: str) -> int:
    """The whole number under these keys, also as 1000.0."""
    return whole_of(at(tree, *path))


def number_of(value: object) -> float:
    """The finite number; ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def whole_of(value: object) -> int:
    """The whole number; ValueError where it is none."""
    number = number_of(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def known_of(value: object) -> float | None:
    """The finite number, or None; ValueError where it is neither."""
    return None if value is None else number_of(value)


def _named(path: Iterable[str]) -> str:
    return ".".join(path) or "an entry"
