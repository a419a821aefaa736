"""Images to bytes and back, without a loss, by an ordered masked chain in whole numbers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.arguments import flag, whole
from nelbo.categorical.orders import read_order
from nelbo.coding import (
    Archive,
    Coded,
    OrderedCode,
    Progress,
    read,
    require_codable,
    settings,
    written,
)
from nelbo.data import Images
from nelbo.data.packed import is_picture, packed, picture, saved
from nelbo.errors import BadInput, NotWritten, printable
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results.compression import Compression
from nelbo.tasks.evaluate import evaluate
from nelbo.typed_json import Json

__all__ = ["Decompressed", "Files", "compress", "decompress", "described", "png"]

DIGEST = 4  # bytes of the twin's digest that a file has
MOST = 256  # levels, which a byte of a picture has
BOUND = 0.02  # bits/dim: what the bound is measured to, beside the file


@final
@dataclass(frozen=True)
class Files:
    """The bytes of a .nlb file, and what they cost."""

    content: bytes
    bill: Compression


@final
@dataclass(frozen=True)
class Decompressed:
    """Images as levels, and the name that each had, or its number where there was none."""

    levels: Int64[Tensor, "N C H W"]
    names: Sequence[str]


def compress(
    model: Model | str | Path | Pipeline,
    images: object,
    *,
    order: str = "dispersed",
    calls: int = 8,
    bound: bool = False,
    verify: bool = True,
    progress: Progress = lambda done, expected, text: None,
) -> Files:
    """The images as bytes whose length is what the likelihood promises: below 8 bits more each.

    model: one whose network is an integer twin (`nelbo improve --integers`). images: as for
    `evaluate`; a single one has a head of 12 bytes, several have an archive. calls: network
    evaluations for each image; more are smaller and slower. bound: measure the model's bound on the
    same images too. verify: decode the bytes and hold every pixel against the images.

    Raises:
        BadInput: another model, with the way to one; images that are not the model's; an order or
            a number of calls that a file has no room for.
        NotWritten: what was written decodes to other images, which is an error of this library.
    """
    model, calls = as_model(model), whole("calls", calls)
    code = _code(model, order, calls)
    examples = examples_of(model, images)
    if not isinstance(examples, Images):
        raise BadInput(f"{examples.name} holds no images of levels, which a codec is for")
    stored = 0 if calls == model.dims else calls  # in the head of the file
    settings(order, stored)
    names = _names(examples.sources) if len(examples) > 1 else ()
    started = time.monotonic()
    coded = code.encode(examples.levels, progress)
    single = len(examples) == 1
    archive = Archive(_digest(model), order, stored, coded.contents, names=names, single=single)
    content, table = written(archive)
    seconds = time.monotonic() - started
    if flag("verify", verify):
        again = _stage(progress, "decoded again", len(examples))
        decoded = decompress(model, content, examples.name, progress=again).levels
        if not torch.equal(decoded, examples.levels.long()):
            raise NotWritten(
                f"nothing is written: the code of {examples.name} decodes to other pixels, which "
                "is an error of nelbo; please report it with the model and the images"
            )
    measured = None
    if flag("bound", bound):
        shown = _stage(progress, "bound", len(examples))
        each = evaluate(model, examples, precision=BOUND, progress=shown).bits_per_dim
        measured = each * len(examples) * model.dims
    bill = _bill(model, examples, code, coded, len(content), table, verify, seconds, measured)
    return Files(content, bill)


def _stage(progress: Progress, text: str, images: int) -> Callable[[int, int | None, str], None]:
    """What shows a part of the work, of images too: an evaluation counts its own."""

    def show(done: int, expected: int | None, _: str) -> None:
        if expected:
            progress(min(images, images * done // expected), images, text)

    return show


def decompress(
    model: Model | str | Path | Pipeline,
    content: bytes,
    where: str = "the file",
    *,
    only: str | int | None = None,
    first: int | None = None,
    progress: Progress = lambda done, expected, text: None,
) -> Decompressed:
    """The images of a .nlb file, every pixel as it was.

    where: the file's name, which messages and a single image have. only: one image, by its name or
    its number from 0. first: read this many of the groups alone and guess the rest, for a preview.

    Raises:
        BadInput: damaged bytes; another model than the file was made with; no such image or group.
    """
    model, archive = as_model(model), read(content, where)
    require_codable(model)
    if archive.digest != _digest(model):
        raise BadInput(
            f"{where} was made with the model {archive.digest.hex()}, and {model.name} is "
            f"{_digest(model).hex()}: give the one that it was made with"
        )
    code = _code(model, archive.order, archive.calls or model.dims)
    if first is not None and not 0 <= whole("groups", first) <= code.calls:
        raise BadInput(f"{where} has {code.calls} groups; a preview of {first} was asked for")
    chosen = range(len(archive.codes)) if only is None else [_number(archive, only, where)]
    codes = [archive.code(i) for i in chosen]
    levels = code.decode(codes, first=first, progress=progress)
    return Decompressed(levels, [_name(archive, i, where) for i in chosen])


def described(content: bytes, where: str) -> dict[str, Json]:
    """What a .nlb file says of itself, without its model."""
    archive = read(content, where)
    sizes = [len(code) for code in archive.codes]
    return {
        "schema": "nelbo.inspection/1",
        "images": len(sizes),
        "order": archive.order,
        "calls": archive.calls or "one for each position",
        "model_sha256_begins": archive.digest.hex(),
        "bytes": len(content),
        "bytes_of_codes": sum(sizes),
        "names": len(archive.names),
    }


def _code(model: Model, order: str, calls: int) -> OrderedCode:
    require_codable(model)
    if model.grid.n > MOST:
        raise BadInput(
            f"{model.name} is of {model.grid.n} levels, and pictures of more than {MOST} are not "
            "coded: give a model of 8 bits"
        )
    return OrderedCode(model, read_order(order, model.shape), calls)


def _digest(model: Model) -> bytes:
    return bytes.fromhex(model.sha256())[:DIGEST]


def _as_png(name: str) -> str:
    return name if name.endswith(".png") else f"{name}.png"


def _names(sources: Sequence[str]) -> tuple[str, ...]:
    """The paths that files come back by, below the folder.

    Raises:
        BadInput: two that are one, or a name that is refused when it is read.
    """
    names = [_as_png(name) for name in sources]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"two files would both come back as {printable(twice)}: rename one")
    return tuple(map(_plain, names))


def _name(archive: Archive, i: int, where: str) -> str:
    """The relative path of image i: that of the table or its number; of a single one the file's."""
    file = PurePath(where)
    if archive.single and file.suffix == ".nlb":
        return f"{file.stem}.png"
    if not archive.names:
        return f"{i:0{len(str(len(archive.codes) - 1))}}.png"
    return _plain(archive.names[i])


def _plain(name: str) -> str:
    """The name of a picture in a folder, or in a folder of that.

    Raises:
        BadInput: it leads elsewhere, or a terminal would not show it as it is.
    """
    path = PurePosixPath(name)
    inside = 1 <= len(path.parts) <= 2 and not path.is_absolute() and ".." not in path.parts
    if not inside or printable(name) != name or "\\" in name or path.suffix != ".png":
        raise BadInput(
            f"the name {printable(name)!r} leads elsewhere or is not plain: an image is a name in "
            "a folder, or in one folder below"
        )
    return name


def _number(archive: Archive, only: str | int, where: str) -> int:
    """The place of an image of that name or number."""
    text = str(only)
    for name in (text, _as_png(text)):
        if name in archive.names:
            return archive.names.index(name)
    if text.isascii() and text.isdecimal() and int(text) < len(archive.codes):
        return int(text)
    raise BadInput(
        f"{where} has no image {printable(text)}: it has {len(archive.codes)}, numbered from 0"
        + (f", the first {printable(archive.names[0])}" if archive.names else "")
    )


def _bill(
    model: Model,
    images: Images,
    code: OrderedCode,
    coded: Coded,
    size: int,
    names: int,
    verified: bool,
    seconds: float,
    bound: float | None,
) -> Compression:
    return Compression(
        model=model.described(),
        data={"name": images.name, "split": images.split, "sha256": images.sha256},
        images=len(images),
        dims=model.dims,
        order=code.order.name,
        calls=code.calls,
        bound=bound,
        likelihood=float(coded.likelihood.sum()),
        ideal=float(coded.ideal.sum()),
        coded=int(coded.bits.sum()),
        names=8 * names,
        file=8 * size,
        others=packed(images),
        model_bytes=sum(x.numel() * x.element_size() for x in model.network.buffers()),
        verified=verified,
        seconds=seconds,
    )


def png(levels: Tensor) -> bytes:
    """A PNG whose pixels are the levels themselves, not spread over 0..255.

    Raises:
        BadInput: other channels than those of a picture.
    """
    if not is_picture(levels):
        raise BadInput(
            f"images of {levels.shape[0]} channels are no pictures: write them as an array, -o "
            "FILE.npy"
        )
    return saved(picture(levels), "PNG", optimize=True)
