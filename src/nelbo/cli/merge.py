"""The command that makes an evaluation of its parts: merge."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.outputs import Baselines, Force, PerImage, Plots
from nelbo.cli.parts import Merging, commands_of
from nelbo.cli.terminal import note
from nelbo.errors import BadInput

__all__ = ["merge"]

OUTPUTS = {"--json", "--per-image", "--plots", "--record", "--force"}


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
    if OUTPUTS & {one.partition("=")[0] for one in first.arguments}:
        raise BadInput(f"{first.source} names files to write, which no part does: it was edited")
    for command in commands_of(read, missing(read)):
        note(command)
    wanted = {"--json": output, "--per-image": per_image, "--plots": plots}
    written = [str(x) for pair in wanted.items() if pair[1] is not None for x in pair]
    flags = ["--baselines"] * baselines + ["--force"] * force
    stated = {"model": model, "data": data}
    _evaluate(context, [*first.arguments, *written, *flags], stated, Merging(read))


def _evaluate(
    context: typer.Context, arguments: list[str], stated: dict[str, str | None], merging: Merging
) -> None:
    """`nelbo evaluate` with these arguments, and the parts in place of the network.

    Raises:
        BadInput: the model is code that only the parts name, which a file of results may not run.
    """
    from nelbo.formats import is_function

    root: Any = context.parent
    evaluate = root.command.get_command(root, "evaluate")
    with evaluate.make_context("evaluate", arguments, parent=root, obj=merging) as own:
        if stated["model"] is None and is_function(own.params["model"]):
            raise BadInput(
                f"{merging.parts[0].source} names code as its model, {own.params['model']}, and "
                "merge runs none that only a file of results names: give it by --model"
            )
        own.params |= {name: value for name, value in stated.items() if value is not None}
        evaluate.invoke(own)
