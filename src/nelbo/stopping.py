"""SIGINT and SIGTERM end a command at once, with 130 and 143, at every moment.

The handler ends the process itself: an exception that it raised could be swallowed by whatever runs
then, such as a bare `except` in a package that is being imported. What is on the disk is whole at
every moment; what would leave litter is `held` until it is over. Imported before all else by the
command line, so this module imports nothing that takes time.
"""

import os
import signal
import time

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None

__all__ = ["begin", "end", "held", "leaving"]

ENDINGS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
ONE = 0.5  # seconds: a launcher may pass on what the terminal has sent already


class _Stop:
    """What a signal finds: how deep the main thread is in what is held, and what to print."""

    def __init__(self) -> None:
        self.held = 0
        self.number = 0
        self.since = 0.0
        self.hint = ""
        self.restoring = ""

    def receive(self, number: int, frame: "FrameType | None") -> None:
        """The handler: ends the process, or notes the signal while something is held."""
        now = time.monotonic()
        if self.held and not self.number:
            self.number, self.since = number, now
        elif not self.held or now - self.since > ONE:
            self.leave(number)

    def leave(self, number: int) -> None:
        """One line on stderr, past Python's buffers, and the end."""
        line = f"{self.restoring}nelbo: {ENDINGS[signal.Signals(number)]}{self.hint}\n"
        try:
            os.write(2, line.encode(errors="backslashreplace"))
        except OSError:
            pass
        finally:
            os._exit(128 + number)


_STOP = _Stop()


def begin() -> "list[Handler]":
    """From now on both signals end the process; the handlers from before, for `end`.

    SIGINT that is ignored, as of a job in the background of a script, stays ignored. Outside the
    main thread, which no signal reaches, nothing is done.
    """
    before: list[Handler] = []
    for number in ENDINGS:
        handler = signal.getsignal(number)
        before.append(handler)
        if handler is not signal.SIG_IGN:
            try:
                signal.signal(number, _STOP.receive)
            except ValueError:  # not the main thread
                return []
    return before


def end(before: "list[Handler]") -> None:
    """Puts the handlers back."""
    for number, handler in zip(ENDINGS, before, strict=False):
        signal.signal(number, handler)


class held:
    """with held(): a signal waits until it is over, a second one half a second later does not."""

    def __enter__(self) -> None:
        import threading

        self.counts = threading.current_thread() is threading.main_thread()
        _STOP.held += self.counts

    def __exit__(self, *error: object) -> None:
        _STOP.held -= self.counts
        if self.counts and not _STOP.held and _STOP.number:
            _STOP.leave(_STOP.number)


class leaving:
    """with leaving(hint, restoring): what an end in it adds to the line, and writes before it."""

    def __init__(self, hint: str = "", restoring: str = "") -> None:
        self.inside = (hint, restoring)

    def __enter__(self) -> None:
        self.outside = (_STOP.hint, _STOP.restoring)
        hint, restoring = self.inside
        _STOP.hint, _STOP.restoring = hint or _STOP.hint, restoring or _STOP.restoring

    def __exit__(self, *error: object) -> None:
        _STOP.hint, _STOP.restoring = self.outside
