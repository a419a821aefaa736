"""What all tables of a recipe have in common: strict keys and types, and words of registries."""

from collections.abc import Collection, Sequence
from typing import ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
)
from pydantic_core import PydanticCustomError

__all__ = ["LIST", "Growing", "Part", "one_of"]

LIST = Strict(False)  # a tuple, which TOML and JSON have as a list; its items stay strict


def one_of(*known: Collection[str], other: Collection[str] = ()) -> BeforeValidator:
    """That a word is known to one of these registries, as a Literal of all their words has it.

    other: words that another table takes, for the message.
    """

    def check(value: object) -> object:
        if any(isinstance(value, str) and value in words for words in known):
            return value
        words = dict.fromkeys(repr(word) for registry in (*known, other) for word in registry)
        text = "Input should be {expected}"
        raise PydanticCustomError("literal_error", text, {"expected": " or ".join(words)})

    return BeforeValidator(check)


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors, and so are values of another type.

    An integer is taken where a real number is asked for, and a list where a tuple is: no more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Growing(Part):
    """A table with settings that the first checkpoints do not have: their defaults must stay.

    They are written only where they are used, so that older recipes stay byte for byte.
    """

    later: ClassVar[Sequence[str]] = ()

    @model_serializer(mode="wrap")
    def _without_unused(self, dumped: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields = type(self).model_fields
        return {
            key: value
            for key, value in dumped(self).items()
            if key not in self.later or getattr(self, key) != fields[key].default
        }
