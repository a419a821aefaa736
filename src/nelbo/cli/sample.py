"""The command that draws: sample."""

from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    Check,
    Device,
    ModelArgument,
    Seed,
    Steps,
    find_model,
    say_assumed,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.cli.terminal import note

__all__ = ["sample"]


@app.command(cls=Command)
@reads_models
def sample(
    model: ModelArgument,
    reading: Reading,
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".png, .npy, or .txt of text.")
    ] = Path("samples.png"),
    count: Annotated[int, typer.Option("-n", "--count", help="How many.")] = 64,
    of_class: Annotated[
        int | None, typer.Option("--class", help="All of this class; default each in turn.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Of text: what every sample begins with.")
    ] = None,
    steps: Steps = None,
    seed: Seed = 0,
    check: Check = True,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Draw exact ancestral samples: a picture, an array, or a text.

    \b
    nelbo sample runs/digits -n 64 -o samples.png
    nelbo sample runs/digits -n 1000 -o samples.npy
    nelbo sample runs/digits-classes --class 3
    nelbo sample runs/text -n 4 --prompt "The statement" -o samples.txt
    """
    from nelbo.sampling.pictures import encoder
    from nelbo.sampling.texts import prompted, require_form
    from nelbo.tasks.sample import sample as run

    kind = "text" if output.suffix == ".txt" else "picture"
    check_outputs(Output("-o", output, kind, (".png", ".npy", ".txt")), force=force)
    encode = encoder(output)
    loaded = find_model(model, reading, device, steps)
    n = loaded.grid.n  # before hours of work
    require_form(loaded.shape, n, output)
    given = None if prompt is None else prompted(loaded.shape, n, prompt)
    say_assumed(loaded)
    if loaded.classes is not None and of_class is None:
        note(f"classes 0..{loaded.classes - 1} in turn, row by row")
    with bars() as start:
        moved = start(f"sample {loaded.name}", "steps")
        levels = run(
            loaded, count, seed=seed, label=of_class, given=given, check=check, progress=moved
        )
    deliver(lambda: None, (output, lambda: encode(levels, n)))
