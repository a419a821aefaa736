"""The command that runs the derivation: derive."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    DataOption,
    Device,
    JsonOption,
    Seed,
    SplitOption,
    Steps,
    command,
    find_data,
    find_model,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.cli.terminal import console
from nelbo.errors import BadInput, printable

if TYPE_CHECKING:
    from nelbo.results.derivation import Derivation

__all__ = ["derive"]


@app.command(cls=Command)
@reads_models
def derive(
    reading: Reading,
    model: Annotated[
        str | None,
        typer.Argument(help="Without one, three exact chains.", autocompletion=completion.models),
    ] = None,
    data: DataOption = None,
    split: SplitOption = None,
    images: Annotated[int, typer.Option(min=1, help="Use the first so many images.")] = 2,
    paths: Annotated[int, typer.Option(min=2, help="Paths of each image.")] = 256,
    steps: Steps = None,
    seed: Seed = 0,
    dtype: Annotated[str, typer.Option(help="Of states and p: float64 or float32.")] = "float64",
    device: Device = "auto",
    json: JsonOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures here.")] = None,
    tex: Annotated[Path | None, typer.Option(help="Write it as LaTeX here, for a paper.")] = None,
    ipynb: Annotated[
        Path | None, typer.Option(help="Write a notebook here, a cell for each line.")
    ] = None,
    force: Force = False,
) -> None:
    """Run the derivation, line by line, true ones and false ones.

    \b
    nelbo derive
    nelbo derive runs/digits --steps 50 --html derivation.html
    nelbo derive --tex derivation.tex --ipynb derivation.ipynb

    From log p(x_0) to the three terms; without a model, exactly, on three small chains. Exits with
    3 if a line that must hold does not.
    """
    from nelbo.report.derivation_table import print_derivation
    from nelbo.tasks.derive import derive as run

    check_outputs(
        Output("--json", json, "derivation", stdout=True),
        Output("--html", html, "derivation page", (".html", ".htm")),
        Output("--tex", tex, "derivation text", (".tex",)),
        Output("--ipynb", ipynb, "derivation notebook", (".ipynb",)),
        force=force,
    )
    if model is None and ((data, split, steps) != (None, None, None) or reading != Reading()):
        raise BadInput("--data, --split, --steps and how it is read are of a model: name one")
    loaded, chosen = None, None
    if model is not None:
        loaded = find_model(model, reading, device, steps)
        chosen = find_data(model, loaded, data, split)
        say_assumed(loaded)
    with bars() as start:
        result = run(
            loaded,
            chosen,
            images=images,
            paths=paths,
            seed=seed,
            dtype=dtype,
            command=command(),
            progress=start("derive"),
        )

    def show() -> None:
        if json == "-":
            print(result.to_json(), end="")
        else:
            print_derivation(result, console())

    deliver(
        show,
        (json, result.to_json().encode),
        (html, partial(_page, result)),
        (tex, partial(_text, result)),
        (ipynb, partial(_notebook, result)),
        stdout=json != "-",
    )
    if not result.holds:
        print(printable(f"nelbo: {result.failures()[0]}"), file=sys.stderr)
        raise typer.Exit(3)  # a check that was asked for


def _page(derivation: "Derivation") -> bytes:
    from nelbo.report.derivation_page import derivation_page

    return derivation_page(derivation).encode()


def _text(derivation: "Derivation") -> bytes:
    from nelbo.report.derivation_texts import latex

    return latex(derivation).encode()


def _notebook(derivation: "Derivation") -> bytes:
    from nelbo.report.derivation_texts import notebook

    return notebook(derivation).encode()
