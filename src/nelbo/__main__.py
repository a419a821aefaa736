"""`python -m nelbo` and the `nelbo` command: what becomes of an error and a signal."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import typer

from nelbo.cli import EVERYWHERE, app, streams
from nelbo.cli.completion import with_shell
from nelbo.errors import BadInput, NonFinite, NotWritten, Stopped, printable

__all__ = ["main"]

UsageError = typer.BadParameter.__mro__[1]  # typer's own class for a wrong command line
FAILED, BAD_INPUT, NON_FINITE, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def _say(message: object) -> None:
    print(f"nelbo: {printable(message)}", file=sys.stderr)


def main() -> int:
    """Runs the command line; its exit code: 0, 1 failed, 2 bad input, 3 non-finite, 130, 143."""
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGTERM, _terminate)
    streams.prepare()
    try:
        # typer turns Ctrl-C into the value 130, and --help and --version into 0
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
    if code == INTERRUPTED:
        _say("interrupted")
    return int(code)


def _general_first(arguments: Sequence[str]) -> list[str]:
    """Options of the command line itself may stand anywhere before a --."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    general = [argument for argument in arguments[:end] if argument in EVERYWHERE]
    others = [argument for argument in arguments[:end] if argument not in EVERYWHERE]
    return [*general, *others, *arguments[end:]]


def _misused(error: Any) -> str:  # noqa: ANN401
    """typer's finding in one line, what was meant if it knows, and where help is."""
    said, meant = error.format_message(), getattr(error, "possibilities", None)
    if meant:
        said = f"{error.message}. Did you mean {' or '.join(sorted(meant))}?"
    context = getattr(error, "ctx", None)
    return f"{said} (see {context.command_path if context else 'nelbo'} --help)"


def _answer(error: Exception) -> int:
    """One line for the error, and its exit code."""
    if isinstance(error, UsageError):
        _say(_misused(error))
        return BAD_INPUT
    _say(error if str(error) else type(error).__name__)
    if isinstance(error, BadInput):
        return BAD_INPUT
    if isinstance(error, NonFinite):
        return NON_FINITE
    if isinstance(error, Stopped):
        return 128 + error.signal
    if isinstance(error, NotWritten) or (isinstance(error, OSError) and error.filename is not None):
        return FAILED  # the disk's, and it names the file
    _say("this is a failure, not a wrong input; --debug shows where")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
