"""Several models against the first of them, each paired with it, as people and programs read it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from nelbo.errors import printable
from nelbo.results.comparison import Comparison, Side
from nelbo.results.context import likelihood_of
from nelbo.results.ranking import names_of
from nelbo.results.rounding import with_half
from nelbo.results.saved import Saved, sealed
from nelbo.results.stored import apart_at, keeping_to, stating
from nelbo.results.unit import Unit
from nelbo.results.verdict import Verdict
from nelbo.typed_json import Json, object_at, rows_at, text_at

__all__ = ["SCHEMA", "Comparisons"]

SCHEMA = "nelbo.comparisons/1"
WRITTEN_BY = "nelbo compare A B C --json FILE writes one"
LEVEL = 0.95


@final
@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(Saved):
    """Two models or more minus the first, in the order that they were given in.

    comparisons: A of each is one of the others and B the first, so that a negative difference is
    of a model that is better than the first.
    """

    comparisons: Sequence[Comparison]
    command: str = ""

    @classmethod
    def from_dict(cls, tree: Mapping[str, Json], source: str = "the comparison") -> "Comparisons":
        """The comparisons that a JSON object tells, which messages call `source`.

        Raises:
            BadInput: as `Comparison.from_dict` of each pair; pairs of different data, or none.
        """
        with keeping_to(SCHEMA, source, WRITTEN_BY):
            rows = rows_at(tree, "against_the_first")
            pairs = [Comparison.from_dict(object_at(row, "comparison"), source) for row in rows]
            if len({(str(p.unit), p.data.get("sha256")) for p in pairs}) != 1:
                raise ValueError("its pairs are not of one data set")
            names = [text_at(tree, "first"), *(text_at(row, "name") for row in rows)]
            apart = [apart_at(row, "told_apart_together") for row in rows]
            made = cls(pairs, text_at(tree.get("command", "")))
            return stating(made, tree=tree, names=names, told_apart=apart)

    @property
    def unit(self) -> Unit:
        """Of every figure."""
        return self.comparisons[0].unit

    @cached_property
    def names(self) -> list[str]:
        """Of the first and of the others; where two share one, with what tells them apart."""
        first, others = self.comparisons[0].b, [c.a for c in self.comparisons]
        return names_of([side.model for side in (first, *others)])

    @property
    def verdicts(self) -> list[Verdict]:
        """Of each of the others and the first, each with 95 % by itself."""
        named = zip(self.comparisons, self.names[1:], strict=True)
        return [c.verdict_of(name, self.names[0]) for c, name in named]

    @cached_property
    def told_apart(self) -> list[bool | None]:
        """Whether each differs from the first for new images, all at once with 95 % (Bonferroni).

        None where the interval is not known.
        """
        level = 1 - (1 - LEVEL) / len(self.comparisons)
        intervals = [c.total.interval(level) for c in self.comparisons]
        return [None if i is None else not i[0] <= 0 <= i[1] for i in intervals]

    @property
    def network_evaluations(self) -> int:
        """Of all pairs; the first model is evaluated in each."""
        return sum(c.network_evaluations for c in self.comparisons)

    @property
    def warnings(self) -> list[str]:
        """Those of every pair, of A and B by name, each once."""
        warnings = []
        for c, name in zip(self.comparisons, self.names[1:], strict=True):
            own = {"A: ": f"{name}: ", "B: ": f"{self.names[0]}: "}
            warnings += [own.get(text[:3], text[:3]) + text[3:] for text in c.warnings]
        return list(dict.fromkeys(warnings))

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, schema nelbo.comparisons/1; each pair is a nelbo.comparison/1."""
        return dict(self.tree)

    @cached_property
    def tree(self) -> Mapping[str, Json]:
        """What `to_dict` gives, made once."""
        rows = zip(self.names[1:], self.verdicts, self.told_apart, self.comparisons, strict=True)
        return sealed(
            {
                "schema": SCHEMA,
                "first": self.names[0],
                "against_the_first": [
                    {
                        "name": name,
                        "verdict": judged.text,
                        "better": judged.better,
                        "told_apart_together": apart,
                        "comparison": comparison.to_dict(),
                    }
                    for name, judged, apart, comparison in rows
                ],
                "network_evaluations": self.network_evaluations,
                "command": self.command,
                "warnings": self.warnings,
            }
        )

    def __repr__(self) -> str:
        return printable(f"<Comparisons: {', '.join(self.names[1:])} against {self.names[0]}>")

    def __str__(self) -> str:
        """A verdict a line, then the bounds and differences as a table."""
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        first = self.comparisons[0]
        yield from (judged.text for judged in self.verdicts)
        width = max(map(len, self.names))
        yield f"  {'':<{width}}  {'bound':<17}  minus the first    Monte Carlo  apart"
        yield f"  {self.names[0]:<{width}}  {self._bound(first, first.b)}"
        rows = zip(self.names[1:], self.comparisons, self.told_apart, strict=True)
        for name, c, apart in rows:
            difference = with_half(c.per_dim, c.half, "+")
            half = c.half_monte_carlo
            noise = "unknown" if half is None else f"± {half:.2g}"
            words = {True: "yes", False: "no", None: "unknown"}[apart]
            yield (
                f"  {name:<{width}}  {self._bound(c, c.a):<17}  {difference:<17}  {noise:<11}  "
                f"{words}"
            )
        yield (
            f"  {first.unit.name} of {first.images:,} images, 95 %; apart: for new images, all "
            f"{len(self.comparisons)} at once"
        )
        yield f"  {self.network_evaluations:,} network evaluations"
        yield from (f"  warning: {warning}" for warning in self.warnings)

    def _bound(self, comparison: Comparison, side: Side) -> str:
        value = comparison.unit.per_dim(side.total.mean, comparison.dims)
        half = comparison.half_width(side.total)
        return with_half(value, half) + likelihood_of(side.model)
