"""Progress on stderr: bars where somebody watches, a line now and then where not."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

__all__ = ["Update", "bars"]

Update = Callable[[int, int | None, str], None]
"""Called with (done, expected if known, the running result)."""

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str], Update]]:
    """Progress on stderr: a bar for each label in a terminal, else a line now and then."""
    if not shown:
        yield lambda label: lambda done, expected, text: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeRemaining

    text = TextColumn("{task.fields[text]}")
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, TimeRemaining(), text, console=console) as progress:

        def start(label: str) -> Update:
            bar = progress.add_task(label, total=None, text="")
            rate = _Rate()

            def update(done: int, expected: int | None, text: str) -> None:
                text = f"{rate.at(done, time.monotonic()):,.0f}/s  {text}"
                progress.update(bar, completed=done, total=expected, text=text)

            return update

        yield start


def _lines(label: str) -> Update:
    last, speed = time.monotonic(), _Rate()

    def update(done: int, expected: int | None, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        rate = speed.at(done, now)
        if now - last < SECONDS_BETWEEN_LINES and done != expected:
            return
        last = now
        seconds = max((expected or 0) - done, 0) / max(rate, 1e-9)
        left = "" if expected is None else f", {seconds:.0f} s left"
        of = "" if expected is None else f"/{expected:,}"
        print(f"{label}: {done:,}{of}, {rate:,.0f}/s{left}  {text}", file=sys.stderr)

    return update


class _Rate:
    """What is done in a second since the first report, which may be of work that was resumed."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: tuple[int, float] | None = None

    def at(self, done: int, now: float) -> float:
        if self.first is None:
            self.first = (done, now)
            return done / max(now - self.started, 1e-9)
        before, since = self.first
        return (done - before) / max(now - since, 1e-9)
