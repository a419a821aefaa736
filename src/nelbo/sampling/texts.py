"""Samples of text as a file to read, and what is kept in one: a prompt, or a text with gaps."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.categorical.masked import shown
from nelbo.data.symbols import Alphabet, Bytes
from nelbo.errors import BadInput, printable

__all__ = ["MASKED", "as_text", "infilled", "on_its_way", "prompted", "require_form", "symbols_of"]

HEAD = "# samples of nelbo"
MASKED = "▒"
GAP = re.compile(r"(_{3,})")  # fewer stand in names and code


def require_form(
    shape: Sequence[int], n: int, path: Path, alphabet: Alphabet | None = None
) -> None:
    """Refuses a file that samples of this shape, with n levels, cannot be written as.

    alphabet: of the model, where it says one.

    Raises:
        BadInput: a picture of a sequence, or the text of what is none, or of unknown symbols.
    """
    if path.suffix == ".png" and len(shape) == 1:
        raise BadInput(f"{path}: samples of text are no pictures: -o samples.txt, or .npy")
    if path.suffix == ".txt" and symbols_of(shape, n, alphabet) is None:
        raise BadInput(
            f"{path}: only samples of bytes, or of a model that says its tokens, are text: "
            "-o samples.npy"
        )


def as_text(levels: Int64[Tensor, "N L"], n: int, alphabet: Alphabet | None = None) -> bytes:
    """The samples one after another, each below its number; bytes that are no UTF-8 as U+FFFD."""
    decode = (alphabet or Bytes()).decode
    texts = [decode(row).decode(errors="replace") for row in levels.tolist()]
    parts = [f"{HEAD}\n", *(f"--- {i}\n{text}\n" for i, text in enumerate(texts))]
    return "".join(parts).encode()


def symbols_of(shape: Sequence[int], n: int, alphabet: Alphabet | None) -> Alphabet | None:
    """What a sample's symbols are: as the model says, else bytes by their number; None unknown."""
    if len(shape) != 1:
        return None
    return Bytes() if alphabet is None and n == Bytes().n else alphabet


def on_its_way(levels: Sequence[int], n: int, symbols: Alphabet) -> str:
    """The text of a state of the chain, up to its first end symbol; ▒ where it is masked still."""
    parts = []
    for masked, run in itertools.groupby(levels, key=lambda level: level >= n):
        ids = list(run)
        if masked:
            parts.append(MASKED * len(ids))
            continue
        parts.append(symbols.decode(ids).decode(errors="replace"))
        if symbols.end in ids:
            break
    return printable("".join(parts), lines=True)


def prompted(
    shape: Sequence[int], n: int, prompt: str, alphabet: Alphabet | None = None
) -> Int64[Tensor, " L"]:
    """A window that begins with the prompt, which is shown.

    Raises:
        BadInput: the model is none of text, or the prompt leaves no room.
    """
    symbols = _required(shape, n, alphabet, "--prompt")
    kept = _ids(symbols, prompt)
    if not 0 < len(kept) < shape[0]:
        raise BadInput(
            f"a prompt has 1..{shape[0] - 1} {_plural(symbols)}, fewer than a window; got "
            f"{len(kept)}"
        )
    return _window(shape[0], shown(kept))


def infilled(
    shape: Sequence[int], n: int, text: str, alphabet: Alphabet | None = None
) -> Int64[Tensor, " L"]:
    """A window that begins with the text, shown but for its gaps.

    A gap is a run of three underscores or more: as many symbols, bytes or tokens. What follows the
    text in the window is drawn too.

    Raises:
        BadInput: the model is none of text; a text without a gap, or longer than a window.
    """
    symbols = _required(shape, n, alphabet, "--infill")
    parts = GAP.split(text)  # a gap is every second one
    if len(parts) == 1:
        raise BadInput(
            "a text to be filled in has gaps, ___: three underscores or more, one for each of the "
            f"{_plural(symbols)} to draw; --prompt is for a text without"
        )
    pieces = [shown(_ids(symbols, part)) for part in parts]
    pieces[1::2] = [torch.zeros(len(gap), dtype=torch.int64) for gap in parts[1::2]]
    given = torch.cat(pieces)
    if len(given) > shape[0]:
        raise BadInput(
            f"the text to be filled in has {len(given)} {_plural(symbols)}, and a window {shape[0]}"
        )
    return _window(shape[0], given)


def _required(shape: Sequence[int], n: int, alphabet: Alphabet | None, option: str) -> Alphabet:
    symbols = symbols_of(shape, n, alphabet)
    if symbols is None:
        raise BadInput(f"{option} is for a model of bytes, or of text that says its tokens")
    return symbols


def _plural(symbols: Alphabet) -> str:
    return "bytes" if isinstance(symbols, Bytes) else "tokens"


def _ids(symbols: Alphabet, text: str) -> Int64[Tensor, " n"]:
    return torch.from_numpy(symbols.encode(text.encode(), "the text that is given").ids)


def _window(length: int, given: Int64[Tensor, " n"]) -> Int64[Tensor, " L"]:
    """The window that begins so; a symbol that is not shown is drawn, whichever it is."""
    window = torch.zeros(length, dtype=torch.int64)
    window[: len(given)] = given
    return window
