"""The command that writes images as one small file: compress."""

from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.options import (
    Device,
    JsonOption,
    MaxImages,
    ModelArgument,
    SplitOption,
    find_data,
    find_model,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.cli.terminal import note, print_result
from nelbo.errors import BadInput

__all__ = ["compress"]


@app.command(cls=Command)
@reads_models
def compress(
    model: ModelArgument,
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of images, digits, mnist:DIR, .npy, .npz, .safetensors or .arrow.",
            autocompletion=completion.data,
        ),
    ],
    reading: Reading,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .nlb file.")] = None,
    split: SplitOption = None,
    calls: Annotated[
        int, typer.Option(help="Network evaluations of each image: more are smaller and slower.")
    ] = 8,
    order: Annotated[
        str, typer.Option(help="How positions are revealed: dispersed or raster.")
    ] = "dispersed",
    max_images: MaxImages = None,
    bound: Annotated[
        bool, typer.Option("--bound", help="Measure the model's bound on the same images too.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Decode what is written, and compare.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Code in memory, print the bill, write nothing.")
    ] = False,
    device: Device = "auto",
    json: JsonOption = None,
    force: Force = False,
) -> None:
    """Write images as one small file, without a loss.

    \b
    nelbo compress runs/twin my-images/ -o my-images.nlb
    nelbo compress runs/twin digits:test --calls 16 --dry-run

    The model is an integer twin (nelbo improve --integers), which whoever decodes must have. It
    decodes to equal pixels, as PNG: metadata and the formats of the files are not kept.
    """
    from nelbo.tasks.compress import compress as run

    if (output is None) != dry_run:
        raise BadInput("say where by -o FILE.nlb, or --dry-run to write nothing")
    check_outputs(
        Output("-o", output, "archive", (".nlb",)),
        Output("--json", json, "compression", stdout=True),
        force=force,
    )
    loaded = find_model(model, reading, device)
    images = find_data(model, loaded, data, split)
    images = images if max_images is None else images.first(max_images)
    with bars() as start:
        made = run(
            loaded,
            images,
            order=order,
            calls=calls,
            bound=bound,
            verify=verify,
            progress=start(f"compress {images.name}", "images"),
        )
    if any(not name.endswith(".png") for name in images.sources):
        note("files that are no PNG come back as PNG of equal pixels")
    if len(images.sources) == 1 and output is not None:
        note(f"a single image has no name but that of its file: it comes back as {output.stem}.png")
    deliver(
        lambda: print_result(made.bill, json),
        (output, lambda: made.content),
        (json, made.bill.to_json().encode),
        stdout=json != "-",
    )
