"""JSON that others wrote, read whole and by type: file, key and value in one line where it is not.

A wrong type in a config changes a number in silence: `"clip_sample": "false"` is true in Python.
"""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt
from pydantic import ValidationError as Invalid

from nelbo.errors import BadInput
from nelbo.files import require_plain

__all__ = [
    "Count",
    "Finite",
    "Typed",
    "Whole",
    "as_typed",
    "first_problem",
    "once",
    "parse_object",
    "read_object",
]

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


def read_object(path: str | Path) -> dict[str, Any]:
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


def parse_object(content: bytes | str, name: str) -> dict[str, Any]:
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


def as_typed(kind: type[Kind], tree: dict[str, Any] | Any, name: str = "") -> Kind:  # noqa: ANN401
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


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
