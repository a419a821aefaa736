"""TOML to a recipe, and what is wrong with it in one line."""

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nelbo.errors import BadInput
from nelbo.recipe.choices import KINDS, Recipe

__all__ = ["names", "read"]


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
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadInput(
                f"no recipe {source}: give a .toml file or one of {', '.join(names())}"
            ) from None
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source} is no TOML: {error}") from None
    except ValidationError as error:
        raise BadInput(f"{source}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings in one line, with a suggestion for a misspelt key."""
    problems = error.errors(include_url=False)
    # a misspelt key is also a missing one: its spelling is the better news
    problem = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    where = [str(part) for part in problem["loc"] if part not in KINDS]
    if problem["type"] != "extra_forbidden":
        got = "" if problem["type"] == "missing" else f"; got {problem['input']!r}"
        return f"{'.'.join(where)}: {problem['msg'][:1].lower()}{problem['msg'][1:]}{got}"
    table: Any = Recipe
    for part in problem["loc"][:-1]:
        table = KINDS.get(str(part)) or table.model_fields[part].annotation
    keys = list(table.model_fields)
    close = difflib.get_close_matches(where[-1], keys, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(keys)}"
    return f"unknown key {'.'.join(where)}: {hint}"
