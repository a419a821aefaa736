"""What every result has: a JSON object, and the files that it is written to."""

import hashlib
import importlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from nelbo.errors import BadInput
from nelbo.typed_json import Json

__all__ = [
    "DIGEST",
    "Provenance",
    "Saved",
    "digest_of",
    "intact",
    "require_intact",
    "sealed",
    "showing",
]

DIGEST = "content_sha256"
OTHER_DIGESTS = ("figures_sha256", "per_image_sha256")
SHA256 = re.compile(r"[0-9a-f]{64}")


def digest_of(tree: Mapping[str, Json]) -> str:
    """The SHA-256 of all that a JSON object holds, but for this digest itself."""
    content = {key: value for key, value in tree.items() if key != DIGEST}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def intact(tree: Mapping[str, Json]) -> bool:
    """Whether the object is what it was written as, or of an older nelbo and without a digest.

    Where its last entry is a digest under a name that none has, that name was damaged: without it
    nothing is held against anything.
    """
    if DIGEST in tree:
        return tree[DIGEST] == digest_of(tree)
    key, value = list(tree.items())[-1]
    return key in OTHER_DIGESTS or not (isinstance(value, str) and SHA256.fullmatch(value))


def require_intact(tree: Mapping[str, Json], path: str | Path) -> None:
    """Raises BadInput where the object in the file is not what it was written as."""
    if not intact(tree):
        raise BadInput(
            f"{path} is damaged or was edited: it is not what it was written as; make it again"
        )


def sealed(tree: Mapping[str, object]) -> dict[str, Json]:
    """The JSON object with its digest, by which a reader sees a change."""
    plain = json.loads(json.dumps(tree))  # keys are texts and tuples lists, as in the file
    return {**plain, DIGEST: digest_of(plain)}


def showing() -> ModuleType:
    """How a result is shown; by name and when it is needed, so that to measure imports no plots."""
    return importlib.import_module("nelbo.report.showing")


class Saved(ABC):
    """A result that is written to a file and read back by `nelbo.results.load`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Json]:
        """The JSON object."""

    def to_json(self) -> str:
        """One JSON object; never a NaN or an infinity."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> Path:
        """Writes what the suffix names: .json, or another that this kind of result has.

        A file that is there is replaced, whole or not at all.

        Raises:
            BadInput: another suffix.
            OSError: the disk refuses.
        """
        saved: Path = showing().save(self, path)
        return saved

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _repr_html_(self) -> str:
        """A notebook's cell: the head of the page, or the text."""
        cell: str = showing().cell(self)
        return cell


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Provenance(Saved, ABC):
    """How something was measured of one model on some data.

    estimator, model, data and environment are JSON; warnings say why the figure may not be the
    model's; seconds: of the whole.
    """

    network_evaluations: int
    seconds: float
    estimator: Mapping[str, Json]
    model: Mapping[str, Json]
    data: Mapping[str, Json]
    environment: Mapping[str, Json]
    command: str
    warnings: Sequence[str] = ()

    def _provenance(self) -> dict[str, Json]:
        """The last keys of the JSON object."""
        return {
            "network_evaluations": self.network_evaluations,
            "seconds": self.seconds,
            "estimator": dict(self.estimator),
            "model": dict(self.model),
            "data": dict(self.data),
            "environment": dict(self.environment),
            "command": self.command,
            "warnings": list(self.warnings),
        }
