"""Arguments of public functions as the types that they should have, scalars of numpy and torch too.

A wrong type is refused by the argument's name before any work, and not by an error of torch's after
an hour of it.
"""

import math
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from nelbo.errors import BadInput

__all__ = [
    "device_of",
    "falling",
    "flag",
    "function",
    "instance",
    "interval",
    "number",
    "path",
    "rows",
    "scalar",
    "seed_of",
    "shown",
    "spans",
    "whole",
    "whole_numbers",
    "word",
]

Kind = TypeVar("Kind")

MOST = 2**63  # of 64 bits with a sign
LONGEST = 60  # characters of a wrong value that a message shows


def shown(value: object) -> str:
    """A value in a message: short ones as they are, of others what they are."""
    plain = value is None or isinstance(value, str | bytes | bool | int | float | os.PathLike)
    text = repr(value) if plain else f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def whole(name: str, value: object, least: int | None = None) -> int:
    """The value as an int: also 1e4, numpy's and torch's scalars; at least `least`.

    Raises:
        BadInput: it is none, or less.
    """
    rule = "" if least is None else f", at least {least}"
    integer = scalar(value)
    if isinstance(integer, float) and integer.is_integer():
        integer = int(integer)
    if not isinstance(integer, int) or (least is not None and integer < least):
        got = shown(value if integer is None else integer)
        raise BadInput(f"{name} must be a whole number{rule}; got {got}")
    return integer


def rows(name: str, value: object) -> int:
    """The value as an int that can count the rows of an array.

    Raises:
        BadInput: as `whole`, or it needs more than 63 bits.
    """
    number = whole(name, value)
    if number >= MOST:
        raise BadInput(f"{name} must be a whole number below 2**63; got {shown(number)}")
    return number


def seed_of(value: object) -> int:
    """The value as an int that noise may begin with.

    Raises:
        BadInput: it is none, is negative, or has more than 63 bits.
    """
    integer = whole("seed", value)
    if not 0 <= integer < MOST:
        raise BadInput(f"a seed is an integer from 0 to 2**63 - 1; got {integer!r:.40}")
    return integer


def whole_numbers(name: str, values: object) -> list[int]:
    """The values as ints: of a list, tuple, range, array or tensor.

    Raises:
        BadInput: they are none.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise BadInput(f"{name} must be whole numbers; got {shown(values)}")
    try:
        return [whole(name, value) for value in values]
    except TypeError:  # a tensor without axes
        raise BadInput(f"{name} must be whole numbers; got {shown(values)}") from None


def spans(steps: Sequence[int], T: int) -> list[tuple[int, int]]:
    """What each kept step t of 1..T stands for: the steps s+1..t, as (s, t).

    Raises:
        BadInput: the steps do not increase within 1..T, or there are none.
    """
    ordered = all(s < t for s, t in zip([0, *steps], [*steps, T + 1], strict=True))
    if not steps or not ordered:
        raise BadInput(f"kept steps must increase within 1..{T}; got {list(steps)[:8]}")
    return list(zip([0, *steps[:-1]], steps, strict=True))


def number(name: str, value: object) -> float:
    """The value as a float: also ints, numpy's and torch's scalars.

    Raises:
        BadInput: it is none, or not finite.
    """
    result = scalar(value)
    if result is None or not math.isfinite(result):
        raise BadInput(
            f"{name} must be a finite number; got {shown(value if result is None else result)}"
        )
    return float(result)


def scalar(value: object) -> int | float | None:
    """The Python number that a value is, of numpy or torch too; None where it is none."""
    if isinstance(value, bool | str | bytes) or bool(getattr(value, "ndim", 0)):
        return None
    if _is_bool(value) or isinstance(value, complex):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        pass
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _is_bool(value: object) -> bool:
    return str(getattr(value, "dtype", "")).endswith("bool")


def flag(name: str, value: object) -> bool:
    """The value as a bool, of numpy too.

    Raises:
        BadInput: it is none: "false" and [] would be taken for what they are not.
    """
    if isinstance(value, bool) or (_is_bool(value) and not getattr(value, "ndim", 0)):
        return bool(value)
    raise BadInput(f"{name} must be True or False; got {shown(value)}")


def interval(name: str, value: object) -> tuple[float, float]:
    """The value as (lo, hi): a pair of numbers in a tuple, list, array or tensor.

    Raises:
        BadInput: it is no pair of numbers, or not lo < hi.
    """
    try:
        pair = [scalar(x) for x in value]  # type: ignore[attr-defined]
    except TypeError:
        pair = []
    lo, hi = pair if len(pair) == 2 else (None, None)
    if lo is None or hi is None or not lo < hi:
        raise BadInput(
            f"{name} must be a pair of numbers, (lo, hi) with lo < hi; got {shown(value)}"
        )
    return float(lo), float(hi)


def falling(name: str, value: object) -> tuple[float, float]:
    """The value as (first, last), first > last: a pair of finite numbers, as `interval` takes it.

    Raises:
        BadInput: it is no pair of numbers, or does not fall.
    """
    try:
        pair = [scalar(x) for x in value]  # type: ignore[attr-defined]
    except TypeError:
        pair = []
    first, last = pair if len(pair) == 2 else (None, None)
    if first is None or last is None or not math.inf > first > last > -math.inf:
        raise BadInput(f"{name} is a pair (first, last), such as (12, -9); got {shown(value)}")
    return float(first), float(last)


def word(name: str, value: object, known: Collection[str]) -> str:
    """The value, one of the known words.

    Raises:
        BadInput: another, or no word.
    """
    if isinstance(value, str) and value in known:
        return value
    raise BadInput(f"{name} must be one of {', '.join(known)}; got {shown(value)}")


def path(name: str, value: object) -> Path:
    """The value as a path.

    Raises:
        BadInput: it is neither a text nor a path.
    """
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        return Path(value)
    raise BadInput(f"{name} must be a path; got {shown(value)}")


def function(name: str, value: object) -> Callable[..., object]:
    """The value, which can be called.

    Raises:
        BadInput: it cannot.
    """
    if callable(value):
        return value
    raise BadInput(f"{name} must be a function; got {shown(value)}")


def device_of(value: object) -> torch.device:
    """The device of a name, such as cpu, cuda or cuda:1, or of a torch.device.

    Raises:
        BadInput: no such device here.
    """
    try:
        device: torch.device = torch.device(value)  # type: ignore[call-overload]
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        name = value if isinstance(value, str) else shown(value)
        raise BadInput(f"no device {name}: {str(error).splitlines()[0]}") from None
    return device


def instance(name: str, value: object, kind: type[Kind]) -> Kind:
    """The value, which is of that class.

    Raises:
        BadInput: it is of another.
    """
    if isinstance(value, kind):
        return value
    raise BadInput(f"{name} must be a {kind.__name__}; got {shown(value)}")
