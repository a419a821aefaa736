"""TOML to a recipe, and what is wrong with it in one line."""

import codecs
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nelbo.arguments import shown
from nelbo.errors import BadInput, closest
from nelbo.files import near
from nelbo.files import read as read_file
from nelbo.recipe.choices import KINDS, ContinuousChoice, MaskedChoice, PathChoice, Recipe

__all__ = ["as_toml", "content_of", "names", "parse", "problem", "read", "subject", "text"]

MOST = 2**20  # bytes
TAGGED = ("chain", "network")  # tables of several kinds, which pydantic names after them


def names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("nelbo") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def read(source: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, or the one of that name that comes with the package.

    changes: "table.key=value" each, in place of what the file says; a value is as in TOML, and a
    word needs no quotes.

    Raises:
        BadInput: no such recipe, no TOML, a change that is none or is made twice, or a key, type or
            value that a recipe does not have.
    """
    _check(source, changes)
    if str(source) in names():
        content = text(str(source))
    else:
        if not Path(source).exists():
            raise BadInput(_missing(source))
        content = content_of(source)
    return parse(content, str(source), changes)


def text(name: str) -> str:
    """A recipe of the package as its file has it, with its comments.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in names():
        raise BadInput(_missing(name))
    return (resources.files("nelbo") / "recipes" / f"{name}.toml").read_text("utf-8")


def subject(name: str) -> str:
    """The first line of a recipe of the package: what it is of."""
    return text(name).partition("\n")[0].removeprefix("# ")


def parse(content: str, source: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe that a text of TOML says, which messages call `source`; changes: as `read`.

    Raises:
        BadInput: as `read`.
    """
    label = " ".join([source, *(f"--set {change}" for change in changes)])
    try:
        with as_toml(source):
            tree = tomllib.loads(content)
            _change(tree, changes)
            recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise BadInput(f"{label}: {problem(error)}") from None
    try:
        _try(recipe)
    except BadInput as error:
        raise BadInput(f"{label}: {str(error).removeprefix('recipe: ')}") from None
    return recipe


@contextmanager
def as_toml(source: str) -> Iterator[None]:
    """What a text that is no TOML raises, in one line."""
    try:
        yield
    except RecursionError:
        raise BadInput(f"{source} is no TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source} is no TOML: {error}") from None


def _try(recipe: Recipe) -> None:
    """Raises BadInput for a schedule or a path that its arguments do not make."""
    if isinstance(recipe.chain, PathChoice):
        recipe.chain.path.make()
    elif not isinstance(recipe.chain, ContinuousChoice | MaskedChoice):
        recipe.chain.schedule.betas()


def _check(source: object, changes: object) -> None:
    if not isinstance(source, str | os.PathLike):
        raise BadInput(f"a recipe is a name or a path of a .toml file; got {shown(source)}")
    if not isinstance(changes, list | tuple) or not all(isinstance(x, str) for x in changes):
        raise BadInput(f"changes are a list of texts, table.key=value; got {shown(changes)}")


def content_of(source: str | Path, what: str = "recipe") -> str:
    """The text of a TOML file, which messages call `what`.

    A byte order mark of UTF-8, which some editors write, is no part of it.

    Raises:
        BadInput: it cannot be read, or is of another encoding.
    """
    content = read_file(source, MOST, what)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        line = content[: error.start].count(b"\n") + 1
        what = (
            "UTF-16"
            if wide
            else f"another encoding (byte {content[error.start]:#04x}, line {line})"
        )
        raise BadInput(f"{source} is no TOML: it is {what}; save it as UTF-8") from None


def _change(tree: dict[str, object], changes: Sequence[str]) -> None:
    """Puts each value in its place in the tree.

    Raises:
        BadInput: no key and value, a key twice, or a table that is none.
    """
    seen = set()
    for change in changes:
        key, equals, text = change.partition("=")
        *tables, last = path = key.strip().split(".")
        if not equals or not all(path):
            raise BadInput(f"--set {change}: is TABLE.KEY=VALUE, as in training.steps=100")
        if key.strip() in seen:
            raise BadInput(f"--set {key.strip()}: is given twice; leave one out")
        seen.add(key.strip())
        table = tree
        for name in tables:
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                raise BadInput(f"--set {change}: {name} is a value and no table of the recipe")
            table = inner
        table[last] = _value(text.strip())


def _value(text: str) -> object:
    """What TOML reads it as; a text that is no TOML is a word."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def _missing(source: str | Path) -> str:
    meant = closest(str(source), names()) or near(source)
    if meant is None or str(meant) == str(source):
        return f"no recipe {source}: give a .toml file or one of {', '.join(names())}"
    return f"no recipe {source}: did you mean {meant}? The named ones are {', '.join(names())}"


def problem(error: ValidationError, root: type[BaseModel] = Recipe) -> str:
    """The first of pydantic's findings in one line, with a suggestion for a misspelt word.

    root: the kind of file that was read.
    """
    problems = error.errors(include_url=False)
    # a misspelt key is also a missing one: its spelling is the better news
    first = min(problems, key=lambda each: each["type"] != "extra_forbidden")
    parts = zip(("", *first["loc"]), first["loc"], strict=False)
    where = [str(part) for before, part in parts if not (before in TAGGED and part in KINDS)]
    if first["type"] == "extra_forbidden":
        hint = _hint(where[-1], _keys(first["loc"], root), "the keys are")
        return f"unknown key {'.'.join(where)}: {hint}"
    if first["type"] in ("union_tag_invalid", "literal_error"):
        context = first["ctx"]
        known = re.findall(r"'([^']*)'", context.get("expected_tags", context.get("expected", "")))
        got = str(context.get("tag", first["input"]))
        tag = [] if "tag" not in context else ["family" if where == ["chain"] else "name"]
        hint = _hint(got, known, "it is one of")
        return f"{'.'.join([*where, *tag])}: unknown value {got!r}: {hint}"
    got = "" if first["type"] == "missing" else f"; got {first['input']!r}"
    return f"{'.'.join(where)}: {first['msg'][:1].lower()}{first['msg'][1:]}{got}"


def _keys(place: Sequence[str | int], root: type[BaseModel]) -> list[str]:
    """The keys of the table in which the place is."""
    table: Any = root
    for part in place[:-1]:
        if isinstance(part, int):  # of a tuple of tables
            table = get_args(table)[0]
            continue
        fields = getattr(table, "model_fields", {})
        table = fields[part].annotation if part in fields else KINDS[str(part)]
    return list(table.model_fields)


def _hint(word: str, known: Sequence[str], else_say: str) -> str:
    meant = closest(word, known)
    return f"did you mean {meant}?" if meant else f"{else_say} {', '.join(known)}"
