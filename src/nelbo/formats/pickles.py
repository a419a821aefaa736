"""What a pickle holds, without running anything of it."""

import io
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from nelbo.formats.state_dicts import described_tree

__all__ = ["Contents", "contents_of"]

LARGEST = 100_000_000  # bytes of a pickle's own program, without its tensors
BY_WORDS = {
    "pytorch-lightning_version": "a checkpoint of Lightning",
    "_reconstruct_persistent_obj": "a network snapshot of EDM or StyleGAN with its source code",
    "param_groups": "an optimizer",
    "numpy_random_seed": "the random states of accelerate",
}


@final
@dataclass(frozen=True)
class Contents:
    """`what` it holds in words; `code`: the names of what is no tensor; `damage`, or None."""

    what: str
    code: tuple[str, ...] = ()
    damage: str | None = None


def contents_of(path: Path) -> Contents:
    """The contents of a file of torch.save or pickle."""
    try:
        if _is_larger_unpacked(path):
            return Contents("", damage="it is compressed, as torch.save writes none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tree = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        return _by_words(path)
    except Exception as error:  # files that are no pickles fail in every way there is
        return Contents("", damage=" ".join(str(error).split())[:80] or type(error).__name__)
    if isinstance(tree, torch.Tensor):
        return Contents(f"one tensor {tuple(tree.shape)}")
    if not isinstance(tree, Mapping):
        return Contents(f"a {type(tree).__name__}")
    return Contents(described_tree(tree))


def _is_larger_unpacked(path: Path) -> bool:
    """Whether a zip archive promises more than it holds, which torch would unpack into memory."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist()) > path.stat().st_size


def _by_words(path: Path) -> Contents:
    """By the names and texts that its program mentions."""
    try:
        code, words = _mentioned(_program(path))
    except (ValueError, LookupError, RuntimeError, OSError, zipfile.BadZipFile) as error:
        return Contents("", damage=" ".join(str(error).split())[:80] or type(error).__name__)
    what = next((name for word, name in BY_WORDS.items() if word in words), None)
    strange = tuple(name for name in code if not name.startswith(("torch.", "collections.")))
    whole = any(word in words for word in ("_modules", "_parameters"))
    return Contents(what or ("a whole module" if whole else "objects"), strange or tuple(code))


def _program(path: Path) -> bytes:
    """The first pickle: the member data.pkl, or of an older file those before its tensors."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(LARGEST)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(name) as file:
            return file.read(LARGEST)


def _mentioned(program: bytes) -> tuple[list[str], set[str]]:
    """(module.name of what would be imported, every text), in the order of the program."""
    stream, last = io.BytesIO(program), ["", ""]
    code: list[str] = []
    words: set[str] = set()
    for _ in range(4):  # torch before 1.6 wrote four pickles one after another
        try:
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name in ("GLOBAL", "INST"):
                    code.append(str(argument).replace(" ", "."))
                elif operation.name == "STACK_GLOBAL":
                    code.append(".".join(last))
                if isinstance(argument, str):
                    words.update((argument, *argument.split(" ")))
                    last = [last[1], argument]
        except ValueError:  # tensors, or the end
            break
    if not words and not code:
        raise ValueError("no pickle")
    return list(dict.fromkeys(code)), words
