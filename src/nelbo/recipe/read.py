"""TOML to a recipe, and what is wrong with it in one line."""

import re
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nelbo.errors import BadInput, closest
from nelbo.files import near
from nelbo.files import read as read_file
from nelbo.recipe.choices import KINDS, Recipe

__all__ = ["names", "problem", "read"]

MOST = 2**20  # bytes


def names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("nelbo") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def read(source: str | Path) -> Recipe:
    """The recipe in a TOML file, or the one of that name that comes with the package.

    Raises:
        BadInput: no such recipe, no TOML, or a key or value that a recipe does not have.
    """
    if str(source) in names():
        text = (resources.files("nelbo") / "recipes" / f"{source}.toml").read_text("utf-8")
    else:
        if not Path(source).exists():
            raise BadInput(_missing(source))
        text = _text(source)
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except RecursionError:
        raise BadInput(f"{source} is no TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source} is no TOML: {error}") from None
    except ValidationError as error:
        raise BadInput(f"{source}: {problem(error)}") from None


def _text(source: str | Path) -> str:
    try:
        return read_file(source, MOST, "recipe").decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{source} is no TOML: it is no text") from None


def _missing(source: str | Path) -> str:
    meant = closest(str(source), names()) or near(source)
    if meant is None or str(meant) == str(source):
        return f"no recipe {source}: give a .toml file or one of {', '.join(names())}"
    return f"no recipe {source}: did you mean {meant}? The named ones are {', '.join(names())}"


def problem(error: ValidationError) -> str:
    """The first of pydantic's findings in one line, with a suggestion for a misspelt word."""
    problems = error.errors(include_url=False)
    # a misspelt key is also a missing one: its spelling is the better news
    first = min(problems, key=lambda each: each["type"] != "extra_forbidden")
    where = [str(part) for part in first["loc"] if part not in KINDS]
    if first["type"] == "extra_forbidden":
        hint = _hint(where[-1], _keys(first["loc"]), "the keys are")
        return f"unknown key {'.'.join(where)}: {hint}"
    if first["type"] in ("union_tag_invalid", "literal_error"):
        told = first["ctx"]
        known = re.findall(r"'([^']*)'", told.get("expected_tags", told.get("expected", "")))
        got = str(told.get("tag", first["input"]))
        tag = [] if "tag" not in told else ["family" if where == ["chain"] else "name"]
        hint = _hint(got, known, "it is one of")
        return f"{'.'.join([*where, *tag])}: unknown value {got!r}: {hint}"
    got = "" if first["type"] == "missing" else f"; got {first['input']!r}"
    return f"{'.'.join(where)}: {first['msg'][:1].lower()}{first['msg'][1:]}{got}"


def _keys(place: Sequence[str | int]) -> list[str]:
    """The keys of the table in which the place is."""
    table: Any = Recipe
    for part in place[:-1]:
        table = KINDS.get(str(part)) or table.model_fields[part].annotation
    return list(table.model_fields)


def _hint(word: str, known: Sequence[str], else_say: str) -> str:
    meant = closest(word, known)
    return f"did you mean {meant}?" if meant else f"{else_say} {', '.join(known)}"
