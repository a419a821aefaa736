"""Bills of compressions among what a report is made of."""

from collections.abc import Sequence
from pathlib import Path

from nelbo.errors import BadInput
from nelbo.report.bill import bill_table
from nelbo.results.compression import Compression
from nelbo.results.read_compression import is_compression, parse_compression
from nelbo.results.result import load

__all__ = ["bill_at", "table_of_bills"]


def bill_at(source: str | Path) -> Compression | None:
    """The bill in a file that `nelbo compress --json` wrote; None of another kind, or of a run.

    Raises:
        BadInput: no such file, no JSON, or a bill that is damaged.
    """
    if Path(source).is_dir():
        return None
    tree = load(source)
    return parse_compression(tree, str(source)) if is_compression(tree) else None


def table_of_bills(
    sources: Sequence[str | Path], suffix: str, columns: Sequence[str] | None
) -> str | None:
    """The table of bills as .tex, .md or .csv has it; None where none is a bill.

    Raises:
        BadInput: bills among other results, of other images, or with columns that were named.
    """
    bills = [bill_at(source) for source in sources]
    chosen = [bill for bill in bills if bill is not None]
    if not chosen:
        return None
    if len(chosen) < len(bills):
        raise BadInput("bills of compressions and other results fit in no one table: make two")
    if columns is not None:
        raise BadInput("the columns of a bill are its ways to count: leave --columns out")
    return bill_table(chosen, suffix)
