"""nelbo card: a result as a model card of the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.terminal import note

__all__ = ["card"]


@app.command(cls=Command)
def card(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT...", help="What evaluate --json wrote, or a run folder."),
    ],
) -> None:
    """Print a model card for the Hugging Face hub.

    \b
    nelbo card runs/digits
    nelbo card digits.json mnist.json

    Several results are of one model on several data sets. Nothing is sent anywhere: redirect it to
    the README.md of the model's repository.
    """
    from nelbo.report.card import card as made
    from nelbo.results.reading import read
    from nelbo.tasks.report import measured

    known = [measured(x, note)[0] if x.is_dir() else read(x, note) for x in results]
    print(made(known), end="")
