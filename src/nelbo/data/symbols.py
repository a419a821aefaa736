"""What a text is made of for a model: its bytes, its characters, or the tokens of a tokenizer.

Whatever the symbols are, it is known of each how many bytes and characters of the text it is.
"""

import copy
import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nelbo import arguments
from nelbo.data.images import reason, shown
from nelbo.errors import BadInput, printable
from nelbo.files import MiB, read
from nelbo.typed_json import Json

__all__ = ["FORMS", "Alphabet", "Bytes", "Characters", "Encoded", "Tokenizer", "alphabet_of"]

Array: TypeAlias = NDArray[np.int64]

FORMS = "bytes, a .txt file with the characters that there are, or a tokenizer's .json file"
LARGEST = 256 * MiB  # of such a file
CONTINUES, CONTINUATION = 0xC0, 0x80  # of UTF-8: the bits of a byte that begins no character


@final
@dataclass(frozen=True, eq=False)
class Encoded:
    """A document as symbols, with the bytes and characters that each of them is.

    The sums of `bytes` and `characters` are those of the document. characters is None where the
    bytes are no UTF-8; whole: whether the document can be had back from its symbols.
    """

    ids: Array
    bytes: Array
    characters: Array | None
    whole: bool = True


class Alphabet(ABC):
    """n symbols, of which `end`, where there is one, follows a document and is no part of it."""

    name: str
    n: int
    end: int | None

    @abstractmethod
    def encode(self, document: bytes, where: str) -> Encoded:
        """The symbols of a document, which messages call `where`.

        Raises:
            BadInput: it cannot be written in these symbols.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> bytes:
        """The text of these symbols, up to the first `end`."""

    @property
    def fill(self) -> int:
        """The symbol that stands in what is left of a window behind a short text, where shown."""
        return 0 if self.end is None else self.end

    @property
    def facts(self) -> Mapping[str, Json]:
        """What a result says of the symbols, as JSON."""
        return {"symbols": self.name, "vocabulary": self.n}

    def _before_end(self, ids: Sequence[int]) -> list[int]:
        symbols = [int(i) for i in ids]
        return symbols[: symbols.index(self.end)] if self.end in symbols else symbols


@final
@dataclass(frozen=True)
class Bytes(Alphabet):
    """The 256 bytes, and 256, the end of a document."""

    name: str = field(default="bytes", init=False)
    n: int = field(default=257, init=False)
    end: int = field(default=256, init=False)

    def encode(self, document: bytes, where: str) -> Encoded:
        ids = np.frombuffer(document, np.uint8).astype(np.int64)
        try:
            document.decode()
        except UnicodeDecodeError:
            return Encoded(ids, np.ones_like(ids), None)
        return Encoded(ids, np.ones_like(ids), ((ids & CONTINUES) != CONTINUATION).astype(np.int64))

    def decode(self, ids: Sequence[int]) -> bytes:
        return bytes(self._before_end(ids))


@final
@dataclass(frozen=True)
class Characters(Alphabet):
    """Some characters, each once, and the end of a document after the last of them.

    Raises:
        BadInput: fewer than two characters, or one twice.
    """

    characters: str
    name: str = field(default="characters", init=False)

    def __post_init__(self) -> None:
        if len(self.characters) < 2 or len(set(self.characters)) < len(self.characters):
            raise BadInput(
                "an alphabet is a text of two or more characters, each once; got "
                f"{arguments.shown(self.characters)}"
            )

    @classmethod
    def of(cls, text: str) -> "Characters":
        """Those that are in the text, in the order of their code points."""
        return cls("".join(sorted(set(text))))

    @property
    def n(self) -> int:  # type: ignore[override]
        """The characters and the end."""
        return len(self.characters) + 1

    @property
    def end(self) -> int:  # type: ignore[override]
        """The last symbol."""
        return len(self.characters)

    @cached_property
    def _number(self) -> Mapping[str, int]:
        return {c: i for i, c in enumerate(self.characters)}

    @property
    def facts(self) -> Mapping[str, Json]:
        digest = hashlib.sha256(self.characters.encode()).hexdigest()
        return {**super().facts, "alphabet_sha256": digest}

    def encode(self, document: bytes, where: str) -> Encoded:
        text = _decoded(document, where)
        unknown = next((c for c in text if c not in self._number), None)
        if unknown is not None:
            raise BadInput(
                f"{where}: the character {unknown!a} is none of the alphabet's "
                f"{len(self.characters)}: give an alphabet that has it, or use bytes"
            )
        ids = np.array([self._number[c] for c in text], np.int64)
        return Encoded(ids, _bytes_of(text), np.ones_like(ids))

    def decode(self, ids: Sequence[int]) -> bytes:
        return "".join(self.characters[i] for i in self._before_end(ids)).encode()


@final
class Tokenizer(Alphabet):
    """The tokens of a `tokenizers` JSON file, without those that it adds round a text.

    end: the token, by its text, that follows a document; none without it. padding: the token that
    stands behind a short text where that is shown. size: of the vocabulary of a network, which may
    have more ids than there are tokens.

    Raises:
        BadInput: the library is not installed, no such file, none of its kind, no such token, or a
            size that is less than the number of tokens.
    """

    def __init__(
        self,
        path: str | Path,
        end: str | None = None,
        *,
        padding: str | None = None,
        size: int | None = None,
    ) -> None:
        self.path = Path(path)
        content = read(path, LARGEST, "tokenizer")
        self.name = Path(path).name
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            self._tokenizer: Any = _library().Tokenizer.from_buffer(content)
        except BadInput:
            raise
        except Exception as error:  # the library's own have no common base
            raise BadInput(
                f"{shown(path)}: is no tokenizer of the tokenizers library ({reason(error):.200})"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        own = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self.n = own if size is None else size
        if self.n < own:
            raise BadInput(f"{shown(path)}: has {own} tokens, and its network logits of {size}")
        self.end = None if end is None else self.token(end, "to end a document")
        self.padding = None if padding is None else self.token(padding, "to fill a window")

    def token(self, text: str, purpose: str) -> int:
        """The id of a token.

        Raises:
            BadInput: there is none of this text.
        """
        number: int | None = self._tokenizer.token_to_id(text)
        if number is None:
            raise BadInput(f"{shown(self.path)}: has no token {printable(text)} {purpose}")
        return number

    def ending(self, end: str) -> "Tokenizer":
        """The same with this token after each document.

        Raises:
            BadInput: there is no such token.
        """
        other = copy.copy(self)
        other.end = self.token(end, "to end a document")
        return other

    def around(self) -> tuple[list[int], list[int]]:
        """The ids that it puts before a text and behind it where it is to: [CLS] and [SEP]."""
        encode = self._tokenizer.encode
        texts = ("a", *self._tokenizer.get_vocab(with_added_tokens=False))
        text = next(t for t in texts if encode(t, add_special_tokens=False).ids)
        bare, framed = encode(text, add_special_tokens=False).ids, encode(text).ids
        places = range(len(framed) - len(bare) + 1)
        start = next(i for i in places if framed[i : i + len(bare)] == bare)
        return framed[:start], framed[start + len(bare) :]

    @property
    def fill(self) -> int:
        return super().fill if self.padding is None else self.padding

    @property
    def facts(self) -> Mapping[str, Json]:
        return {**super().facts, "tokenizer_sha256": self.sha256}

    def encode(self, document: bytes, where: str) -> Encoded:
        """The tokens; each is the text from the end of the one before it to its own end."""
        text = _decoded(document, where)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids = np.array(encoding.ids, np.int64)
        sizes = np.concatenate([[0], _bytes_of(text).cumsum()])
        ends = np.maximum.accumulate(np.array([b for _, b in encoding.offsets], np.int64))
        if len(ends):
            ends[-1] = len(text)  # what the tokenizer left out after it belongs to it
        whole = self._tokenizer.decode(encoding.ids, skip_special_tokens=False) == text
        return Encoded(ids, np.diff(sizes[ends], prepend=0), np.diff(ends, prepend=0), whole)

    def decode(self, ids: Sequence[int]) -> bytes:
        text = self._tokenizer.decode(self._before_end(ids), skip_special_tokens=False)
        return str(text).encode()


def alphabet_of(symbols: object, end: str | None = None) -> Alphabet:
    """The alphabet that a word, a file or an alphabet says; end: of a tokenizer.

    Raises:
        BadInput: none of these, or an end of what has one of its own.
    """
    place = str(symbols) if isinstance(symbols, str | Path) else ""
    if place.endswith(".json"):
        return Tokenizer(place, end)
    if isinstance(symbols, Tokenizer) and end is not None:
        return symbols.ending(end)
    if end is not None:
        raise BadInput("end names a token of a tokenizer: bytes and characters have an end already")
    if isinstance(symbols, Alphabet):
        return symbols
    if symbols == "bytes":
        return Bytes()
    if place.endswith(".txt"):
        return Characters.of(_decoded(read(place, LARGEST, "alphabet"), shown(place)))
    raise BadInput(f"symbols are {FORMS}; got {arguments.shown(symbols)}")


def _decoded(document: bytes, where: str) -> str:
    try:
        return document.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{where}: is no UTF-8 (byte {document[error.start]:#04x} at {error.start}), and only "
            "bytes are symbols of any text: use symbols=bytes"
        ) from None


def _bytes_of(text: str) -> Array:
    """How many bytes each character takes in UTF-8."""
    code = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)
    sizes: Array = 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
    return sizes


def _library() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        raise BadInput(
            "a tokenizer's file needs the tokenizers library: pip install 'nelbo[text]', or use "
            "symbols=bytes"
        ) from None
