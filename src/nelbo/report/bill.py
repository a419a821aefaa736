"""The bills of compressions as the table of a paper: LaTeX, Markdown or CSV, a line for each."""

import csv
from collections.abc import Sequence
from io import StringIO

from nelbo.errors import BadInput
from nelbo.report.tables import MADE, escaped, marked
from nelbo.results.compression import Compression
from nelbo.results.ranking import names_of

__all__ = ["bill_table"]

NOTE = (
    "bits/dim of {what}. The code's ideal is what the masses promise, codes are its bytes without "
    "heads, the file has all; whoever decodes needs the model, of {bytes} bytes."
)


def bill_table(bills: Sequence[Compression], suffix: str) -> str:
    """The table as .tex, .md or .csv has it, in bits/dim, in the order in which they are given.

    Raises:
        BadInput: none, or bills of other images than those of the first.
    """
    if not bills:
        raise BadInput("a table is of one result or more; got none")
    if len({(bill.data.get("sha256"), bill.images) for bill in bills}) > 1:
        raise BadInput("bills of other images fit in no one table: make two")
    return {".tex": _latex, ".md": _markdown, ".csv": _csv}[suffix](bills)


def _models(bills: Sequence[Compression]) -> list[str]:
    """A name of its own for each model; several bills may be of one."""
    digests = [str(bill.model.get("sha256")) for bill in bills]
    own = {digest: bill.model for digest, bill in zip(digests, bills, strict=True)}
    names = dict(zip(own, names_of(list(own.values())), strict=True))
    return [names[digest] for digest in digests]


def _names(bills: Sequence[Compression]) -> list[str]:
    names = _models(bills)
    return [
        f"{name}, {bill.order}, {bill.calls} calls"
        for name, bill in zip(names, bills, strict=True)
    ]  # fmt: skip


def _columns(bills: Sequence[Compression]) -> dict[str, str]:
    """The heading of each way to count, by its key, of all bills."""
    return {key: what for bill in bills for key, what, _ in bill.rows()}


def _cells(bills: Sequence[Compression]) -> list[list[str]]:
    """bits/dim, or nothing where a bill lacks it."""
    lines = [{key: f"{bits / b.images / b.dims:.4f}" for key, _, bits in b.rows()} for b in bills]
    return [[line.get(key, "") for key in _columns(bills)] for line in lines]


def _note(bills: Sequence[Compression]) -> str:
    data = bills[0].data
    name = f"{data['name']}:{data['split']}" if data.get("split") else data["name"]
    sizes = " and ".join(dict.fromkeys(f"{bill.model_bytes:,}" for bill in bills))
    return NOTE.format(what=f"{bills[0].images:,} images of {name}", bytes=sizes)


def _latex(bills: Sequence[Compression]) -> str:
    columns = _columns(bills)
    rows = [
        " & ".join([escaped(name), *(f"${cell}$" if cell else "" for cell in cells)])
        for name, cells in zip(_names(bills), _cells(bills), strict=True)
    ]
    return "\n".join(
        [
            f"{MADE['.tex']}; needs \\usepackage{{booktabs}}",
            f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
            "\\toprule",
            " & ".join(["Model", *map(escaped, columns.values())]) + r" \\",
            "\\midrule",
            *(rf"{row} \\" for row in rows),
            "\\bottomrule",
            "\\end{tabular}",
            f"% {_note(bills)}",
            "",
        ]
    )


def _markdown(bills: Sequence[Compression]) -> str:
    columns = _columns(bills)
    rows = [
        ["Model", *columns.values()],
        ["---", *["---:"] * len(columns)],
        *(
            [marked(name), *cells]
            for name, cells in zip(_names(bills), _cells(bills), strict=True)
        ),
    ]  # fmt: skip
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([MADE[".md"], "", *lines, "", marked(_note(bills)), ""])


def _csv(bills: Sequence[Compression]) -> str:
    """The bits themselves, over all images, unrounded."""
    names = ["model", "data", "data_sha256", "images", "dims", "order", "calls"]
    keys = list(_columns(bills))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"{key} bits" for key in keys), "model_bytes", "verified"])
    for name, bill in zip(_models(bills), bills, strict=True):
        bits = {key: x for key, _, x in bill.rows()}
        own = (name, bill.data["name"], bill.data.get("sha256"), bill.images, bill.dims)
        counted = [bits.get(key, "") for key in keys]
        writer.writerow([*own, bill.order, bill.calls, *counted, bill.model_bytes, bill.verified])
    return text.getvalue()
