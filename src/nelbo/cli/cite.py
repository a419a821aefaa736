"""The command that prints BibTeX: cite."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.options import find_model
from nelbo.cli.reading import Reading

if TYPE_CHECKING:
    from nelbo.typed_json import Json

__all__ = ["cite"]


@app.command(cls=Command)
def cite(
    result: Annotated[str, typer.Argument(help="What --json wrote, or a run folder.")],
) -> None:
    """Print BibTeX of what a result or a run is made of.

    \b
    nelbo cite result.json
    nelbo cite runs/digits

    Each entry has the reason for it in a comment.
    """
    from nelbo.formats import recipe_of
    from nelbo.results.citation import bibtex, read_result

    path = Path(result)
    if not path.is_dir() and path.suffix != ".safetensors":
        print(bibtex(read_result(path)), end="")
        return
    model = find_model(result, Reading(), "cpu")
    about: dict[str, Json] = {"model": model.described()}
    if not model.settings.foreign:
        recipe = recipe_of(result)
        about |= {"data": {"name": recipe.data.train}, "training": recipe.training.model_dump()}
    print(bibtex(about), end="")
