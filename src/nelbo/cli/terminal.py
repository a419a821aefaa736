"""How much is printed, and in which colours: -q, -v, --no-color, and what the terminal wants."""

import os
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from nelbo.errors import BadInput, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "TerminalOptions",
    "artefacts",
    "console",
    "detail",
    "name_made",
    "note",
    "print_result",
    "set_terminal_options",
    "terminal_options",
]


@final
@dataclass(frozen=True)
class TerminalOptions:
    """How much a command prints, and whether in colours: -q, -v and --no-color."""

    quiet: bool = False
    verbose: bool = False
    colour: bool = True


_TERMINAL_OPTIONS: ContextVar[TerminalOptions] = ContextVar("terminal_options")


def terminal_options() -> TerminalOptions:
    """That of the command that runs."""
    return _TERMINAL_OPTIONS.get(TerminalOptions())


def set_terminal_options(chosen: TerminalOptions) -> None:
    """From now on.

    Raises:
        BadInput: both quiet and verbose.
    """
    if chosen.quiet and chosen.verbose:
        raise BadInput("--quiet and --verbose exclude each other: give one")
    _TERMINAL_OPTIONS.set(chosen)


def console(*, stderr: bool = False) -> "Console":
    """Where styled text goes: plain where colours are not wanted or no terminal shows them.

    FORCE_COLOR wants them whatever shows them; NO_COLOR and --no-color have the last word.
    """
    from rich.console import Console

    plain = not terminal_options().colour or bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto", highlight=False)


def note(text: str) -> None:
    """A line on stderr, which -q leaves out."""
    if not terminal_options().quiet:
        print(printable(text), file=sys.stderr)


def detail(text: str) -> None:
    """A line on stderr, for those who gave -v."""
    if terminal_options().verbose:
        print(printable(text), file=sys.stderr)


def artefacts(folder: Path) -> list[str]:
    """The folder, and what is in it: files, and folders by a slash at the end."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [str(folder), *(f"{path}{'/' * path.is_dir()}" for path in inside)]


def print_result(result: object, json: str | None, lead: str = "") -> None:
    """The result for a person, or its JSON where `json` is "-", with warnings on stderr.

    lead: a line above what a person reads.
    """
    if json == "-":
        print(result.to_json(), end="")  # type: ignore[attr-defined]
        for warning in getattr(result, "warnings", ()):
            print(printable(f"warning: {warning}"), file=sys.stderr)
    else:
        print(printable(f"{lead}\n{result}" if lead else result, lines=True))


def name_made(made: Iterable[str | Path], *, stdout: bool = True) -> None:
    """What was written, a path a line; on stderr where stdout holds the result alone."""
    for path in made:
        print(printable(path), file=sys.stdout if stdout else sys.stderr)
