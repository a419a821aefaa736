"""What `nelbo compress` made of images, as one self-contained HTML page: the bill, reconciled."""

from dataclasses import dataclass
from typing import final

from nelbo.report.page.assembly import attached, environment
from nelbo.report.page.provenance import rows
from nelbo.results.compression import Compression

__all__ = ["compression_page"]


@final
@dataclass(frozen=True)
class Line:
    """A way to count: its name, bytes an image, bits/dim, and its share of the widest one, in %."""

    name: str
    bytes: str
    bits: str
    width: float


def compression_page(bill: Compression) -> str:
    """The page; equal inputs give equal bytes. It refers to nothing outside itself."""
    split = bill.data.get("split")
    return (
        environment()
        .get_template("compression.html")
        .render(
            bill=bill,
            data_name=f"{bill.data['name']}:{split}" if split else bill.data["name"],
            images=f"{bill.images:,}",
            dims=f"{bill.dims:,}",
            headline=f"{bill.bits_per_dim:.4f}",
            lines=_lines(bill),
            over=f"{(bill.coded - bill.ideal) / bill.images:.1f}",
            heads=f"{(bill.file - bill.coded) / 8 / bill.images:.1f}",
            smaller=_smaller(bill),
            model_bytes=f"{bill.model_bytes:,}",
            file_bytes=f"{bill.file // 8:,}",
            seconds=f"{bill.seconds:.1f}",
            settings=[(name, text) for name, text, _ in rows(bill.model, "")],
            **attached(bill.to_dict()),
        )
    )


def _lines(bill: Compression) -> list[Line]:
    counted = [(what, bits / bill.images) for _, what, bits in bill.rows()]
    most = max(bits for _, bits in counted) or 1.0
    return [
        Line(name, f"{bits / 8:,.1f}", f"{bits / bill.dims:.4f}", 100 * bits / most)
        for name, bits in counted
    ]


def _smaller(bill: Compression) -> str | None:
    """How many times the file goes into the smallest of the other formats."""
    if not bill.others or not bill.file:
        return None
    name, bits = min(bill.others.items(), key=lambda pair: pair[1])
    return f"{bits / bill.file:.2f} times as many bytes take {name}"
