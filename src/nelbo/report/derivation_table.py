"""The derivation on a terminal: a table for the lines of each chain, readable at 100 columns."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nelbo.errors import printable
from nelbo.results.derivation import Derivation

__all__ = ["print_derivation"]

LEAST_WIDTH = 100


def print_derivation(derivation: Derivation, console: Console) -> None:
    """Each chain's lines, the false ones below, and what is to be seen beside them."""
    console.width = max(console.width, LEAST_WIDTH)
    for number, chain in enumerate(derivation.chains):
        if number:
            console.print()
        console.print(Text(printable(f"{chain.name}: {chain.description}"), style="bold"))
        console.print(_table(chain.rows()))
        console.print(Text("\nFalse lines, and how far they are from the truth", style="bold"))
        console.print(_table(chain.false_rows()))
        console.print()
        for what, value in chain.summary():
            console.print(Text(printable(f"{what}: {value}")))


def _table(rows: Sequence[tuple[str, str, str, str, str, str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("line", no_wrap=True)
    table.add_column("formula · why", ratio=5)
    table.add_column("nats", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("verdict", ratio=2)
    for row in rows:
        label, formula, reason, value, difference, verdict = map(printable, row)
        text = Text(formula) + Text(f"\n· {reason}", style="dim")
        table.add_row(Text(label), text, Text(value), Text(difference), Text(verdict))
    return table
