"""What every result has: a JSON object, and the files that it is written to."""

import importlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Saved", "showing"]


def showing() -> ModuleType:
    """How a result is shown; by name and when it is needed, so that to measure imports no plots."""
    return importlib.import_module("nelbo.report.showing")


class Saved(ABC):
    """A result that is written to a file and read back by `nelbo.results.load`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
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
