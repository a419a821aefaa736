"""SIGTERM and SIGINT ask for the end of the current step; a second one ends the process."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

__all__ = ["Signals", "listening"]

ONE = 0.5  # seconds: a launcher may pass on what the terminal has sent already


@final
class Signals:
    """The number of the signal that came, 0 for none."""

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        now = time.monotonic()
        if self.number and now - self._since > ONE:
            os._exit(128 + number)
        if not self.number:
            self.number, self._since = number, now


@contextmanager
def listening() -> Iterator[Signals]:
    """Catches both signals while it lasts; outside the main thread, which no signal reaches, none.

    The handlers from before are put back, and get a signal that came too late to stop anything.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, signals.receive) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if signals.number:
        os.kill(os.getpid(), signals.number)
