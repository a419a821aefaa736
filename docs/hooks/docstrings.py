"""Docstrings of this project as Markdown: their formulas stay formulas, their lists are lists."""

import re
from typing import Any

import griffe

NAME = r"(?:[a-z]\w*|V_1|T)"
ARGUMENT = re.compile(rf"\n({NAME}(?:, {NAME})*): (.+(?:\n {{4}}\S.*)*)")
SECTION = re.compile(r"^(?:Raises|Example|Examples|Returns):\n", re.M)


class Docstrings(griffe.Extension):
    """`name: text` lines become a list, and a * that is no emphasis is kept."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites what stands before the first section."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """The docstring with lists for its `name: text` lines."""
    match = SECTION.search(docstring)
    end = len(docstring) if match is None else match.start()
    prose = docstring[:end].replace("*", r"\*")
    return ARGUMENT.sub(lambda line: f"\n\n- `{line[1]}`: {line[2]}", prose) + docstring[end:]
