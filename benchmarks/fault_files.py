"""Damaged files and what must come of them: refused, read as they were, or as they are written.

A part is made of a folder and gives, for each number of a case, what came of it.
"""

import gzip
import io
import json
import random
import shutil
import struct
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from nelbo import checkpoint, data, evaluate, formats, recipe
from nelbo.errors import BadInput
from nelbo.recipe import Recipe
from nelbo.results import per_image, result
from nelbo.tasks.train import train

__all__ = ["FILES", "Case", "made"]

Case = Callable[[int], str]
WORDS = (
    b"NaN",
    b"-1",
    b"1e999",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"',
    b"\x1b[2J",
    b"\xff",
    b"\n",
    b"9" * 400,
)
RESULT = ("value", "half", "half_monte_carlo", "terms", "steps", "rate", "looks", "images")


def made(folder: Path) -> Path:
    """A small run with its result, table and data, all that the parts damage copies of."""
    choices = recipe.read(
        "digits", ["training.steps=2", "network.width=8", "training.batch_size=16"]
    )
    run = train(choices, folder / "run")
    found = evaluate(
        formats.load(run), data.load("digits:test").first(12), budget=400, distortion=True
    )
    (folder / "result.json").write_text(found.to_json())
    for suffix in ("csv", "parquet"):
        per_image.write(found.per_image, folder / f"images.{suffix}")
    levels = np.random.default_rng(0).integers(17, size=(6, 1, 8, 8), dtype=np.uint8)
    np.save(folder / "data.npy", levels)
    np.savez_compressed(folder / "data.npz", levels)
    pixels = np.random.default_rng(1).integers(256, size=(9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    head = struct.pack(">4I", 0x803, 6, 8, 8)
    (folder / "idx.gz").write_bytes(gzip.compress(head + levels.tobytes(), mtime=0))
    text = (Path(recipe.__file__).parent.parent / "recipes" / "digits.toml").read_text()
    (folder / "recipe.toml").write_text(text)
    return folder


def damaged(content: bytes, number: int) -> bytes:
    """The content cut, with bits flipped, bytes left out, put in or exchanged, by the number."""
    draw, found = random.Random(number), bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        if not found:
            break
        place, kind = draw.randrange(len(found)), draw.randrange(6)
        end = place + draw.randint(1, 16)
        if kind == 0:
            found[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del found[place:end]
        elif kind == 2:
            found[place:place] = draw.choice(WORDS)
        elif kind == 3:
            found[place:end] = draw.randbytes(end - place)
        elif kind == 4:
            other = draw.randrange(len(found))
            found[place:end], found[other : other + end - place] = (
                found[other : other + end - place],
                found[place:end],
            )
        else:
            del found[place:]
    return bytes(found)


def _by_content(
    folder: Path, name: str, read: Callable[[Path], object], written: Callable[[bytes], object]
) -> Case:
    """Refused, the same as from the whole file, or what `written` says of the damaged bytes."""
    content = (folder / name).read_bytes()
    place = folder / "damaged"
    place.mkdir(exist_ok=True)
    same = read(folder / name)

    def case(number: int) -> str:
        changed = damaged(content, number)
        path = place / name
        path.write_bytes(changed)
        try:
            found = read(path)
        except BadInput as error:
            return "refused" if "\n" not in str(error) else "several lines"
        if found == same:
            return "same"
        return "as written" if written(changed) == found else "another number"

    return case


def _never(changed: bytes) -> object:
    return object()


def _result(folder: Path) -> Case:
    def read(path: Path) -> object:
        found = result.read(path)
        return [getattr(found, name) for name in RESULT]

    return _by_content(folder, "result.json", read, _never)


def _table(suffix: str) -> Callable[[Path], Case]:
    def part(folder: Path) -> Case:
        known = json.loads((folder / "result.json").read_text())["per_image_sha256"]

        def read(path: Path) -> object:
            columns = per_image.read(path)
            per_image.check(path, columns)
            if per_image.digest(columns) != known:
                raise BadInput("of another evaluation")
            return known

        return _by_content(folder, f"images.{suffix}", read, _never)

    return part


def _recipe(folder: Path) -> Case:
    def written(changed: bytes) -> object:
        return Recipe.model_validate(tomllib.loads(changed.decode("utf-8-sig")))

    return _by_content(folder, "recipe.toml", recipe.read, written)


def _checkpoint(folder: Path) -> Case:
    shutil.copyfile(folder / "run" / "model.safetensors", folder / "model.safetensors")

    def read(path: Path) -> object:
        found = checkpoint.load(path)
        return found.description, {name: x.tolist() for name, x in found.tensors.items()}

    return _by_content(folder, "model.safetensors", read, _never)


def _array(folder: Path) -> Case:
    def read(path: Path) -> object:
        return data.load(str(path), levels=17).levels.tolist()

    def written(changed: bytes) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return np.load(io.BytesIO(changed)).tolist()

    return _by_content(folder, "data.npy", read, written)


def _archive(folder: Path) -> Case:
    def read(path: Path) -> object:
        return data.load(str(path), levels=17).levels.tolist()

    return _by_content(folder, "data.npz", read, _never)


def _picture(name: str) -> Callable[[Path], Case]:
    def part(folder: Path) -> Case:
        def read(path: Path) -> object:
            inside = path.parent / f"of {path.stem}"
            inside.mkdir(exist_ok=True)
            shutil.copyfile(path, inside / path.name)
            return data.load(str(inside), levels=256).levels.tolist()

        return _by_content(folder, name, read, _never)

    return part


def _idx(folder: Path) -> Case:
    def read(path: Path) -> object:
        inside = path.parent / "idx"
        inside.mkdir(exist_ok=True)
        shutil.copyfile(path, inside / "t10k-images-idx3-ubyte.gz")
        return data.load(f"mnist:{inside}", split="test").levels.tolist()

    return _by_content(folder, "idx.gz", read, _never)


FILES: dict[str, tuple[int, Callable[[Path], Case]]] = {
    "result.json": (3000, _result),
    "recipe.toml": (2000, _recipe),
    "images.csv": (2000, _table("csv")),
    "images.parquet": (2000, _table("parquet")),
    "checkpoint": (3000, _checkpoint),
    "data.npy, which has no checksum": (1000, _array),
    "data.npz": (3000, _archive),
    "picture.png": (5000, _picture("picture.png")),
    "grey.png": (5000, _picture("grey.png")),
    "idx.gz": (3000, _idx),
}
"""(cases of the whole campaign, what makes the part) by name."""
