"""The command that makes pages, tables and figures: report."""

from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    Device,
    Seed,
    find_device,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.paper import FOR_PAPERS, Columns, FigureOption, Paper, Width, kind_made
from nelbo.cli.progress import bars
from nelbo.cli.terminal import note
from nelbo.errors import BadInput

__all__ = ["report"]


@app.command(cls=Command)
def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|RESULT.json...",
            help="A run folder with a result.json, or a result alone, of evaluate, of compare or "
            "of compress; several are compared.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A page (.html; default report.html, or comparison.html), a table (.tex, .md, "
            ".csv) or a figure (.pdf, .svg, .png).",
        ),
    ] = None,
    columns: Columns = None,
    figure: FigureOption = None,
    width: Width = None,
    per_image: Annotated[
        Path | None, typer.Option(help="The result's table of images; default RUN/images.csv.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="How many to draw; default 64, fewer of large images.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Make a page, a table or a figure of results.

    \b
    nelbo report runs/digits -o report.html
    nelbo report result.json --per-image images.csv -o report.html
    nelbo report runs/digits runs/digits-ddpm -o comparison.html
    nelbo report difference.json -o difference.html
    nelbo report bill.json -o bill.html
    nelbo report runs/digits runs/digits-ddpm -o table.tex
    nelbo report a.json b.json -o table.md --columns model,bound,evaluations
    nelbo report runs/digits -o steps.pdf --figure steps --width 8.5cm

    The page loads nothing from the network. Several results are paired by image where each has
    its table of images beside it.
    """
    from nelbo.tasks.report import comparison
    from nelbo.tasks.report import report as run

    several = len(sources) > 1
    output = output or Path("comparison.html" if several else "report.html")
    paper = Paper(columns, figure, width)
    paper.check(output)
    check_outputs(Output("-o", output, *kind_made(output)), force=force)
    if output.suffix.lower() in FOR_PAPERS:
        if samples:
            raise BadInput("--samples is of a page: a table and a figure show none")
        content = paper.content(sources, output, per_image)
        deliver(lambda: None, (output, lambda: content))
        return
    if several:
        if per_image is not None or samples:
            raise BadInput(
                "--per-image and --samples are of one result: of several, put each table beside "
                "its result, as result.csv beside result.json"
            )
        page = comparison(sources, note)
        deliver(lambda: None, (output, page.encode))
        return
    with bars() as start:
        page = run(
            sources[0],
            images=per_image,
            samples=samples,
            seed=seed,
            device=str(find_device(device)),
            progress=start("samples", "steps"),
            say=note,
        )
    deliver(lambda: None, (output, page.encode))
