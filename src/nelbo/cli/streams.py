"""The standard streams as a command finds them: absent, of another encoding, or full."""

import contextlib
import errno
import io
import os
import sys

__all__ = ["prepare", "silence", "why_stdout_fails"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def prepare() -> None:
    """Every stream is there, and takes any character: ? in place of what it cannot encode.

    A closed descriptor is opened on the null device, so that no file of ours is given its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def why_stdout_fails(error: Exception) -> str | None:
    """The reason where the error is one of writing to stdout: those of files name their file."""
    if isinstance(error, OSError) and error.filename is None and error.errno in FULL:
        return os.strerror(error.errno)
    return None


def silence() -> None:
    """What is left for stdout goes nowhere: else the interpreter complains of it when it ends."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
