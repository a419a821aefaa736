"""The command that makes pages, tables and figures: report."""

from collections.abc import Sequence
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
from nelbo.cli.progress import Update, bars
from nelbo.cli.terminal import note
from nelbo.errors import BadInput

__all__ = ["report"]


@app.command(cls=Command)
def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|RESULT.json...|MODEL RESULT.json",
            help="A run folder with a result.json, or a result alone, of any kind; several are "
            "compared. A model, a run that holds no result too, is drawn with its result.",
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
        Path | None,
        typer.Option(help="The table of images; default RUN/images.csv, or RESULT.csv."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="How many to draw; default 64, fewer of large images.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of the chain that draws the samples; default the model's own."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Of MODEL RESULT.json: the images measured, for reconstructions."),
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
    nelbo report ./my-ddpm result.json --data my-images/ -o my-ddpm.html
    nelbo report bill.json -o bill.html
    nelbo report runs/digits runs/digits-ddpm -o table.tex
    nelbo report a.json b.json -o table.md --columns model,bound,evaluations
    nelbo report runs/digits -o steps.pdf --figure steps --width 8.5cm
    nelbo report difference.json -o difference.pdf

    The page loads nothing from the network. Several results are paired by image where each has
    its table of images beside it.
    """
    from nelbo.tasks.report import comparison
    from nelbo.tasks.report import report as run

    of_model, of_run = _is_of_model(sources), _is_of_run(sources)
    several = len(sources) > 1 and not of_model and not of_run
    output = output or Path("comparison.html" if several else "report.html")
    paper = Paper(columns, figure, width)
    paper.check(output)
    check_outputs(Output("-o", output, *kind_made(output)), force=force)
    if output.suffix.lower() in FOR_PAPERS:
        if samples or steps or data:
            raise BadInput("--samples, --steps and --data are of a page, not of tables and figures")
        content = paper.content(sources, output, per_image)
        deliver(lambda: None, (output, lambda: content))
        return
    if data is not None and not of_model and not of_run:
        raise BadInput("--data goes with MODEL RESULT.json: a run names its own, a result has none")
    if several:
        if per_image is not None or samples or steps:
            raise BadInput(
                "--per-image, --samples and --steps are of one result: of several, put each table "
                "beside its result, as result.csv beside result.json"
            )
        page = comparison(sources, note)
        deliver(lambda: None, (output, page.encode))
        return
    place = str(find_device(device))
    with bars() as start:
        if of_model:
            drawing = {"count": samples, "seed": seed, "steps": steps}
            page = _of_model(sources, data, per_image, place, start("samples", "steps"), drawing)
        else:
            page = run(
                sources[0],
                result=sources[1] if of_run else None,
                data=data,
                images=per_image,
                samples=samples,
                seed=seed,
                steps=steps,
                device=place,
                progress=start("samples", "steps"),
                say=note,
            )
    deliver(lambda: None, (output, page.encode))


def _is_of_model(sources: Sequence[Path]) -> bool:
    """Whether they are a model of others, or of a function, and a result of it."""
    from nelbo.formats import is_function, says_all

    if len(sources) != 2 or sources[1].suffix.lower() != ".json":
        return False
    return is_function(str(sources[0])) or not says_all(str(sources[0]))


def _is_of_run(sources: Sequence[Path]) -> bool:
    """Whether they are a run folder, or an improved one, and the result that it has not, or has.

    A run with a result of its own and another result are two results, which are compared.
    """
    from nelbo.formats import is_function, says_all
    from nelbo.tasks.report import RESULT

    if len(sources) != 2 or sources[1].suffix.lower() != ".json" or is_function(str(sources[0])):
        return False
    if not sources[0].is_dir() or not says_all(str(sources[0])):
        return False
    own = sources[0] / RESULT
    return not own.is_file() or (sources[1].is_file() and own.samefile(sources[1]))


def _of_model(
    sources: Sequence[Path],
    data: str | None,
    per_image: Path | None,
    device: str,
    progress: Update,
    drawing: dict[str, int | None],
) -> str:
    """The page of the model, read as the result says that it was."""
    from nelbo.results.reading import read
    from nelbo.tasks.report import Drawing, model_of, model_page

    result = read(sources[1], note)
    model = model_of(str(sources[0]), result, device)
    shown = Drawing(drawing["count"], drawing["seed"] or 0, drawing["steps"], progress=progress)
    return model_page(model, result, data, per_image, shown, note)
