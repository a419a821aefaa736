"""Damaged files and what must come of them: refused, read as they were, or as they are written.

A part is made of a folder and gives, for each number of a case, what came of it. Files are damaged
by chance, cut at every length, and the checkpoint in every bit.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from fault_lines import ended
from PIL import Image

from nelbo import checkpoint, data, evaluate, formats, recipe
from nelbo.errors import BadInput
from nelbo.recipe import Recipe
from nelbo.results import per_image, reading
from nelbo.tasks.train import train

__all__ = [
    *("BITS", "CUTS", "FILES", "PLAIN", "Case", "Change", "Damage"),
    *("by_content", "cut", "damaged", "flipped", "made", "never"),
]

Case = Callable[[int], str]
Change = Callable[[bytes, int], bytes]
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
PICTURES = ("png", "jpg", "bmp", "gif", "tif", "webp", "ppm")
RUNS = {"run": "digits", "classes": "digits-classes", "masked": "digits-absorbing"}
SMALL = ("training.steps=2", "network.width=8", "training.batch_size=16")
PART = ("--max-images", "6", "--exhaustive", "--steps", "4", "--batch-size", "4")
GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
RESULT = ("per_dim", "half", "half_monte_carlo", "terms", "per_step", "rate", "looks", "images")


def made(folder: Path) -> Path:
    """Small runs with their results, tables and data, all that the parts damage copies of."""
    for name, of in RUNS.items():
        train(recipe.read(of, list(SMALL)), folder / name)
    run = folder / "run"
    evaluation = evaluate(
        formats.load(run), data.load("digits:test").first(12), budget=400, distortion=True
    )
    (folder / "result.json").write_text(evaluation.to_json())
    for suffix in ("csv", "parquet"):
        per_image.write(evaluation.per_image, folder / f"images.{suffix}")
    levels = np.random.default_rng(0).integers(17, size=(6, 1, 8, 8), dtype=np.uint8)
    np.save(folder / "data.npy", levels)
    np.savez_compressed(folder / "data.npz", levels)
    pixels = np.random.default_rng(1).integers(256, size=(9, 7, 3), dtype=np.uint8)
    for suffix in PICTURES:
        Image.fromarray(pixels).save(folder / f"picture.{suffix}", lossless=True)
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    head = struct.pack(">4I", 0x803, 6, 8, 8)
    (folder / "idx.gz").write_bytes(gzip.compress(head + levels.tobytes(), mtime=0))
    text = (Path(recipe.__file__).parent.parent / "recipes" / "digits.toml").read_text()
    (folder / "recipe.toml").write_text(text)
    for name in ("twin.safetensors", "many.nlb", "one.nlb"):
        shutil.copyfile(GOLDEN / name, folder / name)
    for k in (1, 2):
        words = ("evaluate", "run", *PART, "--part", f"{k}/2", "-o", f"part-{k}.json")
        code, _, err = ended(folder, list(words))
        if code != 0:
            raise AssertionError(err)
    return folder


def damaged(content: bytes, number: int) -> bytes:
    """The content cut, with bits flipped, bytes left out, put in or exchanged, by the number."""
    draw, altered = random.Random(number), bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        if not altered:
            break
        place, kind = draw.randrange(len(altered)), draw.randrange(6)
        end = place + draw.randint(1, 16)
        if kind == 0:
            altered[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del altered[place:end]
        elif kind == 2:
            altered[place:place] = draw.choice(WORDS)
        elif kind == 3:
            altered[place:end] = draw.randbytes(end - place)
        elif kind == 4:
            other = draw.randrange(len(altered))
            altered[place:end], altered[other : other + end - place] = (
                altered[other : other + end - place],
                altered[place:end],
            )
        else:
            del altered[place:]
    return bytes(altered)


def cut(content: bytes, number: int) -> bytes:
    """The first `number` bytes."""
    return content[:number]


def flipped(content: bytes, number: int) -> bytes:
    """With one bit the other way round."""
    altered = bytearray(content)
    altered[number // 8] ^= 1 << number % 8
    return bytes(altered)


@dataclass(frozen=True)
class Damage:
    """case(number): refused, the same as from the whole file, or what `written` says of the bytes.

    len(): how many cuts or bits there are.
    """

    path: Path
    content: bytes
    change: Change
    read: Callable[[Path], object]
    written: Callable[[bytes], object]
    same: object

    def __call__(self, number: int) -> str:
        changed = self.change(self.content, number)
        self.path.write_bytes(changed)
        try:
            outcome = self.read(self.path)
        except BadInput as error:
            return "refused" if "\n" not in str(error) else "several lines"
        if outcome == self.same:
            return "same"
        return "as written" if self.written(changed) == outcome else f"another number for {number}"

    def __len__(self) -> int:
        return len(self.content) * (8 if self.change is flipped else 1)


def by_content(
    folder: Path,
    name: str,
    read: Callable[[Path], object],
    written: Callable[[bytes], object],
    change: Change,
) -> Case:
    """The damage of a copy of a file in the folder."""
    content, place = (folder / name).read_bytes(), folder / "damaged"
    place.mkdir(exist_ok=True)
    if change is cut and not name.endswith((".toml", ".jsonl")):
        written = never  # a reader that fills what is missing is no oracle
    return Damage(place / name, content, change, read, written, read(folder / name))


def never(changed: bytes) -> object:
    """What no reader gives: of a file with a checksum, which is the same or refused."""
    return object()


def _result(folder: Path, change: Change = damaged) -> Case:
    def read(path: Path) -> object:
        stored = reading.read(path)
        return [getattr(stored, name) for name in RESULT]

    return by_content(folder, "result.json", read, never, change)


def _table(suffix: str, folder: Path, change: Change = damaged) -> Case:
    known = json.loads((folder / "result.json").read_text())["per_image_sha256"]

    def read(path: Path) -> object:
        columns = per_image.read(path)
        per_image.check(path, columns)
        if per_image.digest(columns) != known:
            raise BadInput("of another evaluation")
        return known

    return by_content(folder, f"images.{suffix}", read, never, change)


def _recipe(folder: Path, change: Change = damaged) -> Case:
    def written(changed: bytes) -> object:
        return Recipe.model_validate(tomllib.loads(changed.decode("utf-8-sig")))

    return by_content(folder, "recipe.toml", recipe.read, written, change)


def _checkpoint(folder: Path, change: Change = damaged) -> Case:
    shutil.copyfile(folder / "run" / "model.safetensors", folder / "model.safetensors")

    def read(path: Path) -> object:
        stored = checkpoint.load(path)
        return stored.description, {name: x.tolist() for name, x in stored.tensors.items()}

    return by_content(folder, "model.safetensors", read, never, change)


def _array(folder: Path, change: Change = damaged) -> Case:
    def read(path: Path) -> object:
        return data.load(str(path), levels=17).levels.tolist()

    def written(changed: bytes) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return np.load(io.BytesIO(changed)).tolist()

    return by_content(folder, "data.npy", read, written, change)


def _archive(folder: Path, change: Change = damaged) -> Case:
    def read(path: Path) -> object:
        return data.load(str(path), levels=17).levels.tolist()

    return by_content(folder, "data.npz", read, never, change)


def _picture(name: str, folder: Path, change: Change = damaged) -> Case:
    """Of formats without a checksum: as their decoder gives them, which is Pillow's."""

    def read(path: Path) -> object:
        inside = path.parent / f"of {path.name}"
        inside.mkdir(exist_ok=True)
        shutil.copyfile(path, inside / path.name)
        levels = data.load(str(inside), levels=256).levels[0]
        return levels.expand(3, *levels.shape[1:]).tolist()  # of grey, as of colour

    def written(changed: bytes) -> object:
        with Image.open(io.BytesIO(changed)) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1).tolist()

    return by_content(folder, name, read, never if name.endswith("png") else written, change)


def _idx(folder: Path, change: Change = damaged) -> Case:
    def read(path: Path) -> object:
        inside = path.parent / "idx"
        inside.mkdir(exist_ok=True)
        shutil.copyfile(path, inside / "t10k-images-idx3-ubyte.gz")
        return data.load(f"mnist:{inside}", split="test").levels.tolist()

    return by_content(folder, "idx.gz", read, never, change)


PLAIN = ", which has no checksum"
PARTS: dict[str, tuple[int, Callable[..., Case]]] = {
    "result.json": (3000, _result),
    "recipe.toml": (2000, _recipe),
    "images.csv": (2000, partial(_table, "csv")),
    "images.parquet": (2000, partial(_table, "parquet")),
    "checkpoint": (3000, _checkpoint),
    f"data.npy{PLAIN}": (1000, _array),
    "data.npz": (3000, _archive),
    "picture.png": (5000, partial(_picture, "picture.png")),
    "grey.png": (5000, partial(_picture, "grey.png")),
    "idx.gz": (3000, _idx),
    **{
        f"picture.{suffix}{PLAIN}": (2000, partial(_picture, f"picture.{suffix}"))
        for suffix in PICTURES[1:]
    },
}
FILES: dict[str, tuple[int, Callable[[Path], Case]]] = dict(PARTS)
"""(cases of the whole campaign, what makes the part) by name."""
CUTS: dict[str, tuple[int, Callable[[Path], Case]]] = {
    f"cuts of {name.removesuffix(PLAIN)}": (0, partial(make, change=cut))
    for name, (_, make) in PARTS.items()
    if name != "checkpoint"
}
"""Every length of every file; 0: as many as it has bytes."""
BITS: dict[str, tuple[int, Callable[[Path], Case]]] = {
    "bits of a checkpoint": (0, partial(_checkpoint, change=flipped)),
    "cuts of a checkpoint": (0, partial(_checkpoint, change=cut)),
}
