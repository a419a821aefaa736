"""A table of a paper as LaTeX with booktabs, Markdown, or CSV: how its rows are written."""

import csv as comma_separated
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import final

from nelbo.errors import printable
from nelbo.results.rounding import plain_number
from nelbo.typed_json import Json

__all__ = ["MADE", "Cell", "Heading", "Rows", "escaped", "marked", "number"]

MADE = {".tex": "% Made by nelbo", ".md": "<!-- Made by nelbo -->"}
"""How a table of each kind begins, by which it is known when it is to be replaced."""

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",  # \textquotedbl is of T1 alone
    "`": r"\textasciigrave{}",
}


@final
@dataclass(frozen=True)
class Cell:
    """A value as LaTeX and as Markdown; CSV has the numbers themselves, by column."""

    tex: str
    plain: str
    numbers: Mapping[str, Json]


@final
@dataclass(frozen=True)
class Heading:
    """Of a column, as LaTeX and as Markdown; whether it is of numbers."""

    tex: str
    plain: str
    numeric: bool = True


@final
@dataclass(frozen=True)
class Rows:
    """Cells under their headings, what a reader has to know, and what CSV has beside each row."""

    headings: Sequence[Heading]
    cells: Sequence[Sequence[Cell]]
    notes: Sequence[str]
    beside: Sequence[Mapping[str, Json]] = ()

    def written(self, suffix: str) -> str:
        """As .tex, .md or .csv has it."""
        return {".tex": self.latex, ".md": self.markdown, ".csv": self.csv}[suffix]()

    def latex(self) -> str:
        """A `tabular` of booktabs, for \\input; what a reader has to know follows as comments."""
        kinds = "".join("r" if heading.numeric else "l" for heading in self.headings)
        return "\n".join(
            [
                f"{MADE['.tex']}; needs \\usepackage{{booktabs}}",
                f"\\begin{{tabular}}{{{kinds}}}",
                "\\toprule",
                f"{' & '.join(heading.tex for heading in self.headings)} \\\\",
                "\\midrule",
                *(f"{' & '.join(cell.tex for cell in row)} \\\\" for row in self.cells),
                "\\bottomrule",
                "\\end{tabular}",
                *(f"% {line}" for line in self.notes),
                "",
            ]
        )

    def markdown(self) -> str:
        """A table of Markdown, and under it what its numbers are."""
        rows = [
            [heading.plain for heading in self.headings],
            ["---:" if heading.numeric else "---" for heading in self.headings],
            *([cell.plain for cell in row] for row in self.cells),
        ]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        notes = "\n\n".join(map(marked, self.notes))
        return "\n".join([MADE[".md"], "", *lines, "", notes, ""])

    def csv(self) -> str:
        """The numbers as they are, unrounded, then what is beside each row."""
        rows: list[dict[str, Json]] = [
            {key: value for cell in row for key, value in cell.numbers.items()}
            for row in self.cells
        ]
        for row, beside in zip(rows, self.beside, strict=bool(self.beside)):
            row.update(beside)
        text = StringIO()
        writer = comma_separated.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def number(value: float, half: float | None = None) -> tuple[str, str]:
    """As LaTeX and as Markdown, with as many digits as its interval knows."""
    plain = plain_number(value, half)
    digits, _, exponent = plain.partition("e")
    return f"${digits} \\times 10^{{{int(exponent)}}}$" if exponent else f"${plain}$", plain


def escaped(text: str) -> str:
    """As LaTeX prints it; what is no visible character as \\x1b."""
    safe = "".join(SPECIAL.get(character, character) for character in printable(text))
    return re.sub("-(?=-)", "-{}", safe)  # else two would be joined to a dash


def marked(text: str) -> str:
    """As Markdown prints it."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>|#~" else c for c in printable(text))
