"""`python -m nelbo` and the `nelbo` command: signals are seen to before all else is imported."""

import sys

from nelbo import stopping

__all__ = ["main", "program"]


def main() -> int:
    """Runs the command line of sys.argv; its exit code. A signal ends the process meanwhile."""
    before = stopping.begin()
    try:
        from nelbo.cli.command_line import run

        return run()
    finally:
        stopping.end(before)


def program() -> None:
    """The command: also what comes after its work, the end of the interpreter, ends by a signal."""
    stopping.begin()
    sys.exit(main())


if __name__ == "__main__":
    program()
