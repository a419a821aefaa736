"""Samples of text: bytes as a file to read, and a prompt as what a sample begins with."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.categorical.masked import shown
from nelbo.data.symbols import Bytes
from nelbo.errors import BadInput

__all__ = ["as_text", "prompted", "require_form"]

HEAD = "# samples of nelbo"


def require_form(shape: Sequence[int], n: int, path: Path) -> None:
    """Refuses a file that samples of this shape, with n levels, cannot be written as.

    Raises:
        BadInput: a picture of a sequence, or the text of what is none, or not of bytes.
    """
    text = len(shape) == 1
    if path.suffix == ".png" and text:
        raise BadInput(f"{path}: samples of text are no pictures: -o samples.txt, or .npy")
    if path.suffix == ".txt" and not (text and n == Bytes().n):
        raise BadInput(f"{path}: only samples of bytes are text: -o samples.npy")


def as_text(levels: Int64[Tensor, "N L"], n: int) -> bytes:
    """The samples one after another, each below its number; bytes that are no UTF-8 as U+FFFD."""
    texts = [Bytes().decode(row).decode(errors="replace") for row in levels.tolist()]
    parts = [f"{HEAD}\n", *(f"--- {i}\n{text}\n" for i, text in enumerate(texts))]
    return "".join(parts).encode()


def prompted(shape: Sequence[int], n: int, prompt: str) -> Int64[Tensor, " L"]:
    """A window of bytes that begins with the prompt, which is shown.

    Raises:
        BadInput: the model is none of bytes, or the prompt leaves no room.
    """
    if len(shape) != 1 or n != Bytes().n:
        raise BadInput("--prompt is for a model of bytes")
    content = prompt.encode()
    if not 0 < len(content) < shape[0]:
        raise BadInput(
            f"a prompt has 1..{shape[0] - 1} bytes, fewer than a window; got {len(content)}"
        )
    window = torch.zeros(shape[0], dtype=torch.int64)
    window[: len(content)] = shown(torch.tensor(list(content)))
    return window
