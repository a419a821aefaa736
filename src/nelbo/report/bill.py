"""The bills of compressions as the table of a paper: a row for each, in bits/dim."""

from collections.abc import Sequence

from nelbo.errors import BadInput
from nelbo.report.rows import Cell, Heading, Rows, escaped, marked
from nelbo.results.compression import Compression
from nelbo.results.ranking import names_of

__all__ = ["bill_rows"]

NOTE = (
    "bits/dim of {what}. The code's ideal is what the masses promise, codes are its bytes without "
    "heads, the file has all; whoever decodes needs the model, of {bytes} bytes."
)


def bill_rows(bills: Sequence[Compression]) -> Rows:
    """A row for each, in the order in which they are given; CSV has the bits over all images.

    Raises:
        BadInput: bills of other images than those of the first.
    """
    if len({(bill.data.get("sha256"), bill.images) for bill in bills}) > 1:
        raise BadInput("bills of other images fit in no one table: make two")
    columns = {key: what for bill in bills for key, what, _ in bill.rows()}
    headings = [Heading("Model", "Model", numeric=False)]
    headings += [Heading(escaped(what), marked(what)) for what in columns.values()]
    rows = []
    for name, bill in zip(_models(bills), bills, strict=True):
        bits = {key: x for key, _, x in bill.rows()}
        counted = [_counted(key, bits.get(key), bill.images * bill.dims) for key in columns]
        rows.append([_model(name, bill), *counted])
    beside = [{"model_bytes": bill.model_bytes, "verified": bill.verified} for bill in bills]
    return Rows(headings, rows, [_note(bills)], beside)


def _models(bills: Sequence[Compression]) -> list[str]:
    """A name of its own for each model; several bills may be of one."""
    digests = [str(bill.model.get("sha256")) for bill in bills]
    own = {digest: bill.model for digest, bill in zip(digests, bills, strict=True)}
    names = dict(zip(own, names_of(list(own.values())), strict=True))
    return [names[digest] for digest in digests]


def _model(name: str, bill: Compression) -> Cell:
    text = f"{name}, {bill.order}, {bill.calls} calls"
    own = {
        "model": name,
        "data": bill.data["name"],
        "data_sha256": bill.data.get("sha256"),
        "images": bill.images,
        "dims": bill.dims,
        "order": bill.order,
        "calls": bill.calls,
    }
    return Cell(escaped(text), marked(text), own)


def _counted(key: str, bits: float | None, dims: int) -> Cell:
    """bits/dim by one way to count; nothing where a bill lacks it."""
    if bits is None:
        return Cell("", "", {f"{key} bits": None})
    return Cell(f"${bits / dims:.4f}$", f"{bits / dims:.4f}", {f"{key} bits": bits})


def _note(bills: Sequence[Compression]) -> str:
    data = bills[0].data
    name = f"{data['name']}:{data['split']}" if data.get("split") else data["name"]
    sizes = " and ".join(dict.fromkeys(f"{bill.model_bytes:,}" for bill in bills))
    return NOTE.format(what=f"{bills[0].images:,} images of {name}", bytes=sizes)
