"""The command that reads a compressed file back into images: decompress."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli.app import Command, app
from nelbo.cli.compressed_file import content_of
from nelbo.cli.options import Device, ModelArgument, check_new, find_model
from nelbo.cli.outputs import Force, Output, check_outputs, deliver
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.cli.terminal import note
from nelbo.errors import BadInput, printable

if TYPE_CHECKING:
    from nelbo.tasks.compress import Decompressed

__all__ = ["decompress"]


@app.command(cls=Command)
@reads_models
def decompress(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(help="What nelbo compress wrote.")],
    reading: Reading,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder, or a .npy or .png file.")
    ],
    only: Annotated[
        str | None, typer.Option(metavar="NAME|i", help="One image, by name or number from 0.")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(help="A preview: read so many groups alone, guess the rest.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Read a compressed file back into images.

    \b
    nelbo decompress runs/twin my-images.nlb -o my-images-again
    nelbo decompress runs/twin my-images.nlb --only 3 -o third.png
    nelbo decompress runs/twin my-images.nlb --groups 2 -o preview
    """
    from nelbo.tasks.compress import decompress as run

    alone = output.suffix.lower() in (".npy", ".png")
    if alone:
        kind = "picture" if output.suffix.lower() == ".png" else "array"
        check_outputs(Output("-o", output, kind), force=force)
    else:
        check_new(output)
    content = content_of(file)
    loaded = find_model(model, reading, device)
    with bars() as start:
        images = run(
            loaded,
            content,
            str(file),
            only=only,
            first=groups,
            progress=start(f"decompress {file.name}", "images"),
        )
    if groups is not None:
        note(f"a preview: {groups} groups are read, the rest is guessed")
    if alone:
        encoded = _one(output, images)
        deliver(lambda: None, (output, lambda: encoded))
    else:
        _write_folder(output, images)
        print(printable(output))


def _one(path: Path, images: "Decompressed") -> bytes:
    """The bytes of an array of all images, or of a picture of one.

    Raises:
        BadInput: several images for one picture.
    """
    import io

    import numpy as np

    from nelbo.tasks.compress import png

    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, images.levels.numpy().astype(np.uint8))
        return buffer.getvalue()
    if len(images.names) > 1:
        raise BadInput(
            f"-o {path} is one picture and the file holds {len(images.names)} images: name a "
            "folder, or one image by --only"
        )
    return png(images.levels[0])


def _write_folder(folder: Path, images: "Decompressed") -> None:
    """A PNG for each image, all of them or no folder."""
    from nelbo import files
    from nelbo.tasks.compress import png

    with files.whole_folder(folder) as part:
        for name, levels in zip(images.names, images.levels, strict=True):
            (part / name).parent.mkdir(exist_ok=True)
            files.write(part / name, png(levels))
