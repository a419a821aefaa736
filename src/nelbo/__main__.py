"""`python -m nelbo` and the `nelbo` command: signals are seen to before all else is imported."""

import os
import sys

from nelbo import stopping

__all__ = ["main", "program"]

SPINS = "10000"  # of a thread that waits, before it sleeps; libgomp's own count is millions
"""On two cores that other work shares, 40 steps of digits take 55 s with it and 150 s without."""


def main() -> int:
    """Runs the command line of sys.argv; its exit code. A signal ends the process meanwhile."""
    before = stopping.begin()
    try:
        from nelbo.cli.command_line import run

        return run()
    finally:
        stopping.end(before)


def program() -> None:
    """The command: also what comes after its work, the end of the interpreter, ends by a signal.

    Threads that wait give their core to others, where the environment does not say otherwise.
    """
    stopping.begin()
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS  # read when torch is loaded
    sys.exit(main())


if __name__ == "__main__":
    program()
