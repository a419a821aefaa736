"""What a command answers when it cannot go on: one line for the user and an exit code."""

import difflib
from collections.abc import Iterable

__all__ = ["BadInput", "NonFinite", "Stopped", "closest"]


class BadInput(ValueError):
    """The user's input breaks a rule; the message names the thing, the rule and the fix. Exit 2."""


class NonFinite(ArithmeticError):
    """A value is NaN or infinite; the message names the quantity, t, images and rank. Exit 3."""


class Stopped(Exception):
    """A signal ended the work after it was saved; the message says how it goes on. 128 + signal."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is most like, if it is like one; case does not count."""
    spelt = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), spelt, n=1)
    return spelt[near[0]] if near else None
