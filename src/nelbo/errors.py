"""What a command answers when it cannot go on: one line for the user and an exit code."""

import difflib
import unicodedata
from collections.abc import Iterable

__all__ = ["BadInput", "NonFinite", "NotWritten", "Stopped", "closest", "printable"]


class BadInput(ValueError):
    """The user's input breaks a rule; the message names the thing, the rule and the fix. Exit 2."""


class NonFinite(ArithmeticError):
    """A value is NaN or infinite; the message names the quantity, t, images and rank. Exit 3."""


class Stopped(Exception):
    """A signal ended the work after it was saved: what is there, and the command that goes on.

    Exit 128 + signal.
    """

    def __init__(self, what: str, command: str, signal: int) -> None:
        super().__init__(f"{what}: {command} goes on")
        self.what = what
        self.signal = signal


class NotWritten(Exception):
    """A file could not be written, after the result was printed; the message names it. Exit 1."""


HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formats (the bidirectional), surrogates, breaks


def printable(text: object, *, lines: bool = False) -> str:
    """The text with what a terminal obeys or hides in place of showing it as \\x1b or \\u202e.

    lines: newlines stay as they are; else they are shown as \\n.
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(
        c
        if (c == "\n" and lines) or unicodedata.category(c) not in HIDDEN
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in shown
    )


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is most like, if it is like one; case does not count."""
    spelt = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), spelt, n=1)
    return spelt[near[0]] if near else None
