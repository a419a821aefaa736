"""The command line from arguments to exit code: what becomes of an error."""

import errno
import sys
from collections.abc import Sequence
from typing import Any

import typer

from nelbo.cli import EVERYWHERE, app, streams
from nelbo.cli.completion import with_shell
from nelbo.errors import BadInput, NonFinite, NotWritten, Stopped, closest, printable

__all__ = ["run"]

UsageError = typer.BadParameter.__mro__[1]  # typer's own class for a wrong command line
FAILED, BAD_INPUT, NON_FINITE = 1, 2, 3
NO_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)  # no disk fails: nothing can be called so, or be there


def _say(message: object) -> None:
    print(f"nelbo: {printable(message)}", file=sys.stderr)


def run() -> int:
    """Runs the command line; its exit code: 0, 1 failed, 2 bad input, 3 non-finite, 130, 143."""
    debug = "--debug" in sys.argv
    streams.prepare()
    try:
        # typer turns --help and --version into the value 0
        arguments = with_shell(_general_first(sys.argv[1:]))
        code = app(arguments, prog_name="nelbo", standalone_mode=False) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout has gone, `| head` for one
        streams.silence()
        return FAILED
    except Exception as error:
        why = streams.why_stdout_fails(error)
        if why is not None:
            streams.silence()
            _say(f"cannot write to stdout: {why}")
            return FAILED
        if debug:
            raise
        return _answer(error)
    return int(code)


def _general_first(arguments: Sequence[str]) -> list[str]:
    """Options of the command line itself may stand anywhere before a --."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    general = [argument for argument in arguments[:end] if argument in EVERYWHERE]
    others = [argument for argument in arguments[:end] if argument not in EVERYWHERE]
    return [*general, *others, *arguments[end:]]


def _misused(error: Any) -> str:  # noqa: ANN401
    """typer's finding in one line, what was meant if it knows, and where help is."""
    text, meant = error.format_message(), getattr(error, "possibilities", None)
    if meant:
        nearest = closest(error.option_name, meant) or meant[0]
        text = f"{error.message}. Did you mean {nearest}?"
    context = getattr(error, "ctx", None)
    return f"{text} (see {context.command_path if context else 'nelbo'} --help)"


def _answer(error: Exception) -> int:
    """One line for the error, and its exit code."""
    if isinstance(error, UsageError):
        _say(_misused(error))
        return BAD_INPUT
    _say(error if str(error) else type(error).__name__)
    if isinstance(error, BadInput) or getattr(error, "errno", None) in NO_NAMES:
        return BAD_INPUT
    if isinstance(error, NonFinite):
        return NON_FINITE
    if isinstance(error, Stopped):
        return 128 + error.signal
    if isinstance(error, NotWritten | ConnectionError) or (
        isinstance(error, OSError) and error.filename is not None
    ):
        return FAILED  # another process's, or the disk's, and it names the rank or the file
    _say("this is a failure, not a wrong input; --debug shows where")
    return FAILED
