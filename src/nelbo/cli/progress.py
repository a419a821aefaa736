"""Progress on stderr: bars where somebody watches, a line now and then where not."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from nelbo.cli.terminal import console, terminal_options
from nelbo.errors import printable
from nelbo.stopping import leaving

__all__ = ["Start", "Update", "bars"]

Update = Callable[[int, int | None, str], None]
"""Called with (done, expected if known, the running result)."""

SECONDS_BETWEEN_LINES = 10.0
CURSOR = "\x1b[?25h\n"  # shown again, since a bar hides it, on a line of its own


class Start(Protocol):
    """Begins to show the work of that label, counted in that unit."""

    def __call__(self, label: str, unit: str = "evaluations") -> Update: ...


@contextmanager
def bars(shown: bool = True) -> Iterator[Start]:
    """Progress on stderr: a bar for each label in a terminal, else a line now and then.

    Nothing where it is not to be shown, or the user wants quiet.
    """
    if not shown or terminal_options().quiet:
        yield lambda label, unit="": lambda done, expected, text: None
        return
    if not sys.stderr.isatty():  # FORCE_COLOR makes a console of a pipe, which shows no bars
        yield _lines
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeRemaining

    text = TextColumn("{task.fields[text]}")
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    shown_on = Progress(*columns, TimeRemaining(), text, console=console(stderr=True))
    with leaving(restoring=CURSOR), shown_on as progress:

        def start(label: str, unit: str = "evaluations") -> Update:
            bar = progress.add_task(escape(printable(label)), total=None, text="")
            rate = _Rate()

            def update(done: int, expected: int | None, text: str) -> None:
                text = f"{_per_second(rate.at(done, time.monotonic()), unit)}  {text}"
                progress.update(bar, completed=done, total=expected, text=text)

            return update

        yield start


def _lines(label: str, unit: str = "evaluations") -> Update:
    last, speed = time.monotonic(), _Rate()
    between = SECONDS_BETWEEN_LINES / (10 if terminal_options().verbose else 1)

    def update(done: int, expected: int | None, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        rate = speed.at(done, now)
        if now - last < between and done != expected:
            return
        last = now
        of = "" if expected is None else f"/{expected:,}"
        left = ""
        if expected is not None and rate > 0:  # of what nothing is done yet nobody knows
            left = f", {_duration(max(expected - done, 0) / rate)} left"
        line = f"{label}: {done:,}{of}{_per_second(rate, unit, ', ')}{left}  {text}"
        print(printable(line.rstrip()), file=sys.stderr)

    return update


def _per_second(rate: float, unit: str, before: str = "") -> str:
    """Nothing where nothing is done since the first report."""
    if rate == 0:
        return ""
    return before + (f"{rate:,.1f} {unit}/s" if rate < 10 else f"{rate:,.0f} {unit}/s")


def _duration(seconds: float) -> str:
    """As a person says it, to two parts."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


class _Rate:
    """What is done in a second since the first report, which may be of work that was resumed.

    Work that begins anew, as what was compressed is decoded again, has a rate of its own.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: tuple[int, float] | None = None
        self.last = 0

    def at(self, done: int, now: float) -> float:
        if done < self.last:
            self.first = (done, now)
        self.last = done
        if self.first is None:
            self.first = (done, now)
            return done / max(now - self.started, 1e-9)
        before, since = self.first
        return (done - before) / max(now - since, 1e-9)
