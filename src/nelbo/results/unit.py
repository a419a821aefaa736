"""The unit of a result: bits per dimension of levels or byte of text, nats of a density."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

from nelbo.data import Examples, Tokens
from nelbo.errors import BadInput
from nelbo.typed_json import Json, known_of, number_at, object_at, whole_at
from nelbo.types import Grid, Support

__all__ = [
    "BITS",
    "NATS",
    "TEXT_KEYS",
    "Unit",
    "bits_per_byte",
    "bits_per_dim",
    "in_text_units",
    "unit_of",
    "unit_of_text",
]


def bits_per_dim(nats: float, dims: int) -> float:
    """nats / (dims ln 2)."""
    return nats / (dims * math.log(2))


@final
@dataclass(frozen=True)
class Unit:
    """The name of a unit per dimension, its key in JSON and files, and how many nats it is.

    `density_of` names the data where they are real numbers: then the unit is nats, whose zero
    depends on the scale of the data, and no other. Of text it is a unit per byte or token of it,
    so many nats per position of a window: whether a position is one byte, part of one, or none that
    is counted, the sum is divided by what the text has; texts: what its examples are called.
    """

    name: str
    key: str
    nats: float
    density_of: str | None = None
    texts: str = "windows"

    @staticmethod
    def of(support: Support, data: Examples | None = None) -> "Unit":
        """Bits for data with levels, of text for each byte; nats for a density."""
        if isinstance(data, Tokens):
            return unit_of_text(data.text, len(data) * data.dims)
        return BITS if isinstance(support, Grid) else replace(NATS, density_of=support.name)

    def __str__(self) -> str:
        subject = "" if self.density_of is None else f", density of {self.density_of}"
        return self.name + subject

    @property
    def each(self) -> str:
        """What it is per: dimension, byte or token."""
        each = self.name.partition("/")[2]
        return "dimension" if each == "dim" else each

    @property
    def examples(self) -> str:
        """What the examples are called: images, or windows of text, or its documents."""
        return "images" if self.each == "dimension" else self.texts

    def per_dim(self, nats: float, dims: int) -> float:
        """Nats per image in this unit."""
        return nats / self.of_image(dims)

    def of_image(self, dims: int) -> float:
        """Nats of one unit in each dimension of an image, for whoever divides many at once."""
        return dims * self.nats

    def headline(self, nats: float, dims: int) -> dict[str, Json]:
        """A result's first keys: bits_per_dim, or null there, a density's own key and its unit."""
        value = self.per_dim(nats, dims)
        if self.key == BITS.key:
            return {self.key: value}
        return {BITS.key: None, self.key: value, "unit": str(self)}

    def require_bits(self) -> None:
        """Raises BadInput for a density, which has no bits of levels, and for text."""
        if self.each != "dimension":
            raise BadInput(f"a result of text is per {self.each}: its unit is {self.name}")
        if self.density_of is not None:
            raise BadInput(f"a density of {self.density_of} has no bits/dim: its unit is nats/dim")


BITS = Unit("bits/dim", "bits_per_dim", math.log(2))
NATS = Unit("nats/dim", "nats_per_dim", 1.0, density_of="data")


TEXT_KEYS = ("bits_per_byte", "nats_per_token")


def unit_of_text(text: Mapping[str, Json], positions: int) -> Unit:
    """bits/byte of the original text, or nats/token where its bytes are not known or not kept.

    text: as `Tokens.text` has it; positions: in all windows together.
    """
    if text.get("bytes") and text.get("lossless"):
        nats = math.log(2) * number_at(text, "bytes") / positions
        return Unit("bits/byte", TEXT_KEYS[0], nats, texts=str(text.get("pairs", "windows")))
    return Unit("nats/token", TEXT_KEYS[1], _tokens(text) / positions)


def unit_of(tree: Mapping[str, Json]) -> Unit:
    """Bits, or the nats of the density that the tree names; ValueError where it names none.

    Of text, bits per byte or nats per token.
    """
    if tree[BITS.key] is not None:
        return BITS
    if "text" in object_at(tree, "data"):
        positions = whole_at(tree, "images") * whole_at(tree, "dims")
        unit = unit_of_text(object_at(tree, "data", "text"), positions)
        if unit.name != tree["unit"]:
            raise ValueError(f"unit {tree['unit']!r} is not that of its text, {unit.name}")
        return unit
    name, _, subject = str(tree["unit"]).partition(", density of ")
    if name != NATS.name or not subject:
        raise ValueError(f"unit {tree['unit']!r} is none")
    return replace(NATS, density_of=subject)


def in_text_units(nats: float, text: Mapping[str, Json]) -> dict[str, float | None]:
    """Nats of a whole text in every unit that it has; None in one that it has not.

    Of a bound each is an upper bound, the perplexity too: exp of nats/token.
    """
    per_token = nats / _tokens(text)
    known, bits = text.get("lossless"), nats / math.log(2)
    counts = (known_of(text.get("bytes")), known_of(text.get("characters")))
    per_byte, per_character = (bits / n if known and n else None for n in counts)
    return {
        "bits_per_byte": per_byte,
        "bits_per_character": per_character,
        "bits_per_token": per_token / math.log(2),
        "nats_per_token": per_token,
        "perplexity": math.exp(min(per_token, LARGEST_EXPONENT)),
    }


def bits_per_byte(nats: float, text: Mapping[str, Json]) -> float:
    """nats / (ln 2 times the bytes of the original text).

    Raises:
        BadInput: they are not known, or the tokens are not all of the text.
    """
    value = in_text_units(nats, text)["bits_per_byte"]
    if value is None:
        why = (
            "its tokenizer does not give the text back (it drops or changes characters)"
            if text.get("bytes")
            else "the text that the symbols are of is not known"
        )
        raise BadInput(f"there are no bits/byte: {why}; what it has is nats/token")
    return value


def _tokens(text: Mapping[str, Json]) -> int:
    return whole_at(text, "tokens" if text.get("tokens") else "counted")


LARGEST_EXPONENT = 700.0  # whose exp is a float
