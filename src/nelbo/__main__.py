"""`python -m nelbo` and the `nelbo` command: signals are seen to before all else is imported."""

import os
import sys

from nelbo import stopping

__all__ = ["main", "program"]

SPINS = "10000"  # of a thread that waits, before it sleeps; libgomp's own count is millions
"""On two cores that other work shares, 40 steps of digits take 55 s with it and 150 s without."""

KEEPING = ((-4, 0), (-1, -1))  # mallopt: M_MMAP_MAX maps nothing, M_TRIM_THRESHOLD none back
"""Pages of memory that is freed and wanted again take up to a third of the CPU time."""


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

    Threads that wait give their core to others, and memory that is freed stays for what comes next,
    where the environment does not say otherwise.
    """
    stopping.begin()
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS  # read when torch is loaded
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _keep_memory()
    sys.exit(main())


def _keep_memory() -> None:
    """glibc's allocator keeps what is freed; others have settings of their own."""
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter, value in KEEPING:
            libc.mallopt(parameter, value)


if __name__ == "__main__":
    program()
