"""Text by a spec: `text:FILE,context=128,stride=64`, or the topics of the package."""

import os
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from nelbo import arguments
from nelbo.data.images import shown
from nelbo.data.options import options
from nelbo.data.symbols import Alphabet
from nelbo.data.texts import documents_at
from nelbo.data.tokens import CONTEXT, Tokens, windows
from nelbo.errors import BadInput

__all__ = ["FORMS", "is_text", "text"]

FORMS = "topics[:train|:test], text:FILE or FOLDER[,context=N][,stride=N]..."
NUMBERS, WORDS = ("context", "stride"), ("symbols", "end", "documents", "filling")
SYMBOLS = 257  # of bytes


def is_text(spec: str) -> bool:
    """Whether the spec names text: `text:PATH...` or `topics`, with options or without."""
    head = spec.partition(",")[0]
    return not os.path.exists(spec) and (head == "topics" or head.startswith("text:"))


def text(
    spec: str,
    split: str | None,
    n: int | None,
    context: int | None,
    alphabet: Alphabet | None = None,
) -> Tokens:
    """The windows that a spec without its split names.

    context, alphabet: the length of a window and its symbols where the spec does not say; n: of
    symbols, as declared.

    Raises:
        BadInput: nothing there, an unknown option, or another number of symbols than is declared.
    """
    body, chosen = options(spec, (*NUMBERS, *WORDS), "a text")
    given: dict[str, Any] = {
        key: _number(key, value) if key in NUMBERS else value for key, value in chosen.items()
    }
    given.setdefault("context", CONTEXT if context is None else context)
    if alphabet is not None:
        given.setdefault("symbols", alphabet)
    if body == "topics":
        with as_file(files("nelbo") / "topics.jsonl") as path:
            documents, name = documents_at(path, split), "topics"
    else:
        place = body.removeprefix("text:")
        if not place:
            raise BadInput(f"{shown(spec)}: needs a file or a folder: text:FILE")
        path = Path(os.path.expanduser(place))
        documents, name = documents_at(path, split), path.resolve().name
    result = windows(documents, name=name, split=split, **given)
    if n not in (None, result.n):
        known = "" if "symbols" in given else "; say which with symbols="
        raise BadInput(f"{shown(spec)}: has {result.n} symbols; {n} were declared{known}")
    return result


def _number(key: str, value: str) -> int:
    number = int(value) if value.isascii() and value.isdecimal() else value
    return arguments.whole(key, number, least=1)
