"""What was chosen of a model, and where each choice came from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeVar, final

from nelbo.gaussian.schedule import Schedule
from nelbo.typed_json import Json

__all__ = ["Setting", "Settings", "Source", "about_betas", "as_json", "chosen"]

Source = Literal["recipe", "config", "default", "class", "option", "family", "improve"]
"""A recipe of ours, a file beside the weights, a convention of the field, the behaviour of a
class that has no such key, the user's word, what a family of models that the user named has in
common, or what `nelbo improve` found."""

Value = TypeVar("Value")


@final
@dataclass(frozen=True)
class Setting:
    """A setting's value, its source, and whether another value would give another bound."""

    value: Json
    source: Source
    changes_bound: bool = True


@final
@dataclass(frozen=True)
class Settings:
    """What was chosen of a model beside the parts of its chain, which say theirs themselves.

    schedule: its name, T and arguments; None where the chain says them. network: what is known of
    it. sources: every setting of a model of another library, with where it came from; None of a
    model of this one, whose recipe says all. options: those that a folder was read by. notes: what
    else a report says, by name, in place of what the chain says by that name.
    """

    schedule: Mapping[str, Json] | None = None
    network: Mapping[str, Json] | None = None
    sources: Mapping[str, Setting] | None = None
    options: Mapping[str, Json] | None = None
    notes: Mapping[str, Json] = field(default_factory=dict)

    @property
    def foreign(self) -> bool:
        """Whether the model is of another library."""
        return self.sources is not None

    @property
    def assumed(self) -> dict[str, Json]:
        """The values that no file and no user gave, where others would change the bound."""
        sources = {} if self.sources is None else self.sources
        return {
            name: setting.value
            for name, setting in sources.items()
            if setting.source == "default" and setting.changes_bound
        }

    def noting(self, **notes: Json) -> "Settings":
        """The same with more notes."""
        return replace(self, notes={**self.notes, **notes})

    def to_dict(self) -> dict[str, Json]:
        """As JSON."""
        parts = {"schedule": self.schedule, "network": self.network, "options": self.options}
        sources = {} if self.sources is None else {"sources": as_json(self.sources)}
        given = {name: dict(part) for name, part in parts.items() if part is not None}
        return {**self.notes, **given, **sources}


def about_betas(schedule: Schedule) -> dict[str, Json]:
    """What a report says of a schedule of betas: its name, T and ends."""
    ends = {"beta_1": float(schedule.beta[1]), "beta_T": float(schedule.beta[-1])}
    return {"name": schedule.name, "T": schedule.T, **ends}


def chosen(option: Value | None, default: Value) -> tuple[Value, Source]:
    """What the user gave, or else the default, with its source."""
    return (default, "default") if option is None else (option, "option")


def as_json(settings: Mapping[str, Setting]) -> dict[str, dict[str, Json]]:
    """{name: {value, source, changes_bound}}."""
    return {name: asdict(setting) for name, setting in settings.items()}
