"""What a file is that is no checkpoint of ours, by its content, and the way from it to a model.

Nothing of a file is run: a pickle is read by torch's reader of tensors alone, or its words are
listed.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, final

from nelbo import files
from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import POINTER, is_diffusers
from nelbo.formats.pickles import Contents, contents_of
from nelbo.formats.state_dicts import described_keys
from nelbo.typed_json import Json, list_at, number_of, part_at

__all__ = ["refuse_foreign"]

HEAD = 512  # bytes that are looked at first
HEADER = 100_000_000  # bytes of a safetensors header
TEXT = 4_000_000  # bytes of a text that is read to see what it is
PROTOCOLS = (b"\2", b"\3", b"\4", b"\5")  # the second byte of a pickle
FUNCTION = (
    "make its network in a Python file, in a function that returns nelbo.wrap(network, ...), and "
    "give file.py:function (docs/measuring-your-model.md)"
)
DATA = "it goes with --data"
UNPACK = "unpack it, and give what is in it"
NO_TORCH = "it holds no torch network: build that in torch with these weights, and " + FUNCTION


@final
class Kind(NamedTuple):
    """What a file is, and what to do with it."""

    what: str
    way: str


MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, POINTER, Kind("a git-lfs pointer", "run `git lfs pull` there, or download the file")),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file, as Keras writes weights", NO_TORCH)),
    (0, b"\x93NUMPY", Kind("an array of numpy", DATA)),
    (0, b"GGUF", Kind("a GGUF file", NO_TORCH)),
    (4, b"TFL3", Kind("a TensorFlow Lite model", NO_TORCH)),
    (
        0,
        b"PAR1",
        Kind("a parquet file", "save its images as a folder or a .arrow: " + DATA),
    ),
    (0, b"ARROW1", Kind("an Arrow file", DATA)),
    (0, b"\x89PNG", Kind("a picture", "a folder of pictures " + DATA[3:])),
    (0, b"\xff\xd8\xff", Kind("a picture", "a folder of pictures " + DATA[3:])),
    (0, b"GIF8", Kind("a picture", "a folder of pictures " + DATA[3:])),
    (0, b"\x1f\x8b", Kind("a gzip archive", UNPACK)),
    (257, b"ustar", Kind("a tar archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", Kind("a zstandard archive", UNPACK)),
)


def refuse_foreign(path: Path) -> None:
    """Raises BadInput where a file is of a kind that others write: what it is, and the way in."""
    try:
        size = files.require_plain(path)
        with path.open("rb") as file:
            head = file.read(HEAD)
        kind = _lying_in(path) or _kind(path, head, size)
    except OSError:
        return  # whoever reads it says so
    if kind is not None:
        raise BadInput(f"{path} is {kind.what}, which is no model by itself: {kind.way}")


def _kind(path: Path, head: bytes, size: int) -> Kind | None:
    """None for one of ours, and for what is not known."""
    if size == 0:
        return Kind("an empty file, damaged", "write it again, or download it again")
    for place, magic, kind in MAGIC:
        if head[place : place + len(magic)] == magic:
            return kind
    looks: tuple[tuple[bool, Callable[[], Kind | None]], ...] = (
        (head[:2] == b"PK", lambda: _zip(path)),
        (head[8:9] == b"{" and _length(head) <= HEADER, lambda: _safetensors(path, size)),
        (head[:1] == b"\x80" and head[1:2] in PROTOCOLS, lambda: _pickle(path)),
        (_is_onnx(head), lambda: Kind("an ONNX graph", NO_TORCH)),
        (path.suffix == ".msgpack", lambda: Kind("a file of Flax weights", NO_TORCH)),
    )
    for applies, look in looks:
        if applies:
            return look()
    return _text(path, size) if _is_text(head) else None


def _length(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _is_onnx(head: bytes) -> bool:
    """A protobuf that begins with a small ir_version, and goes on as onnx's ModelProto does."""
    return len(head) > 2 and head[0] == 8 and 1 <= head[1] <= 32 and head[2] in b"\x12\x1a\x3a\x42"


def _is_text(head: bytes) -> bool:
    return not set(head) & (set(range(32)) - {9, 10, 12, 13})


def _lying_in(path: Path) -> Kind | None:
    """The part of a folder that another library wrote, which is given as a whole."""
    parts = ("diffusion_pytorch_model", "diffusion_flax_model", "optimizer.", "scheduler.")
    words = ("model_index.json", "config.json", "scheduler_config.json", "model.safetensors")
    named = path.name.startswith((*parts, "random_states_", "scaler.")) or path.name in words
    if not named or (path.name == "model.safetensors" and _is_ours(path)):
        return None
    above = path.absolute().parent  # of the link: the hub's cache has its files elsewhere
    if (above.parent / "model_index.json").is_file():
        folder = path.parent.parent
    elif is_diffusers(above):
        folder = path.parent
    else:
        return None
    return Kind("a part of a diffusers folder", f"give the folder, {folder}")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        length = _length(file.read(8))
        return b'"nelbo"' in file.read(min(length, HEADER))[:HEAD]


def _safetensors(path: Path, size: int) -> Kind | None:
    """By the names of the tensors; None for a checkpoint of ours, whatever is wrong with it."""
    with path.open("rb") as file:
        length = _length(file.read(8))
        header = file.read(length)
    try:
        tree: dict[str, Json] = json.loads(header)
        is_ours = "nelbo" in part_at(tree, "__metadata__")
        tree.pop("__metadata__", None)
        ends = [number_of(list_at(entry, "data_offsets")[1]) for entry in tree.values()]
        end = 8 + length + max(ends, default=0)
    except (RecursionError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    if is_ours:
        return None
    if size < end:
        return Kind(
            f"a safetensors file that is cut short: {size:,} of {end:,} bytes", "download it again"
        )
    return Kind(f"a safetensors file of {described_keys(list(tree))}", FUNCTION)


def _zip(path: Path) -> Kind:
    """By the names of its members: torch.save, TorchScript, torch.export, numpy, Keras."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # the last: a later zip
        return Kind("a zip archive that is cut short or damaged", "download it again")
    ends = {name.partition("/")[2] for name in names}
    if "archive_format" in ends or "serialized_exported_program.json" in names:
        return Kind(
            "a program of torch.export",
            "torch.export.load(...).module() is its network: " + FUNCTION,
        )
    if "constants.pkl" in ends:
        return Kind("a TorchScript archive", "torch.jit.load makes its network: " + FUNCTION)
    if "data.pkl" in ends:
        return _pickle(path)
    if names and all(name.endswith(".npy") for name in names):
        return Kind("arrays of numpy, .npz", DATA)
    if "model.weights.h5" in names:
        return Kind("a Keras model", NO_TORCH)
    return Kind("a zip archive", UNPACK)


def _pickle(path: Path) -> Kind:
    """What torch.save or pickle wrote."""
    held: Contents = contents_of(path)
    if held.damage is not None:
        return Kind(f"a damaged file of torch.save ({held.damage})", "download it again")
    if held.code:
        shown = ", ".join(held.code[:3]) + (", ..." if len(held.code) > 3 else "")
        return Kind(
            f"a pickle of {held.what} with more in it than tensors ({shown}), which is not loaded "
            "since it could run code",
            "where you trust it, load it yourself: " + FUNCTION,
        )
    return Kind(f"a pickle of {held.what}", FUNCTION)


def _text(path: Path, size: int) -> Kind | None:
    """JSON, a recipe, Python, a page."""
    if size > TEXT:
        return Kind("a text", FUNCTION)
    text = path.read_bytes().decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text[:1] in "{[":
        return _json(text)
    if text[:9].lower() in ("<!doctype", "<html>") or text[:5].lower() == "<html":
        return Kind("a web page", "a download gave it in place of the file: download that again")
    if path.suffix == ".py":
        return Kind("a Python file", f"name its function that returns a model, {path}:function")
    if path.suffix == ".toml" or ("[network]" in text and "[chain" in text):
        return Kind("a recipe", f"nelbo train {path} makes a model by it")
    return Kind("a text", FUNCTION)


def _json(text: str) -> Kind:
    try:
        tree = json.loads(text)
    except (RecursionError, ValueError):
        return Kind("a text like JSON, and damaged", "give a run folder or a diffusers folder")
    schema = str(tree.get("schema", "")) if isinstance(tree, dict) else ""
    if schema.startswith("nelbo."):
        return Kind(f"a result, {schema}", "nelbo report makes a page of it; give what it is of")
    if isinstance(tree, dict) and "_class_name" in tree:
        return Kind(
            f"the config of a {tree['_class_name']}", "give the folder that has its weights too"
        )
    return Kind("a JSON file", "give a run folder or a diffusers folder")
