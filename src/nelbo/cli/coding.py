"""Commands of the codec: compress and decompress; and the twin that improve makes for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli import completion
from nelbo.cli.app import Command, app
from nelbo.cli.manner import artefacts, detail, note, print_result
from nelbo.cli.options import (
    Device,
    JsonOption,
    MaxImages,
    ModelArgument,
    SplitOption,
    check_new,
    command,
    find_data,
    find_model,
    find_training_data,
)
from nelbo.cli.outputs import Force, Output, check_outputs, deliver, kind_of
from nelbo.cli.progress import bars
from nelbo.cli.reading import Reading, reads_models
from nelbo.errors import BadInput, printable

if TYPE_CHECKING:
    from nelbo.tasks.compress import Decompressed

__all__ = ["compress", "decompress", "improve_integers", "inspect_file", "is_compressed"]

LARGEST = 2**34  # bytes of a file that is read at once


@app.command(cls=Command)
@reads_models
def compress(
    model: ModelArgument,
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of images, digits, mnist:DIR, .npy or .npz.",
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
    found = find_model(model, reading, device)
    images = find_data(model, found, data, split)
    images = images if max_images is None else images.first(max_images)
    with bars() as start:
        made = run(
            found,
            images,
            order=order,
            calls=calls,
            bound=bound,
            verify=verify,
            progress=start(f"compress {images.name}", "images"),
        )
    if any(not name.endswith(".png") for name in images.sources):
        note("files that are no PNG come back as PNG of equal pixels")
    deliver(
        lambda: print_result(made.bill, json),
        (output, lambda: made.content),
        (json, made.bill.to_json().encode),
        stdout=json != "-",
    )


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
    from nelbo import files
    from nelbo.tasks.compress import decompress as run

    alone = output.suffix.lower() in (".npy", ".png")
    if alone:
        kind = "picture" if output.suffix.lower() == ".png" else "array"
        check_outputs(Output("-o", output, kind), force=force)
    else:
        check_new(output)
    content = files.read(file, LARGEST, "compressed file")
    found = find_model(model, reading, device)
    with bars() as start:
        images = run(
            found,
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


def is_compressed(path: str) -> bool:
    """Whether a file is one that `compress` made, by its first bytes."""
    try:
        return Path(path).is_file() and kind_of(Path(path)) == "archive"
    except OSError:
        return False


def inspect_file(path: str, json: str | None) -> None:
    """Says what a compressed file is; its model is not needed."""
    import json as form

    from nelbo import files
    from nelbo.tasks.compress import described

    about = described(files.read(path, LARGEST, "compressed file"), path)
    content = form.dumps(about, indent=1) + "\n"
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in about.items()]
    shown = content if json == "-" else "\n".join([path, *lines[1:]]) + "\n"
    deliver(
        lambda: print(printable(shown, lines=True), end=""),
        (json, content.encode),
        stdout=json != "-",
    )


def improve_integers(
    model: str,
    reading: Reading,
    output: Path,
    data: str | None,
    test: str | None,
    held_out: float,
    precision: float,
    budget: int | None,
    max_images: int | None,
    seed: int,
    check: bool,
    device: str,
    json: str | None,
    force: bool,
) -> None:
    """Makes the integer twin of a run, and measures what it costs, paired."""
    from nelbo.tasks.compare import compare
    from nelbo.tasks.integers import integer_twin, save

    check_new(output)
    check_outputs(Output("--json", json, "comparison", stdout=True), force=force)
    found = find_model(model, reading, device)
    fitted, others = find_training_data(model, found, data, test, held_out, seed)
    others = others if max_images is None else others.first(max_images)
    twin = integer_twin(found, fitted, seed=seed)
    folder = save(model, twin, output)
    detail(f"{folder}: made from {len(fitted):,} images of {fitted.name}")
    with bars() as start:
        result = compare(
            twin,
            found,
            others,
            precision=precision,
            budget=budget,
            seed=seed,
            check=check,
            command=command(),
            progress=start("twin and original"),
        )
    deliver(
        lambda: print_result(result, json),
        (json, result.to_json().encode),
        also=artefacts(folder),
        stdout=json != "-",
    )
    note("A is the integer twin, B the network that it was made of")


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
