"""What a compressed set of images costs, as people and programs read it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from nelbo.errors import printable
from nelbo.results.saved import Saved, sealed
from nelbo.typed_json import Json

__all__ = ["Compression"]

SCHEMA = "nelbo.compression/1"


@final
@dataclass(frozen=True, repr=False)
class Compression(Saved):
    """The bill of so many images of `dims` dimensions, each entry in bits, over all of them.

    bound: the model's, where it was measured. likelihood: -log2 p of the images by the order, by
    the network's own softmax; ideal: by the whole masses that are coded; coded: 8 times the bytes
    of the codes; names: of the table of names; file: of all bytes. others: the same images by other
    formats.
    """

    model: Mapping[str, Json]
    data: Mapping[str, Json]
    images: int
    dims: int
    order: str
    calls: int
    bound: float | None
    likelihood: float
    ideal: float
    coded: int
    names: int
    file: int
    others: Mapping[str, int]
    model_bytes: int
    verified: bool
    seconds: float

    @property
    def bits_per_dim(self) -> float:
        """Of the codes, without headers."""
        return self.coded / (self.images * self.dims)

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.compression/1."""
        return sealed(
            {
                "schema": SCHEMA,
                "bits_per_dim": self.bits_per_dim,
                "images": self.images,
                "dims": self.dims,
                "order": self.order,
                "calls": self.calls,
                "bits": {name: bits for name, _, bits in self.rows()},
                "model_bytes": self.model_bytes,
                "verified": self.verified,
                "seconds": self.seconds,
                "model": dict(self.model),
                "data": dict(self.data),
            }
        )

    def __str__(self) -> str:
        """A line for each way to count, per image and per dimension."""
        width = max(len(what) for _, what, _ in self.rows())
        lines = [
            f"  {what:<{width}}  {bits / self.images / 8:10,.1f}  "
            f"{bits / self.images / self.dims:8.4f}"
            for _, what, bits in self.rows()
        ]
        heading = (
            f"{self.model['name']}: {self.images:,} images of {self.dims:,} dimensions, "
            f"{self.order} order in {self.calls} calls"
        )
        seen = "decoded again and equal" if self.verified else "not decoded again (--no-verify)"
        return "\n".join(
            [
                printable(heading),
                f"  {'':<{width}}  {'bytes/image':>10}  bits/dim",
                *lines,
                f"  {seen}; the model, which whoever decodes must have, is {self.model_bytes:,} "
                "bytes",
            ]
        )

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """(key, what is counted, bits) of each way to count, from the bound to other formats."""
        if self.bound is not None:
            yield "bound", "the model's bound", self.bound
        yield "likelihood", "the likelihood in this order", self.likelihood
        yield "ideal", "the code's ideal length", self.ideal
        yield "coded", "the bytes of the codes", self.coded
        if self.names:
            yield "names", "of the file, the names", self.names
        yield "file", "the whole file", self.file
        yield from ((name, name, bits) for name, bits in self.others.items())
