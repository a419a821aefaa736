"""The bill of a compression as its JSON object tells it, read back and checked."""

from collections.abc import Mapping

from nelbo.errors import BadInput
from nelbo.results.compression import SCHEMA, Compression
from nelbo.typed_json import Json, number_at, number_of, object_at, whole_at

__all__ = ["parse_compression"]

WRITTEN_BY = "nelbo compress MODEL DATA --json FILE writes one"
OWN = ("bound", "likelihood", "ideal", "coded", "names", "file")
SAME = 1e-9  # relative, of one figure in another order of sums


def parse_compression(tree: Mapping[str, Json], source: str = "the bill") -> Compression:
    """The bill that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: another schema, a part that is missing or of another kind, or bits/dim that are
            not those of its bits.
    """
    if tree.get("schema") != SCHEMA:
        raise BadInput(f"{source} is of schema {tree.get('schema')}, this reads {SCHEMA}")
    try:
        bill = _parsed(tree)
        stated = number_at(tree, "bits_per_dim")
    except KeyError as error:
        raise BadInput(f"{source} lacks {error} of {SCHEMA}; {WRITTEN_BY}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{source} does not keep to {SCHEMA}: {error}; {WRITTEN_BY}") from None
    if abs(bill.bits_per_dim - stated) > SAME * abs(stated):
        raise BadInput(
            f"{source} is damaged or was edited: bits_per_dim is not coded over images and dims"
        )
    return bill


def _parsed(tree: Mapping[str, Json]) -> Compression:
    bits = {name: number_of(x) for name, x in object_at(tree, "bits").items()}
    images, dims, calls = (whole_at(tree, key) for key in ("images", "dims", "calls"))
    if min(images, dims, calls) < 1 or min(bits.values()) < 0:
        raise ValueError("images, dims and calls are whole numbers from 1, and bits from 0")
    model, data, order = object_at(tree, "model"), object_at(tree, "data"), tree["order"]
    if not (isinstance(model["name"], str) and isinstance(data["name"], str)):
        raise ValueError("a name or the order is no text")
    if not isinstance(order, str):
        raise ValueError("a name or the order is no text")
    return Compression(
        model=model,
        data=data,
        images=images,
        dims=dims,
        order=order,
        calls=calls,
        bound=bits.get("bound"),
        likelihood=bits["likelihood"],
        ideal=bits["ideal"],
        coded=int(bits["coded"]),
        names=int(bits.get("names", 0)),
        file=int(bits["file"]),
        others={name: int(x) for name, x in bits.items() if name not in OWN},
        model_bytes=whole_at(tree, "model_bytes"),
        verified=bool(tree["verified"]),
        seconds=number_at(tree, "seconds"),
    )
