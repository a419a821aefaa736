"""What `nelbo report` writes for a paper: which options go with which kind of file."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, final

import typer

from nelbo.cli.terminal import note
from nelbo.errors import BadInput

__all__ = ["FOR_PAPERS", "Columns", "FigureOption", "Paper", "Width", "kind_made"]

PAGES, TABLES, PICTURES = (".html", ".htm"), (".tex", ".md", ".csv"), (".pdf", ".svg", ".png")
FOR_PAPERS = (*TABLES, *PICTURES)


class FigureKind(StrEnum):
    """What a figure of a paper shows."""

    steps = "steps"
    rate = "rate"
    distortion = "distortion"
    histogram = "histogram"
    training = "training"
    difference = "difference"
    bounds = "bounds"
    solver = "solver"
    sides = "sides"
    calibration = "calibration"
    ranks = "ranks"
    bill = "bill"


Columns = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Of a table: model, data, weights, steps, bound, monte-carlo, L_T, L_mid, L_0, "
        "evaluations, images, seconds, seed, decoder, variance, V_1.",
    ),
]
FigureOption = Annotated[
    FigureKind | None,
    typer.Option(
        help="Of a figure: what it shows; default steps, the bits of each step, and of a result "
        "that is no evaluation the one of its kind."
    ),
]
Width = Annotated[
    str | None,
    typer.Option(metavar="8.5cm|3.35in", help="Of a figure: how wide it is; default 3.35in."),
]


@final
@dataclass(frozen=True)
class Paper:
    """The options of a table and of a figure, as they were given."""

    columns: str | None
    figure: FigureKind | None
    width: str | None

    def check(self, output: Path) -> None:
        """Raises BadInput where an option does not go with the file that is to be written."""
        suffix = output.suffix.lower()
        if self.columns is not None and suffix not in TABLES:
            raise BadInput(f"--columns is of a table, {' or '.join(TABLES)}; got -o {output}")
        if (self.figure or self.width) and suffix not in PICTURES:
            name = "--figure" if self.figure else "--width"
            raise BadInput(f"{name} is of a figure, {' or '.join(PICTURES)}; got -o {output}")

    def content(self, sources: Sequence[Path], output: Path, per_image: Path | None) -> bytes:
        """The bytes of the table or the figure, by the suffix of `output`."""
        from nelbo.report.figures import COLUMN, inches
        from nelbo.tasks.report import paper_figure, paper_table

        suffix = output.suffix.lower()
        if suffix in TABLES:
            if per_image is not None:
                raise BadInput("--per-image is of a page or a figure: a table has a line a result")
            columns = None
            if self.columns is not None:
                columns = [name.strip() for name in self.columns.split(",")]
            return paper_table(sources, suffix, columns, note).encode()
        return paper_figure(
            sources,
            None if self.figure is None else self.figure.value,
            suffix,
            width=COLUMN if self.width is None else inches(self.width),
            per_image=per_image,
            say=note,
        )


def kind_made(output: Path) -> tuple[str, Sequence[str]]:
    """(the kind of file that is written there, the suffixes that are made)."""
    suffix = output.suffix.lower()
    kind = "table of results" if suffix in TABLES else "plot" if suffix in PICTURES else "page"
    return kind, (*PAGES, *FOR_PAPERS)
