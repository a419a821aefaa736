"""Where each setting of a model came from, for reports of models that others have trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, final

__all__ = ["Setting", "Source", "as_facts", "chosen"]

Source = Literal["recipe", "config", "default", "class", "option", "family", "improve"]
"""A recipe of ours, a file beside the weights, a convention of the field, the behaviour of a
class that has no such key, the user's word, what a family of models that the user named has in
common, or what `nelbo improve` found."""

Value = TypeVar("Value")


@final
@dataclass(frozen=True)
class Setting:
    """A setting's value, its source, and whether another value would give another bound."""

    value: Any
    source: Source
    changes_bound: bool = True


def chosen(option: Value | None, default: Value) -> tuple[Value, Source]:
    """What the user said, or else the default, with its source."""
    return (default, "default") if option is None else (option, "option")


def as_facts(settings: Mapping[str, Setting]) -> dict[str, dict[str, Any]]:
    """The settings as JSON: {name: {value, source, changes_bound}}."""
    return {name: asdict(setting) for name, setting in settings.items()}
