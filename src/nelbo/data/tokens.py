"""Text as windows of symbols of one length, with the bytes of the text that each of them is."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64, Integer
from numpy.typing import NDArray
from torch import Tensor

from nelbo import arguments
from nelbo.data.examples import Examples, tensor_of, with_conditions
from nelbo.data.symbols import Alphabet, Encoded, alphabet_of
from nelbo.data.texts import Document
from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = ["CONTEXT", "Tokens", "as_tokens", "sizes_of", "windows"]

Array: TypeAlias = NDArray[np.int64]

CONTEXT = 256  # symbols of a window, where nothing says how many
MOST = 2**31  # symbols that int32 can count


# eq=False: as for Images
@final
@dataclass(frozen=True, eq=False, repr=False)
class Tokens(Examples):
    """N windows of L symbols 0..n-1; a symbol v that is shown, and so not counted, is -1 - v.

    Every symbol of a text is counted in one window. `bytes` and `characters` are what the counted
    symbols of each window are of the original text, and `tokens` how many they are without the
    ends of documents; None where the windows came as numbers, of a text that is not known.

    Arguments:
        name: what reports call the data.
        split: the part of a larger set that this is, None for all of it.
        levels: the windows, stored on the CPU as int32.
        n: how many symbols there are, used or not.
        statement: what a result says of how the text was cut, as JSON.
        sources: the document in which each window begins.
        kept, origin, labels, conditions: as in `Images`.

    Raises:
        BadInput: not integers, not two dimensions, no window, a symbol outside 0..n-1, or a window
            in which nothing is counted.
    """

    name: str
    split: str | None
    levels: Integer[Tensor, "N L"] = field(repr=False)
    n: int
    bytes: Int64[Tensor, " N"] | None = field(default=None, repr=False)
    characters: Int64[Tensor, " N"] | None = field(default=None, repr=False)
    tokens: Int64[Tensor, " N"] | None = field(default=None, repr=False)
    statement: Mapping[str, Json] = field(default_factory=dict, repr=False)
    sources: tuple[str, ...] = field(default=(), repr=False)
    kept: Int[Tensor, " N"] | None = field(default=None, repr=False)
    labels: Int64[Tensor, " N"] | None = field(default=None, repr=False)
    origin: Mapping[str, Json] = field(default_factory=dict, repr=False)
    conditions: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        n = arguments.whole("the number of symbols", self.n)
        object.__setattr__(self, "n", n)
        levels = tensor_of(self.name, "symbols", self.levels).detach().cpu()
        if not 2 <= n <= MOST:
            raise BadInput(f"{self.name}: needs 2 to {MOST} symbols; got {n}")
        if levels.is_floating_point() or levels.is_complex() or levels.dtype == torch.bool:
            raise BadInput(f"{self.name}: symbols are integers; got {levels.dtype}")
        if levels.ndim != 2 or levels.numel() == 0:
            raise BadInput(
                f"{self.name}: text is (windows, length) with at least one symbol; got shape "
                f"{tuple(levels.shape)}"
            )
        outside = (levels < -n) | (levels >= n)
        if outside.any():
            row, place = (int(i) for i in outside.nonzero()[0])
            raise BadInput(
                f"{self.name}: the symbol {int(levels[row, place])} at (window, place) "
                f"{(row, place)} is none of 0..{n - 1}"
            )
        empty = (levels < 0).all(1)
        if empty.any():
            raise BadInput(
                f"{self.name}: all of window {int(empty.nonzero()[0])} is shown, so that nothing "
                "of it is counted: leave it out"
            )
        object.__setattr__(self, "levels", levels.to(torch.int32).contiguous())
        object.__setattr__(self, "origin", {**self.origin, "text": self.text})
        self._settle()

    @property
    def values(self) -> Integer[Tensor, "N L"]:
        return self.levels

    @property
    def text(self) -> dict[str, Json]:
        """What a result says of the text: how it was cut, and how much of it is counted."""
        known = {"bytes": self.bytes, "characters": self.characters, "tokens": self.tokens}
        counts = {key: None if x is None else int(x.sum()) for key, x in known.items()}
        counted = int((self.levels >= 0).sum())
        return {**self.statement, "counted": counted, **counts}

    @cached_property
    def sha256(self) -> str:
        """Hex digest of shape, n and symbols; names, ids, split and labels do not enter."""
        array = self.levels.numpy()
        digest = hashlib.sha256(f"nelbo.tokens/1 {array.shape} {self.n}\n".encode())
        digest.update(array.astype("<i4", copy=False).data)
        return digest.hexdigest()

    def source(self, i: int) -> str:
        """What a message calls the window at position i of this set."""
        where = f", in {self.sources[i]}" if self.sources else ""
        return f"{self.name}, window {int(self.ids[i])}{where}"

    def _taken(self, where: Tensor, sources: tuple[str, ...]) -> "Tokens":
        return replace(
            self,
            levels=self.levels[where],
            bytes=None if self.bytes is None else self.bytes[where],
            characters=None if self.characters is None else self.characters[where],
            tokens=None if self.tokens is None else self.tokens[where],
            sources=sources,
            kept=self.ids[where],
            **self._conditions_at(where),
        )


def as_tokens(
    data: object,
    *,
    n: int | None = None,
    name: str = "tensor",
    labels: object = None,
    conditions: Mapping[str, object] | None = None,
) -> Tokens:
    """Windows of a tensor or an array of symbols (N, L), -1 - v where v is shown; `Tokens` pass.

    n: how many symbols there are. Of what text they are is not known, so there are no bytes.

    Raises:
        BadInput: anything else, or what `Tokens` refuses.
    """
    if not isinstance(data, Tokens):
        if n is None:
            raise BadInput(f"{name}: nothing says how many symbols there are: declare n")
        data = Tokens(name, None, tensor_of(name, "symbols", data), n)
    elif n not in (None, data.n):
        raise BadInput(f"{data.name}: has {data.n} symbols; {n} were declared")
    return with_conditions(data, labels, conditions)


def sizes_of(data: Examples) -> Float64[Tensor, " N"] | None:
    """The bytes that each window is of its text, or its tokens; None of what is no text."""
    if not isinstance(data, Tokens):
        return None
    whole = data.text.get("lossless") and data.bytes is not None
    sizes = data.bytes if whole else data.tokens
    sizes = (data.levels >= 0).sum(1) if sizes is None else sizes
    return sizes.double()


def windows(
    texts: Sequence[Document] | Sequence[str] | Sequence[bytes],
    *,
    symbols: Alphabet | str = "bytes",
    end: str | None = None,
    context: int = CONTEXT,
    stride: int | None = None,
    documents: Literal["joined", "apart"] = "joined",
    filling: Literal["counted", "shown"] = "counted",
    name: str = "text",
    split: str | None = None,
) -> Tokens:
    """Documents cut into windows of `context` symbols, each symbol counted in one of them.

    A document is followed by the end symbol, which is counted. `joined`: the next document follows
    it in the same window; `apart`: each document begins a window. A window begins `stride` symbols
    after the one before it, and what that one counted is shown: the context of what is counted
    here. The last one ends with the text. Where a text is shorter than a window the rest is filled
    with end symbols: `counted`, so that its length has its price, or `shown`, given for nothing.
    end: the token, by its text, that ends a document, where the symbols are those of a tokenizer.

    Raises:
        BadInput: no text, a stride outside 1..context, or filling that is counted without an end.
    """
    alphabet = alphabet_of(symbols, end)
    context = arguments.whole("context", context, least=2)
    stride = context if stride is None else arguments.whole("stride", stride, least=1)
    if stride > context:
        raise BadInput(f"a stride of {stride} leaves symbols out between windows of {context}")
    joined = arguments.word("documents", documents, ("joined", "apart")) == "joined"
    counted = arguments.word("filling", filling, ("counted", "shown")) == "counted"
    parts = [_document(one, number) for number, one in enumerate(texts)]
    encoded = [(alphabet.encode(one.content, one.source), one.source) for one in parts]
    streams = [encoded] if joined else [[one] for one in encoded]
    cut = [w for s in streams for w in _cut(_Stream.of(s, alphabet), context, stride, counted)]
    if not cut:
        raise BadInput(f"{name}: holds no text")
    whole = all(one.whole for one, _ in encoded)
    counts = [torch.tensor([getattr(w, key) for w in cut]) for key in ("bytes", "tokens")]
    known = all(one.characters is not None for one, _ in encoded)
    return Tokens(
        name,
        split,
        torch.from_numpy(np.stack([w.levels for w in cut])),
        alphabet.n,
        bytes=counts[0],
        tokens=counts[1],
        characters=torch.tensor([w.characters for w in cut]) if known else None,
        statement={
            **alphabet.facts,
            "lossless": whole,
            "texts": len(encoded),
            "documents": documents,
            "context": context,
            "stride": stride,
            "end": None if alphabet.end is None else "counted",
            "filling": filling,
        },
        sources=tuple(w.source for w in cut),
    )


@final
@dataclass(frozen=True)
class _Window:
    levels: Array
    bytes: int
    characters: int
    tokens: int
    source: str


@final
@dataclass(frozen=True, eq=False)
class _Stream:
    """Symbols in a row, with the bytes, characters and tokens of the text that each is."""

    ids: Array
    counts: NDArray[np.int64]
    sources: Sequence[str]
    begins: Array
    end: int | None
    fill: int

    @classmethod
    def of(cls, documents: Sequence[tuple[Encoded, str]], alphabet: Alphabet) -> "_Stream":
        """The documents one after another, an end after each where there is one."""
        ids, counts, begins, place = [], [], [], 0
        last = [] if alphabet.end is None else [alphabet.end]
        for document, _ in documents:
            ones = np.ones_like(document.ids)
            characters = 0 * ones if document.characters is None else document.characters
            ids.append(np.concatenate([document.ids, np.array(last, np.int64)]))
            of_each = np.stack([document.bytes, characters, ones])
            counts.append(np.pad(of_each, ((0, 0), (0, len(last)))))
            begins.append(place)
            place += len(ids[-1])
        sources = [source for _, source in documents]
        joined = np.concatenate(counts, 1)
        places, end, fill = np.array(begins), alphabet.end, alphabet.fill
        return cls(np.concatenate(ids), joined, sources, places, end, fill)


def _cut(stream: _Stream, context: int, stride: int, counted: bool) -> Iterator[_Window]:
    """Windows in which each symbol of the stream is counted once."""
    size = len(stream.ids)
    if size == 0:
        return
    last = max(size - context, 0)
    done = 0
    for start in [*range(0, last, stride), last]:
        stop = min(start + context, size)
        levels = stream.ids[start:stop].copy()
        levels[: done - start] = -1 - levels[: done - start]
        size_in_bytes, characters, tokens = stream.counts[:, done:stop].sum(1).tolist()
        source = stream.sources[int(np.searchsorted(stream.begins, done, "right")) - 1]
        levels = _filled(levels, context, stream, counted)
        yield _Window(levels, size_in_bytes, characters, tokens, source)
        done = stop


def _filled(levels: Array, context: int, stream: _Stream, counted: bool) -> Array:
    """A window of the whole length: with end symbols, or what fills it, in what is left of it.

    Raises:
        BadInput: they are to be counted, and there is none.
    """
    missing = context - len(levels)
    if missing and not counted:
        return np.pad(levels, (0, missing), constant_values=-1 - stream.fill)
    if missing and stream.end is None:
        raise BadInput(
            "a text that is shorter than a window is filled with the end symbol, and this "
            "tokenizer has none that was named: say which token it is (end=), show the filling "
            "(filling=shown), or give a shorter context"
        )
    return np.pad(levels, (0, missing), constant_values=stream.end or 0)


def _document(given: object, number: int) -> Document:
    if isinstance(given, Document):
        return given
    if isinstance(given, str | bytes):
        content = given.encode() if isinstance(given, str) else given
        return Document(content, f"document {number}")
    raise BadInput(f"a document is a text or its bytes; got {arguments.shown(given)}")
