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

NEVER = (
    *("plan", "ode", "ode_against_bound", "part", "output"),
    *("json", "per_image", "plots", "record", "baselines"),
)


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
        list[str] | None,
        typer.Option(
            help="Where the model is now; default as the parts say. Of a comparison twice, A, B."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data are now; default as the parts say.")
    ] = None,
    force: Force = False,
) -> None:
    """Make the result of all parts of an evaluation or comparison.

    \b
    nelbo merge part1.json part2.json -o result.json
    nelbo merge parts/*.json -o result.json --per-image images.csv

    Each part is made by `nelbo evaluate MODEL --exhaustive --part K/N -o partK.json`, or by `nelbo
    compare A B` with the same options. The parts may come in any order and twice, and from any
    machine. The models and the data are read again and held against their digests; no network is
    evaluated. The figures are those of one process, to the last bit; parts that are missing are
    listed with their commands.
    """
    from nelbo.estimation import missing
    from nelbo.results.part import Part

    read = [Part.read(path) for path in parts]
    first = read[0]
    if not first.arguments:
        raise BadInput(f"{first.source} was made in Python: merge its parts by nelbo.merge")
    count, absent = missing(read)
    own: dict[str, object] = {"json": output, "force": force}
    merging = Merging(read)
    of_one = {"per_image": per_image, "plots": plots, "baselines": baselines}
    if merging.name == "evaluate":
        own |= of_one
    elif any(of_one.values()):
        raise BadInput(
            "--per-image, --plots and --baselines are of one model: leave them out of a comparison"
        )
    own |= _where(merging, model or [], data)
    with _evaluation(context, merging, own) as run:
        for command in commands_of(read, absent):
            note(command)
        if count > len(absent):
            note(f"and {count - len(absent):,} more")
        run()


def _where(merging: Merging, models: list[str], data: str | None) -> dict[str, object]:
    """Where the models and the data are now, by the parameters of the command."""
    wanted = 1 if merging.name == "evaluate" else 2
    if len(models) not in (0, wanted):
        of = "one model: give --model once" if wanted == 1 else "two: give --model twice, A, B"
        raise BadInput(f"{merging.parts[0].source} is of {of}, or leave it out")
    named: dict[str, object] = {} if data is None else {"data": data}
    if models:
        named |= {"model": models[0]} if wanted == 1 else {"models": models}
    return named


@contextmanager
def _evaluation(
    context: typer.Context, merging: Merging, own: dict[str, object]
) -> Iterator[Callable[[], object]]:
    """The command as the parts were made by it, with them in place of the networks.

    own: parameters of it that merge itself decides.

    Raises:
        BadInput: the parts name what no part can: a file to write, or code as the model.
    """
    from nelbo.formats import is_function

    root: Any = context.parent
    command = root.command.get_command(root, merging.name)
    source, arguments = merging.parts[0].source, [*merging.parts[0].arguments]
    with command.make_context(merging.name, arguments, parent=root, obj=merging) as parsed:
        models = parsed.params["models"] if merging.name == "compare" else [parsed.params["model"]]
        if None in models or any(parsed.params.get(name) for name in NEVER):
            raise BadInput(f"{source} names files to write, which no part does: it was edited")
        code = next((model for model in models if is_function(model)), None)
        if not {"model", "models"} & own.keys() and code is not None:
            raise BadInput(
                f"{source} names code as its model, {code}, and merge runs none "
                "that only a file of results names: give it by --model"
            )
        parsed.params |= own
        yield lambda: command.invoke(parsed)
