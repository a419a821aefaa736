"""What two models are compared on: the same examples, or documents that each cuts in its way.

Windows of other lengths or symbols are no pairs. But a document is one text, whatever it is cut
into, and its -log p is the sum over its windows.
"""

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.data import Examples, Tokens, load_for, sizes_of
from nelbo.errors import BadInput
from nelbo.estimation import Sum
from nelbo.model import Model, examples_of
from nelbo.results.unit import Unit, unit_of_text
from nelbo.typed_json import Json

__all__ = ["Pairs", "SameDocuments", "SameExamples", "cut_alike", "pairs_of"]


@final
@dataclass(frozen=True)
class SameExamples:
    """Examples that both models take, and so pairs of their own."""

    examples: Examples
    together: bool  # at the same t and noise

    @property
    def sets(self) -> Sequence[Examples]:
        """One for each group of models that is evaluated together."""
        return [self.examples] * (1 if self.together else 2)

    def paired(self, own: Sum, number: int) -> Sum:
        """The values of each pair, of the model of this number."""
        return own

    @property
    def sizes(self) -> Float64[Tensor, " N"] | None:
        """Of texts, the bytes of each pair."""
        return sizes_of(self.examples)

    @property
    def count(self) -> int:
        """How many pairs."""
        return len(self.examples)

    @property
    def dims(self) -> int:
        """Numbers of a pair."""
        return self.examples.dims

    def unit(self, model: Model) -> Unit:
        """Of the difference."""
        return Unit.of(model.support, self.examples)

    @property
    def facts(self) -> dict[str, Json]:
        """What a result says of the data."""
        data = self.examples
        return {"name": data.name, "sha256": data.sha256, "split": data.split, **data.origin}

    @property
    def names(self) -> list[str]:
        """What is paired."""
        return ["images", "times", "noise"] if self.together else ["images"]

    @property
    def warnings(self) -> list[str]:
        """Both pay for the same."""
        return []


@final
@dataclass(frozen=True)
class SameDocuments:
    """One text as each of two models cuts it, and the document of each window."""

    sets: tuple[Tokens, Tokens]
    places: tuple[Int64[Tensor, " N"], Int64[Tensor, " M"]]
    bytes: Int64[Tensor, " D"]

    @classmethod
    def of(cls, a: Tokens, b: Tokens) -> "SameDocuments":
        """The documents that both hold.

        Raises:
            BadInput: windows of more than one document, or of a text that is not known byte for
                byte; other documents in one than in the other.
        """
        for tokens in (a, b):
            if tokens.statement.get("documents") != "apart" or not tokens.sources:
                raise BadInput(
                    f"{tokens.name}: the models cut texts into other windows, so they are paired "
                    "by document, and a window holds parts of several: cut it with "
                    "documents=apart, as text:FOLDER,documents=apart or topics,documents=apart:test"
                )
            if tokens.bytes is None or not tokens.statement.get("lossless"):
                raise BadInput(
                    f"{tokens.name}: models of other symbols are compared in bits/byte, and the "
                    "bytes that these symbols are of are not known, or not all kept"
                )
        places, names = zip(*(_documents(tokens) for tokens in (a, b)), strict=True)
        sizes = [_summed(_bytes(one), at) for one, at in zip((a, b), places, strict=True)]
        if names[0] != names[1] or not torch.equal(*sizes):
            raise BadInput(f"{a.name} and {b.name} are of other documents: give both the same text")
        if not names[0]:
            raise BadInput(f"{a.name}: no document has a byte, so there is nothing to compare")
        return cls((a, b), places, sizes[0])

    def paired(self, own: Sum, number: int) -> Sum:
        """The values of each document, of the model of this number."""
        at = self.places[number]
        return Sum(_summed(own.values, at), _summed(own.variance, at), own.dof)

    @property
    def sizes(self) -> Float64[Tensor, " D"]:
        """The bytes of each document."""
        return self.bytes.double()

    @property
    def count(self) -> int:
        """How many documents."""
        return len(self.bytes)

    @property
    def dims(self) -> int:
        """A document is one sum."""
        return 1

    def unit(self, model: Model) -> Unit:
        """bits/byte, whatever the symbols are."""
        return unit_of_text(self._text, self.count)

    @property
    def facts(self) -> dict[str, Json]:
        """What a result says of the data: the text, and how each model cuts it."""
        a, b = self.sets
        digest = hashlib.sha256(f"{a.sha256} {b.sha256}".encode()).hexdigest()
        facts = {**a.origin, "text": self._text}
        return {"name": a.name, "sha256": digest, "split": a.split, **facts}

    @property
    def _text(self) -> Mapping[str, Json]:
        a, b = self.sets
        known = {"bytes": int(self.bytes.sum()), "lossless": True}
        return {"pairs": "documents", **known, "a": a.text, "b": b.text}

    @property
    def names(self) -> list[str]:
        """What is paired."""
        return ["documents"]

    @property
    def warnings(self) -> list[str]:
        """Where one pays for what the other is given, or has not."""
        lines = []
        for key, what in (("end", "the end of a document"), ("filling", "what fills a window")):
            ours, theirs = (str(x.statement.get(key) or "none") for x in self.sets)
            if ours != theirs:
                lines.append(f"{what}: A has it {ours}, B {theirs}, so they pay for other things")
        return lines


Pairs: TypeAlias = SameExamples | SameDocuments


def pairs_of(a: Model, b: Model, data: object, seed: int) -> Pairs:
    """The data as both models take them; of two texts, (as A takes it, as B does) too.

    Raises:
        BadInput: models of different data, or data of another kind.
    """
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(x, Tokens) for x in data):
        return SameDocuments.of(*(_read(m, x, seed) for m, x in zip((a, b), data, strict=True)))
    same = cut_alike(a, b)
    if not same and len(a.shape) == len(b.shape) == 1 and isinstance(data, str | os.PathLike):
        return SameDocuments.of(_read(a, data, seed), _read(b, data, seed))
    if not same:
        raise BadInput(
            f"the models are of different data: {a.name} takes {a.shape} on {a.support}, "
            f"{b.name} {b.shape} on {b.support}"
        )
    if isinstance(data, str | os.PathLike):
        labels = a.classes is not None or b.classes is not None
        data = load_for(a.support, data, labels=labels, shape=a.shape, alphabet=a.alphabet)
    images = examples_of(a, data, seed)
    if examples_of(b, data, seed).sha256 != images.sha256:
        raise BadInput(f"{a.name} and {b.name} encode images as different latents: give them those")
    return SameExamples(images, a.T == b.T)


def _read(model: Model, data: object, seed: int) -> Tokens:
    """The text as the model cuts it."""
    if isinstance(data, str | os.PathLike):
        data = load_for(model.support, data, shape=model.shape, alphabet=model.alphabet)
    examples = examples_of(model, data, seed)
    if not isinstance(examples, Tokens):
        raise BadInput(f"{examples.name} is no text, and {model.name} is a model of one")
    return examples


def cut_alike(a: Model, b: Model) -> bool:
    """Whether both take the same examples: of text, windows of one length and the same symbols."""
    known = [m.alphabet.facts for m in (a, b) if m.alphabet is not None]
    symbols = len(known) < 2 or known[0] == known[1]
    return symbols and (a.shape, a.support) == (b.shape, b.support)


def _bytes(tokens: Tokens) -> Int64[Tensor, " N"]:
    """What each window is of the original text."""
    assert tokens.bytes is not None  # as was required
    return tokens.bytes


def _documents(tokens: Tokens) -> tuple[Int64[Tensor, " N"], list[str]]:
    """(the number of each window's document, the documents in their order).

    A document without a byte is none: it may have an end that counts, or no window at all. Its
    windows have the number -1.
    """
    names: list[str] = []
    numbers: list[int] = []
    begin = 0
    for name, windows in itertools.groupby(tokens.sources):
        count = len(list(windows))
        empty = not bool(_bytes(tokens)[begin : begin + count].any())
        numbers += [-1 if empty else len(names)] * count
        names += [] if empty else [name]
        begin += count
    return torch.tensor(numbers), names


def _summed(values: Tensor, at: Int64[Tensor, " N"]) -> Tensor:
    """Of each document, over its windows."""
    kept = at >= 0
    total = torch.zeros(int(at.max()) + 1, dtype=values.dtype)
    return total.index_add_(0, at[kept], values[kept])
