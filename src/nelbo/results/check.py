"""What an examination of a model gave: the conventions that fit it best, and what is against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.errors import printable
from nelbo.results.saved import Saved, sealed
from nelbo.results.unit import Unit
from nelbo.typed_json import Json

__all__ = ["ModelCheck", "Ranked", "differing"]

SCHEMA = "nelbo.check/1"


@final
@dataclass(frozen=True)
class Ranked:
    """One reading of the network, and by how much its bound is above another's, per dimension.

    words: of the `wrap` call; part: of the bound, between the log SNRs that were evaluated; above
    and half: the paired difference to the other with half of its 95 % interval; least: the
    difference that these two may have though they are read alike; images: that they were compared
    on, fewer where a difference was beyond doubt. part and above are None where it gave no numbers.
    """

    words: Mapping[str, Json]
    part: float | None
    above: float | None
    half: float | None
    least: float
    images: int

    @property
    def tied(self) -> bool:
        """Whether it is as good as the other, but for chance."""
        return self.above is not None and self.above <= max(self.least, self.half or 0.0)


@final
@dataclass(frozen=True, repr=False)
class ModelCheck(Saved):
    """Which conventions fit a network: the stated ones, if any, beside the best of those searched.

    affine: the part of the bound of an affine function of x_t fitted to other images of the data;
    None where they are too few. call: the `wrap` call of the best. warnings: what an evaluation of
    the stated model warns of.
    """

    name: str
    stated: Ranked | None
    best: Sequence[Ranked]
    affine: float | None
    call: str
    warnings: Sequence[str]
    searched: int
    network_evaluations: int
    images: int
    data: Mapping[str, Json]
    unit: Unit
    seed: int
    seconds: float
    environment: Mapping[str, Json]

    @property
    def is_denoiser(self) -> bool:
        """Whether some reading is better than an affine function of x_t."""
        rows = (*self.best, *filter(None, [self.stated]))
        parts = [row.part for row in rows if row.part is not None]
        return bool(parts) and (self.affine is None or min(parts) < self.affine)

    @property
    def agrees(self) -> bool:
        """Whether no reading that was searched is better than what is stated."""
        return self.stated is None or self.stated.tied

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against the model."""
        return self.is_denoiser and self.agrees and not self.warnings

    def verdict(self) -> str:
        """In a sentence."""
        if not self.is_denoiser:
            return (
                f"no reading of {self.name} that was tried is better than an affine function of "
                "x_t: it is untrained, of other data, or of conventions that are not searched"
            )
        if self.stated is None:
            return f"the best of {self.searched} readings"
        if not self.searched:
            return "better than an affine function of x_t as it is stated; no other was searched"
        if self.agrees:
            return f"none of {self.searched} readings is better than what is stated"
        stated, best = self.stated.words, self.best[0].words
        was = ", ".join(f"{key} {word(stated[key])}" for key in differing(stated, best))
        new = [key for key in differing(best, stated) if key != "variance"]
        other = ", ".join(f"{key} {word(best[key])}" for key in new)
        if self.stated.above is None:
            return f"stated: {was}, which gives no number; with {other} it does: is it of these?"
        return (
            f"stated: {was}; with {other} it is {self.stated.above:.4f} {self.unit} better: is it "
            "of these conventions?"
        )

    def __str__(self) -> str:
        """The verdict, the table of readings, and the call of the best."""
        lines = [f"{self.name}: {self.verdict()}"]
        rows = [("stated", self.stated)] if self.stated is not None else []
        rows += [(f"{place}.", row) for place, row in enumerate(self.best, 1)]
        for place, row in rows:
            assert row is not None
            part = "none" if row.part is None else f"{row.part:.4f}"
            above = "" if not row.above else f"  {row.above:+.4f}"
            half = "" if row.half is None or not row.above else f" ± {row.half:.4f}"
            of = f", on {row.images} images" if 0 < row.images < self.images else ""
            words = ", ".join(
                f"{name} {word(value)}" for name, value in row.words.items() if name != "variance"
            )
            lines.append(f"  {place:<7}{part}{above}{half}  {words}{of}")
        if self.affine is not None:
            lines.append(f"  affine {self.affine:.4f}  an affine function of x_t")
        lines.append(
            f"  {self.unit} between log SNR 6 and -6 on {self.images} images of "
            f"{self.data['name']}; {self.network_evaluations:,} network evaluations in "
            f"{self.seconds:.1f} s, seed {self.seed}"
        )
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.best and not (self.agrees and self.stated is not None):
            lines.append(f"  {self.call}")
        return "\n".join(map(printable, lines))

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.check/1."""
        return sealed(
            {
                "schema": SCHEMA,
                "name": self.name,
                "passes": self.passes,
                "verdict": self.verdict(),
                "unit": self.unit.name,
                "stated": None if self.stated is None else _row(self.stated),
                "best": [_row(row) for row in self.best],
                "affine": self.affine,
                "call": self.call,
                "warnings": list(self.warnings),
                "searched": self.searched,
                "network_evaluations": self.network_evaluations,
                "images": self.images,
                "data": dict(self.data),
                "seed": self.seed,
                "seconds": self.seconds,
                "environment": dict(self.environment),
            }
        )


def _row(row: Ranked) -> dict[str, Json]:
    return {**vars(row), "words": dict(row.words)}


def differing(words: Mapping[str, Json], others: Mapping[str, Json]) -> list[str]:
    """Of the first words those that the others have otherwise, or not at all."""
    return [key for key in words if word(others.get(key)) != word(words[key])]


def word(value: object) -> str:
    """A word of a `wrap` call as a person reads it: a schedule by its name, a range by its ends."""
    if isinstance(value, Mapping):
        extra = {k: v for k, v in value.items() if k not in ("name", "T")}
        more = ", ".join(f"{k} {word(v)}" for k, v in extra.items())
        return f"{value['name']}" + (f" ({more})" if more else "")
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(word, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
