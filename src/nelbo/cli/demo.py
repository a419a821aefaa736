"""The command that shows all the others on digits: demo."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.options import check_folder
from nelbo.cli.progress import bars
from nelbo.cli.terminal import artefacts, console, name_made
from nelbo.errors import Stopped, printable
from nelbo.stopping import leaving

__all__ = ["demo"]


@app.command(cls=Command)
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")] = Path(
        "runs/demo"
    ),
    with_control: Annotated[
        bool, typer.Option(help="Also train the plain eps DDPM, as a control.")
    ] = False,
    recipe: Annotated[
        str,
        typer.Option(
            help="Another recipe: a name or a .toml file.", autocompletion=completion.recipes
        ),
    ] = "digits",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder, if it is there.")
    ] = False,
) -> None:
    """Train, measure and sample on 8x8 digits: about four minutes.

    \b
    nelbo demo
    nelbo demo -o runs/first --with-control
    nelbo demo --resume

    Stopped or killed, it goes on by --resume, with the other options as they were.
    """
    from nelbo.recipe import read
    from nelbo.tasks.demo import demo as run

    check_folder(output)
    again = _once_more("--resume")
    try:
        with leaving(f"; {printable(again)} goes on"), bars() as start:
            result = run(
                output,
                choices=read(recipe),
                control=with_control,
                resume=resume,
                command=_from_the_beginning("--resume"),
                progress=start,
            )
    except Stopped as error:
        raise Stopped(error.what, again, error.signal) from error
    heading, *rows = result.table
    _print_table(heading, rows)
    print(printable(result.evaluation, lines=True))
    name_made(artefacts(output))


def _from_the_beginning(option: str) -> str:
    """What the user typed, without the option: what makes all of it again."""
    return shlex.join(["nelbo", *(word for word in sys.argv[1:] if word != option)])


def _once_more(option: str) -> str:
    """What the user typed, with the option."""
    typed = sys.argv[1:]
    return shlex.join(["nelbo", *typed, *([] if option in typed else [option])])


def _print_table(heading: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(*heading, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console().print(table)
