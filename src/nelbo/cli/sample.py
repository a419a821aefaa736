"""The command that draws: sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from nelbo.model import Model

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
    infill: Annotated[
        str | None,
        typer.Option(help="Of text: its beginning, kept but for the gaps, ___, one _ a symbol."),
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
    nelbo sample runs/text -n 4 --infill "The ______ statement" -o samples.txt
    """
    from nelbo.sampling.pictures import encoder
    from nelbo.sampling.texts import require_form
    from nelbo.tasks.sample import sample as run

    kind = "text" if output.suffix == ".txt" else "picture"
    check_outputs(Output("-o", output, kind, (".png", ".npy", ".txt")), force=force)
    encoder(output)  # refuses other suffixes before the model is read
    loaded = find_model(model, reading, device, steps)
    n = loaded.grid.n  # before hours of work
    require_form(loaded.shape, n, output, loaded.alphabet)
    given = _kept(loaded, prompt, infill)
    encode = encoder(output, loaded.alphabet)
    say_assumed(loaded)
    if loaded.classes is not None and of_class is None:
        note(f"classes 0..{loaded.classes - 1} in turn, row by row")
    with bars() as start:
        moved = start(f"sample {loaded.name}", "steps")
        levels = run(
            loaded, count, seed=seed, label=of_class, given=given, check=check, progress=moved
        )
    deliver(lambda: None, (output, lambda: encode(levels, n)))


def _kept(model: "Model", prompt: str | None, infill: str | None) -> "Tensor | None":
    """What every sample keeps, where something is given.

    Raises:
        BadInput: both are given, or as `prompted` and `infilled`.
    """
    from nelbo.sampling.texts import infilled, prompted

    if prompt is not None and infill is not None:
        raise BadInput("--prompt and --infill exclude each other: a text with gaps begins with one")
    if prompt is None and infill is None:
        return None
    text, make = (prompt, prompted) if infill is None else (infill, infilled)
    return make(model.shape, model.grid.n, text or "", model.alphabet)
