"""The command that makes an evaluation of its parts: merge."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.outputs import Baselines, Force, PerImage, Plots
from nelbo.cli.parts import Merging, commands_of
from nelbo.cli.terminal import note
from nelbo.errors import BadInput

__all__ = ["merge"]

NEVER = ("plan", "ode", "part", "output", "json", "per_image", "plots", "record", "baselines")


@app.command(cls=Command)
def merge(
    context: typer.Context,
    parts: Annotated[list[Path], typer.Argument(help="The files of all parts, in any order.")],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Write the result to this file; - for stdout.")
    ],
    per_image: PerImage = None,
    plots: Plots = None,
    baselines: Baselines = False,
    model: Annotated[
        str | None, typer.Option(help="Where the model is now; default as the parts say.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data are now; default as the parts say.")
    ] = None,
    force: Force = False,
) -> None:
    """Make the result of all parts of an evaluation.

    \b
    nelbo merge part1.json part2.json -o result.json
    nelbo merge parts/*.json -o result.json --per-image images.csv

    Each part is made by `nelbo evaluate MODEL --exhaustive --part K/N -o partK.json`. The parts may
    come in any order and twice, and from any machine. The model and the data are read
    again and held against their digests; the network is not evaluated. The figures are those of one
    process, to the last bit; parts that are missing are listed with their commands.
    """
    from nelbo.estimation import missing
    from nelbo.results.part import Part

    read = [Part.read(path) for path in parts]
    first = read[0]
    if not first.arguments:
        raise BadInput(f"{first.source} was made in Python: merge its parts by nelbo.merge")
    count, absent = missing(read)
    own: dict[str, object] = {
        "json": output,
        "per_image": per_image,
        "plots": plots,
        "force": force,
    }
    stated = {"model": model, "data": data}
    given = {name: value for name, value in stated.items() if value is not None}
    with _evaluation(context, Merging(read), {**own, "baselines": baselines, **given}) as run:
        for command in commands_of(read, absent):
            note(command)
        if count > len(absent):
            note(f"and {count - len(absent):,} more")
        run()


@contextmanager
def _evaluation(
    context: typer.Context, merging: Merging, own: dict[str, object]
) -> Iterator[Callable[[], object]]:
    """`nelbo evaluate` as the parts were made by it, with them in place of the network.

    own: parameters of `evaluate` that merge itself decides.

    Raises:
        BadInput: the parts name what no part can: a file to write, or code as the model.
    """
    from nelbo.formats import is_function

    root: Any = context.parent
    evaluate = root.command.get_command(root, "evaluate")
    source, arguments = merging.parts[0].source, [*merging.parts[0].arguments]
    with evaluate.make_context("evaluate", arguments, parent=root, obj=merging) as parsed:
        if parsed.params["model"] is None or any(parsed.params[name] for name in NEVER):
            raise BadInput(f"{source} names files to write, which no part does: it was edited")
        if "model" not in own and is_function(parsed.params["model"]):
            raise BadInput(
                f"{source} names code as its model, {parsed.params['model']}, and merge runs none "
                "that only a file of results names: give it by --model"
            )
        parsed.params |= own
        yield lambda: evaluate.invoke(parsed)
